//! What routes say instead of a filter's own configuration (`typed_per_filter_config`).

use std::sync::Arc;

use super::LocalRateLimit;
use super::jwt::OnRoute;
use crate::rbac::RuleSet;

use super::cors::CorsPolicy;
use super::fault::Faults;

/// What stands in for a filter's own configuration.
#[derive(Debug)]
pub enum Override {
    /// The filter does nothing (`disabled` of `FilterConfig`).
    Off,
    /// The filter does what its own configuration says, were it off elsewhere (an empty `config` of `FilterConfig`).
    On,
    /// What requests need of a filter of tokens.
    Jwt(OnRoute),
    /// Rules of an RBAC filter.
    Rbac(RuleSet),
    /// What holds for requests from other origins, of this level and those around.
    Cors(CorsPolicy),
    /// Faults instead of the filter's own.
    Fault(Faults),
    /// A limit of a rate limit filter.
    LocalRateLimit(Arc<LocalRateLimit>),
}

/// Overrides by the name of the filter that they stand in for. The most specific level has its way: a route, its
/// virtual host, the route configuration.
#[derive(Clone, Debug, Default)]
pub struct Overrides(Option<Arc<[Entry]>>);

/// The name of a filter, and what stands in for it.
type Entry = (Box<str>, Arc<Override>);

impl Overrides {
    /// Overrides of one level.
    #[must_use]
    pub fn new(entries: Vec<Entry>) -> Self {
        Self((!entries.is_empty()).then(|| entries.into()))
    }

    /// These, and those of the level around where these say nothing; of cross-origin requests each field by itself.
    #[must_use]
    pub fn within(&self, around: &Self) -> Self {
        let (Some(own), Some(outer)) = (&self.0, &around.0) else {
            return if self.0.is_some() { self.clone() } else { around.clone() };
        };
        let inherited = outer.iter().filter(|(name, _)| self.get(name).is_none()).cloned();
        let merged = own.iter().map(|(name, own)| match (&**own, around.get(name)) {
            (Override::Cors(policy), Some(Override::Cors(wider))) => {
                (name.clone(), Arc::new(Override::Cors(policy.within(wider))))
            }
            _ => (name.clone(), Arc::clone(own)),
        });
        Self(Some(merged.chain(inherited).collect()))
    }

    /// Limits go on with the buckets of those before that have the same name, where they say the same of them.
    pub fn go_on(&self, before: &Self) {
        for (name, own) in self.0.iter().flat_map(|entries| entries.iter()) {
            if let (Override::LocalRateLimit(limit), Some(Override::LocalRateLimit(old))) =
                (&**own, before.get(name))
            {
                limit.go_on(old);
            }
        }
    }

    /// Whether they say nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// What stands in for the filter of a name.
    #[must_use]
    pub fn get(&self, filter: &str) -> Option<&Override> {
        let mut entries = self.0.iter().flat_map(|entries| entries.iter());
        entries.find(|(name, _)| **name == *filter).map(|(_, own)| &**own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(names: &[&str]) -> Overrides {
        let own = || Arc::new(Override::Rbac(RuleSet::default()));
        Overrides::new(names.iter().map(|name| ((*name).into(), own())).collect())
    }

    fn is_of(found: &Overrides, level: &Overrides, name: &str) -> bool {
        let (found, level) = (found.get(name), level.get(name));
        matches!((found, level), (Some(found), Some(level)) if std::ptr::eq(found, level))
    }

    #[test]
    fn the_most_specific_level_wins_filter_by_filter() {
        let (outer, inner, none) = (level(&["a", "b"]), level(&["b", "c"]), Overrides::default());
        let both = inner.within(&outer);
        assert!(is_of(&both, &outer, "a"));
        assert!(is_of(&both, &inner, "b") && !is_of(&both, &outer, "b"));
        assert!(is_of(&both, &inner, "c"));
        assert!(both.get("d").is_none());
        assert!(is_of(&none.within(&outer), &outer, "a"));
        assert!(is_of(&inner.within(&none), &inner, "c"));
        assert!(none.within(&none).get("a").is_none());
    }
}
