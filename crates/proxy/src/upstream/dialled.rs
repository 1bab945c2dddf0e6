//! A connection to an endpoint as it counts, from the attempt to make it until it is closed.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::limits::Permit;
use super::original::Passing;
use super::pool::Pool;
use crate::remote::Remote;

/// What a connection is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// One HTTP/1 exchange after the other.
    Http1,
    /// HTTP/2 streams.
    Http2,
    /// One TCP connection's bytes.
    Tcp,
}

impl Carries {
    /// The ALPN protocol to ask for where the cluster names none (RFC 7301).
    pub(super) fn alpn(self) -> Option<&'static [u8]> {
        match self {
            Self::Http1 => Some(b"http/1.1"),
            Self::Http2 => Some(b"h2"),
            Self::Tcp => None,
        }
    }
}

/// A connection that is being made or open. Dropping it counts it as closed: by us and without a request
/// under way, unless something else was said before.
#[derive(Debug)]
pub struct Dialled {
    /// The endpoint's address.
    pub remote: Remote,
    /// Our address, where it has one.
    pub local: Option<SocketAddr>,
    pool: Rc<Pool>,
    opened: Option<Instant>,
    by_endpoint: Cell<bool>,
    busy: Cell<bool>,
    /// Notes that it is ours, where it may be redirected to us.
    pub(super) passing: Option<Passing>,
    permit: Permit,
}

impl Dialled {
    /// An attempt that begins now.
    pub(super) fn attempt(pool: &Rc<Pool>, carries: Carries, permit: Permit) -> Self {
        let stats = &pool.stats;
        stats.upstream_cx_total.inc();
        stats.upstream_cx_active.inc();
        match carries {
            Carries::Http1 => stats.upstream_cx_http1_total.inc(),
            Carries::Http2 => stats.upstream_cx_http2_total.inc(),
            Carries::Tcp => {}
        }
        pool.endpoint_stats.cx_total.inc();
        pool.endpoint_stats.cx_active.inc();
        pool.open.set(pool.open.get() + 1);
        Self {
            remote: pool.endpoint.address.clone(),
            local: None,
            pool: Rc::clone(pool),
            opened: None,
            by_endpoint: Cell::new(false),
            busy: Cell::new(false),
            passing: None,
            permit,
        }
    }

    /// The attempt, begun at `started`, has led to a connection from our address `local`.
    pub(super) fn established(&mut self, local: Option<SocketAddr>, started: Instant) {
        let now = Instant::now();
        self.local = local;
        self.opened = Some(now);
        self.pool.stats.upstream_cx_connect_ms.record((now - started).as_millis() as u64);
    }

    /// When the connection was established, or now.
    pub(super) fn opened(&self) -> Instant {
        self.opened.unwrap_or_else(Instant::now)
    }

    /// When it is older than connections may become.
    pub(super) fn expires(&self, max_duration: Option<Duration>) -> Option<Instant> {
        max_duration.and_then(|most| self.opened().checked_add(most))
    }

    /// The pool that counts it.
    pub(super) fn pool(&self) -> &Rc<Pool> {
        &self.pool
    }

    /// Whether another worker needs its place.
    pub(super) fn is_wanted(&self) -> bool {
        self.permit.is_wanted()
    }

    /// Says that the endpoint closes it, not we.
    pub fn closed_by_endpoint(&self) {
        self.by_endpoint.set(true);
    }

    /// Says that it closes with a request, or a TCP connection, under way.
    pub fn closes_busy(&self) {
        self.busy.set(true);
    }
}

impl Drop for Dialled {
    fn drop(&mut self) {
        let stats = &self.pool.stats;
        stats.upstream_cx_destroy.inc();
        let (whole, busy) = if self.by_endpoint.get() {
            (&stats.upstream_cx_destroy_remote, &stats.upstream_cx_destroy_remote_with_active_rq)
        } else {
            (&stats.upstream_cx_destroy_local, &stats.upstream_cx_destroy_local_with_active_rq)
        };
        whole.inc();
        if self.busy.get() {
            stats.upstream_cx_destroy_with_active_rq.inc();
            busy.inc();
        }
        stats.upstream_cx_active.dec();
        if let Some(opened) = self.opened {
            stats.upstream_cx_length_ms.record(opened.elapsed().as_millis() as u64);
        }
        self.pool.endpoint_stats.cx_active.dec();
        self.pool.open.set(self.pool.open.get() - 1);
        // Whoever waits for one may open another in its place.
        self.pool.returned.notify_one();
    }
}

/// A request that waits for a connection, as it counts. Dropping it counts it as given up.
#[derive(Debug)]
pub(super) struct Pending {
    pool: Rc<Pool>,
    over: bool,
    _permit: Permit,
}

impl Pending {
    pub(super) fn new(pool: &Rc<Pool>, permit: Permit) -> Self {
        pool.stats.upstream_rq_pending_total.inc();
        pool.stats.upstream_rq_pending_active.inc();
        pool.endpoint_stats.rq_pending_active.inc();
        Self { pool: Rc::clone(pool), over: false, _permit: permit }
    }

    /// Ends the wait with what it came to.
    pub(super) fn end<T, E>(mut self, with: &Result<T, E>) {
        self.over = true;
        if with.is_err() {
            self.pool.stats.upstream_rq_pending_failure_eject.inc();
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.pool.stats.upstream_rq_pending_active.dec();
        self.pool.endpoint_stats.rq_pending_active.dec();
        if !self.over {
            self.pool.stats.upstream_rq_cancelled.inc();
        }
    }
}
