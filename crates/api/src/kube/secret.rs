//! Secret: keys and certificates.

use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

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
        crate::base64::decode(&text.unwrap_or_default())
            .map(SecretBytes)
            .map_err(D::Error::custom)
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
