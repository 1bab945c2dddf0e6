//! A worker's HTTP/2 connections to one endpoint: many requests on each.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};
use http::Request;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::cluster::Cluster;
use super::counted::Counted;
use super::local::LocalCluster;
use super::pool::{ConnectError, Permit, Pool};

/// Window of a stream and of a connection towards endpoints: large enough not to limit a fast network.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// Largest response head; Envoy's default.
const MAX_HEAD: u32 = 60 * 1024;

/// The HTTP/2 connections of one worker to one endpoint.
#[derive(Debug, Default)]
pub struct Multiplex {
    open: RefCell<Vec<Rc<Shared>>>,
    connecting: RefCell<Option<Rc<Attempt>>>,
    changed: Rc<Notify>,
}

/// The making of a connection, which all who wait for one share.
#[derive(Debug)]
struct Attempt {
    /// The server that it is made for.
    server: Box<str>,
    failed: RefCell<Option<ConnectError>>,
}

/// One connection.
#[derive(Debug)]
struct Shared {
    send: SendRequest<Bytes>,
    local: Option<SocketAddr>,
    /// The server that it was made for; empty when the cluster makes no difference.
    server: Box<str>,
    streams: Rc<Cell<u32>>,
    carried: Cell<u32>,
    /// What it had carried when it was last looked at, and since when that is so. A request costs no look at
    /// the clock.
    looked: Cell<(u32, Instant)>,
    closed: Rc<Cell<bool>>,
    task: tokio::task::AbortHandle,
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Nobody uses the connection any more, and nobody will.
        self.task.abort();
    }
}

/// A place for one request on a connection.
#[derive(Debug)]
pub struct StreamLease {
    send: SendRequest<Bytes>,
    shared: Rc<Shared>,
    changed: Rc<Notify>,
}

impl Multiplex {
    /// A place on a connection that has one, or on a new one.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn lease(
        &self,
        pool: &Rc<Pool>,
        local: &LocalCluster,
        server: &str,
    ) -> Result<StreamLease, ConnectError> {
        if let Some(lease) = self.place_now(pool, local, server).await {
            return Ok(lease);
        }
        let pending = pool.wait(&local.cluster)?;
        let leased = self.place_or_connect(pool, local, server).await;
        pending.end(&leased);
        leased
    }

    /// A place on a connection that is open, once the endpoint allows one.
    async fn place_now(
        &self,
        pool: &Pool,
        local: &LocalCluster,
        server: &str,
    ) -> Option<StreamLease> {
        // The endpoint may allow fewer streams than we do; then this waits for one of them to end.
        loop {
            let mut lease = self.place(pool, &local.cluster, server)?;
            match poll_fn(|cx| lease.send.poll_ready(cx)).await {
                Ok(()) => return Some(lease),
                Err(_) => lease.shared.closed.set(true),
            }
        }
    }

    async fn place_or_connect(
        &self,
        pool: &Rc<Pool>,
        local: &LocalCluster,
        server: &str,
    ) -> Result<StreamLease, ConnectError> {
        loop {
            // Listens before it looks: what becomes free in between is not missed.
            let (changed, freed) = (self.changed.notified(), local.cluster.usage.freed.notified());
            if let Some(lease) = self.place_now(pool, local, server).await {
                return Ok(lease);
            }
            // One at a time: requests that arrive together share the connection that is being made, and its
            // failure.
            let under_way = self.connecting.borrow().clone();
            if let Some(attempt) = under_way {
                changed.await;
                match &*attempt.failed.borrow() {
                    Some(error) if *attempt.server == *server => return Err(error.again()),
                    _ => continue,
                }
            }
            let Some(permit) = pool.permit(&local.cluster) else {
                self.make_room();
                tokio::select! {
                    () = changed => {}
                    () = freed => {}
                }
                continue;
            };
            let connecting = Connecting::new(self, server);
            let made = self.connect(pool, local, server, permit).await;
            if let Err(error) = &made {
                connecting.attempt.failed.replace(Some(error.again()));
            }
            drop(connecting);
            made?;
        }
    }

    fn place(&self, pool: &Pool, cluster: &Cluster, server: &str) -> Option<StreamLease> {
        let mut open = self.open.borrow_mut();
        let spent = |shared: &Shared| {
            let max = cluster.max_requests_per_connection;
            let spent = max.is_some_and(|max| shared.carried.get() >= max);
            if spent {
                pool.stats.upstream_cx_max_requests.inc();
            }
            spent
        };
        open.retain(|shared| !shared.closed.get() && !spent(shared));
        let free = open.iter().find(|shared| {
            *shared.server == *server && shared.streams.get() < cluster.max_concurrent_streams
        })?;
        free.streams.set(free.streams.get() + 1);
        free.carried.set(free.carried.get() + 1);
        Some(StreamLease {
            send: free.send.clone(),
            shared: Rc::clone(free),
            changed: Rc::clone(&self.changed),
        })
    }

    async fn connect(
        &self,
        pool: &Rc<Pool>,
        local: &LocalCluster,
        server: &str,
        permit: Permit,
    ) -> Result<(), ConnectError> {
        let (dialled, io) = pool.dial_for_streams(local, server, permit).await?;
        let handshake = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEAD)
            .enable_push(false)
            .handshake::<_, Bytes>(Counted::new(io, pool.stats.clone()));
        let timeout = local.cluster.connect_timeout;
        let (send, connection) = match tokio::time::timeout(timeout, handshake).await {
            Ok(made) => made.map_err(std::io::Error::other)?,
            Err(_) => return Err(ConnectError::Timeout),
        };
        let closed = Rc::new(Cell::new(false));
        let address = dialled.local;
        let (over, changed) = (Rc::clone(&closed), Rc::clone(&self.changed));
        let streams = Rc::new(Cell::new(0));
        let busy = Rc::clone(&streams);
        let task = tokio::task::spawn_local(async move {
            match connection.await {
                // By a GOAWAY, after its streams: we end connections by ending this task.
                Ok(()) => dialled.pool().stats.upstream_cx_close_notify.inc(),
                Err(error) => {
                    tracing::debug!(%error, "an HTTP/2 connection to an endpoint ended");
                    if error.is_go_away() && error.is_remote() {
                        dialled.pool().stats.upstream_cx_close_notify.inc();
                    }
                }
            }
            dialled.closed_by_endpoint();
            if busy.get() > 0 {
                dialled.closes_busy();
            }
            drop(dialled);
            over.set(true);
            changed.notify_waiters();
        });
        self.open.borrow_mut().push(Rc::new(Shared {
            send,
            local: address,
            server: server.into(),
            streams,
            carried: Cell::new(0),
            looked: Cell::new((0, Instant::now())),
            closed,
            task: task.abort_handle(),
        }));
        Ok(())
    }

    /// Closes a connection without a stream: it was made for another server than the one that is asked for.
    fn make_room(&self) {
        let mut open = self.open.borrow_mut();
        if let Some(idle) = open.iter().position(|shared| shared.streams.get() == 0) {
            open.remove(idle);
        }
    }

    /// Closes connections without a stream that have been so for longer than `timeout`; tells how many.
    pub fn sweep(&self, now: Instant, timeout: Option<Duration>) -> u64 {
        let mut expired = 0;
        self.open.borrow_mut().retain(|shared| {
            let (carried, since) = shared.looked.get();
            if shared.streams.get() > 0 || shared.carried.get() != carried {
                shared.looked.set((shared.carried.get(), now));
                return true;
            }
            let idle = timeout.is_some_and(|timeout| now - since >= timeout);
            expired += u64::from(idle);
            !idle
        });
        expired
    }

    /// Forgets all connections; each closes when its last stream is over.
    pub fn close(&self) {
        self.open.borrow_mut().clear();
    }
}

/// Says that a connection is being made, until dropped.
struct Connecting<'a> {
    multiplex: &'a Multiplex,
    attempt: Rc<Attempt>,
}

impl<'a> Connecting<'a> {
    fn new(multiplex: &'a Multiplex, server: &str) -> Self {
        let attempt = Rc::new(Attempt { server: server.into(), failed: RefCell::default() });
        multiplex.connecting.replace(Some(Rc::clone(&attempt)));
        Self { multiplex, attempt }
    }
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        self.multiplex.connecting.take();
        self.multiplex.changed.notify_waiters();
    }
}

impl StreamLease {
    /// Our address on the connection.
    #[must_use]
    pub fn local(&self) -> Option<SocketAddr> {
        self.shared.local
    }

    /// Opens the stream.
    ///
    /// # Errors
    /// The connection takes no more streams; it is not used again.
    pub fn send_request(
        &mut self,
        request: Request<()>,
        end: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        let sent = self.send.send_request(request, end);
        if sent.is_err() {
            self.shared.closed.set(true);
        }
        sent
    }
}

impl Drop for StreamLease {
    fn drop(&mut self) {
        self.shared.streams.set(self.shared.streams.get() - 1);
        self.changed.notify_waiters();
    }
}
