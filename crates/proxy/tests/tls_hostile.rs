//! Hellos and handshakes that are no such things: every connection ends in its time, nobody else notices, and nothing
//! is left of them. A process of its own, so that its memory can be looked at.

#[path = "tls/setup.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod setup;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tidegate_testing::ca::Ca;
use tidegate_testing::client;
use tidegate_testing::openings::{self, Opening};
use tidegate_testing::tools::Tool;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use setup::{Running, bootstrap, http_chain, serving};

const NAME: &str = "a.example";
/// What a handshake, and the look at its first bytes before, may take here.
const LIMIT: &str = "0.5s";
/// Both, and much for a machine that is busy.
const END: Duration = Duration::from_secs(15);
/// Openings that are under way at a time.
const ABREAST: usize = 32;

async fn start(ca: &Ca) -> Running {
    let mut chain = http_chain(&[], &serving(&ca.issue(&[NAME])), "good");
    chain["transport_socket_connect_timeout"] = json!(LIMIT);
    // Whoever gets through a handshake has to say what it wants, too.
    chain["filters"][0]["typed_config"]["request_headers_timeout"] = json!(LIMIT);
    let mut config = bootstrap(&[chain], &[], &[]);
    config["static_resources"]["listeners"][0]["listener_filters_timeout"] = json!(LIMIT);
    Running::start(&config).await
}

/// Everything once; meanwhile others are served.
async fn round(running: &Running, ca: &Ca, openings: &[Arc<Opening>]) {
    let config = ca.client_config(&["http/1.1"]);
    openings::play(running.address, openings, ABREAST, END, || async {
        let answer = running.get(NAME, Arc::clone(&config));
        let answer = timeout(END, answer).await.expect("in time").expect("an answer");
        assert_eq!(answer.text(), "good");
    })
    .await;
}

/// Memory of this process, bytes.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    let kilobytes: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kilobytes * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_opening_harms_others_or_stays() {
    let ca = Ca::new("root");
    let running = start(&ca).await;
    let openings = openings::all(NAME, true);
    assert!(openings.len() > 150, "{} openings", openings.len());
    // Buffers and the allocator take what they need in the first rounds.
    for _ in 0..2 {
        round(&running, &ca, &openings).await;
    }
    let before = memory();
    for _ in 0..3 {
        round(&running, &ca, &openings).await;
    }
    let grown = memory().saturating_sub(before);
    // A hundred kilobytes left by each opening would be 50 MB.
    assert!(grown < 8 << 20, "{grown} bytes more than before");
    // In each round: two that are, and five that say so in a length.
    running.counts("tls_inspector.client_hello_too_large", 5 * 7).await;
    running.counts("listener.tls.downstream_cx_active", 0).await;
    running.counts("listener.tls.downstream_pre_cx_active", 0).await;
    running.counts("http.hcm.downstream_cx_active", 0).await;
}

#[tokio::test]
async fn what_follows_a_handshake_is_as_strict() {
    let ca = Ca::new("root");
    let running = start(&ca).await;
    for after in openings::after_handshake() {
        let config = ca.client_config(&["http/1.1"]);
        let stream = client::tls(running.address, NAME, config).await.expect("a handshake");
        let (stream, _) = stream.into_inner();
        let (mut read, mut write) = stream.into_split();
        let _ = write.write_all(&after.bytes).await;
        let mut answer = Vec::new();
        let end = timeout(END, read.read_to_end(&mut answer));
        let _ = end.await.unwrap_or_else(|_| panic!("{}: still open", after.name));
        assert!(running.get(NAME, ca.client_config(&[])).await.is_ok(), "{}", after.name);
    }
    running.counts("listener.tls.downstream_cx_active", 0).await;
}

#[tokio::test]
async fn nobody_renegotiates() {
    use std::process::Stdio;
    let Some(openssl) = Tool::Openssl.need() else { return };
    let ca = Ca::new("root");
    let running = start(&ca).await;
    let mut command = tokio::process::Command::new(openssl);
    command.args(["s_client", "-tls1_2", "-servername", NAME, "-connect"]);
    command.arg(running.address.to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().expect("openssl");
    let mut input = child.stdin.take().expect("its input");
    // A line of one R asks for it, over and over.
    input.write_all(&b"R\n".repeat(20)).await.expect("written");
    let output = timeout(END, child.wait_with_output()).await.expect("an end").expect("output");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("RENEGOTIATING"), "{said}");
    running.counts("listener.tls.ssl.handshake", 1).await;
    running.counts("listener.tls.downstream_cx_active", 0).await;
    assert!(running.get(NAME, ca.client_config(&[])).await.is_ok());
}
