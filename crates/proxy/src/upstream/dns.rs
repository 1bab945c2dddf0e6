//! Names to addresses, for clusters that are found through DNS.
//!
//! One [`Resolver`] serves the process. It lives on the control runtime, and a request waits for it
//! only where it wants to (see [`Usage::refreshed_by`]). A cluster [watches](Resolver::watch) a name
//! and is told when its addresses change:
//!
//! - **One lookup for all.** Watches of the same name and address family share it, whatever their
//!   ports. It is refreshed at the pace of the most eager of them.
//! - **At the first use, then at the TTL**, within the bounds of [`WatchOptions`]. A little random
//!   time is added, so that names learnt together do not expire together.
//! - **The last good addresses serve on while the resolver fails** (timeout, SERVFAIL, REFUSED, no
//!   server), for ever; lookups are repeated with exponential backoff, and the error is visible in
//!   [`NameStatus`] (serve-stale, RFC 8767).
//! - **"There is no such name" is an answer, no failure.** Envoy empties a STRICT_DNS cluster at
//!   the first NXDOMAIN or empty answer (Envoy's "Service discovery": a successful resolution of 0
//!   hosts means no hosts) and keeps the last address of a LOGICAL_DNS cluster, as is done here;
//!   RFC 8767 too calls NXDOMAIN a refresh. Sending on to an address that its owner has given up is
//!   a leak, yet one wrong answer of a resolver that restarts must not cut live traffic. So for
//!   STRICT_DNS such an answer counts once it has been repeated for 30 s; see [`Negative`].
//! - **A name that nobody uses is left alone.** Workers [mark](Usage::mark) the names they use; one
//!   that was not used yet, or not for a while, is resolved at its next use only, as `resolution: DNS`
//!   is known for floods of lookups of idle hosts. (Envoy resolves it when its cluster comes, and
//!   for ever.) Whoever uses it then waits, for [`STALE_AFTER`] at most where addresses are known:
//!   none that outlived its TTL at rest is dialled unless the resolver does not answer.
//!
//! What never asks a server: IP addresses, `localhost` and names below it (RFC 6761, section 6.3;
//! the IPv4 loopback address, unless the family says otherwise), and names in `/etc/hosts`. That
//! file and `/etc/resolv.conf` are read again when they change.
//!
//! A name with a dot in it is absolute: it is asked for as it is, never with the search list behind
//! it. In a Kubernetes pod, with its five search domains and `ndots:5`, each lookup of an external
//! host would otherwise be six. The search list is for names without a dot.
//!
//! Known gaps: addresses only, no SRV; the lifetime of negative answers (RFC 2308) is not used, the
//! backoff decides; DNS over TLS or HTTPS is not offered.

mod connect_to;
mod counted;
mod entry;
mod hosts;
mod lookup;
mod schedule;
mod target;
mod uses;

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{AddrParseError, IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep};

pub use self::connect_to::{ConnectTo, ConnectToError};
use self::counted::Counted;
pub use self::entry::Usage;
use self::entry::{Entry, Snapshot, Taken};
pub use self::lookup::LookupError;
use self::lookup::{Lookup, System};
pub use self::schedule::{Backoff, Negative, WatchOptions};
use self::target::{Host, Name};
pub use self::uses::Uses;
use super::cluster::DnsFamily;
use crate::stats::{DnsStats, Stats};

/// How long the addresses of a name are remembered that nobody watches any more: a cluster that is
/// replaced, or taken away and put back, has addresses at once, and has them even when the resolver
/// fails just then.
const REMEMBERED: Duration = Duration::from_secs(60);

/// With so many names none is remembered that nobody watches: clients may choose names, and ever new ones.
const CROWDED: usize = 16 * 1024;

/// How long whoever uses a name that was at rest waits for its lookup, before the addresses of before serve: the client
/// response timer of RFC 8767, section 5.
pub const STALE_AFTER: Duration = Duration::from_millis(1800);

/// Lookups under way at a time; the rest wait for their turn.
const CONCURRENT_LOOKUPS: usize = 64;

/// Where names are looked up.
#[derive(Debug, Clone)]
pub struct DnsConfig {
    /// The servers to ask, in order, instead of those in `resolv_conf`.
    pub servers: Vec<SocketAddr>,
    /// Connections to redirect; the first rule that matches counts.
    pub connect_to: Vec<ConnectTo>,
    /// The system's resolver configuration. Its search list is used also when `servers` are given.
    pub resolv_conf: PathBuf,
    /// The system's table of hosts.
    pub hosts: PathBuf,
}

/// Resolves names for all clusters of the process. A clone is another handle of the same resolver.
#[derive(Clone)]
pub struct Resolver {
    shared: Arc<Shared>,
}

struct Shared {
    connect_to: Vec<ConnectTo>,
    lookup: Arc<dyn Lookup>,
    runtime: Handle,
    turns: Arc<Semaphore>,
    entries: Mutex<HashMap<Key, Arc<Entry>>>,
}

/// What is looked up once for all who ask.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    name: Name,
    family: DnsFamily,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        (self.family as u8).hash(state);
    }
}

/// A cluster's interest in a name; it ends when this is dropped.
pub struct Subscription {
    port: u16,
    options: WatchOptions,
    source: Source,
    /// What [`Subscription::changed`] returned last.
    told: Option<Resolution>,
    /// The lookups that [`Subscription::news`] has told of; `None` until it told something.
    counted: Option<Lookups>,
    /// The lookups that there were before the subscription.
    before: Lookups,
}

enum Source {
    /// Known from the start, and for ever.
    Fixed(Snapshot),
    Looked {
        updates: watch::Receiver<Snapshot>,
        registration: Registration,
    },
}

/// Keeps an entry alive and its options known.
struct Registration {
    resolver: Weak<Shared>,
    key: Key,
    entry: Arc<Entry>,
    id: u64,
    taken: Arc<Taken>,
}

/// The addresses of a name as a cluster sees them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolution {
    /// Whether the first lookup has ended, well or not. Until then a cluster is warming.
    pub ready: bool,
    /// The addresses with the port watched for: sorted and without duplicates, or with
    /// [`WatchOptions::first_only`] the first one that the server named.
    pub addresses: Vec<SocketAddr>,
}

/// Lookups that have ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lookups {
    /// All of them.
    pub attempts: u64,
    /// Those that were answered, with addresses or with the word that there are none.
    pub answered: u64,
}

/// What is new of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// The lookups since the last news.
    pub lookups: Lookups,
    /// The addresses now.
    pub resolution: Resolution,
    /// How the last lookup failed; `None` when it did not.
    pub failure: Option<LookupError>,
}

/// What is known of a name, for `/clusters` and the like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameStatus {
    /// The name.
    pub host: String,
    /// The family policy.
    pub family: DnsFamily,
    /// The addresses that serve, in the order of the last good answer.
    pub addresses: Vec<IpAddr>,
    /// How the last lookup failed; `None` when it did not.
    pub error: Option<LookupError>,
    /// When the last good answer came.
    pub resolved: Option<Instant>,
    /// Lookups made so far (Envoy's `update_attempt`).
    pub attempts: u64,
    /// Those of them that brought addresses. Envoy's `update_success` counts them and `empty`.
    pub successes: u64,
    /// Those of them that were answered without an address; the rest failed (`update_failure`).
    pub empty: u64,
    /// Whether the name rests until it is used again.
    pub resting: bool,
    /// How many watch it.
    pub watches: usize,
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            connect_to: Vec::new(),
            resolv_conf: "/etc/resolv.conf".into(),
            hosts: "/etc/hosts".into(),
        }
    }
}

/// Reads a DNS server as `--dns-server` names it: an IP address with or without a port, 53 by
/// default; an IPv6 address with a port stands in brackets.
///
/// # Errors
///
/// When it is neither.
pub fn parse_server(text: &str) -> Result<SocketAddr, AddrParseError> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    match bare.parse::<IpAddr>() {
        Ok(address) => Ok(SocketAddr::new(address, 53)),
        Err(_) => text.parse(),
    }
}

// === impl Resolver ===

impl Resolver {
    /// A resolver whose lookups run on `runtime` and count in `stats`.
    pub fn new(config: DnsConfig, stats: Stats<DnsStats>, runtime: Handle) -> Self {
        let lookup = System::new(config.servers, config.resolv_conf, config.hosts);
        let lookup = Counted::new(lookup, stats);
        Self::with_lookup(config.connect_to, Arc::new(lookup), runtime)
    }

    fn with_lookup(connect_to: Vec<ConnectTo>, lookup: Arc<dyn Lookup>, runtime: Handle) -> Self {
        let turns = Arc::new(Semaphore::new(CONCURRENT_LOOKUPS));
        let entries = Mutex::default();
        Self { shared: Arc::new(Shared { connect_to, lookup, runtime, turns, entries }) }
    }

    /// Where a connection to `host` and `port` goes in fact: elsewhere when a rule of
    /// [`DnsConfig::connect_to`] says so. [`Resolver::watch`] asks this itself.
    pub fn redirect<'a>(&'a self, host: &'a str, port: u16) -> (&'a str, u16) {
        let rules = &self.shared.connect_to;
        rules.iter().find_map(|rule| rule.apply(host, port)).unwrap_or((host, port))
    }

    /// Starts to watch `host`, a name or an IP address. The first lookup starts when it is [used](Subscription::usage); at once
    /// where it never [rests](WatchOptions::rest_after).
    pub fn watch(&self, host: &str, port: u16, options: WatchOptions) -> Subscription {
        let (host, port) = self.redirect(host, port);
        let source = match Host::parse(host) {
            Ok(Host::Address(address)) => Source::Fixed(Snapshot::fixed(vec![address])),
            Ok(Host::Loopback) => Source::Fixed(Snapshot::fixed(target::loopback(options.family))),
            Ok(Host::Name(name)) => {
                self.shared.register(Key { name, family: options.family }, options)
            }
            Err(error) => Source::Fixed(Snapshot::failed(error)),
        };
        let before = match &source {
            Source::Fixed(_) => Lookups::default(),
            Source::Looked { updates, .. } => updates.borrow().lookups(),
        };
        Subscription { port, options, source, told: None, counted: None, before }
    }

    /// What is known of each name that is watched, sorted by name.
    pub fn status(&self) -> Vec<NameStatus> {
        let entries = self.shared.entries();
        let mut all: Vec<NameStatus> = entries
            .iter()
            .filter(|(_, entry)| entry.is_watched())
            .map(|(key, entry)| entry.status(key))
            .collect();
        all.sort_unstable_by(|a, b| (&a.host, a.family as u8).cmp(&(&b.host, b.family as u8)));
        all
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("names", &self.shared.entries().len()).finish()
    }
}

impl Shared {
    fn register(self: &Arc<Self>, key: Key, options: WatchOptions) -> Source {
        let mut entries = self.entries();
        let entry = entries.entry(key.clone()).or_insert_with(|| {
            let lookup = Arc::clone(&self.lookup);
            Entry::start(key.clone(), lookup, Arc::clone(&self.turns), &self.runtime)
        });
        let (entry, id) = (Arc::clone(entry), entry.join(options));
        let updates = entry.updates();
        let (resolver, taken) = (Arc::downgrade(self), Arc::default());
        let registration = Registration { resolver, key, entry, id, taken };
        Source::Looked { updates, registration }
    }

    /// Forgets a name, unless somebody watches it.
    fn forget(&self, key: &Key) {
        let mut entries = self.entries();
        if entries.get(key).is_some_and(|entry| !entry.is_watched())
            && let Some(entry) = entries.remove(key)
        {
            entry.stop();
        }
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for entry in self.entries().values() {
            entry.stop();
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.taken.end();
        let Some(resolver) = self.resolver.upgrade() else { return };
        if !self.entry.leave(self.id) {
            return;
        }
        if resolver.entries().len() > CROWDED {
            resolver.forget(&self.key);
        } else {
            let forget = forget_later(Weak::clone(&self.resolver), self.key.clone());
            resolver.runtime.spawn(forget);
        }
    }
}

/// Forgets a name that nobody watches any more, unless somebody begins to before long.
async fn forget_later(resolver: Weak<Shared>, key: Key) {
    sleep(REMEMBERED).await;
    if let Some(resolver) = resolver.upgrade() {
        resolver.forget(&key);
    }
}

// === impl Subscription ===

impl Subscription {
    /// The addresses now.
    pub fn current(&self) -> Resolution {
        self.snapshot().seen_with(&self.options, self.port)
    }

    fn snapshot(&self) -> Snapshot {
        match &self.source {
            Source::Fixed(snapshot) => snapshot.clone(),
            Source::Looked { updates, .. } => updates.borrow().clone(),
        }
    }

    /// Waits until the first lookup has ended, which may have been before the subscription, then, each time,
    /// until more have. Nothing is lost when the future is dropped. Whoever asks for more has taken in what was told before:
    /// those who wait for a [refresh](Usage::refreshed_by) go on then.
    pub async fn news(&mut self) -> News {
        if let (Source::Looked { registration, .. }, Some(told)) = (&self.source, self.counted) {
            registration.taken.put(told.attempts);
        }
        loop {
            if let Source::Looked { updates, .. } = &mut self.source {
                updates.mark_unchanged();
            }
            let snapshot = self.snapshot();
            let resolution = snapshot.seen_with(&self.options, self.port);
            let all = snapshot.lookups();
            if resolution.ready && self.counted != Some(all) {
                let told = self.counted.replace(all).unwrap_or(self.before);
                let lookups = Lookups {
                    attempts: all.attempts - told.attempts,
                    answered: all.answered - told.answered,
                };
                return News { lookups, resolution, failure: snapshot.error() };
            }
            self.wait().await;
        }
    }

    /// Waits for the next lookup to end.
    async fn wait(&mut self) {
        let more = match &mut self.source {
            Source::Looked { updates, .. } => updates.changed().await.is_ok(),
            Source::Fixed(_) => false,
        };
        if !more {
            // There will be none.
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the first lookup has ended, then, each time, until the addresses are others than
    /// those returned before. Nothing is lost when the future is dropped.
    pub async fn changed(&mut self) -> Resolution {
        loop {
            let now = self.news().await.resolution;
            if self.told.as_ref() != Some(&now) {
                self.told = Some(now.clone());
                return now;
            }
        }
    }

    /// Through which workers tell that they use the name; `None` when there is nothing to refresh.
    pub fn usage(&self) -> Option<Usage> {
        match &self.source {
            Source::Fixed(_) => None,
            Source::Looked { registration, .. } => {
                Some(registration.entry.usage(&registration.taken))
            }
        }
    }

    /// How the last lookup failed; `None` when it did not.
    pub fn error(&self) -> Option<LookupError> {
        match &self.source {
            Source::Fixed(snapshot) => snapshot.error(),
            Source::Looked { updates, .. } => updates.borrow().error(),
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("current", &self.current()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
