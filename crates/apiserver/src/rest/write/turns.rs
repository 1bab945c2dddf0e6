//! Whose turn it is: writes onto one object go one after the other, in the order in which they came.
//!
//! Only one write onto a form of an object can win. Where all try at once, each new form lets all the others start
//! over, and nothing says that a writer ever wins; in turns nobody starts over because of another request.

use std::hash::{BuildHasher, RandomState};

use tidegate_api::ObjectKey;
use tokio::sync::{Mutex, MutexGuard};

use super::Writing;
use crate::rest::failure::Failure;

/// Objects share turns by their hash: with so many, objects that are written at the same time seldom do, and no
/// object's turn has to be made or thrown away.
const TURNS: usize = 1024;

/// The turns of all objects.
#[derive(Debug)]
pub(crate) struct Turns {
    turns: Box<[Mutex<()>]>,
    hasher: RandomState,
}

impl Default for Turns {
    fn default() -> Self {
        Self { turns: (0..TURNS).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }
}

impl Turns {
    /// Waits for the turn to write onto an object. Whoever has one takes no second one.
    pub(crate) async fn wait(&self, key: &ObjectKey) -> MutexGuard<'_, ()> {
        let turn = self.hasher.hash_one(key) as usize % TURNS;
        self.turns[turn].lock().await
    }
}

impl Writing<'_> {
    /// Reads an object and writes onto it, in turn with other requests: `attempt` does both, and whatever it demands
    /// of the object it checks on what it read.
    ///
    /// What the process itself writes, statuses and manifests from files, waits for no turn. It may come in between,
    /// and then the attempt is made again on top of it: as often as it takes, since that ends where the process has
    /// said what there is to say.
    pub(super) async fn in_turn<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        key: &ObjectKey,
        attempt: impl Fn() -> F,
    ) -> Result<T, Failure> {
        let _turn = self.api.turns.wait(key).await;
        loop {
            match attempt().await {
                Err(failure) if failure.overtaken => {}
                done => return done,
            }
        }
    }
}
