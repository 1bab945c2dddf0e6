//! Slow start, in Envoy and in ours: what part of the requests an endpoint gets that came later, for as long as it is new. It comes by
//! DNS, which both follow.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tidegate_testing::client::Client;
use tidegate_testing::dns::{Answer, Dns};
use tidegate_testing::origin::{Body, Origin, full};
use tidegate_testing::tools::Tool;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::bootstrap::{address, edge};
use crate::sides::Side;

/// How long endpoints are new.
const WINDOW: Duration = Duration::from_secs(6);
/// The time in which requests are counted together, and for which that is done.
const STEP: Duration = Duration::from_secs(2);
const WATCHED: Duration = Duration::from_secs(8);
/// Between two requests.
const PACE: Duration = Duration::from_millis(5);
/// How many requests there are at least in a step: fewer would tell nothing.
const FEW: u32 = 50;
/// How far a share may be off what it should be: lookups are a while apart, and so is what is known of when an endpoint came.
const OFF: f64 = 0.08;

/// How an endpoint warms up.
#[derive(Clone, Copy)]
struct Scenario {
    policy: &'static str,
    aggression: f64,
    /// Percent of its weight that it has at least.
    least: f64,
}

const SCENARIOS: &[Scenario] = &[
    Scenario { policy: "ROUND_ROBIN", aggression: 1.0, least: 10.0 },
    Scenario { policy: "ROUND_ROBIN", aggression: 3.0, least: 10.0 },
    Scenario { policy: "ROUND_ROBIN", aggression: 0.5, least: 40.0 },
    Scenario { policy: "LEAST_REQUEST", aggression: 1.0, least: 10.0 },
];

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policy, aggression, least } = self;
        write!(f, "{policy}, aggression {aggression}, at least {least} %")
    }
}

impl Scenario {
    fn cluster(&self, number: usize, origins: [SocketAddr; 2]) -> Value {
        let settings = match self.policy {
            "ROUND_ROBIN" => "round_robin_lb_config",
            _ => "least_request_lb_config",
        };
        let endpoints = ["old.test", "new.test"].iter().zip(origins).map(|(name, at)| {
            let at = json!({"address": name, "port_value": at.port()});
            json!({"endpoint": {"address": {"socket_address": at}}})
        });
        let endpoints: Vec<Value> = endpoints.collect();
        json!({"name": name(number), "type": "STRICT_DNS", "lb_policy": self.policy,
            "dns_lookup_family": "V4_ONLY", "dns_refresh_rate": "0.2s",
            settings: {"slow_start_config": {
                "slow_start_window": format!("{}s", WINDOW.as_secs()),
                "aggression": {"default_value": self.aggression, "runtime_key": "aggression"},
                "min_weight_percent": {"value": self.least}}},
            "load_assignment": {"cluster_name": name(number), "endpoints": [{"lb_endpoints": endpoints}]}})
    }

    /// The share of requests that an endpoint of an age gets beside one that is not new.
    fn share(&self, age: Duration) -> f64 {
        let part = (age.as_secs_f64() / WINDOW.as_secs_f64()).min(1.0);
        let part = part.powf(self.aggression.recip()).max(self.least / 100.0);
        part / (1.0 + part)
    }
}

fn name(number: usize) -> String {
    format!("c{number}")
}

fn bootstrap(origins: [SocketAddr; 2]) -> Value {
    let clusters: Vec<Value> =
        SCENARIOS.iter().enumerate().map(|(n, scenario)| scenario.cluster(n, origins)).collect();
    let host = |number: usize| {
        json!({"name": name(number), "domains": [name(number)],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": name(number)}}]})
    };
    let hosts: Vec<Value> = (0..SCENARIOS.len()).map(host).collect();
    json!({"static_resources": {"clusters": clusters, "listeners": [edge(&hosts)]}})
}

/// The same for Envoy, which is told there whom it asks for names.
fn for_envoy(mut bootstrap: Value, dns: SocketAddr) -> Value {
    bootstrap["typed_dns_resolver_config"] = json!({"name": "envoy.network.dns_resolver.cares", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
        "resolvers": [address(dns)],
        "dns_resolver_options": {"no_default_search_domain": true}}});
    bootstrap
}

async fn answer(name: &'static str, _: Request<Incoming>) -> Response<Body> {
    Response::new(full(name.to_owned()))
}

/// Requests at the age that the new endpoint had, and how many of them it got, step by step.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    all: u32,
    new: u32,
    /// How many it should have got.
    expected: f64,
}

/// Asks a cluster from before the new endpoint comes until it has been there for a while.
async fn watch(listener: SocketAddr, number: usize) -> Vec<Count> {
    let scenario = SCENARIOS[number];
    let mut client = Client::connect(listener).await;
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut counts = vec![Count::default(); WATCHED.div_duration_f64(STEP) as usize];
    let (began, mut came) = (Instant::now(), None);
    loop {
        pace.tick().await;
        let age = came.map(|came: Instant| came.elapsed());
        let answer =
            client.request(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", name(number))).await;
        let is_new = answer.text() == "new";
        let Some(age) = age else {
            assert!(began.elapsed() < 10 * WATCHED, "{scenario}: nothing came");
            came = is_new.then(Instant::now);
            continue;
        };
        let Some(count) = counts.get_mut(age.div_duration_f64(STEP) as usize) else {
            return counts;
        };
        count.all += 1;
        count.new += u32::from(is_new);
        count.expected += scenario.share(age);
    }
}

/// What is wrong with what was counted.
fn faults(side: &str, scenario: &Scenario, counts: &[Count]) -> Vec<String> {
    let told = |(step, count): (usize, &Count)| {
        let (all, new) = (f64::from(count.all), f64::from(count.new));
        let off = count.all < FEW || (new - count.expected).abs() > OFF * all;
        let from = STEP * u32::try_from(step).unwrap_or(u32::MAX);
        off.then(|| format!("{side}, {scenario}, from {from:?} on: {count:?}"))
    };
    counts.iter().enumerate().filter_map(told).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_endpoints_warm_up_as_in_envoy() {
    let Some(program) = Tool::Envoy.need() else { return };
    let dns = Dns::start().await;
    let here = Answer::address(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);
    dns.set("old.test", here.clone());
    dns.set("new.test", Answer::Addresses { addresses: Vec::new(), ttl: 1 });
    let old = Origin::start().http(|request| answer("old", request)).await;
    let new = Origin::start().http(|request| answer("new", request)).await;
    let bootstrap = bootstrap([old.address(), new.address()]);
    let envoy = Side::envoy(&program, &for_envoy(bootstrap.clone(), dns.address())).await;
    let tidegate = Side::resolving(dns.address(), &bootstrap).await;
    let mut watched = JoinSet::new();
    for (name, side) in [("envoy", &envoy), ("tidegate", &tidegate)] {
        let listener = side.listeners["edge"];
        for number in 0..SCENARIOS.len() {
            watched.spawn(async move { (name, number, watch(listener, number).await) });
        }
    }
    // The old endpoint is to be new no more, which nobody tells.
    sleep(WINDOW).await;
    dns.set("new.test", here);
    let mut found = Vec::new();
    while let Some(counted) = watched.join_next().await {
        let (side, number, counts) = counted.expect("nothing fails");
        found.extend(faults(side, &SCENARIOS[number], &counts));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
