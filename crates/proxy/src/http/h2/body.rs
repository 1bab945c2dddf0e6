//! Content of an HTTP/2 stream, in both directions, with the peers' windows as the backpressure.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};

use super::message;
use crate::http::h1::BadMessage;
use crate::http::head::Headers;
use crate::http::stream::{Recv, RecvError};

/// Largest piece that is copied into one DATA frame.
const PIECE: usize = 16 * 1024;

/// Content that comes.
#[derive(Debug)]
pub struct RecvBody {
    stream: RecvStream,
    chunk: Bytes,
    ended: bool,
    trailers: Option<Box<Headers>>,
}

impl RecvBody {
    /// The content of a stream.
    #[must_use]
    pub fn new(stream: RecvStream) -> Self {
        let ended = stream.is_end_stream();
        Self { stream, chunk: Bytes::new(), ended, trailers: None }
    }

    /// As `Stream::poll_recv`.
    ///
    /// # Errors
    /// The peer reset the stream or broke the protocol.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Recv<'_>, RecvError>> {
        while self.chunk.is_empty() {
            if self.ended {
                return Poll::Ready(Ok(Recv::End));
            }
            match ready!(self.stream.poll_data(cx)) {
                Some(chunk) => self.chunk = chunk.map_err(recv_error)?,
                None => {
                    let trailers = ready!(self.stream.poll_trailers(cx)).map_err(recv_error)?;
                    self.trailers = trailers.as_ref().map(|map| Box::new(message::trailers(map)));
                    self.ended = true;
                }
            }
        }
        Poll::Ready(Ok(Recv::Data(&self.chunk)))
    }

    /// As `Stream::consume`: what was taken is granted to the peer again.
    pub fn consume(&mut self, n: usize) {
        self.chunk.advance(n.min(self.chunk.len()));
        // It fails only when more is released than was received.
        let _ = self.stream.flow_control().release_capacity(n);
    }

    /// As `Stream::take_trailers`.
    pub fn take_trailers(&mut self) -> Option<Box<Headers>> {
        self.trailers.take()
    }

    /// As `Stream::received_all`.
    #[must_use]
    pub fn received_all(&self) -> bool {
        self.chunk.is_empty() && (self.ended || self.stream.is_end_stream())
    }
}

/// Content that goes.
#[derive(Debug)]
pub struct SendBody {
    stream: SendStream<Bytes>,
    ended: bool,
}

impl SendBody {
    /// The content of a stream; `ended` says that its head was the end of it.
    #[must_use]
    pub fn new(stream: SendStream<Bytes>, ended: bool) -> Self {
        Self { stream, ended }
    }

    /// As `Stream::poll_send`: takes what the peer's windows allow.
    ///
    /// # Errors
    /// The peer reset the stream.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let wanted = data.len().min(PIECE);
        self.stream.reserve_capacity(wanted);
        while self.stream.capacity() == 0 {
            match ready!(self.stream.poll_capacity(cx)) {
                Some(capacity) => capacity.map_err(io_error)?,
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            };
        }
        let taken = self.stream.capacity().min(wanted);
        self.stream.send_data(Bytes::copy_from_slice(&data[..taken]), false).map_err(io_error)?;
        Poll::Ready(Ok(taken))
    }

    /// As `Stream::finish`.
    pub fn finish(&mut self, trailers: Option<&Headers>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        // A stream that was reset meanwhile needs no end.
        let _ = match trailers {
            Some(trailers) => self.stream.send_trailers(message::header_map(trailers)),
            None => self.stream.send_data(Bytes::new(), true),
        };
    }

    /// Ready when the peer has reset the stream.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.stream.poll_reset(cx).map(|_| ())
    }

    /// Breaks the stream off, so that the peer cannot take what it has for the whole.
    pub fn reset(&mut self) {
        if !self.ended {
            self.stream.send_reset(Reason::INTERNAL_ERROR);
        }
    }
}

/// What an error of the stream means for the message that comes.
#[must_use]
pub fn recv_error(error: h2::Error) -> RecvError {
    match error.reason() {
        // We ended the stream, or the connection, because of what the peer sent.
        _ if error.is_library() => RecvError::Bad(BadMessage::Malformed),
        Some(Reason::PROTOCOL_ERROR) if error.is_reset() => RecvError::Bad(BadMessage::Malformed),
        Some(Reason::REFUSED_STREAM) => RecvError::Refused,
        // A GOAWAY that does not cover the stream says that it was not looked at, whatever its reason (RFC 9113 section 6.8).
        _ if error.is_go_away() && error.is_remote() => RecvError::Refused,
        _ if error.is_reset() => RecvError::Truncated,
        _ => RecvError::Io(io_error(error)),
    }
}

fn io_error(error: h2::Error) -> io::Error {
    if error.is_io() {
        error.into_io().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())
    } else {
        io::Error::new(io::ErrorKind::ConnectionReset, error)
    }
}
