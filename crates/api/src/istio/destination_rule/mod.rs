//! DestinationRule: what holds for traffic once its destination is chosen.
//!
//! Load balancing is in [`balancing`], connection limits and health in [`limits`], TLS here.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::policy::PolicySelector;
use super::virtual_service::PortSelector;
use crate::scalar::{GoDuration, Port};

pub mod balancing;
pub mod limits;
mod validate;
mod validate_balancing;

pub use balancing::{
    BackendUtilization, ConsistentHash, CookieAttribute, Distribute, Failover, HttpCookie,
    LoadBalancerSettings, LocalityLoadBalancerSetting, MagLev, RingHash, SimpleLb,
    WarmupConfiguration, ZoneAwareLoadBalancerSetting,
};
pub use limits::{
    ConnectionPoolSettings, H2UpgradePolicy, Http2KeepAlive, HttpSettings, OutlierDetection,
    TcpKeepalive, TcpSettings,
};

/// Policies for traffic to a host: balancing, limits, health, TLS, and named subsets of its endpoints.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DestinationRule {
    /// Name of the service, from the registry or a ServiceEntry; a leading `*.` is allowed. A short name
    /// means one of the rule's own namespace.
    #[schemars(extend("x-alias" = ["name"]))]
    pub host: String,
    /// What holds for the whole host.
    pub traffic_policy: Option<TrafficPolicy>,
    /// Named groups of the host's endpoints, which routes can choose.
    #[serde(default)]
    pub subsets: Vec<Subset>,
    /// Namespaces that see this rule: names, `.` for the own one, `*` for all. All when absent.
    #[serde(default)]
    pub export_to: Vec<String>,
    /// Client workloads, of the rule's own namespace, that it is limited to.
    pub workload_selector: Option<PolicySelector>,
}

/// A named group of endpoints.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Subset {
    /// Name of the subset, part of the cluster's name.
    pub name: String,
    /// Labels that an endpoint has to carry, all of them.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What holds for this subset; each field given replaces the host's.
    pub traffic_policy: Option<TrafficPolicy>,
}

/// Policies for connections to a destination.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrafficPolicy {
    /// How endpoints are chosen.
    pub load_balancer: Option<LoadBalancerSettings>,
    /// Limits and timeouts of connections.
    pub connection_pool: Option<ConnectionPoolSettings>,
    /// When failing endpoints are taken out.
    pub outlier_detection: Option<OutlierDetection>,
    /// TLS towards the destination.
    pub tls: Option<ClientTlsSettings>,
    /// Settings for single ports. A port that stands here takes nothing from the settings above.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub port_level_settings: Vec<PortTrafficPolicy>,
    /// Reach the destination through an HTTP tunnel.
    pub tunnel: Option<TunnelSettings>,
    /// Tell the destination the client's address by a PROXY header.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Limit retries to a share of the active requests.
    pub retry_budget: Option<RetryBudget>,
}

/// Policies for one port of a destination.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PortTrafficPolicy {
    /// The port of the service.
    pub port: Option<PortSelector>,
    /// How endpoints are chosen.
    pub load_balancer: Option<LoadBalancerSettings>,
    /// Limits and timeouts of connections.
    pub connection_pool: Option<ConnectionPoolSettings>,
    /// When failing endpoints are taken out.
    pub outlier_detection: Option<OutlierDetection>,
    /// TLS towards the destination.
    pub tls: Option<ClientTlsSettings>,
}

/// An HTTP tunnel in front of the destination.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TunnelSettings {
    /// How the tunnel is asked for: CONNECT (when absent) or POST.
    #[serde(default)]
    pub protocol: String,
    /// Host that the tunnel leads to.
    pub target_host: String,
    /// Port that the tunnel leads to.
    pub target_port: Port,
}

/// The PROXY header that begins each connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProxyProtocol {
    /// Version of the header; V1 when absent.
    #[serde(default)]
    pub version: ProxyProtocolVersion,
}

/// Version of the PROXY header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
pub enum ProxyProtocolVersion {
    /// Text.
    #[default]
    V1,
    /// Binary.
    V2,
}

/// Limits retries to a share of the active requests.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetryBudget {
    /// Share of the active and pending requests that may be retries, in percent; 20 when absent.
    #[schemars(extend("nullable" = true), range(min = 0.0, max = 100.0))]
    pub percent: Option<f64>,
    /// Retries that are always allowed; 3 when absent or 0.
    #[serde(default)]
    pub min_retry_concurrency: u32,
    /// Window over which requests are counted; the current moment alone when absent.
    #[serde(default)]
    #[schemars(schema_with = "crate::scalar::duration_or_zero")]
    pub budget_interval: Option<GoDuration>,
}

/// TLS towards a destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ClientTLSSettings")]
pub struct ClientTlsSettings {
    /// Whether TLS is spoken, and with which certificate. DISABLE when absent.
    #[serde(default)]
    pub mode: ClientTlsMode,
    /// File with the client's certificate chain (PEM).
    #[serde(default)]
    pub client_certificate: String,
    /// File with the client's private key (PEM).
    #[serde(default)]
    pub private_key: String,
    /// File with the authorities (PEM) that the server's certificate is verified against; the system's
    /// when absent.
    #[serde(default)]
    pub ca_certificates: String,
    /// Secret in place of the files, in the namespace of the gateway's own process (istio-system), not of this rule. The
    /// client's certificate and key are its `tls.crt` and `tls.key`, or `cert` and `key`; authorities are `ca.crt` or
    /// `cacert` of `<credentialName>-cacert`, else of the Secret itself.
    #[serde(default)]
    pub credential_name: String,
    /// Names of which the server's certificate has to carry one; the host when absent.
    #[serde(default)]
    pub subject_alt_names: Vec<String>,
    /// Server name to ask for; the request's host when absent.
    #[serde(default)]
    pub sni: String,
    /// Do not verify the server's certificate.
    #[schemars(extend("nullable" = true))]
    pub insecure_skip_verify: Option<bool>,
    /// File with revoked server certificates (PEM).
    #[serde(default)]
    pub ca_crl: String,
}

/// Whether TLS is spoken with a destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ClientTlsMode {
    /// No TLS.
    #[default]
    Disable,
    /// TLS without a client certificate.
    Simple,
    /// TLS with the given client certificate.
    Mutual,
    /// TLS with the mesh's own certificate.
    IstioMutual,
}

#[cfg(test)]
mod tests;
