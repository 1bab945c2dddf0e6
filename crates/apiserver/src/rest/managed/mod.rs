//! Who wrote which fields of an object: `metadata.managedFields`.
//!
//! A write that is no server-side apply makes its manager the owner of the fields that it changes; an apply owns
//! what it applies. Known gap: which parts of built-in kinds count as fields of their own follows a short list, not
//! Kubernetes' schemas, so entries of plain writes may be told more coarsely than there.

mod fields;
mod lists;

use serde_json::{Map, Value, json};
use tidegate_api::KindInfo;

pub(crate) use fields::{Fields, merge};

use crate::clock;

/// Who writes, and through which view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manager {
    pub name: String,
    pub api_version: String,
    pub subresource: Option<String>,
}

/// What one manager owns.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub manager: Manager,
    pub applies: bool,
    pub time: String,
    pub fields: Fields,
}

impl Entry {
    fn from_json(value: &Value) -> Self {
        let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
        Self {
            manager: Manager {
                name: text("manager"),
                api_version: text("apiVersion"),
                subresource: value["subresource"].as_str().map(str::to_owned),
            },
            applies: value["operation"] == "Apply",
            time: text("time"),
            fields: Fields::from_json(&value["fieldsV1"]),
        }
    }

    fn to_json(&self) -> Value {
        let mut json = json!({
            "manager": self.manager.name,
            "operation": if self.applies { "Apply" } else { "Update" },
            "apiVersion": self.manager.api_version,
            "time": self.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": self.fields.to_json(),
        });
        if let Some(subresource) = &self.manager.subresource {
            json["subresource"] = subresource.as_str().into();
        }
        json
    }

    /// Whether a write of this manager continues the entry.
    pub(crate) fn is_of(&self, manager: &Manager, applies: bool) -> bool {
        let same =
            self.manager.name == manager.name && self.manager.subresource == manager.subresource;
        // Applies of one manager are one, whatever the version.
        self.applies == applies
            && same
            && (applies || self.manager.api_version == manager.api_version)
    }
}

/// The owners that an object names.
pub(crate) fn entries(object: &Value) -> Vec<Entry> {
    let list = object["metadata"]["managedFields"].as_array();
    list.into_iter().flatten().map(Entry::from_json).collect()
}

/// Names the owners in an object; those who own nothing are left out.
pub(crate) fn set_entries(object: &mut Map<String, Value>, entries: &[Entry]) {
    let list: Vec<Value> =
        entries.iter().filter(|entry| !entry.fields.is_empty()).map(Entry::to_json).collect();
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        if list.is_empty() {
            metadata.remove("managedFields");
        } else {
            metadata.insert("managedFields".into(), list.into());
        }
    }
}

/// A new object: its creator owns all of it.
pub(crate) fn created(manager: &Manager, info: &KindInfo, object: &mut Map<String, Value>) {
    let entry = Entry {
        manager: manager.clone(),
        applies: false,
        time: clock::now(),
        fields: Fields::of(info, object, true),
    };
    set_entries(object, &[entry]);
}

/// A changed object: whoever changes a field owns it from then on, and nobody else does. Nothing changes for a
/// write that changes nothing.
pub(crate) fn updated(
    manager: &Manager,
    info: &KindInfo,
    before: &Value,
    object: &mut Map<String, Value>,
) {
    let after = Value::Object(object.clone());
    // A client that sends an empty list wants to be rid of all owners.
    let given = entries(&after);
    let Value::Object(before_map) = before else { return };
    let old = Fields::of(info, before_map, true);
    let new = Fields::of(info, object, true);
    let changed = new.changed(before, &after).union(&new.without(&old));
    let gone = old.without(&new);
    if changed.is_empty() && gone.is_empty() {
        return;
    }
    let lost = changed.leaves().union(&gone);
    let mut list: Vec<Entry> = given
        .into_iter()
        .map(|entry| match entry.is_of(manager, false) {
            true => Entry { fields: entry.fields.without(&gone), ..entry },
            false => Entry { fields: entry.fields.without(&lost), ..entry },
        })
        .collect();
    match list.iter_mut().find(|entry| entry.is_of(manager, false)) {
        Some(mine) => {
            mine.fields = mine.fields.union(&changed);
            mine.time = clock::now();
        }
        None => list.push(Entry {
            manager: manager.clone(),
            applies: false,
            time: clock::now(),
            fields: changed,
        }),
    }
    set_entries(object, &list);
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_api::Kind;

    fn manager(name: &str) -> Manager {
        Manager {
            name: name.into(),
            api_version: "networking.istio.io/v1".into(),
            subresource: None,
        }
    }

    fn owners(object: &Value) -> Vec<(String, Vec<String>)> {
        entries(object)
            .into_iter()
            .map(|entry| (entry.manager.name, entry.fields.leaves().paths()))
            .collect()
    }

    fn object(value: &Value) -> Map<String, Value> {
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn who_changes_a_field_owns_it() {
        let info = Kind::VirtualService.info();
        let mut first = object(
            &json!({"metadata": {"name": "a"}, "spec": {"hosts": ["a"], "gateways": ["g"]}}),
        );
        created(&manager("one"), info, &mut first);
        let before = Value::Object(first.clone());
        let mut second = first.clone();
        second["spec"]["hosts"] = json!(["b"]);
        updated(&manager("two"), info, &before, &mut second);
        let after = Value::Object(second.clone());
        assert_eq!(
            owners(&after),
            [
                ("one".to_owned(), vec![".spec.gateways".to_owned()]),
                ("two".to_owned(), vec![".spec.hosts".to_owned()])
            ]
        );

        let mut third = second.clone();
        updated(&manager("three"), info, &after, &mut third);
        assert_eq!(third, second, "nothing changed");

        if let Some(Value::Object(spec)) = third.get_mut("spec") {
            spec.remove("gateways");
        }
        updated(&manager("three"), info, &after, &mut third);
        let two = owners(&Value::Object(third));
        assert!(
            two.iter().all(|(_, paths)| !paths.contains(&".spec.gateways".to_owned())),
            "{two:?}"
        );
    }
}
