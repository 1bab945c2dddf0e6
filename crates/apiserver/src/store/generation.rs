//! `metadata.generation`: counts the forms of what an object asks for.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// The generation of an object; 0 where there is none.
pub(crate) fn of(value: &Value) -> i64 {
    value["metadata"]["generation"].as_i64().unwrap_or_default()
}

/// Gives `value` the next generation if it asks for something else than `old`: if anything but metadata and
/// status differs.
pub(crate) fn count(old: &Value, value: &mut Map<String, Value>) {
    let Value::Object(old_map) = old else { return };
    if asked(old_map) == asked(value) {
        return;
    }
    if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
        metadata.insert("generation".into(), (of(old) + 1).into());
    }
}

/// What an object asks for.
fn asked(map: &Map<String, Value>) -> BTreeMap<&str, &Value> {
    let entries = map.iter().map(|(key, value)| (key.as_str(), value));
    entries.filter(|(key, _)| !["metadata", "status", "apiVersion", "kind"].contains(key)).collect()
}
