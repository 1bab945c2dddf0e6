//! A cluster's limits in Envoy and in ours: how much is in flight and waits, what is told who comes beyond that, and what
//! it counts as. Requests are held by the origins, so that each one comes to a state that is known.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tidegate_testing::client::{self, Client};
use tidegate_testing::origin::{Body, Origin, full};
use tidegate_testing::tools::Tool;
use tidegate_testing::{Gate, PATIENCE, eventually};
use tokio::task::JoinSet;

use crate::bootstrap::{PROTOCOL, address, edge, tcp};
use crate::differences::without;
use crate::sides::Side;

/// What must be equal, while requests are held and after that.
const COUNTS: &[&str] = &[
    "circuit_breakers.default.cx_open",
    "circuit_breakers.default.rq_open",
    "circuit_breakers.default.rq_pending_open",
    "circuit_breakers.default.rq_retry_open",
    "upstream_cx_active",
    "upstream_cx_total",
    "upstream_rq_200",
    "upstream_rq_503",
    "upstream_rq_active",
    "upstream_rq_active_overflow",
    "upstream_rq_completed",
    "upstream_rq_pending_active",
    "upstream_rq_pending_overflow",
    "upstream_rq_pending_total",
    "upstream_rq_retry",
    "upstream_rq_retry_overflow",
    "upstream_rq_retry_success",
    "upstream_rq_total",
];

/// Those of them that say of a limit whether it is reached. A limit of 0 that was ever gone beyond stays so in Envoy.
const GAUGES: &str = "circuit_breakers.";
/// … and those that say how many connections there were. A request that may not be sent has one in Envoy, and one that is
/// tried again has another, where its first one is free at that moment.
const CONNECTIONS: &[&str] =
    &["upstream_cx_active", "upstream_cx_total", "upstream_rq_pending_total"];

/// A limit, and requests that come one after the other.
struct Scenario {
    name: &'static str,
    /// `circuit_breakers.thresholds[0]`
    limits: Value,
    endpoints: usize,
    http2: bool,
    /// Streams of an HTTP/2 connection.
    streams: Option<u32>,
    /// Whether origins fail each request the first time.
    fails: bool,
    /// Requests that are answered at once, before all others.
    before: usize,
    /// How many origins have at a time.
    inside: usize,
    /// How many wait for a connection.
    waiting: u64,
    /// Whether [`GAUGES`] are compared.
    gauges: bool,
    /// Whether [`CONNECTIONS`] are.
    connections: bool,
}

impl Scenario {
    fn new(name: &'static str, limits: Value, inside: usize, waiting: u64) -> Self {
        let (http2, streams, fails, before) = Default::default();
        let (gauges, connections) = (true, true);
        Self {
            name,
            limits,
            endpoints: 1,
            http2,
            streams,
            fails,
            before,
            inside,
            waiting,
            gauges,
            connections,
        }
    }

    /// Without [`GAUGES`].
    fn untold(self) -> Self {
        Self { gauges: false, ..self }
    }

    /// Without [`CONNECTIONS`].
    fn uncounted(self) -> Self {
        Self { connections: false, ..self }
    }

    fn compares(&self, count: &str) -> bool {
        COUNTS.contains(&count)
            && (self.gauges || !count.starts_with(GAUGES))
            && (self.connections || !CONNECTIONS.contains(&count))
    }

    fn at(self, endpoints: usize) -> Self {
        Self { endpoints, ..self }
    }

    fn http2(self, streams: Option<u32>) -> Self {
        Self { http2: true, streams, ..self }
    }

    fn after(self, before: usize) -> Self {
        Self { before, ..self }
    }

    fn failing(self) -> Self {
        Self { fails: true, ..self.uncounted() }
    }
}

fn scenarios() -> Vec<Scenario> {
    let of = Scenario::new;
    let waiting = json!({"max_connections": 2, "max_pending_requests": 3});
    let budget = |percent: u32, least: u32| json!({"retry_budget": {"budget_percent": {"value": percent}, "min_retry_concurrency": least}});
    let mut lately = budget(25, 0);
    lately["retry_budget"]["budget_interval"] = "600s".into();
    let (no_connection, nobody) = (
        json!({"max_connections": 0, "max_pending_requests": 1}),
        json!({"max_connections": 1, "max_pending_requests": 0}),
    );
    let each = json!({"max_connections": 1, "max_pending_requests": 2});
    let streams = json!({"max_connections": 2, "max_pending_requests": 2});
    vec![
        of("connections", waiting.clone(), 2, 3),
        of("connections-of-two", waiting, 2, 3).at(2),
        of("each-has-one", each, 3, 2).at(3),
        of("no-connection", no_connection, 1, 1).untold(),
        of("nobody-waits", nobody, 0, 0),
        of("requests", json!({"max_requests": 3}), 3, 0).uncounted(),
        of("no-request", json!({"max_requests": 0}), 0, 0).uncounted(),
        of("requests-2", json!({"max_requests": 3}), 3, 0).http2(None),
        of("streams", streams, 4, 2).http2(Some(2)),
        of("retries", json!({"max_retries": 2}), 2, 0).failing(),
        of("no-retry", json!({"max_retries": 0}), 0, 0).failing(),
        of("retries-2", json!({"max_retries": 1}), 1, 0).failing().http2(None),
        // Half of the only request is none.
        of("budget", budget(50, 0), 0, 0).failing(),
        of("least-of-budget", budget(1, 2), 2, 0).failing(),
        // A quarter of those of ten minutes: seven, each that is held here twice, and those that get no retry.
        of("budget-of-a-time", lately, 3, 0).failing().after(7),
    ]
}

/// What is asked of origins that is not held.
const AT_ONCE: &str = "/at-once";

/// Answers once the gate lets it; where it fails first, the first attempt is answered at once.
async fn answer(gate: Arc<Gate>, fails: bool, request: Request<Incoming>) -> Response<Body> {
    if request.uri().path() == AT_ONCE {
        return Response::new(full("ok"));
    }
    let attempt = request.headers().get("x-envoy-attempt-count");
    if fails && attempt.is_some_and(|attempt| attempt == "1") {
        let mut answer = Response::new(full("failed"));
        *answer.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
        return answer;
    }
    drop(gate.enter().await);
    Response::new(full("ok"))
}

/// A scenario, and where it is played.
struct Stage {
    scenario: Scenario,
    gate: Arc<Gate>,
    origins: Vec<Origin>,
}

impl Stage {
    async fn new(scenario: Scenario) -> Self {
        let gate = Gate::new();
        let mut origins = Vec::new();
        for _ in 0..scenario.endpoints {
            let (gate, fails) = (Arc::clone(&gate), scenario.fails);
            let origin = Origin::start();
            let origin = if scenario.http2 { origin.http2() } else { origin };
            let answer = move |request| answer(Arc::clone(&gate), fails, request);
            origins.push(origin.http(answer).await);
        }
        Self { scenario, gate, origins }
    }

    fn cluster(&self) -> Value {
        let Scenario { name, limits, http2, streams, .. } = &self.scenario;
        let endpoint =
            |origin: &Origin| json!({"endpoint": {"address": address(origin.address())}});
        let endpoints: Vec<Value> = self.origins.iter().map(endpoint).collect();
        let mut cluster = json!({
            "name": name, "type": "STATIC", "lb_policy": "ROUND_ROBIN",
            "circuit_breakers": {"thresholds": [limits]},
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        });
        if *http2 {
            let options = streams.map_or(json!({}), |most| json!({"max_concurrent_streams": most}));
            let options = json!({"http2_protocol_options": options});
            let name = PROTOCOL.trim_start_matches("type.googleapis.com/");
            cluster["typed_extension_protocol_options"] =
                json!({name: {"@type": PROTOCOL, "explicit_http_config": options}});
        }
        cluster
    }

    fn virtual_host(&self) -> Value {
        let name = self.scenario.name;
        let back_off = json!({"base_interval": "0.001s", "max_interval": "0.001s"});
        let retry = json!({"retry_on": "5xx", "num_retries": 1, "retry_back_off": back_off});
        let mut route = json!({"cluster": name});
        if self.scenario.fails {
            route["retry_policy"] = retry;
        }
        let told = json!({
            "header": {"key": "x-told", "value": "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%"},
            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
        });
        json!({
            "name": name, "domains": [name], "include_request_attempt_count": true,
            "response_headers_to_add": [told],
            "routes": [{"match": {"prefix": "/"}, "route": route}],
        })
    }

    /// What is to be seen of it at one side.
    async fn play(&self, side: &Side) -> Vec<String> {
        let Scenario { name, inside, waiting, .. } = self.scenario;
        for _ in 0..self.scenario.before {
            ask_for(AT_ONCE, side.listeners["edge"], name).await;
        }
        let mut held = JoinSet::new();
        for nth in 1..=inside {
            held.spawn(ask(side.listeners["edge"], name));
            self.gate.holds(nth).await;
        }
        (0..waiting).for_each(|_| drop(held.spawn(ask(side.listeners["edge"], name))));
        self.counts(side, inside as u64, waiting).await;
        let mut seen = Vec::new();
        for _ in 0..2 {
            seen.extend(ask(side.listeners["edge"], name).await);
        }
        let counted = self.counts(side, inside as u64, waiting).await;
        seen.extend(counted.into_iter().map(|(name, count)| format!("held: {name} {count}")));
        self.gate.pass(inside + waiting as usize);
        for answer in held.join_all().await {
            seen.extend(answer);
        }
        let counted = self.counts(side, 0, 0).await;
        seen.extend(counted.into_iter().map(|(name, count)| format!("after: {name} {count}")));
        seen
    }

    /// What it counts once so many requests are under way, and so many wait.
    async fn counts(&self, side: &Side, active: u64, waiting: u64) -> BTreeMap<String, u64> {
        eventually(PATIENCE, || async {
            let found = counts(side, &self.scenario).await;
            let count = |name: &str| found.get(name).copied().unwrap_or_default();
            let now = [count("upstream_rq_active"), count("upstream_rq_pending_active")];
            let name = self.scenario.name;
            if now == [active, waiting] {
                Ok(found)
            } else {
                Err(format!("{name}: {now:?}, {found:?}"))
            }
        })
        .await
    }
}

/// A request on a connection of its own; its answer in lines.
async fn ask(listener: SocketAddr, host: &str) -> Vec<String> {
    ask_for("/", listener, host).await
}

async fn ask_for(path: &str, listener: SocketAddr, host: &str) -> Vec<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let answer = Client::connect(listener).await.request(request).await;
    let told = |(name, value): &(String, String)| {
        let time = ["date", "x-envoy-upstream-service-time"].contains(&name.as_str());
        (!time).then(|| format!("{name}: {value}"))
    };
    let mut lines: Vec<String> = answer.headers.iter().filter_map(told).collect();
    lines.sort();
    lines.insert(0, answer.status.to_string());
    lines.push(answer.text());
    lines
}

/// What a scenario's cluster counts and is not 0.
async fn counts(side: &Side, scenario: &Scenario) -> BTreeMap<String, u64> {
    let stats = client::get(side.admin, "127.0.0.1", "/stats").await.text();
    let prefix = format!("cluster.{}.", scenario.name);
    let count = |line: &str| {
        let (name, value) = line.strip_prefix(&prefix)?.split_once(": ")?;
        let value = value.parse().ok().filter(|value| *value > 0)?;
        scenario.compares(name).then(|| (name.to_owned(), value))
    };
    stats.lines().filter_map(count).collect()
}

fn bootstrap(stages: &[Stage], raw: SocketAddr) -> Value {
    let mut clusters: Vec<Value> = stages.iter().map(Stage::cluster).collect();
    let endpoint = json!({"endpoint": {"address": address(raw)}});
    clusters.push(json!({
        "name": "tcp", "type": "STATIC",
        "circuit_breakers": {"thresholds": [{"max_connections": 2}]},
        "load_assignment": {"cluster_name": "tcp", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }));
    let hosts: Vec<Value> = stages.iter().map(Stage::virtual_host).collect();
    json!({"static_resources": {"listeners": [edge(&hosts), tcp()], "clusters": clusters}})
}

/// Connections that carry bytes: those beyond the limit are closed, and counted.
async fn play_tcp(side: &Side) -> Vec<String> {
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut client = Client::connect(side.listeners["tcp"]).await;
        client.send("a").await;
        assert_eq!(client.read_exact(1).await.expect("its echo"), b"a");
        open.push(client);
    }
    for _ in 0..3 {
        assert_eq!(Client::connect(side.listeners["tcp"]).await.read_to_end().await, b"");
    }
    let stats = client::get(side.admin, "127.0.0.1", "/stats").await.text();
    let names = ["upstream_cx_overflow", "upstream_cx_active", "circuit_breakers.default.cx_open"];
    let names = names.map(|name| format!("cluster.tcp.{name}: "));
    let told = |line: &&str| names.iter().any(|name| line.starts_with(name));
    stats.lines().filter(told).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_kept_as_in_envoy() {
    let Some(program) = Tool::Envoy.need() else { return };
    let mut stages = Vec::new();
    for scenario in scenarios() {
        stages.push(Stage::new(scenario).await);
    }
    let raw = Origin::start().echo_bytes().await;
    let bootstrap = bootstrap(&stages, raw.address());
    let envoy = Side::envoy(&program, &bootstrap).await;
    let tidegate = Side::tidegate(&bootstrap).await;
    let mut report = Vec::new();
    for stage in &stages {
        let (theirs, ours) = (stage.play(&envoy).await, stage.play(&tidegate).await);
        let (only_theirs, only_ours) = (without(&theirs, &ours), without(&ours, &theirs));
        if !only_theirs.is_empty() || !only_ours.is_empty() {
            let name = stage.scenario.name;
            report.push(format!("{name}\nenvoy: {only_theirs:#?}\ntidegate: {only_ours:#?}"));
        }
    }
    assert_eq!(play_tcp(&tidegate).await, play_tcp(&envoy).await);
    assert!(report.is_empty(), "{}", report.join("\n"));
}
