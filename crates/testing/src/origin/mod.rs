//! Back ends on loopback.
//!
//! ```no_run
//! # use tidegate_testing::origin::{Origin, Script, echo};
//! # async fn demo() {
//! let plain = Origin::start().http(echo).await;                           // says what it was asked
//! let rude = Origin::start().script(Script::new().read_head().reset()).await; // byte by byte
//! assert_ne!(plain.address(), rude.address());
//! # }
//! ```
//!
//! An origin counts its connections and requests, and can be killed and started again at the same
//! address. Everything it holds ends when it is dropped.

mod handler;
mod script;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

pub use self::handler::{Body, Handler, account, begun, echo, empty, full, stream_back};
pub use self::script::Script;
use crate::ca::{Ca, Identity};
pub use http::{Request, Response};
pub use hyper::body::Incoming;

/// A running back end.
pub struct Origin {
    address: SocketAddr,
    counters: Arc<Counters>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Counters {
    connections: AtomicUsize,
    open: AtomicUsize,
    requests: AtomicUsize,
}

impl Origin {
    /// A back end to be: HTTP/1.1 without TLS at a port chosen by the kernel, unless said otherwise.
    #[must_use]
    pub fn start() -> Builder {
        Builder {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            protocol: Protocol::Http1,
            tls: None,
            listener: None,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has accepted so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.counters.connections.load(Ordering::SeqCst)
    }

    /// How many of them are open now.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.counters.open.load(Ordering::SeqCst)
    }

    /// How many requests (of a script: heads read) it has got so far.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.counters.requests.load(Ordering::SeqCst)
    }

    /// Closes the listening socket and every connection, as a killed process does. The address can be
    /// used again with [`Builder::at`].
    pub async fn kill(mut self) {
        self.accepting.abort();
        // The sockets are closed once the task and all that it holds are gone.
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// What an origin will be. Ends with [`Builder::http`], [`Builder::script`] or [`Builder::echo_bytes`].
pub struct Builder {
    address: SocketAddr,
    protocol: Protocol,
    tls: Option<TlsAcceptor>,
    listener: Option<TcpListener>,
}

impl Builder {
    /// Listens at this address, such as that of an origin that was killed.
    #[must_use]
    pub fn at(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// Accepts on this socket, such as one of another network namespace.
    #[must_use]
    pub fn on(mut self, listener: TcpListener) -> Self {
        self.listener = Some(listener);
        self
    }

    /// Speaks HTTP/2, with prior knowledge or by ALPN.
    #[must_use]
    pub fn http2(mut self) -> Self {
        self.protocol = Protocol::Http2;
        self
    }

    /// Speaks TLS with this certificate.
    #[must_use]
    pub fn tls(mut self, identity: &Identity) -> Self {
        self.tls = Some(TlsAcceptor::from(identity.server_config(self.alpn())));
        self
    }

    /// The same, for clients that show a certificate of an authority.
    #[must_use]
    pub fn mutual_tls(mut self, identity: &Identity, clients: &Ca) -> Self {
        self.tls = Some(TlsAcceptor::from(identity.server_config_for(clients, self.alpn())));
        self
    }

    fn alpn(&self) -> &'static [&'static str] {
        if self.protocol == Protocol::Http2 { &["h2"] } else { &["http/1.1"] }
    }

    /// Answers HTTP requests by `handler`.
    pub async fn http(self, handler: impl Handler) -> Origin {
        let protocol = self.protocol;
        self.run(move |stream, counters| {
            handler::serve(stream, protocol, handler.clone(), counters)
        })
        .await
    }

    /// Runs `script` on every connection.
    pub async fn script(self, script: Script) -> Origin {
        let script = Arc::new(script);
        self.run(move |stream, counters| {
            let script = Arc::clone(&script);
            async move { script.run(stream, &counters.requests).await }
        })
        .await
    }

    /// Sends every byte back: a TCP origin.
    pub async fn echo_bytes(self) -> Origin {
        self.run(|stream, _| async move {
            let (mut read, mut write) = tokio::io::split(stream);
            // A client that resets ends the copy.
            let _ = tokio::io::copy(&mut read, &mut write).await;
        })
        .await
    }

    async fn run<S, F>(self, serve: S) -> Origin
    where
        S: Fn(Box<dyn Stream>, Arc<Counters>) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = match self.listener {
            Some(listener) => listener,
            None => TcpListener::bind(self.address)
                .await
                .unwrap_or_else(|error| panic!("binding {}: {error}", self.address)),
        };
        let address = listener.local_addr().expect("a bound address");
        let counters = Arc::new(Counters::default());
        let accepting = tokio::spawn(accept(listener, self.tls, serve, Arc::clone(&counters)));
        Origin { address, counters, accepting }
    }
}

/// Counts a connection as open for as long as it lives.
struct Open(Arc<Counters>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn accept<S, F>(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    serve: S,
    counters: Arc<Counters>,
) where
    S: Fn(Box<dyn Stream>, Arc<Counters>) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let serve = Arc::new(serve);
    // Aborted with this task, which is how `kill` closes every connection.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).expect("TCP_NODELAY");
        counters.connections.fetch_add(1, Ordering::SeqCst);
        counters.open.fetch_add(1, Ordering::SeqCst);
        let (serve, tls) = (Arc::clone(&serve), tls.clone());
        let open = Open(Arc::clone(&counters));
        connections.spawn(async move {
            let stream: Box<dyn Stream> = match tls {
                None => Box::new(stream),
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => Box::new(stream),
                    Err(_) => return, // the client's side of the test tells
                },
            };
            serve(stream, Arc::clone(&open.0)).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// A connection, with or without TLS.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {
    /// The socket below.
    fn socket(&self) -> &TcpStream;

    /// Makes the close that follows a reset (RST) instead of an orderly end (FIN).
    fn reset_on_close(&self) {
        let linger = socket2::SockRef::from(self.socket()).set_linger(Some(Duration::ZERO));
        linger.expect("SO_LINGER");
    }
}

impl Stream for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Stream for tokio_rustls::server::TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

#[cfg(test)]
mod tests;
