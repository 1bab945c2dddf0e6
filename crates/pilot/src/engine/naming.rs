//! The names that a workload's DNS queries are answered with: those of touched hosts are found again, and what differs is told.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::{Dirty, Pilot};
use crate::sidecar::Scope;
use crate::sidecar::name_table::{self, NameChange, Names};

/// What was told of names, by the hosts that these belong to.
#[derive(Debug, Default)]
pub(super) struct Told {
    by_host: HashMap<Arc<str>, Names>,
}

/// What the names of hosts mean now.
pub(super) type Found = BTreeMap<Arc<str>, Names>;

impl Told {
    /// Takes what was found in place of what was told, and answers what differs.
    pub(super) fn replace(&mut self, found: Found) -> Vec<NameChange> {
        let mut gone = BTreeMap::new();
        let mut changes = BTreeMap::new();
        for (host, now) in found {
            let before = self.by_host.remove(&host).unwrap_or_default();
            gone.extend(
                before
                    .keys()
                    .filter(|name| !now.contains_key(*name))
                    .map(|name| (Arc::clone(name), None)),
            );
            for (name, entry) in &now {
                if before.get(name) != Some(entry) {
                    changes.insert(Arc::clone(name), Some(entry.clone()));
                }
            }
            if !now.is_empty() {
                self.by_host.insert(host, now);
            }
        }
        // A name that one host lost may be another's.
        gone.extend(changes);
        gone.into_iter().map(|(name, entry)| NameChange { name, entry }).collect()
    }
}

impl Pilot {
    /// Hosts whose names may mean something else than before.
    pub(super) fn renamed(&self, dirty: &Dirty) -> BTreeSet<Arc<str>> {
        if !self.options.captures_dns {
            return BTreeSet::new();
        }
        if dirty.scope {
            let known = self.names.by_host.keys();
            return self.registry.hosts().chain(known).cloned().collect();
        }
        dirty.hosts.union(&dirty.endpoints).cloned().collect()
    }

    /// What the names of hosts mean to the workload.
    pub(super) fn find_names(hosts: BTreeSet<Arc<str>>, scope: &Scope<'_>) -> Found {
        let found = hosts.into_iter().map(|host| {
            let names = name_table::of(&host, scope);
            (host, names)
        });
        found.collect()
    }
}
