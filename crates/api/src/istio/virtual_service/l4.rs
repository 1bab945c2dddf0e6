//! Rules for connections: TLS by SNI, and opaque TCP.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Destination;
use crate::scalar::Port;

/// One rule for TLS connections that are passed through.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "TLSRoute")]
pub struct TlsRoute {
    /// Conditions, any one of which is enough.
    #[serde(rename = "match")]
    pub matches: Vec<TlsMatchAttributes>,
    /// Destinations, chosen by weight.
    #[serde(default)]
    pub route: Vec<RouteDestination>,
}

/// Conditions on a TLS connection; all that are given have to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "TLSMatchAttributes")]
pub struct TlsMatchAttributes {
    /// Server names that clients ask for; each has to fall under one of the VirtualService's hosts.
    pub sni_hosts: Vec<String>,
    /// Address ranges (CIDR) that the connection goes to; at a gateway, of its own address that the client connected to.
    #[serde(default)]
    pub destination_subnets: Vec<String>,
    /// The port that the connection came in on: the Gateway server's, or the service's in the mesh.
    #[serde(default, deserialize_with = "crate::scalar::zero_is_no_port")]
    #[schemars(schema_with = "crate::scalar::port_or_zero")]
    pub port: Option<Port>,
    /// Labels of the calling workload. Sidecars only: a gateway does not look at it in rules for connections.
    #[serde(default)]
    pub source_labels: BTreeMap<String, String>,
    /// Gateways that this condition applies to, in place of the VirtualService's own list.
    #[serde(default)]
    pub gateways: Vec<String>,
    /// Namespace of the calling workload. Sidecars only: a gateway does not look at it in rules for connections.
    #[serde(default)]
    pub source_namespace: String,
}

/// One rule for opaque TCP connections.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "TCPRoute")]
pub struct TcpRoute {
    /// Conditions, any one of which is enough. None means every connection.
    #[serde(default, rename = "match")]
    pub matches: Vec<L4MatchAttributes>,
    /// Destinations, chosen by weight.
    #[serde(default)]
    pub route: Vec<RouteDestination>,
}

/// Conditions on a TCP connection; all that are given have to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct L4MatchAttributes {
    /// Address ranges (CIDR) that the connection goes to; at a gateway, of its own address that the client connected to.
    #[serde(default)]
    pub destination_subnets: Vec<String>,
    /// The port that the connection came in on: the Gateway server's, or the service's in the mesh.
    #[serde(default, deserialize_with = "crate::scalar::zero_is_no_port")]
    #[schemars(schema_with = "crate::scalar::port_or_zero")]
    pub port: Option<Port>,
    /// Deprecated: address range (CIDR) of the caller. Sidecars only.
    #[serde(default)]
    pub source_subnet: String,
    /// Labels of the calling workload. Sidecars only: a gateway does not look at it in rules for connections.
    #[serde(default)]
    pub source_labels: BTreeMap<String, String>,
    /// Gateways that this condition applies to, in place of the VirtualService's own list.
    #[serde(default)]
    pub gateways: Vec<String>,
    /// Namespace of the calling workload. Sidecars only: a gateway does not look at it in rules for connections.
    #[serde(default)]
    pub source_namespace: String,
}

/// One destination of a TLS or TCP rule.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteDestination {
    /// Where connections go.
    pub destination: Destination,
    /// Share of the connections relative to the other destinations' weights; 0 beside others gets nothing. One destination
    /// alone gets every connection, whatever its weight.
    pub weight: Option<i32>,
}

impl RouteDestination {
    /// Its weight; 0 where none is written.
    pub fn share(&self) -> i32 {
        self.weight.unwrap_or(0)
    }
}
