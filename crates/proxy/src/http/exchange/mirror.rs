//! Copies of requests to other clusters, whose answers nobody waits for.
//!
//! A copy is a task of its own in the worker. It counts against the limits of its cluster like any request, is sent once,
//! and has the route's time from the request's end on, at most [`LONGEST`]. Requests for another protocol are not copied.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use super::Exchange;
use super::failure::{charge, count_timeout};
use super::forward::{InFlight, http1, outcome, reset_by};
use crate::http::feed::{Copies, Feed, Intake, feed};
use crate::http::forwarding;
use crate::http::h1::{BadMessage, Framing};
use crate::http::h2::client::Http2Upstream;
use crate::http::head::{RequestHead, ResponseHead};
use crate::http::local::{LocalReply, Reset};
use crate::http::stream::{Downstream, Recv, RecvError, Stream};
use crate::http::transfer::{Moved, Transfer, TransferError};
use crate::http::upstream::Upstream;
use crate::io::Liveness;
use crate::pipe::known;
use crate::route::{Mirror, Mirrors};
use crate::upstream::LocalCluster;
use crate::upstream::cluster::UpstreamProtocol;
use crate::upstream::limits::Permit;
use crate::upstream::outlier::Seen;
use crate::upstream::pool::{ConnectError, Pool};
use crate::worker::Worker;

/// How long a copy may last after the request's end where the route sets no limit.
const LONGEST: Duration = Duration::from_secs(300);

impl<D: Downstream> Exchange<'_, D> {
    /// Begins the copies of the request; `time` is the route's.
    pub(super) fn mirror(&mut self, mirrors: &Mirrors, time: Option<Duration>) {
        if self.carriage.upgrade || self.request.is_method("CONNECT") {
            return;
        }
        let worker = &self.http.worker;
        let random = worker.random.next();
        let content = self.carriage.framing != Framing::None;
        let mut feeds = Vec::new();
        for mirror in mirrors.all.iter().filter(|mirror| mirror.takes(random)) {
            let Some(cluster) = worker.clusters.get(&mirror.cluster) else { continue };
            let Some((feed, copy)) = self.copy(mirror, cluster, mirrors.keep, time) else {
                continue;
            };
            if content {
                feeds.push(feed);
            } else {
                feed.end(None);
            }
            tokio::task::spawn_local(copy.run(content));
        }
        if !feeds.is_empty() {
            self.copies = Some(Box::new(Copies::new(feeds)));
        }
    }

    /// A copy, unless there are as many requests to its cluster as there may be, or as many copies.
    fn copy(
        &self,
        mirror: &Mirror,
        cluster: Rc<LocalCluster>,
        keep: usize,
        time: Option<Duration>,
    ) -> Option<(Rc<Feed>, Copy)> {
        let worker = &self.http.worker;
        let place = Permit::request(&cluster.cluster).zip(feed(&worker.copies, keep));
        let Some((permit, (feed, intake))) = place else {
            cluster.stats.upstream_rq_active_overflow.inc();
            charge(&cluster, None, LocalReply::upstream_reset(Reset::Overflow, false).status);
            return None;
        };
        // The endpoint is to be who the request is for, whatever the copy is marked with.
        let server = cluster.cluster.server(self.request.authority()).to_owned();
        let mut head = self.request.clone();
        mirror.address(&mut head);
        // As in Envoy, which sends copies in its own name.
        if let Some(local) = known(self.client.local) {
            forwarding::append_forwarded_for(&mut head.headers, local.ip());
        }
        head.headers.set(b"x-envoy-internal", b"true");
        let limit = Limit { time: time.unwrap_or(LONGEST).min(LONGEST), running: None };
        let worker = Rc::clone(worker);
        Some((feed, Copy { worker, cluster, server, head, intake, limit, _permit: permit }))
    }
}

/// A copy on its way.
struct Copy {
    worker: Rc<Worker>,
    cluster: Rc<LocalCluster>,
    /// Whom the endpoint is to be.
    server: String,
    head: RequestHead,
    intake: Intake,
    limit: Limit,
    _permit: Permit,
}

impl Copy {
    /// Sends it, if it is not too late by then, and reads the answer.
    async fn run(mut self, content: bool) {
        let cluster = Rc::clone(&self.cluster);
        let ready = cluster.cluster.use_when_ready();
        if self.limit.hold(&self.intake, ready).await.is_none() {
            return expired(&cluster, None);
        }
        // Copies belong to no client's connection, as in Envoy.
        let Some(pool) = cluster.pick(None, None, || self.worker.random.next()) else {
            cluster.stats.upstream_cx_none_healthy.inc();
            return charge(&cluster, None, LocalReply::no_healthy_upstream().status);
        };
        let connection = connect(&cluster, &pool, &self.head, &self.server);
        match self.limit.hold(&self.intake, connection).await {
            Some(Ok(upstream)) => self.exchange(&pool, upstream, content).await,
            Some(Err(error)) => {
                if let Some(seen) = error.seen() {
                    cluster.saw(&pool, seen);
                }
                let reset = LocalReply::upstream_reset(Reset::ConnectFailure, false);
                charge(&cluster, Some(&pool), reset.status);
            }
            None => expired(&cluster, None),
        }
    }

    async fn exchange(self, pool: &Pool, mut upstream: Upstream, content: bool) {
        let Self { cluster, head, mut intake, mut limit, .. } = self;
        let sent = Instant::now();
        let _active = InFlight::new(&cluster, pool);
        cluster.saw(pool, Seen::Connected);
        upstream.start_request(&head, content, false, cluster.cluster.http.max_requests);
        let (mut upload, mut answer) = (Upload::default(), None);
        let over = poll_fn(|cx| {
            upload.poll(cx, &mut intake, &mut upstream)?;
            let read = poll_answer(cx, &mut upstream, &mut answer, |answer| {
                let outcome = outcome(&head, answer);
                cluster.saw(pool, Seen::Answer(outcome));
                charge(&cluster, Some(pool), answer.status);
            });
            match read {
                Poll::Ready(read) => Poll::Ready(read.map_err(Failed::Endpoint)),
                Poll::Pending => limit.poll(cx, &intake).map(|()| Err(Failed::Expired)),
            }
        })
        .await;
        match over {
            Ok(()) => {
                cluster.stats.upstream_rq_time.record(sent.elapsed().as_millis() as u64);
                upstream.end(upload.transfer == Transfer::Done);
            }
            Err(Failed::Endpoint(error)) => {
                upstream.failed(&cluster.stats, &error);
                cluster.saw(pool, Seen::Reset);
                if answer.is_none() {
                    let reset = reset_by(&error, &upstream, &cluster);
                    let status = LocalReply::upstream_reset(reset, false).status;
                    charge(&cluster, Some(pool), status);
                }
            }
            Err(Failed::Original) => {
                if intake.is_given_up() {
                    cluster.stats.retry_or_shadow_abandoned.inc();
                }
                upstream.given_up(&cluster.stats);
            }
            Err(Failed::Expired) => {
                upstream.given_up(&cluster.stats);
                match answer {
                    None => expired(&cluster, Some(pool)),
                    Some(_) => count_timeout(&cluster, Some(pool)),
                }
            }
        }
    }
}

/// Counts that there was no answer in time.
fn expired(cluster: &LocalCluster, at: Option<&Pool>) {
    count_timeout(cluster, at);
    if let Some(pool) = at {
        cluster.saw(pool, Seen::Timeout);
    }
    charge(cluster, at, LocalReply::upstream_timeout().status);
}

/// A connection to an endpoint.
async fn connect(
    cluster: &LocalCluster,
    pool: &Rc<Pool>,
    head: &RequestHead,
    server: &str,
) -> Result<Upstream, ConnectError> {
    match cluster.cluster.http.protocol_for(head.version) {
        UpstreamProtocol::Http1 => pool.lease(cluster, server, Liveness::Verified).await.map(http1),
        UpstreamProtocol::Http2 => {
            let lease = pool.multiplex.lease(pool, cluster, server, Liveness::Verified).await?;
            Ok(Upstream::Http2(Box::new(Http2Upstream::new(lease))))
        }
    }
}

/// Why a copy came to nothing.
enum Failed {
    /// Its endpoint broke off.
    Endpoint(RecvError),
    /// There is no more of the request, or more than the copy could take in time.
    Original,
    /// Its time is over.
    Expired,
}

/// The copy's content on its way.
#[derive(Default)]
struct Upload {
    transfer: Transfer,
    moved: Moved,
}

impl Upload {
    /// Moves what can be moved. That the endpoint takes no more is no error here: its answer, or its end, says more.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        intake: &mut Intake,
        upstream: &mut Upstream,
    ) -> Result<(), Failed> {
        match self.transfer.poll(cx, intake, upstream, &mut self.moved) {
            Poll::Ready(Err(TransferError::From(_))) => Err(Failed::Original),
            Poll::Ready(Err(TransferError::To(_))) => {
                self.transfer = Transfer::Abandoned;
                Ok(())
            }
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }
}

/// Reads the answer and drops it; `begun` sees its head, once.
fn poll_answer(
    cx: &mut Context<'_>,
    upstream: &mut Upstream,
    answer: &mut Option<ResponseHead>,
    begun: impl FnOnce(&ResponseHead),
) -> Poll<Result<(), RecvError>> {
    if answer.is_none() {
        let mut head = ResponseHead::default();
        loop {
            let carriage = ready!(upstream.poll_response(cx, &mut head))?;
            if carriage.upgrade {
                // Nothing asked for another protocol.
                return Poll::Ready(Err(BadMessage::Malformed.into()));
            }
            if head.status >= 200 {
                break;
            }
        }
        begun(&head);
        *answer = Some(head);
    }
    loop {
        let Recv::Data(data) = ready!(upstream.poll_recv(cx))? else { return Poll::Ready(Ok(())) };
        let all = data.len();
        upstream.consume(all);
    }
}

/// The time that a copy has, which runs from the request's end on.
struct Limit {
    time: Duration,
    running: Option<Pin<Box<Sleep>>>,
}

impl Limit {
    fn poll(&mut self, cx: &mut Context<'_>, intake: &Intake) -> Poll<()> {
        if self.running.is_none() {
            ready!(intake.poll_over(cx));
        }
        self.running.get_or_insert_with(|| Box::pin(sleep(self.time))).as_mut().poll(cx)
    }

    /// Waits for something; `None` when time is over before.
    async fn hold<T>(&mut self, intake: &Intake, what: impl Future<Output = T>) -> Option<T> {
        let mut what = pin!(what);
        poll_fn(|cx| match what.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => self.poll(cx, intake).map(|()| None),
        })
        .await
    }
}
