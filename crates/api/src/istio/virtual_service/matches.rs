//! Conditions on HTTP requests.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::istio::StringMatch;
use crate::scalar::Port;

/// Conditions on an HTTP request; all that are given have to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "HTTPMatchRequest")]
pub struct HttpMatchRequest {
    /// Name of the condition, appended to the rule's name in logs.
    #[serde(default)]
    pub name: String,
    /// The path, without query. Letter case counts unless `ignoreUriCase` is set; a prefix is plain text
    /// and does not stop at segments.
    pub uri: Option<StringMatch>,
    /// The scheme: http or https.
    pub scheme: Option<StringMatch>,
    /// The method.
    pub method: Option<StringMatch>,
    /// The Host header or :authority, with the port if the client wrote one.
    pub authority: Option<StringMatch>,
    /// Headers by name. A condition without exact, prefix and regex asks that the header is there.
    #[serde(default)]
    pub headers: BTreeMap<String, StringMatch>,
    /// Headers that must not match: the same conditions, turned around.
    #[serde(default)]
    pub without_headers: BTreeMap<String, StringMatch>,
    /// The port that the request came in on: the Gateway server's, or the service's in the mesh.
    #[serde(default, deserialize_with = "crate::scalar::zero_is_no_port")]
    #[schemars(schema_with = "crate::scalar::port_or_zero")]
    pub port: Option<Port>,
    /// Labels of the calling workload. At a gateway its own labels are compared: it is what calls from there.
    #[serde(default)]
    pub source_labels: BTreeMap<String, String>,
    /// Gateways that this condition applies to, in place of the VirtualService's own list.
    #[serde(default)]
    pub gateways: Vec<String>,
    /// Query parameters by name. A condition without exact, prefix and regex asks that it is there.
    #[serde(default)]
    pub query_params: BTreeMap<String, StringMatch>,
    /// Compare exact and prefix paths without regard to letter case.
    #[serde(default)]
    pub ignore_uri_case: bool,
    /// Namespace of the calling workload; at a gateway, the gateway's own.
    #[serde(default)]
    pub source_namespace: String,
    /// Prefix under which statistics of this route are kept. Has no effect yet.
    #[serde(default)]
    pub stat_prefix: String,
}
