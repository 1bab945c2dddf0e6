//! ServiceEntry: hosts that no Service describes, and the WorkloadEntry that names one endpoint.

mod validate;

pub(crate) use validate::Addresses;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::Protocol;
use super::policy::label_value;
use crate::scalar::Port;
use crate::schema::rules::{Says, says};

const ENTRY: &[Says] = &[
    says(
        "!(has(self.workloadSelector) && has(self.endpoints))",
        "only one of WorkloadSelector or Endpoints can be set",
    ),
    says(
        "has(self.addresses) && has(self.resolution) && !(self.resolution in ['NONE', 'STATIC']) \
         ? !self.addresses.exists(address, address.contains('/')) : true",
        "CIDR addresses are allowed only for NONE/STATIC resolution types",
    ),
    says(
        "!has(self.resolution) || self.resolution == 'NONE' ? !has(self.endpoints) || self.endpoints.size() == 0 : true",
        "NONE mode cannot set endpoints",
    ),
    says(
        "has(self.endpoints) && has(self.resolution) && self.resolution == 'DNS_ROUND_ROBIN' \
         ? self.endpoints.size() <= 1 : true",
        "DNS_ROUND_ROBIN mode cannot have multiple endpoints",
    ),
];

/// Adds hosts to the registry: external services, or workloads outside the cluster.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = ENTRY))]
pub struct ServiceEntry {
    /// The names of the service: for HTTP matched against the Host header, for TLS against the SNI. A
    /// leading `*.` matches subdomains (only without endpoints that have to be resolved from the name).
    #[schemars(
        length(min = 1, max = 256),
        extend("items" = json!({
            "type": "string",
            "x-kubernetes-validations": [says("self != '*'", "hostname cannot be wildcard")],
        }))
    )]
    pub hosts: Vec<String>,
    /// Virtual addresses or CIDR ranges of the service, used to recognise opaque TCP.
    #[serde(default)]
    #[schemars(length(max = 256), inner(length(max = 64)))]
    pub addresses: Vec<String>,
    /// The ports of the service.
    #[serde(default)]
    #[schemars(
        length(max = 256),
        extend(
            "x-kubernetes-list-type" = "map",
            "x-kubernetes-list-map-keys" = ["name"],
            "x-kubernetes-validations" = [says(
                "self.all(port, self.exists_one(other, other.number == port.number))",
                "port number cannot be duplicated",
            )]
        )
    )]
    pub ports: Vec<ServicePort>,
    /// Whether the service is part of the mesh. MESH_EXTERNAL when absent.
    #[serde(default)]
    pub location: Location,
    /// How endpoints are found. NONE when absent: the connection's original destination is kept.
    #[serde(default)]
    pub resolution: Resolution,
    /// The endpoints, when they are listed here.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub endpoints: Vec<WorkloadEntry>,
    /// Labels that pick pods and WorkloadEntries of the same namespace as endpoints, instead of
    /// `endpoints`.
    pub workload_selector: Option<WorkloadSelector>,
    /// Namespaces that see this entry: names, `.` for its own, `*` for all, `~` for none. All when absent.
    #[serde(default)]
    pub export_to: Vec<String>,
    /// Names of which the server's certificate has to carry one, when TLS is originated.
    #[serde(default)]
    pub subject_alt_names: Vec<String>,
}

/// A port of a [`ServiceEntry`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    /// The port number, 1 to 65535.
    pub number: Port,
    /// What is spoken on the port: HTTP, HTTPS, HTTP2, GRPC, TCP, TLS or MONGO, in any letter case.
    /// Detected when absent.
    #[serde(default, deserialize_with = "super::protocol::empty_is_none")]
    #[schemars(schema_with = "super::protocol::or_empty", length(max = 256))]
    pub protocol: Option<Protocol>,
    /// A label for the port, unique in this entry.
    #[schemars(length(max = 256))]
    pub name: String,
    /// The endpoints' port, when it differs from `number`.
    pub target_port: Option<Port>,
}

/// Which side of the mesh's border a service is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Location {
    /// Outside: no mesh TLS is spoken with it.
    #[default]
    MeshExternal,
    /// Inside.
    MeshInternal,
}

/// How the endpoints of a service are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Resolution {
    /// The address that the client dialled is kept.
    #[default]
    None,
    /// The addresses listed as endpoints are used.
    Static,
    /// Names (the endpoints', else the hosts) are resolved in the background; every address is used.
    Dns,
    /// As DNS, but a new connection takes the first address only.
    DnsRoundRobin,
    /// The name of each request under a wildcard host is resolved when it is first asked for.
    DynamicDns,
}

/// Labels that pick workloads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadSelector {
    /// Labels that a workload has to carry, all of them.
    #[serde(default)]
    #[schemars(extend(
        "maxProperties" = 256,
        "additionalProperties" = label_value("wildcard is not supported in selector"),
    ))]
    pub labels: BTreeMap<String, String>,
}

const ADDRESS: &[Says] = &[
    says(
        "self.startsWith('unix://') ? self.matches('^unix://[/@]') : true",
        "UDS must be an absolute path or abstract socket",
    ),
    says("self.startsWith('unix://') ? !self.endsWith('/') : true", "UDS may not be a dir"),
];

/// Of an endpoint that is a Unix socket.
pub(super) const SOCKET_WITHOUT_PORTS: Says = says(
    "has(self.address) && self.address.startsWith('unix://') ? !has(self.ports) : true",
    "UDS may not include ports",
);

/// One endpoint: a virtual machine, an external server, or any address a service is reached at.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    says(
        "has(self.address) && self.address != '' || has(self.network) && self.network != ''",
        "Address is required",
    ),
    SOCKET_WITHOUT_PORTS,
]))]
pub struct WorkloadEntry {
    /// IP address, host name, or `unix://` and the absolute path of a socket.
    #[serde(default)]
    #[schemars(length(max = 256), extend("x-kubernetes-validations" = ADDRESS))]
    pub address: String,
    /// Ports by the name they have in the service; the service's own port where a name is missing.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 128, "x-kubernetes-validations" = [says(
        "self.all(key, key.matches('^[a-zA-Z0-9]([-a-zA-Z0-9]{0,60}[a-zA-Z0-9])?$'))",
        "port name must be valid",
    )]))]
    pub ports: BTreeMap<String, Port>,
    /// Labels of the endpoint, which subsets and selectors read.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 256))]
    pub labels: BTreeMap<String, String>,
    /// The network that the address belongs to, when there are several.
    #[serde(default)]
    #[schemars(length(max = 2048))]
    pub network: String,
    /// Where the endpoint is: `region/zone/subzone`.
    #[serde(default)]
    #[schemars(length(max = 2048))]
    pub locality: String,
    /// Share of the traffic relative to the other endpoints; 1 when absent or 0.
    #[serde(default)]
    pub weight: u32,
    /// Service account that the workload runs as.
    #[serde(default)]
    #[schemars(length(max = 253))]
    pub service_account: String,
}

#[cfg(test)]
mod tests;
