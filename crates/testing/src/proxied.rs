//! Origins that read a PROXY header first, and tell what it was.
//!
//! To each request they answer `NUMBER PEER-PORT OWN-PORT HEADER` of its connection: which one it is, from 1, the ports of its own
//! ends, and the header. Version 1 is told as it is; of version 2 two bytes in hexadecimal, the length of the rest, the addresses
//! in hexadecimal, their ports, and what follows.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;
use tokio_rustls::TlsAcceptor;

use crate::ca::Identity;
use crate::origin::{Body, full};
use crate::{PATIENCE, eventually};

/// The signature of version 2.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// How many requests for paths that end with `/together` an origin waits for before it answers.
pub const TOGETHER: usize = 3;

/// What an origin speaks behind the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// It says at once what it would answer, and sends every byte back.
    Bytes,
}

/// A running origin.
pub struct Origin {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<State>,
}

struct State {
    speaks: Speaks,
    tls: Option<TlsAcceptor>,
    connections: AtomicUsize,
    open: AtomicUsize,
    /// What each connection began with.
    seen: Mutex<Vec<String>>,
    requests: AtomicUsize,
    /// Requests for `/fails` so far.
    failed: AtomicUsize,
    together: Barrier,
}

impl Origin {
    /// Starts one at an address, with TLS behind the header where that is given.
    pub async fn start(at: IpAddr, speaks: Speaks, tls: Option<&Identity>) -> Self {
        let listener = TcpListener::bind((at, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let protocol = if speaks == Speaks::Http2 { "h2" } else { "http/1.1" };
        let state = Arc::new(State {
            speaks,
            tls: tls.map(|identity| TlsAcceptor::from(identity.server_config(&[protocol]))),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            seen: Mutex::default(),
            requests: AtomicUsize::new(0),
            failed: AtomicUsize::new(0),
            together: Barrier::new(TOGETHER),
        });
        let accepting = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                tokio::spawn(connection(Arc::clone(&accepting), stream, peer));
            }
        });
        Self { address, state }
    }

    /// Begins anew, as if nothing had come yet.
    pub fn forget(&self) {
        self.state.connections.store(0, Ordering::SeqCst);
        self.state.requests.store(0, Ordering::SeqCst);
        self.state.failed.store(0, Ordering::SeqCst);
        self.state.seen.lock().expect("the lock").clear();
    }

    /// Waits until it has had so many requests.
    pub async fn requests(&self, count: usize) {
        let requests = || self.state.requests.load(Ordering::SeqCst);
        eventually(PATIENCE, || async { requests() >= count }).await;
    }

    /// How many connections are open.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.state.open.load(Ordering::SeqCst)
    }

    /// What its connections began with, once there are so many.
    pub async fn seen(&self, count: usize) -> Vec<String> {
        eventually(PATIENCE, || async {
            let seen = self.state.seen.lock().expect("the lock").clone();
            if seen.len() >= count { Ok(seen) } else { Err(seen) }
        })
        .await
    }
}

/// Counts a connection as open.
struct Open(Arc<State>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn connection(state: Arc<State>, mut stream: TcpStream, peer: SocketAddr) {
    state.open.fetch_add(1, Ordering::SeqCst);
    let _open = Open(Arc::clone(&state));
    stream.set_nodelay(true).expect("TCP_NODELAY");
    let own = stream.local_addr().expect("an address").port();
    let header = header(&mut stream).await.unwrap_or_else(|error| format!("({error})"));
    let number = state.connections.fetch_add(1, Ordering::SeqCst) + 1;
    let told = format!("{number} {} {own} {header}", peer.port());
    state.seen.lock().expect("the lock").push(told.clone());
    match state.tls.clone() {
        None => serve(state, stream, told).await,
        Some(tls) => {
            // Who fails here gets no answer.
            let Ok(stream) = tls.accept(stream).await else { return };
            serve(state, stream, told).await;
        }
    }
}

/// Reads a header; as it is told.
async fn header(stream: &mut TcpStream) -> io::Result<String> {
    let mut bytes = vec![0; 16];
    stream.read_exact(&mut bytes[..6]).await?;
    if &bytes[..6] == b"PROXY " {
        let mut line = bytes[..6].to_vec();
        while !line.ends_with(b"\n") {
            line.push(stream.read_u8().await?);
        }
        let text = String::from_utf8_lossy(&line).into_owned();
        return text.strip_suffix("\r\n").map(str::to_owned).ok_or_else(|| other(&text));
    }
    stream.read_exact(&mut bytes[6..]).await?;
    if &bytes[..12] != SIGNATURE {
        return Err(other(&String::from_utf8_lossy(&bytes)));
    }
    let mut rest = vec![0; usize::from(u16::from_be_bytes([bytes[14], bytes[15]]))];
    stream.read_exact(&mut rest).await?;
    let mut told = format!("{} {}", hex(&bytes[12..14]), rest.len());
    let addresses = match bytes[13] {
        0x11 => 8,
        0x21 => 32,
        _ => return Ok(format!("{told} {}", hex(&rest))),
    };
    let (addresses, rest) = rest.split_at(addresses);
    let (source, destination) = addresses.split_at(addresses.len() / 2);
    let port = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
    let _ = write!(told, " {} {} {} {}", hex(source), hex(destination), port(0), port(2));
    let _ = write!(told, " {}", hex(&rest[4..]));
    Ok(told.trim_end().to_owned())
}

fn other(text: &str) -> io::Error {
    io::Error::other(format!("no header: {text:?}"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

async fn serve(
    state: Arc<State>,
    mut stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    told: String,
) {
    let speaks = state.speaks;
    if speaks == Speaks::Bytes {
        let _ = stream.write_all(format!("{told}\n").as_bytes()).await;
        let (mut read, mut write) = tokio::io::split(stream);
        let _ = tokio::io::copy(&mut read, &mut write).await;
        return;
    }
    let service = service_fn(move |request: Request<Incoming>| {
        let (state, told) = (Arc::clone(&state), told.clone());
        async move { answer(&state, request.uri().path(), told).await }
    });
    let stream = TokioIo::new(stream);
    // What goes wrong is seen at the other end.
    let _ = if speaks == Speaks::Http2 {
        http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service).await
    } else {
        http1::Builder::new().serve_connection(stream, service).await
    };
}

/// The first request for a path that ends with `/fails` gets no answer.
async fn answer(state: &State, path: &str, told: String) -> io::Result<Response<Body>> {
    state.requests.fetch_add(1, Ordering::SeqCst);
    if path.ends_with("/fails") && state.failed.fetch_add(1, Ordering::SeqCst) == 0 {
        return Err(io::Error::other("as asked for"));
    }
    if path.ends_with("/together") {
        state.together.wait().await;
    }
    Ok(Response::new(full(told)))
}
