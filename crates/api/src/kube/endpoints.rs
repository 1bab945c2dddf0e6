//! Endpoints: the older form of EndpointSlices. They are stored and shown; endpoints are read from slices alone.

use schemars::JsonSchema;
use serde_json::{Value, json};

use super::{ObjectReference, items, set_default};

/// Addresses behind the Service of the same name. EndpointSlice has taken its place.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Endpoints {
    /// Groups of addresses with the same ports.
    pub subsets: Option<Vec<EndpointSubset>>,
}

/// Addresses with the same ports.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSubset {
    /// Addresses that take traffic.
    pub addresses: Option<Vec<EndpointAddress>>,
    /// Addresses that do not take traffic yet.
    pub not_ready_addresses: Option<Vec<EndpointAddress>>,
    /// Ports of all of them.
    pub ports: Option<Vec<EndpointsPort>>,
}

/// An address.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointAddress {
    /// The IP address.
    pub ip: Option<String>,
    /// Its host name.
    pub hostname: Option<String>,
    /// The node that it is on.
    pub node_name: Option<String>,
    /// The object behind it, usually a Pod.
    pub target_ref: Option<ObjectReference>,
}

/// A port.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "EndpointPort")]
pub struct EndpointsPort {
    /// Name of the port in the Service.
    pub name: Option<String>,
    /// The port number.
    pub port: Option<i32>,
    /// Transport of the port: TCP (when absent), UDP or SCTP.
    pub protocol: Option<String>,
    /// What is spoken on the port.
    pub app_protocol: Option<String>,
}

/// Fills in what Kubernetes fills in.
pub(super) fn defaults(object: &mut Value) {
    for subset in items(object, "subsets") {
        for port in items(subset, "ports") {
            set_default(port, "protocol", json!("TCP"));
        }
    }
}
