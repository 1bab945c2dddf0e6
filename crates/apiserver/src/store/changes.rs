//! What readers of typed objects are told of the store's events.

use tidegate_source::{Change, Queue};

use super::Entry;
use super::log::Event;

/// Puts an event into a reader's queue.
pub(super) fn push(queue: &Queue, event: &Event) {
    match (&event.new, &event.old) {
        (Some(new), _) => queue.push(change_of(new)),
        (None, Some(old)) => queue.delete(old.key(), old.uid()),
        (None, None) => {}
    }
}

/// The change that tells an entry.
pub(super) fn change_of(entry: &Entry) -> Change {
    Change::of(entry.key(), entry.decoded(), || entry.json())
}
