//! ConfigMap: named pieces of text.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::secret::{self, MAX_DATA_BYTES, SecretBytes};
use crate::validation::{Report, names};

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

impl ConfigMap {
    /// Checks keys and size.
    pub(crate) fn validate(&self, report: &mut Report) {
        for key in self.data.keys() {
            report.field(&format!("data[{key}]"), |report| {
                report.check(key.as_str(), names::config_key(key));
                if self.binary_data.contains_key(key) {
                    report.invalid(key.as_str(), "duplicate of key present in binaryData");
                }
            });
        }
        for key in self.binary_data.keys() {
            let path = format!("binaryData[{key}]");
            report.field(&path, |r| r.check(key.as_str(), names::config_key(key)));
        }
        let text: usize = self.data.values().map(String::len).sum();
        let bytes: usize = self.binary_data.values().map(|value| value.expose().len()).sum();
        if text + bytes > MAX_DATA_BYTES {
            // Kubernetes names no field here.
            report.field("[]", |r| {
                r.too_long(format!("may not be more than {MAX_DATA_BYTES} bytes"));
            });
        }
    }

    /// Immutable data never changes.
    pub(super) fn validate_update(&self, old: &ConfigMap, report: &mut Report) {
        let same = self.data == old.data && self.binary_data == old.binary_data;
        secret::immutable(old.immutable, self.immutable, same, report);
    }
}
