//! PROXY headers to destinations (`proxyProtocol`): every request comes on a connection that says who its client is, however
//! many clients, workers and limits there are, and while the header changes.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::{Value, json};
use tidegate_testing::client::Client;
use tidegate_testing::proxied::{Origin, Speaks};
use tidegate_testing::{PATIENCE, eventually};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::support::{Api, Gateway, NETWORKING, objects};

const HOST: &str = "told.example.com";
/// So many that clients' connections are sure to be spread over several of them.
const WORKERS: &str = "4";
const CLIENTS: usize = 16;
const REQUESTS: usize = 20;

/// A client that keeps its connection.
struct Kept {
    client: Client,
    ends: (SocketAddr, SocketAddr),
}

impl Kept {
    async fn connect(gateway: SocketAddr) -> Self {
        let stream = TcpStream::connect(gateway).await.expect("a connection");
        let ends = stream.local_addr().and_then(|own| Ok((own, stream.peer_addr()?)));
        Self { ends: ends.expect("two addresses"), client: Client::over(stream) }
    }

    /// What its request came with at an origin; panics when it gets none.
    async fn ask(&mut self, path: &str) -> String {
        let request = format!("GET /{path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
        let answer = self.client.request(request).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let text = answer.text();
        text.splitn(4, ' ').nth(3).unwrap_or_default().to_owned()
    }

    fn text(&self) -> String {
        let (own, gateway) = self.ends;
        format!("PROXY TCP4 {} {} {} {}", own.ip(), gateway.ip(), own.port(), gateway.port())
    }

    fn binary(&self) -> String {
        let (own, gateway) = self.ends;
        format!("2111 12 7f000001 7f000001 {} {}", own.port(), gateway.port())
    }
}

fn policy(host: &str, policy: &Value) -> Value {
    json!({"host": host, "trafficPolicy": policy})
}

/// A gateway with a path for each name, to an origin under a policy.
async fn ground(to: &[(&str, &Origin, Value)]) -> (Gateway, Api) {
    let gateway = Gateway::start(&["--workers", WORKERS]).await;
    let mut api = Api::of(&gateway).await;
    let mut rules = Vec::new();
    for (name, origin, said) in to {
        let host = format!("{name}.example.org");
        api.create("serviceentries", &objects::host(name, &host, origin.address)).await;
        let rule = json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "DestinationRule",
            "metadata": {"name": name},
            "spec": policy(&host, said),
        });
        api.create("destinationrules", &rule).await;
        rules.push(json!({
            "match": [{"uri": {"exact": format!("/{name}")}}],
            "route": [{"destination": {"host": host, "port": {"number": 80}}}],
        }));
    }
    api.create("gateways", &objects::gateway("told", 80, &[HOST])).await;
    api.create("virtualservices", &objects::rules("told", "told", HOST, &json!(rules))).await;
    let path = format!("{NETWORKING}/virtualservices/told");
    api.wait_for(&path, &[("Programmed", "True")]).await;
    (gateway, api)
}

async fn origin(speaks: Speaks) -> Origin {
    Origin::start(Ipv4Addr::LOCALHOST.into(), speaks, None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_gets_a_connection_that_was_made_for_another() {
    let (http1, http2) = (origin(Speaks::Http1).await, origin(Speaks::Http2).await);
    let header = || json!({"proxyProtocol": {"version": "V1"}});
    let few = |http2: bool| {
        let mut policy = header();
        policy["connectionPool"] = json!({"tcp": {"maxConnections": 2}});
        if http2 {
            policy["connectionPool"]["http"] = json!({"h2UpgradePolicy": "UPGRADE"});
        }
        policy
    };
    let mut upgraded = header();
    upgraded["connectionPool"] = json!({"http": {"h2UpgradePolicy": "UPGRADE"}});
    let to = [
        ("plain", &http1, header()),
        ("few", &http1, few(false)),
        ("streams", &http2, upgraded),
        ("few-streams", &http2, few(true)),
    ];
    let (gateway, _api) = ground(&to).await;
    for (name, origin, _) in &to {
        let name: &'static str = name;
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let address = gateway.http;
            clients.spawn(async move {
                let mut client = Kept::connect(address).await;
                for _ in 0..REQUESTS {
                    assert_eq!(client.ask(name).await, client.text());
                }
                client
            });
        }
        let clients = timeout(PATIENCE, clients.join_all()).await.expect("nothing is stuck");
        if !name.starts_with("few") {
            // Each client has one, and one that is used again.
            assert_eq!(origin.open_connections(), CLIENTS, "{name}");
        }
        // Nobody else could use them.
        drop(clients);
        eventually(PATIENCE, || async { origin.open_connections() == 0 }).await;
        let cluster = format!("cluster.outbound|80||{name}.example.org");
        let active = format!("{cluster}.upstream_cx_active");
        eventually(PATIENCE, || async { gateway.stat(&active).await == 0 }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_served_while_the_header_changes() {
    let origin = origin(Speaks::Http1).await;
    let said = |version: &str| json!({"proxyProtocol": {"version": version}});
    let (gateway, mut api) = ground(&[("changes", &origin, said("V1"))]).await;
    let mut client = Kept::connect(gateway.http).await;
    assert_eq!(client.ask("changes").await, client.text());
    let path = format!("{NETWORKING}/destinationrules/changes");
    api.change(&path, &policy("changes.example.org", &said("V2"))).await;
    api.wait_for(&path, &[("Reconciled", "True")]).await;
    let served = timeout(PATIENCE, async {
        loop {
            let header = client.ask("changes").await;
            if header == client.binary() {
                return;
            }
            assert_eq!(header, client.text());
        }
    });
    served.await.expect("another header");
    // It is told nowhere that it would not be served.
    let told = api.send("GET", &path, "").await["status"].to_string();
    assert!(!told.contains("proxyProtocol"), "{told}");
}
