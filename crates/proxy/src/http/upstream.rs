//! The origin's side of an exchange: a request going, its answer coming, over HTTP/1 or HTTP/2.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use super::h1::conn::{HeadLimits, Recv, RecvError};
use super::h1::encode::ConnectionHeader;
use super::h1::parse::{Carriage, MAX_LINES};
use super::head::{Headers, RequestHead, ResponseHead};
use super::stream::Stream;
use crate::upstream::pool::Lease;

/// Largest response head; Envoy's default.
const LIMITS: HeadLimits = HeadLimits { bytes: 60 * 1024, lines: MAX_LINES };

/// A connection to an endpoint that carries one request over HTTP/1.
#[derive(Debug)]
pub struct Http1Upstream {
    lease: Lease,
    to_head: bool,
    to_connect: bool,
    keep_alive: bool,
}

impl Http1Upstream {
    /// Uses a leased connection.
    #[must_use]
    pub fn new(lease: Lease) -> Self {
        Self { lease, to_head: false, to_connect: false, keep_alive: false }
    }

    /// Whether the connection has carried a request before, so that the endpoint may have closed it meanwhile.
    #[must_use]
    pub fn is_reused(&self) -> bool {
        self.lease.reused
    }

    /// Our address on the connection.
    #[must_use]
    pub fn local(&self) -> Option<SocketAddr> {
        self.lease.local
    }

    /// Queues the request's head. `body` says whether content follows, `upgrade` that the protocol is to
    /// change; `last` closes the connection after it.
    pub fn start_request(&mut self, head: &RequestHead, body: bool, upgrade: bool, last: bool) {
        self.to_head = head.is_method("HEAD");
        self.to_connect = head.is_method("CONNECT");
        let sized = head.headers.get(b"content-length").is_some();
        let connection = match (upgrade, last) {
            (true, _) => ConnectionHeader::Upgrade,
            (false, true) => ConnectionHeader::Close,
            (false, false) => ConnectionHeader::None,
        };
        self.lease.start_request(head, body && !sized, connection);
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
        let read = self.lease.poll_response(cx, LIMITS, self.to_head, self.to_connect, head);
        read.map_ok(|carriage| {
            self.keep_alive = carriage.keep_alive;
            carriage
        })
    }

    /// Ends the exchange. The connection is kept if both messages are complete and it may carry another.
    pub fn end(self, complete: bool, last: bool) {
        if complete && self.keep_alive && !last && self.lease.received_all() {
            self.lease.give_back();
        }
    }

    /// Counts the request on the connection; tells how many it has carried.
    pub fn count_request(&mut self) -> u32 {
        self.lease.count_request()
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
}
