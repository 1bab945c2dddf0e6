//! The policies of DestinationRules: limits, ejection, balancing and retries, with endpoints that fail.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tidegate_testing::HeldPort;
use tidegate_testing::origin::{
    Body, Incoming, Origin, Request, Response, Script, full, stream_back,
};

use super::http1::once;
use super::{Behaviour, CLIENTS, Host, Kind, Soak};

const POST: Behaviour = Behaviour::Post(64 * 1024);
const GET: Behaviour = Behaviour::Get;

const KINDS: &[Kind] = &[
    Kind { name: "least-request", client: POST, logged: &["200 -"] },
    Kind { name: "hashed", client: POST, logged: &["200 -"] },
    Kind { name: "short-lived", client: POST, logged: &["200 -"] },
    Kind { name: "upgraded", client: POST, logged: &["200 -"] },
    Kind { name: "refuses", client: GET, logged: &["200 -"] },
    Kind { name: "resets", client: GET, logged: &["200 -"] },
    Kind { name: "fails", client: GET, logged: &["200 -", "503 -"] },
    Kind { name: "only-fails", client: GET, logged: &["503 -", "503 UH"] },
    Kind { name: "few-requests", client: POST, logged: &["200 -", "503 UO"] },
    Kind { name: "few-connections", client: POST, logged: &["200 -", "503 UO"] },
    Kind { name: "stalls", client: GET, logged: &["504 URX,UT"] },
    Kind { name: "is-left", client: Behaviour::Leave, logged: &["0 DC"] },
];

/// Clients of what has a limit: more than it allows.
const MANY: usize = 4 * CLIENTS;

async fn fail(_: Request<Incoming>) -> Response<Body> {
    let mut answer = Response::new(full("failed"));
    *answer.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
    answer
}

/// Endpoints that work and endpoints that do not.
struct Endpoints {
    well: [SocketAddr; 3],
    http2: SocketAddr,
    fails: SocketAddr,
    resets: SocketAddr,
    holds: SocketAddr,
    refuses: HeldPort,
    _origins: Vec<Origin>,
}

impl Endpoints {
    async fn start() -> Self {
        let well = [
            Origin::start().http(stream_back).await,
            Origin::start().http(stream_back).await,
            Origin::start().http(stream_back).await,
        ];
        let http2 = Origin::start().http2().http(stream_back).await;
        let fails = Origin::start().http(fail).await;
        let resets = Origin::start().script(Script::new().read_head().reset()).await;
        let holds = Origin::start().script(Script::new().read_head().read_to_end()).await;
        let addresses = well.each_ref().map(Origin::address);
        let [http2_at, fails_at, resets_at, holds_at] =
            [&http2, &fails, &resets, &holds].map(Origin::address);
        Self {
            well: addresses,
            http2: http2_at,
            fails: fails_at,
            resets: resets_at,
            holds: holds_at,
            refuses: HeldPort::any(),
            _origins: well.into_iter().chain([http2, fails, resets, holds]).collect(),
        }
    }

    fn hosts(&self) -> Vec<Host> {
        let of = |name, origins: &[SocketAddr]| Host::new(name, "HTTP", origins.to_vec());
        // Each ejection is an event, and the API keeps what changed until that is a lot: it is to be seldom.
        let ejects = |percent: u32| {
            json!({"consecutive5xxErrors": 3, "interval": "0.2s", "baseEjectionTime": "2s",
                "maxEjectionPercent": percent})
        };
        let retries = |on: &str| json!({"retries": {"attempts": 2, "retryOn": on}});
        let pool = |tcp: Value, http: Value| json!({"connectionPool": {"tcp": tcp, "http": http}});
        let [well, ..] = self.well;
        let per_try =
            json!({"retries": {"attempts": 1, "perTryTimeout": "0.1s", "retryOn": "5xx"}});
        vec![
            of("least-request", &self.well)
                .policy(json!({"loadBalancer": {"simple": "LEAST_REQUEST"}})),
            of("hashed", &self.well)
                .policy(json!({"loadBalancer": {"consistentHash": {"useSourceIp": true}}})),
            of("short-lived", &[well]).policy(pool(
                json!({"maxConnectionDuration": "0.1s", "idleTimeout": "0.05s"}),
                json!({"maxRequestsPerConnection": 3}),
            )),
            of("upgraded", &[self.http2])
                .policy(pool(json!({"maxConnections": 1}), json!({"h2UpgradePolicy": "UPGRADE"}))),
            of("refuses", &[well, self.refuses.address])
                .rule(retries("connect-failure"))
                .policy(json!({"outlierDetection": ejects(50)})),
            of("resets", &[well, self.resets]).rule(retries("reset")),
            of("fails", &[well, self.fails]).policy(json!({"outlierDetection": ejects(50)})),
            of("only-fails", &[self.fails]).policy(json!({"outlierDetection": ejects(100)})),
            of("few-requests", &[well]).policy(pool(json!({}), json!({"http2MaxRequests": 1}))),
            of("few-connections", &[well])
                .policy(pool(json!({"maxConnections": 1}), json!({"http1MaxPendingRequests": 1}))),
            of("stalls", &[self.holds]).rule(per_try),
            of("is-left", &[self.holds]).rule(retries("5xx")),
        ]
    }
}

#[tokio::test]
async fn half_load_under_policies_leaves_nothing_behind() {
    let endpoints = Endpoints::start().await;
    let mut soak = Soak::new(&endpoints.hosts()).await;
    for kind in KINDS {
        let many = kind.name.starts_with("few-");
        soak.load(*kind, if many { MANY } else { CLIENTS }, once);
    }
    let gateway = soak.end().await;
    // Each policy has had something to do.
    for (name, count) in [
        ("refuses", "outlier_detection.ejections_enforced_total"),
        ("fails", "outlier_detection.ejections_enforced_total"),
        ("only-fails", "upstream_cx_none_healthy"),
        ("resets", "upstream_rq_retry_success"),
        ("stalls", "upstream_rq_per_try_timeout"),
        ("few-requests", "upstream_rq_active_overflow"),
        ("few-connections", "upstream_rq_pending_overflow"),
        ("short-lived", "upstream_cx_max_requests"),
    ] {
        let stat = format!("cluster.outbound|80||{name}.example.org.{count}");
        assert!(gateway.stat(&stat).await > 0, "{stat}");
    }
}
