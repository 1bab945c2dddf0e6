//! Outlier detection in Envoy and in ours: who is ejected after what, what is counted, and when requests come again.
//!
//! A request says which endpoint it is for, by a key that leads there on both sides, and what that one answers. What is
//! counted is awaited on each side: either decides a moment after the answer.

mod scenarios;

use std::collections::BTreeMap;
use std::future::pending;
use std::net::SocketAddr;

use http::{Request, Response};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tidegate_testing::client::{self, Client};
use tidegate_testing::origin::{Body, Origin, full};
use tidegate_testing::tools::Tool;
use tidegate_testing::{HeldPort, PATIENCE, eventually};

use self::scenarios::Step::{Ask, Counts, Dial, Ejected, Elsewhere, Until};
use self::scenarios::{Scenario, scenarios};
use crate::bootstrap::{address, edge, tcp};
use crate::sides::Side;

/// Origins that answer as they are asked. One more endpoint takes no connections, in place of the last of them.
const ORIGINS: usize = 4;
/// The endpoint that takes none.
const REFUSED: usize = ORIGINS;

// --- the sides ---

fn cluster(name: &str, endpoints: &[SocketAddr], outlier: &Value, more: &Value) -> Value {
    let endpoints: Vec<_> =
        endpoints.iter().map(|at| json!({"endpoint": {"address": address(*at)}})).collect();
    // One point for each: keys of those that stay do not move.
    let mut cluster = json!({"name": name, "type": "STATIC", "lb_policy": "RING_HASH",
        "ring_hash_lb_config": {"minimum_ring_size": 1},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]}});
    if !outlier.is_null() {
        cluster["outlier_detection"] = outlier.clone();
    }
    for (field, value) in more.as_object().into_iter().flatten() {
        cluster[field] = value.clone();
    }
    cluster
}

/// A cluster for each scenario, to which a host of its name leads, and one that only tells which key leads where.
fn bootstrap(scenarios: &[Scenario], endpoints: &[SocketAddr]) -> Value {
    let mut clusters = vec![cluster("whole", endpoints, &Value::Null, &json!({}))];
    let mut hosts = vec!["whole".to_owned()];
    for Scenario { name, outlier, more, steps } in scenarios {
        let asks = steps.iter().any(|step| matches!(step, Ask(at, ..) if *at == REFUSED));
        let of = match (asks, *name) {
            (_, "tcp") => vec![endpoints[REFUSED]],
            (true, _) => [&endpoints[..ORIGINS - 1], &endpoints[REFUSED..]].concat(),
            (false, _) => endpoints[..ORIGINS].to_vec(),
        };
        clusters.push(cluster(name, &of, outlier, more));
        hosts.push((*name).to_owned());
    }
    let virtual_hosts: Vec<Value> = hosts
        .iter()
        .map(|name| {
            let hash = json!([{"header": {"header_name": "x-key"}}]);
            let route = json!({"cluster": name, "timeout": "0.3s", "hash_policy": hash});
            json!({"name": name, "domains": [host(name)],
                "routes": [{"match": {"prefix": "/"}, "route": route}]})
        })
        .collect();
    json!({"static_resources": {"listeners": [edge(&virtual_hosts), tcp()], "clusters": clusters}})
}

/// A cluster's name as a host's.
fn host(name: &str) -> String {
    name.replace([' ', ','], "-").to_ascii_lowercase()
}

/// Answers with what the request asks of this endpoint: a status, or nothing for 0.
async fn answer(number: usize, request: Request<Incoming>) -> Response<Body> {
    let header = |name: &str| request.headers().get(name)?.to_str().ok()?.parse().ok();
    let own = header("x-at") == Some(number as u16);
    let status: u16 = header("x-status").filter(|_| own).unwrap_or(200);
    if status == 0 {
        pending::<()>().await;
    }
    let mut answer = Response::new(full(number.to_string()));
    *answer.status_mut() = http::StatusCode::from_u16(status).expect("a status");
    answer
}

struct Playing<'a> {
    side: &'a Side,
    endpoints: &'a [SocketAddr],
    /// A key that leads to each endpoint.
    keys: Vec<usize>,
}

impl<'a> Playing<'a> {
    async fn new(side: &'a Side, endpoints: &'a [SocketAddr]) -> Self {
        let mut found = BTreeMap::new();
        let mut client = Client::connect(side.listeners["edge"]).await;
        for key in 0.. {
            if found.len() == endpoints.len() {
                break;
            }
            // One that has but a small arc of the ring takes a while to be found.
            assert!(key < 50_000, "some endpoint has no key: {found:?}");
            let whole = client.request(head("whole", key, (ORIGINS, 200))).await;
            let number = whole.text().parse().ok().filter(|_| whole.status == 200);
            found.entry(number.unwrap_or(REFUSED)).or_insert(key);
        }
        Self { side, endpoints, keys: found.into_values().collect() }
    }

    async fn play(&self, scenario: &Scenario) -> Result<(), String> {
        let name = scenario.name;
        for (number, step) in scenario.steps.iter().enumerate() {
            match step {
                Ask(at, times, status, expected) => {
                    for _ in 0..*times {
                        let key = self.keys[*at];
                        let found = ask(self.side, &host(name), key, (*at, *status)).await.status;
                        if found != *expected {
                            return Err(format!("step {number}: {found} instead of {expected}"));
                        }
                    }
                }
                Until(at, status, expected) => {
                    eventually(PATIENCE, || async {
                        let key = self.keys[*at];
                        let found = ask(self.side, &host(name), key, (*at, *status)).await.status;
                        if found == *expected { Ok(()) } else { Err(found) }
                    })
                    .await;
                }
                Elsewhere(at, status) => {
                    let asked = || async {
                        let key = self.keys[*at];
                        ask(self.side, &host(name), key, (*at, *status)).await.status == *status
                    };
                    eventually(PATIENCE, || async { !asked().await }).await;
                    if asked().await {
                        return Err(format!("step {number}: the endpoint was asked"));
                    }
                }
                Dial(times) => {
                    for _ in 0..*times {
                        let mut client = Client::connect(self.side.listeners["tcp"]).await;
                        assert_eq!(client.read_to_end().await, b"");
                    }
                }
                Counts(expected) => self.counts(name, number, expected).await,
                Ejected(expected) => self.ejected(name, number, expected).await,
            }
        }
        Ok(())
    }

    async fn counts(&self, cluster: &str, number: usize, expected: &[(&str, u64)]) {
        eventually(PATIENCE, || async {
            let stats = client::get(self.side.admin, "127.0.0.1", "/stats").await.text();
            let value = |name: &str| {
                let own = if name.starts_with("ejections") { "outlier_detection." } else { "" };
                let wanted = format!("cluster.{cluster}.{own}{name}: ");
                let line = stats.lines().find_map(|line| line.strip_prefix(&wanted));
                line.and_then(|value| value.parse::<u64>().ok()).unwrap_or(0)
            };
            let differ = expected.iter().filter(|(name, count)| value(name) != *count);
            let differ: Vec<_> = differ
                .map(|(name, count)| format!("{name}: {} and not {count}", value(name)))
                .collect();
            if differ.is_empty() {
                Ok(())
            } else {
                Err(format!("{cluster}, step {number}: {differ:?}"))
            }
        })
        .await;
    }

    async fn ejected(&self, cluster: &str, number: usize, expected: &[usize]) {
        eventually(PATIENCE, || async {
            let text = client::get(self.side.admin, "127.0.0.1", "/clusters").await.text();
            let json = "/clusters?format=json";
            let json = client::get(self.side.admin, "127.0.0.1", json).await.json();
            let is_out = |at: &SocketAddr| {
                let line = format!("{cluster}::{at}::health_flags::/failed_outlier_check");
                let in_text = text.lines().any(|found| found == line);
                let port = json!(at.port());
                let statuses = json["cluster_statuses"].as_array().into_iter().flatten();
                let hosts = statuses
                    .filter(|status| status["name"] == cluster)
                    .flat_map(|status| status["host_statuses"].as_array().into_iter().flatten());
                let mut hosts =
                    hosts.filter(|host| host["address"]["socket_address"]["port_value"] == port);
                let in_json =
                    hosts.any(|host| host["health_status"]["failed_outlier_check"] == true);
                assert_eq!(in_text, in_json, "{line}");
                in_text
            };
            let found: Vec<_> =
                (0..).zip(self.endpoints).filter(|(_, at)| is_out(at)).map(|(n, _)| n).collect();
            if found == expected {
                Ok(())
            } else {
                Err(format!("{cluster}, step {number}: {found:?}"))
            }
        })
        .await;
    }
}

async fn ask(side: &Side, host: &str, key: usize, asked: (usize, u16)) -> client::Response {
    let mut client = Client::connect(side.listeners["edge"]).await;
    client.request(head(host, key, asked)).await
}

fn head(host: &str, key: usize, (at, status): (usize, u16)) -> String {
    let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\nX-Key: {key}\r\n");
    format!("{head}X-At: {at}\r\nX-Status: {status}\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_are_ejected_as_in_envoy() {
    let Some(program) = Tool::Envoy.need() else { return };
    let mut origins = Vec::new();
    for number in 0..ORIGINS {
        origins.push(Origin::start().http(move |request| answer(number, request)).await);
    }
    let refused = HeldPort::any();
    let mut endpoints: Vec<SocketAddr> = origins.iter().map(Origin::address).collect();
    endpoints.push(refused.address);
    let only = std::env::var("OUTLIER").ok();
    let mut scenarios = scenarios();
    scenarios
        .retain(|s| only.as_ref().is_none_or(|only| s.name.starts_with(only) || s.name == "tcp"));
    let bootstrap = bootstrap(&scenarios, &endpoints);
    let envoy = Side::envoy(&program, &bootstrap).await;
    let tidegate = Side::tidegate(&bootstrap).await;
    let mut report = Vec::new();
    for (name, side) in [("envoy", &envoy), ("tidegate", &tidegate)] {
        let playing = Playing::new(side, &endpoints).await;
        for scenario in &scenarios {
            if let Err(error) = playing.play(scenario).await {
                report.push(format!("{name}: {}: {error}", scenario.name));
            }
        }
    }
    assert!(report.is_empty(), "{report:#?}");
}
