//! What readers of typed objects are told of the store's events.

use std::sync::Arc;

use tidegate_api::ObjectKey;
use tidegate_source::{Change, Decoded, Queue};

use super::Entry;

/// What readers are told of a write.
#[derive(Clone, Debug)]
pub(super) enum Told {
    /// The object has a new form.
    Form(Change),
    /// The object with this `metadata.uid` is gone.
    Gone(Arc<str>),
    /// Nothing: it is a status condition, or an Event.
    Nothing,
}

impl Told {
    /// That an entry has been made of `decoded`, which does not know yet what the write gave it.
    pub(super) fn written(entry: &Entry, mut decoded: Decoded) -> Self {
        if let Ok(object) = &mut decoded {
            let object = Arc::make_mut(object);
            object.resource_version = entry.revision();
            object.generation = entry.generation();
        }
        Self::Form(Change::of(entry.key(), &decoded, || entry.json()))
    }
}

/// Puts what is told of an object into a reader's queue.
pub(super) fn push(queue: &Queue, key: &ObjectKey, told: &Told) {
    match told {
        Told::Form(change) => queue.push(change.clone()),
        Told::Gone(uid) => queue.delete(key, Arc::clone(uid)),
        Told::Nothing => {}
    }
}

/// The change that tells an entry.
pub(super) fn change_of(entry: &Entry) -> Change {
    Change::of(entry.key(), &entry.decoded(), || entry.json())
}
