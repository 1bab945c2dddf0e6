//! A listener in one worker: accepts, hands on, looks at the first bytes, chooses a filter chain, serves.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::net::TcpStream;

use super::acceptor::Acceptor;
use super::bind::BACKLOG;
use super::hear::{Heard, hear};
use super::look::{Looked, look, look_at_refused};
use super::terminate::terminate;
use crate::accesslog::{Field, Kind, Record, ResponseFlags};
use crate::buffer::Buffer;
use crate::config::chains::ConnectionFacts;
use crate::config::listener::{FilterChain, Listener, NetworkFilter};
use crate::filter::local_rate_limit::OfConnection;
use crate::http;
use crate::http::Session;
use crate::http::chain::{Client, HttpChain, Line};
use crate::http::h1::Conn;
use crate::http::opening::Opening;
use crate::io::Io;
use crate::pipe::NOWHERE;
use crate::rbac::{Asked, Counts, Denied};
use crate::stats::{ListenerStats, Stats};
use crate::tcp::filter::{Opened, TcpChain};
use crate::throttle::Throttle;
use crate::tls::ClientHello;
use crate::upstream::original::Captured;
use crate::upstream::owned::OwnPools;
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
    /// Whether a server was the first to speak on the latest connection that waited to see who is.
    pub(super) servers_first: Cell<bool>,
}

/// A chain, made ready.
#[derive(Clone, Debug)]
pub(super) struct Served {
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
        let current = RefCell::new(Rc::new(Current::new(&worker, listener, None)));
        Self { worker, current }
    }

    /// Serves another form of the listener from now on. Chains that it shares with the one before keep their connections, and
    /// those that take requests on the same terms as one before take over its connections; others close after what they are doing.
    pub fn update(&self, listener: Arc<Listener>) {
        let next = Rc::new(Current::new(&self.worker, listener, Some(&self.current.borrow())));
        let before = self.current.replace(Rc::clone(&next));
        let kept: HashSet<_> =
            next.chains.iter().map(|served| Arc::as_ptr(&served.chain)).collect();
        let gone = before.chains.iter();
        self.lose(gone.filter(|served| !kept.contains(&Arc::as_ptr(&served.chain))));
    }

    /// The listener is gone: its connections close after what they are doing.
    pub fn retire(&self) {
        self.lose(self.current.borrow().chains.iter());
    }

    /// Tells connections of chains that are gone.
    fn lose<'s>(&self, gone: impl Iterator<Item = &'s Served>) {
        let mut chains = HashSet::new();
        for Served { chain, handler, .. } in gone {
            chains.insert(Arc::as_ptr(chain));
            if let Handler::Http(http) = handler {
                http.retire();
            }
        }
        if !chains.is_empty() {
            let is_gone = |chain: &Arc<FilterChain>| chains.contains(&Arc::as_ptr(chain));
            self.worker.connections.wake(|chain| chain.is_some_and(is_gone));
        }
    }

    /// Accepts until the task is ended.
    pub async fn accept(self: Rc<Self>, socket: Rc<Acceptor>) {
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

    /// Takes the clients that wait in the queue of a socket that is about to be closed: they would be reset, with what they have
    /// sent. Those whose handshake is not over yet are not told apart from any that come later.
    pub fn accept_waiting(self: &Rc<Self>, socket: &Acceptor) {
        // At most so many wait, whoever comes meanwhile.
        for _ in 0..BACKLOG {
            match socket.accept_now() {
                Ok((io, peer)) => self.start(io, peer),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    return tracing::warn!(%error, "connections are lost that were not accepted yet");
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
        let pipe = current.listener.pipe.as_ref().filter(|_| peer == NOWHERE);
        let local = match pipe {
            Some(_) => NOWHERE,
            None => {
                // Answers are written whole; waiting for more would only delay them.
                let (Ok(()), Ok(local)) = (io.set_nodelay(true), io.local_addr()) else {
                    return;
                };
                local
            }
        };
        let capture = current.listener.capture;
        let captured = (capture.restores && pipe.is_none()).then(|| {
            let redirected = Captured::redirected(&io, peer, local);
            // What comes to a transparent socket keeps the address that was dialled.
            redirected.or_else(|| capture.transparent.then(|| Captured::to(local, peer)))
        });
        let captured = captured.flatten();
        let client = Client {
            peer,
            local: captured.map_or(local, |captured| captured.dialled),
            captured,
            pipe: pipe.map(|pipe| Arc::clone(&pipe.path)),
            source: capture.source(peer),
            id: worker.connection_id(),
            server_name: None,
            tls: None,
            place,
            limits: OfConnection::default(),
            pools: OwnPools::default(),
        };
        if captured.is_some_and(Captured::circles) {
            return refuse_circle(&worker, &current, &client);
        }
        let other = captured.filter(|_| capture.hands_on);
        match other.and_then(|captured| worker.listeners.of(captured.dialled)) {
            Some(other) if !Rc::ptr_eq(&other, self) => other.take(io, client),
            _ => self.take(io, client),
        }
    }

    /// Serves a connection that it took itself, or that was handed on to it.
    fn take(self: &Rc<Self>, io: TcpStream, mut client: Client) {
        let current = Rc::clone(&self.current.borrow());
        let worker = Rc::clone(&self.worker);
        client.source = current.listener.capture.source(client.peer).or(client.source);
        current.stats.downstream_cx_total.inc();
        if let (false, [only]) =
            (current.listener.looks_at(client.local.port()), &current.chains[..])
            && !only.refuses(&client)
            && current.listener.chains.find(&facts(&client, None, &[])).is_some()
        {
            let place = worker.connections.register();
            spawn(&worker, current.clone(), only.clone(), io, (None, None), (client, place));
            return;
        }
        let place = worker.connections.register();
        tokio::task::spawn_local(choose(Rc::clone(self), current, io, (client, place)));
    }
}

impl Current {
    fn new(worker: &Rc<Worker>, listener: Arc<Listener>, before: Option<&Self>) -> Self {
        let servers_first = Cell::new(before.is_some_and(|before| before.servers_first.get()));
        let before = before.map(Before::of).unwrap_or_default();
        let chains = Self::places(&listener)
            .map(|(place, chain)| {
                before.kept(chain).unwrap_or_else(|| {
                    Served::new(worker, &listener, chain, before.line(place, chain))
                })
            })
            .collect();
        let stats = worker.stats.listener(&listener.stat_prefix);
        Self { stats, listener, chains, servers_first }
    }

    /// The chain for a connection of which that is known.
    pub(super) fn served(&self, client: &Client, looked: &Looked) -> Option<Served> {
        let protocols = looked.protocols();
        let facts = facts(client, looked.hello.as_ref(), &protocols);
        let chain = self.listener.chains.find(&facts)?;
        self.chains.iter().find(|served| Arc::ptr_eq(&served.chain, chain)).cloned()
    }

    /// The chain for requests to a host that a client begins TLS for, where the proxy is to begin it: that chain says so.
    fn begins_tls_for(&self, client: &Client, hello: &ClientHello) -> Option<Served> {
        let host = hello.server_name.as_deref()?;
        let request = Looked { request: Some(Opening::Http11), ..Looked::default() };
        let served = self.served(client, &request)?;
        let begun = match &served.handler {
            Handler::Http(http) => http::hello::is_begun(http, host),
            Handler::Tcp(_) => false,
        };
        (begun && served.chain.tls.is_none()).then_some(served)
    }

    /// Whether a chain is still among its own.
    fn still_serves(&self, served: &Served) -> bool {
        self.chains.iter().any(|own| Arc::ptr_eq(&own.chain, &served.chain))
    }

    /// The chains of a listener, in the order in which they are kept.
    fn places(listener: &Listener) -> impl Iterator<Item = (Place, &Arc<FilterChain>)> {
        let chains = listener.chains.chains.iter().map(|chain| (Place::Listed, chain));
        chains.chain(listener.chains.default.iter().map(|chain| (Place::Default, chain)))
    }
}

/// Where a chain stands: the default chain takes what others of the same criteria do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    Listed,
    Default,
}

/// The chains of a form of the configuration that goes.
#[derive(Default)]
struct Before<'b> {
    served: HashMap<*const FilterChain, &'b Served>,
    by_terms: HashMap<(Place, &'b [u8]), &'b Rc<HttpChain>>,
}

impl<'b> Before<'b> {
    fn of(current: &'b Current) -> Self {
        let mut before = Self::default();
        for ((place, chain), served) in Current::places(&current.listener).zip(&current.chains) {
            before.served.insert(Arc::as_ptr(chain), served);
            if let (Some(terms), Handler::Http(http)) = (&served.chain.terms, &served.handler) {
                before.by_terms.insert((place, terms), http);
            }
        }
        before
    }

    /// A chain that is there still.
    fn kept(&self, chain: &Arc<FilterChain>) -> Option<Served> {
        self.served.get(&Arc::as_ptr(chain)).map(|served| (*served).clone())
    }

    /// The line of the chain in whose place a new one is.
    fn line(&self, place: Place, chain: &FilterChain) -> Line {
        let old = chain.terms.as_deref().and_then(|terms| self.by_terms.get(&(place, terms)));
        old.map(|http| http.line().clone()).unwrap_or_default()
    }
}

impl Served {
    fn new(worker: &Rc<Worker>, listener: &Listener, chain: &Arc<FilterChain>, line: Line) -> Self {
        let counts = |filter| Counts::of_network(&worker.stats, filter);
        Self {
            chain: Arc::clone(chain),
            handler: Handler::new(worker, listener, chain, line),
            rbac: chain.rbac.iter().map(counts).collect(),
        }
    }

    /// Whether its RBAC filters can judge a client only after the handshake.
    fn judges_late(&self) -> bool {
        self.chain.tls.is_some() && self.chain.rbac.iter().any(|filter| filter.needs_handshake)
    }

    /// What carries the connection of a client that says nothing, if it may be carried as it is.
    pub(super) fn carries_silence(&self, client: &Client) -> Option<Rc<TcpChain>> {
        let Handler::Tcp(tcp) = &self.handler else { return None };
        let plain = self.chain.tls.is_none() && !self.refuses(client);
        (plain && self.admit(client).is_ok()).then(|| Rc::clone(tcp))
    }

    /// Whether what this client asks for may not go out.
    fn refuses(&self, client: &Client) -> bool {
        match &self.handler {
            Handler::Tcp(tcp) => tcp.refuses(client),
            Handler::Http(_) => self.chain.denies,
        }
    }

    /// Asks the RBAC filters whether a client may connect.
    fn admit(&self, client: &Client) -> Result<(), Denied> {
        let asked = Asked::of(client, client.peer.ip(), None);
        let mut filters = self.chain.rbac.iter().zip(&self.rbac[..]);
        filters.try_for_each(|(filter, counts)| filter.set.judge(&asked, counts).map(drop))
    }
}

impl Handler {
    fn new(worker: &Rc<Worker>, listener: &Listener, chain: &Arc<FilterChain>, line: Line) -> Self {
        match &chain.filter {
            NetworkFilter::Http(manager) => Self::Http(HttpChain::new(
                Rc::clone(worker),
                listener,
                Arc::clone(chain),
                Arc::clone(manager),
                line,
            )),
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
    let mut looked = Looked::default();
    if current.listener.looks_at(client.local.port()) {
        let Some(heard) = place.prepare(&worker, hear(&current, &client, &io)).await else {
            return;
        };
        current = Rc::clone(&local.current.borrow());
        if let Some(Heard { served, tcp, opened }) = heard
            && current.still_serves(&served)
        {
            return carry_heard(&current, &served, tcp, opened, io, (client, place));
        }
        let look = look(&worker, &current, &mut io, client.local.port());
        match place.prepare(&worker, look).await.flatten() {
            Some(found) => looked = found,
            None => return,
        }
        // What has gone meanwhile takes no newcomers.
        current = Rc::clone(&local.current.borrow());
    }
    let mut found = current.served(&client, &looked);
    let blind = looked.hello.is_none() && !current.listener.looks_for_requests(client.local.port());
    let refused = found.as_ref().is_some_and(|served| served.refuses(&client));
    if blind && refused {
        let look = look_at_refused(&worker, &mut io, looked.bytes.take());
        let Some(seen) = place.prepare(&worker, look).await else { return };
        looked = seen;
        // What is refused can only be refused in better words.
        let told = current.served(&client, &looked).filter(|served| served.chain.denies);
        found = told.or(found);
    }
    let hello = looked.hello.as_ref();
    if refused {
        let begun = hello.and_then(|hello| current.begins_tls_for(&client, hello));
        found = begun.or(found);
    }
    client.server_name = hello.and_then(|hello| hello.server_name.as_deref()).map(Arc::from);
    match found {
        Some(Served { chain, handler: Handler::Tcp(tcp), .. }) if refused && !chain.denies => {
            tcp.refuse_astray(&client, looked.bytes.as_ref());
        }
        Some(chain) => {
            let first = (looked.bytes, looked.hello);
            spawn(&worker, Rc::clone(&current), chain, io, first, (client, place));
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

/// Refuses a connection that the proxy itself has dialled and that comes back again and again.
fn refuse_circle(worker: &Worker, current: &Current, client: &Client) {
    thread_local! {
        static TOLD: Throttle = const { Throttle::new() };
    }
    current.stats.downstream_cx_circle.inc();
    log_refusal(worker, current, client, |record| {
        record.set(Field::Details, "dialled_in_a_circle");
    });
    let Some(kept_back) = TOLD.with(|told| told.pass(Instant::now())) else { return };
    tracing::warn!(
        listener = %current.listener.name, dialled = %client.local, kept_back,
        "a connection is refused that goes in a circle: what this proxy dials is redirected to it; let its own connections \
         through where they are redirected"
    );
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
    let open = Open::new(&current.stats);
    match (tls, served.handler.clone()) {
        (Some(tls), handler) => {
            let worker = Rc::clone(worker);
            tokio::task::spawn_local(async move {
                // Boxed, so that a connection does not carry the size of its handshake.
                let shaken = terminate(&worker, &current, &tls, io, first, client);
                if let Some((io, client)) = place.prepare(&worker, Box::pin(shaken)).await.flatten()
                {
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
}

/// Serves a connection whose server has spoken first.
fn carry_heard(
    current: &Current,
    served: &Served,
    tcp: Rc<TcpChain>,
    opened: Opened,
    io: TcpStream,
    (client, place): (Client, Registration),
) {
    place.set_chain(Arc::clone(&served.chain));
    let open = Open::new(&current.stats);
    tokio::task::spawn_local(async move {
        let _counted = (open, place);
        tcp.carry(client, Io::Plain(io), opened).await;
    });
}

/// Counts a connection as open.
#[derive(Debug)]
pub struct Open(Stats<ListenerStats>, tokio::time::Instant);

impl Open {
    /// Counts in `stats`. Holds nothing of the listener's configuration: chains that go must not stay for connections of others.
    pub(crate) fn new(stats: &Stats<ListenerStats>) -> Self {
        stats.downstream_cx_active.inc();
        Self(stats.clone(), tokio::time::Instant::now())
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
