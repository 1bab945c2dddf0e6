//! What happened to one kind, in order, as far back as the window reaches.

use std::collections::VecDeque;
use std::sync::Arc;

use tidegate_api::ObjectKey;

use super::Entry;

/// One change of one object.
#[derive(Debug)]
pub struct Event {
    /// The revision that the change made.
    pub revision: u64,
    /// The object before; absent when it was created.
    pub old: Option<Arc<Entry>>,
    /// The object after; absent when it was deleted.
    pub new: Option<Arc<Entry>>,
}

impl Event {
    /// The object that changed.
    #[must_use]
    pub fn key(&self) -> Option<&ObjectKey> {
        self.new.as_ref().or(self.old.as_ref()).map(|e| e.key())
    }

    fn size(&self) -> usize {
        let of = |entry: &Option<Arc<Entry>>| entry.as_ref().map_or(0, |entry| entry.size());
        of(&self.old) + of(&self.new)
    }
}

/// The revision asked for lies before the window: whoever asked must list again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too old resource version: {asked} ({oldest})")]
pub struct Expired {
    /// The revision that was asked for.
    pub asked: u64,
    /// The oldest revision from which changes can still be told.
    pub oldest: u64,
}

/// How far back changes are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// At most this many changes per kind.
    pub events: usize,
    /// At most this many bytes of JSON per kind, except that the latest change is always kept.
    pub bytes: usize,
}

/// The changes of one kind.
#[derive(Debug)]
pub(super) struct Log {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    /// Every change after this revision is in `events`.
    floor: u64,
}

impl Log {
    pub(super) fn new(floor: u64) -> Self {
        Self { events: VecDeque::new(), bytes: 0, floor }
    }

    pub(super) fn push(&mut self, event: Arc<Event>, window: Window) {
        self.bytes += event.size();
        self.events.push_back(event);
        while self.events.len() > 1
            && (self.events.len() > window.events || self.bytes > window.bytes)
        {
            if let Some(oldest) = self.events.pop_front() {
                self.bytes -= oldest.size();
                self.floor = oldest.revision;
            }
        }
    }

    /// The changes after `revision`, oldest first.
    pub(super) fn since(
        &self,
        revision: u64,
    ) -> Result<impl DoubleEndedIterator<Item = &Arc<Event>>, Expired> {
        if revision < self.floor {
            return Err(Expired { asked: revision, oldest: self.floor });
        }
        let first = self.events.partition_point(|e| e.revision <= revision);
        Ok(self.events.range(first..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(revision: u64) -> Arc<Event> {
        Arc::new(Event { revision, old: None, new: None })
    }

    fn revisions(log: &Log, since: u64) -> Result<Vec<u64>, Expired> {
        Ok(log.since(since)?.map(|event| event.revision).collect())
    }

    #[test]
    fn tells_what_came_after_and_refuses_what_it_forgot() {
        let window = Window { events: 3, bytes: usize::MAX };
        let mut log = Log::new(10);
        assert_eq!(revisions(&log, 10), Ok(vec![]));
        for revision in [11, 14, 15, 20] {
            log.push(event(revision), window);
        }
        assert_eq!(revisions(&log, 11), Ok(vec![14, 15, 20]));
        assert_eq!(revisions(&log, 14), Ok(vec![15, 20]));
        assert_eq!(revisions(&log, 99), Ok(vec![]));
        let expired = Expired { asked: 10, oldest: 11 };
        assert_eq!(revisions(&log, 10), Err(expired));
    }
}
