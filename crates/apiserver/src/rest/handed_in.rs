//! Logs that are handed in: lines of containers which other processes run, for the Pods that show these.
//!
//! Who may write a Pod may hand in its log. Everything has a bound, and what is kept of a Pod goes with it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use tidegate_api::Kind;
use tokio::sync::Notify;

use super::Shutdown;
use super::logs::{LogLines, LogOptions};
use crate::store::{Entry, Store};

/// Logs at once.
const MOST_LOGS: usize = 256;
/// Bytes kept of one log: the oldest lines go first.
const KEPT_BYTES: usize = 256 << 10;
/// Bytes of a line, as container runtimes have it; what is longer ends there.
const LONGEST_LINE: usize = 16 << 10;
/// What a line takes beside its text, so that empty lines have a bound, too.
const LINE_OVERHEAD: usize = 64;

/// Whose log: the `metadata.uid` of a Pod and a container of it.
type Owner = (String, String);

/// All logs that were handed in.
#[derive(Debug, Default)]
pub(crate) struct HandedIn(Mutex<HashMap<Owner, Arc<Log>>>);

impl HandedIn {
    /// The log of a container, which is opened if there is none; nothing where there are too many.
    pub(crate) fn open(&self, uid: &str, container: &str) -> Option<Arc<Log>> {
        let mut logs = lock(&self.0);
        let owner = (uid.to_owned(), container.to_owned());
        let there = logs.len();
        match logs.entry(owner) {
            std::collections::hash_map::Entry::Occupied(log) => Some(Arc::clone(log.get())),
            std::collections::hash_map::Entry::Vacant(_) if there >= MOST_LOGS => None,
            std::collections::hash_map::Entry::Vacant(place) => {
                Some(Arc::clone(place.insert(Arc::default())))
            }
        }
    }

    /// What was handed in for a container; none if nobody ever has.
    pub(crate) fn read(
        &self,
        uid: &str,
        container: &str,
        options: &LogOptions,
    ) -> Option<Box<dyn LogLines>> {
        let log = Arc::clone(lock(&self.0).get(&(uid.to_owned(), container.to_owned()))?);
        let next = lock(&log.kept).first_wanted(options);
        let LogOptions { follow, timestamps, .. } = *options;
        Some(Box::new(Reader { log, next, follow, timestamps }))
    }

    /// Drops the logs of Pods that are gone; who follows them comes to their end.
    fn retain(&self, is_there: impl Fn(&str) -> bool) {
        lock(&self.0).retain(|(uid, _), log| {
            let stays = is_there(uid);
            if !stays {
                log.end();
            }
            stays
        });
    }

    /// Follows the Pods, until the server stops.
    pub(super) async fn run(self: Arc<Self>, store: Store, mut shutdown: Shutdown) {
        let mut watch = store.watch(Kind::Pod, store.revision());
        loop {
            let events = tokio::select! {
                events = watch.next() => events,
                () = shutdown.stopped() => return,
            };
            match events {
                Ok(events) if events.iter().all(|event| event.new.is_some()) => {}
                Ok(_) => self.retain_pods(&store),
                Err(_) => {
                    watch = store.watch(Kind::Pod, store.revision());
                    self.retain_pods(&store);
                }
            }
        }
    }

    fn retain_pods(&self, store: &Store) {
        if lock(&self.0).is_empty() {
            return;
        }
        let pods = store.list(Kind::Pod, None).entries;
        let uids: HashSet<String> = pods.iter().map(|pod| uid_of(pod)).collect();
        self.retain(|uid| uids.contains(uid));
    }
}

/// `metadata.uid`.
pub(crate) fn uid_of(entry: &Entry) -> String {
    entry.json()["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}

/// The last lines of one log.
#[derive(Debug, Default)]
pub(crate) struct Log {
    kept: Mutex<Kept>,
    /// Told of new lines, and of the end.
    news: Notify,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<Line>,
    /// Number of the first line.
    first: u64,
    bytes: usize,
    ended: bool,
}

#[derive(Debug)]
struct Line {
    /// When it came.
    time: Timestamp,
    text: Bytes,
}

impl Log {
    /// Adds lines, each with its end; the last one may lack it.
    pub(crate) fn add(&self, text: &[u8], now: Timestamp) {
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        if text.is_empty() {
            return;
        }
        let mut kept = lock(&self.kept);
        for line in text.split(|byte| *byte == b'\n') {
            let line = &line[..line.len().min(LONGEST_LINE)];
            kept.push(Line { time: now, text: Bytes::copy_from_slice(line) });
        }
        drop(kept);
        self.news.notify_waiters();
    }

    fn end(&self) {
        lock(&self.kept).ended = true;
        self.news.notify_waiters();
    }
}

impl Kept {
    fn push(&mut self, line: Line) {
        self.bytes += line.size();
        self.lines.push_back(line);
        while self.bytes > KEPT_BYTES {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= oldest.size();
            self.first += 1;
        }
    }

    /// The number of the first line that is asked for.
    fn first_wanted(&self, options: &LogOptions) -> u64 {
        let since = |line: &Line| options.since.is_none_or(|since| line.time >= since);
        let too_old = self.lines.partition_point(|line| !since(line));
        let beyond = self.lines.len().saturating_sub(options.tail.unwrap_or(usize::MAX));
        self.first + too_old.max(beyond) as u64
    }

    /// The line of this number, or the first one after it that is still kept, and its number.
    fn get(&self, number: u64) -> Option<(u64, &Line)> {
        let number = number.max(self.first);
        let index = usize::try_from(number - self.first).ok()?;
        Some((number, self.lines.get(index)?))
    }
}

impl Line {
    fn size(&self) -> usize {
        self.text.len() + LINE_OVERHEAD
    }
}

/// Reads a log line by line. One that is too slow misses what is no longer kept.
struct Reader {
    log: Arc<Log>,
    /// Number of the next line.
    next: u64,
    follow: bool,
    timestamps: bool,
}

impl LogLines for Reader {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Option<Bytes>> + Send + '_>> {
        Box::pin(async {
            loop {
                let log = Arc::clone(&self.log);
                let mut news = pin!(log.news.notified());
                // From here on no news is missed, even if it comes before the await.
                news.as_mut().enable();
                let ended = {
                    let kept = lock(&log.kept);
                    if let Some((number, line)) = kept.get(self.next) {
                        self.next = number + 1;
                        return Some(match self.timestamps {
                            true => {
                                [format!("{} ", line.time).as_bytes(), &line.text].concat().into()
                            }
                            false => line.text.clone(),
                        });
                    }
                    kept.ended
                };
                if ended || !self.follow {
                    return None;
                }
                news.await;
            }
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    async fn read(logs: &HandedIn, options: LogOptions) -> Vec<String> {
        let mut reader = logs.read("uid", "c", &options).expect("a log");
        let mut lines = Vec::new();
        while let Some(line) = reader.next().await {
            lines.push(String::from_utf8_lossy(&line).into_owned());
        }
        lines
    }

    #[tokio::test]
    async fn the_last_lines_are_kept_and_read_as_asked_for() {
        let logs = HandedIn::default();
        assert!(
            logs.read("uid", "c", &LogOptions::default()).is_none(),
            "nobody has handed any in"
        );
        let log = logs.open("uid", "c").expect("room");
        log.add(b"one\ntwo\n", at(1));
        log.add(b"", at(2));
        log.add(b"three", at(3));
        let all = LogOptions::default();
        assert_eq!(read(&logs, all.clone()).await, ["one", "two", "three"]);
        assert_eq!(
            read(&logs, LogOptions { tail: Some(2), ..all.clone() }).await,
            ["two", "three"]
        );
        assert_eq!(read(&logs, LogOptions { since: Some(at(2)), ..all.clone() }).await, ["three"]);
        let told = LogOptions { tail: Some(1), timestamps: true, ..all.clone() };
        assert_eq!(read(&logs, told).await, ["1970-01-01T00:00:03Z three"]);

        log.add(&[b'x'; LONGEST_LINE + 1], at(4));
        assert_eq!(read(&logs, all.clone()).await[3].len(), LONGEST_LINE);
        log.add(&b"\n".repeat(KEPT_BYTES), at(5));
        let left = read(&logs, all).await;
        assert_eq!(left.len(), KEPT_BYTES / LINE_OVERHEAD, "empty lines have a bound as well");
        assert!(lock(&log.kept).bytes <= KEPT_BYTES);
    }

    #[tokio::test]
    async fn who_follows_sees_what_comes_until_the_pod_is_gone() {
        let logs = HandedIn::default();
        let log = logs.open("uid", "c").expect("room");
        log.add(b"one\n", at(1));
        let follow = LogOptions { follow: true, ..LogOptions::default() };
        let mut reader = logs.read("uid", "c", &follow).expect("a log");
        assert_eq!(reader.next().await.as_deref(), Some(&b"one"[..]));
        let (next, ()) = tokio::join!(reader.next(), async { log.add(b"two\n", at(2)) });
        assert_eq!(next.as_deref(), Some(&b"two"[..]));
        let (next, ()) = tokio::join!(reader.next(), async { logs.retain(|_| false) });
        assert_eq!(next, None);
        assert!(logs.read("uid", "c", &follow).is_none());
    }

    #[test]
    fn there_is_a_bound_to_logs() {
        let logs = HandedIn::default();
        for number in 0..MOST_LOGS {
            assert!(logs.open(&number.to_string(), "c").is_some());
        }
        assert!(logs.open("one more", "c").is_none());
        assert!(logs.open("0", "c").is_some(), "who has one keeps it");
        logs.retain(|uid| uid != "0");
        assert!(logs.open("one more", "c").is_some());
    }
}
