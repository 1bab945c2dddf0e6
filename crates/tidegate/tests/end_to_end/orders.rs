//! What the admin interface orders: draining, failing health checks, ending; and what every orderly end does.

use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use tidegate_testing::client::{self, Client};
use tidegate_testing::origin::{Origin, Script, echo};
use tidegate_testing::{PATIENCE, eventually};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::support::{Api, Gateway, objects};

const REQUEST: &str = "GET /last HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// A gateway that sends `a.example` to `origin`.
async fn gateway(origin: &Origin, flags: &[&str]) -> Gateway {
    let gateway = Gateway::start(flags).await;
    let mut api = Api::of(&gateway).await;
    api.create("gateways", &objects::gateway("web", 80, &["*"])).await;
    api.create("serviceentries", &objects::host("a", "a.internal", origin.address())).await;
    api.create("virtualservices", &objects::route("a", "web", "a.example", "a.internal")).await;
    gateway.answers("a.example", "/", 200).await;
    gateway
}

/// Gives an order.
async fn post(admin: SocketAddr, path: &str) -> String {
    let order = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    Client::connect(admin).await.request(order).await.text()
}

async fn told(admin: SocketAddr, path: &str) -> String {
    client::get(admin, "localhost", path).await.text()
}

async fn stat(admin: SocketAddr, name: &str) -> String {
    let text = told(admin, &format!("/stats?filter=^{name}$")).await;
    text.trim().split(": ").nth(1).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn draining_listeners_closes_them_and_nothing_else() {
    let origin = Origin::start().http(echo).await;
    let mut gateway = gateway(&origin, &[]).await;
    assert_eq!(post(gateway.admin, "/drain_listeners?inboundonly").await, "OK\n");
    let mut client = Client::connect(gateway.http).await;
    assert_eq!(client.request(REQUEST).await.status, 200, "a gateway's listeners face outwards");

    assert_eq!(post(gateway.admin, "/drain_listeners").await, "OK\n");
    eventually(PATIENCE, || async {
        match tokio::net::TcpStream::connect(gateway.http).await {
            Ok(_) => Err("somebody listens"),
            Err(_) => Ok(()),
        }
    })
    .await;
    let answer = client.request(REQUEST).await;
    assert_eq!((answer.status, answer.header("connection")), (200, None));
    assert_eq!(told(gateway.admin, "/ready").await, "LIVE\n");
    assert_eq!(stat(gateway.admin, "listener_manager.listener_stopped").await, "1");

    // What comes later is not opened, and says why.
    let mut api = Api::of(&gateway).await;
    api.create("gateways", &objects::gateway("other", 8888, &["*"])).await;
    gateway.process.stderr().containing("drained by the admin interface").await;
    gateway.process.signal(Signal::TERM);
    drop(client);
    assert!(gateway.process.wait(PATIENCE).await.success(), "{}", gateway.process);
}

#[tokio::test]
async fn draining_gracefully_tells_clients_first() {
    let origin = Origin::start().http(echo).await;
    let gateway = gateway(&origin, &[]).await;
    let refused = post(gateway.admin, "/drain_listeners?skip_exit").await;
    assert!(refused.contains("skip_exit requires graceful"), "{refused}");
    assert_eq!(post(gateway.admin, "/drain_listeners?graceful&skip_exit").await, "OK\n");
    eventually(PATIENCE, || async {
        // It listens on, for clients that have not heard of it.
        let answer = Client::connect(gateway.http).await.request(REQUEST).await;
        match (answer.status, answer.header("connection")) {
            (200, Some("close")) => Ok(()),
            _ => Err(format!("{answer:?}")),
        }
    })
    .await;
    // It is counted once the answer is sent, which the client may hear of first.
    eventually(PATIENCE, || async {
        match &*stat(gateway.admin, "http\\..*\\.downstream_cx_drain_close").await {
            "0" => Err("none is counted"),
            _ => Ok(()),
        }
    })
    .await;
}

#[tokio::test]
async fn health_checks_fail_and_succeed_on_order() {
    let gateway = Gateway::start(&[]).await;
    let ready = async || client::get(gateway.health, "any", "/healthz/ready").await.status;
    eventually(PATIENCE, || async {
        let status = ready().await;
        if status == 200 { Ok(()) } else { Err(status) }
    })
    .await;
    assert_eq!(post(gateway.admin, "/healthcheck/fail").await, "OK\n");
    assert_eq!((ready().await, &*told(gateway.admin, "/ready").await), (503, "DRAINING\n"));
    assert_eq!(post(gateway.admin, "/healthcheck/ok").await, "OK\n");
    assert_eq!((ready().await, &*told(gateway.admin, "/ready").await), (200, "LIVE\n"));
}

/// Ends a gateway by `end` while a request is under way: it is answered, the process ends well, and its line is in
/// the log.
async fn ends_in_order(end: impl AsyncFn(&Gateway)) {
    let script = Script::new().read_head().send_head(2).send("h");
    let script = script.pause(Duration::from_millis(500)).send("i").again();
    let origin = Origin::start().script(script).await;
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("access.log");
    let mut gateway = gateway(&origin, &["--access-log", &log.display().to_string()]).await;
    let mut client = Client::connect(gateway.http).await;
    let before = origin.requests();
    client.send(REQUEST).await;
    eventually(PATIENCE, || async { origin.requests() > before }).await;
    end(&gateway).await;
    assert_eq!(client.response().await.text(), "hi");
    assert!(gateway.process.wait(PATIENCE).await.success(), "{}", gateway.process);
    let log = std::fs::read_to_string(log).expect("the log");
    assert!(log.contains("GET /last"), "{log}");
}

#[tokio::test]
async fn quitquitquit_ends_as_sigterm_does() {
    ends_in_order(async |gateway| {
        assert_eq!(post(gateway.admin, "/quitquitquit").await, "OK\n");
    })
    .await;
    ends_in_order(async |gateway| gateway.process.signal(Signal::TERM)).await;
}

/// Asks again and again on one connection, until it is told that it is the last time. How often it was answered before.
async fn ask_until_told(mut client: Client, pause: Duration) -> usize {
    for answered in 0.. {
        let answer = client.request(REQUEST).await;
        assert_eq!(answer.status, 200);
        if answer.header("connection") == Some("close") {
            return answered;
        }
        sleep(pause).await;
    }
    unreachable!("it goes on until it is told")
}

/// A connection that is kept alive may carry a request at any moment, also while the process is told to end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_lost_over_an_end() {
    let origin = Origin::start().http(echo).await;
    let mut gateway = gateway(&origin, &["--workers", "2"]).await;
    let mut idle = Client::connect(gateway.http).await;
    assert_eq!(idle.request(REQUEST).await.status, 200);
    let mut clients = JoinSet::new();
    for number in 0..24 {
        let client = Client::connect(gateway.http).await;
        clients.spawn(ask_until_told(client, Duration::from_millis(17 * number)));
    }
    let before = origin.requests();
    eventually(PATIENCE, || async { origin.requests() >= before + 200 }).await;
    gateway.process.signal(Signal::TERM);
    eventually(PATIENCE, || async { tokio::net::TcpStream::connect(gateway.http).await.is_err() })
        .await;
    // It has heard nothing of the end.
    assert_eq!(ask_until_told(idle, Duration::ZERO).await, 0);
    let answered: usize = clients.join_all().await.into_iter().sum();
    assert!(answered >= 100, "{answered}");
    assert!(gateway.process.wait(PATIENCE).await.success(), "{}", gateway.process);
    gateway.process.stderr().containing("finishing what is in flight").await;
}

fn make_pipe(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status().expect("mkfifo");
    assert!(made.success());
}

#[tokio::test]
async fn a_log_that_nobody_reads_does_not_keep_the_process() {
    let origin = Origin::start().http(echo).await;
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe");
    make_pipe(&pipe);
    // Open, and never read.
    let _reader = OpenOptions::new().read(true).write(true).open(&pipe).expect("the pipe");
    let mut gateway = gateway(&origin, &["--access-log", &pipe.display().to_string()]).await;
    // More than a pipe takes.
    let path = format!("/{}", "x".repeat(8000));
    for _ in 0..32 {
        assert_eq!(gateway.get("a.example", &path).await.status, 200);
    }
    gateway.process.signal(Signal::TERM);
    assert!(gateway.process.wait(Duration::from_secs(20)).await.success(), "{}", gateway.process);
    gateway.process.stderr().containing("access logs were not written out").await;
}

#[tokio::test]
async fn the_gateway_tells_who_it_is() {
    let gateway = Gateway::start(&["--gateway-labels", "istio=edge"]).await;
    let dump = client::get(gateway.admin, "localhost", "/config_dump").await.json();
    let bootstrap = &dump["configs"][0]["bootstrap"];
    let id = "router~127.0.0.1~istio-edge.istio-system~istio-system.svc.cluster.local";
    assert_eq!(bootstrap["node"]["id"], id);
    let admin = &bootstrap["admin"]["address"]["socket_address"]["port_value"];
    assert_eq!(*admin, gateway.admin.port());
    let info = client::get(gateway.admin, "localhost", "/server_info").await.json();
    assert_eq!(info["node"]["id"], id);
    assert_eq!(info["command_line_options"]["concurrency"], 2);
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
}
