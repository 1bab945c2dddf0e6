//! Sets of fields, in the form of `fieldsV1`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::{Map, Value};
use tidegate_api::KindInfo;
use tidegate_api::schema::{self, ListType, Node, Schema};

use super::lists::{Index, Inside, keys_of};

/// A tree of fields. Names are those of `fieldsV1`: `f:spec`, `k:{"port":80}`, `v:"x"`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields {
    /// Whether the field at this place is itself in the set, not only fields inside it.
    here: bool,
    inside: BTreeMap<String, Fields>,
}

/// What tells how the lists at a place merge: names, for built-in kinds, and the schema of a custom one, as far as it reaches.
#[derive(Clone, Copy)]
enum Shape {
    BuiltIn,
    Custom(Option<&'static Schema>),
}

impl Shape {
    fn of(info: &KindInfo) -> Self {
        match info.built_in {
            true => Shape::BuiltIn,
            false => Shape::Custom(Some(schema::of(info.kind))),
        }
    }

    fn is_built_in(self) -> bool {
        matches!(self, Shape::BuiltIn)
    }

    fn field(self, name: &str) -> Self {
        self.inside(|node| match node {
            Node::Object(object) => object.fields.get(name).map(|field| &field.schema),
            Node::Map { values, .. } => Some(values),
            _ => None,
        })
    }

    fn entry(self) -> Self {
        self.inside(|node| match node {
            Node::Array { items, .. } => Some(items),
            _ => None,
        })
    }

    fn inside(self, step: impl FnOnce(&'static Node) -> Option<&'static Schema>) -> Self {
        match self {
            Shape::BuiltIn => Shape::BuiltIn,
            Shape::Custom(schema) => Shape::Custom(schema.and_then(|schema| step(&schema.node))),
        }
    }
}

/// How a list merges.
enum ListKind {
    /// By the values of these fields.
    Keyed(Vec<&'static str>),
    /// Entries are plain values.
    Set,
    /// The list is one value.
    Atomic,
}

/// How a list merges, by its place, the field that holds it and the parent of that.
fn list_kind(shape: Shape, parent: &str, field: &str) -> ListKind {
    let keyed = |keys: &[&'static str]| ListKind::Keyed(keys.to_vec());
    match (parent, field, shape) {
        ("metadata", "finalizers", _) => ListKind::Set,
        ("metadata", "ownerReferences", _) => keyed(&["uid"]),
        (_, _, Shape::Custom(Some(Schema { node: Node::Array { list_type, .. }, .. }))) => {
            match list_type {
                ListType::Map(keys) => ListKind::Keyed(keys.iter().map(String::as_str).collect()),
                ListType::Set => ListKind::Set,
                ListType::Atomic => ListKind::Atomic,
            }
        }
        (_, _, Shape::Custom(_)) => ListKind::Atomic,
        ("spec", "ports", _) => keyed(&["port", "protocol"]),
        (parent, "ports", _) if parent.ends_with("ontainers") => {
            keyed(&["containerPort", "protocol"])
        }
        (_, "containers" | "initContainers" | "ephemeralContainers" | "volumes" | "env", _) => {
            keyed(&["name"])
        }
        (_, "imagePullSecrets", _) => keyed(&["name"]),
        (_, "volumeMounts", _) => keyed(&["mountPath"]),
        ("status", "conditions", _) => keyed(&["type"]),
        ("status", "podIPs", _) => keyed(&["ip"]),
        _ => ListKind::Atomic,
    }
}

/// Maps that are one value although they are maps.
fn is_atomic_map(built_in: bool, parent: &str, field: &str) -> bool {
    built_in && (parent, field) == ("spec", "selector")
}

impl Fields {
    /// The fields that an object sets. With `inner`, maps and entries count as fields beside what is in them, as
    /// for writes that are not server-side apply.
    pub(crate) fn of(info: &KindInfo, object: &Map<String, Value>, inner: bool) -> Self {
        let mut set = Self::default();
        let shape = Shape::of(info);
        for (field, value) in object {
            if matches!(field.as_str(), "apiVersion" | "kind") {
                continue;
            }
            let mut below = Walk { inner }.value(shape.field(field), "", field, value);
            if field == "metadata" {
                below.here = false;
                for server_set in SERVER_SET {
                    below.inside.remove(*server_set);
                }
                if below.inside.is_empty() {
                    continue;
                }
            }
            // The parts of a built-in object are structs, which nobody owns.
            if info.built_in && !below.inside.is_empty() && value.is_object() && is_struct(field) {
                below.here = false;
            }
            if below.is_empty() {
                continue;
            }
            set.inside.insert(format!("f:{field}"), below);
        }
        set
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.here && self.inside.values().all(Fields::is_empty)
    }

    /// Reads `fieldsV1`.
    pub(crate) fn from_json(value: &Value) -> Self {
        let Value::Object(map) = value else {
            return Self::default();
        };
        Self {
            here: map.is_empty() || map.contains_key("."),
            inside: map
                .iter()
                .filter(|(name, _)| *name != ".")
                .map(|(name, value)| (name.clone(), Self::from_json(value)))
                .collect(),
        }
    }

    /// Writes `fieldsV1`.
    pub(crate) fn to_json(&self) -> Value {
        let mut map = Map::new();
        if self.here && !self.inside.is_empty() {
            map.insert(".".into(), Value::Object(Map::new()));
        }
        for (name, inside) in &self.inside {
            map.insert(name.clone(), inside.to_json());
        }
        Value::Object(map)
    }

    pub(crate) fn union(&self, other: &Self) -> Self {
        let mut inside = self.inside.clone();
        for (name, theirs) in &other.inside {
            let merged = match inside.get(name) {
                Some(mine) => mine.union(theirs),
                None => theirs.clone(),
            };
            inside.insert(name.clone(), merged);
        }
        Self { here: self.here || other.here, inside }
    }

    /// What is in this set and not in the other.
    pub(crate) fn without(&self, other: &Self) -> Self {
        let rest = self.inside.iter().filter_map(|(name, mine)| {
            let left = match other.inside.get(name) {
                Some(theirs) => mine.without(theirs),
                None => mine.clone(),
            };
            (!left.is_empty()).then(|| (name.clone(), left))
        });
        Self { inside: rest.collect(), here: self.here && !other.here }
    }

    /// What is in this set, at places that the other does not reach: a map or entry of which the other has a part
    /// is not this set's alone.
    pub(crate) fn beyond(&self, other: &Self) -> Self {
        let rest = self.inside.iter().filter_map(|(name, mine)| {
            let left = match other.inside.get(name) {
                Some(theirs) => mine.beyond(theirs),
                None => mine.clone(),
            };
            (!left.is_empty()).then(|| (name.clone(), left))
        });
        Self { inside: rest.collect(), here: self.here && other.is_empty() }
    }

    /// What is in both.
    pub(crate) fn common(&self, other: &Self) -> Self {
        let both = self.inside.iter().filter_map(|(name, mine)| {
            let both = mine.common(other.inside.get(name)?);
            (!both.is_empty()).then(|| (name.clone(), both))
        });
        Self { inside: both.collect(), here: self.here && other.here }
    }

    /// The set without fields whose inside is in it too: a map that is owned together with what is in it.
    pub(crate) fn leaves(&self) -> Self {
        Self {
            here: self.here && self.inside.is_empty(),
            inside: self.inside.iter().map(|(name, f)| (name.clone(), f.leaves())).collect(),
        }
    }

    /// The paths of the fields, as messages name them: `.spec.ports[port=80,protocol="TCP"].name`.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect_paths(String::new(), &mut paths);
        paths
    }

    fn collect_paths(&self, path: String, paths: &mut Vec<String>) {
        for (name, inside) in &self.inside {
            inside.collect_paths(format!("{path}{}", shown(name)), paths);
        }
        if self.here {
            paths.push(path);
        }
    }

    /// The part of the set whose values differ between two objects, or are in one of them only.
    pub(crate) fn changed<'a>(&self, old: &'a Value, new: &'a Value) -> Self {
        let (mut inside_old, mut inside_new) = (Inside::of(old), Inside::of(new));
        let inside = self.inside.iter().filter_map(|(name, fields)| {
            // Where one says null, there is nothing.
            let said = |value: Option<&'a Value>| value.filter(|value| !value.is_null());
            let differs = match (said(inside_old.step(name)), said(inside_new.step(name))) {
                (Some(old), Some(new)) => fields.changed(old, new),
                (None, None) => Self::default(),
                _ => fields.clone(),
            };
            (!differs.is_empty()).then(|| (name.clone(), differs))
        });
        Self { here: self.here && self.inside.is_empty() && old != new, inside: inside.collect() }
    }

    /// Takes the fields of this set out of an object: maps and entries that are in it whole, of others what is in it;
    /// those that become empty go too.
    pub(crate) fn remove_from(&self, object: &mut Value) {
        match object {
            Value::Object(map) => {
                for (name, fields) in &self.inside {
                    let Some(field) = name.strip_prefix("f:") else { continue };
                    if map.get_mut(field).is_some_and(|inner| fields.empties(inner)) {
                        map.remove(field);
                    }
                }
            }
            Value::Array(list) => {
                let mut index = Index::default();
                let mut gone = BTreeSet::new();
                for (name, fields) in &self.inside {
                    let places = index.places(list, name).iter().copied();
                    gone.extend(places.filter(|at| fields.empties(&mut list[*at])));
                }
                let mut places = 0..;
                list.retain(|_| places.next().is_some_and(|at| !gone.contains(&at)));
            }
            _ => {}
        }
    }

    /// Takes the fields of this set out of a value; whether nothing is left of it.
    fn empties(&self, value: &mut Value) -> bool {
        if self.here || self.inside.is_empty() {
            return true;
        }
        self.remove_from(value);
        match value {
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.is_empty(),
            _ => false,
        }
    }

    /// The fields of this set that an object has.
    pub(crate) fn present_in(&self, object: &Value) -> Self {
        let mut inside_object = Inside::of(object);
        let inside = self.inside.iter().filter_map(|(name, fields)| {
            let found = fields.present_in(inside_object.step(name)?);
            (!found.is_empty()).then(|| (name.clone(), found))
        });
        Self { here: self.here, inside: inside.collect() }
    }
}

/// Metadata that the server sets, and nobody owns.
const SERVER_SET: &[&str] = &[
    "f:name",
    "f:namespace",
    "f:uid",
    "f:resourceVersion",
    "f:generation",
    "f:creationTimestamp",
    "f:selfLink",
    "f:managedFields",
    "f:deletionTimestamp",
    "f:deletionGracePeriodSeconds",
];

/// Whether a top-level field of a built-in kind is a struct; data of Secrets and ConfigMaps is a map.
fn is_struct(field: &str) -> bool {
    matches!(field, "spec" | "status" | "metadata" | "involvedObject" | "source")
}

struct Walk {
    inner: bool,
}

impl Walk {
    fn value(&self, shape: Shape, parent: &str, field: &str, value: &Value) -> Fields {
        match value {
            Value::Object(map)
                if !map.is_empty() && !is_atomic_map(shape.is_built_in(), parent, field) =>
            {
                let entry = |(name, value): (&String, &Value)| {
                    (format!("f:{name}"), self.value(shape.field(name), field, name, value))
                };
                let inside = map.iter().map(entry).filter(|(_, fields)| !fields.is_empty());
                Fields { here: self.inner, inside: inside.collect() }
            }
            Value::Array(list) => self.list(shape, parent, field, list),
            // Whoever applies a null or a map without entries owns the place, as in Kubernetes, though nothing comes to be there.
            _ => Fields { here: true, inside: BTreeMap::new() },
        }
    }

    fn list(&self, shape: Shape, parent: &str, field: &str, list: &[Value]) -> Fields {
        let leaf = || Fields { here: true, inside: BTreeMap::new() };
        let inside: Option<BTreeMap<String, Fields>> = match list_kind(shape, parent, field) {
            ListKind::Atomic => None,
            ListKind::Set => {
                Some(list.iter().map(|value| (format!("v:{value}"), leaf())).collect())
            }
            ListKind::Keyed(keys) => list
                .iter()
                .map(|entry| {
                    let name = key_of(entry, &keys)?;
                    let mut fields = self.value(shape.entry(), parent, field, entry);
                    fields.here = true;
                    Some((name, fields))
                })
                .collect(),
        };
        match inside {
            Some(inside) => Fields { here: self.inner, inside },
            None => leaf(),
        }
    }
}

/// `k:{"port":80,"protocol":"TCP"}`; none when the entry lacks its key.
fn key_of(entry: &Value, keys: &[&str]) -> Option<String> {
    Some(format!("k:{}", Value::Object(keys_of(entry, keys)?)))
}

/// A step as messages show it.
fn shown(name: &str) -> String {
    if let Some(field) = name.strip_prefix("f:") {
        return format!(".{field}");
    }
    if let Some(value) = name.strip_prefix("v:") {
        return format!("[={value}]");
    }
    match name.strip_prefix("k:").map(serde_json::from_str) {
        Some(Ok(Value::Object(keys))) => {
            let keys: Vec<String> =
                keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("[{}]", keys.join(","))
        }
        _ => format!("[{name}]"),
    }
}

/// Merges what is applied into an object: maps field by field, keyed lists entry by entry, the rest whole.
pub(crate) fn merge(info: &KindInfo, target: &mut Value, applied: &Value) {
    merge_value(Shape::of(info), "", "", target, applied);
}

/// Whether a value has parts that are merged one by one.
fn merges(shape: Shape, parent: &str, field: &str, value: &Value) -> bool {
    match value {
        Value::Object(map) => !map.is_empty() && !is_atomic_map(shape.is_built_in(), parent, field),
        Value::Array(list) => {
            !list.is_empty() && !matches!(list_kind(shape, parent, field), ListKind::Atomic)
        }
        _ => false,
    }
}

fn merge_value(shape: Shape, parent: &str, field: &str, target: &mut Value, applied: &Value) {
    match applied {
        // Nothing is said of what others have there.
        Value::Null if merges(shape, parent, field, target) => {}
        Value::Object(applied) if !is_atomic_map(shape.is_built_in(), parent, field) => {
            if !target.is_object() {
                *target = Value::Object(Map::new());
            }
            let Value::Object(target) = target else { return };
            for (name, value) in applied {
                let inner = target.entry(name.clone()).or_insert(Value::Null);
                merge_value(shape.field(name), field, name, inner, value);
            }
        }
        Value::Array(entries) => match (list_kind(shape, parent, field), target) {
            (ListKind::Keyed(keys), Value::Array(list)) => {
                let mut places = HashMap::new();
                for (at, old) in list.iter().enumerate() {
                    places.entry(keys_of(old, &keys)).or_insert(at);
                }
                // An entry without its keys is none of those that are there.
                places.remove(&None);
                for entry in entries {
                    let name = keys_of(entry, &keys);
                    let new = list.len();
                    match name.map_or(new, |name| *places.entry(Some(name)).or_insert(new)) {
                        at if at == new => list.push(entry.clone()),
                        at => merge_value(shape.entry(), parent, field, &mut list[at], entry),
                    }
                }
            }
            (ListKind::Set, Value::Array(list)) => {
                let mut known: HashSet<&Value> = list.iter().collect();
                let new: Vec<Value> =
                    entries.iter().filter(|entry| known.insert(entry)).cloned().collect();
                list.extend(new);
            }
            (_, target) => *target = applied.clone(),
        },
        other => target.clone_from(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tidegate_api::Kind;

    fn of(kind: Kind, object: Value, inner: bool) -> Value {
        let Value::Object(map) = object else { panic!("not an object") };
        Fields::of(kind.info(), &map, inner).to_json()
    }

    #[test]
    fn fields_of_a_custom_object() {
        let object = json!({
            "apiVersion": "x", "kind": "y",
            "metadata": {"name": "n", "uid": "u", "labels": {"a": "1"}},
            "spec": {"hosts": ["a"], "tls": {"mode": "SIMPLE"}},
        });
        assert_eq!(
            of(Kind::VirtualService, object.clone(), true),
            json!({
                "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
                "f:spec": {".": {}, "f:hosts": {}, "f:tls": {".": {}, "f:mode": {}}},
            })
        );
        assert_eq!(
            of(Kind::VirtualService, object, false),
            json!({
                "f:metadata": {"f:labels": {"f:a": {}}},
                "f:spec": {"f:hosts": {}, "f:tls": {"f:mode": {}}},
            })
        );
    }

    #[test]
    fn fields_of_a_service() {
        let object = json!({
            "metadata": {"name": "n"},
            "spec": {"type": "ClusterIP", "selector": {"a": "b"}, "ports": [{"port": 80, "protocol": "TCP", "name": "x"}]},
        });
        assert_eq!(
            of(Kind::Service, object, true),
            json!({"f:spec": {
                "f:type": {}, "f:selector": {},
                "f:ports": {
                    ".": {},
                    "k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}, "f:protocol": {}, "f:name": {}},
                },
            }})
        );
    }

    #[test]
    fn lists_that_a_schema_calls_maps_merge_by_their_keys() {
        let listener = |name: &str, port: u16| json!({"name": name, "port": port});
        let object =
            json!({"spec": {"listeners": [listener("a", 80)], "addresses": [{"value": "::1"}]}});
        assert_eq!(
            of(Kind::KubernetesGateway, object.clone(), false),
            json!({"f:spec": {
                "f:addresses": {},
                "f:listeners": {"k:{\"name\":\"a\"}": {".": {}, "f:name": {}, "f:port": {}}},
            }})
        );
        let mut gateway = object;
        let applied = json!({"spec": {"listeners": [listener("b", 81), listener("a", 82)]}});
        merge(Kind::KubernetesGateway.info(), &mut gateway, &applied);
        assert_eq!(gateway["spec"]["listeners"], json!([listener("a", 82), listener("b", 81)]));
        let cors = json!({"filters": [{"cors": {"allowOrigins": ["*"]}}]});
        let route = of(Kind::HTTPRoute, json!({"spec": {"rules": [cors]}}), false);
        assert_eq!(route, json!({"f:spec": {"f:rules": {}}}), "an atomic list hides what is in it");
    }

    #[test]
    fn sets() {
        let set = |json: Value| Fields::from_json(&json);
        let both = set(json!({"f:a": {}, "f:b": {".": {}, "f:c": {}}}));
        let one = set(json!({"f:a": {}}));
        assert_eq!(both.without(&one).to_json(), json!({"f:b": {".": {}, "f:c": {}}}));
        assert_eq!(both.common(&one), one);
        assert_eq!(one.union(&both), both);
        assert_eq!(both.leaves().paths(), [".a", ".b.c"]);
        assert!(one.without(&one).is_empty());
        let keyed = set(json!({"f:p": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {"f:n": {}}}}));
        assert_eq!(keyed.paths(), [".p[port=80,protocol=\"TCP\"].n"]);
    }

    #[test]
    fn values_behind_fields() {
        let set = Fields::from_json(
            &json!({"f:a": {}, "f:l": {"k:{\"name\":\"x\"}": {".": {}, "f:v": {}}}}),
        );
        let old = json!({"a": 1, "l": [{"name": "x", "v": 1}, {"name": "y", "v": 1}]});
        let new = json!({"a": 1, "l": [{"name": "y", "v": 2}, {"name": "x", "v": 3}]});
        assert_eq!(set.changed(&old, &new).paths(), [".l[name=\"x\"].v"]);
        let mut left = new;
        Fields::from_json(&json!({"f:l": {"k:{\"name\":\"x\"}": {}}})).remove_from(&mut left);
        assert_eq!(left, json!({"a": 1, "l": [{"name": "y", "v": 2}]}));
    }

    #[test]
    fn a_map_goes_whole_only_when_nobody_else_has_a_part_of_it() {
        let set = |json: Value| Fields::from_json(&json);
        let mine =
            set(json!({"f:a": {".": {}, "f:x": {}, "f:y": {}}, "f:b": {".": {}, "f:z": {}}}));
        let others = set(json!({"f:a": {"f:x": {}}}));
        let mut object = json!({"a": {"x": 1, "y": 2}, "b": {"z": 1, "defaulted": 2}});
        mine.beyond(&others).remove_from(&mut object);
        assert_eq!(object, json!({"a": {"x": 1}}));
    }

    #[test]
    fn merging_keeps_what_others_set() {
        let mut service =
            json!({"spec": {"ports": [{"port": 80, "protocol": "TCP"}], "type": "ClusterIP"}});
        merge(
            Kind::Service.info(),
            &mut service,
            &json!({"spec": {"ports": [{"port": 443}, {"port": 80, "name": "a"}]}}),
        );
        assert_eq!(
            service["spec"]["ports"],
            json!([{"port": 80, "protocol": "TCP", "name": "a"}, {"port": 443}])
        );
    }
}
