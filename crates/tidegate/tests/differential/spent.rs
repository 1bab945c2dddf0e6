//! The last request that a connection to an endpoint may carry (`max_requests_per_connection`), in Envoy and in ours: what the endpoint
//! is told of it, and how many connections there are.

use http::header::CONNECTION;
use http::{Request, Response};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tidegate_testing::client::Client;
use tidegate_testing::origin::{Body, Origin, full};
use tidegate_testing::tools::Tool;

use crate::bootstrap::{PROTOCOL, address, edge};
use crate::sides::Side;

const REQUESTS: usize = 5;

/// Tells what it is told of its connection.
async fn answer(request: Request<Incoming>) -> Response<Body> {
    Response::new(full(format!("{:?}", request.headers().get(CONNECTION))))
}

fn bootstrap(origin: &Origin) -> Value {
    let options = json!({PROTOCOL.trim_start_matches("type.googleapis.com/"): {"@type": PROTOCOL,
        "common_http_protocol_options": {"max_requests_per_connection": 2},
        "explicit_http_config": {"http_protocol_options": {}}}});
    let endpoint = json!({"endpoint": {"address": address(origin.address())}});
    let cluster = json!({"name": "c", "type": "STATIC", "typed_extension_protocol_options": options,
        "load_assignment": {"cluster_name": "c", "endpoints": [{"lb_endpoints": [endpoint]}]}});
    let host = json!({"name": "all", "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c"}}]});
    json!({"static_resources": {"clusters": [cluster], "listeners": [edge(&[host])]}})
}

/// What the origin is told of each request's connection, and how many it has had.
async fn play(side: &Side, origin: &Origin) -> (Vec<String>, usize) {
    let before = origin.connections();
    let mut client = Client::connect(side.listeners["edge"]).await;
    let mut told = Vec::new();
    for _ in 0..REQUESTS {
        told.push(client.request("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.text());
    }
    (told, origin.connections() - before)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_request_of_a_connection_is_as_in_envoy() {
    let Some(program) = Tool::Envoy.need() else { return };
    let origin = Origin::start().http(answer).await;
    let bootstrap = bootstrap(&origin);
    let envoy = Side::envoy(&program, &bootstrap).await;
    let tidegate = Side::tidegate(&bootstrap).await;
    let theirs = play(&envoy, &origin).await;
    assert_eq!(theirs.1, REQUESTS.div_ceil(2), "two on each");
    assert_eq!(play(&tidegate, &origin).await, theirs);
}
