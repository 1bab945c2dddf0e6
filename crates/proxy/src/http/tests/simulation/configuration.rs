//! What a schedule is configured with.

use std::sync::Arc;

use super::super::forward;
use super::ledger::Terms;
use super::{SOONEST_TIMEOUT, millis};
use crate::route::{Action, RetryOn, RetryPolicy};
use crate::upstream::cluster::{
    Cluster, ClusterSlot, EndpointSet, Limits, ProxyHeader, RetryBudget, UpstreamProtocol,
};
use crate::upstream::outlier::simulation::form;

/// What a route does about failures.
pub(super) fn terms(random: &mut fastrand::Rng) -> Terms {
    let names = [
        "",
        "connect-failure,refused-stream,unavailable,cancelled",
        "connect-failure,reset-before-request",
        "reset",
        "5xx",
        "gateway-error",
        "retriable-status-codes",
    ];
    Terms {
        on: names[random.usize(..names.len())],
        most: random.u32(0..4),
        per_try: (random.u32(..4) == 0).then(|| millis(random.u64(20..500))),
        timeout: (random.u32(..4) > 0).then(|| millis(random.u64(100..5000))),
        keep: [0, 1000, 1 << 16][random.usize(..3)],
    }
}

/// What a route does.
pub(super) fn way(random: &mut fastrand::Rng, slot: &Arc<ClusterSlot>, terms: &Terms) -> Action {
    let mut action = forward(Arc::clone(slot), terms.timeout);
    if let Action::Forward(forward) = &mut action {
        forward.retry = Some(Arc::new(RetryPolicy {
            on: RetryOn::parse(terms.on),
            most: terms.most,
            statuses: vec![500],
            answers_with: Vec::new(),
            requests_with: Vec::new(),
            per_try: terms.per_try,
            per_try_idle: None,
            pause: millis(random.u64(1..50)),
            longest_pause: millis(random.u64(50..300)),
            others_first: random.bool(),
            selections: random.u32(0..4),
        }));
        forward.keep = terms.keep as u64;
    }
    action
}

/// A form of the cluster. With `introduces`, connections begin with who their client is.
pub(super) fn cluster_of(
    random: &mut fastrand::Rng,
    endpoints: EndpointSet,
    introduces: bool,
) -> Cluster {
    let few = |random: &mut fastrand::Rng, least: u32| match random.u32(..3) {
        0 => random.u32(least..4),
        _ => 1024,
    };
    let mut cluster = form(random, endpoints);
    cluster.connect_timeout = SOONEST_TIMEOUT + millis(random.u64(..950));
    cluster.buffer_limit = 1 << 20;
    cluster.proxy_header = introduces.then_some(ProxyHeader::V1);
    if random.u32(..4) == 0 {
        cluster.http.protocol = Some(UpstreamProtocol::Http2);
        cluster.http.max_streams = few(random, 1);
    }
    cluster.http.idle_timeout = random.bool().then(|| millis(random.u64(100..5000)));
    cluster.http.max_duration = (random.u32(..4) == 0).then(|| millis(random.u64(100..2000)));
    cluster.http.max_requests = (random.u32(..4) == 0).then(|| random.u32(1..4));
    cluster.limits = Limits {
        connections: few(random, 1),
        pending_requests: few(random, 0),
        requests: few(random, 1),
        retries: few(random, 0),
        retry_budget: (random.u32(..6) == 0).then_some(RetryBudget {
            share: 50_000,
            least: 1,
            interval: None,
        }),
    };
    cluster
}
