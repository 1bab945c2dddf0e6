//! What routes say instead of a filter's own configuration (`typed_per_filter_config`).

use std::sync::Arc;

use super::RuleSet;

/// Rule sets by the name of the filter that they stand in for. The most specific level has its way: a route, its
/// virtual host, the route configuration.
#[derive(Clone, Debug, Default)]
pub struct Overrides(Option<Arc<[Entry]>>);

/// The name of a filter, and what stands in for it.
type Entry = (Box<str>, Arc<RuleSet>);

impl Overrides {
    /// Overrides of one level.
    #[must_use]
    pub fn new(entries: Vec<Entry>) -> Self {
        Self((!entries.is_empty()).then(|| entries.into()))
    }

    /// These, and those of the level around where these say nothing.
    #[must_use]
    pub fn within(&self, around: &Self) -> Self {
        let (Some(own), Some(outer)) = (&self.0, &around.0) else {
            return if self.0.is_some() { self.clone() } else { around.clone() };
        };
        let inherited = outer.iter().filter(|(name, _)| self.get(name).is_none());
        Self(Some(own.iter().chain(inherited).cloned().collect()))
    }

    /// Whether they say nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// What stands in for the filter of a name.
    #[must_use]
    pub fn get(&self, filter: &str) -> Option<&RuleSet> {
        let mut entries = self.0.iter().flat_map(|entries| entries.iter());
        entries.find(|(name, _)| **name == *filter).map(|(_, set)| &**set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(names: &[&str]) -> Overrides {
        Overrides::new(names.iter().map(|name| ((*name).into(), Arc::default())).collect())
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
