//! One connection: TLS, HTTP/1 or HTTP/2, requests read whole, answers sent as they come.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderValue, Method, Request, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;

use super::ask::Ask;
use super::body::LIMIT;
use super::failure::Failure;
use super::limits::Limits;
use super::patience::Patient;
use super::query::Query;
use super::reply::{self, Reply};
use super::sessions::{self, Session};
use super::under_way::UnderWay;
use super::users::Users;
use super::{Api, Shutdown};

/// How long a connection is kept that was told to end and on which nothing is under way.
const FAREWELL: Duration = Duration::from_secs(5);
/// How often a client that says nothing is asked whether it is still there.
const STILL_THERE: Duration = Duration::from_secs(30);
/// Bytes of a request's head: what is more is refused in words.
const HEAD_BYTES: usize = 64 << 10;
/// Bytes of a head that are read, so that there is somebody to refuse.
const HEAD_READ: usize = 2 * HEAD_BYTES;
/// Bytes of a body that is too large that are read and thrown away.
const DRAINED: usize = 16 << 20;
/// Requests at once on one HTTP/2 connection; watches count.
const STREAMS: u32 = 250;
/// First byte of a TLS handshake (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 22;

/// What every connection needs.
pub(super) struct Context {
    pub api: Api,
    pub users: Users,
    pub acceptor: TlsAcceptor,
    pub limits: Limits,
}

/// Serves a connection until it ends, nothing is asked on it any more, or the server stops; requests under way are
/// answered first.
pub(super) async fn serve(context: Arc<Context>, stream: TcpStream, shutdown: Shutdown) {
    let limits = context.limits;
    watch_over(&stream, &limits);
    let accepted = timeout(limits.handshake, async {
        let mut first = [0];
        match stream.peek(&mut first).await {
            Ok(1) if first[0] == TLS_HANDSHAKE => context.acceptor.accept(stream).await.ok(),
            Ok(1) => {
                refuse_plain(stream).await;
                None
            }
            _ => None,
        }
    });
    let Ok(Some(stream)) = accepted.await else {
        return;
    };
    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let io = TokioIo::new(stream);
    let under_way = UnderWay::new();
    let counted = under_way.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (context, one) = (Arc::clone(&context), counted.begin());
        async move {
            let heads = request.method() == Method::HEAD;
            let reply = answer(&context, request).await;
            let reply = if heads { reply::head_of(reply) } else { reply };
            Ok::<_, Infallible>(reply.map(|body| one.with(Patient::new(body, limits.stalled))))
        }
    });
    let ending = Ending { shutdown, under_way, idle: limits.idle };
    if h2 {
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(u32::try_from(HEAD_READ).unwrap_or(u32::MAX))
            .serve_connection(io, service);
        let connection = std::pin::pin!(connection);
        ending.follow(connection, http2::Connection::graceful_shutdown).await;
    } else {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            .max_buf_size(HEAD_READ)
            .serve_connection(io, service)
            .with_upgrades();
        let connection = std::pin::pin!(connection);
        ending.follow(connection, http1::UpgradeableConnection::graceful_shutdown).await;
    }
}

/// Has the system end a connection whose client is gone, or takes nothing of what is sent to it. An option that fails
/// costs time or a place, not correctness.
fn watch_over(stream: &TcpStream, limits: &Limits) {
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(STILL_THERE).with_interval(STILL_THERE);
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_keepalive(&keepalive);
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(limits.stalled));
}

/// When a connection is to end.
struct Ending {
    shutdown: Shutdown,
    under_way: UnderWay,
    idle: Duration,
}

impl Ending {
    /// Drives a connection to its end; when that is due, it takes no further requests.
    async fn follow<C>(mut self, mut connection: Pin<&mut C>, stop: impl FnOnce(Pin<&mut C>))
    where
        C: Future<Output = hyper::Result<()>>,
    {
        let ended = tokio::select! {
            result = connection.as_mut() => Some(result),
            () = self.shutdown.stopped() => None,
            () = self.under_way.none_for(self.idle) => None,
        };
        let result = match ended {
            Some(result) => result,
            None => {
                stop(connection.as_mut());
                tokio::select! {
                    result = connection => result,
                    // A client that does not answer the farewell is left.
                    () = self.under_way.none_for(FAREWELL) => Ok(()),
                }
            }
        };
        if let Err(error) = result {
            tracing::debug!(%error, "a connection to the API ended early");
        }
    }
}

/// Tells somebody who speaks HTTP without TLS what to do.
async fn refuse_plain(mut stream: TcpStream) {
    const TEXT: &str = "Client sent an HTTP request to an HTTPS server: use https:// (the kubeconfig in the data \
        directory has the address, the certificate authority and the token)\n";
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{TEXT}",
        TEXT.len()
    );
    // Whoever speaks no TLS may have gone already.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

async fn answer(context: &Context, request: Request<Incoming>) -> Reply {
    let (mut parts, body) = request.into_parts();
    if head_bytes(&parts) > HEAD_BYTES {
        return reply::failure(&Failure::head_too_large(HEAD_BYTES));
    }
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    let authorization = parts.headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    let known = context.users.of(authorization);
    if !is_public(parts.uri.path()) && known.is_none() {
        return reply::failure(&Failure::unauthorized());
    }
    if let Some(Err(wait)) = known.map(|known| known.pace.take(Instant::now())) {
        return reply::failure(&Failure::too_fast(wait));
    }
    let user = known.map(|known| Arc::clone(&known.user));
    let waits = parts.headers.contains_key(header::EXPECT);
    // Whoever needs no token has nothing to say either.
    let body = match is_public(parts.uri.path()) {
        true => Ok(Bytes::new()),
        false => read(body, waits, context.limits.body).await,
    };
    let body = match body {
        Ok(body) => body,
        Err(failure) => return reply::failure(&failure),
    };
    let ask = Ask {
        user,
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: Query::parse(parts.uri.query()),
        headers: parts.headers,
        body,
    };
    let mut reply = context.api.answer(&ask).await;
    if let Some(session) = reply.extensions_mut().remove::<Session>() {
        match upgrade {
            Some(upgrade) => drop(tokio::spawn(sessions::serve(upgrade, session))),
            None => {
                return reply::failure(&Failure::bad_request(
                    "HTTP/2 has no upgrade: ask over HTTP/1.1",
                ));
            }
        }
    }
    if !is_public(&ask.path) {
        reply::set(&mut reply, header::VARY, "Accept");
    }
    tracing::debug!(method = %ask.method, path = %ask.path, code = reply.status().as_u16(), "API");
    reply
}

/// Bytes of a head as HTTP/1 writes it, whichever version carried it.
fn head_bytes(parts: &Parts) -> usize {
    const AROUND: usize = ": \r\n".len();
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let fields = parts.headers.iter();
    target + fields.map(|(name, value)| name.as_str().len() + value.len() + AROUND).sum::<usize>()
}

/// What may be asked without a token: whether the server is there, and which version it is.
fn is_public(path: &str) -> bool {
    matches!(path, "/healthz" | "/livez" | "/readyz" | "/version")
}

/// Reads a body whole, up to the limit.
async fn read(
    body: Incoming,
    expects_continue: bool,
    patience: Duration,
) -> Result<Bytes, Failure> {
    // A declared length is believed when it says no; a client that waits to be told has sent nothing yet.
    let refused = body.size_hint().lower() > LIMIT as u64;
    if refused && expects_continue {
        return Err(Failure::too_large(LIMIT));
    }
    match timeout(patience, collect(body, refused)).await {
        Ok(result) => result,
        Err(_) => Err(Failure::bad_request("the body took too long to arrive")),
    }
}

/// Collects a body. What is too much is read on for a while and thrown away: a client that is still sending when
/// the connection closes may never see why.
async fn collect(mut body: Incoming, refused: bool) -> Result<Bytes, Failure> {
    let mut collected = BytesMut::new();
    let (mut refused, mut length) = (refused, 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Failure::bad_request(format!("the body could not be read: {error}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        length += data.len();
        refused |= length > LIMIT;
        match refused {
            false => collected.extend_from_slice(&data),
            true => collected.clear(),
        }
        if length > DRAINED {
            break;
        }
    }
    match refused {
        true => Err(Failure::too_large(LIMIT)),
        false => Ok(collected.freeze()),
    }
}
