//! Egress that is denied: who asked for what, so that people can see it.
//!
//! A control plane marks the chains and routes at which traffic ends that nothing describes
//! ([`tidegate_envoy::mark`]). What ends there is counted by its worker and handed to one task, through a buffer with a bound, which
//! keeps a list with a bound, writes the log and tells whoever asked for it. The request path takes no lock and waits for
//! nobody; what does not fit is counted.

mod list;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tidegate_dns::DnsProxy;
use tokio::sync::{mpsc, watch};

use crate::config::listener::FilterChain;
use crate::http::chain::Client;
use crate::pipe::known;
use crate::stats::{EgressStats, Scope, Stats};
use crate::upstream::incident::{self, Incident};

pub use self::list::Denied;
use self::list::{Line, List};

/// Refusals that wait to be listed at most.
const WAITING: usize = 1024;

/// The port of a Host that names none.
const DEFAULT_HTTP_PORT: u16 = 80;

/// The longest name of a host, bytes (RFC 1035 section 2.3.4).
const LONGEST_NAME: usize = 253;

/// Which names led a workload to an address, as far as that is known.
#[derive(Clone, Default)]
pub(crate) struct Names(Option<Arc<dyn Led>>);

/// Who knows which names led a workload to an address.
trait Led: Send + Sync {
    /// The one that it asked for last.
    fn name_of(&self, address: IpAddr) -> Option<Arc<str>>;

    /// Whether one that fits did.
    fn led_by(&self, address: IpAddr, fits: &dyn Fn(&str) -> bool) -> bool;
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Asked {
    /// A request, by its Host.
    Http,
    /// A TLS connection, by its server name.
    Tls,
    /// A connection, by its address.
    Tcp,
}

/// One refusal.
#[derive(Debug)]
pub(crate) struct Refusal {
    asked: Asked,
    name: Option<Box<str>>,
    destination: SocketAddr,
    source: IpAddr,
    at_gateway: bool,
    bounded_by: Option<Arc<str>>,
}

/// Where something is refused.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct At<'a> {
    /// The port by which workloads know the gateway, if it is at one.
    pub gateway: Option<u16>,
    /// What says which of all that is described counts there.
    pub bounded_by: Option<&'a Arc<str>>,
}

impl<'a> At<'a> {
    /// At a gateway that workloads know by this port, if by any.
    pub fn gateway(gateway: Option<u16>) -> Self {
        Self { gateway, bounded_by: None }
    }

    /// Beside a workload.
    pub fn bounded(bounded_by: Option<&'a Arc<str>>) -> Self {
        Self { gateway: None, bounded_by }
    }
}

/// Where a worker hands in what it refuses.
#[derive(Debug)]
pub struct Desk {
    stats: Stats<EgressStats>,
    post: Option<Post>,
}

/// What a worker knows of egress that is denied beyond what it is told by its configuration.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    refusals: mpsc::Sender<Refusal>,
    names: Names,
}

/// What has been refused.
#[derive(Debug, Default)]
pub struct Register {
    list: Mutex<List>,
    /// Told of each change.
    news: watch::Sender<()>,
}

/// Both ends of a register that is not kept yet.
#[derive(Debug)]
pub(crate) struct Office {
    sender: mpsc::Sender<Refusal>,
    receiver: mpsc::Receiver<Refusal>,
}

impl Office {
    pub fn new() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self { sender, receiver }
    }

    /// What workers have of it; `names` are those that led their clients.
    pub fn post(&self, names: Names) -> Post {
        Post { refusals: self.sender(), names }
    }

    /// What workers hand their refusals to.
    pub fn sender(&self) -> mpsc::Sender<Refusal> {
        self.sender.clone()
    }

    /// Keeps the register until no worker is left. `stats` are those of the control side.
    pub async fn keep(
        self,
        register: Arc<Register>,
        names: Names,
        stats: Stats<EgressStats>,
        told: Option<incident::Listener>,
    ) {
        let Self { sender, mut receiver } = self;
        drop(sender);
        while let Some(refusal) = receiver.recv().await {
            let name = match (&refusal.name, refusal.asked) {
                (None, Asked::Tcp) => names.of(refusal.destination.ip()),
                (name, _) => name.as_deref().map(Arc::from),
            };
            let (shown, gone) = register.list().add(&refusal, name, SystemTime::now());
            register.news.send_replace(());
            stats.unlisted.add(gone);
            let denied = match shown {
                None => continue,
                Some(Line::Denied(denied)) => denied,
                Some(Line::Enough) => {
                    tracing::warn!(
                        "egress denied: so much that this log has no more lines of it for up to a minute: `tidegate egress \
                         denied` lists it"
                    );
                    continue;
                }
            };
            tracing::warn!("{denied}");
            if let Some(told) = &told {
                // Whoever is gone need not know.
                let _ = told.send(Incident::Egress(denied));
            }
        }
    }
}

impl Desk {
    /// The desk of a worker; what it counts is in `stats`.
    pub(crate) fn new(stats: &Scope, post: Option<Post>) -> Self {
        Self { stats: stats.egress(), post }
    }

    /// Whether a connection to an address is not for this chain, as no name of the chain led the workload there. Asked once for a
    /// connection, where the chain says so alone: who answers queries and who asks here share a lock.
    pub(crate) fn is_astray(&self, chain: &FilterChain, address: IpAddr) -> bool {
        let names =
            chain.led_by.as_ref().and(self.post.as_ref()).and_then(|post| post.names.0.as_ref());
        names.is_some_and(|names| !names.led_by(address, &|name| chain.is_led_by(name)))
    }

    /// Notes that a client was refused what it asked for by this name, if by any.
    pub(crate) fn denied(
        &self,
        asked: Asked,
        name: Option<&[u8]>,
        client: &Client,
        At { gateway, bounded_by }: At<'_>,
    ) {
        match asked {
            Asked::Http => self.stats.denied_http.inc(),
            Asked::Tls => self.stats.denied_tls.inc(),
            Asked::Tcp => self.stats.denied_tcp.inc(),
        }
        let Some(Post { refusals, .. }) = &self.post else { return };
        // What comes through a Unix socket says itself for which port it is.
        let port = match known(client.local) {
            Some(local) => local.port(),
            None => name.and_then(port_of).unwrap_or(DEFAULT_HTTP_PORT),
        };
        let refusal = Refusal {
            asked,
            name: name.and_then(host),
            destination: SocketAddr::new(client.local.ip(), gateway.unwrap_or(port)),
            source: client.peer.ip().to_canonical(),
            at_gateway: gateway.is_some(),
            bounded_by: bounded_by.cloned(),
        };
        if refusals.try_send(refusal).is_err() {
            self.stats.unlisted.inc();
        }
    }
}

impl Register {
    /// What was refused, the latest first.
    #[must_use]
    pub fn denied(&self) -> Vec<Denied> {
        self.list().denied()
    }

    /// Tells that there are more of them. Only the newest change counts, so that who is slow misses none.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    /// The list, which only changes as a whole.
    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Names {
    /// Names by which a DNS proxy led clients.
    pub(crate) fn of_dns(proxy: &Arc<DnsProxy>) -> Self {
        Self(Some(Arc::clone(proxy) as Arc<dyn Led>))
    }

    fn of(&self, address: IpAddr) -> Option<Arc<str>> {
        self.0.as_ref().and_then(|names| names.name_of(address))
    }
}

impl Led for DnsProxy {
    fn name_of(&self, address: IpAddr) -> Option<Arc<str>> {
        Self::name_of(self, address)
    }

    fn led_by(&self, address: IpAddr, fits: &dyn Fn(&str) -> bool) -> bool {
        Self::led_by(self, address, fits)
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Names").field(&self.0.is_some()).finish()
    }
}

impl Asked {
    /// Its name in Istio's words for protocols of ports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Tls => "TLS",
            Self::Tcp => "TCP",
        }
    }
}

/// The port that a Host names.
fn port_of(name: &[u8]) -> Option<u16> {
    std::str::from_utf8(name).ok()?.rsplit_once(':')?.1.parse().ok()
}

/// The host in an authority or a server name, in lower case, without its port; none where it is no name, but an address or what
/// nobody can be called.
fn host(name: &[u8]) -> Option<Box<str>> {
    let name = std::str::from_utf8(name).ok()?;
    let name = match name.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => name,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let label = |label: &str| !label.is_empty() && label.len() <= 63 && label.bytes().all(letters);
    let fits = name.len() <= LONGEST_NAME && name.split('.').all(label);
    (fits && name.parse::<IpAddr>().is_err()).then(|| name.to_ascii_lowercase().into())
}

#[cfg(test)]
mod tests;
