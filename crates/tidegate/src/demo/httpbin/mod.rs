//! httpbin.org's paths that a gateway is tried with, answered in its shapes.
//!
//! | path | answer |
//! |---|---|
//! | `/get` `/post` `/put` `/patch` `/delete` | what was sent, for that method alone |
//! | `/anything` and below | what was sent, for any method |
//! | `/headers` `/ip` `/user-agent` `/uuid` | one fact each |
//! | `/status/N`, `/status/N:weight,M:weight` | that status; 418 is a teapot |
//! | `/delay/S` | what was sent, after S seconds (at most 10) |
//! | `/bytes/N` | N random bytes (at most 100 KiB); `?seed=` repeats them |
//! | `/stream/N` | N lines of JSON (at most 100), sent as chunks |
//! | `/redirect/N` | N redirects, then `/get` |
//! | `/response-headers?name=value` | those header fields |
//!
//! Two differences from the original are deliberate: forwarding headers (`x-forwarded-for`, `via`, …) are
//! shown, since that is what one wants to see behind a gateway, and multipart bodies are shown as `data`.

mod query;
mod report;
mod status;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body as HttpBody, Frame, Incoming};
use serde_json::{Value, json};

use self::report::Sent;

/// The body of an answer.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Request bodies are shown, hence held, up to this size.
const LARGEST_BODY: usize = 1024 * 1024;
const LARGEST_BYTES: usize = 100 * 1024;
const MOST_LINES: usize = 100;
const LONGEST_DELAY: f64 = 10.0;
const MOST_REDIRECTS: u32 = 20;

/// The connection that a request came in on.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Who connected.
    pub peer: SocketAddr,
    /// The name that this origin answers as.
    pub name: &'static str,
    /// `http` or `https`.
    pub scheme: &'static str,
}

/// Answers one request.
pub async fn answer(request: Request<Incoming>, seen: Seen) -> Response<Body> {
    let (head, body) = request.into_parts();
    let mut answer = match Limited::new(body, LARGEST_BODY).collect().await {
        Ok(body) => route(&Sent { head: &head, body: &body.to_bytes(), seen: &seen }).await,
        Err(_) => plain(StatusCode::PAYLOAD_TOO_LARGE, "the demo shows bodies up to 1 MiB\n"),
    };
    let headers = answer.headers_mut();
    headers.insert(header::SERVER, HeaderValue::from_static("tidegate-demo"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    answer
}

async fn route(sent: &Sent<'_>) -> Response<Body> {
    let path = sent.head.uri.path().trim_start_matches('/');
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    let method = &sent.head.method;
    match (first, rest) {
        ("", "") => page(sent.seen.name),
        ("get", "") => only(method, &Method::GET, || sent.without_body()),
        ("post", "") => only(method, &Method::POST, || sent.with_body()),
        ("put", "") => only(method, &Method::PUT, || sent.with_body()),
        ("patch", "") => only(method, &Method::PATCH, || sent.with_body()),
        ("delete", "") => only(method, &Method::DELETE, || sent.with_body()),
        ("anything", _) => shown(&sent.anything()),
        ("headers", "") => shown(&json!({ "headers": sent.headers() })),
        ("ip", "") => shown(&json!({ "origin": sent.origin() })),
        ("user-agent", "") => shown(&json!({ "user-agent": sent.header("user-agent") })),
        ("uuid", "") => shown(&json!({ "uuid": report::uuid() })),
        ("status", codes) => status::answer(codes),
        ("delay", seconds) => delay(seconds, sent).await,
        ("bytes", count) => random_bytes(count, sent),
        ("stream", count) => stream(count, sent),
        ("redirect", count) => redirect(count),
        ("response-headers", "") => response_headers(sent),
        _ => {
            plain(StatusCode::NOT_FOUND, "the demo origin has no such path; try /get or /headers\n")
        }
    }
}

/// HEAD goes wherever GET goes; hyper leaves the body out.
fn only(method: &Method, wanted: &Method, report: impl FnOnce() -> Value) -> Response<Body> {
    if method == wanted || (method == Method::HEAD && wanted == Method::GET) {
        return shown(&report());
    }
    let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
    if let Ok(allow) = HeaderValue::from_str(wanted.as_str()) {
        answer.headers_mut().insert(header::ALLOW, allow);
    }
    answer
}

async fn delay(seconds: &str, sent: &Sent<'_>) -> Response<Body> {
    match seconds.parse::<f64>() {
        Ok(seconds) if seconds >= 0.0 => {
            tokio::time::sleep(Duration::from_secs_f64(seconds.min(LONGEST_DELAY))).await;
            shown(&sent.with_body())
        }
        _ => plain(StatusCode::BAD_REQUEST, "not a number of seconds\n"),
    }
}

fn random_bytes(count: &str, sent: &Sent<'_>) -> Response<Body> {
    let Ok(count) = count.parse::<usize>() else {
        return plain(StatusCode::BAD_REQUEST, "not a number of bytes\n");
    };
    let seed = sent.args().first("seed").and_then(|seed| seed.parse().ok());
    let mut random = seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
    let mut bytes = vec![0; count.min(LARGEST_BYTES)];
    random.fill(&mut bytes);
    typed("application/octet-stream", bytes)
}

fn stream(count: &str, sent: &Sent<'_>) -> Response<Body> {
    let Ok(count) = count.parse::<usize>() else {
        return plain(StatusCode::BAD_REQUEST, "not a number of lines\n");
    };
    let lines = Lines { report: sent.without_body(), next: 0, end: count.min(MOST_LINES) };
    let mut answer = Response::new(lines.boxed_unsync());
    set_type(&mut answer, "application/json");
    answer
}

/// The body of `/stream/N`: a frame for each line, so that each can be seen to arrive by itself.
struct Lines {
    report: Value,
    next: usize,
    end: usize,
}

impl HttpBody for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.next == self.end {
            return Poll::Ready(None);
        }
        let id = self.next;
        self.next += 1;
        self.report["id"] = json!(id);
        let line = format!("{}\n", self.report);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(line)))))
    }
}

fn redirect(count: &str) -> Response<Body> {
    let target = match count.parse::<u32>() {
        Ok(1) => "/get".to_owned(),
        Ok(count) if count > 1 => format!("/redirect/{}", count.min(MOST_REDIRECTS) - 1),
        _ => return plain(StatusCode::BAD_REQUEST, "not a number of redirects\n"),
    };
    let mut answer = plain(StatusCode::FOUND, "");
    if let Ok(target) = HeaderValue::from_str(&target) {
        answer.headers_mut().insert(header::LOCATION, target);
    }
    answer
}

fn response_headers(sent: &Sent<'_>) -> Response<Body> {
    let args = sent.args();
    let mut answer = shown(&args.to_json());
    for (name, value) in args.iter() {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value))
        else {
            return plain(StatusCode::BAD_REQUEST, "not a header field\n");
        };
        // Framing is hyper's business.
        if name != header::CONTENT_LENGTH && name != header::TRANSFER_ENCODING {
            answer.headers_mut().append(name, value);
        }
    }
    answer
}

fn page(name: &str) -> Response<Body> {
    let title = if name == super::GOOGLE { "Google" } else { name };
    let page = format!(
        "<!doctype html>\n<html><head><title>{title}</title></head>\n<body><p>This is not the real \
         {name}: it is an origin built into <code>tidegate up --demo</code>.</p></body></html>\n"
    );
    typed("text/html; charset=utf-8", page)
}

/// JSON as httpbin.org prints it: indented by two, keys sorted, a line end after it.
fn shown(value: &Value) -> Response<Body> {
    typed("application/json", format!("{value:#}\n"))
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut answer = typed("text/plain; charset=utf-8", text);
    *answer.status_mut() = status;
    answer
}

fn typed(content_type: &'static str, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut answer = Response::new(Full::new(bytes.into()).boxed_unsync());
    set_type(&mut answer, content_type);
    answer
}

fn set_type(answer: &mut Response<Body>, content_type: &'static str) {
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
}

#[cfg(test)]
mod tests;
