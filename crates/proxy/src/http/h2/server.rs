//! Serving a client's HTTP/2 connection: every stream is an exchange of its own.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::body::{RecvBody, SendBody};
use super::message;
use super::socket::{Socket, socket};
use crate::http::Session;
use crate::http::chain::{Client, HttpChain};
use crate::http::exchange::{End, Exchange, Turn};
use crate::http::h1::parse::Carriage;
use crate::http::h1::{BadMessage, Conn};
use crate::http::head::{Headers, ResponseHead, Version};
use crate::http::known::Known;
use crate::http::local::LocalReply;
use crate::http::stream::{Downstream, Recv, RecvError, Stream, Wire};
use crate::timer::Deadline;

/// How often a connection with open streams looks whether it is to drain.
const LOOK: Duration = Duration::from_millis(250);

/// Serves a connection to its end.
pub async fn serve(session: Session, mut conn: Conn) {
    let Session { http, client, registration, open, _counted } = session;
    let first = conn.take_read();
    let manager = &http.manager;
    let (socket, turns) = socket(first, conn, &http);
    let handshake = h2::server::Builder::new()
        .max_concurrent_streams(manager.h2.max_concurrent_streams)
        .initial_window_size(manager.h2.initial_stream_window)
        .initial_connection_window_size(manager.h2.initial_connection_window)
        .max_header_list_size(manager.max_head)
        .handshake::<_, Bytes>(socket);
    let time = manager.idle_timeout.unwrap_or(Duration::from_secs(3600));
    let mut handshake = pin!(handshake);
    let handshake = poll_fn(|cx| {
        let done = handshake.as_mut().poll(cx);
        turns.end(cx);
        done
    });
    let handshake = registration.prepare(&http.worker, tokio::time::timeout(time, handshake));
    let Some(Ok(Ok(mut connection))) = handshake.await else {
        http.stats.downstream_cx_protocol_error.inc();
        return;
    };
    let client = Rc::new(client);
    let mut streams = JoinSet::new();
    let mut clock = Clock::new(&http, Instant::now());
    loop {
        let next = poll_fn(|cx| {
            registration.takes_leave(cx.waker());
            let next = clock.poll_next(cx, &mut connection, &mut streams);
            if !matches!(next, Poll::Ready(Some(Ok(_)))) {
                turns.end(cx);
            }
            next
        });
        match next.await {
            Some(Ok((request, respond))) => {
                clock.served += 1;
                streams.spawn_local(stream(Rc::clone(&http), Rc::clone(&client), request, respond));
            }
            Some(Err(error)) => {
                if !error.is_io() {
                    http.stats.downstream_cx_protocol_error.inc();
                }
                if error.is_io() || error.is_remote() {
                    open.closed_by_client();
                }
                break;
            }
            None => {
                if clock.told.is_none() {
                    open.closed_by_client();
                }
                break;
            }
        }
    }
    if !streams.is_empty() {
        open.closes_busy();
    }
    // Streams see that the connection is gone and end by themselves: they are counted and logged.
    drop((connection, turns));
    while streams.join_next().await.is_some() {}
}

/// Streams that a client resets within this time count as opened for nothing.
const PREMATURE: Duration = Duration::from_secs(1);
/// So many of them end a connection, if they are half of its streams or more; Envoy's defaults.
const MOST_PREMATURE: u32 = 250;

type Accepted = Option<Result<(Request<RecvStream>, SendResponse<Bytes>), h2::Error>>;

/// When a connection is to end, and whether it has been told.
struct Clock<'a> {
    http: &'a HttpChain,
    opened: Instant,
    last_busy: Instant,
    served: u32,
    premature: u32,
    timer: Deadline,
    /// When the client was told to go away.
    told: Option<Instant>,
}

impl<'a> Clock<'a> {
    fn new(http: &'a HttpChain, opened: Instant) -> Self {
        Self {
            http,
            opened,
            last_busy: opened,
            served: 0,
            premature: 0,
            timer: Deadline::default(),
            told: None,
        }
    }

    /// The next stream. Streams that ended are cleared away; a connection that is idle for too long, too
    /// old, has served enough, or is to drain, is told to go away once its streams are over. A client that then
    /// says nothing is left: it may not even read.
    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection<Socket, Bytes>,
        streams: &mut JoinSet<Ended>,
    ) -> Poll<Accepted> {
        while let Poll::Ready(Some(ended)) = streams.poll_join_next(cx) {
            self.last_busy = Instant::now();
            self.premature += u32::from(ended.is_ok_and(|ended| ended == Ended::Premature));
        }
        if self.premature >= MOST_PREMATURE && self.premature >= self.served / 2 {
            self.http.stats.downstream_rq_too_many_premature_resets.inc();
            connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            self.premature = 0;
            self.told = Some(self.told.unwrap_or_else(Instant::now));
        }
        loop {
            if self.told.is_none() && self.is_over(streams.is_empty()) {
                connection.graceful_shutdown();
                self.told = Some(Instant::now());
                self.count();
            }
            if let Poll::Ready(accepted) = connection.poll_accept(cx) {
                self.last_busy = Instant::now();
                return Poll::Ready(accepted);
            }
            if streams.is_empty() && self.left_end().is_some_and(|end| Instant::now() >= end) {
                return Poll::Ready(None);
            }
            self.timer.set(Some(self.next_look(streams.is_empty())));
            ready!(self.timer.poll(cx));
        }
    }

    fn is_over(&self, idle: bool) -> bool {
        self.has_to_go()
            || self.has_served_enough()
            || self.is_old()
            || (idle && passed(self.last_busy, self.http.manager.idle_timeout))
    }

    /// What was settled when it was opened stays as it is, so that it is not handed on.
    fn has_to_go(&self) -> bool {
        self.http.is_retired() || self.http.is_over()
    }

    fn has_served_enough(&self) -> bool {
        self.http.manager.max_requests_per_connection.is_some_and(|max| self.served >= max)
    }

    fn is_old(&self) -> bool {
        passed(self.opened, self.http.manager.max_connection_duration)
    }

    /// Until when a client that was told may take to close.
    fn left_end(&self) -> Option<Instant> {
        let manager = &self.http.manager;
        Some(self.told? + manager.drain_timeout + manager.delayed_close_timeout)
    }

    /// Counts why the connection is over.
    fn count(&self) {
        let stats = &self.http.stats;
        if self.has_to_go() {
            // Counted when it closes.
        } else if self.has_served_enough() {
            stats.downstream_cx_max_requests_reached.inc();
        } else if self.is_old() {
            stats.downstream_cx_max_duration_reached.inc();
        } else {
            stats.downstream_cx_idle_timeout.inc();
        }
    }

    fn next_look(&self, idle: bool) -> Instant {
        let manager = &self.http.manager;
        let now = Instant::now();
        if !idle {
            return now + LOOK;
        }
        let far = now + Duration::from_secs(3600);
        let idle_end = manager.idle_timeout.map(|limit| self.last_busy + limit);
        let life_end = manager.max_connection_duration.map(|limit| self.opened + limit);
        let ends = [idle_end, life_end, self.left_end()];
        ends.into_iter().flatten().filter(|at| *at > now).min().unwrap_or(far)
    }
}

fn passed(since: Instant, limit: Option<Duration>) -> bool {
    limit.is_some_and(|limit| since.elapsed() >= limit)
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// In any other way.
    Otherwise,
    /// Its client reset it just after it was opened.
    Premature,
}

/// Serves one stream.
async fn stream(
    http: Rc<HttpChain>,
    client: Rc<Client>,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
) -> Ended {
    let started = Instant::now();
    let mut scratch = http.worker.scratch();
    let ended = request.body().is_end_stream();
    let framing =
        message::read_request(&request, client.tls.is_some(), ended, &mut scratch.request);
    let expects_continue = scratch.request.headers.get_known(Known::Expect).is_some();
    let too_many = request.headers().len() > http.manager.max_headers as usize;
    let recv = RecvBody::new(request.into_body());
    let mut down = Client2 { recv, send: Sending::Head(respond) };
    let Some(framing) = framing else {
        // Malformed (RFC 9113 section 8.3.1).
        down.reset(Reason::PROTOCOL_ERROR);
        http.worker.give_scratch(scratch);
        return Ended::Otherwise;
    };
    let carriage = Carriage { framing, keep_alive: true, expects_continue, upgrade: false };
    let mut deadline = Deadline::default();
    let turn =
        Turn { http: &http, client: &client, deadline: &mut deadline, started, close: false };
    let end = {
        let mut exchange = Exchange::new(turn, &mut down, &mut scratch, carriage);
        match too_many {
            true => exchange.refuse(LocalReply::bad_message(BadMessage::TooManyHeaders)).await,
            false => exchange.serve().await,
        }
    };
    if end == End::Abort {
        // What came before the fault is written first: `h2` drops what waits when a stream is reset.
        tokio::task::yield_now().await;
    }
    if matches!(end, End::Abort | End::Lost) {
        down.reset(Reason::INTERNAL_ERROR);
    }
    http.worker.give_scratch(scratch);
    let premature = end == End::Lost && started.elapsed() < PREMATURE;
    if premature { Ended::Premature } else { Ended::Otherwise }
}

/// The client's side of one stream.
struct Client2 {
    recv: RecvBody,
    send: Sending,
}

enum Sending {
    Head(SendResponse<Bytes>),
    Body(SendBody),
    Failed,
}

impl Client2 {
    fn reset(&mut self, reason: Reason) {
        match &mut self.send {
            Sending::Head(respond) => respond.send_reset(reason),
            Sending::Body(body) => body.reset(),
            Sending::Failed => {}
        }
    }
}

impl Downstream for Client2 {
    fn version(&self) -> Version {
        Version::Http2
    }

    fn start_response(&mut self, head: &ResponseHead, body: bool, _close: bool) -> bool {
        if let Sending::Head(respond) = &mut self.send {
            self.send = match respond.send_response(message::write_response(head), !body) {
                Ok(stream) => Sending::Body(SendBody::new(stream, !body)),
                Err(_) => Sending::Failed,
            };
        }
        // Streams end, the connection goes on.
        false
    }

    fn send_interim(&mut self, head: &ResponseHead) {
        if let Sending::Head(respond) = &mut self.send {
            // An interim answer that cannot be sent is no loss.
            let _ = respond.send_informational(message::write_response(head));
        }
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.send {
            Sending::Head(respond) => respond.poll_reset(cx).map(|_| ()),
            Sending::Body(body) => body.poll_reset(cx),
            Sending::Failed => Poll::Ready(()),
        }
    }
}

impl Stream for Client2 {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Recv<'_>, RecvError>> {
        self.recv.poll_recv(cx)
    }

    fn consume(&mut self, n: usize) {
        self.recv.consume(n);
    }

    fn take_trailers(&mut self) -> Option<Box<Headers>> {
        self.recv.take_trailers()
    }

    fn received_all(&self) -> bool {
        self.recv.received_all()
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.send {
            Sending::Body(body) => body.poll_send(cx, data),
            _ => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn finish(&mut self, trailers: Option<&Headers>) {
        if let Sending::Body(body) = &mut self.send {
            body.finish(trailers);
        }
    }

    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection's own task writes.
        match self.send {
            Sending::Failed => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            _ => Poll::Ready(Ok(())),
        }
    }

    fn become_tunnel(&mut self) {}

    fn wire(&self) -> Option<Wire> {
        None
    }
}
