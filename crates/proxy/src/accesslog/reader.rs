//! Reading the log in a format of the reader's choice.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Format;
use super::logs::Shared;
use super::ring::{Entry, Ring};

/// Which lines a reader wants; by default all that are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// Only so many of the last lines kept.
    pub tail: Option<usize>,
    /// Only what ended at this moment or later.
    pub since: Option<SystemTime>,
    /// Go on with what is recorded from now on.
    pub follow: bool,
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When the request or connection ended: nanoseconds since 1970.
    pub ended: u64,
    /// The line, without its line break.
    pub text: Vec<u8>,
}

/// A reader of the log. A reader that is too slow misses what is no longer kept.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    format: Arc<Format>,
    /// Number of the next record to look at.
    next: u64,
    /// Records up to here are read; without `follow` no more.
    end: Option<u64>,
    since: u64,
    lines: VecDeque<Line>,
}

/// Most records rendered while the ring is locked.
const BATCH: usize = 64;

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, format: Arc<Format>, options: ReadOptions) -> Self {
        let since = options
            .since
            .and_then(|since| since.duration_since(UNIX_EPOCH).ok())
            .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
        let wanted = |entry: &Entry| is_wanted(&format, since, entry);
        let (next, end) = shared.collect(|ring| {
            let next = match options.tail {
                None => ring.first(),
                Some(0) => ring.end(),
                Some(count) => ring
                    .since(0)
                    .rev()
                    .filter(|(_, entry)| wanted(entry))
                    .take(count)
                    .last()
                    .map_or(ring.end(), |(number, _)| number),
            };
            (next, ring.end())
        });
        let end = (!options.follow).then_some(end);
        Self { shared, format, next, end, since, lines: VecDeque::new() }
    }

    /// The next line; `None` at the end, which with `follow` is the end of the process's logs.
    pub async fn next(&mut self) -> Option<Line> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(line);
            }
            let shared = self.shared.clone();
            let mut collected = pin!(shared.notify.notified());
            // From here on a notification is not missed, even if it comes before the await.
            collected.as_mut().enable();
            let closed = shared.is_closed();
            let looked_at_any = shared.collect(|ring| self.render(ring));
            match (looked_at_any, self.end) {
                (true, _) => {}
                (false, Some(_)) => return None,
                (false, None) if closed => return None,
                (false, None) => collected.await,
            }
        }
    }

    /// Renders a batch into `lines`; tells whether there was anything to look at.
    fn render(&mut self, ring: &mut Ring) -> bool {
        let before = self.next;
        let end = self.end.unwrap_or(u64::MAX);
        for (number, entry) in ring.since(self.next).take(BATCH) {
            if number >= end {
                break;
            }
            self.next = number + 1;
            if !is_wanted(&self.format, self.since, entry) {
                continue;
            }
            let mut text = Vec::new();
            self.format.render(&entry.record, &entry.log.plan, &mut text);
            if text.last() == Some(&b'\n') {
                text.pop();
            }
            self.lines.push_back(Line { ended: entry.record.end(), text });
        }
        self.next > before
    }
}

/// Whether a reader sees the record. In text and JSON it sees what goes to a file; Mixer saw everything.
fn is_wanted(format: &Format, since: u64, entry: &Entry) -> bool {
    let Entry { record, log } = entry;
    record.end() >= since
        && format.logs(record.kind)
        && (format.sees_everything() || log.take(record))
}
