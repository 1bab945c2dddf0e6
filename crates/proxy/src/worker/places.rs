//! How many clients may be connected at a time, over all workers: without a bound they could take every file
//! descriptor, and then neither endpoints nor logs could be opened.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The places for clients.
#[derive(Debug)]
pub struct Places {
    limit: u64,
    taken: AtomicU64,
}

/// One client's place, free again when it is dropped.
#[derive(Debug)]
pub struct Place(Arc<Places>);

impl Places {
    /// So many.
    #[must_use]
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, taken: AtomicU64::new(0) })
    }

    /// As many as the process may open files for, which it raises as far as it may: every client can make a
    /// connection to an endpoint necessary, and an eighth is left for everything else.
    #[must_use]
    pub fn of_process() -> Arc<Self> {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: maximum, maximum };
        let files = setrlimit(Resource::Nofile, raised).map_or(current, |()| maximum);
        Self::new(files.map_or(u64::MAX, |files| (files - files / 8) / 2))
    }

    /// A place, if one is left.
    #[must_use]
    pub fn take(self: &Arc<Self>) -> Option<Place> {
        // Taken first and checked after, so that two workers cannot both take the last one.
        let before = self.taken.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(self));
        (before < self.limit).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_it_is_dropped() {
        let places = Places::new(1);
        let place = places.take().expect("a place");
        // Asking in vain takes nothing.
        assert!(places.take().is_none());
        assert!(places.take().is_none());
        drop(place);
        assert!(places.take().is_some());
    }

    #[test]
    fn the_process_has_places() {
        let limit = Places::of_process().limit;
        assert!(limit > 0);
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        assert!(limit < files, "{limit} of {files}");
    }
}
