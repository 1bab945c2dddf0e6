//! Filtering: what becomes of a request between being routed and being sent on.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::{Broken, Exchange, Replying, Way};
use crate::filter::{Ended, Hold, Passing, Step};
use crate::http::limits::Expired;
use crate::http::local::LocalReply;
use crate::http::stream::Downstream;
use crate::route::{Action, Decision, Forward};

/// Where a request stands among the filters.
#[derive(Clone, Copy, Default)]
pub(super) struct Place {
    /// The filter's number.
    filter: usize,
    /// How that filter's hold on it ended, if it has held it.
    held: Option<Ended>,
}

/// Why a request does not go on.
pub(super) enum Stopped<'s> {
    /// A filter answers it, where the route changes the answer as that says.
    Answered(Box<LocalReply>, Option<Way<'s>>),
    /// It is to be routed again before it goes on from there.
    Rerouted(Place),
    /// The filter of this number holds it.
    Held(usize, Hold),
}

/// What a wait ended with.
pub(super) enum Waited<T> {
    Over(T),
    ClientGone,
    Expired(Expired),
}

impl<D: Downstream> Exchange<'_, D> {
    /// Puts the request through the filters, from a place on.
    pub(super) fn filter<'s>(
        &mut self,
        decision: Decision<'s>,
        from: Place,
    ) -> Result<(), Stopped<'s>> {
        let http = self.http;
        if http.filters.is_empty() {
            return Ok(());
        }
        let route = match decision {
            Decision::Route { route, .. } => Some(&**route),
            Decision::NoVirtualHost | Decision::NoRoute(_) => None,
        };
        let remote = self.journal.client().unwrap_or(self.client.peer).ip();
        let facts = self.facts();
        let mut request = Passing {
            client: self.client,
            remote,
            head: self.request,
            route,
            random: &http.worker.random,
            trail: &mut self.trail,
            facts: &facts,
        };
        for (number, filter) in http.filters.iter().enumerate().skip(from.filter) {
            let step = match from.held.filter(|_| number == from.filter) {
                Some(ended) => filter.resume(&mut request, ended),
                None => filter.pass(&mut request),
            };
            return Err(match step {
                Step::Pass => continue,
                Step::Answer(reply) => {
                    Stopped::Answered(Box::new(reply), self.way_of_filters(decision))
                }
                Step::Respond(reply) => Stopped::Answered(Box::new(reply), None),
                Step::Reroute => Stopped::Rerouted(Place { filter: number + 1, held: None }),
                Step::Hold(hold) => Stopped::Held(number, hold),
            });
        }
        Ok(())
    }

    /// As in Envoy, the header changes of a route that forwards hold for what it does not forward.
    fn way_of_filters<'s>(&self, decision: Decision<'s>) -> Option<Way<'s>> {
        let Decision::Route { route, .. } = decision else { return None };
        let Action::Forward(forward) = &route.action else { return None };
        // It goes nowhere, so it takes nobody's turn.
        let target = forward.targets.peek(|| self.http.worker.random.next());
        Some(Way { route, target: Some(target) })
    }

    /// Answers a request that is still among the filters.
    pub(super) fn answer_in_filter<'s>(
        &'s mut self,
        decision: Decision<'s>,
        reply: LocalReply,
    ) -> Replying<'s> {
        let way = self.way_of_filters(decision);
        self.reply_with(reply, way)
    }

    /// Holds the request as the filter of a number asks: where it stands then, or what it is answered should its time run out
    /// meanwhile.
    pub(super) async fn hold(
        &mut self,
        decision: Decision<'_>,
        filter: usize,
        hold: Hold,
    ) -> Result<Result<Place, LocalReply>, Broken> {
        self.journal.flag(hold.flags, "");
        if let Decision::Route { route, .. } = decision
            && let Action::Forward(forward) = &route.action
        {
            self.limit(forward);
        }
        match self.wait_for(hold.over()).await {
            Waited::Over(ended) => Ok(Ok(Place { filter, held: Some(ended) })),
            Waited::ClientGone => Err(self.lose_client()),
            Waited::Expired(expired) => Ok(Err(self.expired_here(expired))),
        }
    }

    /// Sets the limits of a stream that a route has.
    pub(super) fn limit(&mut self, forward: &Forward) {
        let manager = &self.http.manager;
        self.limits.idle(forward.idle_timeout.or(manager.stream_idle_timeout));
        let most = forward.max_stream_duration.or(manager.max_stream_duration);
        self.limits.age(self.started, most);
    }

    /// Waits, while the client is there and no limit is reached.
    pub(super) async fn wait(&mut self, time: Duration) -> Waited<()> {
        self.wait_for(tokio::time::sleep(time)).await
    }

    /// Ready when the client has gone, also one that still sends: what comes is kept for the next attempt, as far as anything is.
    fn poll_client_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.down.received_all() && ready!(self.kept.poll_ahead(self.down, cx)).is_err() {
            return Poll::Ready(());
        }
        self.down.poll_gone(cx)
    }

    async fn wait_for<T>(&mut self, what: impl Future<Output = T>) -> Waited<T> {
        let mut what = pin!(what);
        poll_fn(|cx| {
            if let Poll::Ready(over) = what.as_mut().poll(cx) {
                return Poll::Ready(Waited::Over(over));
            }
            if self.poll_client_gone(cx).is_ready() {
                return Poll::Ready(Waited::ClientGone);
            }
            self.poll_limits(cx).map(Waited::Expired)
        })
        .await
    }
}
