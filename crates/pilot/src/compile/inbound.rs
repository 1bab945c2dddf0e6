//! What comes in to a workload, as `crate::sidecar::inbound` lays it out: one listener, its filter chains, and a virtual host per
//! port that carries requests.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use tidegate_api::istio::Protocol;
use tidegate_envoy::any;
use tidegate_envoy::prost_types::Any;
use tidegate_envoy::v3::base::Int32Range;
use tidegate_envoy::v3::core::TrafficDirection;
use tidegate_envoy::v3::http_inspector::HttpInspector;
use tidegate_envoy::v3::listener::listener_filter_chain_match_predicate::{MatchSet, Rule};
use tidegate_envoy::v3::listener::{
    FilterChain, FilterChainMatch, Listener, ListenerFilter,
    ListenerFilterChainMatchPredicate as Predicate,
};
use tidegate_envoy::v3::original_dst::OriginalDst;
use tidegate_envoy::v3::original_src::OriginalSrc;
use tidegate_envoy::v3::route::route::Action;
use tidegate_envoy::v3::route::{RetryPolicy, Route, RouteAction, VirtualHost};
use tidegate_envoy::v3::tls_inspector::TlsInspector;

use super::listener::ChainSource;
use super::sidecar::{Compiled, base, forward, inspector, transparent};
use super::tls::Carries;
use super::{Context, connection_manager, filter_chain, matches, tls};
use crate::model::names;
use crate::model::tls::Terms;
use crate::sidecar::INBOUND_PORT;
use crate::sidecar::inbound::{Entry, VIRTUAL_INBOUND, Way};
use crate::{Interception, Workload};

/// How often a request is sent again that never reached the workload.
const RETRIES: u32 = 2;

/// The listener that inbound connections are redirected to.
#[must_use]
pub fn virtual_inbound(entries: &[Entry], workload: &Workload, context: &Context<'_>) -> Compiled {
    let peers = Terms::of_peers(context.options);
    // Whoever dials the port itself would be sent in a circle.
    let itself = FilterChain {
        name: format!("{VIRTUAL_INBOUND}-blackhole"),
        filter_chain_match: Some(asked(Some(INBOUND_PORT), None)),
        ..filter_chain::for_all(vec![filter_chain::nowhere(context)])
    };
    let mut filter_chains = vec![itself];
    let mut sources = vec![of_port(Some(INBOUND_PORT), None)];
    for entry in entries.iter().filter(|entry| entry.bound(workload).is_none()) {
        let (chains, made_from) = chains(entry, workload, &peers, context);
        filter_chains.extend(chains);
        sources.extend(made_from);
    }
    let inspectors = Looks::of(&filter_chains).filters();
    let listener = Listener {
        listener_filters: addresses(context.options.interception).chain(inspectors).collect(),
        transparent: transparent(context.options),
        filter_chains,
        ..inbound(VIRTUAL_INBOUND, (workload.wildcard(), INBOUND_PORT), context)
    };
    Compiled { listener, sources }
}

/// First the address that was dialled, as ports are asked for by chains; then that of the client, where it is kept.
fn addresses(interception: Interception) -> impl Iterator<Item = ListenerFilter> {
    let dialled = inspector("original_dst", any(&OriginalDst::default()));
    let source = match interception {
        Interception::Redirect => None,
        Interception::Tproxy { mark } => {
            let config = OriginalSrc { mark, ..OriginalSrc::default() };
            Some(inspector("original_src", any(&config)))
        }
    };
    std::iter::once(dialled).chain(source)
}

/// The listener that binds the port of an entry at an address, as nothing is redirected that comes in to it.
#[must_use]
pub fn bound(
    entry: &Entry,
    at: SocketAddr,
    workload: &Workload,
    context: &Context<'_>,
) -> Compiled {
    let (mut filter_chains, sources) =
        chains(entry, workload, &Terms::of_peers(context.options), context);
    // There is no other port.
    for asks in filter_chains.iter_mut().filter_map(|chain| chain.filter_chain_match.as_mut()) {
        asks.destination_port = None;
    }
    let listener = Listener {
        listener_filters: Looks::of(&filter_chains).filters(),
        filter_chains,
        ..inbound(&names::bound_inbound(at), (at.ip(), at.port()), context)
    };
    Compiled { listener, sources }
}

fn inbound(name: &str, (address, port): (IpAddr, u16), context: &Context<'_>) -> Listener {
    Listener {
        traffic_direction: TrafficDirection::Inbound.into(),
        continue_on_listener_filters_timeout: true,
        // Whoever waits for a server to speak first is waited for, as by Istio.
        listener_filters_timeout: Some(super::duration(context.options.detection_timeout)),
        ..base(name, address, port, context)
    }
}

/// The chains of an entry, and what each was made from.
fn chains(
    entry: &Entry,
    workload: &Workload,
    peers: &Terms,
    context: &Context<'_>,
) -> (Vec<FilterChain>, Vec<ChainSource>) {
    let own = entry.own_tls().and_then(|tls| Terms::of(tls, context.options));
    let terms = own.as_ref().unwrap_or(peers);
    let ways = entry.ways().iter();
    ways.map(|way| (chain(entry, *way, workload, terms, context), source(entry, *way))).unzip()
}

fn chain(
    entry: &Entry,
    way: Way,
    workload: &Workload,
    terms: &Terms,
    context: &Context<'_>,
) -> FilterChain {
    let name = entry.chain(way, workload);
    let cluster = entry.cluster();
    let (carries, filters) = if way.requests {
        let prefix = match entry.is_described() {
            true => format!("inbound_{name}"),
            false => cluster.clone(),
        };
        (Carries::Requests, vec![connection_manager::inbound(&prefix, &cluster, context)])
    } else {
        let carry = filter_chain::to_cluster(&cluster, context);
        (Carries::Bytes, filter_chain::judged([carry], context))
    };
    FilterChain {
        name,
        filter_chain_match: Some(asked(entry.port, Some(way))),
        transport_socket: way.terminates.then(|| tls::socket(terms, carries)),
        ..filter_chain::for_all(filters)
    }
}

fn asked(port: Option<u16>, way: Option<Way>) -> FilterChainMatch {
    let transport = way.map_or("", |way| if way.tls { "tls" } else { "raw_buffer" });
    let protocols = way.map_or(&[][..], |way| way.protocols).iter();
    FilterChainMatch {
        destination_port: port.map(u32::from),
        transport_protocol: transport.to_owned(),
        application_protocols: protocols.map(|protocol| (*protocol).to_owned()).collect(),
        ..FilterChainMatch::default()
    }
}

fn source(entry: &Entry, way: Way) -> ChainSource {
    let protocols = way.protocols.join(" or ");
    let kind = match (way.tls, way.terminates, way.protocols) {
        (true, true, []) if entry.own_tls().is_some() => "TLS".to_owned(),
        (true, true, []) => "mutual TLS".to_owned(),
        (true, _, [_, ..]) => format!("mutual TLS with ALPN {protocols}"),
        (true, false, []) => "TLS".to_owned(),
        (false, _, []) => "plain text".to_owned(),
        (false, ..) => "a request in plain text".to_owned(),
    };
    ChainSource {
        service: entry.owner().cloned(),
        peers: entry.mode.by.clone(),
        ..of_port(entry.port, Some(kind))
    }
}

/// What a chain for a port asks for, or for those that nothing describes.
pub(super) fn of_port(port: Option<u16>, also: Option<String>) -> ChainSource {
    let asks = match port {
        Some(port) => format!("port {port}"),
        None => "a port that nothing describes".to_owned(),
    };
    ChainSource { port, asks: std::iter::once(asks).chain(also).collect(), ..ChainSource::shared() }
}

/// Which connections are looked into, by port; for ports without a chain of their own first.
#[derive(Debug, Default)]
struct Looks(BTreeMap<Option<u32>, Look>);

#[derive(Clone, Copy, Debug, Default)]
struct Look {
    tls: bool,
    requests: bool,
}

impl Looks {
    /// As chains ask for what is found.
    fn of(chains: &[FilterChain]) -> Self {
        let mut looks = Self::default();
        for asks in chains.iter().filter_map(|chain| chain.filter_chain_match.as_ref()) {
            let look = looks.0.entry(asks.destination_port).or_default();
            look.tls |= asks.transport_protocol == "tls";
            let plain = asks.transport_protocol == "raw_buffer";
            look.requests |= plain && !asks.application_protocols.is_empty();
        }
        looks
    }

    fn filters(&self) -> Vec<ListenerFilter> {
        let tls = self.filter("tls_inspector", any(&TlsInspector::default()), |look| look.tls);
        let requests =
            self.filter("http_inspector", any(&HttpInspector::default()), |look| look.requests);
        tls.into_iter().chain(requests).collect()
    }

    /// An inspector, which is disabled at all ports that have no use for it: it would wait for bytes of clients that wait for
    /// the server's.
    fn filter(
        &self,
        name: &str,
        config: Any,
        wanted: impl Fn(Look) -> bool,
    ) -> Option<ListenerFilter> {
        if !self.0.values().any(|look| wanted(*look)) {
            return None;
        }
        let elsewhere = self.0.get(&None).is_some_and(|look| wanted(*look));
        // Each port by which it differs from the ports that nothing describes.
        let differing = self.0.iter().filter(|(_, look)| wanted(**look) != elsewhere);
        let ports: Vec<u32> = differing.filter_map(|(port, _)| *port).collect();
        let those = one_of(&ports);
        let filter_disabled = match elsewhere {
            true => those,
            false => those.map(|rule| rule_of(Rule::NotMatch(Box::new(rule)))),
        };
        Some(ListenerFilter { filter_disabled, ..inspector(name, config) })
    }
}

/// Holds for these ports; `None` where there are none.
fn one_of(ports: &[u32]) -> Option<Predicate> {
    let is = |port: &u32| {
        let start = i32::try_from(*port).unwrap_or(i32::MAX);
        rule_of(Rule::DestinationPortRange(Int32Range { start, end: start.saturating_add(1) }))
    };
    match ports {
        [] => None,
        [one] => Some(is(one)),
        several => {
            let rules = several.iter().map(is).collect();
            Some(rule_of(Rule::OrMatch(MatchSet { rules })))
        }
    }
}

fn rule_of(rule: Rule) -> Predicate {
    Predicate { rule: Some(rule) }
}

// === requests ===

/// The virtual host of a port's requests: all of them go to the workload.
#[must_use]
pub fn virtual_host(entry: &Entry) -> VirtualHost {
    // One that streams is never sent again.
    let retries = !matches!(entry.protocol(), Some(Protocol::Grpc | Protocol::GrpcWeb));
    let retry = RetryPolicy {
        retry_on: "reset-before-request".to_owned(),
        num_retries: Some(RETRIES),
        ..RetryPolicy::default()
    };
    let action = RouteAction { retry_policy: retries.then_some(retry), ..forward(entry.cluster()) };
    VirtualHost {
        name: names::inbound_virtual_host(entry.number()),
        domains: vec!["*".to_owned()],
        routes: vec![Route {
            name: "default".to_owned(),
            r#match: Some(matches::any()),
            action: Some(Action::Route(action)),
            ..Route::default()
        }],
        ..VirtualHost::default()
    }
}
