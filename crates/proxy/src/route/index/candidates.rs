//! Routes that the same paths can reach, told apart by what else they need.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::super::action::Route;
use super::super::matcher::PathMatch;
use super::handles::{Handle, Key, Shapes, Token, handles};
use super::lookup::{AsIs, Lookup};
use super::{NONE, Probe, Request};

/// From so many routes on it pays to look them up.
const WORTH_A_LOOKUP: usize = 8;
/// Most lookups side by side, and below each other.
const MOST_LOOKUPS: usize = 8;
/// Of groups up to this size none is better for being smaller.
const SMALL: u32 = 4;

/// Routes whose paths match, or may; all else is left to test.
#[derive(Debug)]
pub(super) struct Candidates {
    /// To be tried one by one, ascending.
    one_by_one: Box<[u32]>,
    lookups: Box<[Lookup]>,
    /// The first that takes all requests which come here.
    pub sure: u32,
    /// The lowest number.
    pub lowest: u32,
}

/// A way to tell routes apart.
#[derive(Debug)]
struct Plan {
    key: Key,
    shapes: Shapes,
    /// The routes, ascending, that tokens of a hash lead to.
    groups: BTreeMap<u64, Vec<u32>>,
    /// How many routes are left to try when one of them is asked for, about.
    cost: usize,
}

impl Candidates {
    /// Arranges routes, ascending.
    pub fn new(routes: &[Arc<Route>], numbers: &[u32]) -> Self {
        Self::below(routes, numbers, &mut Vec::new())
    }

    /// The same for routes that have been told apart by the keys in `known`.
    fn below(routes: &[Arc<Route>], numbers: &[u32], known: &mut Vec<Key>) -> Self {
        let mut all = numbers.iter().copied();
        let sure = all.find(|number| is_sure(&routes[*number as usize])).unwrap_or(NONE);
        let reachable = numbers.iter().copied().take_while(|number| *number < sure);
        let mut left: Vec<u32> = reachable.collect();
        let mut lookups = Vec::new();
        while left.len() >= WORTH_A_LOOKUP && lookups.len().max(known.len()) < MOST_LOOKUPS {
            let Some(plan) = Plan::best(routes, &left, known) else { break };
            known.push(plan.key.clone());
            let lookup = lookup(plan, |numbers| Self::below(routes, numbers, known));
            known.pop();
            left.retain(|number| lookup.all().binary_search(number).is_err());
            lookups.push(lookup);
        }
        Self {
            one_by_one: left.into(),
            lookups: lookups.into(),
            sure,
            lowest: numbers.first().copied().unwrap_or(NONE),
        }
    }

    /// The lowest number below `best` of a route that takes the request, else `best`.
    pub fn first<P: Probe>(&self, request: &Request<'_, P>, best: u32) -> u32 {
        let best = request.first_of(&self.one_by_one, best.min(self.sure));
        self.lookups.iter().fold(best, |best, lookup| lookup.first(request, best))
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

/// The lookup of a plan; `arrange` makes candidates of a group.
fn lookup(plan: Plan, mut arrange: impl FnMut(&[u32]) -> Candidates) -> Lookup {
    let mut groups: Vec<_> = plan.groups.into_iter().collect();
    groups.sort_by_key(|(_, numbers)| numbers.first().copied());
    let mut all: Vec<u32> = groups.iter().flat_map(|(_, numbers)| numbers).copied().collect();
    all.sort_unstable();
    all.dedup();
    let (hashes, groups): (Vec<_>, Vec<_>) = groups.into_iter().unzip();
    let groups = groups.iter().map(|numbers| arrange(numbers)).collect();
    Lookup::new(plan.key, plan.shapes, &hashes, groups, all.into())
}

// === impl Plan ===

impl Plan {
    /// The best way to tell routes apart, by none of the keys in `known`.
    fn best(routes: &[Arc<Route>], numbers: &[u32], known: &[Key]) -> Option<Self> {
        let mut by_key: BTreeMap<Key, Vec<(u32, Handle)>> = BTreeMap::new();
        for &number in numbers {
            for (key, handle) in handles(&routes[number as usize]) {
                by_key.entry(key).or_default().push((number, handle));
            }
        }
        by_key.retain(|key, _| !known.contains(key));
        // Of equals the first, so that equal tables have equal indexes.
        by_key
            .into_iter()
            .filter_map(|(key, handles)| Self::new(key, &handles, numbers.len()))
            .min_by_key(|plan| plan.cost)
    }

    /// Routes by a key, of which each has one handle or more, side by side; `None` when it is not worth a lookup.
    fn new(key: Key, handles: &[(u32, Handle)], all: usize) -> Option<Self> {
        let mut wanted: HashMap<u64, u32, AsIs> = HashMap::default();
        for token in handles.iter().flat_map(|(_, handle)| handle.tokens()) {
            *wanted.entry(token.hash).or_default() += 1;
        }
        let mut groups: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        let (mut shapes, mut covered) = (Shapes::default(), 0);
        for of_route in handles.chunk_by(|left, right| left.0 == right.0) {
            let handles =
                of_route.iter().map(|(number, handle)| (*number, choose(handle, &wanted)));
            let Some((number, (_, tokens))) = handles.min_by_key(|(_, (cost, _))| *cost) else {
                continue;
            };
            covered += 1;
            for token in tokens {
                shapes.add(token.shape);
                let group = groups.entry(token.hash).or_default();
                if group.last() != Some(&number) {
                    group.push(number);
                }
            }
        }
        if covered < WORTH_A_LOOKUP {
            return None;
        }
        let squares: usize = groups.values().map(|group| group.len() * group.len()).sum();
        Some(Self { key, shapes, groups, cost: all - covered + squares / covered })
    }
}

/// The token for each alternative that the fewest routes want, and what they cost together.
fn choose(handle: &Handle, wanted: &HashMap<u64, u32, AsIs>) -> (u32, Vec<Token>) {
    let wanted = |token: &Token| wanted.get(&token.hash).copied().unwrap_or_default();
    let rarest = |tokens: &Vec<Token>| tokens.iter().copied().min_by_key(wanted);
    let tokens: Vec<_> = handle.alternatives().iter().filter_map(rarest).collect();
    (tokens.iter().map(|token| wanted(token).max(SMALL)).sum(), tokens)
}
