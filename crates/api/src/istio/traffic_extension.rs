//! TrafficExtension: code of the user's own in the request path, in WebAssembly or Lua.

use schemars::JsonSchema;

use super::policy::{PolicySelector, TargetReference};
use super::wasm_plugin::{Module, TrafficSelector};
use crate::schema::rules::{Says, says};

const EXTENSION: &[Says] = &[
    says(
        "!(has(self.selector) && has(self.targetRefs))",
        "only one of targetRefs or selector can be set",
    ),
    says("has(self.wasm) != has(self.lua)", "exactly one of wasm or lua must be set"),
];

/// Runs a WebAssembly module or a script as a filter.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = EXTENSION))]
pub struct TrafficExtension {
    /// The workloads that this is about, by their labels.
    pub selector: Option<PolicySelector>,
    /// The resources that this is about.
    #[schemars(length(max = 16))]
    pub target_refs: Option<Vec<TargetReference>>,
    /// Where in the chain the filter stands.
    pub phase: Option<ExtensionPhase>,
    /// Order within the phase: higher comes first.
    #[schemars(extend("nullable" = true))]
    pub priority: Option<i32>,
    /// Traffic that goes through the filter; all of it when absent.
    #[serde(rename = "match")]
    pub conditions: Option<Vec<TrafficSelector>>,
    /// The WebAssembly module.
    pub wasm: Option<Module>,
    /// The script.
    pub lua: Option<LuaConfig>,
}

/// Where in the chain a filter stands.
#[derive(JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum ExtensionPhase {
    /// At the end, before the router.
    Unspecified,
    /// Before Istio's authentication.
    Authn,
    /// Between authentication and authorization.
    Authz,
    /// After authorization, before the statistics.
    Stats,
}

/// A script.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LuaConfig {
    /// Its text, with a function `envoy_on_request` or `envoy_on_response` or both.
    #[schemars(length(min = 1, max = 65536))]
    pub inline_code: String,
}
