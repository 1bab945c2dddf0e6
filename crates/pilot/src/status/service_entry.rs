//! Status of ServiceEntries: ports that an older definition of the host has, and what is not served yet, and what is wrong
//! with annotations that stand for other objects.

use tidegate_api::ObjectKey;

use super::{Findings, View};
use crate::model::endpoints;
use crate::model::service::{Discovery, Service};
use crate::sidecar::listeners::{Beaten, Lost};

/// What is wrong with a ServiceEntry; `None` when it is for sidecars alone.
pub(super) fn findings(key: &ObjectKey, view: View<'_>) -> Option<Findings> {
    let mut findings = Findings::default();
    for fault in view.short_forms.faults(key) {
        findings.fault("EgressGateway", fault.clone());
    }
    for service in view.registry.services_of(key) {
        for why in left_out(service) {
            findings.fault("NotServed", format!("host {}: {why}", service.host));
        }
        for (number, winner) in conflicts(service, view) {
            findings.fault(
                "Conflict",
                format!("host {}, port {number}: {winner} defines it and is older", service.host),
            );
        }
    }
    for beaten in view.sidecar.beaten(key) {
        findings.fault("Conflict", why_beaten(beaten));
    }
    (kept_address(key, view).is_none() || !findings.faults.is_empty()).then_some(findings)
}

/// Who has the connections of a port, and what would tell them apart.
fn why_beaten(Beaten { host, port, winner, lost, .. }: &Beaten) -> String {
    match lost {
        Lost::All => format!(
            "host {host}, port {port}: {winner} is older and takes every connection to this port, as nothing tells those to the \
             two apart; `addresses` of its own would, and so would those that a sidecar gives, whose DNS proxy the workload \
             asks (no resolution NONE, no label `networking.istio.io/enable-autoallocate-ip: \"false\"`)"
        ),
        Lost::Address(address) => format!(
            "host {host}, port {port}: {winner} has {address}, port {port}, for a protocol that is not HTTP: what is dialled there is \
             carried as bytes to its endpoints, requests for {host} included; give one of the two another address or port, or \
             the same protocol"
        ),
        Lost::Socket(path) => format!(
            "host {host}, port {port}: {winner} is older and takes every connection through {path}, as nothing tells those to \
             the two apart; a socket of its own would, in `egress` of the Sidecar"
        ),
    }
}

/// Why no gateway sends to its hosts: it is theirs to dial who are captured. A route of a gateway that leads there says so itself.
pub(super) fn kept_address(key: &ObjectKey, view: View<'_>) -> Option<&'static str> {
    view.registry.services_of(key).iter().find_map(|service| {
        let mut ports = service.ports.iter().map(|port| service.kept_address(port));
        ports.next().flatten().filter(|_| ports.all(|why| why.is_some()))
    })
}

/// Which of a service's own endpoints are left out, and why.
fn left_out(service: &Service) -> impl Iterator<Item = String> {
    let listed = match &service.discovery {
        Discovery::Names { endpoints, .. } | Discovery::Addresses(endpoints) => &**endpoints,
        _ => &[],
    };
    let resolves = service.resolved().is_some();
    listed.iter().enumerate().filter_map(move |(number, entry)| {
        let why = endpoints::left_out(entry, resolves)?;
        Some(format!("endpoints[{number}] is left out: {why}"))
    })
}

/// The ports of a service that an older definition of the same host has.
fn conflicts<'a>(
    service: &'a Service,
    view: View<'a>,
) -> impl Iterator<Item = (u16, &'a ObjectKey)> {
    let winners = view.registry.ports(&service.host);
    service.ports.iter().filter_map(move |port| {
        let (winner, _) = winners.get(&port.number)?;
        (winner.key != service.key).then_some((port.number, &winner.key))
    })
}
