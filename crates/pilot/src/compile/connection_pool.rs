//! Limits and timeouts of the connections to a destination (`connectionPool`, `retryBudget`).
//!
//! A limit that is 0 or not given is none, as in Istio; what is not served (`useClientProtocol`, `http2KeepAlive`, a budget's
//! `budgetInterval`, how long a connection lives and idles whatever it carries) leaves the cluster as it is, and the status says so.

use tidegate_api::istio::Protocol;
use tidegate_api::istio::destination_rule::{
    ConnectionPoolSettings, H2UpgradePolicy, HttpSettings, RetryBudget, TcpKeepalive, TcpSettings,
};
use tidegate_envoy::v3::base::Percent;
use tidegate_envoy::v3::cluster::circuit_breakers::Thresholds;
use tidegate_envoy::v3::cluster::circuit_breakers::thresholds::RetryBudget as EnvoyBudget;
use tidegate_envoy::v3::cluster::{Cluster, UpstreamConnectionOptions};
use tidegate_envoy::v3::core::{
    HttpProtocolOptions as CommonOptions, TcpKeepalive as EnvoyKeepalive,
};

use super::cluster::HttpOptions;
use super::duration;
use crate::model::policy::Policy;
use crate::model::service::Port;

/// The share of requests that may be retries, where a budget does not say, in percent.
const BUDGET_PERCENT: f64 = 20.0;
/// The retries that a budget always allows, where it does not say.
const BUDGET_LEAST: u32 = 3;

/// Writes the limits of a DestinationRule into a cluster, which has none yet.
pub fn apply(policy: Policy<'_>, port: &Port, http: &mut HttpOptions, cluster: &mut Cluster) {
    let thresholds = cluster.circuit_breakers.iter_mut().flat_map(|all| &mut all.thresholds);
    for thresholds in thresholds {
        limit(policy, thresholds);
    }
    let Some(pool) = policy.connection_pool else { return };
    if let Some(tcp) = &pool.tcp {
        of_tcp(tcp, cluster);
    }
    if let Some(settings) = &pool.http {
        of_http(settings, port, http);
    }
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
        min_retry_concurrency: Some(least.unwrap_or(BUDGET_LEAST)),
        ..EnvoyBudget::default()
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

fn of_http(settings: &HttpSettings, port: &Port, http: &mut HttpOptions) {
    // Only what is HTTP already is upgraded.
    let speaks_http = port.protocol.is_some_and(Protocol::is_http);
    http.http2 |= speaks_http && settings.h2_upgrade_policy == H2UpgradePolicy::Upgrade;
    http.max_streams = positive(settings.max_concurrent_streams);
    let requests = positive(settings.max_requests_per_connection);
    if settings.idle_timeout.is_some() || requests.is_some() {
        http.common = Some(CommonOptions {
            idle_timeout: settings.idle_timeout.map(|timeout| duration(timeout.get())),
            max_requests_per_connection: requests,
            ..CommonOptions::default()
        });
    }
}

fn positive(given: i32) -> Option<u32> {
    u32::try_from(given).ok().filter(|given| *given > 0)
}
