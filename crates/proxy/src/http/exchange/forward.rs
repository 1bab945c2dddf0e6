//! Forwarding: rewrite, connect, send, await the head of the answer, respond.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::failure::charge;
use super::retry::{Attempt, Attempts};
use super::{Broken, Exchange, Way, start_upload};
use crate::accesslog::{Field, Protocol, ResponseFlags};
use crate::http::forwarding;
use crate::http::h1::encode::Decimal;
use crate::http::h1::{Carriage, Framing};
use crate::http::h2::client::Http2Upstream;
use crate::http::head::{RequestHead, ResponseHead, Version};
use crate::http::journal::VIA_UPSTREAM;
use crate::http::known::Known;
use crate::http::limits::Expired;
use crate::http::local::{LocalReply, Reset};
use crate::http::prepare;
use crate::http::stream::{Downstream, RecvError, Stream};
use crate::http::transfer::{Transfer, TransferError};
use crate::http::upstream::{Http1Upstream, Upstream};
use crate::io::Liveness;
use crate::route::hash::{self, Ends};
use crate::route::{Facts, Forward, RetryPolicy, Route, Target, grpc};
use crate::upstream::LocalCluster;
use crate::upstream::cluster::UpstreamProtocol;
use crate::upstream::limits::Permit;
use crate::upstream::outlier::Seen;
use crate::upstream::pool::{Lease, Pool};

/// Most interim answers that are passed on for one request: over HTTP/2 they wait where nothing bounds them.
const MAX_INTERIMS: u8 = 32;

/// What the wait for a response head ended with.
enum Event {
    Head(Carriage),
    UpstreamFailed(RecvError),
    ClientFailed(RecvError),
    ClientGone,
    Expired(Expired),
}

impl<D: Downstream> Exchange<'_, D> {
    pub(super) async fn forward(&mut self, route: &Route, forward: &Forward) -> Result<(), Broken> {
        let worker = &self.http.worker;
        let target = forward.targets.next(|| worker.random.next());
        let way = Way { route, target: Some(target) };
        self.attempt = 1;
        self.journal.set(Field::Cluster, target.cluster.name.as_bytes());
        let Some(mut cluster) = worker.clusters.get(&target.cluster) else {
            self.http.stats.no_cluster.inc();
            return self.reply_on(way, LocalReply::no_cluster(forward.cluster_not_found)).await;
        };
        let manager = &self.http.manager;
        if self.carriage.upgrade && !prepare::may_upgrade(self.request, manager, forward) {
            self.http.stats.downstream_rq_ws_on_non_ws_route.inc();
            return self.reply_on(way, LocalReply::upgrade_refused()).await;
        }
        if self.carriage.upgrade && self.speaks(&cluster) == UpstreamProtocol::Http2 {
            return self.reply_on(way, LocalReply::upgrade_to_http2()).await;
        }
        self.limit(forward);
        let (time, told) = forward.time_for(self.request);
        self.limits.route(time);
        let concerned = |policy: &&RetryPolicy| policy.concerns(self.request);
        let concerned = forward.retry.as_deref().as_ref().is_some_and(concerned);
        let mut attempts = Attempts::new(forward, concerned, time);
        self.rewrite(route, forward, target);
        attempts.named = cluster.named(self.request);
        prepare::tell_time(self.request, &self.http.manager, attempts.per_try.or(time), told);
        // Else the request would be hashed, and a cookie made, for nothing.
        let hashes = cluster.cluster.sharing.balancing.hashes();
        let hash = hashes.then(|| self.hash(forward)).flatten();
        let mut mirrors = Some(&forward.mirrors).filter(|mirrors| !mirrors.all.is_empty());
        let Some(_permit) = Permit::request(&cluster.cluster) else {
            cluster.stats.upstream_rq_active_overflow.inc();
            let reply = LocalReply::upstream_reset(Reset::Overflow, false);
            charge(&cluster, None, reply.status);
            return self.reply_on(way, reply).await;
        };
        loop {
            cluster.cluster.use_when_ready().await;
            self.journal.attempt();
            let pool = match self.pick(&cluster, &attempts, hash).await {
                Ok(pool) => pool,
                Err(reply) => {
                    cluster.stats.upstream_cx_none_healthy.inc();
                    charge(&cluster, None, reply.status);
                    return self.reply_on(way, *reply).await;
                }
            };
            if let Some(mirrors) = mirrors.take() {
                self.mirror(mirrors, time);
            }
            let at = (&*cluster, &pool);
            let attempt = match self.connect(at, way, &mut attempts).await? {
                Ok(upstream) => self.attempt(forward, at, way, upstream, &mut attempts).await?,
                Err(attempt) => attempt,
            };
            match attempt {
                Attempt::Answered => return Ok(()),
                Attempt::Stale => {
                    self.limits.end_attempt();
                    attempts.fresh = true;
                }
                Attempt::Again(pause) => {
                    // Boxed, as most requests have no other attempt.
                    if !Box::pin(self.pause(&cluster, way, pause)).await? {
                        return Ok(());
                    }
                    attempts.fresh = false;
                    self.tell_attempt(&attempts, time, told);
                    // It may have changed meanwhile, or gone.
                    if let Some(now) = worker.clusters.get(&target.cluster) {
                        cluster = now;
                    }
                }
            }
        }
    }

    /// Tells the endpoint of a further attempt which one it is, and how long it has.
    fn tell_attempt(&mut self, attempts: &Attempts<'_>, time: Option<Duration>, told: bool) {
        self.attempt = attempts.number();
        if self.told.to_endpoint {
            prepare::tell_attempt(self.request, self.attempt);
        }
        let left = self.limits.route_left(Instant::now()).or(time);
        // 0 would be for ever.
        let left = left.map(|left| left.max(Duration::from_millis(1)));
        let time = match (attempts.per_try, left) {
            (Some(per_try), Some(left)) => Some(per_try.min(left)),
            (one, other) => one.or(other),
        };
        prepare::tell_time(self.request, &self.http.manager, time, told);
    }

    /// What is spoken to the endpoints of a cluster for this client.
    fn speaks(&self, cluster: &LocalCluster) -> UpstreamProtocol {
        cluster.cluster.http.protocol_for(self.request.version)
    }

    /// What chooses the endpoint where the cluster hashes; notes the cookies that are made for it.
    fn hash(&mut self, forward: &Forward) -> Option<u64> {
        if forward.hash.is_empty() {
            return None;
        }
        let ends = Ends { client: self.journal.client(), local: self.client.local };
        hash::hash(&forward.hash, self.request, ends, &mut self.set_cookies)
    }

    fn rewrite(&mut self, route: &Route, forward: &Forward, target: &Target) {
        let facts = Facts { attempts: self.attempt, ..self.facts() };
        let way = (route, forward, target);
        prepare::depart(self.request, &self.http.manager, way, &facts);
    }

    /// Gets a connection to the endpoint, or says what is to become of the request without one.
    async fn connect(
        &mut self,
        at: (&LocalCluster, &Rc<Pool>),
        way: Way<'_>,
        attempts: &mut Attempts<'_>,
    ) -> Result<Result<Upstream, Attempt>, Broken> {
        let (local, pool) = at;
        if !attempts.fresh && self.speaks(local) == UpstreamProtocol::Http1 {
            let server = local.cluster.server(self.request.authority());
            if let Some(lease) = pool.reuse(server, self.liveness(attempts)) {
                return Ok(Ok(http1(lease)));
            }
        }
        // Boxed, so that requests on connections that are there do not carry its size.
        Box::pin(self.await_connection(at, way, attempts)).await
    }

    /// The endpoint for the next attempt: what the request asks for, where the cluster sends there.
    async fn pick(
        &mut self,
        cluster: &LocalCluster,
        attempts: &Attempts<'_>,
        hash: Option<u64>,
    ) -> Result<Rc<Pool>, Box<LocalReply>> {
        if cluster.sends_where_asked() {
            // Boxed, so that other requests do not carry its size.
            let picked = Box::pin(cluster.pick_asked(self.request.authority(), self.client)).await;
            return picked.map_err(|why| Box::new(self.no_endpoint(&why)));
        }
        let random = || self.http.worker.random.next();
        let picked = attempts.pick(cluster, self.client, hash, random);
        picked.ok_or_else(|| Box::new(LocalReply::no_healthy_upstream()))
    }

    /// Waits for a connection to the endpoint.
    async fn await_connection(
        &mut self,
        (cluster, pool): (&LocalCluster, &Rc<Pool>),
        way: Way<'_>,
        attempts: &mut Attempts<'_>,
    ) -> Result<Result<Upstream, Attempt>, Broken> {
        let server = cluster.cluster.server(self.request.authority()).to_owned();
        let protocol = self.speaks(cluster);
        let liveness = if attempts.fresh { Liveness::Verified } else { self.liveness(attempts) };
        let event = {
            let mut lease = pin!(async {
                match (protocol, attempts.fresh) {
                    (UpstreamProtocol::Http2, _) => {
                        let lease = pool.multiplex.lease(pool, cluster, &server, liveness).await?;
                        Ok(Upstream::Http2(Box::new(Http2Upstream::new(lease))))
                    }
                    (UpstreamProtocol::Http1, true) => {
                        pool.lease_new(cluster, &server).await.map(http1)
                    }
                    (UpstreamProtocol::Http1, false) => {
                        pool.lease(cluster, &server, liveness).await.map(http1)
                    }
                }
            });
            poll_fn(|cx| {
                if let Poll::Ready(leased) = lease.as_mut().poll(cx) {
                    return Poll::Ready(Ok(leased));
                }
                if self.down.received_all() && self.down.poll_gone(cx).is_ready() {
                    return Poll::Ready(Err(None));
                }
                self.poll_limits(cx).map(|expired| Err(Some(expired)))
            })
            .await
        };
        Ok(Err(match event {
            Ok(Ok(upstream)) => return Ok(Ok(upstream)),
            Ok(Err(error)) => {
                let lost = self.connect_failed(cluster, pool, &error);
                self.failed(attempts, (cluster, pool), way, lost, false).await?
            }
            Err(None) => return Err(self.lose_client()),
            Err(Some(expired)) => {
                self.expired(cluster, None, way, expired).await?;
                Attempt::Answered
            }
        }))
    }

    /// Sends the request to an endpoint and relays the answer.
    async fn attempt(
        &mut self,
        forward: &Forward,
        (cluster, pool): (&LocalCluster, &Rc<Pool>),
        way: Way<'_>,
        mut upstream: Upstream,
        attempts: &mut Attempts<'_>,
    ) -> Result<Attempt, Broken> {
        let sent = Instant::now();
        let at = (cluster, &**pool);
        if let Some(name) = &pool.endpoint.hostname {
            forward.name_endpoint(self.request, name, !self.http.manager.suppress_envoy_headers);
        }
        let keep = self.keeps(forward, attempts, &upstream, self.speaks(cluster));
        self.start_request(at, &mut upstream, keep, sent);
        self.limits.begin_attempt(attempts.per_try, attempts.per_try_idle, sent);
        let _active = InFlight::new(cluster, pool);
        cluster.saw(pool, Seen::Connected);
        let event = poll_fn(|cx| self.poll_head(cx, &mut upstream)).await;
        self.journal.upstream_wire(upstream.wire());
        let reset = match event {
            // Nothing asked for another protocol, or it is there before the request that asks for it is.
            Event::Head(carriage) if carriage.upgrade && !self.may_switch() => {
                cluster.stats.upstream_cx_protocol_error.inc();
                upstream.given_up(&cluster.stats);
                Reset::Protocol
            }
            Event::Head(carriage) => {
                cluster.saw(pool, Seen::Answer(outcome(self.request, self.response)));
                if let Some(pause) = self.drops_answer(attempts, cluster, pool) {
                    self.leave(upstream, cluster);
                    return Ok(Attempt::Again(pause));
                }
                let now = Instant::now();
                self.head_received(at, now, now - sent, attempts.fresh);
                self.respond(way, now, now - sent, (carriage, upstream.received_all()));
                let complete = self.relay(cluster, pool, &mut upstream).await?;
                upstream.end(complete);
                cluster.stats.upstream_rq_time.record(sent.elapsed().as_millis() as u64);
                return Ok(Attempt::Answered);
            }
            Event::UpstreamFailed(error) => {
                upstream.failed(&cluster.stats, &error);
                if !attempts.fresh && self.may_replay(&upstream, &error) {
                    cluster.stats.upstream_rq_retry.inc();
                    return Ok(Attempt::Stale);
                }
                reset_by(&error, &upstream, cluster)
            }
            Event::ClientFailed(error) => {
                upstream.given_up(&cluster.stats);
                return self.client_failed(way, &error).await.map(|()| Attempt::Answered);
            }
            Event::ClientGone => {
                upstream.given_up(&cluster.stats);
                return Err(self.lose_client());
            }
            Event::Expired(expired @ (Expired::Attempt | Expired::AttemptIdle)) => {
                upstream.given_up(&cluster.stats);
                return Box::pin(self.attempt_expired(attempts, at, way, expired)).await;
            }
            Event::Expired(expired) => {
                upstream.given_up(&cluster.stats);
                let expired = self.expired(cluster, Some(pool), way, expired);
                return expired.await.map(|()| Attempt::Answered);
            }
        };
        cluster.saw(pool, Seen::Reset);
        Box::pin(self.failed(attempts, at, way, reset.into(), true)).await
    }

    /// Notes and counts that the answer's head is there.
    fn head_received(
        &mut self,
        (cluster, pool): (&LocalCluster, &Pool),
        now: Instant,
        took: Duration,
        again: bool,
    ) {
        self.journal.head_received(now, took);
        charge(cluster, Some(pool), self.response.status);
        if again && self.response.status < 500 {
            cluster.stats.upstream_rq_retry_success.inc();
        }
    }

    /// Whether the request asks for another protocol and is sent to its end (RFC 9110 section 7.8).
    fn may_switch(&self) -> bool {
        self.carriage.upgrade && self.upload == Transfer::Done
    }

    /// Queues the request on the connection.
    fn start_request(
        &mut self,
        (cluster, pool): (&LocalCluster, &Pool),
        upstream: &mut Upstream,
        keep: Option<usize>,
        now: Instant,
    ) {
        self.journal.upstream(upstream.protocol(), upstream.local(), &pool.endpoint.address, now);
        let body = self.carriage.framing != Framing::None && !self.request.is_method("CONNECT");
        let most = cluster.cluster.http.max_requests;
        // A request that is sent again is sent from its beginning.
        self.upload = start_upload(&self.carriage);
        self.kept.rewind(keep);
        self.journal.bytes.received.rewind();
        upstream.start_request(self.request, body, self.carriage.upgrade, most);
        if self.carriage.expects_continue && !self.down.received_all() {
            // Envoy's default: the proxy itself tells the client to go on.
            self.response.clear();
            self.response.status = 100;
            self.down.send_interim(self.response);
            self.interim = true;
            self.carriage.expects_continue = false;
        }
    }

    /// A request may be sent again when nothing of it can have had an effect that a second one adds to: its endpoint says that it was not
    /// looked at, or its connection was dead on use and its method is idempotent (RFC 9110 section 9.2.2); and its body, if it
    /// has one, is still ours.
    fn may_replay(&self, upstream: &Upstream, error: &RecvError) -> bool {
        let unread = matches!(error, RecvError::Refused);
        let said = matches!(error, RecvError::Bad(_) | RecvError::Truncated);
        let dead = upstream.is_reused() && self.is_idempotent() && !said;
        (unread || dead) && self.kept.is_whole() && !self.carriage.upgrade
    }

    fn poll_head(&mut self, cx: &mut Context<'_>, upstream: &mut Upstream) -> Poll<Event> {
        if let Poll::Ready(Err(error)) = self.poll_upload(cx, upstream) {
            return Poll::Ready(Event::ClientFailed(error));
        }
        loop {
            // What the client does not take is not read from the endpoint.
            if self.interim {
                match self.down.poll_flush(cx) {
                    Poll::Ready(Ok(())) => self.interim = false,
                    Poll::Ready(Err(_)) => return Poll::Ready(Event::ClientGone),
                    Poll::Pending => break,
                }
            }
            match upstream.poll_response(cx, self.response) {
                Poll::Ready(Ok(_)) if matches!(self.response.status, 100 | 102..=199) => {
                    // 100 has been sent already, by us; others are the client's if it speaks HTTP/1.1.
                    let passes =
                        self.response.status != 100 && self.down.version() != Version::Http10;
                    if passes && self.interims < MAX_INTERIMS {
                        forwarding::strip_hop_by_hop(&mut self.response.headers, false);
                        self.down.send_interim(self.response);
                        self.interim = true;
                        self.interims += 1;
                    }
                }
                Poll::Ready(Ok(carriage)) => return Poll::Ready(Event::Head(carriage)),
                Poll::Ready(Err(error)) => return Poll::Ready(Event::UpstreamFailed(error)),
                Poll::Pending => break,
            }
        }
        if self.down.received_all() && self.down.poll_gone(cx).is_ready() {
            return Poll::Ready(Event::ClientGone);
        }
        self.poll_limits(cx).map(Event::Expired)
    }

    /// Moves the request. That the endpoint takes no more of it is no error here: its answer, or its end, says more.
    pub(super) fn poll_upload(
        &mut self,
        cx: &mut Context<'_>,
        upstream: &mut Upstream,
    ) -> Poll<Result<(), RecvError>> {
        let moved = &mut self.journal.bytes.received;
        let upload = match &mut self.copies {
            None => self.upload.poll(cx, &mut self.kept.source(self.down), upstream, moved),
            Some(copies) => {
                let mut down = copies.tap(self.down);
                self.upload.poll(cx, &mut self.kept.source(&mut down), upstream, moved)
            }
        };
        match upload {
            Poll::Ready(Err(TransferError::From(error))) => Poll::Ready(Err(error)),
            Poll::Ready(Err(TransferError::To(_))) => {
                self.upload = Transfer::Abandoned;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        }
    }

    pub(super) fn poll_limits(&mut self, cx: &mut Context<'_>) -> Poll<Expired> {
        let received_all = self.down.received_all();
        if received_all {
            self.journal.request_received();
        }
        let moved = &self.journal.bytes;
        let progress = moved.received.content.wrapping_add(moved.sent.content);
        self.limits.poll(cx, self.deadline, received_all, progress)
    }

    /// Prepares the answer's head for the client and queues it; `ended` says that it is all of the answer.
    fn respond(
        &mut self,
        way: Way<'_>,
        now: Instant,
        took: Duration,
        (carriage, ended): (Carriage, bool),
    ) {
        self.journal.flag(ResponseFlags::NONE, VIA_UPSTREAM);
        // The time counts from the end of the request.
        if !self.http.manager.suppress_envoy_headers
            && self.down.received_all()
            && !self.carriage.upgrade
        {
            let took = Decimal::new(took.as_millis() as u64);
            self.response.headers.set_known(Known::UpstreamServiceTime, &took);
        }
        self.change_response(way);
        for cookie in self.set_cookies.drain(..) {
            self.response.headers.append(b"set-cookie", cookie.as_bytes());
        }
        // What follows a refused upgrade may be data of the other protocol.
        self.close |= self.carriage.upgrade && !carriage.upgrade;
        // A client that is still sending when the answer begins may not be heard to its end: it learns so now, not
        // from a connection that closes under its next request (RFC 9112 section 9.6).
        self.close |= !self.down.received_all();
        self.limits.answered();
        self.kept.release();
        self.start_response(carriage.framing != Framing::None, ended, now);
        if carriage.upgrade {
            // A tunnel lasts for as long as something moves in it.
            self.limits.end_route();
            self.upload = Transfer::Running;
            self.down.become_tunnel();
            self.http.stats.downstream_cx_upgrades_total.inc();
        }
    }
}

/// The status of the answer, or of what a gRPC call came to.
pub(super) fn outcome(request: &RequestHead, answer: &ResponseHead) -> u16 {
    let called = grpc::is_call(request).then(|| grpc::http_status(&answer.headers)).flatten();
    called.unwrap_or(answer.status)
}

/// What a connection that failed before the answer's head has done to the request.
pub(super) fn reset_by(error: &RecvError, upstream: &Upstream, cluster: &LocalCluster) -> Reset {
    match error {
        RecvError::Refused => Reset::Refused,
        RecvError::Truncated if upstream.protocol() == Protocol::Http2 => Reset::Remote,
        // A head that ends in its middle is no head.
        RecvError::Bad(_) | RecvError::Truncated => {
            cluster.stats.upstream_cx_protocol_error.inc();
            Reset::Protocol
        }
        _ => Reset::Termination,
    }
}

/// A request over HTTP/1.
pub(super) fn http1(lease: Lease) -> Upstream {
    Upstream::Http1(Http1Upstream::new(lease))
}

/// Counts a request as in flight at its cluster and endpoint.
pub(super) struct InFlight<'a> {
    cluster: &'a LocalCluster,
    pool: &'a Pool,
}

impl<'a> InFlight<'a> {
    /// Until it is dropped.
    pub(super) fn new(cluster: &'a LocalCluster, pool: &'a Pool) -> Self {
        cluster.stats.upstream_rq_total.inc();
        cluster.stats.upstream_rq_active.inc();
        pool.endpoint_stats.rq_total.inc();
        pool.endpoint_stats.rq_active.inc();
        pool.endpoint.active.fetch_add(1, Relaxed);
        Self { cluster, pool }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.cluster.stats.upstream_rq_active.dec();
        self.pool.endpoint_stats.rq_active.dec();
        self.pool.endpoint.active.fetch_sub(1, Relaxed);
    }
}
