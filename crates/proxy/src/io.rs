//! A connection to a peer, plain or over TLS.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::remote::Remote;
use crate::tls::TlsStream;
use crate::upstream::cluster::Keepalive;
use crate::upstream::source::Source;

#[cfg(test)]
pub(crate) mod simulated;

/// The same error, for another who waited for what failed: its code, or else its kind and words.
pub(crate) fn again(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// How sure it must be that the peer has not closed an idle connection before it is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// As the runtime knows, at no cost: whatever is lost with it is sent again.
    Assumed,
    /// As the system knows, at the cost of a system call: an end may have come that the runtime has not heard of yet, and what
    /// is lost with it cannot be sent again.
    Verified,
}

/// What a socket nearly always takes as a whole. It is offered at once, which saves asking first whether the task
/// has had its share: whoever reads is asked that.
const SHORT: usize = 16 * 1024;

/// A connection. What is written over TLS gathers until it is flushed.
#[derive(Debug)]
pub enum Io {
    /// Plain text.
    Plain(TcpStream),
    /// TLS, its handshake over. Boxed, so that plain connections do not carry its size.
    Tls(Box<TlsStream>),
    /// In memory.
    #[cfg(test)]
    Simulated(simulated::Socket),
}

impl Io {
    /// Connects to an endpoint, in plain text; from `source` where that is given.
    ///
    /// # Errors
    /// There is no connection.
    pub async fn dial(
        remote: &Remote,
        source: Option<Source>,
        keepalive: Option<&Keepalive>,
    ) -> io::Result<Self> {
        #[cfg(test)]
        if let Some(dialled) = remote.socket().and_then(simulated::dial) {
            return dialled.await.map(Self::Simulated);
        }
        remote.connect(source, keepalive).await.map(Self::Plain)
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(io) => io,
            Self::Tls(io) => io.socket(),
            #[cfg(test)]
            Self::Simulated(_) => unreachable!("there is no socket in memory"),
        }
    }

    /// Our address, if it has one and the system still knows it.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        #[cfg(test)]
        if let Self::Simulated(_) = self {
            return None;
        }
        self.socket().local_addr().ok()
    }

    /// The TLS connection, if it is one.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsStream> {
        match self {
            Self::Tls(io) => Some(io),
            _ => None,
        }
    }

    /// Waits until there is something to read, or the end. Takes no buffer.
    ///
    /// # Errors
    /// The socket's error.
    pub fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(io) => io.poll_read_ready(cx),
            Self::Tls(io) => io.poll_read_ready(cx),
            #[cfg(test)]
            Self::Simulated(io) => io.poll_read_ready(cx),
        }
    }

    /// Whether the peer has neither sent anything nor closed. Costs a system call only if the socket was
    /// reported readable. What has come is lost if it has.
    pub fn is_quiet(&mut self) -> bool {
        match self {
            Self::Plain(io) => {
                io.try_read(&mut [0]).is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
            }
            Self::Tls(io) => io.is_quiet(),
            #[cfg(test)]
            Self::Simulated(io) => io.is_quiet(),
        }
    }

    /// Whether the peer has sent something, or closed, that was not read, whatever the runtime knows of it. One system call.
    #[must_use]
    pub fn has_input(&self) -> bool {
        #[cfg(test)]
        if let Self::Simulated(io) = self {
            return !io.is_quiet();
        }
        let look = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let seen = rustix::net::recv(self.socket(), &mut [0; 1], look);
        !matches!(seen, Err(Errno::AGAIN))
    }

    /// Whether the peer's stream ended in a way that does not tell whether it was all (RFC 8446, section 6.1).
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.tls().is_some_and(TlsStream::is_cut)
    }

    /// Makes closing reset the connection: the peer must not take a cut stream for a whole one.
    pub fn break_off(&mut self) {
        #[cfg(test)]
        if let Self::Simulated(io) = self {
            return io.break_off();
        }
        if let Self::Tls(io) = self {
            io.break_off();
        }
        // A socket that cannot be set so is gone already.
        let _ = socket2::SockRef::from(self.socket()).set_linger(Some(Duration::ZERO));
    }
}

impl From<TcpStream> for Io {
    fn from(io: TcpStream) -> Self {
        Self::Plain(io)
    }
}

/// Polls whichever it is.
macro_rules! either {
    ($self:expr, $io:ident => $call:expr) => {
        match $self.get_mut() {
            Io::Plain(io) => {
                let $io = Pin::new(io);
                $call
            }
            Io::Tls(io) => {
                let $io = Pin::new(&mut **io);
                $call
            }
            #[cfg(test)]
            Io::Simulated(io) => {
                let $io = Pin::new(io);
                $call
            }
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, io => io.poll_read(cx, into))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let (true, Self::Plain(io)) = (bytes.len() <= SHORT, &*self) {
            match io.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
        either!(self, io => io.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, io => io.poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, io => io.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, io => io.poll_shutdown(cx))
    }
}
