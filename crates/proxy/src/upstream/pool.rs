//! A worker's HTTP/1 connections to one endpoint.
//!
//! Connections are used last in, first out, so that the surplus ages out; an idle one is checked before it is used again, without a
//! system call where what is lost with it can be sent again. What counts against the cluster's limits is held by guards, so
//! that no path can forget to give it back (`limits.rs`).

mod error;

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

pub use self::error::ConnectError;
use super::cluster::{Cluster, Endpoint};
use super::dialled::{Carries, Dialled, Pending};
use super::limits::{Permit, Starving, give_way};
use super::local::LocalCluster;
use super::multiplex::Multiplex;
use super::original::{self, Passing};
use super::owned::{Beside, Owner};
use super::proxy_header::{Ends, ProxyHeader};
use super::source::{ClientSource, Source};
use crate::buffer::BufferPool;
use crate::http::h1::Conn;
use crate::io::{Io, Liveness};
use crate::remote::Remote;
use crate::stats::{ClusterStats, EndpointStats, Stats};
use crate::tls::validation::Mismatch;
use crate::tls::{self, TlsStream};

/// An HTTP/1 connection of a pool.
#[derive(Debug)]
struct Open {
    conn: Conn,
    /// The server that it was made for; empty when the cluster makes no difference.
    server: Box<str>,
    requests: u32,
    idle_since: Instant,
    /// When it is too old for a further request.
    expires: Option<Instant>,
    dialled: Dialled,
}

impl Open {
    /// Whether it is too old; counts that.
    fn is_over(&self, now: impl FnOnce() -> Instant) -> bool {
        let over = self.expires.is_some_and(|at| now() >= at);
        if over {
            self.dialled.pool().stats.upstream_cx_max_duration_reached.inc();
        }
        over
    }

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
    pub(super) buffers: Rc<BufferPool>,
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
    /// Gives way to who has no connection, while there are some here and a limit.
    pub(super) giving: RefCell<Option<AbortHandle>>,
    /// How often what a connection is made for has passed the proxy, where it leads to where a client dialled.
    pub(super) passes: Option<u8>,
    /// What connections come from, where it is not the cluster that says so.
    pub(super) source: Option<ClientSource>,
    /// Whose connections these are, where they are one client's.
    pub(super) owner: Option<Owner>,
    /// The pools of clients to the same endpoint, where these are everybody's.
    pub(super) beside: Beside,
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
            giving: RefCell::default(),
            passes: None,
            source: None,
            owner: None,
            beside: Beside::default(),
        }
    }

    /// The same, for what has passed the proxy so often and may be redirected to it again.
    #[must_use]
    pub(super) fn passing(mut self, passes: u8) -> Self {
        self.passes = Some(passes);
        self
    }

    /// The same, whose connections come from there.
    #[must_use]
    pub(super) fn coming_from(mut self, source: Option<ClientSource>) -> Self {
        self.source = source;
        self
    }

    /// Whether a connection is open, or being made.
    pub(super) fn has_connections(&self) -> bool {
        self.open.get() > 0
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
        liveness: Liveness,
    ) -> Result<Lease, ConnectError> {
        if let Some(lease) = self.reuse(server, liveness) {
            return Ok(lease);
        }
        let pending = self.wait(&local.cluster)?;
        let leased = self.reuse_or_connect(&local.cluster, server, liveness).await;
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
        liveness: Liveness,
    ) -> Result<Lease, ConnectError> {
        let mut starving = None;
        loop {
            // Listens before it looks: what becomes free in between is not missed.
            let freed = cluster.usage.freed.notified();
            let starves = self.open.get() == 0;
            if let Some(permit) = self.permit(cluster, &mut starving, starves) {
                return self.connect(cluster, server, permit).await;
            }
            // What is idle was made for another server.
            let idle = self.idle.borrow_mut().pop();
            if idle.is_some() {
                continue;
            }
            tokio::select! {
                biased;
                () = self.returned.notified() => {}
                () = freed => {}
            }
            if let Some(lease) = self.reuse(server, liveness) {
                return Ok(lease);
            }
        }
    }

    /// A place for one more connection, which an endpoint without any has in any case. A request `starves` if its worker has no
    /// connection to the endpoint that takes requests; places that become free are for such ones first.
    pub(super) fn permit(
        &self,
        cluster: &Arc<Cluster>,
        starving: &mut Option<Starving>,
        starves: bool,
    ) -> Option<Permit> {
        if !starves {
            *starving = None;
        }
        let others_first = starving.is_none() && cluster.usage.starving.load(Ordering::Relaxed) > 0;
        let permit =
            if others_first { None } else { Permit::connection(cluster, &self.endpoint, true) };
        match &permit {
            Some(_) => *starving = None,
            None => {
                self.stats.upstream_cx_overflow.inc();
                Starving::note(starving, cluster, starves);
            }
        }
        permit
    }

    /// Gives way to who has no connection, while there are some here, where connections are limited.
    fn gives_way(self: &Rc<Self>, cluster: &Arc<Cluster>) {
        if cluster.limits.bound_connections() {
            let watch = || give_way(Rc::downgrade(self), Arc::clone(cluster));
            let mut giving = self.giving.borrow_mut();
            giving.get_or_insert_with(|| tokio::task::spawn_local(watch()).abort_handle());
        }
    }

    /// Closes a connection that carries nothing, as another worker has none; tells whether there was one.
    pub(super) fn close_idle_one(&self) -> bool {
        let idle = self.idle.borrow_mut().pop();
        idle.is_some() || self.multiplex.close_idle_one()
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
        self.lease(local, server, Liveness::Verified).await
    }

    /// The connection that was used last, of those made for `server`, if one waits.
    pub fn reuse(self: &Rc<Self>, server: &str, liveness: Liveness) -> Option<Lease> {
        loop {
            let mut idle = self.idle.borrow_mut();
            let at = idle.iter().rposition(|open| *open.server == *server)?;
            let mut open = idle.remove(at);
            drop(idle);
            if open.is_over(Instant::now) {
                continue;
            }
            if open.conn.is_reusable(liveness) {
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
        let Some(permit) = Permit::connection(&local.cluster, &self.endpoint, false) else {
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
            expires: dialled.expires(cluster.http.max_duration),
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
        if carries != Carries::Tcp {
            self.gives_way(cluster);
        }
        let dial = self.open(cluster, server, carries);
        let io = match tokio::time::timeout(cluster.connect_timeout, dial).await {
            Ok(Ok((io, passing))) => {
                dialled.passing = passing;
                io
            }
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
        dialled.established(io.local_addr(), started);
        Ok((dialled, io))
    }

    /// Connects, says who the client is where the cluster has that, and shakes hands where it speaks TLS.
    async fn open(
        &self,
        cluster: &Cluster,
        server: &str,
        carries: Carries,
    ) -> Result<(Io, Option<Passing>), ConnectError> {
        let remote = &self.endpoint.address;
        let source = self.source.map(Source::Client).or_else(|| cluster.sources.of(remote));
        let keepalive = cluster.keepalive.as_ref();
        let (mut io, passing) = match (self.passes, remote) {
            (Some(passes), Remote::Ip(address)) => {
                let (io, passing) = original::dial(*address, source, passes).await?;
                io.set_nodelay(true)?;
                if let Some(keepalive) = keepalive {
                    keepalive.apply(&io)?;
                }
                (Io::Plain(io), passing)
            }
            _ => (Io::dial(remote, source, keepalive).await?, None),
        };
        if let Some(header) = &cluster.proxy_header {
            self.introduce(header, &mut io).await?;
        }
        let (secure, io) = match (&cluster.tls, io) {
            (Some(secure), Io::Plain(io)) => (secure, io),
            (_, io) => return Ok((io, passing)),
        };
        let asks = secure.asks(server, remote, carries.alpn());
        // Boxed, so that requests to plain endpoints do not carry the size of a handshake.
        let shaken = Box::pin(tls::connect(io, &secure.context, asks, &self.buffers)).await;
        self.count(&shaken);
        shaken.map(|io| (Io::Tls(io), passing)).map_err(|why| ConnectError::of(why, cluster))
    }

    /// Begins a connection with its PROXY header.
    async fn introduce(&self, header: &ProxyHeader, io: &mut Io) -> io::Result<()> {
        let own = || Ends::of(io.local_addr()?, &self.endpoint.address);
        let bytes = header.bytes(self.client(), own);
        io.write_all(&bytes).await?;
        self.stats.upstream_cx_tx_bytes_total.add(bytes.len() as u64);
        Ok(())
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

    /// Closes connections that have been idle for longer than `timeout`, that are too old, or that the endpoint has closed.
    pub fn sweep(&self, now: Instant, timeout: Option<Duration>) {
        self.beside.all().iter().for_each(|pool| pool.sweep(now, timeout));
        self.multiplex.sweep(self, now, timeout);
        self.idle.borrow_mut().retain_mut(|open| {
            let expired = timeout.is_some_and(|timeout| now - open.idle_since >= timeout);
            if expired {
                self.stats.upstream_cx_idle_timeout.inc();
            }
            if expired || open.is_over(|| now) {
                return false;
            }
            let reusable = open.conn.is_reusable(Liveness::Assumed);
            if !reusable {
                open.dialled.closed_by_endpoint();
            }
            reusable
        });
    }

    /// Closes all idle connections.
    pub fn close_idle(&self) {
        self.beside.all().iter().for_each(|pool| pool.close_idle());
        let idle = std::mem::take(&mut *self.idle.borrow_mut());
        drop(idle);
    }

    /// The endpoint is gone: idle connections close now, others when their request is over.
    pub fn close(&self) {
        self.beside.all().iter().for_each(|pool| pool.close());
        self.closed.set(true);
        self.multiplex.close();
        self.close_idle();
    }

    /// Whether connections that come back are closed.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Some(giving) = self.giving.get_mut() {
            giving.abort();
        }
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
        let now = Instant::now();
        if pool.is_closed() || open.is_over(|| now) || open.dialled.is_wanted() {
            return;
        }
        open.idle_since = now;
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

#[cfg(test)]
mod tests;
