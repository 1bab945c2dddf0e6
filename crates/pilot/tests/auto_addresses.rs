//! Addresses that a sidecar gives hosts which have none, while objects change.

mod common;

use common::{World, manifest, object};
use serde_json::{Value, json};
use tidegate_pilot::status::ConditionKind;
use tidegate_pilot::{Options, ProxyKind, Workload};
use tidegate_xds::ResourceType::Listener;

fn options(captures_dns: bool) -> Options {
    let addresses = vec![[10, 0, 9, 9].into()];
    let proxy = ProxyKind::Sidecar(Workload { addresses });
    Options { proxy, captures_dns, namespace: "default".to_owned(), ..Options::default() }
}

fn entry(name: &str, host: &str, port: u16) -> Value {
    let ports = json!([{"number": port, "name": "tcp", "protocol": "TCP"}]);
    let endpoints = json!([{"address": "10.9.9.9"}]);
    let spec =
        json!({"hosts": [host], "ports": ports, "resolution": "STATIC", "endpoints": endpoints});
    manifest("ServiceEntry", name, &spec)
}

/// The listeners of a port, by the addresses that clients dial.
fn listeners(world: &World, port: u16) -> Vec<String> {
    let names = world.names(Listener).into_iter();
    let own = names.filter_map(|name| Some(name.strip_suffix(&format!("_{port}"))?.to_owned()));
    own.collect()
}

/// Those of addresses, without the one for all of them.
fn given(world: &World, port: u16) -> Vec<String> {
    listeners(world, port).into_iter().filter(|address| address != "0.0.0.0").collect()
}

/// The case that no name in the bytes could tell apart.
#[test]
fn two_tcp_services_on_one_port_are_told_apart() {
    let services = [entry("a", "a.example", 3306), entry("b", "b.example", 3306)];
    let plain = World::with(options(false), &services);
    assert_eq!(listeners(&plain, 3306), ["0.0.0.0"], "the older has it");

    let mut world = World::with(options(true), &services);
    let both = given(&world, 3306);
    assert_eq!(both.len(), 2);
    assert!(both.iter().all(|address| address.starts_with("240.240.")), "{both:?}");
    assert_eq!(listeners(&world, 3306), both, "dialled anywhere else, it is for neither");
    // Who is expected to ask somebody else for names is led as without.
    let lax = World::with(Options { asks_elsewhere: true, ..options(true) }, &services);
    assert_eq!(listeners(&lax, 3306).len(), 3);
    let anywhere = "0.0.0.0_3306";
    assert_eq!(lax.json(Listener, anywhere), plain.json(Listener, anywhere));
    let address = |world: &World, host: &str| world.pilot.address_of(host).map(|ip| ip.to_string());
    let first = address(&world, "a.example");
    assert!(both.contains(first.as_ref().expect("an address")));

    // One more object of a host, or one less of another, moves nobody.
    world.apply(&entry("a-too", "a.example", 3307));
    assert_eq!(address(&world, "a.example"), first);
    assert_eq!(given(&world, 3307), [first.clone().expect("an address")]);
    world.delete(&entry("a", "a.example", 3306));
    assert_eq!(address(&world, "a.example"), first);
    world.delete(&entry("b", "b.example", 3306));
    assert_eq!(listeners(&world, 3306), [""; 0]);
}

/// Who asks somebody else for names is led by those in what it sends, and by nothing else.
#[test]
fn what_was_dialled_elsewhere_is_led_by_its_own_names_alone() {
    let of = |host: &str, protocol: &str| {
        let mut entry = entry(host, &format!("{host}.example"), 3000);
        entry["spec"]["ports"][0]["protocol"] = protocol.into();
        entry
    };
    let anywhere = "0.0.0.0_3000";
    let tls = [of("a", "TLS"), of("b", "TLS")];
    let plain = World::with(options(false), &tls);
    let mut world = World::with(options(true), &tls);
    assert_eq!(world.json(Listener, anywhere), plain.json(Listener, anywhere));
    world.apply(&of("c", "TCP"));
    assert_eq!(world.json(Listener, anywhere), plain.json(Listener, anywhere));
    assert_eq!(given(&world, 3000).len(), 3);

    // Of a port that says nothing only requests name a host.
    let mut unsaid = of("d", "TCP");
    unsaid["spec"]["ports"][0] = json!({"number": 3000, "name": "any"});
    let world = World::with(options(true), &[unsaid]);
    let listener = world.json(Listener, anywhere);
    let chains = listener["filter_chains"].as_array().expect("chains");
    let asked = &chains[0]["filter_chain_match"]["application_protocols"];
    assert_eq!((chains.len(), asked), (1, &json!(["http/1.0", "http/1.1", "h2c"])), "{listener}");
    let last = listener["default_filter_chain"].to_string();
    assert!(last.contains("BlackHoleCluster"), "{last}");
}

#[test]
fn who_has_an_address_or_wants_none_gets_none() {
    let mut own = entry("own", "own.example", 81);
    own["spec"]["addresses"] = json!(["10.1.1.1"]);
    let mut refused = entry("refused", "refused.example", 82);
    refused["metadata"]["labels"] = json!({"networking.istio.io/enable-autoallocate-ip": "false"});
    let wide = entry("wide", "*.wide.example", 83);
    let mut dialled = entry("dialled", "dialled.example", 84);
    dialled["spec"]["resolution"] = json!("NONE");
    dialled["spec"].as_object_mut().expect("a map").remove("endpoints");
    let mut world = World::with(options(true), &[own.clone(), refused, wide, dialled]);
    assert_eq!(listeners(&world, 81), ["10.1.1.1"]);
    for port in [82, 83, 84] {
        assert_eq!(listeners(&world, port), ["0.0.0.0"], "{port}");
    }
    own["spec"].as_object_mut().expect("a map").remove("addresses");
    world.apply(&own);
    assert!(given(&world, 81)[0].starts_with("240.240."));
}

/// Who has no connections learns of it, and from whom; and that it has some, once the other is gone.
#[test]
fn who_cannot_be_told_apart_is_told_so() {
    let (a, b) = (entry("a", "a.example", 3306), entry("b", "b.example", 3306));
    let mut unlabelled = b.clone();
    unlabelled["metadata"]["labels"] =
        json!({"networking.istio.io/enable-autoallocate-ip": "false"});
    let mut first = a.clone();
    first["metadata"]["labels"] = unlabelled["metadata"]["labels"].clone();
    let conflict = |world: &World, loser: &Value| world.fault(loser, ConditionKind::Reconciled);
    for (captures, first, second) in [(false, &a, &b), (true, &first, &unlabelled)] {
        let mut world = World::with(options(captures), &[first.clone(), second.clone()]);
        let told = conflict(&world, second).expect("a conflict");
        let words = "Conflict: host b.example, port 3306: ServiceEntry default/a is older";
        assert!(told.starts_with(words), "{told}");
        assert!(!world.status.contains_key(&object(first).key), "it has all of them");
        world.delete(first);
        assert_eq!(conflict(&world, second), None);
    }
    let world = World::with(options(true), &[a, b.clone()]);
    assert!(!world.status.contains_key(&object(&b).key), "they are told apart");

    // Neither are requests of one port, nor TLS of several names, nor a port that nothing is said of beside either.
    let of = |name: &str, host: &str, protocol: &str| {
        let mut entry = entry(name, host, 443);
        entry["spec"]["ports"][0]["protocol"] = protocol.into();
        entry
    };
    for protocol in ["HTTP", "TLS"] {
        let both = [of("a", "a.example", protocol), of("b", "b.example", protocol)];
        let world = World::with(options(false), &both);
        assert!(world.status.is_empty(), "{protocol}");
    }
}

/// As in Istio, what is dialled to an address is for the entry that has it in TCP: the one that has it in HTTP is told by name, and
/// told that its requests are not all its own.
#[test]
fn requests_that_another_entry_carries_as_bytes_are_told() {
    let with_address = |name: &str, host: &str, protocol: &str| {
        let mut entry = entry(name, host, 80);
        entry["spec"]["addresses"] = json!(["10.99.0.1"]);
        entry["spec"]["ports"][0]["protocol"] = json!(protocol);
        entry
    };
    let web = with_address("web", "web.example", "HTTP");
    let raw = with_address("raw", "raw.example", "TCP");
    let told = |world: &World, entry: &Value| {
        let conditions = world.status.get(&object(entry).key)?.iter();
        let mut faults = conditions.filter(|condition| !condition.holds);
        faults.next().map(|fault| format!("{}: {}", fault.reason, fault.message))
    };
    let mut world = World::with(options(true), std::slice::from_ref(&web));
    assert_eq!(told(&world, &web), None);
    world.apply(&raw);
    assert_eq!(listeners(&world, 80), ["0.0.0.0", "10.99.0.1"]);
    let fault = told(&world, &web).expect("a fault");
    let words =
        "Conflict: host web.example, port 80: ServiceEntry default/raw has 10.99.0.1, port 80";
    assert!(fault.starts_with(words), "{fault}");
    assert_eq!(told(&world, &raw), None);
    // Requests of both are told apart by name.
    world.apply(&with_address("raw", "raw.example", "HTTP"));
    assert_eq!(told(&world, &web), None);
}
