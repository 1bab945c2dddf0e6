//! A connection of HTTP/2 to an endpoint, and the streams on it.
//!
//! The worker that has made it moves its bytes. Where a cluster may have no more connections, other workers open streams on it,
//! too: the limit would otherwise hold up whoever came to another worker than those before, for as long as their streams last.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU32, fence};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use bytes::Bytes;
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};
use http::Request;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::stats::{ClusterStats, Stats};
use crate::upstream::cluster::Cluster;
use crate::upstream::pool::Pool;
use crate::upstream::proxy_header::Ends;
use crate::upstream::source::ClientSource;

/// One connection. Dropping it closes it: nobody uses it any more, and nobody will.
#[derive(Debug)]
pub struct Connection {
    pub(super) send: SendRequest<Bytes>,
    pub(super) local: Option<SocketAddr>,
    /// The server that it was made for; empty when the cluster makes no difference.
    pub(super) server: Box<str>,
    pub(super) terms: Terms,
    pub(super) state: Arc<State>,
    /// How many streams it has had.
    pub(super) carried: AtomicU32,
    /// When it is too old for a further request.
    pub(super) expires: Option<Instant>,
    /// Whether it takes no streams for now ([`Leaving`]).
    pub(super) leaves: AtomicBool,
    /// Whether it was to leave, and its streams went on.
    pub(super) stays: AtomicBool,
    /// Has its worker read what has come on it.
    pub(super) looks: mpsc::UnboundedSender<Look>,
    pub(super) task: AbortHandle,
}

/// What else two requests must have in common to be sent on one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Terms {
    /// How often they have passed the proxy, where that counts.
    passes: Option<u8>,
    /// What it comes from, where that is a client's address.
    source: Option<ClientSource>,
    /// The ends of the client's connection, where it is one client's.
    client: Option<Ends>,
}

impl Terms {
    /// Those of a pool's connections.
    pub(super) fn of(pool: &Pool) -> Self {
        Self { passes: pool.passes, source: pool.source, client: pool.client() }
    }
}

/// Told when what had come on a connection is read.
pub(super) type Look = oneshot::Sender<()>;

/// What a connection and the task that moves its bytes know of each other.
#[derive(Debug)]
pub(super) struct State {
    pub(super) cluster: Arc<Cluster>,
    /// Wakes its worker's requests that wait.
    pub(super) changed: Arc<Notify>,
    pub(super) streams: AtomicU32,
    /// Whether the endpoint has said how many streams it takes, or had the time to.
    pub(super) greeted: AtomicBool,
    /// Whether it takes no more streams: it is over, or no pool has it any more.
    pub(super) closed: AtomicBool,
}

impl State {
    pub(super) fn new(cluster: &Arc<Cluster>, changed: &Arc<Notify>) -> Self {
        Self {
            cluster: Arc::clone(cluster),
            changed: Arc::clone(changed),
            streams: AtomicU32::default(),
            greeted: AtomicBool::default(),
            closed: AtomicBool::default(),
        }
    }

    /// Wakes who waits for a stream, in whichever worker.
    pub(super) fn wake(&self) {
        self.changed.notify_waiters();
        // Either who waits sees what has changed, or it is seen here.
        fence(SeqCst);
        let Cluster { limits, usage, .. } = &*self.cluster;
        if limits.bound_connections() && usage.pending_requests.load(Relaxed) > 0 {
            usage.freed.notify_waiters();
        }
    }
}

impl Connection {
    /// A place for one stream, if it has one for such a request.
    pub(super) fn begin(self: &Arc<Self>, wanted: Wanted<'_>) -> Option<StreamLease> {
        if !wanted.fits(self) || self.leaves.load(Relaxed) {
            return None;
        }
        let http = &self.state.cluster.http;
        let streams = raise(&self.state.streams, http.max_streams.min(self.allowed()))?;
        let mut lease = StreamLease {
            send: self.send.clone(),
            connection: Arc::clone(self),
            reused: false,
            alone: streams == 1,
        };
        let most = http.max_requests.unwrap_or(u32::MAX);
        let carried = raise(&self.carried, most)?;
        if carried == most {
            wanted.stats.upstream_cx_max_requests.inc();
            self.close();
        }
        lease.reused = carried > 1;
        Some(lease)
    }

    /// As many streams as the endpoint says, which it may change (RFC 9113 section 6.5.2). What is more would wait in `h2` for the end of
    /// others, where no limit counts it and no other connection can take it. So it is one before the endpoint has said
    /// anything, and none after that one: it was given up, and `h2` may tell the endpoint so behind the next one, which it would then
    /// refuse. One waits even where the endpoint allows none.
    fn allowed(&self) -> u32 {
        if !self.state.greeted.load(Relaxed) {
            return u32::from(self.carried.load(Relaxed) == 0);
        }
        u32::try_from(self.send.current_max_send_streams()).unwrap_or(u32::MAX).max(1)
    }

    /// Waits until its worker has read what has come by now, an end above all: only that worker can. It moves the streams' bytes, so
    /// that they would wait for it anyway.
    pub(super) async fn catch_up(&self) {
        let (look, read) = oneshot::channel();
        if self.looks.send(look).is_ok() {
            // Without a word where the connection is over.
            let _ = read.await;
        }
    }

    pub(super) fn streams(&self) -> u32 {
        self.state.streams.load(Relaxed)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.closed.load(Relaxed)
    }

    /// Takes no more streams.
    pub(super) fn close(&self) {
        self.state.closed.store(true, Relaxed);
    }

    /// Whether it is too old for a further request; counts that.
    pub(super) fn is_over(
        &self,
        stats: &Stats<ClusterStats>,
        now: impl FnOnce() -> Instant,
    ) -> bool {
        let over = self.is_old(now);
        if over {
            stats.upstream_cx_max_duration_reached.inc();
        }
        over
    }

    fn is_old(&self, now: impl FnOnce() -> Instant) -> bool {
        self.expires.is_some_and(|at| now() >= at)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Adds one where that is not more than `most`; tells how many it comes to.
fn raise(count: &AtomicU32, most: u32) -> Option<u32> {
    let before = count.fetch_update(Relaxed, Relaxed, |n| (n < most).then(|| n + 1));
    before.ok().map(|n| n + 1)
}

/// A place for one request on a connection.
#[derive(Debug)]
pub struct StreamLease {
    pub(super) send: SendRequest<Bytes>,
    pub(super) connection: Arc<Connection>,
    /// Whether the connection has carried a request before.
    pub reused: bool,
    /// Whether it had no other stream when this one began.
    pub(super) alone: bool,
}

impl StreamLease {
    /// Our address on the connection.
    #[must_use]
    pub fn local(&self) -> Option<SocketAddr> {
        self.connection.local
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
            self.connection.close();
        }
        sent
    }
}

impl Drop for StreamLease {
    fn drop(&mut self) {
        let connection = &self.connection;
        let was_last = connection.state.streams.fetch_sub(1, Relaxed) == 1;
        connection.state.wake();
        let usage = &connection.state.cluster.usage;
        if was_last && usage.starving.load(Relaxed) > 0 {
            // It carries nothing, and can give its place to who has none.
            usage.asked.notify_waiters();
        }
    }
}

/// The connections to an endpoint over all workers, where a cluster limits them. The list is replaced when one is made, and looked
/// at without a lock by who may make none.
#[derive(Debug, Default)]
pub struct Everywhere(ArcSwap<Vec<Weak<Connection>>>);

/// What a request asks of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'w> {
    pub(super) cluster: &'w Arc<Cluster>,
    pub(super) server: &'w str,
    pub(super) terms: Terms,
    pub(super) stats: &'w Stats<ClusterStats>,
}

impl Wanted<'_> {
    fn fits(self, connection: &Connection) -> bool {
        Arc::ptr_eq(&connection.state.cluster, self.cluster)
            && *connection.server == *self.server
            && connection.terms == self.terms
            && !connection.is_closed()
    }
}

impl Everywhere {
    pub(super) fn enter(&self, connection: &Arc<Connection>) {
        self.0.rcu(|all| {
            let alive = all.iter().filter(|one| one.strong_count() > 0).cloned();
            alive.chain([Arc::downgrade(connection)]).collect::<Vec<_>>()
        });
    }

    /// A place for one stream, in whichever worker.
    pub(super) fn begin(&self, wanted: Wanted<'_>) -> Option<StreamLease> {
        let all = self.0.load();
        let mut fitting = all.iter().filter_map(Weak::upgrade).filter(|one| wanted.fits(one));
        fitting.find_map(|one| if one.is_old(Instant::now) { None } else { one.begin(wanted) })
    }

    /// Whether there is a connection that takes such requests, now or once others are over.
    pub(super) fn has(&self, wanted: Wanted<'_>) -> bool {
        self.0.load().iter().filter_map(Weak::upgrade).any(|one| wanted.fits(&one))
    }
}

/// Has a connection take no streams, so that its place becomes free for a request to another server, which has none. Streams may
/// last for ever: the connection goes on when this is dropped.
#[derive(Debug)]
pub(in crate::upstream) struct Leaving {
    connection: Arc<Connection>,
    end: Instant,
}

impl Leaving {
    /// Begins, if fewer leave than are needed. It lasts as long as a connection may take to make, once for a connection.
    pub(super) fn begin(connection: &Arc<Connection>) -> Option<Self> {
        let cluster = &connection.state.cluster;
        let needed = cluster.usage.starving.load(Relaxed);
        let leaving = &cluster.usage.leaving;
        // Where it is not needed nobody is woken: who waits would ask again, for ever.
        let begins = leaving.fetch_update(Relaxed, Relaxed, |n| (n < needed).then(|| n + 1));
        begins.ok()?;
        connection.leaves.store(true, Relaxed);
        let end = Instant::now() + cluster.connect_timeout;
        Some(Self { connection: Arc::clone(connection), end })
    }

    /// When it ends at the latest.
    pub(in crate::upstream) fn end(&self) -> Instant {
        self.end
    }

    /// Whether somebody still waits for the place.
    pub(in crate::upstream) fn goes_on(&self) -> bool {
        let starving = self.connection.state.cluster.usage.starving.load(Relaxed);
        starving > 0 && !self.connection.is_closed() && Instant::now() < self.end
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection.state.cluster.usage.leaving.fetch_sub(1, Relaxed);
        connection.leaves.store(false, Relaxed);
        connection.stays.store(Instant::now() >= self.end, Relaxed);
        connection.state.wake();
    }
}
