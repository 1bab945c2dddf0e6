//! What comes in to a workload: which connections are taken at a port, who may send there, and why others may not.

use serde_json::{Value, json};
use tidegate_explain::{
    Answer, Direction, End, Error, Look, Protocol, Question, Security, World, render,
};
use tidegate_pilot::{Options, ProxyKind, Workload};
use tidegate_testing::ca::Ca;

use crate::support::{manifest, object};

/// The workload `app: a` of namespace `own`, with requests at 8080, bytes at 5432 and whatever at 9000.
fn world(more: &[Value]) -> World {
    let ports = json!([
        {"name": "http", "port": 80, "targetPort": 8080},
        {"name": "tcp", "port": 5432},
        {"name": "any", "port": 9000},
    ]);
    let spec = json!({"clusterIP": "10.0.0.1", "selector": {"app": "a"}, "ports": ports});
    let service = manifest("Service", "own", "a", &spec);
    World::new(options(), std::iter::once(&service).chain(more).map(object))
}

fn options() -> Options {
    Options {
        proxy: ProxyKind::Sidecar(Workload { addresses: vec![[10, 0, 9, 9].into()] }),
        labels: [("app".to_owned(), "a".to_owned())].into(),
        namespace: "own".to_owned(),
        ..Options::default()
    }
}

fn peers(mode: &str) -> Value {
    manifest("PeerAuthentication", "own", "peers", &json!({"mtls": {"mode": mode}}))
}

fn plain(port: u16) -> Question {
    let direction = Some(Direction::Inbound);
    Question { direction, host: "a.own".to_owned(), port, ..Question::default() }
}

fn tls(port: u16, alpn: &[&str]) -> Question {
    let alpn = alpn.iter().map(|name| (*name).to_owned()).collect();
    Question { security: Security::Tls, alpn, ..plain(port) }
}

fn mutual(port: u16, identity: &str) -> Question {
    Question {
        client_certificate: true,
        client_names: vec![format!("spiffe://cluster.local/ns/own/sa/{identity}")],
        ..tls(port, &["istio-http/1.1", "istio"])
    }
}

fn cluster(answer: &Answer) -> &str {
    answer.clusters.first().map_or("", |cluster| &cluster.name)
}

fn refusal(answer: &Answer) -> (Error, &str) {
    match &answer.end {
        End::Refused { error, reason, .. } => (*error, reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn requests_and_bytes_reach_the_workload_at_the_port_of_its_service() {
    let world = world(&[]);
    assert!(world.rejected().is_empty(), "{:?}", world.rejected());
    let request = world.explain(&plain(8080));
    assert_eq!(cluster(&request), "inbound|8080||");
    assert_eq!(request.clusters[0].endpoints, ["the address that was dialled"]);
    assert_eq!(request.virtual_host.as_ref().map(|h| h.name.as_str()), Some("inbound|http|80"));
    let chain = request.filter_chain.as_ref().expect("a chain");
    assert_eq!(
        (chain.name.as_str(), chain.asks.as_str()),
        ("0.0.0.0_8080", "port 8080, plain text")
    );
    assert!(chain.from.iter().any(|from| from.name == "a"), "{:?}", chain.from);
    let page = render(&plain(8080), &request, Look::default());
    assert!(page.contains("inbound|8080||") && page.contains("0.0.0.0_8080"), "{page}");

    let bytes = world.explain(&Question { protocol: Protocol::Tcp, ..plain(5432) });
    assert_eq!(cluster(&bytes), "inbound|5432||");
    for question in [plain(9000), Question { protocol: Protocol::Http2, ..plain(9000) }] {
        let looked_into = world.explain(&question);
        assert!(looked_into.route_configuration.is_some());
        assert_eq!(cluster(&looked_into), "inbound|9000||");
    }
    let unknown = world.explain(&plain(1234));
    assert_eq!(cluster(&unknown), "InboundPassthroughCluster");
    assert!(unknown.notes.iter().any(|note| note.contains("no service")), "{:?}", unknown.notes);
    let fronted = world.explain(&plain(80));
    let hint = "port 80 of Service own/a leads to port 8080 of the workload";
    assert!(fronted.notes.iter().any(|note| note.starts_with(hint)), "{:?}", fronted.notes);
    let own = world.explain(&plain(15006));
    let End::Unavailable { reason, .. } = &own.end else { panic!("{:?}", own.end) };
    assert!(reason.contains("sidecar's own"), "{reason}");
}

#[test]
fn peer_authentication_decides_which_connections_are_taken() {
    let strict = world(&[peers("STRICT")]);
    let refused = strict.explain(&plain(8080));
    let (error, reason) = refusal(&refused);
    assert_eq!(error, Error::NoFilterChain);
    assert!(
        reason.contains("spec.mtls.mode of PeerAuthentication own/peers is STRICT"),
        "{reason}"
    );
    assert!(refused.nearest.as_deref().is_some_and(|near| near.contains("--alpn")));
    let taken = strict.explain(&mutual(8080, "b"));
    assert_eq!(cluster(&taken), "inbound|8080||");
    let from = &taken.filter_chain.as_ref().expect("a chain").from;
    assert!(from.iter().any(|from| from.path == "spec.mtls.mode"), "{from:?}");
    assert!(taken.notes.iter().any(|note| note.contains("--workload-certs")), "{:?}", taken.notes);
    let bare = strict.explain(&tls(8080, &["istio"]));
    assert_eq!(refusal(&bare).0, Error::MtlsError);

    let both = world(&[]);
    assert_eq!(cluster(&both.explain(&plain(8080))), "inbound|8080||");
    assert_eq!(cluster(&both.explain(&mutual(8080, "b"))), "inbound|8080||");
    let foreign = both.explain(&tls(8080, &["h2"]));
    let (error, reason) = refusal(&foreign);
    assert!(error == Error::NoFilterChain && reason.contains("names h2"), "{reason}");
    let bytes = Question { protocol: Protocol::Tcp, ..tls(5432, &[]) };
    assert_eq!(cluster(&both.explain(&bytes)), "inbound|5432||", "TLS of the workload's own");

    let none = world(&[peers("DISABLE")]);
    assert_eq!(cluster(&none.explain(&plain(8080))), "inbound|8080||");
    assert_eq!(refusal(&none.explain(&mutual(8080, "b"))).0, Error::ProtocolError);
    assert_eq!(cluster(&none.explain(&bytes)), "inbound|5432||", "nobody looks into it");
}

#[test]
fn peers_are_of_the_mesh() {
    let world = world(&[peers("STRICT")]);
    let stranger =
        |name: &str| Question { client_names: vec![name.to_owned()], ..mutual(8080, "") };
    for name in ["spiffe://other.domain/ns/own/sa/b", "b.own"] {
        let answer = world.explain(&stranger(name));
        assert_eq!(refusal(&answer).0, Error::MtlsError, "{name}");
    }
}

#[test]
fn policies_say_who_may_send() {
    let allow = |ports: Value| {
        let principals = ["cluster.local/ns/own/sa/b"];
        let rule = json!({"from": [{"source": {"principals": principals}}], "to": [{"operation": {"ports": ports}}]});
        manifest("AuthorizationPolicy", "own", "friends", &json!({"rules": [rule]}))
    };
    let world = world(&[allow(json!(["8080", "5432"])), peers("STRICT")]);
    assert_eq!(cluster(&world.explain(&mutual(8080, "b"))), "inbound|8080||");
    let denied = world.explain(&mutual(8080, "c"));
    assert_eq!(refusal(&denied).0, Error::Denied);
    assert!(denied.policies.iter().any(|policy| !policy.unmet.is_empty()), "{:?}", denied.policies);
    let bytes = |identity| Question { protocol: Protocol::Tcp, ..mutual(5432, identity) };
    assert_eq!(cluster(&world.explain(&bytes("b"))), "inbound|5432||");
    assert_eq!(refusal(&world.explain(&bytes("c"))).0, Error::Denied);
    let elsewhere = world.explain(&mutual(1234, "b"));
    assert_eq!(refusal(&elsewhere).0, Error::Denied, "what nothing describes is no way round");
}

#[test]
fn what_is_not_served_of_policies_is_told() {
    let spec = json!({"action": "CUSTOM", "provider": {"name": "p"}, "rules": [{}]});
    let asks = manifest("AuthorizationPolicy", "own", "asks", &spec);
    let elsewhere = manifest("AuthorizationPolicy", "other", "elsewhere", &json!({"rules": [{}]}));
    let world = world(&[asks, elsewhere]);
    let answer = world.explain(&plain(8080));
    assert_eq!(refusal(&answer).0, Error::Denied);
    let told = |name: &str| answer.notes.iter().any(|note| note.contains(name));
    assert!(told("own/asks is in force: action CUSTOM is not served"), "{:?}", answer.notes);
    assert!(!told("elsewhere"));
}

/// With the workload's certificate at hand, that of the client is looked at.
#[test]
fn a_certificate_that_is_given_is_judged() {
    let (ca, other) = (Ca::new("mesh"), Ca::new("other"));
    let uris = ["spiffe://cluster.local/ns/own/sa/a"];
    let own = ca.issue_with_uris(&[], &uris);
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, content: &str| {
        std::fs::write(folder.path().join(name), content).expect("written");
    };
    write("cert-chain.pem", &own.certificate_pem);
    write("key.pem", &own.key_pem);
    write("root-cert.pem", ca.pem());
    let certificates = Some(folder.path().display().to_string().into());
    let options = Options { workload_certificates: certificates, ..options() };
    let world = World::new(options, [object(&peers("STRICT"))]);
    let shown = |ca: &Ca| {
        let leaf = ca.issue_with_uris(&[], &uris).certificate.to_vec();
        Question { client_chain: vec![leaf], client_names: Vec::new(), ..mutual(8080, "") }
    };
    assert_eq!(cluster(&world.explain(&shown(&ca))), "InboundPassthroughCluster");
    assert_eq!(refusal(&world.explain(&shown(&other))).0, Error::MtlsError);
}
