//! What a scanner of TLS servers finds.

use tidegate_testing::ca::Ca;
use tidegate_testing::scan::Scan;

use super::setup::{Running, bootstrap, http_chain, serving};

#[tokio::test]
async fn a_scanner_finds_nothing_old_and_nothing_weak() {
    let ca = Ca::new("root");
    let tls = serving(&ca.issue(&["127.0.0.1"]));
    let running = Running::start(&bootstrap(&[http_chain(&[], &tls, "hello")], &[], &[])).await;
    let Some(scan) = Scan::of(running.address, None).await else { return };
    scan.assert_nothing_weak([3, 3]);
    // After all that, others are served.
    assert!(running.get("127.0.0.1", ca.client_config(&[])).await.is_ok());
}
