//! Routes by the beginnings of the paths that they can match.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::super::action::Route;
use super::super::matcher::PathMatch;
use super::super::tree::Tree;
use super::candidates::Candidates;
use super::{NONE, Probe, Request, Step};

/// The anchors of one kind of comparison.
#[derive(Debug)]
pub(super) struct Anchors {
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

/// The routes at an anchor while the index is built.
#[derive(Default)]
struct Hanging {
    prefix: Vec<u32>,
    separated: Vec<u32>,
    exact: Vec<u32>,
}

impl Anchors {
    pub fn new(routes: &[Arc<Route>], ignore_case: bool) -> Self {
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
    pub fn first<P: Probe>(&self, request: &Request<'_, P>, mut best: u32) -> u32 {
        let mut next = self.tree.longest(request.path);
        if let Some(deepest) = next {
            best = best.min(self.anchors[deepest as usize].sure);
        }
        while let Some(number) = next {
            request.probe.note(Step::Anchor);
            let anchor = &self.anchors[number as usize];
            best = anchor.prefix.first(request, best);
            let after = request.path.get(anchor.depth);
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
        above: Option<(u32, &Self)>,
    ) -> Self {
        let prefix = Candidates::new(routes, &hanging.prefix);
        let sure = prefix.sure.min(above.map_or(NONE, |(_, above)| above.sure));
        let lowest_above = above.map_or(NONE, |(_, above)| above.lowest().min(above.lowest_above));
        Self {
            depth,
            separated: Candidates::new(routes, &hanging.separated),
            exact: Candidates::new(routes, &hanging.exact),
            prefix,
            sure,
            above: above.map(|(number, _)| number),
            lowest_above,
        }
    }

    /// Lowest number that can match a longer path.
    fn lowest(&self) -> u32 {
        self.prefix.lowest.min(self.separated.lowest)
    }
}
