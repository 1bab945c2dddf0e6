//! A listener in one worker: accepts, looks at the first bytes, chooses a filter chain, serves.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use tokio::net::{TcpListener, TcpStream};

use super::terminate::terminate;
use crate::accesslog::{Field, Kind, Record, ResponseFlags};
use crate::buffer::Buffer;
use crate::config::chains::ConnectionFacts;
use crate::config::listener::{FilterChain, Listener, NetworkFilter};
use crate::http;
use crate::http::Session;
use crate::http::chain::{Client, HttpChain};
use crate::http::h1::Conn;
use crate::io::Io;
use crate::rbac::{Asked, Counts, Denied};
use crate::stats::{ListenerStats, Stats};
use crate::tcp::filter::TcpChain;
use crate::tls::{ClientHello, InspectorLimits, Malformed, Verdict, inspect};
use crate::worker::{Registration, Worker};

/// How long accepting pauses when the process has no descriptor or memory left for a connection.
const PAUSE: Duration = Duration::from_millis(50);

/// A listener as one worker serves it. Its configuration can be replaced while it accepts.
#[derive(Debug)]
pub struct LocalListener {
    worker: Rc<Worker>,
    current: RefCell<Rc<Current>>,
}

/// One form of the configuration, with the chains made ready for this worker.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) listener: Arc<Listener>,
    pub(super) stats: Stats<ListenerStats>,
    chains: Vec<Served>,
}

/// A chain, made ready.
#[derive(Clone, Debug)]
struct Served {
    chain: Arc<FilterChain>,
    handler: Handler,
    /// The counts of its RBAC filters, in their order.
    rbac: Rc<[Counts]>,
}

/// What serves the connections of a chain.
#[derive(Clone, Debug)]
enum Handler {
    Http(Rc<HttpChain>),
    Tcp(Rc<TcpChain>),
}

impl LocalListener {
    /// A listener that serves `listener`.
    #[must_use]
    pub fn new(worker: Rc<Worker>, listener: Arc<Listener>) -> Self {
        let current = RefCell::new(Rc::new(Current::new(&worker, listener, &[])));
        Self { worker, current }
    }

    /// Serves another form of the listener from now on. Chains that it shares with the one before keep
    /// their connections; those of chains that are gone close after what they are doing.
    pub fn update(&self, listener: Arc<Listener>) {
        let next = Current::new(&self.worker, listener, &self.current.borrow().chains);
        *self.current.borrow_mut() = Rc::new(next);
        self.worker.connections.close_idle(is_retired);
    }

    /// The listener is gone: its connections close after what they are doing.
    pub fn retire(&self) {
        let current = self.current.borrow();
        for Served { chain, .. } in &current.chains {
            chain.retired.store(true, Ordering::Relaxed);
        }
        self.worker.connections.close_idle(is_retired);
    }

    /// Accepts until the task is ended.
    pub async fn accept(self: Rc<Self>, socket: TcpListener) {
        loop {
            match socket.accept().await {
                Ok((io, peer)) => {
                    self.start(io, peer);
                }
                // The connection was gone before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections, pausing");
                    self.current.borrow().stats.downstream_global_cx_overflow.inc();
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn start(self: &Rc<Self>, io: TcpStream, peer: SocketAddr) {
        let current = Rc::clone(&self.current.borrow());
        let worker = Rc::clone(&self.worker);
        // One that is refused is closed, and need not wait in the queue.
        let Some(place) = worker.places.take() else {
            current.stats.downstream_global_cx_overflow.inc();
            return;
        };
        // Answers are written whole; waiting for more would only delay them.
        let (Ok(()), Ok(local)) = (io.set_nodelay(true), io.local_addr()) else {
            return;
        };
        let id = worker.connection_id();
        let client = Client { peer, local, id, server_name: None, tls: None, place };
        current.stats.downstream_cx_total.inc();
        if let (false, [only]) = (current.listener.chains.needs_inspection, &current.chains[..])
            && current.listener.chains.find(&facts(&client, None, &[])).is_some()
        {
            let place = worker.connections.register();
            spawn(&worker, current.clone(), only.clone(), io, (None, None), (client, place));
            return;
        }
        let place = worker.connections.register();
        // Nothing is asked of it yet.
        place.set_idle(true);
        let key = place.key();
        let task = choose(Rc::clone(self), current, io, (client, place));
        worker.connections.set_task(key, tokio::task::spawn_local(task).abort_handle());
    }
}

impl Current {
    fn new(worker: &Rc<Worker>, listener: Arc<Listener>, before: &[Served]) -> Self {
        let chains = listener.chains.chains.iter().chain(&listener.chains.default);
        let chains = chains
            .map(|chain| {
                let kept = before.iter().find(|served| Arc::ptr_eq(&served.chain, chain));
                kept.cloned().unwrap_or_else(|| Served::new(worker, &listener, chain))
            })
            .collect();
        Self { stats: worker.stats.listener(&listener.stat_prefix), listener, chains }
    }
}

impl Served {
    fn new(worker: &Rc<Worker>, listener: &Listener, chain: &Arc<FilterChain>) -> Self {
        let counts = |filter| Counts::of_network(&worker.stats, filter);
        Self {
            chain: Arc::clone(chain),
            handler: Handler::new(worker, listener, chain),
            rbac: chain.rbac.iter().map(counts).collect(),
        }
    }

    /// Whether its RBAC filters can judge a client only after the handshake.
    fn judges_late(&self) -> bool {
        self.chain.tls.is_some() && self.chain.rbac.iter().any(|filter| filter.needs_handshake)
    }

    /// Asks the RBAC filters whether a client may connect.
    fn admit(&self, client: &Client) -> Result<(), Denied> {
        let asked = Asked::of(client, client.peer.ip(), None);
        let mut filters = self.chain.rbac.iter().zip(&self.rbac[..]);
        filters.try_for_each(|(filter, counts)| filter.set.judge(&asked, counts))
    }
}

impl Handler {
    fn new(worker: &Rc<Worker>, listener: &Listener, chain: &Arc<FilterChain>) -> Self {
        match &chain.filter {
            NetworkFilter::Http(manager) => Self::Http(Rc::new(HttpChain::new(
                Rc::clone(worker),
                listener,
                Arc::clone(chain),
                Arc::clone(manager),
            ))),
            NetworkFilter::Tcp(proxy) => Self::Tcp(Rc::new(TcpChain::new(
                Rc::clone(worker),
                listener,
                Arc::clone(chain),
                Arc::clone(proxy),
            ))),
        }
    }
}

impl Handler {
    /// Serves a connection of which nothing has been read.
    async fn serve(self, worker: &Worker, client: Client, io: Io, place: Registration, open: Open) {
        match self {
            Self::Http(http) => {
                let conn = Conn::new(io, None, Rc::clone(&worker.buffers));
                http::serve(Session::new(http, client, place, open), conn).await;
            }
            Self::Tcp(tcp) => {
                let _counted = (place, open);
                tcp.serve(client, io, None).await;
            }
        }
    }
}

fn is_retired(chain: Option<&Arc<FilterChain>>) -> bool {
    chain.is_some_and(|chain| chain.retired.load(Ordering::Relaxed))
}

fn facts<'a>(
    client: &'a Client,
    hello: Option<&'a ClientHello>,
    alpn: &'a [&'a [u8]],
) -> ConnectionFacts<'a> {
    ConnectionFacts {
        destination: client.local,
        source: client.peer,
        server_name: hello.and_then(|hello| hello.server_name.as_deref()),
        tls: hello.is_some(),
        application_protocols: alpn,
    }
}

/// Looks at the first bytes where a chain asks for what they tell, and serves the chain that matches. A
/// connection that no chain takes is closed.
async fn choose(
    local: Rc<LocalListener>,
    mut current: Rc<Current>,
    mut io: TcpStream,
    (mut client, place): (Client, Registration),
) {
    let worker = Rc::clone(&local.worker);
    let (mut first, mut hello) = (None, None);
    if current.listener.chains.needs_inspection {
        match look(&worker, &current, &mut io).await {
            Some((bytes, found)) => (first, hello) = (bytes, found),
            None => return,
        }
        // What has gone meanwhile takes no newcomers.
        current = Rc::clone(&local.current.borrow());
    }
    let listener = &current.listener;
    let alpn: Vec<&[u8]> = hello.iter().flat_map(|hello| hello.alpn.iter()).collect();
    let chain = listener.chains.find(&facts(&client, hello.as_ref(), &alpn));
    let found =
        chain.and_then(|chain| current.chains.iter().find(|s| Arc::ptr_eq(&s.chain, chain)));
    client.server_name =
        hello.as_ref().and_then(|hello| hello.server_name.as_deref()).map(Arc::from);
    match found.cloned() {
        Some(chain) => {
            place.set_idle(false);
            spawn(&worker, Rc::clone(&current), chain, io, (first, hello), (client, place));
        }
        None => {
            current.stats.no_filter_chain_match.inc();
            log_refusal(&worker, &current, &client, |record| {
                record.flags = ResponseFlags::NO_ROUTE_FOUND;
                record.set(Field::Details, "filter_chain_not_found");
            });
        }
    }
}

/// What the first bytes tell; `None` when the connection is over.
async fn look(
    worker: &Rc<Worker>,
    current: &Current,
    io: &mut TcpStream,
) -> Option<(Option<Buffer>, Option<ClientHello>)> {
    let stats = &current.stats;
    let limits =
        InspectorLimits { timeout: current.listener.inspect_timeout, ..InspectorLimits::default() };
    stats.downstream_pre_cx_active.inc();
    let inspected = inspect(io, limits, &worker.buffers).await;
    stats.downstream_pre_cx_active.dec();
    let counts = worker.stats.tls_inspector();
    match inspected.verdict {
        Verdict::Tls(hello) => {
            counts.tls_found.inc();
            let sni = hello.server_name.is_some();
            (if sni { &counts.sni_found } else { &counts.sni_not_found }).inc();
            let alpn = !hello.alpn.is_empty();
            (if alpn { &counts.alpn_found } else { &counts.alpn_not_found }).inc();
            Some((inspected.bytes, Some(hello)))
        }
        // As by Envoy. It may name a server, so it must not pass for one that does not.
        Verdict::Malformed(Malformed::TooLarge(_)) => {
            counts.client_hello_too_large.inc();
            None
        }
        Verdict::NotTls | Verdict::Malformed(_) => {
            counts.tls_not_found.inc();
            Some((inspected.bytes, None))
        }
        Verdict::TimedOut => {
            stats.downstream_pre_cx_timeout.inc();
            current.listener.continue_on_inspect_timeout.then_some((inspected.bytes, None))
        }
        Verdict::Closed => {
            stats.downstream_listener_filter_remote_close.inc();
            None
        }
        Verdict::Failed(_) => {
            stats.downstream_listener_filter_error.inc();
            None
        }
    }
}

/// Notes a connection that its chain does not let in.
fn log_denial(worker: &Worker, current: &Current, client: &Client, Denied(why): &Denied) {
    log_refusal(worker, current, client, |record| {
        record.set(Field::ConnectionTermination, why.as_bytes());
    });
}

/// Notes a connection that is not served; `why` is noted by `note`.
fn log_refusal(
    worker: &Worker,
    current: &Current,
    client: &Client,
    note: impl FnOnce(&mut Record),
) {
    let Some(log) = &current.listener.log else { return };
    let mut record = Record::new(Kind::TcpClose, SystemTime::now(), log);
    note(&mut record);
    record.connection_id = client.id;
    record.downstream_remote = Some(client.peer);
    record.downstream_direct_remote = Some(client.peer);
    record.downstream_local = Some(client.local);
    record.set(Field::Listener, current.listener.name.as_bytes());
    client.describe(&mut record);
    worker.recorder.record(record);
}

fn spawn(
    worker: &Rc<Worker>,
    current: Rc<Current>,
    served: Served,
    io: TcpStream,
    first: (Option<Buffer>, Option<ClientHello>),
    (client, place): (Client, Registration),
) {
    let late = served.judges_late();
    if !late && let Err(denied) = served.admit(&client) {
        return log_denial(worker, &current, &client, &denied);
    }
    let tls = served.chain.tls.clone();
    place.set_chain(Arc::clone(&served.chain));
    let key = place.key();
    let open = Open::new(&current);
    let task = match (tls, served.handler.clone()) {
        (Some(tls), handler) => {
            let worker = Rc::clone(worker);
            tokio::task::spawn_local(async move {
                // Boxed, so that a connection does not carry the size of its handshake.
                let shaken = terminate(&worker, &current, &tls, io, first, client);
                if let Some((io, client)) = Box::pin(shaken).await {
                    if late && let Err(denied) = served.admit(&client) {
                        return log_denial(&worker, &current, &client, &denied);
                    }
                    drop((current, served));
                    handler.serve(&worker, client, io, place, open).await;
                }
            })
        }
        // Apart, so that a plain connection does not carry what a TLS one needs.
        (None, Handler::Http(http)) => {
            let conn = Conn::new(io, first.0, Rc::clone(&worker.buffers));
            let session = Session::new(http, client, place, open);
            tokio::task::spawn_local(http::serve(session, conn))
        }
        (None, Handler::Tcp(tcp)) => tokio::task::spawn_local(async move {
            let (_open, _place) = (open, place);
            tcp.serve(client, Io::Plain(io), first.0).await;
        }),
    };
    worker.connections.set_task(key, task.abort_handle());
}

/// Counts a connection as open.
#[derive(Debug)]
pub struct Open(Stats<ListenerStats>, tokio::time::Instant);

impl Open {
    /// Holds nothing of the listener's configuration: chains that go must not stay for connections of others.
    fn new(current: &Current) -> Self {
        current.stats.downstream_cx_active.inc();
        Self(current.stats.clone(), tokio::time::Instant::now())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let stats = &self.0;
        stats.downstream_cx_active.dec();
        stats.downstream_cx_destroy.inc();
        stats.downstream_cx_length_ms.record(self.1.elapsed().as_millis() as u64);
    }
}
