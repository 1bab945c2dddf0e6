//! ConfigMap: named pieces of text.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::secret::SecretBytes;

/// Named pieces of configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMap {
    /// The pieces that are text.
    #[serde(default)]
    pub data: BTreeMap<String, String>,
    /// The pieces that are bytes, as base64.
    #[serde(default)]
    pub binary_data: BTreeMap<String, SecretBytes>,
    /// Whether the data is fixed for good.
    pub immutable: Option<bool>,
}
