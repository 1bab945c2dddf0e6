//! Both directions of a connection, and how it ends.
//!
//! The end of a stream is passed on while the other direction goes on (half close, as Envoy's TCP
//! proxy does it); the connection is over when both have ended. A side that resets its connection
//! has the other one reset too, so that a cut stream is not taken for a finished one; Envoy does
//! the same since 1.38. Only if that side had ended its stream properly before, the other one is
//! closed properly as well: nothing of the stream is missing.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use super::Pools;
use super::direction::{Between, Direction, Fault};
use crate::buffer::Buffer;
use crate::io::Io;
use crate::timer::Deadline;

/// How long a connection may last.
#[derive(Debug, Clone, Copy)]
pub struct RelayLimits {
    /// The time without a byte moved in either direction after which the connection is closed
    /// (Envoy's `TcpProxy.idle_timeout`, one hour when not set). `None` for ever.
    pub idle: Option<Duration>,
    /// The time after which the connection is closed in any case (Envoy's
    /// `max_downstream_connection_duration`). `None` for ever.
    pub duration: Option<Duration>,
}

/// What a finished connection moved, and why it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Bytes received from downstream, the first ones included (`%BYTES_RECEIVED%`).
    pub bytes_up: u64,
    /// Bytes sent downstream (`%BYTES_SENT%`).
    pub bytes_down: u64,
    /// Why the connection ended.
    pub ended_by: EndedBy,
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedBy {
    /// Both sides closed, downstream first.
    Downstream,
    /// Both sides closed, upstream first.
    Upstream,
    /// Nothing moved for [`RelayLimits::idle`].
    Idle,
    /// [`RelayLimits::duration`] was over.
    MaxDuration,
    /// A side failed: `ConnectionReset` and `BrokenPipe` are resets.
    Error {
        /// The side that failed.
        side: Side,
        /// How it failed.
        kind: io::ErrorKind,
    },
}

/// A side of a proxied connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The client.
    Downstream,
    /// The server.
    Upstream,
}

/// Running totals of a connection's bytes. Its owner may read them at any time, also after the
/// relay was cancelled.
#[derive(Debug, Default)]
pub struct Tally {
    up: Flow,
    down: Flow,
}

/// The totals of one direction.
#[derive(Debug, Default)]
pub(super) struct Flow {
    read: Cell<u64>,
    written: Cell<u64>,
}

impl Default for RelayLimits {
    /// Envoy's defaults.
    fn default() -> Self {
        Self { idle: Some(Duration::from_secs(3600)), duration: None }
    }
}

/// Moves bytes between the two until both directions have ended or a limit is reached, then closes
/// both. `first` are bytes of `downstream` that were read before; they are sent first.
///
/// Dropping the future closes both sides as they are. The caller has set `TCP_NODELAY` where it
/// wants it.
pub async fn relay(
    downstream: impl Into<Io>,
    upstream: impl Into<Io>,
    first: Option<Buffer>,
    limits: RelayLimits,
    pools: &Pools,
    tally: &Tally,
) -> Outcome {
    tally.up.read(first.as_ref().map_or(0, |bytes| bytes.filled().len()));
    let mut relay = Relay {
        downstream: downstream.into(),
        upstream: upstream.into(),
        up: Direction::new(first),
        down: Direction::new(None),
        first_end: None,
        fault: None,
        pools,
        tally,
    };
    let mut clock = Clock::start(limits);
    let mut timer = Deadline::default();
    let ended_by = poll_fn(|cx| {
        let before = tally.moved();
        if let Poll::Ready(ended_by) = relay.poll(cx) {
            return Poll::Ready(ended_by);
        }
        if tally.moved() != before {
            clock.active = Instant::now();
        }
        if relay.fault.is_some() {
            clock.hurry();
        }
        let Some((deadline, ended_by)) = clock.deadline() else {
            return Poll::Pending;
        };
        timer.set(Some(deadline));
        ready!(timer.poll(cx));
        Poll::Ready(relay.fault().unwrap_or(ended_by))
    })
    .await;
    Outcome { bytes_up: tally.received(), bytes_down: tally.sent(), ended_by }
}

/// How long a side that takes no more bytes is listened to for its last ones.
const LAST_BYTES: Duration = Duration::from_secs(5);

/// When a connection has lasted too long.
struct Clock {
    limits: RelayLimits,
    started: Instant,
    /// When a byte was last moved.
    active: Instant,
}

impl Clock {
    fn start(limits: RelayLimits) -> Self {
        let now = Instant::now();
        Self { limits, started: now, active: now }
    }

    /// Shortens the wait for the next byte to [`LAST_BYTES`].
    fn hurry(&mut self) {
        self.limits.idle = Some(self.limits.idle.map_or(LAST_BYTES, |idle| idle.min(LAST_BYTES)));
    }

    /// What happens next if no byte is moved, and when. A limit beyond the reach of the clock is
    /// none.
    fn deadline(&self) -> Option<(Instant, EndedBy)> {
        let idle = self.limits.idle.and_then(|idle| self.active.checked_add(idle));
        let last = self.limits.duration.and_then(|duration| self.started.checked_add(duration));
        match (idle, last) {
            (Some(idle), Some(last)) if last <= idle => Some((last, EndedBy::MaxDuration)),
            (Some(idle), _) => Some((idle, EndedBy::Idle)),
            (None, last) => last.map(|last| (last, EndedBy::MaxDuration)),
        }
    }
}

/// A connection at work.
struct Relay<'a> {
    downstream: Io,
    upstream: Io,
    /// From downstream to upstream.
    up: Direction,
    /// From upstream to downstream.
    down: Direction,
    /// The side that ended its stream first.
    first_end: Option<Side>,
    /// A side that takes no more bytes. What it sent before may still be on its way to us, so this
    /// alone does not end the connection.
    fault: Option<(Side, io::ErrorKind)>,
    pools: &'a Pools,
    tally: &'a Tally,
}

impl Relay<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<EndedBy> {
        for from in [Side::Downstream, Side::Upstream] {
            let ended = match self.poll_direction(cx, from) {
                Poll::Ready(ended) => ended,
                Poll::Pending => continue,
            };
            match ended {
                Ok(()) => {
                    self.first_end.get_or_insert(from);
                }
                Err(Fault::Write(error)) => self.fault = Some((from.other(), error.kind())),
                Err(Fault::Read(error)) => {
                    self.reset(from.other());
                    return Poll::Ready(EndedBy::Error { side: from, kind: error.kind() });
                }
            }
        }
        if !(self.up.is_done() && self.down.is_done()) {
            return Poll::Pending;
        }
        let clean = self.first_end.map_or(EndedBy::Downstream, Side::ended);
        Poll::Ready(self.fault().unwrap_or(clean))
    }

    /// The fault as the end of the connection. A side that ended its stream and closed answers
    /// later bytes with a reset; that is none.
    fn fault(&self) -> Option<EndedBy> {
        let (side, kind) = self.fault?;
        (self.first_end != Some(side)).then_some(EndedBy::Error { side, kind })
    }

    /// Polls the direction that reads from `from`, unless it has ended before.
    fn poll_direction(&mut self, cx: &mut Context<'_>, from: Side) -> Poll<Result<(), Fault>> {
        let (direction, opposite, flow) = match from {
            Side::Downstream => (&mut self.up, &self.down, &self.tally.up),
            Side::Upstream => (&mut self.down, &self.up, &self.tally.down),
        };
        if direction.is_done() {
            return Poll::Pending;
        }
        let (from, to) = match from {
            Side::Downstream => (&mut self.downstream, &mut self.upstream),
            Side::Upstream => (&mut self.upstream, &mut self.downstream),
        };
        let last = opposite.is_done();
        direction.poll(cx, Between { from, to, pools: self.pools, flow, last })
    }

    /// Makes closing `side` reset its connection.
    fn reset(&mut self, side: Side) {
        match side {
            Side::Downstream => self.downstream.break_off(),
            Side::Upstream => self.upstream.break_off(),
        }
    }
}

impl Side {
    fn other(self) -> Self {
        match self {
            Side::Downstream => Side::Upstream,
            Side::Upstream => Side::Downstream,
        }
    }

    fn ended(self) -> EndedBy {
        match self {
            Side::Downstream => EndedBy::Downstream,
            Side::Upstream => EndedBy::Upstream,
        }
    }
}

// === impl Tally ===

impl Tally {
    /// Bytes received from downstream.
    pub fn received(&self) -> u64 {
        self.up.read.get()
    }

    /// Bytes sent downstream.
    pub fn sent(&self) -> u64 {
        self.down.written.get()
    }

    /// Bytes received from upstream.
    pub fn upstream_received(&self) -> u64 {
        self.down.read.get()
    }

    /// Bytes sent upstream.
    pub fn upstream_sent(&self) -> u64 {
        self.up.written.get()
    }

    /// Changes whenever a byte moves.
    fn moved(&self) -> u64 {
        [&self.up, &self.down]
            .map(|flow| flow.read.get().wrapping_add(flow.written.get()))
            .iter()
            .sum()
    }
}

impl Flow {
    pub(super) fn read(&self, count: usize) {
        self.read.set(self.read.get() + count as u64);
    }

    pub(super) fn written(&self, count: usize) {
        self.written.set(self.written.get() + count as u64);
    }
}

#[cfg(test)]
mod tests;
