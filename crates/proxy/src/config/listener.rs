//! A listener as the workers see it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::accesslog::Log;
use crate::config::ports::Ports;
use crate::filter::Filter;
use crate::http::client_cert::ForwardCert;
use crate::pipe::{Pipe, known};
use crate::rbac::NetworkRbac;
use crate::route::RouteTable;
use crate::shares::Shares;
use crate::tls::ServerTls;
use crate::upstream::ClusterSlot;
use crate::upstream::source::{ClientSource, Mark};

/// A listener, compiled.
#[derive(Debug)]
pub struct Listener {
    /// Its name.
    pub name: Arc<str>,
    /// Where it listens; [`crate::pipe::NOWHERE`] on a Unix socket.
    pub address: SocketAddr,
    /// The Unix socket that it listens on, and on nothing else.
    pub pipe: Option<Pipe>,
    /// Prefix of its stats (`stat_prefix`, else the address with `_` for `:`).
    pub stat_prefix: Arc<str>,
    /// Which chain takes a connection.
    pub chains: FilterChains,
    /// How long listener filters may wait for the first bytes; `None` for ever.
    pub inspect_timeout: Option<Duration>,
    /// Whether a connection that timed out in a listener filter goes on without its result.
    pub continue_on_inspect_timeout: bool,
    /// Bytes buffered per connection before reading stops.
    pub buffer_limit: u32,
    /// Where else (`additional_addresses`).
    pub more_addresses: Vec<SocketAddr>,
    /// How it comes to connections that were dialled elsewhere.
    pub capture: Capture,
    /// Which connections nobody looks into.
    pub unseen: Unseen,
    /// Whether it takes what comes in (`traffic_direction: INBOUND`), for draining by direction.
    pub inbound: bool,
    /// What is logged of connections that no chain takes; `None` for nothing.
    pub log: Option<Arc<Log>>,
}

impl Listener {
    /// All its addresses; none on a Unix socket.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        known(self.address).into_iter().chain(self.more_addresses.iter().copied())
    }

    /// Whether the first bytes of connections to this port are read before a chain is chosen.
    #[must_use]
    pub fn looks_at(&self, port: u16) -> bool {
        self.looks_for_tls(port) || self.looks_for_requests(port)
    }

    /// Whether the first bytes of connections to this port are read to find a ClientHello.
    #[must_use]
    pub fn looks_for_tls(&self, port: u16) -> bool {
        self.chains.needs_inspection && !self.unseen.tls.contains(port)
    }

    /// Whether the first bytes of connections to this port are read to find a request in plain text.
    #[must_use]
    pub fn looks_for_requests(&self, port: u16) -> bool {
        self.capture.finds_requests && !self.unseen.requests.contains(port)
    }
}

/// The ports to which connections are not looked into (`filter_disabled` of a listener filter).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unseen {
    /// Not for a ClientHello (`tls_inspector`).
    pub tls: Ports,
    /// Not for requests in plain text (`http_inspector`).
    pub requests: Ports,
}

/// How a listener comes to connections that were dialled elsewhere, and what it is to find out about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capture {
    /// Whether it listens itself (`bind_to_port`); else others hand connections on to it.
    pub bound: bool,
    /// Whether its sockets take connections that were dialled to any address, which packets keep (`transparent`).
    pub transparent: bool,
    /// Whether it hands connections on to the listener of the address that they were dialled to, where there is one
    /// (`use_original_dst`).
    pub hands_on: bool,
    /// Whether chains are asked with the address that was dialled (listener filter `original_dst`, or `use_original_dst`).
    pub restores: bool,
    /// Whether requests in plain text are told from other bytes before a chain is chosen (listener filter `http_inspector`):
    /// they count as application protocols `http/1.0`, `http/1.1` and `h2c`.
    pub finds_requests: bool,
    /// Whether what is sent on comes from the client's own address (listener filter `original_src`), and with which mark.
    pub keeps_source: Option<Mark>,
}

impl Capture {
    /// What connections to endpoints come from for a client at `peer`.
    #[must_use]
    pub fn source(&self, peer: SocketAddr) -> Option<ClientSource> {
        let (mark, peer) = self.keeps_source.zip(known(peer))?;
        Some(ClientSource { address: peer.ip().to_canonical(), mark })
    }
}

impl Default for Capture {
    fn default() -> Self {
        Self {
            bound: true,
            transparent: false,
            hands_on: false,
            restores: false,
            finds_requests: false,
            keeps_source: None,
        }
    }
}

/// The addresses of the listeners, one of which serves a connection that was dialled to `dialled` and is handed on, in the
/// order in which they are looked for: its own, then that of all addresses of its family with its port.
#[must_use]
pub fn handed_on_to(dialled: SocketAddr) -> [SocketAddr; 2] {
    let dialled = canonical(dialled);
    let every: IpAddr = match dialled {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    [dialled, SocketAddr::new(every, dialled.port())]
}

/// An address of IPv4 as such, also where it stands in IPv6, and without what only this machine means by it.
#[must_use]
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The filter chains of a listener, indexed by what the first bytes tell.
#[derive(Debug, Default)]
pub struct FilterChains {
    /// Whether a ClientHello must be read before a chain can be chosen (`tls_inspector` is configured and
    /// some chain asks for what it finds).
    pub needs_inspection: bool,
    /// The chains with their criteria; see [`FilterChains::find`] in `config/chains.rs`.
    pub chains: Vec<Arc<FilterChain>>,
    /// The chain for connections that match no other.
    pub default: Option<Arc<FilterChain>>,
    /// Index over `chains`.
    pub index: super::chains::Index,
}

/// One filter chain.
#[derive(Debug)]
pub struct FilterChain {
    /// Its name; empty when it has none.
    pub name: Arc<str>,
    /// Who may connect at all, asked before anything else.
    pub rbac: Vec<NetworkRbac>,
    /// What it does with a connection.
    pub filter: NetworkFilter,
    /// How TLS is terminated before; `None` when it is not.
    pub tls: Option<Arc<ServerTls>>,
    /// What it is but for what it does with requests, encoded: which connections it takes and how. Only chains for requests
    /// have any. One that follows another of the same terms goes on with its connections.
    pub terms: Option<Box<[u8]>>,
    /// Whether it refuses what may not go out; see [`crate::egress`].
    pub denies: bool,
    /// Where it refuses: what says which of all that is described counts.
    pub bounded_by: Option<Arc<str>>,
    /// The port by which workloads know the egress gateway that it is of: what it has no route for may not go out either.
    pub egress_port: Option<u16>,
    /// The names that have to lead to an address for it to go there, if it goes by that: hosts, and `*.` with a domain.
    pub led_by: Option<Box<[Box<str>]>>,
    /// Set when its connections are to close after what they are doing, though its listener has it still.
    pub discouraged: AtomicBool,
}

impl FilterChain {
    /// Whether it is for addresses to which this name leads.
    #[must_use]
    pub fn is_led_by(&self, name: &str) -> bool {
        let fits = |own: &str| match own.strip_prefix('*') {
            Some(suffix) => name.len() > suffix.len() && name.ends_with(suffix),
            None => name == own,
        };
        self.led_by.iter().flatten().any(|own| fits(own))
    }

    /// The HTTP connection manager, if it has one.
    #[must_use]
    pub fn manager(&self) -> Option<&HttpManager> {
        match &self.filter {
            NetworkFilter::Http(manager) => Some(manager),
            NetworkFilter::Tcp(_) => None,
        }
    }
}

/// The terminal network filter of a chain.
#[derive(Clone, Debug)]
pub enum NetworkFilter {
    /// HTTP connection manager.
    Http(Arc<HttpManager>),
    /// TCP proxy.
    Tcp(Arc<TcpProxy>),
}

/// TCP proxy, compiled.
#[derive(Debug)]
pub struct TcpProxy {
    /// Prefix of its stats.
    pub stat_prefix: Arc<str>,
    /// Where connections go: one cluster, or several by weight.
    pub clusters: Shares<Arc<ClusterSlot>>,
    /// Close after so long without a byte in either direction; `None` for never.
    pub idle_timeout: Option<Duration>,
    /// Close after so long in any case; `None` for never.
    pub max_duration: Option<Duration>,
    /// Connect attempts (`max_connect_attempts`), at least 1.
    pub connect_attempts: u32,
    /// The port at which hosts are dialled that clients name by SNI (`sni_dynamic_forward_proxy`).
    pub sni_port: Option<u16>,
    /// What is logged of each of them; `None` for nothing.
    pub log: Option<Arc<Log>>,
}

/// The routes of one name: swapped as a whole, read without a lock.
#[derive(Debug)]
pub struct RouteSlot {
    /// Name of the route configuration.
    pub name: Arc<str>,
    /// The table now. Until RDS has answered it is empty, which answers 404 `NR` as Envoy does.
    pub table: ArcSwap<RouteTable>,
}

/// Where an HTTP connection manager takes its routes from. The control side changes that in a chain that is there already:
/// requests see it at once, without a new chain.
#[derive(Debug)]
pub struct RouteSource(ArcSwap<Source>);

#[derive(Debug)]
enum Source {
    /// What fills this slot.
    Slot(Arc<RouteSlot>),
    /// What filled it at one moment, whatever becomes of it.
    Kept(Arc<RouteSlot>, Arc<RouteTable>),
}

impl RouteSource {
    /// What fills this slot.
    #[must_use]
    pub fn new(slot: Arc<RouteSlot>) -> Self {
        Self(ArcSwap::from_pointee(Source::Slot(slot)))
    }

    /// Takes routes from another slot from now on.
    pub fn follow(&self, slot: Arc<RouteSlot>) {
        self.0.store(Arc::new(Source::Slot(slot)));
    }

    /// Stays with the routes of this moment, whatever changes in the slot. Where what has no route may not go out, it goes on
    /// following: what is taken back is refused on connections that are open, too.
    pub fn keep(&self) {
        let kept = match &**self.0.load() {
            Source::Slot(slot) if slot.table.load().denies() => return,
            Source::Slot(slot) => Source::Kept(Arc::clone(slot), slot.table.load_full()),
            Source::Kept(..) => return,
        };
        self.0.store(Arc::new(kept));
    }

    /// The slot.
    #[must_use]
    pub fn slot(&self) -> Arc<RouteSlot> {
        match &**self.0.load() {
            Source::Slot(slot) | Source::Kept(slot, _) => Arc::clone(slot),
        }
    }

    /// The routes of this moment, looked at in place: no reference is counted.
    pub fn look<T>(&self, look: impl FnOnce(&Arc<RouteTable>) -> T) -> T {
        loop {
            let source = self.0.load();
            let slot = match &**source {
                Source::Slot(slot) => slot,
                Source::Kept(_, table) => return look(table),
            };
            let table = slot.table.load();
            // A slot is emptied once nobody points to it: one that is empty may have been left since it was looked up.
            if table.is_empty() && !Arc::ptr_eq(&self.0.load(), &source) {
                continue;
            }
            return look(&table);
        }
    }

    /// The routes of this moment.
    #[must_use]
    pub fn table(&self) -> Arc<RouteTable> {
        self.look(Arc::clone)
    }
}

/// What an HTTP connection manager does with `server` in responses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerHeader {
    /// Always ours.
    #[default]
    Overwrite,
    /// Ours when the origin sent none.
    AppendIfAbsent,
    /// The origin's, or none.
    PassThrough,
}

/// What happens to `%2F`, `%5C` in a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EscapedSlashes {
    /// Left as they are.
    #[default]
    Keep,
    /// 400.
    Reject,
    /// Decoded, and the client is redirected there.
    UnescapeAndRedirect,
    /// Decoded before matching.
    UnescapeAndForward,
}

/// Which ports are cut off the authority before matching, for good: they are not restored upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StripPort {
    /// None.
    #[default]
    Keep,
    /// The listener's own.
    Matching,
    /// Any.
    Any,
}

/// HTTP connection manager, compiled.
#[derive(Debug)]
pub struct HttpManager {
    /// Prefix of its stats, without `http.`.
    pub stat_prefix: Arc<str>,
    /// The routes.
    pub routes: RouteSource,
    /// What requests pass, in that order.
    pub filters: Vec<Filter>,
    /// Which protocols are accepted on plain text.
    pub codec: Codec,
    /// The `server` header's value.
    pub server_name: Box<[u8]>,
    /// What to do with it.
    pub server_header: ServerHeader,
    /// Value added to `via` in both directions; empty for none.
    pub via: Box<[u8]>,
    /// Whether the peer's address is the client's (`use_remote_address`): then `x-forwarded-for` is appended to,
    /// `x-forwarded-proto` is set by us and external `x-envoy-*` and `x-request-id` are not trusted.
    pub use_remote_address: bool,
    /// Trusted proxies in front of us (`xff_num_trusted_hops`).
    pub trusted_hops: u32,
    /// Whether `x-forwarded-for` is left as it came.
    pub skip_xff_append: bool,
    /// What happens to `x-forwarded-client-cert`.
    pub forward_cert: ForwardCert,
    /// Whether an `x-request-id` is made when missing or not trusted.
    pub generate_request_id: bool,
    /// Whether an external `x-request-id` is kept.
    pub preserve_external_request_id: bool,
    /// Whether `x-request-id` is put on responses too.
    pub request_id_in_response: bool,
    /// Whether Envoy's own headers (`x-envoy-upstream-service-time`, …) are left out (router `suppress_envoy_headers`).
    pub suppress_envoy_headers: bool,
    /// Paths normalised by RFC 3986 section 6 before matching.
    pub normalize_path: bool,
    /// Adjacent slashes merged before matching.
    pub merge_slashes: bool,
    /// What happens to escaped slashes.
    pub escaped_slashes: EscapedSlashes,
    /// Which ports are cut off the authority before matching.
    pub strip_port: StripPort,
    /// Whether a dot at the end of the request's host is cut off.
    pub strip_trailing_dot: bool,
    /// Whether HTTP/1.0 requests are accepted (426 otherwise).
    pub accept_http_10: bool,
    /// Largest request head, bytes.
    pub max_head: u32,
    /// Most header lines in a request.
    pub max_headers: u32,
    /// Requests after which a downstream connection is closed; `None` for no limit.
    pub max_requests_per_connection: Option<u32>,
    /// Close a connection without a request in flight after so long.
    pub idle_timeout: Option<Duration>,
    /// Close a connection after so long, draining first.
    pub max_connection_duration: Option<Duration>,
    /// How long a connection that is to close for its age still takes requests.
    pub drain_timeout: Duration,
    /// Close a stream after so long in any case; routes may override.
    pub max_stream_duration: Option<Duration>,
    /// Close a stream without progress in either direction after so long; routes may override.
    pub stream_idle_timeout: Option<Duration>,
    /// Time for a whole request (head and body) to arrive; 408 after.
    pub request_timeout: Option<Duration>,
    /// Time for a request's head to arrive; 408 after.
    pub request_headers_timeout: Option<Duration>,
    /// How long a connection stays open after we said that it closes, for the peer to read our answer.
    pub delayed_close_timeout: Duration,
    /// Upgrades accepted, in lower case (`websocket`); routes may override.
    pub upgrades: Vec<Box<str>>,
    /// HTTP/2 towards clients.
    pub h2: Http2Options,
    /// What is logged of each of them; `None` for nothing.
    pub log: Option<Arc<Log>>,
}

/// Which protocols a connection manager accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// By what the client sends first.
    #[default]
    Auto,
    /// HTTP/1 only.
    Http1,
    /// HTTP/2 only.
    Http2,
}

/// HTTP/2 settings towards clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2Options {
    /// Concurrent streams per connection.
    pub max_concurrent_streams: u32,
    /// Initial window of a stream, bytes.
    pub initial_stream_window: u32,
    /// Initial window of a connection, bytes.
    pub initial_connection_window: u32,
}

impl Default for Http2Options {
    /// Envoy's recommended edge settings.
    fn default() -> Self {
        Self {
            max_concurrent_streams: 100,
            initial_stream_window: 64 * 1024,
            initial_connection_window: 1024 * 1024,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::route::{HostChange, VirtualHost};

    /// How often the chain moves while requests look.
    const MOVES: usize = 20_000;

    #[test]
    fn whoever_looks_while_a_chain_moves_sees_its_routes() {
        let host = VirtualHost::answering("h".into(), vec!["*".into()], 200);
        let put = HostChange::Put("h".into(), Arc::new(host));
        let (full, _) = RouteTable::default().with(vec![put]);
        let full = Arc::new(full);
        let slot = || {
            let table = ArcSwap::new(Arc::clone(&full));
            Arc::new(RouteSlot { name: "r".into(), table })
        };
        let mut before = slot();
        let source = RouteSource::new(Arc::clone(&before));
        let over = AtomicBool::new(false);
        let look = || {
            while !over.load(Ordering::Relaxed) {
                assert!(!source.look(|table| table.is_empty()), "a request finds no route");
            }
        };
        std::thread::scope(|scope| {
            let looking = [scope.spawn(look), scope.spawn(look)];
            for _ in 0..MOVES {
                let next = slot();
                source.follow(Arc::clone(&next));
                before.table.store(Arc::default());
                before = next;
            }
            over.store(true, Ordering::Relaxed);
            for thread in looking {
                thread.join().expect("routes");
            }
        });
    }
}
