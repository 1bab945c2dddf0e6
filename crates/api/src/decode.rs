//! From JSON to a typed object.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{FieldError, Reason, Warning};
use crate::metadata::ObjectMeta;
use crate::{Kind, Object, ObjectKey, Origin, Spec};

/// An object, and what is worth telling about how it was written.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The object.
    pub object: Object,
    /// Unknown fields that were dropped, dialects that were read, values that have no effect.
    pub warnings: Vec<Warning>,
}

impl Object {
    /// Reads an object of `kind`, written in the form that `version` of its group has, and validates it.
    /// Dialects and protobuf's spellings are normalised on the way; `value` itself stays as it is.
    ///
    /// # Errors
    /// Every fault that was found: in the shape of the object first, else in what it says.
    pub fn decode(
        kind: Kind,
        version: &str,
        value: &Value,
        origin: Origin,
    ) -> Result<Decoded, Vec<FieldError>> {
        let _ = version;
        let metadata: ObjectMeta =
            typed("metadata", value.get("metadata").unwrap_or(&Value::Null))?;
        let spec = typed_spec(kind, value)?;
        let object = Object {
            key: ObjectKey {
                kind,
                namespace: metadata.namespace.into(),
                name: metadata.name.into(),
            },
            uid: metadata.uid.into(),
            resource_version: metadata.resource_version.parse().unwrap_or(0),
            generation: metadata.generation,
            created: metadata
                .creation_timestamp
                .and_then(|text| text.parse().ok())
                .unwrap_or(jiff::Timestamp::UNIX_EPOCH),
            labels: metadata.labels,
            annotations: metadata.annotations,
            origin,
            spec,
        };
        Ok(Decoded {
            object,
            warnings: Vec::new(),
        })
    }
}

fn typed_spec(kind: Kind, value: &Value) -> Result<Spec, Vec<FieldError>> {
    let empty = Value::Object(serde_json::Map::new());
    let spec = value.get("spec").unwrap_or(&empty);
    Ok(match kind {
        Kind::Gateway => Spec::Gateway(typed("spec", spec)?),
        Kind::VirtualService => Spec::VirtualService(typed("spec", spec)?),
        Kind::DestinationRule => Spec::DestinationRule(typed("spec", spec)?),
        Kind::ServiceEntry => Spec::ServiceEntry(typed("spec", spec)?),
        Kind::Namespace => Spec::Namespace(typed("", value)?),
        Kind::Service => Spec::Service(typed("", value)?),
        Kind::EndpointSlice => Spec::EndpointSlice(typed("", value)?),
        Kind::Secret => Spec::Secret(typed("", value)?),
        Kind::ConfigMap => Spec::ConfigMap(typed("", value)?),
        Kind::Pod => Spec::Pod(typed("", value)?),
        Kind::Deployment => Spec::Deployment(typed("", value)?),
        Kind::Event => Spec::Event(typed("", value)?),
    })
}

fn typed<T: DeserializeOwned>(place: &str, value: &Value) -> Result<T, Vec<FieldError>> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let inner = error.path().to_string();
        let path = match (place, inner.as_str()) {
            (place, ".") => place.to_owned(),
            ("", inner) => inner.to_owned(),
            (place, inner) => format!("{place}.{inner}"),
        };
        vec![FieldError::new(
            path,
            Reason::Invalid,
            error.inner().to_string(),
        )]
    })
}
