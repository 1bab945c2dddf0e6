//! TLS towards origins.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tidegate_testing::ca::Ca;
use tidegate_testing::client::{self, Client};
use tidegate_testing::origin::{Origin, echo};

use super::setup::{
    Running, bootstrap, certificate, cluster, http_chain_to, serving, socket, tcp_chain,
};

/// A cluster that speaks TLS as `context` says; `options` are its HTTP options.
fn secure(address: SocketAddr, context: &Value, http2: bool, options: &Value) -> Value {
    let mut cluster = cluster("origin", address);
    cluster["transport_socket"] = socket("Upstream", context);
    let protocol = if http2 { "http2_protocol_options" } else { "http_protocol_options" };
    cluster["typed_extension_protocol_options"] = json!({
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {protocol: {}},
            "upstream_http_protocol_options": options,
        },
    });
    cluster
}

/// A context that trusts an authority.
fn trusting(ca: &Ca) -> Value {
    json!({"common_tls_context": {
        "validation_context": {"trusted_ca": {"inline_string": ca.pem()}},
    }})
}

/// What a client gets through a proxy with this cluster, asking for `host`.
async fn answer(cluster: Value, hosts: &[&str]) -> Vec<client::Response> {
    let ca = Ca::new("front");
    let tls = serving(&ca.issue(&["front.example"]));
    let chain = http_chain_to(&[], &tls, &json!({"route": {"cluster": "origin"}}));
    let running = Running::start(&bootstrap(&[chain], &[cluster], &[])).await;
    let stream =
        client::tls(running.address, "front.example", ca.client_config(&["http/1.1"])).await;
    let mut client = Client::over(stream.expect("connected"));
    let mut answers = Vec::new();
    for host in hosts {
        answers.push(client.request(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await);
    }
    answers
}

#[tokio::test]
async fn an_origin_is_verified_by_its_chain() {
    let (ca, other) = (Ca::new("root"), Ca::new("other"));
    let origin = Origin::start().tls(&ca.issue(&["a.example"])).http(echo).await;
    let nothing = json!({});
    for (trusted, expected) in [(&ca, 200), (&other, 503)] {
        let cluster = secure(origin.address(), &trusting(trusted), false, &nothing);
        let answers = answer(cluster, &["a.example"]).await;
        assert_eq!(answers[0].status, expected, "{}", answers[0].text());
    }
    let mut lax = trusting(&other);
    lax["common_tls_context"]["validation_context"]["trust_chain_verification"] =
        json!("ACCEPT_UNTRUSTED");
    let answers = answer(secure(origin.address(), &lax, false, &nothing), &["a.example"]).await;
    assert_eq!(answers[0].status, 200);
}

#[tokio::test]
async fn the_host_is_asked_for_and_its_name_looked_at() {
    let ca = Ca::new("root");
    let origin = Origin::start().tls(&ca.issue(&["a.example", "127.0.0.1"])).http(echo).await;
    let automatic = json!({"auto_sni": true, "auto_san_validation": true});
    for http2 in [false, true] {
        let origin = if http2 { Origin::start().http2() } else { Origin::start() };
        let origin = origin.tls(&ca.issue(&["a.example", "127.0.0.1"])).http(echo).await;
        let cluster = secure(origin.address(), &trusting(&ca), http2, &automatic);
        let hosts = ["a.example", "b.example", "a.example:443", "127.0.0.1", "a.example"];
        let answers = answer(cluster, &hosts).await;
        let found: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(found, [200, 503, 200, 200, 200], "HTTP/2: {http2}");
        // One connection for each host that is one, and the one that was refused.
        assert_eq!(origin.connections(), 3, "HTTP/2: {http2}");
    }
    let mut fixed = trusting(&ca);
    fixed["sni"] = json!("a.example");
    let names = json!([{"san_type": "DNS", "matcher": {"exact": "c.example"}}]);
    let plain = secure(origin.address(), &fixed, false, &json!({}));
    assert_eq!(answer(plain, &["b.example"]).await[0].status, 200, "no name is looked at");
    fixed["common_tls_context"]["validation_context"]["match_typed_subject_alt_names"] = names;
    let named = secure(origin.address(), &fixed, false, &json!({}));
    assert_eq!(answer(named, &["a.example"]).await[0].status, 503);
}

#[tokio::test]
async fn the_only_connection_makes_room_for_another_host() {
    let ca = Ca::new("root");
    for http2 in [false, true] {
        let origin = if http2 { Origin::start().http2() } else { Origin::start() };
        let origin = origin.tls(&ca.issue(&["a.example", "b.example"])).http(echo).await;
        let automatic = json!({"auto_sni": true});
        let mut cluster = secure(origin.address(), &trusting(&ca), http2, &automatic);
        cluster["circuit_breakers"] = json!({"thresholds": [{"max_connections": 1}]});
        let answers = answer(cluster, &["a.example", "b.example", "a.example"]).await;
        let found: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(found, [200; 3], "HTTP/2: {http2}");
        assert_eq!(origin.connections(), 3, "HTTP/2: {http2}");
    }
}

#[tokio::test]
async fn our_certificate_is_shown() {
    let (ca, other) = (Ca::new("root"), Ca::new("other"));
    let server_identity = ca.issue(&["a.example"]);
    // Our own proxy is the origin that demands a certificate.
    let demanding = json!({
        "common_tls_context": {
            "tls_certificates": [certificate(&server_identity)],
            "validation_context": {"trusted_ca": {"inline_string": ca.pem()}},
        },
        "require_client_certificate": true,
    });
    let direct = json!({"direct_response": {"status": 200, "body": {"inline_string": "in"}}});
    let origin =
        Running::start(&bootstrap(&[http_chain_to(&[], &demanding, &direct)], &[], &[])).await;
    for (shown, expected) in [(None, 503), (Some(&ca), 200), (Some(&other), 503)] {
        let mut context = trusting(&ca);
        if let Some(issuer) = shown {
            context["common_tls_context"]["tls_certificates"] =
                json!([certificate(&issuer.issue(&["client.example"]))]);
        }
        let cluster = secure(origin.address, &context, false, &json!({}));
        let answers = answer(cluster, &["a.example", "a.example"]).await;
        assert_eq!(answers[1].status, expected, "{}", answers[1].text());
    }
    origin.counts("listener.tls.ssl.handshake", 1).await;
}

#[tokio::test]
async fn bytes_pass_to_an_origin_over_tls() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let ca = Ca::new("root");
    let origin = Origin::start().tls(&ca.issue(&["a.example"])).echo_bytes().await;
    let mut context = trusting(&ca);
    context["sni"] = json!("a.example");
    let mut cluster = cluster("origin", origin.address());
    cluster["transport_socket"] = socket("Upstream", &context);
    let tls = serving(&ca.issue(&["front.example"]));
    let running = Running::start(&bootstrap(&[tcp_chain(&tls, "origin")], &[cluster], &[])).await;
    let stream = client::tls(running.address, "front.example", ca.client_config(&[])).await;
    let (mut read, mut write) = tokio::io::split(stream.expect("connected"));
    let sent: Vec<u8> = (0..500_000_u32).map(|n| (n % 251) as u8).collect();
    let send = async {
        write.write_all(&sent).await?;
        write.shutdown().await
    };
    let mut received = Vec::new();
    let (written, ended) = tokio::join!(send, read.read_to_end(&mut received));
    written.expect("written");
    ended.expect("a clean end");
    assert!(received == sent);
}
