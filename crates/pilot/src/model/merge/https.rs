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
    let mut routes: Vec<RoutePlan> = Vec::new();
    for servers in groups {
        let terms = servers[0].https_terms();
        let owned = owned(&owners, |owner| Some(owner) == terms);
        routes.push(RoutePlan {
            name: names::https_routes(port, &servers[0]).into(),
            misdirected: misdirected(&owned, &owners, listed),
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

/// The hosts of owners like these.
fn owned(owners: &Owners, like: impl Fn(&Arc<Terms>) -> bool) -> BTreeMap<Host, Arc<Terms>> {
    let own = |(host, owner): (&Host, &Option<Arc<Terms>>)| {
        let terms = owner.as_ref().filter(|owner| like(owner))?;
        Some((host.clone(), Arc::clone(terms)))
    };
    owners.iter().filter_map(own).collect()
}

/// The hosts that are not among `own`: all of them, or `*` and those that lie within the wildcards of these.
fn misdirected(own: &BTreeMap<Host, Arc<Terms>>, owners: &Owners, listed: bool) -> BTreeSet<Host> {
    let wide: Vec<&Host> = own.keys().filter(|host| host.is_wildcard()).collect();
    if listed {
        return owners.keys().filter(|host| !own.contains_key(*host)).cloned().collect();
    }
    // Without a wildcard of its own, nobody else's host is within one.
    let all = owners.keys().filter(|_| !wide.is_empty());
    let within = all.filter(|host| !own.contains_key(*host));
    let within = within.filter(|host| wide.iter().any(|wide| host.is_within(wide))).cloned();
    let every = Host::new("*");
    within.chain((!own.contains_key(&every)).then_some(every)).collect()
}

/// How connections without a server name are served: by the first of these whose certificate is there.
///
/// Where all servers present the same certificate, it is presented, and the Host of each request decides; whoever demands a
/// certificate of clients has it checked per request. Where they do not, the oldest server that asks nothing of clients
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
    let accepted = asking.filter_map(|(_, terms)| checked_later(terms)).next();
    let fits = |terms: &Arc<Terms>| {
        let own = checked_later(terms);
        same_channel(terms) && (terms.clients.is_none() || (own.is_some() && own == accepted))
    };
    let servers: Vec<Arc<Server>> =
        https.iter().filter(|(_, t)| fits(t)).map(|(server, _)| Arc::clone(server)).collect();
    let owned = owned(owners, fits);
    if owned.is_empty() {
        return None;
    }
    let name: Arc<str> = names::https_routes_without_name(port, bind).into();
    let clients = accepted.map(|accepted| Clients { demanded: false, accepted });
    let terms = Arc::new(Terms { clients, ..Terms::clone(oldest) });
    routes.push(RoutePlan {
        name: Arc::clone(&name),
        misdirected: misdirected(&owned, owners, true),
        owned,
        servers,
        checks_certificates: true,
    });
    Some(NamelessPlan { terms, routes: name })
}

/// What a handshake can ask of clients of which some have no certificate: who issued it. Its names are checked per
/// request; the hashes of those that are pinned cannot be, so that nothing is left of terms with them.
fn checked_later(terms: &Terms) -> Option<Accepted> {
    let accepted = &terms.clients.as_ref()?.accepted;
    let pinned = !accepted.key_hashes.is_empty() || !accepted.hashes.is_empty();
    (!pinned).then(|| Accepted { names: Vec::new(), ..accepted.clone() })
}
