//! Which route of a virtual host goes on from which one of the form before.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::action::Route;

/// A route of a new form, and the one of the form before that it goes on from.
type Pair<'r> = (&'r Route, &'r Route);

/// The routes of a new form that go on from one of the form `before`, each from one of its own. A route is the same when its
/// name and its match are. Where only its name is, the first of a name that is left goes on from the first that is left, and
/// so forth; one without a name has its match alone.
pub(super) fn pairs<'r>(now: &'r [Arc<Route>], before: &'r [Arc<Route>]) -> Vec<Pair<'r>> {
    // Matches are the same if they print alike: patterns print what they were made of.
    let whole = |route: &Route| Some(format!("{:?} {:?}", route.name, route.matcher));
    let named = |route: &Route| (!route.name.is_empty()).then(|| String::from(&*route.name));
    let mut pairs = Vec::new();
    let all = (now.iter().map(|new| &**new).collect(), before.iter().map(|old| &**old).collect());
    let left = pair(all, whole, &mut pairs);
    pair(left, named, &mut pairs);
    pairs
}

/// Pairs the first of a key with the first, the second with the second; gives back those that are left.
fn pair<'r>(
    (mut now, before): (Vec<&'r Route>, Vec<&'r Route>),
    key: impl Fn(&Route) -> Option<String>,
    pairs: &mut Vec<Pair<'r>>,
) -> (Vec<&'r Route>, Vec<&'r Route>) {
    let mut places: HashMap<String, VecDeque<usize>> = HashMap::new();
    for (place, old) in before.iter().enumerate() {
        if let Some(key) = key(old) {
            places.entry(key).or_default().push_back(place);
        }
    }
    let mut left: Vec<Option<&Route>> = before.into_iter().map(Some).collect();
    now.retain(|new| {
        let place = key(new).and_then(|key| places.get_mut(&key)?.pop_front());
        let old = place.and_then(|place| left[place].take());
        pairs.extend(old.map(|old| (*new, old)));
        old.is_none()
    });
    (now, left.into_iter().flatten().collect())
}
