//! HTTP/3 beside TCP, where the data plane speaks it.

mod common;

use common::{World, manifest, object};
use serde_json::{Value, json};
use tidegate_pilot::status::ConditionKind;
use tidegate_pilot::{GatewayService, Options};
use tidegate_xds::ResourceType;

const TCP: &str = "0.0.0.0_443";
const UDP: &str = "udp_0.0.0.0_443";

fn options() -> Options {
    Options { http3: true, ..Options::default() }
}

/// A Gateway with one server on port 443.
fn gateway(hosts: &[&str], tls: &Value) -> Value {
    let port = json!({"number": 443, "name": "https", "protocol": "HTTPS"});
    manifest("Gateway", "g", &json!({"servers": [{"port": port, "hosts": hosts, "tls": tls}]}))
}

fn simple() -> Value {
    json!({"mode": "SIMPLE", "credentialName": "c"})
}

fn service() -> Value {
    let http = json!([{"directResponse": {"status": 200}}]);
    let spec = json!({"hosts": ["a.test", "b.test"], "gateways": ["g"], "http": http});
    manifest("VirtualService", "v", &spec)
}

/// The server names of a listener's chains.
fn server_names(world: &World, listener: &str) -> Value {
    world.json(ResourceType::Listener, listener)["filter_chains"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|chain| chain["filter_chain_match"]["server_names"].clone())
        .collect()
}

/// What clients are told of alternatives, by each virtual host.
fn alternatives(world: &World) -> Vec<Value> {
    let names = world.names(ResourceType::VirtualHost);
    let hosts = names.iter().map(|name| world.json(ResourceType::VirtualHost, name));
    let routes = hosts.flat_map(|host| host["routes"].as_array().cloned().unwrap_or_default());
    routes
        .flat_map(|r| r["response_headers_to_add"].as_array().cloned().unwrap_or_default())
        .collect()
}

fn told(port: u16) -> Vec<Value> {
    vec![json!({"header": {"key": "alt-svc", "value": format!("h3=\":{port}\"; ma=86400")}})]
}

#[test]
fn it_is_off_unless_it_is_asked_for() {
    let world = World::with(Options::default(), &[gateway(&["a.test"], &simple()), service()]);
    assert_eq!(world.names(ResourceType::Listener), [TCP]);
    assert!(alternatives(&world).is_empty());
}

#[test]
fn the_listener_on_udp_is_the_servers_and_goes_with_it() {
    let mut world = World::with(options(), &[gateway(&["a.test"], &simple()), service()]);
    assert_eq!(world.names(ResourceType::Listener), [TCP, UDP]);
    assert_eq!(server_names(&world, UDP), json!([["a.test"]]));
    assert_eq!(alternatives(&world), told(443));
    let listener = world.json(ResourceType::Listener, UDP);
    assert_eq!(listener["address"]["socket_address"]["protocol"], "UDP");
    let owner = object(&gateway(&["a.test"], &simple())).key.clone();
    assert_eq!(world.pilot.owners(ResourceType::Listener, UDP), [owner]);

    // Its routes are those of TCP: what a VirtualService changes does not touch it.
    let mut other = service();
    other["spec"]["http"][0]["directResponse"]["status"] = json!(204);
    let changed = world.apply(&other).change.upsert;
    assert!(changed.iter().all(|resource| resource.kind == ResourceType::VirtualHost));

    world.apply(&gateway(&["a.test", "b.test"], &simple()));
    assert_eq!(server_names(&world, UDP), json!([["a.test", "b.test"]]));

    // On other terms it is not offered, and no client is told of it.
    let terms = [
        json!({"mode": "MUTUAL", "credentialName": "c"}),
        json!({"mode": "OPTIONAL_MUTUAL", "credentialName": "c"}),
        json!({"mode": "SIMPLE", "credentialName": "c", "ecdhCurves": ["P-256"]}),
        json!({"mode": "SIMPLE", "credentialName": "c", "maxProtocolVersion": "TLSV1_2"}),
        json!({"mode": "PASSTHROUGH"}),
    ];
    for tls in &terms {
        world.apply(&gateway(&["a.test"], tls));
        assert!(!world.names(ResourceType::Listener).contains(&UDP.to_owned()), "{tls}");
        assert!(alternatives(&world).is_empty(), "{tls}");
        assert!(world.pilot.owners(ResourceType::Listener, UDP).is_empty(), "{tls}");
        world.apply(&gateway(&["a.test"], &simple()));
        assert_eq!(world.names(ResourceType::Listener), [TCP, UDP]);
        assert_eq!(alternatives(&world), told(443));
    }

    world.delete(&gateway(&["a.test"], &simple()));
    assert!(world.names(ResourceType::Listener).is_empty());
}

#[test]
fn clients_are_told_the_port_that_they_see() {
    let front = GatewayService { ports: [(443, 8443)].into(), ..GatewayService::default() };
    let options = Options { services: vec![front], ..options() };
    let world = World::with(options, &[gateway(&["a.test"], &simple()), service()]);
    assert_eq!(world.names(ResourceType::Listener), ["0.0.0.0_8443", "udp_0.0.0.0_8443"]);
    assert_eq!(alternatives(&world), told(443));
}

/// A patch of every listener.
fn patch(apply_to: &str, listener: &Value, value: &Value) -> Value {
    let what = json!({"context": "GATEWAY", "listener": listener});
    json!({"applyTo": apply_to, "match": what, "patch": {"operation": "INSERT_FIRST", "value": value}})
}

fn envoy_filter(name: &str, patches: &[Value]) -> Value {
    manifest("EnvoyFilter", name, &json!({"configPatches": patches}))
}

#[test]
fn patches_reach_it_as_they_reach_the_other() {
    let cors = json!({"name": "more", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors"}});
    let inspector = json!({"name": "inspector", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"}});
    let mut world = World::with(options(), &[gateway(&["a.test"], &simple()), service()]);
    let in_istio_system = |mut filter: Value| {
        filter["apiVersion"] = json!("networking.istio.io/v1alpha3");
        filter["metadata"]["namespace"] = json!("istio-system");
        filter
    };
    let has = |world: &World, listener: &str, what: &str| {
        world.json(ResourceType::Listener, listener).to_string().contains(what)
    };
    let both = in_istio_system(envoy_filter("both", &[patch("HTTP_FILTER", &json!({}), &cors)]));
    world.apply(&both);
    assert_eq!(world.fault(&both, ConditionKind::Reconciled), None);
    assert!(has(&world, TCP, "\"more\"") && has(&world, UDP, "\"more\""));
    let owners = world.pilot.owners(ResourceType::Listener, UDP);
    assert!(owners.contains(&object(&both).key), "{owners:?}");
    world.delete(&both);
    assert!(!has(&world, TCP, "\"more\"") && !has(&world, UDP, "\"more\""));

    // By its name it is one of the two.
    let named = [patch("HTTP_FILTER", &json!({"name": UDP}), &cors)];
    let named = in_istio_system(envoy_filter("named", &named));
    world.apply(&named);
    assert_eq!(world.fault(&named, ConditionKind::Reconciled), None);
    assert!(!has(&world, TCP, "\"more\"") && has(&world, UDP, "\"more\""));
    world.apply(&gateway(&["a.test"], &json!({"mode": "MUTUAL", "credentialName": "c"})));
    let fault = world.fault(&named, ConditionKind::Reconciled).expect("it is for nothing");
    assert!(fault.contains("are 0.0.0.0_443"), "{fault}");
    world.apply(&gateway(&["a.test"], &simple()));
    assert_eq!(world.fault(&named, ConditionKind::Reconciled), None);
    world.delete(&named);

    // Filters of listeners are for TCP.
    let filter =
        in_istio_system(envoy_filter("tcp", &[patch("LISTENER_FILTER", &json!({}), &inspector)]));
    world.apply(&filter);
    assert!(has(&world, TCP, "\"inspector\"") && !has(&world, UDP, "\"inspector\""));
}
