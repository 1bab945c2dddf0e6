//! ProxyConfig: how the proxies beside workloads are set up.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::policy::{self, PolicySelector};
use crate::validation::Report;

/// Says how proxies are set up when they start.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProxyConfig {
    /// The workloads whose proxies are meant; all of the namespace when absent, of the mesh if that is the root namespace.
    pub selector: Option<PolicySelector>,
    /// Worker threads; 0 for one per core.
    #[schemars(range(min = 0), extend("nullable" = true))]
    pub concurrency: Option<i32>,
    /// Variables of the proxies' environment.
    #[schemars(extend("additionalProperties" = json!({"type": "string", "maxLength": 2048})))]
    pub environment_variables: Option<BTreeMap<String, String>>,
    /// The image that proxies run.
    pub image: Option<ProxyImage>,
}

/// The image that proxies run.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProxyImage {
    /// Its kind: default, debug or distroless.
    pub image_type: Option<String>,
}

impl ProxyConfig {
    /// Checks what goes beyond its shape.
    pub(crate) fn validate(&self, report: &mut Report) {
        policy::validate_selector(report, self.selector.as_ref());
    }
}
