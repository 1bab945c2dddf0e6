//! What filters note of requests, in Envoy's log and in ours, as text and as JSON, and in headers of answers.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_testing::client::Client;
use tidegate_testing::jwt::Signer;
use tidegate_testing::tools::Tool;
use tidegate_testing::{PATIENCE, eventually};

use crate::bootstrap::{MANAGER, ROUTER, address};
use crate::sides::Side;

const LOG: &str = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog";
const RBAC: &str = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC";
const TOKENS: &str =
    "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";

/// What is asked for; of all that a filter noted text has no order, so that only JSON has it.
const NOTES: &[&str] = &[
    "envoy.common",
    "envoy.common:access_log_hint",
    "envoy.common:none",
    "nobody:x",
    "envoy.filters.http.jwt_authn:payload:sub",
    "envoy.filters.http.jwt_authn:payload:n",
    "envoy.filters.http.jwt_authn:payload:f",
    "envoy.filters.http.jwt_authn:payload:l",
    "envoy.filters.http.jwt_authn:payload:m",
    "envoy.filters.http.jwt_authn:payload:m:k",
    "envoy.filters.http.jwt_authn:payload:z",
    "envoy.filters.http.jwt_authn:payload:sub:x",
];
const WHOLE: &str = "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn)%";
const SHORT: &str = "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:payload:sub):4%";

fn operator(note: &str) -> String {
    format!("%DYNAMIC_METADATA({note})%")
}

/// One after the other.
fn all_notes() -> String {
    NOTES.iter().map(|note| operator(note)).collect::<Vec<_>>().join("|")
}

fn bootstrap(signer: &Signer, [text, structured]: [&Path; 2]) -> Value {
    let policy = json!({"permissions": [{"url_path": {"path": {"prefix": "/logged"}}}], "principals": [{"any": true}]});
    let audit = json!({"@type": RBAC, "rules": {"action": "LOG", "policies": {"p": policy}}});
    let tokens = json!({"@type": TOKENS,
        "providers": {"p": {"local_jwks": {"inline_string": signer.set()}, "payload_in_metadata": "payload"}},
        "rules": [{"match": {"prefix": "/"}, "requires":
            {"requires_any": {"requirements": [{"provider_name": "p"}, {"allow_missing": {}}]}}}]});
    let mut members: Value =
        NOTES.iter().map(|note| ((*note).to_owned(), Value::from(operator(note)))).collect();
    members["whole"] = WHOLE.into();
    members["short"] = SHORT.into();
    let line = format!("%REQ(:PATH)% {} {SHORT}\n", all_notes());
    let log = |path: &Path, format: &Value| json!({"name": "log", "typed_config": {"@type": LOG, "path": path, "log_format": format}});
    let logs = [
        log(text, &json!({"text_format_source": {"inline_string": line}})),
        log(structured, &json!({"json_format": members})),
    ];
    let filters: Vec<Value> =
        [("tokens", tokens), ("audit", audit), ("router", json!({"@type": ROUTER}))]
            .map(|(name, config)| json!({"name": name, "typed_config": config}))
            .into();
    let host = json!({"name": "all", "domains": ["*"],
        "response_headers_to_add": [{"header": {"key": "x-noted", "value": all_notes()}}],
        "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]});
    let manager = json!({"name": "http", "typed_config": {"@type": MANAGER, "stat_prefix": "edge",
        "access_log": logs, "route_config": {"name": "r", "virtual_hosts": [host]}, "http_filters": filters}});
    json!({"static_resources": {"listeners": [{"name": "edge",
        "address": address(([127, 0, 0, 1], 0).into()), "filter_chains": [{"filters": [manager]}]}]}})
}

/// What logs and answers say of some requests.
async fn play(side: &Side, requests: &[String], [text, structured]: [&Path; 2]) -> Vec<String> {
    let mut said = Vec::new();
    for request in requests {
        let answer = Client::connect(side.listeners["edge"]).await.request(request).await;
        said.push(format!("{} {:?}", answer.status, answer.header("x-noted")));
    }
    for (path, is_json) in [(text, false), (structured, true)] {
        let lines = eventually(PATIENCE, || async {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            if lines.len() == requests.len() { Ok(lines) } else { Err(lines) }
        });
        for line in lines.await {
            // The order of members is nobody's.
            let parsed = is_json.then(|| serde_json::from_str::<Value>(&line).expect("JSON"));
            said.push(parsed.map_or(line, |json| json.to_string()));
        }
    }
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_filters_noted_is_written_as_by_envoy() {
    let Some(program) = Tool::Envoy.need() else { return };
    let folder = TempDir::new().expect("a folder");
    let signer = Signer::new("ES256");
    let claims = json!({"iss": "i", "sub": "me, \"é\" \\ you", "n": 5, "f": 0.5, "l": ["a", 1, false],
        "m": {"k": true}, "z": null});
    let token = signer.token(&json!({"alg": "ES256"}), &claims);
    let request = |path: &str, more: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: a\r\n{more}Connection: close\r\n\r\n")
    };
    let token = format!("Authorization: Bearer {token}\r\n");
    let requests =
        [request("/logged", ""), request("/other", &token), request("/logged/2", &token)];
    let [theirs, ours] = ["envoy", "tidegate"]
        .map(|side| ["text", "json"].map(|form| folder.path().join(format!("{side}.{form}"))));
    let [theirs, ours] = [&theirs, &ours].map(|paths| [paths[0].as_path(), paths[1].as_path()]);
    let envoy = Side::envoy(&program, &bootstrap(&signer, theirs)).await;
    let tidegate = Side::tidegate(&bootstrap(&signer, ours)).await;
    let theirs = play(&envoy, &requests, theirs).await;
    let ours = play(&tidegate, &requests, ours).await;
    assert!(ours == theirs, "ours:\n{}\nEnvoy's:\n{}", ours.join("\n"), theirs.join("\n"));
}
