//! What a scanner of TLS servers (sslyze) finds.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use crate::tools::Tool;

/// How long a scan may take.
const LIMIT: Duration = Duration::from_secs(600);

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

/// What was found at one server.
pub struct Scan(Value);

impl Scan {
    /// Looks at a server, by a name of it if one is given. Nothing where the scanner is not there, which is said in words.
    ///
    /// # Panics
    /// The scan fails or does not end, which is as likely the server's fault as the scanner's.
    pub async fn of(server: SocketAddr, name: Option<&str>) -> Option<Self> {
        let sslyze = Tool::Sslyze.need()?;
        Some(Self::by(&sslyze, server, name, LIMIT).await)
    }

    async fn by(program: &Path, server: SocketAddr, name: Option<&str>, limit: Duration) -> Self {
        let found = run(program, server, name, limit).await;
        Self(found.unwrap_or_else(|why| panic!("no scan of {server}: {why}")))
    }

    /// Panics where something is old or weak. `suites`: how many there are of TLS 1.2, and of 1.3.
    pub fn assert_nothing_weak(&self, suites: [usize; 2]) {
        for old in ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"] {
            let found = self.result(&format!("{old}_cipher_suites"));
            assert_eq!(found["is_tls_version_supported"], false, "{old}");
        }
        for (version, count) in ["tls_1_2", "tls_1_3"].into_iter().zip(suites) {
            let found = &self.result(&format!("{version}_cipher_suites"))["accepted_cipher_suites"];
            let found: Vec<_> = found.as_array().into_iter().flatten().collect();
            assert_eq!(found.len(), count, "{version}: {found:?}");
            for suite in found {
                let name = suite["cipher_suite"]["name"].as_str().unwrap_or_default();
                assert!(GOOD.contains(&name), "{version}: {suite}");
            }
        }
        assert_eq!(self.result("tls_compression")["supports_compression"], false);
        assert_eq!(self.result("heartbleed")["is_vulnerable_to_heartbleed"], false);
        let ccs = self.result("openssl_ccs_injection");
        assert_eq!(ccs["is_vulnerable_to_ccs_injection"], false);
        assert_eq!(self.result("robot")["robot_result"], "NOT_VULNERABLE_RSA_NOT_SUPPORTED");
        assert_eq!(self.result("tls_1_3_early_data")["supports_early_data"], false);
        assert_eq!(self.result("tls_extended_master_secret")["supports_ems_extension"], true);
        let renegotiation = self.result("session_renegotiation");
        assert_eq!(renegotiation["supports_secure_renegotiation"], true);
        assert_eq!(renegotiation["is_vulnerable_to_client_renegotiation_dos"], false);
    }

    fn result(&self, name: &str) -> &Value {
        let found = &self.0["server_scan_results"][0];
        assert_eq!(found["connectivity_status"], "COMPLETED", "{found}");
        let of = &found["scan_result"][name];
        assert_eq!(of["status"], "COMPLETED", "{name}: {of}");
        &of["result"]
    }
}

/// Everything that the scanner finds, or why it could not scan.
async fn run(
    program: &Path,
    server: SocketAddr,
    name: Option<&str>,
    limit: Duration,
) -> Result<Value, String> {
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
    if let Some(name) = name {
        command.args(["--sni", name]);
    }
    // Its exit code compares with a configuration that wants a public authority.
    let output =
        in_time(limit, command.arg(server.to_string()).kill_on_drop(true).output()).await?;
    let found = std::fs::read(&file).map_err(|error| {
        let said = String::from_utf8_lossy(&output.stderr);
        format!("it wrote nothing ({error}) and ended with {}: {said}", output.status)
    })?;
    serde_json::from_slice(&found).map_err(|error| error.to_string())
}

async fn in_time<T>(
    limit: Duration,
    scan: impl Future<Output = std::io::Result<T>>,
) -> Result<T, String> {
    match timeout(limit, scan).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err("the scan did not end".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[should_panic(expected = "it wrote nothing")]
    async fn a_scanner_that_finds_nothing_is_no_reason_to_skip() {
        let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
        Scan::by(Path::new("true"), nobody, None, LIMIT).await;
    }

    #[tokio::test]
    async fn a_scan_that_does_not_end_is_no_reason_to_skip() {
        let never = std::future::pending::<std::io::Result<()>>();
        assert_eq!(in_time(Duration::ZERO, never).await, Err("the scan did not end".to_owned()));
    }
}
