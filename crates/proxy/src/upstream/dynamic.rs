//! Clusters whose endpoints are what clients ask for by name (Envoy's dynamic forward proxy): the host of a request, the server name
//! of a TLS connection.
//!
//! The proxy resolves the name itself, with the one resolver that there is, and dials what that says: the address that a client has
//! dialled makes no difference. Each name is resolved once for all workers; it is forgotten when nobody has used it for a while, and
//! there are only so many at a time. Refreshing, stale addresses and rest are the resolver's (`dns.rs`).
//!
//! Names are a client's to choose, within what routes let through. So a name that leads to the machine itself, to its link or to
//! nobody in particular is not followed: behind such addresses are services that trust whoever reaches them (the admin interface, a
//! cloud's metadata). Envoy follows them. Where the operator redirects a name ([`super::dns::DnsConfig::connect_to`]), it is.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::cluster::Endpoint;
use super::dns::{LookupError, News, Resolver, STALE_AFTER, Usage, WatchOptions};
use super::pool::Pool;

/// How names are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How many at most (`max_hosts`).
    pub max_hosts: usize,
    /// How long one is kept that nobody uses (`host_ttl`).
    pub host_ttl: Duration,
    /// A TTL below this is taken as this (`dns_min_refresh_rate`).
    pub min_ttl: Duration,
    /// What every name ends with, a dot and a domain, whatever routes let through; `None` for any name.
    pub within: Option<Arc<str>>,
    /// The port that is dialled, whatever clients say; `None` for theirs.
    pub port: Option<u16>,
    /// The port that is dialled where neither says one.
    pub default_port: u16,
}

/// What a client asks for: a name, in lower case and without a final dot, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Asked {
    host: Box<str>,
    port: u16,
}

/// Why there is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoEndpoint {
    /// Nothing was asked for.
    #[error("the client names no host, and so there is none to resolve")]
    Nameless,
    /// It is not one of those that the cluster is for.
    #[error("{0} is not within *{1}")]
    Outside(Box<str>, Arc<str>),
    /// There are as many names as there may be.
    #[error("{0} is not resolved: as many names are in use as there may be (max_hosts)")]
    TooMany(Box<str>),
    /// It was not resolved in time.
    #[error("{0} is not resolved yet")]
    Unknown(Box<str>),
    /// It is not resolved.
    #[error("{0} is not resolved: {1}")]
    Unresolved(Box<str>, LookupError),
    /// It has no address.
    #[error("{0} has no address")]
    Nowhere(Box<str>),
    /// Its address is none that clients may choose.
    #[error("{0} leads to {1}, an address of this machine or its link, and is not followed")]
    Inward(Box<str>, IpAddr),
}

impl NoEndpoint {
    /// Whether an endpoint is at our own address, where whoever asks has come already.
    ///
    /// # Errors
    /// [`Self::Inward`] if it is, but for the loopback addresses, at which only operators have us look.
    pub fn of_own(endpoint: &Endpoint, own: IpAddr) -> Result<(), Self> {
        match endpoint.address.socket() {
            Some(address) if address.ip() == own && !own.is_loopback() => {
                Err(Self::Inward(endpoint.hostname.as_deref().unwrap_or_default().into(), own))
            }
            _ => Ok(()),
        }
    }
}

/// The names of a cluster, over all workers. Locked when a worker meets a name that is new to it, or forgets one.
#[derive(Debug, Default)]
pub struct Names {
    all: Mutex<HashMap<Asked, Shared>>,
    finder: OnceLock<Finder>,
}

/// Who resolves names.
#[derive(Debug)]
struct Finder {
    resolver: Resolver,
    options: WatchOptions,
    runtime: Handle,
}

#[derive(Debug)]
struct Shared {
    name: Arc<Name>,
    /// In how many workers it is known.
    workers: usize,
}

/// A name that is being resolved, until this is dropped.
#[derive(Debug)]
struct Name {
    found: Arc<Found>,
    usage: Option<Usage>,
    task: AbortHandle,
}

/// What a name leads to.
#[derive(Debug, Default)]
struct Found {
    now: ArcSwapOption<Result<Arc<Endpoint>, NoEndpoint>>,
    changed: Notify,
}

impl Name {
    /// Where it leads, which is waited for where it is not known yet, or where the name has [rested](super::dns); `None` where it
    /// is not known in time.
    async fn leads_to(&self, patience: Duration) -> Option<Arc<Result<Arc<Endpoint>, NoEndpoint>>> {
        let fresh = self.usage.as_ref().is_none_or(Usage::mark);
        if let (false, Some(usage), true) = (fresh, &self.usage, self.found.is_known()) {
            usage.refreshed_by(Instant::now() + patience.min(STALE_AFTER)).await;
        }
        match self.found.now.load_full() {
            Some(now) => Some(now),
            None => tokio::time::timeout(patience, self.found.known()).await.ok(),
        }
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Policy {
    fn admit(&self, Asked { host, .. }: &Asked) -> Result<(), NoEndpoint> {
        match &self.within {
            Some(within) if !host.ends_with(&**within) => {
                Err(NoEndpoint::Outside(host.clone(), Arc::clone(within)))
            }
            _ => Ok(()),
        }
    }
}

impl Asked {
    /// What an authority asks for (RFC 9110 section 4.2), or a server name: a host, and a port if it says one. `None` where it
    /// names nobody.
    #[must_use]
    pub fn of(authority: &[u8], policy: &Policy) -> Option<Self> {
        let authority = std::str::from_utf8(authority).ok()?;
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']')?;
                (host, rest.strip_prefix(':'))
            }
            None => match authority.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let host = host.strip_suffix('.').unwrap_or(host);
        let said = port.map(str::parse).transpose().ok()?;
        let port = policy.port.or(said).unwrap_or(policy.default_port);
        (!host.is_empty()).then(|| Self { host: host.to_ascii_lowercase().into(), port })
    }
}

impl Names {
    /// Says who resolves names. Counts the first time only.
    pub fn resolve_with(&self, resolver: Resolver, options: WatchOptions, runtime: Handle) {
        let _ = self.finder.set(Finder { resolver, options, runtime });
    }

    /// The endpoints that names lead to now, by their names.
    #[must_use]
    pub fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        let endpoint = |shared: &Shared| match shared.name.found.now.load().as_deref() {
            Some(Ok(endpoint)) => Some(Arc::clone(endpoint)),
            _ => None,
        };
        let mut all: Vec<_> = self.all().values().filter_map(endpoint).collect();
        all.sort_by(|a, b| a.hostname.cmp(&b.hostname));
        all
    }

    /// How many names are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all().len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn enter(&self, asked: &Asked, policy: &Policy) -> Result<Arc<Name>, NoEndpoint> {
        let mut all = self.all();
        if let Some(shared) = all.get_mut(asked) {
            shared.workers += 1;
            return Ok(Arc::clone(&shared.name));
        }
        if all.len() >= policy.max_hosts {
            return Err(NoEndpoint::TooMany(asked.host.clone()));
        }
        let finder = self.finder.get().ok_or_else(|| NoEndpoint::Unknown(asked.host.clone()))?;
        let name = Arc::new(finder.start(asked));
        all.insert(asked.clone(), Shared { name: Arc::clone(&name), workers: 1 });
        Ok(name)
    }

    fn leave(&self, asked: &Asked) {
        let mut all = self.all();
        let Some(shared) = all.get_mut(asked) else { return };
        shared.workers -= 1;
        if shared.workers == 0 {
            all.remove(asked);
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Asked, Shared>> {
        // Every change is whole, whoever panicked.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Finder {
    fn start(&self, asked: &Asked) -> Name {
        let Asked { host, port } = asked;
        let trusted = self.resolver.redirect(host, *port) != (&**host, *port);
        let mut subscription = self.resolver.watch(host, *port, self.options);
        let usage = subscription.usage();
        let found = Arc::<Found>::default();
        let (told, host) = (Arc::clone(&found), host.clone());
        let task = self.runtime.spawn(async move {
            loop {
                let news = subscription.news().await;
                told.put(&host, &news, trusted);
            }
        });
        Name { found, usage, task: task.abort_handle() }
    }
}

impl Found {
    /// Takes what a lookup came to. An endpoint whose address is still there stays, and its connections with it.
    fn put(&self, host: &str, news: &News, trusted: bool) {
        let allowed = |address: &&SocketAddr| trusted || !leads_inward(address.ip());
        let addresses = &news.resolution.addresses;
        let before = self.now.load();
        let kept = match before.as_deref() {
            Some(Ok(endpoint)) => endpoint.address.socket().filter(|a| addresses.contains(a)),
            _ => None,
        };
        let address = kept.or_else(|| addresses.iter().find(allowed).copied());
        let found = match (address, addresses.first(), &news.failure) {
            (Some(address), ..) => Ok(address),
            (None, Some(inward), _) => Err(NoEndpoint::Inward(host.into(), inward.ip())),
            (None, None, Some(why)) => Err(NoEndpoint::Unresolved(host.into(), why.clone())),
            (None, None, None) => Err(NoEndpoint::Nowhere(host.into())),
        };
        let stays = kept.is_some()
            || matches!((before.as_deref(), &found), (Some(Err(before)), Err(now)) if before == now);
        if !stays {
            let endpoint = |address| Arc::new(Endpoint::new(address, Some(host.into()), 1));
            self.now.store(Some(Arc::new(found.map(endpoint))));
        }
        self.changed.notify_waiters();
    }

    fn is_known(&self) -> bool {
        self.now.load().is_some()
    }

    /// What is known, once something is.
    async fn known(&self) -> Arc<Result<Arc<Endpoint>, NoEndpoint>> {
        loop {
            let changed = self.changed.notified();
            if let Some(now) = self.now.load_full() {
                return now;
            }
            changed.await;
        }
    }
}

/// Whether an address is of the machine itself, of its link, or of nobody in particular.
fn leads_inward(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            v4.is_loopback()
                || v4.is_unspecified()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
        }
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_unicast_link_local()
                || v6.is_multicast()
        }
    }
}

/// A worker's connections to what its clients asked for.
#[derive(Debug, Default)]
pub struct LocalNames(RefCell<HashMap<Asked, Kept>>);

#[derive(Debug)]
struct Kept {
    name: Arc<Name>,
    pool: Option<Rc<Pool>>,
    used: Cell<Instant>,
}

impl Kept {
    /// Whether nobody has a connection of it, nor waits for one.
    fn is_free(&self) -> bool {
        let unused = |pool: &Rc<Pool>| Rc::strong_count(pool) == 1 && !pool.has_connections();
        self.pool.as_ref().is_none_or(unused)
    }

    fn close(&self) {
        if let Some(pool) = &self.pool {
            pool.close();
        }
    }
}

impl LocalNames {
    /// The pool for what a client asks for, made by `make` if need be, once the name is resolved: for at most `patience`.
    ///
    /// # Errors
    /// See [`NoEndpoint`].
    pub async fn pick(
        &self,
        asked: Asked,
        (names, policy): (&Names, &Policy),
        patience: Duration,
        make: impl FnOnce(Arc<Endpoint>) -> Pool,
    ) -> Result<Rc<Pool>, NoEndpoint> {
        policy.admit(&asked)?;
        let name = self.name(&asked, names, policy)?;
        let now = name.leads_to(patience).await;
        let now = now.ok_or_else(|| NoEndpoint::Unknown(asked.host.clone()))?;
        let endpoint = Result::as_ref(&now).map_err(Clone::clone)?;
        Ok(self.pool(&asked, endpoint, make))
    }

    fn name(&self, asked: &Asked, names: &Names, policy: &Policy) -> Result<Arc<Name>, NoEndpoint> {
        if let Some(kept) = self.0.borrow().get(asked) {
            kept.used.set(Instant::now());
            return Ok(Arc::clone(&kept.name));
        }
        let name = names.enter(asked, policy).or_else(|full| {
            // Those that this worker does not need just now make room.
            let before = names.len();
            self.forget(names, Kept::is_free);
            if names.len() < before { names.enter(asked, policy) } else { Err(full) }
        })?;
        let kept = Kept { name: Arc::clone(&name), pool: None, used: Cell::new(Instant::now()) };
        self.0.borrow_mut().insert(asked.clone(), kept);
        Ok(name)
    }

    /// The pool of an endpoint; that of the one before it is closed.
    fn pool(
        &self,
        asked: &Asked,
        endpoint: &Arc<Endpoint>,
        make: impl FnOnce(Arc<Endpoint>) -> Pool,
    ) -> Rc<Pool> {
        let mut all = self.0.borrow_mut();
        let kept = all.get_mut(asked);
        let same = |pool: &&Rc<Pool>| Arc::ptr_eq(&pool.endpoint, endpoint);
        if let Some(pool) = kept.as_ref().and_then(|kept| kept.pool.as_ref()).filter(same) {
            return Rc::clone(pool);
        }
        let pool = Rc::new(make(Arc::clone(endpoint)));
        // It may have been forgotten while it was waited for.
        if let Some(kept) = kept {
            kept.close();
            kept.pool = Some(Rc::clone(&pool));
        }
        pool
    }

    /// Closes connections that have been idle for too long, and forgets names that nobody has used for too long.
    pub fn sweep(&self, now: Instant, idle: Option<Duration>, (names, policy): (&Names, &Policy)) {
        for pool in self.0.borrow().values().filter_map(|kept| kept.pool.as_ref()) {
            pool.sweep(now, idle);
        }
        let old = |kept: &Kept| now.duration_since(kept.used.get()) >= policy.host_ttl;
        self.forget(names, |kept| old(kept) && kept.is_free());
    }

    /// Closes all.
    pub fn close(&self, names: &Names) {
        self.forget(names, |_| true);
    }

    fn forget(&self, names: &Names, which: impl Fn(&Kept) -> bool) {
        self.0.borrow_mut().retain(|asked, kept| {
            let goes = which(kept);
            if goes {
                kept.close();
                names.leave(asked);
            }
            !goes
        });
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests;
