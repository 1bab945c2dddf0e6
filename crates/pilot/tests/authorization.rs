//! AuthorizationPolicies: what a change of one costs, and what is told of them.

mod common;

use std::collections::BTreeMap;

use common::{World, entry, gateway, object, service};
use serde_json::{Value, json};
use tidegate_pilot::status::ConditionKind::Reconciled;
use tidegate_pilot::{Compiled, Input, Options};
use tidegate_xds::ResourceType;

fn policy(namespace: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "p", "namespace": namespace},
        "spec": spec,
    })
}

fn deny(path: &str) -> Value {
    let rule = json!({"to": [{"operation": {"paths": [path]}}]});
    policy("istio-system", &json!({"action": "DENY", "rules": [rule]}))
}

/// Two listeners: one of requests, and one of connections.
fn world() -> World {
    let mut bytes = service("bytes", "a.example.com", "/");
    bytes["spec"]["tls"] = json!([{
        "match": [{"sniHosts": ["a.example.com"]}],
        "route": [{"destination": {"host": "backend.example.org"}}],
    }]);
    let world = World::with(Options::default(), &[gateway(), bytes, entry(&[80])]);
    assert_eq!(world.names(ResourceType::Listener), ["0.0.0.0_443", "0.0.0.0_80"]);
    world
}

/// How often a name stands in the listeners.
fn mentions(world: &World, name: &str) -> usize {
    let listeners = world.names(ResourceType::Listener);
    let text = |name: &String| world.json(ResourceType::Listener, name).to_string();
    listeners.iter().map(|listener| text(listener).matches(name).count()).sum()
}

#[test]
fn a_policy_costs_the_listeners_and_nothing_else() {
    let mut world = world();
    let before = world.bytes();
    let listeners = Compiled { listeners: 2, ..Compiled::default() };
    let output = world.apply(&deny("/a"));
    assert_eq!(output.compiled, listeners);
    assert_eq!(output.applied, [(object(&deny("/a")).key.clone(), 0)]);
    assert_eq!(mentions(&world, "ns[istio-system]-policy[p]-rule[0]"), 2);
    assert_eq!(world.apply(&deny("/a")).compiled, Compiled::default(), "it says the same");
    assert_eq!(world.apply(&deny("/b")).compiled, listeners);
    assert_eq!(world.delete(&deny("/b")).compiled, listeners);
    assert_eq!(world.bytes(), before);
    let other =
        json!({"selector": {"matchLabels": {"app": "other"}}, "action": "DENY", "rules": [{}]});
    assert_eq!(world.apply(&policy("istio-system", &other)).compiled, Compiled::default());
    assert_eq!(world.apply(&policy("default", &json!({}))).compiled, Compiled::default());
    assert_eq!(world.bytes(), before);
}

#[test]
fn a_policy_that_was_never_right_closes_the_gateway_and_says_so() {
    let mut world = world();
    let before = world.bytes();
    let about = |selector: Option<BTreeMap<String, String>>| Input::Invalid {
        key: object(&deny("/a")).key.clone(),
        generation: 1,
        errors: vec!["spec.rules: it is wrong".to_owned()],
        selector,
    };
    let wrong = || about(None);
    let labels = |value: &str| Some(BTreeMap::from([("istio".to_owned(), value.to_owned())]));
    let closed = "ns[istio-system]-policy[p]-unreadable";
    // One that is plainly about others closes nothing here.
    let told = world.give([about(labels("other"))]);
    assert_eq!((mentions(&world, closed), told.remarks.len()), (0, 0));
    assert_eq!(world.bytes(), before);
    let told = world.fault(&deny("/a"), Reconciled).expect("it is wrong all the same");
    assert!(
        told.ends_with("it is about other workloads: this gateway serves as if it were not there"),
        "{told}"
    );
    for (unclear, news) in [(labels("ingressgateway"), 1), (None, 0)] {
        let told = world.give([about(unclear)]);
        assert_eq!((mentions(&world, closed), told.remarks.len()), (2, news));
        let words = "the gateway refuses every request and connection";
        assert!(told.remarks.iter().all(|remark| remark.message.ends_with(words)));
    }
    let told = world.status[&object(&deny("/a")).key][0].message.clone();
    assert!(
        told.starts_with("spec.rules: it is wrong; ") && told.contains("refuses every"),
        "{told}"
    );
    world.apply(&deny("/a"));
    assert_eq!(mentions(&world, closed), 0);
    assert_eq!(world.fault(&deny("/a"), Reconciled), None);
    // One that was right serves on.
    world.give([wrong()]);
    assert_eq!(mentions(&world, closed), 0);
    assert_eq!(mentions(&world, "ns[istio-system]-policy[p]-rule[0]"), 2);
    let told = world.fault(&deny("/a"), Reconciled).expect("a fault");
    assert!(told.ends_with("the last good form serves on"), "{told}");
    world.delete(&deny("/a"));
    assert_eq!(world.bytes(), before);
}

#[test]
fn whom_a_policy_is_about_is_told() {
    let mut world = world();
    let selector = json!({"selector": {"matchLabels": {"app": "other"}}});
    for (policy, told) in [
        (policy("default", &json!({})), "NotSelected: it is about workloads of its own namespace"),
        (policy("istio-system", &selector), "NotSelected: it is for other proxies"),
    ] {
        world.apply(&policy);
        let idle = world.idle(&policy).expect("it does nothing");
        assert!(idle.starts_with(told), "{idle}");
        world.delete(&policy);
    }
    let peers = json!({
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
        "metadata": {"name": "p", "namespace": "istio-system"}, "spec": {"mtls": {"mode": "STRICT"}},
    });
    world.apply(&peers);
    let idle = world.idle(&peers).expect("it does nothing");
    assert!(idle.contains("workloads with sidecars"), "{idle}");
}

/// As in Istio, what names resources holds at their proxies alone.
#[test]
fn a_policy_with_targets_is_for_proxies_of_the_gateway_api() {
    let target =
        json!([{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "front"}]);
    let spec = json!({"targetRefs": target, "action": "DENY", "rules": [{}]});
    let policy = policy("istio-system", &spec);
    let mut world = world();
    assert_eq!(world.apply(&policy).compiled, Compiled::default());
    let idle = world.idle(&policy).expect("it is for others");
    assert!(
        idle.starts_with("NotSelected: targetRefs is for proxies of the Gateway API"),
        "{idle}"
    );
    assert!(idle.contains("selector.matchLabels"), "{idle}");

    let mut options = Options::default();
    options.labels.insert("gateway.networking.k8s.io/gateway-name".to_owned(), "front".to_owned());
    let mut world = World::with(options, &[gateway(), policy.clone()]);
    assert_eq!(world.idle(&policy), None);
    assert_eq!(mentions(&world, "ns[istio-system]-policy[p]-rule[0]"), 1);
    let mut other = policy.clone();
    other["spec"]["targetRefs"][0]["name"] = json!("back");
    world.apply(&other);
    assert_eq!(mentions(&world, "ns[istio-system]-policy[p]-rule[0]"), 0);
    let idle = world.idle(&other).expect("it is for another");
    assert!(idle.contains("names others than Gateway front"), "{idle}");
}
