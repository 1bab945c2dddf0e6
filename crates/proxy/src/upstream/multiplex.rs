//! A worker's HTTP/2 connections to one endpoint: many requests on each.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};
use http::Request;
use tokio::sync::Notify;

use super::cluster::Cluster;
use super::local::LocalCluster;
use super::pool::{ConnectError, Pool};

/// Window of a stream and of a connection towards endpoints: large enough not to limit a fast network.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// The HTTP/2 connections of one worker to one endpoint.
#[derive(Debug, Default)]
pub struct Multiplex {
    open: RefCell<Vec<Rc<Shared>>>,
    connecting: Cell<bool>,
    changed: Rc<Notify>,
}

/// One connection.
#[derive(Debug)]
struct Shared {
    send: SendRequest<Bytes>,
    local: Option<SocketAddr>,
    streams: Cell<u32>,
    carried: Cell<u32>,
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
    ) -> Result<StreamLease, ConnectError> {
        loop {
            if let Some(mut lease) = self.place(&local.cluster) {
                // The endpoint may allow fewer streams than we do; then this waits for one of them to end.
                match poll_fn(|cx| lease.send.poll_ready(cx)).await {
                    Ok(()) => return Ok(lease),
                    Err(_) => lease.shared.closed.set(true),
                }
                continue;
            }
            // One at a time: requests that arrive together share the connection that is being made.
            if self.connecting.get() {
                self.changed.notified().await;
                continue;
            }
            let connecting = Connecting::new(self);
            let made = self.connect(pool, local).await;
            drop(connecting);
            made?;
        }
    }

    fn place(&self, cluster: &Cluster) -> Option<StreamLease> {
        let mut open = self.open.borrow_mut();
        let spent = |shared: &Shared| {
            let max = cluster.max_requests_per_connection;
            max.is_some_and(|max| shared.carried.get() >= max)
        };
        open.retain(|shared| !shared.closed.get() && !spent(shared));
        let free =
            open.iter().find(|shared| shared.streams.get() < cluster.max_concurrent_streams)?;
        free.streams.set(free.streams.get() + 1);
        free.carried.set(free.carried.get() + 1);
        Some(StreamLease {
            send: free.send.clone(),
            shared: Rc::clone(free),
            changed: Rc::clone(&self.changed),
        })
    }

    async fn connect(&self, pool: &Rc<Pool>, local: &LocalCluster) -> Result<(), ConnectError> {
        let (dialled, io) = pool.dial_for_streams(local).await?;
        let handshake = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .enable_push(false)
            .handshake::<_, Bytes>(io);
        let timeout = local.cluster.connect_timeout;
        let (send, connection) = match tokio::time::timeout(timeout, handshake).await {
            Ok(made) => made.map_err(std::io::Error::other)?,
            Err(_) => return Err(ConnectError::Timeout),
        };
        let closed = Rc::new(Cell::new(false));
        let address = dialled.local;
        let (over, changed) = (Rc::clone(&closed), Rc::clone(&self.changed));
        let task = tokio::task::spawn_local(async move {
            let _dialled = dialled;
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an HTTP/2 connection to an endpoint ended");
            }
            over.set(true);
            changed.notify_waiters();
        });
        self.open.borrow_mut().push(Rc::new(Shared {
            send,
            local: address,
            streams: Cell::new(0),
            carried: Cell::new(0),
            closed,
            task: task.abort_handle(),
        }));
        Ok(())
    }

    /// Forgets all connections; each closes when its last stream is over.
    pub fn close(&self) {
        self.open.borrow_mut().clear();
    }
}

/// Says that a connection is being made, until dropped.
struct Connecting<'a>(&'a Multiplex);

impl<'a> Connecting<'a> {
    fn new(multiplex: &'a Multiplex) -> Self {
        multiplex.connecting.set(true);
        Self(multiplex)
    }
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        self.0.connecting.set(false);
        self.0.changed.notify_waiters();
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
