//! WorkloadEntries: what a change of one costs, and whom it is told of.

mod common;

use common::{World, manifest};
use serde_json::{Value, json};
use tidegate_pilot::status::ConditionKind::Reconciled;
use tidegate_pilot::{Compiled, Options};
use tidegate_xds::ResourceType;

fn entry(resolution: &str) -> Value {
    let spec = json!({
        "hosts": ["vm.example.org"], "resolution": resolution,
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        "workloadSelector": {"labels": {"app": "vm"}},
    });
    manifest("ServiceEntry", "vm", &spec)
}

fn workload(address: &str, app: &str) -> Value {
    manifest("WorkloadEntry", "one", &json!({"address": address, "labels": {"app": app}}))
}

#[test]
fn a_workload_costs_the_endpoints_of_those_who_select_it() {
    let mut world = World::with(Options::default(), &[entry("STATIC"), common::entry(&[80])]);
    let before = world.bytes();
    let endpoints = Compiled { load_assignments: 1, ..Compiled::default() };
    assert_eq!(world.apply(&workload("192.0.2.1", "vm")).compiled, endpoints);
    let name = "outbound|80||vm.example.org";
    assert!(world.json(ResourceType::Endpoints, name).to_string().contains("192.0.2.1"));
    assert_eq!(world.apply(&workload("192.0.2.1", "vm")).compiled, Compiled::default());
    assert_eq!(world.apply(&workload("192.0.2.1", "other")).compiled, endpoints, "it leaves");
    assert_eq!(world.bytes(), before);
    assert_eq!(world.apply(&workload("192.0.2.2", "other")).compiled, Compiled::default());
    assert_eq!(world.delete(&workload("192.0.2.2", "other")).compiled, Compiled::default());
}

#[test]
fn names_to_resolve_are_part_of_the_cluster() {
    let mut world = World::with(Options::default(), &[entry("DNS")]);
    let name = "outbound|80||vm.example.org".to_owned();
    assert!(!world.names(ResourceType::Cluster).contains(&name), "there is nothing to resolve");
    assert_eq!(world.apply(&workload("a.example.net", "vm")).compiled.clusters, 1);
    assert!(world.json(ResourceType::Cluster, &name).to_string().contains("a.example.net"));
    world.delete(&workload("a.example.net", "vm"));
    assert!(!world.names(ResourceType::Cluster).contains(&name));
}

/// One that cannot be served is left out alone, and told where it is written.
#[test]
fn sockets_of_this_machine_are_endpoints() {
    let mut world = World::with(Options::default(), &[entry("STATIC")]);
    let name = "outbound|80||vm.example.org";
    let socket = workload("unix:///run/vm.sock", "vm");
    world.apply(&socket);
    assert!(world.json(ResourceType::Endpoints, name).to_string().contains("/run/vm.sock"));
    assert_eq!(world.idle(&socket), None);

    let long = workload(&format!("unix:///{}", "x".repeat(107)), "vm");
    world.apply(&long);
    assert!(!world.json(ResourceType::Endpoints, name).to_string().contains("/xx"));
    let idle = world.idle(&long).expect("it does nothing");
    assert!(idle.starts_with("NotServed: host vm.example.org: the path in unix:///xx"), "{idle}");
    assert!(idle.contains("has 108 bytes: 107 are the most"), "{idle}");

    // Names are resolved, and a socket has none.
    world.apply(&entry("DNS"));
    world.apply(&socket);
    let idle = world.idle(&socket).expect("it does nothing");
    assert!(idle.contains("is a socket, which resolution STATIC would take"), "{idle}");
    assert!(!world.names(ResourceType::Cluster).iter().any(|cluster| cluster == name));

    // What a ServiceEntry lists itself is told there, and the others are served.
    let endpoints = json!([{"address": "192.0.2.9"}, {"address": long["spec"]["address"]}]);
    let spec = json!({
        "hosts": ["own.example.org"], "resolution": "STATIC", "endpoints": endpoints,
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
    });
    let own = manifest("ServiceEntry", "own", &spec);
    world.apply(&own);
    let listed = world.json(ResourceType::Endpoints, "outbound|80||own.example.org").to_string();
    assert!(listed.contains("192.0.2.9") && !listed.contains("pipe"), "{listed}");
    let fault = world.fault(&own, Reconciled).expect("it is told");
    assert!(fault.contains("endpoints[1] is left out: the path in"), "{fault}");
    assert_eq!(world.idle(&own), None, "the other one is served");
}

#[test]
fn whose_endpoint_it_is_is_told_whichever_comes_first() {
    let mut world = World::new(Options::default());
    let named = workload("a.example.net", "vm");
    world.apply(&named);
    let idle = world.idle(&named).expect("it does nothing");
    assert!(idle.starts_with("NotAttached"), "{idle}");
    world.apply(&entry("STATIC"));
    let idle = world.idle(&named).expect("it does nothing");
    assert!(idle.starts_with("NotServed: host vm.example.org: a.example.net is a name"), "{idle}");
    world.apply(&entry("DNS"));
    assert_eq!(world.idle(&named), None);
    world.delete(&entry("DNS"));
    let idle = world.idle(&named).expect("it does nothing");
    assert!(idle.starts_with("NotAttached"), "{idle}");
}
