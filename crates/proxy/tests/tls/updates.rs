//! Certificates that change while they are in use.

use serde_json::json;
use tidegate_testing::ca::Ca;
use tidegate_testing::client::{self, Client};

use super::setup::{Running, bootstrap, certificate, http_chain, serving_secret};

#[tokio::test]
async fn a_new_certificate_counts_at_once_and_a_broken_one_never() {
    let (ca, next) = (Ca::new("root"), Ca::new("next"));
    let secret = |identity| json!({"name": "s", "tls_certificate": certificate(identity)});
    let (old, new) = (ca.issue(&["a.example"]), next.issue(&["a.example"]));
    let chain = http_chain(&[], &serving_secret("s"), "answer");
    let mut running = Running::start(&bootstrap(&[chain], &[], &[secret(&old)])).await;
    let stream = client::tls(running.address, "a.example", ca.client_config(&[])).await;
    let mut open = Client::over(stream.expect("connected"));
    let ask = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
    assert_eq!(open.request(ask).await.status, 200);

    let mut broken = secret(&new);
    broken["tls_certificate"]["private_key"]["inline_string"] = json!(old.key_pem);
    let outcome = running.put_secret(&broken).await;
    assert!(outcome.rejected[0].serves_on);
    let rejected = &outcome.rejected[0].rejection;
    assert_eq!(rejected.path, "tls_certificate.private_key");
    assert!(rejected.reason.contains("the key is not that of"), "{}", rejected.reason);
    assert_eq!(outcome.verdict.rejected.len(), 1);
    assert!(running.get("a.example", ca.client_config(&[])).await.is_ok(), "the old one serves on");

    // Said once; and of what never was good, nothing serves on.
    broken["name"] = json!("t");
    let outcome = running.put_secret(&broken).await;
    let told: Vec<_> =
        outcome.rejected.iter().map(|told| (&*told.rejection.name, told.serves_on)).collect();
    assert_eq!(told, [("t", false)]);
    assert_eq!(outcome.verdict.rejected.len(), 2);
    broken["tls_certificate"] = secret(&new)["tls_certificate"].clone();
    assert!(running.put_secret(&broken).await.rejected.is_empty());

    let outcome = running.put_secret(&secret(&new)).await;
    assert!(outcome.verdict.rejected.is_empty());
    assert!(running.get("a.example", ca.client_config(&[])).await.is_err());
    assert!(running.get("a.example", next.client_config(&[])).await.is_ok());
    assert_eq!(open.request(ask).await.status, 200, "no connection was dropped");
}

#[tokio::test]
async fn no_handshake_fails_while_certificates_change() {
    let ca = Ca::new("root");
    let secret =
        |ca: &Ca| json!({"name": "s", "tls_certificate": certificate(&ca.issue(&["a.example"]))});
    let chain = http_chain(&[], &serving_secret("s"), "answer");
    let mut running = Running::start(&bootstrap(&[chain], &[], &[secret(&ca)])).await;
    let (address, config) = (running.address, ca.client_config(&[]));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let clients = tokio::spawn(async move {
        let mut shaken = 0;
        while !*stopped.borrow() {
            // Each its own configuration would hide a session that cannot go on.
            let stream = client::tls(address, "a.example", config.clone()).await?;
            let mut client = Client::over(stream);
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
            client.read(false).await?;
            shaken += 1;
        }
        std::io::Result::Ok(shaken)
    });
    for _ in 0..200 {
        let outcome = running.put_secret(&secret(&ca)).await;
        assert!(outcome.rejected.is_empty());
    }
    stop.send(true).expect("the clients run");
    let shaken = clients.await.expect("no panic").expect("no handshake failed");
    assert!(shaken > 0);
}
