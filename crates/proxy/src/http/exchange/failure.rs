//! What the client is told when there is no answer to relay, in Envoy's words.

use super::{Broken, Exchange, Way};
use crate::accesslog::Field;
use crate::http::limits::Expired;
use crate::http::local::{LocalReply, Reset};
use crate::http::stream::{Downstream, RecvError};
use crate::upstream::LocalCluster;
use crate::upstream::dynamic::NoEndpoint;
use crate::upstream::outlier::Seen;
use crate::upstream::pool::{ConnectError, Pool};

/// Why an attempt gave no answer.
pub(super) struct Lost {
    /// What became of it.
    reset: Reset,
    /// Why there was no connection, in words.
    why: Option<String>,
    /// Whether that is for the client to know.
    told: bool,
}

impl From<Reset> for Lost {
    fn from(reset: Reset) -> Self {
        Self { reset, why: None, told: false }
    }
}

impl Lost {
    /// What became of the attempt.
    pub(super) fn reset(&self) -> Reset {
        self.reset
    }

    /// What the client is told, after the last of several attempts if the request was `retried`.
    pub(super) fn reply(&self, retried: bool) -> LocalReply {
        let mut reply = LocalReply::upstream_reset(self.reset, retried);
        let Some(why) = &self.why else { return reply };
        if self.told {
            reply = reply.because(why);
        }
        let details = reply.details.trim_end_matches('}');
        reply.details = format!("{details}|{}}}", why.replace(' ', "_")).into();
        reply
    }
}

impl<D: Downstream> Exchange<'_, D> {
    /// Notes that there was no connection to the endpoint.
    pub(super) fn connect_failed(
        &mut self,
        cluster: &LocalCluster,
        pool: &Pool,
        error: &ConnectError,
    ) -> Lost {
        self.journal.unreached(&pool.endpoint.address);
        if let Some(seen) = error.seen() {
            cluster.saw(pool, seen);
        }
        let reset = match error {
            ConnectError::Overflow => Reset::Overflow,
            ConnectError::Timeout => Reset::ConnectTimeout,
            ConnectError::Failed(_) | ConnectError::Tls(_) | ConnectError::NoTls(_) => {
                Reset::ConnectFailure
            }
        };
        if reset != Reset::ConnectFailure {
            return reset.into();
        }
        let why = error.to_string();
        self.journal.set(Field::UpstreamFailure, &why);
        let told = matches!(error, ConnectError::NoTls(_)) && self.confides();
        Lost { reset, why: Some(why), told }
    }

    /// What is answered where nobody is found behind the name that is asked for; the log has the reason.
    pub(super) fn no_endpoint(&mut self, error: &NoEndpoint) -> LocalReply {
        let why = error.to_string();
        self.journal.set(Field::UpstreamFailure, &why);
        let reply = LocalReply::no_endpoint(error);
        if !self.confides() {
            return reply;
        }
        LocalReply { body: format!("{why}\n").into_bytes().into(), ..reply }
    }

    /// Whether the client may know what is inside. Whoever is outside learns nothing of it, as with Envoy.
    fn confides(&self) -> bool {
        !self.http.manager.use_remote_address
    }

    /// The client broke off, or broke the protocol, inside its request.
    pub(super) async fn client_failed(
        &mut self,
        way: Way<'_>,
        error: &RecvError,
    ) -> Result<(), Broken> {
        match error {
            RecvError::Bad(reason) => {
                self.http.stats.downstream_cx_protocol_error.inc();
                self.reply_on(way, LocalReply::bad_message(*reason)).await
            }
            _ => Err(self.lose_client()),
        }
    }

    /// A time limit was reached, `at` the endpoint that has the request.
    pub(super) async fn expired(
        &mut self,
        cluster: &LocalCluster,
        at: Option<&Pool>,
        way: Way<'_>,
        expired: Expired,
    ) -> Result<(), Broken> {
        let reply = match expired {
            // Those of an attempt are none where no endpoint has the request.
            Expired::Route | Expired::Attempt | Expired::AttemptIdle => {
                count_timeout(cluster, at);
                if let Some(pool) = at {
                    cluster.saw(pool, Seen::Timeout);
                }
                let reply = LocalReply::upstream_timeout();
                charge(cluster, at, reply.status);
                reply
            }
            Expired::Request | Expired::Age | Expired::Idle => self.expired_here(expired),
        };
        self.reply_on(way, reply).await
    }

    /// A time limit of the client's side was reached.
    pub(super) fn expired_here(&mut self, expired: Expired) -> LocalReply {
        let http = self.http;
        match expired {
            Expired::Request => {
                http.stats.downstream_rq_timeout.inc();
                LocalReply::request_timeout("request_overall_timeout", "request timeout")
            }
            Expired::Age => {
                http.stats.downstream_rq_max_duration_reached.inc();
                LocalReply::max_duration(self.down.received_all())
            }
            Expired::Idle => {
                http.stats.downstream_rq_idle_timeout.inc();
                LocalReply::idle_timeout(self.down.received_all())
            }
            // No endpoint has the request.
            Expired::Route | Expired::Attempt | Expired::AttemptIdle => {
                LocalReply::upstream_timeout()
            }
        }
    }
}

/// Counts what a request came to at its cluster, and at the endpoint that was to answer it.
pub(super) fn charge(cluster: &LocalCluster, endpoint: Option<&Pool>, status: u16) {
    cluster.stats.upstream_rq.count(status);
    if let Some(Pool { endpoint_stats, .. }) = endpoint {
        let failed = status >= 500;
        (if failed { &endpoint_stats.rq_error } else { &endpoint_stats.rq_success }).inc();
    }
}

/// Counts that a route's time was over before the answer was.
pub(super) fn count_timeout(cluster: &LocalCluster, endpoint: Option<&Pool>) {
    cluster.stats.upstream_rq_timeout.inc();
    if let Some(endpoint) = endpoint {
        endpoint.endpoint_stats.rq_timeout.inc();
    }
}
