//! Wildcard hosts that a proxy resolves itself: which clusters, and which filters Envoy needs for them.

mod common;

use common::{World, manifest};
use serde_json::{Value, json};
use tidegate_pilot::{Options, ProxyKind, Workload};
use tidegate_xds::ResourceType::{Cluster, Listener};

const OF_REQUESTS: &str = "envoy.filters.http.dynamic_forward_proxy";
const OF_CONNECTIONS: &str = "envoy.filters.network.sni_dynamic_forward_proxy";

fn sidecar() -> Options {
    let proxy = ProxyKind::Sidecar(Workload { addresses: vec![[10, 0, 9, 9].into()] });
    Options { proxy, namespace: "default".to_owned(), ..Options::default() }
}

fn wild(resolution: &str) -> Value {
    let port = |number: u16, protocol: &str| json!({"number": number, "name": protocol.to_lowercase(), "protocol": protocol});
    let mut ports = vec![port(80, "HTTP"), port(443, "TLS")];
    if resolution == "NONE" {
        ports.push(port(3306, "TCP"));
    }
    let spec = json!({"hosts": ["*.wild.example"], "ports": ports, "resolution": resolution});
    manifest("ServiceEntry", "wild", &spec)
}

fn gateway() -> Value {
    let server = |number: u16, protocol: &str, tls: Value| {
        json!({
            "port": {"number": number, "name": protocol.to_lowercase(), "protocol": protocol},
            "hosts": ["*.wild.example", "a.example"], "tls": tls,
        })
    };
    let servers =
        [server(80, "HTTP", Value::Null), server(443, "TLS", json!({"mode": "PASSTHROUGH"}))];
    let spec = json!({"selector": {"istio": "ingressgateway"}, "servers": servers});
    manifest("Gateway", "out", &spec)
}

/// Rules for requests and connections that lead to a host.
fn rules(name: &str, asked: &str, host: &str) -> Value {
    let route = |port: u16| json!([{"destination": {"host": host, "port": {"number": port}}}]);
    let tls = json!([{"match": [{"sniHosts": [asked]}], "route": route(443)}]);
    let spec = json!({
        "hosts": [asked], "gateways": ["out", "mesh"], "http": [{"route": route(80)}], "tls": tls,
    });
    manifest("VirtualService", name, &spec)
}

/// The names of the filters of a listener's chains, network filters and those of requests.
fn filters(world: &World, listener: &str) -> Vec<Vec<String>> {
    let listener = world.json(Listener, listener);
    let chains = listener["filter_chains"].as_array().expect("chains");
    let name = |filter: &Value| filter["name"].as_str().unwrap_or_default().to_owned();
    let of_chain = |chain: &Value| -> Vec<String> {
        let filters = chain["filters"].as_array().expect("filters");
        let requests = filters.iter().flat_map(|filter| {
            filter["typed_config"]["http_filters"].as_array().into_iter().flatten().map(name)
        });
        filters.iter().map(name).chain(requests).collect()
    };
    chains.iter().map(of_chain).collect()
}

fn has(world: &World, listener: &str, filter: &str) -> bool {
    filters(world, listener).iter().flatten().any(|name| name == filter)
}

/// How a cluster finds its endpoints.
fn kind(world: &World, port: u16) -> String {
    let cluster = world.json(Cluster, &format!("outbound|{port}||*.wild.example"));
    let own = cluster["cluster_type"]["name"].as_str().or(cluster["type"].as_str());
    own.unwrap_or_default().to_owned()
}

#[test]
fn no_client_picks_the_address_where_it_says_a_name() {
    const ASKED: &str = "envoy.clusters.dynamic_forward_proxy";
    let world = World::with(sidecar(), &[wild("NONE")]);
    assert_eq!([80, 443, 3306].map(|port| kind(&world, port)), [ASKED, ASKED, "ORIGINAL_DST"]);
    let world = World::with(Options::default(), &[wild("NONE")]);
    assert_eq!([80, 443, 3306].map(|port| kind(&world, port)), [ASKED, ASKED, "EDS"]);
    // Where the resource says at which addresses its hosts are, a TLS client need not say a name.
    let mut somewhere = wild("NONE");
    somewhere["spec"]["addresses"] = json!(["10.1.0.0/16"]);
    let world = World::with(sidecar(), &[somewhere]);
    assert_eq!([80, 443].map(|port| kind(&world, port)), [ASKED, "ORIGINAL_DST"]);
}

#[test]
fn envoy_is_given_the_filters_wherever_rules_lead_there() {
    for resolution in ["DYNAMIC_DNS", "NONE"] {
        let there = rules("wild", "*.wild.example", "*.wild.example");
        let all = [gateway(), wild(resolution), there.clone()];
        let world = World::with(Options::default(), &all);
        assert!(has(&world, "0.0.0.0_80", OF_REQUESTS));
        let [chain] = &filters(&world, "0.0.0.0_443")[..] else { panic!("one chain") };
        assert_eq!(*chain, [OF_CONNECTIONS, "envoy.filters.network.tcp_proxy"]);
        let world = World::with(sidecar(), &all);
        assert!(has(&world, "0.0.0.0_80", OF_REQUESTS));
        assert!(has(&world, "0.0.0.0_443", OF_CONNECTIONS));
    }
}

#[test]
fn a_gateway_whose_rules_lead_elsewhere_is_left_as_it_is() {
    let elsewhere = rules("a", "a.example", "a.example");
    let mut world = World::with(Options::default(), &[gateway(), elsewhere]);
    let before = world.bytes();
    let output = world.apply(&wild("DYNAMIC_DNS"));
    assert_eq!(output.compiled.listeners, 0, "{:?}", output.compiled);
    let there = rules("wild", "*.wild.example", "*.wild.example");
    world.apply(&there);
    assert!(has(&world, "0.0.0.0_80", OF_REQUESTS));
    // How the host is resolved stands beside what carries its connections.
    world.apply(&wild("NONE"));
    assert!(has(&world, "0.0.0.0_443", OF_CONNECTIONS));
    let mut somewhere = wild("NONE");
    somewhere["spec"]["addresses"] = json!(["10.1.0.0/16"]);
    world.apply(&somewhere);
    assert!(!has(&world, "0.0.0.0_443", OF_CONNECTIONS));
    let told = world.fault(&there, tidegate_pilot::status::ConditionKind::ResolvedRefs);
    assert!(told.is_some_and(|told| told.contains("use DNS (DYNAMIC_DNS for a wildcard)")));
    world.delete(&there);
    world.delete(&wild("NONE"));
    assert_eq!(world.bytes(), before);
}
