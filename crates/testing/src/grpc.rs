//! A gRPC server on loopback whose streams the test holds: it reads what clients send, message by message, and answers
//! when it likes. What the messages are is the test's business.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// Bytes before each message.
const PREFIX: usize = 5;

/// A running server; dropping it ends its connections.
pub struct Server {
    address: SocketAddr,
    calls: mpsc::UnboundedReceiver<Call>,
    _accepting: JoinSet<()>,
}

/// A stream of a client; dropping it ends the stream.
pub struct Call {
    /// The method, as its path.
    pub path: String,
    requests: Incoming,
    whole: VecDeque<Bytes>,
    buffer: BytesMut,
    answers: mpsc::UnboundedSender<Bytes>,
}

impl Server {
    /// A server at a port that the kernel chose.
    pub async fn start(tls: Option<Arc<ServerConfig>>) -> Self {
        Self::at((Ipv4Addr::LOCALHOST, 0).into(), tls)
    }

    /// A server at an address, as of one that was there before.
    pub fn at(address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("an option");
        socket.bind(address).expect("an address");
        let listener = socket.listen(64).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let (sender, calls) = mpsc::unbounded_channel();
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, tls.map(TlsAcceptor::from), sender));
        Self { address, calls, _accepting: accepting }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for the next stream.
    pub async fn call(&mut self) -> Call {
        self.calls.recv().await.expect("it accepts")
    }
}

impl Call {
    /// Waits for the next message of the client; `None` when it has ended the stream.
    pub async fn request(&mut self) -> Option<Bytes> {
        loop {
            if let Some(length) = whole(&self.buffer) {
                let message = self.buffer.split_to(PREFIX + length).split_off(PREFIX);
                self.whole.push_back(message.freeze());
            }
            if let Some(message) = self.whole.pop_front() {
                return Some(message);
            }
            let frame = self.requests.frame().await?.ok()?;
            if let Ok(bytes) = frame.into_data() {
                self.buffer.extend_from_slice(&bytes);
            }
        }
    }

    /// Sends a message.
    pub fn answer(&self, message: &[u8]) {
        let mut framed = BytesMut::new();
        framed.put_u8(0);
        framed.put_u32(u32::try_from(message.len()).expect("a length"));
        framed.put_slice(message);
        // A client that is gone hears nothing.
        let _ = self.answers.send(framed.freeze());
    }
}

/// The length of the first message, if all of it is there.
fn whole(buffer: &BytesMut) -> Option<usize> {
    let (&[_, a, b, c, d], rest) = buffer.split_first_chunk::<PREFIX>()?;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    (rest.len() >= length).then_some(length)
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    calls: mpsc::UnboundedSender<Call>,
) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((io, _)) = listener.accept().await else { return };
        let (tls, calls) = (tls.clone(), calls.clone());
        connections.spawn(async move {
            match tls {
                None => serve(io, calls).await,
                Some(tls) => {
                    if let Ok(io) = tls.accept(io).await {
                        serve(io, calls).await;
                    }
                }
            }
        });
    }
}

async fn serve(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    calls: mpsc::UnboundedSender<Call>,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let (answers, receiver) = mpsc::unbounded_channel();
        let path = request.uri().path().to_owned();
        let requests = request.into_body();
        let (whole, buffer) = (VecDeque::new(), BytesMut::new());
        let _ = calls.send(Call { path, requests, whole, buffer, answers });
        let response = Response::builder().header("content-type", "application/grpc");
        let response = response.body(Answers(receiver));
        async move { Ok::<_, Infallible>(response.expect("a response")) }
    });
    // A client that goes away is the end of its connection.
    let _ =
        http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(io), service).await;
}

/// Messages to the client.
struct Answers(mpsc::UnboundedReceiver<Bytes>);

impl Body for Answers {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
