//! What one connection manager or TCP proxy logs, and where to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::plan::Headers;
use super::record::LogId;
use super::{CapturePlan, Filter, Format, FormatError, Record, Sink};

/// One `access_log` entry: which records, in which format, where to.
#[derive(Clone, Debug)]
pub struct Output {
    /// Where lines go.
    pub sink: Arc<Sink>,
    /// What they look like.
    pub format: Arc<Format>,
    /// Which records; all of them without.
    pub filter: Option<Filter>,
}

/// All `access_log` entries of one connection manager, TCP proxy or listener.
///
/// [`Logs::log`](super::Logs::log) makes one. It stays with the configuration that it belongs to; records
/// name it by number. The default log has no output: its records are seen by Mixer's format only.
#[derive(Debug, Default)]
pub struct Log {
    id: LogId,
    entries: Arc<Entries>,
    book: Weak<LogBook>,
}

impl Log {
    /// Which headers its formats ask for.
    pub fn plan(&self) -> &CapturePlan {
        &self.entries.plan
    }

    pub(super) fn id(&self) -> LogId {
        self.id
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Some(book) = self.book.upgrade() {
            book.retire(self.id);
        }
    }
}

/// The outputs of a log and the headers that they ask for.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pub(super) outputs: Vec<Output>,
    pub(super) plan: CapturePlan,
}

impl Entries {
    fn new(outputs: Vec<Output>) -> Result<Self, FormatError> {
        let mut headers = Headers::default();
        outputs.iter().for_each(|output| output.format.headers(&mut headers));
        let plan = headers.into_plan().map_err(FormatError::too_many_headers)?;
        Ok(Self { outputs, plan })
    }

    /// Whether any output takes the record.
    pub(super) fn take(&self, record: &Record) -> bool {
        self.outputs.iter().any(|output| output.takes(record))
    }
}

impl Output {
    /// Whether the output has a line for the record.
    pub(super) fn takes(&self, record: &Record) -> bool {
        self.format.logs(record.kind)
            && self.filter.as_ref().is_none_or(|filter| filter.accepts(record))
    }
}

/// All logs by number.
///
/// The configuration drops a log when nobody serves it any more; by then its last record is in a worker's
/// buffer. So a number is forgotten only after the buffers have been emptied once more.
#[derive(Debug, Default)]
pub(super) struct LogBook(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    last: u64,
    logs: HashMap<LogId, Arc<Entries>>,
    retired: Vec<LogId>,
}

impl LogBook {
    /// Makes a log.
    pub(super) fn open(self: &Arc<Self>, outputs: Vec<Output>) -> Result<Log, FormatError> {
        let entries = Arc::new(Entries::new(outputs)?);
        let mut book = self.lock();
        book.last += 1;
        let id = LogId(book.last);
        book.logs.insert(id, entries.clone());
        Ok(Log { id, entries, book: Arc::downgrade(self) })
    }

    /// Forgets what was retired before `collect` emptied the buffers; gives `collect` the way to find a log.
    pub(super) fn with<T>(&self, collect: impl FnOnce(&dyn Fn(LogId) -> Arc<Entries>) -> T) -> T {
        let mut book = self.lock();
        let none = Arc::default();
        let result = collect(&|id| book.logs.get(&id).unwrap_or(&none).clone());
        for id in std::mem::take(&mut book.retired) {
            book.logs.remove(&id);
        }
        result
    }

    fn retire(&self, id: LogId) {
        self.lock().retired.push(id);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().logs.len()
    }
}
