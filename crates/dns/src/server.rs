//! The sockets that are listened on: UDP and TCP of each address.

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener, UdpSocket as StdUdpSocket};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::message::Transport;
use crate::proxy::{DnsProxy, count};
use crate::upstream::write_message;

/// How many datagrams are worked on at a time; more wait in the socket's own buffer.
const MAX_DATAGRAMS: usize = 1024;
/// How many connections there may be; more are closed.
const MAX_CONNECTIONS: usize = 128;
/// How long a connection may be silent, or stand in the middle of a message.
const IDLE: Duration = Duration::from_secs(10);
/// How long to wait after the system had nothing to accept a connection with.
const BREATH: Duration = Duration::from_millis(100);
/// How often both protocols are tried to be bound to one port that the system chooses.
const TRIES: usize = 16;

/// An address that cannot be listened on.
#[derive(Debug, Error)]
#[error("cannot listen on {address} ({protocol}): {source}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// `udp` or `tcp`.
    pub protocol: &'static str,
    /// What the system says.
    pub source: io::Error,
}

/// Bound sockets, which nobody reads yet.
#[derive(Debug)]
pub struct Server {
    bound: Vec<(StdUdpSocket, StdTcpListener)>,
    addresses: Vec<SocketAddr>,
}

impl Server {
    /// Binds UDP and TCP of each address; with port 0 the system chooses one for both. It needs no runtime, and the sockets
    /// are of the calling thread's network namespace.
    ///
    /// # Errors
    /// One of them is taken, or not this machine's.
    pub fn bind(addresses: &[SocketAddr]) -> Result<Self, BindError> {
        let bound =
            addresses.iter().map(|address| bind(*address)).collect::<Result<Vec<_>, _>>()?;
        let addresses = bound
            .iter()
            .zip(addresses)
            .map(|((_, tcp), address)| {
                let port = tcp.local_addr().map_or(address.port(), |bound| bound.port());
                SocketAddr::new(address.ip(), port)
            })
            .collect();
        Ok(Self { bound, addresses })
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves on the calling runtime until the future is dropped.
    ///
    /// # Errors
    /// The runtime does not take the sockets.
    pub async fn serve(self, proxy: Arc<DnsProxy>) -> io::Result<()> {
        let own: Arc<[SocketAddr]> = self.addresses.into();
        let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut tasks = JoinSet::new();
        for (udp, tcp) in self.bound {
            let udp = Arc::new(UdpSocket::from_std(udp)?);
            let tcp = TcpListener::from_std(tcp)?;
            tasks.spawn(serve_udp(udp, Arc::clone(&proxy), Arc::clone(&own)));
            let shared = (Arc::clone(&proxy), Arc::clone(&own));
            tasks.spawn(serve_tcp(tcp, shared, Arc::clone(&connections)));
        }
        while tasks.join_next().await.is_some() {}
        Ok(())
    }
}

fn bind(address: SocketAddr) -> Result<(StdUdpSocket, StdTcpListener), BindError> {
    let failed = |protocol| move |source| BindError { address, protocol, source };
    let mut tries = if address.port() == 0 { TRIES } else { 1 };
    loop {
        let tcp = StdTcpListener::bind(address).map_err(failed("tcp"))?;
        let at = tcp.local_addr().map_err(failed("tcp"))?;
        tries -= 1;
        let udp = match StdUdpSocket::bind(at) {
            // Somebody else has the port that was chosen for TCP.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries > 0 => continue,
            udp => udp.map_err(failed("udp"))?,
        };
        tcp.set_nonblocking(true).map_err(failed("tcp"))?;
        udp.set_nonblocking(true).map_err(failed("udp"))?;
        return Ok((udp, tcp));
    }
}

async fn serve_udp(socket: Arc<UdpSocket>, proxy: Arc<DnsProxy>, own: Arc<[SocketAddr]>) {
    let turns = Arc::new(Semaphore::new(MAX_DATAGRAMS));
    let mut tasks = JoinSet::new();
    let mut query = vec![0; usize::from(u16::MAX)];
    loop {
        while tasks.try_join_next().is_some() {}
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
        // What a client closed before its answer came is told here, of no consequence to others.
        let Ok((length, from)) = socket.recv_from(&mut query).await else { continue };
        let query = query[..length].to_vec();
        let (socket, proxy, own) = (Arc::clone(&socket), Arc::clone(&proxy), Arc::clone(&own));
        tasks.spawn(async move {
            let _turn = turn;
            if let Some(answer) = proxy.answer(&query, from, Transport::Udp, &own).await {
                // A client that is gone needs no answer.
                let _ = socket.send_to(&answer, from).await;
            }
        });
    }
}

async fn serve_tcp(
    listener: TcpListener,
    (proxy, own): (Arc<DnsProxy>, Arc<[SocketAddr]>),
    connections: Arc<Semaphore>,
) {
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let Ok((stream, from)) = listener.accept().await else {
            sleep(BREATH).await;
            continue;
        };
        let Ok(turn) = Arc::clone(&connections).try_acquire_owned() else {
            count(&proxy.counters().overflow);
            continue;
        };
        tasks.spawn(serve_connection(stream, from, Arc::clone(&proxy), Arc::clone(&own), turn));
    }
}

/// Answers one query after the other, until the client closes, or is silent for too long.
async fn serve_connection(
    mut stream: TcpStream,
    from: SocketAddr,
    proxy: Arc<DnsProxy>,
    own: Arc<[SocketAddr]>,
    _turn: OwnedSemaphorePermit,
) {
    let _ = stream.set_nodelay(true);
    while let Ok(Ok(query)) = timeout(IDLE, read_message(&mut stream)).await {
        let Some(answer) = proxy.answer(&query, from, Transport::Tcp, &own).await else { return };
        let written = timeout(IDLE, write_message(&mut stream, &answer)).await;
        if !matches!(written, Ok(Ok(()))) {
            return;
        }
    }
}

async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = Vec::new();
    // Room comes with what is sent, not with what is announced.
    let read = stream.take(length.into()).read_to_end(&mut message).await?;
    match read == usize::from(length) {
        true => Ok(message),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
