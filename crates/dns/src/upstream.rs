//! The resolvers that are asked what the table does not know.

mod flights;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::Name;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::{Instant, timeout};

use self::flights::Flights;
use crate::message::{Request, Transport, code_of, is_cut, set_id};
use crate::{ResolvConf, Watched};

/// How long one server may take the first time, if others are to be asked while the client still waits.
const FIRST_TRY: Duration = Duration::from_secs(2);
/// How long all of it may take: clients give up, or ask again, before that.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a server that did not answer is asked after the others.
const SHUNNED: Duration = Duration::from_secs(30);
/// How long a connection to a server may take.
const CONNECT: Duration = Duration::from_secs(2);

/// Resolvers, and how they fared.
#[derive(Debug)]
pub struct Upstream {
    /// Those given in place of those of the machine.
    given: Vec<SocketAddr>,
    resolv_conf: Watched<ResolvConf>,
    /// Until when servers are asked after others.
    shunned: Mutex<HashMap<SocketAddr, Instant>>,
    flights: Flights,
}

/// Why nobody answered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum AskError {
    #[error(
        "no resolver is known: {0} names none but this proxy; name one there or with --dns-server"
    )]
    Nobody(String),
    #[error("no resolver answered: {0}")]
    Silence(String),
    #[error("no resolver answered in time; what was known last is served")]
    Slowness,
    #[error("there is no randomness for its id")]
    Randomness,
}

impl Upstream {
    /// These servers, in their order; where there are none, those of a `resolv.conf`, which is read again when it changes.
    /// Its search list and options count in any case.
    #[must_use]
    pub fn new(servers: Vec<SocketAddr>, resolv_conf: PathBuf) -> Self {
        Self {
            given: servers,
            resolv_conf: Watched::new(resolv_conf),
            shunned: Mutex::default(),
            flights: Flights::default(),
        }
    }

    /// The first domain that clients complete names with.
    pub(crate) fn search(&self) -> Option<Name> {
        let mut first = self.conf().search.first()?.to_lowercase();
        first.set_fqdn(true);
        Some(first)
    }

    /// Whether a message that comes in was sent by this very object: what it sends out is redirected to it.
    pub(crate) fn sent(&self, from: SocketAddr, id: u16) -> bool {
        self.flights.contain(from.port(), id)
    }

    /// Asks one server after the other until one answers; what `own` lists is none. A server that fails, or refuses to
    /// answer, is believed when no other knows better. The answer has the id of the query.
    pub(crate) async fn ask(
        &self,
        request: &Request,
        query: &[u8],
        own: &[SocketAddr],
    ) -> Result<Vec<u8>, AskError> {
        let conf = self.conf();
        let mut servers = self.servers(&conf, own);
        if servers.is_empty() {
            let path = self.resolv_conf.path().display().to_string();
            return Err(AskError::Nobody(path));
        }
        let mut last = None;
        let all = self.ask_all(request, query, &conf, &mut servers, &mut last);
        let found = timeout(PATIENCE, all).await.unwrap_or_else(|_| Err("timed out".to_owned()));
        let mut answer = match (found, last) {
            (Ok(Some(answer)), _) | (_, Some(answer)) => answer,
            (Ok(None), None) => return Err(AskError::Randomness),
            (Err(why), None) => return Err(AskError::Silence(why)),
        };
        set_id(&mut answer, request.id());
        Ok(answer)
    }

    async fn ask_all(
        &self,
        request: &Request,
        query: &[u8],
        conf: &ResolvConf,
        servers: &mut Vec<SocketAddr>,
        last: &mut Option<Vec<u8>>,
    ) -> Result<Option<Vec<u8>>, String> {
        let mut why = String::new();
        for round in 0..conf.attempts.max(1) {
            let wait = if round == 0 { conf.timeout.min(FIRST_TRY) } else { conf.timeout };
            for server in servers.clone() {
                let Some(id) = random_id() else { return Ok(None) };
                let exchange = self.exchange(request, query, id, server);
                let outcome = timeout(wait, exchange).await;
                let outcome = outcome.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                match outcome {
                    Ok(answer) => {
                        self.shunned().remove(&server);
                        if !is_failure(code_of(&answer)) {
                            return Ok(Some(answer));
                        }
                        servers.retain(|other| *other != server);
                        *last = Some(answer);
                    }
                    Err(error) => {
                        self.shunned().insert(server, Instant::now() + SHUNNED);
                        why = format!("{server}: {error}");
                    }
                }
            }
        }
        Err(why)
    }

    /// One question to one server. What is too long for UDP is fetched over TCP where that brings it to the client.
    async fn exchange(
        &self,
        request: &Request,
        query: &[u8],
        id: u16,
        server: SocketAddr,
    ) -> io::Result<Vec<u8>> {
        let mut query = query.to_vec();
        set_id(&mut query, id);
        if request.transport() == Transport::Tcp {
            match self.over_tcp(request, &query, id, server).await {
                // Some answer over UDP alone.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                answered => return answered,
            }
        }
        let short = self.over_udp(request, &query, id, server).await?;
        if !is_cut(&short) {
            return Ok(short);
        }
        let whole = self.over_tcp(request, &query, id, server).await;
        Ok(whole.ok().filter(|whole| whole.len() <= request.limit()).unwrap_or(short))
    }

    /// The socket is connected, so that the kernel drops what others send, and its port is one that the kernel chose.
    async fn over_udp(
        &self,
        request: &Request,
        query: &[u8],
        id: u16,
        server: SocketAddr,
    ) -> io::Result<Vec<u8>> {
        let socket = UdpSocket::bind((any(server), 0)).await?;
        socket.connect(server).await?;
        let _flight = self.flights.begin(socket.local_addr()?.port(), id);
        socket.send(query).await?;
        let mut answer = vec![0; request.limit()];
        loop {
            let length = socket.recv(&mut answer).await?;
            if request.is_answered_by(&answer[..length], id) {
                answer.truncate(length);
                return Ok(answer);
            }
        }
    }

    async fn over_tcp(
        &self,
        request: &Request,
        query: &[u8],
        id: u16,
        server: SocketAddr,
    ) -> io::Result<Vec<u8>> {
        let socket = match server {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        let connecting = timeout(CONNECT, socket.connect(server)).await;
        let mut stream = connecting.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let _flight = self.flights.begin(stream.local_addr()?.port(), id);
        stream.set_nodelay(true)?;
        write_message(&mut stream, query).await?;
        let length = stream.read_u16().await?;
        let mut answer = vec![0; length.into()];
        stream.read_exact(&mut answer).await?;
        match request.is_answered_by(&answer, id) {
            true => Ok(answer),
            false => Err(io::Error::new(io::ErrorKind::InvalidData, "it answered something else")),
        }
    }

    fn conf(&self) -> Arc<ResolvConf> {
        self.resolv_conf.current(ResolvConf::parse)
    }

    /// The servers to ask: those that did not answer lately come last.
    fn servers(&self, conf: &ResolvConf, own: &[SocketAddr]) -> Vec<SocketAddr> {
        let known = if self.given.is_empty() { &conf.servers } else { &self.given };
        let others = known.iter().copied().filter(|server| !own.contains(server));
        let mut servers: Vec<SocketAddr> = others.collect();
        let now = Instant::now();
        let mut shunned = self.shunned();
        shunned.retain(|_, until| *until > now);
        servers.sort_by_key(|server| shunned.contains_key(server));
        servers
    }

    fn shunned(&self) -> MutexGuard<'_, HashMap<SocketAddr, Instant>> {
        self.shunned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A message behind its length, in one piece (RFC 7766 section 8).
pub(crate) async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut framed = Vec::with_capacity(message.len() + 2);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    stream.write_all(&framed).await
}

/// Whether a server says that it could not, or would not, find out.
pub(crate) fn is_failure(code: ResponseCode) -> bool {
    matches!(code, ResponseCode::ServFail | ResponseCode::Refused | ResponseCode::NotImp)
}

fn any(server: SocketAddr) -> IpAddr {
    match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// An id that nobody can foretell.
fn random_id() -> Option<u16> {
    let mut bytes = [0; 2];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(u16::from_be_bytes(bytes))
}
