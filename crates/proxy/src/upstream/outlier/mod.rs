//! Outlier detection: endpoints that fail are taken out of balancing for a while.
//!
//! ```text
//! worker: what became of an attempt ─► Monitor (atomics of the endpoint) ─► a threshold is reached
//!                                                                                │ channel
//! control side: Detector decides, once for the process ◄── Watch (sweeps, probes) ┘
//!        └─► Cluster::reconsider: workers see another EndpointSet
//! ```
//!
//! What counts as a failure, when an endpoint is ejected and for how long, is Envoy's. One thing is not: an endpoint
//! that was ejected because no connection to it could be had is dialled from time to time, and returns as soon as it
//! takes one; Envoy lets the whole time pass. Should its first connection fail all the same, it is out again at once,
//! and the next such return takes twice as long to come.

mod detector;
pub mod event;
mod monitor;
#[cfg(test)]
pub(crate) mod simulation;
pub mod statuses;
#[cfg(test)]
pub(crate) mod tests;
mod watch;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

pub use detector::Detector;
pub use event::{Event, What};
pub use monitor::Monitor;
pub use statuses::Statuses;
pub use watch::{Suspicion, Watch};

/// Outlier detection of one cluster.
#[derive(Debug)]
pub struct Outlier {
    /// How it is done.
    pub settings: Settings,
    /// Answers that are failures; `None` for 500 to 599.
    pub errors: Option<Statuses>,
    rates: Mutex<[Option<Rates>; 2]>,
}

impl Outlier {
    /// Detection with these settings.
    #[must_use]
    pub fn new(settings: Settings, errors: Option<Statuses>) -> Self {
        Self { settings, errors, rates: Mutex::default() }
    }

    /// What success rates were in the last interval, of answers and of connections.
    #[must_use]
    pub fn rates(&self) -> [Option<Rates>; 2] {
        *self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_rates(&self, rates: [Option<Rates>; 2]) {
        *self.rates.lock().unwrap_or_else(PoisonError::into_inner) = rates;
    }
}

/// The success rates of a cluster's endpoints in one interval, in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Their mean.
    pub average: f64,
    /// Who was below it was an outlier.
    pub threshold: f64,
}

/// How endpoints are judged: `envoy.config.cluster.v3.OutlierDetection`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `consecutive_5xx`: answers with 5xx in a row, and what is answered in their place.
    pub consecutive_5xx: Streak,
    /// `consecutive_gateway_failure`: those with 502, 503 and 504.
    pub consecutive_gateway_failure: Streak,
    /// `consecutive_local_origin_failure`: connections, and requests on them, that failed without an answer.
    pub consecutive_local_origin_failure: Streak,
    /// `split_external_local_origin_errors`: whether the last are counted apart.
    pub split: bool,
    /// Time between two sweeps.
    pub interval: Duration,
    /// `base_ejection_time`: how long the first ejection lasts; the nth one lasts n times as long,
    pub base: Duration,
    /// … `max_ejection_time`: up to this,
    pub most: Duration,
    /// … `max_ejection_time_jitter`: and a random time up to this.
    pub jitter: Duration,
    /// `max_ejection_percent`: largest share of the endpoints that may be ejected.
    pub max_percent: u32,
    /// `always_eject_one_host`: one may be in any case.
    pub always_one: bool,
    /// `success_rate_…`
    pub success_rate: SuccessRate,
    /// `failure_percentage_…`
    pub failure_percentage: FailurePercentage,
}

/// Failures in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streak {
    /// How many there must be; never enough when 0.
    pub threshold: u32,
    /// The chance in percent that the endpoint is then ejected.
    pub enforcing: u32,
}

/// Who has fewer successes than the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuccessRate {
    /// Fewest endpoints with enough requests.
    pub hosts: u32,
    /// Fewest requests in an interval.
    pub requests: u32,
    /// How many thousandths of a standard deviation below the mean is an outlier.
    pub stdev_factor: u32,
    /// The chance in percent of ejection for answers.
    pub enforcing: u32,
    /// … and for connections.
    pub enforcing_local: u32,
}

/// Who fails too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailurePercentage {
    /// Percent of failures.
    pub threshold: u32,
    /// Fewest endpoints with enough requests.
    pub hosts: u32,
    /// Fewest requests in an interval.
    pub requests: u32,
    /// The chance in percent of ejection for answers.
    pub enforcing: u32,
    /// … and for connections.
    pub enforcing_local: u32,
}

impl Default for Settings {
    /// Envoy's defaults.
    fn default() -> Self {
        let five = |enforcing| Streak { threshold: 5, enforcing };
        Self {
            consecutive_5xx: five(100),
            consecutive_gateway_failure: five(0),
            consecutive_local_origin_failure: five(100),
            split: false,
            interval: Duration::from_secs(10),
            base: Duration::from_secs(30),
            most: Duration::from_secs(300),
            jitter: Duration::ZERO,
            max_percent: 10,
            always_one: false,
            success_rate: SuccessRate {
                hosts: 5,
                requests: 100,
                stdev_factor: 1900,
                enforcing: 100,
                enforcing_local: 100,
            },
            failure_percentage: FailurePercentage {
                threshold: 85,
                hosts: 5,
                requests: 50,
                enforcing: 0,
                enforcing_local: 0,
            },
        }
    }
}

impl Settings {
    /// The chance in percent that an endpoint is ejected for this.
    #[must_use]
    pub fn enforcing(&self, cause: Cause) -> u32 {
        match cause {
            Cause::Consecutive5xx => self.consecutive_5xx.enforcing,
            Cause::ConsecutiveGatewayFailure => self.consecutive_gateway_failure.enforcing,
            Cause::ConsecutiveLocalOriginFailure => self.consecutive_local_origin_failure.enforcing,
            Cause::SuccessRate(Origin::External) => self.success_rate.enforcing,
            Cause::SuccessRate(Origin::Local) => self.success_rate.enforcing_local,
            Cause::FailurePercentage(Origin::External) => self.failure_percentage.enforcing,
            Cause::FailurePercentage(Origin::Local) => self.failure_percentage.enforcing_local,
        }
    }
}

/// Why an endpoint is an outlier (`envoy.data.cluster.v3.OutlierEjectionType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Failures in a row.
    Consecutive5xx,
    /// … that a gateway answers with.
    ConsecutiveGatewayFailure,
    /// … without an answer.
    ConsecutiveLocalOriginFailure,
    /// Fewer successes than the others have.
    SuccessRate(Origin),
    /// Too many failures.
    FailurePercentage(Origin),
}

/// What is judged of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Its answers; all of it, unless the two are split.
    External,
    /// Whether connections can be had, and bring an answer.
    Local,
}

/// What became of an attempt at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// There is a connection, on which a request goes out.
    Connected,
    /// There is a connection, and that was all there was to be had (TCP).
    Carried,
    /// It answered with this status.
    Answer(u16),
    /// It took no connection.
    Unreachable,
    /// A connection failed: its handshake, or the request on it.
    Reset,
    /// It did not answer in time.
    Timeout,
}
