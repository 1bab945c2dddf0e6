//! Routes that try again, below a host of their own: `/NAME`.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{PROTOCOL, cluster, header};

/// Clusters for what is tried again.
pub(super) fn clusters(origin: SocketAddr) -> [Value; 2] {
    let mut narrow = cluster("no-retry", &[origin]);
    narrow["circuit_breakers"] = json!({"thresholds": [{"max_retries": 0}]});
    // Its connections carry one request each: what is sent on a new one is sent again by the policy alone.
    let mut new = cluster("new", &[origin]);
    new["typed_extension_protocol_options"] = json!({
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": PROTOCOL,
            "explicit_http_config": {"http_protocol_options": {"enable_trailers": true}}}});
    [narrow, new]
}

/// Conditions by the name of their route, each tried again twice.
const CONDITIONS: [(&str, &str); 12] = [
    ("5xx", "5xx"),
    ("gateway", "gateway-error"),
    ("reset", "reset"),
    ("before", "reset-before-request"),
    ("connect", "connect-failure"),
    ("4xx", "retriable-4xx"),
    ("limited", "envoy-ratelimited"),
    ("refused", "refused-stream"),
    ("grpc", "cancelled,deadline-exceeded,resource-exhausted,internal"),
    ("istio", "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"),
    ("words", " 5xx,nonsense, gateway-error"),
    ("none", ""),
];

/// The host.
pub(super) fn virtual_host() -> Value {
    let by_condition = CONDITIONS.iter().map(|(name, on)| route(name, json!({"retry_on": on})));
    let soon = json!({"base_interval": "0.001s", "max_interval": "0.002s"});
    let more = [
        (
            "statuses",
            json!({"retry_on": "retriable-status-codes", "retriable_status_codes": [404, 418]}),
        ),
        (
            "headers",
            json!({"retry_on": "retriable-headers", "retriable_headers": [
            {"name": "x-again", "string_match": {"exact": "yes"}},
            {"name": ":status", "string_match": {"prefix": "41"}}]}),
        ),
        (
            "asked",
            json!({"retry_on": "5xx", "retriable_request_headers": [
            {"name": "x-may", "present_match": true}]}),
        ),
        ("try", json!({"retry_on": "gateway-error", "per_try_timeout": "0.3s"})),
        ("try-only", json!({"retry_on": "connect-failure", "per_try_timeout": "0.3s"})),
        ("try-idle", json!({"retry_on": "5xx", "per_try_idle_timeout": "0.3s"})),
        ("once", json!({"retry_on": "5xx", "num_retries": null})),
        ("never", json!({"retry_on": "5xx", "num_retries": 0})),
        ("soon", json!({"retry_on": "5xx", "retry_back_off": soon})),
    ];
    let mut routes: Vec<Value> =
        by_condition.chain(more.into_iter().map(|(name, policy)| route(name, policy))).collect();
    let mut small = route("small", json!({"retry_on": "5xx"}));
    small["per_request_buffer_limit_bytes"] = 4.into();
    let mut small_never = route("small-never", json!({"retry_on": "5xx", "num_retries": 0}));
    small_never["per_request_buffer_limit_bytes"] = 4.into();
    let mut timed = route("timed", json!({"retry_on": "5xx", "per_try_timeout": "0.3s"}));
    timed["route"]["timeout"] = "0.7s".into();
    let mut shorter = route("shorter", json!({"retry_on": "5xx", "per_try_timeout": "5s"}));
    shorter["route"]["timeout"] = "0.4s".into();
    let mut inherited = route("inherited", Value::Null);
    inherited["route"].as_object_mut().expect("an object").remove("retry_policy");
    routes.extend([
        small,
        small_never,
        timed,
        shorter,
        inherited,
        to("http2", "origin2", "5xx,refused-stream"),
        to("http2-istio", "origin2", "connect-failure,refused-stream,unavailable,cancelled"),
        to("nobody", "refused", "connect-failure"),
        to("nobody-5xx", "refused", "5xx"),
        to("nobody-before", "refused", "reset-before-request"),
        to("empty", "empty", "5xx"),
        to("narrow", "no-retry", "5xx"),
    ]);
    // Longer names first, as paths are matched by prefix.
    routes.sort_by_key(|route| std::cmp::Reverse(route["match"]["prefix"].as_str().map(str::len)));
    json!({
        "name": "retry", "domains": ["retry.example"], "routes": routes,
        "include_request_attempt_count": true,
        "include_attempt_count_in_response": true,
        "retry_policy": {"retry_on": "5xx", "num_retries": 1},
        "response_headers_to_add": [header("x-host", "retry", "APPEND_IF_EXISTS_OR_ADD")],
    })
}

fn route(name: &str, mut policy: Value) -> Value {
    if policy.is_object() && policy.get("num_retries").is_none() {
        policy["num_retries"] = 2.into();
    }
    json!({"match": {"prefix": format!("/{name}")}, "route": {
        "cluster": "new", "timeout": "0s", "retry_policy": policy}})
}

fn to(name: &str, cluster: &str, on: &str) -> Value {
    let mut route = route(name, json!({"retry_on": on}));
    route["route"]["cluster"] = cluster.into();
    route
}
