//! From the JSON in which an API server keeps an object to its typed form, and to what is told of it.

use std::sync::Arc;

use serde_json::{Map, Value};
use tidegate_api::istio::policy::selected;
use tidegate_api::{Object, ObjectKey, Origin, WarningKind};

use crate::Change;

/// What decoding made of an object: its typed form, or what is wrong, one entry per field.
pub type Decoded = Result<Arc<Object>, Arc<[String]>>;

/// Decodes the stored form of an object. Of what there is to warn of, only fields of Istio's kinds that no schema has are kept, with
/// the object: an API server of other versions may store them, and then told nobody.
pub fn decode(key: &ObjectKey, value: &Map<String, Value>, origin: Origin) -> Decoded {
    let info = key.kind.info();
    match Object::decode(key.kind, info.versions[0], &Value::Object(value.clone()), origin) {
        Ok(decoded) => {
            let mut object = decoded.object;
            // The name that it is kept under counts: nothing that reads it may be led elsewhere.
            object.key = key.clone();
            if !info.built_in {
                let unknown =
                    |warning: &tidegate_api::Warning| warning.kind == WarningKind::UnknownField;
                let unknown = decoded.warnings.into_iter().filter(unknown);
                object.unknown = unknown.map(|warning| warning.message).collect();
            }
            Ok(Arc::new(object))
        }
        Err(errors) => Err(errors.iter().map(ToString::to_string).collect()),
    }
}

impl Change {
    /// The change that tells an object as it was decoded; `stored` gives its JSON, of one that is wrong.
    pub fn of(key: &ObjectKey, decoded: &Decoded, stored: impl FnOnce() -> Value) -> Self {
        match decoded {
            Ok(object) => Self::Apply(Arc::clone(object)),
            Err(errors) => {
                let stored = stored();
                Self::Invalid {
                    key: key.clone(),
                    generation: stored["metadata"]["generation"].as_i64().unwrap_or_default(),
                    errors: errors.to_vec(),
                    selector: selected(key.kind, &stored),
                }
            }
        }
    }
}
