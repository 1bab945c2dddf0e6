//! Keys that are fetched, in Envoy and in ours: what requests are answered when they come, when they do not, and when they
//! change.
//!
//! Each issuer has a path of its own at one origin, which answers as that says; and each has tokens of its own.

use std::collections::BTreeMap;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tidegate_testing::client::{self, Client};
use tidegate_testing::jwt::Signer;
use tidegate_testing::origin::{Body, Origin, full};
use tidegate_testing::tools::Tool;
use tidegate_testing::{HeldPort, PATIENCE, eventually};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::bootstrap::{MANAGER, ROUTER, address};
use crate::sides::Side;

const FILTER: &str =
    "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";

/// Issuers that are asked once, and what is special about how: what their origin does is in [`Issuers::answer`].
const ONCE: &[(&str, &str)] = &[
    ("good", "{}"),
    ("chunked", "{}"),
    ("query?a=b", "{}"),
    ("not-found", "{}"),
    ("busy", "{}"),
    ("moved", "{}"),
    ("junk", "{}"),
    ("no-keys", "{}"),
    ("empty", "{}"),
    ("silent", r#"{"http_uri": {"timeout": "0.3s"}}"#),
    ("refused", r#"{"http_uri": {"cluster": "refused"}}"#),
    ("unknown", r#"{"http_uri": {"cluster": "nowhere"}}"#),
    ("busy-once", r#"{"retry_policy": {"num_retries": 1}}"#),
    ("ahead", r#"{"async_fetch": {"fast_listener": true}}"#),
];

/// Issuers that are asked more than once.
const OFTEN: &[(&str, &str)] = &[
    ("rotates", r#"{"cache_duration": "1s"}"#),
    ("ends", r#"{"cache_duration": "1s"}"#),
    ("stays", r#"{"cache_duration": "1s", "async_fetch": {"failed_refetch_duration": "0.2s"}}"#),
    ("many", "{}"),
];

/// Requests that wait for the same keys.
const MANY: usize = 5;

/// What the origin of all issuers knows.
struct Issuers {
    /// The keys of each issuer by its path, with how often they were asked for.
    keys: Mutex<BTreeMap<String, (Key, usize)>>,
    /// Lets the answers for `many` go.
    gate: Semaphore,
}

/// The key of an issuer, or none when its origin answers 503.
type Key = Option<Arc<Signer>>;

impl Issuers {
    fn new() -> Arc<Self> {
        Arc::new(Self { keys: Mutex::default(), gate: Semaphore::new(0) })
    }

    fn set(&self, issuer: &str, signer: Option<&Arc<Signer>>) {
        let mut keys = self.keys.lock().expect("the lock");
        let entry = keys.entry(format!("/{issuer}")).or_default();
        entry.0 = signer.cloned();
    }

    fn asked(&self, issuer: &str) -> usize {
        self.keys
            .lock()
            .expect("the lock")
            .get(&format!("/{issuer}"))
            .map_or(0, |(_, asked)| *asked)
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path_and_query().map_or("", |path| path.as_str()).to_owned();
        let (signer, asked) = {
            let mut keys = self.keys.lock().expect("the lock");
            let entry = keys.entry(path.clone()).or_default();
            entry.1 += 1;
            entry.clone()
        };
        let status = |status: u16, body: &'static str| {
            let answer = Response::builder().status(status).header("location", "/good");
            answer.body(full(body)).expect("an answer")
        };
        match (path.as_str(), signer) {
            ("/silent", _) => pending().await,
            ("/not-found", _) => status(404, "no"),
            ("/busy", _) => status(503, "no"),
            ("/busy-once", _) if asked == 1 => status(503, "no"),
            ("/moved", _) => status(302, "no"),
            ("/junk", _) => status(200, "junk"),
            ("/no-keys", _) => status(200, r#"{"keys": []}"#),
            ("/empty", _) => status(200, ""),
            (_, None) => status(503, "no"),
            (_, Some(signer)) => {
                if path == "/many" {
                    self.gate.acquire().await.expect("a gate").forget();
                }
                Response::new(full(named(&signer).to_string()))
            }
        }
    }
}

/// The key set of an issuer. Its name is its own, so that a token of another is not tried with it.
fn named(signer: &Signer) -> Value {
    let mut key = signer.key();
    key["kid"] = json!(key_name(signer));
    key["alg"] = json!("ES256");
    json!({"keys": [key]})
}

fn key_name(signer: &Signer) -> String {
    signer.key()["x"].as_str().unwrap_or_default().to_owned()
}

fn token(issuer: &str, signer: &Signer) -> String {
    let header = json!({"alg": "ES256", "kid": key_name(signer)});
    signer.token(&header, &json!({"iss": issuer, "exp": 4_000_000_000_u64}))
}

/// A path without what routes do not take.
fn plain(issuer: &str) -> String {
    issuer.replace(['?', '='], "-")
}

fn bootstrap(origin: SocketAddr, refused: SocketAddr) -> Value {
    let mut providers = json!({});
    let mut rules = Vec::new();
    for (issuer, more) in [ONCE, OFTEN].concat() {
        let mut remote = json!({"http_uri": {"uri": format!("http://issuers.example/{issuer}"),
            "cluster": "issuers", "timeout": "5s"}});
        merge(&mut remote, &serde_json::from_str(more).expect("JSON"));
        providers[issuer] = json!({"issuer": issuer, "remote_jwks": remote});
        rules.push(json!({"match": {"prefix": format!("/{}", plain(issuer))},
            "requires": {"provider_name": issuer}}));
    }
    // Longer prefixes first.
    rules.sort_by_key(|rule| std::cmp::Reverse(rule.to_string().len()));
    let route = json!({"match": {"prefix": "/"},
        "direct_response": {"status": 200, "body": {"inline_string": "in"}}});
    let filter = json!({"@type": FILTER, "providers": providers, "rules": rules});
    let manager = json!({"@type": MANAGER, "stat_prefix": "keys",
        "route_config": {"name": "r", "virtual_hosts": [
            {"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "tokens", "typed_config": filter},
            {"name": "router", "typed_config": {"@type": ROUTER}}]});
    let cluster = |name: &str, at: SocketAddr| {
        json!({"name": name, "type": "STATIC", "load_assignment": {"cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(at)}}]}]}})
    };
    json!({"static_resources": {
        "listeners": [{"name": "keys", "address": address(([127, 0, 0, 1], 0).into()),
            "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}]}],
        "clusters": [cluster("issuers", origin), cluster("refused", refused)],
    }})
}

fn merge(into: &mut Value, more: &Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (name, value) in more {
                merge(into.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more.clone(),
    }
}

/// What a request with a token is answered.
async fn ask(side: &Side, issuer: &str, signer: &Signer) -> (u16, String, Option<String>) {
    let mut client = Client::connect(side.listeners["keys"]).await;
    let (path, token) = (plain(issuer), token(issuer, signer));
    let request =
        format!("GET /{path} HTTP/1.1\r\nHost: any\r\nAuthorization: Bearer {token}\r\n\r\n");
    let answer = client.request(request).await;
    (answer.status, answer.text(), answer.header("www-authenticate").map(str::to_owned))
}

async fn counted(side: &Side, name: &str) -> u64 {
    let stats = client::get(side.admin, "127.0.0.1", "/stats").await.text();
    let name = format!("http.keys.jwt_authn.{name}: ");
    let value = stats.lines().find_map(|line| line.strip_prefix(&name));
    value.and_then(|value| value.trim().parse().ok()).expect("a count")
}

async fn is_in(side: &Side, issuer: &str, signer: &Signer) -> bool {
    ask(side, issuer, signer).await.0 == 200
}

/// Asks once of each issuer, and counts.
async fn once(side: &Side, issuers: &Issuers) -> Vec<String> {
    let mut lines = Vec::new();
    for (issuer, _) in ONCE {
        let signer = Arc::new(Signer::new("ES256"));
        issuers.set(issuer, Some(&signer));
        // Keys that are fetched unasked may have been asked for before the issuer had any.
        if *issuer == "ahead" {
            eventually(PATIENCE, || is_in(side, issuer, &signer)).await;
        }
        let (first, second) =
            (ask(side, issuer, &signer).await, ask(side, issuer, &signer).await.0);
        lines.push(format!("{issuer}: {first:?}, then {second}"));
    }
    for (issuer, expected) in [("good", 1), ("query?a=b", 1), ("busy-once", 2)] {
        lines.push(format!("{issuer} was asked {expected}: {}", issuers.asked(issuer)));
    }
    lines
}

/// Keys that change, end, and stay.
async fn often(side: &Side, issuers: &Issuers) -> Vec<String> {
    let mut lines = Vec::new();
    let [one, other] = [(); 2].map(|()| Arc::new(Signer::new("ES256")));
    issuers.set("rotates", Some(&one));
    lines.push(format!("first: {:?}", ask(side, "rotates", &one).await.0));
    issuers.set("rotates", Some(&other));
    eventually(PATIENCE, || is_in(side, "rotates", &other)).await;
    lines.push(format!("the key of before: {:?}", ask(side, "rotates", &one).await.1));

    issuers.set("ends", Some(&one));
    lines.push(format!("before the end: {:?}", ask(side, "ends", &one).await.0));
    issuers.set("ends", None);
    eventually(PATIENCE, || async { !is_in(side, "ends", &one).await }).await;
    lines.push(format!("after it: {:?}", ask(side, "ends", &one).await.1));

    issuers.set("stays", Some(&one));
    eventually(PATIENCE, || is_in(side, "stays", &one)).await;
    issuers.set("stays", None);
    let before = issuers.asked("stays");
    eventually(PATIENCE, || async { issuers.asked("stays") > before + 2 }).await;
    lines.push(format!(
        "fetched unasked, though no others come: {:?}",
        is_in(side, "stays", &one).await
    ));
    lines
}

/// Requests that are under way on a side.
async fn under_way(side: &Side) -> u64 {
    let stats = client::get(side.admin, "127.0.0.1", "/stats").await.text();
    let line = stats.lines().find_map(|line| line.strip_prefix("http.keys.downstream_rq_active: "));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

/// Has requests wait for the same keys; how often these were asked for.
async fn many(side: &Arc<Side>, issuers: &Issuers) -> usize {
    let signer = Arc::new(Signer::new("ES256"));
    issuers.set("many", Some(&signer));
    let before = issuers.asked("many");
    let mut asking = JoinSet::new();
    for _ in 0..MANY {
        let (side, signer) = (Arc::clone(side), Arc::clone(&signer));
        asking.spawn(async move { ask(&side, "many", &signer).await.0 });
    }
    eventually(PATIENCE, || async { under_way(side).await == MANY as u64 }).await;
    eventually(PATIENCE, || async { issuers.asked("many") > before }).await;
    issuers.gate.add_permits(MANY);
    while let Some(status) = asking.join_next().await {
        assert_eq!(status.expect("an answer"), 200);
    }
    issuers.asked("many") - before
}

/// A side with an origin of its own, as what this was asked for is counted.
async fn with_issuers(
    start: impl AsyncFnOnce(&Value) -> Side,
) -> (Arc<Side>, Arc<Issuers>, Origin, HeldPort) {
    let issuers = Issuers::new();
    let of = Arc::clone(&issuers);
    let answer = move |request| {
        let of = Arc::clone(&of);
        async move { of.answer(request).await }
    };
    let origin = Origin::start().http(answer).await;
    let refused = HeldPort::any();
    let side = start(&bootstrap(origin.address(), refused.address)).await;
    (Arc::new(side), issuers, origin, refused)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_fetched_as_in_envoy() {
    let Some(program) = Tool::Envoy.need() else { return };
    let envoy = with_issuers(async |bootstrap| Side::envoy(&program, bootstrap).await).await;
    let tidegate = with_issuers(async |bootstrap| Side::tidegate(bootstrap).await).await;
    let (theirs, ours) = (once(&envoy.0, &envoy.1).await, once(&tidegate.0, &tidegate.1).await);
    assert_eq!(ours, theirs);
    assert!(theirs[0].starts_with("good: (200"), "{}", theirs[0]);
    let (theirs, ours) = (often(&envoy.0, &envoy.1).await, often(&tidegate.0, &tidegate.1).await);
    assert_eq!(ours, theirs);
    // There every request that waits fetches for itself.
    assert_eq!(many(&envoy.0, &envoy.1).await, MANY);
    assert_eq!(many(&tidegate.0, &tidegate.1).await, 1);
    for name in ["jwks_fetch_success", "jwks_fetch_failed"] {
        let (theirs, ours) = (counted(&envoy.0, name).await, counted(&tidegate.0, name).await);
        assert!(theirs > 0 && ours > 0, "{name}: {theirs}, {ours}");
    }
}
