//! What the access log and a header of the answer say of requests that endpoints broke off, before their answer and inside it,
//! or that there was no connection for, in Envoy and in ours.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_testing::client::Client;
use tidegate_testing::origin::{Origin, Script};
use tidegate_testing::tools::Tool;
use tidegate_testing::{HeldPort, PATIENCE, eventually};

use crate::bootstrap::{MANAGER, PROTOCOL, ROUTER, address};
use crate::frames::{self, Frame, Say};
use crate::sides::Side;

const FORMAT: &str = "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% \
                      %UPSTREAM_TRANSPORT_FAILURE_REASON% %UPSTREAM_HOST% %UPSTREAM_REMOTE_ADDRESS% \
                      %UPSTREAM_REMOTE_PORT%\n";

/// What answers say of their endpoint.
const HEADER: &str = "%UPSTREAM_HOST%|%UPSTREAM_REMOTE_ADDRESS%|%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%|\
                      %UPSTREAM_REMOTE_PORT%|%RESPONSE_CODE_DETAILS%";

/// Requests that are sent again, to the other of two endpoints; which is first is for their hash to say.
const AGAIN: usize = 8;

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

/// A cluster of its own, by name, and where its endpoints are.
type Host = (&'static str, Vec<Value>);

/// The log is a file of the side's own.
fn bootstrap(hosts: &[Host], log: &Path) -> Value {
    let cluster = |(name, at): &Host| {
        let endpoint = |at: &Value| json!({"endpoint": {"address": at}});
        let endpoints: Vec<Value> = at.iter().map(endpoint).collect();
        let mut cluster = json!({"name": name, "type": "STATIC", "lb_policy": "RING_HASH",
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]}});
        if name.starts_with('2') {
            let protocol = PROTOCOL.trim_start_matches("type.googleapis.com/");
            cluster["typed_extension_protocol_options"] = json!({protocol: {"@type": PROTOCOL,
                "explicit_http_config": {"http2_protocol_options": {}}}});
        }
        cluster
    };
    let route = |(name, at): &Host| {
        let hash = json!([{"query_parameter": {"name": "h"}}]);
        let retries = json!({"retry_on": "reset,connect-failure", "num_retries": at.len() - 1});
        json!({"match": {"path": format!("/{name}")},
            "route": {"cluster": name, "hash_policy": hash, "retry_policy": retries},
            "response_headers_to_add": [{"header": {"key": "x-said", "value": HEADER}}]})
    };
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

/// Asks for everything; the log's lines, and what answers say.
async fn play(side: &Side, hosts: &[Host], log: &Path) -> BTreeSet<String> {
    let mut said = BTreeSet::new();
    let times = |at: &[Value]| if at.len() > 1 { AGAIN } else { 1 };
    let paths = hosts.iter().flat_map(|(name, at)| (0..times(at)).map(move |n| (name, n)));
    for (name, n) in paths.clone() {
        let path = format!("/{name}?h={n}");
        let mut client = Client::connect(side.listeners["edge"]).await;
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
        let answer = String::from_utf8_lossy(&client.read_to_end().await).into_owned();
        let header = answer.lines().find(|line| line.starts_with("x-said: "));
        said.insert(format!("{path} {header:?}"));
    }
    let lines = eventually(PATIENCE, || async {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        // The last line may be on its way.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let lines: Vec<String> = whole.lines().map(str::to_owned).collect();
        if lines.len() == paths.clone().count() { Ok(lines) } else { Err(lines) }
    });
    said.extend(lines.await);
    // Envoy says once more which socket it is.
    let once_more = format!("|remote_address:{}", nobody(log).display());
    said.into_iter().map(|line| line.replace(&once_more, "")).collect()
}

/// A socket that is not there, beside the log.
fn nobody(log: &Path) -> PathBuf {
    log.with_file_name("nobody")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_cut_is_told_as_in_envoy() {
    let Some(program) = Tool::Envoy.need() else { return };
    let folder = TempDir::new().expect("a folder");
    let held = HeldPort::any();
    let refused = address(held.address);
    let [theirs, ours] = ["envoy", "tidegate"].map(|side| folder.path().join(side));
    let pipe = json!({"pipe": {"path": nobody(&ours)}});
    let mut hosts: Vec<Host> = vec![
        ("1-refused", vec![refused.clone()]),
        ("2-refused", vec![refused.clone()]),
        ("1-no-pipe", vec![pipe]),
    ];
    let mut origins = Vec::new();
    for (name, script) in scripts() {
        let origin = Origin::start().script(script).await;
        if name == "1-close-before" {
            hosts.push(("1-again", vec![address(origin.address()), refused.clone()]));
        }
        hosts.push((name, vec![address(origin.address())]));
        origins.push(origin);
    }
    for (name, script) in FRAMES {
        hosts.push((name, vec![address(frames::start(*script, false).await)]));
    }
    let envoy = Side::envoy(&program, &bootstrap(&hosts, &theirs)).await;
    let tidegate = Side::tidegate(&bootstrap(&hosts, &ours)).await;
    let theirs = play(&envoy, &hosts, &theirs).await;
    let ours = play(&tidegate, &hosts, &ours).await;
    let only = |these: &BTreeSet<String>, those: &BTreeSet<String>| {
        these.difference(those).cloned().collect::<Vec<_>>()
    };
    let (only_theirs, only_ours) = (only(&theirs, &ours), only(&ours, &theirs));
    assert!(
        only_ours == only_theirs,
        "ours:\n{}\nEnvoy's:\n{}",
        only_ours.join("\n"),
        only_theirs.join("\n")
    );
}
