//! A gate in an origin, for tests of how many requests come to it at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use crate::{PATIENCE, eventually};

/// Requests wait in it until the test lets them pass.
#[derive(Debug)]
pub struct Gate {
    inside: AtomicUsize,
    most: AtomicUsize,
    passes: Semaphore,
}

impl Gate {
    /// A gate that nobody passes yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let (inside, most) = Default::default();
        Arc::new(Self { inside, most, passes: Semaphore::new(0) })
    }

    /// Waits for a pass; the request is inside from now on until what this returns is dropped, also where it is given up.
    pub async fn enter(self: &Arc<Self>) -> Inside {
        let now = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        let inside = Inside(Arc::clone(self));
        self.most.fetch_max(now, Ordering::SeqCst);
        self.passes.acquire().await.expect("it is never closed").forget();
        inside
    }

    /// Lets so many requests pass, those that are inside and those that come.
    pub fn pass(&self, count: usize) {
        self.passes.add_permits(count);
    }

    /// Lets everybody pass.
    pub fn open(&self) {
        self.pass(Semaphore::MAX_PERMITS / 2);
    }

    /// How many are inside.
    #[must_use]
    pub fn inside(&self) -> usize {
        self.inside.load(Ordering::SeqCst)
    }

    /// The most that were inside at a time.
    #[must_use]
    pub fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    /// Waits until so many are inside.
    pub async fn holds(&self, count: usize) {
        eventually(PATIENCE, || async {
            let inside = self.inside();
            if inside == count { Ok(()) } else { Err(format!("{inside} inside, not {count}")) }
        })
        .await;
    }
}

/// One request inside.
#[derive(Debug)]
pub struct Inside(Arc<Gate>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::SeqCst);
    }
}
