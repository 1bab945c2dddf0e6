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
use crate::http::opening::{self, Opening, Told};
use crate::timer::Deadline;

/// What is looked for, how long and how much that may take.
#[derive(Debug, Clone, Copy)]
pub struct InspectorLimits {
    /// Whether it may be TLS (Envoy's `tls_inspector`).
    pub hellos: bool,
    /// Whether it may be a request in plain text (Envoy's `http_inspector`), where it is no TLS.
    pub requests: bool,
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
    /// It may be a request whose line is too long to tell.
    LongRequest,
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
    /// The request that it begins with, where requests are looked for and it is no TLS.
    pub request: Option<Opening>,
    /// Whether it is known to be no TLS, where it could not be told whether it is a request.
    pub plain: bool,
    /// The bytes read so far, the hello and what came with it. They must be treated as the first
    /// bytes of the connection. `None` when there are none.
    pub bytes: Option<Buffer>,
}

impl Default for InspectorLimits {
    /// Envoy's defaults for a TLS inspector: 16 KiB, 15 s.
    fn default() -> Self {
        Self {
            hellos: true,
            requests: false,
            max_bytes: client_hello::DEFAULT_MAX_BYTES,
            timeout: Some(Duration::from_secs(15)),
        }
    }
}

/// Reads from `stream` until its first bytes tell what it is, or a limit is reached. `first` holds those that were read
/// already.
pub async fn inspect(
    stream: &mut TcpStream,
    first: Option<Buffer>,
    limits: InspectorLimits,
    buffers: &Rc<BufferPool>,
) -> Inspected {
    let max_bytes = limits.max_bytes.min(buffer::LARGE);
    let limits = InspectorLimits { max_bytes, ..limits };
    let mut inspection = Partial::new(limits);
    if let Some(first) = first {
        if let Some((verdict, request)) = inspection.tell(first.filled()) {
            return Inspected { verdict, request, plain: false, bytes: Some(first) };
        }
        inspection.arrived = first.filled().to_vec();
    }
    let mut timer = Deadline::default();
    timer.set(limits.timeout.and_then(|timeout| Instant::now().checked_add(timeout)));
    poll_fn(|cx| match inspection.poll(cx, stream, buffers) {
        Poll::Pending => timer.poll(cx).map(|()| inspection.ended(Verdict::TimedOut, buffers)),
        inspected => inspected,
    })
    .await
}

/// A hello, or a request, of which a part has arrived. However many pieces that came in, each byte is copied and looked at once.
struct Partial {
    limits: InspectorLimits,
    arrived: Vec<u8>,
    hello: client_hello::Progress,
    line: opening::Progress,
}

impl Partial {
    fn new(limits: InspectorLimits) -> Self {
        let (hello, line) = Default::default();
        Self { limits, arrived: Vec::new(), hello, line }
    }

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
            let mut piece = self.buffer(self.arrived.len() + 1, buffers);
            let most = piece.capacity().saturating_sub(self.arrived.len());
            let mut room = ReadBuf::new(piece.room().get_mut(..most).unwrap_or_default());
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
            piece.advance(read);
            if let Some(inspected) = self.take(piece, buffers) {
                return Poll::Ready(inspected);
            }
        }
    }

    /// Takes a piece; what all of it is, unless it takes more to tell.
    fn take(&mut self, piece: Buffer, buffers: &Rc<BufferPool>) -> Option<Inspected> {
        let mut arrived = std::mem::take(&mut self.arrived);
        let is_first = arrived.is_empty();
        let told = if is_first {
            self.tell(piece.filled())
        } else {
            arrived.extend_from_slice(piece.filled());
            self.tell(&arrived)
        };
        let Some((verdict, request)) = told else {
            self.arrived = if is_first { piece.filled().to_vec() } else { arrived };
            return None;
        };
        // The first piece is nearly always all of it, and goes on as it is.
        let bytes = if is_first { piece } else { self.gathered(&arrived, buffers) };
        Some(Inspected { verdict, request, plain: false, bytes: Some(bytes) })
    }

    /// What the bytes are; `None` when it takes more of them to tell.
    fn tell(&mut self, bytes: &[u8]) -> Option<(Verdict, Option<Opening>)> {
        let verdict = if self.limits.hellos {
            match self.hello.parse(bytes, self.limits.max_bytes) {
                Inspection::Hello(hello) => return Some((Verdict::Tls(hello), None)),
                Inspection::NotTls => Verdict::NotTls,
                Inspection::Malformed(why) => Verdict::Malformed(why),
                Inspection::NeedMore => return None,
            }
        } else {
            Verdict::NotTls
        };
        // What begins as TLS does is no request.
        if !self.limits.requests || !matches!(verdict, Verdict::NotTls) {
            return Some((verdict, None));
        }
        match self.line.tell(bytes) {
            Told::Request(request) => Some((verdict, Some(request))),
            Told::Other => Some((verdict, None)),
            Told::TooLong => Some((Verdict::LongRequest, None)),
            Told::NeedMore => None,
        }
    }

    /// The end without a decision about the bytes.
    fn ended(&self, verdict: Verdict, buffers: &Rc<BufferPool>) -> Inspected {
        let arrived = &self.arrived;
        let bytes = (!arrived.is_empty()).then(|| self.gathered(arrived, buffers));
        let told = client_hello::parse(arrived, self.limits.max_bytes);
        Inspected { verdict, request: None, plain: told == Inspection::NotTls, bytes }
    }

    /// What has arrived in pieces, in one buffer.
    fn gathered(&self, arrived: &[u8], buffers: &Rc<BufferPool>) -> Buffer {
        let mut bytes = self.buffer(arrived.len(), buffers);
        // It asked for more only while there was room, so all of it fits.
        if let Some(room) = bytes.room().get_mut(..arrived.len()) {
            room.copy_from_slice(arrived);
            bytes.advance(arrived.len());
        }
        bytes
    }

    /// A buffer for so many bytes: a small one is nearly always enough.
    fn buffer(&self, size: usize, buffers: &Rc<BufferPool>) -> Buffer {
        let small = self.limits.max_bytes <= buffer::SMALL && size <= buffer::SMALL;
        if small { buffers.small() } else { buffers.large() }
    }
}

#[cfg(test)]
mod tests;
