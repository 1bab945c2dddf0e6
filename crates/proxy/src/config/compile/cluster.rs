//! Clusters.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tidegate_envoy::prost_types::Any;
use tidegate_envoy::types::envoy::extensions::clusters::common::dns::v3::DnsLookupFamily as DnsClusterFamily;
use tidegate_envoy::types::envoy::extensions::load_balancing_policies::maglev::v3::Maglev;
use tidegate_envoy::types::envoy::extensions::load_balancing_policies::ring_hash::v3::RingHash;
use tidegate_envoy::v3::cluster::circuit_breakers::Thresholds;
use tidegate_envoy::v3::cluster::circuit_breakers::thresholds::RetryBudget as ProtoBudget;
use tidegate_envoy::v3::cluster::cluster::{
    ClusterDiscoveryType, CustomClusterType, DiscoveryType, DnsLookupFamily, LbConfig, LbPolicy,
    MaglevLbConfig, RingHashLbConfig,
};
use tidegate_envoy::v3::cluster::{CircuitBreakers, Cluster as ProtoCluster, LoadBalancingPolicy};
use tidegate_envoy::v3::core::{
    Http2ProtocolOptions, HttpProtocolOptions as CommonOptions, RoutingPriority,
    TcpKeepalive as ProtoKeepalive,
};
use tidegate_envoy::v3::dns_cluster::DnsCluster;
use tidegate_envoy::v3::endpoint::ClusterLoadAssignment;
use tidegate_envoy::v3::http_options::HttpProtocolOptions;
use tidegate_envoy::v3::http_options::http_protocol_options::explicit_http_config::ProtocolConfig;
use tidegate_envoy::v3::http_options::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions,
};

use crate::config::refusal::{Refusal, Within};
use crate::upstream::cluster::{
    Balancing, Cluster, Discovery, DnsFamily, DnsName, DnsPolicy, EndpointSet, HashKey, Keepalive,
    Limits, RetryBudget, Secure, UpstreamProtocol,
};

use super::endpoint::{Assigned, assignment, names};
use super::source::with_all_others;
use super::value::{enumeration, positive, present, required, timeout};
use super::{Links, noted, tls, unpack};

/// Envoy's default of `connect_timeout`.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Envoy's default of the upstream `idle_timeout`.
const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
/// Envoy's default of `per_connection_buffer_limit_bytes`.
const DEFAULT_BUFFER_LIMIT: u32 = 1024 * 1024;
/// Envoy's default of `dns_refresh_rate`.
const DEFAULT_DNS_REFRESH: Duration = Duration::from_secs(5);
/// Envoy's default of `max_concurrent_streams`.
const DEFAULT_STREAMS: u32 = 1024;
/// Envoy's default of `minimum_ring_size`, and the most points that a ring may have.
const DEFAULT_RING_SIZE: u64 = 1024;
const MAX_RING_SIZE: u64 = 8 * 1024 * 1024;
/// Envoy's default of `table_size`, and the most places that a table may have.
const DEFAULT_TABLE_SIZE: u64 = 65_537;
const MAX_TABLE_SIZE: u64 = 5_000_011;
/// The key under which HTTP options stand in `typed_extension_protocol_options`.
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// A cluster. `before` is the one whose place it takes; `assigned` finds what EDS says of a service.
pub(in crate::config) fn cluster(
    proto: &ProtoCluster,
    before: Option<&Cluster>,
    assigned: impl FnOnce(&str) -> Option<Assigned>,
    links: &mut impl Links,
) -> Result<Cluster, Refusal> {
    let name: Arc<str> = required("name", &proto.name)?.into();
    let Source { discovery, dns, listed } = source(proto, links.serves())?;
    let listed = match &discovery {
        Discovery::Eds(service) => assigned(service),
        _ => listed,
    };
    let options = http_options(proto)?;
    let balancing = balancing(proto)?;
    let stat_name = Some(proto.alt_stat_name.as_str()).filter(|name| !name.is_empty());
    Ok(Cluster {
        stat_name: stat_name.map_or_else(|| Arc::clone(&name), Into::into),
        name,
        endpoints: ArcSwap::from_pointee(
            endpoints(&discovery, listed.as_ref(), before).placed(balancing),
        ),
        discovery,
        dns,
        connect_timeout: positive(
            "connect_timeout",
            proto.connect_timeout.as_ref(),
            DEFAULT_CONNECT_TIMEOUT,
        )?,
        balancing,
        protocol: options.protocol,
        limits: limits(proto.circuit_breakers.as_ref())?,
        usage: Default::default(),
        idle_timeout: options.idle_timeout,
        max_requests_per_connection: options.max_requests,
        max_concurrent_streams: options.max_streams,
        buffer_limit: proto.per_connection_buffer_limit_bytes.unwrap_or(DEFAULT_BUFFER_LIMIT),
        keepalive: keepalive(proto),
        tls: secure(proto, &options, links)?,
        retired: Default::default(),
        following: Default::default(),
    })
}

/// The first endpoints: those listed or assigned; else those of a cluster that finds them in the same way,
/// so that a change of a timeout does not wait for DNS.
fn endpoints(
    discovery: &Discovery,
    listed: Option<&Assigned>,
    before: Option<&Cluster>,
) -> EndpointSet {
    let known = before.map(|before| before.endpoints.load_full()).unwrap_or_default();
    match listed {
        Some(listed) => listed.endpoints(&known),
        None if before.is_some_and(|before| before.discovery == *discovery) => EndpointSet {
            ready: known.ready,
            endpoints: known.endpoints.clone(),
            total_weight: known.total_weight,
            placement: None,
        },
        None => EndpointSet::default(),
    }
}

// === discovery ===

/// Where endpoints come from.
struct Source {
    discovery: Discovery,
    dns: DnsPolicy,
    /// The endpoints of a static cluster.
    listed: Option<Assigned>,
}

fn source(proto: &ProtoCluster, serves: bool) -> Result<Source, Refusal> {
    let kind = match &proto.cluster_discovery_type {
        None => DiscoveryType::Static,
        Some(ClusterDiscoveryType::Type(kind)) => enumeration("type", *kind)?,
        Some(ClusterDiscoveryType::ClusterType(custom)) => {
            return custom_source(proto, custom).within("cluster_type");
        }
    };
    let dns = dns_policy(proto)?;
    if proto.eds_cluster_config.is_some() && kind != DiscoveryType::Eds {
        return Err(Refusal::of("eds_cluster_config", "is for clusters of type EDS"));
    }
    let (discovery, listed) = match kind {
        DiscoveryType::Static => {
            // A STATIC cluster may have no assignment, and then no endpoint: BlackHoleCluster is one.
            let none = ClusterLoadAssignment::default();
            let listed = proto.load_assignment.as_ref().unwrap_or(&none);
            let listed = assignment(listed).within("load_assignment")?;
            (Discovery::Static, Some(listed))
        }
        DiscoveryType::StrictDns => (Discovery::StrictDns(dns_names(proto)?), None),
        DiscoveryType::LogicalDns => (Discovery::LogicalDns(one_name(proto)?), None),
        DiscoveryType::Eds => (Discovery::Eds(eds_service(proto)?), None),
        DiscoveryType::OriginalDst => {
            if serves {
                let reason = "ORIGINAL_DST is not served yet: connections are not captured";
                return Err(Refusal::of("type", reason));
            }
            if proto.lb_policy() != LbPolicy::ClusterProvided {
                return Err(Refusal::of("lb_policy", "must be CLUSTER_PROVIDED with ORIGINAL_DST"));
            }
            (Discovery::Dialled, None)
        }
    };
    Ok(Source { discovery, dns, listed })
}

/// A `cluster_type`, which the capability table lets be a DNS cluster only.
fn custom_source(proto: &ProtoCluster, custom: &CustomClusterType) -> Result<Source, Refusal> {
    let any = present("typed_config", custom.typed_config.as_ref())?;
    let options: DnsCluster = unpack(any).within("typed_config")?;
    let family =
        match enumeration("dns_lookup_family", options.dns_lookup_family).within("typed_config")? {
            DnsClusterFamily::Unspecified | DnsClusterFamily::Auto => DnsFamily::Auto,
            DnsClusterFamily::V4Only => DnsFamily::V4Only,
            DnsClusterFamily::V6Only => DnsFamily::V6Only,
            DnsClusterFamily::V4Preferred => DnsFamily::V4Preferred,
            DnsClusterFamily::All => DnsFamily::All,
        };
    let refresh =
        positive("dns_refresh_rate", options.dns_refresh_rate.as_ref(), DEFAULT_DNS_REFRESH);
    let discovery = if options.all_addresses_in_single_endpoint {
        Discovery::LogicalDns(one_name(proto)?)
    } else {
        Discovery::StrictDns(dns_names(proto)?)
    };
    Ok(Source {
        discovery,
        dns: DnsPolicy {
            family,
            refresh: refresh.within("typed_config")?,
            respect_ttl: options.respect_dns_ttl,
        },
        listed: None,
    })
}

#[allow(
    deprecated,
    reason = "these fields are what control planes send for types STRICT_DNS and LOGICAL_DNS"
)]
fn dns_policy(proto: &ProtoCluster) -> Result<DnsPolicy, Refusal> {
    let family = match enumeration("dns_lookup_family", proto.dns_lookup_family)? {
        DnsLookupFamily::Auto => DnsFamily::Auto,
        DnsLookupFamily::V4Only => DnsFamily::V4Only,
        DnsLookupFamily::V6Only => DnsFamily::V6Only,
        DnsLookupFamily::V4Preferred => DnsFamily::V4Preferred,
        DnsLookupFamily::All => DnsFamily::All,
    };
    Ok(DnsPolicy {
        family,
        refresh: positive(
            "dns_refresh_rate",
            proto.dns_refresh_rate.as_ref(),
            DEFAULT_DNS_REFRESH,
        )?,
        respect_ttl: proto.respect_dns_ttl,
    })
}

fn load_assignment(proto: &ProtoCluster) -> Result<&ClusterLoadAssignment, Refusal> {
    present("load_assignment", proto.load_assignment.as_ref())
}

fn dns_names(proto: &ProtoCluster) -> Result<Vec<DnsName>, Refusal> {
    names(load_assignment(proto)?).within("load_assignment")
}

fn one_name(proto: &ProtoCluster) -> Result<DnsName, Refusal> {
    let mut names = dns_names(proto)?;
    match (names.pop(), names.is_empty()) {
        (Some(name), true) => Ok(name),
        _ => Err(Refusal::of("load_assignment", "a LOGICAL_DNS cluster has exactly one endpoint")),
    }
}

fn eds_service(proto: &ProtoCluster) -> Result<Arc<str>, Refusal> {
    let config = present("eds_cluster_config", proto.eds_cluster_config.as_ref())?;
    let source = present("eds_config", config.eds_config.as_ref());
    source
        .and_then(|source| with_all_others(Some(source)).within("eds_config"))
        .within("eds_cluster_config")?;
    let service = if config.service_name.is_empty() { &proto.name } else { &config.service_name };
    Ok(service.as_str().into())
}

/// Whether a cluster sends to where the client dialled.
fn keeps_dialled(proto: &ProtoCluster) -> bool {
    let kind = DiscoveryType::OriginalDst.into();
    proto.cluster_discovery_type == Some(ClusterDiscoveryType::Type(kind))
}

// === balancing, limits, connections ===

fn balancing(proto: &ProtoCluster) -> Result<Balancing, Refusal> {
    if let Some(policy) = &proto.load_balancing_policy {
        return policy_balancing(policy).within("load_balancing_policy");
    }
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
        // The address that was dialled is the only choice.
        LbPolicy::ClusterProvided if keeps_dialled(proto) => Ok(Balancing::default()),
        LbPolicy::ClusterProvided => Err(Refusal::of(
            "lb_policy",
            "use ROUND_ROBIN, LEAST_REQUEST, RANDOM, RING_HASH or MAGLEV",
        )),
    }
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
fn policy_balancing(proto: &LoadBalancingPolicy) -> Result<Balancing, Refusal> {
    let policy = proto.policies.first();
    let any = policy
        .and_then(|policy| policy.typed_extension_config.as_ref())
        .and_then(|config| config.typed_config.as_ref());
    let name = any.map(|any| tidegate_envoy::type_name(&any.type_url)).unwrap_or_default();
    match name.rsplit('.').next() {
        Some("RoundRobin") => Ok(Balancing::RoundRobin),
        Some("LeastRequest") => Ok(Balancing::LeastRequest),
        Some("Random") => Ok(Balancing::Random),
        Some("RingHash") => any.map_or(Err(Refusal::new("must be set")), typed_ring_hash),
        Some("Maglev") => any.map_or(Err(Refusal::new("must be set")), typed_maglev),
        _ => Err(Refusal::of(
            "policies",
            "must begin with RoundRobin, LeastRequest, Random, RingHash or Maglev",
        )),
    }
}

fn typed_ring_hash(any: &Any) -> Result<Balancing, Refusal> {
    let config: RingHash = unpack(any)?;
    let hashing = config.consistent_hashing_lb_config.as_ref();
    let key = key_by(hashing.is_some_and(|hashing| hashing.use_hostname_for_hashing));
    ring_hash((config.minimum_ring_size, config.maximum_ring_size), key)
}

fn typed_maglev(any: &Any) -> Result<Balancing, Refusal> {
    let config: Maglev = unpack(any)?;
    let hashing = config.consistent_hashing_lb_config.as_ref();
    let key = key_by(hashing.is_some_and(|hashing| hashing.use_hostname_for_hashing));
    maglev(config.table_size, key)
}

fn limits(proto: Option<&CircuitBreakers>) -> Result<Limits, Refusal> {
    let mut limits = Limits::default();
    for (index, thresholds) in
        proto.iter().flat_map(|breakers| breakers.thresholds.iter().enumerate())
    {
        let priority: RoutingPriority = enumeration("priority", thresholds.priority)
            .within_item("thresholds", index)
            .within("circuit_breakers")?;
        if priority == RoutingPriority::Default {
            limits = default_limits(thresholds);
        }
    }
    Ok(limits)
}

fn default_limits(proto: &Thresholds) -> Limits {
    let default = Limits::default();
    Limits {
        connections: proto.max_connections.unwrap_or(default.connections),
        pending_requests: proto.max_pending_requests.unwrap_or(default.pending_requests),
        requests: proto.max_requests.unwrap_or(default.requests),
        retries: proto.max_retries.unwrap_or(default.retries),
        retry_budget: proto.retry_budget.as_ref().map(retry_budget),
    }
}

fn retry_budget(proto: &ProtoBudget) -> RetryBudget {
    let percent = proto.budget_percent.as_ref().map_or(20.0, |percent| percent.value);
    RetryBudget {
        share: (percent.clamp(0.0, 100.0) * 1000.0) as u32,
        least: proto.min_retry_concurrency.unwrap_or(3),
    }
}

fn keepalive(proto: &ProtoCluster) -> Option<Keepalive> {
    let options = proto.upstream_connection_options.as_ref()?;
    let ProtoKeepalive { keepalive_probes, keepalive_time, keepalive_interval } =
        *options.tcp_keepalive.as_ref()?;
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    Some(Keepalive {
        probes: keepalive_probes,
        idle: keepalive_time.map(seconds),
        interval: keepalive_interval.map(seconds),
    })
}

// === TLS ===

fn secure(
    proto: &ProtoCluster,
    options: &HttpOptions,
    links: &mut impl Links,
) -> Result<Option<Secure>, Refusal> {
    let context = noted(links, "transport_socket", |links| {
        tls::client(proto.transport_socket.as_ref(), links)
    })?;
    Ok(context.map(|context| Secure {
        context,
        auto_sni: options.auto_sni,
        auto_san: options.auto_san,
    }))
}

// === HTTP ===

/// What `HttpProtocolOptions` say.
struct HttpOptions {
    protocol: UpstreamProtocol,
    idle_timeout: Option<Duration>,
    max_requests: Option<u32>,
    max_streams: u32,
    auto_sni: bool,
    auto_san: bool,
}

fn http_options(proto: &ProtoCluster) -> Result<HttpOptions, Refusal> {
    let mut options = HttpOptions {
        protocol: UpstreamProtocol::Http1,
        idle_timeout: Some(DEFAULT_IDLE_TIMEOUT),
        max_requests: None,
        max_streams: DEFAULT_STREAMS,
        auto_sni: false,
        auto_san: false,
    };
    for (key, any) in &proto.typed_extension_protocol_options {
        let place = format!("typed_extension_protocol_options[\"{key}\"]");
        if key != HTTP_OPTIONS {
            return Err(Refusal::of(&place, format_args!("only {HTTP_OPTIONS} is supported")));
        }
        unpack(any).and_then(|proto| options.take(&proto)).within(&place)?;
    }
    Ok(options)
}

impl HttpOptions {
    fn take(&mut self, proto: &HttpProtocolOptions) -> Result<(), Refusal> {
        if let Some(common) = &proto.common_http_protocol_options {
            self.take_common(common).within("common_http_protocol_options")?;
        }
        if let Some(upstream) = &proto.upstream_http_protocol_options {
            self.auto_sni = upstream.auto_sni;
            self.auto_san = upstream.auto_san_validation;
        }
        let Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) =
            &proto.upstream_protocol_options
        else {
            return Err(Refusal::of("explicit_http_config", "must be set"));
        };
        self.take_explicit(explicit).within("explicit_http_config")
    }

    fn take_common(&mut self, common: &CommonOptions) -> Result<(), Refusal> {
        for (field, is_set) in [
            ("max_connection_duration", common.max_connection_duration.is_some()),
            ("max_stream_duration", common.max_stream_duration.is_some()),
            ("max_headers_count", common.max_headers_count.is_some()),
        ] {
            if is_set {
                return Err(Refusal::of(
                    field,
                    "is not supported for clusters, only for listeners",
                ));
            }
        }
        self.idle_timeout =
            timeout("idle_timeout", common.idle_timeout.as_ref(), DEFAULT_IDLE_TIMEOUT)?;
        self.max_requests = common.max_requests_per_connection.filter(|limit| *limit > 0);
        Ok(())
    }

    fn take_explicit(&mut self, explicit: &ExplicitHttpConfig) -> Result<(), Refusal> {
        match &explicit.protocol_config {
            Some(ProtocolConfig::Http2ProtocolOptions(http2)) => {
                self.protocol = UpstreamProtocol::Http2;
                self.take_http2(http2).within("http2_protocol_options")
            }
            Some(ProtocolConfig::HttpProtocolOptions(_)) => Ok(()),
            Some(ProtocolConfig::Http3ProtocolOptions(_)) | None => Err(Refusal::new(
                "one of http_protocol_options and http2_protocol_options must be set",
            )),
        }
    }

    fn take_http2(&mut self, http2: &Http2ProtocolOptions) -> Result<(), Refusal> {
        for (field, window) in [
            ("initial_stream_window_size", http2.initial_stream_window_size),
            ("initial_connection_window_size", http2.initial_connection_window_size),
        ] {
            if window.is_some() {
                return Err(Refusal::of(
                    field,
                    "is not supported for clusters, only for listeners",
                ));
            }
        }
        match http2.max_concurrent_streams {
            Some(0) => Err(Refusal::of("max_concurrent_streams", "must be 1 at least")),
            streams => {
                self.max_streams = streams.unwrap_or(DEFAULT_STREAMS);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
