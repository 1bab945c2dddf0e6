//! Serving a client's HTTP/1 connection: request after request, until either side has had enough.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::super::Session;
use super::super::chain::{Client, HttpChain};
use super::super::exchange::{self, End, Exchange, Scratch};
use super::super::head::{Headers, ResponseHead, Version};
use super::super::known::Known;
use super::super::local::LocalReply;
use super::super::stream::{Downstream, Recv, RecvError, Stream, Wire};
use super::Conn;
use super::conn::HeadLimits;
use super::encode::ConnectionHeader;
use super::parse::{Carriage, Framing};
use crate::timer::Deadline;
use crate::worker::{FIRST_REQUEST, LAST_REQUEST};

/// Serves a connection to its end. `since` tells since when a head is being read, if bytes of it are there.
pub async fn serve(session: &mut Session, conn: &mut Conn, mut since: Option<Instant>) {
    let mut deadline = Deadline::default();
    let opened = Instant::now();
    let mut served = 0;
    let end = loop {
        match idle(session, conn, &mut deadline, opened, served).await {
            Next::Request => session.follow(),
            Next::Close => break End::Close,
            Next::Gone => break End::Gone,
        }
        let Session { http, client, .. } = &*session;
        // Boxed, so that an idle connection does not carry the size of a request.
        let mut scratch = http.worker.scratch();
        let started = since.take().unwrap_or_else(Instant::now);
        let mut turn = Turn { http, client, deadline: &mut deadline, opened, started };
        let end = Box::pin(turn.request(conn, &mut scratch, &mut served)).await;
        http.worker.give_scratch(scratch);
        let (received, sent) = conn.take_counts();
        http.stats.downstream_cx_rx_bytes_total.add(received);
        http.stats.downstream_cx_tx_bytes_total.add(sent);
        if end != End::Reusable {
            break end;
        }
        conn.release();
    };
    let Session { http, open, .. } = &*session;
    match end {
        End::Gone => open.closed_by_client(),
        End::Lost => {
            open.closed_by_client();
            open.closes_busy();
        }
        End::Reusable | End::Close | End::Abort => {}
    }
    if end == End::Close && served > 0 {
        // Boxed, so that an idle connection does not carry its size.
        if !Box::pin(linger(conn, http.manager.delayed_close_timeout)).await {
            http.stats.downstream_cx_delayed_close_timeout.inc();
        }
    } else if matches!(end, End::Abort | End::Lost) {
        // The client must not take a cut answer for a whole one: a reset says so whatever the framing.
        conn.break_off();
    }
}

enum Next {
    Request,
    Close,
    /// The client has closed.
    Gone,
}

/// Waits, without a buffer, until a request begins.
async fn idle(
    session: &mut Session,
    conn: &mut Conn,
    deadline: &mut Deadline,
    opened: Instant,
    served: u32,
) -> Next {
    if !conn.filled().is_empty() {
        // The next request is here already: others have their turn, too, however many there are.
        tokio::task::coop::consume_budget().await;
        return Next::Request;
    }
    let manager = &session.http.manager;
    let since = Instant::now();
    let idle_end = manager.idle_timeout.map(|timeout| since + timeout);
    // From its age on, a connection closes with its next answer; without a request it waits a while for one.
    let life_end =
        manager.max_connection_duration.map(|timeout| opened + timeout + manager.drain_timeout);
    let end = idle_end.into_iter().chain(life_end).min();
    deadline.set(end);
    let mut leaves = false;
    poll_fn(|cx| {
        if let Poll::Ready(readable) = conn.poll_readable(cx) {
            return Poll::Ready(if readable.is_ok() { Next::Request } else { Next::Gone });
        }
        // What has arrived is served: only then nobody asks for anything.
        session.registration.takes_leave(cx.waker());
        session.follow();
        let http = &session.http;
        if http.is_retired() && !leaves {
            let last = last_moment(http, since, served);
            deadline.set(end.into_iter().chain(Some(last)).min());
        } else if !http.is_retired() && leaves {
            deadline.set(end);
        }
        leaves = http.is_retired();
        deadline.poll(cx).map(|()| {
            // It may have come since it was looked.
            if conn.has_input() {
                return Next::Request;
            }
            if leaves {
                return Next::Close;
            }
            if life_end.is_some_and(|end| Instant::now() >= end) {
                http.stats.downstream_cx_max_duration_reached.inc();
            } else {
                http.stats.downstream_cx_idle_timeout.inc();
            }
            Next::Close
        })
    })
    .await
}

/// Until when a connection waits for a request that its chain is not to serve any more, idle since `since`. A client that sends one just
/// now would not know whether it was served: who has been answered before is told with the next answer, too. Where the worker
/// drains, that is waited for by who has just been answered, and shortly by all.
fn last_moment(http: &HttpChain, since: Instant, served: u32) -> Instant {
    let now = Instant::now();
    let long = http.manager.drain_timeout.min(LAST_REQUEST);
    match served {
        0 => now + FIRST_REQUEST,
        _ if http.worker.is_draining() => (since + long).max(now + FIRST_REQUEST),
        _ => now + long,
    }
}

/// One request's turn on a connection.
struct Turn<'t> {
    http: &'t HttpChain,
    client: &'t Client,
    deadline: &'t mut Deadline,
    opened: Instant,
    started: Instant,
}

impl Turn<'_> {
    /// Reads the request's head and serves it.
    async fn request(&mut self, conn: &mut Conn, scratch: &mut Scratch, served: &mut u32) -> End {
        let (carriage, refused) = match self.read(conn, scratch).await {
            Ok(carriage) => (carriage, None),
            Err(Unread::Refused(reply)) => {
                // What could not be read is over, and counted.
                conn.discard();
                (UNREADABLE, Some(reply))
            }
            Err(Unread::Over(end)) => {
                *served += 1;
                return end;
            }
        };
        let last = self.count(served);
        let Self { http, client, ref mut deadline, started, .. } = *self;
        let mut down = Client1::new(conn, scratch.request.version, &carriage);
        let turn = exchange::Turn { http, client, deadline, started, close: last };
        let mut exchange = Exchange::new(turn, &mut down, scratch, carriage);
        match refused {
            None => exchange.serve().await,
            Some(reply) => exchange.refuse(*reply).await,
        }
    }

    /// Counts the request; tells whether it is the connection's last.
    fn count(&self, served: &mut u32) -> bool {
        let Self { http, opened, .. } = self;
        let manager = &http.manager;
        *served += 1;
        let enough = manager.max_requests_per_connection.is_some_and(|max| *served >= max);
        let old = manager.max_connection_duration.is_some_and(|max| opened.elapsed() >= max);
        if enough {
            http.stats.downstream_cx_max_requests_reached.inc();
        } else if old {
            http.stats.downstream_cx_max_duration_reached.inc();
        }
        enough || old
    }

    /// Reads the request's head, in time.
    async fn read(&mut self, conn: &mut Conn, scratch: &mut Scratch) -> Result<Carriage, Unread> {
        let Self { http, deadline, started, .. } = self;
        let manager = &http.manager;
        let limits =
            HeadLimits { bytes: manager.max_head as usize, lines: manager.max_headers as usize };
        let head_time = manager.request_headers_timeout.or(manager.stream_idle_timeout);
        deadline.set(head_time.map(|timeout| *started + timeout));
        let read = poll_fn(|cx| {
            if let Poll::Ready(read) = conn.poll_request(cx, limits, &mut scratch.request) {
                return Poll::Ready(Some(read));
            }
            deadline.poll(cx).map(|()| None)
        });
        match read.await {
            Some(Ok(carriage)) => Ok(carriage),
            Some(Err(RecvError::Bad(reason))) => {
                http.stats.downstream_cx_protocol_error.inc();
                Err(Unread::Refused(Box::new(LocalReply::bad_message(reason))))
            }
            None => {
                http.stats.downstream_rq_header_timeout.inc();
                let words = "request header timeout";
                let reply = LocalReply::request_timeout("request_header_timeout", words);
                Err(Unread::Refused(Box::new(reply)))
            }
            Some(Err(RecvError::Closed)) => Err(Unread::Over(End::Gone)),
            Some(Err(RecvError::Truncated | RecvError::Refused | RecvError::Io(_))) => {
                Err(Unread::Over(End::Lost))
            }
        }
    }
}

/// Why there is no request.
enum Unread {
    /// It is no good, and is answered so.
    Refused(Box<LocalReply>),
    /// The connection is over.
    Over(End),
}

/// What is assumed of a request whose head could not be read.
const UNREADABLE: Carriage =
    Carriage { framing: Framing::None, keep_alive: false, expects_continue: false, upgrade: false };

/// Lets the client read the answer before the connection goes: the sending side is closed, and what
/// still comes is read and dropped for a while. Closing at once would reset the connection and could take
/// the answer with it (RFC 9112 section 9.6).
///
/// Tells whether the client closed in time.
pub(in crate::http) async fn linger(conn: &mut Conn, time: Duration) -> bool {
    let drained = async {
        poll_fn(|cx| conn.poll_shutdown(cx)).await?;
        while poll_fn(|cx| conn.poll_fill(cx)).await? > 0 {
            conn.discard();
        }
        io::Result::Ok(())
    };
    // Whatever comes of it, the connection is closed then.
    tokio::time::timeout(time, drained).await.is_ok()
}

/// One exchange on a client's connection.
struct Client1<'c> {
    conn: &'c mut Conn,
    version: Version,
    upgrade: bool,
}

impl<'c> Client1<'c> {
    fn new(conn: &'c mut Conn, version: Version, carriage: &Carriage) -> Self {
        Self { conn, version, upgrade: carriage.upgrade }
    }
}

impl Downstream for Client1<'_> {
    fn version(&self) -> Version {
        self.version
    }

    fn start_response(&mut self, head: &ResponseHead, body: bool, close: bool) -> bool {
        let sized = head.headers.get_known(Known::ContentLength).is_some();
        let chunked = body && !sized && self.version == Version::Http11 && head.status != 101;
        // Without a length or chunks the end of the connection is the end of the answer.
        let close = close || (body && !sized && !chunked);
        let connection = match (head.status, close, self.version) {
            (101, ..) if self.upgrade => ConnectionHeader::Upgrade,
            (_, true, _) => ConnectionHeader::Close,
            (_, false, Version::Http10) => ConnectionHeader::KeepAlive,
            (_, false, _) => ConnectionHeader::None,
        };
        self.conn.start_response(head, chunked, connection);
        close
    }

    fn send_interim(&mut self, head: &ResponseHead) {
        self.conn.start_response(head, false, ConnectionHeader::None);
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.conn.poll_gone(cx)
    }
}

impl Stream for Client1<'_> {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Recv<'_>, RecvError>> {
        self.conn.poll_recv(cx)
    }

    fn consume(&mut self, n: usize) {
        self.conn.consume(n);
    }

    fn take_trailers(&mut self) -> Option<Box<Headers>> {
        self.conn.take_trailers()
    }

    fn received_all(&self) -> bool {
        self.conn.received_all()
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.conn.poll_send(cx, data)
    }

    fn finish(&mut self, trailers: Option<&Headers>) {
        self.conn.finish(trailers);
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.conn.poll_flush(cx)
    }

    fn become_tunnel(&mut self) {
        self.conn.become_tunnel();
    }

    fn wire(&self) -> Option<Wire> {
        Some(self.conn.wire())
    }
}
