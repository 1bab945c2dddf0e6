//! The time limits of one exchange, behind one timer.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use crate::timer::Deadline;

/// How long a client may keep us waiting inside a request, or with an answer of our own, where no limit is set;
/// Envoy's default of the idle limit.
const FALLBACK: Duration = Duration::from_secs(300);

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// The route's: from the end of the request to the end of the answer.
    Route,
    /// The request did not arrive in time.
    Request,
    /// Nothing moved in either direction.
    Idle,
    /// The stream has lived for as long as it may.
    Age,
    /// The time of an attempt at an endpoint: from the end of the request to the beginning of the answer.
    Attempt,
    /// Nothing moved in an attempt.
    AttemptIdle,
}

/// The limits of one exchange.
#[derive(Debug)]
pub struct Limits {
    route: Option<Duration>,
    /// When the route's time is over; it runs from the end of the request, as in Envoy.
    route_end: Option<Instant>,
    request_end: Option<Instant>,
    age_end: Option<Instant>,
    idle: Option<Duration>,
    /// Whether content is awaited, and the client may not stop sending it for longer than [`FALLBACK`] though
    /// nothing else limits it: until the request is complete, or the answer begins.
    floor: bool,
    idle_end: Option<Instant>,
    progress: u64,
    attempt: Attempt,
}

/// The limits of an attempt at an endpoint.
#[derive(Debug, Default)]
struct Attempt {
    time: Option<Duration>,
    /// When its time is over; as the route's, it runs from the end of the request.
    end: Option<Instant>,
    idle: Option<Duration>,
    idle_end: Option<Instant>,
    progress: u64,
}

impl Limits {
    /// Limits before a route is known.
    #[must_use]
    pub fn new(started: Instant, idle: Option<Duration>, request: Option<Duration>) -> Self {
        Self {
            route: None,
            route_end: None,
            request_end: request.map(|request| started + request),
            age_end: None,
            idle,
            floor: false,
            idle_end: idle.map(|idle| started + idle),
            progress: 0,
            attempt: Attempt::default(),
        }
    }

    /// Limits of a request that has content which cannot be part of a conversation.
    #[must_use]
    pub fn with_content(mut self, started: Instant) -> Self {
        self.floor = true;
        self.idle_end = self.stalled().map(|idle| started + idle);
        self
    }

    /// The answer begins: both directions may pause from now on.
    pub fn answered(&mut self) {
        self.attempt.time = None;
        self.attempt.end = None;
        self.end_floor();
    }

    /// Nothing more is awaited of the client.
    fn end_floor(&mut self) {
        self.floor = false;
        if self.idle.is_none() {
            self.idle_end = None;
        }
    }

    /// An attempt at an endpoint begins, with these limits.
    pub fn begin_attempt(&mut self, time: Option<Duration>, idle: Option<Duration>, now: Instant) {
        let (idle_end, progress) = (idle.map(|idle| now + idle), self.attempt.progress);
        self.attempt = Attempt { time, end: None, idle, idle_end, progress };
    }

    /// The attempt is over.
    pub fn end_attempt(&mut self) {
        self.attempt = Attempt { progress: self.attempt.progress, ..Attempt::default() };
    }

    /// What is left of the route's time, while it runs.
    #[must_use]
    pub fn route_left(&self, now: Instant) -> Option<Duration> {
        self.route_end.map(|end| end.saturating_duration_since(now))
    }

    /// How long nothing may move.
    fn stalled(&self) -> Option<Duration> {
        self.idle.or(self.floor.then_some(FALLBACK))
    }

    /// Sets the route's time limit.
    pub fn route(&mut self, timeout: Option<Duration>) {
        self.route = timeout;
    }

    /// Ends the route's time limit, whether or not it runs.
    pub fn end_route(&mut self) {
        self.route = None;
        self.route_end = None;
        self.end_attempt();
    }

    /// From `now` on an answer of our own is sent: however it came to it, the client has the idle limit to
    /// take it, or [`FALLBACK`] where none is set.
    pub fn answer_ourselves(&mut self, now: Instant) {
        self.end_route();
        self.request_end = None;
        self.age_end = None;
        let idle = self.idle.unwrap_or(FALLBACK);
        self.idle = Some(idle);
        self.idle_end = Some(now + idle);
    }

    /// Sets how long a stream that began at `started` may live.
    pub fn age(&mut self, started: Instant, most: Option<Duration>) {
        self.age_end = most.map(|most| started + most);
    }

    /// Sets the idle limit.
    pub fn idle(&mut self, idle: Option<Duration>) {
        if idle != self.idle {
            self.idle = idle;
            self.idle_end = self.stalled().map(|idle| Instant::now() + idle);
        }
    }

    /// Ready when a limit is reached. `received_all` says that the request is complete; `progress` is any
    /// number that changes when something moves. What moved is looked at only when the timer fires, so an
    /// idle stream lives at most twice its limit, and a busy one costs nothing.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        timer: &mut Deadline,
        received_all: bool,
        progress: u64,
    ) -> Poll<Expired> {
        if received_all {
            self.request_end = None;
            if self.floor {
                self.end_floor();
            }
            if let (Some(route), None) = (self.route, self.route_end) {
                self.route_end = Some(Instant::now() + route);
            }
            if let Attempt { time: Some(time), end: None, .. } = self.attempt {
                self.attempt.end = Some(Instant::now() + time);
            }
        }
        loop {
            let Attempt { end: attempt_end, idle_end: attempt_idle_end, .. } = self.attempt;
            let ends = [self.route_end, self.request_end, self.age_end, self.idle_end];
            let ends = ends.into_iter().chain([attempt_end, attempt_idle_end]);
            let Some(next) = ends.flatten().min() else {
                timer.set(None);
                return Poll::Pending;
            };
            timer.set(Some(next));
            ready!(timer.poll(cx));
            if Some(next) == self.route_end {
                return Poll::Ready(Expired::Route);
            }
            if Some(next) == self.request_end {
                return Poll::Ready(Expired::Request);
            }
            if Some(next) == self.age_end {
                return Poll::Ready(Expired::Age);
            }
            if Some(next) == attempt_end {
                return Poll::Ready(Expired::Attempt);
            }
            if Some(next) == attempt_idle_end {
                if progress == self.attempt.progress {
                    return Poll::Ready(Expired::AttemptIdle);
                }
                self.attempt.progress = progress;
                self.attempt.idle_end = self.attempt.idle.map(|idle| Instant::now() + idle);
                continue;
            }
            if progress == self.progress {
                return Poll::Ready(Expired::Idle);
            }
            self.progress = progress;
            self.idle_end = self.stalled().map(|idle| Instant::now() + idle);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn the_first_limit_counts_and_progress_moves_the_idle_one() {
        let start = Instant::now();
        let mut timer = Deadline::default();
        let mut limits = Limits::new(start, Some(5 * SECOND), Some(20 * SECOND));
        limits.route(Some(3 * SECOND));
        let mut progress = 0;
        let expired = poll_fn(|cx| {
            progress = start.elapsed().as_secs() / 6;
            limits.poll(cx, &mut timer, false, progress)
        });
        assert_eq!(expired.await, Expired::Idle);
        assert!(start.elapsed() >= 5 * SECOND);

        let mut limits = Limits::new(Instant::now(), None, Some(SECOND));
        let expired = poll_fn(|cx| limits.poll(cx, &mut timer, false, 0)).await;
        assert_eq!(expired, Expired::Request);
        limits.route(Some(3 * SECOND));
        let expired = poll_fn(|cx| limits.poll(cx, &mut timer, true, 0)).await;
        assert_eq!(expired, Expired::Route);
    }

    #[tokio::test(start_paused = true)]
    async fn content_may_not_stop_coming_before_the_answer() {
        let long = FALLBACK * 10;
        let start = Instant::now();
        let mut timer = Deadline::default();
        let mut limits = Limits::new(start, None, None).with_content(start);
        let expired = poll_fn(|cx| limits.poll(cx, &mut timer, false, 0)).await;
        assert_eq!((expired, start.elapsed()), (Expired::Idle, FALLBACK));

        for complete in [false, true] {
            let mut timer = Deadline::default();
            let start = Instant::now();
            let mut limits = Limits::new(start, None, None).with_content(start);
            if !complete {
                limits.answered();
            }
            let expired = poll_fn(|cx| limits.poll(cx, &mut timer, complete, 0));
            assert!(tokio::time::timeout(long, expired).await.is_err(), "{complete}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_has_its_time_from_the_end_of_the_request_on() {
        let mut timer = Deadline::default();
        let now = Instant::now();
        let mut limits = Limits::new(now, Some(10 * SECOND), None).with_content(now);
        limits.begin_attempt(Some(2 * SECOND), None, Instant::now());
        let expired = poll_fn(|cx| limits.poll(cx, &mut timer, false, 0)).await;
        assert_eq!(expired, Expired::Idle, "the request still comes");
        let start = Instant::now();
        let expired = poll_fn(|cx| limits.poll(cx, &mut timer, true, 1)).await;
        assert_eq!((expired, start.elapsed()), (Expired::Attempt, 2 * SECOND));

        // The next one has all of it, and none once its answer has begun.
        limits.begin_attempt(Some(3 * SECOND), None, Instant::now());
        let expired = poll_fn(|cx| limits.poll(cx, &mut timer, true, 2)).await;
        assert_eq!((expired, start.elapsed()), (Expired::Attempt, 5 * SECOND));
        limits.begin_attempt(Some(SECOND), None, Instant::now());
        limits.answered();
        let expired = poll_fn(|cx| limits.poll(cx, &mut timer, true, 2)).await;
        assert_eq!(expired, Expired::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_ends_when_nothing_moves_in_it() {
        let start = Instant::now();
        let mut timer = Deadline::default();
        let mut limits = Limits::new(start, None, None);
        limits.route(Some(20 * SECOND));
        limits.begin_attempt(None, Some(4 * SECOND), start);
        let expired = poll_fn(|cx| {
            // It moves for five seconds.
            let progress = start.elapsed().min(5 * SECOND).as_secs();
            limits.poll(cx, &mut timer, true, progress)
        });
        assert_eq!((expired.await, start.elapsed()), (Expired::AttemptIdle, 12 * SECOND));
        limits.end_attempt();
        let expired = poll_fn(|cx| limits.poll(cx, &mut timer, true, 5)).await;
        assert_eq!((expired, start.elapsed()), (Expired::Route, 20 * SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_of_our_own_has_its_own_time() {
        let start = Instant::now();
        let mut timer = Deadline::default();
        let mut limits = Limits::new(start, None, Some(SECOND));
        limits.route(Some(SECOND));
        let expired = poll_fn(|cx| limits.poll(cx, &mut timer, false, 0)).await;
        assert_eq!(expired, Expired::Request);
        limits.answer_ourselves(Instant::now());
        let expired = poll_fn(|cx| limits.poll(cx, &mut timer, true, 0)).await;
        assert_eq!((expired, start.elapsed()), (Expired::Idle, SECOND + FALLBACK));
    }
}
