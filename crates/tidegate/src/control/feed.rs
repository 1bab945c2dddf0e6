//! Where objects come from.

use tidegate_apiserver::store::Changes;
use tidegate_source::{Change, Cluster};

/// What happens to objects: all of them as they stand, then [`Change::Synced`], then every change. An object whose written form
/// is not its last good one is told twice at the start, the good form first.
pub trait Feed: Send + 'static {
    /// The next change; waits for it. Cancel safe.
    fn next(&mut self) -> impl Future<Output = Change>;

    /// The next change if there is one already, to take what came at once together.
    fn try_next(&mut self) -> Option<Change>;
}

impl Feed for Changes {
    async fn next(&mut self) -> Change {
        Self::next(self).await
    }

    fn try_next(&mut self) -> Option<Change> {
        Self::try_next(self)
    }
}

impl Feed for Cluster {
    async fn next(&mut self) -> Change {
        Self::next(self).await
    }

    fn try_next(&mut self) -> Option<Change> {
        Self::try_next(self)
    }
}
