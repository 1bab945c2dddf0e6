//! Service: a name, its ports, and the pods behind it.

mod admission;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::TransportProtocol;
use crate::scalar::{IntOrString, Opaque};

pub(super) use admission::defaults;
pub use admission::{Allocator, allocate};

/// A named set of endpoints and the ports they are reached on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// What is wanted.
    #[serde(default)]
    pub spec: ServiceSpec,
    /// What is.
    #[serde(default)]
    pub status: ServiceStatus,
}

/// What a Service is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSpec {
    /// The ports of the service.
    #[serde(default)]
    pub ports: Vec<ServicePort>,
    /// Labels of the pods behind the service.
    #[serde(default)]
    pub selector: BTreeMap<String, String>,
    /// The virtual address; `None` for a headless service; chosen by the server when absent.
    #[serde(default, rename = "clusterIP")]
    pub cluster_ip: String,
    /// The virtual addresses, the first being `clusterIP`.
    #[serde(default, rename = "clusterIPs")]
    pub cluster_ips: Vec<String>,
    /// How the service is reached. ClusterIP when absent.
    #[serde(default, rename = "type")]
    pub kind: ServiceType,
    /// The DNS name that an ExternalName service stands for.
    #[serde(default)]
    pub external_name: String,
    /// Addresses that traffic for this service also arrives at.
    #[serde(default, rename = "externalIPs")]
    pub external_ips: Vec<String>,
    /// Address asked of the load balancer. Deprecated.
    #[serde(default, rename = "loadBalancerIP")]
    pub load_balancer_ip: String,
    /// Client ranges that the load balancer admits.
    #[serde(default)]
    pub load_balancer_source_ranges: Vec<String>,
    /// Which load balancer serves this service.
    pub load_balancer_class: Option<String>,
    /// Whether node ports are made for a LoadBalancer.
    pub allocate_load_balancer_node_ports: Option<bool>,
    /// Whether a client keeps its endpoint: None or ClientIP.
    #[serde(default)]
    pub session_affinity: String,
    /// Settings of the session affinity.
    #[serde(default)]
    pub session_affinity_config: Opaque,
    /// Cluster or Local: whether traffic from outside may leave the node it came in on.
    #[serde(default)]
    pub external_traffic_policy: String,
    /// Cluster or Local: whether traffic from inside may leave the node it came from.
    #[serde(default)]
    pub internal_traffic_policy: String,
    /// Node port of the health check, with `externalTrafficPolicy: Local`.
    #[serde(default)]
    pub health_check_node_port: i32,
    /// Publish addresses of endpoints that are not ready.
    #[serde(default)]
    pub publish_not_ready_addresses: bool,
    /// IPv4, IPv6 or both.
    #[serde(default)]
    pub ip_families: Vec<String>,
    /// SingleStack, PreferDualStack or RequireDualStack.
    #[serde(default)]
    pub ip_family_policy: String,
    /// Preference for near endpoints.
    #[serde(default)]
    pub traffic_distribution: String,
}

/// How a Service is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// At an address inside the cluster.
    #[default]
    ClusterIP,
    /// At a port of every node too.
    NodePort,
    /// At a load balancer too.
    LoadBalancer,
    /// Nowhere: it is an alias of a DNS name.
    ExternalName,
}

/// A port of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    /// Name of the port; required when there are several. Its first part may name the protocol, as in
    /// `http-web`.
    #[serde(default)]
    pub name: String,
    /// Transport of the port. TCP when absent.
    #[serde(default)]
    pub protocol: TransportProtocol,
    /// What is spoken on the port, such as http, https or kubernetes.io/h2c.
    pub app_protocol: Option<String>,
    /// The port number.
    #[serde(default)]
    pub port: i32,
    /// Number or name of the pods' port; `port` when absent.
    pub target_port: Option<IntOrString>,
    /// Port of the nodes.
    #[serde(default)]
    pub node_port: i32,
}

/// What is known of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus {
    /// The load balancer.
    #[serde(default)]
    pub load_balancer: LoadBalancerStatus,
    /// Conditions of the service.
    #[serde(default)]
    pub conditions: Opaque,
}

/// What is known of a load balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancerStatus {
    /// Where it is reached.
    #[serde(default)]
    pub ingress: Vec<LoadBalancerIngress>,
}

/// Where a load balancer is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancerIngress {
    /// Address.
    #[serde(default)]
    pub ip: String,
    /// DNS name.
    #[serde(default)]
    pub hostname: String,
    /// VIP or Proxy.
    pub ip_mode: Option<String>,
    /// Ports that are served.
    #[serde(default)]
    pub ports: Opaque,
}
