//! A worker's HTTP/2 connections to one endpoint: many requests on each.

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Ping, PingPong, SendStream};
use http::Request;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::cluster::{Cluster, Probe};
use super::counted::Counted;
use super::dialled::Dialled;
use super::limits::{Leaving, Permit};
use super::local::LocalCluster;
use super::pool::{ConnectError, Pool};
use crate::random::Random;

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
    /// When it is too old for a further request.
    expires: Option<Instant>,
    task: tokio::task::AbortHandle,
    /// Whether its place is for another worker once its streams are over.
    leaving: RefCell<Option<Leaving>>,
}

impl Shared {
    /// Whether it is too old for a further request; counts that.
    fn is_over(&self, pool: &Pool, now: impl FnOnce() -> Instant) -> bool {
        let over = self.expires.is_some_and(|at| now() >= at);
        if over {
            pool.stats.upstream_cx_max_duration_reached.inc();
        }
        over
    }
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
        let (mut starving, mut patience) = (None, None);
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
                starving = None;
                changed.await;
                match &*attempt.failed.borrow() {
                    Some(error) if *attempt.server == *server => return Err(error.again()),
                    _ => continue,
                }
            }
            let starves = self.open.borrow().is_empty();
            let most = local.cluster.connect_timeout;
            let end = *patience.get_or_insert_with(|| Instant::now() + most);
            let permit = pool.permit(&local.cluster, &mut starving, starves).or_else(|| {
                let waited = starves && Instant::now() >= end;
                waited.then(|| Permit::beyond(&local.cluster, &pool.endpoint)).flatten()
            });
            let Some(permit) = permit else {
                self.make_room();
                tokio::select! {
                    () = changed => {}
                    () = freed => {}
                    () = sleep_until(end), if starves => {}
                }
                continue;
            };
            starving = None;
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
            let max = cluster.http.max_requests;
            let spent = max.is_some_and(|max| shared.carried.get() >= max);
            if spent {
                pool.stats.upstream_cx_max_requests.inc();
            }
            spent || shared.is_over(pool, Instant::now)
        };
        open.retain(|shared| !shared.closed.get() && !spent(shared));
        let free = open.iter().find(|shared| {
            *shared.server == *server && shared.streams.get() < cluster.http.max_streams
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
        let counted = Counted::new(io, pool.stats.clone());
        let heard = counted.received();
        let handshake = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEAD)
            .enable_push(false)
            .handshake::<_, Bytes>(counted);
        let most = local.cluster.connect_timeout;
        let (send, mut connection) = match timeout(most, handshake).await {
            Ok(made) => made.map_err(std::io::Error::other)?,
            Err(_) => return Err(ConnectError::Timeout),
        };
        let probe = local.cluster.http.probe.zip(connection.ping_pong());
        let expires = dialled.expires(local.cluster.http.max_duration);
        let closed = Rc::new(Cell::new(false));
        let address = dialled.local;
        let (over, changed) = (Rc::clone(&closed), Rc::clone(&self.changed));
        let streams = Rc::new(Cell::new(0));
        let busy = Rc::clone(&streams);
        let task = tokio::task::spawn_local(async move {
            let ended = match probe {
                Some((probe, pings)) => tokio::select! {
                    ended = connection => Some(ended),
                    () = silent(probe, pings, &heard) => None,
                },
                None => Some(connection.await),
            };
            note_end(&dialled, ended);
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
            expires,
            task: task.abort_handle(),
            leaving: RefCell::default(),
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

    /// Closes a connection without a stream, or has the one with the fewest take no more, for another worker's sake.
    pub(super) fn yield_one(&self, cluster: &Arc<Cluster>) {
        let mut open = self.open.borrow_mut();
        let streams = |(_, shared): &(usize, &Rc<Shared>)| shared.streams.get();
        let Some((at, _)) = open.iter().enumerate().min_by_key(streams) else { return };
        if open[at].streams.get() == 0 {
            open.remove(at);
        } else if let Some(leaving) = Leaving::begin(cluster) {
            // With its last stream it is dropped, and with it its place.
            open.remove(at).leaving.replace(Some(leaving));
        }
    }

    /// Closes connections that are too old once they carry no stream, and those that have been without one for longer
    /// than `timeout`.
    pub(super) fn sweep(&self, pool: &Pool, now: Instant, timeout: Option<Duration>) {
        self.open.borrow_mut().retain(|shared| {
            if shared.is_over(pool, || now) {
                return false;
            }
            let (carried, since) = shared.looked.get();
            if shared.streams.get() > 0 || shared.carried.get() != carried {
                shared.looked.set((shared.carried.get(), now));
                return true;
            }
            let idle = timeout.is_some_and(|timeout| now - since >= timeout);
            if idle {
                pool.stats.upstream_cx_idle_timeout.inc();
            }
            !idle
        });
    }

    /// Forgets all connections; each closes when its last stream is over.
    pub fn close(&self) {
        self.open.borrow_mut().clear();
    }
}

/// Counts how a connection ended; `None` when its endpoint was silent for too long.
fn note_end(dialled: &Dialled, ended: Option<Result<(), h2::Error>>) {
    let stats = &dialled.pool().stats;
    match ended {
        None => {
            stats.http2_keepalive_timeout.inc();
            return;
        }
        // By a GOAWAY, after its streams: we end connections by ending their tasks.
        Some(Ok(())) => stats.upstream_cx_close_notify.inc(),
        Some(Err(error)) => {
            tracing::debug!(%error, "an HTTP/2 connection to an endpoint ended");
            if error.is_go_away() && error.is_remote() {
                stats.upstream_cx_close_notify.inc();
            }
        }
    }
    dialled.closed_by_endpoint();
}

/// Asks an endpoint again and again whether it is there; ends when it was silent for too long. What it sends
/// otherwise tells as much as an answer, which may wait behind it.
async fn silent(probe: Probe, mut pings: PingPong, heard: &Cell<u64>) {
    let random = Random::default();
    loop {
        let share = random.next() as f64 / u64::MAX as f64;
        sleep(probe.interval.mul_f64(1.0 + probe.jitter * share)).await;
        if pings.send_ping(Ping::opaque()).is_err() {
            return pending().await;
        }
        loop {
            let before = heard.get();
            match timeout(probe.timeout, poll_fn(|cx| pings.poll_pong(cx))).await {
                Ok(Ok(_)) => break,
                // The connection itself tells why it ended.
                Ok(Err(_)) => return pending().await,
                Err(_) if heard.get() == before => return,
                Err(_) => {}
            }
        }
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;
    use crate::stats::Registry;

    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    /// One more byte for the connection (RFC 9113 section 6.9).
    const WINDOW_UPDATE: [u8; 13] = [0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1];

    /// How many seconds it takes until an endpoint counts as silent; none within ten minutes.
    async fn silence<F: Future<Output = ()> + 'static>(
        endpoint: impl FnOnce(DuplexStream) -> F,
    ) -> Option<u64> {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let counted = Counted::new(ours, Registry::new(1).worker(0).cluster("c"));
        let heard = counted.received();
        let second = Duration::from_secs(1);
        let probe = Probe { interval: 10 * second, jitter: 0.0, timeout: second };
        let locals = tokio::task::LocalSet::new();
        locals.spawn_local(endpoint(theirs));
        locals
            .run_until(async {
                let client = h2::client::Builder::new().handshake::<_, Bytes>(counted);
                let (_send, mut connection) = client.await.expect("a connection");
                let pings = connection.ping_pong().expect("asked for once");
                tokio::task::spawn_local(connection);
                let started = Instant::now();
                let ended = timeout(600 * second, silent(probe, pings, &heard)).await;
                ended.is_ok().then(|| started.elapsed().as_secs())
            })
            .await
    }

    async fn drain(mut stream: impl tokio::io::AsyncRead + Unpin) {
        while stream.read_u8().await.is_ok() {}
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_after_a_ping_is_silent() {
        let nothing = silence(|mut stream| async move {
            let _ = stream.write_all(&SETTINGS).await;
            drain(stream).await;
        });
        assert_eq!(nothing.await, Some(11));
        // Anything that is heard shows that the endpoint is there, though the answer is not.
        let busy = silence(|stream| async move {
            let (read, mut write) = tokio::io::split(stream);
            tokio::task::spawn_local(drain(read));
            let _ = write.write_all(&SETTINGS).await;
            for _ in 0..100 {
                sleep(Duration::from_millis(500)).await;
                let _ = write.write_all(&WINDOW_UPDATE).await;
            }
            pending::<()>().await;
        });
        let ended = busy.await;
        assert!(ended.is_some_and(|seconds| (50..53).contains(&seconds)), "{ended:?}");
        let answering = silence(|stream| async move {
            let mut server = h2::server::handshake(stream).await.expect("a connection");
            while server.accept().await.is_some() {}
        });
        assert_eq!(answering.await, None);
    }
}
