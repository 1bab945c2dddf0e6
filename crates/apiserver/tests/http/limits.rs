//! What clients may take: who is let in from where, how much they send, how often, and how slowly.

use std::num::NonZeroU32;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tidegate_testing::PATIENCE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::*;

/// Long enough for a test's own requests, short enough to be waited for.
const SHORT: Duration = Duration::from_secs(1);
const ANN: &str = "the-token-of-ann";
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn tokens(dir: &Path) -> PathBuf {
    let file = dir.join("tokens");
    std::fs::write(&file, format!("{ANN},ann,1,\"system:masters\"\n")).expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    file
}

fn config_map(name: &str, bytes: usize) -> String {
    let value = "x".repeat(bytes);
    format!(
        "{{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{{\"name\":\"{name}\"}},\"data\":{{\"a\":\"{value}\"}}}}"
    )
}

/// Waits until the server ends a connection.
async fn ends(stream: &mut (impl AsyncReadExt + Unpin)) {
    let mut rest = Vec::new();
    // However it ends: a reset is an end, too.
    let ended = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "still open after {}", String::from_utf8_lossy(&rest));
}

#[tokio::test]
async fn bodies_have_a_limit() {
    let running = start().await;
    let token = running.token();
    let head = format!("POST {CONFIG_MAPS} HTTP/1.1\r\nAuthorization: Bearer {token}");
    let answer = running.ask(&head, &config_map("big", 3_300_000)).await;
    assert_eq!(answer.status, 413);
    assert_eq!(answer.json()["message"], "Request entity too large: limit is 3145728");
    let mut client = Client::over(running.connect(&["http/1.1"]).await);
    client.send(format!("{head}\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")).await;
    let piece = format!("100000\r\n{}\r\n", "y".repeat(0x10_0000));
    for _ in 0..4 {
        client.send(&piece).await;
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.response().await.status, 413, "a length that is not declared is counted");
}

#[tokio::test]
async fn heads_have_a_limit_in_both_versions_of_http() {
    let running = start().await;
    for (bytes, expected) in [(60_000, 200), (66_000, 431), (100_000, 431)] {
        let long = "y".repeat(bytes);
        let token = running.token();
        let head = format!("GET /api HTTP/1.1\r\nAuthorization: Bearer {token}\r\nX-Long: {long}");
        let first = running.ask(&head, "").await;
        assert_eq!(first.status, expected, "HTTP/1, {bytes} bytes");
        let second = running.h2().await.ask("GET", "/api", &[("x-long", &long)]).await;
        assert_eq!(second.status(), expected, "HTTP/2, {bytes} bytes");
        if expected == 431 {
            let said = first.json()["message"].as_str().expect("words").to_owned();
            assert!(said.contains("at most 65536 bytes"), "{said}");
        }
    }
}

#[tokio::test]
async fn beyond_loopback_it_takes_tokens_that_were_given_on_purpose() {
    let everywhere = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
    let dir = tempfile::tempdir().expect("a directory");
    let options = |listen: SocketAddr| Options::new(listen, dir.path().to_owned());
    for (listen, local) in [
        ("127.0.0.1:0", true),
        ("127.8.9.1:1", true),
        ("[::1]:0", true),
        ("[::ffff:127.0.0.1]:0", true),
        ("0.0.0.0:6443", false),
        ("[::]:6443", false),
        ("10.77.0.1:6443", false),
    ] {
        let checked = options(listen.parse().expect("an address")).check();
        assert_eq!(checked.is_ok(), local, "{listen}: {checked:?}");
    }
    let store = Store::open(dir.path(), store::Options::default()).expect("a store");
    let refused = Server::start(options(everywhere), store.clone(), Arc::new(NoContainers)).await;
    match refused {
        Err(error @ StartError::NoTokens { .. }) => {
            assert!(error.to_string().contains("--api-token-file"), "{error}");
        }
        other => panic!("nobody was named: {other:?}"),
    }

    let running = start_with(|options| {
        options.listen = everywhere;
        options.token_file = Some(tokens(dir.path()));
    })
    .await;
    assert_eq!(running.get_as(ANN, "/api").await.status, 200);
    assert_eq!(running.get_as("another-token-than-hers", "/api").await.status, 401);
    let plain = client::get(running.address(), "x", "/api").await;
    assert_eq!(plain.status, 400, "TLS is asked for everywhere");
}

#[tokio::test]
async fn each_user_has_a_number_of_requests() {
    let dir = tempfile::tempdir().expect("a directory");
    let running = start_with(|options| {
        options.token_file = Some(tokens(dir.path()));
        options.limits.requests = NonZeroU32::new(1).expect("some");
    })
    .await;
    let token = running.token();
    let mut refused = None;
    for _ in 0..100 {
        let answer = running.get_as(&token, "/api").await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
        assert_eq!(answer.status, 200);
    }
    let refused = refused.expect("a hundred at once are too many");
    assert_eq!(refused.header("retry-after"), Some("1"));
    let status = refused.json();
    assert_eq!(status["reason"], "TooManyRequests");
    assert_eq!(status["details"]["retryAfterSeconds"], 1);
    let message = status["message"].as_str().expect("a message");
    assert!(message.starts_with("Too many requests, please try again later"), "{message}");
    assert!(message.contains("--api-request-rate"), "{message}");
    assert_eq!(running.get_as(ANN, "/api").await.status, 200, "others are as free as before");
    assert_eq!(running.ask("GET /readyz HTTP/1.1", "").await.status, 200);
    assert_eq!(running.get_as("another-token-than-hers", "/api").await.status, 401);
    // What is told to be waited is enough.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(running.get_as(&token, "/api").await.status, 200);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_place() {
    let running = start_with(|options| options.limits.connections = 1).await;
    let first = running.connect(&["http/1.1"]).await;
    let mut second = std::pin::pin!(running.connect(&["http/1.1"]));
    let early = timeout(SHORT, second.as_mut()).await;
    assert!(early.is_err(), "there is one place");
    drop(first);
    drop(second.await);
}

#[tokio::test]
async fn who_is_slow_to_ask_is_not_waited_for() {
    let running = start_with(|options| {
        options.limits.handshake = SHORT;
        options.limits.head = SHORT;
        options.limits.body = SHORT;
    })
    .await;
    // No handshake at all, half of one, no request, half of one.
    for sent in [&b""[..], &[22, 3, 1, 2, 0, 1]] {
        let mut silent = TcpStream::connect(running.address()).await.expect("connected");
        silent.write_all(sent).await.expect("sent");
        ends(&mut silent).await;
    }
    for sent in ["", "GET /api HTTP/1.1\r\nHost:"] {
        let mut slow = running.connect(&["http/1.1"]).await;
        slow.write_all(sent.as_bytes()).await.expect("sent");
        slow.flush().await.expect("sent");
        ends(&mut slow).await;
    }
    let mut client = Client::over(running.connect(&["http/1.1"]).await);
    let token = running.token();
    let half = format!(
        "POST {CONFIG_MAPS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 9\r\n\r\n{{"
    );
    client.send(half).await;
    let answer = client.response().await;
    assert_eq!((answer.status, &answer.json()["reason"]), (400, &"BadRequest".into()));
    assert_eq!(answer.json()["message"], "the body took too long to arrive");
}

#[tokio::test]
async fn connections_on_which_nothing_is_asked_end() {
    let running = start_with(|options| options.limits.idle = SHORT).await;
    let (io, token) = (TokioIo::new(running.connect(&["h2"]).await), running.token());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("h2");
    let driving = tokio::spawn(connection);
    let watch = Request::builder()
        .uri(format!("https://127.0.0.1{CONFIG_MAPS}?watch=true&timeoutSeconds=3"))
        .header("authorization", format!("Bearer {token}"))
        .body(Full::new(Bytes::new()))
        .expect("a request");
    let mut watch = sender.send_request(watch).await.expect("headers").into_body();
    while let Some(frame) = timeout(PATIENCE, watch.frame()).await.expect("its time ends") {
        frame.expect("a watch of which nothing is told is asked for all the same");
    }
    let ended = timeout(PATIENCE, driving).await.expect("the server ends it").expect("driven");
    ended.expect("with a farewell");

    // Nor is a client waited for that does not answer the farewell.
    let mut mute = running.connect(&["h2"]).await;
    ends(&mut mute).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn who_takes_nothing_of_an_answer_is_left() {
    let running = start_with(|options| {
        options.limits.connections = 1;
        options.limits.stalled = SHORT;
    })
    .await;
    let token = running.token();
    let head = format!("POST {CONFIG_MAPS} HTTP/1.1\r\nAuthorization: Bearer {token}");
    for n in 0..20 {
        let created = running.ask(&head, &config_map(&format!("c{n}"), 900_000)).await;
        assert_eq!(created.status, 201);
    }
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("a small one");
    let stream = socket.connect(running.address()).await.expect("connected");
    let name = "127.0.0.1".try_into().expect("a name");
    let connector = TlsConnector::from(running.tls(&["http/1.1"]));
    let mut deaf = connector.connect(name, stream).await.expect("a handshake");
    let list =
        format!("GET {CONFIG_MAPS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
    deaf.write_all(list.as_bytes()).await.expect("sent");
    deaf.flush().await.expect("sent");
    let next = timeout(PATIENCE, running.get("/api")).await;
    assert_eq!(next.expect("the only place is free again").status, 200);
    drop(deaf);
}

/// The connection as such goes on: the system does not end it.
#[tokio::test]
async fn a_stream_of_which_nothing_is_taken_is_let_go_beside_others() {
    let running = start_with(|options| options.limits.stalled = SHORT).await;
    let token = running.token();
    let head = format!("POST {CONFIG_MAPS} HTTP/1.1\r\nAuthorization: Bearer {token}");
    assert_eq!(running.ask(&head, &config_map("c", 900_000)).await.status, 201);
    let io = TokioIo::new(running.connect(&["h2"]).await);
    let mut client = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    client.initial_stream_window_size(1_024);
    let (sender, connection) = client.handshake(io).await.expect("h2");
    let driving = tokio::spawn(connection);
    let ask = || {
        let request = Request::builder()
            .uri(format!("https://127.0.0.1{CONFIG_MAPS}/c"))
            .header("authorization", format!("Bearer {token}"))
            .body(Full::new(Bytes::new()))
            .expect("a request");
        let mut sender = sender.clone();
        async move { sender.send_request(request).await.expect("headers").into_body() }
    };
    let mut left = ask().await;
    let began = Instant::now();
    while began.elapsed() < SHORT * 2 {
        let whole = ask().await.collect().await.expect("all of it").to_bytes();
        assert!(whole.len() > 900_000);
    }
    let ended = async {
        while let Some(frame) = left.frame().await {
            frame?;
        }
        Ok::<_, hyper::Error>(())
    };
    let ended = timeout(PATIENCE, ended).await.expect("in time");
    assert!(ended.is_err(), "what nobody took was let go");
    driving.abort();
}
