//! The server from outside: TLS, tokens, limits, both versions of HTTP, and its end.

mod limits;
#[path = "../many/mod.rs"]
mod many;
mod scale;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tidegate_apiserver::rest::{Handle, Options, StartError};
use tidegate_apiserver::store::{self, Store};
use tidegate_apiserver::{NoContainers, Server};
use tidegate_testing::client::{self, Client, Response};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

struct Running {
    server: Handle,
    store: Store,
    dir: TempDir,
}

async fn start() -> Running {
    start_with(|_| {}).await
}

/// A server with other options than usual.
async fn start_with(set: impl FnOnce(&mut Options)) -> Running {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path(), store::Options::default()).expect("a store");
    let mut options = Options::new(loopback(), dir.path().to_owned());
    set(&mut options);
    let server =
        Server::start(options, store.clone(), Arc::new(NoContainers)).await.expect("started");
    Running { server, store, dir }
}

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

impl Running {
    fn token(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("token")).expect("a token").trim().to_owned()
    }

    fn tls(&self, alpn: &[&str]) -> Arc<ClientConfig> {
        let pem = self.dir.path().join("ca.crt");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(pem).expect("a certificate")).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    async fn connect(&self, alpn: &[&str]) -> TlsStream<TcpStream> {
        client::tls(self.address(), "127.0.0.1", self.tls(alpn)).await.expect("a handshake")
    }

    /// Where clients on this machine find it.
    fn address(&self) -> SocketAddr {
        SocketAddr::new(Ipv4Addr::LOCALHOST.into(), self.server.local_addr().port())
    }

    async fn h2(&self) -> H2 {
        let io = TokioIo::new(self.connect(&["h2"]).await);
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("h2");
        tokio::spawn(connection);
        H2 { sender, token: self.token() }
    }

    /// One request on a connection of its own, as HTTP/1.
    async fn ask(&self, head: &str, body: &str) -> Response {
        let mut client = Client::over(self.connect(&["http/1.1"]).await);
        let length = body.len();
        client.request(format!("{head}\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}")).await
    }

    async fn get(&self, path: &str) -> Response {
        self.get_as(&self.token(), path).await
    }

    async fn get_as(&self, token: &str, path: &str) -> Response {
        let head = format!("GET {path} HTTP/1.1\r\nAuthorization: Bearer {token}");
        self.ask(&head, "").await
    }
}

/// A connection of HTTP/2.
struct H2 {
    sender: hyper::client::conn::http2::SendRequest<Full<Bytes>>,
    token: String,
}

impl H2 {
    async fn ask(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
    ) -> http::Response<Incoming> {
        self.send(method, path, fields, "").await
    }

    async fn send(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &str,
    ) -> http::Response<Incoming> {
        let request = Request::builder()
            .method(method)
            .uri(format!("https://127.0.0.1{path}"))
            .header("authorization", format!("Bearer {}", self.token));
        let request =
            fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
        let answer = self.sender.send_request(request.body(body).expect("a request")).await;
        answer.expect("an answer")
    }
}

#[tokio::test]
async fn only_the_token_opens_the_door() {
    let running = start().await;
    let namespaces = running.get("/api/v1/namespaces").await;
    assert_eq!(namespaces.status, 200);
    assert_eq!(namespaces.json()["items"].as_array().map(Vec::len), Some(2));
    for authorization in ["", "\r\nAuthorization: Bearer wrong", "\r\nAuthorization: Basic YTpi"] {
        let answer = running.ask(&format!("GET /api HTTP/1.1{authorization}"), "").await;
        assert_eq!(answer.status, 401);
        assert_eq!(answer.json()["reason"], "Unauthorized");
    }
    for path in ["/healthz", "/readyz", "/version"] {
        assert_eq!(running.ask(&format!("GET {path} HTTP/1.1"), "").await.status, 200, "{path}");
    }
    assert_eq!(running.get("/api/v1/namespaces/default/services/kubernetes").await.status, 200);
    running.server.shutdown().await;
}

#[tokio::test]
async fn plain_http_is_told_to_use_tls() {
    let running = start().await;
    let answer = client::get(running.server.local_addr(), "x", "/api").await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("use https://"), "{}", answer.text());
}

#[tokio::test]
async fn http_2_carries_watches_and_requests_at_once() {
    let running = start().await;
    let mut client = running.h2().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let watch = client.ask("GET", &format!("{maps}?watch=true"), &[]).await;
    let mut watch = watch.into_body();
    let body = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}"#;
    assert_eq!(client.send("POST", maps, &[], body).await.status(), 201);
    let frame = watch.frame().await.expect("an event").expect("no error");
    let line = frame.into_data().expect("data");
    assert!(line.starts_with(b"{\"type\":\"ADDED\""), "{line:?}");
    running.server.shutdown().await;
    while let Some(frame) = watch.frame().await {
        frame.expect("the watch ends cleanly");
    }
}

#[tokio::test]
async fn answers_to_head_have_a_head() {
    let running = start().await;
    let mut client = running.h2().await;
    for path in ["/version", "/api/v1/namespaces", "/api/v1/namespaces/nope", "/nope"] {
        let got = client.ask("GET", path, &[]).await;
        let (status, body) = (got.status(), got.into_body().collect().await.expect("a body"));
        let length = body.to_bytes().len().to_string();
        let head = client.ask("HEAD", path, &[]).await;
        assert_eq!(
            (head.status(), head.headers()["content-length"].as_bytes()),
            (status, length.as_bytes())
        );
        let body = head.into_body().collect().await.expect("the end of the stream, and no error");
        assert_eq!(body.to_bytes().len(), 0, "{path}");

        let mut first = Client::over(running.connect(&["http/1.1"]).await);
        let token = running.token();
        first.send(format!(
            "HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
        )).await;
        let all = String::from_utf8(first.read_to_end().await).expect("text");
        assert!(all.starts_with(&format!("HTTP/1.1 {}", status.as_str())), "{all}");
        assert!(all.to_lowercase().contains(&format!("content-length: {length}\r\n")), "{all}");
        assert!(all.ends_with("\r\n\r\n"), "{all}");
    }
    let watch = client.ask("HEAD", "/api/v1/namespaces?watch=true", &[]).await;
    let body = watch.into_body().collect().await.expect("the end of the stream");
    assert_eq!(body.to_bytes().len(), 0, "a watch has no length, and ends at once");
}

#[tokio::test]
async fn it_stops_and_starts_again_where_it_was() {
    let running = start().await;
    let token = running.token();
    let mut watching = Client::over(running.connect(&["http/1.1"]).await);
    let watch = format!(
        "GET /api/v1/namespaces?watch=true HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    watching.send(watch).await;
    let head = watching.read_exact(15).await.expect("headers at once");
    assert_eq!(head, b"HTTP/1.1 200 OK");
    let address = running.server.local_addr();
    let stopping = tokio::time::timeout(Duration::from_secs(20), running.server.shutdown());
    stopping.await.expect("watches do not hold it up");
    let rest = watching.read_to_end().await;
    assert!(rest.ends_with(b"0\r\n\r\n"), "the watch ended with its last chunk");
    running.store.close().await;

    let store = Store::open(running.dir.path(), store::Options::default()).expect("a store");
    let options = Options::new(address, running.dir.path().to_owned());
    let server =
        Server::start(options, store.clone(), Arc::new(NoContainers)).await.expect("again");
    let running = Running { server, store, dir: running.dir };
    assert_eq!(running.token(), token, "a kubeconfig stays good");
    assert_eq!(running.get("/api/v1/namespaces").await.status, 200);
    let options = Options::new(address, running.dir.path().to_owned());
    let taken = Server::start(options, running.store.clone(), Arc::new(NoContainers)).await;
    match taken {
        Err(error @ StartError::Listen { .. }) => {
            assert!(error.to_string().contains("--api-listen"), "{error}");
        }
        other => panic!("the address is taken: {other:?}"),
    }
}
