//! What the access log says of requests that endpoints broke off, before their answer and inside it, in Envoy and in ours.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_testing::client::Client;
use tidegate_testing::origin::{Origin, Script};
use tidegate_testing::tools::Tool;
use tidegate_testing::{HeldPort, PATIENCE, eventually};

use crate::bootstrap::{MANAGER, PROTOCOL, ROUTER, address};
use crate::frames::{self, Frame, Say};
use crate::sides::Side;

const FORMAT: &str = "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n";

fn begun(stream: u32, rest: Say) -> Vec<Say> {
    let head = Frame::head(stream, &[(":status", "200")], false);
    // What follows comes when the answer has begun for the client, too.
    vec![Say::Frame(head), Say::Frame(Frame::data(stream, "part", false)), Say::Pause, rest]
}

/// What origins do over HTTP/2, frame by frame.
const FRAMES: &[(&str, frames::Script)] = &[
    ("2-no-error-before", |_, id| vec![Say::Frame(Frame::reset(id, 0))]),
    ("2-internal-before", |_, id| vec![Say::Frame(Frame::reset(id, 2))]),
    ("2-refused-before", |_, id| vec![Say::Frame(Frame::reset(id, 7))]),
    ("2-cancel-before", |_, id| vec![Say::Frame(Frame::reset(id, 8))]),
    ("2-close-before", |_, _| vec![Say::Close]),
    ("2-away-before", |_, _| vec![Say::Frame(Frame::away(0, 0)), Say::Close]),
    ("2-internal-inside", |_, id| begun(id, Say::Frame(Frame::reset(id, 2)))),
    ("2-refused-inside", |_, id| begun(id, Say::Frame(Frame::reset(id, 7)))),
    ("2-cancel-inside", |_, id| begun(id, Say::Frame(Frame::reset(id, 8)))),
    ("2-close-inside", |_, id| begun(id, Say::Close)),
];

/// … and over HTTP/1.
fn scripts() -> Vec<(&'static str, Script)> {
    let head = || Script::new().read_head();
    let chunked = || head().send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    vec![
        ("1-close-before", head()),
        ("1-reset-before", head().reset()),
        ("1-half-a-head", head().send("HTTP/1.1 200")),
        ("1-no-head", head().send("junk\r\n\r\n")),
        ("1-close-inside", head().send_head(9).send("part")),
        ("1-reset-inside", head().send_head(9).send("part").reset()),
        ("1-close-inside-chunks", chunked().send("4\r\npart\r\n")),
        ("1-no-chunk", chunked().send("4\r\npart\r\n").send("x\r\n").read_to_end()),
    ]
}

/// The log is a file of the side's own.
fn bootstrap(hosts: &[(&str, SocketAddr)], log: &Path) -> Value {
    let cluster = |(name, at): &(&str, SocketAddr)| {
        let endpoint = json!({"endpoint": {"address": address(*at)}});
        let mut cluster = json!({"name": name, "type": "STATIC",
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}});
        if name.starts_with('2') {
            let protocol = PROTOCOL.trim_start_matches("type.googleapis.com/");
            cluster["typed_extension_protocol_options"] = json!({protocol: {"@type": PROTOCOL,
                "explicit_http_config": {"http2_protocol_options": {}}}});
        }
        cluster
    };
    let route = |(name, _): &(&str, SocketAddr)| json!({"match": {"path": format!("/{name}")}, "route": {"cluster": name}});
    let clusters: Vec<Value> = hosts.iter().map(cluster).collect();
    let routes: Vec<Value> = hosts.iter().map(route).collect();
    let access_log = json!({"name": "log", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
        "path": log, "log_format": {"text_format_source": {"inline_string": FORMAT}}}});
    let manager = json!({"name": "http", "typed_config": {"@type": MANAGER, "stat_prefix": "edge",
        "access_log": [access_log],
        "route_config": {"name": "r", "virtual_hosts": [
            {"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": ROUTER}}]}});
    json!({"static_resources": {"clusters": clusters, "listeners": [{"name": "edge",
        "address": address(([127, 0, 0, 1], 0).into()), "filter_chains": [{"filters": [manager]}]}]}})
}

/// Asks for everything; the log's lines.
async fn play(side: &Side, hosts: &[(&str, SocketAddr)], log: &Path) -> BTreeSet<String> {
    for (name, _) in hosts {
        let mut client = Client::connect(side.listeners["edge"]).await;
        client.send(format!("GET /{name} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
        client.read_to_end().await;
    }
    eventually(PATIENCE, || async {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        // Envoy has the system's words in the details, too.
        let words = "|delayed_connect_error:_Connection_refused";
        let lines: BTreeSet<String> = text.lines().map(|line| line.replace(words, "")).collect();
        if lines.len() == hosts.len() { Ok(lines) } else { Err(lines) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_cut_is_logged_as_in_envoy() {
    let Some(program) = Tool::Envoy.need() else { return };
    let refused = HeldPort::any();
    let mut hosts = vec![("1-refused", refused.address), ("2-refused", refused.address)];
    let mut origins = Vec::new();
    for (name, script) in scripts() {
        let origin = Origin::start().script(script).await;
        hosts.push((name, origin.address()));
        origins.push(origin);
    }
    for (name, script) in FRAMES {
        hosts.push((name, frames::start(*script, false).await));
    }
    let folder = TempDir::new().expect("a folder");
    let [theirs, ours] = ["envoy", "tidegate"].map(|side| folder.path().join(side));
    let envoy = Side::envoy(&program, &bootstrap(&hosts, &theirs)).await;
    let tidegate = Side::tidegate(&bootstrap(&hosts, &ours)).await;
    let theirs = play(&envoy, &hosts, &theirs).await;
    let ours = play(&tidegate, &hosts, &ours).await;
    let only = |these: &BTreeSet<String>, those: &BTreeSet<String>| {
        these.difference(those).cloned().collect::<Vec<_>>()
    };
    let (only_theirs, only_ours) = (only(&theirs, &ours), only(&ours, &theirs));
    assert_eq!(only_ours, only_theirs, "ours, and Envoy's");
}
