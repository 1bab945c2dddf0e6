//! Listeners and virtual hosts of a sidecar, as `crate::sidecar` lays them out.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use tidegate_api::ObjectKey;
use tidegate_api::istio::virtual_service::{Destination, HttpRetry, PortSelector};
use tidegate_api::scalar::Port;
use tidegate_envoy::any;
use tidegate_envoy::prost::Message as _;
use tidegate_envoy::prost_types::Any;
use tidegate_envoy::v3::core::socket_address::PortSpecifier;
use tidegate_envoy::v3::core::{Address, Pipe, SocketAddress, TrafficDirection, address};
use tidegate_envoy::v3::http_inspector::HttpInspector;
use tidegate_envoy::v3::listener::{
    AdditionalAddress, Filter, FilterChain, FilterChainMatch, Listener, ListenerFilter,
    listener_filter,
};
use tidegate_envoy::v3::route::route::Action;
use tidegate_envoy::v3::route::route_action::{ClusterSpecifier, HostRewriteSpecifier};
use tidegate_envoy::v3::route::{Route, RouteAction, RouteConfiguration, VirtualHost};
use tidegate_envoy::v3::tls_inspector::TlsInspector;

use super::listener::ChainSource;
use super::{
    Context, access_log, asked, balancing, cluster, connection_manager, denial, duration,
    filter_chain, inbound, matches, retry,
};
use crate::model::names;
use crate::model::service::Service;
use crate::model::subnet::Subnet;
use crate::model::virtual_service::VirtualService;
use crate::sidecar::OUTBOUND_PORT;
use crate::sidecar::listeners::{Asks, At, Chain, Listener as Plan, To};
use crate::sidecar::routes::{ALLOW_ANY_DYNAMIC_DNS, Onward, TableName, elsewhere_name};
use crate::{Interception, Options, OutboundPolicy, Workload};

/// The listener that outbound connections are redirected to.
pub const VIRTUAL_OUTBOUND: &str = "virtualOutbound";

/// What the HTTP inspector says of connections that begin with a request.
pub(super) const REQUESTS: [&str; 3] = ["http/1.0", "http/1.1", "h2c"];

/// A listener, and what each of its chains was made from, in their order; the default chain is the last.
#[derive(Debug)]
pub struct Compiled {
    /// The listener.
    pub listener: Listener,
    /// Sources of its chains.
    pub sources: Vec<ChainSource>,
}

/// A listener for what goes out. `rules` finds VirtualServices.
#[must_use]
pub fn outbound<'a>(
    plan: &Plan,
    rules: impl Fn(&ObjectKey) -> Option<&'a VirtualService>,
    context: &Context<'_>,
) -> Compiled {
    let name = plan.name();
    let mut listener = Listener {
        listener_filters: inspectors(plan),
        listener_filters_timeout: Some(duration(context.options.detection_timeout)),
        continue_on_listener_filters_timeout: true,
        bind_to_port: (!plan.bound).then_some(false),
        ..match &plan.at {
            At::Port(address, port) => base(&name, *address, *port, context),
            At::Socket(written) => on_socket(&name, written, context),
        }
    };
    let (mut sources, mut last, mut closes) = (Vec::new(), None, false);
    for chain in &plan.chains {
        let Some(filter) = carry(chain, &name, plan.port(), &rules, context) else { continue };
        let resolves = match &chain.to {
            To::Service { host, port } => {
                asked::of_connections(host, *port, &context.options.namespace, context)
            }
            To::Rule { rules, route, .. } if !chain.asks.server_names.is_empty() => {
                asked::of_route(route, &rules.namespace, plan.port(), context)
            }
            To::Routes(_) | To::Rule { .. } => None,
        };
        let filters = resolves.into_iter().chain([filter]).collect();
        let mut message = FilterChain { filters, ..FilterChain::default() };
        if !chain.led_by.is_empty() {
            denial::strangers(&mut message, &chain.led_by, context);
            closes = true;
        }
        if chain.asks.nothing() {
            last = Some((message, source(chain)));
            continue;
        }
        let filter_chain_match = Some(criteria(&chain.asks));
        listener.filter_chains.push(FilterChain { filter_chain_match, ..message });
        sources.push(source(chain));
    }
    let denies = closes || last.is_none() && plan.elsewhere == OutboundPolicy::RegistryOnly;
    let (message, source) = last.unwrap_or_else(|| {
        let name = "PassthroughFilterChain".to_owned();
        (elsewhere(&name, plan.elsewhere, context), ChainSource::shared())
    });
    if denies && !plan.chains.iter().any(|chain| chain.asks.requests) {
        listener.filter_chains.push(denial::requests(&format!("{name}-denied-http"), context));
        sources.push(ChainSource::shared());
    }
    if listener.filter_chains.is_empty() {
        listener.filter_chains.push(message);
    } else {
        listener.default_filter_chain = Some(message);
    }
    sources.push(source);
    Compiled { listener, sources }
}

/// The listener that outbound connections are redirected to, for those that no other listener takes.
#[must_use]
pub fn virtual_outbound(wildcard: IpAddr, context: &Context<'_>) -> Compiled {
    let chain = |name: &str, filter: Filter| FilterChain {
        name: format!("{VIRTUAL_OUTBOUND}-{name}"),
        filters: vec![filter],
        ..FilterChain::default()
    };
    // Whoever dials the port itself would be sent in a circle.
    let itself = FilterChain {
        filter_chain_match: Some(FilterChainMatch {
            destination_port: Some(OUTBOUND_PORT.into()),
            ..FilterChainMatch::default()
        }),
        ..chain("blackhole", filter_chain::nowhere(context))
    };
    let policy = context.options.outbound_policy;
    let named = |name: &str| format!("{VIRTUAL_OUTBOUND}-{name}");
    let others = elsewhere(&named("catchall-tcp"), policy, context);
    let mut sources = vec![inbound::of_port(Some(OUTBOUND_PORT), None), ChainSource::shared()];
    let (filter_chains, default_filter_chain) = match policy {
        OutboundPolicy::AllowAny => (vec![itself, others], None),
        OutboundPolicy::AllowAnyDynamicDns => {
            sources.push(ChainSource::shared());
            (vec![itself, asking(&named("catchall-tcp-http"), context)], Some(others))
        }
        OutboundPolicy::RegistryOnly => {
            sources.push(ChainSource::shared());
            let requests = denial::requests(&named("catchall-http"), context);
            (vec![itself, requests], Some(others))
        }
    };
    let looks = policy == OutboundPolicy::AllowAnyDynamicDns;
    let requests = looks.then(|| inspector("http_inspector", any(&HttpInspector::default())));
    let listener = Listener {
        listener_filters: requests.into_iter().collect(),
        listener_filters_timeout: looks.then(|| duration(context.options.detection_timeout)),
        continue_on_listener_filters_timeout: looks,
        use_original_dst: Some(true),
        transparent: transparent(context.options),
        filter_chains,
        default_filter_chain,
        ..base(VIRTUAL_OUTBOUND, wildcard, OUTBOUND_PORT, context)
    };
    Compiled { listener, sources }
}

/// Whether a listener that connections are led to takes those with their addresses as they are.
pub(super) fn transparent(options: &Options) -> Option<bool> {
    matches!(options.interception, Interception::Tproxy { .. }).then_some(true)
}

/// The chain for requests to whom they ask for.
fn asking(name: &str, context: &Context<'_>) -> FilterChain {
    let policy = OutboundPolicy::AllowAnyDynamicDns;
    let anywhere = TableName::Port(OUTBOUND_PORT);
    let routes = RouteConfiguration {
        name: ALLOW_ANY_DYNAMIC_DNS.to_owned(),
        virtual_hosts: vec![to_elsewhere(vec!["*".to_owned()], policy, &anywhere, context)],
        ..RouteConfiguration::default()
    };
    FilterChain {
        name: name.to_owned(),
        filter_chain_match: Some(FilterChainMatch {
            // A TLS client's ALPN speaks of what is inside of its TLS.
            transport_protocol: "raw_buffer".to_owned(),
            application_protocols: REQUESTS.map(str::to_owned).to_vec(),
            ..FilterChainMatch::default()
        }),
        filters: vec![connection_manager::asking(name, routes, context)],
        ..FilterChain::default()
    }
}

pub(super) fn base(name: &str, address: IpAddr, port: u16, context: &Context<'_>) -> Listener {
    let socket = |address: IpAddr| {
        let socket = SocketAddress {
            address: address.to_string(),
            port_specifier: Some(PortSpecifier::PortValue(port.into())),
            ..SocketAddress::default()
        };
        Address { address: Some(address::Address::SocketAddress(socket)) }
    };
    let workload = context.options.workload().filter(|_| address.is_unspecified());
    let other = workload.and_then(Workload::other_wildcard);
    let additional = |address| AdditionalAddress {
        address: Some(socket(address)),
        ..AdditionalAddress::default()
    };
    Listener {
        name: name.to_owned(),
        address: Some(socket(address)),
        additional_addresses: other.map(additional).into_iter().collect(),
        traffic_direction: TrafficDirection::Outbound.into(),
        access_log: access_log::of_listener(context.options),
        ..Listener::default()
    }
}

/// A listener on a Unix socket, of which `unix://` and the path are written.
fn on_socket(name: &str, written: &str, context: &Context<'_>) -> Listener {
    let path = written.strip_prefix("unix://").unwrap_or(written).to_owned();
    let address = Address { address: Some(address::Address::Pipe(Pipe { path, mode: 0 })) };
    Listener {
        name: name.to_owned(),
        address: Some(address),
        traffic_direction: TrafficDirection::Outbound.into(),
        access_log: access_log::of_listener(context.options),
        ..Listener::default()
    }
}

/// Who looks into connections: a chain that asks for a request is told ones from TLS, too.
fn inspectors(plan: &Plan) -> Vec<ListenerFilter> {
    let requests = plan.chains.iter().any(|chain| chain.asks.requests);
    let tls = requests || plan.chains.iter().any(|chain| !chain.asks.server_names.is_empty());
    let tls = tls.then(|| inspector("tls_inspector", any(&TlsInspector::default())));
    let http = requests.then(|| inspector("http_inspector", any(&HttpInspector::default())));
    tls.into_iter().chain(http).collect()
}

/// A listener filter.
pub(super) fn inspector(name: &str, config: Any) -> ListenerFilter {
    ListenerFilter {
        name: format!("envoy.filters.listener.{name}"),
        config_type: Some(listener_filter::ConfigType::TypedConfig(config)),
        ..ListenerFilter::default()
    }
}

/// The filter of a chain; `None` where a rule shares nothing out.
fn carry<'a>(
    chain: &Chain,
    listener: &str,
    port: u16,
    rules: impl Fn(&ObjectKey) -> Option<&'a VirtualService>,
    context: &Context<'_>,
) -> Option<Filter> {
    match &chain.to {
        To::Routes(table) => {
            Some(connection_manager::outbound(listener, &table.to_string(), context))
        }
        To::Rule { rules: key, route, .. } => {
            filter_chain::tcp_proxy(route, rules(key)?, port, context)
        }
        To::Service { host, port } => Some(filter_chain::to_service(host, *port, context)),
    }
}

/// The chain for connections that nobody describes where they go.
fn elsewhere(name: &str, policy: OutboundPolicy, context: &Context<'_>) -> FilterChain {
    match policy {
        OutboundPolicy::AllowAny | OutboundPolicy::AllowAnyDynamicDns => FilterChain {
            name: name.to_owned(),
            filters: vec![filter_chain::to_cluster(way_out(context), context)],
            ..FilterChain::default()
        },
        OutboundPolicy::RegistryOnly => denial::connections(name, context),
    }
}

/// The cluster that lets out what nobody describes.
fn way_out<'a>(context: &Context<'a>) -> &'a str {
    context.options.egress_proxy.as_deref().unwrap_or(names::PASSTHROUGH_CLUSTER)
}

fn criteria(asks: &Asks) -> FilterChainMatch {
    FilterChainMatch {
        server_names: asks.server_names.clone(),
        prefix_ranges: asks.subnets.iter().map(filter_chain::range).collect(),
        transport_protocol: if asks.requests { "raw_buffer" } else { "" }.to_owned(),
        application_protocols: match asks.requests {
            true => REQUESTS.map(str::to_owned).to_vec(),
            false => Vec::new(),
        },
        ..FilterChainMatch::default()
    }
}

fn source(chain: &Chain) -> ChainSource {
    let mut asks = Vec::new();
    if !chain.asks.subnets.is_empty() {
        let all: Vec<String> = chain.asks.subnets.iter().map(Subnet::to_string).collect();
        asks.push(format!("address in {}", all.join(", ")));
    }
    if chain.asks.requests {
        asks.push("a request in plain text".to_owned());
    }
    ChainSource {
        server: None,
        service: match chain.to {
            // One chain for the requests for all services.
            To::Routes(TableName::Port(_)) => None,
            _ => chain.service.clone(),
        },
        rule: match &chain.to {
            To::Rule { rules, path, .. } => Some((rules.clone(), *path)),
            To::Routes(_) | To::Service { .. } => None,
        },
        names: chain.asks.server_names.iter().cloned().collect::<BTreeSet<String>>(),
        asks,
        ..ChainSource::shared()
    }
}

// === virtual hosts ===

/// A virtual host that sends every request to a service.
#[must_use]
pub fn to_service(
    name: &str,
    domains: Vec<String>,
    service: &Arc<Service>,
    port: u16,
    context: &Context<'_>,
) -> VirtualHost {
    let onward = Onward::Service(Arc::clone(service));
    let action = self::onward(&onward, port, unlimited(), None, context);
    one_route(name, domains, "default", action, &onward, context)
}

/// The virtual host for requests that nobody describes where they go.
#[must_use]
pub fn to_elsewhere(
    domains: Vec<String>,
    policy: OutboundPolicy,
    table: &TableName,
    context: &Context<'_>,
) -> VirtualHost {
    let name = elsewhere_name(policy);
    let elsewhere = Onward::Elsewhere(policy);
    let action = match (policy, table) {
        (OutboundPolicy::RegistryOnly, TableName::Socket(_)) => denial::answer_on_socket(context),
        _ => onward(&elsewhere, 0, unlimited(), None, context),
    };
    one_route(name, domains, name, action, &elsewhere, context)
}

/// What is done with requests to a port that no rule sends anywhere, where all else that a route says is in `limits`; `retries` are
/// its own.
pub(super) fn onward(
    onward: &Onward,
    port: u16,
    limits: RouteAction,
    retries: Option<&HttpRetry>,
    context: &Context<'_>,
) -> Action {
    let to = |cluster| Some(ClusterSpecifier::Cluster(cluster));
    match onward {
        Onward::Service(service) => {
            let rules = context.rules_for(&service.host, &service.key.namespace);
            let destination = Destination {
                host: service.host.to_string(),
                port: Port::new(port.into()).map(|port| PortSelector { number: Some(port) }),
                ..Destination::default()
            };
            let hash = rules.and_then(|rules| balancing::hash_policy(rules.hash(&destination)?));
            let retries = retries.or(context.options.default_retries.as_ref());
            let retry_policy = retry::policy(retries, hash.is_some());
            Action::Route(RouteAction {
                cluster_specifier: to(cluster::for_requests(service, port, context)),
                host_rewrite_specifier: service
                    .alias_of()
                    .map(|alias| HostRewriteSpecifier::HostRewriteLiteral(called(alias, port))),
                hash_policy: hash.into_iter().collect(),
                retry_policy,
                ..limits
            })
        }
        Onward::Elsewhere(
            policy @ (OutboundPolicy::AllowAny | OutboundPolicy::AllowAnyDynamicDns),
        ) => Action::Route(RouteAction {
            cluster_specifier: to(match policy {
                OutboundPolicy::AllowAnyDynamicDns => {
                    names::ALLOW_ANY_DYNAMIC_DNS_CLUSTER.to_owned()
                }
                _ => way_out(context).to_owned(),
            }),
            retry_policy: retries.and_then(|own| retry::policy(Some(own), false)),
            ..limits
        }),
        Onward::Elsewhere(OutboundPolicy::RegistryOnly) => denial::answer(context),
    }
}

/// The Host of requests to what a name stands for, which need not know that name.
pub(super) fn called(alias: &str, port: u16) -> String {
    match port {
        80 | 443 => alias.to_owned(),
        _ => names::virtual_host(alias, port),
    }
}

/// A virtual host, encoded, with requests called by the host that they are for, unless its routes call them otherwise.
#[must_use]
pub fn calling(bytes: &[u8], host: &str, port: u16) -> Bytes {
    let mut found = VirtualHost::decode(bytes).unwrap_or_default();
    for route in &mut found.routes {
        if let Some(Action::Route(action)) = &mut route.action {
            let own = || HostRewriteSpecifier::HostRewriteLiteral(called(host, port));
            action.host_rewrite_specifier.get_or_insert_with(own);
        }
    }
    found.encode_to_vec().into()
}

pub(super) fn one_route(
    name: &str,
    domains: Vec<String>,
    route: &str,
    action: Action,
    onward: &Onward,
    context: &Context<'_>,
) -> VirtualHost {
    let mut route = Route {
        name: route.to_owned(),
        r#match: Some(matches::any()),
        action: Some(action),
        ..Route::default()
    };
    denial::mark(&mut route, onward, context);
    VirtualHost {
        name: name.to_owned(),
        domains,
        routes: vec![route],
        include_request_attempt_count: true,
        ..VirtualHost::default()
    }
}

#[allow(deprecated, reason = "as on routes of VirtualServices")]
fn unlimited() -> RouteAction {
    let none = duration(std::time::Duration::ZERO);
    RouteAction { timeout: Some(none), max_grpc_timeout: Some(none), ..RouteAction::default() }
}

/// Sends every request to a cluster.
pub(super) fn forward(cluster: String) -> RouteAction {
    RouteAction { cluster_specifier: Some(ClusterSpecifier::Cluster(cluster)), ..unlimited() }
}
