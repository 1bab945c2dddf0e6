use std::net::{Ipv4Addr, TcpListener};

use tidegate_testing::client::{self, Client, Response};

use crate::demo::{GOOGLE, HTTPBIN, site};

/// An httpbin that ends with the test's runtime.
async fn start() -> Client {
    start_as(HTTPBIN).await
}

async fn start_as(name: &'static str) -> Client {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.set_nonblocking(true).expect("non-blocking");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(site(listener, name, None));
    Client::connect(address).await
}

async fn get(client: &mut Client, path: &str) -> Response {
    client.request(format!("GET {path} HTTP/1.1\r\nHost: httpbin.org\r\nX-A: 1\r\n\r\n")).await
}

#[tokio::test]
async fn shows_what_was_sent() {
    let mut httpbin = start().await;
    let answer = get(&mut httpbin, "/get?a=b").await;
    assert_eq!(
        answer.text(),
        "{\n  \"args\": {\n    \"a\": \"b\"\n  },\n  \"headers\": {\n    \"Host\": \"httpbin.org\",\n    \
         \"X-A\": \"1\"\n  },\n  \"origin\": \"127.0.0.1\",\n  \"url\": \"http://httpbin.org/get?a=b\"\n}\n"
    );
    assert_eq!(answer.header("content-type"), Some("application/json"));

    let post = "POST /post HTTP/1.1\r\nHost: h\r\nX-Forwarded-Proto: https\r\n\
                X-Forwarded-For: 192.0.2.1\r\nContent-Length: 10\r\n\r\n{\"a\": [1]}";
    let told = httpbin.request(post).await.json();
    assert_eq!(told["json"]["a"][0], 1);
    assert_eq!(told["data"], "{\"a\": [1]}");
    assert_eq!((&told["url"], &told["origin"]), (&"https://h/post".into(), &"192.0.2.1".into()));

    let form = "PUT /anything/x HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                Content-Length: 3\r\n\r\na=b";
    let told = httpbin.request(form).await.json();
    assert_eq!((&told["form"]["a"], &told["method"]), (&"b".into(), &"PUT".into()));
    assert_eq!(
        httpbin.request("POST /get HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n").await.status,
        405
    );
}

#[tokio::test]
async fn answers_each_path() {
    let mut httpbin = start().await;
    assert_eq!(get(&mut httpbin, "/headers").await.json()["headers"]["X-A"], "1");
    assert_eq!(get(&mut httpbin, "/ip").await.json()["origin"], "127.0.0.1");
    assert!(get(&mut httpbin, "/user-agent").await.json()["user-agent"].is_null());
    assert!(get(&mut httpbin, "/uuid").await.json()["uuid"].is_string());
    assert_eq!(get(&mut httpbin, "/delay/0.01").await.status, 200);
    assert_eq!(get(&mut httpbin, "/delay/x").await.status, 400);

    let teapot = get(&mut httpbin, "/status/418").await;
    assert_eq!((teapot.status, teapot.body.len()), (418, 135));
    assert!(teapot.text().contains("-=[ teapot ]=-"));
    assert_eq!(get(&mut httpbin, "/status/302").await.header("location"), Some("/redirect/1"));
    assert_eq!(get(&mut httpbin, "/redirect/2").await.header("location"), Some("/redirect/1"));

    assert_eq!(get(&mut httpbin, "/bytes/70000").await.body.len(), 70_000);
    assert_eq!(get(&mut httpbin, "/bytes/999999").await.body.len(), super::LARGEST_BYTES);
    let seeded = get(&mut httpbin, "/bytes/16?seed=7").await.body;
    assert_eq!(get(&mut httpbin, "/bytes/16?seed=7").await.body, seeded);

    let stream = get(&mut httpbin, "/stream/3").await;
    assert_eq!(stream.header("transfer-encoding"), Some("chunked"));
    let ids: Vec<_> = stream
        .text()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["id"].clone())
        .collect();
    assert_eq!(ids, [0, 1, 2]);

    let set = get(&mut httpbin, "/response-headers?x-b=2").await;
    assert_eq!((set.header("x-b"), &set.json()["x-b"]), (Some("2"), &"2".into()));
    assert_eq!(get(&mut httpbin, "/nothing").await.status, 404);
}

#[tokio::test]
async fn refuses_bodies_that_it_would_have_to_hold() {
    let mut httpbin = start().await;
    let size = super::LARGEST_BODY + 1;
    httpbin.send(format!("POST /post HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n")).await;
    httpbin.send(vec![b'x'; size]).await;
    assert_eq!(httpbin.response().await.status, 413);
}

#[tokio::test]
async fn has_a_front_page() {
    let mut google = start_as(GOOGLE).await;
    assert!(get(&mut google, "/").await.text().contains("<title>Google</title>"));
}

#[tokio::test]
async fn the_demo_starts_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let demo = crate::demo::Demo::start(folder.path()).expect("the demo");
    assert_eq!(client::get(demo.httpbin, HTTPBIN, "/status/204").await.status, 204);
    assert!(demo.ca_bundle.is_file());
    assert_ne!(demo.google, demo.httpbin);
}
