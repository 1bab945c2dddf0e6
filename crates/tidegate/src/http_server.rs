//! A small HTTP/1 server, for the demo's origins and the webhook: bounded in connections and in patience.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::debug;

/// Connections that one server holds at a time; more wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 4096;
/// How long a client may take for a TLS handshake or a request head.
const PATIENCE: Duration = Duration::from_secs(30);

/// What answers requests: any `Fn(Request<Incoming>, SocketAddr) -> impl Future<Output = Response<B>>`.
pub trait Answer<B>: Clone + Send + Sync + 'static {
    /// Answers one request of a peer.
    fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> impl Future<Output = Response<B>> + Send;
}

impl<B, F, A> Answer<B> for F
where
    F: Fn(Request<Incoming>, SocketAddr) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<B>> + Send,
{
    fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> impl Future<Output = Response<B>> + Send {
        self(request, peer)
    }
}

/// Serves until the task is dropped. `name` is for the log.
///
/// # Errors
/// When the listener, which must be non-blocking, cannot be watched.
pub async fn http<B>(
    name: &'static str,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    answer: impl Answer<B>,
) -> io::Result<Infallible>
where
    B: Body<Data: Send, Error = Infallible> + Send + 'static,
{
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let slots = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let slot = Arc::clone(&slots).acquire_owned().await.map_err(io::Error::other)?;
        match listener.accept().await {
            Ok((stream, peer)) => {
                let (tls, answer) = (tls.clone(), answer.clone());
                tokio::spawn(async move {
                    if let Err(error) = connection(stream, peer, tls, answer).await {
                        debug!("{name}: {peer}: {error}");
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: give others time to close some.
                debug!("{name}: accept: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection<B>(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    answer: impl Answer<B>,
) -> io::Result<()>
where
    B: Body<Data: Send, Error = Infallible> + Send + 'static,
{
    // Small answers should not wait for acknowledgements.
    stream.set_nodelay(true)?;
    match tls {
        None => speak(stream, peer, answer).await,
        Some(tls) => speak(timeout(PATIENCE, tls.accept(stream)).await??, peer, answer).await,
    }
}

async fn speak<B>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: SocketAddr,
    answer: impl Answer<B>,
) -> io::Result<()>
where
    B: Body<Data: Send, Error = Infallible> + Send + 'static,
{
    let service = service_fn(move |request| {
        let answer = answer.clone();
        async move { Ok::<_, Infallible>(answer.answer(request, peer).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service)
        .await
        .map_err(io::Error::other)
}
