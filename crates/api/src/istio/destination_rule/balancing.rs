//! How the endpoint of a request or connection is chosen.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::scalar::GoDuration;

/// How endpoints are chosen.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-oneof" = [["simple", "consistentHash", "backendUtilization"]]))]
pub struct LoadBalancerSettings {
    /// A plain algorithm.
    pub simple: Option<SimpleLb>,
    /// The same endpoint for the same property of a request.
    pub consistent_hash: Option<ConsistentHash>,
    /// Weights from the load that endpoints report.
    pub backend_utilization: Option<BackendUtilization>,
    /// Preferences by locality, in place of the mesh's.
    pub locality_lb_setting: Option<LocalityLoadBalancerSetting>,
    /// Preferences by zone, weighed against how clients are spread.
    pub zone_aware_lb_setting: Option<ZoneAwareLoadBalancerSetting>,
    /// Deprecated: time over which a new endpoint's share grows; use `warmup`.
    pub warmup_duration_secs: Option<GoDuration>,
    /// How a new endpoint's share grows.
    pub warmup: Option<WarmupConfiguration>,
}

/// A plain balancing algorithm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SimpleLb {
    /// The default: LEAST_REQUEST.
    #[default]
    Unspecified,
    /// Deprecated: LEAST_REQUEST.
    LeastConn,
    /// Any endpoint.
    Random,
    /// The address that the client dialled.
    Passthrough,
    /// Endpoints in turn.
    RoundRobin,
    /// Of two endpoints picked at random, the one with fewer requests.
    LeastRequest,
}

/// The same endpoint for the same property of a request. At most one
/// property may be given.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(
    rename = "ConsistentHashLB",
    extend("x-oneof" = [
        ["httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName"],
        ["ringHash", "maglev"]
    ])
)]
pub struct ConsistentHash {
    /// The header of that name.
    pub http_header_name: Option<String>,
    /// A cookie, which is made when it is missing.
    pub http_cookie: Option<HttpCookie>,
    /// The client's address.
    pub use_source_ip: Option<bool>,
    /// The query parameter of that name.
    pub http_query_parameter_name: Option<String>,
    /// Use a hash ring; the default.
    pub ring_hash: Option<RingHash>,
    /// Use Maglev's table.
    pub maglev: Option<MagLev>,
    /// Deprecated: the ring's smallest size; use `ringHash`.
    #[serde(default)]
    pub minimum_ring_size: u64,
}

/// A cookie whose value is hashed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "HTTPCookie")]
pub struct HttpCookie {
    /// Name of the cookie.
    pub name: String,
    /// Path of the cookie.
    #[serde(default)]
    pub path: String,
    /// Lifetime of the cookie; 0s makes a session cookie. Without it no cookie is made.
    #[serde(default)]
    #[schemars(schema_with = "crate::scalar::duration_or_zero")]
    pub ttl: Option<GoDuration>,
    /// Further attributes of the cookie.
    #[serde(default)]
    pub attributes: Vec<CookieAttribute>,
}

/// An attribute of a cookie.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Attribute")]
pub struct CookieAttribute {
    /// Name of the attribute.
    pub name: String,
    /// Value of the attribute; none when absent.
    #[serde(default)]
    pub value: String,
}

/// A hash ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RingHash {
    /// Smallest number of points on the ring; 1024 when absent or 0.
    #[serde(default)]
    pub minimum_ring_size: u64,
}

/// Maglev's table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MagLev {
    /// Size of the table, a prime; 65537 when absent or 0.
    #[serde(default)]
    pub table_size: u64,
}

/// Weights from the load that endpoints report in their answers (ORCA).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendUtilization {
    /// How much errors lower an endpoint's weight, in percent of their rate.
    #[serde(default)]
    pub error_utilization_penalty_percent: u32,
    /// Metrics that stand for the load, in order of preference.
    #[serde(default)]
    pub metric_names_for_computing_utilization: Vec<String>,
    /// A report older than this is not used.
    #[serde(default)]
    #[schemars(schema_with = "crate::scalar::duration_or_zero")]
    pub weight_expiration_period: Option<GoDuration>,
    /// How long an endpoint has to report before its weight is used.
    #[serde(default)]
    #[schemars(schema_with = "crate::scalar::duration_or_zero")]
    pub weight_stabilization_period: Option<GoDuration>,
    /// Time between computations.
    #[serde(default)]
    #[schemars(schema_with = "crate::scalar::duration_or_zero")]
    pub weight_update_period: Option<GoDuration>,
}

/// Preferences by locality. At most one of `distribute`, `failover` and `failoverPriority` may be given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalityLoadBalancerSetting {
    /// Shares between localities.
    #[serde(default)]
    pub distribute: Vec<Distribute>,
    /// Which region takes over from which.
    #[serde(default)]
    pub failover: Vec<Failover>,
    /// Labels that rank endpoints by how many of them, from the first on, they share with the client.
    #[serde(default)]
    pub failover_priority: Vec<String>,
    /// Whether this is on at all; as the mesh says when absent.
    #[schemars(extend("nullable" = true))]
    pub enabled: Option<bool>,
}

/// Shares between localities for the traffic of one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Distribute {
    /// Locality of the client, `region/zone/subzone`; a `*` may end it.
    #[serde(default)]
    pub from: String,
    /// Localities and their shares, which add up to 100.
    #[serde(default)]
    pub to: BTreeMap<String, u32>,
}

/// Which region takes over from which.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failover {
    /// Region of the client.
    #[serde(default)]
    pub from: String,
    /// Region that is used when its own endpoints fail.
    #[serde(default)]
    pub to: String,
}

/// Preferences by zone, weighed against how clients are spread.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ZoneAwareLoadBalancerSetting {
    /// Whether this is on at all.
    #[schemars(extend("nullable" = true))]
    pub enabled: Option<bool>,
    /// Which region takes over from which.
    #[serde(default)]
    pub failover: Vec<Failover>,
    /// Labels that rank endpoints by how many of them, from the first on, they share with the client.
    #[serde(default)]
    pub failover_priority: Vec<String>,
    /// With fewer endpoints than this, zones are not looked at; 6 when absent.
    #[schemars(extend("nullable" = true), range(min = 1))]
    pub min_cluster_size: Option<u32>,
}

/// How a new endpoint's share grows to its full size.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WarmupConfiguration {
    /// Time until the full share.
    pub duration: GoDuration,
    /// Share at the start, in percent; 10 when absent.
    #[schemars(extend("nullable" = true), range(min = 0.0, max = 100.0))]
    pub minimum_percent: Option<f64>,
    /// How the share grows: 1 (when absent) evenly, more for a faster start.
    #[schemars(extend("nullable" = true), range(min = 0.0))]
    pub aggression: Option<f64>,
}
