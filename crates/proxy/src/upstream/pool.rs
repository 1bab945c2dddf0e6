//! A worker's HTTP/1 connections to one endpoint.
//!
//! Connections are used last in, first out, so that the surplus ages out; an idle one is checked without a
//! system call before it is used again. What counts against the cluster's limits is held by guards, so
//! that no path can forget to give it back.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::cluster::{Cluster, Endpoint};
use super::dialled::{Carries, Dialled, Pending};
use super::local::LocalCluster;
use super::multiplex::Multiplex;
use crate::buffer::BufferPool;
use crate::http::h1::Conn;
use crate::io::Io;
use crate::stats::{ClusterStats, EndpointStats, Stats};
use crate::tls::validation::Mismatch;
use crate::tls::{self, TlsStream};

/// Why no connection could be had.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The cluster's limits are reached (`UO`).
    #[error("overflow")]
    Overflow,
    /// It was not established in time (`UF`).
    #[error("connection timeout")]
    Timeout,
    /// It was refused or failed (`UF`).
    #[error(transparent)]
    Failed(#[from] io::Error),
    /// The TLS handshake failed (`UF`).
    #[error("TLS_error: {0}")]
    Tls(tls::Failure),
}

impl ConnectError {
    /// The same, for another request that waited for the same attempt.
    pub(super) fn again(&self) -> Self {
        match self {
            Self::Overflow => Self::Overflow,
            Self::Timeout => Self::Timeout,
            Self::Failed(error) => Self::Failed(crate::io::again(error)),
            Self::Tls(failure) => Self::Tls(failure.again()),
        }
    }
}

/// One of something limited is in use; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    cluster: Arc<Cluster>,
    of: fn(&Cluster) -> &AtomicU32,
    /// Whether others may wait for it.
    awaited: bool,
}

impl Permit {
    /// Takes one if fewer than `limit` are in use, or in any case if `force`.
    fn take(
        cluster: &Arc<Cluster>,
        of: fn(&Cluster) -> &AtomicU32,
        limit: u32,
        force: bool,
    ) -> Option<Self> {
        let permit = Self { cluster: Arc::clone(cluster), of, awaited: false };
        // Taken first and checked after, so that two workers cannot both take the last one.
        let before = of(cluster).fetch_add(1, Ordering::Relaxed);
        (before < limit || force).then_some(permit)
    }

    /// A request in flight.
    #[must_use]
    pub fn request(cluster: &Arc<Cluster>) -> Option<Self> {
        Self::take(cluster, |c| &c.usage.requests, cluster.limits.requests, false)
    }

    /// A retry in flight, its pause included.
    #[must_use]
    pub fn retry(cluster: &Arc<Cluster>) -> Option<Self> {
        let requests = cluster.usage.requests.load(Ordering::Relaxed);
        let limit = cluster.limits.retries_beside(requests);
        Self::take(cluster, |c| &c.usage.retries, limit, false)
    }

    fn connection(cluster: &Arc<Cluster>, force: bool) -> Option<Self> {
        let limit = cluster.limits.connections;
        let mut permit = Self::take(cluster, |c| &c.usage.connections, limit, force)?;
        permit.awaited = true;
        Some(permit)
    }

    fn pending(cluster: &Arc<Cluster>) -> Option<Self> {
        Self::take(cluster, |c| &c.usage.pending_requests, cluster.limits.pending_requests, false)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        (self.of)(&self.cluster).fetch_sub(1, Ordering::Relaxed);
        if self.awaited {
            self.cluster.usage.freed.notify_waiters();
        }
    }
}

/// An HTTP/1 connection of a pool.
#[derive(Debug)]
struct Open {
    conn: Conn,
    /// The server that it was made for; empty when the cluster makes no difference.
    server: Box<str>,
    requests: u32,
    idle_since: Instant,
    dialled: Dialled,
}

impl Open {
    /// Adds the bytes that moved to the counts.
    fn count(&mut self) {
        let (received, sent) = self.conn.take_counts();
        let stats = &self.dialled.pool().stats;
        stats.upstream_cx_rx_bytes_total.add(received);
        stats.upstream_cx_tx_bytes_total.add(sent);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.count();
        self.dialled.pool().stats.upstream_rq_per_cx.record(u64::from(self.requests));
    }
}

/// The connections of one worker to one endpoint.
#[derive(Debug)]
pub struct Pool {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Its counts, of this worker.
    pub endpoint_stats: Stats<EndpointStats>,
    pub(super) stats: Stats<ClusterStats>,
    buffers: Rc<BufferPool>,
    /// Connections that carry many requests at a time.
    pub multiplex: Multiplex,
    #[allow(
        clippy::vec_box,
        reason = "a connection moves between here and its lease as one pointer"
    )]
    idle: RefCell<Vec<Box<Open>>>,
    pub(super) open: Cell<u32>,
    pub(super) returned: Notify,
    /// Whether the endpoint is gone: connections that come back are closed.
    closed: Cell<bool>,
}

impl Pool {
    /// A pool without connections.
    #[must_use]
    pub fn new(
        endpoint: Arc<Endpoint>,
        endpoint_stats: Stats<EndpointStats>,
        stats: Stats<ClusterStats>,
        buffers: Rc<BufferPool>,
    ) -> Self {
        Self {
            endpoint,
            endpoint_stats,
            stats,
            buffers,
            multiplex: Multiplex::default(),
            idle: RefCell::default(),
            open: Cell::new(0),
            returned: Notify::new(),
            closed: Cell::new(false),
        }
    }

    /// A connection, idle or new. Waits while the cluster's limit of connections is reached, as long as its
    /// limit of pending requests is not.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn lease(
        self: &Rc<Self>,
        local: &LocalCluster,
        server: &str,
    ) -> Result<Lease, ConnectError> {
        if let Some(lease) = self.reuse(server) {
            return Ok(lease);
        }
        let pending = self.wait(&local.cluster)?;
        let leased = self.reuse_or_connect(&local.cluster, server).await;
        pending.end(&leased);
        leased
    }

    /// Takes a place among the requests that wait for a connection.
    pub(super) fn wait(self: &Rc<Self>, cluster: &Arc<Cluster>) -> Result<Pending, ConnectError> {
        match Permit::pending(cluster) {
            Some(permit) => Ok(Pending::new(self, permit)),
            None => {
                self.stats.upstream_rq_pending_overflow.inc();
                Err(ConnectError::Overflow)
            }
        }
    }

    async fn reuse_or_connect(
        self: &Rc<Self>,
        cluster: &Arc<Cluster>,
        server: &str,
    ) -> Result<Lease, ConnectError> {
        loop {
            // Listens before it looks: what becomes free in between is not missed.
            let freed = cluster.usage.freed.notified();
            if let Some(permit) = self.permit(cluster) {
                return self.connect(cluster, server, permit).await;
            }
            // What is idle was made for another server.
            let idle = self.idle.borrow_mut().pop();
            if idle.is_some() {
                continue;
            }
            tokio::select! {
                () = self.returned.notified() => {}
                () = freed => {}
            }
            if let Some(lease) = self.reuse(server) {
                return Ok(lease);
            }
        }
    }

    /// A place for one more connection, which a pool without any has in any case.
    pub(super) fn permit(&self, cluster: &Arc<Cluster>) -> Option<Permit> {
        let permit = Permit::connection(cluster, self.open.get() == 0);
        if permit.is_none() {
            self.stats.upstream_cx_overflow.inc();
        }
        permit
    }

    /// A new connection, whatever waits idle: for a request whose reused connection turned out dead.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn lease_new(
        self: &Rc<Self>,
        local: &LocalCluster,
        server: &str,
    ) -> Result<Lease, ConnectError> {
        self.close_idle();
        self.lease(local, server).await
    }

    /// The connection that was used last, of those made for `server`, if one waits.
    pub fn reuse(self: &Rc<Self>, server: &str) -> Option<Lease> {
        loop {
            let mut idle = self.idle.borrow_mut();
            let at = idle.iter().rposition(|open| *open.server == *server)?;
            let mut open = idle.remove(at);
            drop(idle);
            if open.conn.is_reusable() {
                return Some(Lease { local: open.dialled.local, open: Some(open), reused: true });
            }
            open.dialled.closed_by_endpoint();
        }
    }

    /// A connection for TCP, counted but not pooled. Does not wait at the limit of connections.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn dial_for_tcp(
        self: &Rc<Self>,
        local: &LocalCluster,
    ) -> Result<(Dialled, Io), ConnectError> {
        let Some(permit) = Permit::connection(&local.cluster, false) else {
            self.stats.upstream_cx_overflow.inc();
            return Err(ConnectError::Overflow);
        };
        let dialled = self.dial(&local.cluster, "", Carries::Tcp, permit).await?;
        // What the connection carries counts as one request.
        self.stats.upstream_rq_pending_total.inc();
        self.stats.upstream_rq_total.inc();
        self.endpoint_stats.rq_total.inc();
        Ok(dialled)
    }

    /// A connection for HTTP/2, counted but not pooled here.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn dial_for_streams(
        self: &Rc<Self>,
        local: &LocalCluster,
        server: &str,
        permit: Permit,
    ) -> Result<(Dialled, Io), ConnectError> {
        self.dial(&local.cluster, server, Carries::Http2, permit).await
    }

    async fn connect(
        self: &Rc<Self>,
        cluster: &Arc<Cluster>,
        server: &str,
        permit: Permit,
    ) -> Result<Lease, ConnectError> {
        let (dialled, io) = self.dial(cluster, server, Carries::Http1, permit).await?;
        let local = dialled.local;
        let conn = Conn::new(io, None, Rc::clone(&self.buffers));
        let open = Open {
            conn,
            server: server.into(),
            requests: 0,
            idle_since: dialled.opened(),
            dialled,
        };
        Ok(Lease { open: Some(Box::new(open)), reused: false, local })
    }

    /// `server` is the server that is asked for where the cluster takes it from the request.
    async fn dial(
        self: &Rc<Self>,
        cluster: &Arc<Cluster>,
        server: &str,
        carries: Carries,
        permit: Permit,
    ) -> Result<(Dialled, Io), ConnectError> {
        let started = Instant::now();
        let mut dialled = Dialled::attempt(self, carries, permit);
        let dial = self.open(cluster, server, carries);
        let io = match tokio::time::timeout(cluster.connect_timeout, dial).await {
            Ok(Ok(io)) => io,
            Ok(Err(error)) => {
                dialled.closed_by_endpoint();
                self.stats.upstream_cx_connect_fail.inc();
                self.endpoint_stats.cx_connect_fail.inc();
                return Err(error);
            }
            Err(_) => {
                self.stats.upstream_cx_connect_timeout.inc();
                self.stats.upstream_cx_connect_fail.inc();
                self.endpoint_stats.cx_connect_fail.inc();
                return Err(ConnectError::Timeout);
            }
        };
        dialled.established(io.socket(), started);
        Ok((dialled, io))
    }

    /// Connects, and shakes hands where the cluster speaks TLS.
    async fn open(
        &self,
        cluster: &Cluster,
        server: &str,
        carries: Carries,
    ) -> Result<Io, ConnectError> {
        let io = TcpStream::connect(self.endpoint.address).await?;
        io.set_nodelay(true)?;
        if let Some(keepalive) = &cluster.keepalive {
            keepalive.apply(&io)?;
        }
        let Some(secure) = &cluster.tls else { return Ok(Io::Plain(io)) };
        let asks = secure.asks(server, self.endpoint.address, carries.alpn());
        // Boxed, so that requests to plain endpoints do not carry the size of a handshake.
        let shaken = Box::pin(tls::connect(io, &secure.context, asks, &self.buffers)).await;
        self.count(&shaken);
        shaken.map(Io::Tls).map_err(ConnectError::Tls)
    }

    fn count(&self, shaken: &Result<Box<TlsStream>, tls::Failure>) {
        let stats = &self.stats;
        match shaken {
            Ok(_) => stats.ssl_handshake.inc(),
            Err(tls::Failure::Tls(error @ rustls::Error::InvalidCertificate(_))) => {
                match tls::mismatch(error) {
                    Some(Mismatch::Name) => stats.ssl_fail_verify_san.inc(),
                    Some(Mismatch::Pin) => stats.ssl_fail_verify_cert_hash.inc(),
                    None => stats.ssl_fail_verify_error.inc(),
                }
            }
            Err(_) => stats.ssl_connection_error.inc(),
        }
    }

    /// Closes connections that have been idle for longer than `timeout`, or that the endpoint has closed.
    pub fn sweep(&self, now: Instant, timeout: Option<Duration>) {
        self.stats.upstream_cx_idle_timeout.add(self.multiplex.sweep(now, timeout));
        self.idle.borrow_mut().retain_mut(|open| {
            let expired = timeout.is_some_and(|timeout| now - open.idle_since >= timeout);
            if expired {
                self.stats.upstream_cx_idle_timeout.inc();
                return false;
            }
            let reusable = open.conn.is_reusable();
            if !reusable {
                open.dialled.closed_by_endpoint();
            }
            reusable
        });
    }

    /// Closes all idle connections.
    pub fn close_idle(&self) {
        let idle = std::mem::take(&mut *self.idle.borrow_mut());
        drop(idle);
    }

    /// The endpoint is gone: idle connections close now, others when their request is over.
    pub fn close(&self) {
        self.closed.set(true);
        self.multiplex.close();
        self.close_idle();
    }
}

/// A connection for one request. It closes when dropped, in the middle of the request as it counts, unless
/// it is given back.
#[derive(Debug)]
pub struct Lease {
    open: Option<Box<Open>>,
    /// Whether the connection has carried a request before.
    pub reused: bool,
    /// Our address on it.
    pub local: Option<SocketAddr>,
}

impl Lease {
    /// Counts a request that is sent on it; tells whether it is the last of `most`.
    pub fn count_request(&mut self, most: Option<u32>) -> bool {
        let Some(open) = &mut self.open else { return false };
        open.requests += 1;
        let last = most.is_some_and(|most| open.requests >= most);
        if last {
            open.dialled.pool().stats.upstream_cx_max_requests.inc();
        }
        last
    }

    /// Says that the endpoint closes the connection, not we.
    pub fn closed_by_endpoint(&self) {
        if let Some(open) = &self.open {
            open.dialled.closed_by_endpoint();
        }
    }

    /// Counts that the endpoint announced the end of the connection.
    pub fn count_close_notify(&self) {
        if let Some(open) = &self.open {
            open.dialled.pool().stats.upstream_cx_close_notify.inc();
        }
    }

    /// Closes the connection after a request that was carried to its end.
    pub fn close(mut self) {
        self.open = None;
    }

    /// Gives the connection back for the next request: both messages were read and written to their end.
    pub fn give_back(mut self) {
        let Some(mut open) = self.open.take() else {
            return;
        };
        let pool = Rc::clone(open.dialled.pool());
        open.count();
        open.conn.release();
        if pool.closed.get() {
            return;
        }
        open.idle_since = Instant::now();
        pool.idle.borrow_mut().push(open);
        pool.returned.notify_one();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(open) = &self.open {
            open.dialled.closes_busy();
        }
    }
}

impl Deref for Lease {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        // Only `give_back`, which takes the lease, empties it.
        &self.open.as_ref().expect("a lease holds its connection").conn
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.open.as_mut().expect("a lease holds its connection").conn
    }
}
