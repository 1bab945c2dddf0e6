//! The last records of the process, for everybody who renders them.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Record;
use super::log::Entries;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Records.
    pub(super) records: usize,
    /// Their memory in bytes.
    pub(super) bytes: usize,
}

/// Records in the order in which they ended, each with a number that grows by one.
///
/// Old records go when more than `keep` is there, but those that files still wait for stay up to `most`.
#[derive(Debug)]
pub(super) struct Ring {
    entries: VecDeque<Entry>,
    /// Number of the first entry.
    first: u64,
    bytes: usize,
    keep: Limits,
    most: Limits,
    /// Number of the next entry that goes to the files.
    pub(super) unwritten: u64,
}

/// A record and the outputs of its log.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) record: Box<Record>,
    pub(super) log: Arc<Entries>,
}

impl Ring {
    pub(super) fn new(keep: Limits, most: Limits) -> Self {
        Self { entries: VecDeque::new(), first: 0, bytes: 0, keep, most, unwritten: 0 }
    }

    /// Appends an entry; returns how many entries went that the files never saw.
    pub(super) fn push(&mut self, entry: Entry) -> u64 {
        self.bytes += entry.record.size();
        self.entries.push_back(entry);
        self.trim()
    }

    /// Drops what need not be kept; returns as [`Ring::push`].
    pub(super) fn trim(&mut self) -> u64 {
        let mut lost = 0;
        while self.exceeds(self.keep) && (self.first < self.unwritten || self.exceeds(self.most)) {
            let Some(oldest) = self.entries.pop_front() else {
                break;
            };
            self.bytes -= oldest.record.size();
            self.first += 1;
            if self.first > self.unwritten {
                self.unwritten = self.first;
                lost += 1;
            }
        }
        lost
    }

    /// Whether more is there than `limits`; the newest entry is never too much.
    fn exceeds(&self, limits: Limits) -> bool {
        self.entries.len() > 1 && (self.entries.len() > limits.records || self.bytes > limits.bytes)
    }

    /// Number of the first entry.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Number that the next entry will have.
    pub(super) fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Entries from number `from` on with their numbers; from the first one if `from` is gone.
    pub(super) fn since(&self, from: u64) -> impl DoubleEndedIterator<Item = (u64, &Entry)> {
        let skip = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let from = self.entries.len().min(skip);
        let count = self.entries.len() - from;
        // A counter that knows its length, so that it can be walked from its end.
        (0..count)
            .zip(self.entries.range(from..))
            .map(move |(index, entry)| (self.first + (from + index) as u64, entry))
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::accesslog::{Kind, Log};

    fn entry(id: u64) -> Entry {
        let mut record = Record::new(Kind::Http, SystemTime::now(), &Log::default());
        record.connection_id = id;
        Entry { record: record.into(), log: Arc::default() }
    }

    fn ids(ring: &Ring, from: u64) -> Vec<u64> {
        ring.since(from).map(|(_, entry)| entry.record.connection_id).collect()
    }

    fn limits(records: usize) -> Limits {
        Limits { records, bytes: usize::MAX }
    }

    #[test]
    fn keeps_the_last_but_nothing_that_files_wait_for() {
        let mut ring = Ring::new(limits(2), limits(4));
        assert_eq!((0..4).map(|id| ring.push(entry(id))).sum::<u64>(), 0);
        assert_eq!(ids(&ring, 0), [0, 1, 2, 3]);
        assert_eq!(ring.push(entry(4)), 1, "the files missed one");
        assert_eq!((ring.first(), ring.end(), ring.unwritten), (1, 5, 1));
        ring.unwritten = 5;
        assert_eq!(ring.trim(), 0);
        assert_eq!(ids(&ring, 0), [3, 4]);
        assert_eq!(ids(&ring, 4), [4]);
        assert_eq!(ids(&ring, 9), [] as [u64; 0]);
        assert_eq!(ring.since(0).next_back().map(|(number, _)| number), Some(4));
    }

    #[test]
    fn memory_is_bounded_but_the_newest_stays() {
        let one = entry(0).record.size();
        let limits = Limits { records: 100, bytes: 3 * one };
        let mut ring = Ring::new(limits, limits);
        assert_eq!((0..10).map(|id| ring.push(entry(id))).sum::<u64>(), 7);
        assert_eq!(ids(&ring, 0), [7, 8, 9]);
        let tiny = Limits { records: 1, bytes: 1 };
        let mut ring = Ring::new(tiny, tiny);
        ring.push(entry(0));
        ring.push(entry(1));
        assert_eq!(ids(&ring, 0), [1]);
    }
}
