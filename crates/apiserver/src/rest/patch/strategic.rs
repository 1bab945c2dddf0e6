//! Strategic merge patch: a merge patch that knows which lists are sets of named entries.
//!
//! Directives: `$patch: replace|delete|merge` on a map or a list entry, `$setElementOrder/<list>`,
//! `$deleteFromPrimitiveList/<list>`, `$retainKeys`. Lists that are not named here are replaced whole.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use crate::rest::failure::Failure;

/// How the entries of a list are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ListKind {
    /// By the value of this field.
    Keyed(&'static str),
    /// Entries are plain values, of which each stands once.
    Set,
    /// The list is one value.
    Atomic,
}

/// The lists of Kubernetes' built-in kinds that merge, by the field that holds them and its parent.
fn list_kind(parent: &str, field: &str) -> ListKind {
    match (parent, field) {
        (_, "containers" | "initContainers" | "ephemeralContainers" | "volumes" | "env") => {
            ListKind::Keyed("name")
        }
        ("spec", "ports") => ListKind::Keyed("port"),
        (_, "ports") if parent.ends_with("ontainers") => ListKind::Keyed("containerPort"),
        (_, "volumeMounts") => ListKind::Keyed("mountPath"),
        (_, "volumeDevices") => ListKind::Keyed("devicePath"),
        (_, "imagePullSecrets") => ListKind::Keyed("name"),
        (_, "topologySpreadConstraints") => ListKind::Keyed("topologyKey"),
        (_, "hostAliases") => ListKind::Keyed("ip"),
        ("metadata", "ownerReferences") => ListKind::Keyed("uid"),
        ("status", "conditions") => ListKind::Keyed("type"),
        ("status", "podIPs") => ListKind::Keyed("ip"),
        ("metadata", "finalizers") => ListKind::Set,
        _ => ListKind::Atomic,
    }
}

/// Applies a patch to an object of a built-in kind.
pub(crate) fn apply(target: &mut Value, patch: &Value) -> Result<(), Failure> {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => merge_map("", target, patch),
        _ => {
            Err(Failure::bad_request("error decoding patch: a strategic merge patch is an object"))
        }
    }
}

fn merge_map(
    parent: &str,
    target: &mut Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<(), Failure> {
    match patch.get("$patch").map(|directive| directive.as_str()) {
        None | Some(Some("merge")) => {}
        Some(Some("replace")) => {
            target.clear();
            let kept = patch.iter().filter(|(key, _)| !key.starts_with('$'));
            target.extend(kept.map(|(key, value)| (key.clone(), value.clone())));
            return Ok(());
        }
        Some(Some("delete")) => {
            target.clear();
            return Ok(());
        }
        Some(_) => return Err(unknown_directive(parent)),
    }
    if let Some(Value::Array(retained)) = patch.get("$retainKeys") {
        let retained: HashSet<&str> = retained.iter().filter_map(Value::as_str).collect();
        target.retain(|key, _| retained.contains(key.as_str()));
    }
    for (key, value) in patch {
        if let Some(field) = key.strip_prefix("$deleteFromPrimitiveList/") {
            if let (Some(Value::Array(list)), Value::Array(gone)) = (target.get_mut(field), value) {
                let gone: HashSet<&Value> = gone.iter().collect();
                list.retain(|entry| !gone.contains(entry));
            }
        } else if !key.starts_with('$') {
            merge_field(parent, target, patch, key, value)?;
        }
    }
    for (key, order) in patch {
        if let (Some(field), Value::Array(order)) = (key.strip_prefix("$setElementOrder/"), order)
            && let Some(Value::Array(list)) = target.get_mut(field)
        {
            sort(list, order, list_kind(parent, field));
        }
    }
    Ok(())
}

fn merge_field(
    parent: &str,
    target: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    key: &str,
    value: &Value,
) -> Result<(), Failure> {
    match value {
        Value::Null => {
            target.remove(key);
        }
        Value::Object(value) => {
            let deletes = value.get("$patch").is_some_and(|d| d == "delete");
            if deletes {
                target.remove(key);
                return Ok(());
            }
            let inner = target.entry(key.to_owned()).or_insert(Value::Null);
            if !inner.is_object() {
                *inner = Value::Object(Map::new());
            }
            if let Value::Object(inner) = inner {
                merge_map(key, inner, value)?;
            }
        }
        Value::Array(entries) => {
            let list = target.entry(key.to_owned()).or_insert(Value::Null);
            if !list.is_array() {
                *list = Value::Array(Vec::new());
            }
            if let Value::Array(list) = list {
                let ordered = patch.contains_key(&format!("$setElementOrder/{key}"));
                merge_list(parent, key, list, entries, ordered)?;
            }
        }
        _ => {
            target.insert(key.to_owned(), value.clone());
        }
    }
    Ok(())
}

fn merge_list(
    parent: &str,
    field: &str,
    list: &mut Vec<Value>,
    patch: &[Value],
    ordered: bool,
) -> Result<(), Failure> {
    let (directives, entries): (Vec<&Value>, Vec<&Value>) =
        patch.iter().partition(|entry| is_directive(entry));
    let replaces = directives.iter().any(|d| d["$patch"] == "replace");
    match list_kind(parent, field) {
        _ if replaces => *list = entries.into_iter().cloned().collect(),
        ListKind::Atomic => *list = patch.to_vec(),
        ListKind::Set => {
            let mut known: HashSet<&Value> = list.iter().collect();
            let new: Vec<Value> =
                entries.into_iter().filter(|entry| known.insert(entry)).cloned().collect();
            list.extend(new);
        }
        ListKind::Keyed(key) => {
            let added = merge_entries(field, key, list, &entries)?;
            // Without an order of their own, new entries come first, as in Kubernetes.
            if ordered {
                list.extend(added);
            } else {
                list.splice(0..0, added);
            }
        }
    }
    Ok(())
}

/// Merges into the entries that are there; those that are new.
fn merge_entries(
    field: &str,
    key: &'static str,
    list: &mut Vec<Value>,
    entries: &[&Value],
) -> Result<Vec<Value>, Failure> {
    let mut places = HashMap::new();
    for (at, old) in list.iter().enumerate() {
        if let Some(id) = old.get(key) {
            places.entry(id.clone()).or_insert(at);
        }
    }
    let (mut added, mut gone) = (Vec::new(), HashSet::new());
    for entry in entries {
        let id = entry.get(key).ok_or_else(|| {
            Failure::bad_request(format!(
                "map: {entry} does not contain declared merge key: {key} (in the list {field})"
            ))
        })?;
        if entry["$patch"] == "delete" {
            places.remove(id);
            gone.insert(id);
            continue;
        }
        let Value::Object(patch) = entry else { continue };
        if let Some(Value::Object(old)) = places.get(id).map(|at| &mut list[*at]) {
            merge_map(field, old, patch)?;
            continue;
        }
        let mut new = Map::new();
        merge_map(field, &mut new, patch)?;
        added.push(Value::Object(new));
    }
    list.retain(|old| old.get(key).is_none_or(|id| !gone.contains(id)));
    Ok(added)
}

/// An entry that only says how the list is to be patched.
fn is_directive(entry: &Value) -> bool {
    entry.as_object().is_some_and(|map| map.len() == 1 && map.contains_key("$patch"))
        && entry["$patch"] != "delete"
}

/// Brings entries that the order names into that order; others keep their place relative to the entry
/// before them.
fn sort(list: &mut Vec<Value>, order: &[Value], kind: ListKind) {
    fn identity(entry: &Value, kind: ListKind) -> Option<&Value> {
        match kind {
            ListKind::Keyed(key) => entry.get(key),
            ListKind::Set | ListKind::Atomic => Some(entry),
        }
    }
    let mut ranks = HashMap::new();
    for (rank, wanted) in order.iter().enumerate() {
        ranks.entry(identity(wanted, kind)).or_insert(rank);
    }
    let mut ranked: Vec<(usize, usize, Value)> = Vec::with_capacity(list.len());
    let mut last = 0;
    for (place, entry) in list.drain(..).enumerate() {
        // An entry that only the server knows stays behind the one that it followed.
        let rank = ranks.get(&identity(&entry, kind)).map_or(last, |rank| rank + 1);
        last = rank;
        ranked.push((rank, place, entry));
    }
    ranked.sort_by_key(|(rank, place, _)| (*rank, *place));
    list.extend(ranked.into_iter().map(|(_, _, entry)| entry));
}

fn unknown_directive(place: &str) -> Failure {
    Failure::bad_request(format!(
        "unknown $patch directive in {place:?}: replace, delete and merge are known"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patched(mut target: Value, patch: &Value) -> Value {
        apply(&mut target, patch).expect("applied");
        target
    }

    #[test]
    fn ports_merge_by_number() {
        let service = json!({"spec": {"ports": [
            {"name": "http", "port": 80, "targetPort": 80},
            {"name": "https", "port": 443},
        ]}});
        let service =
            patched(service, &json!({"spec": {"ports": [{"port": 80, "targetPort": 8080}]}}));
        assert_eq!(
            service["spec"]["ports"],
            json!([{"name": "http", "port": 80, "targetPort": 8080}, {"name": "https", "port": 443}])
        );
        let service = patched(
            service,
            &json!({"spec": {
                "ports": [{"port": 443, "$patch": "delete"}, {"port": 90, "name": "n"}],
                "$setElementOrder/ports": [{"port": 90}, {"port": 80}],
            }}),
        );
        assert_eq!(
            service["spec"]["ports"],
            json!([{"port": 90, "name": "n"}, {"name": "http", "port": 80, "targetPort": 8080}])
        );
        let service = patched(service, &json!({"spec": {"ports": [{"port": 1, "name": "only"}]}}));
        assert_eq!(
            service["spec"]["ports"][0]["name"], "only",
            "without an order, new ones come first"
        );
    }

    #[test]
    fn directives() {
        let object = json!({
            "metadata": {"labels": {"a": "1"}, "finalizers": ["x"]},
            "spec": {"ports": [{"port": 80}], "selector": {"x": "y"}, "type": "ClusterIP"},
        });
        let object = patched(
            object,
            &json!({
                "metadata": {"labels": null, "finalizers": ["y", "x"]},
                "spec": {"selector": {"$patch": "replace", "q": "r"}},
            }),
        );
        assert_eq!(object["metadata"], json!({"finalizers": ["x", "y"]}));
        assert_eq!(object["spec"]["selector"], json!({"q": "r"}));
        let object = patched(
            object,
            &json!({
                "metadata": {"$deleteFromPrimitiveList/finalizers": ["x"]},
                "spec": {"$retainKeys": ["ports"], "ports": [{"$patch": "replace"}, {"port": 7}]},
            }),
        );
        assert_eq!(object["metadata"]["finalizers"], json!(["y"]));
        assert_eq!(object["spec"], json!({"ports": [{"port": 7}]}));
    }

    #[test]
    fn containers_merge_by_name_and_deep() {
        let pod = json!({"spec": {"containers": [
            {"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}], "args": ["p", "q"]},
            {"name": "b", "image": "1"},
        ]}});
        let pod = patched(
            pod,
            &json!({"spec": {"containers": [
                {"name": "a", "image": "2", "env": [{"name": "Y", "value": "2"}], "args": ["r"]},
            ]}}),
        );
        let a = &pod["spec"]["containers"][0];
        assert_eq!(a["image"], "2");
        assert_eq!(a["args"], json!(["r"]), "other lists are replaced");
        assert_eq!(a["env"].as_array().map(Vec::len), Some(2));
        assert_eq!(pod["spec"]["containers"][1]["image"], "1");
    }

    #[test]
    fn an_entry_without_its_key_is_refused() {
        let mut target = json!({"spec": {"ports": []}});
        let failure = apply(&mut target, &json!({"spec": {"ports": [{"name": "x"}]}}));
        assert!(failure.expect_err("refused").message.contains("merge key: port"));
        let failure = apply(&mut target, &json!({"spec": {"$patch": "explode"}}));
        assert!(failure.is_err());
    }
}
