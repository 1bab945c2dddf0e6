//! Hosts and conditions of VirtualServices that no server of their Gateways answers to.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::gateway::has_place;
use super::virtual_service::served;
use super::{Findings, View};
use crate::model::gateway::{Class, Server};
use crate::model::host::Host;
use crate::model::virtual_service::{
    NotHere, Place, VirtualService, applies_to_connections, is_served, not_here,
};

/// Tells of hosts and conditions that nothing here answers to, where others do. Others than this process may
/// answer to what is also bound elsewhere: of that nothing is said.
pub(super) fn tell(service: &VirtualService, view: View<'_>, findings: &mut Findings) {
    let elsewhere = |gateway: &Arc<str>| served(gateway, view).is_none();
    if service.order.is_none() || service.in_mesh || service.gateways.iter().any(elsewhere) {
        return;
    }
    hosts(service, view, findings);
    requests(service, view, findings);
    connections(service, view, findings);
}

fn hosts(service: &VirtualService, view: View<'_>, findings: &mut Findings) {
    let own = &service.key.namespace;
    let gateways = || service.gateways.iter().filter_map(|gateway| served(gateway, view));
    let admitted = |host| gateways().any(|g| g.hosts.overlaps(std::slice::from_ref(host), own));
    let (known, unknown): (Vec<_>, Vec<_>) = service.hosts.iter().partition(|host| admitted(host));
    if !known.is_empty() && !unknown.is_empty() {
        let unknown: Vec<&str> = unknown.into_iter().map(Host::as_str).collect();
        let gateways: Vec<&str> = service.gateways.iter().map(|gateway| &**gateway).collect();
        findings.fault(
            "HostNotServed",
            format!(
                "hosts: {} is served by none of its Gateways ({}), unlike the others",
                unknown.join(", "),
                gateways.join(", ")
            ),
        );
    }
}

/// The servers of its Gateways that serve its hosts: those that route requests, or the others.
fn places(service: &VirtualService, view: View<'_>, requests: bool) -> Vec<Place> {
    let gateways = service.gateways.iter().filter_map(|gateway| served(gateway, view));
    let servers = gateways.flat_map(|gateway| &gateway.servers);
    let own = |server: &&Arc<Server>| {
        let routes = server.class() == Class::Http || server.https_terms().is_some();
        routes == requests
            && server.hosts.overlaps(&service.hosts, &service.key.namespace)
            && has_place(server, view)
    };
    let place = |server: &Arc<Server>| Place {
        gateway: Arc::clone(&server.gateway),
        port: server.port,
        tls: server.tls.is_some(),
    };
    servers.filter(own).map(place).collect()
}

fn requests(service: &VirtualService, view: View<'_>, findings: &mut Findings) {
    let places = places(service, view, true);
    let mut idle = Vec::new();
    let mut some = false;
    for rule in service.rules.iter().filter(|rule| is_served(&rule.says)) {
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
    let places = places(service, view, false);
    let tls = service.tls.iter().enumerate().flat_map(|(r, rule)| {
        let matches = rule.matches.iter().enumerate();
        matches.map(move |(m, c)| (format!("tls[{r}].match[{m}]"), c.port, &c.gateways))
    });
    let tcp = service.tcp.iter().enumerate().flat_map(|(r, rule)| {
        let matches = rule.matches.iter().enumerate();
        matches.map(move |(m, c)| (format!("tcp[{r}].match[{m}]"), c.port, &c.gateways))
    });
    let all: Vec<_> = tls.chain(tcp).collect();
    let here = |port, gateways: &[String]| {
        places.iter().any(|place| applies_to_connections(port, gateways, place))
    };
    let (some, idle): (Vec<_>, Vec<_>) = all.iter().partition(|(_, port, g)| here(*port, g));
    for (place, port, gateways) in idle.into_iter().filter(|_| !some.is_empty()) {
        let asked = match port {
            Some(port) => NotHere::Port(port.get()),
            None => NotHere::Gateways(gateways),
        };
        let why = why(&asked, &places);
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
