//! Answers, made piece by piece.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, SERVER};
use http::{Response, StatusCode};
use hyper::body::{Body, Frame};
use serde_json::Value as Json;

/// Size at which a piece is handed on, bytes.
const PIECE: usize = 64 * 1024;

/// What a request is answered with.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// `content-type`
    pub content_type: &'static str,
    /// The body.
    pub body: Pieces,
}

impl Answer {
    pub(super) const TEXT: &'static str = "text/plain; charset=UTF-8";
    pub(super) const JSON: &'static str = "application/json";
    pub(super) const HTML: &'static str = "text/html; charset=UTF-8";

    /// 200 with text.
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::error(StatusCode::OK, text)
    }

    /// Text with a status.
    pub(super) fn error(status: StatusCode, text: impl Into<String>) -> Self {
        let body = Pieces::one(text.into().into_bytes());
        Self { status, content_type: Self::TEXT, body }
    }

    /// 200 with JSON, written as Envoy writes it.
    pub(super) fn json(value: &Json) -> Self {
        let body = Pieces::one((pretty(value, 0) + "\n").into_bytes());
        Self { status: StatusCode::OK, content_type: Self::JSON, body }
    }

    /// 200 with what comes piece by piece.
    pub(super) fn pieces(content_type: &'static str, body: Pieces) -> Self {
        Self { status: StatusCode::OK, content_type, body }
    }

    /// With the headers that all answers have.
    pub(super) fn into_response(self) -> Response<Pieces> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        let fixed = HeaderValue::from_static;
        for (name, value) in [
            (CONTENT_TYPE, fixed(self.content_type)),
            (CACHE_CONTROL, fixed("no-cache, max-age=0")),
            (HeaderName::from_static("x-content-type-options"), fixed("nosniff")),
            (SERVER, fixed("tidegate")),
        ] {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// A body that is made while it is sent.
pub struct Pieces(Box<dyn Iterator<Item = Vec<u8>> + Send>);

impl Pieces {
    /// A body in one piece.
    pub(super) fn one(bytes: Vec<u8>) -> Self {
        Self(Box::new(std::iter::once(bytes)))
    }

    /// A body from pieces of a sensible size.
    pub(super) fn new(pieces: impl Iterator<Item = Vec<u8>> + Send + 'static) -> Self {
        Self(Box::new(pieces))
    }

    /// A body from many small parts, put together to pieces.
    pub(super) fn gathered(mut parts: impl Iterator<Item = String> + Send + 'static) -> Self {
        Self::new(std::iter::from_fn(move || {
            let mut piece = Vec::new();
            while piece.len() < PIECE {
                match parts.next() {
                    Some(part) => piece.extend_from_slice(part.as_bytes()),
                    None => break,
                }
            }
            (!piece.is_empty()).then_some(piece)
        }))
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.next().map(|piece| Ok(Frame::data(piece.into()))))
    }
}

impl Iterator for Pieces {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        self.0.next()
    }
}

/// JSON as Envoy prints it, one blank a level, `depth` levels in; without a line break at the end.
pub(super) fn pretty(value: &Json, depth: usize) -> String {
    // No string has a line break inside, so every line begins with its indentation, two blanks a level.
    let mut out = String::new();
    for (index, line) in format!("{value:#}").split('\n').enumerate() {
        if index > 0 {
            out.push('\n');
        }
        let text = line.trim_start_matches(' ');
        out.extend(std::iter::repeat_n(' ', depth + (line.len() - text.len()) / 2));
        out.push_str(text);
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_has_one_blank_a_level() {
        let value = json!({"a": [{"b": "x\n  y"}], "c": {}, "d": []});
        assert_eq!(
            pretty(&value, 1),
            " {\n  \"a\": [\n   {\n    \"b\": \"x\\n  y\"\n   }\n  ],\n  \"c\": {},\n  \"d\": []\n }"
        );
    }

    #[test]
    fn small_parts_make_pieces() {
        let parts = (0..100_000).map(|_| "0123456789".to_owned());
        let sizes: Vec<usize> = Pieces::gathered(parts).map(|piece| piece.len()).collect();
        assert_eq!(sizes.iter().sum::<usize>(), 1_000_000);
        assert!(sizes.iter().all(|size| *size <= PIECE + 10) && sizes.len() < 20);
    }
}
