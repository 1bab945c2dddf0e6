//! A TLS connection after, and during, its handshake.
//!
//! The library is driven without buffers of its own: what arrives is decrypted out of a pooled buffer into the
//! reader's, what is sent is encrypted into a pooled buffer. Both go back to the pool as soon as they are empty,
//! so that an idle connection holds the library's state alone, and a request costs the system calls that it
//! costs without TLS: what is sent gathers until it is flushed, or is a lot.

mod failure;
mod session;

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::CommonState;
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

pub use self::failure::{About, Distrust, Failure};
use self::session::{FRAGMENT, Plain, Sealed, Session, Turn, Want, make_room, sealed};
use crate::buffer::{self, Buffer, BufferPool};

/// Plaintext taken in one go: as many whole records as fit into a large buffer, with room for a head before them.
const BATCH: usize = 7 * FRAGMENT;
/// With so much waiting, it is written without waiting for a flush.
const ENOUGH: usize = 64 * 1024;
/// How long a peer that was refused has to read why and close: as long as after an answer that closes
/// (`delayed_close_timeout`).
const SEEN_OFF: Duration = Duration::from_secs(1);

/// A TLS connection.
#[derive(Debug)]
pub struct TlsStream {
    io: TcpStream,
    session: Session,
    buffers: Rc<BufferPool>,
    /// What arrived and is not decrypted.
    incoming: Option<Buffer>,
    /// Whether `incoming` may hold a whole record.
    untried: bool,
    /// What is encrypted and not written.
    outgoing: Option<Buffer>,
    /// What is decrypted and found no room, and how much of it was read since.
    spill: Vec<u8>,
    spill_read: usize,
    end: End,
    /// Whether our end of the stream is closed, or must not be.
    closed: bool,
}

/// The end of what the peer sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Not there yet.
    Open,
    /// The peer said so.
    Said,
    /// The connection ended without a word: something may be missing.
    Cut,
}

impl TlsStream {
    /// The server's end of a connection whose handshake is to come. `first` holds bytes that were read already.
    pub(super) fn server(
        io: TcpStream,
        session: UnbufferedServerConnection,
        first: Option<Buffer>,
        buffers: Rc<BufferPool>,
    ) -> Self {
        Self::new(io, Session::Server(Box::new(session)), first, buffers)
    }

    /// The client's end of a connection whose handshake is to come.
    pub(super) fn client(
        io: TcpStream,
        session: UnbufferedClientConnection,
        buffers: Rc<BufferPool>,
    ) -> Self {
        Self::new(io, Session::Client(Box::new(session)), None, buffers)
    }

    fn new(
        io: TcpStream,
        session: Session,
        first: Option<Buffer>,
        buffers: Rc<BufferPool>,
    ) -> Self {
        Self {
            io,
            session,
            buffers,
            untried: first.is_some(),
            incoming: first,
            outgoing: None,
            spill: Vec::new(),
            spill_read: 0,
            end: End::Open,
            // Until the handshake is over there is nothing to close.
            closed: true,
        }
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        &self.io
    }

    /// What the handshake settled.
    #[must_use]
    pub fn session(&self) -> &CommonState {
        self.session.common()
    }

    /// Whether the connection ended without the peer saying so: what came may be cut.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.end == End::Cut
    }

    /// Sends no word of the end when it is dropped: the peer must be able to tell that something is missing.
    pub fn break_off(&mut self) {
        self.closed = true;
    }

    /// Takes one step: with what has arrived, towards what is wanted.
    fn step(&mut self, want: Want<'_>, room: Option<&mut ReadBuf<'_>>) -> Turn {
        let bytes = self.incoming.as_mut().map_or(&mut [][..], Buffer::filled_mut);
        let mut plain = Plain { room, spill: &mut self.spill };
        let mut sealed = Sealed { out: &mut self.outgoing, buffers: &self.buffers };
        let (discard, turn) = self.session.step(bytes, want, &mut plain, &mut sealed);
        if let Some(incoming) = &mut self.incoming {
            incoming.consume(discard);
            if incoming.is_empty() {
                self.incoming = None;
            }
        }
        turn
    }

    // --- the handshake ---

    /// Shakes hands. Ready when both sides have said all.
    ///
    /// # Errors
    /// The connection's error, its end, or what is wrong with what the peer sent; the peer has been told then.
    pub(super) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        loop {
            match self.step(Want::Nothing, None) {
                Turn::Again | Turn::Read => {}
                // A server may send before it has heard the client's last word.
                Turn::Done if !self.session().is_handshaking() => {
                    ready!(self.poll_write_out(cx))?;
                    self.closed = false;
                    self.untried = self.incoming.is_some();
                    return Poll::Ready(Ok(()));
                }
                Turn::Done | Turn::NeedMore => {
                    ready!(self.poll_write_out(cx))?;
                    if ready!(self.poll_fill(cx, false))? == 0 {
                        return Poll::Ready(Err(Failure::Closed));
                    }
                }
                Turn::PeerClosed => return Poll::Ready(Err(Failure::Closed)),
                Turn::Failed(error) => {
                    self.tell(cx);
                    return Poll::Ready(Err(Failure::Tls(error)));
                }
            }
        }
    }

    /// Sends the alert that is due after a fault, as far as it can be sent at once.
    fn tell(&mut self, cx: &mut Context<'_>) {
        self.closed = true;
        // A step more would meet the fault once more.
        while self.session().wants_write() && matches!(self.step(Want::Nothing, None), Turn::Again)
        {
        }
        let _ = self.poll_write_out(cx);
    }

    /// Lets a peer that was refused read why before the connection goes: the alert is sent, our end is closed, and what still
    /// comes is dropped until the peer closes, for [`SEEN_OFF`] at most. Closing with something unread, such as a request
    /// that a client sent before it heard of the refusal, would reset the connection and could take the alert with it.
    ///
    /// Tells whether the peer closed in time.
    pub async fn see_off(mut self: Box<Self>) -> bool {
        let gone = async {
            poll_fn(|cx| self.poll_write_out(cx)).await?;
            poll_fn(|cx| Pin::new(&mut self.io).poll_shutdown(cx)).await?;
            self.incoming = None;
            while poll_fn(|cx| self.poll_fill(cx, false)).await? > 0 {
                self.incoming = None;
            }
            io::Result::Ok(())
        };
        tokio::time::timeout(SEEN_OFF, gone).await.is_ok_and(|gone| gone.is_ok())
    }

    // --- reading ---

    /// Waits until there is something to read, or the end. Takes no buffer.
    ///
    /// # Errors
    /// The socket's error.
    pub fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.spill_read < self.spill.len() || self.untried || self.end != End::Open {
            return Poll::Ready(Ok(()));
        }
        self.io.poll_read_ready(cx)
    }

    /// Whether the peer has neither sent anything that is to be read nor closed. Costs a system call only if the
    /// socket was reported readable.
    pub fn is_quiet(&mut self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        // Session tickets come unasked: they are no data.
        matches!(self.poll_records(&mut cx, None), Poll::Pending)
    }

    /// Decrypts until there is something to read or the end; with no room, into the spill. True at the end.
    fn poll_records(
        &mut self,
        cx: &mut Context<'_>,
        mut room: Option<&mut ReadBuf<'_>>,
    ) -> Poll<io::Result<()>> {
        let before = room.as_ref().map_or(0, |room| room.filled().len());
        loop {
            while self.untried {
                match self.step(Want::Nothing, room.as_deref_mut()) {
                    Turn::Again => {}
                    Turn::Read => {
                        self.untried = self.incoming.is_some();
                        // A record that might not fit waits for the next read.
                        if room.as_ref().is_none_or(|room| room.remaining() < FRAGMENT) {
                            return Poll::Ready(Ok(()));
                        }
                    }
                    Turn::PeerClosed => self.end = End::Said,
                    Turn::NeedMore | Turn::Done => self.untried = false,
                    Turn::Failed(error) => {
                        self.untried = false;
                        self.tell(cx);
                        return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
                    }
                }
            }
            if self.outgoing.is_some()
                && let Poll::Ready(Err(error)) = self.poll_write_out(cx)
            {
                return Poll::Ready(Err(error));
            }
            let read = room.as_ref().is_some_and(|room| room.filled().len() > before);
            if read || self.spill_read < self.spill.len() || self.end != End::Open {
                return Poll::Ready(Ok(()));
            }
            let large = room.as_ref().is_some_and(|room| room.remaining() > buffer::SMALL);
            ready!(self.poll_fill(cx, large))?;
        }
    }

    /// Reads what has arrived; zero at the end of the connection.
    fn poll_fill(&mut self, cx: &mut Context<'_>, large: bool) -> Poll<io::Result<usize>> {
        if self.incoming.is_none() {
            ready!(self.io.poll_read_ready(cx))?;
        }
        let incoming = self.incoming.get_or_insert_with(|| match large {
            true => self.buffers.large(),
            false => self.buffers.small(),
        });
        if incoming.room().is_empty() {
            incoming.enlarge();
        }
        let room = incoming.room();
        if room.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        let mut target = ReadBuf::new(room);
        let polled = Pin::new(&mut self.io).poll_read(cx, &mut target);
        let n = target.filled().len();
        incoming.advance(n);
        if incoming.is_empty() {
            self.incoming = None;
        }
        ready!(polled)?;
        if n == 0 && self.end == End::Open {
            self.end = End::Cut;
        }
        self.untried = n > 0;
        Poll::Ready(Ok(n))
    }

    fn read_spill(&mut self, room: &mut ReadBuf<'_>) {
        let rest = self.spill.get(self.spill_read..).unwrap_or_default();
        let n = rest.len().min(room.remaining());
        room.put_slice(&rest[..n]);
        self.spill_read += n;
        if self.spill_read >= self.spill.len() {
            self.spill = Vec::new();
            self.spill_read = 0;
        }
    }

    // --- writing ---

    /// Encrypts some of `data`, which must not be empty; tells how much.
    fn poll_encrypt(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let data = &data[..data.len().min(BATCH)];
        // An answer to a change of keys may come before it.
        let need = sealed(data.len()) + 256;
        if self.outgoing.as_mut().is_some_and(|outgoing| !make_room(outgoing, need)) {
            ready!(self.poll_write_out(cx))?;
        }
        loop {
            match self.step(Want::Encrypt(data), None) {
                Turn::Done => break,
                Turn::Again => {}
                Turn::Read => self.untried = self.incoming.is_some(),
                Turn::PeerClosed => self.end = End::Said,
                Turn::NeedMore => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
                Turn::Failed(error) => {
                    self.tell(cx);
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
                }
            }
        }
        if self.outgoing.as_ref().is_some_and(|outgoing| outgoing.filled().len() >= ENOUGH)
            && let Poll::Ready(Err(error)) = self.poll_write_out(cx)
        {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(data.len()))
    }

    /// Writes what is encrypted.
    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(outgoing) = &mut self.outgoing {
            let n = ready!(Pin::new(&mut self.io).poll_write(cx, outgoing.filled()))?;
            if n == 0 && !outgoing.is_empty() {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            outgoing.consume(n);
            if outgoing.is_empty() {
                self.outgoing = None;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Queues the word that we send no more, once.
    fn close(&mut self) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        while matches!(self.step(Want::Close, None), Turn::Again | Turn::Read | Turn::PeerClosed) {}
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.spill_read >= self.spill.len() {
            ready!(self.poll_records(cx, Some(&mut *room)))?;
        }
        if !self.spill.is_empty() {
            self.read_spill(room);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.poll_encrypt(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let total: usize = parts.iter().map(|part| part.len()).sum();
        if total == 0 {
            return Poll::Ready(Ok(0));
        }
        if total > FRAGMENT {
            let first = parts.iter().find(|part| !part.is_empty());
            return self.poll_encrypt(cx, first.map_or(&[], |part| part));
        }
        // What fits into one record goes into one.
        let mut gathered = self.buffers.output();
        for part in parts {
            gathered.extend_from_slice(part);
        }
        let taken = self.poll_encrypt(cx, &gathered);
        self.buffers.give_output(gathered);
        taken
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_write_out(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close();
        ready!(self.poll_write_out(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl Drop for TlsStream {
    fn drop(&mut self) {
        // With bytes before it that are not written, the word of the end would not be true.
        if !self.closed && self.outgoing.is_none() && self.end != End::Cut {
            self.close();
            if let Some(outgoing) = &self.outgoing {
                let _ = self.io.try_write(outgoing.filled());
            }
        }
    }
}

#[cfg(test)]
mod tests;
