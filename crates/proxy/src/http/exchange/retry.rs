//! Attempts: whether what has failed is tried again, when, and where.

use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::failure::{Lost, charge};
use super::filters::Waited;
use super::{Broken, Exchange, Way};
use crate::accesslog::ResponseFlags;
use crate::http::chain::Client;
use crate::http::h1::Framing;
use crate::http::journal::VIA_UPSTREAM;
use crate::http::limits::Expired;
use crate::http::local::{LocalReply, Reset};
use crate::http::stream::{Downstream, Recv, Stream};
use crate::http::transfer::Transfer;
use crate::http::upstream::Upstream;
use crate::io::Liveness;
use crate::remote::Remote;
use crate::route::{Forward, RetryPolicy, grpc};
use crate::upstream::LocalCluster;
use crate::upstream::cluster::UpstreamProtocol;
use crate::upstream::limits::Permit;
use crate::upstream::outlier::Seen;
use crate::upstream::pool::Pool;

/// Most of a dropped answer that is read for the sake of its connection.
const DRAINED: usize = 64 * 1024;

/// How an attempt at an endpoint ended.
pub(super) enum Attempt {
    /// With an answer, or a reply of our own.
    Answered,
    /// A reused connection turned out dead before a byte came back, and the request may be sent again.
    Stale,
    /// It failed, and after a pause there is to be another.
    Again(Duration),
}

/// The attempts at one request.
pub(super) struct Attempts<'r> {
    /// What says whether there is another; none where nothing is tried again.
    policy: Option<&'r RetryPolicy>,
    /// Retries that are left.
    left: u32,
    /// Most content that is kept for another attempt, in bytes.
    keep: u64,
    /// Whether a new connection is needed, as a reused one turned out dead.
    pub fresh: bool,
    /// Where the request says itself that it goes.
    pub named: Option<SocketAddr>,
    /// Time of each attempt, and without progress.
    pub per_try: Option<Duration>,
    pub per_try_idle: Option<Duration>,
    /// What is known from failures before.
    before: Option<Box<Before>>,
}

/// What failures before leave.
#[derive(Default)]
struct Before {
    /// How many retries there were.
    retries: u32,
    /// The endpoints that were tried.
    tried: Vec<Remote>,
    /// The place of the retry that is under way.
    permit: Option<Permit>,
}

/// Whether there is another attempt.
enum Verdict {
    Again(Duration),
    /// Nothing asks for one.
    No,
    /// There were as many as there may be.
    Limit,
    /// There are as many at the same time as there may be.
    Overflow,
}

impl Verdict {
    fn flags(&self) -> ResponseFlags {
        match self {
            Self::Again(_) | Self::No => ResponseFlags::NONE,
            Self::Limit => ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED,
            Self::Overflow => ResponseFlags::UPSTREAM_OVERFLOW,
        }
    }
}

impl<'r> Attempts<'r> {
    /// None yet. `time` is the route's, which bounds that of an attempt.
    pub fn new(forward: &'r Forward, concerned: bool, time: Option<Duration>) -> Self {
        let policy = forward.retry.as_deref();
        let per_try = policy.and_then(|policy| policy.per_try);
        Self {
            per_try: per_try.filter(|per_try| time.is_none_or(|time| *per_try < time)),
            per_try_idle: policy.and_then(|policy| policy.per_try_idle),
            left: policy.map_or(0, |policy| policy.most),
            keep: forward.keep,
            policy: policy.filter(|_| concerned),
            fresh: false,
            named: None,
            before: None,
        }
    }

    /// Which attempt the current one is, as the policy counts them.
    pub fn number(&self) -> u32 {
        1 + self.before.as_ref().map_or(0, |before| before.retries)
    }

    /// Whether the policy had the request sent again.
    pub fn is_retry(&self) -> bool {
        self.before.is_some()
    }

    /// The endpoint for the next attempt.
    pub fn pick(
        &self,
        cluster: &LocalCluster,
        client: &Client,
        hash: Option<u64>,
        random: impl FnMut() -> u64,
    ) -> Option<Rc<Pool>> {
        if let Some(to) = self.named {
            return cluster.pick_named(Some(client), to);
        }
        match (&self.before, self.policy) {
            (Some(before), Some(policy)) if policy.others_first => {
                cluster.pick_other(Some(client), hash, random, (&before.tried, policy.selections))
            }
            _ => cluster.pick(Some(client), hash, random),
        }
    }
}

impl<D: Downstream> Exchange<'_, D> {
    /// How much of the request's content an attempt must keep; `None` for nothing.
    pub(super) fn keeps(
        &self,
        forward: &Forward,
        attempts: &Attempts<'_>,
        upstream: &Upstream,
        protocol: UpstreamProtocol,
    ) -> Option<usize> {
        let length = match self.carriage.framing {
            Framing::None => return None,
            Framing::Length(length) => length,
            Framing::Chunked | Framing::UntilClose => 0,
        };
        let http2 = protocol == UpstreamProtocol::Http2;
        let retried = attempts.policy.filter(|_| attempts.left > 0);
        let by_policy = retried
            .is_some_and(|policy| policy.repeats_content(http2, grpc::is_call(self.request)));
        // Of HTTP/2 an endpoint says what it has not looked at.
        let wanted = by_policy || upstream.is_reused() && (http2 || self.is_idempotent());
        // What will not fit need not be begun.
        (wanted && !self.carriage.upgrade && length <= forward.keep)
            .then(|| usize::try_from(forward.keep).unwrap_or(usize::MAX))
    }

    /// How sure it must be that a connection is still there: a request whose loss with it is mended by another one (`may_replay`)
    /// costs no look. Content whose length is not said may turn out not to fit what is kept.
    pub(super) fn liveness(&self, attempts: &Attempts<'_>) -> Liveness {
        let fits = match self.carriage.framing {
            Framing::None => true,
            Framing::Length(length) => length <= attempts.keep,
            Framing::Chunked | Framing::UntilClose => false,
        };
        match fits && self.is_idempotent() && !self.carriage.upgrade {
            true => Liveness::Assumed,
            false => Liveness::Verified,
        }
    }

    /// Whether sending the request twice has the effect of sending it once (RFC 9110 section 9.2.2).
    pub(super) fn is_idempotent(&self) -> bool {
        matches!(
            self.request.method(),
            b"GET" | b"HEAD" | b"OPTIONS" | b"PUT" | b"DELETE" | b"TRACE"
        )
    }

    /// Decides on another attempt, and counts it; what the one before held is given back.
    fn judge(
        &self,
        attempts: &mut Attempts<'_>,
        cluster: &LocalCluster,
        pool: &Pool,
        asks: impl FnOnce(&RetryPolicy) -> bool,
    ) -> Verdict {
        let Some(policy) = attempts.policy else { return Verdict::No };
        let held = attempts.before.as_mut().and_then(|before| before.permit.take());
        if !asks(policy) {
            if held.is_some() {
                cluster.stats.upstream_rq_retry_success.inc();
            }
            return Verdict::No;
        }
        // For the last attempt nothing is kept: only what could not have been stands in its way, as in Envoy.
        let last = attempts.left == 0;
        if self.kept.came() > attempts.keep || !last && !self.kept.is_whole() {
            return Verdict::No;
        }
        drop(held);
        if last {
            cluster.stats.upstream_rq_retry_limit_exceeded.inc();
            return Verdict::Limit;
        }
        attempts.left -= 1;
        let Some(permit) = Permit::retry(&cluster.cluster) else {
            cluster.stats.upstream_rq_retry_overflow.inc();
            return Verdict::Overflow;
        };
        cluster.stats.upstream_rq_retry.inc();
        cluster.stats.upstream_rq_retry_backoff_exponential.inc();
        pool.endpoint_stats.rq_error.inc();
        let before = attempts.before.get_or_insert_default();
        let pause = policy.pause(before.retries, self.http.worker.random.next());
        before.permit = Some(permit);
        before.retries += 1;
        before.tried.push(pool.endpoint.address.clone());
        Verdict::Again(pause)
    }

    /// No answer came of an attempt: there is another, or the client is told. `sent` says whether anything of the
    /// request was.
    pub(super) async fn failed(
        &mut self,
        attempts: &mut Attempts<'_>,
        (cluster, pool): (&LocalCluster, &Pool),
        way: Way<'_>,
        lost: Lost,
        sent: bool,
    ) -> Result<Attempt, Broken> {
        let retried = attempts.is_retry();
        let reset = lost.reset();
        let verdict = self.judge(attempts, cluster, pool, |policy| policy.after_reset(reset, sent));
        if let Verdict::Again(pause) = verdict {
            return Ok(Attempt::Again(pause));
        }
        let mut reply = lost.reply(retried);
        reply.flags |= verdict.flags();
        charge(cluster, Some(pool), reply.status);
        self.reply_on(way, reply).await?;
        Ok(Attempt::Answered)
    }

    /// The time of an attempt is over.
    pub(super) async fn attempt_expired(
        &mut self,
        attempts: &mut Attempts<'_>,
        (cluster, pool): (&LocalCluster, &Pool),
        way: Way<'_>,
        expired: Expired,
    ) -> Result<Attempt, Broken> {
        let details = count_attempt_timeout(cluster, pool, expired);
        let verdict =
            self.judge(attempts, cluster, pool, |policy| policy.after_reset(Reset::Local, true));
        if let Verdict::Again(pause) = verdict {
            return Ok(Attempt::Again(pause));
        }
        let mut reply = LocalReply { details: details.into(), ..LocalReply::upstream_timeout() };
        reply.flags |= verdict.flags();
        charge(cluster, Some(pool), reply.status);
        self.reply_on(way, reply).await?;
        Ok(Attempt::Answered)
    }

    /// Whether the answer, whose head is there, is dropped for another attempt.
    pub(super) fn drops_answer(
        &mut self,
        attempts: &mut Attempts<'_>,
        cluster: &LocalCluster,
        pool: &Pool,
    ) -> Option<Duration> {
        let verdict =
            self.judge(attempts, cluster, pool, |policy| policy.after_answer(self.response));
        if let Verdict::Again(pause) = verdict {
            cluster.stats.retry_upstream_rq.count(self.response.status);
            return Some(pause);
        }
        self.journal.flag(verdict.flags(), VIA_UPSTREAM);
        None
    }

    /// Leaves an endpoint whose answer is not wanted; the connection is kept if all of it is there.
    pub(super) fn leave(&self, mut upstream: Upstream, cluster: &LocalCluster) {
        let mut cx = Context::from_waker(Waker::noop());
        let mut drained = 0;
        while drained < DRAINED
            && let Poll::Ready(Ok(Recv::Data(data))) = upstream.poll_recv(&mut cx)
        {
            let n = data.len();
            drained += n;
            upstream.consume(n);
        }
        let complete = self.upload == Transfer::Done && upstream.received_all();
        if !complete {
            upstream.given_up(&cluster.stats);
        }
        upstream.end(complete);
    }

    /// Waits before the next attempt. `false` when time ran out and the client has its answer.
    pub(super) async fn pause(
        &mut self,
        cluster: &LocalCluster,
        way: Way<'_>,
        pause: Duration,
    ) -> Result<bool, Broken> {
        self.limits.end_attempt();
        match self.wait(pause).await {
            Waited::Over(()) => return Ok(true),
            Waited::ClientGone => return Err(self.lose_client()),
            Waited::Expired(expired) => self.expired(cluster, None, way, expired).await?,
        }
        Ok(false)
    }
}

/// Counts that the time of an attempt was over; what it was, in the log's words.
pub(super) fn count_attempt_timeout(
    cluster: &LocalCluster,
    pool: &Pool,
    expired: Expired,
) -> &'static str {
    pool.endpoint_stats.rq_timeout.inc();
    cluster.saw(pool, Seen::Timeout);
    if expired == Expired::AttemptIdle {
        cluster.stats.upstream_rq_per_try_idle_timeout.inc();
        "upstream_per_try_idle_timeout"
    } else {
        cluster.stats.upstream_rq_per_try_timeout.inc();
        "upstream_per_try_timeout"
    }
}
