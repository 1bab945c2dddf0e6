//! The request path: one request, from its head to the last byte of its answer.
//!
//! ```text
//! prepare ─► decide ─► rewrite ─► connect ─► send, await head ─► respond ─► relay ─► log
//!    └─ reply ◄─┴─ redirect, direct answer ◄───┴────────┘
//! ```
//!
//! The steps are the same for every HTTP version on either side. Deciding is pure and synchronous; what
//! waits is in `connect`, `attempt` and `relay`, each a single poll function that drives both directions,
//! the client's going away, and the time limits.

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::chain::{Client, HttpChain};
use super::forwarding;
use super::h1::Framing;
use super::h1::parse::Carriage;
use super::h2::client::Http2Upstream;
use super::head::{RequestHead, ResponseHead, Version};
use super::journal::Journal;
use super::limits::{Expired, Limits};
use super::local::LocalReply;
use super::path;
use super::stream::{Downstream, RecvError, Stream};
use super::transfer::{Transfer, TransferError};
use super::upstream::{Http1Upstream, Upstream};
use crate::accesslog::{Field, ResponseFlags};
use crate::route::{Action, Decision, Direct, Facts, Forward, Inherit, Redirect, Route, Target};
use crate::timer::Deadline;
use crate::upstream::LocalCluster;
use crate::upstream::cluster::UpstreamProtocol;
use crate::upstream::pool::{ConnectError, Lease, Permit, Pool};

/// What the connection can do after an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Carry the next request.
    Reusable,
    /// Close, once the client has read the answer.
    Close,
    /// Break off: the answer is not complete, and the client must be able to tell.
    Abort,
}

/// What an exchange needs and does not own, reused from request to request.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The request's head.
    pub request: RequestHead,
    /// The answer's head.
    pub response: ResponseHead,
    /// The exchange's timer.
    pub deadline: Deadline,
}

/// The client can no longer be answered, or not to the end.
struct Broken;

/// How an attempt at an endpoint ended.
enum Attempt {
    /// With an answer, or a reply of our own.
    Answered,
    /// A reused connection turned out dead before a byte came back, and the request may be sent again.
    Stale,
}

/// What the wait for a response head ended with.
enum Event {
    Head(Carriage),
    UpstreamFailed(RecvError),
    ClientFailed(RecvError),
    ClientGone,
    Expired(Expired),
}

/// One request and its answer.
pub struct Exchange<'a, D> {
    http: &'a HttpChain,
    client: &'a Client,
    down: &'a mut D,
    request: &'a mut RequestHead,
    response: &'a mut ResponseHead,
    deadline: &'a mut Deadline,
    carriage: Carriage,
    limits: Limits,
    upload: Transfer,
    download: Transfer,
    journal: Journal,
    close: bool,
    interim: bool,
}

impl<'a, D: Downstream> Exchange<'a, D> {
    /// An exchange for the request whose head is in `scratch`. `close` says that the connection ends after
    /// it; `started` is when its first byte arrived.
    pub fn new(
        http: &'a HttpChain,
        client: &'a Client,
        down: &'a mut D,
        scratch: &'a mut Scratch,
        carriage: Carriage,
        started: Instant,
        close: bool,
    ) -> Self {
        let manager = &http.manager;
        let wall = SystemTime::now() - started.elapsed();
        Self {
            http,
            client,
            down,
            journal: Journal::new(http, client, scratch.request.version, started, wall),
            request: &mut scratch.request,
            response: &mut scratch.response,
            deadline: &mut scratch.deadline,
            carriage,
            limits: Limits::new(started, manager.stream_idle_timeout, manager.request_timeout),
            upload: if carriage.upgrade { Transfer::Flushing } else { Transfer::Running },
            download: Transfer::Running,
            close: close || !carriage.keep_alive,
            interim: false,
        }
    }

    /// Serves the request.
    pub async fn serve(mut self) -> End {
        let answered = self.answer().await;
        let end = match answered {
            Err(Broken) => End::Abort,
            Ok(()) if self.close => End::Close,
            Ok(()) => End::Reusable,
        };
        self.journal.finish(self.http, self.request, self.response);
        end
    }

    /// Answers a request that could not be read.
    pub async fn refuse(mut self, reply: LocalReply) -> End {
        let sent = self.reply(reply).await;
        self.journal.finish(self.http, self.request, self.response);
        if sent.is_ok() { End::Close } else { End::Abort }
    }

    async fn answer(&mut self) -> Result<(), Broken> {
        if let Err(reply) = self.prepare() {
            return self.reply(reply).await;
        }
        let table = self.http.routes();
        let random = self.http.worker.random.next();
        match table.decide(self.request, random) {
            Decision::NoVirtualHost | Decision::NoRoute(_) => {
                self.http.stats.no_route.inc();
                self.reply(LocalReply::no_route()).await
            }
            Decision::Route { virtual_host, route } => {
                self.journal.set(Field::VirtualHost, virtual_host.name.as_bytes());
                self.journal.set(Field::Route, route.name.as_bytes());
                match &route.action {
                    Action::Forward(forward) => self.forward(route, forward).await,
                    Action::Redirect(redirect) => self.redirect(redirect).await,
                    Action::Direct(direct) => self.direct(route, direct).await,
                }
            }
        }
    }

    /// Refuses what is not served, normalises the path, and settles who the client is.
    fn prepare(&mut self) -> Result<(), LocalReply> {
        let manager = &self.http.manager;
        if self.request.version == Version::Http10 && !manager.accept_http_10 {
            return Err(LocalReply::upgrade_required());
        }
        path::normalize(self.request, manager)?;
        let worker = &self.http.worker;
        let peer = self.client.peer;
        let client =
            forwarding::request(self.request, manager, peer, self.carriage.upgrade, &worker.random);
        self.journal.set_client(client);
        Ok(())
    }

    // --- answers of our own ---

    async fn redirect(&mut self, redirect: &Redirect) -> Result<(), Broken> {
        self.http.stats.rq_redirect.inc();
        let location = redirect.location(self.request);
        let reply = LocalReply::new(redirect.status, "", ResponseFlags::NONE, "direct_response");
        self.reply(LocalReply { location: Some(location), ..reply }).await
    }

    async fn direct(&mut self, route: &Route, direct: &Direct) -> Result<(), Broken> {
        self.http.stats.rq_direct_response.inc();
        let reply = LocalReply {
            body: Vec::from(&direct.body[..]).into(),
            location: direct.location(self.request),
            ..LocalReply::new(direct.status, "", ResponseFlags::NONE, "direct_response")
        };
        self.reply_with(reply, Some(route)).await
    }

    async fn reply(&mut self, reply: LocalReply) -> Result<(), Broken> {
        self.reply_with(reply, None).await
    }

    async fn reply_with(&mut self, reply: LocalReply, route: Option<&Route>) -> Result<(), Broken> {
        self.journal.flag(reply.flags, reply.details);
        reply.write(self.response);
        if let Some(route) = route {
            let facts = Facts { route: Some(&route.name), ..self.facts() };
            route.response_headers.apply_to_response(self.response, self.request, &facts);
        }
        self.close |= reply.close || !self.request_is_all_here();
        self.start_response(!reply.body.is_empty());
        if !self.request.is_method("HEAD") {
            let mut rest = &reply.body[..];
            while !rest.is_empty() {
                let sent = std::future::poll_fn(|cx| self.down.poll_send(cx, rest)).await;
                let sent = sent.map_err(|_| self.lose_client())?;
                self.journal.bytes.sent += sent as u64;
                rest = &rest[sent..];
            }
        }
        self.down.finish(None);
        std::future::poll_fn(|cx| self.down.poll_flush(cx))
            .await
            .map_err(|_| self.lose_client())?;
        Ok(())
    }

    /// Drops what is there of the request's body; whether that is all of it. A request that is not read to
    /// its end leaves the connection unusable.
    fn request_is_all_here(&mut self) -> bool {
        if self.carriage.upgrade {
            return true;
        }
        let mut cx = Context::from_waker(std::task::Waker::noop());
        while !self.down.received_all() {
            match self.down.poll_recv(&mut cx) {
                Poll::Ready(Ok(super::stream::Recv::Data(data))) => {
                    let n = data.len();
                    self.journal.bytes.received += n as u64;
                    self.down.consume(n);
                }
                _ => break,
            }
        }
        self.down.received_all()
    }

    fn start_response(&mut self, body: bool) {
        let manager = &self.http.manager;
        let id = self.request.headers.get_known(super::Known::RequestId);
        let date = self.http.worker.clock.date();
        forwarding::response(self.response, manager, id, &date);
        self.close |= self.http.is_retired();
        let body = body && !self.request.is_method("HEAD");
        self.close = self.down.start_response(self.response, body, self.close);
        self.journal.responded(self.response.status);
    }

    fn lose_client(&mut self) -> Broken {
        let flag = ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION;
        self.journal.flag(flag, "downstream_remote_disconnect");
        Broken
    }

    // --- forwarding ---

    async fn forward(&mut self, route: &Route, forward: &Forward) -> Result<(), Broken> {
        let worker = &self.http.worker;
        let target = forward.targets.pick(worker.random.next());
        self.journal.set(Field::Cluster, target.cluster.name.as_bytes());
        let Some(cluster) = worker.clusters.get(&target.cluster) else {
            self.http.stats.no_cluster.inc();
            return self.reply(LocalReply::no_cluster(forward.cluster_not_found)).await;
        };
        if self.carriage.upgrade && !self.may_upgrade(forward) {
            self.http.stats.downstream_rq_ws_on_non_ws_route.inc();
            return self.reply(LocalReply::upgrade_refused()).await;
        }
        self.limits.idle(match forward.idle_timeout {
            Inherit::Inherited => self.http.manager.stream_idle_timeout,
            Inherit::Own(own) => own,
        });
        self.limits.route(forward.timeout);
        self.rewrite(route, forward, target);
        let Some(_permit) = Permit::request(&cluster.cluster) else {
            cluster.stats.upstream_rq_pending_overflow.inc();
            return self.upstream_failed("overflow").await;
        };
        let mut fresh = false;
        loop {
            let Some(pool) = cluster.pick(|| worker.random.next()) else {
                cluster.stats.upstream_cx_none_healthy.inc();
                return self.reply(LocalReply::no_healthy_upstream()).await;
            };
            let Some(upstream) = self.connect(&cluster, &pool, fresh).await? else {
                return Ok(());
            };
            match self.attempt(&cluster, &pool, route, target, upstream).await? {
                Attempt::Answered => return Ok(()),
                Attempt::Stale => fresh = true,
            }
        }
    }

    fn may_upgrade(&self, forward: &Forward) -> bool {
        let protocol = self.request.headers.get_known(super::Known::Upgrade).unwrap_or_default();
        forward.upgrade(protocol).unwrap_or_else(|| {
            let mut allowed = self.http.manager.upgrades.iter();
            allowed.any(|name| name.as_bytes().eq_ignore_ascii_case(protocol))
        })
    }

    /// What header values may refer to.
    fn facts(&self) -> Facts<'a> {
        let client = &self.client;
        Facts {
            client: self.journal.client(),
            peer: Some(client.peer),
            local: Some(client.local),
            server_name: client.server_name.as_deref(),
            upstream: self.journal.upstream_address(),
            ..Facts::default()
        }
    }

    fn rewrite(&mut self, route: &Route, forward: &Forward, target: &Target) {
        let facts =
            Facts { route: Some(&route.name), cluster: Some(&target.cluster.name), ..self.facts() };
        target.request_headers.apply_to_request(self.request, &facts);
        route.request_headers.apply_to_request(self.request, &facts);
        let tell = !self.http.manager.suppress_envoy_headers;
        forward.rewrite(self.request, target, tell);
        if let (true, Some(path)) = (tell, self.request.original_path()) {
            let path = path.to_vec();
            self.request.headers.set(b"x-envoy-original-path", &path);
        }
        if let (true, Some(timeout)) = (tell, forward.timeout) {
            let mut text = Vec::with_capacity(20);
            super::h1::encode::push_decimal(&mut text, timeout.as_millis() as u64);
            self.request.headers.set(b"x-envoy-expected-rq-timeout-ms", &text);
        }
    }

    /// Gets a connection to the endpoint. `None` when that failed and the client has its answer.
    async fn connect(
        &mut self,
        cluster: &LocalCluster,
        pool: &Rc<Pool>,
        fresh: bool,
    ) -> Result<Option<Upstream>, Broken> {
        let event = {
            let mut lease = pin!(async {
                match (cluster.cluster.protocol, fresh) {
                    (UpstreamProtocol::Http2, _) => {
                        let lease = pool.multiplex.lease(pool, cluster).await?;
                        Ok(Upstream::Http2(Box::new(Http2Upstream::new(lease))))
                    }
                    (UpstreamProtocol::Http1, true) => pool.lease_new(cluster).await.map(http1),
                    (UpstreamProtocol::Http1, false) => pool.lease(cluster).await.map(http1),
                }
            });
            std::future::poll_fn(|cx| {
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
        match event {
            Ok(Ok(upstream)) => return Ok(Some(upstream)),
            Ok(Err(error)) => self.connect_failed(pool, &error).await?,
            Err(None) => return Err(self.lose_client()),
            Err(Some(expired)) => self.expired(cluster, expired).await?,
        }
        Ok(None)
    }

    async fn connect_failed(&mut self, pool: &Pool, error: &ConnectError) -> Result<(), Broken> {
        self.journal.upstream_remote(pool.endpoint.address);
        match error {
            ConnectError::Overflow => self.upstream_failed("overflow").await,
            ConnectError::Timeout => self.upstream_failed("connection timeout").await,
            ConnectError::Failed(error) => {
                self.journal.set(Field::UpstreamFailure, error.to_string());
                self.upstream_failed("remote connection failure").await
            }
        }
    }

    /// Sends the request to an endpoint and relays the answer.
    async fn attempt(
        &mut self,
        cluster: &LocalCluster,
        pool: &Pool,
        route: &Route,
        target: &Target,
        mut upstream: Upstream,
    ) -> Result<Attempt, Broken> {
        self.start_request(cluster, pool, &mut upstream);
        let _active = InFlight::new(cluster, pool);
        let sent = Instant::now();
        match std::future::poll_fn(|cx| self.poll_head(cx, &mut upstream)).await {
            Event::Head(carriage) => {
                self.journal.head_received(sent.elapsed());
                cluster.stats.upstream_rq_time.record(sent.elapsed().as_millis() as u64);
                cluster.stats.upstream_rq.count(self.response.status);
                self.respond(route, target, sent.elapsed(), carriage);
                self.relay(cluster, upstream).await?;
            }
            Event::UpstreamFailed(error) if self.may_replay(&upstream, &error) => {
                cluster.stats.upstream_rq_retry.inc();
                return Ok(Attempt::Stale);
            }
            Event::UpstreamFailed(RecvError::Bad(_)) => {
                cluster.stats.upstream_cx_protocol_error.inc();
                self.upstream_failed("protocol error").await?;
            }
            Event::UpstreamFailed(_) => {
                cluster.stats.upstream_cx_destroy_remote_with_active_rq.inc();
                self.upstream_failed("connection termination").await?;
            }
            Event::ClientFailed(error) => {
                return self.client_failed(&error).await.map(|()| Attempt::Answered);
            }
            Event::ClientGone => {
                cluster.stats.upstream_rq_cancelled.inc();
                return Err(self.lose_client());
            }
            Event::Expired(expired) => self.expired(cluster, expired).await?,
        }
        Ok(Attempt::Answered)
    }

    /// Queues the request on the connection.
    fn start_request(&mut self, cluster: &LocalCluster, pool: &Pool, upstream: &mut Upstream) {
        self.journal.upstream(upstream.protocol(), upstream.local(), pool.endpoint.address);
        let body = self.carriage.framing != Framing::None && !self.request.is_method("CONNECT");
        let most = cluster.cluster.max_requests_per_connection;
        upstream.start_request(self.request, body, self.carriage.upgrade, most);
        if self.carriage.expects_continue && !self.down.received_all() {
            // Envoy's default: the proxy itself tells the client to go on.
            self.response.clear();
            self.response.status = 100;
            self.down.send_interim(self.response);
            self.interim = true;
        }
    }

    /// A request may be sent again when nothing of it can have had an effect that a second one adds to: its
    /// connection was dead on use, its method is idempotent (RFC 9110 section 9.2.2), and its body, if it has one, is
    /// still ours.
    fn may_replay(&self, upstream: &Upstream, error: &RecvError) -> bool {
        let idempotent = matches!(
            self.request.method(),
            b"GET" | b"HEAD" | b"OPTIONS" | b"PUT" | b"DELETE" | b"TRACE"
        );
        let unread = matches!(error, RecvError::Refused);
        let dead = upstream.is_reused() && idempotent && !matches!(error, RecvError::Bad(_));
        (unread || dead) && self.carriage.framing == Framing::None && !self.carriage.upgrade
    }

    fn poll_head(&mut self, cx: &mut Context<'_>, upstream: &mut Upstream) -> Poll<Event> {
        if let Poll::Ready(Err(error)) = self.poll_upload(cx, upstream) {
            return Poll::Ready(Event::ClientFailed(error));
        }
        if self.interim {
            match self.down.poll_flush(cx) {
                Poll::Ready(Ok(())) => self.interim = false,
                Poll::Ready(Err(_)) => return Poll::Ready(Event::ClientGone),
                Poll::Pending => {}
            }
        }
        loop {
            match upstream.poll_response(cx, self.response) {
                Poll::Ready(Ok(_)) if matches!(self.response.status, 100 | 102..=199) => {
                    // 100 has been sent already, by us; others are the client's if it speaks HTTP/1.1.
                    if self.response.status != 100 && self.down.version() != Version::Http10 {
                        forwarding::strip_hop_by_hop(&mut self.response.headers, false);
                        self.down.send_interim(self.response);
                        self.interim = true;
                        let _ = self.down.poll_flush(cx);
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
    fn poll_upload(
        &mut self,
        cx: &mut Context<'_>,
        upstream: &mut Upstream,
    ) -> Poll<Result<(), RecvError>> {
        let moved = &mut self.journal.bytes.received;
        match self.upload.poll(cx, self.down, upstream, moved) {
            Poll::Ready(Err(TransferError::From(error))) => Poll::Ready(Err(error)),
            Poll::Ready(Err(TransferError::To(_))) => {
                self.upload = Transfer::Abandoned;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_limits(&mut self, cx: &mut Context<'_>) -> Poll<Expired> {
        let received_all = self.down.received_all();
        if received_all {
            self.journal.request_received();
        }
        let progress = self.journal.bytes.received.wrapping_add(self.journal.bytes.sent);
        self.limits.poll(cx, self.deadline, received_all, progress)
    }

    /// Prepares the answer's head for the client and queues it.
    fn respond(&mut self, route: &Route, target: &Target, took: Duration, carriage: Carriage) {
        self.journal.flag(ResponseFlags::NONE, "via_upstream");
        if !self.http.manager.suppress_envoy_headers {
            let mut text = Vec::with_capacity(20);
            super::h1::encode::push_decimal(&mut text, took.as_millis() as u64);
            self.response.headers.set(b"x-envoy-upstream-service-time", &text);
        }
        let facts =
            Facts { route: Some(&route.name), cluster: Some(&target.cluster.name), ..self.facts() };
        target.response_headers.apply_to_response(self.response, self.request, &facts);
        route.response_headers.apply_to_response(self.response, self.request, &facts);
        self.start_response(carriage.framing != Framing::None);
        if carriage.upgrade {
            self.upload = Transfer::Running;
            self.down.become_tunnel();
            self.http.stats.downstream_cx_upgrades_total.inc();
        }
    }

    /// Moves the answer, and what is left of the request, until both are over.
    async fn relay(
        &mut self,
        cluster: &LocalCluster,
        mut upstream: Upstream,
    ) -> Result<(), Broken> {
        let tunnel = self.response.status == 101;
        if tunnel {
            upstream.become_tunnel();
        }
        let over = std::future::poll_fn(|cx| self.poll_relay(cx, &mut upstream, tunnel)).await;
        match over {
            Over::Complete => {
                let complete = self.upload == Transfer::Done && !tunnel;
                self.close |= !complete;
                upstream.end(complete);
                return Ok(());
            }
            Over::UpstreamFailed(error) => {
                let (flags, details) = match error {
                    RecvError::Bad(_) => (
                        ResponseFlags::UPSTREAM_PROTOCOL_ERROR,
                        "upstream_reset_after_response_started{protocol_error}",
                    ),
                    _ => (
                        ResponseFlags::UPSTREAM_CONNECTION_TERMINATION,
                        "upstream_reset_after_response_started{connection_termination}",
                    ),
                };
                self.http.stats.rq_reset_after_downstream_response_started.inc();
                self.journal.flag(flags, details);
            }
            Over::ClientFailed(error) => {
                let flags = match error {
                    RecvError::Bad(_) => ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR,
                    _ => ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION,
                };
                self.journal.flag(flags, "downstream_remote_disconnect");
            }
            Over::Expired(expired) => {
                let (flags, details) = match expired {
                    Expired::Route => {
                        cluster.stats.upstream_rq_timeout.inc();
                        (ResponseFlags::UPSTREAM_REQUEST_TIMEOUT, "response_timeout")
                    }
                    Expired::Request => (ResponseFlags::NONE, "request_overall_timeout"),
                    Expired::Idle => {
                        self.http.stats.downstream_rq_idle_timeout.inc();
                        (ResponseFlags::STREAM_IDLE_TIMEOUT, "stream_idle_timeout")
                    }
                };
                self.journal.flag(flags, details);
            }
        }
        Err(Broken)
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
            return Poll::Ready(Over::ClientFailed(RecvError::Closed));
        }
        self.poll_limits(cx).map(Over::Expired)
    }

    // --- failures before the answer has begun ---

    /// 503, or 502 when the endpoint broke the protocol, in Envoy's words.
    async fn upstream_failed(&mut self, reason: &'static str) -> Result<(), Broken> {
        let (status, flags, details) = match reason {
            "overflow" => (
                503,
                ResponseFlags::UPSTREAM_OVERFLOW,
                "upstream_reset_before_response_started{overflow}",
            ),
            "protocol error" => (
                502,
                ResponseFlags::UPSTREAM_PROTOCOL_ERROR,
                "upstream_reset_before_response_started{protocol_error}",
            ),
            "connection termination" => (
                503,
                ResponseFlags::UPSTREAM_CONNECTION_TERMINATION,
                "upstream_reset_before_response_started{connection_termination}",
            ),
            "connection timeout" => (
                503,
                ResponseFlags::UPSTREAM_CONNECTION_FAILURE,
                "upstream_reset_before_response_started{connection_timeout}",
            ),
            _ => (
                503,
                ResponseFlags::UPSTREAM_CONNECTION_FAILURE,
                "upstream_reset_before_response_started{remote_connection_failure}",
            ),
        };
        let text = "upstream connect error or disconnect/reset before headers. reset reason: ";
        let reply = LocalReply {
            body: [text, reason].concat().into_bytes().into(),
            ..LocalReply::new(status, "", flags, details)
        };
        self.reply(reply).await
    }

    /// The client broke off, or broke the protocol, inside its request.
    async fn client_failed(&mut self, error: &RecvError) -> Result<(), Broken> {
        match error {
            RecvError::Bad(reason) => {
                self.http.stats.downstream_cx_protocol_error.inc();
                self.reply(LocalReply::bad_message(*reason)).await
            }
            _ => Err(self.lose_client()),
        }
    }

    async fn expired(&mut self, cluster: &LocalCluster, expired: Expired) -> Result<(), Broken> {
        let reply = match expired {
            Expired::Route => {
                cluster.stats.upstream_rq_timeout.inc();
                LocalReply::upstream_timeout()
            }
            Expired::Request => {
                self.http.stats.downstream_rq_timeout.inc();
                LocalReply::request_timeout("request_overall_timeout")
            }
            Expired::Idle => {
                self.http.stats.downstream_rq_idle_timeout.inc();
                LocalReply::idle_timeout(self.down.received_all())
            }
        };
        self.reply(reply).await
    }
}

fn http1(lease: Lease) -> Upstream {
    Upstream::Http1(Http1Upstream::new(lease))
}

/// What relaying ended with.
enum Over {
    Complete,
    UpstreamFailed(RecvError),
    ClientFailed(RecvError),
    Expired(Expired),
}

/// Counts a request as in flight at its cluster and endpoint.
struct InFlight<'a> {
    cluster: &'a LocalCluster,
    pool: &'a Pool,
}

impl<'a> InFlight<'a> {
    fn new(cluster: &'a LocalCluster, pool: &'a Pool) -> Self {
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
