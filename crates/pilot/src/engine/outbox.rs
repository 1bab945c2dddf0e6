//! What goes out: resources by name, compared with what went out before.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tidegate_xds::{Change, Resource, ResourceType};

type Key = (ResourceType, Arc<str>);

/// Collects the resources of one batch; knows the version of everything that went out.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    versions: HashMap<Key, u64>,
    put: BTreeMap<Key, Resource>,
    removed: BTreeSet<Key>,
}

impl Outbox {
    /// A resource as it is now.
    pub(crate) fn put(&mut self, resource: Resource) {
        self.put.insert((resource.kind, Arc::clone(&resource.name)), resource);
    }

    /// A resource is gone, unless it is put in the same batch: its name may have passed on to another.
    pub(crate) fn remove(&mut self, kind: ResourceType, name: impl Into<Arc<str>>) {
        self.removed.insert((kind, name.into()));
    }

    /// What this batch takes away so far.
    pub(crate) fn gone(&self) -> Vec<Key> {
        self.removed.iter().filter(|key| !self.put.contains_key(*key)).cloned().collect()
    }

    /// Ends the batch: what differs from what went out before.
    pub(crate) fn finish(&mut self) -> Change {
        let mut change = Change::default();
        for key in std::mem::take(&mut self.removed) {
            if !self.put.contains_key(&key) && self.versions.remove(&key).is_some() {
                change.remove.push(key);
            }
        }
        for (key, resource) in std::mem::take(&mut self.put) {
            if self.versions.insert(key, resource.version) != Some(resource.version) {
                change.upsert.push(resource);
            }
        }
        change
    }
}
