//! The time limits of one exchange, behind one timer.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use crate::timer::Deadline;

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
            idle_end: idle.map(|idle| started + idle),
            progress: 0,
        }
    }

    /// Sets the route's time limit.
    pub fn route(&mut self, timeout: Option<Duration>) {
        self.route = timeout;
    }

    /// Sets how long a stream that began at `started` may live.
    pub fn age(&mut self, started: Instant, most: Option<Duration>) {
        self.age_end = most.map(|most| started + most);
    }

    /// Sets the idle limit.
    pub fn idle(&mut self, idle: Option<Duration>) {
        if idle != self.idle {
            self.idle = idle;
            self.idle_end = idle.map(|idle| Instant::now() + idle);
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
            if let (Some(route), None) = (self.route, self.route_end) {
                self.route_end = Some(Instant::now() + route);
            }
        }
        loop {
            let ends = [self.route_end, self.request_end, self.age_end, self.idle_end];
            let Some(next) = ends.into_iter().flatten().min() else {
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
            if progress == self.progress {
                return Poll::Ready(Expired::Idle);
            }
            self.progress = progress;
            self.idle_end = self.idle.map(|idle| Instant::now() + idle);
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
}
