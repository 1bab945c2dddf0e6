//! What EnvoyFilters came to on a resource: patches that were made, that could not be, and that found nothing to be for.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_api::ObjectKey;
use tidegate_api::istio::envoy_filter::ObjectMatch;
use tidegate_envoy::prost_reflect::DynamicMessage;

use super::matches;
use crate::model::envoy_filter::{Patch, Refused};

/// Which filters, those further in last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Filters {
    /// Of a listener.
    Listener,
    /// Of a filter chain.
    Network,
    /// Of a connection manager.
    Http,
}

impl Filters {
    /// The field of the message that they stand in.
    pub(super) const fn field(self) -> &'static str {
        match self {
            Self::Listener => "listener_filters",
            Self::Network => "filters",
            Self::Http => "http_filters",
        }
    }

    /// The name of the one that a patch is for, if it names one.
    pub(super) fn wanted(self, what: &ObjectMatch) -> Option<&str> {
        match self {
            Self::Listener => matches::listener_filter(what),
            Self::Network => matches::network_filter(what),
            Self::Http => matches::http_filter(what),
        }
    }

    /// What they are called.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Listener => "listener filters",
            Self::Network => "network filters",
            Self::Http => "HTTP filters",
        }
    }
}

/// The names of the filters among which patches looked in vain for the one that they name, by the number of the patch.
pub type Missed = BTreeMap<usize, BTreeMap<Filters, BTreeSet<String>>>;

/// What EnvoyFilters came to on a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The patches that were made, by EnvoyFilter.
    pub made: BTreeMap<ObjectKey, BTreeSet<usize>>,
    /// Those that could not be.
    pub refused: BTreeMap<ObjectKey, Refused>,
    /// Where those of which none was made looked.
    pub missed: BTreeMap<ObjectKey, Missed>,
}

impl Trace {
    /// Whether nobody had anything to do with the resource.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys().next().is_none()
    }

    /// The EnvoyFilters that had.
    pub fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.made.keys().chain(self.refused.keys()).chain(self.missed.keys())
    }
}

/// A thing that a patch took away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Whose patch it was.
    pub filter: ObjectKey,
    /// Which one.
    pub patch: usize,
    /// The `stat_prefix` of the thing, by which whoever gives it one knows it again.
    pub mark: String,
}

/// The patches of one EnvoyFilter so far.
#[derive(Debug, Default)]
pub(super) struct Made {
    patches: BTreeSet<usize>,
    missed: Missed,
    removed: Vec<(usize, String)>,
}

impl Made {
    pub(super) fn note(&mut self, patch: &Patch) {
        self.patches.insert(patch.number);
    }

    /// A patch takes a thing away.
    pub(super) fn remove(&mut self, patch: &Patch, thing: &DynamicMessage) {
        self.note(patch);
        self.removed.push((patch.number, matches::text(thing, "stat_prefix")));
    }

    /// What patches of this EnvoyFilter have taken away, in order.
    pub(super) fn removed(&self, filter: &ObjectKey) -> Vec<Removed> {
        let removed = self.removed.iter().cloned();
        removed.map(|(patch, mark)| Removed { filter: filter.clone(), patch, mark }).collect()
    }

    /// A patch is for a filter that is none of these.
    pub(super) fn miss(&mut self, patch: &Patch, of: Filters, names: &[String]) {
        let missed = self.missed.entry(patch.number).or_default().entry(of).or_default();
        for name in names {
            if !missed.contains(name) {
                missed.insert(name.clone());
            }
        }
    }

    /// The patches that were made, and where those looked that were not.
    pub(super) fn settle(mut self) -> (BTreeSet<usize>, Missed) {
        self.missed.retain(|number, _| !self.patches.contains(number));
        (self.patches, self.missed)
    }
}
