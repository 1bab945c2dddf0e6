//! Answers that the proxy gives itself, with Envoy's statuses, texts and flags.

use std::borrow::Cow;

use super::h1::BadMessage;
use super::h1::encode::Decimal;
use super::head::{Headers, ResponseHead};
use crate::accesslog::ResponseFlags;
use crate::rbac::Denied;
use crate::route::grpc;
use crate::upstream::dynamic::NoEndpoint;

/// An answer of our own.
#[derive(Clone, Debug)]
pub struct LocalReply {
    /// Status code.
    pub status: u16,
    /// Body, as plain text.
    pub body: Cow<'static, [u8]>,
    /// `location`, for redirects.
    pub location: Option<Vec<u8>>,
    /// Headers that configuration gives it, before all others.
    pub configured: Option<Box<Headers>>,
    /// Headers of its own, by names in lower case.
    pub headers: Vec<(&'static str, Cow<'static, [u8]>)>,
    /// What calls of gRPC are answered; `None` for what the status stands for.
    pub grpc_status: Option<u32>,
    /// Why, for the log.
    pub flags: ResponseFlags,
    /// Why, in Envoy's response code details.
    pub details: Cow<'static, str>,
    /// Whether the connection closes after it.
    pub close: bool,
}

/// Why an attempt at an endpoint gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// A limit of the cluster is reached.
    Overflow,
    /// The connection was refused or failed.
    ConnectFailure,
    /// The connection was not established in time.
    ConnectTimeout,
    /// The endpoint closed the connection.
    Termination,
    /// The endpoint reset the stream.
    Remote,
    /// The endpoint refused the stream.
    Refused,
    /// The endpoint broke the protocol.
    Protocol,
    /// We gave the attempt up.
    Local,
}

impl LocalReply {
    /// An answer that leaves the connection open.
    #[must_use]
    pub fn new(
        status: u16,
        body: &'static str,
        flags: ResponseFlags,
        details: &'static str,
    ) -> Self {
        let body = Cow::Borrowed(body.as_bytes());
        Self {
            status,
            body,
            location: None,
            configured: None,
            headers: Vec::new(),
            grpc_status: None,
            flags,
            details: details.into(),
            close: false,
        }
    }

    /// 404: no virtual host, or no route in it, takes the request.
    #[must_use]
    pub fn no_route() -> Self {
        Self::new(404, "", ResponseFlags::NO_ROUTE_FOUND, "route_not_found")
    }

    /// 403: the rules of an RBAC filter do not let the request pass.
    #[must_use]
    pub fn denied(Denied(why): &Denied) -> Self {
        let reply = Self::new(403, "RBAC: access denied", ResponseFlags::NONE, "");
        Self { details: why.to_string().into(), ..reply }
    }

    /// The route's cluster does not exist.
    #[must_use]
    pub fn no_cluster(status: u16) -> Self {
        Self::new(status, "", ResponseFlags::NO_CLUSTER_FOUND, "cluster_not_found")
    }

    /// 503: the cluster has no endpoint.
    #[must_use]
    pub fn no_healthy_upstream() -> Self {
        Self::new(
            503,
            "no healthy upstream",
            ResponseFlags::NO_HEALTHY_UPSTREAM,
            "no_healthy_upstream",
        )
    }

    /// 503: what the request asks for has no address.
    #[must_use]
    pub fn no_endpoint(why: &NoEndpoint) -> Self {
        let (flags, words, details) = match why {
            NoEndpoint::TooMany(_) => {
                (ResponseFlags::UPSTREAM_OVERFLOW, "DNS cache overflow", "dns_cache_overflow")
            }
            _ => (
                ResponseFlags::DNS_RESOLUTION_FAILED,
                "DNS resolution failure",
                "dns_resolution_failure",
            ),
        };
        Self::new(503, words, flags, details)
    }

    /// 403: the upgrade that is asked for is not allowed here.
    #[must_use]
    pub fn upgrade_refused() -> Self {
        let reply = Self::new(403, "", ResponseFlags::NONE, "upgrade_failed");
        Self { close: true, ..reply }
    }

    /// 502: the protocol is to change, and the endpoint speaks HTTP/2, where it cannot (RFC 9113 section 8.6)
    /// but by an extended CONNECT (RFC 8441), which is not spoken.
    #[must_use]
    pub fn upgrade_to_http2() -> Self {
        let reply = Self::new(
            502,
            "upgrades do not go to endpoints that speak HTTP/2",
            ResponseFlags::UPSTREAM_PROTOCOL_ERROR,
            "upgrade_failed",
        );
        Self { close: true, ..reply }
    }

    /// The client broke the protocol.
    #[must_use]
    pub fn bad_message(reason: BadMessage) -> Self {
        let (status, body, details) = match reason {
            BadMessage::TooLarge => {
                (431, "Request Header Fields Too Large", "http1.headers_too_large")
            }
            BadMessage::TooManyHeaders => {
                (431, "Request Header Fields Too Large", "http1.too_many_headers")
            }
            BadMessage::Coding => (501, "Not Implemented", "http1.invalid_transfer_encoding"),
            BadMessage::NoHost => (400, "", "missing_host_header"),
            BadMessage::Fragment => (400, "", "path_normalization_failed"),
            BadMessage::Host => (400, "Bad Request", "http1.invalid_host"),
            BadMessage::Target => (400, "Bad Request", "http1.invalid_url"),
            BadMessage::Length => (400, "Bad Request", "http1.content_length_not_allowed"),
            BadMessage::BareLf => (400, "Bad Request", "http1.bare_lf"),
            BadMessage::Chunk => (400, "Bad Request", "http1.invalid_chunk"),
            BadMessage::CodingOutOfPlace => {
                (400, "Bad Request", "http1.transfer_encoding_not_allowed")
            }
            BadMessage::Nominated => (400, "Bad Request", "http1.connection_header_rejected"),
            BadMessage::Version => return Self::upgrade_required(),
            BadMessage::Malformed => (400, "Bad Request", "http1.codec_error"),
        };
        let reply = Self::new(status, body, ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR, details);
        Self { close: true, ..reply }
    }

    /// 426: HTTP/1.0 is not accepted, nor is another version than HTTP/1.1.
    #[must_use]
    pub fn upgrade_required() -> Self {
        let reply = Self::new(
            426,
            "Upgrade Required",
            ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR,
            "low_version",
        );
        Self { close: true, ..reply }
    }

    /// 403: the target claims TLS on a connection in plain text (RFC 9110 section 7.4).
    #[must_use]
    pub fn wrong_scheme() -> Self {
        let flags = ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR;
        let reply = Self::new(403, "Forbidden", flags, "http1.invalid_scheme");
        Self { close: true, ..reply }
    }

    /// 408: the request, or its head, did not arrive in time.
    #[must_use]
    pub fn request_timeout(details: &'static str, words: &'static str) -> Self {
        let reply = Self::new(408, words, ResponseFlags::NONE, details);
        Self { close: true, ..reply }
    }

    /// 408 or 504: nothing moved for too long.
    #[must_use]
    pub fn idle_timeout(request_complete: bool) -> Self {
        let status = if request_complete { 504 } else { 408 };
        let reply = Self::new(
            status,
            "stream timeout",
            ResponseFlags::STREAM_IDLE_TIMEOUT,
            "stream_idle_timeout",
        );
        Self { close: !request_complete, ..reply }
    }

    /// 408 or 504: the stream has lived for as long as it may.
    #[must_use]
    pub fn max_duration(request_complete: bool) -> Self {
        let status = if request_complete { 504 } else { 408 };
        let flags = ResponseFlags::DURATION_TIMEOUT;
        let reply = Self::new(status, "downstream duration timeout", flags, "max_duration_timeout");
        Self { close: !request_complete, ..reply }
    }

    /// 504: the route's time is over.
    #[must_use]
    pub fn upstream_timeout() -> Self {
        Self::new(
            504,
            "upstream request timeout",
            ResponseFlags::UPSTREAM_REQUEST_TIMEOUT,
            "response_timeout",
        )
    }

    /// 503, or 502 when the endpoint broke the protocol: no answer came from it, the last one of several if it was
    /// `retried`.
    #[must_use]
    pub fn upstream_reset(reset: Reset, retried: bool) -> Self {
        let (status, flags, words, details) = match reset {
            Reset::Overflow => (
                503,
                ResponseFlags::UPSTREAM_OVERFLOW,
                "overflow",
                "upstream_reset_before_response_started{overflow}",
            ),
            Reset::ConnectFailure => (
                503,
                ResponseFlags::UPSTREAM_CONNECTION_FAILURE,
                "remote connection failure",
                "upstream_reset_before_response_started{remote_connection_failure}",
            ),
            Reset::ConnectTimeout => (
                503,
                ResponseFlags::UPSTREAM_CONNECTION_FAILURE,
                "connection timeout",
                "upstream_reset_before_response_started{connection_timeout}",
            ),
            Reset::Termination => (
                503,
                ResponseFlags::UPSTREAM_CONNECTION_TERMINATION,
                "connection termination",
                "upstream_reset_before_response_started{connection_termination}",
            ),
            Reset::Remote => (
                503,
                ResponseFlags::UPSTREAM_REMOTE_RESET,
                "remote reset",
                "upstream_reset_before_response_started{remote_reset}",
            ),
            Reset::Refused => (
                503,
                ResponseFlags::UPSTREAM_REMOTE_RESET,
                "remote refused stream reset",
                "upstream_reset_before_response_started{remote_refused_stream_reset}",
            ),
            Reset::Local => (
                503,
                ResponseFlags::LOCAL_RESET,
                "local reset",
                "upstream_reset_before_response_started{local_reset}",
            ),
            Reset::Protocol => (
                502,
                ResponseFlags::UPSTREAM_PROTOCOL_ERROR,
                "protocol error",
                "upstream_reset_before_response_started{protocol_error}",
            ),
        };
        const TEXT: &str = "upstream connect error or disconnect/reset before headers. ";
        let latest = if retried { "retried and the latest " } else { "" };
        let body = [TEXT, latest, "reset reason: ", words].concat().into_bytes().into();
        Self { body, ..Self::new(status, "", flags, details) }
    }

    /// The same, which says why no connection could be had.
    #[must_use]
    pub fn because(mut self, why: &str) -> Self {
        let body = self.body.to_mut();
        body.extend_from_slice(b", transport failure reason: ");
        body.extend_from_slice(why.as_bytes());
        self
    }

    /// The same as a call of gRPC is answered: 200, and the status and its text in the head, which is also the end.
    #[must_use]
    pub fn to_call(mut self) -> Self {
        let status = self.grpc_status.unwrap_or_else(|| grpc::status_of(self.status));
        let said = std::mem::take(&mut self.body);
        self.headers.push(("content-type", b"application/grpc".into()));
        self.headers.push(("grpc-status", Decimal::new(status.into()).to_vec().into()));
        if !said.is_empty() {
            self.headers.push(("grpc-message", grpc::message(&said).into()));
        }
        Self { status: 200, ..self }
    }

    /// The head of this answer.
    pub fn write(&self, head: &mut ResponseHead) {
        head.clear();
        head.status = self.status;
        for (_, name, value) in self.configured.iter().flat_map(|headers| headers.iter()) {
            head.headers.append(name, value);
        }
        if !self.body.is_empty() {
            head.headers.set(b"content-length", &Decimal::new(self.body.len() as u64));
            if head.headers.get(b"content-type").is_none() {
                head.headers.append(b"content-type", b"text/plain");
            }
        }
        if let Some(location) = &self.location {
            head.headers.append(b"location", location);
        }
        for (name, value) in &self.headers {
            head.headers.append(name.as_bytes(), value);
        }
        if self.flags == ResponseFlags::UPSTREAM_OVERFLOW {
            head.headers.append(b"x-envoy-overloaded", b"true");
        }
    }
}
