//! Requests to the API that take long hold up nothing else that the process does.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate_testing::client;
use tokio::task::JoinSet;

use crate::support::{Api, Gateway};

/// As many as there are threads of the API, and one that waits.
const CLIENTS: usize = 3;
/// What each of them asks for, one after the other.
const REQUESTS: usize = 3;

/// A Pod with a list that is long, and gone through entry by entry.
fn long() -> String {
    let env: Vec<Value> =
        (0..8_000).map(|n| json!({"name": format!("E{n}"), "value": ""})).collect();
    let container = json!({"name": "c", "image": "i", "env": env});
    let spec = json!({"containers": [container]});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "long"}, "spec": spec})
        .to_string()
}

#[tokio::test]
async fn health_and_admin_answer_while_the_api_works() {
    let gateway = Gateway::start(&[]).await;
    let body = long();
    let mut asking = JoinSet::new();
    for _ in 0..CLIENTS {
        let (mut api, body) = (Api::of(&gateway).await, body.clone());
        asking.spawn(async move {
            for _ in 0..REQUESTS {
                api.send("POST", "/api/v1/namespaces/default/pods?dryRun=All", &body).await;
            }
        });
    }
    let began = Instant::now();
    let mut slowest = Duration::ZERO;
    while asking.try_join_next().transpose().expect("answers").is_none() {
        let asked = Instant::now();
        assert_eq!(client::get(gateway.health, "probe", "/healthz/ready").await.status, 200);
        assert_eq!(client::get(gateway.admin, "127.0.0.1", "/ready").await.status, 200);
        slowest = slowest.max(asked.elapsed());
    }
    let busy = began.elapsed();
    assert!(slowest * 4 < busy, "an answer took {slowest:?} of the {busy:?} that the API worked");
}
