//! Listeners: one per address and port of the merged Gateways.
//!
//! A listener is one unit: a changed TLS rule compiles every filter chain of its port again, some tens of
//! milliseconds with 10,000 of them. Routes of requests are units of their own and do not touch it.

use std::collections::{BTreeSet, HashMap};

use tidegate_api::ObjectKey;
use tidegate_api::istio::gateway::ServerTlsMode;
use tidegate_envoy::any;
use tidegate_envoy::v3::core::{
    Address, SocketAddress, TrafficDirection, address, socket_address::PortSpecifier,
};
use tidegate_envoy::v3::listener::{
    Filter, FilterChain, Listener, ListenerFilter, listener_filter,
};
use tidegate_envoy::v3::tls_inspector::TlsInspector;

use super::{Context, access_log, connection_manager, filter_chain};
use crate::model::gateway::{Class, Server};
use crate::model::merge::ListenerPlan;
use crate::model::virtual_service::{Place, VirtualService, applies_to_connections};

/// A compiled listener, and what its compilation found.
#[derive(Debug, Default)]
pub struct Compiled {
    /// The listener; `None` when nothing would be served, as without filter chains there can be none.
    pub listener: Option<Listener>,
    /// VirtualServices that it carries connections for.
    pub carries: BTreeSet<ObjectKey>,
    /// TLS rules that lost their server names to an older one: whose, and why.
    pub lost: Vec<(ObjectKey, String)>,
}

/// Compiles a listener. `bound` gives the VirtualServices of a gateway, in the order in which they apply.
#[must_use]
pub fn listener<'a, I>(
    plan: &ListenerPlan,
    bound: impl Fn(&str) -> I,
    context: &Context<'_>,
) -> Compiled
where
    I: Iterator<Item = &'a VirtualService>,
{
    let mut compiled = Compiled::default();
    let chains = match &plan.routes {
        Some(routes) => {
            let manager = connection_manager::filter(&plan.name, routes, context.options);
            vec![filter_chain::for_all(manager)]
        }
        None => {
            let mut names = HashMap::new();
            let mut chains = Vec::new();
            for server in &plan.servers {
                let bound = bound(&server.gateway);
                match server.class() {
                    Class::Tls => {
                        tls_chains(server, bound, &mut names, &mut chains, &mut compiled, context);
                    }
                    _ => chains.extend(tcp_chain(server, bound, &mut compiled, context)),
                }
            }
            chains
        }
    };
    if !chains.is_empty() {
        compiled.listener = Some(assemble(plan, chains, context));
    }
    compiled
}

fn assemble(plan: &ListenerPlan, chains: Vec<FilterChain>, context: &Context<'_>) -> Listener {
    // Also where one chain takes every name: the log tells which was asked for.
    let tls = plan.servers.iter().any(|s| s.class() == Class::Tls);
    let inspector = tls.then(|| ListenerFilter {
        name: "envoy.filters.listener.tls_inspector".to_owned(),
        config_type: Some(listener_filter::ConfigType::TypedConfig(any(&TlsInspector::default()))),
        ..ListenerFilter::default()
    });
    let socket = SocketAddress {
        address: plan.address.clone(),
        port_specifier: Some(PortSpecifier::PortValue(plan.port.into())),
        ..SocketAddress::default()
    };
    Listener {
        name: plan.name.to_string(),
        address: Some(Address { address: Some(address::Address::SocketAddress(socket)) }),
        listener_filters: inspector.into_iter().collect(),
        filter_chains: chains,
        traffic_direction: TrafficDirection::Outbound.into(),
        access_log: access_log::of_listener(context.options),
        ..Listener::default()
    }
}

/// Who holds a server name on a listener, for the message to whoever comes later.
type Holders = HashMap<String, ObjectKey>;

/// The chains of a server that passes TLS through: one per rule and condition. A condition of which any
/// name is taken by an older rule is left out whole, as Istio does; that it happened is told.
fn tls_chains<'a>(
    server: &Server,
    bound: impl Iterator<Item = &'a VirtualService>,
    holders: &mut Holders,
    chains: &mut Vec<FilterChain>,
    compiled: &mut Compiled,
    context: &Context<'_>,
) {
    if server.tls.is_none_or(|tls| tls.mode != ServerTlsMode::Passthrough) {
        return; // Told in the Gateway's status.
    }
    let place = Place { gateway: server.gateway.clone(), port: server.port, tls: true };
    for service in bound.filter(|s| server.hosts.overlaps(&s.hosts, &s.key.namespace)) {
        for (r, rule) in service.tls.iter().enumerate() {
            let Some(filter) = carry(&rule.route, service, server, context) else { continue };
            for (m, condition) in rule.matches.iter().enumerate() {
                if !applies_to_connections(condition.port, &condition.gateways, &place) {
                    continue;
                }
                let names: BTreeSet<String> =
                    condition.sni_hosts.iter().map(|n| n.to_ascii_lowercase()).collect();
                if let Some((name, holder)) = names.iter().find_map(|n| holders.get_key_value(n)) {
                    let reason = format!(
                        "tls[{r}].match[{m}]: connections for {name} on port {} belong to {holder}, \
                         which is older",
                        server.port
                    );
                    compiled.lost.push((service.key.clone(), reason));
                    continue;
                }
                holders.extend(names.iter().map(|n| (n.clone(), service.key.clone())));
                compiled.carries.insert(service.key.clone());
                chains.push(filter_chain::for_names(&names, filter.clone()));
            }
        }
    }
}

/// The chain of a TCP server: the first rule that applies takes every connection.
fn tcp_chain<'a>(
    server: &Server,
    bound: impl Iterator<Item = &'a VirtualService>,
    compiled: &mut Compiled,
    context: &Context<'_>,
) -> Option<FilterChain> {
    let place = Place { gateway: server.gateway.clone(), port: server.port, tls: false };
    for service in bound.filter(|s| server.hosts.overlaps(&s.hosts, &s.key.namespace)) {
        for rule in &service.tcp {
            let applies = rule.matches.is_empty()
                || rule.matches.iter().any(|m| applies_to_connections(m.port, &m.gateways, &place));
            if !applies {
                continue;
            }
            if let Some(filter) = carry(&rule.route, service, server, context) {
                compiled.carries.insert(service.key.clone());
                return Some(filter_chain::for_all(filter));
            }
        }
    }
    None
}

fn carry(
    destinations: &[tidegate_api::istio::virtual_service::RouteDestination],
    service: &VirtualService,
    server: &Server,
    context: &Context<'_>,
) -> Option<Filter> {
    if destinations.is_empty() {
        return None;
    }
    filter_chain::tcp_proxy(destinations, service, server.port, context)
}
