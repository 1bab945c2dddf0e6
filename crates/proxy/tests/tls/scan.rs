//! What a scanner of TLS servers finds.

use serde_json::Value;
use tidegate_testing::ca::Ca;
use tidegate_testing::tools::{Tool, skip};
use tokio::process::Command;

use super::setup::{Running, bootstrap, http_chain, serving};

/// The suites that may be offered: forward secrecy and authenticated encryption.
const GOOD: [&str; 9] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];

/// Everything that the scanner finds, or why it could not scan.
async fn scan(program: &std::path::Path, server: &str) -> Result<Value, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("found.json");
    let mut command = Command::new(program);
    command.arg("--quiet").arg("--json_out").arg(&file);
    // What it is to look at; more would ask the network for trust stores.
    for version in ["--sslv2", "--sslv3", "--tlsv1", "--tlsv1_1", "--tlsv1_2", "--tlsv1_3"] {
        command.arg(version);
    }
    command.args(["--compression", "--fallback", "--heartbleed", "--openssl_ccs", "--reneg"]);
    command.args(["--robot", "--elliptic_curves", "--early_data", "--ems"]);
    // Its exit code compares with a configuration that wants a public authority.
    let done = command.arg(server).kill_on_drop(true).output();
    let done = tokio::time::timeout(std::time::Duration::from_secs(120), done);
    let output = done.await.map_err(|_| "the scan did not end")?.map_err(|e| e.to_string())?;
    let found =
        std::fs::read(&file).map_err(|_| String::from_utf8_lossy(&output.stderr).into_owned())?;
    serde_json::from_slice(&found).map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_scanner_finds_nothing_old_and_nothing_weak() {
    let Some(sslyze) = Tool::Sslyze.need() else { return };
    let ca = Ca::new("root");
    let tls = serving(&ca.issue(&["127.0.0.1"]));
    let running = Running::start(&bootstrap(&[http_chain(&[], &tls, "hello")], &[], &[])).await;
    let found = match scan(&sslyze, &running.address.to_string()).await {
        Ok(found) => found,
        Err(why) => return skip(&format!("sslyze cannot scan here: {why}")),
    };
    let found = &found["server_scan_results"][0];
    assert_eq!(found["connectivity_status"], "COMPLETED", "{found}");
    let result = |name: &str| {
        let of = &found["scan_result"][name];
        assert_eq!(of["status"], "COMPLETED", "{name}: {of}");
        &of["result"]
    };
    for old in ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"] {
        let suites = result(&format!("{old}_cipher_suites"));
        assert_eq!(suites["is_tls_version_supported"], false, "{old}");
    }
    for (version, count) in [("tls_1_2", 3), ("tls_1_3", 3)] {
        let suites = &result(&format!("{version}_cipher_suites"))["accepted_cipher_suites"];
        let suites: Vec<_> = suites.as_array().into_iter().flatten().collect();
        assert_eq!(suites.len(), count, "{version}: {suites:?}");
        for suite in suites {
            let name = suite["cipher_suite"]["name"].as_str().unwrap_or_default();
            assert!(GOOD.contains(&name), "{version}: {suite}");
        }
    }
    assert_eq!(result("tls_compression")["supports_compression"], false);
    assert_eq!(result("heartbleed")["is_vulnerable_to_heartbleed"], false);
    assert_eq!(result("openssl_ccs_injection")["is_vulnerable_to_ccs_injection"], false);
    assert_eq!(result("robot")["robot_result"], "NOT_VULNERABLE_RSA_NOT_SUPPORTED");
    assert_eq!(result("tls_1_3_early_data")["supports_early_data"], false);
    assert_eq!(result("tls_extended_master_secret")["supports_ems_extension"], true);
    let renegotiation = result("session_renegotiation");
    assert_eq!(renegotiation["supports_secure_renegotiation"], true);
    assert_eq!(renegotiation["is_vulnerable_to_client_renegotiation_dos"], false);
    // After all that, others are served.
    assert!(running.get("127.0.0.1", ca.client_config(&[])).await.is_ok());
}
