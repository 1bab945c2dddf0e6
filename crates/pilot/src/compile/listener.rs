//! Listeners: one per address and port of the merged Gateways.
//!
//! A listener is one unit: a changed TLS rule compiles every filter chain of its port again, some tens of
//! milliseconds with 10,000 of them. Routes of requests are units of their own and do not touch it.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use tidegate_api::ObjectKey;
use tidegate_api::istio::gateway::ServerTlsMode;
use tidegate_api::istio::virtual_service::RouteDestination;
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
    /// What each filter chain was made from, in their order.
    pub sources: Vec<ChainSource>,
}

/// What a filter chain was made from.
#[derive(Clone, Debug)]
pub struct ChainSource {
    /// The server; `None` where all servers of the listener share one chain.
    pub server: Option<Arc<Server>>,
    /// The rule that carries its connections, if one does, with the path of the field.
    pub rule: Option<(ObjectKey, RulePath)>,
    /// The server names that it asks for; none where it takes every connection.
    pub names: BTreeSet<String>,
}

/// Where a rule for connections stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RulePath {
    /// A condition of a TLS rule.
    Tls(usize, usize),
    /// A TCP rule.
    Tcp(usize),
}

impl fmt::Display for RulePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls(rule, condition) => write!(f, "tls[{rule}].match[{condition}]"),
            Self::Tcp(rule) => write!(f, "tcp[{rule}]"),
        }
    }
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
    let mut builder = Builder {
        context,
        chains: Vec::new(),
        holders: HashMap::new(),
        compiled: Compiled::default(),
    };
    if let Some(routes) = &plan.routes {
        let manager = connection_manager::filter(&plan.name, routes, context.options);
        let source = ChainSource { server: None, rule: None, names: BTreeSet::new() };
        builder.chain(filter_chain::for_all(manager), source);
    } else {
        for server in &plan.servers {
            let bound = bound(&server.gateway);
            match server.class() {
                Class::Tls => builder.pass_through(server, bound),
                _ => builder.tcp(server, bound),
            }
        }
    }
    let Builder { chains, mut compiled, .. } = builder;
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

/// The filter chains of a listener while they are made.
struct Builder<'c> {
    context: &'c Context<'c>,
    chains: Vec<FilterChain>,
    /// Who holds a server name, for the message to whoever comes later.
    holders: HashMap<String, ObjectKey>,
    compiled: Compiled,
}

impl Builder<'_> {
    fn chain(&mut self, chain: FilterChain, source: ChainSource) {
        if let Some((key, _)) = &source.rule {
            self.compiled.carries.insert(key.clone());
        }
        self.chains.push(chain);
        self.compiled.sources.push(source);
    }

    /// Takes server names for an object; answers one that an older object has already, and which that is.
    fn take_names(&mut self, names: &BTreeSet<String>, key: &ObjectKey) -> Result<(), Taken> {
        if let Some((name, holder)) = names.iter().find_map(|n| self.holders.get_key_value(n)) {
            return Err(Taken { name: name.clone(), holder: holder.clone() });
        }
        self.holders.extend(names.iter().map(|n| (n.clone(), key.clone())));
        Ok(())
    }

    /// The chains of a server that passes TLS through: one per rule and condition. A condition of which any
    /// name is taken by an older rule is left out whole, as Istio does; that it happened is told.
    fn pass_through<'a>(
        &mut self,
        server: &Arc<Server>,
        bound: impl Iterator<Item = &'a VirtualService>,
    ) {
        if server.tls.is_none_or(|tls| tls.mode != ServerTlsMode::Passthrough) {
            return; // Told in the Gateway's status.
        }
        let place = Place { gateway: server.gateway.clone(), port: server.port, tls: true };
        for service in bound.filter(|s| server.hosts.overlaps(&s.hosts, &s.key.namespace)) {
            for (r, rule) in service.tls.iter().enumerate() {
                let Some(filter) = self.carry(&rule.route, service, server) else { continue };
                for (m, condition) in rule.matches.iter().enumerate() {
                    if !applies_to_connections(condition.port, &condition.gateways, &place) {
                        continue;
                    }
                    let path = RulePath::Tls(r, m);
                    let names: BTreeSet<String> =
                        condition.sni_hosts.iter().map(|n| n.to_ascii_lowercase()).collect();
                    if let Err(taken) = self.take_names(&names, &service.key) {
                        self.lose(&service.key, &path, server, &taken);
                        continue;
                    }
                    let chain = filter_chain::for_names(&names, filter.clone());
                    let rule = Some((service.key.clone(), path));
                    self.chain(chain, source(server, rule, names));
                }
            }
        }
    }

    fn lose(&mut self, key: &ObjectKey, path: &RulePath, server: &Server, taken: &Taken) {
        let Taken { name, holder } = taken;
        let port = server.port;
        let reason = format!(
            "{path}: connections for {name} on port {port} belong to {holder}, which is older"
        );
        self.compiled.lost.push((key.clone(), reason));
    }

    /// The chain of a TCP server: the first rule that applies takes every connection.
    fn tcp<'a>(&mut self, server: &Arc<Server>, bound: impl Iterator<Item = &'a VirtualService>) {
        if let Some((filter, rule)) = self.tcp_rule(server, bound) {
            self.chain(filter_chain::for_all(filter), source(server, Some(rule), BTreeSet::new()));
        }
    }

    /// The filter of the first TCP rule that applies at a server.
    fn tcp_rule<'a>(
        &self,
        server: &Server,
        bound: impl Iterator<Item = &'a VirtualService>,
    ) -> Option<(Filter, (ObjectKey, RulePath))> {
        let tls = server.tls.is_some();
        let place = Place { gateway: server.gateway.clone(), port: server.port, tls };
        let mut bound = bound.filter(|s| server.hosts.overlaps(&s.hosts, &s.key.namespace));
        bound.find_map(|service| {
            service.tcp.iter().enumerate().find_map(|(r, rule)| {
                let applies = rule.matches.is_empty()
                    || rule
                        .matches
                        .iter()
                        .any(|m| applies_to_connections(m.port, &m.gateways, &place));
                let filter = applies.then(|| self.carry(&rule.route, service, server))??;
                Some((filter, (service.key.clone(), RulePath::Tcp(r))))
            })
        })
    }

    fn carry(
        &self,
        destinations: &[RouteDestination],
        service: &VirtualService,
        server: &Server,
    ) -> Option<Filter> {
        if destinations.is_empty() {
            return None;
        }
        filter_chain::tcp_proxy(destinations, service, server.port, self.context)
    }
}

/// A server name that an older object has.
struct Taken {
    name: String,
    holder: ObjectKey,
}

fn source(
    server: &Arc<Server>,
    rule: Option<(ObjectKey, RulePath)>,
    names: BTreeSet<String>,
) -> ChainSource {
    let names = if names.contains("*") { BTreeSet::new() } else { names };
    ChainSource { server: Some(Arc::clone(server)), rule, names }
}
