//! Copies of requests: they come to the mirror, follow its endpoints, and are nobody's condition.

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::json;
use tidegate_testing::client::Client;
use tidegate_testing::origin::{Body, Origin, echo, full};
use tidegate_testing::{PATIENCE, eventually};
use tokio::sync::mpsc;

use crate::support::{Api, Gateway, NETWORKING, objects};

const HOST: &str = "app.example";

/// An origin that fails, and tells of each request its path and content.
async fn mirror() -> (Origin, mpsc::UnboundedReceiver<(String, String)>) {
    let (told, copies) = mpsc::unbounded_channel();
    let answer = move |request: Request<Incoming>| {
        let told = told.clone();
        async move {
            let path = request.uri().path().to_owned();
            let content =
                request.into_body().collect().await.map(http_body_util::Collected::to_bytes);
            let content = String::from_utf8_lossy(&content.unwrap_or_default()).into_owned();
            let _ = told.send((path, content));
            let mut answer: Response<Body> = Response::new(full("nobody reads this"));
            *answer.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
            answer
        }
    };
    (Origin::start().http(answer).await, copies)
}

async fn post(gateway: &Gateway, path: &str, content: &str) -> u16 {
    let mut client = Client::connect(gateway.http).await;
    let length = content.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n");
    client.request(head + content).await.status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_follow_the_mirror_and_no_request_waits_for_them() {
    let app = Origin::start().http(echo).await;
    let (first, mut at_first) = mirror().await;
    let (second, mut at_second) = mirror().await;
    // It takes connections and never reads.
    let stalls = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let gateway = Gateway::start(&[]).await;
    let mut api = Api::of(&gateway).await;
    for (name, host, address) in [
        ("app", "app.internal", app.address()),
        ("copies", "copies.internal", first.address()),
        ("stalls", "stalls.internal", stalls.local_addr().expect("an address")),
    ] {
        api.create("serviceentries", &objects::host(name, host, address)).await;
    }
    api.create("gateways", &objects::gateway("g", 80, &[HOST])).await;
    let destination = |host: &str| json!({"destination": {"host": host, "port": {"number": 80}}});
    let rules = json!([{
        "route": [destination("app.internal")],
        "mirrors": [destination("stalls.internal"), destination("copies.internal")],
    }]);
    api.create("virtualservices", &objects::rules("app", "g", HOST, &rules)).await;
    gateway.answers(HOST, "/", 200).await;

    assert_eq!(post(&gateway, "/one", "content").await, 200);
    let copy = loop {
        let copy = at_first.recv().await.expect("a copy");
        // Others are of requests that only waited for the route.
        if copy.0 == "/one" {
            break copy;
        }
    };
    assert_eq!(copy.1, "content");

    // More than any buffer of a connection that nobody reads.
    let much = "x".repeat(16 << 20);
    assert_eq!(post(&gateway, "/much", &much).await, 200);

    // Another endpoint.
    let moved = objects::host("copies", "copies.internal", second.address());
    let path = format!("{NETWORKING}/serviceentries/copies");
    api.change(&path, &moved["spec"]).await;
    eventually(PATIENCE, || async {
        assert_eq!(post(&gateway, "/two", "more").await, 200);
        second.requests() > 0
    })
    .await;
    assert_eq!(at_second.recv().await, Some(("/two".to_owned(), "more".to_owned())));

    // None.
    api.send("DELETE", &path, "").await;
    let rule = format!("{NETWORKING}/virtualservices/app");
    api.tells(&rule, &["http[0].mirrors[1]", "copies.internal"]).await;
    assert_eq!(post(&gateway, "/three", "").await, 200);
}
