//! The way between a client and a server, for tests of what happens when it is cut.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How it stands with a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Bytes pass, to the server at this address.
    Open(SocketAddr),
    /// Bytes stay where they are, and nobody is told.
    Held,
    /// Connections end, and new ones at once.
    Cut,
}

/// A forwarder of TCP connections on loopback; it ends when this is dropped.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    state: watch::Sender<State>,
}

impl Link {
    /// A link to a server.
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (state, states) = watch::channel(State::Open(server));
        tokio::spawn(accept(listener, states));
        Self { address, state }
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections; new ones end as they begin.
    pub fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    /// Lets nothing through, as a network does that loses every packet.
    pub fn hold(&self) {
        self.state.send_replace(State::Held);
    }

    /// Lets everything through again, to a server that may be another.
    pub fn mend(&self, server: SocketAddr) {
        self.state.send_replace(State::Open(server));
    }
}

async fn accept(listener: TcpListener, mut states: watch::Receiver<State>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            gone = async { while states.changed().await.is_ok() {} } => return gone,
        };
        let Ok((client, _)) = accepted else { return };
        tokio::spawn(carry(client, states.clone()));
    }
}

async fn carry(client: TcpStream, mut states: watch::Receiver<State>) -> io::Result<()> {
    let Some(server) = open(&mut states).await else { return Ok(()) };
    let server = TcpStream::connect(server).await?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let there = copy(from_client, to_server, states.clone());
    let back = copy(from_server, to_client, states.clone());
    let cut = async move { states.wait_for(|state| *state == State::Cut).await.map(drop) };
    tokio::select! {
        done = async { tokio::try_join!(there, back).map(drop) } => done,
        _ = cut => Ok(()),
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut states: watch::Receiver<State>,
) -> io::Result<()> {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut bytes).await?;
        if open(&mut states).await.is_none() {
            return Ok(());
        }
        match read {
            0 => return to.shutdown().await,
            read => to.write_all(&bytes[..read]).await?,
        }
    }
}

/// Waits while the link is held: where it leads, unless it is cut.
async fn open(states: &mut watch::Receiver<State>) -> Option<SocketAddr> {
    let state = states.wait_for(|state| *state != State::Held).await.ok()?;
    match *state {
        State::Open(server) => Some(server),
        State::Held | State::Cut => None,
    }
}
