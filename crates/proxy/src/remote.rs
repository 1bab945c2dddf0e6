//! Where an endpoint is.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};

use crate::pipe::socket_address;
use crate::upstream::cluster::Keepalive;
use crate::upstream::source::Source;

/// Where an endpoint is (`envoy.config.core.v3.Address`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Remote {
    /// An IP address and a port.
    Ip(SocketAddr),
    /// The path of a socket of this machine, as it is written; one that begins with `@` is a name in Linux' abstract namespace.
    Pipe(Arc<str>),
}

impl Remote {
    /// The IP address and the port, if it has them.
    #[must_use]
    pub fn socket(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Pipe(_) => None,
        }
    }

    /// Its port; 0 where it has none.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.socket().map_or(0, |address| address.port())
    }

    /// The address by which sessions of TLS without a server's name are kept: sockets of this machine share one.
    #[must_use]
    pub fn session_key(&self) -> IpAddr {
        self.socket().map_or(Ipv4Addr::UNSPECIFIED.into(), |address| address.ip())
    }

    /// Connects, from `source` where that is given. What is sent goes out at once, and `keepalive` probes
    /// whether the endpoint is still there; on this machine the kernel sees to both.
    ///
    /// A connection on this machine is a stream like one over TCP, read and written by the same system calls. So it is carried
    /// in the same type, whose questions about addresses alone have no answer then.
    ///
    /// # Errors
    /// There is no connection.
    pub async fn connect(
        &self,
        source: Option<Source>,
        keepalive: Option<&Keepalive>,
    ) -> io::Result<TcpStream> {
        let address = match self {
            Self::Ip(address) => *address,
            Self::Pipe(path) => return pipe(path),
        };
        let io = tcp(address, source).await?;
        io.set_nodelay(true)?;
        if let Some(keepalive) = keepalive {
            keepalive.apply(&io)?;
        }
        Ok(io)
    }
}

/// Connects a socket to an address.
async fn tcp(address: SocketAddr, source: Option<Source>) -> io::Result<TcpStream> {
    let Some(source) = source else { return TcpStream::connect(address).await };
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    source.bind(&SockRef::from(&socket))?;
    socket.connect(address).await
}

/// Whoever listens there has a queue for connections: one is made at once, or not at all.
fn pipe(path: &str) -> io::Result<TcpStream> {
    let address = socket_address(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&address)?;
    TcpStream::from_std(socket.into())
}

impl From<SocketAddr> for Remote {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

/// As it stands in statistics and logs.
impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Pipe(path) => f.write_str(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Carries a word there and one back.
    async fn exchange(listener: UnixListener, remote: &Remote) {
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::UnixListener::from_std(listener).unwrap();
        let keepalive = Keepalive { probes: Some(3), idle: None, interval: None };
        let mut io = remote.connect(None, Some(&keepalive)).await.unwrap();
        io.write_all(b"ping").await.unwrap();
        let (mut origin, _) = listener.accept().await.unwrap();
        let mut word = [0; 4];
        origin.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"ping");
        origin.write_all(b"pong").await.unwrap();
        drop(origin);
        let mut rest = Vec::new();
        io.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"pong");
    }

    #[tokio::test]
    async fn sockets_of_this_machine() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let remote = Remote::Pipe(path.to_str().unwrap().into());
        let missing = remote.connect(None, None).await.unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        exchange(UnixListener::bind(&path).unwrap(), &remote).await;
        assert_eq!((remote.to_string(), remote.port()), (path.display().to_string(), 0));

        let name = format!("tidegate-remote-{}", std::process::id());
        let address = UnixAddress::from_abstract_name(&name).unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        exchange(listener, &Remote::Pipe(format!("@{name}").into())).await;
    }

    #[tokio::test]
    async fn connections_come_from_the_address_that_is_asked_for() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let source = SocketAddr::from(([127, 0, 0, 6], 0));
        let (dialled, accepted) =
            tokio::join!(tcp(address, Some(Source::Own(source))), listener.accept());
        let own = dialled.expect("a connection").local_addr().expect("an address");
        assert_eq!(own.ip(), source.ip());
        assert_eq!(accepted.expect("a connection").1, own);
        let other = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 0));
        assert!(tcp(address, Some(Source::Own(other))).await.is_err(), "of the other family");
    }
}
