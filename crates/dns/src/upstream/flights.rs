//! Queries that are on their way to a server.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The port that each was sent from, and its id.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<HashSet<(u16, u16)>>);

/// One of them; it has come to its end when this is dropped.
#[derive(Debug)]
pub(super) struct Flight<'a> {
    all: &'a Flights,
    own: (u16, u16),
}

impl Flights {
    pub(super) fn begin(&self, port: u16, id: u16) -> Flight<'_> {
        let own = (port, id);
        self.all().insert(own);
        Flight { all: self, own }
    }

    pub(super) fn contain(&self, port: u16, id: u16) -> bool {
        self.all().contains(&(port, id))
    }

    fn all(&self) -> MutexGuard<'_, HashSet<(u16, u16)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.all.all().remove(&self.own);
    }
}
