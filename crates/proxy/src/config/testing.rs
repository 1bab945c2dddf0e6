//! What the tests of this module share.

use serde_json::Value;
use tidegate_envoy::prost::Name;

/// A message from Envoy's JSON.
pub fn proto<T: Name + Default>(json: &Value) -> T {
    tidegate_envoy::json::from_json(json).unwrap_or_else(|error| panic!("{error} in {json}"))
}

/// `base` with the fields of `more` put in, deeply.
pub fn with(base: &Value, more: &Value) -> Value {
    match (base, more) {
        (Value::Object(base), Value::Object(more)) => {
            let mut all = base.clone();
            for (key, value) in more {
                let merged = all.get(key).map_or_else(|| value.clone(), |old| with(old, value));
                all.insert(key.clone(), merged);
            }
            Value::Object(all)
        }
        _ => more.clone(),
    }
}
