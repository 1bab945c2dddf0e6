//! Secret: keys and certificates.

use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::{Value, json};

use super::{child, set_default};
use crate::validation::{Report, names};

/// Most bytes that the data of a Secret or ConfigMap may have.
pub(super) const MAX_DATA_BYTES: usize = 1024 * 1024;

/// Keys that each type of Secret has to hold.
const REQUIRED_KEYS: [(&str, &[&str]); 4] = [
    ("kubernetes.io/tls", &["tls.crt", "tls.key"]),
    ("kubernetes.io/ssh-auth", &["ssh-privatekey"]),
    ("kubernetes.io/dockercfg", &[".dockercfg"]),
    ("kubernetes.io/dockerconfigjson", &[".dockerconfigjson"]),
];

/// Small pieces of data that are not for everybody's eyes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Secret {
    /// The data, each value as base64.
    #[serde(default)]
    pub data: BTreeMap<String, SecretBytes>,
    /// Data as text, for writing only: it is moved into `data` and never returned.
    #[serde(default)]
    pub string_data: BTreeMap<String, SecretText>,
    /// What the data is, such as kubernetes.io/tls. It never changes. Opaque when absent.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// Whether the data is fixed for good.
    pub immutable: Option<bool>,
}

/// Bytes that never show in logs.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// The bytes themselves.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for SecretBytes {
    fn from(bytes: Vec<u8>) -> Self {
        SecretBytes(bytes)
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes]", self.0.len())
    }
}

impl<'de> Deserialize<'de> for SecretBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Kubernetes reads null as no bytes.
        let text = Option::<std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        crate::base64::decode(&text.unwrap_or_default()).map(SecretBytes).map_err(D::Error::custom)
    }
}

impl JsonSchema for SecretBytes {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Bytes".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "byte"})
    }
}

/// Text that never shows in logs.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct SecretText(String);

impl SecretText {
    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes]", self.0.len())
    }
}

impl Secret {
    /// The bytes under a key, from `data` or, where the object has not passed through an API server,
    /// from `stringData`, which wins as it does there.
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        match self.string_data.get(key) {
            Some(text) => Some(text.expose().as_bytes()),
            None => self.data.get(key).map(SecretBytes::expose),
        }
    }
}

/// Fills in what Kubernetes fills in, and moves `stringData` into `data`.
pub(super) fn defaults(object: &mut Value) {
    set_default(object, "type", json!("Opaque"));
    let Some(text) = object.as_object_mut().and_then(|map| map.remove("stringData")) else {
        return;
    };
    let data = child(object, "data");
    for (key, value) in text.as_object().into_iter().flatten() {
        if let (Some(data), Some(value)) = (data.as_object_mut(), value.as_str()) {
            data.insert(key.clone(), crate::base64::encode(value.as_bytes()).into());
        }
    }
}

impl Secret {
    /// Checks keys, size, and that what its type promises is there.
    pub(crate) fn validate(&self, report: &mut Report) {
        for (field, keys) in [
            ("data", self.data.keys().collect::<Vec<_>>()),
            ("stringData", self.string_data.keys().collect()),
        ] {
            for key in keys {
                report.field(&format!("{field}[{key}]"), |r| {
                    r.check(key.as_str(), names::config_key(key));
                });
            }
        }
        let bytes: usize = self.data.values().map(|value| value.expose().len()).sum();
        let text: usize = self.string_data.values().map(|value| value.expose().len()).sum();
        if bytes + text > MAX_DATA_BYTES {
            report.field("data", |r| {
                r.too_long(format!("may not be more than {MAX_DATA_BYTES} bytes"));
            });
        }
        let required = REQUIRED_KEYS.iter().find(|(kind, _)| *kind == self.kind);
        for key in required.into_iter().flat_map(|(_, keys)| *keys) {
            if self.get(key).is_none() {
                report.field(&format!("data[{key}]"), |r| r.required(""));
            }
        }
    }

    /// The type never changes, and immutable data neither.
    pub(super) fn validate_update(&self, old: &Secret, report: &mut Report) {
        if self.kind != old.kind {
            report.field("type", |r| {
                r.invalid(self.kind.as_str(), "field is immutable");
            });
        }
        let data = self.data == old.data && self.string_data.is_empty();
        immutable(old.immutable, self.immutable, data, report);
    }
}

/// The fault of changing what is immutable, for Secrets and ConfigMaps.
pub(super) fn immutable(
    old: Option<bool>,
    new: Option<bool>,
    same_data: bool,
    report: &mut Report,
) {
    if old != Some(true) {
        return;
    }
    const MESSAGE: &str = "field is immutable when `immutable` is set";
    if new != Some(true) {
        report.field("immutable", |r| r.forbidden(MESSAGE));
    }
    if !same_data {
        report.field("data", |r| r.forbidden(MESSAGE));
    }
}
