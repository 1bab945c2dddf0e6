//! Answers.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame};
use serde_json::Value;
use tokio::sync::mpsc;

use super::failure::Failure;
use super::negotiate::Encoding;

/// A body that is there already or comes piece by piece.
pub(crate) type ReplyBody = UnsyncBoxBody<Bytes, Infallible>;
pub(crate) type Reply = Response<ReplyBody>;

/// Pieces of a body that its writer may be ahead of its reader.
pub(crate) const PIECES_AHEAD: usize = 16;

pub(crate) const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

pub(crate) fn full(code: StatusCode, content_type: &str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()).boxed_unsync());
    *reply.status_mut() = code;
    set(&mut reply, header::CONTENT_TYPE, content_type);
    set(&mut reply, header::CACHE_CONTROL, "no-cache, private");
    reply
}

/// What the client has is still so (RFC 9110, section 15.4.5).
pub(crate) fn not_modified() -> Reply {
    let mut reply = full(StatusCode::NOT_MODIFIED, TEXT, "");
    reply.headers_mut().remove(header::CONTENT_TYPE);
    reply
}

pub(crate) fn json(code: StatusCode, value: &Value) -> Reply {
    full(code, JSON, value.to_string())
}

/// A value in the encoding that was asked for.
pub(crate) fn encoded(code: StatusCode, encoding: Encoding, json: Vec<u8>) -> Reply {
    match encoding {
        Encoding::Json => full(code, JSON, json),
        Encoding::Yaml => match serde_json::from_slice(&json) {
            Ok(value) => full(code, "application/yaml", super::yaml::write(&value)),
            Err(_) => full(code, JSON, json),
        },
    }
}

pub(crate) fn text(code: StatusCode, body: impl Into<Bytes>) -> Reply {
    let mut reply = full(code, TEXT, body);
    set(&mut reply, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    reply
}

/// A body whose pieces come from elsewhere; it ends when their sender goes. The receiver of pieces and the
/// connection go together: a sender that finds nobody there can stop.
pub(crate) fn stream(content_type: &str, pieces: mpsc::Receiver<Bytes>) -> Reply {
    let mut reply = Response::new(Pieces(pieces).boxed_unsync());
    set(&mut reply, header::CONTENT_TYPE, content_type);
    set(&mut reply, header::CACHE_CONTROL, "no-cache, private");
    reply
}

pub(crate) fn failure(failure: &Failure) -> Reply {
    if failure.plain {
        return text(failure.code, failure.message.clone());
    }
    let mut reply = json(failure.code, &failure.status());
    if let Some(seconds) = failure.retry_after {
        set(&mut reply, header::RETRY_AFTER, &seconds.to_string());
    }
    warn(&mut reply, &failure.warnings);
    reply
}

/// The answer to HEAD: what GET is answered, without the body, whose length is told where it is known (RFC 9110, section
/// 9.3.2). Over HTTP/2 a body would be an error of the protocol.
pub(crate) fn head_of(mut reply: Reply) -> Reply {
    if let Some(length) = reply.body().size_hint().exact().filter(|length| *length > 0) {
        set(&mut reply, header::CONTENT_LENGTH, &length.to_string());
    }
    reply.map(|_| Full::default().boxed_unsync())
}

/// Sets a header; a value that no header can hold is left out.
pub(crate) fn set(reply: &mut Reply, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(name, value);
    }
}

/// Adds warnings (RFC 7234, section 5.5): kubectl prints each on a line of its own.
pub(crate) fn warn(reply: &mut Reply, warnings: &[String]) {
    for warning in warnings {
        let text: String = warning
            .chars()
            .map(|c| if c.is_control() || !c.is_ascii() { '?' } else { c })
            .collect();
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            reply.headers_mut().append(header::WARNING, value);
        }
    }
}

struct Pieces(mpsc::Receiver<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}
