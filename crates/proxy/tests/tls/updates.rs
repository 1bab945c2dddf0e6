//! Certificates that change while they are in use.

use serde_json::{Value, json};
use tidegate_proxy::config::{Applier, Bootstrap};
use tidegate_testing::ca::{Ca, Identity};
use tidegate_testing::client::{self, Client};

use super::setup::{Running, bootstrap, certificate, http_chain, serving, serving_secret};

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
    let rejected = &outcome.rejected[0];
    assert_eq!(rejected.path, "tls_certificate.private_key");
    assert!(rejected.reason.contains("the key is not that of"), "{}", rejected.reason);
    assert_eq!(outcome.verdict.rejected.len(), 1);
    assert!(running.get("a.example", ca.client_config(&[])).await.is_ok(), "the old one serves on");

    // Said once; and of what never was good, nothing serves on.
    broken["name"] = json!("t");
    let outcome = running.put_secret(&broken).await;
    let told: Vec<_> = outcome.rejected.iter().map(|told| (&*told.name, told.serves_on)).collect();
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

/// A certificate that expired, and one that did not, for the same name.
fn expired_and_valid(ca: &Ca) -> (Value, Value) {
    let of = |identity: &Identity| json!({"name": "s", "tls_certificate": certificate(identity)});
    (of(&ca.issue_expired(&["a.example"])), of(&ca.issue(&["a.example"])))
}

#[tokio::test]
async fn an_expired_certificate_replaces_none_that_is_valid() {
    let ca = Ca::new("root");
    let (expired, valid) = expired_and_valid(&ca);
    let chain = http_chain(&[], &serving_secret("s"), "answer");
    let mut running = Running::start(&bootstrap(&[chain], &[], std::slice::from_ref(&valid))).await;
    let outcome = running.put_secret(&expired).await;
    let refused = &outcome.rejected[0];
    assert!(refused.serves_on);
    assert_eq!(refused.path, "tls_certificate.certificate_chain");
    assert!(refused.reason.contains("expired"), "{}", refused.reason);
    assert!(running.get("a.example", ca.client_config(&[])).await.is_ok());
    running.counts("sds.s.update_success", 1).await;
    running.counts("sds.s.update_rejected", 1).await;
    assert!(running.put_secret(&valid).await.verdict.rejected.is_empty());
}

#[tokio::test]
async fn an_expired_certificate_is_better_than_none() {
    let ca = Ca::new("root");
    let (expired, valid) = expired_and_valid(&ca);
    let chain = http_chain(&[], &serving_secret("s"), "answer");
    let mut running = Running::start(&bootstrap(&[chain], &[], &[])).await;
    for _ in 0..2 {
        // The second replaces one that has expired, too.
        let mut secret = expired.clone();
        secret["tls_certificate"] = certificate(&ca.issue_expired(&["a.example"]));
        let outcome = running.put_secret(&secret).await;
        assert!(outcome.rejected.is_empty(), "{:?}", outcome.rejected);
        let told = &outcome.warnings[0].finding;
        assert_eq!(told.path, "tls_certificate.certificate_chain");
        assert!(told.reason.contains("there is none that is valid"), "{}", told.reason);
        assert_eq!(
            running.get("a.example", ca.client_config_in_2000()).await.expect("an answer").text(),
            "answer"
        );
        assert!(running.get("a.example", ca.client_config(&[])).await.is_err());
    }
    running.counts("server.days_until_first_cert_expiring", 0).await;
    assert!(running.put_secret(&valid).await.warnings.is_empty());
    assert!(running.get("a.example", ca.client_config(&[])).await.is_ok());
    // 4096-01-01.
    let name = "listener.tls.ssl.certificate.s.expiration_unix_time_seconds";
    running.counts(name, 67_090_118_400).await;
}

#[tokio::test]
async fn an_expired_certificate_in_its_context_is_served_and_told() {
    let ca = Ca::new("root");
    let tls = serving(&ca.issue_expired(&["a.example"]));
    let config = Bootstrap::load(&bootstrap(&[http_chain(&[], &tls, "answer")], &[], &[]));
    let mut applier = Applier::new(None);
    let applied = applier.apply(&config.expect("a bootstrap").update);
    assert!(applied.rejected.is_empty(), "{:?}", applied.rejected);
    let told: Vec<_> = applied.warnings.iter().map(|notice| &*notice.finding.reason).collect();
    assert!(told.iter().any(|told| told.contains("expired")), "{told:?}");
}
