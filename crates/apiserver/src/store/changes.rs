//! The stream of typed objects that the control plane consumes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indexmap::IndexMap;
use tidegate_api::ObjectKey;
use tidegate_api::istio::policy::selected;
use tidegate_source::Change;
use tokio::sync::Notify;

use super::log::Event;
use super::{Decoded, Entry};

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

/// Changes not yet read. Bounded by the number of objects: of several changes of one object only the last is
/// told, at the place of the first. Where one object took the place of another one of its name, both are told.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pending: Mutex<IndexMap<ObjectKey, Pending>>,
    ready: Notify,
}

impl Queue {
    pub(super) fn push(&self, event: &Event) {
        match (&event.new, &event.old) {
            (Some(new), _) => self.push_change(change_of(new)),
            (None, Some(old)) => {
                let key = old.key();
                let form = Some(Change::Delete(key.clone()));
                let deleted = Pending { form, uid: old.uid(), ..Pending::default() };
                self.lock().insert(key.clone(), deleted);
            }
            (None, None) => {}
        }
    }

    pub(super) fn push_change(&self, change: Change) {
        let key = match &change {
            Change::Apply(object) => &object.key,
            Change::Delete(key) | Change::Invalid { key, .. } => key,
            Change::Synced => return,
        };
        let mut pending = self.lock();
        let slot = pending.entry(key.clone()).or_default();
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

    pub(super) fn wake(&self) {
        self.ready.notify_one();
    }

    fn take(&self) -> IndexMap<ObjectKey, Pending> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, IndexMap<ObjectKey, Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All objects as they stand, then [`Change::Synced`], then every change, in the order in which the store
/// made them. Status conditions are no change. An object whose written form is not its last good one is told
/// twice at the start: good form first, then the written one, so that a reader that refuses the latter
/// is left with the former.
#[derive(Debug)]
pub struct Changes {
    told: VecDeque<Change>,
    queue: Arc<Queue>,
}

impl Changes {
    pub(super) fn new(start: VecDeque<Change>, queue: Arc<Queue>) -> Self {
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
            let pending = self.queue.take();
            let all = pending.into_values().flat_map(|p| [p.gone, p.form, p.fault]);
            self.told.extend(all.flatten());
        }
        self.told.pop_front()
    }
}

/// The change that tells an entry.
pub(super) fn change_of(entry: &Entry) -> Change {
    match entry.decoded() {
        Decoded::Ok(object) => Change::Apply(Arc::clone(object)),
        Decoded::Err(errors) => Change::Invalid {
            key: entry.key().clone(),
            generation: entry.json()["metadata"]["generation"].as_i64().unwrap_or_default(),
            errors: errors.to_vec(),
            selector: selected(entry.key().kind, &entry.json()),
        },
    }
}
