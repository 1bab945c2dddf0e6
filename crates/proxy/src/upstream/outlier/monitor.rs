//! What is known of one endpoint: counted by workers, decided on by the control side.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Cause, Origin, Outlier, Seen, Settings, Streak};

/// What is known of one endpoint. It stays with the endpoint's address through changes of configuration.
#[derive(Debug, Default)]
pub struct Monitor {
    consecutive_5xx: AtomicU32,
    consecutive_gateway_failure: AtomicU32,
    consecutive_local_origin_failure: AtomicU32,
    external: Bucket,
    local: Bucket,
    /// Status of the last failure; 0 when there was no answer.
    last_failure: AtomicU16,
    /// Whether the last attempt led to no connection.
    unreachable: AtomicBool,
    /// Whether it came back because it took a connection, and has answered nothing since.
    trial: AtomicU8,
    ejected: AtomicBool,
    state: Mutex<State>,
}

/// Requests of an interval: all of them in the upper half, those that succeeded in the lower one.
#[derive(Debug, Default)]
struct Bucket(AtomicU64);

impl Bucket {
    const ONE: u64 = 1 << 32;

    fn put(&self, succeeded: bool) {
        self.0.fetch_add(Self::ONE | u64::from(succeeded), Relaxed);
    }

    /// How many there were, and how many of them succeeded; it begins again.
    fn take(&self) -> (u32, u32) {
        let both = self.0.swap(0, Relaxed);
        ((both >> 32) as u32, both as u32)
    }
}

/// Values of [`Monitor::trial`].
struct Trial;

impl Trial {
    const NONE: u8 = 0;
    const RUNS: u8 = 1;
    const FAILED: u8 = 2;
}

/// What the control side knows of an endpoint.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The ejection that lasts.
    pub(super) ejection: Option<Ejection>,
    /// How many ejections there were.
    pub(super) ejections: u32,
    /// By how much the next one is longer.
    pub(super) backoff: u32,
    /// When it came back last.
    pub(super) returned: Option<Instant>,
    /// Returns in a row that were followed by no success.
    pub(super) misled: u32,
    /// Successes of the last interval in percent, of answers and of connections.
    pub(super) rates: [Option<f64>; 2],
}

/// An ejection that lasts.
#[derive(Clone, Debug)]
pub(super) struct Ejection {
    pub(super) since: Instant,
    pub(super) jitter: Duration,
    /// When the endpoint is dialled next, to see whether it takes connections again; `None` when that says nothing.
    pub(super) probe: Option<Instant>,
}

impl Monitor {
    /// Takes in what became of an attempt; calls `suspect` with each threshold that was reached.
    pub fn put(&self, seen: Seen, outlier: &Outlier, suspect: impl FnMut(Cause)) {
        let settings = &outlier.settings;
        self.unreachable.store(seen == Seen::Unreachable, Relaxed);
        if settings.split {
            self.put_split(seen, outlier, suspect);
        } else {
            self.put_whole(seen, outlier, suspect);
        }
    }

    /// Everything counts as an answer.
    fn put_whole(&self, seen: Seen, outlier: &Outlier, suspect: impl FnMut(Cause)) {
        match seen {
            // What becomes of the request is seen later.
            Seen::Connected => {}
            Seen::Carried => self.put_answer(200, 200, &outlier.settings, suspect),
            Seen::Answer(status) => {
                self.put_answer(outlier.counts_as(status), status, &outlier.settings, suspect);
            }
            Seen::Timeout => self.put_answer(504, 0, &outlier.settings, suspect),
            Seen::Reset => self.put_answer(503, 0, &outlier.settings, suspect),
            Seen::Unreachable => self.put_unreachable(&outlier.settings, suspect),
        }
    }

    /// Who returned because it takes connections, and does not, has had its chance.
    fn put_unreachable(&self, settings: &Settings, mut suspect: impl FnMut(Cause)) {
        let mut reached = false;
        self.put_answer(503, 0, settings, |cause| {
            reached = true;
            suspect(cause);
        });
        if self.fails_trial() && !reached {
            let (all, gateway) = (settings.consecutive_5xx, settings.consecutive_gateway_failure);
            suspect(if gateway.enforcing > all.enforcing {
                Cause::ConsecutiveGatewayFailure
            } else {
                Cause::Consecutive5xx
            });
        }
    }

    fn put_split(&self, seen: Seen, outlier: &Outlier, mut suspect: impl FnMut(Cause)) {
        match seen {
            Seen::Connected | Seen::Carried => {
                self.local.put(true);
                forget(&self.consecutive_local_origin_failure);
            }
            Seen::Answer(status) => {
                self.put_answer(outlier.counts_as(status), status, &outlier.settings, suspect);
            }
            Seen::Reset | Seen::Timeout | Seen::Unreachable => {
                self.last_failure.store(0, Relaxed);
                self.local.put(false);
                let again = seen == Seen::Unreachable && self.fails_trial();
                let streak = outlier.settings.consecutive_local_origin_failure;
                if count(&self.consecutive_local_origin_failure, streak) || again {
                    suspect(Cause::ConsecutiveLocalOriginFailure);
                }
            }
        }
    }

    /// An answer, or what stands for one. `told` is its status, 0 when there was none.
    fn put_answer(
        &self,
        status: u16,
        told: u16,
        settings: &Settings,
        mut suspect: impl FnMut(Cause),
    ) {
        let failed = matches!(status, 500..=599);
        self.external.put(!failed);
        if !failed {
            forget(&self.consecutive_5xx);
            forget(&self.consecutive_gateway_failure);
            return self.has_answered();
        }
        self.last_failure.store(told, Relaxed);
        if told != 0 {
            self.has_answered();
        }
        if matches!(status, 502..=504) {
            let streak = settings.consecutive_gateway_failure;
            if count(&self.consecutive_gateway_failure, streak) {
                suspect(Cause::ConsecutiveGatewayFailure);
            }
        } else {
            forget(&self.consecutive_gateway_failure);
        }
        if count(&self.consecutive_5xx, settings.consecutive_5xx) {
            suspect(Cause::Consecutive5xx);
        }
    }

    /// It has answered: that it takes connections is true.
    fn has_answered(&self) {
        if self.trial.load(Relaxed) != Trial::NONE {
            self.trial.store(Trial::NONE, Relaxed);
        }
    }

    /// It took no connection; whether it came back because it takes some, and has answered nothing since.
    fn fails_trial(&self) -> bool {
        self.trial.compare_exchange(Trial::RUNS, Trial::FAILED, Relaxed, Relaxed).is_ok()
    }

    /// Thresholds that are reached already: those that were when nobody was there to be told.
    pub(super) fn reached(&self, settings: &Settings) -> impl Iterator<Item = Cause> {
        let over = |counter: &AtomicU32, streak: Streak, cause| {
            let is_over = streak.threshold > 0 && counter.load(Relaxed) >= streak.threshold;
            is_over.then_some(cause)
        };
        let local = Some(settings.consecutive_local_origin_failure).filter(|_| settings.split);
        let all = [
            over(
                &self.consecutive_gateway_failure,
                settings.consecutive_gateway_failure,
                Cause::ConsecutiveGatewayFailure,
            ),
            over(&self.consecutive_5xx, settings.consecutive_5xx, Cause::Consecutive5xx),
            local.and_then(|local| {
                let counter = &self.consecutive_local_origin_failure;
                over(counter, local, Cause::ConsecutiveLocalOriginFailure)
            }),
        ];
        all.into_iter().flatten()
    }

    /// Whether it is ejected.
    #[must_use]
    pub fn is_ejected(&self) -> bool {
        self.ejected.load(Relaxed)
    }

    /// How many of its answers and connections were successes in the last interval, in percent; `None` where there were
    /// too few to tell.
    #[must_use]
    pub fn success_rates(&self) -> [Option<f64>; 2] {
        self.state().rates
    }

    // --- the control side ---

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take_bucket(&self, origin: Origin) -> (u32, u32) {
        match origin {
            Origin::External => self.external.take(),
            Origin::Local => self.local.take(),
        }
    }

    pub(super) fn is_unreachable(&self) -> bool {
        self.unreachable.load(Relaxed)
    }

    /// Status of the last failure; `None` when there was no answer.
    pub(super) fn last_failure(&self) -> Option<u16> {
        Some(self.last_failure.load(Relaxed)).filter(|status| *status != 0)
    }

    pub(in crate::upstream) fn set_ejected(&self, ejected: bool) {
        self.ejected.store(ejected, Relaxed);
    }

    /// It is back because it took a connection.
    pub(super) fn put_on_trial(&self) {
        self.trial.store(Trial::RUNS, Relaxed);
    }

    /// Whether it came back for nothing.
    pub(super) fn ends_trial(&self) -> bool {
        self.trial.swap(Trial::NONE, Relaxed) != Trial::NONE
    }

    /// Counts failures of this kind from the beginning.
    pub(super) fn restart(&self, cause: Cause) {
        match cause {
            Cause::Consecutive5xx => forget(&self.consecutive_5xx),
            Cause::ConsecutiveGatewayFailure => forget(&self.consecutive_gateway_failure),
            Cause::ConsecutiveLocalOriginFailure => forget(&self.consecutive_local_origin_failure),
            Cause::SuccessRate(_) | Cause::FailurePercentage(_) => {}
        }
    }

    /// Counts all failures from the beginning.
    pub(super) fn restart_all(&self) {
        forget(&self.consecutive_5xx);
        forget(&self.consecutive_gateway_failure);
        forget(&self.consecutive_local_origin_failure);
    }

    /// Nobody judges it any more.
    pub(super) fn acquit(&self) {
        self.restart_all();
        self.ends_trial();
        self.external.take();
        self.local.take();
        *self.state() = State::default();
        self.set_ejected(false);
    }
}

impl Outlier {
    /// What an answer counts as: its own status, unless the configuration says which ones are failures.
    fn counts_as(&self, status: u16) -> u16 {
        match &self.errors {
            None => status,
            Some(errors) if errors.contains(status) => 500,
            Some(_) => 200,
        }
    }
}

/// Counts a failure; whether the threshold is reached by it.
fn count(counter: &AtomicU32, streak: Streak) -> bool {
    counter.fetch_add(1, Relaxed).wrapping_add(1) == streak.threshold
}

/// Mostly there is nothing to forget, and then nothing is written.
fn forget(counter: &AtomicU32) {
    if counter.load(Relaxed) != 0 {
        counter.store(0, Relaxed);
    }
}
