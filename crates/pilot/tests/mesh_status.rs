//! What a sidecar makes of VirtualServices that are for sidecars: what `analyze` tells, and no status has.

mod common;

use common::{World, manifest};
use serde_json::{Value, json};
use tidegate_api::{Kind, ObjectKey};
use tidegate_pilot::status::ConditionKind::{Reconciled, ResolvedRefs};
use tidegate_pilot::status::{ConditionKind, Force};
use tidegate_pilot::{Options, ProxyKind, Workload};

fn sidecar(objects: &[Value]) -> World {
    let proxy = ProxyKind::Sidecar(Workload { addresses: Vec::new() });
    let options = Options { proxy, namespace: "default".to_owned(), ..Options::default() };
    World::with(options, objects)
}

fn host(name: &str) -> Value {
    let spec = json!({
        "hosts": [format!("{name}.example")],
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        "resolution": "STATIC",
        "endpoints": [{"address": "192.0.2.1"}],
    });
    manifest("ServiceEntry", name, &spec)
}

/// A VirtualService whose one rule sends everything to a destination.
fn rules(name: &str, host: &str, destination: &Value) -> Value {
    let http = json!([{"route": [{"destination": destination}]}]);
    manifest("VirtualService", name, &json!({"hosts": [host], "http": http}))
}

fn judged(world: &World, name: &str, kind: ConditionKind) -> Option<(String, String)> {
    let key = ObjectKey::new(Kind::VirtualService, "default", name);
    let (conditions, _) = world.pilot.judged_in_mesh(&key).expect("it is judged");
    let lost = conditions.into_iter().find(|condition| condition.kind == kind && !condition.holds);
    lost.map(|condition| (condition.reason.to_owned(), condition.message))
}

fn force(world: &World, name: &str) -> Force {
    let key = ObjectKey::new(Kind::VirtualService, "default", name);
    world.pilot.judged_in_mesh(&key).expect("it is judged").1.force
}

#[test]
fn what_is_there_is_faultless_and_what_is_not_is_told() {
    let subsets = json!({"host": "a.example", "subsets": [{"name": "v1", "labels": {}}]});
    let world = sidecar(&[
        host("a"),
        manifest("DestinationRule", "a", &subsets),
        rules("good", "a.example", &json!({"host": "a.example", "subset": "v1"})),
        manifest(
            "VirtualService",
            "limits",
            &json!({"hosts": ["e.example"], "http": [{"timeout": "3s"}]}),
        ),
        rules("nobody", "b.example", &json!({"host": "gone.example"})),
        rules("subset", "c.example", &json!({"host": "a.example", "subset": "v2"})),
        rules("port", "d.example", &json!({"host": "a.example", "port": {"number": 81}})),
    ]);
    assert_eq!(judged(&world, "good", Reconciled), None);
    assert_eq!(judged(&world, "good", ResolvedRefs), None);
    assert_eq!(force(&world, "good"), Force::Whole);
    assert_eq!(judged(&world, "limits", Reconciled), None, "it limits what goes to its host");
    for (name, words) in [
        ("nobody", "http[0].route[0].destination: host gone.example not found"),
        ("subset", "subset v2 of host a.example not found: there is v1"),
        ("port", "host a.example has no port 81"),
    ] {
        let (reason, message) = judged(&world, name, ResolvedRefs).expect(name);
        assert_eq!(reason, "RefNotFound");
        assert!(message.contains(words) && !message.contains("gateway"), "{message}");
    }
}

#[test]
fn of_two_with_one_host_the_first_alone_is_asked() {
    let to = json!({"host": "a.example"});
    let mut both = rules("second", "a.example", &to);
    both["spec"]["hosts"] = json!(["a.example", "b.example"]);
    let mut gateways = rules("third", "a.example", &to);
    gateways["spec"]["gateways"] = json!(["web", "mesh"]);
    gateways["spec"]["http"][0]["match"] = json!([{"gateways": ["web"]}]);
    let objects =
        [host("a"), host("b"), rules("first", "a.example", &to), both.clone(), gateways.clone()];
    let mut world = sidecar(&objects);
    assert_eq!(judged(&world, "first", Reconciled), None);
    let (reason, message) = judged(&world, "second", Reconciled).expect("a conflict");
    assert_eq!(reason, "Conflict");
    assert!(message.contains("a.example is VirtualService default/first's"), "{message}");
    assert_eq!(force(&world, "second"), Force::Whole, "it has another host");
    both["spec"]["hosts"] = json!(["a.example"]);
    world.apply(&both);
    assert!(matches!(force(&world, "second"), Force::Nothing { reason: "Conflict", .. }));
    // Its rules are for a gateway.
    let key = ObjectKey::new(Kind::VirtualService, "default", "third");
    assert_eq!(world.pilot.judged_in_mesh(&key), None);
    gateways["spec"]["gateways"] = json!(["mesh"]);
    world.apply(&gateways);
    assert!(matches!(force(&world, "third"), Force::Nothing { reason: "NotApplied", .. }));
}

#[test]
fn hosts_that_nobody_has_are_advice_and_others_are_nobody_s_business() {
    let lonely = rules("lonely", "nobody.example", &json!({"host": "a.example"}));
    let mut hidden = rules("hidden", "a.example", &json!({"host": "gone.example"}));
    hidden["spec"]["exportTo"] = json!(["elsewhere"]);
    let mut gateway = rules("gateway", "a.example", &json!({"host": "gone.example"}));
    gateway["spec"]["gateways"] = json!(["web"]);
    let world = sidecar(&[host("a"), lonely, hidden, gateway]);
    let key = |name| ObjectKey::new(Kind::VirtualService, "default", name);
    let (conditions, _) = world.pilot.judged_in_mesh(&key("lonely")).expect("it is judged");
    assert!(conditions.iter().all(|condition| condition.holds), "{conditions:?}");
    assert!(conditions[0].message.contains("has nobody.example: rules"), "{conditions:?}");
    for name in ["hidden", "gateway"] {
        assert_eq!(world.pilot.judged_in_mesh(&key(name)), None, "{name}");
    }
}
