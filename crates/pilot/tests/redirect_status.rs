//! What is told where one Gateway redirects a host to https that others would have answered.

mod common;

use common::{World, entry, manifest, object};
use serde_json::{Value, json};
use tidegate_pilot::Options;
use tidegate_pilot::status::ConditionKind::Reconciled;

fn gateway(name: &str, created: u64, redirects: bool, hosts: &[&str]) -> Value {
    let port = json!({"number": 80, "name": "http", "protocol": "HTTP"});
    let mut server = json!({"port": port, "hosts": hosts});
    if redirects {
        server["tls"] = json!({"httpsRedirect": true});
    }
    let mut gateway = manifest("Gateway", name, &json!({"servers": [server]}));
    gateway["metadata"]["creationTimestamp"] = format!("2026-01-0{created}T00:00:00Z").into();
    gateway
}

fn service(gateways: &[&str]) -> Value {
    let route = json!([{"route": [{"destination": {"host": "backend.example.org"}}]}]);
    let spec = json!({"hosts": ["r.t"], "gateways": gateways, "http": route});
    manifest("VirtualService", "rv", &spec)
}

/// What is said of how an object was compiled, also where there is no fault.
fn told(world: &World, manifest: &Value) -> String {
    world.status[&object(manifest).key][0].message.clone()
}

const LOST: &str = "requests in plain text for r.t are redirected to https by servers[0] (port 80) of Gateway \
                    default/redir (tls.httpsRedirect)";

#[test]
fn who_loses_requests_to_a_redirect_is_told_who_redirects() {
    for (first, second) in [(1, 2), (2, 1)] {
        let plain = gateway("plain", first, false, &["r.t"]);
        let redir = gateway("redir", second, true, &["r.t"]);
        let rv = service(&["plain"]);
        let start = [plain.clone(), entry(&[80]), rv.clone()];
        let mut world = World::with(Options::default(), &start);
        assert_eq!((world.fault(&plain, Reconciled), world.fault(&rv, Reconciled)), (None, None));

        world.apply(&redir);
        let fault = world.fault(&rv, Reconciled).expect("it gets nothing");
        assert_eq!(fault, format!("Conflict: {LOST}; no rule gets them"));
        let idle = world.idle(&rv).expect("no rule gets a request");
        assert_eq!(idle, format!("Conflict: no rule gets a request: {LOST}"));
        let fault = world.fault(&plain, Reconciled).expect("its server passes nothing on");
        assert_eq!(fault, format!("Conflict: servers[0] (port 80): {LOST}"));
        assert_eq!(world.idle(&plain), None, "it is open");
        assert_eq!(world.fault(&redir, Reconciled), None);

        // Another redirects it, which was there all the time.
        world.apply(&gateway("other", 3, true, &["r.t"]));
        world.delete(&redir);
        assert!(told(&world, &rv).contains("default/other"), "{}", told(&world, &rv));
        assert!(told(&world, &plain).contains("default/other"), "{}", told(&world, &plain));
        world.delete(&gateway("other", 3, true, &["r.t"]));
        assert_eq!((world.fault(&plain, Reconciled), world.fault(&rv, Reconciled)), (None, None));
        assert_eq!(world.idle(&rv), None);
    }
}

#[test]
fn who_asks_for_the_redirect_loses_nothing() {
    let redir = gateway("redir", 1, true, &["r.t"]);
    let plain = gateway("plain", 2, false, &["*"]);
    let rv = service(&["plain", "redir"]);
    let world = World::with(Options::default(), &[plain.clone(), redir, entry(&[80]), rv.clone()]);
    assert_eq!(world.fault(&rv, Reconciled), None);
    let fault = world.fault(&plain, Reconciled).expect("its server passes nothing on");
    assert!(fault.ends_with(LOST), "{fault}");
}

#[test]
fn who_redirects_all_and_answers_nothing_is_told() {
    let mut redir = gateway("redir", 1, true, &["r.t"]);
    let rv = service(&["redir"]);
    let mut world = World::with(Options::default(), &[redir.clone(), entry(&[80]), rv.clone()]);
    let why = "requests in plain text for r.t are redirected to https (tls.httpsRedirect), and no server of its Gateways terminates \
               HTTPS for them: add one (protocol HTTPS)";
    assert_eq!(world.fault(&rv, Reconciled), None, "it was asked for");
    assert_eq!(told(&world, &rv), why);
    let idle = world.idle(&rv).expect("no rule gets a request");
    assert_eq!(idle, format!("Redirected: no rule gets a request: {why}"));

    let port = json!({"number": 443, "name": "https", "protocol": "HTTPS"});
    let tls = json!({"mode": "SIMPLE", "credentialName": "certificate"});
    let https = json!({"port": port, "hosts": ["r.t"], "tls": tls});
    redir["spec"]["servers"].as_array_mut().expect("servers").push(https);
    world.apply(&redir);
    assert_eq!(world.idle(&rv), None);
    assert!(!told(&world, &rv).contains("redirected"), "{}", told(&world, &rv));
}

#[test]
fn a_host_that_is_answered_on_another_port_is_no_fault() {
    let redir = gateway("redir", 1, true, &["r.t"]);
    let mut plain = gateway("plain", 2, false, &["r.t"]);
    let alone = plain.clone();
    let port = json!({"number": 8080, "name": "more", "protocol": "HTTP"});
    let more = json!({"port": port, "hosts": ["r.t"]});
    plain["spec"]["servers"].as_array_mut().expect("servers").push(more);
    let rv = service(&["plain"]);
    let mut world = World::with(Options::default(), &[plain, redir, entry(&[80]), rv.clone()]);
    assert_eq!((world.fault(&rv, Reconciled), world.idle(&rv)), (None, None));
    assert_eq!(told(&world, &rv), LOST);
    world.apply(&alone);
    assert!(world.fault(&rv, Reconciled).is_some() && world.idle(&rv).is_some());
}

#[test]
fn names_under_a_redirected_wildcard_are_answered() {
    let redir = gateway("redir", 1, true, &["*.t"]);
    let plain = gateway("plain", 2, false, &["r.t"]);
    let rv = service(&["plain"]);
    let world = World::with(Options::default(), &[plain.clone(), redir, entry(&[80]), rv.clone()]);
    assert_eq!((world.fault(&plain, Reconciled), world.fault(&rv, Reconciled)), (None, None));
}
