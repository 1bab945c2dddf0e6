//! TCPRoute, TLSRoute and UDPRoute: where connections and datagrams go.

use schemars::JsonSchema;

use super::{BackendReference, Hostname, ParentReference, SectionName};

/// Sends connections that reach a port of a Gateway to backends.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TcpRoute {
    /// The Gateways that the route wants to be attached to.
    #[schemars(length(max = 32))]
    pub parent_refs: Option<Vec<ParentReference>>,
    /// The rule; there is one.
    #[schemars(length(min = 1, max = 1))]
    pub rules: Vec<Rule>,
}

/// Sends datagrams that reach a port of a Gateway to backends.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UdpRoute {
    /// The Gateways that the route wants to be attached to.
    #[schemars(length(max = 32))]
    pub parent_refs: Option<Vec<ParentReference>>,
    /// The rule; there is one.
    #[schemars(length(min = 1, max = 1))]
    pub rules: Vec<Rule>,
}

/// Sends TLS connections that reach a Gateway, by the server name that clients ask for, to backends.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsRoute {
    /// The Gateways that the route wants to be attached to.
    #[schemars(length(max = 32))]
    pub parent_refs: Option<Vec<ParentReference>>,
    /// Server names, matched against the SNI.
    #[schemars(length(min = 1, max = 1024))]
    pub hostnames: Vec<Hostname>,
    /// The rule; there is one.
    #[schemars(length(min = 1, max = 1))]
    pub rules: Vec<Rule>,
}

/// Where connections go.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "RouteRule")]
pub struct Rule {
    /// Name of the rule.
    pub name: Option<SectionName>,
    /// The backends, among which connections are shared out.
    #[schemars(length(min = 1, max = 16))]
    pub backend_refs: Vec<BackendReference>,
}
