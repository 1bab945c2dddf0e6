//! What happens to the clusters, and what must have come of it.

use serde_json::{Value, json};

use super::REFUSED;
use crate::bootstrap::PROTOCOL;

/// What is to happen with one cluster.
pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// `outlier_detection`
    pub(super) outlier: Value,
    /// Other fields of the cluster.
    pub(super) more: Value,
    pub(super) steps: Vec<Step>,
}

pub(super) enum Step {
    /// So many requests for an endpoint, which answers with the first status; the client sees the second one.
    Ask(usize, usize, u16, u16),
    /// Requests for an endpoint, asked for the first status, until the client sees the second: workers are the last to
    /// know who is ejected.
    Until(usize, u16, u16),
    /// Requests for an endpoint, asked for this status, until another one gets them, and one more.
    Elsewhere(usize, u16),
    /// So many TCP connections, none of which leads anywhere.
    Dial(usize),
    /// What is counted by now, and stays so until the next step.
    Counts(&'static [(&'static str, u64)]),
    /// The endpoints that `/clusters` shows as ejected.
    Ejected(&'static [usize]),
}

use Step::{Ask, Counts, Dial, Ejected, Elsewhere, Until};

fn scenario(name: &'static str, outlier: Value, steps: Vec<Step>) -> Scenario {
    Scenario { name, outlier, more: json!({}), steps }
}

/// A time in which nothing returns by itself.
const LONG: &str = "600s";

pub(super) fn scenarios() -> Vec<Scenario> {
    [in_a_row(), apart(), shares(), panic(), rates(), other()].into_iter().flatten().collect()
}

fn in_a_row() -> Vec<Scenario> {
    let three = json!({"consecutive_5xx": 3, "max_ejection_percent": 100,
        "interval": "0.2s", "base_ejection_time": LONG, "max_ejection_time": LONG});
    let soon = json!({"consecutive_5xx": 3, "max_ejection_percent": 100,
        "interval": "0.2s", "base_ejection_time": "0.2s"});
    let gateway = json!({"consecutive_gateway_failure": 2,
        "enforcing_consecutive_gateway_failure": 100, "enforcing_consecutive_5xx": 0,
        "max_ejection_percent": 100, "base_ejection_time": LONG, "max_ejection_time": LONG});
    vec![
        scenario(
            "5xx",
            three.clone(),
            vec![
                Ask(0, 2, 500, 500),
                Ask(0, 1, 404, 404),
                Ask(0, 2, 500, 500),
                Counts(&[("ejections_detected_consecutive_5xx", 0)]),
                Ask(0, 1, 503, 503),
                Counts(&[
                    ("ejections_active", 1),
                    ("ejections_total", 1),
                    ("ejections_consecutive_5xx", 1),
                    ("ejections_enforced_total", 1),
                    ("ejections_detected_consecutive_5xx", 1),
                    ("ejections_enforced_consecutive_5xx", 1),
                    ("ejections_detected_consecutive_gateway_failure", 0),
                    ("membership_healthy", 3),
                    ("membership_total", 4),
                ]),
                Ejected(&[0]),
                Elsewhere(0, 418),
                Counts(&[("ejections_overflow", 0), ("ejections_enforced_total", 1)]),
            ],
        ),
        scenario(
            "returns",
            soon,
            vec![
                Ask(0, 3, 500, 500),
                Counts(&[("ejections_enforced_total", 1), ("ejections_active", 0)]),
                Ejected(&[]),
                Until(0, 418, 418),
                Ask(0, 3, 500, 500),
                Counts(&[("ejections_enforced_total", 2), ("membership_healthy", 4)]),
            ],
        ),
        scenario(
            "gateway failures",
            gateway,
            vec![
                Ask(0, 1, 503, 503),
                Ask(0, 1, 500, 500),
                Ask(0, 1, 504, 504),
                Counts(&[("ejections_detected_consecutive_gateway_failure", 0)]),
                Ask(0, 1, 502, 502),
                Counts(&[
                    ("ejections_active", 1),
                    ("ejections_total", 0),
                    ("ejections_detected_consecutive_gateway_failure", 1),
                    ("ejections_enforced_consecutive_gateway_failure", 1),
                    ("ejections_enforced_total", 1),
                ]),
                Ask(1, 1, 500, 500),
                Ask(1, 4, 599, 599),
                Counts(&[
                    ("ejections_total", 1),
                    ("ejections_detected_consecutive_5xx", 1),
                    ("ejections_enforced_consecutive_5xx", 0),
                    ("ejections_active", 1),
                ]),
            ],
        ),
        scenario(
            "no connection",
            three.clone(),
            vec![
                Ask(REFUSED, 3, 0, 503),
                Counts(&[
                    ("ejections_active", 1),
                    ("ejections_detected_consecutive_5xx", 1),
                    ("ejections_detected_consecutive_gateway_failure", 0),
                    ("upstream_cx_connect_fail", 3),
                ]),
                Ejected(&[REFUSED]),
                Until(REFUSED, 200, 200),
            ],
        ),
        scenario(
            "no answer in time",
            three,
            vec![
                Ask(1, 3, 0, 504),
                Counts(&[("ejections_active", 1), ("ejections_enforced_consecutive_5xx", 1)]),
                Ejected(&[1]),
            ],
        ),
    ]
}

/// Errors without an answer, apart from those with one.
fn apart() -> Vec<Scenario> {
    let split = json!({"split_external_local_origin_errors": true,
        "consecutive_local_origin_failure": 2, "max_ejection_percent": 100,
        "base_ejection_time": LONG, "max_ejection_time": LONG});
    vec![
        scenario(
            "split, no connection",
            split.clone(),
            vec![
                Ask(REFUSED, 2, 0, 503),
                Counts(&[
                    ("ejections_active", 1),
                    ("ejections_total", 0),
                    ("ejections_detected_consecutive_5xx", 0),
                    ("ejections_detected_consecutive_local_origin_failure", 1),
                    ("ejections_enforced_consecutive_local_origin_failure", 1),
                ]),
                Ejected(&[REFUSED]),
            ],
        ),
        scenario(
            // That there was a connection is a success of its own.
            "split, no answer in time",
            split.clone(),
            vec![
                Ask(0, 4, 0, 504),
                Counts(&[("ejections_detected_consecutive_local_origin_failure", 0)]),
                Ejected(&[]),
            ],
        ),
        scenario(
            "split, answers",
            split,
            vec![
                Ask(0, 5, 503, 503),
                Counts(&[
                    ("ejections_enforced_consecutive_5xx", 1),
                    ("ejections_detected_consecutive_gateway_failure", 1),
                    ("ejections_enforced_consecutive_gateway_failure", 0),
                    ("ejections_detected_consecutive_local_origin_failure", 0),
                ]),
                Ejected(&[0]),
            ],
        ),
    ]
}

/// How many may be ejected.
fn shares() -> Vec<Scenario> {
    let with = |more: Value| {
        let mut all = json!({"consecutive_5xx": 1,
            "base_ejection_time": LONG, "max_ejection_time": LONG});
        for (name, value) in more.as_object().into_iter().flatten() {
            all[name] = value.clone();
        }
        all
    };
    vec![
        scenario(
            "10 percent of four are none",
            with(json!({})),
            vec![
                Ask(0, 1, 500, 500),
                Counts(&[
                    ("ejections_overflow", 1),
                    ("ejections_total", 0),
                    ("ejections_consecutive_5xx", 1),
                    ("ejections_detected_consecutive_5xx", 1),
                ]),
                Ask(0, 1, 500, 500),
                Counts(&[("ejections_overflow", 2), ("ejections_active", 0)]),
            ],
        ),
        scenario(
            "but one always, where that is said",
            with(json!({"always_eject_one_host": true})),
            vec![
                Ask(0, 1, 500, 500),
                Counts(&[("ejections_active", 1)]),
                Ask(1, 1, 500, 500),
                Counts(&[("ejections_overflow", 1), ("ejections_active", 1)]),
            ],
        ),
        scenario(
            "half",
            with(json!({"max_ejection_percent": 50})),
            vec![
                Ask(0, 1, 500, 500),
                Counts(&[("ejections_active", 1)]),
                Ask(1, 1, 500, 500),
                Counts(&[("ejections_active", 2)]),
                Ask(2, 1, 500, 500),
                Counts(&[("ejections_overflow", 1), ("ejections_active", 2)]),
                Ejected(&[0, 1]),
            ],
        ),
        scenario(
            "only detected",
            with(json!({"enforcing_consecutive_5xx": 0, "max_ejection_percent": 100})),
            vec![
                Ask(0, 1, 500, 500),
                Counts(&[
                    ("ejections_detected_consecutive_5xx", 1),
                    ("ejections_total", 1),
                    ("ejections_enforced_total", 0),
                    ("ejections_active", 0),
                ]),
            ],
        ),
    ]
}

/// Too few are left.
fn panic() -> Vec<Scenario> {
    let all = json!({"consecutive_5xx": 1, "max_ejection_percent": 100,
        "base_ejection_time": LONG, "max_ejection_time": LONG});
    let two = || {
        vec![
            Ask(0, 1, 500, 500),
            Counts(&[("ejections_active", 1)]),
            Ask(1, 1, 500, 500),
            Counts(&[("ejections_active", 2), ("membership_healthy", 2), ("lb_healthy_panic", 0)]),
        ]
    };
    let threshold =
        |value: u32| json!({"common_lb_config": {"healthy_panic_threshold": {"value": value}}});
    let mut panicking = two();
    panicking.extend([
        Until(0, 404, 404),
        Ask(0, 2, 404, 404),
        Counts(&[("lb_healthy_panic", 3), ("upstream_rq_404", 3)]),
        Ejected(&[0, 1]),
    ]);
    let mut calm = two();
    calm.extend([Ask(2, 2, 404, 404), Counts(&[("lb_healthy_panic", 0)])]);
    let mut none = two();
    none.extend([
        Ask(2, 1, 500, 500),
        Counts(&[("ejections_active", 3)]),
        Ask(3, 1, 500, 500),
        Counts(&[("ejections_active", 4), ("membership_healthy", 0)]),
        Until(0, 200, 503),
        Ask(0, 2, 200, 503),
        Counts(&[("upstream_cx_none_healthy", 3), ("lb_healthy_panic", 0)]),
    ]);
    let with = |name, value, steps| Scenario {
        more: threshold(value),
        ..scenario(name, all.clone(), steps)
    };
    let three_are_enough = vec![
        Ask(0, 1, 500, 500),
        Counts(&[("ejections_active", 1)]),
        Ask(1, 2, 404, 404),
        Counts(&[("lb_healthy_panic", 0)]),
    ];
    vec![
        with("half is less than 51 percent", 51, panicking),
        with("half is 50 percent", 50, calm),
        with("nobody is left", 0, none),
        with("three of four are enough in any case", 100, three_are_enough),
    ]
}

/// What is judged in intervals.
fn rates() -> Vec<Scenario> {
    let with = |more: Value| {
        let mut all = json!({"consecutive_5xx": 0, "max_ejection_percent": 100, "interval": "0.5s",
            "base_ejection_time": LONG, "max_ejection_time": LONG,
            "success_rate_request_volume": 1, "failure_percentage_request_volume": 1});
        for (name, value) in more.as_object().into_iter().flatten() {
            all[name] = value.clone();
        }
        all
    };
    vec![
        scenario(
            "failure percentage",
            with(
                json!({"failure_percentage_minimum_hosts": 1, "failure_percentage_threshold": 100,
                "enforcing_failure_percentage": 100}),
            ),
            vec![
                Elsewhere(0, 500),
                Counts(&[
                    ("ejections_detected_failure_percentage", 1),
                    ("ejections_enforced_failure_percentage", 1),
                    ("ejections_total", 0),
                    ("ejections_active", 1),
                ]),
                Ejected(&[0]),
            ],
        ),
        scenario(
            "too few for a percentage",
            with(json!({"failure_percentage_minimum_hosts": 2, "failure_percentage_threshold": 1,
                "enforcing_failure_percentage": 100})),
            vec![
                Ask(0, 9, 500, 500),
                Counts(&[("ejections_detected_failure_percentage", 0), ("ejections_active", 0)]),
            ],
        ),
    ]
}

fn other() -> Vec<Scenario> {
    let three = json!({"consecutive_5xx": 3, "consecutive_gateway_failure": 3,
        "max_ejection_percent": 100, "base_ejection_time": LONG, "max_ejection_time": LONG});
    let is = |status: &str| {
        let exact = json!({"name": ":status", "string_match": {"exact": status}});
        json!({"http_response_headers_match": {"headers": [exact]}})
    };
    let matcher = json!({"or_match": {"rules": [is("429"), is("418")]}});
    let options = json!({"typed_extension_protocol_options": {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": PROTOCOL, "explicit_http_config": {"http_protocol_options": {}},
            "outlier_detection": {"error_matcher": matcher}}}});
    let matched = |name, outlier| Scenario {
        more: options.clone(),
        ..scenario(
            name,
            outlier,
            vec![
                Ask(0, 4, 503, 503),
                Counts(&[("ejections_detected_consecutive_5xx", 0)]),
                Ask(0, 2, 429, 429),
                Ask(0, 1, 418, 418),
                Counts(&[("ejections_detected_consecutive_5xx", 1), ("ejections_active", 1)]),
                Ejected(&[0]),
            ],
        )
    };
    let mut split = three.clone();
    split["split_external_local_origin_errors"] = true.into();
    vec![
        matched("said failures", three.clone()),
        matched("said failures, split", split),
        scenario(
            "tcp",
            three,
            vec![
                Dial(3),
                Counts(&[("ejections_detected_consecutive_5xx", 1), ("ejections_active", 1)]),
                Dial(1),
                Counts(&[("lb_healthy_panic", 1), ("upstream_cx_connect_fail", 4)]),
            ],
        ),
    ]
}
