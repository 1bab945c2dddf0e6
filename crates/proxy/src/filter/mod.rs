//! HTTP filters: what a request passes between being routed and being sent on, in the order of the configuration.
//!
//! A filter is compiled once ([`Filter`]) and runs in every worker with counts of its own ([`Running`]). It sees the request's
//! head and the route that was decided on, and lets the request pass, holds it back or answers it; it neither waits nor
//! sends. What it changes in the answer, whoever gives that, it leaves with the request ([`Trail`]).
//!
//! | file | subject |
//! |---|---|
//! | `cors.rs` | cross-origin requests |
//! | `fault.rs` | faults that are made on purpose |
//! | `jwt/` | the filter of tokens |
//! | `local_rate_limit/` | token buckets, and 429 where they are empty |
//! | `overrides.rs` | what routes say instead of a filter's own configuration |
//! | `trail.rs` | what filters leave with a request until it is over |

pub mod cors;
pub mod fault;
pub mod jwt;
pub mod local_rate_limit;
mod overrides;
mod trail;

pub use local_rate_limit::LocalRateLimit;
pub use overrides::{Override, Overrides};
pub use trail::{AnswerChange, Trail};

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use self::cors::CorsPolicy;
use self::jwt::remote::Waiting;
use self::jwt::{Jwt, OnRoute, RunningJwt};
use crate::accesslog::ResponseFlags;
use crate::http::RequestHead;
use crate::http::chain::Client;
use crate::http::local::LocalReply;
use crate::random::Random;
use crate::rbac::{Asked, Counts, HttpRbac, RuleSet};
use crate::route::{Facts, Route};
use crate::stats::{CorsStats, FaultStats, Scope, Stats};

use self::fault::{FaultFilter, Faults};

/// A filter of a connection manager.
#[derive(Debug)]
pub struct Filter {
    /// Its name, by which routes override it.
    pub name: Box<str>,
    /// What it does.
    pub kind: Kind,
    /// Whether it does so only where a route says so (`disabled`).
    pub only_by_route: bool,
}

/// What a filter does.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Verifies tokens.
    Jwt(Arc<Jwt>),
    /// Lets in who may ask.
    Rbac(Arc<HttpRbac>),
    /// Tells browsers who may read answers from elsewhere.
    Cors,
    /// Has requests wait or fail.
    Fault(Arc<FaultFilter>),
    /// Lets in as many as there are tokens for.
    LocalRateLimit(Arc<LocalRateLimit>),
}

/// A filter as one worker runs it.
#[derive(Debug)]
pub struct Running {
    name: Box<str>,
    kind: RunningKind,
    only_by_route: bool,
}

#[derive(Debug)]
enum RunningKind {
    Jwt(RunningJwt),
    Rbac(Arc<HttpRbac>, Counts),
    Cors(Stats<CorsStats>),
    Fault(Arc<FaultFilter>, Stats<FaultStats>),
    LocalRateLimit(Arc<LocalRateLimit>, local_rate_limit::Counts),
}

/// A request that passes through filters.
pub struct Passing<'a> {
    /// Who is connected.
    pub client: &'a Client,
    /// Whom it is from, as far as that can be believed.
    pub remote: IpAddr,
    /// Its head.
    pub head: &'a mut RequestHead,
    /// Where it goes, unless that is nowhere.
    pub route: Option<&'a Route>,
    /// Where its random numbers come from.
    pub random: &'a Random,
    /// What filters leave with it.
    pub trail: &'a mut Trail,
    /// What header values may refer to.
    pub facts: &'a Facts<'a>,
}

/// What becomes of a request at a filter.
#[derive(Debug)]
pub enum Step {
    /// It goes on.
    Pass,
    /// It goes on, and is routed again with what was noted of it.
    Reroute,
    /// It is answered, in place of the route, whose header changes hold.
    Answer(LocalReply),
    /// It is answered, and the route does not touch the answer.
    Respond(LocalReply),
    /// It waits, and [`Running::resume`] says what becomes of it then.
    Hold(Hold),
}

/// How a request waits at a filter.
#[derive(Debug)]
pub struct Hold {
    /// For how long.
    pub time: Duration,
    /// What the log says of it.
    pub flags: ResponseFlags,
    /// What may end the wait before.
    pub sooner: Option<Waiting>,
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its time.
    InTime,
    /// What it was for.
    Early,
}

impl Hold {
    /// Waits.
    pub async fn over(self) -> Ended {
        match self.sooner {
            None => {
                tokio::time::sleep(self.time).await;
                Ended::InTime
            }
            Some(mut waiting) => match tokio::time::timeout(self.time, waiting.over()).await {
                Ok(()) => Ended::Early,
                Err(_) => Ended::InTime,
            },
        }
    }
}

impl Filter {
    /// The filter in the worker of `scope`, in the connection manager with a prefix of statistics.
    #[must_use]
    pub fn run(&self, scope: &Scope, manager: &str) -> Running {
        let kind = match &self.kind {
            Kind::Jwt(jwt) => RunningKind::Jwt(jwt.run(scope, manager)),
            Kind::Rbac(rbac) => {
                RunningKind::Rbac(Arc::clone(rbac), Counts::of_http(scope, manager, rbac))
            }
            Kind::Cors => RunningKind::Cors(scope.cors(manager)),
            Kind::Fault(fault) => RunningKind::Fault(Arc::clone(fault), scope.fault(manager)),
            Kind::LocalRateLimit(limit) => {
                RunningKind::LocalRateLimit(Arc::clone(limit), local_rate_limit::Counts::new(scope))
            }
        };
        Running { name: self.name.clone(), kind, only_by_route: self.only_by_route }
    }

    /// The limit that a rate limit filter has for requests on a route.
    #[must_use]
    pub fn limit<'a>(&'a self, route: Option<&'a Route>) -> Option<&'a Arc<LocalRateLimit>> {
        let Kind::LocalRateLimit(limit) = &self.kind else { return None };
        Some(match in_force(&self.name, self.only_by_route, route)? {
            Some(Override::LocalRateLimit(own)) => own,
            _ => limit,
        })
    }

    /// The rules that an RBAC filter judges requests on a route by.
    #[must_use]
    pub fn rules<'a>(&'a self, route: Option<&'a Route>) -> Option<&'a RuleSet> {
        let Kind::Rbac(rbac) = &self.kind else { return None };
        Some(match in_force(&self.name, self.only_by_route, route)? {
            Some(Override::Rbac(set)) => set,
            _ => &rbac.set,
        })
    }

    /// What a filter of tokens has, and what a route says of the tokens that its requests need.
    #[must_use]
    pub fn tokens<'a>(
        &'a self,
        route: Option<&'a Route>,
    ) -> Option<(&'a Jwt, Option<&'a OnRoute>)> {
        let Kind::Jwt(jwt) = &self.kind else { return None };
        let own = match in_force(&self.name, self.only_by_route, route)? {
            Some(Override::Jwt(own)) => Some(own),
            _ => None,
        };
        Some((jwt, own))
    }

    /// What a filter of faults does to requests on a route.
    #[must_use]
    pub fn faults<'a>(&'a self, route: Option<&'a Route>) -> Option<&'a Faults> {
        let Kind::Fault(fault) = &self.kind else { return None };
        Some(match in_force(&self.name, self.only_by_route, route)? {
            Some(Override::Fault(own)) => own,
            _ => &fault.faults,
        })
    }

    /// What holds on a route for requests from other origins, where a filter looks at them.
    #[must_use]
    pub fn cors<'a>(&'a self, route: Option<&'a Route>) -> Option<&'a CorsPolicy> {
        let Kind::Cors = &self.kind else { return None };
        cors::policy(in_force(&self.name, self.only_by_route, route)?, route)
    }
}

/// Filters of a new form go on with what those of the form before have counted up, where they say the same of it.
pub fn go_on(now: &[Filter], before: &[Filter]) {
    for filter in now {
        let Kind::LocalRateLimit(limit) = &filter.kind else { continue };
        let old = before.iter().find(|old| old.name == filter.name).map(|old| &old.kind);
        if let Some(Kind::LocalRateLimit(old)) = old {
            limit.go_on(old);
        }
    }
}

impl Running {
    /// Puts a request through.
    pub fn pass(&self, request: &mut Passing<'_>) -> Step {
        let Some(own) = in_force(&self.name, self.only_by_route, request.route) else {
            return Step::Pass;
        };
        match &self.kind {
            RunningKind::Jwt(filter) => filter.pass(request, own),
            RunningKind::Rbac(filter, counts) => {
                let asked = Asked::of(request.client, request.remote, Some(request.head));
                let set = match own {
                    Some(Override::Rbac(set)) => set,
                    _ => &filter.set,
                };
                match set.judge(&asked, counts) {
                    Ok(None) => Step::Pass,
                    Ok(Some(logs)) => {
                        counts.note(&mut request.head.noted, logs);
                        Step::Pass
                    }
                    Err(denied) => Step::Answer(LocalReply::denied(&denied)),
                }
            }
            RunningKind::Cors(stats) => cors::pass(own, request, stats),
            RunningKind::Fault(filter, stats) => fault::pass(filter, stats, own, request),
            RunningKind::LocalRateLimit(limit, counts) => match own {
                Some(Override::LocalRateLimit(own)) => own.pass(request, counts),
                _ => limit.pass(request, counts),
            },
        }
    }

    /// What becomes of a request that this filter has held as it asked.
    pub fn resume(&self, request: &mut Passing<'_>, with: Ended) -> Step {
        let own = in_force(&self.name, self.only_by_route, request.route).flatten();
        match &self.kind {
            RunningKind::Fault(filter, stats) => fault::resume(filter, stats, own, request),
            RunningKind::Jwt(filter) => filter.resume(request, own, with),
            RunningKind::Rbac(..) | RunningKind::Cors(_) | RunningKind::LocalRateLimit(..) => {
                Step::Pass
            }
        }
    }
}

/// What a route says instead of a filter's own configuration, if it says anything; `None` where the filter does nothing.
fn in_force<'a>(
    filter: &str,
    only_by_route: bool,
    route: Option<&'a Route>,
) -> Option<Option<&'a Override>> {
    match route.and_then(|route| route.filters.get(filter)) {
        Some(Override::Off) => None,
        Some(own) => Some(Some(own)),
        None => (!only_by_route).then_some(None),
    }
}
