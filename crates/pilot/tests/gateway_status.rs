//! What is told of Gateways.

mod common;

use std::collections::BTreeMap;

use common::{World, manifest, object};
use serde_json::{Value, json};
use tidegate_pilot::status::ConditionKind;
use tidegate_pilot::{FaultySecret, GatewayService, Input, Options, Serves};

#[test]
fn a_gateway_without_virtual_services_is_told() {
    let http = json!({"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]});
    let gateway = manifest("Gateway", "g", &json!({"servers": [http]}));
    let service = manifest(
        "VirtualService",
        "v",
        &json!({"hosts": ["a.com"], "gateways": ["g"], "http": [{"redirect": {"uri": "/"}}]}),
    );
    let mut world = World::with(Options::default(), std::slice::from_ref(&gateway));
    let key = object(&gateway).key.clone();
    let advice = |world: &World| world.status[&key][0].message.clone();
    assert!(advice(&world).starts_with("no VirtualService names it: "), "{}", advice(&world));
    assert!(world.status[&key][0].holds, "it acts as it is written");
    world.apply(&service);
    assert_eq!(advice(&world), "");
    world.delete(&service);
    assert!(advice(&world).contains("404 until one has default/g in its gateways"));
}

/// A Secret of the gateway's namespace.
fn secret(name: &str, keys: &[&str]) -> Value {
    let data: BTreeMap<&str, &str> = keys.iter().map(|key| (*key, "x")).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": "istio-system"},
        "stringData": data,
    })
}

#[test]
fn other_authorities_than_before_are_not_taken_in_silence() {
    let mutual = json!({"port": {"number": 443, "name": "https", "protocol": "HTTPS"}, "hosts": ["*"],
        "tls": {"mode": "MUTUAL", "credentialName": "web"}});
    let gateway = manifest("Gateway", "g", &json!({"servers": [mutual]}));
    let (web, clients) = (secret("web", &["tls.crt", "tls.key"]), secret("clients", &["ca.crt"]));
    let mut world = World::with(Options::default(), &[gateway.clone(), web, clients.clone()]);
    let advice = |world: &World| world.status[&object(&gateway).key][0].message.clone();
    assert!(advice(&world).contains("verified against Secret clients"), "{}", advice(&world));

    // A rule for destinations names another: that one is nobody's candidate.
    let tls = json!({"tls": {"mode": "SIMPLE", "credentialName": "upstream"}});
    let rule = json!({"host": "a.com", "trafficPolicy": tls});
    let rule = manifest("DestinationRule", "r", &rule);
    world.apply(&rule);
    let output = world.apply(&secret("upstream", &["ca.crt"]));
    assert_eq!(output.remarks, []);
    assert!(advice(&world).contains("verified against Secret clients"), "{}", advice(&world));
    assert_eq!(world.fault(&gateway, ConditionKind::ResolvedRefs), None);

    // Both go, one after the other: what the rule named is all that is left.
    assert_eq!(world.delete(&clients).remarks, []);
    let fault = world.fault(&gateway, ConditionKind::ResolvedRefs).expect("none is left");
    assert!(fault.contains("no Secret with authorities that nothing else names"), "{fault}");
    let remarks = world.delete(&rule).remarks;
    let [remark] = remarks.as_slice() else { panic!("{remarks:?}") };
    assert_eq!((&remark.key, remark.reason), (&object(&gateway).key, "AuthoritiesChanged"));
    assert!(remark.message.contains("Secret upstream from now on"), "{}", remark.message);
    assert!(remark.message.contains("no longer against Secret clients"), "{}", remark.message);
    assert!(advice(&world).contains("verified against Secret upstream"), "{}", advice(&world));
}

/// A server that terminates TLS with the Secret `web`.
fn https(tls: &Value) -> Value {
    let mut tls = tls.clone();
    tls["credentialName"] = json!("web");
    json!({"port": {"number": 443, "name": "https", "protocol": "HTTPS"}, "hosts": ["*"], "tls": tls})
}

#[test]
fn a_secret_that_the_proxy_refuses_is_told_by_its_own_name() {
    let gateway =
        manifest("Gateway", "g", &json!({"servers": [https(&json!({"mode": "SIMPLE"}))]}));
    let web = secret("web", &["tls.crt", "tls.key"]);
    let mut world = World::with(Options::default(), &[gateway.clone(), web]);
    let refused = |serves| {
        let refused = FaultySecret {
            path: "tls_certificate.private_key".to_owned(),
            reason: "it is not that of the certificate".to_owned(),
            serves,
        };
        Input::Faulty(BTreeMap::from([("kubernetes://web".into(), refused)]))
    };
    let words = "InvalidCertificateRef: servers[0] (port 443): Secret istio-system/web, key: \
                 it is not that of the certificate; ";
    world.give([refused(Serves::Before)]);
    let serves_on = format!("{words}the one before serves on");
    assert_eq!(world.fault(&gateway, ConditionKind::ResolvedRefs), Some(serves_on));
    assert_eq!(world.idle(&gateway), None);
    let standing = world.pilot.standing(&object(&gateway).key).expect("it stands");
    let fault = standing.fault.as_deref().unwrap_or_default();
    assert_eq!(
        fault,
        "servers[0] (port 443): Secret istio-system/web as it is now; the one before serves on"
    );

    world.give([refused(Serves::Nothing)]);
    let closed = format!("{words}connections for its hosts are closed");
    assert_eq!(world.fault(&gateway, ConditionKind::ResolvedRefs), Some(closed));
    let idle = world.idle(&gateway).expect("nothing of it is served");
    assert!(idle.starts_with("InvalidCertificateRef: none of its servers is open"), "{idle}");

    // It is in force, and clients have no good of it.
    world.give([refused(Serves::Itself)]);
    let told = world.fault(&gateway, ConditionKind::ResolvedRefs).expect("a fault");
    assert!(told.starts_with(&format!("{words}it is presented all the same")), "{told}");
    let standing = world.pilot.standing(&object(&gateway).key).expect("it stands");
    assert_eq!((standing.fault.as_deref(), world.idle(&gateway)), (None, None));

    world.give([Input::Faulty(BTreeMap::new())]);
    assert_eq!(world.fault(&gateway, ConditionKind::ResolvedRefs), None);
    assert_eq!(world.idle(&gateway), None);
}

#[test]
fn what_becomes_of_a_server_is_said_once_however_much_it_lacks() {
    let mut mutual = https(&json!({"mode": "MUTUAL"}));
    mutual["tls"]["credentialName"] = json!("other");
    (mutual["hosts"], mutual["port"]["name"]) = (json!(["b.example"]), json!("mutual"));
    let mut simple = https(&json!({"mode": "SIMPLE"}));
    simple["hosts"] = json!(["a.example"]);
    let gateway = manifest("Gateway", "g", &json!({"servers": [simple, mutual]}));
    let web = secret("web", &["tls.crt", "tls.key"]);
    let world = World::with(Options::default(), &[gateway.clone(), web]);
    let standing = world.pilot.standing(&object(&gateway).key).expect("it stands");
    let once = "servers[1] (port 443): connections for its hosts are closed";
    assert_eq!(standing.fault.as_deref(), Some(once));
}

#[test]
fn clients_whom_nobody_vouches_for_are_told() {
    let tls = json!({"mode": "MUTUAL", "caCertCredentialName": "web", "insecureSkipVerify": true});
    let gateway = manifest("Gateway", "g", &json!({"servers": [https(&tls)]}));
    let world = World::with(Options::default(), std::slice::from_ref(&gateway));
    let message = &world.status[&object(&gateway).key][0].message;
    assert!(message.contains("tls.insecureSkipVerify: certificates of clients are not verified"));
}

#[test]
fn a_name_with_a_namespace_is_told() {
    let mut server = https(&json!({"mode": "SIMPLE"}));
    server["tls"]["credentialName"] = json!("default/web");
    let gateway = manifest("Gateway", "g", &json!({"servers": [server]}));
    let mut elsewhere = secret("web", &["tls.crt", "tls.key"]);
    elsewhere["metadata"]["namespace"] = json!("default");
    let world = World::with(Options::default(), &[gateway.clone(), elsewhere]);
    let fault = world.fault(&gateway, ConditionKind::ResolvedRefs).expect("it is told");
    assert!(fault.contains("servers[0] (port 443): default/web is no name of a Secret"), "{fault}");
    assert!(fault.contains("only those of namespace istio-system"), "{fault}");
    assert!(fault.contains("put it there and write web"), "{fault}");
}

#[test]
fn fields_that_ask_nothing_of_clients_are_told() {
    let gateway = |tls: &Value| manifest("Gateway", "g", &json!({"servers": [https(tls)]}));
    let fields = json!({"subjectAltNames": ["a"], "caCertificates": "/ca.crt"});
    let with_mode = |mode: &str| {
        let mut tls = fields.clone();
        tls["mode"] = json!(mode);
        gateway(&tls)
    };
    let mut world = World::with(Options::default(), &[with_mode("SIMPLE")]);
    let message =
        |world: &World| world.status[&object(&with_mode("SIMPLE")).key][0].message.clone();
    let told = message(&world);
    assert!(told.contains("so that subjectAltNames, caCertificates says nothing"), "{told}");
    world.apply(&with_mode("MUTUAL"));
    assert!(!message(&world).contains("says nothing"), "{}", message(&world));
}

#[test]
fn conflicts_are_told_by_the_port_that_the_gateway_has() {
    let ports = BTreeMap::from([(443, 10443)]);
    let service = GatewayService {
        host: "istio-ingressgateway.istio-system.svc.cluster.local".to_owned(),
        namespace: "istio-system".to_owned(),
        ports,
    };
    let options = Options { services: vec![service], ..Options::default() };
    let server = https(&json!({"mode": "SIMPLE"}));
    let gateway = |name: &str| manifest("Gateway", name, &json!({"servers": [server]}));
    let world = World::with(options, &[gateway("a"), gateway("b")]);
    let fault = world.fault(&gateway("b"), ConditionKind::Reconciled).expect("a is older");
    let words = "servers[0] (port 443): host * on port 443 (port 10443 of this machine) belongs to servers[0] of Gateway default/a";
    assert!(fault.contains(words), "{fault}");
}

/// Terms of TLS, and what no handshake can be held on in them.
fn terms() -> Vec<(Value, Option<String>)> {
    let (good_key, good_hash) = ("YCBM2qyx7Sh0ysmRlOO9r0kCqF3lrF4x1pFpVx9pvJk=", "ab".repeat(32));
    let (short, odd) = (&good_hash[1..], good_hash.replace("ab", "ag"));
    let simple = |oldest: &str, newest: &str| json!({"mode": "SIMPLE", "minProtocolVersion": oldest, "maxProtocolVersion": newest});
    let mutual = |field: &str, values: &[&str]| json!({"mode": "MUTUAL", field: values});
    let keys = |values: &[&str]| mutual("verifyCertificateSpki", values);
    let hashes = |values: &[&str]| mutual("verifyCertificateHash", values);
    let too_old = "tls.maxProtocolVersion: versions below TLS 1.2 are not offered (RFC 8996); use TLSV1_2 or TLSV1_3";
    let crossed = "tls.minProtocolVersion is above maxProtocolVersion";
    let key = |hash: &str| {
        format!("tls.verifyCertificateSpki: {hash:?} is no SHA-256, which is 32 bytes in base64")
    };
    let hash = |hash: &str| {
        format!("tls.verifyCertificateHash: {hash:?} is no SHA-256, which is 64 hexadecimal digits")
    };
    vec![
        (simple("TLSV1_2", "TLSV1_3"), None),
        (simple("TLSV1_2", "TLSV1_2"), None),
        (simple("TLSV1_3", "TLSV1_3"), None),
        (simple("TLS_AUTO", "TLSV1_0"), Some(too_old.to_owned())),
        (simple("TLS_AUTO", "TLSV1_1"), Some(too_old.to_owned())),
        (simple("TLSV1_3", "TLSV1_2"), Some(crossed.to_owned())),
        (keys(&[good_key]), None),
        (keys(&[good_key, "x"]), Some(key("x"))),
        (keys(&[&good_key[1..]]), Some(key(&good_key[1..]))),
        (hashes(&[&good_hash]), None),
        (hashes(&[&good_hash, short]), Some(hash(short))),
        (hashes(&[&odd]), Some(hash(&odd))),
    ]
}

#[test]
fn terms_that_no_handshake_can_be_held_on_close_their_own_server_alone() {
    let server = |name: &str, tls: &Value| {
        let mut server = https(tls);
        server["port"]["name"] = json!(name);
        server["hosts"] = json!([format!("{name}.example")]);
        server
    };
    let gateway = |servers: &[Value]| manifest("Gateway", "g", &json!({ "servers": servers }));
    let neighbour = server("neighbour", &json!({"mode": "SIMPLE"}));
    let rule = json!({"redirect": {"uri": "/"}});
    let routes = json!({"hosts": ["*"], "gateways": ["g"], "http": [rule]});
    let routes = manifest("VirtualService", "v", &routes);
    let web = secret("web", &["tls.crt", "tls.key", "ca.crt"]);
    for (tls, fault) in terms() {
        let first = server("first", &tls);
        let both = gateway(&[first.clone(), neighbour.clone()]);
        let objects = [both.clone(), web.clone(), routes.clone()];
        let mut world = World::with(Options::default(), &objects);
        let told = fault.as_ref().map(|fault| {
            format!("InvalidTls: servers[0] (port 443): {fault}; the server takes no connections")
        });
        assert_eq!(world.fault(&both, ConditionKind::Reconciled), told, "{tls}");
        assert_eq!(world.idle(&both), None, "the neighbour is open beside {tls}");
        let listeners = world.dump()["Listener"].to_string();
        let open = |name: &str| listeners.contains(&format!("[\"{name}.example\"]"));
        assert!(open("neighbour"), "beside {tls}");
        assert_eq!(open("first"), fault.is_none(), "{tls}");

        let alone = gateway(&[first]);
        world.apply(&alone);
        match (world.idle(&alone), fault) {
            (Some(idle), Some(fault)) => {
                assert!(idle.starts_with("InvalidTls: ") && idle.contains(&fault), "{idle}");
            }
            (idle, fault) => assert_eq!(idle, fault, "{tls}"),
        }
    }
}

#[test]
fn two_certificates_with_keys_of_one_kind_are_told() {
    let tls = json!({"mode": "SIMPLE", "credentialNames": ["one", "two"]});
    let port = json!({"number": 443, "name": "https", "protocol": "HTTPS"});
    let server = json!({"port": port, "hosts": ["*"], "tls": tls});
    let gateway = manifest("Gateway", "g", &json!({"servers": [server]}));
    let pair = |name: &str, kind: &str| {
        let mut pair = secret(name, &["tls.crt"]);
        let key =
            format!("-----BEGIN {kind} PRIVATE KEY-----\nAAAA\n-----END {kind} PRIVATE KEY-----\n");
        pair["stringData"]["tls.key"] = json!(key);
        pair
    };
    let mut world =
        World::with(Options::default(), &[gateway.clone(), pair("one", "RSA"), pair("two", "EC")]);
    let told = |world: &World| world.status[&object(&gateway).key][0].message.clone();
    assert!(!told(&world).contains("both have"), "{}", told(&world));
    world.apply(&pair("two", "RSA"));
    let advice = "servers[0] (port 443): tls: Secret istio-system/one and Secret istio-system/two both have an RSA key, so that \
                  the second is shown to nobody whose server name the first is for";
    assert!(told(&world).contains(advice), "{}", told(&world));
    world.apply(&pair("one", "EC"));
    assert!(!told(&world).contains("both have"), "{}", told(&world));
}

#[test]
fn suites_and_groups_that_are_left_out_are_told() {
    let weak = "it has no forward secrecy or is of the CBC kind, open to padding attacks; use ECDHE with GCM or CHACHA20-POLY1305";
    let tls = |fields: &Value| {
        let mut tls = json!({"mode": "SIMPLE"});
        for (name, value) in fields.as_object().expect("fields") {
            tls[name] = value.clone();
        }
        manifest("Gateway", "g", &json!({"servers": [https(&tls)]}))
    };
    let message = |gateway: &Value| {
        let world = World::with(
            Options::default(),
            &[gateway.clone(), secret("web", &["tls.crt", "tls.key"])],
        );
        let params = world.dump()["Listener"]["0.0.0.0_443"]["filter_chains"][0]["transport_socket"]
            ["typed_config"]["common_tls_context"]["tls_params"]
            .clone();
        let told = world.status[&object(gateway).key][0].message.clone();
        (told.replace("servers[0] (port 443): ", ""), params)
    };
    let good = "ECDHE-RSA-AES128-GCM-SHA256";
    let (told, params) = message(&tls(&json!({
        "cipherSuites": ["AES128-SHA", good, "[AES256-SHA|ECDHE-RSA-CHACHA20-POLY1305]"],
        "ecdhCurves": ["X25519", "P-521"],
    })));
    assert!(
        told.starts_with(&format!("tls.cipherSuites: AES128-SHA is left out: {weak}; ")),
        "{told}"
    );
    assert!(told.contains("; tls.cipherSuites: AES256-SHA is left out: "), "{told}");
    assert!(
        told.contains("; tls.ecdhCurves: P-521 is left out: it is not offered; use X25519"),
        "{told}"
    );
    // They are written as by Istio all the same: the proxy leaves them out.
    let written = ["AES128-SHA", good, "[AES256-SHA|ECDHE-RSA-CHACHA20-POLY1305]"];
    assert_eq!(params["cipher_suites"], json!(written));
    assert_eq!(params["ecdh_curves"], json!(["X25519", "P-521"]));

    let (told, params) = message(&tls(&json!({"cipherSuites": ["AES128-SHA"]})));
    assert!(
        told.contains(
            "; tls.cipherSuites: none of TLS 1.2 is left, so that TLS 1.3 alone is offered"
        ),
        "{told}"
    );
    assert_eq!(params["tls_minimum_protocol_version"], json!("TLSv1_3"));

    // Nothing can be agreed on.
    for (fields, fault) in [
        (
            json!({"cipherSuites": ["AES128-SHA"], "maxProtocolVersion": "TLSV1_2"}),
            "tls.cipherSuites: none of these is offered, and maxProtocolVersion leaves out TLS 1.3; the server takes no connections",
        ),
        (
            json!({"ecdhCurves": ["P-521"]}),
            "tls.ecdhCurves: none of these is offered; use X25519, P-256, P-384 or X25519MLKEM768; the server takes no connections",
        ),
    ] {
        let (told, params) = message(&tls(&fields));
        assert!(told.starts_with(fault), "{told}");
        assert!(told.contains(" is left out: "), "{told}");
        assert_eq!(params, Value::Null, "there is no chain");
    }
}
