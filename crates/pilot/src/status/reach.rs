//! Hosts and conditions of VirtualServices that no server of their Gateways answers to.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidegate_api::ObjectKey;
use tidegate_api::istio::Protocol;
use tidegate_api::scalar::Port;

use super::gateway::{accepts, has_place};
use super::virtual_service::served;
use super::{Findings, View};
use crate::Options;
use crate::model::gateway::{Class, Server};
use crate::model::host::Host;
use crate::model::virtual_service::{
    NotHere, Place, VirtualService, applies_to_connections, is_served, not_here,
};

/// The reason of hosts that nothing here answers for.
const NOT_SERVED: &str = "HostNotServed";

/// Tells of hosts and conditions that nothing here answers to, where others do. Others than this process may
/// answer to what is also bound elsewhere: of that nothing is said.
pub(super) fn tell(service: &VirtualService, view: View<'_>, findings: &mut Findings) {
    let elsewhere =
        |gateway: &Arc<str>| view.index.knows_gateway(gateway) && served(gateway, view).is_none();
    if service.order.is_none() || service.in_mesh || service.gateways.iter().any(elsewhere) {
        return;
    }
    hosts(service, view, findings);
    given_up(service, view, findings);
    requests(service, view, findings);
    connections(service, view, findings);
}

/// What a server does with what comes in, and so which rules it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    /// Those for requests.
    Http,
    /// Those for TLS that is passed through.
    Tls,
    /// Those for bytes.
    Tcp,
}

impl Takes {
    fn of(server: &Server) -> Self {
        let terminates = server.tls.as_ref().is_some_and(|tls| tls.terms.is_some());
        match server.class() {
            Class::Http => Self::Http,
            Class::Tls if !terminates => Self::Tls,
            Class::Tls if server.protocol == Protocol::Https => Self::Http,
            Class::Tls | Class::Tcp => Self::Tcp,
        }
    }

    /// Whether a VirtualService has rules of that kind.
    fn has_rules(self, service: &VirtualService, options: &Options) -> bool {
        match self {
            Self::Http => service.rules.iter().any(|rule| is_served(&rule.says, options)),
            Self::Tls => !service.tls.is_empty(),
            Self::Tcp => !service.tcp.is_empty(),
        }
    }
}

/// The servers of a VirtualService's Gateways.
fn servers<'a>(
    service: &'a VirtualService,
    view: View<'a>,
) -> impl Iterator<Item = &'a Arc<Server>> {
    let gateways = service.gateways.iter().filter_map(move |gateway| served(gateway, view));
    gateways.flat_map(|gateway| &gateway.servers)
}

fn hosts(service: &VirtualService, view: View<'_>, findings: &mut Findings) {
    let own = &service.key.namespace;
    let listing = servers(service, view).filter(|s| s.hosts.overlaps(&service.hosts, own));
    let fitting: Vec<_> =
        listing.filter(|server| Takes::of(server).has_rules(service, view.options)).collect();
    let is_open = |server: &Server| has_place(server, view) && accepts(server, view);
    let open: Vec<bool> = fitting.iter().map(|server| is_open(server)).collect();
    let mut known = false;
    let (mut shut, mut unknown) = (Vec::new(), Vec::new());
    for host in &service.hosts {
        let lists = |server: &Server| server.hosts.overlaps(std::slice::from_ref(host), own);
        let listing = || fitting.iter().zip(&open).filter(|(server, _)| lists(server));
        if listing().any(|(_, open)| *open) {
            known = true;
        } else if let Some((server, _)) = listing().next() {
            shut.push((host.as_str(), server));
        } else {
            unknown.push(host.as_str());
        }
    }
    // Where nothing is served at all, that is told as such.
    if !known {
        return;
    }
    for (host, server) in shut {
        findings.fault(
            NOT_SERVED,
            format!(
                "hosts: {host} is not served: {} of {}, which lists it, takes no connections; the status there says why",
                server.place(),
                server.key
            ),
        );
    }
    if !unknown.is_empty() {
        let gateways: Vec<&str> = service.gateways.iter().map(|gateway| &**gateway).collect();
        findings.fault(
            NOT_SERVED,
            format!(
                "hosts: {} is served by none of its Gateways ({}) for what it has rules for, unlike the others",
                unknown.join(", "),
                gateways.join(", ")
            ),
        );
    }
}

/// Tells of names under wildcards of a VirtualService that go to another, though no Gateway of that one lists them.
fn given_up(service: &VirtualService, view: View<'_>, findings: &mut Findings) {
    let wildcards: Vec<&Host> = service.hosts.iter().filter(|host| host.is_wildcard()).collect();
    let others: BTreeSet<&ObjectKey> =
        wildcards.iter().flat_map(|wildcard| view.index.strays_under(wildcard)).collect();
    if others.is_empty() {
        return;
    }
    let own = &service.key.namespace;
    let servers: Vec<&Arc<Server>> =
        servers(service, view).filter(|server| Takes::of(server) == Takes::Http).collect();
    let is_ours = |host: &&Host| {
        wildcards.iter().any(|own| host.is_narrower_than(own))
            && servers.iter().any(|s| s.hosts.overlaps(std::slice::from_ref(*host), own))
    };
    let others = others.into_iter().filter(|other| **other != service.key);
    for other in others.filter_map(|other| view.index.virtual_service(other)) {
        // Whatever it claims at its Gateways is claimed though they do not list it.
        let tables = other.gateways.iter();
        let mut tables =
            tables.flat_map(|g| view.listeners.tables_for(g, &other.hosts).into_keys());
        let in_both = |name: &Arc<str>| {
            let table = view.tables.get(name);
            table.is_some_and(|t| t.is_claimed_by(&other.key) && t.is_claimed_by(&service.key))
        };
        if !tables.any(in_both) {
            continue;
        }
        let taken: Vec<&str> = other.hosts.iter().filter(is_ours).map(Host::as_str).collect();
        if taken.is_empty() {
            continue;
        }
        let gateways: Vec<&str> = other.gateways.iter().map(|gateway| &**gateway).collect();
        findings.advice.push(format!(
            "hosts: requests for {} go to {}, which is routed though its Gateways ({}) do not list them; Istio would leave them \
             here",
            taken.join(", "),
            other.key,
            gateways.join(", ")
        ));
    }
}

/// The places of a VirtualService's Gateways that serve its hosts, at servers that take rules of a kind.
fn places(service: &VirtualService, view: View<'_>, takes: Takes) -> Vec<Place> {
    let own = |server: &&Arc<Server>| {
        Takes::of(server) == takes
            && server.hosts.overlaps(&service.hosts, &service.key.namespace)
            && has_place(server, view)
    };
    servers(service, view).filter(own).map(|server| Place::of(server)).collect()
}

fn requests(service: &VirtualService, view: View<'_>, findings: &mut Findings) {
    let places = places(service, view, Takes::Http);
    let mut idle = Vec::new();
    let mut some = false;
    for rule in service.rules.iter().filter(|rule| is_served(&rule.says, view.options)) {
        for (number, condition) in rule.conditions() {
            let reasons = places.iter().map(|place| {
                condition.and_then(|condition| not_here(condition, place, view.options))
            });
            let reasons: Option<Vec<NotHere<'_>>> = reasons.collect();
            match reasons.as_deref() {
                // Told by its field, whoever else applies.
                Some([NotHere::Unfit, ..]) => {}
                Some([first, ..]) => {
                    let place = rule.condition_place(number);
                    let of = if rule.key == service.key {
                        String::new()
                    } else {
                        format!(" of {}", rule.key)
                    };
                    let why = why(first, &places);
                    idle.push(format!("{place}{of} is for {first} and applies nowhere: {why}"));
                }
                _ => some = true,
            }
        }
    }
    // Where nothing applies at all, that is told as such.
    for message in idle.into_iter().filter(|_| some) {
        findings.fault("NotApplied", message);
    }
}

fn connections(service: &VirtualService, view: View<'_>, findings: &mut Findings) {
    let tls = service.tls.iter().enumerate().flat_map(|(r, rule)| {
        let matches = rule.matches.iter().enumerate();
        matches.map(move |(m, c)| (format!("tls[{r}].match[{m}]"), c.port, &*c.gateways))
    });
    idle(&tls.collect::<Vec<_>>(), &places(service, view, Takes::Tls), findings);
    let tcp = service.tcp.iter().enumerate().flat_map(|(r, rule)| {
        let matches = rule.matches.iter().enumerate();
        matches.map(move |(m, c)| (format!("tcp[{r}].match[{m}]"), c.port, &*c.gateways))
    });
    idle(&tcp.collect::<Vec<_>>(), &places(service, view, Takes::Tcp), findings);
}

/// Tells of conditions on connections that apply at none of the places, where others do.
fn idle(all: &[(String, Option<Port>, &[String])], places: &[Place], findings: &mut Findings) {
    let here = |port, gateways: &[String]| {
        places.iter().any(|place| applies_to_connections(port, gateways, place))
    };
    let (some, idle): (Vec<_>, Vec<_>) = all.iter().partition(|(_, port, g)| here(*port, g));
    for (place, port, gateways) in idle.into_iter().filter(|_| !some.is_empty()) {
        let asked = match port {
            Some(port) => NotHere::Port(port.get()),
            None => NotHere::Gateways(gateways),
        };
        let why = why(&asked, places);
        findings.fault("NotApplied", format!("{place} is for {asked} and applies nowhere: {why}"));
    }
}

fn why(asked: &NotHere<'_>, places: &[Place]) -> String {
    match asked {
        NotHere::Port(_) => {
            let ports: BTreeSet<u16> = places.iter().map(|place| place.port).collect();
            let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
            format!("its Gateways serve these hosts on port {}", ports.join(", "))
        }
        NotHere::Gateways(_) => {
            let gateways: BTreeSet<&str> = places.iter().map(|place| &*place.gateway).collect();
            let gateways: Vec<&str> = gateways.into_iter().collect();
            format!("these hosts are served by Gateway {}", gateways.join(", "))
        }
        NotHere::SourceLabels(_) | NotHere::SourceNamespace(_) => {
            "that speaks of the calling workload, which only a sidecar is; here it means the gateway itself"
                .to_owned()
        }
        NotHere::Unfit => "proxies refuse it".to_owned(),
    }
}
