//! Clusters.

mod http;
mod sharing;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tidegate_envoy::mark;
use tidegate_envoy::types::envoy::extensions::clusters::common::dns::v3::DnsLookupFamily as DnsClusterFamily;
use tidegate_envoy::types::envoy::r#type::metadata::v3::metadata_key::path_segment::Segment;
use tidegate_envoy::v3::cluster::circuit_breakers::Thresholds;
use tidegate_envoy::v3::cluster::circuit_breakers::thresholds::RetryBudget as ProtoBudget;
use tidegate_envoy::v3::cluster::cluster::{
    ClusterDiscoveryType, CustomClusterType, DiscoveryType, DnsLookupFamily, LbConfig, LbPolicy,
    OriginalDstLbConfig,
};
use tidegate_envoy::v3::cluster::{CircuitBreakers, Cluster as ProtoCluster};
use tidegate_envoy::v3::core::{RoutingPriority, TcpKeepalive as ProtoKeepalive};
use tidegate_envoy::v3::dns_cluster::DnsCluster;
use tidegate_envoy::v3::dynamic_cluster::ClusterConfig as DynamicCluster;
use tidegate_envoy::v3::endpoint::ClusterLoadAssignment;

use crate::config::refusal::{Refusal, Within, each};
use crate::route::Field;
use crate::upstream::cluster::{
    Cluster, Discovery, DnsFamily, DnsName, DnsPolicy, EndpointSet, Keepalive, Limits, ProxyHeader,
    RetryBudget, Secure, Sources,
};
use crate::upstream::original::named::{HEADER, Named, Noted};
use crate::upstream::outlier::Outlier;

use super::address::socket;
use super::endpoint::{Assigned, assignment, names};
use super::source::with_all_others;
use super::value::{enumeration, positive, present, required, timeout};
use super::{Links, dynamic, is, noted, outlier, proxy_header, tls, unpack};

use http::HttpOptions;

/// Envoy's default of `connect_timeout`.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Envoy's default of `per_connection_buffer_limit_bytes`.
const DEFAULT_BUFFER_LIMIT: u32 = 1024 * 1024;
/// Envoy's default of `dns_refresh_rate`.
const DEFAULT_DNS_REFRESH: Duration = Duration::from_secs(5);
/// Envoy's default of `cleanup_interval`.
const DEFAULT_CLEANUP: Duration = Duration::from_secs(5);

/// A cluster. `before` is the one whose place it takes; `assigned` finds what EDS says of a service.
pub(in crate::config) fn cluster(
    proto: &ProtoCluster,
    before: Option<&Cluster>,
    assigned: impl FnOnce(&str) -> Option<Assigned>,
    links: &mut impl Links,
) -> Result<Cluster, Refusal> {
    let name: Arc<str> = required("name", &proto.name)?.into();
    let Source { discovery, dns, listed } = source(proto, links)?;
    let listed = match &discovery {
        Discovery::Eds(service) => assigned(service),
        _ => listed,
    };
    let options = HttpOptions::of(proto)?;
    let sharing = sharing::sharing(proto)?;
    let outlier = proto.outlier_detection.as_ref();
    let outlier = outlier.map(outlier::settings).transpose().within("outlier_detection")?;
    let outlier = outlier.map(|settings| Outlier::new(settings, options.errors));
    let first = endpoints(&discovery, listed.as_ref(), before).arranged(&sharing);
    let Begins { proxy_header, tls } = begins(proto, &options, links)?;
    let stat_name = Some(proto.alt_stat_name.as_str()).filter(|name| !name.is_empty());
    Ok(Cluster {
        stat_name: stat_name.map_or_else(|| Arc::clone(&name), Into::into),
        name,
        endpoints: ArcSwap::from_pointee(first),
        outlier,
        discovery,
        dns,
        connect_timeout: positive(
            "connect_timeout",
            proto.connect_timeout.as_ref(),
            DEFAULT_CONNECT_TIMEOUT,
        )?,
        sharing,
        http: options.connections,
        limits: limits(proto.circuit_breakers.as_ref())?,
        usage: before.map(|before| before.usage.next()).unwrap_or_default(),
        buffer_limit: proto.per_connection_buffer_limit_bytes.unwrap_or(DEFAULT_BUFFER_LIMIT),
        keepalive: keepalive(proto),
        sources: sources(proto).within("upstream_bind_config")?,
        proxy_header,
        tls,
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
        // They come as they are dialled.
        _ if matches!(discovery, Discovery::Dialled { .. } | Discovery::Asked(_)) => {
            EndpointSet::new(Vec::new())
        }
        Some(listed) => listed.endpoints(&known),
        None if before.is_some_and(|before| before.discovery == *discovery) => known.again(),
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

fn source(proto: &ProtoCluster, links: &mut impl Links) -> Result<Source, Refusal> {
    let kind = match &proto.cluster_discovery_type {
        None => DiscoveryType::Static,
        Some(ClusterDiscoveryType::Type(kind)) => enumeration("type", *kind)?,
        Some(ClusterDiscoveryType::ClusterType(custom)) => {
            return custom_source(proto, custom).within("cluster_type");
        }
    };
    let dns = dns_policy(proto)?;
    if proto.cleanup_interval.is_some() && kind != DiscoveryType::OriginalDst {
        let reason = "has no effect: it is for clusters of type ORIGINAL_DST";
        links.notice(Refusal::of("cleanup_interval", reason));
    }
    if matches!(proto.lb_config, Some(LbConfig::OriginalDstLbConfig(_)))
        && kind != DiscoveryType::OriginalDst
    {
        let reason = "has no effect: it is for clusters of type ORIGINAL_DST";
        links.notice(Refusal::of("original_dst_lb_config", reason));
    }
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
        DiscoveryType::OriginalDst => (dialled(proto, links)?, None),
    };
    Ok(Source { discovery, dns, listed })
}

/// Where clients dialled.
fn dialled(proto: &ProtoCluster, links: &mut impl Links) -> Result<Discovery, Refusal> {
    if proto.lb_policy() != LbPolicy::ClusterProvided {
        return Err(Refusal::of("lb_policy", "must be CLUSTER_PROVIDED with ORIGINAL_DST"));
    }
    if proto.load_assignment.is_some() {
        let reason = "must be absent with ORIGINAL_DST: its endpoints are where clients dial";
        return Err(Refusal::of("load_assignment", reason));
    }
    if proto.outlier_detection.is_some() {
        let reason = "has no effect with ORIGINAL_DST: there is no other endpoint to take";
        links.notice(Refusal::of("outlier_detection", reason));
    }
    let cleanup = positive("cleanup_interval", proto.cleanup_interval.as_ref(), DEFAULT_CLEANUP)?;
    let named = match &proto.lb_config {
        Some(LbConfig::OriginalDstLbConfig(config)) => {
            Some(named(config).within("original_dst_lb_config")?)
        }
        _ => None,
    };
    Ok(Discovery::Dialled { cleanup, named: named.map(Box::new) })
}

/// What takes the place of what clients dialled.
fn named(config: &OriginalDstLbConfig) -> Result<Named, Refusal> {
    let header = &*config.http_header_name;
    if !config.use_http_header && !header.is_empty() {
        return Err(Refusal::of("http_header_name", "takes use_http_header"));
    }
    let header = if header.is_empty() { HEADER } else { header };
    let noted = config.metadata_key.as_ref().map(|key| {
        if key.path.is_empty() {
            return Err(Refusal::of("path", "must name at least one key"));
        }
        let path = each("path", &key.path, |segment| match &segment.segment {
            Some(Segment::Key(key)) => Ok(required("key", key)?.into()),
            Some(Segment::Index(_)) | None => Err(Refusal::of("key", "must be set")),
        })?;
        Ok(Noted { of: required("key", &key.key)?.into(), path: path.into() })
    });
    let port = config.upstream_port_override.map(|port| {
        let reason = "must be a port: at most 65535";
        u16::try_from(port).map_err(|_| Refusal::of("upstream_port_override", reason))
    });
    Ok(Named {
        noted: noted.transpose().within("metadata_key")?,
        header: config.use_http_header.then(|| Field::new(header)),
        port: port.transpose()?,
    })
}

/// A `cluster_type`, which the capability table lets be a DNS cluster or one of names that clients ask for.
fn custom_source(proto: &ProtoCluster, custom: &CustomClusterType) -> Result<Source, Refusal> {
    let any = present("typed_config", custom.typed_config.as_ref())?;
    if is::<DynamicCluster>(any) {
        let (discovery, dns) =
            dynamic::cluster(proto, &unpack(any).within("typed_config")?).within("typed_config")?;
        return Ok(Source { discovery, dns, listed: None });
    }
    if proto.lb_policy() == LbPolicy::ClusterProvided {
        return Err(Refusal::new(
            "lb_policy CLUSTER_PROVIDED is not for clusters of names that are listed",
        ));
    }
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

// === limits, connections ===

/// Of several thresholds of one priority the first hold.
fn limits(proto: Option<&CircuitBreakers>) -> Result<Limits, Refusal> {
    let mut limits = None;
    for (index, thresholds) in
        proto.iter().flat_map(|breakers| breakers.thresholds.iter().enumerate())
    {
        let priority: RoutingPriority = enumeration("priority", thresholds.priority)
            .within_item("thresholds", index)
            .within("circuit_breakers")?;
        if priority == RoutingPriority::Default && limits.is_none() {
            let of_it = default_limits(thresholds)
                .within_item("thresholds", index)
                .within("circuit_breakers");
            limits = Some(of_it?);
        }
    }
    Ok(limits.unwrap_or_default())
}

fn default_limits(proto: &Thresholds) -> Result<Limits, Refusal> {
    let default = Limits::default();
    Ok(Limits {
        connections: proto.max_connections.unwrap_or(default.connections),
        pending_requests: proto.max_pending_requests.unwrap_or(default.pending_requests),
        requests: proto.max_requests.unwrap_or(default.requests),
        retries: proto.max_retries.unwrap_or(default.retries),
        retry_budget: proto.retry_budget.as_ref().map(retry_budget).transpose()?,
    })
}

fn retry_budget(proto: &ProtoBudget) -> Result<RetryBudget, Refusal> {
    let percent = proto.budget_percent.as_ref().map_or(20.0, |percent| percent.value);
    let interval = timeout("budget_interval", proto.budget_interval.as_ref(), None);
    Ok(RetryBudget {
        share: (percent.clamp(0.0, 100.0) * 1000.0) as u32,
        least: proto.min_retry_concurrency.unwrap_or(3),
        interval: interval.within("retry_budget")?,
    })
}

/// The addresses that connections come from.
fn sources(proto: &ProtoCluster) -> Result<Sources, Refusal> {
    let Some(config) = &proto.upstream_bind_config else { return Ok(Sources::default()) };
    let first = present("source_address", config.source_address.as_ref())?;
    let first = socket(first).within("source_address")?;
    let others = each("extra_source_addresses", &config.extra_source_addresses, |extra| {
        socket(present("address", extra.address.as_ref())?).within("address")
    })?;
    let all: Vec<SocketAddr> = std::iter::once(first).chain(others).collect();
    // As by Envoy: more than one of a family would never be taken.
    match &all[..] {
        [_] => {}
        [one, other] if one.is_ipv4() != other.is_ipv4() => {}
        _ => {
            let reason = "must be one address of the other family";
            return Err(Refusal::of("extra_source_addresses", reason));
        }
    }
    Ok(Sources(all.into()))
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

// === transport socket ===

/// What connections begin with.
struct Begins {
    proxy_header: Option<ProxyHeader>,
    tls: Option<Secure>,
}

fn begins(
    proto: &ProtoCluster,
    options: &HttpOptions,
    links: &mut impl Links,
) -> Result<Begins, Refusal> {
    let socket = proto.transport_socket.as_ref();
    noted(links, "transport_socket", |links| {
        let secured = |context| Secure {
            context,
            auto_sni: options.auto_sni,
            auto_san: options.auto_san,
            field: mark::starts_tls(proto.metadata.as_ref()).map(Into::into),
        };
        let Some(around) = proxy_header::around(socket)? else {
            let tls = tls::client(socket, links)?.map(secured);
            return Ok(Begins { proxy_header: None, tls });
        };
        noted(links, "typed_config", |links| {
            let proxy_header = noted(links, "config", |links| {
                proxy_header::header(around.config.as_ref(), links).map(Some)
            })?;
            let tls = noted(links, "transport_socket", |links| {
                present("", around.transport_socket.as_ref())?;
                tls::client(around.transport_socket.as_ref(), links)
            })?;
            Ok(Begins { proxy_header, tls: tls.map(secured) })
        })
    })
}

#[cfg(test)]
mod tests;
