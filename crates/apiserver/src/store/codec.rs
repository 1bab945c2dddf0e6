//! From stored JSON to typed objects.

use std::sync::Arc;

use serde_json::{Map, Value};
use tidegate_api::{Kind, Object, ObjectKey, Origin};

use super::Decoded;

/// Decodes the stored form of an object. Warnings were told to whoever wrote it.
pub(super) fn decode(
    kind: Kind,
    key: &ObjectKey,
    value: &Map<String, Value>,
    origin: Origin,
) -> Decoded {
    let version = kind.info().versions[0];
    match Object::decode(kind, version, &Value::Object(value.clone()), origin) {
        Ok(mut decoded) => {
            // The row's own name counts: nothing that reads it may be led elsewhere.
            decoded.object.key = key.clone();
            Ok(Arc::new(decoded.object))
        }
        Err(errors) => Err(errors.iter().map(ToString::to_string).collect()),
    }
}
