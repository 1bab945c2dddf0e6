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
    let mut inspection = Partial { limits, arrived: Vec::new() };
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

/// A hello, or a request, of which a part has arrived.
struct Partial {
    limits: InspectorLimits,
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
            match self.tell(bytes.filled()) {
                Some((verdict, request)) => {
                    let (plain, bytes) = (false, Some(bytes));
                    return Poll::Ready(Inspected { verdict, request, plain, bytes });
                }
                None => self.arrived = bytes.filled().to_vec(),
            }
        }
    }

    /// What the bytes are; `None` when it takes more of them to tell.
    fn tell(&self, bytes: &[u8]) -> Option<(Verdict, Option<Opening>)> {
        let verdict = if self.limits.hellos {
            match client_hello::parse(bytes, self.limits.max_bytes) {
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
        match opening::tell(bytes) {
            Told::Request(request) => Some((verdict, Some(request))),
            Told::Other => Some((verdict, None)),
            Told::TooLong => Some((Verdict::LongRequest, None)),
            Told::NeedMore => None,
        }
    }

    /// The end without a decision about the bytes.
    fn ended(&self, verdict: Verdict, buffers: &Rc<BufferPool>) -> Inspected {
        let bytes = (!self.arrived.is_empty()).then(|| self.arrived(buffers));
        let told = client_hello::parse(&self.arrived, self.limits.max_bytes);
        Inspected { verdict, request: None, plain: told == Inspection::NotTls, bytes }
    }

    /// The part that has arrived, in a buffer that has room for more: a small one is nearly always enough.
    fn arrived(&self, buffers: &Rc<BufferPool>) -> Buffer {
        let small = self.limits.max_bytes <= buffer::SMALL && self.arrived.len() < buffer::SMALL;
        let mut bytes = if small { buffers.small() } else { buffers.large() };
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
