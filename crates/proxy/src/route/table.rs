//! The table of one route configuration, and the decision.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::filter::Overrides;
use crate::http::RequestHead;

use super::action::{Action, Direct, Route};
use super::host::DomainIndex;
use super::index::RouteIndex;
use super::matcher::{PathMatch, RouteMatch};
use super::mutation::Mutations;
use super::redirect::{Redirect, forwarded_scheme};
use super::succession;

/// So many routes are tried one after the other.
const FEW: usize = 4;

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub enum Decision<'t> {
    /// No virtual host has the request's authority: 404 `NR`.
    NoVirtualHost,
    /// The virtual host has no route for the request: 404 `NR`.
    NoRoute(&'t Arc<VirtualHost>),
    /// A route takes the request.
    Route {
        /// The virtual host.
        virtual_host: &'t Arc<VirtualHost>,
        /// The route.
        route: &'t Arc<Route>,
    },
}

/// A virtual host, compiled.
#[derive(Clone, Debug)]
pub struct VirtualHost {
    /// Its name.
    pub name: Arc<str>,
    /// Its domains, in lower case.
    pub domains: Vec<Box<str>>,
    /// Who is told in `x-envoy-attempt-count` which attempt it is.
    pub attempts: Attempts,
    routes: Vec<Arc<Route>>,
    /// None over a few routes: to try them is as quick, and a virtual host with one route is much smaller than an index.
    index: Option<Arc<RouteIndex>>,
    /// Who must use TLS, and where others are sent.
    tls: Option<(TlsRequirement, Arc<Route>)>,
}

/// Who is told how often a request was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// The endpoint (`include_request_attempt_count`).
    pub to_endpoint: bool,
    /// The client (`include_attempt_count_in_response`).
    pub to_client: bool,
}

/// Who must use TLS (`require_tls`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsRequirement {
    /// Requests from outside: those without `x-envoy-internal: true`.
    External,
    /// All.
    All,
}

impl VirtualHost {
    /// A virtual host; `domains` must be in lower case, `routes` in the order in which they are tried.
    #[must_use]
    pub fn new(name: Arc<str>, domains: Vec<Box<str>>, routes: Vec<Arc<Route>>) -> Self {
        let index = (routes.len() > FEW).then(|| Arc::new(RouteIndex::new(&routes)));
        Self { name, domains, attempts: Attempts::default(), routes, index, tls: None }
    }

    /// A virtual host that answers every request with a status.
    #[must_use]
    pub fn answering(name: Arc<str>, domains: Vec<Box<str>>, status: u16) -> Self {
        let answer = Action::Direct(Direct::new(status, ""));
        Self::new(name, domains, vec![Arc::new(of_all(answer))])
    }

    /// The same without one of its domains.
    #[must_use]
    pub fn without_domain(&self, place: usize) -> Self {
        let mut less = self.clone();
        if place < less.domains.len() {
            less.domains.remove(place);
        }
        less
    }

    /// The same, with plain requests sent to TLS.
    #[must_use]
    pub fn requiring_tls(self, requirement: Option<TlsRequirement>) -> Self {
        let tls = requirement.map(|requirement| (requirement, Arc::new(to_tls())));
        Self { tls, ..self }
    }

    /// The same, with attempts told.
    #[must_use]
    pub fn counting_attempts(self, attempts: Attempts) -> Self {
        Self { attempts, ..self }
    }

    /// Whether it refuses what no resource lets out of a workload.
    #[must_use]
    pub fn denies(&self) -> bool {
        self.routes.iter().any(|route| route.denies())
    }

    /// The routes in the order in which they are tried.
    #[must_use]
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// Its routes go on with what those of the form before have counted up: the buckets of their limits, and whose turn it
    /// is where they share requests by weight. Which are the same, `succession.rs` says.
    pub fn go_on(&self, before: &Self) {
        if self.routes.iter().any(|route| route.counts_up()) {
            for (now, old) in succession::pairs(&self.routes, &before.routes) {
                now.go_on(old);
            }
        }
    }

    /// The route that takes a request; `random` is the request's random number.
    #[must_use]
    pub fn route(&self, head: &RequestHead, random: u64) -> Option<&Arc<Route>> {
        if let Some((requirement, redirect)) = &self.tls
            && requirement.concerns(head)
        {
            return Some(redirect);
        }
        let number = match &self.index {
            Some(index) => index.first(&self.routes, head, random),
            None => self.routes.iter().position(|route| route.matcher.matches(head, random)),
        };
        number.map(|number| &self.routes[number])
    }
}

impl TlsRequirement {
    fn concerns(self, head: &RequestHead) -> bool {
        let internal = || head.headers.get(b"x-envoy-internal") == Some(b"true");
        forwarded_scheme(head) != b"https" && (self == Self::All || !internal())
    }
}

/// The route of requests that should have come over TLS. Header mutations do not touch it, as in Envoy.
fn to_tls() -> Route {
    of_all(Action::Redirect(Redirect::to_tls()))
}

/// A route that takes every request.
fn of_all(action: Action) -> Route {
    Route {
        name: "".into(),
        matcher: RouteMatch {
            path: PathMatch::Prefix(Box::default()),
            ignore_case: false,
            conditions: Vec::new(),
        },
        action,
        request_headers: Mutations::default(),
        response_headers: Mutations::default(),
        filters: Overrides::default(),
    }
}

/// The virtual hosts of one route configuration. Immutable: [`RouteTable::with`] makes the next table and
/// shares with it all that does not change.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    /// By number; `None` where a virtual host went.
    hosts: Vec<Option<Arc<VirtualHost>>>,
    /// Numbers by domain.
    domains: Arc<DomainIndex>,
    /// Numbers by key, for changes.
    keys: Arc<HashMap<Arc<str>, u32>>,
    ignore_port: bool,
}

/// What changes from a table to the next. Virtual hosts are told apart by keys that whoever makes the
/// table chooses, as their names need not be unique.
#[derive(Clone, Debug)]
pub enum HostChange {
    /// A new virtual host, or a new form of the one of this key.
    Put(Arc<str>, Arc<VirtualHost>),
    /// The virtual host of this key goes.
    Remove(Arc<str>),
}

/// A virtual host was refused because a domain can belong to one only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the virtual host {by} has the domain {domain} already; a domain belongs to one of them")]
pub struct DomainTaken {
    /// Key of the refused virtual host.
    pub key: Arc<str>,
    /// Place of the domain in its list.
    pub place: usize,
    /// The domain.
    pub domain: Box<str>,
    /// Name of the virtual host that has it.
    pub by: Arc<str>,
}

impl RouteTable {
    /// Where a request goes; `random` is the request's random number, the same for its whole life.
    #[must_use]
    pub fn decide(&self, head: &RequestHead, random: u64) -> Decision<'_> {
        let Some(virtual_host) = self.virtual_host(head.authority()) else {
            return Decision::NoVirtualHost;
        };
        match virtual_host.route(head, random) {
            Some(route) => Decision::Route { virtual_host, route },
            None => self.refused_tunnel(head).unwrap_or(Decision::NoRoute(virtual_host)),
        }
    }

    /// Where only what is described may go out, a tunnel that no route of its host takes may not, either: no prefix takes a request
    /// without a path.
    fn refused_tunnel(&self, head: &RequestHead) -> Option<Decision<'_>> {
        if !head.path().is_empty() {
            return None;
        }
        let virtual_host = self.hosts[self.domains.any()? as usize].as_ref()?;
        let route = virtual_host.routes.iter().rfind(|route| route.denies())?;
        Some(Decision::Route { virtual_host, route })
    }

    /// The virtual host of an authority.
    #[must_use]
    pub fn virtual_host(&self, authority: &[u8]) -> Option<&Arc<VirtualHost>> {
        let number = self.domains.find(authority, self.ignore_port)?;
        self.hosts[number as usize].as_ref()
    }

    /// Whether there is no virtual host.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.virtual_hosts().next().is_none()
    }

    /// Whether what it does not name is refused, as no resource lets it out of a workload.
    #[must_use]
    pub fn denies(&self) -> bool {
        self.virtual_hosts().any(|host| host.denies())
    }

    /// The same table without the virtual hosts that are not to be kept.
    #[must_use]
    pub fn retaining(&self, keep: impl Fn(&VirtualHost) -> bool) -> Self {
        let goes = |key: &&Arc<str>| self.by_key(key).is_some_and(|host| !keep(host));
        let gone = self.keys.keys().filter(goes).map(|key| HostChange::Remove(Arc::clone(key)));
        // Nothing claims a domain.
        self.with(gone.collect()).0
    }

    /// All virtual hosts.
    pub fn virtual_hosts(&self) -> impl Iterator<Item = &Arc<VirtualHost>> {
        self.hosts.iter().flatten()
    }

    /// The virtual host of a key.
    #[must_use]
    pub fn by_key(&self, key: &str) -> Option<&Arc<VirtualHost>> {
        self.hosts[*self.keys.get(key)? as usize].as_ref()
    }

    /// The same table, with ports in the authority ignored or not.
    #[must_use]
    pub fn ignoring_port(self, ignore_port: bool) -> Self {
        Self { ignore_port, ..self }
    }

    /// The table after changes, of which each key has one at most. They take effect together, so a domain may
    /// move from one virtual host to another; of two that claim the same one, the later in `changes` is
    /// refused and keeps its old form.
    #[must_use]
    pub fn with(&self, mut changes: Vec<HostChange>) -> (Self, Vec<DomainTaken>) {
        let mut refused: Vec<DomainTaken> = Vec::new();
        loop {
            match self.try_with(&changes) {
                Ok(table) => return (table, refused),
                Err(taken) => {
                    // An old form that stays may hold what others wanted: judge the rest again.
                    let lost: HashSet<_> = taken.iter().map(|taken| &taken.key).collect();
                    changes.retain(|change| !lost.contains(change.key()));
                    refused.extend(taken);
                }
            }
        }
    }

    fn try_with(&self, changes: &[HostChange]) -> Result<Self, Vec<DomainTaken>> {
        let mut next = self.clone();
        for change in changes {
            next.release(change);
        }
        let mut taken = Vec::new();
        for change in changes {
            if let HostChange::Put(key, host) = change {
                let same_domains = self.by_key(key).is_some_and(|old| old.domains == host.domains);
                taken.extend(next.put(key, host, same_domains));
            }
        }
        if taken.is_empty() { Ok(next) } else { Err(taken) }
    }

    /// Gives up the domains that a change will not keep.
    fn release(&mut self, change: &HostChange) {
        let (key, new) = match change {
            HostChange::Put(key, host) => (key, Some(host)),
            HostChange::Remove(key) => (key, None),
        };
        let Some(&number) = self.keys.get(key) else { return };
        let Some(old) = &self.hosts[number as usize] else { return };
        if new.is_none_or(|new| new.domains != old.domains) {
            let domains = Arc::make_mut(&mut self.domains);
            for domain in &old.domains {
                domains.remove(domain);
            }
        }
        if new.is_none() {
            self.hosts[number as usize] = None;
            Arc::make_mut(&mut self.keys).remove(key);
        }
    }

    /// Puts a virtual host, whose old domains have been given up unless they are the same.
    fn put(
        &mut self,
        key: &Arc<str>,
        host: &Arc<VirtualHost>,
        same_domains: bool,
    ) -> Option<DomainTaken> {
        let number = self.number(key);
        self.hosts[number as usize] = Some(Arc::clone(host));
        if same_domains {
            return None;
        }
        for (place, domain) in host.domains.iter().enumerate() {
            if let Err(there) = Arc::make_mut(&mut self.domains).insert(domain, number) {
                let by = self.hosts[there as usize].as_ref();
                let by = by.map_or_else(|| "".into(), |by| Arc::clone(&by.name));
                return Some(DomainTaken {
                    key: Arc::clone(key),
                    place,
                    domain: domain.clone(),
                    by,
                });
            }
        }
        None
    }

    /// The number of a key: its own, a free one or a new one.
    fn number(&mut self, key: &Arc<str>) -> u32 {
        if let Some(number) = self.keys.get(key) {
            return *number;
        }
        let free = if self.keys.len() < self.hosts.len() {
            self.hosts.iter().position(Option::is_none)
        } else {
            None
        };
        let number = free.unwrap_or_else(|| {
            self.hosts.push(None);
            self.hosts.len() - 1
        }) as u32;
        Arc::make_mut(&mut self.keys).insert(Arc::clone(key), number);
        number
    }
}

impl HostChange {
    /// The key of the virtual host that changes.
    #[must_use]
    pub fn key(&self) -> &Arc<str> {
        match self {
            Self::Put(key, _) | Self::Remove(key) => key,
        }
    }
}
