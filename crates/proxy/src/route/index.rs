//! Which route of a virtual host comes first, at a cost that does not grow with the number of routes.
//!
//! Routes are numbered in the order given; the lowest number among those that match wins. Each route is
//! anchored at the beginnings of the paths that it can match (`index/anchors.rs`): prefixes and exact paths at
//! themselves, a pattern at the literals with which all its matches begin. A request visits the anchors that
//! its path begins with, from the longest to the shortest, and stops when none above can hold a lower number
//! than the best so far. Of the routes at one anchor all behind the first without conditions are unreachable and
//! dropped. Eight and more are told apart (`index/candidates.rs`) by what they need to find in the request
//! (`index/handles.rs`), which is looked up all at once (`index/lookup.rs`):
//!
//! - the value of a header or of a query parameter,
//! - a header or a query parameter of some name,
//! - a few bytes of a value or of the path: of prefixes, suffixes and parts, and of the literals that a
//!   pattern's matches have in them, each time those that the fewest other routes need.
//!
//! What is found is tried in order, each route at most as often as it has alternatives.
//!
//! What is still tried one by one, in order: routes at the same anchor that need nothing of this kind (patterns
//! without any literal, ranges of numbers, conditions that hold when something is absent or different, shares of
//! requests, gRPC), and routes that need the same. A request that shows what more than 32 groups of routes need
//! is tried against all of its lookup; so is none of those that people write, and nobody can make it cost more
//! than an index that is not there.
//!
//! Memory is bounded by the routes: a list and a few words each, whatever is in their patterns.

mod anchors;
mod candidates;
mod handles;
mod lookup;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::http::RequestHead;

use super::action::Route;
use super::matcher::{PathMatch, without_query};

use anchors::Anchors;
use candidates::Candidates;
use handles::Key;

/// More than any route's number.
const NONE: u32 = u32::MAX;

/// The index over the routes of a virtual host.
#[derive(Debug)]
pub(super) struct RouteIndex {
    exact_case: Anchors,
    any_case: Anchors,
    /// Routes for requests without a path.
    connect: Candidates,
}

/// What is needed to test a candidate.
struct Request<'r, P> {
    routes: &'r [Arc<Route>],
    head: &'r RequestHead,
    /// Without the query.
    path: &'r [u8],
    random: u64,
    probe: &'r P,
}

/// A step of a search.
#[derive(Clone, Copy, Debug)]
enum Step<'k> {
    /// An anchor is visited.
    Anchor,
    /// A lookup by a key begins.
    Lookup(#[cfg_attr(not(test), expect(dead_code, reason = "only tests look"))] &'k Key),
    /// Something that the request shows is looked up.
    Token,
    /// A lookup finds too much and tries all its routes.
    All,
    /// A route is tried.
    Route,
}

/// Who wants to know what a search does: tests count steps, as they take as long everywhere.
trait Probe {
    fn note(&self, step: Step<'_>);
}

impl Probe for () {
    fn note(&self, _: Step<'_>) {}
}

impl RouteIndex {
    /// Indexes routes; their numbers are their places.
    pub fn new(routes: &[Arc<Route>]) -> Self {
        let connect: Vec<_> = (0_u32..)
            .zip(routes)
            .filter(|(_, route)| matches!(route.matcher.path, PathMatch::Connect))
            .map(|(number, _)| number)
            .collect();
        Self {
            exact_case: Anchors::new(routes, false),
            any_case: Anchors::new(routes, true),
            connect: Candidates::new(routes, &connect),
        }
    }

    /// The number of the first route that takes the request.
    pub fn first(&self, routes: &[Arc<Route>], head: &RequestHead, random: u64) -> Option<usize> {
        self.first_noted(routes, head, random, &())
    }

    fn first_noted(
        &self,
        routes: &[Arc<Route>],
        head: &RequestHead,
        random: u64,
        probe: &impl Probe,
    ) -> Option<usize> {
        let request = Request { routes, head, path: without_query(head.path()), random, probe };
        let found = if head.path().is_empty() {
            self.connect.first(&request, NONE)
        } else {
            let found = self.exact_case.first(&request, NONE);
            self.any_case.first(&request, found)
        };
        (found != NONE).then_some(found as usize)
    }
}

impl<P: Probe> Request<'_, P> {
    /// The first of some routes, ascending, that takes the request, when it is below `best`; else `best`.
    fn first_of(&self, numbers: &[u32], best: u32) -> u32 {
        let mut below = numbers.iter().copied().take_while(|number| *number < best);
        below.find(|number| self.is_taken_by(*number)).unwrap_or(best)
    }

    fn is_taken_by(&self, number: u32) -> bool {
        self.probe.note(Step::Route);
        self.routes[number as usize].matcher.matches(self.head, self.random)
    }
}
