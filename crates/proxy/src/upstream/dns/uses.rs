//! The names of a cluster, as those use them who send to it.

use std::time::Duration;

use tokio::time::Instant;

use super::{STALE_AFTER, Usage};

/// Names that are used together.
#[derive(Debug)]
pub struct Uses(Vec<Usage>);

impl From<Vec<Usage>> for Uses {
    fn from(names: Vec<Usage>) -> Self {
        Self(names)
    }
}

impl Uses {
    /// Tells that all of them are used; false while what is known of any is old, as it was at rest.
    pub fn mark(&self) -> bool {
        let mut fresh = true;
        for name in &self.0 {
            fresh &= name.mark();
        }
        fresh
    }

    /// Waits until nothing that is known of them is old, for so long, and not longer than [`STALE_AFTER`].
    pub async fn refreshed(&self, patience: Duration) {
        let deadline = Instant::now() + patience.min(STALE_AFTER);
        // They are looked up at the same time.
        for name in &self.0 {
            name.refreshed_by(deadline).await;
        }
    }

    /// Whether any of them is not looked up, as nobody uses it.
    pub fn is_resting(&self) -> bool {
        self.0.iter().any(Usage::is_resting)
    }
}
