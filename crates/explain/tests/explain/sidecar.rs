//! What goes out of a workload: which rules of the mesh decide, and why others do not.

use std::net::IpAddr;

use serde_json::{Value, json};
use tidegate_explain::{
    Answer, Direction, End, Look, Lost, Protocol, Question, Security, World, render,
};
use tidegate_pilot::{Options, OutboundPolicy, ProxyKind, Workload};

use crate::support::{manifest, object};

/// A Service at an address, with requests on port 80 and whatever on port 81.
fn service(namespace: &str, name: &str, address: &str) -> Value {
    let ports = json!([{"name": "http", "port": 80}, {"name": "any", "port": 81}]);
    manifest("Service", namespace, name, &json!({"clusterIP": address, "ports": ports}))
}

/// A rule for a host that sends to another, under a condition.
fn rules(namespace: &str, name: &str, host: &str, condition: &Value, to: &str) -> Value {
    let route = json!([{"destination": {"host": to, "port": {"number": 80}}}]);
    let rule = json!({"name": name, "match": [condition], "route": route});
    manifest("VirtualService", namespace, name, &json!({"hosts": [host], "http": [rule]}))
}

/// The world of a workload `app: a` of namespace `own`.
fn world(policy: OutboundPolicy, manifests: &[Value]) -> World {
    let options = Options {
        proxy: ProxyKind::Sidecar(Workload { addresses: vec![[10, 0, 9, 9].into()] }),
        labels: [("app".to_owned(), "a".to_owned())].into(),
        namespace: "own".to_owned(),
        outbound_policy: policy,
        ..Options::default()
    };
    let world = World::new(options, manifests.iter().map(object));
    assert!(world.rejected().is_empty(), "{:?}", world.rejected());
    world
}

fn ask(host: &str, port: u16) -> Question {
    let direction = Some(Direction::Outbound);
    Question { direction, host: host.to_owned(), port, ..Question::default() }
}

fn cluster(answer: &Answer) -> &str {
    answer.clusters.first().map_or("", |cluster| &cluster.name)
}

/// What is told of an object that had no part.
fn refused<'a>(answer: &'a Answer, name: &str) -> &'a str {
    let mut lost = answer.lost.iter().filter(|lost| lost.from.iter().any(|f| f.name == name));
    lost.next().map_or("", |lost| &lost.refused)
}

#[test]
fn sources_and_gateways_decide_which_rules_apply() {
    let world = world(
        OutboundPolicy::RegistryOnly,
        &[
            service("own", "b", "10.0.0.1"),
            service("own", "c", "10.0.0.2"),
            service("own", "d", "10.0.0.3"),
            rules("own", "mine", "b", &json!({"sourceLabels": {"app": "a"}}), "c"),
            rules("own", "theirs", "c", &json!({"sourceLabels": {"app": "z"}}), "b"),
            rules("own", "elsewhere", "d", &json!({"sourceNamespace": "other"}), "b"),
        ],
    );
    let taken = world.explain(&ask("b", 80));
    assert_eq!(taken.route.as_ref().map(|route| route.name.as_str()), Some("mine"));
    assert_eq!(cluster(&taken), "outbound|80||c.own.svc.cluster.local");
    let others = world.explain(&ask("c.own", 80));
    assert_eq!(cluster(&others), "outbound|80||c.own.svc.cluster.local", "by default to itself");
    assert_eq!(
        refused(&others, "theirs"),
        "it asks for sourceLabels app=z; the caller is this workload, with labels app=a"
    );
    let foreign = world.explain(&ask("d.own.svc.cluster.local", 80));
    assert_eq!(cluster(&foreign), "outbound|80||d.own.svc.cluster.local");
    let other = "it asks for sourceNamespace other; the caller is this workload, of namespace own";
    assert_eq!(refused(&foreign, "elsewhere"), other);
}

#[test]
fn the_oldest_rules_of_a_host_win_and_the_loser_is_told_to_whom() {
    let every = json!({"uri": {"prefix": "/"}});
    let mut gateways = rules("own", "gateways", "b", &every, "c");
    gateways["spec"]["gateways"] = json!(["g"]);
    let mut hidden = rules("other", "hidden", "b.own.svc.cluster.local", &every, "c");
    hidden["spec"]["exportTo"] = json!(["."]);
    let world = world(
        OutboundPolicy::RegistryOnly,
        &[
            service("own", "b", "10.0.0.1"),
            rules("own", "first", "b", &every, "b"),
            rules("own", "second", "b", &every, "c"),
            gateways,
            hidden,
        ],
    );
    let answer = world.explain(&ask("b", 80));
    assert_eq!(answer.route.as_ref().map(|route| route.name.as_str()), Some("first"));
    let told = refused(&answer, "second");
    assert!(told.contains("belong to VirtualService own/first"), "{told}");
    assert!(refused(&answer, "gateways").contains("not to the mesh"));
    assert!(refused(&answer, "hidden").contains("hides it from namespace own"));
}

#[test]
fn what_nobody_describes_is_refused_or_sent_on() {
    let manifests = [service("own", "b", "10.0.0.1")];
    let closed = world(OutboundPolicy::RegistryOnly, &manifests);
    let blocked = closed.explain(&ask("unknown.example", 80));
    assert_eq!(blocked.end, End::Answered { status: 502 });
    assert_eq!(blocked.virtual_host.as_ref().map(|host| host.name.as_str()), Some("block_all"));
    let page = render(&ask("unknown.example", 80), &blocked, Look::default());
    assert!(page.contains("is answered 502 by the sidecar itself"), "{page}");
    assert!(page.contains("This ServiceEntry would let it out:\n\napiVersion: "), "{page}");
    assert!(page.contains("  hosts:\n  - unknown.example\n"), "{page}");
    let nowhere = closed.explain(&ask("unknown.example", 8080));
    assert_eq!(nowhere.listener.as_ref().map(|l| l.name.as_str()), Some("virtualOutbound"));
    let End::Unavailable { status: Some(502), reason } = &nowhere.end else {
        panic!("{:?}", nowhere.end)
    };
    assert!(reason.contains("REGISTRY_ONLY"), "{reason}");

    let open = world(OutboundPolicy::AllowAny, &manifests);
    for port in [80, 8080] {
        let answer = open.explain(&ask("unknown.example", port));
        assert_eq!(cluster(&answer), "PassthroughCluster");
        assert_eq!(answer.clusters[0].endpoints, ["the address that was dialled"]);
        assert!(answer.notes.iter().any(|note| note.contains("ALLOW_ANY")), "{:?}", answer.notes);
    }
}

#[test]
fn ports_that_say_nothing_are_looked_into() {
    let world = world(OutboundPolicy::RegistryOnly, &[service("own", "b", "10.0.0.1")]);
    let dialled = world.address_of("b.own");
    assert_eq!(dialled, Some(IpAddr::from([10, 0, 0, 1])));
    let asked = Question { address: dialled, ..ask("b", 81) };
    let request = world.explain(&asked);
    assert_eq!(request.listener.as_ref().map(|l| l.name.as_str()), Some("10.0.0.1_81"));
    let table = request.route_configuration.as_ref().map(|table| table.name.as_str());
    assert_eq!(table, Some("b.own.svc.cluster.local:81"));
    let bytes = world.explain(&Question { protocol: Protocol::Tcp, ..asked.clone() });
    let tls = world.explain(&Question { security: Security::Tls, ..asked });
    for answer in [bytes, tls] {
        assert!(answer.route_configuration.is_none());
        assert_eq!(cluster(&answer), "outbound|81||b.own.svc.cluster.local");
        let named = |lost: &Lost| !(lost.name.is_empty() && lost.from.is_empty());
        assert!(answer.lost.iter().all(named), "{:#?}", answer.lost);
    }
    let nowhere = world.explain(&ask("nobody.org", 80));
    let chain = nowhere.lost.iter().find(|lost| lost.at == "filterChain").expect("the other chain");
    assert_eq!(chain.name, "for every other connection");
}

#[test]
fn what_a_sidecar_hides_is_told_with_its_name() {
    let every = json!({"uri": {"prefix": "/"}});
    let egress = json!([{"port": {"number": 80, "protocol": "HTTP"}, "hosts": ["./b.own.svc.cluster.local"]}]);
    let world = world(
        OutboundPolicy::RegistryOnly,
        &[
            service("own", "b", "10.0.0.1"),
            service("other", "c", "10.0.0.2"),
            rules("other", "far", "b.own.svc.cluster.local", &every, "c"),
            manifest("Sidecar", "own", "narrow", &json!({"egress": egress})),
        ],
    );
    let answer = world.explain(&ask("b", 80));
    assert_eq!(cluster(&answer), "outbound|80||b.own.svc.cluster.local");
    let told = refused(&answer, "far");
    assert!(
        told.contains("Sidecar own/narrow does not bring it in (spec.egress[].hosts)"),
        "{told}"
    );
    let hidden = world.explain(&ask("c.other", 80));
    assert_eq!(hidden.end, End::Answered { status: 502 });
    let told = hidden.notes.join("\n");
    let words = "Sidecar own/narrow hides c.other.svc.cluster.local from this workload";
    assert!(told.contains(words), "{told}");
}

/// Guide 001: a rule with a timeout alone leaves requests where they go without it.
#[test]
fn a_rule_that_only_limits_requests_leaves_them_on_their_way() {
    let ports = json!([{"number": 80, "name": "http", "protocol": "http"}]);
    let entry = json!({"hosts": ["httpbin.org"], "ports": ports});
    let entry = manifest("ServiceEntry", "own", "httpbin-ext", &entry);
    let limit = |name: &str, host: &str| {
        let spec = json!({"hosts": [host], "http": [{"name": name, "timeout": "3s"}]});
        manifest("VirtualService", "own", name, &spec)
    };
    let every = limit("every", "*.own.svc.cluster.local");
    let manifests = [
        entry,
        limit("httpbin-ext", "httpbin.org"),
        service("own", "b", "10.0.0.1"),
        service("own", "c", "10.0.0.2"),
        every,
        limit("unknown", "unknown.example"),
    ];
    let closed = world(OutboundPolicy::RegistryOnly, &manifests);
    for (host, rule, to) in [
        ("httpbin.org", "httpbin-ext", "outbound|80||httpbin.org"),
        ("b.own", "every", "outbound|80||b.own.svc.cluster.local"),
        ("c.own", "every", "outbound|80||c.own.svc.cluster.local"),
    ] {
        let answer = closed.explain(&ask(host, 80));
        let route = answer.route.as_ref().expect("a route");
        assert_eq!((cluster(&answer), route.name.as_str()), (to, rule));
        let from: Vec<&str> = route.from.iter().map(|source| source.path.as_str()).collect();
        assert_eq!(from, ["spec.http[0]"]);
        let page = render(&ask(host, 80), &answer, Look::default());
        assert!(page.contains("3s"), "{page}");
    }
    let blocked = closed.explain(&ask("unknown.example", 80));
    assert_eq!(blocked.end, End::Answered { status: 502 });
    let open = world(OutboundPolicy::AllowAny, &manifests).explain(&ask("unknown.example", 80));
    assert_eq!(cluster(&open), "PassthroughCluster");
    assert_eq!(open.route.as_ref().map(|route| route.name.as_str()), Some("unknown"));
}
