//! A worker's HTTP/2 connections to one endpoint: many requests on each.

mod connection;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU32, fence};
use std::time::Duration;

use bytes::Bytes;
use h2::{Ping, PingPong};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, timeout};

pub(super) use connection::Leaving;
pub use connection::{Connection, Everywhere, StreamLease};
use connection::{Look, State, Terms, Wanted};

use super::cluster::{Cluster, Probe};
use super::counted::{Counted, Heard};
use super::dialled::Dialled;
use super::limits::{Permit, is_full};
use super::local::LocalCluster;
use super::pool::{ConnectError, Pool};
use crate::io::{Io, Liveness};
use crate::random::Random;

/// Window of a stream and of a connection towards endpoints: large enough not to limit a fast network.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// Largest response head; Envoy's default.
const MAX_HEAD: u32 = 60 * 1024;
/// What `h2` takes for the most streams as long as the endpoint has not said how many it takes: no SETTINGS say this.
const UNSAID: usize = u32::MAX as usize + 1;

/// The HTTP/2 connections of one worker to one endpoint.
#[derive(Debug, Default)]
pub struct Multiplex {
    open: RefCell<Vec<Open>>,
    connecting: RefCell<Option<Rc<Attempt>>>,
    changed: Arc<Notify>,
    /// Whether nobody comes any more but those who are on their way.
    closed: Cell<bool>,
}

/// The making of a connection, which all who wait for one share.
#[derive(Debug)]
struct Attempt {
    /// The server that it is made for.
    server: Box<str>,
    failed: RefCell<Option<ConnectError>>,
}

/// A connection that this worker has made.
#[derive(Debug)]
struct Open {
    connection: Arc<Connection>,
    heard: Rc<Heard<Io>>,
    /// What it had carried when it was last looked at, and since when that is so. A request costs no look at
    /// the clock.
    looked: Cell<(u32, Instant)>,
}

impl Multiplex {
    /// A place on a connection that has one, or on a new one. An idle connection is looked at before as [`Liveness`] says; what ends
    /// one that carries others ends them, too, and is read with what they wait for.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn lease(
        &self,
        pool: &Rc<Pool>,
        local: &LocalCluster,
        server: &str,
        liveness: Liveness,
    ) -> Result<StreamLease, ConnectError> {
        let _visit = Visit(self);
        if let Some(lease) = self.place_now(pool, local, server, liveness).await {
            return Ok(lease);
        }
        let pending = pool.wait(&local.cluster)?;
        let leased = self.place_or_connect(pool, local, server, liveness).await;
        pending.end(&leased);
        leased
    }

    /// A place on a connection that is open: of this worker, or of any where there may be no more connections.
    async fn place_now(
        &self,
        pool: &Pool,
        local: &LocalCluster,
        server: &str,
        liveness: Liveness,
    ) -> Option<StreamLease> {
        let wanted = wanted(pool, &local.cluster, server);
        loop {
            let (mut lease, heard) = self.place(wanted).or_else(|| {
                let full = is_full(&local.cluster);
                let lease = full.then(|| pool.endpoint.streams.begin(wanted)).flatten()?;
                Some((lease, None))
            })?;
            if lease.alone && liveness == Liveness::Verified {
                match heard {
                    Some(heard) => heard.catch_up().await,
                    None => lease.connection.catch_up().await,
                }
            }
            match poll_fn(|cx| lease.send.poll_ready(cx)).await {
                Ok(()) => return Some(lease),
                Err(_) => lease.connection.close(),
            }
        }
    }

    async fn place_or_connect(
        &self,
        pool: &Rc<Pool>,
        local: &LocalCluster,
        server: &str,
        liveness: Liveness,
    ) -> Result<StreamLease, ConnectError> {
        let mut starving = None;
        loop {
            // Listens before it looks: what becomes free in between is not missed.
            let (changed, freed) = (self.changed.notified(), local.cluster.usage.freed.notified());
            fence(SeqCst);
            if let Some(lease) = self.place_now(pool, local, server, liveness).await {
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
            // Others' streams end, or that of a connection that takes no more.
            let starves = !pool.endpoint.streams.has(wanted(pool, &local.cluster, server));
            let Some(permit) = pool.permit(&local.cluster, &mut starving, starves) else {
                self.close_idle_one();
                tokio::select! {
                    () = changed => {}
                    () = freed => {}
                }
                continue;
            };
            starving = None;
            let connecting = Connecting::new(pool, server);
            let attempt = Rc::clone(&connecting.attempt);
            self.connect(pool, local, server, permit, connecting).await.inspect_err(|error| {
                attempt.failed.replace(Some(error.again()));
            })?;
        }
    }

    /// A place on a connection of this worker.
    fn place(&self, wanted: Wanted<'_>) -> Option<(StreamLease, Option<Rc<Heard<Io>>>)> {
        let mut open = self.open.borrow_mut();
        open.retain(|Open { connection, .. }| {
            if connection.is_over(wanted.stats, Instant::now) {
                connection.close();
            }
            !connection.is_closed()
        });
        open.iter().find_map(|one| {
            let lease = one.connection.begin(wanted)?;
            Some((lease, Some(Rc::clone(&one.heard))))
        })
    }

    async fn connect(
        &self,
        pool: &Rc<Pool>,
        local: &LocalCluster,
        server: &str,
        permit: Permit,
        connecting: Connecting,
    ) -> Result<(), ConnectError> {
        let (dialled, io) = pool.dial_for_streams(local, server, permit).await?;
        let counted = Counted::new(io, pool.stats.clone());
        let heard = Rc::new(counted.heard());
        let handshake = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_max_send_streams(UNSAID)
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
        let address = dialled.local;
        let state = Arc::new(State::new(&local.cluster, &self.changed));
        let (own, listened) = (Arc::clone(&state), Rc::clone(&heard));
        let (looks, asked) = mpsc::unbounded_channel();
        let task = tokio::task::spawn_local(async move {
            let silence = async {
                match probe {
                    Some((probe, pings)) => silent(probe, pings, &listened).await,
                    None => pending().await,
                }
            };
            let ended = tokio::select! {
                biased;
                ended = carry(connection, &own, connecting, most) => Some(ended),
                () = silence => None,
                never = look(asked, &listened) => match never {},
            };
            note_end(&dialled, ended);
            if own.streams.load(Relaxed) > 0 {
                dialled.closes_busy();
            }
            // Who is woken by its place sees that it is over.
            own.closed.store(true, Relaxed);
            drop(dialled);
            own.changed.notify_waiters();
        });
        let connection = Arc::new(Connection {
            send,
            local: address,
            server: server.into(),
            terms: Terms::of(pool),
            state,
            carried: AtomicU32::default(),
            expires,
            leaves: AtomicBool::default(),
            stays: AtomicBool::default(),
            looks,
            task: task.abort_handle(),
        });
        if local.cluster.limits.bound_connections() {
            pool.endpoint.streams.enter(&connection);
        }
        // Other workers may have waited for it.
        connection.state.wake();
        let looked = Cell::new((0, Instant::now()));
        self.open.borrow_mut().push(Open { connection, heard, looked });
        Ok(())
    }

    /// Closes a connection without a stream, for another one's sake; tells whether there was one.
    pub(super) fn close_idle_one(&self) -> bool {
        let mut open = self.open.borrow_mut();
        let idle = open.iter().position(|one| one.connection.streams() == 0);
        let idle = idle.map(|at| open.swap_remove(at));
        // Another worker may have begun a stream just now: then it closes with that.
        idle.inspect(|one| one.connection.close()).is_some()
    }

    /// Has the connection with the fewest streams take no more, for another one's sake.
    pub(super) fn leave_one(&self) -> Option<Leaving> {
        let open = self.open.borrow();
        // One that takes no more goes by itself.
        let takes = |one: &&Open| !one.connection.is_closed();
        let leave = open.iter().filter(takes).filter(|one| !one.connection.stays.load(Relaxed));
        Leaving::begin(&leave.min_by_key(|one| one.connection.streams())?.connection)
    }

    /// Closes connections that are too old once they carry no stream, and those that have been without one for longer
    /// than `timeout`.
    pub(super) fn sweep(&self, pool: &Pool, now: Instant, timeout: Option<Duration>) {
        self.open.borrow_mut().retain(|Open { connection, looked, .. }| {
            if connection.is_over(&pool.stats, || now) {
                connection.close();
            }
            if connection.is_closed() {
                return false;
            }
            let carried = connection.carried.load(Relaxed);
            let (before, since) = looked.get();
            if connection.streams() > 0 || carried != before {
                looked.set((carried, now));
                return true;
            }
            let idle = timeout.is_some_and(|timeout| now - since >= timeout);
            if idle {
                connection.close();
                pool.stats.upstream_cx_idle_timeout.inc();
            }
            !idle
        });
    }

    /// Forgets all connections; each closes when its last stream is over.
    pub fn close(&self) {
        self.closed.set(true);
        for one in self.open.take() {
            one.connection.close();
        }
    }
}

/// Looks for a place. What was made on the way where everything is closed meanwhile has nobody else who would close it.
struct Visit<'m>(&'m Multiplex);

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        if self.0.closed.get() {
            self.0.close();
        }
    }
}

fn wanted<'w>(pool: &'w Pool, cluster: &'w Arc<Cluster>, server: &'w str) -> Wanted<'w> {
    Wanted { cluster, server, terms: Terms::of(pool), stats: &pool.stats }
}

/// Moves a connection's bytes, to its end. Who waits is told how many streams the endpoint takes, whenever it says so. Those who wait for
/// the connection share its failure until then, and go on without the endpoint's word after as long as it may take to connect.
async fn carry(
    mut connection: h2::client::Connection<Counted<Io>>,
    state: &State,
    connecting: Connecting,
    patience: Duration,
) -> Result<(), h2::Error> {
    let (mut patience, mut connecting) = (pin!(Some(sleep(patience))), Some(connecting));
    let mut allowed = UNSAID;
    let ended = poll_fn(|cx| {
        let ended = Pin::new(&mut connection).poll(cx);
        let now = connection.max_concurrent_send_streams();
        let waits = patience.as_mut().as_pin_mut();
        if now != allowed || waits.is_some_and(|patience| patience.poll(cx).is_ready()) {
            allowed = now;
            state.greeted.store(true, Relaxed);
            connecting = None;
            patience.set(None);
            state.wake();
        }
        ended
    })
    .await;
    if let Some(connecting) = connecting {
        let error = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        connecting.attempt.failed.replace(Some(error.into()));
    }
    ended
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

/// Reads what has come whenever a worker asks for that before it uses the connection.
async fn look(mut asked: mpsc::UnboundedReceiver<Look>, heard: &Heard<Io>) -> Infallible {
    while let Some(look) = asked.recv().await {
        heard.catch_up().await;
        // Who has asked may be gone.
        let _ = look.send(());
    }
    pending().await
}

/// Asks an endpoint again and again whether it is there; ends when it was silent for too long. What it sends
/// otherwise tells as much as an answer, which may wait behind it.
async fn silent<S>(probe: Probe, mut pings: PingPong, heard: &Heard<S>) {
    let random = Random::default();
    loop {
        let share = random.next() as f64 / u64::MAX as f64;
        sleep(probe.interval.mul_f64(1.0 + probe.jitter * share)).await;
        if pings.send_ping(Ping::opaque()).is_err() {
            return pending().await;
        }
        loop {
            let before = heard.received();
            match timeout(probe.timeout, poll_fn(|cx| pings.poll_pong(cx))).await {
                Ok(Ok(_)) => break,
                // The connection itself tells why it ended.
                Ok(Err(_)) => return pending().await,
                Err(_) if heard.received() == before => return,
                Err(_) => {}
            }
        }
    }
}

/// Says that a connection is being made, until dropped.
struct Connecting {
    pool: Rc<Pool>,
    attempt: Rc<Attempt>,
}

impl Connecting {
    fn new(pool: &Rc<Pool>, server: &str) -> Self {
        let attempt = Rc::new(Attempt { server: server.into(), failed: RefCell::default() });
        pool.multiplex.connecting.replace(Some(Rc::clone(&attempt)));
        Self { pool: Rc::clone(pool), attempt }
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        self.pool.multiplex.connecting.take();
        self.pool.multiplex.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
