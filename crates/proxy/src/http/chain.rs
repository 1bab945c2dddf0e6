//! An HTTP filter chain in one worker, and who is connected to it.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::accesslog::{Field, Record};
use crate::config::listener::{FilterChain, HttpManager, Listener};
use crate::filter::Running;
use crate::filter::local_rate_limit::OfConnection;
use crate::pipe::known;
use crate::route::RouteTable;
use crate::stats::{HttpStats, Stats};
use crate::tls::Settled;
use crate::upstream::original::Captured;
use crate::upstream::owned::OwnPools;
use crate::upstream::proxy_header::Ends;
use crate::upstream::source::ClientSource;
use crate::worker::{Place, Worker};

/// A route table as one worker holds it: counted by the worker alone, so that requests of different workers do
/// not write to the same cache line.
#[allow(clippy::redundant_allocation, reason = "the outer count is the worker's own")]
pub type Routes = Rc<Arc<RouteTable>>;

/// What the connections of one chain share in one worker.
#[derive(Debug)]
pub struct HttpChain {
    /// The worker.
    pub worker: Rc<Worker>,
    /// The connection manager.
    pub manager: Arc<HttpManager>,
    /// Its counts, of this worker.
    pub stats: Stats<HttpStats>,
    /// Name of the listener.
    pub listener: Arc<str>,
    /// The chain.
    pub chain: Arc<FilterChain>,
    /// The manager's filters, in their order.
    pub filters: Vec<Running>,
    routes: RefCell<Routes>,
    line: Line,
    /// Whether the listener has lost this chain.
    gone: Cell<bool>,
}

/// Chains of one worker that follow one another in a place, and differ in nothing that a connection has settled already: its
/// connections go from each to the next between two requests.
#[derive(Clone, Debug, Default)]
pub struct Line(Rc<RefCell<Weak<HttpChain>>>);

impl HttpChain {
    /// The chain `chain` of `listener`, whose filter is `manager`, as the next one of a line.
    #[must_use]
    pub fn new(
        worker: Rc<Worker>,
        listener: &Listener,
        chain: Arc<FilterChain>,
        manager: Arc<HttpManager>,
        line: Line,
    ) -> Rc<Self> {
        let next = Rc::new(Self {
            filters: manager
                .filters
                .iter()
                .map(|filter| filter.run(&worker.stats, &manager.stat_prefix))
                .collect(),
            stats: worker.stats.http(&manager.stat_prefix, &listener.stat_prefix),
            listener: Arc::clone(&listener.name),
            routes: RefCell::new(Rc::new(manager.routes.table())),
            worker,
            manager,
            chain,
            line,
            gone: Cell::default(),
        });
        *next.line.0.borrow_mut() = Rc::downgrade(&next);
        next
    }

    /// The line that it is of.
    #[must_use]
    pub fn line(&self) -> &Line {
        &self.line
    }

    /// The routes that are in force. A request keeps the table it was given to its end; taking one counts
    /// no reference that another worker counts.
    pub fn routes(&self) -> Routes {
        let mut routes = self.routes.borrow_mut();
        self.manager.routes.look(|current| {
            if !Arc::ptr_eq(current, &routes) {
                *routes = Rc::new(Arc::clone(current));
            }
        });
        Rc::clone(&routes)
    }

    /// Says that the listener has lost this chain.
    pub fn retire(&self) {
        self.gone.set(true);
    }

    /// Whether connections cannot stay with this chain: the worker drains, or the listener has lost it.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.worker.is_draining() || self.gone.get()
    }

    /// Whether connections are to close after what they are doing: they cannot stay and no other chain takes them, or they are
    /// told to go.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.chain.discouraged.load(Ordering::Relaxed)
            || (self.is_retired() && self.heir().is_none())
    }

    /// The chain in whose hands connections of this one go on, where the listener has lost this one.
    #[must_use]
    pub fn heir(&self) -> Option<Rc<Self>> {
        let told = self.chain.discouraged.load(Ordering::Relaxed);
        if !self.gone.get() || told || self.worker.is_draining() {
            return None;
        }
        let newest = self.line.0.borrow().upgrade()?;
        (!newest.gone.get() && newest.manager.codec == self.manager.codec).then_some(newest)
    }
}

impl Client {
    /// The ends of its connection, if they have addresses.
    #[must_use]
    pub fn ends(&self) -> Option<Ends> {
        Some(Ends { source: known(self.peer)?, destination: known(self.local)? })
    }

    /// Notes where it is, and what its ClientHello and its handshake told.
    pub fn describe(&self, record: &mut Record) {
        record.downstream_remote = known(self.peer);
        record.downstream_direct_remote = known(self.peer);
        record.downstream_local = known(self.local);
        if let Some(path) = &self.pipe {
            record.set(Field::Pipe, path.as_bytes());
        }
        if let Some(name) = &self.server_name {
            record.set(Field::ServerName, name.as_bytes());
        }
        let Some(tls) = &self.tls else { return };
        record.set(Field::TlsVersion, tls.version);
        record.set(Field::TlsCipher, tls.cipher);
        if let Some(uri) = tls.local_uris.first() {
            record.set(Field::LocalUri, uri.as_bytes());
        }
        if let Some(peer) = &tls.peer {
            record.set(Field::PeerSubject, &peer.leaf.subject);
            if let Some(uri) = peer.leaf.uris.first() {
                record.set(Field::PeerUri, uri.as_bytes());
            }
        }
    }
}

/// Who is connected.
#[derive(Debug)]
pub struct Client {
    /// The peer's address; [`crate::pipe::NOWHERE`] over a Unix socket.
    pub peer: SocketAddr,
    /// Our address, or where it was dialled to if it was redirected to us; [`crate::pipe::NOWHERE`] over a Unix socket.
    pub local: SocketAddr,
    /// The path of the Unix socket that it came through.
    pub pipe: Option<Arc<str>>,
    /// What is known of a connection that was redirected to us.
    pub captured: Option<Captured>,
    /// What connections to endpoints come from for it, where they keep its address.
    pub source: Option<ClientSource>,
    /// Number of the connection.
    pub id: u64,
    /// Server name of the ClientHello.
    pub server_name: Option<Arc<str>>,
    /// Its place among all clients, kept while it is connected.
    pub place: Place,
    /// What the handshake settled, when TLS is terminated here.
    pub tls: Option<Rc<Settled>>,
    /// Buckets of limits that each connection has for itself.
    pub limits: OfConnection,
    /// Connections to endpoints that are its own.
    pub pools: OwnPools,
}
