//! One name: what is known of it, who wants to know, and the task that keeps it up to date.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::lookup::{Answer, Family, Lookup, LookupError, resolve};
use super::schedule::{Pace, WatchOptions};
use super::{Key, Lookups, NameStatus, Resolution};

/// A name that is watched.
pub(super) struct Entry {
    updates: watch::Sender<Snapshot>,
    watches: Mutex<Watches>,
    /// Tells the task that `watches` are others.
    rescheduled: Notify,
    usage: Arc<Marks>,
    task: OnceLock<AbortHandle>,
}

#[derive(Default)]
struct Watches {
    next_id: u64,
    options: Vec<(u64, WatchOptions)>,
}

/// What is known of a name at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Snapshot {
    /// The addresses of the last good answer, in the server's order.
    addresses: Arc<[IpAddr]>,
    /// For how long it has been answered that there is no address.
    negative: Option<Duration>,
    error: Option<LookupError>,
    resolved: Option<Instant>,
    attempts: u64,
    successes: u64,
    empty: u64,
}

/// Tells a name's resolver that the name is in use, and knows whether a cluster's addresses of it are old. Workers hold one for
/// each cluster; it may be shared between threads.
#[derive(Debug, Clone)]
pub struct Usage {
    marks: Arc<Marks>,
    taken: Arc<Taken>,
}

/// Whether a name is in use.
#[derive(Debug)]
struct Marks {
    /// One of the states below.
    state: AtomicU8,
    /// Wakes the task that rests.
    woken: Notify,
    /// The number of the lookup before whose end addresses are too old to be used, if it can be waited for: the one after the
    /// last rest.
    awaited: AtomicU64,
}

/// Which lookups a watch has taken in.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// All up to this number; all there will ever be when the watch has ended.
    lookups: AtomicU64,
    more: Notify,
}

/// Not used since the resolver looked last.
const UNUSED: u8 = 0;
/// Used since the resolver looked last.
const USED: u8 = 1;
/// Not looked up until it is used.
const RESTING: u8 = 2;

// === impl Entry ===

impl Entry {
    /// An entry with its task, which looks the name up when it is used.
    pub(super) fn start(
        key: Key,
        lookup: Arc<dyn Lookup>,
        turns: Arc<Semaphore>,
        runtime: &Handle,
    ) -> Arc<Self> {
        let entry = Arc::new(Self {
            updates: watch::Sender::default(),
            watches: Mutex::default(),
            rescheduled: Notify::new(),
            usage: Arc::default(),
            task: OnceLock::new(),
        });
        let task = runtime.spawn(keep_fresh(Arc::clone(&entry), key, lookup, turns));
        entry.task.get_or_init(|| task.abort_handle());
        entry
    }

    /// Ends the task.
    pub(super) fn stop(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    /// Adds a watch and returns its number. One that wants the name always fresh uses it.
    pub(super) fn join(&self, options: WatchOptions) -> u64 {
        let mut watches = self.watches();
        let id = watches.next_id;
        watches.next_id += 1;
        watches.options.push((id, options));
        drop(watches);
        self.rescheduled.notify_one();
        if options.rest_after.is_none() {
            self.usage.mark();
        }
        id
    }

    /// Whether there is a watch.
    pub(super) fn is_watched(&self) -> bool {
        !self.watches().options.is_empty()
    }

    /// Removes a watch; true when it was the last one. Then nothing is looked up until another one
    /// joins.
    pub(super) fn leave(&self, id: u64) -> bool {
        let mut watches = self.watches();
        watches.options.retain(|(other, _)| *other != id);
        self.rescheduled.notify_one();
        watches.options.is_empty()
    }

    pub(super) fn updates(&self) -> watch::Receiver<Snapshot> {
        self.updates.subscribe()
    }

    /// The name's use by a watch that says what it has taken in.
    pub(super) fn usage(&self, taken: &Arc<Taken>) -> Usage {
        Usage { marks: Arc::clone(&self.usage), taken: Arc::clone(taken) }
    }

    pub(super) fn status(&self, key: &Key) -> NameStatus {
        let snapshot = self.updates.borrow();
        NameStatus {
            host: key.name.as_str().to_owned(),
            family: key.family,
            addresses: snapshot.addresses.to_vec(),
            error: snapshot.error.clone(),
            resolved: snapshot.resolved,
            attempts: snapshot.attempts,
            successes: snapshot.successes,
            empty: snapshot.empty,
            resting: self.usage.is_resting(),
            watches: self.watches().options.len(),
        }
    }

    fn watches(&self) -> MutexGuard<'_, Watches> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The shortest time until the next lookup that a watch asks for.
    fn delay(&self, pace: Pace, chance: f64) -> Duration {
        let watches = self.watches();
        let delays = watches.options.iter().map(|(_, options)| options.delay(pace, chance));
        delays.min().unwrap_or(Duration::MAX)
    }

    /// How long after its last use the name may rest; `None` when a watch wants it always fresh.
    fn rest_after(&self) -> Option<Duration> {
        let watches = self.watches();
        let all: Option<Vec<Duration>> =
            watches.options.iter().map(|(_, options)| options.rest_after).collect();
        all?.into_iter().max()
    }
}

// === The task ===

/// Looks the name up when it is used first, and then whenever it is time to.
async fn keep_fresh(entry: Arc<Entry>, key: Key, lookup: Arc<dyn Lookup>, turns: Arc<Semaphore>) {
    let mut history = History::default();
    entry.usage.woken().await;
    let mut used = Instant::now();
    loop {
        let outcome = {
            let _turn = turns.acquire().await;
            resolve(&*lookup, &key.name, key.family).await
        };
        let now = Instant::now();
        entry.updates.send_modify(|snapshot| snapshot.record(&outcome, &mut history, now));
        wait_until_due(&entry, now, history.pace).await;
        used = rest_while_unused(&entry, used).await;
    }
}

/// Waits for the next refresh, which watches that come and go may bring nearer or put off.
async fn wait_until_due(entry: &Entry, since: Instant, pace: Pace) {
    let chance = fastrand::f64();
    loop {
        let due = since.checked_add(entry.delay(pace, chance));
        tokio::select! {
            () = entry.rescheduled.notified() => {}
            () = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            } => return,
        }
    }
}

/// Waits for the next use, if the last one is long ago. Returns when the last use was, as far as is
/// known.
async fn rest_while_unused(entry: &Entry, used: Instant) -> Instant {
    if entry.usage.take_used() {
        return Instant::now();
    }
    match entry.rest_after() {
        Some(rest_after) if used.elapsed() >= rest_after => {
            let lookups = entry.updates.borrow().attempts;
            entry.usage.rest(lookups).await;
            Instant::now()
        }
        _ => used,
    }
}

/// The lookups so far, as far as the next one depends on them.
struct History {
    pace: Pace,
    failures: u32,
    /// Since when it has been answered that there is no address.
    negative_since: Option<Instant>,
}

impl Default for History {
    fn default() -> Self {
        Self { pace: Pace::Failing { failures: 0 }, failures: 0, negative_since: None }
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// Addresses that are known without a lookup.
    pub(super) fn fixed(addresses: Vec<IpAddr>) -> Self {
        Self { addresses: addresses.into(), attempts: 1, successes: 1, ..Self::default() }
    }

    /// A host that cannot be looked up.
    pub(super) fn failed(error: LookupError) -> Self {
        Self { error: Some(error), attempts: 1, ..Self::default() }
    }

    pub(super) fn error(&self) -> Option<LookupError> {
        self.error.clone()
    }

    /// The lookups that have ended.
    pub(super) fn lookups(&self) -> Lookups {
        Lookups { attempts: self.attempts, answered: self.successes + self.empty }
    }

    /// What a watch with these options sees.
    pub(super) fn seen_with(&self, options: &WatchOptions, port: u16) -> Resolution {
        let gone = self.negative.is_some_and(|confirmed| options.negative.is_believed(confirmed));
        let count = match (gone, options.first_only) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => usize::MAX,
        };
        let mut addresses: Vec<SocketAddr> = self
            .addresses
            .iter()
            .take(count)
            .map(|address| SocketAddr::new(*address, port))
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        Resolution { ready: self.attempts > 0, addresses }
    }

    fn record(
        &mut self,
        outcome: &Result<Answer, LookupError>,
        history: &mut History,
        now: Instant,
    ) {
        self.attempts += 1;
        match outcome {
            Ok(answer) => {
                *history = History { pace: Pace::Fresh { ttl: answer.ttl }, ..History::default() };
                self.successes += 1;
                self.negative = None;
                self.resolved = Some(now);
                self.error = answer.failed.as_ref().map(|(_, error)| error.clone());
                self.addresses = self.merged(answer);
            }
            Err(error) => {
                let failures = history.failures.saturating_add(1);
                history.failures = failures;
                self.error = Some(error.clone());
                history.pace = if error.is_negative() {
                    let since = *history.negative_since.get_or_insert(now);
                    let confirmed = now - since;
                    self.empty += 1;
                    self.negative = Some(confirmed);
                    Pace::Negative { failures, confirmed }
                } else {
                    Pace::Failing { failures }
                };
            }
        }
    }

    /// The addresses of `answer`; those of a family that could not be looked up stay as they were.
    fn merged(&self, answer: &Answer) -> Arc<[IpAddr]> {
        let kept = self.addresses.iter().filter(|address| match &answer.failed {
            Some((Family::V4, _)) => address.is_ipv4(),
            Some((Family::V6, _)) => address.is_ipv6(),
            None => false,
        });
        answer.addresses.iter().chain(kept).copied().collect()
    }
}

// === impl Usage ===

impl Usage {
    /// Tells that the name is used, for three atomic loads in the usual case. False while the addresses that are known are old,
    /// as the name was at rest: a lookup has begun, and [`Self::refreshed_by`] waits for it.
    pub fn mark(&self) -> bool {
        self.marks.mark();
        self.is_fresh()
    }

    /// Waits until the lookup after the last rest has ended, well or not, and whoever watches the name has taken in what it came
    /// to. When `deadline` comes before that, nobody waits for this lookup any more: what was known last serves on.
    pub async fn refreshed_by(&self, deadline: Instant) {
        let refreshed = async {
            loop {
                let more = self.taken.more.notified();
                if self.is_fresh() {
                    return;
                }
                more.await;
            }
        };
        if timeout_at(deadline, refreshed).await.is_err() {
            self.marks.awaited.store(0, Ordering::Release);
        }
    }

    /// Whether the name is not looked up, as nobody uses it.
    pub fn is_resting(&self) -> bool {
        self.marks.is_resting()
    }

    fn is_fresh(&self) -> bool {
        let awaited = self.marks.awaited.load(Ordering::Acquire);
        self.taken.lookups.load(Ordering::Acquire) >= awaited
    }
}

impl Default for Marks {
    /// At rest.
    fn default() -> Self {
        let (state, awaited) = (AtomicU8::new(RESTING), AtomicU64::new(1));
        Self { state, woken: Notify::new(), awaited }
    }
}

impl Marks {
    fn mark(&self) {
        // A state that stays as it is, is only read: the cache line is not taken from other
        // workers.
        if self.state.load(Ordering::Acquire) != USED
            && self.state.swap(USED, Ordering::AcqRel) == RESTING
        {
            self.woken.notify_one();
        }
    }

    fn is_resting(&self) -> bool {
        self.state.load(Ordering::Acquire) == RESTING
    }

    /// Whether there was a use since the last call.
    fn take_used(&self) -> bool {
        self.state.swap(UNUSED, Ordering::AcqRel) == USED
    }

    /// Rests until the next use, which may have been a moment ago, after so many lookups.
    async fn rest(&self, lookups: u64) {
        self.awaited.store(lookups + 1, Ordering::Release);
        let _used =
            self.state.compare_exchange(UNUSED, RESTING, Ordering::AcqRel, Ordering::Acquire);
        self.woken().await;
    }

    /// Waits until the name is not at rest.
    async fn woken(&self) {
        while self.is_resting() {
            self.woken.notified().await;
        }
    }
}

impl Taken {
    /// All lookups up to this number are taken in.
    pub(super) fn put(&self, lookups: u64) {
        self.lookups.store(lookups, Ordering::Release);
        self.more.notify_waiters();
    }

    /// Nothing more is taken in, and so there is nothing to wait for.
    pub(super) fn end(&self) {
        self.put(u64::MAX);
    }
}
