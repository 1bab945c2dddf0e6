//! EndpointSlice: addresses behind a Service.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{ObjectReference, TransportProtocol};
use crate::scalar::{Opaque, Port};

/// A part of the endpoints of a Service, which the label `kubernetes.io/service-name` names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSlice {
    /// What the addresses are. It never changes.
    pub address_type: AddressType,
    /// The endpoints; at most 1000.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
    /// The ports that every endpoint serves; at most 100.
    #[serde(default)]
    pub ports: Vec<EndpointPort>,
}

/// What the addresses of a slice are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
pub enum AddressType {
    /// IPv4 addresses.
    #[default]
    IPv4,
    /// IPv6 addresses.
    IPv6,
    /// Host names.
    #[serde(rename = "FQDN")]
    Fqdn,
}

/// One endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Its addresses, at least one; all stand for the same endpoint.
    pub addresses: Vec<String>,
    /// Its state.
    #[serde(default)]
    pub conditions: EndpointConditions,
    /// Its host name.
    pub hostname: Option<String>,
    /// The object behind it, usually a Pod.
    pub target_ref: Option<ObjectReference>,
    /// The node that it runs on.
    pub node_name: Option<String>,
    /// The zone that it runs in.
    pub zone: Option<String>,
    /// Zones that should use it.
    #[serde(default)]
    pub hints: Opaque,
    /// Labels of its place, an older form of `nodeName` and `zone`.
    #[serde(default)]
    pub deprecated_topology: BTreeMap<String, String>,
}

/// State of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointConditions {
    /// It takes new connections; unknown counts as yes.
    pub ready: Option<bool>,
    /// It serves, whether or not it is about to end; unknown counts as `ready`.
    pub serving: Option<bool>,
    /// It is about to end; unknown counts as no.
    pub terminating: Option<bool>,
}

impl EndpointConditions {
    /// Whether new connections may go to the endpoint.
    pub fn is_ready(self) -> bool {
        self.ready.unwrap_or(true)
    }
}

/// A port of a slice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointPort {
    /// Name of the port in the Service.
    pub name: Option<String>,
    /// Transport of the port. TCP when absent.
    #[serde(default)]
    pub protocol: TransportProtocol,
    /// The port number; every port when absent.
    pub port: Option<Port>,
    /// What is spoken on the port.
    pub app_protocol: Option<String>,
}
