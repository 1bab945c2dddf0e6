//! Following the changes of one kind.

use std::sync::Arc;

use tidegate_api::Kind;
use tokio::sync::watch;

use super::log::{Event, Expired};
use super::{Entry, Store};

/// The objects of a kind at one revision.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The revision; a [`Watch`] from here misses nothing and repeats nothing.
    pub revision: u64,
    /// The objects, ordered by namespace and name.
    pub entries: Vec<Arc<Entry>>,
}

/// The changes of one kind after a revision. Holds no changes of its own: one that falls behind the store's
/// window is told so, and costs nothing meanwhile.
#[derive(Debug)]
pub struct Watch {
    store: Store,
    kind: Kind,
    position: u64,
    changed: watch::Receiver<u64>,
}

impl Watch {
    pub(super) fn new(
        store: Store,
        kind: Kind,
        position: u64,
        changed: watch::Receiver<u64>,
    ) -> Self {
        Self { store, kind, position, changed }
    }

    /// Every change since the last call, oldest first; waits until there is one. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Expired`] when the window has moved past this watch.
    pub async fn next(&mut self) -> Result<Vec<Arc<Event>>, Expired> {
        loop {
            self.changed.borrow_and_update();
            let events = self.poll()?;
            if !events.is_empty() {
                return Ok(events);
            }
            if self.changed.changed().await.is_err() {
                // The store is gone; nothing will ever change again.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The changes since the last call, without waiting.
    ///
    /// # Errors
    ///
    /// [`Expired`] when the window has moved past this watch.
    pub fn poll(&mut self) -> Result<Vec<Arc<Event>>, Expired> {
        let state = self.store.state();
        let events = state.since(self.kind, self.position)?;
        self.position = self.position.max(state.revision());
        Ok(events)
    }

    /// The revision up to which everything has been told: what a bookmark says.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }
}
