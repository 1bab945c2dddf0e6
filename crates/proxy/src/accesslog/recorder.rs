//! From a worker to the log thread, without waiting and, while there is traffic, without a system call.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;

use super::Record;
use crate::stats::{AccessLogStats, Stats};

/// Most records that wait in one worker's buffer.
const RECORDS: usize = 8_192;
/// Most memory that they take, in bytes.
const BYTES: usize = 8 << 20;

/// One worker's way to the access logs.
///
/// A record waits in the worker's own buffer, whose lock only the log thread and readers of the log ever
/// take as well, each for a moment and seldom. When the buffer is full the oldest record gives way.
#[derive(Debug)]
pub struct Recorder {
    buffer: Arc<Buffer>,
    wake: Arc<Wake>,
    stats: Stats<AccessLogStats>,
}

impl Recorder {
    pub(super) fn new(buffer: Arc<Buffer>, wake: Arc<Wake>, stats: Stats<AccessLogStats>) -> Self {
        Self { buffer, wake, stats }
    }

    /// Hands over a record. Never waits for a file; wakes the log thread only if that was idle.
    #[inline]
    pub fn record(&self, record: impl Into<Box<Record>>) {
        self.stats.records.inc();
        self.stats.records_dropped.add(self.buffer.push(record.into()));
        self.wake.wake_if_idle();
    }
}

/// What passes between one worker and the log thread.
#[derive(Debug, Default)]
pub(super) struct Buffer(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    records: VecDeque<Box<Record>>,
    bytes: usize,
}

impl Buffer {
    /// Appends a record; returns how many old ones had to go for it.
    fn push(&self, record: Box<Record>) -> u64 {
        let mut dropped = Vec::new();
        {
            let mut waiting = self.lock();
            waiting.bytes += record.size();
            waiting.records.push_back(record);
            while waiting.records.len() > RECORDS || waiting.bytes > BYTES {
                let Some(oldest) = waiting.records.pop_front() else {
                    break;
                };
                waiting.bytes -= oldest.size();
                dropped.push(oldest);
            }
        }
        dropped.len() as u64
    }

    /// Takes everything that waits in `buffers`, each in order, and leaves the empty room of `into` behind.
    ///
    /// All are locked at once, for as long as it takes to swap some pointers: a record that was handed over
    /// before another is never taken later than that one, whichever workers they came from.
    pub(super) fn take_all(buffers: &[Arc<Self>], into: &mut [VecDeque<Box<Record>>]) {
        let locked: Vec<_> = buffers.iter().map(|buffer| buffer.lock()).collect();
        for (mut waiting, into) in locked.into_iter().zip(into) {
            debug_assert!(into.is_empty());
            waiting.bytes = 0;
            std::mem::swap(&mut waiting.records, into);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().records.len()
    }
}

/// How an idle log thread learns that there is something again.
///
/// The thread says that it goes idle *before* it looks at the buffers a last time, and a worker looks at
/// that word *after* its push; both pass the buffer's lock between the two. So either the thread sees the
/// record or the worker sees an idle thread.
#[derive(Debug, Default)]
pub(super) struct Wake {
    idle: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Wake {
    /// Names the thread to wake.
    pub(super) fn set_thread(&self, thread: Thread) {
        let _ = self.thread.set(thread);
    }

    /// The thread is about to look at the buffers a last time and then to park.
    pub(super) fn go_idle(&self) {
        self.idle.store(true, Relaxed);
    }

    /// Wakes the thread if it is idle.
    #[inline]
    pub(super) fn wake_if_idle(&self) {
        if self.idle.load(Relaxed) {
            self.wake();
        }
    }

    /// Wakes the thread, also from a wait for its timer.
    #[cold]
    pub(super) fn wake(&self) {
        self.idle.store(false, Relaxed);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Whether nobody has woken the thread since it went idle.
    pub(super) fn is_idle(&self) -> bool {
        self.idle.load(Relaxed)
    }

    /// The thread is awake, woken or by its timer.
    pub(super) fn stay_awake(&self) {
        self.idle.store(false, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::accesslog::{Field, Kind, Log};
    use crate::stats::Registry;

    #[test]
    fn order_is_kept_and_the_oldest_gives_way() {
        let registry = Registry::new(1);
        let recorder =
            Recorder::new(Arc::default(), Arc::default(), registry.worker(0).access_log());
        for id in 0..RECORDS as u64 + 10 {
            let mut record = Record::new(Kind::Http, SystemTime::now(), &Log::default());
            record.connection_id = id;
            recorder.record(record);
        }
        assert_eq!(recorder.buffer.len(), RECORDS);
        assert_eq!(registry.worker(0).access_log().records_dropped.get(), 10);
        let mut taken = [VecDeque::new()];
        Buffer::take_all(std::slice::from_ref(&recorder.buffer), &mut taken);
        assert!(taken[0].iter().map(|record| record.connection_id).eq(10..RECORDS as u64 + 10));
        assert_eq!(recorder.buffer.len(), 0);
    }

    #[test]
    fn memory_is_bounded_too() {
        let registry = Registry::new(1);
        let recorder =
            Recorder::new(Arc::default(), Arc::default(), registry.worker(0).access_log());
        for _ in 0..1_000 {
            let mut record = Record::new(Kind::Http, SystemTime::now(), &Log::default());
            record.set(Field::Path, vec![b'a'; 60_000]);
            recorder.record(record);
        }
        assert!(recorder.buffer.len() < 200);
        assert!(registry.worker(0).access_log().records_dropped.get() > 800);
    }
}
