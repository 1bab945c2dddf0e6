//! Limits hold for the process: however many workers there are, and whichever of them has a client's connection, an origin
//! never sees more than a limit says, and what goes beyond is answered 503 with the flag `UO`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_testing::client::{Client, Response};
use tidegate_testing::origin::{self, Body, Incoming, Origin, Request, full};
use tidegate_testing::{Gate, PATIENCE, eventually};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::support::{Api, Gateway, NETWORKING, objects};

const HOST: &str = "limits.example.com";
/// So many that clients' connections are sure to be spread over several of them.
const WORKERS: &str = "4";
const CLIENTS: usize = 32;
const OVERFLOW: &str =
    "upstream connect error or disconnect/reset before headers. reset reason: overflow";

/// Answers once the gate is open, and takes a moment then, so that requests meet.
async fn pass(gate: Arc<Gate>, _: Request<Incoming>) -> origin::Response<Body> {
    let inside = gate.enter().await;
    sleep(Duration::from_millis(1)).await;
    drop(inside);
    origin::Response::new(full("ok"))
}

/// A limit, and what it comes to.
struct Case {
    name: &'static str,
    http2: bool,
    pool: Value,
    /// The most that an origin sees at a time.
    inside: usize,
    /// How many wait for that; `None` where a connection is shared, so that it depends on the worker who waits.
    waiting: Option<usize>,
}

fn cases() -> Vec<Case> {
    let waiting = |connections: u32| json!({"tcp": {"maxConnections": connections}, "http": {"http1MaxPendingRequests": 5}});
    let requests = json!({"http": {"http2MaxRequests": 4}});
    let streams = json!({"tcp": {"maxConnections": 2},
        "http": {"maxConcurrentStreams": 2, "http1MaxPendingRequests": 5}});
    vec![
        Case { name: "connections", http2: false, pool: waiting(3), inside: 3, waiting: Some(5) },
        Case {
            name: "one-connection",
            http2: false,
            pool: waiting(1),
            inside: 1,
            waiting: Some(5),
        },
        Case {
            name: "requests",
            http2: false,
            pool: requests.clone(),
            inside: 4,
            waiting: Some(0),
        },
        Case { name: "requests-2", http2: true, pool: requests, inside: 4, waiting: Some(0) },
        Case { name: "streams", http2: true, pool: streams, inside: 4, waiting: None },
    ]
}

/// A gateway with several workers.
struct Ground {
    gateway: Gateway,
    api: Api,
    log: PathBuf,
    _folder: TempDir,
}

impl Ground {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("access.log");
        let path = log.to_str().expect("text").to_owned();
        let format = "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS%\n";
        let flags = ["--workers", WORKERS, "--access-log", &path, "--access-log-format", format];
        let gateway = Gateway::start(&flags).await;
        let api = Api::of(&gateway).await;
        Self { gateway, api, log, _folder: folder }
    }

    /// A path for each name, to an origin of its own, under a policy.
    async fn configure(&mut self, to: &[(&str, SocketAddr, Value, Value)]) {
        let mut rules = Vec::new();
        for (name, origin, policy, retries) in to {
            let host = format!("{name}.example.org");
            let rule = json!({
                "apiVersion": "networking.istio.io/v1",
                "kind": "DestinationRule",
                "metadata": {"name": name},
                "spec": {"host": host, "trafficPolicy": policy},
            });
            self.api.create("serviceentries", &objects::host(name, &host, *origin)).await;
            self.api.create("destinationrules", &rule).await;
            rules.push(json!({
                "match": [{"uri": {"exact": format!("/{name}")}}],
                "route": [{"destination": {"host": host, "port": {"number": 80}}}],
                "retries": retries,
            }));
        }
        self.api.create("gateways", &objects::gateway("limits", 80, &[HOST])).await;
        let rules = objects::rules("limits", "limits", HOST, &json!(rules));
        self.api.create("virtualservices", &rules).await;
        let path = format!("{NETWORKING}/virtualservices/limits");
        self.api.wait_for(&path, &[("Programmed", "True")]).await;
    }

    /// One request on a connection of its own, at whichever worker takes it.
    fn ask(&self, path: &str) -> impl Future<Output = Response> + Send + use<> {
        let address = self.gateway.http;
        let request = format!("GET /{path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
        async move { Client::connect(address).await.request(request).await }
    }

    /// Waits until a statistic of a path's cluster has a value.
    async fn counts(&self, path: &str, name: &str, wanted: usize) {
        let stat = format!("cluster.outbound|80||{path}.example.org.{name}");
        let counts = || async {
            let found = self.gateway.stat(&stat).await;
            if found == wanted as u64 {
                Ok(())
            } else {
                Err(format!("{stat}: {found}, not {wanted}"))
            }
        };
        eventually(PATIENCE, counts).await;
    }

    /// Waits until the log has just these lines of a path: status and flags.
    async fn logs(&self, path: &str, wanted: &[(&str, usize)]) {
        let line = |(kind, count): &(&str, usize)| (format!("/{path} {kind}"), *count);
        let wanted: BTreeMap<String, usize> =
            wanted.iter().filter(|(_, count)| *count > 0).map(line).collect();
        eventually(PATIENCE, || async {
            let mut found = BTreeMap::<String, usize>::new();
            let log = std::fs::read_to_string(&self.log).expect("a log");
            for line in log.lines().filter(|line| line.starts_with(&format!("/{path} "))) {
                *found.entry(line.to_owned()).or_default() += 1;
            }
            if found == wanted { Ok(()) } else { Err(format!("{found:?}, not {wanted:?}")) }
        })
        .await;
    }

    /// What many clients get that ask again and again, all at once: how many 200, how many overflow.
    async fn burst(&self, path: &str) -> (usize, usize) {
        const REQUESTS: usize = 25;
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let address = self.gateway.http;
            let request = format!("GET /{path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
            clients.spawn(async move {
                let mut client = Client::connect(address).await;
                let mut answers = Vec::new();
                for _ in 0..REQUESTS {
                    answers.push(client.request(&request).await);
                }
                answers
            });
        }
        let answers = timeout(PATIENCE, clients.join_all()).await.expect("nothing is stuck");
        let mut counts = (0, 0);
        for answer in answers.concat() {
            if answer.status == 200 {
                counts.0 += 1;
            } else {
                overflowed(&answer);
                counts.1 += 1;
            }
        }
        assert_eq!(counts.0 + counts.1, CLIENTS * REQUESTS);
        counts
    }
}

#[track_caller]
fn overflowed(answer: &Response) {
    assert_eq!((answer.status, answer.text().as_str()), (503, OVERFLOW));
    assert_eq!(answer.header("x-envoy-overloaded"), Some("true"));
}

/// A gateway with an origin behind a gate for each case.
async fn started() -> (Ground, Vec<(Case, Arc<Gate>, Origin)>) {
    let mut ground = Ground::new().await;
    let (mut started, mut policies) = (Vec::new(), Vec::new());
    for case in cases() {
        let gate = Gate::new();
        let enters = Arc::clone(&gate);
        let origin = Origin::start();
        let origin = if case.http2 { origin.http2() } else { origin };
        let origin = origin.http(move |request| pass(Arc::clone(&enters), request)).await;
        let mut pool = case.pool.clone();
        if case.http2 {
            pool["http"]["h2UpgradePolicy"] = json!("UPGRADE");
        }
        let policy = json!({"connectionPool": pool});
        policies.push((case.name, origin.address(), policy, json!({"attempts": 0})));
        started.push((case, gate, origin));
    }
    ground.configure(&policies).await;
    (ground, started)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_never_sees_more_than_the_process_may_send() {
    let (ground, started) = started().await;
    for (case, gate, origin) in &started {
        let Case { name, inside, waiting, .. } = case;
        let mut logged = (0, 0);
        if let Some(waiting) = *waiting {
            // One after the other, as requests that wait for a connection that is being made wait, too.
            let mut held = JoinSet::new();
            for nth in 1..=*inside {
                held.spawn(ground.ask(name));
                gate.holds(nth).await;
            }
            (0..waiting).for_each(|_| drop(held.spawn(ground.ask(name))));
            ground.counts(name, "upstream_rq_pending_active", waiting).await;
            let mut beyond = JoinSet::new();
            (0..CLIENTS).for_each(|_| drop(beyond.spawn(ground.ask(name))));
            beyond.join_all().await.iter().for_each(overflowed);
            assert_eq!(gate.inside(), *inside, "{name}");
            if !case.http2 {
                assert_eq!(origin.connections(), *inside, "{name}");
            }
            gate.pass(inside + waiting);
            // Those that waited are served, whichever worker they wait in.
            let served = timeout(PATIENCE, held.join_all()).await.expect("nothing is stuck");
            assert!(served.iter().all(|answer| answer.status == 200), "{name}: {served:?}");
            logged = (served.len(), CLIENTS);
            ground.logs(name, &[("200 -", logged.0), ("503 UO", logged.1)]).await;
        }

        gate.open();
        let (served, overflows) = ground.burst(name).await;
        assert!(served > 0 && overflows > 0, "{name}: {served} served, {overflows} overflows");
        ground.logs(name, &[("200 -", logged.0 + served), ("503 UO", logged.1 + overflows)]).await;
        assert_eq!(gate.most(), *inside, "{name}");
        for count in ["upstream_rq_active", "upstream_rq_pending_active"] {
            ground.counts(name, count, 0).await;
        }
    }
}

/// Streams may last for ever: nobody waits for the end of another one, whichever workers their clients came to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_streams_of_all_workers_share_one_connection() {
    let mut ground = Ground::new().await;
    let gate = Gate::new();
    let enters = Arc::clone(&gate);
    let origin = Origin::start().http2();
    let origin = origin.http(move |request| pass(Arc::clone(&enters), request)).await;
    let pool = json!({"tcp": {"maxConnections": 1, "connectTimeout": "600s"}, "http": {"h2UpgradePolicy": "UPGRADE"}});
    let policy = json!({"connectionPool": pool});
    ground.configure(&[("long", origin.address(), policy, json!({"attempts": 0}))]).await;

    let mut asked = JoinSet::new();
    (0..CLIENTS).for_each(|_| drop(asked.spawn(ground.ask("long"))));
    gate.holds(CLIENTS).await;
    assert_eq!(origin.connections(), 1);
    gate.open();
    let served = asked.join_all().await;
    assert!(served.iter().all(|answer| answer.status == 200), "{served:?}");
    assert_eq!(origin.connections(), 1);
}

/// Fails each request the first time, and holds it in the gate the second time.
async fn fail_once(gate: Arc<Gate>, request: Request<Incoming>) -> origin::Response<Body> {
    let attempt = request.headers().get("x-envoy-attempt-count");
    if attempt.is_some_and(|attempt| attempt == "1") {
        let mut answer = origin::Response::new(full("failed"));
        *answer.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
        return answer;
    }
    pass(gate, request).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_is_tried_again_at_a_time_than_the_process_may() {
    const RETRIES: usize = 3;
    let mut ground = Ground::new().await;
    let gate = Gate::new();
    let enters = Arc::clone(&gate);
    let origin = Origin::start().http(move |request| fail_once(Arc::clone(&enters), request)).await;
    let policy = json!({"connectionPool": {"http": {"maxRetries": RETRIES}}});
    let retries = json!({"attempts": 1, "retryOn": "503"});
    ground.configure(&[("retries", origin.address(), policy, retries)]).await;

    let mut asked = JoinSet::new();
    (0..CLIENTS).for_each(|_| drop(asked.spawn(ground.ask("retries"))));
    gate.holds(RETRIES).await;
    // All others get what the origin answered.
    for _ in RETRIES..CLIENTS {
        let answer = asked.join_next().await.expect("it was asked").expect("an answer");
        assert_eq!((answer.status, answer.text().as_str()), (503, "failed"));
    }
    assert_eq!(gate.inside(), RETRIES);
    gate.pass(RETRIES);
    let served = asked.join_all().await;
    assert!(served.iter().all(|answer| answer.status == 200), "{served:?}");
    assert_eq!(gate.most(), RETRIES);
    ground.counts("retries", "upstream_rq_retry_overflow", CLIENTS - RETRIES).await;
    ground.logs("retries", &[("200 -", RETRIES), ("503 UO", CLIENTS - RETRIES)]).await;
}

/// An EnvoyFilter with one bucket for the gateway, which is not filled while the test runs.
fn bucket(tokens: usize) -> Value {
    const LIMIT: &str =
        "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit";
    let always = json!({"default_value": {"numerator": 100, "denominator": "HUNDRED"}});
    let limit = json!({
        "@type": LIMIT,
        "stat_prefix": "limit",
        "token_bucket": {"max_tokens": tokens, "tokens_per_fill": 1, "fill_interval": "36000s"},
        "filter_enabled": always,
        "filter_enforced": always,
    });
    let patch = json!({
        "applyTo": "HTTP_FILTER",
        "match": {"context": "GATEWAY", "listener": {"filterChain": {"filter": {
            "name": "envoy.filters.network.http_connection_manager",
            "subFilter": {"name": "envoy.filters.http.router"},
        }}}},
        "patch": {
            "operation": "INSERT_BEFORE",
            "value": {"name": "envoy.filters.http.local_ratelimit", "typed_config": limit},
        },
    });
    json!({
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": "limit"},
        "spec": {"configPatches": [patch]},
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_is_shared_by_all_workers() {
    const TOKENS: usize = 100;
    let mut ground = Ground::new().await;
    let origin = Origin::start().http(origin::echo).await;
    ground.configure(&[("bucket", origin.address(), json!({}), json!({"attempts": 0}))]).await;
    let filters = "/apis/networking.istio.io/v1alpha3/namespaces/istio-system/envoyfilters";
    ground.api.send("POST", filters, &bucket(TOKENS).to_string()).await;
    ground.api.wait_for(&format!("{filters}/limit"), &[("Programmed", "True")]).await;

    let mut asked = JoinSet::new();
    (0..8 * CLIENTS).for_each(|_| drop(asked.spawn(ground.ask("bucket"))));
    let answers = asked.join_all().await;
    let count = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!((count(200), count(429)), (TOKENS, 8 * CLIENTS - TOKENS));
    assert_eq!(origin.requests(), TOKENS);
    ground.logs("bucket", &[("200 -", TOKENS), ("429 RL", 8 * CLIENTS - TOKENS)]).await;
}
