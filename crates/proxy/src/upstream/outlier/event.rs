//! What happened to an endpoint, and why, in words.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Cause, Origin};
use crate::remote::Remote;

/// An endpoint was ejected, or has returned.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its cluster.
    pub cluster: Arc<str>,
    /// Its address.
    pub address: Remote,
    /// What happened.
    pub what: What,
}

/// What happened to an endpoint.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// It gets no more requests.
    Ejected {
        /// Why.
        cause: Cause,
        /// The status that it answered with last, for failures in a row; `None` when it did not answer.
        status: Option<u16>,
        /// How often this happened, with this time.
        ejections: u32,
        /// How long it lasts, until the next sweep after this.
        time: Duration,
        /// Whether it returns as soon as it takes connections.
        probed: bool,
    },
    /// It would have been ejected, but `enforcing_…` left it in.
    Spared {
        /// Why it would have been.
        cause: Cause,
        /// As for [`What::Ejected`].
        status: Option<u16>,
    },
    /// It gets requests again, as its time is over.
    Returned {
        /// How long it was out.
        after: Duration,
    },
    /// … as it takes connections again.
    Reached {
        /// How long it was out.
        after: Duration,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, address, what } = self;
        write!(f, "endpoint {address} of {cluster} ")?;
        match what {
            What::Ejected { cause, status, ejections, time, probed } => {
                write!(f, "is ejected for {time:?}")?;
                if *probed {
                    f.write_str(" or until it takes connections")?;
                }
                write!(f, " ({ejections}. ejection): {}", Why(*cause, *status))
            }
            What::Spared { cause, status } => {
                write!(f, "is an outlier but not ejected, as enforcing_… says: ")?;
                Why(*cause, *status).fmt(f)
            }
            What::Returned { after } => write!(f, "gets requests again after {after:.1?}"),
            What::Reached { after } => {
                write!(f, "gets requests again after {after:.1?}, as it takes connections")
            }
        }
    }
}

/// Why an endpoint is an outlier, with the last status.
struct Why(Cause, Option<u16>);

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(cause, status) = self;
        match cause {
            Cause::Consecutive5xx | Cause::ConsecutiveGatewayFailure => match (status, cause) {
                (Some(status), Cause::Consecutive5xx) => {
                    write!(f, "too many failures in a row, the last one {status}")
                }
                (Some(status), _) => {
                    write!(f, "too many 502, 503 or 504 in a row, the last one {status}")
                }
                (None, _) => f.write_str("too many failures in a row, the last one no answer"),
            },
            Cause::ConsecutiveLocalOriginFailure => {
                f.write_str("too many connections or requests in a row without an answer")
            }
            Cause::SuccessRate(Origin::External) => {
                f.write_str("far fewer good answers than the other endpoints")
            }
            Cause::SuccessRate(Origin::Local) => {
                f.write_str("far fewer good connections than the other endpoints")
            }
            Cause::FailurePercentage(Origin::External) => f.write_str("too many bad answers"),
            Cause::FailurePercentage(Origin::Local) => f.write_str("too many bad connections"),
        }
    }
}
