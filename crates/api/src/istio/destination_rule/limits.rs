//! Limits of connections and requests, and when failing endpoints are taken out.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::scalar::GoDuration;

/// Limits and timeouts of the connections to a destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionPoolSettings {
    /// Connections of any protocol.
    pub tcp: Option<TcpSettings>,
    /// HTTP requests and connections.
    pub http: Option<HttpSettings>,
}

/// Limits of connections of any protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "TCPSettings")]
pub struct TcpSettings {
    /// Connections at a time; no limit when absent or 0.
    #[serde(default)]
    pub max_connections: i32,
    /// Limit for connecting; 10s when absent.
    pub connect_timeout: Option<GoDuration>,
    /// Probe connections that are silent.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// Connections are closed after this time.
    pub max_connection_duration: Option<GoDuration>,
    /// Connections without traffic are closed after this time; 1h when absent, never when 0s.
    #[serde(default)]
    #[schemars(schema_with = "crate::scalar::duration_or_zero")]
    pub idle_timeout: Option<GoDuration>,
}

/// How silent connections are probed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TcpKeepalive {
    /// Probes without an answer before the connection counts as dead; the system's number when absent.
    #[serde(default)]
    pub probes: u32,
    /// Silence before the first probe; the system's time when absent.
    pub time: Option<GoDuration>,
    /// Time between probes; the system's when absent.
    pub interval: Option<GoDuration>,
}

/// Limits of HTTP requests and connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "HTTPSettings")]
pub struct HttpSettings {
    /// Requests that may wait for a connection; no limit when absent or 0.
    #[serde(default)]
    pub http1_max_pending_requests: i32,
    /// Requests under way at a time; no limit when absent or 0.
    #[serde(default)]
    pub http2_max_requests: i32,
    /// Requests per connection before it is closed; no limit when absent or 0, and 1 turns keep-alive off.
    #[serde(default)]
    pub max_requests_per_connection: i32,
    /// Retries under way at a time; no limit when absent or 0.
    #[serde(default)]
    pub max_retries: i32,
    /// Connections without requests are closed after this time; 1h when absent.
    pub idle_timeout: Option<GoDuration>,
    /// Whether HTTP/1.1 requests are sent on as HTTP/2.
    #[serde(default)]
    pub h2_upgrade_policy: H2UpgradePolicy,
    /// Speak the HTTP version that the client speaks.
    #[serde(default)]
    pub use_client_protocol: bool,
    /// Streams at a time on one HTTP/2 connection; no limit when absent or 0.
    #[serde(default)]
    pub max_concurrent_streams: i32,
    /// Probe HTTP/2 connections with PING.
    #[serde(rename = "http2KeepAlive")]
    pub http2_keep_alive: Option<Http2KeepAlive>,
}

/// How HTTP/2 connections are probed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "HTTP2KeepAlive")]
pub struct Http2KeepAlive {
    /// Time between PINGs.
    pub interval: Option<GoDuration>,
    /// How long an answer may take before the connection is closed.
    pub timeout: Option<GoDuration>,
}

/// Whether HTTP/1.1 requests are sent on as HTTP/2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum H2UpgradePolicy {
    /// As the mesh says, which is no.
    #[default]
    Default,
    /// No.
    DoNotUpgrade,
    /// Yes.
    Upgrade,
}

/// When an endpoint that fails is taken out of balancing, and for how long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OutlierDetection {
    /// Deprecated: failures in a row; use the two fields below.
    #[serde(default)]
    pub consecutive_errors: i32,
    /// Count failures to connect apart from error answers.
    #[serde(default)]
    pub split_external_local_origin_errors: bool,
    /// Failures to connect in a row, when they are counted apart; 5 when absent.
    #[schemars(extend("nullable" = true))]
    pub consecutive_local_origin_failures: Option<u32>,
    /// Answers 502, 503 or 504 in a row; off when absent or 0.
    #[schemars(extend("nullable" = true))]
    pub consecutive_gateway_errors: Option<u32>,
    /// Answers of 500 and above in a row; 5 when absent, off when 0.
    #[serde(rename = "consecutive5xxErrors")]
    #[schemars(extend("nullable" = true))]
    pub consecutive_5xx_errors: Option<u32>,
    /// Time between examinations; 10s when absent.
    pub interval: Option<GoDuration>,
    /// How long an endpoint stays out, times how often it was taken out; 30s when absent.
    pub base_ejection_time: Option<GoDuration>,
    /// Largest share of the endpoints that may be out, in percent; 10 when absent or 0.
    #[serde(default)]
    pub max_ejection_percent: i32,
    /// With a smaller share of healthy endpoints than this, in percent, all are used; 0 when absent.
    #[serde(default)]
    pub min_health_percent: i32,
    /// Statuses that count as errors, in place of 500 and above.
    #[serde(default)]
    #[schemars(inner(range(min = 100, max = 599)))]
    pub outlier_detection_http_error_codes: Vec<u32>,
}
