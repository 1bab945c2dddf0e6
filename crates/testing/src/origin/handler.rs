//! HTTP origins: hyper serves, a handler answers.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};

use super::{Counters, Protocol, Stream};

/// The body of an answer.
pub type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// What answers requests: any `Fn(Request<Incoming>) -> impl Future<Output = Response<Body>>`. Among a request's extensions is its
/// client's [`SocketAddr`](std::net::SocketAddr).
pub trait Handler: Clone + Send + Sync + 'static {
    /// Answers one request.
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Response<Body>> + Send;
}

impl<F, A> Handler for F
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<Body>> + Send,
{
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Response<Body>> + Send {
        self(request)
    }
}

/// A body of these bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// No body.
#[must_use]
pub fn empty() -> Body {
    Empty::new().map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// A body that begins with these bytes and never ends.
#[must_use]
pub fn begun(bytes: &'static [u8]) -> Body {
    UnsyncBoxBody::new(Begun(Some(Bytes::from_static(bytes))))
}

struct Begun(Option<Bytes>);

impl hyper::body::Body for Begun {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.0.take() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None => Poll::Pending,
        }
    }
}

/// A JSON account of the request: `method`, `uri`, `version`, `headers` and `trailers` as lists of pairs, `body` as
/// text; `None` when it breaks off.
pub async fn account(request: Request<Incoming>) -> Option<Value> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.ok()?;
    let trailers = body.trailers().map(pairs);
    Some(json!({
        "method": head.method.as_str(),
        "uri": head.uri.to_string(),
        "version": if head.version == Version::HTTP_2 { "HTTP/2" } else { "HTTP/1.1" },
        "headers": pairs(&head.headers),
        "trailers": trailers,
        "body": String::from_utf8_lossy(&body.to_bytes()),
    }))
}

/// Answers 200 with an [`account`] of the request.
pub async fn echo(request: Request<Incoming>) -> Response<Body> {
    let Some(account) = account(request).await else {
        return Response::builder().status(400).body(empty()).expect("a valid answer");
    };
    Response::builder()
        .header("content-type", "application/json")
        .body(full(account.to_string()))
        .expect("a valid answer")
}

/// Answers 200 at once and sends the request's body (and trailers) back as it comes in.
pub async fn stream_back(request: Request<Incoming>) -> Response<Body> {
    Response::new(request.into_body().boxed_unsync())
}

fn pairs(fields: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    fields.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

pub(super) async fn serve(
    stream: Box<dyn Stream>,
    protocol: Protocol,
    handler: impl Handler,
    counters: Arc<Counters>,
) {
    let client = stream.socket().peer_addr();
    let service = service_fn(move |mut request: Request<Incoming>| {
        counters.requests.fetch_add(1, Ordering::SeqCst);
        if let Ok(client) = &client {
            request.extensions_mut().insert(*client);
        }
        let handler = handler.clone();
        async move { Ok::<_, Infallible>(handler.answer(request).await) }
    });
    let stream = TokioIo::new(stream);
    // What the peer does wrong is for the test to see at its own end.
    let _ = match protocol {
        Protocol::Http1 => {
            http1::Builder::new().serve_connection(stream, service).with_upgrades().await
        }
        Protocol::Http2 => {
            http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service).await
        }
    };
}
