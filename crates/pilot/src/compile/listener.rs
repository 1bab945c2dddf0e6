//! Listeners: one per address and port of the merged Gateways.
//!
//! A listener is one unit: a changed TLS rule compiles every filter chain of its port again, some tens of
//! milliseconds with 10,000 of them. Routes of requests are units of their own and do not touch it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use tidegate_api::ObjectKey;
use tidegate_api::istio::gateway::ServerTlsMode;
use tidegate_api::istio::virtual_service::{L4MatchAttributes, RouteDestination};
use tidegate_envoy::any;
use tidegate_envoy::v3::core::{
    Address, SocketAddress, TrafficDirection, address,
    socket_address::{PortSpecifier, Protocol},
};
use tidegate_envoy::v3::listener::{
    Filter, FilterChain, Listener, ListenerFilter, listener_filter,
};
use tidegate_envoy::v3::tls_inspector::TlsInspector;

use super::connection_manager::Transport;
use super::holder::Holder;
pub use super::holder::Loss;
use super::tls::Carries;
use super::{Context, access_log, asked, connection_manager, denial, filter_chain, http3, rbac};
use crate::model::gateway::{Class, Server};
use crate::model::host::{Host, HostSet};
use crate::model::merge::{ListenerPlan, NamelessPlan, RoutePlan};
use crate::model::subnet::{Part, Parts, Subnet};
use crate::model::tls::Terms;
use crate::model::virtual_service::{Place, VirtualService, applies_to_connections};

/// A compiled listener, and what its compilation found.
#[derive(Debug, Default)]
pub struct Compiled {
    /// The listener; `None` when nothing would be served, as without filter chains there can be none.
    pub listener: Option<Listener>,
    /// The one for HTTP/3 beside it, where there is one.
    pub http3: Option<Listener>,
    /// VirtualServices that it carries connections for.
    pub carries: BTreeSet<ObjectKey>,
    /// Rules and servers that lost connections to others.
    pub lost: Vec<Loss>,
    /// What each filter chain was made from, in their order.
    pub sources: Vec<ChainSource>,
}

/// What a filter chain was made from.
#[derive(Clone, Debug)]
pub struct ChainSource {
    /// The server; `None` where all servers of the listener share one chain, and in sidecars.
    pub server: Option<Arc<Server>>,
    /// In sidecars: the object of the service that it was made for.
    pub service: Option<ObjectKey>,
    /// Where what comes in to a workload is taken: the field of a PeerAuthentication that says which TLS is.
    pub peers: Option<(ObjectKey, String)>,
    /// The rule that carries its connections, if one does, with the path of the field.
    pub rule: Option<(ObjectKey, RulePath)>,
    /// The server names that it asks for; none where it takes every connection.
    pub names: BTreeSet<String>,
    /// The parts of the listener's addresses that it takes, where rules tell them apart.
    pub parts: BTreeSet<Part>,
    /// The port that it asks for, of a listener that connections are redirected to.
    pub port: Option<u16>,
    /// What else it asks of connections, in words.
    pub asks: Vec<String>,
}

impl ChainSource {
    /// A chain that all servers of the listener share.
    pub(super) fn shared() -> Self {
        Self {
            server: None,
            service: None,
            peers: None,
            rule: None,
            names: BTreeSet::new(),
            parts: BTreeSet::new(),
            port: None,
            asks: Vec::new(),
        }
    }
}

/// Where a rule for connections stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

/// Compiles a listener. `bound` gives the VirtualServices of a gateway, in the order in which they apply; `egress` is the port by
/// which workloads know it, where it is one by which they go out.
#[must_use]
pub fn listener<'a, I>(
    plan: &ListenerPlan,
    bound: impl Fn(&str) -> I,
    egress: Option<u16>,
    context: &Context<'_>,
) -> Compiled
where
    I: Iterator<Item = &'a VirtualService>,
{
    let asked = plan.servers.iter().flat_map(|server| asked_for(server, bound(&server.gateway)));
    let mut builder = Builder {
        context,
        plan,
        parts: Parts::of(asked),
        chains: Vec::new(),
        over_udp: Vec::new(),
        holders: HashMap::new(),
        compiled: Compiled::default(),
    };
    match plan.routes.first().filter(|_| plan.is_plain_http()) {
        Some(routes) => {
            let manager =
                connection_manager::filter(&plan.name, &routes.name, Transport::Plain, context);
            builder.chain(filter_chain::for_all(vec![manager]), ChainSource::shared());
        }
        None => builder.servers(bound),
    }
    let nameless = builder.nameless().or_else(|| egress.and_then(|_| builder.refused()));
    let Builder { mut chains, over_udp, mut compiled, .. } = builder;
    compiled.http3 = http3::listener(plan, over_udp, context);
    if !chains.is_empty() || nameless.is_some() {
        let mut last = nameless;
        if let Some(port) = egress {
            let all = chains.iter_mut().chain(&mut last);
            all.for_each(|chain| denial::lead_out(chain, port));
        }
        compiled.listener = Some(assemble(plan, chains, last, context));
    }
    compiled
}

fn assemble(
    plan: &ListenerPlan,
    chains: Vec<FilterChain>,
    nameless: Option<FilterChain>,
    context: &Context<'_>,
) -> Listener {
    // Also where one chain takes every name: the log tells which was asked for.
    let tls = plan.servers.iter().any(|s| s.class() == Class::Tls);
    let inspector = tls.then(|| ListenerFilter {
        name: "envoy.filters.listener.tls_inspector".to_owned(),
        config_type: Some(listener_filter::ConfigType::TypedConfig(any(&TlsInspector::default()))),
        ..ListenerFilter::default()
    });
    Listener {
        name: plan.name.to_string(),
        address: Some(address(plan, Protocol::Tcp)),
        listener_filters: inspector.into_iter().collect(),
        filter_chains: chains,
        default_filter_chain: nameless,
        traffic_direction: TrafficDirection::Outbound.into(),
        access_log: access_log::of_listener(context.options),
        ..Listener::default()
    }
}

/// Where a listener listens.
pub(super) fn address(plan: &ListenerPlan, protocol: Protocol) -> Address {
    let socket = SocketAddress {
        protocol: protocol.into(),
        address: plan.address.clone(),
        port_specifier: Some(PortSpecifier::PortValue(plan.port.into())),
        ..SocketAddress::default()
    };
    Address { address: Some(address::Address::SocketAddress(socket)) }
}

/// The filter chains of a listener while they are made.
struct Builder<'c> {
    context: &'c Context<'c>,
    plan: &'c ListenerPlan,
    parts: Parts,
    chains: Vec<FilterChain>,
    /// Those of the listener for HTTP/3.
    over_udp: Vec<FilterChain>,
    /// Who holds a server name, for the message to whoever comes later.
    holders: HashMap<String, Vec<Holder>>,
    compiled: Compiled,
}

impl Builder<'_> {
    fn chain(&mut self, mut chain: FilterChain, source: ChainSource) {
        filter_chain::restrict(&mut chain, &source.parts);
        if let Some((key, _)) = &source.rule {
            self.compiled.carries.insert(key.clone());
        }
        self.chains.push(chain);
        self.compiled.sources.push(source);
    }

    /// The chains of all servers, the oldest first.
    fn servers<'a, I>(&mut self, bound: impl Fn(&str) -> I)
    where
        I: Iterator<Item = &'a VirtualService>,
    {
        let plan = self.plan;
        let all =
            plan.routes.iter().flat_map(|routes| routes.servers.iter().map(move |s| (s, routes)));
        // Those of servers come before the one for connections without a name.
        let mut routes: HashMap<*const Server, &RoutePlan> = HashMap::new();
        for (server, plan) in all {
            routes.entry(Arc::as_ptr(server)).or_insert(plan);
        }
        for server in &plan.servers {
            let bound = bound(&server.gateway);
            match (server.class(), server.terms()) {
                (Class::Tls, Some(terms)) => match routes.get(&Arc::as_ptr(server)) {
                    Some(routes) => self.https(server, terms, routes),
                    None => self.terminated_tcp(server, terms, bound),
                },
                (Class::Tls, None) => self.pass_through(server, bound),
                _ => self.tcp(server, bound),
            }
        }
        self.close_rest();
    }

    /// Closes connections for names of servers that nothing serves, where a wider name of another server would take
    /// them: they are not that server's, and would be shown its certificate.
    fn close_rest(&mut self) {
        let taken: HostSet = self.holders.keys().map(|name| Host::new(name)).collect();
        for server in self.plan.servers.iter().filter(|server| server.class() == Class::Tls) {
            let free = |host: &&Host| {
                let new = !self.holders.contains_key(host.as_str());
                new && taken.narrowest(host).is_some()
            };
            let names: BTreeSet<String> =
                server.names().filter(free).map(|host| host.as_str().to_owned()).collect();
            if names.is_empty() {
                continue;
            }
            for name in &names {
                self.hold(name, Holder::server(server, self.everywhere()));
            }
            let chain = filter_chain::for_names(&names, vec![filter_chain::nowhere(self.context)]);
            self.chain(chain, source(server, None, names, self.everywhere()));
        }
    }

    /// The chain of a server that terminates HTTPS.
    fn https(&mut self, server: &Arc<Server>, terms: &Arc<Terms>, routes: &RoutePlan) {
        if self.is_displaced(server) {
            return;
        }
        let for_all = self.plan.nameless.as_ref().filter(|plan| plan.is_of(server));
        let Some(names) = self.own_names(server, terms) else { return };
        let (listener, context) = (&self.plan.name, self.context);
        let (routes, transport, agreed) = match for_all {
            Some(for_all) => (&for_all.routes, self.transport_of(for_all), &for_all.terms),
            None => (&routes.name, Transport::Tls, terms),
        };
        if server.takes_http3() {
            let manager = connection_manager::http3(listener, routes, transport, context);
            // Its own terms ask nothing of clients, whatever connections without a name are asked for.
            let chain = filter_chain::terminating(&names, vec![manager], terms, Carries::Http3);
            self.over_udp.push(chain);
        }
        let guarded = for_all.is_some() && terms.demands_certificate();
        let first = guarded.then(rbac::certified_or_nameless);
        let manager = connection_manager::filter(listener, routes, transport, context);
        let filters = first.into_iter().chain([manager]).collect();
        let chain = filter_chain::terminating(&names, filters, agreed, Carries::Requests);
        self.chain(chain, source(server, None, names, self.everywhere()));
    }

    /// The chain of a server that terminates TLS and carries what is in it as bytes.
    fn terminated_tcp<'a>(
        &mut self,
        server: &Arc<Server>,
        terms: &Arc<Terms>,
        bound: impl Iterator<Item = &'a VirtualService>,
    ) {
        let (rules, lost) = self.tcp_rules(server, bound);
        self.compiled.lost.extend(lost);
        if rules.is_empty() {
            return;
        }
        if self.is_displaced(server) {
            // It is there, and closed, as all are that lack a credential.
            self.compiled
                .carries
                .extend(rules.into_iter().map(|TcpRule { rule: (key, _), .. }| key));
            return;
        }
        let Some(names) = self.own_names(server, terms) else { return };
        for TcpRule { filter, rule, parts } in rules {
            let filters = filter_chain::judged([filter], self.context);
            let chain = filter_chain::terminating(&names, filters, terms, Carries::Bytes);
            self.chain(chain, source(server, Some(rule), names.clone(), parts));
        }
    }

    /// Whether a server for every name lacks a credential, and its chain would take connections that others can serve.
    fn is_displaced(&self, server: &Arc<Server>) -> bool {
        self.plan.nameless.as_ref().is_some_and(|plan| plan.displaces(server))
    }

    /// The chain of connections that name no server, unless a server's own chain takes them. Those that name one which nobody
    /// has are closed by its first filter, as by Istio's gateways.
    fn nameless(&mut self) -> Option<FilterChain> {
        let nameless = self.plan.nameless.as_ref().filter(|plan| plan.every.is_none())?;
        let (listener, transport) = (&self.plan.name, self.transport_of(nameless));
        let manager =
            connection_manager::filter(listener, &nameless.routes, transport, self.context);
        let filters = vec![rbac::only_nameless(), manager];
        self.compiled.sources.push(ChainSource::shared());
        let terms = &nameless.terms;
        Some(filter_chain::terminating(&BTreeSet::new(), filters, terms, Carries::Requests))
    }

    /// The chain of connections by which a workload asks an egress gateway for a server that it does not have; none where every
    /// connection has one, or nothing is served at all.
    fn refused(&mut self) -> Option<FilterChain> {
        let everything = |source: &ChainSource| source.names.is_empty() && source.parts.is_empty();
        if self.chains.is_empty() || self.compiled.sources.iter().any(everything) {
            return None;
        }
        self.compiled.sources.push(ChainSource::shared());
        Some(denial::connections(&format!("{}-denied", self.plan.name), self.context))
    }

    /// What requests come over on connections that name no server.
    fn transport_of(&self, NamelessPlan { routes, .. }: &NamelessPlan) -> Transport {
        match self.plan.routes.iter().find(|plan| plan.name == *routes) {
            Some(plan) if plan.uncertified.is_some() => Transport::TlsChecked,
            _ => Transport::Tls,
        }
    }

    /// The names of a server that nobody has before it; `None` when there are none. What it shares with a server
    /// of the same terms is routed there for both.
    fn own_names(&mut self, server: &Arc<Server>, terms: &Arc<Terms>) -> Option<BTreeSet<String>> {
        let mut names: BTreeSet<String> =
            server.names().map(|host| host.as_str().to_owned()).collect();
        if names.contains("*") {
            names = BTreeSet::from(["*".to_owned()]);
        }
        let mut own = BTreeSet::new();
        for name in names {
            match self.holders.get(&name).and_then(|holders| holders.first()) {
                Some(holder) if holder.terms.as_ref() == Some(terms) => {}
                Some(holder) => {
                    let (holder, place) = (holder.told(&server.key, None), server.place());
                    let told =
                        format!("{place}: connections for {name} on port {} {holder}", server.port);
                    self.compiled.lost.push(Loss {
                        key: server.key.clone(),
                        place,
                        rule: None,
                        names: BTreeSet::from([name]),
                        own: false,
                        told,
                    });
                }
                None => {
                    let terms = Some(Arc::clone(terms));
                    let holder = Holder { terms, ..Holder::server(server, self.everywhere()) };
                    self.hold(&name, holder);
                    own.insert(name);
                }
            }
        }
        (!own.is_empty()).then_some(own)
    }

    /// Every part of the listener's addresses.
    fn everywhere(&self) -> BTreeSet<Part> {
        self.parts.within(&BTreeSet::new())
    }

    fn hold(&mut self, name: &str, holder: Holder) {
        self.holders.entry(name.to_owned()).or_default().push(holder);
    }

    /// Takes server names for a rule in these parts; answers what is left of them, names with the same parts together.
    /// Where rules do not tell addresses apart, all names have to be free. The refusal is a name that another has.
    fn take_names(
        &mut self,
        names: &BTreeSet<String>,
        parts: &BTreeSet<Part>,
        holder: &Holder,
    ) -> Result<Vec<Share>, String> {
        let holders = |name: &String| self.holders.get(name).into_iter().flatten();
        let held = || names.iter().find(|name| holders(name).next().is_some());
        let mut left: BTreeMap<BTreeSet<Part>, BTreeSet<String>> = BTreeMap::new();
        for name in names {
            let is_free = |part: &&Part| !holders(name).any(|h| h.parts.contains(part));
            let free: BTreeSet<Part> = parts.iter().filter(is_free).copied().collect();
            if !free.is_empty() || parts.is_empty() {
                left.entry(free).or_default().insert(name.clone());
            }
        }
        if let Some(held) = held().filter(|_| parts.is_empty() || left.is_empty()) {
            return Err(held.clone());
        }
        for (parts, names) in &left {
            for name in names {
                self.hold(name, Holder { parts: parts.clone(), ..holder.clone() });
            }
        }
        Ok(left.into_iter().map(|(parts, names)| Share { names, parts }).collect())
    }

    /// The chains of a server that passes TLS through: one per rule and condition. A condition of which any
    /// name is taken by an older rule is left out whole, as Istio does; that it happened is told.
    fn pass_through<'a>(
        &mut self,
        server: &Arc<Server>,
        bound: impl Iterator<Item = &'a VirtualService>,
    ) {
        if server.tls.as_ref().is_none_or(|tls| tls.mode != ServerTlsMode::Passthrough) {
            return; // Told in the Gateway's status.
        }
        let place = Place::of(server);
        for service in bound.filter(|s| server.hosts.overlaps(&s.hosts, &s.key.namespace)) {
            for (r, rule) in service.tls.iter().enumerate() {
                let Some(filter) = self.carry(&rule.route, service, server) else { continue };
                let (own, context) = (&service.key.namespace, self.context);
                let resolve = asked::of_route(&rule.route, own, server.port, context);
                for (m, condition) in rule.matches.iter().enumerate() {
                    if !applies_to_connections(condition.port, &condition.gateways, &place) {
                        continue;
                    }
                    let path = RulePath::Tls(r, m);
                    let names: BTreeSet<String> =
                        condition.sni_hosts.iter().map(|n| n.to_ascii_lowercase()).collect();
                    let parts = self.parts.within(&subnets(&condition.destination_subnets));
                    let own = Holder::rule(server, service, path);
                    let shares = match self.take_names(&names, &parts, &own) {
                        Ok(shares) => shares,
                        Err(taken) => {
                            let holder = self.holders.get(&taken).and_then(|all| all.first());
                            let loss = holder
                                .and_then(|holder| Loss::of(&own, holder, names, Some(&taken)));
                            self.compiled.lost.extend(loss);
                            continue;
                        }
                    };
                    for Share { names, parts } in shares {
                        let carry = resolve.iter().chain([&filter]).cloned();
                        let filters = filter_chain::judged(carry, self.context);
                        let chain = filter_chain::for_names(&names, filters);
                        let rule = Some((service.key.clone(), path));
                        self.chain(chain, source(server, rule, names, parts));
                    }
                }
            }
        }
    }

    /// The chains of a TCP server: the first rule that applies takes every connection that is left.
    fn tcp<'a>(&mut self, server: &Arc<Server>, bound: impl Iterator<Item = &'a VirtualService>) {
        let (rules, lost) = self.tcp_rules(server, bound);
        self.compiled.lost.extend(lost);
        for TcpRule { filter, rule, parts } in rules {
            let source = source(server, Some(rule), BTreeSet::new(), parts);
            let filters = filter_chain::judged([filter], self.context);
            self.chain(filter_chain::for_all(filters), source);
        }
    }

    /// The TCP rules that apply at a server, each with what those before it leave: one, unless rules tell addresses
    /// apart. What is left nothing is a loss.
    fn tcp_rules<'a>(
        &self,
        server: &Arc<Server>,
        bound: impl Iterator<Item = &'a VirtualService>,
    ) -> (Vec<TcpRule>, Vec<Loss>) {
        let place = Place::of(server);
        let mut left = self.everywhere();
        let mut rules: Vec<TcpRule> = Vec::new();
        let (mut holders, mut lost): (Vec<Holder>, Vec<Loss>) = Default::default();
        for service in bound.filter(|s| server.hosts.overlaps(&s.hosts, &s.key.namespace)) {
            for (r, rule) in service.tcp.iter().enumerate() {
                let applying: Vec<&L4MatchAttributes> = rule
                    .matches
                    .iter()
                    .filter(|m| applies_to_connections(m.port, &m.gateways, &place))
                    .collect();
                if applying.is_empty() && !rule.matches.is_empty() {
                    continue;
                }
                let Some(filter) = self.carry(&rule.route, service, server) else { continue };
                let asked = applying.iter().map(|m| subnets(&m.destination_subnets));
                let taken = asked.flat_map(|asked| self.parts.within(&asked));
                let taken: BTreeSet<Part> = match applying.is_empty() {
                    true => self.everywhere(),
                    false => taken.collect(),
                };
                let parts: BTreeSet<Part> = taken.intersection(&left).copied().collect();
                left.retain(|part| !parts.contains(part));
                let own = Holder::rule(server, service, RulePath::Tcp(r));
                // Where rules do not tell addresses apart, the first takes everything.
                let before = holders
                    .iter()
                    .find(|holder| holder.parts.is_empty() || !holder.parts.is_disjoint(&taken));
                match before.filter(|_| parts.is_empty()) {
                    Some(holder) => lost.extend(Loss::of(&own, holder, own.names(), None)),
                    None if parts.is_empty() && !self.everywhere().is_empty() => {}
                    None => {
                        let rule = (service.key.clone(), RulePath::Tcp(r));
                        holders.push(Holder { parts: parts.clone(), ..own });
                        rules.push(TcpRule { filter, rule, parts });
                    }
                }
            }
        }
        (rules, lost)
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

/// A TCP rule that applies at a server.
struct TcpRule {
    filter: Filter,
    rule: (ObjectKey, RulePath),
    parts: BTreeSet<Part>,
}

/// Server names that an object takes in the same parts.
struct Share {
    names: BTreeSet<String>,
    parts: BTreeSet<Part>,
}

/// Networks as a condition asks for them. Those that are none were told when the object was given.
fn subnets(written: &[String]) -> BTreeSet<Subnet> {
    written.iter().filter_map(|text| Subnet::parse(text)).collect()
}

/// The networks that rules for connections at a server ask for.
fn asked_for<'a>(
    server: &Server,
    bound: impl Iterator<Item = &'a VirtualService>,
) -> BTreeSet<Subnet> {
    let place = Place::of(server);
    let mut asked = BTreeSet::new();
    // Where requests are answered, no rule for connections applies.
    if server.class() == Class::Http || server.https_terms().is_some() {
        return asked;
    }
    for service in bound.filter(|s| server.hosts.overlaps(&s.hosts, &s.key.namespace)) {
        let tls = service.tls.iter().flat_map(|rule| &rule.matches);
        let tls = tls.map(|m| (m.port, &m.gateways, &m.destination_subnets));
        let tcp = service.tcp.iter().flat_map(|rule| &rule.matches);
        let tcp = tcp.map(|m| (m.port, &m.gateways, &m.destination_subnets));
        let here = tls
            .chain(tcp)
            .filter(|(port, gateways, _)| applies_to_connections(*port, gateways, &place));
        asked.extend(here.flat_map(|(_, _, written)| subnets(written)));
    }
    asked
}

fn source(
    server: &Arc<Server>,
    rule: Option<(ObjectKey, RulePath)>,
    names: BTreeSet<String>,
    parts: BTreeSet<Part>,
) -> ChainSource {
    let names = if names.contains("*") { BTreeSet::new() } else { names };
    ChainSource { server: Some(Arc::clone(server)), rule, names, parts, ..ChainSource::shared() }
}
