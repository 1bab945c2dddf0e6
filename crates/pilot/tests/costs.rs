//! A change costs what it changes: units are counted, not time.

mod common;

use std::collections::BTreeMap;

use common::{World, manifest};
use serde_json::{Value, json};
use tidegate_pilot::status::ConditionKind::Reconciled;
use tidegate_pilot::{Compiled, Options, Output, ProxyKind, Workload};
use tidegate_xds::ResourceType;

const MANY: usize = 10_000;

fn http_service(n: usize, path: &str) -> Value {
    manifest(
        "VirtualService",
        &format!("v{n}"),
        &json!({
            "hosts": [format!("h{n}.example.org")],
            "gateways": ["g"],
            "http": [{
                "match": [{"uri": {"prefix": path}}],
                "route": [{"destination": {"host": format!("d{n}.example.org"), "port": {"number": 80}}}],
            }],
        }),
    )
}

fn entry(n: usize, protocol: &str, address: &str) -> Value {
    manifest(
        "ServiceEntry",
        &format!("s{n}"),
        &json!({
            "hosts": [format!("d{n}.example.org")],
            "ports": [{"number": 80, "name": "p", "protocol": protocol}],
            "resolution": "STATIC",
            "endpoints": [{"address": address}],
        }),
    )
}

fn wide_gateway(hosts: &[&str]) -> Value {
    let http = json!({"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": hosts});
    manifest("Gateway", "g", &json!({"servers": [http]}))
}

#[test]
fn one_change_among_ten_thousand_touches_a_handful() {
    let mut manifests = vec![wide_gateway(&["*.example.org"])];
    manifests.extend((0..MANY).map(|n| http_service(n, "/")));
    manifests.extend((0..MANY).map(|n| entry(n, "HTTP", "1.1.1.1")));
    let mut world = World::with(Options::default(), &manifests);
    assert_eq!(world.snapshot.list(ResourceType::VirtualHost).len(), MANY);

    let one_host = Compiled { virtual_hosts: 1, ..Compiled::default() };
    let changed = world.apply(&http_service(4711, "/new"));
    assert_eq!(changed.compiled, one_host);
    assert_eq!(changed.change.upsert.len(), 1);
    assert_eq!(changed.applied.len(), 1);

    let gone = world.delete(&http_service(4711, "/new"));
    assert_eq!((gone.compiled.total(), gone.change.remove.len()), (0, 1));
    assert_eq!(world.apply(&http_service(4711, "/")).compiled, one_host);

    let one_cluster = Compiled { clusters: 1, load_assignments: 1, ..Compiled::default() };
    let faster = world.apply(&entry(42, "HTTP2", "1.1.1.1"));
    assert_eq!((faster.compiled, faster.change.upsert.len()), (one_cluster, 1));
    let moved = world.apply(&entry(42, "HTTP2", "2.2.2.2"));
    assert_eq!((moved.compiled, moved.change.upsert.len()), (one_cluster, 1));
    assert_eq!(moved.change.upsert[0].kind, ResourceType::Endpoints);

    let wider = world.apply(&wide_gateway(&["*.example.org", "*.example.com"]));
    assert_eq!(wider.compiled.total(), 0, "no host is routed differently");
    let same = world.apply(&http_service(7, "/"));
    assert!(same.change.is_empty(), "the same bytes are not sent again");
}

/// VirtualServices whose Gateways list none of their hosts are asked by the Gateways that have these, and by no others; nor are
/// those asked that hold a wildcard around them.
#[test]
fn a_gateway_asks_the_hosts_that_it_has() {
    const SOME: usize = 300;
    let port = json!({"number": 80, "name": "http", "protocol": "HTTP"});
    let gateway = |name: &str, host: String| {
        manifest("Gateway", name, &json!({"servers": [{"port": port, "hosts": [host]}]}))
    };
    let service = |name: String, host: String, gateway: String| {
        let spec = json!({"hosts": [host], "gateways": [gateway], "http": [{"directResponse": {"status": 200}}]});
        manifest("VirtualService", &name, &spec)
    };
    let all: Vec<Value> = (0..SOME)
        .flat_map(|n| {
            [
                gateway(&format!("g{n}"), format!("g{n}.example")),
                service(format!("stray{n}"), format!("a.s{n}.example"), format!("g{n}")),
                service(format!("around{n}"), format!("*.s{n}.example"), format!("g{n}")),
            ]
        })
        .collect();
    let mut world = World::with(Options::default(), &all);
    assert_eq!(world.apply(&gateway("more", "more.example".to_owned())).accounts, 1);
    // One that has hosts of a stray keeps them: it is told, and so are the stray, its Gateway and the wildcard around it.
    let keeping = gateway("keeping", "*.s7.example".to_owned());
    let stray = &all[7 * 3 + 1];
    let mut other = keeping.clone();
    other["metadata"]["namespace"] = json!("other");
    assert_eq!(world.apply(&other).accounts, 4);
    let fault = world.fault(stray, Reconciled).expect("it is kept");
    assert!(fault.contains("servers[0] of Gateway other/keeping has them"), "{fault}");
    assert_eq!(world.delete(&other).accounts, 4);
    assert_eq!(world.fault(stray, Reconciled), None);
}

#[test]
fn a_delegate_costs_the_hosts_that_lead_to_it() {
    let root = |n: usize, delegate: Option<&str>| {
        let mut root = http_service(n, "/");
        if let Some(name) = delegate {
            root["spec"]["http"][0] = json!({"delegate": {"name": name}});
        }
        root
    };
    let delegate = |name: &str, path: &str| {
        let route = json!([{"destination": {"host": "d0.example.org"}}]);
        let rule = json!({"match": [{"uri": {"exact": path}}], "route": route});
        manifest("VirtualService", name, &json!({"http": [rule]}))
    };
    let mut manifests = vec![wide_gateway(&["*.example.org"]), entry(0, "HTTP", "1.1.1.1")];
    manifests.extend((0..50).map(|n| root(n, None)));
    manifests.extend((50..53).map(|n| root(n, Some("d"))));
    manifests.push(root(53, Some("other")));
    manifests.extend([delegate("d", "/a"), delegate("other", "/a")]);
    let mut world = World::with(Options::default(), &manifests);
    let hosts = |n| Compiled { virtual_hosts: n, ..Compiled::default() };
    let path = |world: &World, n: usize| {
        let host = format!("http.80/h{n}.example.org:80");
        world.json(ResourceType::VirtualHost, &host)["routes"][0]["match"]["path"].clone()
    };

    let changed = world.apply(&delegate("d", "/b"));
    assert_eq!((changed.compiled, changed.change.upsert.len()), (hosts(3), 3));
    assert_eq!((path(&world, 51), path(&world, 53)), (json!("/b"), json!("/a")));
    assert_eq!(world.apply(&root(7, None)).compiled, hosts(1), "a change elsewhere");
    assert_eq!(world.apply(&root(51, Some("d"))).compiled, hosts(1), "one of its roots");
    let gone = world.delete(&delegate("d", "/b"));
    assert_eq!((gone.compiled.total(), gone.change.remove.len()), (0, 3), "no rule is left");
    assert_eq!(world.apply(&delegate("d", "/c")).compiled, hosts(3), "it is back");
    // Its destination finds its port when the service says which.
    assert_eq!(world.apply(&entry(0, "HTTP", "2.2.2.2")).compiled.virtual_hosts, 4);
}

#[test]
fn hosts_with_the_same_routes_are_compiled_once() {
    let hosts: Vec<String> = (0..500).map(|n| format!("h{n:03}.example.org")).collect();
    let service = |path: &str| {
        let route = json!([{"destination": {"host": "d0.example.org"}}]);
        let rule = json!({"match": [{"uri": {"exact": path}}], "route": route});
        let spec = json!({"hosts": hosts, "gateways": ["g"], "http": [rule]});
        manifest("VirtualService", "wide", &spec)
    };
    let mut world = World::with(Options::default(), &[wide_gateway(&["*"]), service("/a")]);
    assert_eq!(world.names(ResourceType::VirtualHost), ["http.80/h000.example.org:80"]);
    assert_eq!(world.apply(&service("/b")).compiled.virtual_hosts, 1);
    let narrow = json!({
        "hosts": ["h000.example.org"],
        "gateways": ["g"],
        "http": [{"redirect": {"uri": "/"}}],
    });
    // One host parts from the others, which take the name of the next one.
    let parted = world.apply(&manifest("VirtualService", "narrow", &narrow));
    assert_eq!(parted.compiled.virtual_hosts, 2);
    let names = ["http.80/h000.example.org:80", "http.80/h001.example.org:80"];
    assert_eq!(world.names(ResourceType::VirtualHost), names);
    let domains = &world.json(ResourceType::VirtualHost, names[1])["domains"];
    assert_eq!(domains.as_array().map(Vec::len), Some(499));
}

/// A Secret is looked for by those who name it, and by those of nobody's only where it is one that may be meant.
#[test]
fn a_secret_costs_the_credentials_that_may_come_from_it() {
    let gateway = |n: usize| {
        let server = json!({
            "port": {"number": 443, "name": "https", "protocol": "HTTPS"},
            "hosts": [format!("h{n}.example.org")],
            "tls": {"mode": "MUTUAL", "credentialName": format!("c{n}")},
        });
        manifest("Gateway", &format!("g{n}"), &json!({"servers": [server]}))
    };
    let secret = |name: &str, keys: &[&str]| {
        let data: BTreeMap<&str, &str> = keys.iter().map(|key| (*key, "x")).collect();
        let metadata = json!({"name": name, "namespace": "istio-system"});
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})
    };
    let whole = ["tls.crt", "tls.key", "ca.crt"];
    let mut manifests: Vec<Value> = (0..200).map(gateway).collect();
    manifests.extend((1..200).map(|n| secret(&format!("c{n}"), &whole)));
    manifests.push(secret("c0", &whole[..2]));
    let mut world = World::with(Options::default(), &manifests);
    for (changed, cost) in [
        (secret("unrelated", &whole), 0),
        (secret("c7", &whole), 2),
        // Only one server has no authorities of its own.
        (secret("clients", &["ca.crt"]), 1),
        (secret("others", &["ca.crt"]), 1),
        (secret("c7-cacert", &["ca.crt"]), 1),
        (secret("c0", &whole), 2),
    ] {
        assert_eq!(world.apply(&changed).compiled.secrets, cost, "{}", changed["metadata"]);
    }
    assert_eq!(world.delete(&secret("clients", &["ca.crt"])).compiled.secrets, 0, "nobody guesses");
}

/// Beside a workload a change makes anew what names it and what is the workload's own, however many other hosts there are.
#[test]
fn a_change_beside_a_workload_costs_what_it_touches() {
    const SOME: usize = 1_000;
    let entry = |n: usize, resolution: &str| {
        let port = |number: u16, protocol: &str| json!({"number": number, "name": format!("p{number}"), "protocol": protocol});
        let spec = json!({
            "hosts": [format!("h{n}.example.org")],
            "ports": [port(80, "HTTP"), port(443, "TLS")],
            "resolution": resolution,
        });
        manifest("ServiceEntry", &format!("e{n}"), &spec)
    };
    let rule = |n: usize, idle: &str| {
        let pool = json!({"connectionPool": {"tcp": {"idleTimeout": idle}}});
        let spec = json!({"host": format!("h{n}.example.org"), "trafficPolicy": pool});
        manifest("DestinationRule", &format!("r{n}"), &spec)
    };
    let rules = |n: usize, timeout: &str| {
        let spec = json!({"hosts": [format!("h{n}.example.org")], "http": [{"timeout": timeout}]});
        manifest("VirtualService", &format!("v{n}"), &spec)
    };
    let proxy = ProxyKind::Sidecar(Workload { addresses: vec![[10, 0, 9, 9].into()] });
    let options = Options { proxy, captures_dns: true, ..Options::default() };
    let all: Vec<Value> = (0..SOME).map(|n| entry(n, "DNS")).collect();
    let mut world = World::with(options, &all);
    assert!(world.snapshot.list(ResourceType::Listener).len() > SOME);

    // Its listener, that of the port and its virtual host; beside them what is the sidecar's: two listeners and a virtual host.
    let of_host = |output: &Output| (output.compiled.listeners, output.compiled.virtual_hosts);
    assert_eq!(of_host(&world.apply(&entry(7, "STATIC"))), (4, 2));
    assert_eq!(of_host(&world.apply(&rule(7, "7s"))), (4, 2));
    assert_eq!(of_host(&world.apply(&rules(7, "3s"))), (2, 2));
    assert_eq!(of_host(&world.apply(&rules(7, "3s"))), (2, 2), "whether or not it differs");
    let new = world.apply(&entry(SOME, "DNS"));
    assert_eq!((of_host(&new), new.change.remove.len()), ((4, 2), 0));
    let gone = world.delete(&entry(8, "DNS"));
    assert_eq!(of_host(&gone), (3, 1));
    assert!(gone.compiled.total() < 10, "{:?}", gone.compiled);
    let unrelated = manifest("ServiceEntry", "e9", &entry(9, "DNS")["spec"]);
    assert_eq!(of_host(&world.apply(&unrelated)), (2, 1), "as it was");
}
