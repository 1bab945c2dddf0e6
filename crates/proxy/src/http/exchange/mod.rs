//! The request path: one request, from its head to the last byte of its answer.
//!
//! ```text
//! prepare ─► decide ─► filter ─► rewrite ─► connect ─► send, await head ─► respond ─► relay ─► log
//!    └─ reply ◄─┴──────────┴─ redirect, direct answer ◄───┴────────┘
//! ```
//!
//! The steps are the same for every HTTP version on either side. Deciding is pure and synchronous; what
//! waits is in `connect` and `attempt` (forward.rs) and `relay` (relay.rs), each a single poll function that drives both directions,
//! the client's going away, and the time limits; and in `hold` (filters.rs), for the few requests that a filter holds back.

mod failure;
mod filters;
mod forward;
mod mirror;
mod relay;
mod retry;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::time::Instant;

use self::filters::{Place, Stopped};
use super::chain::{Client, HttpChain};
use super::feed::Copies;
use super::forwarding;
use super::h1::encode::Decimal;
use super::h1::{Carriage, Framing};
use super::head::{RequestHead, ResponseHead, Version};
use super::journal::Journal;
use super::kept::Kept;
use super::known::Known;
use super::limits::Limits;
use super::local::LocalReply;
use super::prepare::{self, Hop, Unfit};
use super::stream::{Downstream, Recv};
use super::transfer::Transfer;
use crate::accesslog::{Field, ResponseFlags};
use crate::config::listener::HttpManager;
use crate::egress::{Asked, At};
use crate::filter::Trail;
use crate::pipe::known;
use crate::route::{
    Action, Attempts, Decision, Direct, Facts, Redirect, Route, RouteTable, Target, grpc,
};
use crate::timer::Deadline;

/// What the connection can do after an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Carry the next request.
    Reusable,
    /// Close, once the client has read the answer.
    Close,
    /// Break off: the answer is not complete, and the client must be able to tell.
    Abort,
    /// Nothing: the client has broken off.
    Lost,
    /// Nothing: the client has closed between requests.
    Gone,
}

/// Memory that heads may keep between requests, bytes.
const KEEP: usize = 16 * 1024;

/// What an exchange needs and does not own, reused from request to request.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The request's head.
    pub request: RequestHead,
    /// The answer's head.
    pub response: ResponseHead,
}

impl Scratch {
    /// Forgets the heads; large ones give their memory back.
    pub fn clear(&mut self) {
        self.request.clear();
        self.response.clear();
        if self.request.headers.memory() + self.response.headers.memory() > KEEP {
            *self = Self::default();
        }
    }
}

/// Where and when a request came.
pub struct Turn<'a> {
    /// The chain that serves it.
    pub http: &'a HttpChain,
    /// Who asks.
    pub client: &'a Client,
    /// The connection's, or the stream's, timer.
    pub deadline: &'a mut Deadline,
    /// When its first byte arrived.
    pub started: Instant,
    /// Whether the connection ends after it.
    pub close: bool,
}

/// Why the client is not answered to the end.
enum Broken {
    /// There is no more to send, and the client must be able to tell.
    Cut,
    /// The client has gone.
    Lost,
}

/// What was decided about a request: its answer is changed as that says, whoever gives it.
#[derive(Clone, Copy)]
struct Way<'r> {
    route: &'r Route,
    /// The cluster that was chosen, once one is.
    target: Option<&'r Target>,
}

impl<'r> Way<'r> {
    fn of(route: &'r Route) -> Self {
        Self { route, target: None }
    }
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
    started: Instant,
    limits: Limits,
    upload: Transfer,
    download: Transfer,
    /// Content of the request, for another attempt.
    kept: Kept,
    /// Copies of it that take its content.
    copies: Option<Box<Copies>>,
    /// Which attempt it is, and who is told; 0 until the request is being forwarded.
    attempt: u32,
    told: Attempts,
    journal: Journal<'a>,
    /// What filters left with it.
    trail: Trail,
    close: bool,
    /// Whether an interim answer waits to be written.
    interim: bool,
    /// How many were passed on.
    interims: u8,
    /// Cookies that were made to choose the endpoint by.
    set_cookies: Vec<String>,
}

/// The time limits of a request. A stream of HTTP/2 whose length is not said may be a conversation in which both
/// sides pause.
fn limits(
    manager: &HttpManager,
    version: Version,
    carriage: &Carriage,
    started: Instant,
) -> Limits {
    let limits = Limits::new(started, manager.stream_idle_timeout, manager.request_timeout);
    match carriage.framing {
        Framing::None | Framing::UntilClose => limits,
        Framing::Chunked if version == Version::Http2 => limits,
        Framing::Chunked | Framing::Length(_) => limits.with_content(started),
    }
}

/// How the request's way to the endpoint begins: what follows the request for an upgrade waits for the upgrade,
/// its own content comes before that (RFC 9110 section 7.8).
fn start_upload(carriage: &Carriage) -> Transfer {
    Transfer::start(carriage.upgrade && carriage.framing == Framing::None)
}

/// The sending of an answer of our own. Boxed, so that requests that are forwarded do not carry its size.
type Replying<'s> = Pin<Box<dyn Future<Output = Result<(), Broken>> + 's>>;

impl<'a, D: Downstream> Exchange<'a, D> {
    /// An exchange for the request whose head is in `scratch`.
    pub fn new(
        turn: Turn<'a>,
        down: &'a mut D,
        scratch: &'a mut Scratch,
        carriage: Carriage,
    ) -> Self {
        let Turn { http, client, deadline, started, close } = turn;
        let limits = limits(&http.manager, scratch.request.version, &carriage, started);
        Self {
            http,
            client,
            down,
            journal: Journal::new(http, client, scratch.request.version, started),
            request: &mut scratch.request,
            response: &mut scratch.response,
            deadline,
            carriage,
            started,
            limits,
            upload: start_upload(&carriage),
            download: Transfer::Running,
            kept: Kept::default(),
            copies: None,
            attempt: 0,
            told: Attempts::default(),
            trail: Trail::default(),
            close: close || !carriage.keep_alive,
            interim: false,
            interims: 0,
            set_cookies: Vec::new(),
        }
    }

    /// Serves the request.
    pub async fn serve(&mut self) -> End {
        let answered = self.answer().await;
        let end = match answered {
            Err(Broken::Cut) => {
                self.http.stats.downstream_rq_tx_reset.inc();
                End::Abort
            }
            Err(Broken::Lost) => {
                self.http.stats.downstream_rq_rx_reset.inc();
                End::Lost
            }
            Ok(()) if self.close => End::Close,
            Ok(()) => End::Reusable,
        };
        self.journal.finish(self.http, self.request, self.response, self.down.wire());
        end
    }

    /// Answers a request that could not be read.
    pub async fn refuse(&mut self, reply: LocalReply) -> End {
        self.http.stats.downstream_rq_response_before_rq_complete.inc();
        let sent = self.reply(reply).await;
        self.journal.finish(self.http, self.request, self.response, self.down.wire());
        if sent.is_ok() { End::Close } else { End::Lost }
    }

    async fn answer(&mut self) -> Result<(), Broken> {
        if let Err(reply) = self.prepare() {
            return self.reply(reply).await;
        }
        let table = self.http.routes();
        let random = self.http.worker.random.next();
        let mut decision = self.decide(&table, random);
        let mut at = Place::default();
        while let Err(stopped) = self.filter(decision, at) {
            match stopped {
                Stopped::Answered(reply, way) => return self.reply_with(*reply, way).await,
                Stopped::Rerouted(place) => {
                    self.journal.set(Field::VirtualHost, b"");
                    self.journal.set(Field::Route, b"");
                    decision = self.decide(&table, random);
                    at = place;
                }
                // Boxed, as most requests are not held.
                Stopped::Held(filter, hold) => {
                    match Box::pin(self.hold(decision, filter, hold)).await? {
                        Ok(place) => at = place,
                        Err(reply) => return self.answer_in_filter(decision, reply).await,
                    }
                }
            }
        }
        self.http.stats.rq_total.inc();
        match decision {
            Decision::NoVirtualHost | Decision::NoRoute(_) => {
                self.http.stats.no_route.inc();
                if let (Decision::NoVirtualHost, Some(_)) = (decision, self.http.chain.egress_port)
                {
                    self.note_denied();
                }
                self.reply(LocalReply::no_route()).await
            }
            Decision::Route { virtual_host, route } => {
                self.told = virtual_host.attempts;
                if self.told.to_endpoint {
                    prepare::tell_attempt(self.request, 1);
                }
                match &route.action {
                    Action::Forward(forward) => self.forward(route, forward).await,
                    Action::Redirect(redirect) => self.redirect(route, redirect).await,
                    Action::Direct(direct) => self.direct(route, direct).await,
                }
            }
        }
    }

    /// Decides where the request goes.
    fn decide<'t>(&mut self, table: &'t RouteTable, random: u64) -> Decision<'t> {
        let decision = table.decide(self.request, random);
        if let Decision::Route { virtual_host, route } = decision {
            self.journal.set(Field::VirtualHost, virtual_host.name.as_bytes());
            self.journal.set(Field::Route, route.name.as_bytes());
        }
        decision
    }

    /// Prepares the head for routing, or says what the request is answered instead.
    fn prepare(&mut self) -> Result<(), LocalReply> {
        let Client { peer, local, tls, .. } = self.client;
        let tls = tls.as_deref();
        let hop = Hop { peer: *peer, local: *local, tls, upgrade: self.carriage.upgrade };
        let manager = &self.http.manager;
        let arrived = prepare::arrive(self.request, manager, hop, &self.http.worker.random);
        let client = arrived.map_err(|unfit| match unfit {
            Unfit::Request(reply) => reply,
            Unfit::Path(reply) => {
                let stats = &self.http.stats;
                match reply.location {
                    Some(_) => stats.downstream_rq_redirected_with_normalized_path.inc(),
                    None => stats.downstream_rq_failed_path_normalization.inc(),
                }
                reply
            }
        })?;
        self.journal.set_client(client);
        Ok(())
    }

    // --- answers of our own ---

    async fn redirect(&mut self, route: &Route, redirect: &Redirect) -> Result<(), Broken> {
        self.http.stats.rq_direct_response.inc();
        let location = redirect.location(self.request);
        let reply = LocalReply::new(redirect.status, "", ResponseFlags::NONE, "direct_response");
        self.reply_on(Way::of(route), LocalReply { location: Some(location), ..reply }).await
    }

    /// Notes that nothing leads the host of the request through this gateway.
    fn note_denied(&self) {
        let (host, at) = (self.request.authority(), At::gateway(self.http.chain.egress_port));
        self.http.worker.egress.denied(Asked::Http, Some(host), self.client, at);
    }

    async fn direct(&mut self, route: &Route, direct: &Direct) -> Result<(), Broken> {
        self.http.stats.rq_direct_response.inc();
        let tunnel = direct.tunnel.as_ref().filter(|_| self.request.path().is_empty());
        let body = match tunnel.or(direct.format.as_ref()) {
            Some(format) => format.body(self.request, &self.facts()),
            None => Vec::from(&direct.body[..]),
        };
        if direct.denies {
            let host = self.request.authority();
            let at = At::bounded(direct.bounded_by.as_ref());
            self.http.worker.egress.denied(Asked::Http, Some(host), self.client, at);
        }
        let reply = LocalReply {
            body: body.into(),
            location: direct.location(self.request),
            ..LocalReply::new(direct.status, "", ResponseFlags::NONE, "direct_response")
        };
        self.reply_on(Way::of(route), reply).await
    }

    fn reply(&mut self, reply: LocalReply) -> Replying<'_> {
        self.reply_with(reply, None)
    }

    /// Answers in place of where a request was to go, whose header changes then hold.
    fn reply_on<'s>(&'s mut self, way: Way<'s>, reply: LocalReply) -> Replying<'s> {
        self.reply_with(reply, Some(way))
    }

    fn reply_with<'s>(&'s mut self, reply: LocalReply, way: Option<Way<'s>>) -> Replying<'s> {
        Box::pin(async move {
            let reply = if grpc::is_call(self.request) { reply.to_call() } else { reply };
            reply.write(self.response);
            self.journal.flag(reply.flags, reply.details);
            if let Some(way) = way {
                if let Some(target) = way.target {
                    self.journal.set(Field::Cluster, target.cluster.name.as_bytes());
                }
                self.change_response(way);
            }
            // What follows a refused CONNECT may be meant for the tunnel.
            let refused_tunnel = self.request.is_method("CONNECT");
            self.close |= reply.close || refused_tunnel || !self.request_is_all_here();
            let now = Instant::now();
            self.limits.answer_ourselves(now);
            // No content follows such a status, whatever a route says (RFC 9112 section 6.3).
            let content = if matches!(reply.status, 204 | 304) { &[][..] } else { &reply.body };
            self.start_response(!content.is_empty(), true, now);
            if !self.request.is_method("HEAD") {
                let mut rest = content;
                while !rest.is_empty() {
                    let sent = self.in_time(|down, cx| down.poll_send(cx, rest)).await?;
                    self.journal.bytes.sent.content += sent as u64;
                    rest = &rest[sent..];
                }
            }
            self.down.finish(None);
            self.in_time(D::poll_flush).await
        })
    }

    /// Changes the head of an answer as the chosen cluster and the route say.
    fn change_response(&mut self, way: Way<'_>) {
        let Way { route, target } = way;
        let cluster = target.map(|target| &*target.cluster.name);
        let (flags, details) = self.journal.reason();
        let facts = Facts {
            route: Some(&route.name),
            cluster,
            flags,
            details,
            answered: self.journal.is_answered(),
            received: self.journal.bytes.received.total(),
            attempts: self.attempt,
            ..self.facts()
        };
        if let Some(target) = target {
            target.response_headers.apply_to_response(self.response, self.request, &facts);
        }
        route.response_headers.apply_to_response(self.response, self.request, &facts);
        if self.told.to_client && self.attempt > 0 {
            let number = Decimal::new(self.attempt.into());
            self.response.headers.set(b"x-envoy-attempt-count", &number);
        }
    }

    /// Does a part of sending an answer of our own, for as long as something moves.
    async fn in_time<T>(
        &mut self,
        mut poll: impl FnMut(&mut D, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Result<T, Broken> {
        let done = poll_fn(|cx| match poll(self.down, cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => self.poll_limits(cx).map(|_| None),
        });
        match done.await {
            Some(Ok(done)) => Ok(done),
            Some(Err(_)) => Err(self.lose_client()),
            None => Err(self.stall()),
        }
    }

    /// Drops what is there of the request's body; whether that is all of it. A request that is not read to
    /// its end leaves the connection unusable.
    fn request_is_all_here(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        while !self.down.received_all() {
            match self.down.poll_recv(&mut cx) {
                Poll::Ready(Ok(Recv::Data(data))) => {
                    let n = data.len();
                    self.journal.bytes.received.content += n as u64;
                    self.down.consume(n);
                }
                _ => break,
            }
        }
        self.down.received_all()
    }

    /// `body` says whether content follows, where the client asks for it, and `ended` that nothing of the answer does.
    fn start_response(&mut self, body: bool, ended: bool, now: Instant) {
        let manager = &self.http.manager;
        let id = self.request.headers.get_known(Known::RequestId);
        let date = self.http.worker.clock.date(now);
        self.trail.apply(self.response);
        forwarding::response(self.response, manager, id, &date);
        self.say_length(body);
        self.close |= self.http.is_over();
        if !self.down.received_all() {
            self.http.stats.downstream_rq_response_before_rq_complete.inc();
        }
        // One without content may still be broken off, or have trailers, where the version shows when it is over.
        let open = !ended && self.down.version() == Version::Http2;
        let follows = body && !self.request.is_method("HEAD") || open;
        self.close = self.down.start_response(self.response, follows, self.close);
        self.journal.responded(self.response.status, now);
    }

    /// Says that there is no content, where the version does not show it; takes away a length where none may
    /// be (RFC 9110 section 8.6).
    fn say_length(&mut self, body: bool) {
        let head = &mut self.response;
        let bare = matches!(head.status, 100..=199 | 204);
        let sized = head.headers.get_known(Known::ContentLength).is_some();
        if bare && sized {
            head.headers.remove(b"content-length");
        }
        let shown = bare || sized || head.status == 304 || self.request.is_method("HEAD");
        if !body && !shown && self.down.version() != Version::Http2 {
            head.headers.append(b"content-length", b"0");
        }
    }

    /// Counts that nothing moved for too long while an answer of our own was sent.
    fn stall(&mut self) -> Broken {
        self.http.stats.downstream_rq_idle_timeout.inc();
        self.journal.flag(ResponseFlags::STREAM_IDLE_TIMEOUT, "stream_idle_timeout");
        Broken::Cut
    }

    fn lose_client(&mut self) -> Broken {
        let flag = ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION;
        self.journal.flag(flag, "downstream_remote_disconnect");
        Broken::Lost
    }

    /// What header values may refer to.
    fn facts(&self) -> Facts<'a> {
        let client = &self.client;
        Facts {
            client: self.journal.client(),
            peer: known(client.peer),
            local: known(client.local),
            pipe: client.pipe.as_deref(),
            server_name: client.server_name.as_deref(),
            upstream: self.journal.upstream_address().cloned(),
            connected: self.journal.is_connected(),
            started: Some((&self.http.worker.clock, self.started)),
            connection: Some(client.id),
            tls: client.tls.as_deref(),
            ..Facts::default()
        }
    }
}
