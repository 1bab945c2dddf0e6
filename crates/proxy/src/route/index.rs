//! Which route of a virtual host comes first, at a cost that does not grow with the number of routes.
//!
//! Routes are numbered in the order given; the lowest number among those that match wins. Each route is
//! anchored at the beginnings of the paths that it can match: prefixes and exact paths at themselves, a
//! pattern at the literals with which all its matches begin. A request visits the anchors that its path
//! begins with, from the longest to the shortest, and stops when none above can hold a lower number than the
//! best so far. Of the routes at one anchor all behind the first without conditions are unreachable and
//! dropped; many that ask for different values of the same header or parameter are found by that value.
//!
//! What is still tried one by one, in order: routes at the same anchor that differ in conditions of other
//! kinds (patterns, ranges, presence), and patterns that begin with nothing literal.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::http::RequestHead;

use super::action::Route;
use super::condition::{Condition, Field, parameter};
use super::matcher::{PathMatch, without_query};
use super::tree::Tree;

/// More than any route's number.
const NONE: u32 = u32::MAX;
/// From so many candidates on it pays to look them up by a value.
const WORTH_A_LOOKUP: usize = 8;

/// The index over the routes of a virtual host.
#[derive(Debug)]
pub(super) struct RouteIndex {
    exact_case: Anchors,
    any_case: Anchors,
    /// Routes for requests without a path.
    connect: Vec<u32>,
}

/// The anchors of one kind of comparison.
#[derive(Debug)]
struct Anchors {
    tree: Tree,
    anchors: Vec<Anchor>,
}

/// A beginning of paths and the routes that hang on it.
#[derive(Debug)]
struct Anchor {
    /// Length of the beginning.
    depth: usize,
    /// Any path that begins so.
    prefix: Candidates,
    /// Paths where the beginning ends at a slash or at the end.
    separated: Candidates,
    /// The path that is just this.
    exact: Candidates,
    /// Lowest number that is sure to match any path beginning so, here or at an anchor above.
    sure: u32,
    /// The next shorter anchor.
    above: Option<u32>,
    /// Lowest number at any anchor above.
    lowest_above: u32,
}

/// Routes whose paths match; their conditions are left to test.
#[derive(Debug)]
struct Candidates {
    /// To be tried one by one, ascending.
    one_by_one: Box<[u32]>,
    /// To be looked up.
    by_value: Box<[ByValue]>,
    /// The first without conditions.
    sure: u32,
}

/// Routes that ask for one value of the same thing.
#[derive(Debug)]
struct ByValue {
    key: Key,
    routes: HashMap<Box<[u8]>, Candidates>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Field(Field),
    Parameter(Box<[u8]>),
}

/// What is needed to test a candidate.
struct Request<'r> {
    routes: &'r [Arc<Route>],
    head: &'r RequestHead,
    random: u64,
}

impl RouteIndex {
    /// Indexes routes; their numbers are their places.
    pub fn new(routes: &[Arc<Route>]) -> Self {
        let connect = (0_u32..)
            .zip(routes)
            .filter(|(_, route)| matches!(route.matcher.path, PathMatch::Connect))
            .map(|(number, _)| number)
            .collect();
        Self {
            exact_case: Anchors::new(routes, false),
            any_case: Anchors::new(routes, true),
            connect,
        }
    }

    /// The number of the first route that takes the request.
    pub fn first(&self, routes: &[Arc<Route>], head: &RequestHead, random: u64) -> Option<usize> {
        let request = Request { routes, head, random };
        let path = head.path();
        let found = if path.is_empty() {
            self.connect.iter().copied().find(|number| request.is_taken_by(*number)).unwrap_or(NONE)
        } else {
            let path = without_query(path);
            let found = self.exact_case.first(path, &request, NONE);
            self.any_case.first(path, &request, found)
        };
        (found != NONE).then_some(found as usize)
    }
}

impl Request<'_> {
    fn is_taken_by(&self, number: u32) -> bool {
        self.routes[number as usize].matcher.matches(self.head, self.random)
    }
}

// === impl Anchors ===

/// The routes at an anchor while the index is built.
#[derive(Default)]
struct Hanging {
    prefix: Vec<u32>,
    separated: Vec<u32>,
    exact: Vec<u32>,
}

impl Anchors {
    fn new(routes: &[Arc<Route>], ignore_case: bool) -> Self {
        let hanging = hang(routes, ignore_case);
        let mut tree = Tree::new(ignore_case);
        let mut anchors: Vec<Anchor> = Vec::with_capacity(hanging.len());
        // A key sorts behind all keys that it begins with, so those are on this stack.
        let mut path: Vec<(&[u8], u32)> = Vec::new();
        for (number, (key, hanging)) in (0_u32..).zip(&hanging) {
            while path.last().is_some_and(|(above, _)| !key.starts_with(above)) {
                path.pop();
            }
            let above = path.last().map(|(_, number)| *number);
            let anchor = Anchor::new(
                routes,
                key.len(),
                hanging,
                above.map(|at| (at, &anchors[at as usize])),
            );
            anchors.push(anchor);
            tree.insert(key, number);
            path.push((key, number));
        }
        Self { tree, anchors }
    }

    /// The lowest number below `best` of a route that takes the request, else `best`.
    fn first(&self, path: &[u8], request: &Request<'_>, mut best: u32) -> u32 {
        let mut next = self.tree.longest(path);
        if let Some(deepest) = next {
            best = best.min(self.anchors[deepest as usize].sure);
        }
        while let Some(number) = next {
            let anchor = &self.anchors[number as usize];
            best = anchor.prefix.first(request, best);
            let after = path.get(anchor.depth);
            if matches!(after, None | Some(b'/')) {
                best = anchor.separated.first(request, best);
            }
            if after.is_none() {
                best = anchor.exact.first(request, best);
            }
            next = anchor.above.filter(|_| anchor.lowest_above < best);
        }
        best
    }
}

/// Hangs each route on the beginnings of the paths that it can match.
fn hang(routes: &[Arc<Route>], ignore_case: bool) -> BTreeMap<Vec<u8>, Hanging> {
    let mut hanging: BTreeMap<Vec<u8>, Hanging> = BTreeMap::new();
    let key = |path: &[u8]| {
        if ignore_case { path.to_ascii_lowercase() } else { path.to_vec() }
    };
    for (number, route) in (0_u32..).zip(routes) {
        // Patterns say themselves whether case counts, and CONNECT looks at no path.
        let folds = route.matcher.ignore_case
            && !matches!(route.matcher.path, PathMatch::Regex(_) | PathMatch::Connect);
        if folds != ignore_case {
            continue;
        }
        match &route.matcher.path {
            PathMatch::Prefix(path) => hanging.entry(key(path)).or_default().prefix.push(number),
            PathMatch::SeparatedPrefix(path) => {
                hanging.entry(key(path)).or_default().separated.push(number);
            }
            PathMatch::Exact(path) => hanging.entry(key(path)).or_default().exact.push(number),
            PathMatch::Regex(pattern) => {
                for literal in pattern.prefixes().iter().collect::<HashSet<_>>() {
                    hanging.entry(literal.to_vec()).or_default().prefix.push(number);
                }
            }
            PathMatch::Connect => hanging.entry(Vec::new()).or_default().prefix.push(number),
        }
    }
    hanging
}

impl Anchor {
    fn new(
        routes: &[Arc<Route>],
        depth: usize,
        hanging: &Hanging,
        above: Option<(u32, &Anchor)>,
    ) -> Self {
        let candidates = |numbers: &[u32]| Candidates::new(routes, numbers, &mut Vec::new());
        let prefix = candidates(&hanging.prefix);
        let sure = prefix.sure.min(above.map_or(NONE, |(_, above)| above.sure));
        let lowest_above = above.map_or(NONE, |(_, above)| above.lowest().min(above.lowest_above));
        Self {
            depth,
            separated: candidates(&hanging.separated),
            exact: candidates(&hanging.exact),
            prefix,
            sure,
            above: above.map(|(number, _)| number),
            lowest_above,
        }
    }

    /// Lowest number that can match a longer path.
    fn lowest(&self) -> u32 {
        self.prefix.lowest().min(self.separated.lowest())
    }
}

// === impl Candidates ===

impl Candidates {
    /// Arranges routes, ascending, that are reached by the same path and the same values of `known` keys.
    fn new(routes: &[Arc<Route>], numbers: &[u32], known: &mut Vec<Key>) -> Self {
        let sure = numbers
            .iter()
            .copied()
            .find(|number| is_sure(&routes[*number as usize]))
            .unwrap_or(NONE);
        let mut left: Vec<u32> =
            numbers.iter().copied().take_while(|number| *number < sure).collect();
        let mut by_value = Vec::new();
        while left.len() >= WORTH_A_LOOKUP {
            let Some(key) = most_telling(routes, &left, known) else {
                break;
            };
            let mut groups: HashMap<Box<[u8]>, Vec<u32>> = HashMap::new();
            left.retain(|number| match key.wanted(&routes[*number as usize]) {
                Some(value) => {
                    groups.entry(value.into()).or_default().push(*number);
                    false
                }
                None => true,
            });
            known.push(key.clone());
            let routes = groups
                .into_iter()
                .map(|(value, numbers)| (value, Self::new(routes, &numbers, known)))
                .collect();
            known.pop();
            by_value.push(ByValue { key, routes });
        }
        Self { one_by_one: left.into(), by_value: by_value.into(), sure }
    }

    /// The lowest number below `best` of a route that takes the request, else `best`.
    fn first(&self, request: &Request<'_>, best: u32) -> u32 {
        let mut best = best.min(self.sure);
        for &number in &self.one_by_one {
            if number >= best {
                break;
            }
            if request.is_taken_by(number) {
                best = number;
            }
        }
        for by_value in &self.by_value {
            best = by_value.first(request, best);
        }
        best
    }

    /// The lowest number.
    fn lowest(&self) -> u32 {
        let one = self.one_by_one.first().copied().unwrap_or(NONE);
        let keyed =
            self.by_value.iter().flat_map(|by_value| by_value.routes.values().map(Self::lowest));
        keyed.min().unwrap_or(NONE).min(one).min(self.sure)
    }
}

impl ByValue {
    /// The lowest number below `best` of a route that takes the request, else `best`. Each line of a header
    /// may be the one that is asked for.
    fn first(&self, request: &Request<'_>, best: u32) -> u32 {
        let candidates = |best, value: &[u8]| match self.routes.get(value) {
            Some(candidates) => candidates.first(request, best),
            None => best,
        };
        match &self.key {
            Key::Field(field) => field.values(request.head).fold(best, candidates),
            Key::Parameter(name) => {
                parameter(request.head.path(), name).into_iter().fold(best, candidates)
            }
        }
    }
}

/// Whether a route takes every request that reaches its anchor.
fn is_sure(route: &Route) -> bool {
    let by_path_alone = matches!(
        route.matcher.path,
        PathMatch::Prefix(_) | PathMatch::SeparatedPrefix(_) | PathMatch::Exact(_)
    );
    by_path_alone && route.matcher.conditions.is_empty()
}

/// The key, not yet known, for which routes ask the most different values, when it tells many apart.
fn most_telling(routes: &[Arc<Route>], numbers: &[u32], known: &[Key]) -> Option<Key> {
    let mut values: HashMap<Key, HashSet<&[u8]>> = HashMap::new();
    for number in numbers {
        for condition in &routes[*number as usize].matcher.conditions {
            if let Some((key, value)) = key_and_value(condition) {
                values.entry(key).or_default().insert(value);
            }
        }
    }
    values
        .into_iter()
        .filter(|(key, values)| values.len() >= WORTH_A_LOOKUP / 2 && !known.contains(key))
        // The name breaks ties, so that equal tables have equal indexes.
        .max_by(|left, right| {
            left.1.len().cmp(&right.1.len()).then_with(|| right.0.cmp_names(&left.0))
        })
        .map(|(key, _)| key)
}

fn key_and_value(condition: &Condition) -> Option<(Key, &[u8])> {
    match condition {
        Condition::Header(header) => Some((Key::Field(header.field.clone()), header.exact()?)),
        Condition::Query(query) => Some((Key::Parameter(query.name.clone()), query.exact()?)),
        Condition::Fraction { .. } | Condition::Grpc | Condition::Metadata(_) => None,
    }
}

impl Key {
    /// The value that a route asks for.
    fn wanted<'r>(&self, route: &'r Route) -> Option<&'r [u8]> {
        route
            .matcher
            .conditions
            .iter()
            .filter_map(key_and_value)
            .find(|(key, _)| key == self)
            .map(|(_, value)| value)
    }

    fn cmp_names(&self, other: &Self) -> std::cmp::Ordering {
        let name = |key: &Self| match key {
            Self::Field(field) => (0, field.name().into_owned().into_bytes()),
            Self::Parameter(name) => (1, name.to_vec()),
        };
        name(self).cmp(&name(other))
    }
}
