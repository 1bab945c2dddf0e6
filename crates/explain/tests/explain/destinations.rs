//! What is told of clusters that nothing can be sent to, of TLS towards them, and of Gateways that lost a port.

use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_api::Object;
use tidegate_explain::{Answer, End, Look, Protocol, Question, World, render};
use tidegate_pilot::Options;
use tidegate_testing::ca::Ca;

use crate::support::{self, manifest, object};

fn entry(name: &str, host: &str, endpoints: &[&str]) -> Value {
    let endpoints: Vec<Value> = endpoints.iter().map(|a| json!({"address": a})).collect();
    let ports = json!([{"number": 80, "name": "http", "protocol": "HTTP"}]);
    let spec =
        json!({"hosts": [host], "ports": ports, "resolution": "STATIC", "endpoints": endpoints});
    manifest("ServiceEntry", "default", name, &spec)
}

/// A gateway on port 80 for every host, and what lost that port to it; `/NAME` goes to `NAME.org`.
fn world(more: &[Value]) -> World {
    World::new(Options::default(), objects(more))
}

/// The objects of [`world`].
fn objects(more: &[Value]) -> Vec<Arc<Object>> {
    let server = |protocol: &str| {
        json!({
            "selector": {"istio": "ingressgateway"},
            "servers": [{"port": {"number": 80, "name": "p", "protocol": protocol}, "hosts": ["*"]}],
        })
    };
    let rule = |path: &str, hosts: &[(&str, u32)]| {
        let route = hosts
            .iter()
            .map(|(host, weight)| json!({"destination": {"host": host}, "weight": weight}));
        json!({"match": [{"uri": {"prefix": path}}], "route": route.collect::<Vec<_>>()})
    };
    let service = json!({
        "hosts": ["*"],
        "gateways": ["a"],
        "http": [
            rule("/up", &[("up.org", 0)]),
            rule("/empty", &[("empty.org", 0)]),
            rule("/gone", &[("gone.org", 0)]),
            rule("/half", &[("empty.org", 30), ("up.org", 70)]),
            rule("/none", &[("empty.org", 30), ("gone.org", 70)]),
            rule("/spare", &[("empty.org", 0), ("up.org", 100)]),
        ],
    });
    let own = [
        manifest("Gateway", "default", "a", &server("HTTP")),
        manifest("Gateway", "default", "b", &server("TCP")),
        manifest("VirtualService", "default", "all", &service),
        entry("up", "up.org", &["10.0.0.1"]),
        entry("empty", "empty.org", &[]),
    ];
    own.iter().chain(more).map(object).collect()
}

/// Somebody else may have what manifests have not; what a running process has not, nobody has.
#[test]
fn what_manifests_lack_may_be_elsewhere() {
    let fault = |world: World| world.explain(&question("/empty")).clusters.remove(0).fault;
    let lacks = "it has no endpoints in the manifests of -f: ";
    let told = fault(world(&[])).expect("a fault");
    assert!(told.starts_with(lacks), "{told}");
    let process = World::of_process(Options::default(), objects(&[]), Vec::new());
    let told = fault(process).expect("a fault");
    assert!(told.starts_with("it has no endpoints: "), "{told}");
}

fn question(path: &str) -> Question {
    support::question("app.example.com", path)
}

fn unavailable(answer: &Answer) -> Option<(u16, &str)> {
    match &answer.end {
        End::Unavailable { status, reason } => Some((status.unwrap_or_default(), reason)),
        _ => None,
    }
}

#[test]
fn what_cannot_arrive_is_said_at_once() {
    let world = world(&[]);
    for path in ["/up", "/spare"] {
        assert_eq!(world.explain(&question(path)).end, End::Forwarded, "{path}");
    }
    for (path, why) in [
        ("/empty", "outbound|80||empty.org: it has no endpoints"),
        ("/gone", "outbound|80||gone.org: it does not exist"),
        ("/none", "outbound|80||gone.org: it does not exist"),
    ] {
        let answer = world.explain(&question(path));
        let (status, reason) = unavailable(&answer).expect(path);
        assert!(status == 503 && reason.contains(why), "{path}: {status} {reason}");
        assert_eq!(answer.error(), None, "{path}: it is routed");
        let text = render(&question(path), &answer, Look::default());
        assert!(text.lines().nth(1).is_some_and(|line| line.contains("is answered 503")), "{text}");
    }
    let half = world.explain(&question("/half"));
    assert_eq!(half.end, End::Forwarded);
    assert_eq!(half.clusters.iter().map(|c| c.status).collect::<Vec<_>>(), [Some(503), None]);
    let text = render(&question("/half"), &half, Look::default());
    assert!(
        text.contains("outbound|80||empty.org (30% is answered 503: it has no endpoints"),
        "{text}"
    );
}

#[test]
fn tls_towards_a_destination_is_told_with_what_keeps_it_from_working() {
    let tls = json!({"mode": "MUTUAL", "credentialName": "client", "subjectAltNames": ["one.org", "two.org"]});
    let policy = json!({"host": "up.org", "trafficPolicy": {"tls": tls}});
    let rule = manifest("DestinationRule", "default", "up", &policy);
    let answer = world(std::slice::from_ref(&rule)).explain(&question("/up"));
    let (status, reason) = unavailable(&answer).expect("no handshake can be held");
    assert_eq!(status, 503);
    assert!(reason.contains("there is no Secret client in namespace istio-system"), "{reason}");

    let ca = Ca::new("root");
    let leaf = ca.issue(&["client.example.com"]);
    let secret = json!({
        "kind": "Secret",
        "metadata": {"name": "client", "namespace": "istio-system"},
        "stringData": {"tls.crt": leaf.certificate_pem, "tls.key": leaf.key_pem, "ca.crt": ca.pem()},
    });
    let answer = world(&[rule, secret]).explain(&question("/up"));
    assert_eq!(answer.end, End::Forwarded);
    let tls = answer.clusters[0].tls.as_ref().expect("TLS");
    assert_eq!(
        (tls.mode, tls.server_name.as_str(), tls.verified),
        ("MUTUAL", "app.example.com", true)
    );
    assert_eq!(tls.names, ["one.org", "two.org"]);
    assert_eq!(tls.authorities.as_deref(), Some("the authorities of Secret istio-system/client"));
    assert_eq!(tls.certificate.as_deref(), Some("Secret istio-system/client"));
    assert_eq!(
        (&*tls.from[0].kind, &*tls.from[0].path),
        ("DestinationRule", "spec.trafficPolicy.tls")
    );
    assert_eq!(tls.fault, None);

    let careless = json!({"mode": "SIMPLE", "sni": "x.org", "insecureSkipVerify": true});
    let ports = json!([{"port": {"number": 80}, "tls": careless}]);
    let rule = json!({"host": "up.org", "trafficPolicy": {"portLevelSettings": ports}});
    let answer =
        world(&[manifest("DestinationRule", "default", "up", &rule)]).explain(&question("/up"));
    let tls = answer.clusters[0].tls.as_ref().expect("TLS");
    assert_eq!((tls.server_name.as_str(), tls.verified, &tls.authorities), ("x.org", false, &None));
    assert_eq!(tls.from[0].path, "spec.trafficPolicy.portLevelSettings[0].tls");
    let text = render(&question("/up"), &answer, Look::default());
    assert!(text.contains("the server's certificate is not verified"), "{text}");
}

#[test]
fn a_gateway_that_lost_the_port_is_a_candidate() {
    let answer = world(&[]).explain(&question("/up"));
    let lost =
        answer.lost.iter().find(|l| l.from.iter().any(|s| s.name == "b")).expect("Gateway b");
    assert_eq!((lost.at, lost.from[0].path.as_str()), ("object", "spec.servers[0]"));
    assert!(lost.refused.contains("Gateway default/a"), "{}", lost.refused);
}

#[test]
fn connections_to_nowhere_are_closed() {
    let server = json!({"port": {"number": 9000, "name": "t", "protocol": "TCP"}, "hosts": ["*"]});
    let gateway = json!({"selector": {"istio": "ingressgateway"}, "servers": [server]});
    let service = json!({
        "hosts": ["*"],
        "gateways": ["tcp"],
        "tcp": [{"route": [{"destination": {"host": "empty.org", "port": {"number": 80}}}]}],
    });
    let world = world(&[
        manifest("Gateway", "default", "tcp", &gateway),
        manifest("VirtualService", "default", "tcp", &service),
    ]);
    let question = Question { port: 9000, protocol: Protocol::Tcp, ..Question::default() };
    let answer = world.explain(&question);
    assert!(matches!(&answer.end, End::Unavailable { status: None, .. }), "{:?}", answer.end);
    assert!(
        render(&question, &answer, Look::default())
            .contains("is closed, as nothing can be sent to")
    );
}

/// Rules that tell the gateway's addresses apart, and a rule that takes what they leave.
#[test]
fn the_address_that_was_connected_to_decides_where_rules_ask_for_it() {
    let server = json!({"port": {"number": 9000, "name": "t", "protocol": "TCP"}, "hosts": ["*"]});
    let gateway = json!({"selector": {"istio": "ingressgateway"}, "servers": [server]});
    let to = |host: &str| json!([{"destination": {"host": host, "port": {"number": 80}}}]);
    let service = json!({
        "hosts": ["*"],
        "gateways": ["tcp"],
        "tcp": [
            {"match": [{"destinationSubnets": ["10.0.0.0/8"]}], "route": to("up.org")},
            {"match": [{"destinationSubnets": ["10.1.0.0/16"]}], "route": to("empty.org")},
            {"route": to("gone.org")},
        ],
    });
    let world = world(&[
        manifest("Gateway", "default", "tcp", &gateway),
        manifest("VirtualService", "default", "tcp", &service),
    ]);
    for (address, host) in
        [("10.2.0.1", "up.org"), ("10.1.0.1", "up.org"), ("192.0.2.9", "gone.org")]
    {
        let question = Question {
            port: 9000,
            protocol: Protocol::Tcp,
            address: address.parse().ok(),
            ..Question::default()
        };
        let answer = world.explain(&question);
        let cluster = answer.clusters.first().map_or("", |cluster| &cluster.name);
        assert!(cluster.ends_with(host), "{address}: {answer:#?}");
        let lost = answer.lost.iter().filter(|lost| lost.at == "filterChain");
        let told: Vec<&str> = lost.map(|lost| lost.refused.as_str()).collect();
        let connects = format!("the client connects to {address}");
        let why = |told: &&str| told.ends_with(&connects) || told.contains("narrower network");
        assert!(!told.is_empty() && told.iter().all(why), "{told:?}");
    }
}
