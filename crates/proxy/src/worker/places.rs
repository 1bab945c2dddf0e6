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

/// One client's place, free again when the last copy of it is dropped.
#[derive(Clone, Debug)]
pub struct Place {
    _taken: Arc<Taken>,
}

#[derive(Debug)]
struct Taken(Arc<Places>);

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
        let taken = Taken(Arc::clone(self));
        (before < self.limit).then(|| Place { _taken: Arc::new(taken) })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_when_its_last_copy_is_dropped() {
        let places = Places::new(1);
        let place = places.take().expect("a place");
        assert!(places.take().is_none());
        let copy = place.clone();
        drop(place);
        assert!(places.take().is_none());
        drop(copy);
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
