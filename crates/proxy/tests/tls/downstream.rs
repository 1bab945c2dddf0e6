//! What clients see of terminated TLS.

use serde_json::json;
use tidegate_proxy::config::Bootstrap;
use tidegate_testing::ca::Ca;
use tidegate_testing::client::{self, Client};
use tidegate_testing::origin::{Origin, echo, stream_back};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::setup::{
    Running, bootstrap, certificate, cluster, http_chain, http_chain_to, serving, serving_secret,
    tcp_chain,
};

#[tokio::test]
async fn chains_are_chosen_by_server_name() {
    let ca = Ca::new("root");
    let (a, b) = (ca.issue(&["a.example"]), ca.issue(&["*.b.example"]));
    let running = Running::start(&bootstrap(
        &[
            http_chain(&["a.example"], &serving(&a), "a"),
            http_chain(&["*.b.example"], &serving(&b), "b"),
        ],
        &[],
        &[],
    ))
    .await;
    for (name, expected) in [("a.example", "a"), ("x.b.example", "b")] {
        let answer = running.get(name, ca.client_config(&["http/1.1"])).await.expect("an answer");
        assert_eq!((answer.status, answer.text().as_str()), (200, expected));
    }
    assert!(running.get("c.example", ca.client_config(&[])).await.is_err());
    running.counts("listener.tls.ssl.handshake", 2).await;
    running.counts("listener.tls.ssl.versions.TLSv1.3", 2).await;
    running.counts("listener.tls.ssl.no_certificate", 2).await;
    running.counts("listener.tls.no_filter_chain_match", 1).await;
}

#[tokio::test]
async fn requests_and_large_bodies_pass_to_a_plain_origin() {
    let ca = Ca::new("root");
    let identity = ca.issue(&["a.example"]);
    let origin = Origin::start().http(stream_back).await;
    let route = json!({"route": {"cluster": "origin"}});
    let running = Running::start(&bootstrap(
        &[http_chain_to(&[], &serving(&identity), &route)],
        &[cluster("origin", origin.address())],
        &[],
    ))
    .await;
    for size in [0, 1, 8 * 1024, 16 * 1024, 100_000, 3_000_000] {
        // An answer that begins inside its request ends the connection.
        let config = ca.client_config(&["http/1.1"]);
        let stream = client::tls(running.address, "a.example", config).await;
        let mut client = Client::over(stream.expect("connected"));
        let body = vec![b'x'; size];
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n")).await;
        client.send(&body).await;
        let answer = client.response().await;
        assert!(answer.status == 200 && answer.body == body, "{size} bytes");
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn upstreams_are_told_that_it_was_https() {
    let ca = Ca::new("root");
    let identity = ca.issue(&["a.example"]);
    let origin = Origin::start().http(echo).await;
    let route = json!({"route": {"cluster": "origin"}});
    let running = Running::start(&bootstrap(
        &[http_chain_to(&[], &serving(&identity), &route)],
        &[cluster("origin", origin.address())],
        &[],
    ))
    .await;
    let answer =
        running.get("a.example", ca.client_config(&["http/1.1"])).await.expect("an answer");
    let text = answer.text();
    assert!(text.contains("x-forwarded-proto") && text.contains("https"), "{text}");
}

#[tokio::test]
async fn bytes_pass_to_a_plain_origin_and_the_end_is_passed_on() {
    let ca = Ca::new("root");
    let identity = ca.issue(&["a.example"]);
    let origin = Origin::start().echo_bytes().await;
    let running = Running::start(&bootstrap(
        &[tcp_chain(&serving(&identity), "origin")],
        &[cluster("origin", origin.address())],
        &[],
    ))
    .await;
    let stream = client::tls(running.address, "a.example", ca.client_config(&[])).await;
    let (mut read, mut write) = tokio::io::split(stream.expect("connected"));
    let sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    let send = async {
        write.write_all(&sent).await?;
        write.shutdown().await
    };
    let mut received = Vec::new();
    let (written, ended) = tokio::join!(send, read.read_to_end(&mut received));
    written.expect("written");
    // Not `UnexpectedEof`: the end was said.
    ended.expect("a clean end");
    assert!(received == sent);
}

#[tokio::test]
async fn a_fault_in_a_chains_context_closes_that_chain_only() {
    let ca = Ca::new("root");
    let mut faulty = serving(&ca.issue(&["b.example"]));
    faulty["common_tls_context"]["tls_params"] = json!({"ecdh_curves": ["X448"]});
    let a = http_chain(&["a.example"], &serving(&ca.issue(&["a.example"])), "a");
    let mut running = Running::start(&bootstrap(std::slice::from_ref(&a), &[], &[])).await;
    let both = bootstrap(&[a, http_chain(&["b.example"], &faulty, "b")], &[], &[]);
    let both = Bootstrap::load(&both).expect("a bootstrap").update.upsert;
    let outcome = running.apply(both, Vec::new()).await;
    let paths: Vec<_> = outcome.rejected.iter().map(|each| &*each.path).collect();
    let path =
        "filter_chains[1].transport_socket.typed_config.common_tls_context.tls_params.ecdh_curves";
    assert_eq!(paths, [path]);
    assert!(!outcome.rejected[0].serves_on, "this form is served");
    let config = || ca.client_config(&["http/1.1"]);
    assert_eq!(running.get("a.example", config()).await.expect("an answer").text(), "a");
    assert!(running.get("b.example", config()).await.is_err());
    let refused = "listener.tls.server_ssl_socket_factory.downstream_context_secrets_not_ready";
    running.counts(refused, 1).await;
}

#[tokio::test]
async fn a_missing_secret_closes_its_own_chain_only() {
    let ca = Ca::new("root");
    let identity = ca.issue(&["a.example"]);
    let mut running = Running::start(&bootstrap(
        &[
            http_chain(&["a.example"], &serving(&identity), "a"),
            http_chain(&["b.example"], &serving_secret("kubernetes://b"), "b"),
        ],
        &[],
        &[],
    ))
    .await;
    let config = || ca.client_config(&["http/1.1"]);
    assert!(running.get("b.example", config()).await.is_err());
    assert_eq!(running.get("a.example", config()).await.expect("an answer").text(), "a");
    let secret = json!({
        "name": "kubernetes://b",
        "tls_certificate": certificate(&ca.issue(&["b.example"])),
    });
    let outcome = running.put_secret(&secret).await;
    assert!(outcome.rejected.is_empty(), "{:?}", outcome.rejected);
    assert_eq!(running.get("b.example", config()).await.expect("an answer").text(), "b");
}

/// As by Envoy: what is asked of certificates is asked of everybody, unless any issuer will do.
#[tokio::test]
async fn names_and_pins_are_asked_of_clients_without_a_certificate_too() {
    let ca = Ca::new("root");
    let (identity, client) = (ca.issue(&["a.example"]), ca.issue(&["client"]));
    let pin: String = client.digest().iter().map(|byte| format!("{byte:02x}")).collect();
    let named = json!({ "match_subject_alt_names": [{ "exact": "client" }] });
    let pinned = json!({ "verify_certificate_hash": [pin] });
    let any =
        json!({ "trust_chain_verification": "ACCEPT_UNTRUSTED", "verify_certificate_hash": [pin] });
    for (asked, without) in [(json!({}), true), (named, false), (pinned, false), (any, true)] {
        let mut tls = serving(&identity);
        tls["require_client_certificate"] = json!(false);
        let validation = &mut tls["common_tls_context"]["validation_context"];
        *validation = asked.clone();
        validation["trusted_ca"] = json!({ "inline_string": ca.pem() });
        let chain = http_chain(&[], &tls, "hello");
        let running = Running::start(&bootstrap(&[chain], &[], &[])).await;
        let answer = running.get("a.example", ca.client_config_with(&client, &["http/1.1"])).await;
        assert_eq!(answer.expect("an answer").text(), "hello", "{asked}");
        let answer = running.get("a.example", ca.client_config(&["http/1.1"])).await;
        assert_eq!(answer.is_ok(), without, "{asked}: {answer:?}");
    }
}

#[tokio::test]
async fn http_2_is_served_by_alpn() {
    let ca = Ca::new("root");
    let identity = ca.issue(&["a.example"]);
    let running =
        Running::start(&bootstrap(&[http_chain(&[], &serving(&identity), "two")], &[], &[])).await;
    let stream = client::tls(running.address, "a.example", ca.client_config(&["h2"])).await;
    let (mut send, connection) =
        h2::client::handshake(stream.expect("connected")).await.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    for _ in 0..3 {
        let request = http::Request::get("https://a.example/").body(()).expect("a request");
        let (answer, _) = send.send_request(request, true).expect("a stream");
        let answer = answer.await.expect("an answer");
        assert_eq!(answer.status(), 200);
        let body = answer.into_body().data().await.expect("a body").expect("read");
        assert_eq!(&body[..], b"two");
    }
    drop(send);
    connection.await.expect("ended").expect("well");
}
