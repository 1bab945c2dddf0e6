//! Which servers that terminate HTTPS share their routes, and who answers connections that name no server.
//!
//! A client may send requests for several hosts on one connection where the certificate is for all of them
//! (RFC 9113, section 9.1.1). So servers of a port that agree on the same terms share one route configuration. A host for which
//! other terms hold is answered 421 there, and the client opens a connection of its own for it: what one
//! server demands of clients cannot be passed by through another.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::{NamelessPlan, RoutePlan, Uncertified};
use crate::model::gateway::Server;
use crate::model::host::Host;
use crate::model::names;
use crate::model::tls::{Accepted, Clients, Credential, Terms};

/// Most hosts that all route configurations of a listener list for 421 together. Beyond it each answers 421 for
/// every host that is not its own, also where nobody has that host.
const MAX_MISDIRECTED: usize = 100_000;

/// The route configurations of a listener's servers, and how connections without a server name are served.
pub(super) fn plan(
    port: u16,
    bind: &str,
    servers: &[Arc<Server>],
    usable: impl Fn(&Credential) -> bool,
) -> (Vec<RoutePlan>, Option<NamelessPlan>) {
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
            uncertified: None,
        });
    }
    let open: Vec<_> =
        https.into_iter().filter(|(_, terms)| terms.credentials().all(&usable)).collect();
    let mut nameless = nameless(port, bind, &open, &owners, &mut routes);
    if let Some(nameless) = &mut nameless {
        let lacks = |server: &&Arc<Server>| {
            let mut credentials = server.terms().into_iter().flat_map(|terms| terms.credentials());
            server.takes_every_name() && !credentials.all(&usable)
        };
        nameless.lacking = servers.iter().filter(lacks).cloned().collect();
    }
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

/// A server that can hold a handshake, and its terms.
type Open<'a> = (&'a Arc<Server>, &'a Arc<Terms>);

/// How connections without a server name are served, by the servers that can hold a handshake (`open`): what one of the others
/// lacks closes its own hosts, and changes nothing for theirs.
///
/// Where all of them present the same certificate, it is presented, and the Host of each request decides; whoever demands a
/// certificate of clients has it checked per request whether there was one. Where they do not, a server for every name takes these
/// connections, and else the oldest server that asks nothing of clients answers.
fn nameless(
    port: u16,
    bind: &str,
    open: &[Open<'_>],
    owners: &Owners,
    routes: &mut Vec<RoutePlan>,
) -> Option<NamelessPlan> {
    let (_, oldest) = open.first()?;
    let every = open.iter().find(|(server, _)| server.takes_every_name());
    match open.iter().all(|(_, terms)| terms.identities == oldest.identities) {
        true => by_host(port, bind, (open, every), owners, routes),
        false if every.is_some() => None,
        false => {
            let (_, terms) = open.iter().find(|(_, terms)| terms.clients.is_none())?;
            with_routes_of(terms, routes)
        }
    }
}

/// The terms of a server with the routes that it shares.
fn with_routes_of(terms: &Arc<Terms>, routes: &[RoutePlan]) -> Option<NamelessPlan> {
    let own = |plan: &&RoutePlan| plan.servers.first().and_then(|s| s.https_terms()) == Some(terms);
    let routes = Arc::clone(&routes.iter().find(own)?.name);
    Some(NamelessPlan { terms: Arc::clone(terms), routes, every: None, lacking: Vec::new() })
}

/// How connections without a server name are served where all servers that are open present the same certificate.
///
/// One for every name (`every`) has these connections in its own filter chain, which no other terms than its own may
/// weaken: the versions and suites are its own, and so are the certificates that it accepts, where it asks for any.
fn by_host(
    port: u16,
    bind: &str,
    (open, every): (&[Open<'_>], Option<&Open<'_>>),
    owners: &Owners,
    routes: &mut Vec<RoutePlan>,
) -> Option<NamelessPlan> {
    let (_, base) = every.or_else(|| open.first())?;
    let demanded = base.demands_certificate();
    let unverified = base.clients.as_ref().is_some_and(|clients| clients.accepted.any_issuer);
    if every.is_some() && demanded && unverified {
        return None; // Nothing but the handshake knows whether there was one: rules are for those that were verified.
    }
    if every.is_none() && open.iter().all(|(_, terms)| terms == base) && !demanded {
        return with_routes_of(base, routes);
    }
    let same_channel = |terms: &Terms| terms.channel == base.channel;
    let asking = open.iter().filter(|(_, terms)| same_channel(terms));
    let accepted = match base.clients.as_ref().filter(|_| every.is_some()) {
        Some(own) => Some(&own.accepted),
        None => common(asking.map(|(_, terms)| terms.clients.as_ref().map(|c| &c.accepted))),
    };
    let fits = |terms: &Arc<Terms>| {
        same_channel(terms)
            && terms.identities == base.identities
            && match &terms.clients {
                Some(clients) => Some(&clients.accepted) == accepted,
                // Envoy demands a certificate wherever it has to look for names or hashes in it.
                None => accepted.is_none_or(Accepted::is_by_issuer),
            }
    };
    let fitting: Vec<_> = open.iter().filter(|(_, terms)| fits(terms)).collect();
    if every.is_some() && fitting.iter().all(|(_, terms)| terms == base) && !demanded {
        return None; // Its own terms and routes say all of it.
    }
    let own = |(host, owner): (&Host, &Option<Arc<Terms>>)| {
        let terms = owner.as_ref().filter(|owner| fits(owner))?;
        Some((host.clone(), Arc::clone(terms)))
    };
    let owned: BTreeMap<Host, Arc<Terms>> = owners.iter().filter_map(own).collect();
    if owned.is_empty() {
        return None;
    }
    let every = every.map(|(server, _)| Arc::clone(server));
    if let Some(every) = &every {
        // Nobody comes to routes that were its own alone.
        routes.retain(|plan| plan.servers.iter().any(|server| !Arc::ptr_eq(server, every)));
    }
    let name: Arc<str> = names::https_routes_without_name(port, bind).into();
    let clients = accepted.map(|accepted| Clients { demanded: false, accepted: accepted.clone() });
    let terms = Arc::new(Terms { clients, ..Terms::clone(base) });
    routes.push(RoutePlan {
        name: Arc::clone(&name),
        misdirected: all_but(&owned, owners),
        owned,
        servers: fitting.into_iter().map(|(server, _)| Arc::clone(server)).collect(),
        // Where the one for every name demands a certificate, who names a server has shown one.
        uncertified: Some(match every.is_some() && !demanded {
            true => Uncertified::Misdirected,
            false => Uncertified::Forbidden,
        }),
    });
    Some(NamelessPlan { terms, routes: name, every, lacking: Vec::new() })
}

/// Which certificates a handshake accepts before it is known whose host is meant. Nothing but the handshake judges a
/// certificate: so it can look for names and hashes only where everybody asks for the same ones, and else for the issuer
/// that the oldest asks for who asks for no more. (Rules per request read names another way: Envoy's compare URIs, DNS
/// names and the subject letter by letter, and know nothing of wildcards, addresses and mail addresses in certificates.)
fn common<'a>(asked: impl Iterator<Item = Option<&'a Accepted>>) -> Option<&'a Accepted> {
    let asked: Vec<Option<&Accepted>> = asked.collect();
    match asked.first() {
        Some(first) if asked.iter().all(|other| other == first) => *first,
        // Who takes certificates of any issuer takes them for its own hosts alone.
        _ => asked.into_iter().flatten().find(|a| a.is_by_issuer() && !a.any_issuer),
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
