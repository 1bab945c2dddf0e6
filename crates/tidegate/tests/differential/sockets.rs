//! Endpoints that are sockets of this machine, in Envoy and in ours: with TLS, with bytes, and ejected and returned.

use std::path::{Path, PathBuf};

use http::Request;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_testing::ca::Ca;
use tidegate_testing::client::{self, Client};
use tidegate_testing::origin::{Body, Incoming, Origin, Response, full};
use tidegate_testing::tools::Tool;
use tidegate_testing::{PATIENCE, eventually};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpStream, UnixListener};

use crate::bootstrap::{edge, tcp};
use crate::sides::Side;

const TLS: &str =
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
/// Whom the origin with TLS is.
const HOST: &str = "origin.example";
/// Endpoints of the cluster that ejects.
const PAIR: [&str; 2] = ["one", "two"];

/// Answers with its name, and fails where that is asked for.
async fn answer(name: &'static str, request: Request<Incoming>) -> Response<Body> {
    let fails = request.headers().get("x-fails").is_some_and(|at| at == name);
    let mut answer = Response::new(full(name));
    if fails {
        *answer.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
    }
    answer
}

/// Sockets that lead to origins.
struct Sockets {
    folder: TempDir,
    _origins: Vec<Origin>,
}

impl Sockets {
    async fn start(ca: &Ca) -> Self {
        let mut all = Self { folder: tempfile::tempdir().expect("a folder"), _origins: Vec::new() };
        let identity = ca.issue(&[HOST]);
        let tls = Origin::start().tls(&identity).http(|request| answer("tls", request)).await;
        all.lead("tls", tls);
        let echo = Origin::start().echo_bytes().await;
        all.lead("echo", echo);
        for name in PAIR {
            let origin = Origin::start().http(move |request| answer(name, request)).await;
            all.lead(name, origin);
        }
        all
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn lead(&mut self, name: &str, origin: Origin) {
        let listener = UnixListener::bind(self.path(name)).expect("a socket");
        let to = origin.address();
        self._origins.push(origin);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut origin = TcpStream::connect(to).await.expect("an origin");
                    // Who resets ends it.
                    let _ = copy_bidirectional(&mut stream, &mut origin).await;
                });
            }
        });
    }

    fn cluster(&self, name: &str, sockets: &[&str], more: &Value) -> Value {
        let endpoint =
            |socket: &&str| json!({"endpoint": {"address": {"pipe": {"path": self.path(socket)}}}});
        let endpoints: Vec<Value> = sockets.iter().map(endpoint).collect();
        let mut cluster = json!({
            "name": name, "type": "STATIC", "connect_timeout": "2s",
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        });
        for (field, value) in more.as_object().into_iter().flatten() {
            cluster[field] = value.clone();
        }
        cluster
    }

    fn bootstrap(&self, ca: &Ca, bytes: &str) -> Value {
        let tls = |trusted: &str| {
            let trusted = json!({"trusted_ca": {"inline_string": trusted}});
            json!({"transport_socket": {"name": "tls", "typed_config": {"@type": TLS, "sni": HOST,
                "common_tls_context": {"validation_context": trusted}}}})
        };
        let ejects = json!({"lb_policy": "ROUND_ROBIN",
            "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
            "outlier_detection": {"consecutive_5xx": 1, "max_ejection_percent": 100,
                "interval": "0.5s", "base_ejection_time": "1.5s"}});
        let clusters = [
            self.cluster("tls", &["tls"], &tls(ca.pem())),
            self.cluster("distrust", &["tls"], &tls(Ca::new("another").pem())),
            self.cluster("pair", &PAIR, &ejects),
            self.cluster("tcp", &[bytes], &json!({})),
        ];
        let hosts = ["tls", "distrust", "pair"].map(|name| {
            let route = json!({"match": {"prefix": "/"}, "route": {"cluster": name}});
            json!({"name": name, "domains": [name], "routes": [route]})
        });
        json!({"static_resources": {"listeners": [edge(&hosts), tcp()], "clusters": clusters}})
    }
}

async fn ask(side: &Side, host: &str, more: &str) -> (u16, String) {
    let mut client = Client::connect(side.listeners["edge"]).await;
    let answer = client.request(format!("GET / HTTP/1.1\r\nHost: {host}\r\n{more}\r\n")).await;
    (answer.status, answer.text())
}

/// Whether an endpoint is shown as ejected.
async fn is_out(side: &Side, socket: &Path) -> bool {
    let text = client::get(side.admin, "127.0.0.1", "/clusters").await.text();
    let line = format!("pair::{}::health_flags::/failed_outlier_check", socket.display());
    text.lines().any(|found| found == line)
}

async fn count(side: &Side, name: &str) -> String {
    let stats = client::get(side.admin, "127.0.0.1", "/stats").await.text();
    let name = format!("cluster.{name}: ");
    stats.lines().find(|line| line.starts_with(&name)).unwrap_or_default().to_owned()
}

/// An endpoint that fails is out until its time is over.
async fn eject(side: &Side, sockets: &Sockets) {
    let failing = PAIR[0];
    eventually(PATIENCE, || async {
        ask(side, "pair", &format!("X-Fails: {failing}\r\n")).await;
        is_out(side, &sockets.path(failing)).await
    })
    .await;
    // The worker is the last to know; then it is the other's turn every time.
    eventually(PATIENCE, || async {
        let mut names = Vec::new();
        for _ in 0..4 {
            names.push(ask(side, "pair", "").await.1);
        }
        names.iter().all(|name| name == PAIR[1])
    })
    .await;
    assert!(!is_out(side, &sockets.path(PAIR[1])).await);
    eventually(PATIENCE, || async { ask(side, "pair", "").await.1 == failing }).await;
    assert!(!is_out(side, &sockets.path(failing)).await);
}

async fn play(side: &Side, sockets: &Sockets) -> Vec<String> {
    let mut seen = Vec::new();
    for host in ["tls", "tls", "distrust"] {
        let (status, text) = ask(side, host, "").await;
        // What is wrong with a certificate each says in its own words.
        let text = text.split(':').next().unwrap_or_default().to_owned();
        seen.push(format!("{host}: {status} {text}"));
    }
    for name in ["tls.ssl.handshake", "tls.upstream_cx_total", "distrust.ssl.fail_verify_error"] {
        seen.push(count(side, name).await);
    }
    let mut client = Client::connect(side.listeners["tcp"]).await;
    client.send("bytes").await;
    let echo = client.read_exact(5).await.expect("an echo");
    seen.push(format!("tcp: {}", String::from_utf8_lossy(&echo)));
    client.finish().await;
    seen.push(format!("tcp: then {}", client.read_to_end().await.escape_ascii()));
    for name in ["tcp.upstream_cx_total", "tcp.upstream_cx_connect_fail"] {
        seen.push(count(side, name).await);
    }
    eject(side, sockets).await;
    seen.push(count(side, "pair.outlier_detection.ejections_enforced_total").await);
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_are_endpoints_as_in_envoy() {
    let Some(program) = Tool::Envoy.need() else { return };
    let ca = Ca::new("origins");
    let sockets = Sockets::start(&ca).await;
    let bootstrap = sockets.bootstrap(&ca, "echo");
    let envoy = Side::envoy(&program, &bootstrap).await;
    let tidegate = Side::tidegate(&bootstrap).await;
    assert_eq!(play(&tidegate, &sockets).await, play(&envoy, &sockets).await, "ours, and Envoy's");
    // Where nobody listens, connections are closed.
    let bootstrap = sockets.bootstrap(&ca, "nobody");
    for side in [Side::envoy(&program, &bootstrap).await, Side::tidegate(&bootstrap).await] {
        let mut client = Client::connect(side.listeners["tcp"]).await;
        assert_eq!(client.read_to_end().await, b"");
        let failed = count(&side, "tcp.upstream_cx_connect_fail").await;
        assert_eq!(failed, "cluster.tcp.upstream_cx_connect_fail: 1");
    }
}
