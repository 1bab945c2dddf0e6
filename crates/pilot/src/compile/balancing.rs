//! How endpoints are chosen: the cluster's algorithm, and what of a request is hashed on routes.

use tidegate_api::istio::destination_rule::{ConsistentHash, LoadBalancerSettings, SimpleLb};
use tidegate_envoy::types::envoy::r#type::v3::Percent;
use tidegate_envoy::v3::cluster::Cluster;
use tidegate_envoy::v3::cluster::cluster::{
    LbConfig, LbPolicy, LeastRequestLbConfig, MaglevLbConfig, RingHashLbConfig, RoundRobinLbConfig,
    SlowStartConfig,
};
use tidegate_envoy::v3::core::RuntimeDouble;
use tidegate_envoy::v3::route::route_action::HashPolicy;
use tidegate_envoy::v3::route::route_action::hash_policy::{
    ConnectionProperties, Cookie, CookieAttribute, Header, PolicySpecifier, QueryParameter,
};

use super::duration;

/// Istio's smallest ring where a rule says none.
const RING_SIZE: u64 = 1024;
/// The least share of a new endpoint in percent, where a rule says none.
const LEAST: f64 = 10.0;

/// Whether connections keep the address that their client dialled (PASSTHROUGH). Only a sidecar's do: nothing redirects a gateway's.
#[must_use]
pub fn keeps_address(settings: &LoadBalancerSettings) -> bool {
    settings.simple == Some(SimpleLb::Passthrough)
}

/// Writes the algorithm of a DestinationRule into a cluster. PASSTHROUGH chooses none.
pub fn apply(settings: &LoadBalancerSettings, cluster: &mut Cluster) {
    let policy = match settings.simple {
        Some(SimpleLb::RoundRobin) => LbPolicy::RoundRobin,
        Some(SimpleLb::Random) => LbPolicy::Random,
        Some(
            SimpleLb::Unspecified
            | SimpleLb::LeastConn
            | SimpleLb::LeastRequest
            | SimpleLb::Passthrough,
        )
        | None => LbPolicy::LeastRequest,
    };
    cluster.lb_policy = policy.into();
    cluster.lb_config = slow_start(settings).and_then(|slow_start| match policy {
        LbPolicy::RoundRobin => Some(LbConfig::RoundRobinLbConfig(RoundRobinLbConfig {
            slow_start_config: Some(slow_start),
        })),
        LbPolicy::LeastRequest => Some(LbConfig::LeastRequestLbConfig(LeastRequestLbConfig {
            slow_start_config: Some(slow_start),
            ..LeastRequestLbConfig::default()
        })),
        _ => None,
    });
    let Some(hash) = &settings.consistent_hash else { return };
    if let Some(maglev) = hash.maglev {
        cluster.lb_policy = LbPolicy::Maglev.into();
        let size = Some(maglev.table_size).filter(|size| *size != 0);
        cluster.lb_config =
            size.map(|size| LbConfig::MaglevLbConfig(MaglevLbConfig { table_size: Some(size) }));
    } else {
        let size = match hash.ring_hash {
            Some(ring) => ring.minimum_ring_size,
            None if hash.minimum_ring_size == 0 => RING_SIZE,
            None => hash.minimum_ring_size,
        };
        cluster.lb_policy = LbPolicy::RingHash.into();
        cluster.lb_config = (size != 0).then(|| {
            let config = RingHashLbConfig { minimum_ring_size: Some(size), ..Default::default() };
            LbConfig::RingHashLbConfig(config)
        });
    }
}

/// How new endpoints begin, for the algorithms that know of it.
fn slow_start(settings: &LoadBalancerSettings) -> Option<SlowStartConfig> {
    let Some(warmup) = &settings.warmup else {
        let window = settings.warmup_duration_secs?;
        let slow_start_window = Some(duration(window.get()));
        return Some(SlowStartConfig { slow_start_window, ..SlowStartConfig::default() });
    };
    Some(SlowStartConfig {
        slow_start_window: Some(duration(warmup.duration.get())),
        aggression: Some(RuntimeDouble {
            default_value: warmup.aggression.unwrap_or(1.0),
            runtime_key: "tidegate.no_runtime".to_owned(),
        }),
        min_weight_percent: Some(Percent { value: warmup.minimum_percent.unwrap_or(LEAST) }),
    })
}

/// What of a request is hashed; `None` where a rule names no property of it.
#[must_use]
pub fn hash_policy(hash: &ConsistentHash) -> Option<HashPolicy> {
    let specifier = if let Some(name) = &hash.http_header_name {
        PolicySpecifier::Header(Header { header_name: name.clone(), ..Header::default() })
    } else if let Some(cookie) = &hash.http_cookie {
        let attributes = cookie.attributes.iter().map(|attribute| CookieAttribute {
            name: attribute.name.clone(),
            value: attribute.value.clone(),
        });
        PolicySpecifier::Cookie(Cookie {
            name: cookie.name.clone(),
            ttl: cookie.ttl.map(|ttl| duration(ttl.into())),
            path: cookie.path.clone(),
            attributes: attributes.collect(),
        })
    } else if let Some(source_ip) = hash.use_source_ip {
        PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip })
    } else {
        let name = hash.http_query_parameter_name.clone()?;
        PolicySpecifier::QueryParameter(QueryParameter { name })
    };
    Some(HashPolicy { policy_specifier: Some(specifier), ..HashPolicy::default() })
}
