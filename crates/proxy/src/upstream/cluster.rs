//! A cluster as the workers see it: where its endpoints are, how to talk to them, and what it may cost.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::dns::Usage as NameUsage;
use super::membership::Membership;
use super::placement::Placement;
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
    /// Where the client dialled. Only asked about: no worker sends there yet.
    Dialled,
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

/// How an endpoint is picked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balancing {
    /// In turn.
    #[default]
    RoundRobin,
    /// The less busy of two random ones.
    LeastRequest,
    /// Any.
    Random,
    /// The next on a ring of hashes.
    RingHash {
        /// Fewest points on the ring.
        least: u64,
        /// Most points on the ring.
        most: u64,
        /// What is hashed of an endpoint.
        key: HashKey,
    },
    /// The one in Maglev's table.
    Maglev {
        /// Places in the table, a prime.
        size: u64,
        /// What is hashed of an endpoint.
        key: HashKey,
    },
}

/// What is hashed of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HashKey {
    /// Its address and port.
    #[default]
    Address,
    /// Its host name, where it has one.
    Hostname,
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
    /// Instead of `retries`, as many as the requests in flight allow.
    pub retry_budget: Option<RetryBudget>,
}

/// Retries that the requests in flight allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    /// Share of the requests in flight, in thousandths of a percent.
    pub share: u32,
    /// As many as this are allowed in any case.
    pub least: u32,
}

impl Limits {
    /// How many retries may be in flight beside so many requests.
    #[must_use]
    pub fn retries_beside(&self, requests: u32) -> u32 {
        match self.retry_budget {
            None => self.retries,
            Some(RetryBudget { share, least }) => {
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
}

impl Secure {
    /// What is asked of an endpoint for requests to `host`; `speaks` is the ALPN protocol if the context
    /// names none.
    #[must_use]
    pub fn asks<'a>(
        &'a self,
        host: &'a str,
        endpoint: SocketAddr,
        speaks: Option<&'a [u8]>,
    ) -> Asks<'a> {
        // An address is no server name (RFC 6066, section 3).
        let named = self.auto_sni && host.parse::<std::net::IpAddr>().is_err();
        Asks {
            server: if named { host } else { &self.context.sni },
            host: (self.auto_san && !host.is_empty()).then_some(host),
            endpoint,
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
    /// How an endpoint is picked.
    pub balancing: Balancing,
    /// What is spoken.
    pub protocol: UpstreamProtocol,
    /// Limits.
    pub limits: Limits,
    /// What is in use of them.
    pub usage: Usage,
    /// How long an idle connection is kept; `None` for ever.
    pub idle_timeout: Option<Duration>,
    /// Requests after which a connection is closed; `None` for no limit.
    pub max_requests_per_connection: Option<u32>,
    /// Concurrent streams on an HTTP/2 connection.
    pub max_concurrent_streams: u32,
    /// Bytes buffered per connection before reading stops.
    pub buffer_limit: u32,
    /// Keep-alive probes on connections (`tcp_keepalive`); `None` for none.
    pub keepalive: Option<Keepalive>,
    /// How TLS is spoken to endpoints; `None` when it is not.
    pub tls: Option<Secure>,
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
    usage: OnceLock<Vec<NameUsage>>,
    membership: OnceLock<Arc<Membership>>,
}

impl Cluster {
    /// Replaces the endpoints and wakes who waits for them.
    pub fn set_endpoints(&self, endpoints: EndpointSet) {
        let now = Arc::new(endpoints.placed(self.balancing));
        let before = self.endpoints.swap(Arc::clone(&now));
        self.following.changed.notify_waiters();
        if let Some(membership) = self.membership() {
            membership.replaced(&before, &now);
        }
    }

    /// Says where changes of the endpoints count, from those it has now on. Counts the first time only.
    pub fn count_in(&self, membership: Arc<Membership>) {
        membership.replaced(&EndpointSet::default(), &self.endpoints.load());
        let _ = self.following.membership.set(membership);
    }

    /// Where changes of the endpoints count.
    #[must_use]
    pub fn membership(&self) -> Option<&Arc<Membership>> {
        self.following.membership.get()
    }

    /// Says through what workers tell that they use the cluster's names. Counts the first time only.
    pub fn set_usage(&self, usage: Vec<NameUsage>) {
        let _ = self.following.usage.set(usage);
    }

    /// Notes that the cluster is used, and waits until its endpoints are known, for at most the time that
    /// connecting may take. Only the first requests after a cluster came ever wait, instead of failing.
    pub async fn use_when_ready(&self) {
        for name in self.following.usage.get().into_iter().flatten() {
            name.mark();
        }
        if self.endpoints.load().ready {
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

/// The endpoints of a cluster at one moment.
#[derive(Debug, Default)]
pub struct EndpointSet {
    /// Whether they are known: false until the first resolution or assignment.
    pub ready: bool,
    /// The endpoints, in the order given.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// Sum of their weights.
    pub total_weight: u64,
    /// Where hashes lead, for clusters that hash.
    pub placement: Option<Placement>,
}

impl EndpointSet {
    /// A known set.
    #[must_use]
    pub fn new(endpoints: Vec<Arc<Endpoint>>) -> Self {
        let total_weight = endpoints.iter().map(|endpoint| u64::from(endpoint.weight)).sum();
        Self { ready: true, endpoints, total_weight, placement: None }
    }

    /// The same, placed as the algorithm says.
    #[must_use]
    pub fn placed(mut self, balancing: Balancing) -> Self {
        self.placement = Placement::new(balancing, &self.endpoints);
        self
    }
}

/// One address behind a cluster. Kept (same `Arc`) when a new set has the same address, so that its
/// connections and counts live on.
#[derive(Debug)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// The name that led to the address, for logs and `auto_host_rewrite`.
    pub hostname: Option<Arc<str>>,
    /// Load-balancing weight, at least 1.
    pub weight: u32,
    /// Requests in flight over all workers.
    pub active: AtomicU32,
}

impl Endpoint {
    /// An endpoint without requests; a weight of 0 counts as 1.
    #[must_use]
    pub fn new(address: SocketAddr, hostname: Option<Arc<str>>, weight: u32) -> Self {
        Self { address, hostname, weight: weight.max(1), active: AtomicU32::new(0) }
    }

    /// Requests in flight over all workers.
    #[must_use]
    pub fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }
}
