//! WasmPlugin: code of the user's own in the request path.

use schemars::JsonSchema;

use super::policy::{ATTACHMENT, PolicySelector, TargetReference};
use super::telemetry::WorkloadMode;
use crate::scalar::{Opaque, Port};
use crate::schema::rules::{Says, says};

/// What stands before a first colon is a scheme, as for whoever fetches the module.
const SOURCE: &[Says] = &[says(
    "self.matches('^[a-zA-Z][-a-zA-Z0-9+.]*:') ? self.matches('^(?i)(https?|file|oci):') : !self.matches('[[:cntrl:] ]')",
    "url must have schema one of [http, https, file, oci]",
)];

/// Runs a WebAssembly module as a filter.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = ATTACHMENT))]
pub struct WasmPlugin {
    /// The workloads that this is about, by their labels.
    pub selector: Option<PolicySelector>,
    /// The resource that this is about.
    pub target_ref: Option<TargetReference>,
    /// The resources that this is about.
    #[schemars(length(max = 16))]
    pub target_refs: Option<Vec<TargetReference>>,
    /// The module.
    #[serde(flatten)]
    pub module: Module,
    /// Where in the chain the filter stands.
    pub phase: Option<PluginPhase>,
    /// Order within the phase: higher comes first.
    #[schemars(extend("nullable" = true))]
    pub priority: Option<i32>,
    /// Traffic that goes through the filter; all of it when absent.
    #[serde(rename = "match")]
    pub conditions: Option<Vec<TrafficSelector>>,
}

/// A WebAssembly module, and how it is run.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "WasmConfig")]
pub struct Module {
    /// Where the module is: `oci://`, `https://`, `http://` or `file://`; an image when there is no scheme.
    #[schemars(length(min = 1), extend("x-kubernetes-validations" = SOURCE))]
    pub url: String,
    /// Checksum of the module, in hexadecimal digits.
    #[schemars(regex(pattern = "(^$|^[a-f0-9]{64}$)"))]
    pub sha256: Option<String>,
    /// When the image is fetched.
    pub image_pull_policy: Option<PullPolicy>,
    /// The Secret with which the image is fetched.
    #[schemars(length(min = 1, max = 253))]
    pub image_pull_secret: Option<String>,
    /// Not in use.
    pub verification_key: Option<String>,
    /// Configuration that the module is given, of its own form.
    #[serde(default)]
    #[schemars(schema_with = "of_its_own_form")]
    pub plugin_config: Option<Opaque>,
    /// Name of the plugin within the module.
    #[schemars(length(min = 1, max = 256))]
    pub plugin_name: Option<String>,
    /// What happens when the module cannot be run.
    pub fail_strategy: Option<FailStrategy>,
    /// Environment of the module.
    pub vm_config: Option<VmConfig>,
    /// What the module filters: HTTP when absent.
    #[serde(rename = "type")]
    pub kind: Option<PluginType>,
}

/// Keys and values that only the module knows.
fn of_its_own_form(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object", "properties": {}, "x-kubernetes-preserve-unknown-fields": true,
    })
}

/// When an image is fetched.
#[derive(JsonSchema)]
pub enum PullPolicy {
    /// As the image's tag says.
    #[serde(rename = "UNSPECIFIED_POLICY")]
    Unspecified,
    /// When it is not there.
    IfNotPresent,
    /// Whenever the plugin is loaded.
    Always,
}

/// Where in the chain a filter stands.
#[derive(JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum PluginPhase {
    /// At the end, before the router.
    #[serde(rename = "UNSPECIFIED_PHASE")]
    Unspecified,
    /// Before Istio's authentication.
    Authn,
    /// Between authentication and authorization.
    Authz,
    /// After authorization, before the statistics.
    Stats,
}

/// What happens when a module cannot be run.
#[derive(JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FailStrategy {
    /// Requests are refused.
    FailClose,
    /// Requests go on without it.
    FailOpen,
    /// The module is loaded anew.
    FailReload,
}

/// What a module filters.
#[derive(JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum PluginType {
    /// HTTP.
    #[serde(rename = "UNSPECIFIED_PLUGIN_TYPE")]
    Unspecified,
    /// Requests.
    Http,
    /// Connections.
    Network,
}

/// Environment of a module.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VmConfig {
    /// Variables.
    #[schemars(
        length(max = 256),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub env: Option<Vec<EnvVar>>,
}

/// A variable of a module's environment.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(
    rename = "WasmEnvVar",
    extend("x-kubernetes-validations" = [says(
        "has(self.valueFrom) && self.valueFrom == 'HOST' ? !has(self.value) : true",
        "value may only be set when valueFrom is INLINE",
    )])
)]
pub struct EnvVar {
    /// Its name.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// Where its value comes from; INLINE when absent.
    pub value_from: Option<EnvSource>,
    /// Its value.
    #[schemars(length(max = 2048))]
    pub value: Option<String>,
}

/// Where the value of a variable comes from.
#[derive(JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum EnvSource {
    /// From `value`.
    Inline,
    /// From the proxy's own environment.
    Host,
}

/// Traffic that goes through a filter.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrafficSelector {
    /// Which traffic; both when absent.
    #[serde(default)]
    #[schemars(schema_with = "mode")]
    pub mode: Option<WorkloadMode>,
    /// Ports; all when absent.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["number"]))]
    pub ports: Option<Vec<PortSelector>>,
}

/// As [`WorkloadMode`], and UNDEFINED for both.
fn mode(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "string", "enum": ["UNDEFINED", "CLIENT", "SERVER", "CLIENT_AND_SERVER"]})
}

/// A port by its number.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PortSelector {
    /// The number.
    #[schemars(range(min = 1, max = 65535))]
    pub number: Port,
}
