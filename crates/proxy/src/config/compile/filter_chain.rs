//! Filter chains and TCP proxies.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use prost_types::Any;
use tidegate_envoy::mark;
use tidegate_envoy::prost::Message;
use tidegate_envoy::v3::hcm::HttpConnectionManager;
use tidegate_envoy::v3::hcm::http_connection_manager::RouteSpecifier;
use tidegate_envoy::v3::listener::filter::ConfigType;
use tidegate_envoy::v3::listener::filter_chain_match::ConnectionSourceType;
use tidegate_envoy::v3::listener::{Filter, FilterChain as ProtoChain, FilterChainMatch};
use tidegate_envoy::v3::network_rbac::Rbac as ProtoRbac;
use tidegate_envoy::v3::sni_dynamic_forward_proxy::FilterConfig as SniForward;
use tidegate_envoy::v3::tcp_proxy::TcpProxy as ProtoTcpProxy;
use tidegate_envoy::v3::tcp_proxy::tcp_proxy::ClusterSpecifier;

use crate::config::chains::ChainCriteria;
use crate::config::listener::{FilterChain, NetworkFilter, TcpProxy};
use crate::config::refusal::{Refusal, Within, each};
use crate::shares::Shares;
use crate::tls::ServerTls;

use super::access_log::logs;
use super::address::net;
use super::dynamic;
use super::manager::manager;
use super::rbac::network_rbac;
use super::value::{enumeration, positive, required, timeout};
use super::{Links, is, noted, tls, unpack};

/// Envoy's default of the TCP proxy's `idle_timeout`.
const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

/// Envoy waits for ever unless `transport_socket_connect_timeout` is set; a client must not be able to make us.
const DEFAULT_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

/// What filters a chain may have.
const LAST: &str = "an HTTP connection manager or a TCP proxy must be the last filter, and the only one but for RBAC and \
                    sni_dynamic_forward_proxy";

/// A filter chain, and what is wrong with its transport socket, if that is more than `unsupported` says. Where something
/// is, the chain refuses its handshakes: others of the same listener go on.
pub(in crate::config) fn filter_chain(
    proto: &ProtoChain,
    unsupported: Option<&Refusal>,
    links: &mut impl Links,
) -> Result<(Arc<FilterChain>, Option<Refusal>), Refusal> {
    let Some((last, before)) = proto.filters.split_last() else {
        return Err(Refusal::of("filters", LAST));
    };
    let mut sni_port = None;
    let rbac = each("filters", before, |filter| match typed_config(filter)? {
        any if is::<ProtoRbac>(any) => {
            let rbac = unpack(any).and_then(|proto| network_rbac(&proto));
            rbac.within("typed_config").map(Some)
        }
        any if is::<SniForward>(any) => {
            let port = unpack(any).and_then(|proto| dynamic::sni_port(&proto));
            sni_port = Some(port.within("typed_config")?);
            Ok(None)
        }
        _ => Err(Refusal::new(LAST)),
    })?;
    let rbac = rbac.into_iter().flatten().collect();
    let filter = network_filter(last, sni_port, links).within_item("filters", before.len())?;
    let handshake = positive(
        "transport_socket_connect_timeout",
        proto.transport_socket_connect_timeout.as_ref(),
        DEFAULT_HANDSHAKE_TIMEOUT,
    )?;
    let refusing = |why: &Refusal| Some(Arc::new(ServerTls::refusing(&why.to_string(), handshake)));
    let (tls, fault) = match unsupported {
        Some(why) => (refusing(why), None),
        None => match noted(links, "transport_socket", |links| {
            tls::server(proto.transport_socket.as_ref(), handshake, links)
        }) {
            Ok(tls) => (tls, None),
            Err(why) => (refusing(&why), Some(why)),
        },
    };
    let name = proto.name.as_str().into();
    let terms = matches!(filter, NetworkFilter::Http(_)).then(|| terms(proto, before));
    let discouraged = AtomicBool::new(false);
    let metadata = proto.metadata.as_ref();
    let (denies, egress_port) = (mark::denies_egress(metadata), mark::egress_port(metadata));
    let led_by = mark::led_by(metadata).map(|names| names.into_iter().map(Box::from).collect());
    let bounded_by = mark::bounded_by(metadata).map(Into::into);
    let chain = FilterChain {
        name,
        rbac,
        filter,
        tls,
        terms,
        denies,
        bounded_by,
        egress_port,
        led_by,
        discouraged,
    };
    Ok((Arc::new(chain), fault))
}

/// What a chain is but for its last filter.
fn terms(proto: &ProtoChain, before: &[Filter]) -> Box<[u8]> {
    let proto = ProtoChain { filters: before.to_vec(), ..proto.clone() };
    proto.encode_to_vec().into()
}

/// The encoded form of a chain without the name of its route configuration, and that name; `None` where it has none.
pub(in crate::config) fn without_routes_name(proto: &ProtoChain) -> Option<(Vec<u8>, String)> {
    let any = typed_config(proto.filters.last()?).ok()?;
    if !is::<HttpConnectionManager>(any) {
        return None;
    }
    let mut manager: HttpConnectionManager = unpack(any).ok()?;
    let Some(RouteSpecifier::Rds(rds)) = &mut manager.route_specifier else { return None };
    let name = std::mem::take(&mut rds.route_config_name);
    let mut proto = proto.clone();
    let Some(ConfigType::TypedConfig(any)) = &mut proto.filters.last_mut()?.config_type else {
        return None;
    };
    any.value = manager.encode_to_vec();
    (!name.is_empty()).then(|| (proto.encode_to_vec(), name))
}

fn typed_config(proto: &Filter) -> Result<&Any, Refusal> {
    match &proto.config_type {
        Some(ConfigType::TypedConfig(any)) => Ok(any),
        _ => Err(Refusal::of("typed_config", "must be set")),
    }
}

fn network_filter(
    proto: &Filter,
    sni_port: Option<u16>,
    links: &mut impl Links,
) -> Result<NetworkFilter, Refusal> {
    let any = typed_config(proto)?;
    if is::<ProtoRbac>(any) {
        return Err(Refusal::new(LAST));
    }
    if is::<ProtoTcpProxy>(any) {
        let proxy =
            unpack(any).and_then(|proto| tcp_proxy(&proto, links)).within("typed_config")?;
        return Ok(NetworkFilter::Tcp(Arc::new(TcpProxy { sni_port, ..proxy })));
    }
    let manager = unpack(any).and_then(|proto: HttpConnectionManager| manager(&proto, links));
    Ok(NetworkFilter::Http(Arc::new(manager.within("typed_config")?)))
}

fn tcp_proxy(proto: &ProtoTcpProxy, links: &mut impl Links) -> Result<TcpProxy, Refusal> {
    let clusters = match &proto.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => {
            Some(Shares::only(links.cluster(required("cluster", name)?)))
        }
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            let clusters = each("clusters", &weighted.clusters, |weight| match weight.weight {
                0 => Err(Refusal::of("weight", "must be 1 at least")),
                share => Ok((links.cluster(required("name", &weight.name)?), share)),
            });
            Shares::new(clusters.within("weighted_clusters")?)
        }
        None => return Err(Refusal::new("one of cluster and weighted_clusters must be set")),
    };
    let Some(clusters) = clusters else {
        return Err(Refusal::of("weighted_clusters.clusters", "must have an entry"));
    };
    Ok(TcpProxy {
        stat_prefix: required("stat_prefix", &proto.stat_prefix)?.into(),
        clusters,
        idle_timeout: timeout("idle_timeout", proto.idle_timeout.as_ref(), DEFAULT_IDLE_TIMEOUT)?,
        max_duration: timeout(
            "max_downstream_connection_duration",
            proto.max_downstream_connection_duration.as_ref(),
            None,
        )?,
        connect_attempts: match proto.max_connect_attempts {
            Some(0) => return Err(Refusal::of("max_connect_attempts", "must be 1 at least")),
            attempts => attempts.unwrap_or(1),
        },
        sni_port: None,
        log: logs(&proto.access_log, links.logs())?,
    })
}

/// What a chain asks of a connection.
pub(in crate::config) fn chain_criteria(
    proto: Option<&FilterChainMatch>,
) -> Result<ChainCriteria, Refusal> {
    let Some(proto) = proto else { return Ok(ChainCriteria::default()) };
    let port = |port: &u32| u16::try_from(*port).map_err(|_| Refusal::new("must be 65535 at most"));
    Ok(ChainCriteria {
        destination_port: proto
            .destination_port
            .as_ref()
            .map(port)
            .transpose()
            .within("destination_port")?,
        destination_nets: each("prefix_ranges", &proto.prefix_ranges, net)?,
        server_names: each("server_names", &proto.server_names, |name| server_name(name))?,
        tls: match proto.transport_protocol.as_str() {
            "" => None,
            "tls" => Some(true),
            "raw_buffer" => Some(false),
            _ => return Err(Refusal::of("transport_protocol", "use tls or raw_buffer")),
        },
        application_protocols: proto
            .application_protocols
            .iter()
            .map(|protocol| protocol.as_bytes().into())
            .collect(),
        direct_source_nets: each(
            "direct_source_prefix_ranges",
            &proto.direct_source_prefix_ranges,
            net,
        )?,
        local_source: match enumeration("source_type", proto.source_type)? {
            ConnectionSourceType::Any => None,
            ConnectionSourceType::SameIpOrLoopback => Some(true),
            ConnectionSourceType::External => Some(false),
        },
        source_nets: each("source_prefix_ranges", &proto.source_prefix_ranges, net)?,
        source_ports: each("source_ports", &proto.source_ports, port)?,
    })
}

fn server_name(name: &str) -> Result<Box<str>, Refusal> {
    let fixed = name.strip_prefix("*.").unwrap_or(name);
    if fixed.is_empty() || fixed.contains('*') {
        return Err(Refusal::new(format_args!(
            "{name:?} is neither a host name nor * followed by a dot and one"
        )));
    }
    Ok(name.into())
}

#[cfg(test)]
mod tests;
