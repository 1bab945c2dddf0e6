//! A worker's socket that clients come to.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::SocketFlags;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpListener, TcpStream};

use crate::pipe::NOWHERE;

/// A socket that listens.
#[derive(Debug)]
pub enum Acceptor {
    /// At an address of IP.
    Ip(TcpListener),
    /// A Unix socket, which other workers have, too: who is first has the client.
    Pipe(AsyncFd<OwnedFd>),
}

impl Acceptor {
    /// One on a Unix socket that listens and does not block.
    ///
    /// # Errors
    /// The runtime cannot wait for it.
    pub fn pipe(socket: OwnedFd) -> io::Result<Self> {
        // SAFETY: the descriptor is open, and an `OwnedFd` is the same descriptor for as long as it lives, which the `AsyncFd`
        // alone ends: nothing here takes it out of there.
        #[allow(unsafe_code)]
        let registered = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
        Ok(Self::Pipe(registered?))
    }

    /// Where it is, if that is an address of IP.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(socket) => socket.local_addr().ok(),
            Self::Pipe(_) => None,
        }
    }

    /// Waits for a client; its address is [`NOWHERE`] on a Unix socket.
    ///
    /// # Errors
    /// The client is gone already, or the process has no descriptor or memory left.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        match self {
            Self::Ip(socket) => socket.accept().await,
            Self::Pipe(socket) => {
                let take = |socket: &OwnedFd| take(socket);
                let io = socket.async_io(Interest::READABLE, take).await?;
                Ok((TcpStream::from_std(io)?, NOWHERE))
            }
        }
    }

    /// Accepts a client that is there, whatever is known of the socket's readiness.
    ///
    /// # Errors
    /// As [`Self::accept`]; nobody is there.
    pub fn accept_now(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (io, peer) = match self {
            Self::Ip(socket) => {
                let io = take(socket)?;
                // One that has been reset meanwhile has none.
                let peer = io.peer_addr().map_err(|_| io::ErrorKind::ConnectionAborted)?;
                (io, peer)
            }
            Self::Pipe(socket) => (take(socket.get_ref())?, NOWHERE),
        };
        Ok((TcpStream::from_std(io)?, peer))
    }
}

/// Streams of both kinds are read and written by the same system calls.
fn take(socket: &impl AsFd) -> io::Result<std::net::TcpStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(rustix::net::accept_with(socket, flags)?.into())
}
