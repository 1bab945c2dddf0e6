//! What a Gateway's server and its clients agree on: the kind of key, the version, and whose certificates are meant.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs::cipher_suite::{
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 as CURVE, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 as RSA,
    TLS13_AES_128_GCM_SHA256 as ANY,
};
use rustls::version::{TLS12, TLS13};
use serde_json::{Value, json};
use tidegate_testing::ca::{Ca, Identity};
use tidegate_testing::client::{self, Client};
use tidegate_testing::{PATIENCE, eventually};
use tokio::time::timeout;

use crate::support::handshakes::{put, shown, shows, status};
use crate::support::{Api, Gateway, NETWORKING, WEB, objects};

const HOST: &str = "a.example";

fn server(tls: &Value) -> Value {
    objects::https("https", HOST, tls)
}

/// A gateway with a certificate and these terms.
async fn with(ca: &Ca, more: Value) -> (Gateway, Api) {
    let gateway = Gateway::start(&[]).await;
    let mut api = Api::of(&gateway).await;
    api.create_secret(&objects::certificate("a", &ca.issue(&[HOST]))).await;
    api.create_secret(&objects::authorities("a-cacert", ca)).await;
    api.create("gateways", &objects::gateway_of("web", &[server(&terms(more))])).await;
    (gateway, api)
}

fn terms(more: Value) -> Value {
    let mut tls = json!({ "mode": "SIMPLE", "credentialName": "a" });
    if let (Some(tls), Value::Object(more)) = (tls.as_object_mut(), more) {
        tls.extend(more);
    }
    tls
}

/// Waits until the new terms are served, and these clients are answered, or not.
async fn answer(gateway: &Gateway, api: &mut Api, clients: &[(&Arc<ClientConfig>, bool)]) {
    api.wait_for(WEB, &[("Programmed", "True")]).await;
    for (number, (config, answered)) in clients.iter().enumerate() {
        eventually(PATIENCE, || async {
            match (status(gateway, HOST, config).await, answered) {
                // Nothing is routed.
                (Ok(404), true) | (Err(_), false) => Ok(()),
                (other, _) => Err(format!("client {number}: {other:?}")),
            }
        })
        .await;
    }
}

#[tokio::test]
async fn each_client_gets_the_certificate_of_a_file_that_it_understands() {
    let ca = Ca::new("root");
    let folder = tempfile::tempdir().expect("a folder");
    let pair = |name: &str, leaf: &Identity| {
        let [chain, key] = ["crt", "key"].map(|end| format!("{name}.{end}"));
        put(folder.path(), &[(&chain, &leaf.certificate_pem), (&key, &leaf.key_pem)]);
        let path = |file: String| folder.path().join(file).display().to_string();
        json!({ "serverCertificate": path(chain), "privateKey": path(key) })
    };
    let (curve, rsa) = (ca.issue(&[HOST]), ca.issue_rsa(&[HOST]));
    let files = json!([pair("rsa", &rsa), pair("curve", &curve)]);
    let gateway = Gateway::start(&[]).await;
    let mut api = Api::of(&gateway).await;
    let tls = json!({ "mode": "SIMPLE", "tlsCertificates": files });
    api.create("gateways", &objects::gateway_of("web", &[server(&tls)])).await;
    api.wait_for(WEB, &[("ResolvedRefs", "True"), ("Programmed", "True")]).await;
    shows(&gateway, HOST, &ca.client_config_by(RSA), &rsa).await;
    shows(&gateway, HOST, &ca.client_config_by(CURVE), &curve).await;
    shows(&gateway, HOST, &ca.client_config_by(ANY), &curve).await;
    // Each is followed by itself.
    let next = ca.issue_rsa(&[HOST]);
    pair("rsa", &next);
    shows(&gateway, HOST, &ca.client_config_by(RSA), &next).await;
    shows(&gateway, HOST, &ca.client_config_by(CURVE), &curve).await;
}

#[tokio::test]
async fn each_client_gets_the_certificate_of_a_secret_that_it_understands() {
    let ca = Ca::new("root");
    let hosts = ["a.example", "b.example"];
    let (curve, rsa) = (ca.issue(&hosts), ca.issue_rsa(&hosts));
    let gateway = Gateway::start(&[]).await;
    let mut api = Api::of(&gateway).await;
    api.create_secret(&objects::certificate("curve", &curve)).await;
    api.create_secret(&objects::certificate("rsa", &rsa)).await;
    // Whichever is named first.
    let server = |name: &str, secrets: [&str; 2]| {
        let tls = json!({ "mode": "SIMPLE", "credentialNames": secrets });
        objects::https(name, &format!("{name}.example"), &tls)
    };
    let servers = [server("a", ["curve", "rsa"]), server("b", ["rsa", "curve"])];
    api.create("gateways", &objects::gateway_of("web", &servers)).await;
    api.wait_for(WEB, &[("ResolvedRefs", "True"), ("Programmed", "True")]).await;
    for version in [&TLS12, &TLS13] {
        let clients = [
            (ca.client_config_for_rsa(version), &rsa, "RSA alone"),
            (ca.client_config_of(version, false), &curve, "both kinds of key"),
        ];
        for (client, wanted, words) in clients {
            for host in hosts {
                let shown = shown(&gateway, host, &client).await.expect("a handshake");
                assert!(shown == wanted.certificate, "{host} to {words} in {version:?}");
            }
        }
    }
}

#[tokio::test]
async fn versions_have_a_least_and_a_greatest() {
    let ca = Ca::new("root");
    let (gateway, mut api) = with(&ca, json!({ "maxProtocolVersion": "TLSV1_2" })).await;
    let [old, new] = [&TLS12, &TLS13].map(|version| ca.client_config_of(version, false));
    answer(&gateway, &mut api, &[(&old, true), (&new, false)]).await;
    for (least, greatest, old_one, new_one) in [
        ("TLSV1_3", "TLS_AUTO", false, true),
        ("TLSV1_2", "TLSV1_3", true, true),
        ("TLSV1_2", "TLSV1_2", true, false),
        ("TLSV1_3", "TLSV1_3", false, true),
        ("TLSV1_0", "TLS_AUTO", true, true),
    ] {
        let limits = json!({ "minProtocolVersion": least, "maxProtocolVersion": greatest });
        api.change(WEB, &json!({ "servers": [server(&terms(limits))] })).await;
        answer(&gateway, &mut api, &[(&old, old_one), (&new, new_one)]).await;
    }
    api.tells(WEB, &["minProtocolVersion: versions below TLS 1.2 are not offered"]).await;
    // Nobody can be served so, which is told.
    let limits = json!({ "maxProtocolVersion": "TLSV1_1" });
    api.change(WEB, &json!({ "servers": [server(&terms(limits))] })).await;
    api.tells(WEB, &["maxProtocolVersion: versions below TLS 1.2 are not offered"]).await;
    for config in [old, new] {
        status(&gateway, HOST, &config).await.expect_err("no version is left");
    }
}

#[tokio::test]
async fn certificates_of_clients_are_pinned_by_their_hash_and_by_that_of_their_key() {
    let ca = Ca::new("root");
    let (gateway, mut api) = with(&ca, json!({ "mode": "MUTUAL" })).await;
    let identities = ["one", "two", "three"].map(|name| ca.issue(&[name]));
    let [one, two, three] = [0, 1, 2].map(|n| ca.client_config_with(&identities[n], &[]));
    answer(&gateway, &mut api, &[(&one, true), (&two, true), (&three, true)]).await;
    let pairs =
        |identity: &Identity| identity.digest().iter().map(|b| format!("{b:02x}")).collect();
    let bytes: Vec<String> = pairs(&identities[0]);
    let (whole, colons) = (bytes.concat(), bytes.join(":").to_uppercase());
    let key = STANDARD.encode(identities[1].key_digest());
    for (pins, accepted) in [
        (json!({ "verifyCertificateHash": [whole] }), [true, false, false]),
        (json!({ "verifyCertificateHash": [colons] }), [true, false, false]),
        (json!({ "verifyCertificateSpki": [key] }), [false, true, false]),
        // Either will do.
        (
            json!({ "verifyCertificateHash": [whole], "verifyCertificateSpki": [key] }),
            [true, true, false],
        ),
    ] {
        let mut tls = terms(pins);
        tls["mode"] = json!("MUTUAL");
        api.change(WEB, &json!({ "servers": [server(&tls)] })).await;
        let clients = [(&one, accepted[0]), (&two, accepted[1]), (&three, accepted[2])];
        answer(&gateway, &mut api, &clients).await;
    }
    // Who has the right key and another authority is nobody.
    let stranger = Ca::new("stranger").issue(&["one"]);
    let key = STANDARD.encode(stranger.key_digest());
    let mut tls = terms(json!({ "mode": "MUTUAL", "verifyCertificateSpki": [key] }));
    api.change(WEB, &json!({ "servers": [server(&tls)] })).await;
    let config = ca.client_config_with(&stranger, &[]);
    answer(&gateway, &mut api, &[(&one, false), (&config, false)]).await;
    // Who may have no certificate has to have one where something is asked of it.
    let pin = json!([whole]);
    let optional = |pins: Value| {
        let mut tls = terms(json!({ "verifyCertificateHash": pins }));
        tls["mode"] = json!("OPTIONAL_MUTUAL");
        json!({ "servers": [server(&tls)] })
    };
    let none = ca.client_config(&[]);
    api.change(WEB, &optional(json!([]))).await;
    answer(&gateway, &mut api, &[(&one, true), (&two, true), (&none, true)]).await;
    api.change(WEB, &optional(pin)).await;
    answer(&gateway, &mut api, &[(&one, true), (&two, false), (&none, false)]).await;
    api.tells(WEB, &["tls.mode: a client without a certificate is sent away"]).await;
    // What is no hash closes the server, and is told.
    tls["verifyCertificateSpki"] = json!(["AAAA"]);
    api.change(WEB, &json!({ "servers": [server(&tls)] })).await;
    api.tells(WEB, &["verifyCertificateSpki: \\\"AAAA\\\" is no SHA-256"]).await;
    status(&gateway, HOST, &one).await.expect_err("closed");
}

/// A request that nothing takes is logged for what it is, however its connection came.
#[tokio::test]
async fn no_route_is_logged_alike_with_a_server_name_and_without() {
    let ca = Ca::new("root");
    let gateway = Gateway::start(&[]).await;
    let mut api = Api::of(&gateway).await;
    let leaf = ca.issue(&["a.example", "m.example", "127.0.0.1"]);
    let mut both = objects::certificate("both", &leaf);
    both["data"]["ca.crt"] = STANDARD.encode(ca.pem()).into();
    api.create_secret(&both).await;
    let [simple, mutual] =
        [("SIMPLE", "a.example"), ("MUTUAL", "m.example")].map(|(mode, host)| {
            objects::https(host, host, &json!({ "mode": mode, "credentialName": "both" }))
        });
    api.create("gateways", &objects::gateway_of("web", &[simple, mutual])).await;
    for (name, host) in [("a", "a.example"), ("m", "m.example")] {
        let rule = json!([{ "match": [{ "uri": { "prefix": "/api" } }], "directResponse": { "status": 299 } }]);
        api.create("virtualservices", &objects::rules(name, "web", host, &rule)).await;
        api.wait_for(&format!("{NETWORKING}/virtualservices/{name}"), &[("Programmed", "True")])
            .await;
    }
    let client = ca.client_config_with(&ca.issue(&["client.example"]), &[]);
    // Of an address there is no server name (RFC 6066, section 3).
    let cases = [("a.example", "a.example"), ("m.example", "m.example")];
    let nameless = cases.map(|(_, host)| ("127.0.0.1", host));
    let unknown = [("a.example", "x.example"), ("127.0.0.1", "x.example")];
    let all = cases.into_iter().chain(nameless).chain(unknown);
    for (number, (name, host)) in all.enumerate() {
        let stream = client::tls(gateway.https, name, Arc::clone(&client)).await;
        let mut client = Client::over(stream.expect("a handshake"));
        client.send(format!("GET /none/{number} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(client.read(false).await.expect("an answer").status, 404, "{name} {host}");
        let line = format!("\"GET /none/{number} HTTP/1.1\" 404 NR route_not_found");
        gateway.process.stdout().containing(&line).await;
    }
}

/// What is wrong with the server of another tenant changes nothing for clients of the others that name no server.
#[tokio::test]
async fn faults_of_one_server_change_nothing_for_others_without_a_server_name() {
    let ca = Ca::new("root");
    let gateway = Gateway::start(&[]).await;
    let mut api = Api::of(&gateway).await;
    let leaf = ca.issue(&["a.example", "m.example", "127.0.0.1"]);
    let mut both = objects::certificate("both", &leaf);
    both["data"]["ca.crt"] = STANDARD.encode(ca.pem()).into();
    api.create_secret(&both).await;
    // The oldest cannot hold a handshake.
    let weak = json!({
        "mode": "SIMPLE", "credentialName": "both", "cipherSuites": ["AES128-SHA"], "maxProtocolVersion": "TLSV1_2",
    });
    let weak = objects::https("weak", "w.example", &weak);
    api.create("gateways", &objects::gateway_of("weak", &[weak])).await;
    let weak = format!("{NETWORKING}/gateways/weak");
    api.tells(&weak, &["servers[0] (port 443): tls.cipherSuites: none of these is offered"]).await;
    let [simple, mutual] =
        [("SIMPLE", "a.example"), ("MUTUAL", "m.example")].map(|(mode, host)| {
            objects::https(host, host, &json!({ "mode": mode, "credentialName": "both" }))
        });
    api.create("gateways", &objects::gateway_of("web", &[simple, mutual])).await;
    for (name, host) in [("a", "a.example"), ("m", "m.example")] {
        let rule = json!([{ "directResponse": { "status": 299 } }]);
        api.create("virtualservices", &objects::rules(name, "web", host, &rule)).await;
        api.wait_for(&format!("{NETWORKING}/virtualservices/{name}"), &[("Programmed", "True")])
            .await;
    }
    let [known, unknown] =
        [ca.client_config_with(&ca.issue(&["client.example"]), &[]), ca.client_config(&[])];
    let answers = async |host: &str| {
        let mut answers = Vec::new();
        for config in [&known, &unknown] {
            // Of an address there is no server name (RFC 6066, section 3).
            let stream = client::tls(gateway.https, "127.0.0.1", Arc::clone(config)).await;
            let mut client = Client::over(stream.expect("a handshake"));
            client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
            answers.push(client.read(false).await.expect("an answer").status);
        }
        answers
    };
    for missing in [false, true] {
        if missing {
            let tls = json!({ "mode": "SIMPLE", "credentialName": "none" });
            let server = objects::https("x", "x.example", &tls);
            api.create("gateways", &objects::gateway_of("other", &[server])).await;
            let other = format!("{NETWORKING}/gateways/other");
            api.wait_for(&other, &[("ResolvedRefs", "False"), ("Programmed", "False")]).await;
            assert_eq!(answers("x.example").await, [421, 421], "its own hosts are closed");
        }
        assert_eq!(answers("a.example").await, [299, 299], "{missing}");
        assert_eq!(answers("m.example").await, [299, 403], "{missing}");
        assert_eq!(answers("w.example").await, [421, 421], "{missing}");
    }
}

/// Beside a server for every name, connections without a server name are routed by Host, and what demands a certificate is
/// answered only with one.
#[tokio::test]
async fn a_server_for_every_name_shares_its_connections_with_hosts_that_demand_a_certificate() {
    let ca = Ca::new("root");
    let gateway = Gateway::start(&[]).await;
    let mut api = Api::of(&gateway).await;
    let leaf = ca.issue(&["a.example", "m.example", "x.example", "127.0.0.1"]);
    let mut both = objects::certificate("both", &leaf);
    both["data"]["ca.crt"] = STANDARD.encode(ca.pem()).into();
    api.create_secret(&both).await;
    let servers = |modes: [(&str, &str); 3]| {
        let server = |(mode, host): (&str, &str)| {
            let name = host.replace('*', "all");
            objects::https(&name, host, &json!({ "mode": mode, "credentialName": "both" }))
        };
        modes.map(server)
    };
    let simple = servers([("SIMPLE", "*"), ("MUTUAL", "m.example"), ("SIMPLE", "a.example")]);
    api.create("gateways", &objects::gateway_of("web", &simple)).await;
    for name in ["a", "m", "x"] {
        let rule = json!([{ "directResponse": { "status": 299 } }]);
        let host = format!("{name}.example");
        api.create("virtualservices", &objects::rules(name, "web", &host, &rule)).await;
        api.wait_for(&format!("{NETWORKING}/virtualservices/{name}"), &[("Programmed", "True")])
            .await;
    }
    let stranger = Ca::new("stranger").issue(&["client.example"]);
    let [known, unknown, wrong] = [
        ca.client_config_with(&ca.issue(&["client.example"]), &[]),
        ca.client_config(&[]),
        ca.client_config_with(&stranger, &[]),
    ];
    let asked = async |name: &str, host: &str, config: &Arc<ClientConfig>| {
        // Of an address there is no server name (RFC 6066, section 3).
        let stream = client::tls(gateway.https, name, Arc::clone(config)).await.ok()?;
        let mut client = Client::over(stream);
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        Some(client.read(false).await.ok()?.status)
    };
    let none = "127.0.0.1";
    let (a, m, x) = ("a.example", "m.example", "x.example");
    for (name, host, expected) in [
        // Without a certificate, with the right one, and with one of another authority, which no handshake takes that asks.
        (none, a, [Some(299), Some(299), None]),
        (none, x, [Some(299), Some(299), None]),
        (none, m, [Some(403), Some(299), None]),
        (x, x, [Some(299), Some(299), None]),
        (x, m, [Some(421), Some(299), None]),
        (m, m, [None, Some(299), None]),
        (m, x, [None, Some(421), None]),
        (a, m, [Some(421), Some(421), Some(421)]),
        (a, x, [Some(299), Some(299), Some(299)]),
    ] {
        for (config, expected) in [&unknown, &known, &wrong].into_iter().zip(expected) {
            assert_eq!(asked(name, host, config).await, expected, "{name} {host}");
        }
    }
    // The one for every name demands it of all who name a server.
    let mutual = servers([("MUTUAL", "*"), ("MUTUAL", "m.example"), ("SIMPLE", "a.example")]);
    api.change(WEB, &json!({ "servers": mutual })).await;
    api.wait_for(WEB, &[("Programmed", "True")]).await;
    eventually(PATIENCE, || async {
        match asked(x, x, &unknown).await {
            None => Ok(()),
            status => Err(format!("{status:?}")),
        }
    })
    .await;
    for (name, host, expected) in [
        (none, a, [Some(299), Some(299), None]),
        (none, x, [Some(403), Some(299), None]),
        (none, m, [Some(403), Some(299), None]),
        (x, x, [None, Some(299), None]),
        (x, a, [None, Some(299), None]),
        (a, a, [Some(299), Some(299), Some(299)]),
        (a, x, [Some(421), Some(421), Some(421)]),
    ] {
        for (config, expected) in [&unknown, &known, &wrong].into_iter().zip(expected) {
            assert_eq!(asked(name, host, config).await, expected, "{name} {host}");
        }
    }
}

/// A browser sends requests for every host of a certificate on the connection that it has (RFC 9113, section 9.1.1).
#[tokio::test]
async fn one_connection_carries_hosts_of_two_gateways_with_one_certificate() {
    let ca = Ca::new("root");
    let gateway = Gateway::start(&[]).await;
    let mut api = Api::of(&gateway).await;
    let leaf = ca.issue(&["a.example", "b.example", "m.example"]);
    let mut both = objects::certificate("both", &leaf);
    both["data"]["ca.crt"] = STANDARD.encode(ca.pem()).into();
    api.create_secret(&both).await;
    for (name, mode) in [("a", "SIMPLE"), ("b", "SIMPLE"), ("m", "MUTUAL")] {
        let host = format!("{name}.example");
        let server =
            objects::https(name, &host, &json!({ "mode": mode, "credentialName": "both" }));
        api.create("gateways", &objects::gateway_of(name, &[server])).await;
        let rule = json!([{ "directResponse": { "status": 299 } }]);
        api.create("virtualservices", &objects::rules(name, name, &host, &rule)).await;
        api.wait_for(&format!("{NETWORKING}/virtualservices/{name}"), &[("Programmed", "True")])
            .await;
    }
    let stream = client::tls(gateway.https, "a.example", ca.client_config(&["h2"])).await;
    let (send, connection) =
        h2::client::handshake(stream.expect("a handshake")).await.expect("a connection");
    let connection = tokio::spawn(connection);
    for (host, expected) in
        [("a.example", 299), ("b.example", 299), ("m.example", 421), ("b.example", 299)]
    {
        let request = http::Request::get(format!("https://{host}/")).body(()).expect("a request");
        let mut send = send.clone().ready().await.expect("it is open");
        let (answer, _) = send.send_request(request, true).expect("sent");
        let answer = timeout(PATIENCE, answer).await.expect("in time").expect("an answer");
        assert_eq!(answer.status(), expected, "{host}");
    }
    assert!(!connection.is_finished());
}
