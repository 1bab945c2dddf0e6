//! Which rules get no request: what is told where several ports, Gateways and objects have a part in it.

mod common;

use common::{World, entry, manifest, object};
use serde_json::{Value, json};
use tidegate_pilot::Options;
use tidegate_pilot::status::ConditionKind::Reconciled;

/// A server of plain HTTP for every host of `example.com`.
fn server(port: u16) -> Value {
    let port = json!({"number": port, "name": format!("p{port}"), "protocol": "HTTP"});
    json!({"port": port, "hosts": ["*.example.com"]})
}

fn gateway(name: &str, ports: &[u16]) -> Value {
    let servers: Vec<Value> = ports.iter().copied().map(server).collect();
    manifest("Gateway", name, &json!({"servers": servers}))
}

/// A rule for requests that come to a port, or to any.
fn rule(port: Option<u16>) -> Value {
    let route = json!([{"destination": {"host": "backend.example.org"}}]);
    match port {
        Some(port) => json!({"match": [{"port": port}], "route": route}),
        None => json!({"route": route}),
    }
}

fn service(name: &str, gateways: &[&str], rules: &[Value]) -> Value {
    let spec = json!({"hosts": ["one.example.com"], "gateways": gateways, "http": rules});
    manifest("VirtualService", name, &spec)
}

/// What is said of how an object was compiled, also where there is no fault.
fn told(world: &World, manifest: &Value) -> String {
    world.status[&object(manifest).key][0].message.clone()
}

#[test]
fn a_rule_that_one_port_takes_from_another_is_reached_on_the_other() {
    let v = service("v", &["g"], &[rule(Some(81)), rule(None), rule(Some(80))]);
    let mut world =
        World::with(Options::default(), &[gateway("g", &[80, 81]), entry(&[80]), v.clone()]);
    assert_eq!(
        world.fault(&v, Reconciled).as_deref(),
        Some(
            "Unreachable: http[2].match[0] is never reached: http[1] goes first and takes every request"
        )
    );
    let fitting = service("v", &["g"], &[rule(Some(81)), rule(None)]);
    world.apply(&fitting);
    assert_eq!((world.fault(&fitting, Reconciled), told(&world, &fitting)), (None, String::new()));
    // The port on which it is reached goes, and comes back.
    world.apply(&gateway("g", &[81]));
    assert!(
        world
            .fault(&fitting, Reconciled)
            .is_some_and(|fault| fault.contains("http[1] is never reached"))
    );
    world.apply(&gateway("g", &[80, 81]));
    assert_eq!(world.fault(&fitting, Reconciled), None);
}

#[test]
fn a_rule_that_another_object_goes_before_on_one_port_is_told_the_port() {
    let first = service("a80", &["g"], &[rule(Some(80))]);
    let whole = service("v", &["g"], &[rule(None)]);
    let mut world = World::with(
        Options::default(),
        &[gateway("g", &[80, 81]), entry(&[80]), first.clone(), whole.clone()],
    );
    assert_eq!((world.fault(&whole, Reconciled), world.idle(&whole)), (None, None));
    let words = "http[0] is never reached on port 80 of host one.example.com: http[0].match[0] of VirtualService default/a80 \
                 goes first, as it is as old and comes first by its name, and takes every request";
    assert_eq!(told(&world, &whole), words);
    world.apply(&service("a80", &["g"], &[rule(None)]));
    let fault = world.fault(&whole, Reconciled).expect("nothing is left");
    assert!(
        fault.starts_with("Unreachable: http[0] is never reached on host one.example.com: "),
        "{fault}"
    );
}

/// The place of the Gateway's server decides before the age of those who route there.
#[test]
fn the_older_gateway_goes_first() {
    let old = |mut manifest: Value, created: &str| {
        manifest["metadata"]["creationTimestamp"] = json!(created);
        manifest
    };
    let first = old(gateway("z", &[80]), "2020-01-01T00:00:00Z");
    let then = old(gateway("a", &[80]), "2021-01-01T00:00:00Z");
    let winner = old(service("winner", &["z"], &[rule(None)]), "2023-01-01T00:00:00Z");
    let loser = old(service("loser", &["a"], &[rule(None)]), "2022-01-01T00:00:00Z");
    let world = World::with(
        Options::default(),
        &[first, then, entry(&[80]), winner.clone(), loser.clone()],
    );
    assert_eq!(world.fault(&winner, Reconciled), None);
    let fault = world.fault(&loser, Reconciled).expect("it gets nothing");
    assert!(
        fault.contains("goes first, as Gateway default/z is older, and takes every request"),
        "{fault}"
    );
}

/// A server that takes no requests, or is closed, makes no host one that is served.
#[test]
fn each_host_is_asked_of_the_servers_that_take_the_rules() {
    let listed = json!(["a.test", "default/n.test", "./dot.test", "r.test"]);
    let port = |number: u16, protocol: &str| json!({"number": number, "name": protocol.to_lowercase(), "protocol": protocol});
    let servers = json!([
        {"port": port(80, "HTTP"), "hosts": listed},
        {"port": port(9000, "TCP"), "hosts": ["*"]},
        {"port": port(443, "HTTPS"), "hosts": ["closed.test"], "tls": {"mode": "SIMPLE", "credentialName": "none"}},
    ]);
    let g1 = manifest("Gateway", "g1", &json!({"servers": servers}));
    let hosts = ["zz.a.test", "n.test", "dot.test", "a.test", "closed.test"];
    let mut v = service("v", &["default/g1"], &[rule(None)]);
    v["spec"]["hosts"] = json!(hosts);
    v["metadata"]["namespace"] = json!("other");
    let mut world = World::with(Options::default(), &[g1, entry(&[80]), v.clone()]);
    let fault = world.fault(&v, Reconciled).expect("one of five is served");
    assert_eq!(
        fault,
        "HostNotServed: hosts: closed.test is not served: servers[2] of Gateway default/g1, which lists it, takes no connections; \
         the status there says why; hosts: zz.a.test, n.test, dot.test is served by none of its Gateways (default/g1) for what it \
         has rules for, unlike the others"
    );
    v["spec"]["hosts"] = json!(["a.test", "r.test"]);
    world.apply(&v);
    assert_eq!(world.fault(&v, Reconciled), None);
}

/// Istio leaves the host to the wildcard, so its owner is to know who has it here.
#[test]
fn a_host_that_is_taken_from_a_wildcard_is_told_to_its_owner() {
    let mut wide = service("wide", &["g"], &[rule(None)]);
    wide["spec"]["hosts"] = json!(["*.example.com"]);
    let narrow = service("narrow", &["own"], &[rule(None)]);
    let mut own = gateway("own", &[80]);
    own["spec"]["servers"][0]["hosts"] = json!(["other.test"]);
    let mut world = World::with(
        Options::default(),
        &[gateway("g", &[80]), own.clone(), entry(&[80]), wide.clone()],
    );
    let words = "hosts: requests for one.example.com go to VirtualService default/narrow, which is routed though its Gateways \
                 (default/own) do not list them; Istio would leave them here";
    assert_eq!(told(&world, &wide), "");
    world.apply(&narrow);
    assert_eq!((told(&world, &wide).as_str(), world.fault(&wide, Reconciled)), (words, None));
    // Its own Gateway lists it, or it has another name: nothing is taken that Istio would leave.
    let mut lists = own.clone();
    lists["spec"]["servers"][0]["hosts"] = json!(["one.example.com"]);
    world.apply(&lists);
    assert_eq!(told(&world, &wide), "");
    world.apply(&own);
    assert_eq!(told(&world, &wide), words);
    let mut elsewhere = narrow.clone();
    elsewhere["spec"]["hosts"] = json!(["one.example.org"]);
    world.apply(&elsewhere);
    assert_eq!(told(&world, &wide), "");
    world.apply(&narrow);
    world.delete(&narrow);
    assert_eq!(told(&world, &wide), "");
}

#[test]
fn a_gateway_that_does_not_exist_hides_nothing_else() {
    let mut v = service("v", &["g", "nogw"], &[rule(Some(80)), rule(None)]);
    v["spec"]["http"][0]["match"] = json!([{"gateways": ["other"]}, {"sourceNamespace": "x"}]);
    let world = World::with(Options::default(), &[gateway("g", &[80]), entry(&[80]), v.clone()]);
    let fault = world.fault(&v, Reconciled).expect("two conditions are for nobody");
    assert!(
        fault.contains("http[0].match[0] is for gateways default/other and applies nowhere"),
        "{fault}"
    );
    assert!(
        fault.contains("http[0].match[1] is for sourceNamespace x and applies nowhere"),
        "{fault}"
    );
}

/// A Gateway of one TCP port each, and of TLS that is passed through on 443.
fn connections(ports: &[u16]) -> Value {
    let named = |n: u16, protocol: &str| json!({"number": n, "name": format!("p{n}"), "protocol": protocol});
    let tcp = ports.iter().map(|n| json!({"port": named(*n, "TCP"), "hosts": ["*"]}));
    let tls = json!({"port": named(443, "TLS"), "hosts": ["*"], "tls": {"mode": "PASSTHROUGH"}});
    let servers: Vec<Value> = tcp.chain([tls]).collect();
    manifest("Gateway", "g", &json!({"servers": servers}))
}

fn carrier(name: &str, kind: &str, conditions: &[Value]) -> Value {
    let route = json!([{"destination": {"host": "backend.example.org"}}]);
    let rules = conditions.iter().map(|matches| json!({"match": matches, "route": route}));
    let rules: Vec<Value> = rules.collect();
    let mut spec = json!({"hosts": ["a.test", "b.test"], "gateways": ["g"]});
    spec[kind] = json!(rules);
    manifest("VirtualService", name, &spec)
}

#[test]
fn who_loses_a_tcp_port_is_told_to_whom_and_why() {
    let v3 = carrier("v3", "tcp", &[json!([{"port": 9000}])]);
    let v6 = carrier("v6", "tcp", &[json!([{"port": 9000}])]);
    let both = [connections(&[9000, 9001]), entry(&[80]), v3.clone(), v6.clone()];
    let mut world = World::with(Options::default(), &both);
    assert_eq!(world.fault(&v3, Reconciled), None);
    let lost = "Conflict: tcp[0]: connections on port 9000 belong to tcp[0] of VirtualService default/v3, which is as old and \
                comes first by its name";
    assert_eq!(world.fault(&v6, Reconciled).as_deref(), Some(lost));
    assert!(world.idle(&v6).is_some_and(|idle| idle.contains(&lost["Conflict: ".len()..])));
    let displaced = world.pilot.displaced(9000, None);
    assert_eq!(displaced.len(), 1);
    assert_eq!((&*displaced[0].0.key.name, &*displaced[0].0.path), ("v6", "spec.tcp[0]"));

    // A rule that its own object leaves one of two ports has lost nothing.
    world.delete(&v3);
    let fitting = carrier("v6", "tcp", &[json!([{"port": 9000}]), json!([])]);
    world.apply(&fitting);
    assert_eq!(world.fault(&fitting, Reconciled), None);
    let vain = carrier("v6", "tcp", &[json!([]), json!([{"port": 9000}])]);
    world.apply(&vain);
    let told = "Conflict: tcp[1]: connections on port 9000 belong to tcp[0], which comes first";
    assert_eq!(world.fault(&vain, Reconciled).as_deref(), Some(told));
}

#[test]
fn a_server_name_that_is_lost_in_its_own_object_names_the_rule() {
    let names = |names: &[&str]| json!([{"sniHosts": names}]);
    let v = carrier("v", "tls", &[names(&["a.test"]), names(&["a.test", "b.test"])]);
    let world = World::with(Options::default(), &[connections(&[]), entry(&[80]), v.clone()]);
    let told = "Conflict: tls[1].match[0]: connections for a.test on port 443 belong to tls[0].match[0], which comes first";
    assert_eq!(world.fault(&v, Reconciled).as_deref(), Some(told));
    let displaced = |name| world.pilot.displaced(443, Some(name)).len();
    assert_eq!((displaced("a.test"), displaced("b.test"), displaced("c.test")), (1, 1, 0));
}
