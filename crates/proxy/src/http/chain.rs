//! An HTTP filter chain in one worker, and who is connected to it.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::accesslog::{Field, Record};
use crate::config::listener::{FilterChain, HttpManager, Listener};
use crate::rbac::Counts;
use crate::route::RouteTable;
use crate::stats::{HttpStats, Stats};
use crate::tls::Settled;
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
    /// The counts of the manager's RBAC filters, in their order.
    pub rbac: Vec<Counts>,
    routes: RefCell<Routes>,
}

impl HttpChain {
    /// The chain `chain` of `listener`, whose filter is `manager`.
    #[must_use]
    pub fn new(
        worker: Rc<Worker>,
        listener: &Listener,
        chain: Arc<FilterChain>,
        manager: Arc<HttpManager>,
    ) -> Self {
        let counts = |filter| Counts::of_http(&worker.stats, &manager.stat_prefix, filter);
        Self {
            rbac: manager.rbac.iter().map(counts).collect(),
            stats: worker.stats.http(&manager.stat_prefix, &listener.stat_prefix),
            listener: Arc::clone(&listener.name),
            routes: RefCell::new(Rc::new(manager.routes.table())),
            worker,
            manager,
            chain,
        }
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

    /// Whether connections are to close after what they are doing: the worker drains, or the listener has
    /// lost this chain.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.worker.is_draining() || self.chain.retired.load(Ordering::Relaxed)
    }
}

impl Client {
    /// Notes what its ClientHello and its handshake told.
    pub fn describe(&self, record: &mut Record) {
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
    /// The peer's address.
    pub peer: SocketAddr,
    /// Our address.
    pub local: SocketAddr,
    /// Number of the connection.
    pub id: u64,
    /// Server name of the ClientHello.
    pub server_name: Option<Arc<str>>,
    /// Its place among all clients, kept while it is connected.
    pub place: Place,
    /// What the handshake settled, when TLS is terminated here.
    pub tls: Option<Rc<Settled>>,
}
