//! How the endpoints of a cluster share requests.

use tidegate_envoy::prost_types::Duration as ProtoDuration;
use tidegate_envoy::types::envoy::extensions::load_balancing_policies::common::v3::locality_lb_config::LocalityConfigSpecifier;
use tidegate_envoy::types::envoy::extensions::load_balancing_policies::common::v3::{
    LocalityLbConfig, SlowStartConfig as TypedSlowStart,
};
use tidegate_envoy::types::envoy::extensions::load_balancing_policies::least_request::v3::LeastRequest;
use tidegate_envoy::types::envoy::extensions::load_balancing_policies::maglev::v3::Maglev;
use tidegate_envoy::types::envoy::extensions::load_balancing_policies::random::v3::Random;
use tidegate_envoy::types::envoy::extensions::load_balancing_policies::ring_hash::v3::RingHash;
use tidegate_envoy::types::envoy::extensions::load_balancing_policies::round_robin::v3::RoundRobin;
use tidegate_envoy::types::envoy::r#type::v3::Percent;
use tidegate_envoy::v3::cluster::cluster::common_lb_config::LocalityConfigSpecifier as Localities;
use tidegate_envoy::v3::cluster::cluster::{
    ClusterDiscoveryType, DiscoveryType, LbConfig, LbPolicy, MaglevLbConfig, RingHashLbConfig,
    SlowStartConfig,
};
use tidegate_envoy::v3::cluster::{Cluster as ProtoCluster, LoadBalancingPolicy};
use tidegate_envoy::v3::core::RuntimeDouble;

use crate::config::compile::value::{enumeration, timeout};
use crate::config::compile::{outlier, unpack};
use crate::config::refusal::{Refusal, Within};
use crate::upstream::cluster::{Balancing, HashKey, Sharing, SlowStart};

/// Envoy's default of `min_weight_percent`.
const DEFAULT_LEAST_PERCENT: f64 = 10.0;
/// Envoy's default of `minimum_ring_size`, and the most points that a ring may have.
const DEFAULT_RING_SIZE: u64 = 1024;
const MAX_RING_SIZE: u64 = 8 * 1024 * 1024;
/// Envoy's default of `table_size`, and the most places that a table may have.
const DEFAULT_TABLE_SIZE: u64 = 65_537;
const MAX_TABLE_SIZE: u64 = 5_000_011;

/// How the endpoints of a cluster share requests.
pub(super) fn sharing(proto: &ProtoCluster) -> Result<Sharing, Refusal> {
    let Policy { balancing, by_locality, slow_start } = policy(proto)?;
    let threshold = outlier::panic_threshold(proto)?;
    let panic_threshold = proto.outlier_detection.is_some().then_some(threshold);
    Ok(Sharing { balancing, panic_threshold, by_locality, slow_start })
}

/// What a load balancing policy says.
struct Policy {
    balancing: Balancing,
    by_locality: bool,
    slow_start: Option<SlowStart>,
}

impl Policy {
    fn typed(balancing: Balancing, localities: Option<&LocalityLbConfig>) -> Self {
        let specifier = localities.and_then(|config| config.locality_config_specifier.as_ref());
        let by_locality =
            matches!(specifier, Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_)));
        Self { balancing, by_locality, slow_start: None }
    }
}

fn policy(proto: &ProtoCluster) -> Result<Policy, Refusal> {
    if let Some(policy) = &proto.load_balancing_policy {
        return typed(policy).within("load_balancing_policy");
    }
    let balancing = balancing(proto)?;
    let common = proto.common_lb_config.as_ref();
    let specifier = common.and_then(|common| common.locality_config_specifier.as_ref());
    let by_locality = matches!(specifier, Some(Localities::LocalityWeightedLbConfig(_)));
    let slow_start = match (balancing, &proto.lb_config) {
        (Balancing::RoundRobin, Some(LbConfig::RoundRobinLbConfig(config))) => {
            slow_start(config.slow_start_config.as_ref().map(Growth::from))
                .within("round_robin_lb_config")?
        }
        (Balancing::LeastRequest, Some(LbConfig::LeastRequestLbConfig(config))) => {
            slow_start(config.slow_start_config.as_ref().map(Growth::from))
                .within("least_request_lb_config")?
        }
        _ => None,
    };
    Ok(Policy { balancing, by_locality, slow_start })
}

fn balancing(proto: &ProtoCluster) -> Result<Balancing, Refusal> {
    match enumeration("lb_policy", proto.lb_policy)? {
        LbPolicy::RoundRobin => Ok(Balancing::RoundRobin),
        LbPolicy::LeastRequest => Ok(Balancing::LeastRequest),
        LbPolicy::Random => Ok(Balancing::Random),
        LbPolicy::LoadBalancingPolicyConfig => {
            Err(Refusal::of("load_balancing_policy", "must be set"))
        }
        LbPolicy::RingHash => {
            let config = match &proto.lb_config {
                Some(LbConfig::RingHashLbConfig(config)) => *config,
                _ => RingHashLbConfig::default(),
            };
            let sizes = (config.minimum_ring_size, config.maximum_ring_size);
            ring_hash(sizes, hash_key(proto)).within("ring_hash_lb_config")
        }
        LbPolicy::Maglev => {
            let config = match &proto.lb_config {
                Some(LbConfig::MaglevLbConfig(config)) => *config,
                _ => MaglevLbConfig::default(),
            };
            maglev(config.table_size, hash_key(proto)).within("maglev_lb_config")
        }
        // The address that was dialled, or that of the name that is asked for, is the only choice.
        LbPolicy::ClusterProvided if keeps_dialled(proto) || custom(proto) => {
            Ok(Balancing::default())
        }
        LbPolicy::ClusterProvided => Err(Refusal::of(
            "lb_policy",
            "use ROUND_ROBIN, LEAST_REQUEST, RANDOM, RING_HASH or MAGLEV",
        )),
    }
}

/// Whether a `cluster_type` says how endpoints are found, which judges that itself.
fn custom(proto: &ProtoCluster) -> bool {
    matches!(proto.cluster_discovery_type, Some(ClusterDiscoveryType::ClusterType(_)))
}

/// A `slow_start_config`, which Envoy has twice.
#[derive(Clone, Copy)]
struct Growth<'a> {
    window: Option<&'a ProtoDuration>,
    aggression: Option<&'a RuntimeDouble>,
    least: Option<&'a Percent>,
}

impl<'a> From<&'a SlowStartConfig> for Growth<'a> {
    fn from(config: &'a SlowStartConfig) -> Self {
        Self {
            window: config.slow_start_window.as_ref(),
            aggression: config.aggression.as_ref(),
            least: config.min_weight_percent.as_ref(),
        }
    }
}

impl<'a> From<&'a TypedSlowStart> for Growth<'a> {
    fn from(config: &'a TypedSlowStart) -> Self {
        Self {
            window: config.slow_start_window.as_ref(),
            aggression: config.aggression.as_ref(),
            least: config.min_weight_percent.as_ref(),
        }
    }
}

/// Slow start; none for a window of no length.
fn slow_start(config: Option<Growth<'_>>) -> Result<Option<SlowStart>, Refusal> {
    let Some(Growth { window, aggression, least }) = config else { return Ok(None) };
    let window = timeout("slow_start_window", window, None).within("slow_start_config")?;
    let aggression = aggression.map_or(1.0, |aggression| aggression.default_value);
    let least = least.map_or(DEFAULT_LEAST_PERCENT, |percent| percent.value);
    if !(aggression > 0.0 && aggression.is_finite()) {
        return Err(Refusal::of("aggression", "must be more than 0")).within("slow_start_config");
    }
    if !(0.0..=100.0).contains(&least) {
        let refusal = Refusal::of("min_weight_percent", "must be 0 to 100");
        return Err(refusal).within("slow_start_config");
    }
    Ok(window.map(|window| SlowStart { window, aggression, least: least / 100.0 }))
}

fn hash_key(proto: &ProtoCluster) -> HashKey {
    let common = proto.common_lb_config.as_ref();
    let hashing = common.and_then(|common| common.consistent_hashing_lb_config.as_ref());
    key_by(hashing.is_some_and(|hashing| hashing.use_hostname_for_hashing))
}

fn key_by(hostname: bool) -> HashKey {
    if hostname { HashKey::Hostname } else { HashKey::Address }
}

/// A ring of so many points, at least and at most.
fn ring_hash(
    (least, most): (Option<u64>, Option<u64>),
    key: HashKey,
) -> Result<Balancing, Refusal> {
    for (field, size) in [("minimum_ring_size", least), ("maximum_ring_size", most)] {
        if size.is_some_and(|size| !(1..=MAX_RING_SIZE).contains(&size)) {
            return Err(Refusal::of(field, format_args!("must be 1 to {MAX_RING_SIZE}")));
        }
    }
    let (least, most) = (least.unwrap_or(DEFAULT_RING_SIZE), most.unwrap_or(MAX_RING_SIZE));
    if least > most {
        let message = format_args!("{least} is more than maximum_ring_size, {most}");
        return Err(Refusal::of("minimum_ring_size", message));
    }
    Ok(Balancing::RingHash { least, most, key })
}

/// A table of so many places.
fn maglev(size: Option<u64>, key: HashKey) -> Result<Balancing, Refusal> {
    let size = size.unwrap_or(DEFAULT_TABLE_SIZE);
    let is_prime = |n: u64| n > 1 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d));
    if size > MAX_TABLE_SIZE || !is_prime(size) {
        let message = format_args!("must be a prime number, {MAX_TABLE_SIZE} at most");
        return Err(Refusal::of("table_size", message));
    }
    Ok(Balancing::Maglev { size, key })
}

/// The first policy of the list, all of which the capability table has let through.
fn typed(proto: &LoadBalancingPolicy) -> Result<Policy, Refusal> {
    let policy = proto.policies.first();
    let any = policy
        .and_then(|policy| policy.typed_extension_config.as_ref())
        .and_then(|config| config.typed_config.as_ref());
    let refusal = || {
        Refusal::of(
            "policies",
            "must begin with RoundRobin, LeastRequest, Random, RingHash or Maglev",
        )
    };
    let Some(any) = any else { return Err(refusal()) };
    match tidegate_envoy::type_name(&any.type_url).rsplit('.').next() {
        Some("RoundRobin") => {
            let config: RoundRobin = unpack(any)?;
            let slow_start = slow_start(config.slow_start_config.as_ref().map(Growth::from))?;
            let localities = config.locality_lb_config.as_ref();
            Ok(Policy { slow_start, ..Policy::typed(Balancing::RoundRobin, localities) })
        }
        Some("LeastRequest") => {
            let config: LeastRequest = unpack(any)?;
            let slow_start = slow_start(config.slow_start_config.as_ref().map(Growth::from))?;
            let localities = config.locality_lb_config.as_ref();
            Ok(Policy { slow_start, ..Policy::typed(Balancing::LeastRequest, localities) })
        }
        Some("Random") => {
            let config: Random = unpack(any)?;
            Ok(Policy::typed(Balancing::Random, config.locality_lb_config.as_ref()))
        }
        Some("RingHash") => {
            let config: RingHash = unpack(any)?;
            let hashing = config.consistent_hashing_lb_config.as_ref();
            let key = key_by(hashing.is_some_and(|hashing| hashing.use_hostname_for_hashing));
            let sizes = (config.minimum_ring_size, config.maximum_ring_size);
            let by_locality = config.locality_weighted_lb_config.is_some();
            Ok(Policy { by_locality, ..Policy::typed(ring_hash(sizes, key)?, None) })
        }
        Some("Maglev") => {
            let config: Maglev = unpack(any)?;
            let hashing = config.consistent_hashing_lb_config.as_ref();
            let key = key_by(hashing.is_some_and(|hashing| hashing.use_hostname_for_hashing));
            let by_locality = config.locality_weighted_lb_config.is_some();
            Ok(Policy { by_locality, ..Policy::typed(maglev(config.table_size, key)?, None) })
        }
        _ => Err(refusal()),
    }
}

/// Whether a cluster sends to where the client dialled.
fn keeps_dialled(proto: &ProtoCluster) -> bool {
    let kind = DiscoveryType::OriginalDst.into();
    proto.cluster_discovery_type == Some(ClusterDiscoveryType::Type(kind))
}
