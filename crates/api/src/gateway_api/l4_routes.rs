//! TCPRoute, TLSRoute and UDPRoute: where connections and datagrams go.

use schemars::JsonSchema;

use super::{BackendReference, Hostname, PARENTS, ParentReference, SectionName};
use crate::schema::rules::{Says, says};

/// Sends connections that reach a port of a Gateway to backends.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TcpRoute {
    /// The Gateways that the route wants to be attached to.
    #[schemars(length(max = 32), extend("x-kubernetes-validations" = PARENTS))]
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
    #[schemars(length(max = 32), extend("x-kubernetes-validations" = PARENTS))]
    pub parent_refs: Option<Vec<ParentReference>>,
    /// The rule; there is one.
    #[schemars(length(min = 1, max = 1))]
    pub rules: Vec<Rule>,
}

const NAMES: &[Says] = &[
    says("self.all(h, !isIP(h))", "Hostnames cannot contain an IP"),
    says(
        r"self.all(h, h.contains('*') || h.matches(r'^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$'))",
        "Hostnames must be valid based on RFC-1123",
    ),
    says(
        r"self.all(h, !h.contains('*') || h.matches(r'^\*(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+$'))",
        "Wildcards on hostnames must be the first label, and the rest of hostname must be valid based on RFC-1123",
    ),
];

/// Sends TLS connections that reach a Gateway, by the server name that clients ask for, to backends.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsRoute {
    /// The Gateways that the route wants to be attached to.
    #[schemars(length(max = 32), extend("x-kubernetes-validations" = PARENTS))]
    pub parent_refs: Option<Vec<ParentReference>>,
    /// Server names, matched against the SNI.
    #[schemars(length(min = 1, max = 1024), extend("x-kubernetes-validations" = NAMES))]
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
