//! What is told of DestinationRules.

mod common;

use common::{World, entry, manifest, object};
use serde_json::{Value, json};
use tidegate_pilot::Options;
use tidegate_pilot::status::ConditionKind::{Reconciled, ResolvedRefs};

/// A rule for `backend.example.org` with this policy.
fn rule(policy: &Value) -> Value {
    let spec = json!({"host": "backend.example.org", "trafficPolicy": policy});
    manifest("DestinationRule", "r", &spec)
}

/// What is said of how a rule was compiled.
fn told(world: &World, rule: &Value) -> String {
    world.status[&object(rule).key][0].message.clone()
}

#[test]
fn a_rule_for_nobody_is_not_in_force() {
    let rule = rule(&json!({"loadBalancer": {"simple": "RANDOM"}}));
    let mut world = World::with(Options::default(), std::slice::from_ref(&rule));
    let idle = world.idle(&rule).expect("nobody has the host");
    assert!(idle.starts_with("RefNotFound: host backend.example.org not found"), "{idle}");
    world.apply(&entry(&[80]));
    assert_eq!((world.idle(&rule), world.fault(&rule, ResolvedRefs)), (None, None));
}

#[test]
fn a_rule_without_its_secret_is_not_in_force() {
    let tls = json!({"tls": {"mode": "SIMPLE", "credentialName": "ca"}});
    let rule = rule(&tls);
    let mut world = World::with(Options::default(), &[entry(&[80]), rule.clone()]);
    let idle = world.idle(&rule).expect("no connection is made");
    assert!(idle.starts_with("RefNotFound: trafficPolicy.tls: there is no Secret ca"), "{idle}");
    assert!(idle.ends_with("; no connection to the host is made"), "{idle}");
    let ca = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "ca", "namespace": "istio-system"},
        "stringData": {"ca.crt": "x"},
    });
    world.apply(&ca);
    assert_eq!((world.idle(&rule), world.fault(&rule, ResolvedRefs)), (None, None));
    world.delete(&ca);
    assert!(world.idle(&rule).is_some());
}

#[test]
fn settings_of_ports_that_nobody_has_are_told() {
    let simple = json!({"simple": "RANDOM"});
    let ports = json!([
        {"port": {"number": 80}, "loadBalancer": simple},
        {"port": {"number": 8443}, "loadBalancer": simple},
    ]);
    let rule = rule(&json!({"portLevelSettings": ports}));
    let mut world = World::with(Options::default(), &[entry(&[80, 81]), rule.clone()]);
    let fault = world.fault(&rule, Reconciled).expect("it is told");
    let words = "PortNotFound: trafficPolicy.portLevelSettings[1].port: host backend.example.org has no port 8443";
    assert!(fault.starts_with(words) && fault.ends_with("it has 80, 81"), "{fault}");
    assert_eq!(world.idle(&rule), None, "the other one is in force");
    world.apply(&entry(&[80, 8443]));
    assert_eq!(world.fault(&rule, Reconciled), None);
}

#[test]
fn fields_that_say_nothing_without_a_mode_are_told() {
    let without = rule(&json!({"tls": {"sni": "a.com"}}));
    let mut world = World::with(Options::default(), &[entry(&[80]), without.clone()]);
    assert!(told(&world, &without).starts_with("trafficPolicy.tls: its mode is DISABLE"));
    let disabled = rule(&json!({"tls": {"mode": "DISABLE"}}));
    world.apply(&disabled);
    assert_eq!(told(&world, &disabled), "");
    // What is insecure is told also beside other faults.
    let careless = rule(&json!({
        "tls": {"mode": "SIMPLE", "insecureSkipVerify": true},
        "tunnel": {"targetHost": "b.com", "targetPort": 443},
    }));
    world.apply(&careless);
    let both = told(&world, &careless);
    assert!(both.contains("tunnel") && both.contains("is not verified"), "{both}");
}

/// Subsets of several rules for a host come together; of two with one name, that of the older rule holds.
#[test]
fn a_subset_that_an_older_rule_has_is_told_with_that_rule() {
    let subset = |name: &str, version: &str| json!({"name": name, "labels": {"version": version}});
    let rule = |name: &str, subsets: &[Value]| {
        let spec = json!({"host": "backend.example.org", "subsets": subsets});
        manifest("DestinationRule", name, &spec)
    };
    let first = rule("a", &[subset("stable", "1"), subset("canary", "2")]);
    let second = rule("b", &[subset("canary", "1"), subset("next", "3")]);
    let mut world = World::with(Options::default(), &[entry(&[80]), first.clone(), second.clone()]);
    let has = "subsets[0]: DestinationRule default/a has a subset canary for backend.example.org (subsets[1])";
    let fault = world.fault(&second, Reconciled).expect("it is told");
    assert!(fault.starts_with(&format!("Partly: {has}, ")), "{fault}");
    assert_eq!((world.fault(&first, Reconciled), world.idle(&second)), (None, None));

    let alone = rule("b", &[subset("canary", "1")]);
    world.apply(&alone);
    let idle = world.idle(&alone).expect("nothing of it holds");
    assert!(idle.starts_with(&format!("Conflict: {has}, ")), "{idle}");
    world.delete(&first);
    assert_eq!((world.fault(&alone, Reconciled), world.idle(&alone)), (None, None));
}

/// Whatever host a wildcard is asked for, rules of one namespace for the same one always meet.
#[test]
fn a_subset_that_an_older_rule_for_the_same_wildcard_has_is_told() {
    let rule = |name: &str, namespace: &str| {
        let subset = json!({"name": "canary", "labels": {"version": name}});
        let spec = json!({"host": "*.example.org", "subsets": [subset]});
        let mut rule = manifest("DestinationRule", name, &spec);
        rule["metadata"]["namespace"] = namespace.into();
        rule
    };
    let (first, second) = (rule("a", "default"), rule("b", "default"));
    let elsewhere = rule("c", "other");
    let objects = [second.clone(), elsewhere.clone()];
    let mut world = World::with(Options::default(), &objects);
    assert_eq!(world.fault(&second, Reconciled), None);
    world.apply(&first);
    let idle = world.idle(&second).expect("nothing of it holds");
    assert!(
        idle.starts_with("Conflict: subsets[0]: DestinationRule default/a has a subset canary for *.example.org (subsets[0]), "),
        "{idle}"
    );
    assert_eq!(
        (world.fault(&first, Reconciled), world.fault(&elsewhere, Reconciled)),
        (None, None)
    );
    world.delete(&first);
    assert_eq!((world.fault(&second, Reconciled), world.idle(&second)), (None, None));
}

/// A name with a dot means itself: whoever takes it for a Service's is told the Service.
#[test]
fn the_full_name_of_a_service_is_told_to_whoever_writes_a_shorter_one() {
    let spec = json!({"host": "web.shop", "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}}});
    let rule = manifest("DestinationRule", "r", &spec);
    let route = json!([{"destination": {"host": "web.shop.svc"}}]);
    let spec = json!({"hosts": ["a.example"], "gateways": ["gw"], "http": [{"route": route}]});
    let service = manifest("VirtualService", "v", &spec);
    let mut world = World::with(Options::default(), &[rule.clone(), service.clone()]);
    let told =
        |world: &World, object: &Value| world.fault(object, ResolvedRefs).expect("nobody has it");
    let meant = "write web.shop.svc.cluster.local for the one";
    for object in [&rule, &service] {
        assert!(!told(&world, object).contains(meant), "there is none");
    }
    let web = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"ports": [{"name": "http", "port": 80}]}});
    world.apply(&web);
    for object in [&rule, &service] {
        let told = told(&world, object);
        assert!(told.contains(meant), "{told}");
    }
    world.delete(&web);
    assert!(!told(&world, &rule).contains(meant));
}
