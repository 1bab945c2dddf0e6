//! Hosts that clients ask for by name and the proxy resolves itself, so that no client chooses the address: wildcard hosts with
//! `resolution: DYNAMIC_DNS`, those of HTTP and TLS with `NONE`, and `ALLOW_ANY_DYNAMIC_DNS`.
//!
//! All of them share one cache of names in Envoy. Marks keep our data plane to the port and the names of a host; Envoy dials the port
//! that a request's Host says.

use tidegate_api::istio::virtual_service::RouteDestination;
use tidegate_envoy::v3::cluster::Cluster;
use tidegate_envoy::v3::cluster::cluster::{ClusterDiscoveryType, CustomClusterType, LbPolicy};
use tidegate_envoy::v3::dns_cache::DnsCacheConfig;
use tidegate_envoy::v3::dynamic_cluster::ClusterConfig;
use tidegate_envoy::v3::dynamic_cluster::cluster_config::ClusterImplementationSpecifier;
use tidegate_envoy::v3::hcm::HttpFilter;
use tidegate_envoy::v3::http_dynamic_forward_proxy::FilterConfig as HttpConfig;
use tidegate_envoy::v3::http_dynamic_forward_proxy::filter_config::ImplementationSpecifier;
use tidegate_envoy::v3::listener::Filter;
use tidegate_envoy::v3::listener::filter::ConfigType;
use tidegate_envoy::v3::sni_dynamic_forward_proxy::FilterConfig as SniConfig;
use tidegate_envoy::v3::sni_dynamic_forward_proxy::filter_config::PortSpecifier;
use tidegate_envoy::{any, mark};

use super::cluster::lookup_family;
use super::{Context, http_filter};
use crate::model::service::{Port, Target};
use crate::{OutboundPolicy, model::names};

/// How many names are kept at a time: Envoy's default, and Istio's.
const MOST_HOSTS: u32 = 1024;

fn cache(context: &Context<'_>) -> DnsCacheConfig {
    DnsCacheConfig {
        name: names::DNS_CACHE.to_owned(),
        dns_lookup_family: lookup_family(context.options).into(),
        max_hosts: Some(MOST_HOSTS),
        ..DnsCacheConfig::default()
    }
}

/// Lets a cluster send to whom clients ask for.
pub(super) fn cluster(cluster: Cluster, context: &Context<'_>) -> Cluster {
    let config = ClusterConfig {
        cluster_implementation_specifier: Some(ClusterImplementationSpecifier::DnsCacheConfig(
            cache(context),
        )),
        // Servers are verified as the cluster's TLS says.
        allow_insecure_cluster_options: true,
        ..ClusterConfig::default()
    };
    Cluster {
        cluster_discovery_type: Some(ClusterDiscoveryType::ClusterType(CustomClusterType {
            name: "envoy.clusters.dynamic_forward_proxy".to_owned(),
            typed_config: Some(any(&config)),
        })),
        lb_policy: LbPolicy::ClusterProvided.into(),
        lb_config: None,
        common_lb_config: None,
        ..cluster
    }
}

/// Keeps such a cluster to the names of a wildcard host, and to a port of it.
pub(super) fn within(host: &str, port: &Port, mut cluster: Cluster) -> Cluster {
    mark::dial_port(&mut cluster.metadata, number(port));
    if let Some(suffix) = host.strip_prefix('*') {
        mark::dial_within(&mut cluster.metadata, suffix.to_ascii_lowercase());
    }
    cluster
}

fn number(port: &Port) -> u16 {
    match port.target {
        Target::Number(number) => number,
        Target::Named(_) => port.number,
    }
}

/// The filter that has Envoy resolve what requests ask for; none where nothing is sent there.
pub(super) fn of_requests(context: &Context<'_>) -> Option<HttpFilter> {
    let options = context.options;
    let anything = options.workload().is_some()
        && options.outbound_policy == OutboundPolicy::AllowAnyDynamicDns;
    let config = HttpConfig {
        implementation_specifier: Some(ImplementationSpecifier::DnsCacheConfig(cache(context))),
        ..HttpConfig::default()
    };
    (anything || context.resolves_asked)
        .then(|| http_filter("envoy.filters.http.dynamic_forward_proxy", &config))
}

/// The filter that has Envoy resolve the server name of connections that a rule of `namespace`, for a port, sends to one of these;
/// none where addresses are known of all of them. It asks for one port: that of the first that is resolved.
pub(super) fn of_route(
    route: &[RouteDestination],
    namespace: &str,
    listener_port: u16,
    context: &Context<'_>,
) -> Option<Filter> {
    route.iter().find_map(|RouteDestination { destination, .. }| {
        let port = context.destination_port(destination, namespace, listener_port);
        of_connections(&destination.host, port, namespace, context)
    })
}

/// The filter that has Envoy resolve the server name of connections to a port of a host, as resources of `namespace` call it; none
/// where addresses are known.
pub(super) fn of_connections(
    host: &str,
    port: u16,
    namespace: &str,
    context: &Context<'_>,
) -> Option<Filter> {
    let service = context.registry.find(host, namespace)?;
    let port = service.port(port).filter(|port| service.is_asked(port))?;
    let config = SniConfig {
        dns_cache_config: Some(cache(context)),
        port_specifier: Some(PortSpecifier::PortValue(number(port).into())),
        ..SniConfig::default()
    };
    Some(Filter {
        name: "envoy.filters.network.sni_dynamic_forward_proxy".to_owned(),
        config_type: Some(ConfigType::TypedConfig(any(&config))),
    })
}
