//! Faults that are made on purpose: requests that wait, and requests that fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use crate::accesslog::ResponseFlags;
use crate::http::RequestHead;
use crate::http::local::LocalReply;
use crate::route::{Fraction, HeaderCondition};
use crate::stats::{FaultStats, Stats};

use super::{Hold, Override, Passing, Step};

/// What is done to which requests.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Requests wait.
    pub delay: Option<Delay>,
    /// Requests fail.
    pub abort: Option<Abort>,
    /// Only those that meet all of these.
    pub headers: Vec<HeaderCondition>,
    /// Only those from these nodes (`x-envoy-downstream-service-node`), if any are named.
    pub nodes: Vec<Box<[u8]>>,
    /// At most so many at the same time; `None` for no limit.
    pub most: Option<u32>,
}

/// A wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    /// How long, not zero.
    pub time: Duration,
    /// Share of requests.
    pub share: Fraction,
}

/// A failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abort {
    /// What is answered.
    pub with: Failure,
    /// Share of requests.
    pub share: Fraction,
}

/// What a request that is to fail is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A status of HTTP.
    Http(u16),
    /// A status of gRPC; requests that are no calls are answered 200, as by Envoy.
    Grpc(u32),
}

impl Failure {
    /// The status of HTTP.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Http(status) => status,
            Self::Grpc(_) => 200,
        }
    }

    fn reply(self) -> LocalReply {
        let flags = ResponseFlags::FAULT_INJECTED;
        let reply =
            LocalReply::new(self.status(), "fault filter abort", flags, "fault_filter_abort");
        match self {
            Self::Http(_) => reply,
            Self::Grpc(status) => LocalReply { grpc_status: Some(status), ..reply },
        }
    }
}

impl Faults {
    /// Whether a request is one of those that are meant.
    #[must_use]
    pub fn concern(&self, head: &RequestHead) -> bool {
        let node = || head.headers.get(b"x-envoy-downstream-service-node");
        let named = || node().is_some_and(|node| self.nodes.iter().any(|one| one.as_ref() == node));
        (self.nodes.is_empty() || named())
            && self.headers.iter().all(|condition| condition.holds(head))
    }
}

/// The filter.
#[derive(Debug)]
pub struct FaultFilter {
    /// What it does where no route says otherwise.
    pub faults: Faults,
    /// Faults under way, of all workers.
    active: AtomicU32,
}

impl FaultFilter {
    /// A filter without a fault under way.
    #[must_use]
    pub fn new(faults: Faults) -> Self {
        Self { faults, active: AtomicU32::new(0) }
    }
}

/// A fault that is under way, until the request is over.
#[derive(Debug)]
pub struct ActiveFault {
    filter: Arc<FaultFilter>,
    stats: Stats<FaultStats>,
}

impl Drop for ActiveFault {
    fn drop(&mut self) {
        self.filter.active.fetch_sub(1, Relaxed);
        self.stats.active_faults.dec();
    }
}

/// Has a request wait, or fail.
pub(super) fn pass(
    filter: &Arc<FaultFilter>,
    stats: &Stats<FaultStats>,
    own: Option<&Override>,
    request: &mut Passing<'_>,
) -> Step {
    let faults = faults_of(filter, own);
    if !faults.concern(request.head) {
        return Step::Pass;
    }
    if let Some(delay) = faults.delay
        && delay.share.takes(request.random)
        && begin(filter, faults, stats, request)
    {
        stats.delays_injected.inc();
        let (time, flags) = (delay.time, ResponseFlags::DELAY_INJECTED);
        return Step::Hold(Hold { time, flags, sooner: None });
    }
    abort(filter, faults, stats, request)
}

/// Has a request that has waited fail, or go on.
pub(super) fn resume(
    filter: &Arc<FaultFilter>,
    stats: &Stats<FaultStats>,
    own: Option<&Override>,
    request: &mut Passing<'_>,
) -> Step {
    abort(filter, faults_of(filter, own), stats, request)
}

fn faults_of<'f>(filter: &'f FaultFilter, own: Option<&'f Override>) -> &'f Faults {
    match own {
        Some(Override::Fault(faults)) => faults,
        _ => &filter.faults,
    }
}

fn abort(
    filter: &Arc<FaultFilter>,
    faults: &Faults,
    stats: &Stats<FaultStats>,
    request: &mut Passing<'_>,
) -> Step {
    match faults.abort {
        Some(abort)
            if abort.share.takes(request.random) && begin(filter, faults, stats, request) =>
        {
            stats.aborts_injected.inc();
            Step::Answer(abort.with.reply())
        }
        _ => Step::Pass,
    }
}

/// Counts a fault as under way, one for each request; `false` where there are as many as there may be.
fn begin(
    filter: &Arc<FaultFilter>,
    faults: &Faults,
    stats: &Stats<FaultStats>,
    request: &mut Passing<'_>,
) -> bool {
    if request.trail.has_fault() {
        return true;
    }
    let most = faults.most.unwrap_or(u32::MAX);
    let more = |active| (active < most).then(|| active + 1);
    if filter.active.fetch_update(Relaxed, Relaxed, more).is_err() {
        stats.faults_overflow.inc();
        return false;
    }
    stats.active_faults.inc();
    request.trail.hold_fault(ActiveFault { filter: Arc::clone(filter), stats: stats.clone() });
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_concern_whom_they_name() {
        let mut faults = Faults::default();
        let mut head = RequestHead::default();
        assert!(faults.concern(&head));
        faults.nodes = vec![b"one".as_slice().into()];
        assert!(!faults.concern(&head));
        head.headers.append(b"x-envoy-downstream-service-node", b"one");
        assert!(faults.concern(&head));
    }

    #[test]
    fn failures_have_a_status_of_http_and_those_of_calls_one_of_grpc() {
        let reply = Failure::Grpc(14).reply();
        assert_eq!((reply.status, reply.grpc_status), (200, Some(14)));
        let reply = Failure::Http(418).reply();
        assert_eq!((reply.status, reply.grpc_status), (418, None));
    }
}
