//! Clients of other makes: OpenSSL and curl.

use std::process::Stdio;

use serde_json::json;
use tidegate_testing::ca::{Ca, Identity};
use tidegate_testing::tools::Tool;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::setup::{Running, bootstrap, certificate, http_chain, serving};

/// What a command prints, on both streams, when this is written to it.
async fn output(command: &mut Command, input: &str) -> String {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("its input");
    stdin.write_all(input.as_bytes()).await.expect("written");
    // Kept open: at the end of its input it closes without waiting for the answer.
    let output = tokio::time::timeout(tidegate_testing::PATIENCE, child.wait_with_output());
    let output = output.await.expect("it ends").expect("its output");
    drop(stdin);
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

async fn serve(ca: &Ca, identity: &Identity) -> Running {
    let mut tls = serving(identity);
    tls["common_tls_context"]["validation_context"] =
        json!({"trusted_ca": {"inline_string": ca.pem()}});
    Running::start(&bootstrap(&[http_chain(&[], &tls, "hello")], &[], &[])).await
}

#[tokio::test]
async fn openssl_shakes_hands_in_both_versions_and_no_older_one() {
    let Some(openssl) = Tool::Openssl.need() else { return };
    let ca = Ca::new("root");
    let running = serve(&ca, &ca.issue(&["a.example"])).await;
    let roots = ca.pem_file();
    for (version, works) in [("-tls1_3", true), ("-tls1_2", true), ("-tls1_1", false)] {
        let mut command = Command::new(&openssl);
        command.args(["s_client", "-servername", "a.example", "-verify_return_error", version]);
        command.arg("-CAfile").arg(roots.path()).args(["-ign_eof", "-connect"]);
        command.arg(running.address.to_string());
        let request = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";
        let told = output(&mut command, request).await;
        assert_eq!(told.contains("\r\n\r\nhello"), works, "{version}: {told}");
        if works {
            assert!(told.contains("Verify return code: 0 (ok)"), "{told}");
            assert!(told.contains("Acceptable client certificate CA names"), "{told}");
        }
    }
}

#[tokio::test]
async fn curl_speaks_both_versions_of_http() {
    let Some(curl) = Tool::Curl.need() else { return };
    let ca = Ca::new("root");
    let running = serve(&ca, &ca.issue(&["a.example"])).await;
    let roots = ca.pem_file();
    for (version, expected) in [("--http1.1", "hello 1.1"), ("--http2", "hello 2")] {
        let mut command = Command::new(&curl);
        command.args(["-sS", version, "-w", " %{http_version}", "--cacert"]).arg(roots.path());
        command.arg("--resolve").arg(format!("a.example:{}:127.0.0.1", running.address.port()));
        command.arg(format!("https://a.example:{}/", running.address.port()));
        assert_eq!(output(&mut command, "").await, expected);
    }
}

#[tokio::test]
async fn curl_shows_its_certificate() {
    let Some(curl) = Tool::Curl.need() else { return };
    let (ca, other) = (Ca::new("root"), Ca::new("other"));
    let identity = ca.issue(&["a.example"]);
    let tls = json!({
        "common_tls_context": {
            "tls_certificates": [certificate(&identity)],
            "validation_context": {"trusted_ca": {"inline_string": ca.pem()}},
        },
        "require_client_certificate": true,
    });
    let running = Running::start(&bootstrap(&[http_chain(&[], &tls, "hello")], &[], &[])).await;
    let roots = ca.pem_file();
    let folder = tempfile::tempdir().expect("a folder");
    let mut cases = vec![(None, false), (Some(ca.issue(&["c"])), true)];
    // With TLS 1.3 it sends its request before it is refused; a reset would show now and then.
    cases.extend(std::iter::repeat_with(|| (Some(other.issue(&["c"])), false)).take(20));
    for (shown, works) in cases {
        let mut command = Command::new(&curl);
        command.args(["-sS", "--cacert"]).arg(roots.path());
        command.arg("--resolve").arg(format!("a.example:{}:127.0.0.1", running.address.port()));
        command.arg(format!("https://a.example:{}/", running.address.port()));
        if let Some(shown) = shown {
            let (chain, key) = (folder.path().join("crt"), folder.path().join("key"));
            std::fs::write(&chain, shown.certificate_pem).expect("written");
            std::fs::write(&key, shown.key_pem).expect("written");
            command.arg("--cert").arg(chain).arg("--key").arg(key);
        }
        let told = output(&mut command, "").await;
        assert_eq!(told == "hello", works, "{told}");
        assert!(works || told.contains("alert"), "{told}");
    }
    running.counts("listener.tls.ssl.fail_verify_no_cert", 1).await;
    running.counts("listener.tls.ssl.fail_verify_error", 20).await;
}
