//! Relaying: the answer, and what is left of the request, until both are over.

use std::future::poll_fn;
use std::task::{Context, Poll};

use super::failure::count_timeout;
use super::retry::count_attempt_timeout;
use super::{Broken, Exchange};
use crate::accesslog::{Protocol, ResponseFlags};
use crate::http::head::Version;
use crate::http::known::Known;
use crate::http::limits::Expired;
use crate::http::stream::{Downstream, RecvError, Stream};
use crate::http::transfer::{Transfer, TransferError};
use crate::http::upstream::Upstream;
use crate::upstream::LocalCluster;
use crate::upstream::outlier::Seen;
use crate::upstream::pool::Pool;

impl<D: Downstream> Exchange<'_, D> {
    /// Moves the answer, and what is left of the request, until both are over. Tells whether the endpoint's
    /// connection can carry another request.
    pub(super) async fn relay(
        &mut self,
        cluster: &LocalCluster,
        pool: &Pool,
        upstream: &mut Upstream,
    ) -> Result<bool, Broken> {
        let tunnel = self.response.status == 101;
        if tunnel {
            upstream.become_tunnel();
        }
        let http = self.http;
        let _upgraded = tunnel.then(|| http.stats.downstream_cx_upgrades_active.hold());
        let over = poll_fn(|cx| self.poll_relay(cx, upstream, tunnel)).await;
        self.journal.upstream_wire(upstream.wire());
        match over {
            Over::Complete => {
                let complete = self.upload == Transfer::Done && !tunnel;
                // Whatever the endpoint has not taken, the client's connection goes on where its request is over: it
                // was not told otherwise.
                self.close |= tunnel || !self.down.received_all();
                return Ok(complete);
            }
            Over::UpstreamFailed(error) => {
                upstream.failed(&cluster.stats, &error);
                cluster.saw(pool, Seen::Reset);
                self.cut_by_endpoint(&error, upstream.protocol(), cluster);
            }
            Over::ClientFailed(error) => {
                upstream.given_up(&cluster.stats);
                let flags = match error {
                    RecvError::Bad(_) => ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR,
                    _ => ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION,
                };
                self.journal.flag(flags, "downstream_remote_disconnect");
                if !matches!(error, RecvError::Bad(_)) {
                    return Err(Broken::Lost);
                }
            }
            Over::Expired(expired) => {
                upstream.given_up(&cluster.stats);
                self.cut_by_limit(cluster, pool, expired);
            }
        }
        Err(Broken::Cut)
    }

    /// Notes why the endpoint's answer breaks off, as Envoy does.
    fn cut_by_endpoint(&mut self, error: &RecvError, spoken: Protocol, cluster: &LocalCluster) {
        let (flags, details) = match (error, spoken) {
            (RecvError::Refused, _) => (
                ResponseFlags::UPSTREAM_REMOTE_RESET,
                "upstream_reset_after_response_started{remote_refused_stream_reset}",
            ),
            (RecvError::Truncated, Protocol::Http2) => (
                ResponseFlags::UPSTREAM_REMOTE_RESET,
                "upstream_reset_after_response_started{remote_reset}",
            ),
            (RecvError::Closed | RecvError::Io(_), Protocol::Http2) => (
                ResponseFlags::UPSTREAM_CONNECTION_TERMINATION,
                "upstream_reset_after_response_started{connection_termination}",
            ),
            // Over HTTP/1 an answer that ends before its end breaks the protocol.
            _ => {
                cluster.stats.upstream_cx_protocol_error.inc();
                (
                    ResponseFlags::UPSTREAM_PROTOCOL_ERROR,
                    "upstream_reset_after_response_started{protocol_error}",
                )
            }
        };
        self.http.stats.rq_reset_after_downstream_response_started.inc();
        self.journal.flag(flags, details);
    }

    fn cut_by_limit(&mut self, cluster: &LocalCluster, pool: &Pool, expired: Expired) {
        let (flags, details) = match expired {
            Expired::Route => {
                count_timeout(cluster, Some(pool));
                (ResponseFlags::UPSTREAM_REQUEST_TIMEOUT, "response_timeout")
            }
            Expired::Attempt | Expired::AttemptIdle => {
                let details = count_attempt_timeout(cluster, pool, expired);
                (ResponseFlags::UPSTREAM_REQUEST_TIMEOUT, details)
            }
            Expired::Request => (ResponseFlags::NONE, "request_overall_timeout"),
            Expired::Age => {
                self.http.stats.downstream_rq_max_duration_reached.inc();
                (ResponseFlags::DURATION_TIMEOUT, "max_duration_timeout")
            }
            Expired::Idle => {
                self.http.stats.downstream_rq_idle_timeout.inc();
                (ResponseFlags::STREAM_IDLE_TIMEOUT, "stream_idle_timeout")
            }
        };
        self.journal.flag(flags, details);
    }

    fn poll_relay(
        &mut self,
        cx: &mut Context<'_>,
        upstream: &mut Upstream,
        tunnel: bool,
    ) -> Poll<Over> {
        if let Poll::Ready(Err(error)) = self.poll_upload(cx, upstream) {
            return Poll::Ready(Over::ClientFailed(error));
        }
        match self.download.poll(cx, upstream, self.down, &mut self.journal.bytes.sent) {
            Poll::Ready(Ok(())) => return Poll::Ready(Over::Complete),
            Poll::Ready(Err(TransferError::From(error))) => {
                return Poll::Ready(Over::UpstreamFailed(error));
            }
            Poll::Ready(Err(TransferError::To(error))) => {
                return Poll::Ready(Over::ClientFailed(error.into()));
            }
            Poll::Pending => {}
        }
        if !tunnel && self.down.received_all() && self.down.poll_gone(cx).is_ready() {
            return Poll::Ready(match self.has_whole_answer(cx) {
                true => Over::Complete,
                false => Over::ClientFailed(RecvError::Closed),
            });
        }
        self.poll_limits(cx).map(Over::Expired)
    }

    /// Whether an answer that says how long it is has been written to its end, though an endpoint of HTTP/2 has not said yet that
    /// it is over. A client of HTTP/1 knows no other end (RFC 9112 section 6.3), and may leave.
    fn has_whole_answer(&mut self, cx: &mut Context<'_>) -> bool {
        let length = self.response.headers.get_known(Known::ContentLength);
        let length =
            length.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u64>().ok());
        self.down.version() != Version::Http2
            && length == Some(self.journal.bytes.sent.content)
            && matches!(self.down.poll_flush(cx), Poll::Ready(Ok(())))
    }
}

/// What relaying ended with.
enum Over {
    Complete,
    UpstreamFailed(RecvError),
    ClientFailed(RecvError),
    Expired(Expired),
}
