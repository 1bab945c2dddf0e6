//! The log thread, and what it and readers share.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, mpsc};
use std::thread;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::log::LogBook;
use super::recorder::{Buffer, Wake};
use super::ring::{Entry, Limits, Ring};
use super::{
    Destination, Format, FormatError, Log, Output, ReadOptions, Reader, Record, Recorder, Sink,
    SinkError,
};
use crate::stats::{AccessLogStats, Registry, Stats};

/// Bounds of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Records kept for readers. Default 10,000.
    pub keep_records: usize,
    /// Memory of the records kept for readers, bytes. Default 8 MiB.
    pub keep_bytes: usize,
    /// Memory of records that a slow file may hold back, bytes; beyond it loses the oldest. Default 32 MiB.
    pub most_bytes: usize,
    /// While there is traffic, files are written this often. Default 20 ms.
    pub interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            keep_records: 10_000,
            keep_bytes: 8 << 20,
            most_bytes: 32 << 20,
            interval: Duration::from_millis(20),
        }
    }
}

/// The access logs of the process.
///
/// One thread writes all files, so that a worker never waits for a disk or a pipe; a destination that is
/// slow delays the others, and loses lines once [`Options::most_bytes`] wait. Dropping the `Logs` ends the
/// thread after what is known has been written; [`Logs::flush`] first, to be sure of it.
#[derive(Debug)]
pub struct Logs {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    recorders: Vec<(Arc<Buffer>, Stats<AccessLogStats>)>,
    sinks: Mutex<HashMap<Destination, Weak<Sink>>>,
    /// Logs by what is written of them.
    written: Mutex<HashMap<Vec<u8>, Weak<Log>>>,
}

/// What the thread is asked for.
#[derive(Debug)]
enum Command {
    Reopen(Vec<Arc<Sink>>),
    Flush(oneshot::Sender<()>),
    Stop,
}

impl Logs {
    /// Starts the log thread for the workers of `registry`.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn start(registry: &Arc<Registry>, options: Options) -> io::Result<Arc<Self>> {
        let recorders: Vec<(Arc<Buffer>, _)> = (0..registry.workers())
            .map(|worker| (Arc::default(), registry.worker(worker).access_log()))
            .collect();
        let keep = Limits { records: options.keep_records, bytes: options.keep_bytes };
        let most =
            Limits { records: usize::MAX, bytes: options.most_bytes.max(options.keep_bytes) };
        let shared = Arc::new(Shared {
            buffers: recorders.iter().map(|(buffer, _)| buffer.clone()).collect(),
            book: Arc::default(),
            wake: Arc::default(),
            ring: Mutex::new(Collected {
                ring: Ring::new(keep, most),
                taken: recorders.iter().map(|_| VecDeque::new()).collect(),
                batch: Vec::new(),
            }),
            notify: Notify::new(),
            closed: AtomicBool::new(false),
            stats: registry.control().access_log(),
        });
        let (commands, receiver) = mpsc::channel();
        let writer =
            Writer { shared: shared.clone(), commands: receiver, interval: options.interval };
        let thread =
            thread::Builder::new().name("access-log".to_owned()).spawn(move || writer.run())?;
        shared.wake.set_thread(thread.thread().clone());
        let (sinks, written) = (Mutex::default(), Mutex::default());
        Ok(Arc::new(Self { shared, commands, recorders, sinks, written }))
    }

    /// The way into the logs for worker `index`.
    ///
    /// # Panics
    /// If there is no such worker: a mistake of the caller, not of a peer.
    pub fn recorder(&self, index: usize) -> Recorder {
        let (buffer, stats) = &self.recorders[index];
        Recorder::new(buffer.clone(), self.shared.wake.clone(), stats.clone())
    }

    /// Opens a destination, or finds it open: everybody who logs to one file writes through one sink.
    ///
    /// # Errors
    /// If it cannot be opened for appending.
    pub fn sink(&self, destination: Destination) -> Result<Arc<Sink>, SinkError> {
        let mut sinks = lock(&self.sinks);
        if let Some(open) = sinks.get(&destination).and_then(Weak::upgrade) {
            return Ok(open);
        }
        sinks.retain(|_, sink| sink.strong_count() > 0);
        let sink = Arc::new(Sink::open(destination.clone())?);
        sinks.insert(destination, Arc::downgrade(&sink));
        Ok(sink)
    }

    /// Makes the log of one connection manager, TCP proxy or listener.
    ///
    /// # Errors
    /// If its formats together ask for more headers than a record can keep.
    pub fn log(&self, outputs: Vec<Output>) -> Result<Log, FormatError> {
        self.shared.book.open(outputs)
    }

    /// The log of whoever has the same `written`, while one of them is there; else `open` makes it. Thousands of filter chains write
    /// the same, and a format takes more memory than all else of a chain.
    ///
    /// # Errors
    /// Those of `open`.
    pub fn shared<E>(
        &self,
        written: Vec<u8>,
        open: impl FnOnce() -> Result<Log, E>,
    ) -> Result<Arc<Log>, E> {
        if let Some(log) = lock(&self.written).get(&written).and_then(Weak::upgrade) {
            return Ok(log);
        }
        let log = Arc::new(open()?);
        let mut all = lock(&self.written);
        all.retain(|_, log| log.strong_count() > 0);
        all.insert(written, Arc::downgrade(&log));
        Ok(log)
    }

    /// Renders records in a format of the reader's own choice: those kept, then, with `follow`, those to
    /// come. A request that ended before the call is seen.
    pub fn read(&self, format: Arc<Format>, options: ReadOptions) -> Reader {
        Reader::new(self.shared.clone(), format, options)
    }

    /// Opens all files again, as after log rotation (SIGUSR1). What was recorded before goes to the old file.
    pub fn reopen(&self) {
        let sinks = lock(&self.sinks).values().filter_map(Weak::upgrade).collect();
        self.send(Command::Reopen(sinks));
    }

    /// Writes everything recorded before the call. Ends when it is written, or at once if the thread is gone;
    /// the caller sets a limit, as a pipe that nobody reads never ends.
    pub async fn flush(&self) {
        let (done, written) = oneshot::channel();
        self.send(Command::Flush(done));
        let _ = written.await;
    }

    #[cfg(test)]
    pub(super) fn known_logs(&self) -> usize {
        self.shared.book.len()
    }

    fn send(&self, command: Command) {
        let _ = self.commands.send(command);
        self.shared.wake.wake();
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.shared.closed.store(true, Relaxed);
        self.send(Command::Stop);
    }
}

/// What the log thread and readers share.
#[derive(Debug)]
pub(super) struct Shared {
    buffers: Vec<Arc<Buffer>>,
    book: Arc<LogBook>,
    wake: Arc<Wake>,
    ring: Mutex<Collected>,
    /// Told whenever records were collected.
    pub(super) notify: Notify,
    closed: AtomicBool,
    stats: Stats<AccessLogStats>,
}

impl Shared {
    /// Moves what workers recorded into the ring, in the order in which it ended, and lets `read` look at it.
    pub(super) fn collect<T>(&self, read: impl FnOnce(&mut Ring) -> T) -> T {
        let mut collected = lock(&self.ring);
        let Collected { ring, taken, batch } = &mut *collected;
        let before = ring.end();
        let mut lost = 0;
        self.book.with(|find| {
            Buffer::take_all(&self.buffers, taken);
            let sources = taken.iter().filter(|records| !records.is_empty()).count();
            for records in taken.iter_mut() {
                // Twice what came is room enough for the next time; a burst's room is given back.
                let room = 2 * records.len();
                batch.extend(records.drain(..));
                records.shrink_to(room);
            }
            if sources > 1 {
                // Stable: records of one worker that end in the same nanosecond stay in order.
                batch.sort_by_key(|record| record.end());
            }
            let room = 2 * batch.len();
            for record in batch.drain(..) {
                let log = find(record.log());
                lost += ring.push(Entry { record, log });
            }
            batch.shrink_to(room);
        });
        self.stats.records_overrun.add(lost);
        if ring.end() > before {
            self.notify.notify_waiters();
        }
        read(ring)
    }

    /// Whether no more records will come.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }
}

/// The ring, and room that is used again for what is on its way there.
#[derive(Debug)]
struct Collected {
    ring: Ring,
    /// One for each worker.
    taken: Vec<VecDeque<Box<Record>>>,
    #[allow(clippy::vec_box, reason = "they come boxed, and go on boxed to the ring")]
    batch: Vec<Box<Record>>,
}

/// The log thread.
struct Writer {
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    interval: Duration,
}

/// Most records rendered while the ring is locked.
const BATCH: usize = 256;

impl Writer {
    fn run(self) {
        loop {
            // Taken first: a command is about what was recorded before it.
            let commands: Vec<Command> = self.commands.try_iter().collect();
            let wrote = self.write();
            let idle = commands.is_empty() && !wrote;
            for command in commands {
                match command {
                    Command::Reopen(sinks) => {
                        sinks.iter().for_each(|sink| sink.reopen(&self.shared.stats));
                    }
                    Command::Flush(done) => drop(done.send(())),
                    Command::Stop => {
                        self.shared.notify.notify_waiters();
                        return;
                    }
                }
            }
            if !idle {
                thread::park_timeout(self.interval);
                continue;
            }
            self.shared.wake.go_idle();
            let nothing = self.shared.collect(|ring| ring.unwritten == ring.end());
            if nothing && self.shared.wake.is_idle() {
                thread::park();
            }
            self.shared.wake.stay_awake();
        }
    }

    /// Writes what workers recorded; tells whether there was anything.
    fn write(&self) -> bool {
        let mut wrote = false;
        loop {
            let (sinks, more) = self.shared.collect(render);
            for sink in &sinks {
                sink.write(&self.shared.stats);
            }
            wrote |= more;
            if !more {
                return wrote;
            }
        }
    }
}

/// Renders the next batch for the files; tells which have lines now, and whether there was anything.
fn render(ring: &mut Ring) -> (Vec<Arc<Sink>>, bool) {
    let mut sinks: Vec<Arc<Sink>> = Vec::new();
    let mut next = ring.unwritten;
    for (number, Entry { record, log }) in ring.since(ring.unwritten).take(BATCH) {
        next = number + 1;
        for output in log.outputs.iter().filter(|output| output.takes(record)) {
            let sink = &output.sink;
            let waits = sink.append(|lines| output.format.render(record, &log.plan, lines));
            if waits && !sinks.iter().any(|known| Arc::ptr_eq(known, sink)) {
                sinks.push(sink.clone());
            }
        }
    }
    let more = next > ring.unwritten;
    ring.unwritten = next;
    ring.trim();
    (sinks, more)
}

/// Everything behind these locks is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
