//! Ten thousand changes of routes under load: no request fails, every one sees what was in force when it was sent or
//! something newer, and what is long under way goes on.

#[path = "tls/setup.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod setup;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use h2::client::SendRequest;
use serde_json::{Value, json};
use tidegate_envoy::json::from_json;
use tidegate_envoy::v3::route::{RouteConfiguration, VirtualHost};
use tidegate_testing::PATIENCE;
use tidegate_testing::ca::Ca;
use tidegate_testing::client::{self, Client};
use tidegate_testing::origin::{Origin, Script, echo, stream_back};
use tidegate_xds::{Resource, ResourceType};
use tokio::net::TcpStream;
use tokio::time::timeout;

use setup::{Running, bootstrap, cluster, serving, socket};

const CHANGES: usize = 10_000;
/// How often what is long under way has to say something.
const EVERY: usize = 20;
/// Virtual hosts that nobody asks for.
const NEIGHBOURS: usize = 200;
const HOST: &str = "a.example";
const ASK: &str = "GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// One listener for TLS and plain text, with routes that come by themselves.
fn config(ca: &Ca, clusters: &[Value]) -> Value {
    let manager = json!({"name": "hcm", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "hcm",
        "rds": {"config_source": {"ads": {}}, "route_config_name": "r"},
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http_filters": [{"name": "router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
    }});
    let tls = socket("Downstream", &serving(&ca.issue(&[HOST])));
    let chains = [
        json!({"filter_chain_match": {"transport_protocol": "tls"}, "filters": [manager], "transport_socket": tls}),
        json!({"filter_chain_match": {"transport_protocol": "raw_buffer"}, "filters": [manager]}),
    ];
    bootstrap(&chains, clusters, &[])
}

fn table(round: usize) -> Arc<Resource> {
    let table = json!({"name": "r", "vhds": {"config_source": {"ads": {}}}, "response_headers_to_add": [
        {"header": {"key": "x-table", "value": round.to_string()}}]});
    let table: RouteConfiguration = from_json(&table).expect("a route configuration");
    Arc::new(Resource::encode(ResourceType::RouteConfiguration, "r", &table))
}

fn host(name: &str, round: usize) -> Arc<Resource> {
    let to = |path: &str, cluster: &str| json!({"match": {"prefix": path}, "route": {"cluster": cluster, "timeout": "0s"}});
    let host = json!({
        "name": name,
        "domains": [name],
        "routes": [to("/socket", "socket"), to("/stream", "stream"), to("/", "origin")],
        "response_headers_to_add": [{"header": {"key": "x-round", "value": round.to_string()}}],
    });
    let host: VirtualHost = from_json(&host).expect("a virtual host");
    Arc::new(Resource::encode(ResourceType::VirtualHost, key(name), &host))
}

fn key(name: &str) -> String {
    format!("r/{name}")
}

/// What clients know of the changes.
#[derive(Debug, Default)]
struct Progress {
    /// The last round that every worker serves.
    confirmed: AtomicUsize,
    over: AtomicBool,
}

impl Progress {
    /// Asks until the changes are over; how often that was. `ask` tells the status and the round of an answer.
    async fn load(&self, mut ask: impl AsyncFnMut() -> (u16, String)) -> usize {
        let mut asked = 0;
        while !self.over.load(Ordering::Acquire) {
            let confirmed = self.confirmed.load(Ordering::Acquire);
            let (status, round) = timeout(PATIENCE, ask()).await.expect("in time");
            assert_eq!(status, 200, "after {asked}");
            let round: usize = round.parse().expect("a number");
            assert!(round >= confirmed, "{round} was in force, {confirmed} was confirmed before");
            asked += 1;
        }
        asked
    }
}

fn seen(answer: &client::Response) -> (u16, String) {
    (answer.status, answer.header("x-round").unwrap_or_default().to_owned())
}

/// HTTP/1, one request after the other on one connection.
async fn kept_alive(progress: &Progress, address: SocketAddr) -> usize {
    let mut client = Client::connect(address).await;
    progress.load(async || seen(&client.request(ASK).await)).await
}

/// HTTP/1 over TLS, a connection for each request.
async fn over_tls(progress: &Progress, address: SocketAddr, ca: &Ca) -> usize {
    let config = ca.client_config(&["http/1.1"]);
    let ask = async || {
        let stream = client::tls(address, HOST, Arc::clone(&config)).await.expect("a handshake");
        seen(&Client::over(stream).request(ASK).await)
    };
    progress.load(ask).await
}

/// HTTP/2 over TLS, one stream after the other.
async fn streams(progress: &Progress, mut client: SendRequest<Bytes>) -> usize {
    let ask = async || {
        let request = http::Request::get("https://a.example/x").body(()).expect("a request");
        let (answer, _) = client.send_request(request, true).expect("a stream");
        let answer = answer.await.expect("an answer");
        let round = answer.headers()["x-round"].to_str().expect("text").to_owned();
        let status = answer.status().as_u16();
        let mut body = answer.into_body();
        while let Some(data) = body.data().await {
            let data = data.expect("content");
            body.flow_control().release_capacity(data.len()).expect("a window");
        }
        (status, round)
    };
    progress.load(ask).await
}

/// A connection that has become a WebSocket.
struct Socket(Client<TcpStream>);

impl Socket {
    async fn open(address: SocketAddr) -> Self {
        let mut client = Client::connect(address).await;
        let request = "GET /socket HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        assert_eq!(client.request(request).await.status, 101);
        Self(client)
    }

    async fn ping(&mut self) {
        self.0.send("ping").await;
        assert_eq!(self.0.read_exact(4).await.expect("an answer"), b"pong");
    }
}

/// A stream of HTTP/2 whose request and answer have no end.
struct Stream {
    send: h2::SendStream<Bytes>,
    receive: h2::RecvStream,
}

impl Stream {
    async fn open(client: &mut SendRequest<Bytes>) -> Self {
        let request = http::Request::post("https://a.example/stream").body(()).expect("a request");
        let (answer, mut send) = client.send_request(request, false).expect("a stream");
        send.send_data(Bytes::from_static(b"first"), false).expect("sent");
        let mut receive = answer.await.expect("an answer").into_body();
        let first = receive.data().await.expect("not over").expect("content");
        assert_eq!(&first[..], b"first");
        Self { send, receive }
    }

    async fn ping(&mut self) {
        self.send.send_data(Bytes::from_static(b"ping"), false).expect("sent");
        let mut back = Vec::new();
        while back.len() < 4 {
            let data = self.receive.data().await.expect("not over").expect("content");
            self.receive.flow_control().release_capacity(data.len()).expect("a window");
            back.extend_from_slice(&data);
        }
        assert_eq!(back, b"ping");
    }
}

async fn http2(address: SocketAddr, ca: &Ca) -> SendRequest<Bytes> {
    let stream = client::tls(address, HOST, ca.client_config(&["h2"])).await.expect("connected");
    let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(connection);
    client
}

/// Changes one thing: mostly the host that is asked for, else one beside it, and now and then the whole table.
async fn change(running: &mut Running, round: usize) {
    let beside = |round: usize| format!("b{round}.example");
    let (put, remove) = match round % 4 {
        _ if round.is_multiple_of(1000) => (vec![table(round), host(HOST, round)], vec![]),
        1 => (vec![host(&beside(round), round)], vec![]),
        3 => (vec![], vec![(ResourceType::VirtualHost, key(&beside(round - 2)).into())]),
        _ => (vec![host(HOST, round)], vec![]),
    };
    let outcome = running.apply(put, remove).await;
    assert!(outcome.rejected.is_empty(), "{:?}", outcome.rejected);
}

#[tokio::test]
async fn ten_thousand_changes_cost_no_request() {
    let ca = Ca::new("root");
    let upgrade =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let pings = (0..CHANGES / EVERY)
        .fold(Script::new().read_head().send(upgrade), |script, _| script.read(4).send("pong"));
    let origin = Origin::start().http(echo).await;
    let stream = Origin::start().http(stream_back).await;
    let sockets = Origin::start().script(pings.read_to_end()).await;
    let clusters = [
        cluster("origin", origin.address()),
        cluster("stream", stream.address()),
        cluster("socket", sockets.address()),
    ];
    let mut running = Running::start_with(&config(&ca, &clusters), 2).await;
    let neighbours = (0..NEIGHBOURS).map(|number| host(&format!("n{number}.example"), 0));
    let first = [table(0), host(HOST, 0)].into_iter().chain(neighbours).collect();
    assert!(running.apply(first, Vec::new()).await.rejected.is_empty());

    let (address, progress) = (running.address, Progress::default());
    let mut client = http2(address, &ca).await;
    let mut long = Stream::open(&mut client).await;
    let mut socket = Socket::open(address).await;
    let changes = async {
        for round in 1..=CHANGES {
            change(&mut running, round).await;
            if round.is_multiple_of(2) {
                progress.confirmed.store(round, Ordering::Release);
            }
            if round.is_multiple_of(EVERY) {
                timeout(PATIENCE, socket.ping()).await.expect("in time");
                timeout(PATIENCE, long.ping()).await.expect("in time");
            }
        }
        progress.over.store(true, Ordering::Release);
    };
    let ((), kept_alive, over_tls, streams) = tokio::join!(
        changes,
        kept_alive(&progress, address),
        over_tls(&progress, address, &ca),
        streams(&progress, client),
    );
    for asked in [kept_alive, over_tls, streams] {
        assert!(asked > 50, "{asked} requests");
    }
    running.counts("http.hcm.no_route", 0).await;
    running.counts("http.hcm.downstream_rq_4xx", 0).await;
    running.counts("http.hcm.downstream_rq_5xx", 0).await;
    running.counts("http.hcm.downstream_cx_upgrades_active", 1).await;
}
