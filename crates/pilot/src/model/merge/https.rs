//! Which servers that terminate HTTPS share their routes, and who answers connections that name no server.
//!
//! A client may send requests for several hosts on one connection where the certificate is for all of them
//! (RFC 9113, section 9.1.1). So servers of a port that agree on the same terms share one route configuration. A host for which
//! other terms hold is answered 421 there, and the client opens a connection of its own for it: what one
//! server demands of clients cannot be passed by through another.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::{NamelessPlan, RoutePlan};
use crate::model::gateway::Server;
use crate::model::host::Host;
use crate::model::names;
use crate::model::tls::{Accepted, Clients, Terms};

/// Most hosts that all route configurations of a listener list for 421 together. Beyond it each answers 421 for
/// every host that is not its own, also where nobody has that host.
const MAX_MISDIRECTED: usize = 100_000;

/// The route configurations of a listener's servers, and how connections without a server name are served.
pub(super) fn plan(
    port: u16,
    bind: &str,
    servers: &[Arc<Server>],
) -> (Vec<RoutePlan>, Vec<NamelessPlan>) {
    let https: Vec<(&Arc<Server>, &Arc<Terms>)> =
        servers.iter().filter_map(|server| Some((server, server.https_terms()?))).collect();
    let mut groups: Vec<Vec<Arc<Server>>> = Vec::new();
    let mut places: HashMap<&Terms, usize> = HashMap::new();
    for (server, terms) in &https {
        let place = *places.entry(terms).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[place].push(Arc::clone(server));
    }
    let owners = owners(servers);
    let listed = groups.len().saturating_sub(1).saturating_mul(owners.len()) <= MAX_MISDIRECTED;
    let mut borders = borders(&owners);
    let mut routes: Vec<RoutePlan> = Vec::new();
    for servers in groups {
        let terms = servers[0].https_terms();
        let Border { owned, within } =
            terms.and_then(|terms| borders.remove(&**terms)).unwrap_or_default();
        routes.push(RoutePlan {
            name: names::https_routes(port, &servers[0]).into(),
            misdirected: match listed {
                true => all_but(&owned, &owners),
                false => within_and_rest(within, &owned),
            },
            owned,
            servers,
            checks_certificates: false,
        });
    }
    let nameless = nameless(port, bind, &https, &owners, &mut routes);
    (routes, nameless)
}

/// On which terms each host is served: those of the oldest server that has it; on none of these where that passes TLS
/// on, or carries bytes in it.
type Owners = BTreeMap<Host, Option<Arc<Terms>>>;

fn owners(servers: &[Arc<Server>]) -> Owners {
    let mut owners = Owners::new();
    for server in servers {
        for host in server.names() {
            owners.entry(host.clone()).or_insert_with(|| server.https_terms().cloned());
        }
    }
    owners
}

/// What the servers of one group have, and what lies in it.
#[derive(Default)]
struct Border {
    /// Their hosts.
    owned: BTreeMap<Host, Arc<Terms>>,
    /// Hosts of others that lie within wildcards of theirs.
    within: BTreeSet<Host>,
}

/// The borders of all groups, at a cost that grows with the hosts and with their labels alone.
fn borders(owners: &Owners) -> HashMap<&Terms, Border> {
    let mut borders: HashMap<&Terms, Border> = HashMap::new();
    for (host, owner) in owners {
        if let Some(terms) = owner {
            let border = borders.entry(&**terms).or_default();
            border.owned.insert(host.clone(), Arc::clone(terms));
        }
        let around = host.patterns().skip(1).filter_map(|wider| owners.get(&wider)?.as_ref());
        for other in around.filter(|other| owner.as_ref() != Some(*other)) {
            borders.entry(&**other).or_default().within.insert(host.clone());
        }
    }
    borders
}

/// The hosts that are not among `own`.
fn all_but(own: &BTreeMap<Host, Arc<Terms>>, owners: &Owners) -> BTreeSet<Host> {
    owners.keys().filter(|host| !own.contains_key(*host)).cloned().collect()
}

/// The same without listing them all: those that lie within the wildcards of `own`, and `*`.
fn within_and_rest(mut within: BTreeSet<Host>, own: &BTreeMap<Host, Arc<Terms>>) -> BTreeSet<Host> {
    let every = Host::new("*");
    if !own.contains_key(&every) {
        within.insert(every);
    }
    within
}

/// How connections without a server name are served: by the first of these whose certificate can be used.
///
/// Where all servers present the same certificate, it is presented, and the Host of each request decides; whoever demands a
/// certificate of clients has it checked per request whether there was one. Where they do not, the oldest server that asks nothing of clients
/// answers. A server for every name takes these connections anyway.
fn nameless(
    port: u16,
    bind: &str,
    https: &[(&Arc<Server>, &Arc<Terms>)],
    owners: &Owners,
    routes: &mut Vec<RoutePlan>,
) -> Vec<NamelessPlan> {
    let Some((_, oldest)) = https.first() else { return Vec::new() };
    let every = Host::new("*");
    if https.iter().any(|(server, _)| server.names().any(|host| *host == every)) {
        return Vec::new();
    }
    let shared = https.iter().all(|(_, terms)| terms.identities == oldest.identities);
    if shared {
        return by_host(port, bind, https, owners, routes).into_iter().collect();
    }
    // One per group of servers with the same terms, which has their routes.
    let groups = routes.iter().filter_map(|plan| {
        let terms = plan.servers.first()?.https_terms()?;
        let plan = || NamelessPlan { terms: Arc::clone(terms), routes: Arc::clone(&plan.name) };
        terms.clients.is_none().then(plan)
    });
    groups.collect()
}

/// How connections without a server name are served where all servers present the same certificate.
fn by_host(
    port: u16,
    bind: &str,
    https: &[(&Arc<Server>, &Arc<Terms>)],
    owners: &Owners,
    routes: &mut Vec<RoutePlan>,
) -> Option<NamelessPlan> {
    let (_, oldest) = https.first()?;
    if routes.len() == 1 && !oldest.demands_certificate() {
        let routes = Arc::clone(&routes[0].name);
        return Some(NamelessPlan { terms: Arc::clone(oldest), routes });
    }
    let same_channel = |terms: &Terms| terms.channel == oldest.channel;
    let asking = https.iter().filter(|(_, terms)| same_channel(terms));
    let accepted = common(asking.map(|(_, terms)| terms.clients.as_ref().map(|c| &c.accepted)));
    let fits = |terms: &Arc<Terms>| {
        same_channel(terms)
            && match &terms.clients {
                Some(clients) => Some(&clients.accepted) == accepted,
                // Envoy demands a certificate wherever it has to look for names or hashes in it.
                None => accepted.is_none_or(Accepted::is_by_issuer),
            }
    };
    let servers: Vec<Arc<Server>> =
        https.iter().filter(|(_, t)| fits(t)).map(|(server, _)| Arc::clone(server)).collect();
    let own = |(host, owner): (&Host, &Option<Arc<Terms>>)| {
        let terms = owner.as_ref().filter(|owner| fits(owner))?;
        Some((host.clone(), Arc::clone(terms)))
    };
    let owned: BTreeMap<Host, Arc<Terms>> = owners.iter().filter_map(own).collect();
    if owned.is_empty() {
        return None;
    }
    let name: Arc<str> = names::https_routes_without_name(port, bind).into();
    let clients = accepted.map(|accepted| Clients { demanded: false, accepted: accepted.clone() });
    let terms = Arc::new(Terms { clients, ..Terms::clone(oldest) });
    routes.push(RoutePlan {
        name: Arc::clone(&name),
        misdirected: all_but(&owned, owners),
        owned,
        servers,
        checks_certificates: true,
    });
    Some(NamelessPlan { terms, routes: name })
}

/// Which certificates a handshake accepts before it is known whose host is meant. Nothing but the handshake judges a
/// certificate: so it can look for names and hashes only where everybody asks for the same ones, and else for the issuer
/// that the oldest asks for who asks for no more. (Rules per request read names another way: Envoy's compare URIs, DNS
/// names and the subject letter by letter, and know nothing of wildcards, addresses and mail addresses in certificates.)
fn common<'a>(asked: impl Iterator<Item = Option<&'a Accepted>>) -> Option<&'a Accepted> {
    let asked: Vec<Option<&Accepted>> = asked.collect();
    match asked.first() {
        Some(first) if asked.iter().all(|other| other == first) => *first,
        _ => asked.into_iter().flatten().find(|accepted| accepted.is_by_issuer()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Options;

    /// Borders found in one pass are those that comparing every pair finds.
    #[test]
    fn borders_are_what_pairs_say() {
        let terms: Vec<Arc<Terms>> = ["a", "b"]
            .iter()
            .map(|name| {
                let tls = json!({"mode": "SIMPLE", "credentialName": name});
                let tls = serde_json::from_value(tls).expect("settings");
                Arc::new(Terms::of(&tls, &Options::default()).expect("it terminates TLS"))
            })
            .collect();
        let names = ["*", "*.x", "*.y.x", "z.y.x", "*.v", "u.v"];
        // Each host is one group's, the other's, nobody's who terminates TLS, or not there.
        for mut choice in 0..4_u32.pow(6) {
            let mut owners = Owners::new();
            for name in names {
                match choice % 4 {
                    3 => {}
                    owner => {
                        owners.insert(Host::new(name), terms.get(owner as usize).cloned());
                    }
                }
                choice /= 4;
            }
            let borders = borders(&owners);
            for own in &terms {
                let is_own = |owner: &Option<Arc<Terms>>| owner.as_ref() == Some(own);
                let wide =
                    || owners.iter().filter(|(host, owner)| is_own(owner) && host.is_wildcard());
                let within: BTreeSet<&Host> = owners
                    .iter()
                    .filter(|(_, owner)| !is_own(owner))
                    .map(|(host, _)| host)
                    .filter(|host| wide().any(|(wide, _)| host.is_within(wide)))
                    .collect();
                let owned: BTreeSet<&Host> = owners
                    .iter()
                    .filter(|(_, owner)| is_own(owner))
                    .map(|(host, _)| host)
                    .collect();
                let found = borders.get(&**own);
                let found_within = found.into_iter().flat_map(|border| &border.within);
                let found_owned = found.into_iter().flat_map(|border| border.owned.keys());
                assert_eq!(found_within.collect::<BTreeSet<_>>(), within, "{owners:?}");
                assert_eq!(found_owned.collect::<BTreeSet<_>>(), owned, "{owners:?}");
            }
        }
    }
}
