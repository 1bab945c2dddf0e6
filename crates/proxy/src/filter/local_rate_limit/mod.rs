//! The local rate limit: a request passes while there are tokens for it, else it is answered 429.
//!
//! The buckets are the process's: all workers take from the same, and a new configuration that says the same of them goes on
//! with them. One is full when it begins.
//!
//! | file | subject |
//! |---|---|
//! | `bucket.rs` | one bucket |
//! | `limiter.rs` | the buckets of a limit, and which a request takes from |

mod bucket;
mod limiter;

pub use bucket::{Fill, Level, TokenBucket};
pub use limiter::{Described, Judgement, Limiter, Plan};

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::{AnswerChange, Passing, Step, Trail};
use crate::accesslog::ResponseFlags;
use crate::http::ResponseHead;
use crate::http::local::LocalReply;
use crate::route::rate_limit::{Descriptor, RateLimit};
use crate::route::{Action, Fraction, Mutations, Route};
use crate::stats::{LocalRateLimitStats, Scope, Stats};

/// The filter, or what a route says instead of it.
#[derive(Debug)]
pub struct LocalRateLimit {
    /// What the names of its counters begin with.
    pub stat_prefix: Arc<str>,
    /// What the buckets are made from.
    pub plan: Plan,
    /// The buckets, but for those of connections.
    pub limiter: ArcSwap<Limiter>,
    /// Whether each connection has buckets of its own.
    pub per_connection: bool,
    /// The status of its answers.
    pub status: u16,
    /// The status of its answers to calls of gRPC; `None` for what `status` stands for.
    pub grpc_status: Option<u32>,
    /// For which share of requests tokens are taken.
    pub enabled: Fraction,
    /// Which share of those for which there is none is answered; the others go on.
    pub enforced: Fraction,
    /// Headers of its answers.
    pub response_headers: Mutations,
    /// Headers of requests that go on though there is no token.
    pub request_headers: Mutations,
    /// What requests are known by; as their routes say where this is empty.
    pub descriptors: Vec<RateLimit>,
    /// Which descriptors of routes are meant.
    pub stage: u32,
    /// Whether those of virtual hosts count where a route has its own.
    pub of_hosts: OfHosts,
    /// Whether answers tell how many tokens are left.
    pub told: bool,
}

/// Whether what virtual hosts say of descriptors counts (`vh_rate_limits`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OfHosts {
    /// Where the route says nothing.
    #[default]
    Else,
    /// Also where it does.
    Also,
    /// Never.
    Never,
}

/// The buckets that belong to one connection.
pub type OfConnection = RefCell<Vec<(Weak<LocalRateLimit>, Rc<Limiter>)>>;

/// Counts of one worker, by prefix: a route's own limit has its own.
#[derive(Debug)]
pub struct Counts {
    scope: Scope,
    known: RefCell<HashMap<Arc<str>, Stats<LocalRateLimitStats>>>,
}

impl Counts {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(scope: &Scope) -> Self {
        Self { scope: scope.clone(), known: RefCell::default() }
    }

    fn of(&self, limit: &LocalRateLimit) -> Stats<LocalRateLimitStats> {
        let mut known = self.known.borrow_mut();
        if let Some(stats) = known.get(&limit.stat_prefix) {
            return stats.clone();
        }
        let stats = self.scope.local_rate_limit(&limit.stat_prefix);
        known.insert(Arc::clone(&limit.stat_prefix), stats.clone());
        stats
    }
}

/// Has the answer tell what the bucket is like that decided. What is said last comes first.
fn tell(Level { max, remaining, reset }: Level, trail: &mut Trail) {
    let headers = [
        ("x-ratelimit-reset", reset),
        ("x-ratelimit-remaining", remaining),
        ("x-ratelimit-limit", max),
    ];
    for (name, value) in headers {
        trail.change(AnswerChange::Add(name, value.to_string().into_bytes().into()));
    }
}

impl LocalRateLimit {
    /// Goes on with the buckets of a form before, if they are made from the same.
    pub fn go_on(&self, before: &Self) {
        if self.plan == before.plan {
            self.limiter.store(before.limiter.load_full());
        }
    }

    /// Puts a request through.
    pub fn pass(self: &Arc<Self>, request: &mut Passing<'_>, counts: &Counts) -> Step {
        if !self.enabled.takes(request.random) {
            return Step::Pass;
        }
        let stats = counts.of(self);
        stats.enabled.inc();
        let judged = self.judge(request, Instant::now());
        if let Some(level) = judged.level {
            tell(level, request.trail);
        }
        if judged.allowed && !judged.shadow {
            stats.ok.inc();
            return Step::Pass;
        }
        stats.rate_limited.inc();
        if judged.shadow {
            stats.shadow_mode.inc();
            return Step::Pass;
        }
        if !self.enforced.takes(request.random) {
            let Passing { head, facts, .. } = request;
            self.request_headers.apply_to_request(head, facts);
            return Step::Pass;
        }
        stats.enforced.inc();
        Step::Answer(self.answer(request))
    }

    fn judge(self: &Arc<Self>, request: &Passing<'_>, now: Instant) -> Judgement {
        let descriptors = self.descriptors(request);
        match self.per_connection {
            false => self.limiter.load().judge(&descriptors, self.told, now),
            true => {
                let limiter = self.of_connection(&request.client.limits, now);
                limiter.judge(&descriptors, self.told, now)
            }
        }
    }

    fn answer(&self, request: &Passing<'_>) -> LocalReply {
        let mut head = ResponseHead::default();
        self.response_headers.apply_to_response(&mut head, request.head, request.facts);
        let flags = ResponseFlags::RATE_LIMITED;
        let reply = LocalReply::new(self.status, "local_rate_limited", flags, "local_rate_limited");
        LocalReply {
            configured: Some(Box::new(head.headers)),
            grpc_status: self.grpc_status,
            ..reply
        }
    }

    /// What the request is known by; nothing where no bucket asks for it.
    fn descriptors<'r>(&'r self, request: &'r Passing<'_>) -> Vec<Descriptor<'r>> {
        if self.plan.descriptors.is_empty() {
            return Vec::new();
        }
        let of = |limit: &'r RateLimit| limit.descriptor(request.head, request.remote);
        if !self.descriptors.is_empty() {
            return self.descriptors.iter().filter_map(of).collect();
        }
        let Some(Route { action: Action::Forward(forward), .. }) = request.route else {
            return Vec::new();
        };
        let limits = &forward.rate_limits;
        let hosts = match self.of_hosts {
            _ if limits.with_hosts => true,
            OfHosts::Also => true,
            OfHosts::Else => limits.own.is_empty(),
            OfHosts::Never => false,
        };
        let hosts = limits.of_host.iter().filter(|_| hosts);
        let mine = limits.own.iter().chain(hosts).filter(|limit| limit.stage == self.stage);
        mine.filter_map(of).collect()
    }

    /// The buckets of this limit on one connection. There are as many as the connection has met limits that are in force.
    fn of_connection(self: &Arc<Self>, limits: &OfConnection, now: Instant) -> Rc<Limiter> {
        let mut limits = limits.borrow_mut();
        let own = Arc::as_ptr(self);
        if let Some((_, limiter)) = limits.iter().find(|(limit, _)| limit.as_ptr() == own) {
            return Rc::clone(limiter);
        }
        limits.retain(|(limit, _)| limit.strong_count() > 0);
        let limiter = Rc::new(Limiter::new(&self.plan, now));
        limits.push((Arc::downgrade(self), Rc::clone(&limiter)));
        limiter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit() -> Arc<LocalRateLimit> {
        let plan = Plan::default();
        Arc::new(LocalRateLimit {
            stat_prefix: "p".into(),
            limiter: ArcSwap::from_pointee(Limiter::new(&plan, Instant::now())),
            plan,
            per_connection: true,
            status: 429,
            grpc_status: None,
            enabled: Fraction::NONE,
            enforced: Fraction::NONE,
            response_headers: Mutations::default(),
            request_headers: Mutations::default(),
            descriptors: Vec::new(),
            stage: 0,
            of_hosts: OfHosts::Else,
            told: false,
        })
    }

    #[test]
    fn a_connection_that_outlives_limits_forgets_their_buckets() {
        let (now, limits) = (Instant::now(), OfConnection::default());
        let stays = limit();
        let buckets = stays.of_connection(&limits, now);
        for _ in 0..100 {
            limit().of_connection(&limits, now);
            assert!(Rc::ptr_eq(&stays.of_connection(&limits, now), &buckets));
        }
        assert!(limits.borrow().len() <= 2);
    }
}
