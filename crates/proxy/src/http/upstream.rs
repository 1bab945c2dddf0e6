//! The origin's side of an exchange: a request going, its answer coming, over HTTP/1 or HTTP/2.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use super::h1::conn::{HeadLimits, Recv, RecvError};
use super::h1::encode::ConnectionHeader;
use super::h1::parse::{Carriage, Framing, MAX_LINES};
use super::h2::client::Http2Upstream;
use super::head::{Headers, RequestHead, ResponseHead};
use super::known::Known;
use super::stream::{Stream, Wire};
use crate::accesslog::Protocol;
use crate::stats::ClusterStats;
use crate::upstream::pool::Lease;

/// Largest response head; Envoy's default.
const LIMITS: HeadLimits = HeadLimits { bytes: 80 * 1024, lines: MAX_LINES };

/// A request to an endpoint, in the version that the cluster speaks.
#[derive(Debug)]
pub enum Upstream {
    /// Over HTTP/1.
    Http1(Http1Upstream),
    /// Over HTTP/2.
    Http2(Box<Http2Upstream>),
}

/// Calls a method of whichever it is.
macro_rules! either {
    ($self:expr, $upstream:ident => $call:expr) => {
        match $self {
            Upstream::Http1($upstream) => $call,
            Upstream::Http2($upstream) => $call,
        }
    };
}

impl Upstream {
    /// The protocol, for the log.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        match self {
            Self::Http1(_) => Protocol::Http11,
            Self::Http2(_) => Protocol::Http2,
        }
    }

    /// Whether the connection has carried a request before, so that the endpoint may have closed it meanwhile.
    #[must_use]
    pub fn is_reused(&self) -> bool {
        match self {
            Self::Http1(http1) => http1.lease.reused,
            Self::Http2(http2) => http2.is_reused(),
        }
    }

    /// Our address on the connection.
    #[must_use]
    pub fn local(&self) -> Option<SocketAddr> {
        match self {
            Self::Http1(http1) => http1.lease.local,
            Self::Http2(http2) => http2.local(),
        }
    }

    /// Queues the request's head. `body` says whether content follows, `upgrade` that the protocol is to
    /// change. `most` is how many requests the connection may carry.
    pub fn start_request(
        &mut self,
        head: &RequestHead,
        body: bool,
        upgrade: bool,
        most: Option<u32>,
    ) {
        match self {
            Self::Http1(http1) => http1.start_request(head, body, upgrade, most),
            Self::Http2(http2) => http2.start_request(head, body),
        }
    }

    /// Reads the response's head.
    ///
    /// # Errors
    /// The endpoint broke off, or broke the protocol.
    pub fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<Carriage, RecvError>> {
        either!(self, upstream => upstream.poll_response(cx, head))
    }

    /// Counts how the endpoint failed.
    pub fn failed(&self, stats: &ClusterStats, error: &RecvError) {
        match (self, error) {
            (_, RecvError::Bad(_)) => {}
            (Self::Http1(http1), _) => http1.lease.closed_by_endpoint(),
            (Self::Http2(_), RecvError::Truncated | RecvError::Refused) => {
                stats.upstream_rq_rx_reset.inc();
            }
            (Self::Http2(_), _) => {}
        }
    }

    /// Counts that the exchange is given up: dropping it resets its stream, or closes its connection.
    pub fn given_up(&self, stats: &ClusterStats) {
        if matches!(self, Self::Http2(_)) {
            stats.upstream_rq_tx_reset.inc();
        }
    }

    /// Ends the exchange: a connection is kept if both messages are complete and it may carry another.
    pub fn end(self, complete: bool) {
        match self {
            Self::Http1(http1) => http1.end(complete),
            // Dropping a stream that is not complete resets it.
            Self::Http2(_) => {}
        }
    }
}

impl Stream for Upstream {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Recv<'_>, RecvError>> {
        either!(self, upstream => upstream.poll_recv(cx))
    }

    fn consume(&mut self, n: usize) {
        either!(self, upstream => upstream.consume(n));
    }

    fn take_trailers(&mut self) -> Option<Box<Headers>> {
        either!(self, upstream => upstream.take_trailers())
    }

    fn received_all(&self) -> bool {
        either!(self, upstream => upstream.received_all())
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, upstream => upstream.poll_send(cx, data))
    }

    fn finish(&mut self, trailers: Option<&Headers>) {
        either!(self, upstream => upstream.finish(trailers));
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, upstream => upstream.poll_flush(cx))
    }

    fn become_tunnel(&mut self) {
        either!(self, upstream => upstream.become_tunnel());
    }

    fn wire(&self) -> Option<Wire> {
        either!(self, upstream => upstream.wire())
    }
}

/// A connection to an endpoint that carries one request over HTTP/1.
#[derive(Debug)]
pub struct Http1Upstream {
    lease: Lease,
    to_head: bool,
    to_connect: bool,
    keep_alive: bool,
    last: bool,
}

impl Http1Upstream {
    /// Uses a leased connection.
    #[must_use]
    pub fn new(lease: Lease) -> Self {
        Self { lease, to_head: false, to_connect: false, keep_alive: false, last: false }
    }

    fn start_request(&mut self, head: &RequestHead, body: bool, upgrade: bool, most: Option<u32>) {
        self.to_head = head.is_method("HEAD");
        self.to_connect = head.is_method("CONNECT");
        let spent = self.lease.count_request(most);
        let sized = head.headers.get_known(Known::ContentLength).is_some();
        // As in Envoy, the endpoint is not told which request is the last.
        let connection = if upgrade { ConnectionHeader::Upgrade } else { ConnectionHeader::None };
        // What follows a refused upgrade may be data of the other protocol.
        self.last = spent || upgrade;
        let chunked = body && !sized;
        // Methods that usually come with content say that there is none (RFC 9110 section 8.6).
        let bare = matches!(head.method(), b"GET" | b"HEAD" | b"DELETE" | b"CONNECT" | b"TRACE");
        let empty = !body && !sized && !bare && !upgrade;
        self.lease.start_request(head, chunked, empty, connection);
    }

    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<Carriage, RecvError>> {
        let read = self.lease.poll_response(cx, LIMITS, self.to_head, self.to_connect, head);
        read.map(|read| match read {
            Ok(carriage) => {
                self.keep_alive = carriage.keep_alive;
                if carriage.framing == Framing::UntilClose {
                    self.lease.closed_by_endpoint();
                } else if !carriage.keep_alive {
                    self.lease.count_close_notify();
                }
                Ok(carriage)
            }
            // A reset inside a head cuts it off, as a close does.
            Err(RecvError::Io(_)) if !self.lease.filled().is_empty() => Err(RecvError::Truncated),
            failed => failed,
        })
    }

    fn end(self, complete: bool) {
        if !complete || !self.lease.received_all() {
            return;
        }
        if self.keep_alive && !self.last { self.lease.give_back() } else { self.lease.close() }
    }
}

impl Stream for Http1Upstream {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Recv<'_>, RecvError>> {
        self.lease.poll_recv(cx)
    }

    fn consume(&mut self, n: usize) {
        self.lease.consume(n);
    }

    fn take_trailers(&mut self) -> Option<Box<Headers>> {
        self.lease.take_trailers()
    }

    fn received_all(&self) -> bool {
        self.lease.received_all()
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.lease.poll_send(cx, data)
    }

    fn finish(&mut self, trailers: Option<&Headers>) {
        self.lease.finish(trailers);
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lease.poll_flush(cx)
    }

    fn become_tunnel(&mut self) {
        self.lease.become_tunnel();
    }

    fn wire(&self) -> Option<Wire> {
        Some(self.lease.wire())
    }
}
