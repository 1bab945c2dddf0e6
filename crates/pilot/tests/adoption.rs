//! Gateways with TLS that nobody names: what they take of plain HTTP, whatever comes and goes in which order.

mod common;

use common::{World, manifest, object};
use serde_json::{Value, json};
use tidegate_pilot::Options;
use tidegate_xds::ResourceType;

/// A Gateway of one server for these hosts.
fn gateway(name: &str, namespace: &str, port: &Value, tls: &Value, hosts: &[&str]) -> Value {
    let server = json!({"port": port, "hosts": hosts, "tls": tls});
    let mut gateway = manifest("Gateway", name, &json!({"servers": [server]}));
    gateway["metadata"]["namespace"] = json!(namespace);
    gateway
}

fn plain(name: &str, number: u16, hosts: &[&str]) -> Value {
    let port = json!({"number": number, "name": "http", "protocol": "HTTP"});
    gateway(name, "default", &port, &Value::Null, hosts)
}

fn secure(name: &str, hosts: &[&str]) -> Value {
    let port = json!({"number": 443, "name": name, "protocol": "HTTPS"});
    gateway(name, "default", &port, &json!({"mode": "SIMPLE", "credentialName": name}), hosts)
}

/// A VirtualService of a namespace that answers every request itself.
fn answering(name: &str, namespace: &str, hosts: &[&str], gateways: &[&str]) -> Value {
    let rule = json!([{"name": name, "directResponse": {"status": 200}}]);
    let spec = json!({"hosts": hosts, "gateways": gateways, "http": rule});
    let mut service = manifest("VirtualService", name, &spec);
    service["metadata"]["namespace"] = json!(namespace);
    service
}

/// What a table of HTTPS answers: its domains, each with the names of the rules there.
fn secured(world: &World, gateway: &str) -> Vec<String> {
    let names = world.names(ResourceType::VirtualHost);
    let table = format!("https.443.{gateway}.{gateway}.default/");
    let mut all: Vec<String> = Vec::new();
    for name in names.iter().filter(|name| name.starts_with(&table)) {
        let host = world.json(ResourceType::VirtualHost, name);
        let routes = host["routes"].as_array().into_iter().flatten();
        let rules: Vec<&str> = routes.filter_map(|route| route["name"].as_str()).collect();
        for domain in host["domains"].as_array().expect("domains") {
            all.push(format!("{}: {}", domain.as_str().expect("text"), rules.join(" ")));
        }
    }
    all.sort();
    all
}

/// Applies these objects one at a time, in turned orders, and takes one after the other away: every state is what a
/// compilation from nothing gives. Answers the state with all of them.
fn settled(manifests: &[Value]) -> World {
    let whole = World::with(Options::default(), manifests);
    for first in 0..manifests.len() {
        let mut world = World::with(Options::default(), &[]);
        let turned: Vec<&Value> = manifests[first..].iter().chain(&manifests[..first]).collect();
        turned.iter().for_each(|manifest| _ = world.apply(manifest));
        assert_eq!(world.bytes(), whole.bytes(), "from {first}");
        assert_eq!(world.status, whole.status, "from {first}");
        for gone in 1..turned.len() {
            world.delete(turned[gone - 1]);
            let left: Vec<Value> = turned[gone..].iter().map(|m| (*m).clone()).collect();
            let scratch = World::with(Options::default(), &left);
            assert_eq!(world.bytes(), scratch.bytes(), "from {first} without {gone}");
            assert_eq!(world.status, scratch.status, "from {first} without {gone}");
        }
    }
    whole
}

#[test]
fn a_narrower_host_is_taken_with_whoever_answers_it() {
    let own = [
        plain("web", 80, &["*"]),
        secure("one", &["a.example.org"]),
        answering("wide", "default", &["*.example.org"], &["web"]),
        answering("narrow", "default", &["a.example.org"], &["web"]),
    ];
    assert_eq!(secured(&settled(&own), "one"), ["a.example.org: narrow"]);
    let world = World::with(Options::default(), &own[..3]);
    assert_eq!(secured(&world, "one"), ["a.example.org: wide"]);
    let key = object(&own[1]).key.clone();
    let told = &world.status[&key][0].message;
    assert!(told.contains("(VirtualService default/wide)"), "{told}");
}

/// As in the guide: the Gateway that nobody names sends plain HTTP to itself; one beside it does not.
#[test]
fn a_gateway_may_send_its_own_hosts_to_itself() {
    let redirect = json!({
        "port": {"number": 80, "name": "http", "protocol": "HTTP"},
        "hosts": ["a.example.org"],
        "tls": {"httpsRedirect": true},
    });
    let mut own = secure("one", &["a.example.org"]);
    own["spec"]["servers"].as_array_mut().expect("servers").push(redirect.clone());
    let web = plain("web", 80, &["a.example.org"]);
    let service = answering("answers", "default", &["a.example.org"], &["web"]);
    let taken = settled(&[web.clone(), own, service.clone()]);
    assert_eq!(secured(&taken, "one"), ["a.example.org: answers"]);
    let mut other = plain("other", 80, &[]);
    other["spec"]["servers"] = json!([redirect]);
    let left = settled(&[web, secure("one", &["a.example.org"]), other, service]);
    assert_eq!(secured(&left, "one"), ["*: "], "404");
}

/// What another namespace answers in plain HTTP is not this one's to show, and nobody else answers for it.
#[test]
fn a_host_of_others_is_answered_by_nobody() {
    let others = answering("others", "other", &["a.example.org"], &["default/web"]);
    let wide = answering("wide", "default", &["*.example.org"], &["web"]);
    let web = plain("web", 80, &["*"]);
    let one =
        settled(&[web.clone(), secure("one", &["a.example.org"]), wide.clone(), others.clone()]);
    assert_eq!(secured(&one, "one"), ["*: "], "404");
    let all = settled(&[web.clone(), secure("one", &["*.example.org"]), wide.clone(), others]);
    assert_eq!(secured(&all, "one"), ["*.example.org: wide", "a.example.org: "]);

    // Nor is what its own Gateways ask TLS for, at another port.
    let guarded = answering("guarded", "default", &["a.example.org"], &["web", "two"]);
    let mut two = secure("two", &["a.example.org"]);
    two["spec"]["servers"][0]["port"]["number"] = json!(8443);
    let all = settled(&[web, secure("one", &["*.example.org"]), two, wide, guarded]);
    assert_eq!(secured(&all, "one"), ["*.example.org: wide", "a.example.org: "]);
}

/// The lowest port that answers a host in plain HTTP decides about it; what plain HTTP knows apart stays so.
#[test]
fn https_leads_where_http_does() {
    let wide = answering("wide", "default", &["*.example.org"], &["web"]);
    let other = answering("other", "default", &["a.example.org", "b.net"], &["second"]);
    let mut on_80 = answering("on-80", "default", &["c.example.org"], &["web"]);
    on_80["spec"]["http"][0]["match"] = json!([{"port": 80}]);
    let all = settled(&[
        plain("web", 80, &["*"]),
        plain("second", 8080, &["*"]),
        secure("one", &["*"]),
        wide,
        other,
        on_80,
    ]);
    let expected = ["*.example.org: wide", "b.net: other", "c.example.org: "];
    assert_eq!(secured(&all, "one"), expected);
}
