//! Reading the first bytes of a connection until it is known what they are.
//!
//! The bytes are read, not peeked at: a peek costs a second `recv` on every connection, and with
//! edge-triggered readiness a hello that arrives in parts would have to be peeked at in a loop.
//! What was read goes on with the verdict, and whoever serves the connection takes it as its first
//! bytes. In the normal case, a hello in one segment, that is one `recv`, and the buffer it went
//! into is the one that the TCP proxy sends from.
//!
//! A connection that sends nothing holds no buffer, and one that sent a part holds just that part:
//! slow clients cost no more memory than they pay for in bytes.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::client_hello::{self, ClientHello, Inspection, Malformed};
use crate::buffer::{self, Buffer, BufferPool};
use crate::timer::Deadline;

/// How long and how much an inspection may take.
#[derive(Debug, Clone, Copy)]
pub struct InspectorLimits {
    /// The most bytes of a ClientHello, record headers included (Envoy's
    /// `max_client_hello_size`). More than [`buffer::LARGE`] is taken as that.
    pub max_bytes: usize,
    /// The time for the whole hello to arrive (Envoy's `listener_filters_timeout`); `None` for
    /// ever.
    pub timeout: Option<Duration>,
}

/// What an inspection found.
#[derive(Debug)]
pub enum Verdict {
    /// A TLS connection.
    Tls(ClientHello),
    /// Something else than TLS.
    NotTls,
    /// A TLS connection that cannot be understood.
    Malformed(Malformed),
    /// The time was over before it could be told.
    TimedOut,
    /// The peer closed, or half closed, before it could be told.
    Closed,
    /// Reading failed.
    Failed(io::Error),
}

/// The end of an inspection: what was found, and all that was read.
#[derive(Debug)]
pub struct Inspected {
    /// What the connection is.
    pub verdict: Verdict,
    /// The bytes read so far, the hello and what came with it. They must be treated as the first
    /// bytes of the connection. `None` when there are none.
    pub bytes: Option<Buffer>,
}

impl Default for InspectorLimits {
    /// Envoy's defaults: 16 KiB, 15 s.
    fn default() -> Self {
        Self { max_bytes: client_hello::DEFAULT_MAX_BYTES, timeout: Some(Duration::from_secs(15)) }
    }
}

/// Reads from `stream` until its first bytes tell what it is, or a limit is reached.
pub async fn inspect(
    stream: &mut TcpStream,
    limits: InspectorLimits,
    buffers: &Rc<BufferPool>,
) -> Inspected {
    let max_bytes = limits.max_bytes.min(buffer::LARGE);
    let mut inspection = Partial { max_bytes, arrived: Vec::new() };
    let mut timer = Deadline::default();
    timer.set(limits.timeout.and_then(|timeout| Instant::now().checked_add(timeout)));
    poll_fn(|cx| match inspection.poll(cx, stream, buffers) {
        Poll::Pending => timer.poll(cx).map(|()| inspection.ended(Verdict::TimedOut, buffers)),
        inspected => inspected,
    })
    .await
}

/// A hello of which a part has arrived.
struct Partial {
    max_bytes: usize,
    arrived: Vec<u8>,
}

impl Partial {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut TcpStream,
        buffers: &Rc<BufferPool>,
    ) -> Poll<Inspected> {
        loop {
            if let Err(error) = ready!(stream.poll_read_ready(cx)) {
                return Poll::Ready(self.ended(Verdict::Failed(error), buffers));
            }
            let mut bytes = self.arrived(buffers);
            let mut room = ReadBuf::new(bytes.room());
            let read = match Pin::new(&mut *stream).poll_read(cx, &mut room) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(self.ended(Verdict::Failed(error), buffers));
                }
                Poll::Ready(Ok(())) => room.filled().len(),
            };
            if read == 0 {
                return Poll::Ready(self.ended(Verdict::Closed, buffers));
            }
            bytes.advance(read);
            let verdict = match client_hello::parse(bytes.filled(), self.max_bytes) {
                Inspection::Hello(hello) => Verdict::Tls(hello),
                Inspection::NotTls => Verdict::NotTls,
                Inspection::Malformed(why) => Verdict::Malformed(why),
                Inspection::NeedMore => {
                    self.arrived = bytes.filled().to_vec();
                    continue;
                }
            };
            return Poll::Ready(Inspected { verdict, bytes: Some(bytes) });
        }
    }

    /// The end without a decision about the bytes.
    fn ended(&self, verdict: Verdict, buffers: &Rc<BufferPool>) -> Inspected {
        let bytes = (!self.arrived.is_empty()).then(|| self.arrived(buffers));
        Inspected { verdict, bytes }
    }

    /// The part that has arrived, in a buffer that has room for the rest.
    fn arrived(&self, buffers: &Rc<BufferPool>) -> Buffer {
        let mut bytes =
            if self.max_bytes <= buffer::SMALL { buffers.small() } else { buffers.large() };
        // It asked for more only while there was room, so all of it fits.
        if let Some(room) = bytes.room().get_mut(..self.arrived.len()) {
            room.copy_from_slice(&self.arrived);
            bytes.advance(self.arrived.len());
        }
        bytes
    }
}

#[cfg(test)]
mod tests;
