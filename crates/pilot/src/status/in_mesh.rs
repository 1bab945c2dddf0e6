//! VirtualServices for sidecars, judged as a sidecar of their own namespace has them.
//!
//! None of it is written into a status, as no sidecar speaks for the others; who wants to know asks for it.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidegate_api::ObjectKey;

use super::virtual_service::{destinations, of_rule, unmet, without_shares};
use super::{Account, Findings, Force, Standing, View, join};
use crate::model::host::Host;
use crate::model::names;
use crate::model::rule::Rule;
use crate::model::virtual_service::VirtualService;

/// What there is to say of a VirtualService that is for sidecars; nothing of others, nor of one that sidecars of this namespace do
/// not see.
pub(crate) fn account(key: &ObjectKey, view: View<'_>) -> Option<Account> {
    let service = view.index.virtual_service(key)?;
    if !service.in_mesh || service.order.is_none() || service.hosts.is_empty() {
        return None;
    }
    // Whoever names gateways as well may mean them alone.
    if !acts(service) && !service.gateways.is_empty() {
        return None;
    }
    let mut findings = Findings::default();
    unmet(service, view, &mut findings);
    destinations(service, view, &mut findings);
    for (number, rule) in service.http.iter().enumerate() {
        of_rule((number, rule), view, &mut findings);
    }
    without_shares(service, &mut findings);
    nobodys(service, view, &mut findings);
    let force = force(service, view, &mut findings);
    let faults = findings.not_in_force();
    let fault = (!faults.is_empty()).then_some(faults);
    Some(Account { conditions: findings.conditions(), standing: Standing { force, fault } })
}

/// Tells of rules that others come before, and of those that name only gateways; whether anything else is left.
fn force(service: &VirtualService, view: View<'_>, findings: &mut Findings) -> Force {
    if !acts(service) {
        let message = "every condition of its rules names gateways, and it is for none: no rule acts in a sidecar";
        findings.fault("NotApplied", message.to_owned());
        return Force::nothing("NotApplied", message);
    }
    let mut lost: BTreeSet<&Host> = BTreeSet::new();
    let mut told = Vec::new();
    for (host, winner) in winners(service, view) {
        lost.insert(host);
        let why = match (&winner.order, &service.order) {
            (Some(winner), Some(own)) => winner.why_before(own),
            _ => continue,
        };
        told.push(format!(
            "hosts: {host} is {}'s in sidecars, which {why}; no rule of another one is asked for it: write the rules of both \
             into one VirtualService",
            winner.key
        ));
    }
    for fault in &told {
        findings.fault("Conflict", fault.clone());
    }
    match service.hosts.iter().all(|host| lost.contains(host)) {
        true => Force::nothing("Conflict", join(&told)),
        false => Force::Whole,
    }
}

/// The hosts that another VirtualService has in sidecars, each with the first of those.
fn winners<'a>(
    service: &'a VirtualService,
    view: View<'a>,
) -> impl Iterator<Item = (&'a Host, &'a Arc<VirtualService>)> {
    let place = |service: &VirtualService| (service.order.clone(), service.key.clone());
    let own = place(service);
    let before = move |other: &&Arc<VirtualService>| {
        other.in_mesh && other.order.is_some() && place(other) < own && collide(other, service)
    };
    let before: Vec<&Arc<VirtualService>> = view.index.virtual_services().filter(before).collect();
    service.hosts.iter().filter_map(move |host| {
        let all = before.iter().filter(|other| other.hosts.contains(host));
        Some((host, *all.min_by_key(|other| place(other))?))
    })
}

/// Whether two have rules of one sort that act in sidecars: of those for requests only one VirtualService's are asked.
fn collide(one: &VirtualService, other: &VirtualService) -> bool {
    let requests = |service: &VirtualService| service.rules.iter().any(of_requests);
    requests(one) && requests(other)
}

/// Whether any rule acts in sidecars.
fn acts(service: &VirtualService) -> bool {
    let tls = service.tls.iter().flat_map(|rule| &rule.matches).map(|c| c.gateways.as_slice());
    let tcp = service.tcp.iter().flat_map(|rule| &rule.matches).map(|c| c.gateways.as_slice());
    let always = service.tcp.iter().any(|rule| rule.matches.is_empty());
    service.rules.iter().any(of_requests) || always || tls.chain(tcp).any(in_mesh)
}

/// Whether a rule for requests acts in sidecars.
fn of_requests(rule: &Rule) -> bool {
    rule.conditions().any(|(_, condition)| condition.is_none_or(|c| in_mesh(&c.gateways)))
}

/// Whether a condition with these gateways holds in sidecars.
fn in_mesh(gateways: &[String]) -> bool {
    gateways.is_empty() || gateways.iter().any(|gateway| gateway == names::MESH)
}

/// Tells of hosts that no service has.
fn nobodys(service: &VirtualService, view: View<'_>, findings: &mut Findings) {
    let nobody = |host: &&Host| {
        !host.is_wildcard() && view.registry.definitions(host.as_str()).next().is_none()
    };
    let hosts: Vec<&str> = service.hosts.iter().filter(nobody).map(Host::as_str).collect();
    if !hosts.is_empty() && service.rules.iter().any(of_requests) {
        findings.advice.push(format!(
            "hosts: no Service and no ServiceEntry that sidecars of namespace {} see has {}: rules for requests hold on port 80 alone, \
             and where a workload's resolver has the name",
            view.options.namespace,
            hosts.join(", ")
        ));
    }
}
