//! Who is ejected, and who returns: decided at one place for the process, on times that are given.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::monitor::{Ejection, Monitor};
use super::{Cause, Event, Origin, Outlier, Rates, What};
use crate::stats::OutlierStats;
use crate::upstream::Endpoint;

/// Time between two attempts to reach an endpoint that took no connections.
pub const PROBE: Duration = Duration::from_millis(500);

/// Where numbers come from that nobody can foretell.
type Random<'r> = &'r mut dyn FnMut() -> u64;

/// The endpoints of one cluster, to be judged at one moment.
pub struct Detector<'a> {
    /// The cluster's name.
    pub cluster: &'a Arc<str>,
    /// How they are judged.
    pub outlier: &'a Outlier,
    /// All of them.
    pub endpoints: &'a [Arc<Endpoint>],
    /// Where it is counted.
    pub stats: &'a OutlierStats,
    /// The moment.
    pub now: Instant,
}

impl Detector<'_> {
    /// Takes in that a threshold was reached. `None` when that changes nothing.
    pub fn suspect(&self, endpoint: &Endpoint, cause: Cause, random: Random<'_>) -> Option<Event> {
        // It may have gone, or been ejected, since.
        if endpoint.monitor.is_ejected() || !self.endpoints.iter().any(|e| e.is(endpoint)) {
            return None;
        }
        self.count_detected(cause);
        let event = self.judge(endpoint, cause, random);
        if cause == Cause::Consecutive5xx {
            self.stats.ejections_consecutive_5xx.inc();
        }
        endpoint.monitor.restart(cause);
        event
    }

    /// Looks at all of them, as is done once in an interval.
    pub fn sweep(&self, random: Random<'_>) -> Vec<Event> {
        let mut events: Vec<Event> =
            self.endpoints.iter().filter_map(|endpoint| self.let_back(endpoint)).collect();
        let mut rates = [None, None];
        for (origin, average) in [Origin::External, Origin::Local].into_iter().zip(&mut rates) {
            let successes = self.successes(origin);
            *average = self.judge_rates(origin, &successes, random, &mut events);
            self.judge_failures(origin, &successes, random, &mut events);
        }
        self.outlier.set_rates(rates);
        for endpoint in self.endpoints {
            self.forgive(&endpoint.monitor);
        }
        events
    }

    /// Takes in that an endpoint that took no connections takes them again.
    pub fn reached(&self, endpoint: &Endpoint) -> Option<Event> {
        let ejection = endpoint.monitor.state().ejection.clone()?;
        ejection.probe?;
        if !self.endpoints.iter().any(|e| e.is(endpoint)) {
            return None;
        }
        self.release(endpoint);
        endpoint.monitor.put_on_trial();
        let after = self.now.saturating_duration_since(ejection.since);
        Some(self.event(endpoint, What::Reached { after }))
    }

    /// The endpoints that are to be dialled now, to see whether they take connections again.
    pub fn probes(&self) -> Vec<Arc<Endpoint>> {
        let is_due = |endpoint: &&Arc<Endpoint>| {
            let mut state = endpoint.monitor.state();
            match state.ejection.as_mut().and_then(|ejection| ejection.probe.as_mut()) {
                Some(at) if *at <= self.now => {
                    *at = self.now + PROBE;
                    true
                }
                _ => false,
            }
        };
        self.endpoints.iter().filter(is_due).cloned().collect()
    }

    /// When an endpoint is to be dialled next.
    #[must_use]
    pub fn next_probe(endpoints: &[Arc<Endpoint>]) -> Option<Instant> {
        let probe = |endpoint: &Arc<Endpoint>| endpoint.monitor.state().ejection.as_ref()?.probe;
        endpoints.iter().filter(|e| e.monitor.is_ejected()).filter_map(probe).min()
    }

    fn ejected(&self) -> usize {
        self.endpoints.iter().filter(|endpoint| endpoint.monitor.is_ejected()).count()
    }

    /// Ejects an endpoint if as many may be ejected.
    fn judge(&self, endpoint: &Endpoint, cause: Cause, random: Random<'_>) -> Option<Event> {
        let settings = &self.outlier.settings;
        let ejected = self.ejected();
        let share = 100.0 * (ejected + 1) as f64 / self.endpoints.len().max(1) as f64;
        let may = share <= f64::from(settings.max_percent) || settings.always_one && ejected == 0;
        if !may {
            self.stats.ejections_overflow.inc();
            return None;
        }
        if matches!(cause, Cause::Consecutive5xx | Cause::SuccessRate(_)) {
            self.stats.ejections_total.inc();
        }
        let in_a_row = !matches!(cause, Cause::SuccessRate(_) | Cause::FailurePercentage(_));
        let status = endpoint.monitor.last_failure().filter(|_| in_a_row);
        let enforced = random() % 100 < u64::from(settings.enforcing(cause));
        let what = if enforced {
            self.count_enforced(cause);
            self.eject(&endpoint.monitor, cause, status, random)
        } else {
            What::Spared { cause, status }
        };
        Some(self.event(endpoint, what))
    }

    fn eject(
        &self,
        monitor: &Monitor,
        cause: Cause,
        status: Option<u16>,
        random: Random<'_>,
    ) -> What {
        let settings = &self.outlier.settings;
        let mut state = monitor.state();
        state.misled = if monitor.ends_trial() { state.misled.saturating_add(1) } else { 0 };
        let jitter = random() % (millis(settings.jitter) + 1);
        let pause = PROBE.saturating_mul(1_u32.checked_shl(state.misled).unwrap_or(u32::MAX));
        let probe =
            monitor.is_unreachable().then(|| self.now + pause.min(settings.base).max(PROBE));
        state.ejections = state.ejections.saturating_add(1);
        let longest = settings.most.saturating_add(settings.base);
        if settings.base.saturating_mul(state.backoff) < longest {
            state.backoff += 1;
        }
        let jitter = Duration::from_millis(jitter);
        let time = self.time(state.backoff, jitter);
        state.ejection = Some(Ejection { since: self.now, jitter, probe });
        monitor.set_ejected(true);
        let ejections = state.ejections;
        What::Ejected { cause, status, ejections, time, probed: probe.is_some() }
    }

    fn time(&self, backoff: u32, jitter: Duration) -> Duration {
        let settings = &self.outlier.settings;
        settings.base.saturating_mul(backoff).min(settings.most).saturating_add(jitter)
    }

    /// Lets an endpoint return whose time is over.
    fn let_back(&self, endpoint: &Endpoint) -> Option<Event> {
        let (since, time) = {
            let state = endpoint.monitor.state();
            let Ejection { since, jitter, .. } = state.ejection.as_ref()?;
            (*since, self.time(state.backoff, *jitter))
        };
        let after = self.now.saturating_duration_since(since);
        if after < time {
            return None;
        }
        self.release(endpoint);
        Some(self.event(endpoint, What::Returned { after }))
    }

    fn release(&self, endpoint: &Endpoint) {
        let mut state = endpoint.monitor.state();
        state.ejection = None;
        state.returned = Some(self.now);
        endpoint.monitor.restart_all();
        endpoint.monitor.set_ejected(false);
    }

    /// Makes the next ejection of an endpoint shorter that has been in for an interval.
    fn forgive(&self, monitor: &Monitor) {
        let mut state = monitor.state();
        let long = |since: Instant| {
            self.now.saturating_duration_since(since) >= self.outlier.settings.interval
        };
        if state.ejection.is_none() && state.returned.is_some_and(long) {
            state.backoff = state.backoff.saturating_sub(1);
        }
    }

    // --- rates ---

    /// Percent of successes, and how many requests there were, of each endpoint that is in and had any.
    fn successes(&self, origin: Origin) -> Vec<(&Arc<Endpoint>, f64, u32)> {
        let settings = &self.outlier.settings;
        let fewest = settings.success_rate.requests.min(settings.failure_percentage.requests);
        let enough = self.endpoints.len() >= settings.success_rate.hosts as usize
            || self.endpoints.len() >= settings.failure_percentage.hosts as usize;
        let mut successes = Vec::new();
        for endpoint in self.endpoints {
            let (all, good) = endpoint.monitor.take_bucket(origin);
            let rate = 100.0 * f64::from(good) / f64::from(all.max(1));
            let counts = enough && all > 0 && !endpoint.monitor.is_ejected();
            endpoint.monitor.state().rates[origin as usize] =
                Some(rate).filter(|_| counts && all >= fewest);
            if counts {
                successes.push((endpoint, rate, all));
            }
        }
        successes
    }

    /// Ejects those with far fewer successes than the others.
    fn judge_rates(
        &self,
        origin: Origin,
        successes: &[(&Arc<Endpoint>, f64, u32)],
        random: Random<'_>,
        events: &mut Vec<Event>,
    ) -> Option<Rates> {
        let settings = &self.outlier.settings.success_rate;
        let busy = || successes.iter().filter(|(_, _, requests)| *requests >= settings.requests);
        let count = busy().count();
        if count == 0 || count < settings.hosts as usize {
            return None;
        }
        let mean = busy().map(|(_, rate, _)| rate).sum::<f64>() / count as f64;
        let variance = busy().map(|(_, rate, _)| (rate - mean).powi(2)).sum::<f64>() / count as f64;
        let threshold = mean - f64::from(settings.stdev_factor) / 1000.0 * variance.sqrt();
        for (endpoint, _, _) in busy().filter(|(_, rate, _)| *rate < threshold) {
            self.stats.ejections_success_rate.inc();
            let cause = Cause::SuccessRate(origin);
            self.count_detected(cause);
            events.extend(self.judge(endpoint, cause, random));
        }
        Some(Rates { average: mean, threshold })
    }

    /// Ejects those that fail too often.
    fn judge_failures(
        &self,
        origin: Origin,
        successes: &[(&Arc<Endpoint>, f64, u32)],
        random: Random<'_>,
        events: &mut Vec<Event>,
    ) {
        let settings = &self.outlier.settings.failure_percentage;
        let busy = || successes.iter().filter(|(_, _, requests)| *requests >= settings.requests);
        let count = busy().count();
        if count == 0 || count < settings.hosts as usize {
            return;
        }
        let fails = |rate: f64| 100.0 - rate >= f64::from(settings.threshold);
        for (endpoint, _, _) in busy().filter(|(_, rate, _)| fails(*rate)) {
            // Its rate may have been enough.
            if endpoint.monitor.is_ejected() {
                continue;
            }
            let cause = Cause::FailurePercentage(origin);
            self.count_detected(cause);
            events.extend(self.judge(endpoint, cause, random));
        }
    }

    // --- counts ---

    fn count_detected(&self, cause: Cause) {
        let stats = self.stats;
        match cause {
            Cause::Consecutive5xx => stats.ejections_detected_consecutive_5xx.inc(),
            Cause::ConsecutiveGatewayFailure => {
                stats.ejections_detected_consecutive_gateway_failure.inc();
            }
            Cause::ConsecutiveLocalOriginFailure => {
                stats.ejections_detected_consecutive_local_origin_failure.inc();
            }
            Cause::SuccessRate(Origin::External) => stats.ejections_detected_success_rate.inc(),
            Cause::SuccessRate(Origin::Local) => {
                stats.ejections_detected_local_origin_success_rate.inc();
            }
            Cause::FailurePercentage(Origin::External) => {
                stats.ejections_detected_failure_percentage.inc();
            }
            Cause::FailurePercentage(Origin::Local) => {
                stats.ejections_detected_local_origin_failure_percentage.inc();
            }
        }
    }

    fn count_enforced(&self, cause: Cause) {
        let stats = self.stats;
        stats.ejections_enforced_total.inc();
        match cause {
            Cause::Consecutive5xx => stats.ejections_enforced_consecutive_5xx.inc(),
            Cause::ConsecutiveGatewayFailure => {
                stats.ejections_enforced_consecutive_gateway_failure.inc();
            }
            Cause::ConsecutiveLocalOriginFailure => {
                stats.ejections_enforced_consecutive_local_origin_failure.inc();
            }
            Cause::SuccessRate(Origin::External) => stats.ejections_enforced_success_rate.inc(),
            Cause::SuccessRate(Origin::Local) => {
                stats.ejections_enforced_local_origin_success_rate.inc();
            }
            Cause::FailurePercentage(Origin::External) => {
                stats.ejections_enforced_failure_percentage.inc();
            }
            Cause::FailurePercentage(Origin::Local) => {
                stats.ejections_enforced_local_origin_failure_percentage.inc();
            }
        }
    }

    fn event(&self, endpoint: &Endpoint, what: What) -> Event {
        Event { cluster: Arc::clone(self.cluster), address: endpoint.address.clone(), what }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX - 1)
}
