//! EndpointSlice: addresses behind a Service.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ObjectReference, TransportProtocol, items, set_default};
use crate::scalar::{Opaque, Port};
use crate::validation::{Report, names};

const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;
const MAX_PORTS: usize = 100;

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

/// Fills in what Kubernetes fills in.
pub(super) fn defaults(object: &mut Value) {
    for endpoint in items(object, "endpoints") {
        set_default(endpoint, "conditions", json!({}));
    }
    for port in items(object, "ports") {
        set_default(port, "name", json!(""));
        set_default(port, "protocol", json!("TCP"));
    }
}

impl EndpointSlice {
    /// Checks addresses, names and sizes.
    pub(crate) fn validate(&self, report: &mut Report) {
        too_many("endpoints", self.endpoints.len(), MAX_ENDPOINTS, report);
        report.each("endpoints", &self.endpoints, |report, endpoint| {
            if endpoint.addresses.is_empty() {
                let message = "must contain at least 1 address";
                report.field("addresses", |r| r.required(message));
            }
            too_many("addresses", endpoint.addresses.len(), MAX_ADDRESSES, report);
            report.each("addresses", &endpoint.addresses, |report, address| {
                report.check(address.as_str(), self.address_type.check(address));
            });
        });
        too_many("ports", self.ports.len(), MAX_PORTS, report);
        let mut seen = BTreeSet::new();
        report.each("ports", &self.ports, |report, port| {
            let name = port.name.as_deref().unwrap_or_default();
            report.field("name", |report| {
                if !name.is_empty() {
                    report.check(name, names::dns_label(name));
                }
                if !seen.insert(name) {
                    report.duplicate(name);
                }
            });
        });
    }

    /// The type of the addresses never changes.
    pub(super) fn validate_update(&self, old: &EndpointSlice, report: &mut Report) {
        if self.address_type != old.address_type {
            report.field("addressType", |r| r.wrong("field is immutable"));
        }
    }
}

fn too_many(field: &str, count: usize, most: usize, report: &mut Report) {
    if count > most {
        report.field(field, |r| r.too_many(count, most));
    }
}

impl AddressType {
    fn check(self, address: &str) -> Result<(), String> {
        let fault = match self {
            AddressType::IPv4 if address.parse::<std::net::Ipv4Addr>().is_err() => {
                "must be a valid IPv4 address"
            }
            AddressType::IPv6 if address.parse::<std::net::Ipv6Addr>().is_err() => {
                "must be a valid IPv6 address"
            }
            AddressType::Fqdn => return names::dns_subdomain(address),
            _ => return Ok(()),
        };
        Err(fault.to_owned())
    }
}
