//! Names that clients ask for: clusters that resolve them, and the filters by which Envoy has that done.

use std::time::Duration;

use tidegate_envoy::mark;
use tidegate_envoy::v3::cluster::Cluster as ProtoCluster;
use tidegate_envoy::v3::cluster::cluster::{DnsLookupFamily, LbPolicy};
use tidegate_envoy::v3::dns_cache::DnsCacheConfig;
use tidegate_envoy::v3::dynamic_cluster::ClusterConfig;
use tidegate_envoy::v3::dynamic_cluster::cluster_config::ClusterImplementationSpecifier;
use tidegate_envoy::v3::sni_dynamic_forward_proxy::FilterConfig as SniForward;
use tidegate_envoy::v3::sni_dynamic_forward_proxy::filter_config::PortSpecifier;

use crate::config::refusal::{Refusal, Within};
use crate::upstream::cluster::{Discovery, DnsFamily, DnsPolicy};
use crate::upstream::dynamic::Policy;

use super::value::{enumeration, positive};

/// Envoy's defaults of a DNS cache.
const REFRESH: Duration = Duration::from_secs(60);
const MIN_REFRESH: Duration = Duration::from_secs(5);
const HOST_TTL: Duration = Duration::from_secs(300);
const MAX_HOSTS: u32 = 1024;

/// Ports where neither a client nor the configuration says one.
const HTTP: u16 = 80;
const HTTPS: u16 = 443;

/// Envoy's default of `port_value`.
const SNI_PORT: u16 = 443;

/// How a cluster finds what clients ask for.
pub(super) fn cluster(
    proto: &ProtoCluster,
    config: &ClusterConfig,
) -> Result<(Discovery, DnsPolicy), Refusal> {
    if proto.lb_policy() != LbPolicy::ClusterProvided {
        let reason = "lb_policy must be CLUSTER_PROVIDED with a dynamic forward proxy";
        return Err(Refusal::new(reason));
    }
    let Some(ClusterImplementationSpecifier::DnsCacheConfig(cache)) =
        &config.cluster_implementation_specifier
    else {
        return Err(Refusal::of("dns_cache_config", "must be set"));
    };
    let default_port = if proto.transport_socket.is_some() { HTTPS } else { HTTP };
    let metadata = proto.metadata.as_ref();
    let (port, within) = (mark::dialled_port(metadata), mark::dialled_within(metadata));
    let within = within.map(Into::into);
    let (policy, dns) = names(cache).within("dns_cache_config")?;
    Ok((Discovery::Asked(Policy { within, port, default_port, ..policy }), dns))
}

fn names(cache: &DnsCacheConfig) -> Result<(Policy, DnsPolicy), Refusal> {
    let family = match enumeration("dns_lookup_family", cache.dns_lookup_family)? {
        DnsLookupFamily::Auto => DnsFamily::Auto,
        DnsLookupFamily::V4Only => DnsFamily::V4Only,
        DnsLookupFamily::V6Only => DnsFamily::V6Only,
        DnsLookupFamily::V4Preferred => DnsFamily::V4Preferred,
        DnsLookupFamily::All => DnsFamily::All,
    };
    let refresh = positive("dns_refresh_rate", cache.dns_refresh_rate.as_ref(), REFRESH)?;
    let min_ttl =
        positive("dns_min_refresh_rate", cache.dns_min_refresh_rate.as_ref(), MIN_REFRESH)?;
    let host_ttl = positive("host_ttl", cache.host_ttl.as_ref(), HOST_TTL)?;
    let max_hosts = match cache.max_hosts.unwrap_or(MAX_HOSTS) {
        0 => return Err(Refusal::of("max_hosts", "must be 1 at least")),
        most => most as usize,
    };
    let policy =
        Policy { max_hosts, host_ttl, min_ttl, within: None, port: None, default_port: HTTP };
    Ok((policy, DnsPolicy { family, refresh, respect_ttl: true }))
}

/// The port at which hosts are dialled that clients name by SNI.
pub(super) fn sni_port(proto: &SniForward) -> Result<u16, Refusal> {
    match proto.port_specifier {
        None => Ok(SNI_PORT),
        Some(PortSpecifier::PortValue(port)) => match u16::try_from(port) {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(Refusal::of("port_value", "must be 1 to 65535")),
        },
    }
}
