//! Sidecar: what the proxy beside a workload sees of the mesh, and which ports it opens.

mod validate;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Protocol;
use super::destination_rule::ConnectionPoolSettings;
use super::gateway::ServerTlsSettings;
use super::service_entry::WorkloadSelector;
use super::virtual_service::Destination;
use crate::scalar::Port;

/// Says what the proxies beside workloads see of the mesh, where they listen, and what they do with what nothing describes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sidecar {
    /// The workloads of the namespace that this is about. When absent, every one that no other Sidecar names; of the whole
    /// mesh, if the namespace is the root.
    pub workload_selector: Option<WorkloadSelector>,
    /// What comes in. When absent, it follows from the services that lead to the workload.
    #[serde(default)]
    pub ingress: Vec<IngressListener>,
    /// What goes out, and which hosts there are. When absent, every host that the namespace sees.
    #[serde(default)]
    pub egress: Vec<EgressListener>,
    /// Limits of what comes in, on every port.
    pub inbound_connection_pool: Option<ConnectionPoolSettings>,
    /// What happens to requests and connections that nothing describes; what the mesh config says when absent.
    pub outbound_traffic_policy: Option<OutboundTrafficPolicy>,
}

/// A port of the workload.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "IstioIngressListener")]
pub struct IngressListener {
    /// The port that is dialled.
    pub port: SidecarPort,
    /// The address that is dialled; the workload's own when absent.
    #[serde(default)]
    pub bind: String,
    /// How connections get here.
    #[serde(default)]
    pub capture_mode: CaptureMode,
    /// Where the workload listens: `127.0.0.1:PORT` or `[::1]:PORT`, `0.0.0.0:PORT` or `[::]:PORT` for the address that
    /// was dialled, or `unix://PATH`. When absent, the address and the port that were dialled.
    #[serde(default)]
    pub default_endpoint: String,
    /// TLS that ends here, with certificates from files; for HTTPS and TLS only.
    pub tls: Option<ServerTlsSettings>,
    /// Limits of this port, in place of `inboundConnectionPool`.
    pub connection_pool: Option<ConnectionPoolSettings>,
}

/// Hosts that the workload reaches, on one port or on all.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "IstioEgressListener")]
pub struct EgressListener {
    /// The port that this is about. When absent, all ports that no other listener has; at most the last one may lack it.
    pub port: Option<SidecarPort>,
    /// The address that is listened on, or `unix://PATH` with port number 0.
    #[serde(default)]
    pub bind: String,
    /// How connections get here.
    #[serde(default)]
    pub capture_mode: CaptureMode,
    /// The hosts that there are: `namespace/host`. The namespace may be `*` (any) or `.` (the Sidecar's own); with a `~` before
    /// it, the hosts are left out. The host may begin with `*.`, or be `*`.
    pub hosts: Vec<String>,
}

/// A port of a Sidecar.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SidecarPort {
    /// The port number; 0 for a Unix socket.
    #[serde(default, deserialize_with = "crate::scalar::zero_is_no_port")]
    #[schemars(schema_with = "crate::scalar::port_or_zero")]
    pub number: Option<Port>,
    /// What is spoken on the port: HTTP, HTTPS, HTTP2, GRPC, GRPC-WEB, TCP, TLS, MONGO, MYSQL or REDIS, in any letter case.
    pub protocol: Protocol,
    /// A label for the port.
    #[serde(default)]
    pub name: String,
    /// Refused: it has no effect on Sidecars.
    #[serde(default, deserialize_with = "crate::scalar::zero_is_no_port")]
    #[schemars(schema_with = "crate::scalar::port_or_zero")]
    pub target_port: Option<Port>,
}

/// How connections get to a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum CaptureMode {
    /// As the workload is set up.
    #[default]
    Default,
    /// By rules that redirect them.
    Iptables,
    /// By being dialled.
    None,
}

/// What happens to what nothing describes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OutboundTrafficPolicy {
    /// Whether it is let out.
    #[serde(default)]
    pub mode: OutboundTrafficMode,
    /// The service that it is sent through.
    pub egress_proxy: Option<Destination>,
}

/// Whether what nothing describes is let out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[schemars(rename = "OutboundTrafficPolicyMode")]
pub enum OutboundTrafficMode {
    /// It is refused.
    #[default]
    RegistryOnly,
    /// It goes to where it was sent.
    AllowAny,
}
