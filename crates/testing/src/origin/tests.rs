use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::ca::Ca;
use crate::client::{self, Client};
use crate::{PATIENCE, eventually};

#[tokio::test]
async fn says_what_it_was_asked_and_counts() {
    let origin = Origin::start().http(echo).await;
    let mut client = Client::connect(origin.address()).await;
    let request = "POST /a?b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: t\r\n\r\n\
                   2\r\nhi\r\n0\r\nt: 1\r\n\r\n";
    let told = client.request(request).await.json();
    assert_eq!(told["method"], "POST");
    assert_eq!(told["uri"], "/a?b");
    assert_eq!(told["body"], "hi");
    assert_eq!(told["trailers"][0], serde_json::json!(["t", "1"]));

    let answer = client.request("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.body.is_empty());
    assert_eq!((origin.connections(), origin.requests()), (1, 2));
    drop(client);
    eventually(PATIENCE, || async { origin.open_connections() == 0 }).await;
}

#[tokio::test]
async fn answers_by_a_closure_and_over_tls() {
    let ca = Ca::new("test root");
    let handler = |_| async {
        let mut answer = Response::new(full("short"));
        *answer.status_mut() = StatusCode::IM_A_TEAPOT;
        answer
    };
    let origin = Origin::start().tls(&ca.issue(&["a.example"])).http(handler).await;
    let stream = client::tls(origin.address(), "a.example", ca.client_config(&[])).await;
    let mut client = Client::over(stream.expect("a handshake"));
    let answer = client.request("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
    assert_eq!((answer.status, answer.text().as_str()), (418, "short"));

    let stranger = client::tls(origin.address(), "b.example", ca.client_config(&[])).await;
    assert!(stranger.is_err());
}

#[tokio::test]
async fn speaks_http2_with_prior_knowledge() {
    let origin = Origin::start().http2().http(stream_back).await;
    let stream = TcpStream::connect(origin.address()).await.expect("a connection");
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(executor, io).await.expect("a handshake");
    let connection = tokio::spawn(connection);
    let request = Request::post("http://x/").body(full("tide")).expect("a request");
    let answer = sender.send_request(request).await.expect("an answer");
    let body = http_body_util::BodyExt::collect(answer.into_body()).await.expect("a body");
    assert_eq!(body.to_bytes(), "tide");
    connection.abort();
}

#[tokio::test]
async fn follows_its_script() {
    let script = Script::new().read_head().send_head(5).send("ab").reset();
    let origin = Origin::start().script(script).await;
    let mut client = Client::connect(origin.address()).await;
    client.send("GET / HTTP/1.1\r\n\r\n").await;
    assert!(client.read(false).await.is_err(), "an answer cut short");

    let script = Script::new().read_head().read(2).send("HTTP/1.1 204 \r\n\r\n").again();
    let origin = Origin::start().script(script).await;
    let mut client = Client::connect(origin.address()).await;
    for _ in 0..2 {
        let answer = client.request("PUT / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi").await;
        assert_eq!(answer.status, 204);
    }
    assert_eq!((origin.connections(), origin.requests()), (1, 2));
}

#[tokio::test]
async fn echoes_bytes_and_can_be_killed_and_started_again() {
    let origin = Origin::start().echo_bytes().await;
    let address = origin.address();
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(b"tide").await.expect("sent");
    let mut back = [0; 4];
    stream.read_exact(&mut back).await.expect("the bytes back");
    assert_eq!(&back, b"tide");

    origin.kill().await;
    assert!(matches!(stream.read(&mut back).await, Ok(0) | Err(_)), "the connection ended");
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens");
    let again = Origin::start().at(address).echo_bytes().await;
    assert_eq!(again.address(), address);
}
