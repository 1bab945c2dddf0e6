//! The TCP proxy: bytes from one socket to another.
//!
//! # How bytes are moved, and why so
//!
//! [`relay()`] runs both directions of a connection in one task. Each direction carries its bytes
//! in one of two ways and chooses anew each time it reads:
//!
//! - **A pipe** of 1 MiB, pooled per worker: `splice` in, `splice` out; the kernel hands its pages
//!   from socket to socket. Each burst ends with one call that moves nothing, as splice cannot tell
//!   a drained socket from a full pipe.
//! - **A buffer** from the worker's pool: `recv`, then `send`. A read that does not fill the buffer
//!   tells that the socket is drained, which spares small pieces that last call.
//!
//! A direction starts with the pipe. After a read of less than 16 KiB it reads into a buffer of
//! that size, and changes back when that was filled. So bulk is spliced, and requests, short
//! answers and interactive sessions are copied after their first piece.
//!
//! Measured over loopback, CPU time of the worker: 200 µs a MB by splice, as HAProxy's splice in
//! the same runs, and 525 µs by copying. Pipes must be large: with 512 KiB it is 260 µs, with the
//! default 64 KiB nothing is gained. Copying just the first 16 to 128 KiB of a connection costs it
//! a tenth to a quarter on all the rest, so there is no careful start; and for a connection of 1
//! KiB a pooled pipe costs no more than a buffer.
//!
//! Where pipes cannot be had (no large pipes for this user, see `pipe-user-pages-soft` in pipe(7);
//! descriptors used up; all of the worker's pipes in use) a direction copies bulk through large
//! buffers.
//!
//! # What holds
//!
//! - Backpressure: a direction reads only when all it read before is written. It never holds more
//!   than one buffer or one pipe.
//! - An idle connection holds neither. The number of pipes does not grow with that of connections.
//! - A task moves at most 1 MiB a direction before others get their turn.
//! - One timer for a connection, whatever it waits for; activity costs it a clock reading, not a
//!   timer operation.
//!
//! System calls of a connection of one request and one answer, both small, that the server ends:
//! `send` of the hello (read by the inspector), `splice` in and out of the answer, `recv` of its
//! end, `shutdown`, `splice` of the client's end; then what closing two sockets takes.
//!
//! Known gaps: a reset is noticed when its direction reads or writes next, so a peer that resets
//! while the other side is blocked is noticed when that side moves on or the idle timeout ends it.
//! Both sides are plain TCP.

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
