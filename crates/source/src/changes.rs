//! The one stream of changes that a source gives, and what feeds it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indexmap::IndexMap;
use tidegate_api::ObjectKey;
use tokio::sync::Notify;

use crate::Change;

/// What is still to be told of one object.
#[derive(Debug, Default)]
struct Pending {
    /// The `Delete` of another object of the name, which stood there before this one.
    gone: Option<Change>,
    /// `metadata.uid` of the object that a `Delete` in `form` is about.
    uid: Arc<str>,
    /// An `Apply` or a `Delete`: the latest replaces the one before.
    form: Option<Change>,
    /// An `Invalid` that came after it.
    fault: Option<Change>,
}

#[derive(Debug, Default)]
struct Waiting {
    pending: IndexMap<ObjectKey, Pending>,
    /// Whether [`Change::Synced`] comes after them.
    synced: bool,
}

/// Changes not yet read. Bounded by the number of objects: of several changes of one object only the last is
/// told, at the place of the first. Where one object took the place of another one of its name, both are told.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: Mutex<Waiting>,
    ready: Notify,
}

impl Queue {
    /// Takes in that an object is gone; `uid` is its `metadata.uid`.
    pub fn delete(&self, key: &ObjectKey, uid: Arc<str>) {
        let form = Some(Change::Delete(key.clone()));
        self.lock().pending.insert(key.clone(), Pending { form, uid, ..Pending::default() });
    }

    /// Takes in a change. Of a `Delete` whose object had a uid, [`Queue::delete`] knows more.
    pub fn push(&self, change: Change) {
        let mut waiting = self.lock();
        let key = match &change {
            Change::Apply(object) => &object.key,
            Change::Delete(key) | Change::Invalid { key, .. } => key,
            Change::Synced => {
                waiting.synced = true;
                return;
            }
        };
        let slot = waiting.pending.entry(key.clone()).or_default();
        match &change {
            Change::Invalid { .. } => slot.fault = Some(change),
            Change::Apply(object) => {
                // A reader that refuses the new object must not go on with the old one: it is another.
                let other = matches!(slot.form, Some(Change::Delete(_))) && slot.uid != object.uid;
                let gone = if other { slot.form.take() } else { slot.gone.take() };
                *slot = Pending { gone, form: Some(change), ..Pending::default() };
            }
            Change::Delete(_) | Change::Synced => {
                *slot = Pending { form: Some(change), ..Pending::default() };
            }
        }
    }

    /// Lets the reader know that something was taken in.
    pub fn wake(&self) {
        self.ready.notify_one();
    }

    fn take(&self) -> Waiting {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All objects as they stand, then [`Change::Synced`], then every change, in the order in which the source
/// made them. Status conditions are no change. An object whose written form is not its last good one is told
/// twice at the start: good form first, then the written one, so that a reader that refuses the latter
/// is left with the former.
#[derive(Debug)]
pub struct Changes {
    told: VecDeque<Change>,
    queue: Arc<Queue>,
}

impl Changes {
    /// What is told at the start, then what comes through the queue, which has no other reader.
    #[must_use]
    pub fn new(start: VecDeque<Change>, queue: Arc<Queue>) -> Self {
        Self { told: start, queue }
    }

    /// The next change; waits for it. Cancel safe.
    pub async fn next(&mut self) -> Change {
        loop {
            if let Some(change) = self.try_next() {
                return change;
            }
            self.queue.ready.notified().await;
        }
    }

    /// The next change if there is one already, to take what came at once together.
    pub fn try_next(&mut self) -> Option<Change> {
        if self.told.is_empty() {
            let Waiting { pending, synced } = self.queue.take();
            let all = pending.into_values().flat_map(|p| [p.gone, p.form, p.fault]);
            self.told.extend(all.flatten());
            self.told.extend(synced.then_some(Change::Synced));
        }
        self.told.pop_front()
    }
}
