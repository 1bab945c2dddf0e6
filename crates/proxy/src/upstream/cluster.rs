//! A cluster as the workers see it: where its endpoints are, how to talk to them, and what it may cost.

use std::io;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};

use super::dns::{Usage as NameUsage, Uses};
use super::dynamic::{self, Names};
pub use super::endpoints::{Endpoint, EndpointSet, Locality, Place};
use super::incident;
use super::membership::Membership;
use super::original::Originals;
use super::original::named::Named;
use super::outlier::{Cause, Outlier, Suspicion};
pub use super::proxy_header::ProxyHeader;
use super::recent::Recent;
pub use super::sharing::{Balancing, HashKey, Sharing};
pub use super::slow_start::SlowStart;
pub use super::source::Sources;
use super::unresolved::Unresolved;
use super::wrong_tls::{Mistake, Told, WrongTls};
use crate::http::head::Version;
use crate::remote::Remote;
use crate::tls::{Asks, ClientTls};

/// A name that routes point to. It outlives the clusters that fill it, so a route finds the current one
/// without a lookup, and a route to a cluster that is not there (yet) is an answer (`NC`), not a fault.
#[derive(Debug)]
pub struct ClusterSlot {
    /// Dense number: workers keep their per-cluster state in a vector by it.
    pub index: u32,
    /// The cluster's name.
    pub name: Arc<str>,
    current: ArcSwapOption<Cluster>,
}

impl ClusterSlot {
    /// A slot without a cluster.
    #[must_use]
    pub fn empty(index: u32, name: Arc<str>) -> Self {
        Self { index, name, current: ArcSwapOption::empty() }
    }

    /// The cluster that serves now.
    #[must_use]
    pub fn load(&self) -> Option<Arc<Cluster>> {
        self.current.load_full()
    }

    /// Whether `cluster` is still the one that serves; costs no reference count.
    #[must_use]
    pub fn is_current(&self, cluster: &Arc<Cluster>) -> bool {
        self.current.load().as_ref().is_some_and(|current| Arc::ptr_eq(current, cluster))
    }

    /// Replaces the cluster; connections of the old one finish what they have.
    pub fn store(&self, cluster: Option<Arc<Cluster>>) {
        if let Some(old) = self.current.swap(cluster) {
            old.retired.store(true, Ordering::Relaxed);
        }
    }
}

/// How endpoints are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// Listed in the cluster.
    Static,
    /// Every address of every name is an endpoint.
    StrictDns(Vec<DnsName>),
    /// One endpoint, dialled at the first address that the name has at that moment.
    LogicalDns(DnsName),
    /// From ClusterLoadAssignment resources of this service name.
    Eds(Arc<str>),
    /// Where the client dialled.
    Dialled {
        /// How long an address without connections is kept that is not dialled (`cleanup_interval`).
        cleanup: Duration,
        /// What takes the place of what was dialled; boxed, as few clusters have it.
        named: Option<Box<Named>>,
    },
    /// What clients ask for by name.
    Asked(dynamic::Policy),
}

/// A name to resolve and what its endpoints share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsName {
    /// The name.
    pub host: Arc<str>,
    /// Port of the endpoints.
    pub port: u16,
    /// Load-balancing weight of each address.
    pub weight: u32,
    /// Where its endpoints are.
    pub place: Arc<Place>,
}

/// Address families asked for, as Envoy's `dns_lookup_family`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DnsFamily {
    /// IPv6, and IPv4 only when there is none.
    #[default]
    Auto,
    /// IPv4 only.
    V4Only,
    /// IPv6 only.
    V6Only,
    /// IPv4, and IPv6 only when there is none.
    V4Preferred,
    /// Both.
    All,
}

/// How DNS clusters refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DnsPolicy {
    /// Families asked for.
    pub family: DnsFamily,
    /// Interval between lookups when TTLs are not respected or are zero.
    pub refresh: Duration,
    /// Whether the records' TTL sets the interval.
    pub respect_ttl: bool,
}

/// What is spoken to endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// HTTP/1.1
    #[default]
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// How HTTP connections to endpoints are used.
#[derive(Clone, Copy, Debug)]
pub struct HttpConnections {
    /// What is spoken; `None` for what the client speaks (`use_downstream_protocol_config`).
    pub protocol: Option<UpstreamProtocol>,
    /// How long an idle connection is kept; `None` for ever.
    pub idle_timeout: Option<Duration>,
    /// How old a connection becomes at most: an older one takes no further request. `None` for no limit.
    pub max_duration: Option<Duration>,
    /// Requests after which a connection is closed; `None` for no limit.
    pub max_requests: Option<u32>,
    /// Concurrent streams on an HTTP/2 connection.
    pub max_streams: u32,
    /// How HTTP/2 connections are asked whether they are alive; `None` for not at all.
    pub probe: Option<Probe>,
}

/// How an HTTP/2 connection is asked whether it is alive (`connection_keepalive`, RFC 9113 section 6.7).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probe {
    /// Time between PINGs.
    pub interval: Duration,
    /// Most that is added to an interval, as a share of it.
    pub jitter: f64,
    /// How long nothing at all may be heard of the endpoint after a PING.
    pub timeout: Duration,
}

impl Default for HttpConnections {
    /// Envoy's defaults.
    fn default() -> Self {
        Self {
            protocol: Some(UpstreamProtocol::Http1),
            idle_timeout: Some(Duration::from_secs(3600)),
            max_duration: None,
            max_requests: None,
            max_streams: 1024,
            probe: None,
        }
    }
}

impl HttpConnections {
    /// What is spoken for a client of a version.
    #[must_use]
    pub fn protocol_for(&self, client: Version) -> UpstreamProtocol {
        self.protocol.unwrap_or(match client {
            Version::Http2 => UpstreamProtocol::Http2,
            Version::Http10 | Version::Http11 => UpstreamProtocol::Http1,
        })
    }
}

/// What a cluster may use at most, over all workers (Envoy's circuit breakers, default priority).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections.
    pub connections: u32,
    /// Requests waiting for a connection.
    pub pending_requests: u32,
    /// Requests in flight.
    pub requests: u32,
    /// Retries in flight.
    pub retries: u32,
    /// Instead of `retries`, as many as the requests allow.
    pub retry_budget: Option<RetryBudget>,
}

/// Retries that requests allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    /// Share of the requests, in thousandths of a percent.
    pub share: u32,
    /// As many as this are allowed in any case.
    pub least: u32,
    /// The requests are those that were sent in this time; without it those that are in flight.
    pub interval: Option<Duration>,
}

impl Limits {
    /// Whether there may be only so many connections.
    #[must_use]
    pub fn bound_connections(&self) -> bool {
        self.connections < u32::MAX
    }

    /// The time whose requests count for retries, where it is not the moment.
    #[must_use]
    pub fn interval(&self) -> Option<Duration> {
        self.retry_budget?.interval
    }

    /// How many retries may be in flight beside so many requests.
    #[must_use]
    pub fn retries_beside(&self, requests: u32) -> u32 {
        match self.retry_budget {
            None => self.retries,
            Some(RetryBudget { share, least, .. }) => {
                let share = u64::from(requests) * u64::from(share) / 100_000;
                least.max(u32::try_from(share).unwrap_or(u32::MAX))
            }
        }
    }
}

impl Default for Limits {
    /// Envoy's defaults.
    fn default() -> Self {
        Self {
            connections: 1024,
            pending_requests: 1024,
            requests: 1024,
            retries: 3,
            retry_budget: None,
        }
    }
}

/// What is in use of [`Limits`], shared by all workers.
#[derive(Debug, Default)]
pub struct Usage {
    /// Open connections.
    pub connections: AtomicU32,
    /// Requests waiting for a connection.
    pub pending_requests: AtomicU32,
    /// Requests in flight.
    pub requests: AtomicU32,
    /// Retries in flight.
    pub retries: AtomicU32,
    /// Wakes who waits for a connection's place, in whichever worker, when one is given back.
    pub freed: Notify,
    /// Requests that wait for such a place in a worker that has no connection to the endpoint.
    pub starving: AtomicU32,
    /// HTTP/2 connections that take no streams for their sake.
    pub leaving: AtomicU32,
    /// Wakes those that could give way to them.
    pub asked: Notify,
}

/// What all forms of a cluster use of its limits, each of which counts what those before it still have; and which form it is.
#[derive(Clone, Debug, Default)]
pub struct InUse {
    all: Arc<Usage>,
    form: u32,
    /// What was sent lately in this form; forms may differ in how far back that goes.
    pub(super) recent: Arc<Recent>,
}

impl InUse {
    /// The same for the form that takes this one's place.
    #[must_use]
    pub fn next(&self) -> Self {
        let (all, form) = (Arc::clone(&self.all), self.form.saturating_add(1));
        Self { all, form, recent: Arc::default() }
    }

    /// The number of the form, which grows.
    pub(super) fn form(&self) -> u32 {
        self.form
    }
}

impl Deref for InUse {
    type Target = Usage;

    fn deref(&self) -> &Usage {
        &self.all
    }
}

/// TCP keep-alive probes; what is `None` is left to the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Probes without answer until the connection is dead.
    pub probes: Option<u32>,
    /// Time without a byte until the first probe.
    pub idle: Option<Duration>,
    /// Time between probes.
    pub interval: Option<Duration>,
}

impl Keepalive {
    /// Sets it on a connection; what is not said is the system's.
    pub(crate) fn apply(&self, io: &TcpStream) -> io::Result<()> {
        let mut settings = TcpKeepalive::new();
        if let Some(probes) = self.probes {
            settings = settings.with_retries(probes);
        }
        if let Some(idle) = self.idle {
            settings = settings.with_time(idle);
        }
        if let Some(interval) = self.interval {
            settings = settings.with_interval(interval);
        }
        SockRef::from(io).set_tcp_keepalive(&settings)
    }
}

/// How TLS is spoken to the endpoints of a cluster.
#[derive(Debug)]
pub struct Secure {
    /// The context.
    pub context: Arc<ClientTls>,
    /// Whether the server that is asked for is the request's host (`auto_sni`).
    pub auto_sni: bool,
    /// Whether the certificate must be for the request's host (`auto_san_validation`).
    pub auto_san: bool,
    /// The field that has TLS begin here, if the control plane told it.
    pub field: Option<Arc<str>>,
}

impl Secure {
    /// What is asked of an endpoint for requests to `host`; `speaks` is the ALPN protocol if the context
    /// names none.
    #[must_use]
    pub fn asks<'a>(
        &'a self,
        host: &'a str,
        remote: &Remote,
        speaks: Option<&'a [u8]>,
    ) -> Asks<'a> {
        // A connection that carries no requests has no host, and an address is no server name (RFC 6066, section 3).
        let named = self.auto_sni && !host.is_empty() && host.parse::<std::net::IpAddr>().is_err();
        Asks {
            server: if named { host } else { &self.context.sni },
            host: (self.auto_san && !host.is_empty()).then_some(host),
            session_key: remote.session_key(),
            speaks,
        }
    }
}

/// A cluster, compiled.
#[derive(Debug)]
pub struct Cluster {
    /// Its name.
    pub name: Arc<str>,
    /// Name under which it counts (`alt_stat_name`, else the name).
    pub stat_name: Arc<str>,
    /// How endpoints are found.
    pub discovery: Discovery,
    /// Refresh of DNS clusters.
    pub dns: DnsPolicy,
    /// Time to establish a connection.
    pub connect_timeout: Duration,
    /// How its endpoints share requests.
    pub sharing: Sharing,
    /// How HTTP connections are used.
    pub http: HttpConnections,
    /// Limits.
    pub limits: Limits,
    /// What is in use of them, also by the forms before.
    pub usage: InUse,
    /// Bytes buffered per connection before reading stops.
    pub buffer_limit: u32,
    /// Keep-alive probes on connections (`tcp_keepalive`); `None` for none.
    pub keepalive: Option<Keepalive>,
    /// The addresses that connections to endpoints come from (`upstream_bind_config`).
    pub sources: Sources,
    /// What connections to endpoints begin with, before TLS (`ProxyProtocolUpstreamTransport`).
    pub proxy_header: Option<ProxyHeader>,
    /// How TLS is spoken to endpoints; `None` when it is not.
    pub tls: Option<Secure>,
    /// Which endpoints are ejected, and why; `None` where none is.
    pub outlier: Option<Outlier>,
    /// The endpoints now.
    pub endpoints: ArcSwap<EndpointSet>,
    /// Set when another cluster has taken its place: workers then drop what they keep for it.
    pub retired: AtomicBool,
    /// The link between the workers that use the endpoints and whoever finds them.
    pub following: Following,
}

/// The link between the workers that use a cluster's endpoints and whoever finds them.
#[derive(Debug, Default)]
pub struct Following {
    changed: Notify,
    usage: OnceLock<Uses>,
    unresolved: OnceLock<Arc<Unresolved>>,
    membership: OnceLock<Arc<Membership>>,
    suspicions: OnceLock<mpsc::UnboundedSender<Suspicion>>,
    /// The endpoints of a cluster that sends to where clients dialled.
    originals: Originals,
    /// The names of a cluster that sends to what clients ask for.
    names: Names,
    told: Told,
    /// Held by whoever replaces the endpoints: those found, or who of them is ejected.
    replacing: Mutex<()>,
}

impl Following {
    fn replace(&self) -> MutexGuard<'_, ()> {
        self.replacing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cluster {
    /// Replaces the endpoints and wakes who waits for them.
    pub fn set_endpoints(&self, endpoints: EndpointSet) {
        let _alone = self.following.replace();
        self.replace_endpoints(endpoints);
    }

    /// Looks again which endpoints are ejected.
    pub fn reconsider(&self) {
        let _alone = self.following.replace();
        self.replace_endpoints(self.endpoints.load().again());
    }

    fn replace_endpoints(&self, endpoints: EndpointSet) {
        let now = Arc::new(endpoints.arranged(&self.sharing));
        let before = self.endpoints.swap(Arc::clone(&now));
        self.following.changed.notify_waiters();
        if let Some(membership) = self.membership() {
            membership.replaced(&before, &now);
        }
    }

    /// Says who is told of endpoints that may be outliers. Counts the first time only.
    pub fn report_to(&self, suspicions: mpsc::UnboundedSender<Suspicion>) {
        let _ = self.following.suspicions.set(suspicions);
    }

    /// Tells that an endpoint has reached a threshold.
    pub fn suspect(&self, endpoint: &Arc<Endpoint>, cause: Cause) {
        if let Some(suspicions) = self.following.suspicions.get() {
            let (cluster, endpoint) = (Arc::clone(&self.name), Arc::clone(endpoint));
            // Whoever decided is gone with the process.
            let _ = suspicions.send(Suspicion { cluster, endpoint, cause });
        }
    }

    /// Says who is told of TLS that is meant differently at its two ends. Counts the first time only.
    pub fn tell(&self, listener: incident::Listener) {
        self.following.told.by(listener);
    }

    /// A mistake with the TLS that its connections begin with; `None` where it is none: they begin with none, or nobody says that
    /// TLS of the client's is not to go inside of it.
    #[must_use]
    pub fn wrong_tls(&self, mistake: Mistake) -> Option<WrongTls> {
        let Secure { field, .. } = self.tls.as_ref()?;
        if field.is_none() && !mistake.is_of_endpoint() {
            return None;
        }
        Some(WrongTls { cluster: Arc::clone(&self.name), field: field.clone(), mistake })
    }

    /// The same, which is told in the log and to whoever listens.
    pub fn tell_wrong_tls(&self, mistake: Mistake) -> Option<WrongTls> {
        let wrong = self.wrong_tls(mistake)?;
        self.following.told.tell(&wrong);
        Some(wrong)
    }

    /// Says where changes of the endpoints count, from those it has now on. Counts the first time only.
    pub fn count_in(&self, membership: Arc<Membership>) {
        membership.replaced(&EndpointSet::default(), &self.endpoints.load());
        let _ = self.following.membership.set(membership);
    }

    /// The endpoints of a cluster that sends to where clients dialled: [`Self::endpoints`] has none then.
    #[must_use]
    pub fn originals(&self) -> &Originals {
        &self.following.originals
    }

    /// The names of a cluster that sends to what clients ask for: [`Self::endpoints`] has none then.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.following.names
    }

    /// Where changes of the endpoints count.
    #[must_use]
    pub fn membership(&self) -> Option<&Arc<Membership>> {
        self.following.membership.get()
    }

    /// Which of the cluster's names lead nowhere, once they are followed.
    #[must_use]
    pub fn unresolved(&self) -> &OnceLock<Arc<Unresolved>> {
        &self.following.unresolved
    }

    /// Says through what workers tell that they use the cluster's names. Counts the first time only.
    pub fn set_usage(&self, usage: Vec<NameUsage>) {
        let _ = self.following.usage.set(usage.into());
    }

    /// Notes that the cluster is used, and waits until its endpoints are known, for at most the time that connecting may take.
    /// Only the first requests after a cluster came ever wait, instead of failing, and those that come to names that have
    /// [rested](super::dns): for [a while](super::dns::STALE_AFTER), after which the addresses of before serve.
    pub async fn use_when_ready(&self) {
        let names = self.following.usage.get();
        let fresh = names.is_none_or(Uses::mark);
        if self.endpoints.load().ready {
            if let Some(names) = names.filter(|_| !fresh) {
                names.refreshed(self.connect_timeout).await;
            }
            return;
        }
        let known = async {
            loop {
                let changed = self.following.changed.notified();
                if self.endpoints.load().ready {
                    return;
                }
                changed.await;
            }
        };
        // Whether they are known in time is seen when one is picked.
        let _ = tokio::time::timeout(self.connect_timeout, known).await;
    }

    /// Whether its endpoints are being looked for, for the first time. Names that nobody has used yet are not.
    #[must_use]
    pub fn is_warming(&self) -> bool {
        !self.endpoints.load().ready && !self.following.usage.get().is_some_and(Uses::is_resting)
    }

    /// What of a request's authority its connections are made for: its host, or nothing.
    #[must_use]
    pub fn server<'a>(&self, authority: &'a [u8]) -> &'a str {
        match &self.tls {
            Some(secure) if secure.auto_sni || secure.auto_san => host(authority),
            _ => "",
        }
    }

    /// Whether another cluster has taken its place.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }
}

/// The host of an authority, without port and brackets.
fn host(authority: &[u8]) -> &str {
    let Ok(authority) = std::str::from_utf8(authority) else { return "" };
    if let Some((host, _)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return host;
    }
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}
