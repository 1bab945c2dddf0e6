//! Filter chains that carry connections: TLS passed through by SNI, and opaque TCP.

use std::collections::BTreeSet;

use tidegate_api::istio::virtual_service::{Destination, RouteDestination};
use tidegate_api::scalar::GoDuration;
use tidegate_envoy::any;
use tidegate_envoy::prost_types::Duration;
use tidegate_envoy::v3::core::CidrRange;
use tidegate_envoy::v3::listener::filter::ConfigType;
use tidegate_envoy::v3::listener::{Filter, FilterChain, FilterChainMatch};
use tidegate_envoy::v3::tcp_proxy::TcpProxy;
use tidegate_envoy::v3::tcp_proxy::tcp_proxy::weighted_cluster::ClusterWeight;
use tidegate_envoy::v3::tcp_proxy::tcp_proxy::{ClusterSpecifier, WeightedCluster};

use super::tls::{self, Carries};
use super::{Context, access_log, connection_pool, duration};
use crate::model::names;
use crate::model::subnet::{Part, Subnet};
use crate::model::tls::Terms;
use crate::model::virtual_service::VirtualService;

/// A chain for these server names; `*` among them takes every connection.
#[must_use]
pub fn for_names(names: &BTreeSet<String>, filters: Vec<Filter>) -> FilterChain {
    let every = names.contains("*");
    FilterChain {
        filter_chain_match: (!every).then(|| FilterChainMatch {
            server_names: names.iter().cloned().collect(),
            ..FilterChainMatch::default()
        }),
        filters,
        ..FilterChain::default()
    }
}

/// A chain for every connection.
#[must_use]
pub fn for_all(filters: Vec<Filter>) -> FilterChain {
    FilterChain { filters, ..FilterChain::default() }
}

/// Lets a chain take connections to these parts of its listener's addresses alone; to all of them where there are none.
pub fn restrict(chain: &mut FilterChain, parts: &BTreeSet<Part>) {
    if !parts.is_empty() {
        let asks = chain.filter_chain_match.get_or_insert_default();
        asks.prefix_ranges = parts.iter().map(range).collect();
    }
}

/// A chain that terminates TLS for these server names; none or `*` among them: for every name.
#[must_use]
pub fn terminating(
    names: &BTreeSet<String>,
    filters: Vec<Filter>,
    terms: &Terms,
    carries: Carries,
) -> FilterChain {
    let every = names.is_empty() || names.contains("*");
    FilterChain {
        filter_chain_match: (!every).then(|| FilterChainMatch {
            server_names: names.iter().cloned().collect(),
            ..FilterChainMatch::default()
        }),
        filters,
        transport_socket: Some(tls::socket(terms, carries)),
        ..FilterChain::default()
    }
}

/// The filter that carries a connection to one of the destinations; `None` when all weights are zero.
#[must_use]
pub fn tcp_proxy(
    destinations: &[RouteDestination],
    service: &VirtualService,
    port: u16,
    context: &Context<'_>,
) -> Option<Filter> {
    let cluster =
        |d: &RouteDestination| context.cluster(&d.destination, &service.key.namespace, port);
    let (stat_prefix, to) = match destinations {
        [only] => (cluster(only), ClusterSpecifier::Cluster(cluster(only))),
        several => {
            let weighted: Vec<ClusterWeight> = several
                .iter()
                .filter_map(|d| Some((d, u32::try_from(d.share()).ok().filter(|w| *w > 0)?)))
                .map(|(d, weight)| ClusterWeight { name: cluster(d), weight, ..Default::default() })
                .collect();
            if weighted.is_empty() {
                return None;
            }
            let name = format!("{}.{}", service.key.name, service.key.namespace);
            (name, ClusterSpecifier::WeightedClusters(WeightedCluster { clusters: weighted }))
        }
    };
    // One filter has one set of times: those of the first destination, as in Istio.
    let limits = destinations.first().map(|first| {
        let Destination { host, subset, .. } = &first.destination;
        let port = context.destination_port(&first.destination, &service.key.namespace, port);
        Limits::of((host, subset), &service.key.namespace, port, context)
    });
    Some(proxy(stat_prefix, to, limits.unwrap_or_default(), context))
}

/// The filter that carries connections to a port of a service.
#[must_use]
pub fn to_service(host: &str, port: u16, context: &Context<'_>) -> Filter {
    let cluster = names::cluster(host, "", port);
    let limits = Limits::of((host, ""), &context.options.namespace, port, context);
    proxy(cluster.clone(), ClusterSpecifier::Cluster(cluster), limits, context)
}

/// How long a connection that is carried may be idle and last (`connectionPool.tcp`); Envoy's own times where nothing
/// is said.
#[derive(Clone, Copy, Default)]
struct Limits {
    idle: Option<Duration>,
    age: Option<Duration>,
}

impl Limits {
    fn of((host, subset): (&str, &str), namespace: &str, port: u16, context: &Context<'_>) -> Self {
        let rules = context.rules_for(host, namespace);
        let policy = rules.as_ref().map(|rules| rules.policy_for(port, rules.subset(subset)));
        let Some(tcp) = policy.and_then(connection_pool::tcp) else { return Self::default() };
        let span = |span: Option<GoDuration>| span.map(|span| duration(span.get()));
        Self { idle: span(tcp.idle_timeout), age: span(tcp.max_connection_duration) }
    }
}

/// The filters of a chain that carries connections: who may connect, then what carries them.
#[must_use]
pub fn judged(carry: impl IntoIterator<Item = Filter>, context: &Context<'_>) -> Vec<Filter> {
    context.authorization.connections.iter().cloned().chain(carry).collect()
}

/// The filter that closes connections.
#[must_use]
pub fn nowhere(context: &Context<'_>) -> Filter {
    to_cluster(names::BLACK_HOLE_CLUSTER, context)
}

/// The filter that carries connections to a cluster.
#[must_use]
pub fn to_cluster(cluster: &str, context: &Context<'_>) -> Filter {
    let to = ClusterSpecifier::Cluster(cluster.to_owned());
    proxy(cluster.to_owned(), to, Limits::default(), context)
}

fn proxy(
    stat_prefix: String,
    to: ClusterSpecifier,
    limits: Limits,
    context: &Context<'_>,
) -> Filter {
    let proxy = TcpProxy {
        stat_prefix,
        cluster_specifier: Some(to),
        idle_timeout: limits.idle,
        max_downstream_connection_duration: limits.age,
        access_log: access_log::of_traffic(context.options),
        ..TcpProxy::default()
    };
    Filter {
        name: "envoy.filters.network.tcp_proxy".to_owned(),
        config_type: Some(ConfigType::TypedConfig(any(&proxy))),
    }
}

/// A network as filter chains ask for it.
#[must_use]
pub fn range(subnet: &Subnet) -> CidrRange {
    CidrRange {
        address_prefix: subnet.address().to_string(),
        prefix_len: Some(subnet.bits().into()),
    }
}
