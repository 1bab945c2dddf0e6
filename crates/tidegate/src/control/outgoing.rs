//! What the control loop has found out about objects, on its way into the store.
//!
//! The loop must not wait for a disk, so it leaves what it has to say here; a task on the control runtime
//! writes it. Of one object only the latest is kept: what waits is bounded by the number of objects.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tidegate_api::ObjectKey;
use tidegate_apiserver::store::{Condition, Note, Store};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Writes under way at a time: enough to share transactions, few enough to leave room for clients'.
const AT_ONCE: usize = 64;
/// Events kept per object while the store is slow; later ones say more.
const MOST_NOTES: usize = 8;

/// What is to be written about one object.
#[derive(Debug, Default)]
pub struct Update {
    /// Conditions that changed.
    pub conditions: Vec<Condition>,
    /// What to say as events.
    pub notes: Vec<Note>,
    /// `metadata.resourceVersion` of a form that proved good.
    pub good: Option<u64>,
}

impl Update {
    fn absorb(&mut self, newer: Self) {
        for condition in newer.conditions {
            self.conditions.retain(|older| older.name != condition.name);
            self.conditions.push(condition);
        }
        self.add_notes(newer.notes);
        self.good = newer.good.or(self.good);
    }

    fn add_notes(&mut self, notes: Vec<Note>) {
        self.notes.extend(notes);
        self.notes.drain(..self.notes.len().saturating_sub(MOST_NOTES));
    }
}

/// The way to the writing task. Clones lead to the same task.
#[derive(Clone, Debug, Default)]
pub struct Outgoing(Arc<Queue>);

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<BTreeMap<ObjectKey, Update>>,
    ready: Notify,
}

impl Outgoing {
    /// Leaves something to be written. Never waits.
    pub fn push(&self, key: ObjectKey, update: Update) {
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.entry(key).or_default().absorb(update);
        drop(waiting);
        self.0.ready.notify_one();
    }

    /// Leaves it to be noted that the form of an object with this `metadata.resourceVersion` is good. Never waits.
    pub fn confirm(&self, key: ObjectKey, resource_version: u64) {
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.entry(key).or_default().good = Some(resource_version);
        drop(waiting);
        self.0.ready.notify_one();
    }

    /// Leaves an event to be recorded. Never waits.
    pub fn note(&self, note: Note) {
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.entry(note.about.clone()).or_default().add_notes(vec![note]);
        drop(waiting);
        self.0.ready.notify_one();
    }

    /// Drops what was left about an object that is gone: another one of the name has nothing to do with it.
    pub fn forget(&self, key: &ObjectKey) {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Writes what was left, until the task is dropped.
    pub async fn write_to(self, store: Store) {
        loop {
            self.0.ready.notified().await;
            let mut writes = JoinSet::new();
            for (key, update) in self.take() {
                if writes.len() == AT_ONCE {
                    writes.join_next().await;
                }
                writes.spawn(write(store.clone(), key, update));
            }
            // What is said of an object later is written later.
            while writes.join_next().await.is_some() {}
        }
    }

    fn take(&self) -> BTreeMap<ObjectKey, Update> {
        std::mem::take(&mut *self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn write(store: Store, key: ObjectKey, update: Update) {
    // Whoever reads that a form is served may write the next one at once: which one to go back to is known by then.
    if let Some(resource_version) = update.good {
        store.confirm(&key, resource_version).await;
    }
    if !update.conditions.is_empty() {
        store.set_status(&key, update.conditions).await;
    }
    for note in update.notes {
        store.record_event(note).await;
    }
}

#[cfg(test)]
mod tests {
    use tidegate_api::Kind;

    use super::*;

    #[test]
    fn what_was_found_out_about_a_deleted_object_is_not_said_of_the_next() {
        let key = |name| ObjectKey::new(Kind::Gateway, "default", name);
        let outgoing = Outgoing::default();
        for name in ["a", "b"] {
            outgoing.push(key(name), Update { good: Some(7), ..Update::default() });
        }
        outgoing.forget(&key("a"));
        outgoing.push(key("a"), Update::default());
        let left = outgoing.take();
        assert_eq!((left[&key("a")].good, left[&key("b")].good), (None, Some(7)));
    }
}
