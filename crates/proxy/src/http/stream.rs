//! One request and its answer, as either side of the proxy sees them, in any HTTP version.

use std::io;
use std::task::{Context, Poll};

pub use super::h1::conn::{Recv, RecvError};
use super::head::{Headers, ResponseHead, Version};

/// A message coming and a message going.
pub trait Stream {
    /// The next content of the message that comes.
    ///
    /// # Errors
    /// The peer broke off, or broke the protocol.
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Recv<'_>, RecvError>>;

    /// Takes `n` bytes of the content shown.
    fn consume(&mut self, n: usize);

    /// The trailers of the message that came.
    fn take_trailers(&mut self) -> Option<Box<Headers>>;

    /// Whether the message that comes has been read to its end.
    fn received_all(&self) -> bool;

    /// Takes content to send; tells how much. What was not taken is offered again, unchanged.
    ///
    /// # Errors
    /// The peer takes no more.
    fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>>;

    /// Queues the end of the message that goes.
    fn finish(&mut self, trailers: Option<&Headers>);

    /// Writes what is queued.
    ///
    /// # Errors
    /// The peer takes no more.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// From here on both directions carry plain bytes.
    fn become_tunnel(&mut self);

    /// Bytes of the exchange so far, heads and framing included. None where the connection is shared, and
    /// compresses heads: over HTTP/2.
    fn wire(&self) -> Option<Wire>;
}

/// Bytes of an exchange on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wire {
    /// Read.
    pub received: u64,
    /// Written, or waiting to be.
    pub sent: u64,
}

/// The client's side.
pub trait Downstream: Stream {
    /// HTTP version that the client speaks.
    fn version(&self) -> Version;

    /// Queues the head of the answer. `body` says whether content or its end follows, `close` that the connection is to
    /// end after it; tells whether it will.
    fn start_response(&mut self, head: &ResponseHead, body: bool, close: bool) -> bool;

    /// Queues an interim answer (1xx).
    fn send_interim(&mut self, head: &ResponseHead);

    /// Ready when the client has gone while nothing is expected from it.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}
