//! One HTTP/1 connection, in either role: a socket, what was read and not yet used, what is to be written.
//!
//! Everything is a `poll_` function on `&mut self`, so that one task can drive both directions of two
//! connections without locks or channels. System calls are what a request costs: a read takes as much as
//! is there, small writes gather until [`Conn::poll_flush`], and large bodies go from the peer's read buffer
//! to the socket without a copy (`writev` with the head).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::body::{BodyDecoder, Decoded};
use super::encode::{self, ConnectionHeader};
use super::parse::{self, BadMessage, Carriage, Framing, HeadScanner};
use crate::buffer::{self, Buffer, BufferPool};
use crate::http::head::{Headers, RequestHead, ResponseHead};
use crate::http::stream::Wire;
use crate::io::{Io, Liveness};

/// Content up to this size is copied behind what waits to be written: cheaper than a system call of its own.
const COPY: usize = 8 * 1024;
/// With so much waiting, nothing more is taken until some of it is written.
const HIGH_WATER: usize = 64 * 1024;

/// What a peer sent next.
#[derive(Debug)]
pub enum Recv<'a> {
    /// Content; taken with `consume`.
    Data(&'a [u8]),
    /// The message is over; trailers may be taken.
    End,
}

/// Why a message could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum RecvError {
    /// The connection closed between messages, where it may.
    #[error("closed")]
    Closed,
    /// The connection closed inside a message.
    #[error("closed inside a message")]
    Truncated,
    /// The peer says that it has not looked at the request: it may be sent again, whatever it is.
    #[error("refused")]
    Refused,
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The peer broke the protocol.
    #[error(transparent)]
    Bad(#[from] BadMessage),
}

/// Largest head that is read, and most lines in it.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes.
    pub bytes: usize,
    /// Lines.
    pub lines: usize,
}

/// How content is framed on the way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoder {
    /// As it is.
    Identity,
    /// In chunks; so many bytes of the current one are still to come.
    Chunked(usize),
    /// As it is, in a tunnel: the end of the content is the end of the direction.
    Tunnel,
    /// A tunnel's content is over; the direction is to be shut down.
    Shutdown,
}

/// One connection.
#[derive(Debug)]
pub struct Conn {
    io: Io,
    pool: Rc<BufferPool>,
    read: Option<Buffer>,
    /// The last read filled its buffer: more is likely to be there.
    read_full: bool,
    /// The last message was long: the next one is likely to be, and can be read with its head at once.
    long: bool,
    eof: bool,
    write: Vec<u8>,
    written: usize,
    scanner: HeadScanner,
    decoder: BodyDecoder,
    encoder: Encoder,
    trailers: Option<Box<Headers>>,
    bytes_in: u64,
    bytes_out: u64,
    /// Bytes that the message being read took.
    used: u64,
    /// What `bytes_out` was when the exchange began.
    out_before: u64,
}

impl Conn {
    /// A connection on which nothing has been read, except what `read` holds.
    #[must_use]
    pub fn new(io: impl Into<Io>, read: Option<Buffer>, pool: Rc<BufferPool>) -> Self {
        Self {
            io: io.into(),
            pool,
            read,
            read_full: false,
            long: false,
            eof: false,
            write: Vec::new(),
            written: 0,
            scanner: HeadScanner::default(),
            decoder: BodyDecoder::Done,
            encoder: Encoder::Identity,
            trailers: None,
            bytes_in: 0,
            bytes_out: 0,
            used: 0,
            out_before: 0,
        }
    }

    /// The bare connection.
    #[must_use]
    pub fn io(&self) -> &Io {
        &self.io
    }

    /// The bare connection, for who speaks another protocol on it.
    pub fn io_mut(&mut self) -> &mut Io {
        &mut self.io
    }

    /// Takes what has been read and not used.
    pub fn take_read(&mut self) -> Option<Buffer> {
        self.read.take()
    }

    /// Makes closing reset the connection, so that the peer does not take what it got for a whole message.
    pub fn break_off(&mut self) {
        self.io.break_off();
    }

    /// Bytes read from and written to the socket since the last call, for the stats.
    pub fn take_counts(&mut self) -> (u64, u64) {
        (self.used, self.out_before) = (0, 0);
        (std::mem::take(&mut self.bytes_in), std::mem::take(&mut self.bytes_out))
    }

    /// Bytes of the exchange so far: what its messages took and brought, read ahead or not yet written alike.
    #[must_use]
    pub fn wire(&self) -> Wire {
        let waiting = (self.write.len() - self.written) as u64;
        Wire { received: self.used, sent: self.bytes_out - self.out_before + waiting }
    }

    /// From here on [`Conn::wire`] counts.
    fn begin_exchange(&mut self) {
        self.used = 0;
        self.out_before = self.bytes_out;
    }

    /// Gives buffers back to the pool where they are empty: an idle connection holds none.
    pub fn release(&mut self) {
        if self.read.as_ref().is_some_and(Buffer::is_empty) {
            self.read = None;
        }
        if self.written == self.write.len() {
            self.written = 0;
            self.pool.give_output(std::mem::take(&mut self.write));
        }
    }

    /// Whether the connection is idle and the peer has neither closed it nor said anything unasked. Unless that must be sure,
    /// it costs a system call only if the socket was reported readable.
    #[must_use]
    pub fn is_reusable(&mut self, liveness: Liveness) -> bool {
        let idle = self.read.is_none() && !self.eof && self.io.is_quiet();
        idle && (liveness == Liveness::Assumed || !self.io.has_input())
    }

    // --- receiving ---

    /// Reads a request's head.
    ///
    /// # Errors
    /// See [`RecvError`].
    pub fn poll_request(
        &mut self,
        cx: &mut Context<'_>,
        limits: HeadLimits,
        head: &mut RequestHead,
    ) -> Poll<Result<Carriage, RecvError>> {
        let len = ready!(self.poll_head(cx, limits.bytes))?;
        self.begin_exchange();
        let carriage = parse::request(&self.filled()[..len], limits.lines, head)?;
        // A CONNECT is a tunnel only once it is granted; until then what follows is held back.
        let framing = match carriage.framing {
            Framing::UntilClose => Framing::None,
            framing => framing,
        };
        self.begin_body(len, framing);
        Poll::Ready(Ok(carriage))
    }

    /// Reads a response's head; `to_head` and `to_connect` say what the request was.
    ///
    /// # Errors
    /// See [`RecvError`].
    pub fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        limits: HeadLimits,
        to_head: bool,
        to_connect: bool,
        head: &mut ResponseHead,
    ) -> Poll<Result<Carriage, RecvError>> {
        let len = ready!(self.poll_head(cx, limits.bytes))?;
        let bytes = &self.filled()[..len];
        let carriage = parse::response(bytes, limits.lines, to_head, to_connect, head)?;
        self.begin_body(len, carriage.framing);
        Poll::Ready(Ok(carriage))
    }

    /// From here on both directions carry plain bytes (after 101, or 200 to a CONNECT).
    pub fn become_tunnel(&mut self) {
        self.decoder = BodyDecoder::UntilClose;
        self.encoder = Encoder::Tunnel;
    }

    /// The next content of the message being read.
    ///
    /// # Errors
    /// See [`RecvError`].
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Recv<'_>, RecvError>> {
        loop {
            let filled = self.read.as_ref().map_or(&[][..], Buffer::filled);
            match self.decoder.decode(filled)? {
                Decoded::Data { skip, len } => {
                    self.drop_read(skip);
                    return Poll::Ready(Ok(Recv::Data(&self.filled()[..len])));
                }
                Decoded::End { skip, trailers } => {
                    self.keep_trailers(skip, trailers)?;
                    self.drop_read(skip);
                    return Poll::Ready(Ok(Recv::End));
                }
                Decoded::More { skip } => {
                    self.drop_read(skip);
                    if ready!(self.poll_fill(cx))? == 0 {
                        // Only where the end of the stream is that of the message can it be mistaken.
                        if self.decoder == BodyDecoder::UntilClose && !self.io.is_cut() {
                            self.decoder = BodyDecoder::Done;
                            return Poll::Ready(Ok(Recv::End));
                        }
                        return Poll::Ready(Err(RecvError::Truncated));
                    }
                }
            }
        }
    }

    /// Takes `n` bytes of the content that [`Conn::poll_recv`] showed.
    pub fn consume(&mut self, n: usize) {
        self.drop_read(n);
        self.decoder.consumed(n);
    }

    /// Whether the message being read has been read to its end.
    #[must_use]
    pub fn received_all(&self) -> bool {
        self.decoder.is_done()
    }

    /// The trailers of the message that ended.
    pub fn take_trailers(&mut self) -> Option<Box<Headers>> {
        self.trailers.take()
    }

    /// Ready when the peer has gone while nothing is expected from it. Bytes that it sends early (the
    /// next request of a pipeline) are kept and end the watch.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.read.as_ref().is_some_and(|read| !read.is_empty()) {
            return Poll::Pending;
        }
        match ready!(self.poll_fill(cx)) {
            Ok(0) | Err(_) => Poll::Ready(()),
            Ok(_) => Poll::Pending,
        }
    }

    /// Waits until the first byte of the next message is there, or the peer is gone. Takes no buffer.
    ///
    /// # Errors
    /// The socket's error.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.read.as_ref().is_some_and(|read| !read.is_empty()) {
            return Poll::Ready(Ok(()));
        }
        self.io.poll_read_ready(cx)
    }

    /// Whether something has come, or the end, whatever the runtime knows of it. One system call.
    #[must_use]
    pub fn has_input(&self) -> bool {
        !self.filled().is_empty() || self.io.has_input()
    }

    /// Drops what has been read and not used.
    pub fn discard(&mut self) {
        self.drop_read(usize::MAX);
    }

    /// What has been read and not used.
    #[must_use]
    pub fn filled(&self) -> &[u8] {
        self.read.as_ref().map_or(&[], Buffer::filled)
    }

    /// Reads what is there; `Ok(0)` at the end of the stream.
    ///
    /// # Errors
    /// The socket's error; `InvalidData` when a protocol element outgrows every buffer.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.eof {
            return Poll::Ready(Ok(0));
        }
        if self.read.is_none() {
            ready!(self.io.poll_read_ready(cx))?;
        }
        let wants_large = self.wants_large();
        let read = match &mut self.read {
            Some(read) if read.is_empty() && wants_large && read.capacity() < buffer::LARGE => {
                self.read.insert(self.pool.large())
            }
            Some(read) => read,
            None if wants_large => self.read.insert(self.pool.large()),
            None => self.read.insert(self.pool.small()),
        };
        if read.room().is_empty() {
            read.enlarge();
        }
        let room = read.room();
        if room.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        let mut target = ReadBuf::new(room);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut target))?;
        let n = target.filled().len();
        self.read_full = target.remaining() == 0;
        read.advance(n);
        self.eof = n == 0;
        self.bytes_in += n as u64;
        Poll::Ready(Ok(n))
    }

    /// Long bodies are read in large pieces: known by their length, else by how the last read went, or by
    /// the message before.
    fn wants_large(&self) -> bool {
        match self.decoder {
            BodyDecoder::Length(left) => left > 2 * buffer::SMALL as u64,
            BodyDecoder::Done => self.long,
            BodyDecoder::UntilClose | BodyDecoder::Chunked(_) => self.read_full,
        }
    }

    fn poll_head(&mut self, cx: &mut Context<'_>, limit: usize) -> Poll<Result<usize, RecvError>> {
        loop {
            if let Some(read) = &mut self.read
                && !read.is_empty()
                && let Some(len) = self.scanner.scan(read.filled(), limit)?
            {
                self.scanner = HeadScanner::default();
                return Poll::Ready(Ok(len));
            }
            if ready!(self.poll_fill(cx))? == 0 {
                let clean = self.filled().is_empty();
                return Poll::Ready(Err(if clean {
                    RecvError::Closed
                } else {
                    RecvError::Truncated
                }));
            }
        }
    }

    fn begin_body(&mut self, head: usize, framing: Framing) {
        self.drop_read(head);
        self.long = match framing {
            Framing::None => false,
            Framing::Length(length) => length > 2 * buffer::SMALL as u64,
            Framing::Chunked | Framing::UntilClose => self.read_full,
        };
        self.decoder = BodyDecoder::from(framing);
        self.trailers = None;
    }

    fn drop_read(&mut self, n: usize) {
        if let Some(read) = &mut self.read {
            self.used += n.min(read.filled().len()) as u64;
            read.consume(n);
        }
    }

    fn keep_trailers(&mut self, skip: usize, len: usize) -> Result<(), RecvError> {
        if len == 0 {
            return Ok(());
        }
        let mut trailers = Box::new(Headers::new());
        let section = &self.filled()[skip - len..skip];
        parse::trailers(section, parse::MAX_LINES, |name, value| {
            trailers.append(name, value);
        })?;
        self.trailers = Some(trailers);
        Ok(())
    }

    // --- sending ---

    /// Queues a request's head; `empty` says with a length that there is no content.
    pub fn start_request(
        &mut self,
        head: &RequestHead,
        chunked: bool,
        empty: bool,
        connection: ConnectionHeader,
    ) {
        self.begin_exchange();
        self.prepare_output();
        encode::request(&mut self.write, head, chunked, empty, connection);
        self.encoder = if chunked { Encoder::Chunked(0) } else { Encoder::Identity };
    }

    /// Queues a response's head.
    pub fn start_response(
        &mut self,
        head: &ResponseHead,
        chunked: bool,
        connection: ConnectionHeader,
    ) {
        self.prepare_output();
        encode::response(&mut self.write, head, chunked, connection);
        self.encoder = if chunked { Encoder::Chunked(0) } else { Encoder::Identity };
    }

    /// Queues an interim response such as `100 Continue`.
    pub fn queue(&mut self, bytes: &[u8]) {
        self.prepare_output();
        self.write.extend_from_slice(bytes);
    }

    /// Takes content to send; tells how much of it was taken. What was not taken must be offered again,
    /// unchanged. Small pieces wait for [`Conn::poll_flush`].
    ///
    /// # Errors
    /// The socket's error.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.write.len() - self.written >= HIGH_WATER {
            ready!(self.poll_flush(cx))?;
        }
        let data = match &mut self.encoder {
            Encoder::Identity | Encoder::Tunnel | Encoder::Shutdown => data,
            Encoder::Chunked(left) => {
                if *left == 0 {
                    *left = data.len();
                    encode::chunk_size(&mut self.write, data.len());
                }
                &data[..data.len().min(*left)]
            }
        };
        let taken = if data.len() <= COPY {
            self.write.extend_from_slice(data);
            data.len()
        } else {
            ready!(self.poll_write_with(cx, data))?
        };
        if let Encoder::Chunked(left) = &mut self.encoder {
            *left -= taken;
            if *left == 0 {
                self.write.extend_from_slice(b"\r\n");
            }
        }
        Poll::Ready(Ok(taken))
    }

    /// Queues the end of the message.
    pub fn finish(&mut self, trailers: Option<&Headers>) {
        self.encoder = match self.encoder {
            Encoder::Identity => Encoder::Identity,
            Encoder::Chunked(_) => {
                encode::last_chunk(&mut self.write, trailers);
                Encoder::Identity
            }
            Encoder::Tunnel | Encoder::Shutdown => Encoder::Shutdown,
        };
    }

    /// Writes what is queued.
    ///
    /// # Errors
    /// The socket's error.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.write.len() {
            ready!(self.poll_write_with(cx, &[]))?;
        }
        if self.encoder == Encoder::Shutdown {
            return Pin::new(&mut self.io).poll_shutdown(cx);
        }
        // Over TLS it is only encrypted so far.
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Ends the sending direction: the peer reads to the end.
    ///
    /// # Errors
    /// The socket's error.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    /// Writes what is queued and then `data`, in one system call; tells how much of `data` was written.
    /// Not ready while not a byte of `data` is.
    fn poll_write_with(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let queued = &self.write[self.written..];
            let waiting = queued.len();
            let parts = [IoSlice::new(queued), IoSlice::new(data)];
            let io = Pin::new(&mut self.io);
            let n = match (waiting, data.len()) {
                (0, _) => ready!(io.poll_write(cx, data))?,
                (_, 0) => ready!(io.poll_write(cx, queued))?,
                _ => ready!(io.poll_write_vectored(cx, &parts))?,
            };
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.bytes_out += n as u64;
            if n < waiting {
                self.written += n;
                continue;
            }
            self.write.clear();
            self.written = 0;
            if n > waiting || data.is_empty() {
                return Poll::Ready(Ok(n - waiting));
            }
        }
    }

    fn prepare_output(&mut self) {
        if self.write.capacity() == 0 {
            self.write = self.pool.output();
        }
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.pool.give_output(std::mem::take(&mut self.write));
    }
}

#[cfg(test)]
mod tests;
