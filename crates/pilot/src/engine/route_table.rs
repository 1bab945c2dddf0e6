//! The virtual hosts of one route configuration: which hosts it has, which VirtualServices route them, and
//! which hosts share one virtual host because all their routes are the same.

mod borders;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use tidegate_api::ObjectKey;

use borders::Borders;

use super::index::Index;
use super::reach::How;
use super::redirects::{Redirect, Redirects};
use crate::Options;
use crate::compile::virtual_host::Demands;
use crate::model::gateway::{Class, Server};
use crate::model::host::Host;
use crate::model::merge::{RoutePlan, Uncertified};
use crate::model::names;
use crate::model::virtual_service::{Order, Place, VirtualService};

/// The virtual hosts of a route configuration, kept up to date one VirtualService at a time.
#[derive(Debug, Default)]
pub(crate) struct RouteTable {
    servers: Vec<Arc<Server>>,
    servers_of: HashMap<Arc<str>, ServersOf>,
    hosts: BTreeMap<Host, Claims>,
    claimed_by: HashMap<ObjectKey, Vec<(usize, Host)>>,
    /// Hosts whose claims, or whose claimants, changed since the last [`RouteTable::settle`].
    stale: BTreeSet<Host>,
    /// What each host was settled as.
    settled: BTreeMap<Host, Arc<Routing>>,
    groups: HashMap<Arc<Routing>, Group>,
    /// Who loses requests to servers that redirect, as it was settled.
    redirects: Redirects,
    borders: Borders,
    /// The virtual hosts that no VirtualService makes, as they were settled.
    own: BTreeMap<Arc<str>, OwnHost>,
    /// Those of them that are to be compiled again though they say the same.
    stale_own: BTreeSet<Arc<str>>,
}

/// The servers of one Gateway, by their place in the table.
#[derive(Debug, Default)]
struct ServersOf {
    all: Vec<usize>,
    by_host: HashMap<Host, Vec<usize>>,
}

impl ServersOf {
    fn add(&mut self, place: usize, server: &Server) {
        self.all.push(place);
        for host in server.names() {
            self.by_host.entry(host.clone()).or_default().push(place);
        }
    }

    /// The servers that may share a host with these, in their order. Where all hosts are names, the cost does not grow
    /// with the number of servers.
    fn sharing(&self, hosts: &[Host]) -> BTreeSet<usize> {
        if hosts.iter().any(Host::is_wildcard) {
            return self.all.iter().copied().collect();
        }
        let patterns = hosts.iter().flat_map(Host::patterns);
        patterns.filter_map(|pattern| self.by_host.get(&pattern)).flatten().copied().collect()
    }
}

/// A virtual host that no VirtualService makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnHost {
    pub(crate) domains: Vec<String>,
    /// How every request is answered.
    pub(crate) status: u16,
}

/// Who routes a host.
#[derive(Debug, Default)]
struct Claims {
    /// VirtualServices by server (position in the table) and their order there.
    services: BTreeMap<(usize, Order), ObjectKey>,
    /// Servers that redirect the host to https whether or not it has routes.
    redirects: BTreeSet<usize>,
    /// Servers that list such a host and would have it answered.
    beside: BTreeSet<usize>,
    /// Servers that demand a certificate of clients, which is checked whether or not the host has routes.
    demanding: BTreeSet<usize>,
    /// Servers that take a wider host of plain HTTP, which knows this one apart.
    apart: BTreeSet<usize>,
}

impl Claims {
    fn is_empty(&self) -> bool {
        self.services.is_empty()
            && self.redirects.is_empty()
            && self.demanding.is_empty()
            && self.apart.is_empty()
    }
}

/// A host of a table, with those who answer it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    claims: &'a Claims,
    servers: &'a [Arc<Server>],
}

impl<'a> Row<'a> {
    /// The VirtualServices that route it, each with the server at which it does.
    pub(super) fn claimants(&self) -> impl Iterator<Item = (&'a Server, &'a ObjectKey)> + use<'a> {
        let servers = self.servers;
        let claims = self.claims.services.iter();
        claims.filter_map(move |((s, _), key)| Some((&**servers.get(*s)?, key)))
    }

    /// The servers that send it to https.
    pub(super) fn redirectors(&self) -> impl Iterator<Item = &'a Server> + use<'a> {
        let servers = self.servers;
        self.claims.redirects.iter().filter_map(move |s| Some(&**servers.get(*s)?))
    }

    /// The servers that list it beside those, and would have it answered.
    pub(super) fn beside(&self) -> impl Iterator<Item = &'a Server> + use<'a> {
        let servers = self.servers;
        self.claims.beside.iter().filter_map(move |s| Some(&**servers.get(*s)?))
    }
}

/// All that decides a virtual host but its domains. Hosts with the same routing share one.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Routing {
    /// The VirtualServices whose routes apply, in order, each at the place where it applies.
    pub(crate) routes: Vec<(Place, ObjectKey)>,
    /// Whether every request is redirected to https.
    pub(crate) https_redirect: bool,
    /// Where only clients with a verified certificate are answered: how others are.
    pub(crate) guarded: Option<Uncertified>,
    /// The port in the virtual host's name.
    port: u16,
}

impl Routing {
    /// What is asked of requests before they are routed.
    pub(crate) fn demands(&self) -> Demands {
        Demands { tls: self.https_redirect, client_certificate: self.guarded }
    }
}

#[derive(Debug, Default)]
struct Group {
    hosts: BTreeSet<Host>,
    name: Option<Arc<str>>,
}

/// What a table's changes come to.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    /// Virtual hosts to compile.
    pub(crate) compile: Vec<Shared>,
    /// Names of virtual hosts that are gone. One of them may be the new name of another.
    pub(crate) gone: Vec<Arc<str>>,
    /// Virtual hosts to compile that no VirtualService makes.
    pub(crate) own: Vec<(Arc<str>, OwnHost)>,
    /// Objects that lose requests to others which redirect them, or do no more.
    pub(crate) told: BTreeSet<ObjectKey>,
}

/// One virtual host: its name, its domains, and what routes it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) name: Arc<str>,
    pub(crate) domains: Vec<String>,
    pub(crate) routing: Arc<Routing>,
}

impl RouteTable {
    /// Replaces the servers. Only hosts whose routing differs become stale.
    pub(crate) fn set_plan(&mut self, plan: &RoutePlan, index: &Index, options: &Options) {
        self.servers.clone_from(&plan.servers);
        self.borders = Borders::of(plan);
        self.servers_of.clear();
        self.hosts.clear();
        self.claimed_by.clear();
        for (s, server) in self.servers.iter().enumerate() {
            self.servers_of.entry(Arc::clone(&server.gateway)).or_default().add(s, server);
            if server.redirects_to_https() {
                for host in server.hosts.iter() {
                    self.hosts.entry(host.host.clone()).or_default().redirects.insert(s);
                }
            }
            for host in server.names().filter(|host| self.borders.guarded.contains(*host)) {
                self.hosts.entry(host.clone()).or_default().demanding.insert(s);
            }
        }
        for (s, server) in self.servers.iter().enumerate().filter(|(_, s)| !s.redirects_to_https())
        {
            for host in server.names() {
                let redirected = self.hosts.get_mut(host).filter(|c| !c.redirects.is_empty());
                if let Some(claims) = redirected {
                    claims.beside.insert(s);
                }
            }
        }
        let gateways: Vec<Arc<str>> = self.servers_of.keys().cloned().collect();
        for gateway in gateways {
            self.keep_apart(&gateway, index);
            for (service, how) in self.reaching(&gateway, index) {
                self.claim(service, &gateway, &how, options);
            }
        }
        let before = self.settled.keys().cloned();
        let all: BTreeSet<Host> = self.hosts.keys().cloned().chain(before).collect();
        for host in all {
            let routed = self.routing(&host).as_ref() == self.settled.get(&host).map(|r| &**r);
            if !routed || self.redirect(&host).as_ref() != self.redirects.at(&host) {
                self.stale.insert(host);
            }
        }
    }

    /// The VirtualServices that may claim hosts at the servers of a Gateway here. Of a certificate's own table not all that name
    /// the Gateway are looked at: there may be one per host.
    fn reaching<'i>(&self, gateway: &str, index: &'i Index) -> Vec<(&'i VirtualService, How)> {
        let is_tls = self.servers.first().is_some_and(|server| server.https_terms().is_some());
        let hosts = || self.servers_of.get(gateway).into_iter().flat_map(|own| own.by_host.keys());
        if !is_tls || hosts().any(Host::is_wildcard) || index.naming(gateway).next().is_none() {
            return index.reaching(gateway);
        }
        // Whoever shares a host with a Gateway that it names is routed there as listed.
        let bound = index.bound_for(gateway, hosts());
        bound.into_iter().map(|service| (service, How::Listed)).collect()
    }

    /// Enters the hosts that a Gateway which nobody names answers by no wider one.
    fn keep_apart(&mut self, gateway: &str, index: &Index) {
        let Some(adoption) = index.adoption(gateway) else { return };
        let servers = self.servers_of.get(gateway).map_or(&[][..], |own| &own.all);
        for (s, host) in servers.iter().flat_map(|s| adoption.apart.iter().map(move |h| (*s, h))) {
            let server = &self.servers[s];
            let has = server.names().any(|name| host.is_within(name));
            if has && server.https_terms().is_some() && self.borders.admits(host, server) {
                self.hosts.entry(host.clone()).or_default().apart.insert(s);
            }
        }
    }

    /// Replaces what a VirtualService claims (`None`: it is gone), at the Gateways that it reaches. Hosts that it comes to or
    /// leaves become stale, and all of its hosts where it says something else than before; answers whether there are any.
    pub(crate) fn set_service(
        &mut self,
        key: &ObjectKey,
        service: Option<&VirtualService>,
        reach: &[(Arc<str>, How)],
        says_else: bool,
        options: &Options,
    ) -> bool {
        let before = self.claimed_by.remove(key).unwrap_or_default();
        for (s, host) in &before {
            if let Some(claims) = self.hosts.get_mut(host) {
                claims.services.retain(|(server, _), claimant| server != s || claimant != key);
                if claims.is_empty() {
                    self.hosts.remove(host);
                }
            }
        }
        for (gateway, how) in reach {
            if let Some(service) = service {
                self.claim(service, gateway, how, options);
            }
        }
        let before: BTreeSet<(usize, Host)> = before.into_iter().collect();
        let now = self.claimed_by.get(key).into_iter().flatten().cloned();
        let now: BTreeSet<(usize, Host)> = now.collect();
        if says_else {
            self.stale.extend(before.into_iter().chain(now).map(|(_, host)| host));
        } else {
            self.stale.extend(before.symmetric_difference(&now).map(|(_, host)| host.clone()));
        }
        !self.stale.is_empty()
    }

    /// Makes the hosts of a VirtualService stale: something that its routes depend on changed.
    /// Answers whether there are any.
    pub(crate) fn touch(&mut self, key: &ObjectKey) -> bool {
        let claims = self.claimed_by.get(key);
        self.stale.extend(claims.into_iter().flatten().map(|(_, host)| host.clone()));
        claims.is_some()
    }

    /// Makes virtual hosts stale, by their names and domains: something besides objects of theirs changed. Answers whether
    /// there are any.
    pub(crate) fn touch_named(&mut self, fits: &dyn Fn(&str, &[String]) -> bool) -> bool {
        for group in self.groups.values() {
            let domains: Vec<String> = group.hosts.iter().map(|h| h.as_str().to_owned()).collect();
            if group.name.as_ref().is_some_and(|name| fits(name, &domains)) {
                self.stale.extend(group.hosts.iter().cloned());
            }
        }
        let own = self.own.iter().filter(|(name, host)| fits(name, &host.domains));
        self.stale_own.extend(own.map(|(name, _)| Arc::clone(name)));
        !self.stale.is_empty() || !self.stale_own.is_empty()
    }

    /// Enters a VirtualService under the hosts that it has at the servers of a Gateway.
    fn claim(&mut self, service: &VirtualService, gateway: &str, how: &How, options: &Options) {
        let Some(order) = &service.order else { return };
        let Some(servers) = self.servers_of.get(gateway) else { return };
        let sharing = match how {
            How::Unlisted | How::Adopted(_) => servers.all.iter().copied().collect(),
            How::Listed => servers.sharing(&service.hosts),
        };
        for s in sharing {
            let server = &self.servers[s];
            if !service.routes_requests(&Place::of(server), options) {
                continue;
            }
            for host in claimed(service, server, how) {
                if !self.borders.admits(&host, server) {
                    continue;
                }
                let claims = self.hosts.entry(host.clone()).or_default();
                claims.services.insert((s, order.clone()), service.key.clone());
                self.claimed_by.entry(service.key.clone()).or_default().push((s, host));
            }
        }
    }

    /// How a host is routed now; `None` when it is not one of the table's.
    fn routing(&self, host: &Host) -> Option<Routing> {
        let claims = self.hosts.get(host)?;
        let claimed = claims.services.keys().map(|(s, _)| *s);
        let others = claims.redirects.iter().chain(&claims.demanding).chain(&claims.apart).copied();
        let first = claimed.chain(others).min()?;
        let mut seen = HashSet::new();
        let mut routes = Vec::new();
        let mut https_redirect = !claims.redirects.is_empty();
        for ((s, _), key) in &claims.services {
            let server = &self.servers[*s];
            https_redirect |= server.redirects_to_https();
            // A Gateway may serve a host by several servers of one port; its routes count once.
            if seen.insert((&server.gateway, key)) {
                routes.push((Place::of(server), key.clone()));
            }
        }
        let guarded = self.borders.guards(host);
        Some(Routing { routes, https_redirect, guarded, port: self.servers[first].port })
    }

    /// Who redirects a host to https, and who loses its requests to them.
    fn redirect(&self, host: &Host) -> Option<Redirect> {
        let claims = self.hosts.get(host)?;
        Redirect::of(Row { claims, servers: &self.servers })
    }

    /// Takes the changes since the last time.
    pub(crate) fn settle(&mut self) -> Settled {
        let mut settled = Settled::default();
        let mut touched: HashSet<Arc<Routing>> = HashSet::new();
        for host in std::mem::take(&mut self.stale) {
            let lost = self.redirect(&host);
            settled.told.extend(self.redirects.set(&host, lost));
            let now = self.routing(&host).map(Arc::new);
            if let Some(before) = self.settled.remove(&host)
                && now.as_ref() != Some(&before)
            {
                if let Some(group) = self.groups.get_mut(&before) {
                    group.hosts.remove(&host);
                }
                touched.insert(before);
            }
            if let Some(now) = now {
                self.groups.entry(Arc::clone(&now)).or_default().hosts.insert(host.clone());
                self.settled.insert(host, Arc::clone(&now));
                touched.insert(now);
            }
        }
        for routing in touched {
            self.settle_group(routing, &mut settled);
        }
        settled.compile.sort_by(|a, b| a.name.cmp(&b.name));
        self.settle_own(&mut settled);
        settled
    }

    fn settle_group(&mut self, routing: Arc<Routing>, settled: &mut Settled) {
        let Some(group) = self.groups.get_mut(&routing) else { return };
        let first = group.hosts.first();
        let name = first.map(|h| Arc::from(names::virtual_host(h.as_str(), routing.port)));
        if group.name != name {
            settled.gone.extend(group.name.take());
        }
        let Some(name) = name else {
            self.groups.remove(&routing);
            return;
        };
        group.name = Some(Arc::clone(&name));
        let domains = group.hosts.iter().map(|h| h.as_str().to_owned()).collect();
        settled.compile.push(Shared { name, domains, routing });
    }

    fn settle_own(&mut self, settled: &mut Settled) {
        let now = self.own_hosts();
        let before = std::mem::replace(&mut self.own, now);
        let gone = before.keys().filter(|name| !self.own.contains_key(*name));
        settled.gone.extend(gone.cloned());
        let stale = std::mem::take(&mut self.stale_own);
        let new = self
            .own
            .iter()
            .filter(|(name, host)| before.get(*name) != Some(host) || stale.contains(*name));
        settled.own.extend(new.map(|(name, host)| (Arc::clone(name), host.clone())));
    }

    /// The virtual hosts that no VirtualService makes: 421 for hosts that other terms hold for; 404 where nothing else is
    /// left, and for the table's own hosts without routes that hosts on other terms would answer for.
    fn own_hosts(&self) -> BTreeMap<Arc<str>, OwnHost> {
        let mut own = BTreeMap::new();
        let Some(port) = self.servers.first().map(|server| server.port) else { return own };
        let Borders { misdirected, outside, .. } = &self.borders;
        let text = |host: &Host| host.as_str().to_owned();
        let mut unrouted: Vec<String> = Vec::new();
        if !misdirected.is_empty() {
            let domains = misdirected.iter().map(text).collect();
            let name = names::virtual_host(names::MISDIRECTED, port).into();
            own.insert(name, OwnHost { domains, status: 421 });
        }
        if !misdirected.is_empty() || self.borders.mixed {
            let shadowed = |host: &&Host| {
                outside.narrowest(host).is_some() || self.is_shadowed_on_other_terms(host)
            };
            let routed = |host: &&Host| self.settled.contains_key(*host);
            let left = self.borders.owned.keys().filter(|h| !routed(h) && shadowed(h));
            unrouted.extend(left.map(text));
        }
        let every = "*".to_owned();
        let free = !outside.contains(&Host::new("*")) && !unrouted.contains(&every);
        if self.settled.is_empty() && free {
            unrouted.push(every);
        }
        if !unrouted.is_empty() {
            let name = names::virtual_host(names::BLACKHOLE, port).into();
            own.insert(name, OwnHost { domains: unrouted, status: 404 });
        }
        own
    }

    /// Whether a wider host would answer for one of the table's own, though other terms hold for it.
    fn is_shadowed_on_other_terms(&self, host: &Host) -> bool {
        let Borders { inside, owned, mixed, .. } = &self.borders;
        let terms = |host: &Host| inside.narrowest(host).and_then(|own| owned.get(&own));
        let mut wider = host.patterns().skip(1).filter(|_| *mixed);
        let wider = wider.find(|wider| self.settled.contains_key(wider));
        wider.is_some_and(|wider| terms(&wider) != terms(host))
    }

    /// Every host that is answered, with those who do.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&Host, Row<'_>)> {
        let servers = &self.servers;
        self.hosts.iter().map(move |(host, claims)| (host, Row { claims, servers }))
    }

    /// The host of the table that holds every name of another, the narrowest of several.
    pub(super) fn narrowest(&self, host: &Host) -> Option<Host> {
        host.patterns().find(|pattern| self.hosts.contains_key(pattern))
    }

    /// Whether Gateways of a namespace answer in plain HTTP here.
    pub(super) fn is_plain_for(&self, namespace: &str) -> bool {
        let mut servers = self.servers.iter();
        servers.any(|server| server.class() == Class::Http && &*server.key.namespace == namespace)
    }

    /// Who loses requests to servers that redirect them.
    pub(crate) fn redirects(&self) -> &Redirects {
        &self.redirects
    }

    /// Whether requests for a host are all redirected to https, whoever asks for that.
    pub(crate) fn is_redirected(&self, host: &Host) -> bool {
        self.settled.get(host).is_some_and(|routing| routing.https_redirect)
    }

    /// The hosts that a VirtualService routes.
    pub(crate) fn claimed_hosts(&self, key: &ObjectKey) -> impl Iterator<Item = &Host> {
        self.claimed_by.get(key).into_iter().flatten().map(|(_, host)| host)
    }

    /// Its servers, the oldest first.
    pub(crate) fn servers(&self) -> &[Arc<Server>] {
        &self.servers
    }

    /// Whether any host is routed by a VirtualService.
    pub(crate) fn is_claimed_by(&self, key: &ObjectKey) -> bool {
        self.claimed_by.contains_key(key)
    }

    /// The VirtualServices that route any host.
    pub(crate) fn claimants(&self) -> impl Iterator<Item = &ObjectKey> {
        self.claimed_by.keys()
    }

    /// Every virtual host that was settled, for a table that goes away.
    pub(crate) fn names(&self) -> impl Iterator<Item = Arc<str>> {
        let groups = self.groups.values().filter_map(|g| g.name.clone());
        groups.chain(self.own.keys().cloned())
    }

    /// The domains of a virtual host, as it was settled.
    pub(crate) fn domains(&self, name: &str) -> Vec<String> {
        let own = || self.own.get(name).map(|own| own.domains.clone());
        self.shared(name).map(|shared| shared.domains).or_else(own).unwrap_or_default()
    }

    /// What decides a virtual host; `None` for one that no object made.
    pub(crate) fn routing_of(&self, name: &str) -> Option<&Routing> {
        let mut groups = self.groups.iter();
        groups.find(|(_, g)| g.name.as_deref() == Some(name)).map(|(routing, _)| &**routing)
    }

    /// A virtual host that VirtualServices make, as it was settled.
    pub(crate) fn shared(&self, name: &str) -> Option<Shared> {
        let mut groups = self.groups.iter();
        let (routing, group) = groups.find(|(_, g)| g.name.as_deref() == Some(name))?;
        let domains = group.hosts.iter().map(|h| h.as_str().to_owned()).collect();
        Some(Shared { name: name.into(), domains, routing: Arc::clone(routing) })
    }

    /// The VirtualServices and Gateways behind a virtual host.
    pub(crate) fn owners(&self, name: &str) -> Vec<ObjectKey> {
        match self.routing_of(name) {
            Some(routing) => routing.routes.iter().map(|(_, key)| key.clone()).collect(),
            None => self.servers.iter().map(|s| s.key.clone()).collect(),
        }
    }
}

/// The hosts that a VirtualService has at a server.
fn claimed(service: &VirtualService, server: &Server, how: &How) -> Vec<Host> {
    let namespace = &service.key.namespace;
    match how {
        How::Listed => server.hosts.shared_with(&service.hosts, namespace),
        How::Unlisted if server.class() == Class::Http && !server.redirects_to_https() => {
            service.hosts.clone()
        }
        How::Unlisted => Vec::new(),
        How::Adopted(taken) if server.https_terms().is_some() => {
            let shared = |host| server.hosts.shared_with(std::slice::from_ref(host), namespace);
            taken.iter().filter(|host| shared(host).contains(host)).cloned().collect()
        }
        How::Adopted(_) => Vec::new(),
    }
}
