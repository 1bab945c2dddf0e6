//! Route configurations that get other names under load, and chains that change with them: whose chain is the same but for
//! that name notices nothing, and nobody's request fails.

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
use tidegate_envoy::v3::cluster::Cluster;
use tidegate_envoy::v3::listener::Listener;
use tidegate_envoy::v3::route::{RouteConfiguration, VirtualHost};
use tidegate_testing::ca::{Ca, Identity};
use tidegate_testing::client::{self, Client};
use tidegate_testing::origin::{Origin, echo};
use tidegate_testing::{PATIENCE, eventually};
use tidegate_xds::{Resource, ResourceType};
use tokio::time::timeout;

use setup::{Running, bootstrap, cluster, serving, socket};

const ROUNDS: usize = 60;
/// Its chain stays as it is, but for the name of its routes.
const STAYS: &str = "stays.example";
/// Its chain changes now and then.
const CHANGES: &str = "changes.example";

/// The listener of a round, whose routes are named after it.
fn config(round: usize, leaf: &Identity) -> Value {
    let chain = |host: &str, server: &str| {
        let manager = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "hcm",
            "server_name": server,
            "rds": {"config_source": {"ads": {}}, "route_config_name": table_name(round)},
            "http_filters": [{"name": "router", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
        });
        json!({
            "filter_chain_match": {"server_names": [host]},
            "transport_socket": socket("Downstream", &serving(leaf)),
            "filters": [{"name": "hcm", "typed_config": manager}],
        })
    };
    let chains = [chain(STAYS, "one"), chain(CHANGES, ["one", "other"][round / 3 % 2])];
    bootstrap(&chains, &[], &[])
}

fn table_name(round: usize) -> String {
    format!("r{round}")
}

/// What a round has of its own, and under which names: a cluster, a route configuration, and its virtual hosts.
fn own(round: usize, origin: SocketAddr) -> Vec<Arc<Resource>> {
    let (table, to) = (table_name(round), format!("c{round}"));
    let routes = json!({"name": table, "vhds": {"config_source": {"ads": {}}}});
    let routes: RouteConfiguration = from_json(&routes).expect("a route configuration");
    let target: Cluster = from_json(&cluster(&to, origin)).expect("a cluster");
    let hosts = [STAYS, CHANGES].map(|host| {
        let route = json!({"match": {"prefix": "/"}, "route": {"cluster": to}});
        let json = json!({"name": host, "domains": [host], "routes": [route]});
        let message: VirtualHost = from_json(&json).expect("a virtual host");
        Resource::encode(ResourceType::VirtualHost, format!("{table}/{host}"), &message)
    });
    let rest = [
        Resource::encode(ResourceType::Cluster, to, &target),
        Resource::encode(ResourceType::RouteConfiguration, table, &routes),
    ];
    rest.into_iter().chain(hosts).map(Arc::new).collect()
}

/// What clients and changes know of each other.
#[derive(Debug, Default)]
struct Progress {
    answered: AtomicUsize,
    over: AtomicBool,
}

impl Progress {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Acquire)
    }

    fn answered(&self, status: u16) {
        assert_eq!(status, 200);
        self.answered.fetch_add(1, Ordering::AcqRel);
    }

    /// Waits for some more answers.
    async fn flows(&self) {
        let before = self.answered.load(Ordering::Acquire);
        eventually(PATIENCE, || async { self.answered.load(Ordering::Acquire) > before + 10 })
            .await;
    }
}

/// HTTP/1, one request after the other; how many connections that took. A server may close one that is idle, and who asks
/// at that moment asks again on another (RFC 9112, section 9.3.1).
async fn http1(progress: &Progress, address: SocketAddr, host: &str, ca: &Ca) -> usize {
    let trusting = ca.client_config(&["http/1.1"]);
    let ask = format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let mut connections = 0;
    while progress.goes_on() {
        let stream = client::tls(address, host, Arc::clone(&trusting)).await.expect("a handshake");
        let mut client = Client::over(stream);
        connections += 1;
        let mut asked = 0;
        while progress.goes_on() {
            client.send(&ask).await;
            let answer = match timeout(PATIENCE, client.read(false)).await.expect("in time") {
                Ok(answer) => answer,
                Err(error) => {
                    assert!(asked > 0, "a new connection was closed: {error}");
                    break;
                }
            };
            asked += 1;
            progress.answered(answer.status);
            if answer.header("connection") == Some("close") {
                break;
            }
        }
    }
    connections
}

async fn connect(address: SocketAddr, host: &str, ca: &Ca) -> SendRequest<Bytes> {
    let stream = client::tls(address, host, ca.client_config(&["h2"])).await.expect("a handshake");
    let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(connection);
    client
}

/// One stream; an error tells that it was never looked at.
async fn stream(client: &mut SendRequest<Bytes>, host: &str) -> Result<u16, h2::Error> {
    let uri = format!("https://{host}/x");
    let request = http::Request::get(uri).body(()).expect("a request");
    std::future::poll_fn(|cx| client.poll_ready(cx)).await?;
    let (answer, _) = client.send_request(request, true)?;
    let answer = answer.await?;
    let status = answer.status().as_u16();
    let mut body = answer.into_body();
    while let Some(data) = body.data().await {
        let data = data.expect("content");
        body.flow_control().release_capacity(data.len()).expect("a window");
    }
    Ok(status)
}

/// HTTP/2, one stream after the other; how many connections that took.
async fn http2(progress: &Progress, address: SocketAddr, host: &str, ca: &Ca) -> usize {
    let mut connections = 0;
    while progress.goes_on() {
        let mut client = connect(address, host, ca).await;
        connections += 1;
        while progress.goes_on() {
            match timeout(PATIENCE, stream(&mut client, host)).await.expect("in time") {
                Ok(status) => progress.answered(status),
                Err(error) => {
                    let gone = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
                    assert!(gone, "{error}");
                    break;
                }
            }
        }
    }
    connections
}

#[tokio::test]
async fn routes_change_their_name_and_nobody_notices() {
    let ca = Ca::new("root");
    let leaf = ca.issue(&[STAYS, CHANGES]);
    let origin = Origin::start().http(echo).await;
    let mut running = Running::start_with(&config(0, &leaf), 2).await;
    let first = own(0, origin.address());
    assert!(running.apply(first, Vec::new()).await.rejected.is_empty());

    let (address, progress) = (running.address, Progress::default());
    let changes = async {
        let mut before = own(0, origin.address());
        for round in 1..=ROUNDS {
            progress.flows().await;
            let listener = &config(round, &leaf)["static_resources"]["listeners"][0];
            let listener: Listener = from_json(listener).expect("a listener");
            let listener = Resource::encode(ResourceType::Listener, "tls", &listener);
            let next = own(round, origin.address());
            let put = next.iter().cloned().chain([Arc::new(listener)]).collect();
            let gone = before.iter().map(|resource| (resource.kind, Arc::clone(&resource.name)));
            let outcome = running.apply(put, gone.collect()).await;
            assert!(outcome.rejected.is_empty(), "{:?}", outcome.rejected);
            before = next;
        }
        progress.over.store(true, Ordering::Release);
    };
    let ((), one, two, three, four) = tokio::join!(
        changes,
        http1(&progress, address, STAYS, &ca),
        http2(&progress, address, STAYS, &ca),
        http1(&progress, address, CHANGES, &ca),
        http2(&progress, address, CHANGES, &ca),
    );
    assert_eq!((one, two), (1, 1), "connections of the chain that stays");
    assert_eq!(three, 1, "the chain in its place goes on with what is HTTP/1");
    assert!(four > 5, "{four} connections of HTTP/2 to the one that changes");
    running.counts("http.hcm.no_route", 0).await;
    running.counts("http.hcm.downstream_rq_4xx", 0).await;
    running.counts("http.hcm.downstream_rq_5xx", 0).await;
}
