//! What EnvoyFilters came to: what was made of each resource, and what of an EnvoyFilter anywhere.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tidegate_api::ObjectKey;
use tidegate_api::istio::envoy_filter::Operation;
use tidegate_envoy::encode;
use tidegate_xds::ResourceType;
use tidegate_xds::assemble::split_virtual_host_name;

use super::removals::Removals;
use crate::model::envoy_filter::{EnvoyFilters, Refused};
use crate::patch::{Filters, Trace};

/// A resource, by its type and name.
pub(super) type Key = (ResourceType, Arc<str>);

/// What EnvoyFilters came to.
#[derive(Debug, Default)]
pub(crate) struct Patches {
    pub(super) traces: HashMap<Key, Trace>,
    /// The same the other way round.
    of_filter: HashMap<ObjectKey, BTreeSet<Key>>,
    /// Resources that EnvoyFilters add.
    pub(super) added: BTreeSet<Key>,
    /// Those that they cannot.
    pub(super) not_added: BTreeMap<ObjectKey, Vec<Refused>>,
    /// Routes that they have taken away.
    pub(crate) removals: Removals,
}

impl Patches {
    /// Notes what a resource's compilation found; answers the EnvoyFilters for which that may differ.
    pub(super) fn note(&mut self, key: &Key, trace: &Trace) -> BTreeSet<ObjectKey> {
        let before = match trace.is_empty() {
            true => self.traces.remove(key),
            false => self.traces.insert(key.clone(), trace.clone()),
        };
        let before = before.unwrap_or_default();
        if before == *trace {
            return BTreeSet::new();
        }
        let all: BTreeSet<ObjectKey> = before.keys().chain(trace.keys()).cloned().collect();
        for filter in &all {
            let of_it = self.of_filter.entry(filter.clone()).or_default();
            match trace.keys().any(|now| now == filter) {
                true => of_it.insert(key.clone()),
                false => of_it.remove(key),
            };
            if of_it.is_empty() {
                self.of_filter.remove(filter);
            }
        }
        all
    }

    /// The resources that an EnvoyFilter had to do with.
    pub(super) fn touched(&self, filter: &ObjectKey) -> impl Iterator<Item = &Key> {
        self.of_filter.get(filter).into_iter().flatten()
    }

    /// The patches that an EnvoyFilter has made anywhere.
    pub(crate) fn made(&self, filter: &ObjectKey) -> BTreeSet<usize> {
        let traces = self.touched(filter).filter_map(|key| self.traces.get(key)?.made.get(filter));
        traces.flatten().copied().collect()
    }

    /// The filters among which these patches of an EnvoyFilter found none that they name: the innermost that each of them came to.
    pub(crate) fn missed(
        &self,
        filter: &ObjectKey,
        patches: &BTreeSet<usize>,
    ) -> BTreeMap<Filters, BTreeSet<&str>> {
        let traces =
            self.touched(filter).filter_map(|key| self.traces.get(key)?.missed.get(filter));
        let mut of_patch: BTreeMap<usize, BTreeMap<Filters, BTreeSet<&str>>> = BTreeMap::new();
        for (patch, missed) in traces.flatten().filter(|(patch, _)| patches.contains(patch)) {
            let of_patch = of_patch.entry(*patch).or_default();
            for (filters, names) in missed {
                of_patch.entry(*filters).or_default().extend(names.iter().map(String::as_str));
            }
        }
        let mut found: BTreeMap<Filters, BTreeSet<&str>> = BTreeMap::new();
        for (filters, names) in of_patch.into_values().filter_map(|mut of| of.pop_last()) {
            found.entry(filters).or_default().extend(names);
        }
        found
    }

    /// What an EnvoyFilter could not do, each reason once.
    pub(crate) fn refused(&self, filter: &ObjectKey) -> Vec<&Refused> {
        let traces =
            self.touched(filter).filter_map(|key| self.traces.get(key)?.refused.get(filter));
        let mut all: Vec<&Refused> = self.not_added.get(filter).into_iter().flatten().collect();
        all.extend(traces);
        all.sort_by(|a, b| (a.patch, &a.reason).cmp(&(b.patch, &b.reason)));
        all.dedup();
        all
    }

    /// Whether one of these EnvoyFilters took anything away from a resource, or the whole of it.
    pub(super) fn removes(&self, key: &Key, filters: &EnvoyFilters) -> bool {
        let Some(trace) = self.traces.get(key) else { return false };
        trace.made.iter().any(|(filter, made)| {
            let patches = filters.get(filter).map(|filter| &filter.patches);
            patches
                .into_iter()
                .flatten()
                .any(|patch| patch.operation == Operation::Remove && made.contains(&patch.number))
        })
    }

    /// The route configurations on which, or on whose virtual hosts, a patch of an EnvoyFilter was made.
    pub(crate) fn tables_of(&self, filter: &ObjectKey, patch: usize) -> BTreeSet<&str> {
        let made = |key: &&Key| {
            let made = self.traces.get(*key).and_then(|trace| trace.made.get(filter));
            made.is_some_and(|made| made.contains(&patch))
        };
        self.touched(filter).filter(made).filter_map(table_of).collect()
    }

    /// The listeners that EnvoyFilters had to do with.
    pub(crate) fn listeners(&self) -> impl Iterator<Item = &str> {
        let listeners = self.traces.keys().filter(|(kind, _)| *kind == ResourceType::Listener);
        listeners.map(|(_, name)| &**name)
    }

    /// The patches that were made on a resource and whose values speak of a filter.
    pub(crate) fn speaking_of(
        &self,
        filter: &str,
        kind: ResourceType,
        name: &str,
        filters: &EnvoyFilters,
    ) -> Vec<(ObjectKey, usize)> {
        let trace = self.traces.get(&(kind, name.into()));
        let made = trace.into_iter().flat_map(|trace| &trace.made);
        let made = made.flat_map(|(key, made)| made.iter().map(move |number| (key, *number)));
        let speaks = |(key, number): &(&ObjectKey, usize)| {
            let patches = filters.get(key).map(|filter| &filter.patches);
            let mut own = patches.into_iter().flatten().filter(|patch| patch.number == *number);
            own.any(|patch| {
                let value = patch.value.as_ref().map(encode).unwrap_or_default();
                value.windows(filter.len().max(1)).any(|part| part == filter.as_bytes())
            })
        };
        made.filter(speaks).map(|(key, number)| (key.clone(), number)).collect()
    }

    /// The EnvoyFilters that changed a resource.
    pub(crate) fn behind(
        &self,
        kind: ResourceType,
        name: &str,
    ) -> impl Iterator<Item = &ObjectKey> {
        let trace = self.traces.get(&(kind, name.into()));
        trace.into_iter().flat_map(|trace| trace.made.keys())
    }
}

/// The route configuration that a resource is, or is a virtual host of.
fn table_of((kind, name): &Key) -> Option<&str> {
    match kind {
        ResourceType::RouteConfiguration => Some(name),
        ResourceType::VirtualHost => split_virtual_host_name(name).map(|(table, _)| table),
        _ => None,
    }
}
