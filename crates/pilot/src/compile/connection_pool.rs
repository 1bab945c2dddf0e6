//! Limits and timeouts of the connections to a destination (`connectionPool`, `retryBudget`).
//!
//! A limit that is 0 or not given is none, as in Istio.

use tidegate_api::istio::destination_rule::{
    ConnectionPoolSettings, H2UpgradePolicy, Http2KeepAlive, HttpSettings, RetryBudget,
    TcpKeepalive, TcpSettings,
};
use tidegate_api::scalar::GoDuration;
use tidegate_envoy::v3::base::Percent;
use tidegate_envoy::v3::cluster::circuit_breakers::Thresholds;
use tidegate_envoy::v3::cluster::circuit_breakers::thresholds::RetryBudget as EnvoyBudget;
use tidegate_envoy::v3::cluster::{Cluster, UpstreamConnectionOptions};
use tidegate_envoy::v3::core::{
    HttpProtocolOptions as CommonOptions, KeepaliveSettings, TcpKeepalive as EnvoyKeepalive,
};

use super::cluster::HttpOptions;
use super::{duration, positive};
use crate::model::policy::Policy;

/// The share of requests that may be retries, where a budget does not say, in percent.
const BUDGET_PERCENT: f64 = 20.0;
/// The retries that a budget always allows, where it does not say.
const BUDGET_LEAST: u32 = 3;

/// Writes the limits of a DestinationRule into a cluster, which has none yet.
pub fn apply(policy: Policy<'_>, http: &mut HttpOptions, cluster: &mut Cluster) {
    let thresholds = cluster.circuit_breakers.iter_mut().flat_map(|all| &mut all.thresholds);
    for thresholds in thresholds {
        limit(policy, thresholds);
    }
    let Some(pool) = policy.connection_pool else { return };
    if let Some(tcp) = &pool.tcp {
        of_tcp(tcp, cluster);
    }
    if let Some(settings) = &pool.http {
        of_http(settings, http);
    }
    http.common = common(pool);
}

/// The settings of connections of any protocol to a destination.
#[must_use]
pub fn tcp<'a>(policy: Policy<'a>) -> Option<&'a TcpSettings> {
    policy.connection_pool?.tcp.as_ref()
}

fn limit(policy: Policy<'_>, thresholds: &mut Thresholds) {
    let set = |limit: &mut Option<u32>, given: i32| {
        if let Some(given) = positive(given) {
            *limit = Some(given);
        }
    };
    if let Some(ConnectionPoolSettings { tcp, http }) = policy.connection_pool {
        if let Some(tcp) = tcp {
            set(&mut thresholds.max_connections, tcp.max_connections);
        }
        if let Some(http) = http {
            set(&mut thresholds.max_pending_requests, http.http1_max_pending_requests);
            set(&mut thresholds.max_requests, http.http2_max_requests);
            set(&mut thresholds.max_retries, http.max_retries);
        }
    }
    thresholds.retry_budget = policy.retry_budget.map(budget);
}

fn budget(budget: &RetryBudget) -> EnvoyBudget {
    let least = Some(budget.min_retry_concurrency).filter(|least| *least > 0);
    EnvoyBudget {
        budget_percent: Some(Percent { value: budget.percent.unwrap_or(BUDGET_PERCENT) }),
        budget_interval: budget.budget_interval.map(|interval| duration(interval.get())),
        min_retry_concurrency: Some(least.unwrap_or(BUDGET_LEAST)),
    }
}

fn of_tcp(tcp: &TcpSettings, cluster: &mut Cluster) {
    if let Some(timeout) = tcp.connect_timeout {
        cluster.connect_timeout = Some(duration(timeout.get()));
    }
    if let Some(keepalive) = &tcp.tcp_keepalive {
        cluster.upstream_connection_options = Some(UpstreamConnectionOptions {
            tcp_keepalive: Some(probing(keepalive)),
            ..UpstreamConnectionOptions::default()
        });
    }
}

/// Spans are whole seconds there; less than one is one, as 0 would be none.
fn probing(keepalive: &TcpKeepalive) -> EnvoyKeepalive {
    let seconds = |span: std::time::Duration| u32::try_from(span.as_secs().max(1)).ok();
    EnvoyKeepalive {
        keepalive_probes: Some(keepalive.probes).filter(|probes| *probes > 0),
        keepalive_time: keepalive.time.and_then(|time| seconds(time.get())),
        keepalive_interval: keepalive.interval.and_then(|interval| seconds(interval.get())),
    }
}

fn of_http(settings: &HttpSettings, http: &mut HttpOptions) {
    // Who asks for it knows that the port speaks HTTP, whatever is declared of it, as in Istio.
    http.http2 |= settings.h2_upgrade_policy == H2UpgradePolicy::Upgrade;
    http.as_client = settings.use_client_protocol;
    http.max_streams = positive(settings.max_concurrent_streams);
    http.keepalive = settings.http2_keep_alive.as_ref().and_then(pinging);
}

/// Both times are required.
fn pinging(keepalive: &Http2KeepAlive) -> Option<KeepaliveSettings> {
    Some(KeepaliveSettings {
        interval: Some(duration(keepalive.interval?.get())),
        timeout: Some(duration(keepalive.timeout?.get())),
        ..KeepaliveSettings::default()
    })
}

/// What holds for HTTP connections of any version; none where that is Envoy's own. Where HTTP says nothing of idle
/// connections, what is said of all connections holds.
fn common(pool: &ConnectionPoolSettings) -> Option<CommonOptions> {
    let (tcp, http) = (pool.tcp.as_ref(), pool.http.as_ref());
    let idle = http.and_then(|http| http.idle_timeout).or(tcp.and_then(|tcp| tcp.idle_timeout));
    let span = |span: GoDuration| duration(span.get());
    let options = CommonOptions {
        idle_timeout: idle.map(span),
        max_connection_duration: tcp.and_then(|tcp| tcp.max_connection_duration).map(span),
        max_requests_per_connection: http
            .and_then(|http| positive(http.max_requests_per_connection)),
        ..CommonOptions::default()
    };
    (options != CommonOptions::default()).then_some(options)
}
