//! Priorities and localities in Envoy and in ours: how requests are shared between them while endpoints are ejected,
//! and where hashes lead.
//!
//! Endpoints are ejected by answers that requests ask of them. Shares are measured anew until they are as they must be:
//! workers are the last to know who is ejected.

use std::cell::Cell;
use std::fmt;
use std::net::SocketAddr;

use http::{Request, Response};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tidegate_testing::client::{self, Client};
use tidegate_testing::origin::{Body, Origin, full};
use tidegate_testing::tools::Tool;
use tidegate_testing::{PATIENCE, eventually};

use crate::bootstrap::{address, edge};
use crate::sides::Side;

const ORIGINS: usize = 6;
/// Requests of one measurement.
const REQUESTS: u32 = 1000;
/// By how many percent of all requests a share may be off: most are drawn at random.
const OFF: u32 = 8;
/// Hashes whose endpoints are compared.
const KEYS: usize = 300;

/// A cluster, who of its endpoints is ejected, and what comes of it.
struct Scenario {
    name: &'static str,
    /// Fields of the cluster.
    cluster: Value,
    places: &'static [Place],
    /// In this order; each takes requests until it is.
    ejected: &'static [usize],
    /// Percent of the requests; what it is without requests is compared anyway.
    shares: [u32; ORIGINS],
}

/// Some of the endpoints.
struct Place {
    priority: u32,
    zone: &'static str,
    weight: Option<u32>,
    origins: &'static [usize],
}

const fn place(
    priority: u32,
    zone: &'static str,
    weight: Option<u32>,
    origins: &'static [usize],
) -> Place {
    Place { priority, zone, weight, origins }
}

const PRIORITIES: &[Place] =
    &[place(0, "a", None, &[0, 1]), place(1, "b", None, &[2, 3]), place(3, "c", None, &[4, 5])];
const LOCALITIES: &[Place] = &[
    place(0, "a", Some(1), &[0, 1]),
    place(0, "b", Some(3), &[2, 3]),
    place(0, "c", None, &[4, 5]),
];
const BOTH: &[Place] = &[
    place(0, "a", Some(1), &[0]),
    place(0, "b", Some(4), &[1]),
    place(1, "a", Some(1), &[2, 3]),
    place(1, "b", Some(1), &[4, 5]),
];

fn scenarios() -> Vec<Scenario> {
    let policies = ["ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "RING_HASH", "MAGLEV"];
    let by_locality = json!({"locality_weighted_lb_config": {}});
    let calm = json!({"healthy_panic_threshold": {"value": 0}});
    let mut all = Vec::new();
    let mut add = |name, common: &Value, places, ejected, shares, policies: &[&str]| {
        for policy in policies {
            let cluster = json!({"lb_policy": policy, "common_lb_config": common});
            all.push(Scenario { name, cluster, places, ejected, shares });
        }
    };
    let none = json!({});
    add("the first priority takes all", &none, PRIORITIES, &[], [50, 50, 0, 0, 0, 0], &policies);
    add("what is left over", &calm, PRIORITIES, &[1], [70, 0, 15, 15, 0, 0], &policies);
    add("none in the first", &calm, PRIORITIES, &[0, 1], [0, 0, 50, 50, 0, 0], &policies);
    add("down to the last", &calm, PRIORITIES, &[0, 1, 2], [0, 0, 0, 70, 15, 15], &policies);
    // One of two in each of three is enough for all, and then nobody panics.
    let always = json!({"healthy_panic_threshold": {"value": 100}});
    add("enough altogether", &always, PRIORITIES, &[0, 2], [0, 70, 0, 30, 0, 0], &policies);
    add(
        "too few altogether",
        &always,
        PRIORITIES,
        &[0, 1, 2, 3, 4],
        [17, 17, 17, 17, 17, 17],
        &["RANDOM"],
    );
    let some = &policies[..3];
    add("localities are not looked at", &none, LOCALITIES, &[], [17, 17, 17, 17, 17, 17], some);
    add("localities by weight", &by_locality, LOCALITIES, &[], [12, 12, 38, 38, 0, 0], some);
    let calm_too = json!({"locality_weighted_lb_config": {},
        "healthy_panic_threshold": {"value": 0}});
    add("localities by who is left", &calm_too, LOCALITIES, &[2], [16, 16, 0, 68, 0, 0], some);
    add("both", &calm_too, BOTH, &[], [20, 80, 0, 0, 0, 0], some);
    add("both, with the next", &calm_too, BOTH, &[1], [70, 0, 8, 8, 8, 8], some);
    let hashing = &policies[3..];
    add("hashes by locality", &by_locality, LOCALITIES, &[], [12, 12, 38, 38, 0, 0], hashing);
    all
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.name, self.cluster["lb_policy"])
    }
}

impl Scenario {
    fn cluster(&self, number: usize, origins: &[SocketAddr]) -> Value {
        let places = self.places.iter().map(|Place { priority, zone, weight, origins: of }| {
            let endpoints: Vec<_> =
                of.iter().map(|n| json!({"endpoint": {"address": address(origins[*n])}})).collect();
            let mut place = json!({"priority": priority, "locality": {"region": "r", "zone": zone},
                "lb_endpoints": endpoints});
            if let Some(weight) = weight {
                place["load_balancing_weight"] = json!(weight);
            }
            place
        });
        let mut cluster = json!({"name": name(number), "type": "STATIC",
            "outlier_detection": {"consecutive_5xx": 1, "max_ejection_percent": 100,
                "base_ejection_time": "600s", "max_ejection_time": "600s"},
            "ring_hash_lb_config": {"minimum_ring_size": 4096},
            "load_assignment": {"cluster_name": name(number),
                "endpoints": places.collect::<Vec<_>>()}});
        if self.cluster["lb_policy"] != "RING_HASH" {
            cluster.as_object_mut().expect("an object").remove("ring_hash_lb_config");
        }
        for (field, value) in self.cluster.as_object().into_iter().flatten() {
            cluster[field] = value.clone();
        }
        cluster
    }

    fn hashes(&self) -> bool {
        ["RING_HASH", "MAGLEV"].map(Value::from).contains(&self.cluster["lb_policy"])
    }
}

fn name(number: usize) -> String {
    format!("c{number}")
}

fn bootstrap(scenarios: &[Scenario], origins: &[SocketAddr]) -> Value {
    let clusters: Vec<_> =
        (0..).zip(scenarios).map(|(n, scenario)| scenario.cluster(n, origins)).collect();
    let hosts: Vec<_> = (0..scenarios.len())
        .map(|number| {
            let hash = json!([{"header": {"header_name": "x-key"}}]);
            let route = json!({"cluster": name(number), "hash_policy": hash});
            json!({"name": name(number), "domains": [name(number)],
                "routes": [{"match": {"prefix": "/"}, "route": route}]})
        })
        .collect();
    json!({"static_resources": {"clusters": clusters, "listeners": [edge(&hosts)]}})
}

/// Fails where the request is for this origin and says so.
async fn answer(number: usize, request: Request<Incoming>) -> Response<Body> {
    let fails = request.headers().get("x-fails").is_some_and(|at| *at == *number.to_string());
    let mut answer = Response::new(full(number.to_string()));
    if fails {
        *answer.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
    }
    answer
}

/// Asks for something with a key; which origin answered.
async fn ask(client: &mut Client, cluster: usize, key: usize, more: &str) -> usize {
    let head = format!("GET / HTTP/1.1\r\nHost: {}\r\nX-Key: {key}\r\n{more}\r\n", name(cluster));
    let answer = client.request(head).await;
    answer.text().parse().unwrap_or_else(|_| panic!("{}: {}", answer.status, answer.text()))
}

/// Asks for failures until an origin is ejected.
async fn eject(side: &Side, cluster: usize, origins: &[SocketAddr], number: usize) {
    let line =
        format!("{}::{}::health_flags::/failed_outlier_check", name(cluster), origins[number]);
    let key = Cell::new(0);
    eventually(PATIENCE, || async {
        let mut client = Client::connect(side.listeners["edge"]).await;
        for _ in 0..20 {
            key.set(key.get() + 1);
            ask(&mut client, cluster, key.get(), &format!("X-Fails: {number}\r\n")).await;
        }
        let text = client::get(side.admin, "127.0.0.1", "/clusters").await.text();
        text.lines().any(|found| found == line)
    })
    .await;
}

async fn play(
    side: &Side,
    cluster: usize,
    scenario: &Scenario,
    origins: &[SocketAddr],
) -> Vec<usize> {
    for &number in scenario.ejected {
        eject(side, cluster, origins, number).await;
    }
    eventually(PATIENCE, || async {
        let mut client = Client::connect(side.listeners["edge"]).await;
        let mut found = [0_u32; ORIGINS];
        for key in 0..REQUESTS as usize {
            found[ask(&mut client, cluster, key, "").await] += 1;
        }
        let off = |(found, percent): (&u32, u32)| {
            let wanted = percent * REQUESTS / 100;
            found.abs_diff(wanted) > OFF * REQUESTS / 100 || (percent == 0) != (*found == 0)
        };
        if found.iter().zip(scenario.shares).any(off) {
            return Err(format!("{scenario}: {found:?}"));
        }
        Ok(())
    })
    .await;
    if !scenario.hashes() {
        return Vec::new();
    }
    let mut client = Client::connect(side.listeners["edge"]).await;
    let mut led = Vec::new();
    for key in 0..KEYS {
        led.push(ask(&mut client, cluster, key, "").await);
    }
    led
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn priorities_and_localities_share_as_in_envoy() {
    let Some(program) = Tool::Envoy.need() else { return };
    let mut started = Vec::new();
    for number in 0..ORIGINS {
        started.push(Origin::start().http(move |request| answer(number, request)).await);
    }
    let origins: Vec<SocketAddr> = started.iter().map(Origin::address).collect();
    let scenarios = scenarios();
    let bootstrap = bootstrap(&scenarios, &origins);
    let envoy = Side::envoy(&program, &bootstrap).await;
    let tidegate = Side::tidegate(&bootstrap).await;
    for (cluster, scenario) in scenarios.iter().enumerate() {
        let theirs = play(&envoy, cluster, scenario, &origins).await;
        let ours = play(&tidegate, cluster, scenario, &origins).await;
        assert_eq!(ours, theirs, "{scenario}: where hashes lead");
    }
}
