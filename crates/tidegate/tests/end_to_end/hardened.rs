//! A Gateway with certificates of both kinds of key, before scanners and clients that are none.

use std::time::Duration;

use serde_json::json;
use tidegate_testing::ca::Ca;
use tidegate_testing::openings;
use tidegate_testing::scan::Scan;
use tidegate_testing::{PATIENCE, eventually};

use crate::support::handshakes::status;
use crate::support::{Api, Gateway, WEB, objects};

const HOST: &str = "a.example";
/// What a hello and a handshake may take at a Gateway, 15 s each, and much for a machine that is busy.
const END: Duration = Duration::from_secs(120);

/// A gateway that presents an RSA certificate or one with an elliptic curve.
async fn with_both_keys(ca: &Ca) -> Gateway {
    let gateway = Gateway::start(&[]).await;
    let mut api = Api::of(&gateway).await;
    api.create_secret(&objects::certificate("curve", &ca.issue(&[HOST]))).await;
    api.create_secret(&objects::certificate("rsa", &ca.issue_rsa(&[HOST]))).await;
    let tls = json!({ "mode": "SIMPLE", "credentialNames": ["curve", "rsa"] });
    let server = objects::https("https", HOST, &tls);
    api.create("gateways", &objects::gateway_of("web", &[server])).await;
    api.wait_for(WEB, &[("ResolvedRefs", "True"), ("Programmed", "True")]).await;
    gateway
}

#[tokio::test]
async fn a_scanner_finds_nothing_weak_at_a_gateway() {
    let ca = Ca::new("root");
    let gateway = with_both_keys(&ca).await;
    let Some(scan) = Scan::of(gateway.https, Some(HOST)).await else { return };
    scan.assert_nothing_weak([6, 3]);
    // After all that, others are served.
    assert_eq!(status(&gateway, HOST, &ca.client_config(&[])).await.expect("an answer"), 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_opening_harms_a_worker_of_a_gateway() {
    let ca = Ca::new("root");
    let gateway = with_both_keys(&ca).await;
    let config = ca.client_config(&[]);
    // As by Envoy, a name that no server has is sent away; an address is such a name.
    let openings = openings::all(HOST, false);
    // All at once: many wait until their time is over.
    openings::play(gateway.https, &openings, openings.len(), END, || async {
        assert_eq!(status(&gateway, HOST, &config).await.expect("an answer"), 404);
    })
    .await;
    let counts = async |name: String| gateway.https_stat(&name).await;
    for gauge in ["downstream_cx_active", "downstream_pre_cx_active"] {
        eventually(PATIENCE, || async {
            let left = counts(gauge.to_owned()).await;
            if left == 0 { Ok(()) } else { Err(format!("{gauge}: {left}")) }
        })
        .await;
    }
    for worker in 0..2 {
        let total = || counts(format!("worker_{worker}.downstream_cx_total"));
        let before = total().await;
        eventually(PATIENCE, || async {
            assert_eq!(status(&gateway, HOST, &config).await.expect("an answer"), 404);
            total().await > before
        })
        .await;
    }
    assert!(!gateway.process.stderr().text().contains("panicked"), "{}", gateway.process);
}
