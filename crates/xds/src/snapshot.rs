//! The current set of resources, and who follows it.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use crate::{Change, Resource, ResourceType, SubscriberId, Update, Verdict, Verdicts, assemble};

/// The current set of resources. Clones share it.
///
/// Subscriptions end ([`Subscription::next`] answers `None`) when the last clone is gone.
#[derive(Clone, Debug)]
pub struct Snapshot {
    publisher: Arc<Publisher>,
}

/// Apart from what it shares with subscriptions, so that its end is theirs.
#[derive(Debug)]
struct Publisher {
    shared: Arc<Shared>,
    generation: watch::Sender<u64>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    verdicts: watch::Sender<Verdicts>,
}

type Key = (ResourceType, Arc<str>);

#[derive(Debug, Default)]
struct State {
    generation: u64,
    tables: [BTreeMap<Arc<str>, Arc<Resource>>; ResourceType::ALL.len()],
    subscribers: HashMap<SubscriberId, Pending>,
    last_id: u64,
}

/// What a subscriber has not seen yet.
#[derive(Debug)]
enum Pending {
    /// It has seen nothing.
    Everything,
    /// Changed names, each with the version that the subscriber has (`None`: it has none).
    Changed(HashMap<Key, Option<u64>>),
}

/// One reader's place in the stream of changes.
#[derive(Debug)]
pub struct Subscription {
    id: SubscriberId,
    shared: Arc<Shared>,
    generation: watch::Receiver<u64>,
    delivered: Option<u64>,
}

// === impl Snapshot ===

impl Default for Snapshot {
    fn default() -> Self {
        Self::new()
    }
}

impl Snapshot {
    /// An empty snapshot at generation 0.
    #[must_use]
    pub fn new() -> Self {
        let shared =
            Shared { state: Mutex::default(), verdicts: watch::Sender::new(Verdicts::default()) };
        let publisher = Publisher { shared: Arc::new(shared), generation: watch::Sender::new(0) };
        Self { publisher: Arc::new(publisher) }
    }

    /// Applies a change as one step and returns the generation that holds it.
    ///
    /// Resources whose bytes are already there, and removals of what is not, change nothing; a change
    /// without any other content returns the present generation.
    pub fn publish(&self, change: Change) -> u64 {
        let mut state = self.publisher.shared.state();
        let mut changed = false;
        if !change.remove.is_empty() {
            let replaced: HashSet<(ResourceType, &str)> =
                change.upsert.iter().map(|r| (r.kind, &*r.name)).collect();
            for (kind, name) in &change.remove {
                if !replaced.contains(&(*kind, &**name)) {
                    changed |= state.remove(*kind, name);
                }
            }
        }
        for resource in change.upsert {
            changed |= state.upsert(resource);
        }
        if changed {
            state.generation += 1;
        }
        let generation = state.generation;
        drop(state);
        self.publisher.generation.send_if_modified(|known| {
            let newer = generation > *known;
            *known = generation.max(*known);
            newer
        });
        generation
    }

    /// Follows the snapshot from now on; the first update holds everything.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        let shared = &self.publisher.shared;
        let id = {
            let mut state = shared.state();
            state.last_id += 1;
            let id = SubscriberId(state.last_id);
            state.subscribers.insert(id, Pending::Everything);
            id
        };
        shared.verdicts.send_modify(|v| {
            v.subscribers.insert(id, None);
        });
        Subscription {
            id,
            shared: Arc::clone(shared),
            generation: self.publisher.generation.subscribe(),
            delivered: None,
        }
    }

    /// The present generation: the number of changes so far.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.publisher.shared.state().generation
    }

    /// One resource, if it is there.
    #[must_use]
    pub fn get(&self, kind: ResourceType, name: &str) -> Option<Arc<Resource>> {
        self.publisher.shared.state().tables[kind.rank()].get(name).cloned()
    }

    /// Every resource of a type, by name.
    #[must_use]
    pub fn list(&self, kind: ResourceType) -> Vec<Arc<Resource>> {
        self.publisher.shared.state().tables[kind.rank()].values().cloned().collect()
    }

    /// A route configuration with its virtual hosts in it, as an encoded `RouteConfiguration`.
    #[must_use]
    pub fn route_configuration(&self, name: &str) -> Option<Bytes> {
        let state = self.publisher.shared.state();
        let skeleton = state.tables[ResourceType::RouteConfiguration.rank()].get(name)?;
        let hosts = &state.tables[ResourceType::VirtualHost.rank()];
        let prefix = assemble::virtual_host_name(name, "");
        let hosts = hosts
            .range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded))
            .take_while(|(name, _)| name.starts_with(&prefix))
            .map(|(_, host)| &host.bytes);
        Some(assemble::route_configuration(&skeleton.bytes, hosts))
    }

    /// The verdicts of all live subscribers, to be read and awaited.
    #[must_use]
    pub fn verdicts(&self) -> watch::Receiver<Verdicts> {
        self.publisher.shared.verdicts.subscribe()
    }

    /// Says what a subscriber serves now; replaces what it said before. A subscriber that is gone is
    /// ignored.
    pub fn report(&self, subscriber: SubscriberId, verdict: Verdict) {
        self.publisher.shared.report(subscriber, verdict);
    }
}

// === impl Shared ===

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock, so what it guards is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, subscriber: SubscriberId, verdict: Verdict) {
        self.verdicts.send_if_modified(|all| match all.subscribers.get_mut(&subscriber) {
            Some(last) if last.as_ref() != Some(&verdict) => {
                *last = Some(verdict);
                true
            }
            _ => false,
        });
    }
}

// === impl State ===

impl State {
    fn upsert(&mut self, resource: Resource) -> bool {
        let table = &mut self.tables[resource.kind.rank()];
        let known = table.get(&resource.name);
        if known.is_some_and(|old| old.version == resource.version && old.bytes == resource.bytes) {
            return false;
        }
        let known = known.map(|old| old.version);
        let key = (resource.kind, Arc::clone(&resource.name));
        table.insert(Arc::clone(&resource.name), Arc::new(resource));
        self.note(&key, known);
        true
    }

    fn remove(&mut self, kind: ResourceType, name: &Arc<str>) -> bool {
        let Some(old) = self.tables[kind.rank()].remove(name) else {
            return false;
        };
        self.note(&(kind, Arc::clone(name)), Some(old.version));
        true
    }

    /// Remembers for every subscriber which version of a name it has, unless that is remembered already.
    fn note(&mut self, key: &Key, known: Option<u64>) {
        for pending in self.subscribers.values_mut() {
            if let Pending::Changed(changed) = pending
                && let Entry::Vacant(entry) = changed.entry(key.clone())
            {
                entry.insert(known);
            }
        }
    }

    /// Takes what a subscriber has not seen, in the order that [`Update`] promises.
    fn take(&mut self, id: SubscriberId) -> Update {
        let pending = self.subscribers.insert(id, Pending::Changed(HashMap::new()));
        let mut update = Update { generation: self.generation, ..Update::default() };
        let Some(Pending::Changed(changed)) = pending else {
            update.upsert = self.tables.iter().flat_map(|t| t.values().cloned()).collect();
            return update;
        };
        for ((kind, name), had) in changed {
            match (self.tables[kind.rank()].get(&name), had) {
                (Some(now), had) if had == Some(now.version) => {}
                (Some(now), _) => update.upsert.push(Arc::clone(now)),
                (None, Some(_)) => update.remove.push((kind, name)),
                (None, None) => {}
            }
        }
        update
            .upsert
            .sort_unstable_by(|a, b| (a.kind.rank(), &a.name).cmp(&(b.kind.rank(), &b.name)));
        update.remove.sort_unstable_by(|a, b| (b.0.rank(), &a.1).cmp(&(a.0.rank(), &b.1)));
        update
    }
}

// === impl Subscription ===

impl Subscription {
    /// The name under which verdicts are reported.
    #[must_use]
    pub fn id(&self) -> SubscriberId {
        self.id
    }

    /// Waits for the next update; `None` when the snapshot is gone. Safe to cancel.
    ///
    /// The first call answers at once with everything, even when that is nothing. A later update may be
    /// empty: then the generation grew and came back to what this subscriber already has.
    pub async fn next(&mut self) -> Option<Update> {
        loop {
            if let Some(update) = self.try_next() {
                return Some(update);
            }
            if self.generation.changed().await.is_err() {
                return self.try_next();
            }
        }
    }

    /// The next update if there is one now.
    pub fn try_next(&mut self) -> Option<Update> {
        let mut state = self.shared.state();
        if self.delivered == Some(state.generation) {
            return None;
        }
        let update = state.take(self.id);
        self.delivered = Some(update.generation);
        Some(update)
    }

    /// Says what this subscriber serves now; replaces what it said before.
    pub fn report(&self, verdict: Verdict) {
        self.shared.report(self.id, verdict);
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.shared.state().subscribers.remove(&self.id);
        self.shared.verdicts.send_modify(|v| {
            v.subscribers.remove(&self.id);
        });
    }
}

#[cfg(test)]
mod tests;
