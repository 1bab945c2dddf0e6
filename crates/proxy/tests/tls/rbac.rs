//! Who may connect: network RBAC filters before handshakes and after them.

use serde_json::{Value, json};
use tidegate_testing::ca::Ca;
use tidegate_testing::client::{self, Client};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::setup::{Running, bootstrap, certificate, http_chain, serving};

/// The chain with a filter before its others that allows only this.
fn allowing(mut chain: Value, permission: &Value, principal: &Value) -> Value {
    let filter = json!({"name": "envoy.filters.network.rbac", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC",
        "stat_prefix": "gate",
        "rules": {"policies": {"p": {"permissions": [permission], "principals": [principal]}}},
    }});
    if let Some(filters) = chain["filters"].as_array_mut() {
        filters.insert(0, filter);
    }
    chain
}

#[tokio::test]
async fn a_default_chain_for_clients_without_a_server_name_only() {
    let ca = Ca::new("root");
    let (named, fallback) = (ca.issue(&["a.example"]), ca.issue(&["127.0.0.1"]));
    let nameless = json!({"requested_server_name": {"exact": ""}});
    let any = json!({"any": true});
    let mut config = bootstrap(&[http_chain(&["a.example"], &serving(&named), "named")], &[], &[]);
    let listener = &mut config["static_resources"]["listeners"][0];
    listener["default_filter_chain"] =
        allowing(http_chain(&[], &serving(&fallback), "nameless"), &nameless, &any);
    let running = Running::start(&config).await;
    for (name, expected) in [("a.example", "named"), ("127.0.0.1", "nameless")] {
        let answer = running.get(name, ca.client_config(&["http/1.1"])).await.expect("an answer");
        assert_eq!(answer.text(), expected);
    }
    running.counts("gate.rbac.allowed", 1).await;
    running.counts("listener.tls.ssl.handshake", 2).await;

    // Refused as by a listener that has no chain for it: before a byte of a handshake is answered.
    let mut refused = TcpStream::connect(running.address).await.expect("connected");
    let name = "b.example".try_into().expect("a name");
    let mut session = rustls::ClientConnection::new(ca.client_config(&[]), name).expect("a client");
    let mut hello = Vec::new();
    session.write_tls(&mut hello).expect("a hello");
    refused.write_all(&hello).await.expect("sent");
    let mut answer = Vec::new();
    let _ = refused.read_to_end(&mut answer).await;
    assert_eq!(answer, b"");
    running.counts("gate.rbac.denied", 1).await;
    running.counts("listener.tls.ssl.handshake", 2).await;
    running.counts("listener.tls.downstream_cx_active", 0).await;
}

#[tokio::test]
async fn the_name_in_a_clients_certificate_decides_after_the_handshake() {
    let (ca, clients) = (Ca::new("root"), Ca::new("clients"));
    let mut tls = serving(&ca.issue(&["a.example"]));
    tls["common_tls_context"]["validation_context"] =
        json!({"trusted_ca": {"inline_string": clients.pem()}});
    let wanted = json!({"authenticated": {"principal_name": {"exact": "good.example"}}});
    let chain = allowing(http_chain(&[], &tls, "in"), &json!({"any": true}), &wanted);
    let running = Running::start(&bootstrap(&[chain], &[], &[])).await;
    for (name, expected) in
        [(Some("good.example"), Some("in")), (Some("bad.example"), None), (None, None)]
    {
        let identity = name.map(|name| clients.issue(&[name]));
        let config = match &identity {
            Some(identity) => ca.client_config_with(identity, &["http/1.1"]),
            None => ca.client_config(&["http/1.1"]),
        };
        let answer = running.get("a.example", config).await.ok().map(|answer| answer.text());
        assert_eq!(answer.as_deref(), expected, "{name:?}");
    }
    running.counts("gate.rbac.denied", 2).await;
    running.counts("listener.tls.ssl.handshake", 3).await;
}

#[tokio::test]
async fn requests_are_judged_by_the_clients_certificate() {
    let (ca, clients) = (Ca::new("root"), Ca::new("clients"));
    let mut tls = serving(&ca.issue(&["a.example"]));
    tls["common_tls_context"]["tls_certificates"] = json!([certificate(&ca.issue(&["a.example"]))]);
    tls["common_tls_context"]["validation_context"] =
        json!({"trusted_ca": {"inline_string": clients.pem()}});
    let mut chain = http_chain(&[], &tls, "in");
    let rule = json!({
        "permissions": [{"url_path": {"path": {"exact": "/x"}}}],
        "principals": [{"authenticated": {"principal_name": {"suffix": ".example"}}}],
    });
    let filters = &mut chain["filters"][0]["typed_config"]["http_filters"];
    if let Some(filters) = filters.as_array_mut() {
        filters.insert(
            0,
            json!({"name": "envoy.filters.http.rbac", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
                "rules": {"policies": {"p": rule}},
            }}),
        );
    }
    let running = Running::start(&bootstrap(&[chain], &[], &[])).await;
    let identity = clients.issue(&["good.example"]);
    for (config, path, expected) in [
        (ca.client_config_with(&identity, &["http/1.1"]), "/x", 200),
        (ca.client_config_with(&identity, &["http/1.1"]), "/y", 403),
        (ca.client_config(&["http/1.1"]), "/x", 403),
    ] {
        let stream = client::tls(running.address, "a.example", config).await.expect("connected");
        let answer = Client::over(stream)
            .request(format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n"))
            .await;
        assert_eq!(answer.status, expected, "{path}");
    }
    running.counts("http.hcm.rbac.allowed", 1).await;
    running.counts("http.hcm.rbac.denied", 2).await;
}
