//! Hosts that a Gateway redirects to https: what is told of who would have their requests in plain text.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_api::ObjectKey;

use super::{Findings, Force, View, join};
use crate::engine::RouteTable;
use crate::model::host::Host;
use crate::model::virtual_service::VirtualService;

/// The reason of a condition where requests are lost to another Gateway.
const CONFLICT: &str = "Conflict";
/// The same where its own Gateway redirects, and nothing else is open.
const REDIRECTED: &str = "Redirected";

/// Tells a VirtualService whose requests another Gateway than its own redirects: as a fault where its rules get none for
/// the host at all, as advice where they do on another port. What its own Gateways redirect and answer nowhere is told as
/// advice: it was asked for.
pub(super) fn tell(service: &VirtualService, view: View<'_>, findings: &mut Findings) {
    let (lost, kept) = (lost(service, view), kept(service, view));
    let own = own(service, view, &kept);
    if !own.is_empty() {
        findings.advice.push(only_redirected(&own));
    }
    for (winner, hosts) in lost {
        let (elsewhere, nowhere): (Vec<&Host>, Vec<&Host>) =
            hosts.into_iter().partition(|host| kept.contains(host));
        if !nowhere.is_empty() {
            let fault = format!("{}; no rule gets them", redirected(&nowhere, winner));
            findings.fault(CONFLICT, fault);
        }
        if !elsewhere.is_empty() {
            findings.advice.push(redirected(&elsewhere, winner));
        }
    }
}

/// Tells a Gateway of hosts whose requests another one redirects.
pub(super) fn tell_gateway(key: &ObjectKey, view: View<'_>, findings: &mut Findings) {
    let mut lost: BTreeMap<(&str, &str), BTreeSet<&Host>> = BTreeMap::new();
    let name = crate::engine::gateway_name(key);
    for (table, _) in view.listeners.tables_and_listeners_of(&name) {
        let table = view.tables.get(table).into_iter();
        for (host, place, winner) in table.flat_map(|table| table.redirects().lost_by(key)) {
            lost.entry((place, winner)).or_default().insert(host);
        }
    }
    for ((place, winner), hosts) in lost {
        let hosts: Vec<&Host> = hosts.into_iter().collect();
        findings.fault(CONFLICT, format!("{place}: {}", redirected(&hosts, winner)));
    }
}

/// Why nothing of a VirtualService is in force, where all requests that its rules could get are redirected.
pub(super) fn force(service: &VirtualService, view: View<'_>) -> Option<Force> {
    let (lost, kept) = (lost(service, view), kept(service, view));
    if !kept.is_empty() || service.routes_connections() {
        return None;
    }
    if lost.is_empty() {
        let own = own(service, view, &kept);
        let why = format!("no rule gets a request: {}", only_redirected(&own));
        return (!own.is_empty()).then(|| Force::nothing(REDIRECTED, why));
    }
    let why = lost
        .into_iter()
        .map(|(winner, hosts)| redirected(&hosts.into_iter().collect::<Vec<_>>(), winner));
    let why = join(&why.collect::<Vec<_>>());
    Some(Force::nothing(CONFLICT, format!("no rule gets a request: {why}")))
}

fn only_redirected(hosts: &BTreeSet<&Host>) -> String {
    let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    let hosts = super::list(&hosts, ", ");
    format!(
        "requests in plain text for {hosts} are redirected to https (tls.httpsRedirect), and no server of its Gateways \
         terminates HTTPS for them: add one (protocol HTTPS)"
    )
}

fn redirected(hosts: &[&Host], winner: &str) -> String {
    let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    let hosts = super::list(&hosts, ", ");
    format!(
        "requests in plain text for {hosts} are redirected to https by {winner} (tls.httpsRedirect)"
    )
}

/// The hosts that a VirtualService loses so, by who redirects them.
fn lost<'a>(service: &'a VirtualService, view: View<'a>) -> BTreeMap<&'a str, BTreeSet<&'a Host>> {
    let mut lost: BTreeMap<&str, BTreeSet<&Host>> = BTreeMap::new();
    for table in tables(service, view) {
        for (host, _, winner) in table.redirects().lost_by(&service.key) {
            lost.entry(winner).or_default().insert(host);
        }
    }
    lost
}

/// The hosts for which a VirtualService gets requests somewhere.
fn kept<'a>(service: &'a VirtualService, view: View<'a>) -> BTreeSet<&'a Host> {
    let answered = |table: &'a RouteTable| {
        table.claimed_hosts(&service.key).filter(move |host| !table.is_redirected(host))
    };
    tables(service, view).flat_map(answered).collect()
}

/// The hosts for which it gets none because its own Gateways redirect them.
fn own<'a>(
    service: &'a VirtualService,
    view: View<'a>,
    kept: &BTreeSet<&'a Host>,
) -> BTreeSet<&'a Host> {
    if service.routes_connections() {
        // It may have them there, whatever terminates them.
        return BTreeSet::new();
    }
    let key = &service.key;
    let asked = |table: &'a RouteTable| {
        table.claimed_hosts(key).filter(move |host| !table.redirects().takes(host, key))
    };
    tables(service, view).flat_map(asked).filter(|host| !kept.contains(host)).collect()
}

/// The route configurations where a VirtualService may have routes.
fn tables<'a>(service: &'a VirtualService, view: View<'a>) -> impl Iterator<Item = &'a RouteTable> {
    let gateways = service.gateways.iter();
    let names: BTreeSet<&Arc<str>> = gateways
        .flat_map(|gateway| view.listeners.tables_for(gateway, &service.hosts).into_keys())
        .collect();
    names.into_iter().filter_map(move |name| view.tables.get(name))
}
