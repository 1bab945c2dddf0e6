//! Cookies that are made for requests which have none, so that their clients stay at an endpoint: what is made, as in Envoy, and
//! where it leads.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tidegate_testing::client::Client;
use tidegate_testing::origin::{Origin, Response, full};
use tidegate_testing::tools::Tool;

use crate::bootstrap::{address, edge};
use crate::sides::Side;

const ORIGINS: usize = 4;
/// How often a cookie is sent back.
const AGAIN: usize = 5;
/// Clients without a cookie.
const CLIENTS: usize = 20;

/// What a route asks for; the cookie's name is `c`.
fn policies() -> [(&'static str, Value); 7] {
    [
        ("never", json!({})),
        ("session", json!({"ttl": "0s"})),
        ("an-hour", json!({"ttl": "3600s"})),
        ("part-of-a-second", json!({"ttl": "90.7s"})),
        ("path", json!({"ttl": "60s", "path": "/some/path"})),
        ("session-path", json!({"ttl": "0s", "path": "/"})),
        (
            "attributes",
            json!({"ttl": "60s", "path": "/", "attributes": [
                {"name": "SameSite", "value": "Strict"}, {"name": "Secure", "value": ""}]}),
        ),
    ]
}

fn bootstrap(origins: &[SocketAddr]) -> Value {
    let endpoints: Vec<Value> =
        origins.iter().map(|at| json!({"endpoint": {"address": address(*at)}})).collect();
    let clusters: Vec<Value> = ["RING_HASH", "MAGLEV"]
        .iter()
        .map(|policy| {
            json!({"name": policy, "type": "STATIC", "lb_policy": policy, "load_assignment":
                {"cluster_name": policy, "endpoints": [{"lb_endpoints": endpoints}]}})
        })
        .collect();
    let route = |(name, policy): (&str, Value), cluster: &Value| {
        let mut cookie = policy;
        cookie["name"] = "c".into();
        json!({"match": {"path": format!("/{}/{name}", cluster["name"].as_str().expect("a name"))},
            "route": {"cluster": cluster["name"], "hash_policy": [{"cookie": cookie}]}})
    };
    let of_cluster =
        |cluster| policies().into_iter().map(|p| route(p, cluster)).collect::<Vec<_>>();
    let routes: Vec<Value> = clusters.iter().flat_map(of_cluster).collect();
    let host = json!({"name": "all", "domains": ["*"], "routes": routes});
    json!({"static_resources": {"listeners": [edge(&[host])], "clusters": clusters}})
}

/// What an answer says: the origin's number, and the lines that make a cookie.
async fn ask(side: &Side, path: &str, cookie: Option<&str>) -> (String, Vec<String>) {
    let cookie = cookie.map(|cookie| format!("Cookie: {cookie}\r\n")).unwrap_or_default();
    let mut client = Client::connect(side.listeners["edge"]).await;
    let answer = client.request(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{cookie}\r\n")).await;
    assert_eq!(answer.status, 200, "{path}");
    let made = answer.headers.iter().filter(|(name, _)| name == "set-cookie");
    (answer.text(), made.map(|(_, value)| value.clone()).collect())
}

/// What is to be seen of a path: the form of what is made, where known cookies lead, and whether made ones lead back.
async fn play(side: &Side, path: &str) -> Vec<String> {
    let mut seen = Vec::new();
    for cookie in ["c=one", "c=\"two\"", "other=x; c=three", "c=", "C=one"] {
        let (origin, made) = ask(side, path, Some(cookie)).await;
        // What has no value leads anywhere.
        let origin = if made.is_empty() && cookie.contains("c=") && cookie != "c=" {
            origin
        } else {
            "any".to_owned()
        };
        seen.push(format!("{cookie}: {origin}, made {}", made.len()));
    }
    let mut values = Vec::new();
    for _ in 0..CLIENTS {
        let (origin, made) = ask(side, path, None).await;
        let Some(made) = made.first() else {
            seen.push("none is made".to_owned());
            return seen;
        };
        let parts: Vec<&str> = made.split('"').collect();
        let [before, value, after] = parts[..] else { panic!("{path}: {made}") };
        if values.is_empty() {
            seen.push(format!("{before}({} letters){after}", value.len().clamp(1, 16)));
        }
        for _ in 0..AGAIN {
            let again = ask(side, path, Some(&format!("c=\"{value}\""))).await;
            assert_eq!(again, (origin.clone(), Vec::new()), "{path}: {made}");
        }
        values.push(value.to_owned());
    }
    values.sort();
    values.dedup();
    seen.push(format!("{} clients, {} cookies", CLIENTS, values.len()));
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cookies_are_made_as_by_envoy() {
    let Some(program) = Tool::Envoy.need() else { return };
    let mut started = Vec::new();
    for number in 0..ORIGINS {
        let answer = move |_| async move { Response::new(full(number.to_string())) };
        started.push(Origin::start().http(answer).await);
    }
    let origins: Vec<SocketAddr> = started.iter().map(Origin::address).collect();
    let bootstrap = bootstrap(&origins);
    let envoy = Side::envoy(&program, &bootstrap).await;
    let tidegate = Side::tidegate(&bootstrap).await;
    for cluster in ["RING_HASH", "MAGLEV"] {
        for (name, _) in policies() {
            let path = format!("/{cluster}/{name}");
            let (theirs, ours) = (play(&envoy, &path).await, play(&tidegate, &path).await);
            assert_eq!(ours, theirs, "{path}: ours, and Envoy's");
            let made = ours.iter().any(|line| line.starts_with("c="));
            assert!(name == "never" || made || ours.len() > 6, "{path}: {ours:#?}");
        }
    }
}
