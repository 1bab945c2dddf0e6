//! The same small traffic through Envoy and through us: what operators look at counts the same.

use std::collections::BTreeMap;
use std::future::pending;
use std::net::SocketAddr;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tidegate_testing::client::{self, Client};
use tidegate_testing::origin::{Body, Origin, echo};
use tidegate_testing::tools::Tool;
use tidegate_testing::{HeldPort, PATIENCE, eventually};

use crate::bootstrap::{Origins, Pipes, bootstrap};
use crate::sides::{Listeners, Side};

/// What must be equal, by prefix.
const COUNTERS: &[(&str, &[&str])] = &[
    (
        "http.edge",
        &[
            "downstream_cx_active",
            "downstream_cx_destroy",
            "downstream_cx_destroy_active_rq",
            "downstream_cx_destroy_local",
            "downstream_cx_destroy_local_active_rq",
            "downstream_cx_destroy_remote",
            "downstream_cx_destroy_remote_active_rq",
            "downstream_cx_http1_total",
            "downstream_cx_protocol_error",
            "downstream_cx_total",
            "downstream_rq_2xx",
            "downstream_rq_3xx",
            "downstream_rq_4xx",
            "downstream_rq_5xx",
            "downstream_rq_active",
            "downstream_rq_completed",
            "downstream_rq_failed_path_normalization",
            "downstream_rq_response_before_rq_complete",
            "downstream_rq_total",
            "no_cluster",
            "no_route",
            "rq_direct_response",
            "rq_total",
        ],
    ),
    (
        "http.policy.fault",
        &["aborts_injected", "active_faults", "delays_injected", "faults_overflow"],
    ),
    ("http.policy.cors", &["origin_invalid", "origin_valid"]),
    ("http.rbac", &["downstream_rq_2xx", "downstream_rq_4xx", "no_route", "rq_total"]),
    ("http.rbac.rbac", &["allowed", "denied"]),
    ("limit.http_local_rate_limit", LIMITED),
    ("of-listener.http_local_rate_limit", LIMITED),
    ("http.rbac.rbac.log", &["allowed", "denied"]),
    ("http.rbac.rbac.own", &["allowed", "denied"]),
    ("http.rbac.rbac.dry", &["shadow_allowed", "shadow_denied"]),
    ("http.jwt", &["downstream_rq_2xx", "downstream_rq_4xx", "no_route", "rq_total"]),
    ("http.jwt.jwt_authn", &["allowed", "cors_preflight_bypassed", "denied"]),
    ("chain.rbac", &["allowed", "denied"]),
    ("cluster.origin", UPSTREAM),
    ("cluster.refused", UPSTREAM),
    ("cluster.empty", UPSTREAM),
    ("cluster.copies", COPIED),
    ("cluster.no-copies", COPIED),
    ("cluster.new", RETRIED),
    ("cluster.no-retry", RETRIED),
    (
        "cluster_manager",
        &["active_clusters", "cluster_added", "cluster_modified", "cluster_removed"],
    ),
    (
        "listener_manager",
        &[
            "listener_added",
            "listener_create_failure",
            "listener_create_success",
            "listener_modified",
            "listener_removed",
            "listener_stopped",
            "total_listeners_active",
            "total_listeners_draining",
            "workers_started",
        ],
    ),
];

const LIMITED: &[&str] = &["enabled", "enforced", "ok", "rate_limited", "shadow_mode"];

const UPSTREAM: &[&str] = &[
    "circuit_breakers.default.cx_open",
    "circuit_breakers.default.rq_open",
    "circuit_breakers.default.rq_pending_open",
    "circuit_breakers.default.rq_retry_open",
    "membership_change",
    "membership_healthy",
    "membership_total",
    "upstream_cx_connect_fail",
    "upstream_cx_destroy",
    "upstream_cx_destroy_local",
    "upstream_cx_destroy_local_with_active_rq",
    "upstream_cx_destroy_remote",
    "upstream_cx_destroy_remote_with_active_rq",
    "upstream_cx_destroy_with_active_rq",
    "upstream_cx_http1_total",
    "upstream_cx_none_healthy",
    "upstream_cx_total",
    "upstream_rq_200",
    "upstream_rq_2xx",
    "upstream_rq_503",
    "upstream_rq_504",
    "upstream_rq_5xx",
    "upstream_rq_active",
    "upstream_rq_completed",
    "upstream_rq_pending_failure_eject",
    "upstream_rq_pending_total",
    "upstream_rq_timeout",
    "upstream_rq_total",
];

/// Of copies. How many connections they need is a matter of chance, as nobody waits for their end.
const COPIED: &[&str] = &[
    "upstream_rq_200",
    "upstream_rq_503",
    "upstream_rq_active",
    "upstream_rq_active_overflow",
    "upstream_rq_completed",
    "upstream_rq_timeout",
    "upstream_rq_total",
];

const RETRIED: &[&str] = &[
    "retry.upstream_rq_503",
    "retry.upstream_rq_5xx",
    "retry.upstream_rq_completed",
    "upstream_rq_503",
    "upstream_rq_504",
    "upstream_rq_completed",
    "upstream_rq_per_try_idle_timeout",
    "upstream_rq_per_try_timeout",
    "upstream_rq_retry",
    "upstream_rq_retry_backoff_exponential",
    "upstream_rq_retry_limit_exceeded",
    "upstream_rq_retry_overflow",
    "upstream_rq_retry_success",
    "upstream_rq_timeout",
    "upstream_rq_total",
];

/// What an endpoint counts, of which `/clusters` tells.
const ENDPOINT: &[&str] = &[
    "cx_active",
    "cx_connect_fail",
    "cx_total",
    "rq_active",
    "rq_error",
    "rq_pending_active",
    "rq_success",
    "rq_timeout",
    "rq_total",
];

/// Answers nothing below `/slow`, `/try` and `/o/hang`; 503 below `/5xx` and `/narrow`.
async fn answer(request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path();
    if ["/5xx", "/narrow"].contains(&path) {
        let mut answer = echo(request).await;
        *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        return answer;
    }
    if path.starts_with("/slow") || path == "/try" || path == "/o/hang" {
        pending::<()>().await;
    }
    echo(request).await
}

/// Requests that there are tokens for, and others; of filters, and of routes with limits of their own.
async fn ask_limits(listeners: &Listeners) {
    let mut client = Client::connect(listeners["limit"]).await;
    for (path, header, status) in [
        ("/direct", "x-a: 1", 200),
        ("/direct", "x-a: 1", 200),
        ("/direct", "x-a: 1", 429),
        ("/listener/a", "x-a: 1", 404),
        ("/listener/b?x", "x-a: 1", 429),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: limit.example\r\n{header}\r\n\r\n");
        let answer = client.request(request).await;
        assert_eq!(answer.status, status, "{path}");
    }
}

/// Asks those who do not let everybody in.
async fn ask_rbac(listeners: &Listeners) {
    let get = |host: &str, path: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    for (host, path, status) in [
        ("any", "/path", 200),
        ("any", "/deny", 403),
        ("any", "/shut", 403),
        ("any", "/none", 404),
        ("rbac.example", "/deny/anybody", 200),
        ("rbac.example", "/deny/nobody", 403),
    ] {
        let mut client = Client::connect(listeners["rbac"]).await;
        assert_eq!(client.request(get(host, path)).await.status, status, "{host}{path}");
    }
    let mut client = Client::connect(listeners["rbac-open"]).await;
    assert_eq!(client.request(get("any", "/path")).await.status, 200);
    let mut client = Client::connect(listeners["rbac-closed"]).await;
    client.send(get("any", "/path")).await;
    assert_eq!(client.read_to_end().await, b"");
}

/// Asks for faults, and from other origins.
async fn ask_policy(listeners: &Listeners) {
    let mut client = Client::connect(listeners["policy"]).await;
    for (line, headers, status) in [
        ("GET /fault/503", "", 503),
        ("GET /fault/delay", "", 200),
        ("GET /fault/both", "", 504),
        ("GET /fault/full", "", 200),
        ("GET /fault/of-filter", "X-Fail: yes\r\n", 429),
        ("GET /cors/whole", "Origin: https://a.example\r\n", 200),
        ("GET /cors/whole", "Origin: https://evil\r\n", 200),
        ("GET /cors/shadow", "Origin: https://evil\r\n", 200),
        ("GET /cors/off", "Origin: https://evil\r\n", 200),
    ] {
        let request = format!("{line} HTTP/1.1\r\nHost: policy.example\r\n{headers}\r\n");
        assert_eq!(client.request(request).await.status, status, "{line}");
    }
}

/// Asks what is copied.
async fn ask_mirrors(edge: SocketAddr) {
    let mut client = Client::connect(edge).await;
    for (path, status) in [
        ("/one", 200),
        ("/all", 200),
        ("/nobody", 200),
        ("/nowhere", 200),
        ("/refused", 200),
        ("/full", 200),
        ("/of-refused", 503),
        ("/of-empty", 503),
    ] {
        for request in ["GET", "POST"] {
            let request = format!(
                "{request} {path} HTTP/1.1\r\nHost: mirror.example\r\nContent-Length: 0\r\n\r\n"
            );
            assert_eq!(client.request(request).await.status, status, "{path}");
        }
    }
}

/// Asks all that is counted, one thing after the other.
async fn ask(edge: SocketAddr, origin: &Origin) {
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: any\r\n\r\n");
    for (path, status) in [
        ("/o", 200),
        ("/direct/418", 418),
        ("/to/https", 301),
        ("/nowhere", 404),
        ("/unknown", 503),
        ("/refused", 503),
        ("/empty", 503),
        ("/slow", 504),
    ] {
        assert_eq!(Client::connect(edge).await.request(get(path)).await.status, status, "{path}");
    }
    for (path, status) in [("/5xx", 503), ("/narrow", 503), ("/try", 504), ("/connect", 200)] {
        let request = get(path).replace("any", "retry.example");
        assert_eq!(Client::connect(edge).await.request(request).await.status, status, "{path}");
    }
    let mut twice = Client::connect(edge).await;
    for _ in 0..2 {
        assert_eq!(twice.request(get("/o")).await.status, 200);
    }
    drop(twice);
    // Read to the end, as who of both closes first is what is counted.
    for malformed in [get("/o/%00"), "GET / HTTP/1.1\r\nno header\r\n\r\n".to_owned()] {
        let mut client = Client::connect(edge).await;
        client.send(malformed).await;
        assert!(client.read_to_end().await.starts_with(b"HTTP/1.1 400 "));
    }
    let mut hasty = Client::connect(edge).await;
    let before = origin.requests();
    hasty.send(get("/o/hang")).await;
    eventually(PATIENCE, || async { origin.requests() > before }).await;
}

fn listed(get: impl Fn(&str) -> u64) -> BTreeMap<String, u64> {
    let names = COUNTERS
        .iter()
        .flat_map(|(prefix, names)| names.iter().map(move |name| format!("{prefix}.{name}")));
    names.map(|name| (name.clone(), get(&name))).collect()
}

/// Numbers in lines `NAME: VALUE` and `CLUSTER::ADDRESS::NAME::VALUE`, by what stands before the last separator.
fn numbers(text: &str, separator: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let (name, value) = line.rsplit_once(separator)?;
        Some((name.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// What a side has counted, as its admin interface tells.
async fn counted(side: &Side, endpoint: SocketAddr) -> BTreeMap<String, u64> {
    let stats = client::get(side.admin, "127.0.0.1", "/stats").await.text();
    let stats = numbers(&stats, ": ");
    let mut all = listed(|name| stats.get(name).copied().unwrap_or(0));
    let clusters = client::get(side.admin, "127.0.0.1", "/clusters").await.text();
    let clusters = numbers(&clusters, "::");
    all.extend(ENDPOINT.iter().map(|name| {
        let value = clusters.get(&format!("origin::{endpoint}::{name}")).copied();
        ((*name).to_owned(), value.unwrap_or(0))
    }));
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traffic_counts_as_in_envoy() {
    let Some(program) = Tool::Envoy.need() else { return };
    let origin = Origin::start().http(answer).await;
    let http2 = Origin::start().http2().http(answer).await;
    let refused = HeldPort::any();
    let nobody = || "/nobody".to_owned();
    let origins = Origins {
        http1: origin.address(),
        http2: http2.address(),
        refused: refused.address,
        pipes: Pipes { http1: nobody(), http2: nobody(), refused: nobody() },
        numbered: Vec::new(),
        own: Vec::new(),
    };
    let bootstrap = bootstrap(&origins);
    let tidegate = Side::tidegate(&bootstrap).await;
    let envoy = Side::envoy(&program, &bootstrap).await;
    ask(envoy.listeners["edge"], &origin).await;
    ask_mirrors(envoy.listeners["edge"]).await;
    ask_rbac(&envoy.listeners).await;
    ask_policy(&envoy.listeners).await;
    ask_limits(&envoy.listeners).await;
    ask_rbac(&tidegate.listeners).await;
    ask_limits(&tidegate.listeners).await;
    ask(tidegate.listeners["edge"], &origin).await;
    ask_mirrors(tidegate.listeners["edge"]).await;
    ask_policy(&tidegate.listeners).await;
    // What a closed connection counts is counted when its end is seen.
    eventually(PATIENCE, || async {
        let theirs = counted(&envoy, origin.address()).await;
        let ours = counted(&tidegate, origin.address()).await;
        let differ = theirs.iter().filter(|(name, value)| ours.get(*name) != Some(*value));
        let differ: Vec<_> = differ
            .map(|(name, value)| format!("{name}: {value}, ours {:?}", ours.get(name)))
            .collect();
        if differ.is_empty() { Ok(()) } else { Err(differ) }
    })
    .await;
}
