//! Keys as workers see them, and requests that wait for them.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::{ArcSwapOption, Guard};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::super::keys::KeySet;
use super::{MOST_WAITING, Origin, PAUSE};
use crate::upstream::ClusterSlot;
use crate::upstream::fault::{Fault, Told};

/// The keys of an issuer, for the process.
#[derive(Debug)]
pub struct KeySource {
    /// Where they come from.
    pub origin: Origin,
    pub(super) cluster: Arc<ClusterSlot>,
    current: ArcSwapOption<Current>,
    /// Whether they were used since they came.
    used: AtomicBool,
    /// Whether a request waits for a fetch to begin.
    asked: AtomicBool,
    ask: Notify,
    /// Until when the last fetch counts as failed; changes with every fetch that ends.
    failed: watch::Sender<Option<Instant>>,
    waiting: AtomicU32,
    users: Mutex<Vec<Weak<User>>>,
    fault: Mutex<Option<Told>>,
}

/// Keys that came.
#[derive(Debug)]
pub(in super::super) struct Current {
    keys: Arc<KeySet>,
    /// When they end; `None` when others have to come first.
    until: Option<Instant>,
}

/// A filter that uses a source, and what it counts as.
#[derive(Debug)]
pub(super) struct User {
    /// The prefix of its connection manager's statistics.
    pub manager: Box<str>,
    /// Its own.
    pub own: Box<str>,
}

/// A source as a filter has it: it is followed as long as there is one of these.
#[derive(Clone, Debug)]
pub struct FetchedKeys {
    source: Arc<KeySource>,
    _user: Arc<User>,
}

impl FetchedKeys {
    /// The source.
    #[must_use]
    pub fn source(&self) -> &Arc<KeySource> {
        &self.source
    }
}

impl KeySource {
    /// A source without keys.
    #[must_use]
    pub fn new(origin: Origin, cluster: Arc<ClusterSlot>) -> Self {
        Self {
            origin,
            cluster,
            current: ArcSwapOption::empty(),
            used: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            ask: Notify::new(),
            failed: watch::Sender::new(None),
            waiting: AtomicU32::new(0),
            users: Mutex::default(),
            fault: Mutex::default(),
        }
    }

    /// The source for a filter whose fetches count under two prefixes: of its connection manager, and its own.
    #[must_use]
    pub fn used_by(self: &Arc<Self>, manager: &str, own: &str) -> FetchedKeys {
        let user = Arc::new(User { manager: manager.into(), own: own.into() });
        self.all_users().push(Arc::downgrade(&user));
        FetchedKeys { source: Arc::clone(self), _user: user }
    }

    /// Whether a filter uses it.
    #[must_use]
    pub fn is_used(&self) -> bool {
        let mut users = self.all_users();
        users.retain(|user| user.strong_count() > 0);
        !users.is_empty()
    }

    /// Why fetches fail, as it was told; `None` where the last one did not, or none has ended.
    #[must_use]
    pub fn fault(&self) -> Option<Arc<str>> {
        let told = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        told.as_ref().map(|told| Arc::clone(told.words()))
    }

    /// Notes why a fetch failed, or that it did not; whether that is news.
    pub(super) fn set_fault(&self, fault: Option<Fault>) -> bool {
        let mut told = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        match (&mut *told, fault) {
            (Some(told), Some(fault)) => told.hear(fault),
            (told, fault) => {
                let news = told.is_some() || fault.is_some();
                *told = fault.map(Told::new);
                news
            }
        }
    }

    pub(super) fn users(&self) -> Vec<Arc<User>> {
        self.all_users().iter().filter_map(Weak::upgrade).collect()
    }

    /// A panic while it is held leaves a list.
    fn all_users(&self) -> MutexGuard<'_, Vec<Weak<User>>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What came last. Takes no reference that others count.
    pub(in super::super) fn current(&self) -> Guard<Option<Arc<Current>>> {
        self.current.load()
    }

    /// Whether there are keys that hold at a moment.
    #[must_use]
    pub fn has_keys(&self, now: Instant) -> bool {
        self.current().as_ref().is_some_and(|current| current.holds(now))
    }

    /// Notes that a token was judged by the keys.
    pub(in super::super) fn note_use(&self) {
        // Written once a fetch: workers do not take the line from each other.
        if !self.used.load(Relaxed) {
            self.used.store(true, Relaxed);
        }
    }

    /// Has a request wait for keys, and these be fetched; `None` when they could not be just now, or too many wait already.
    pub(in super::super) fn wait(self: &Arc<Self>) -> Option<Waiting> {
        if self.waiting.fetch_add(1, Relaxed) >= MOST_WAITING {
            self.waiting.fetch_sub(1, Relaxed);
            return None;
        }
        // Listens before it looks: a fetch that ends in between is not missed.
        let waiting = Waiting { outcomes: self.failed.subscribe(), source: Arc::clone(self) };
        let now = Instant::now();
        let failed = *waiting.outcomes.borrow();
        if !self.has_keys(now) {
            if failed.is_some_and(|until| now < until) {
                return None;
            }
            if !self.asked.swap(true, Relaxed) {
                self.ask.notify_one();
            }
        }
        Some(waiting)
    }

    // --- the control side ---

    /// Waits until a request asks for keys that are not there. Safe to cancel.
    pub(super) async fn asked(&self) {
        loop {
            self.ask.notified().await;
            if self.has_keys(Instant::now()) {
                self.asked.store(false, Relaxed);
            } else if self.asked.load(Relaxed) {
                return;
            }
        }
    }

    /// Whether tokens were judged by the keys since they came.
    pub(super) fn was_used(&self) -> bool {
        self.used.load(Relaxed)
    }

    /// When the keys end, if they do.
    pub(super) fn until(&self) -> Option<Instant> {
        self.current().as_ref().and_then(|current| current.until)
    }

    /// Takes what a fetch came to, and tells those who wait. A failure takes no keys away.
    pub(super) fn take(&self, fetched: Result<KeySet, ()>) {
        let now = Instant::now();
        let failed = match fetched {
            Ok(keys) => {
                let until = match self.origin.unasked {
                    Some(_) => None,
                    None => now.checked_add(self.origin.keep),
                };
                self.used.store(false, Relaxed);
                self.current.store(Some(Arc::new(Current { keys: Arc::new(keys), until })));
                None
            }
            Err(()) => Some(now + PAUSE),
        };
        self.asked.store(false, Relaxed);
        self.failed.send_replace(failed);
    }
}

impl Current {
    /// The keys, if they hold at a moment.
    pub(in super::super) fn keys(&self, now: Instant) -> Option<&Arc<KeySet>> {
        self.holds(now).then_some(&self.keys)
    }

    fn holds(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// A request that waits for keys, as it counts.
#[derive(Debug)]
pub struct Waiting {
    outcomes: watch::Receiver<Option<Instant>>,
    source: Arc<KeySource>,
}

impl Waiting {
    /// How long it may take at most until a fetch has ended: the pause after one that failed, and the time of the next.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.source.origin.timeout.saturating_add(2 * PAUSE)
    }

    /// Waits until there are keys, or none could be fetched. Safe to cancel.
    pub async fn over(&mut self) {
        if self.source.has_keys(Instant::now()) {
            return;
        }
        // The source is held, and its sender with it.
        let _ = self.outcomes.changed().await;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.source.waiting.fetch_sub(1, Relaxed);
    }
}
