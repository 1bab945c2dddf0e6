//! The TCP proxy: bytes from one socket to another.
//!
//! # How bytes are moved, and why so
//!
//! [`relay`] runs both directions of a connection in one task. Each [`direction`] carries its bytes in one of two
//! ways and chooses anew each time it reads:
//!
//! - **A buffer** from the worker's pool: `recv`, then `send`. For what comes in small pieces, such as
//!   requests, short answers and interactive sessions, nothing is cheaper: two system calls, and the pages are warm.
//!   A read that does not fill the buffer tells that the socket is drained, so no second
//!   `recv` is spent on learning that. A small buffer comes first, a large one when that was filled.
//! - **A pipe** of 1 MiB, also pooled: `splice` in, `splice` out; the kernel hands its pages from socket to
//!   socket. Per byte this costs a quarter of copying, per piece it costs more: splice cannot tell a drained socket
//!   from a full pipe, so each burst ends with one call that moves nothing. With the default pipe of
//!   64 KiB it gains nothing at all.
//!
//! A direction changes to the pipe when a large buffer was filled in one read, and back when a burst is small.
//! A short connection therefore never touches a pipe, and a bulk one copies its first 144 KiB.
//!
//! Where pipes cannot be had (no large pipes for this user, see `pipe-user-pages-soft` in pipe(7);
//! descriptors used up; all of the worker's pipes in use) a direction stays with large buffers.
//!
//! # What holds
//!
//! - Backpressure: a direction reads only when all it read before is written. It never holds more
//!   than one buffer or one pipe.
//! - An idle connection holds neither.
//! - A task moves at most 1 MiB a direction before others get their turn.
//! - One timer for a connection, whatever it waits for; activity costs it a clock reading, not a timer operation.
//!
//! System calls of a connection of one request and one answer, both below 64 KiB, first FIN from
//! the server: `send` of the hello (read by the inspector), `recv` and `send` of the answer, `recv` of its end,
//! `shutdown`, `recv` of the client's end, two `close`.
//!
//! Known gaps: a reset is noticed when its direction reads or writes next, so a peer that resets while the other side is blocked
//! is noticed when that side moves on or the idle timeout ends it. Both sides are plain TCP.

mod direction;
pub mod filter;
mod pool;
mod relay;
mod splice;

pub use pool::{PipeLimits, PipePool};
pub use relay::{EndedBy, Outcome, RelayLimits, Side, Tally, relay};

use std::rc::Rc;

use crate::buffer::BufferPool;

/// What the TCP connections of a worker share.
#[derive(Debug, Default, Clone)]
pub struct Pools {
    /// Buffers, shared with the rest of the worker.
    pub buffers: Rc<BufferPool>,
    /// Pipes to splice through.
    pub pipes: Rc<PipePool>,
}
