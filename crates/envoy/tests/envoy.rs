//! Real Envoy as the judge of our JSON: it must take what we write, and we must read and write again
//! what it shows without a difference.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};
use tidegate_envoy::json::{
    FieldNames, from_json, message_from_json, message_to_json, message_to_json_with_defaults,
    to_json,
};
use tidegate_envoy::prost_reflect::DynamicMessage;
use tidegate_envoy::v3::bootstrap::Bootstrap;
use tidegate_envoy::{any, capability, describe, encode};
use tidegate_testing::process::Process;
use tidegate_testing::tools::Tool;
use tidegate_testing::{PATIENCE, client, eventually};
use tokio::process::Command;

fn bootstrap() -> Value {
    let type_url = |name: &str| format!("type.googleapis.com/envoy.extensions.{name}");
    json!({
        "node": {"id": "a", "cluster": "b", "metadata": {"number": 3, "half": 0.5, "list": [1, null]}},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "static_resources": {
            "listeners": [{
                "name": "http",
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
                "listener_filters": [{"name": "tls", "typed_config": {
                    "@type": type_url("filters.listener.tls_inspector.v3.TlsInspector")
                }}],
                "filter_chains": [{"filters": [{"name": "hcm", "typed_config": {
                    "@type": type_url("filters.network.http_connection_manager.v3.HttpConnectionManager"),
                    "stat_prefix": "http",
                    "stream_idle_timeout": "300s",
                    "max_request_headers_kb": 96,
                    "route_config": {"name": "r", "virtual_hosts": [{
                        "name": "all",
                        "domains": ["*"],
                        "routes": [{
                            "match": {"prefix": "/", "runtime_fraction": {"default_value": {"numerator": 100}}},
                            "route": {"cluster": "c", "timeout": "1.500s"}
                        }]
                    }]},
                    "http_filters": [{"name": "router", "typed_config": {
                        "@type": type_url("filters.http.router.v3.Router")
                    }}],
                    "access_log": [{"name": "file", "typed_config": {
                        "@type": type_url("access_loggers.file.v3.FileAccessLog"),
                        "path": "/dev/null",
                        "log_format": {"text_format_source": {"inline_string": "%PROTOCOL%\n"}}
                    }}]
                }}]}]
            }],
            "clusters": [{
                "name": "c",
                "type": "STATIC",
                "connect_timeout": "0.250s",
                "lb_policy": "LEAST_REQUEST",
                "common_lb_config": {"healthy_panic_threshold": {"value": 12.5}},
                "metadata": {"filter_metadata": {"istio": {"default_original_port": 80}}},
                "typed_extension_protocol_options": {
                    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                        "@type": type_url("upstreams.http.v3.HttpProtocolOptions"),
                        "explicit_http_config": {"http2_protocol_options": {"max_concurrent_streams": 7}}
                    }
                },
                "load_assignment": {"cluster_name": "c", "endpoints": [{"lb_endpoints": [{
                    "endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 9}}}
                }]}]}
            }]
        }
    })
}

/// Envoy with a configuration file, not yet started.
fn envoy(program: &Path, config: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("-c").arg(config).args(["--use-dynamic-base-id", "--concurrency", "1"]);
    command.args(["--log-level", "error"]);
    command
}

#[tokio::test]
async fn envoy_takes_what_we_write_in_both_spellings() {
    let Some(program) = Tool::Envoy.need() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let typed: Bootstrap = from_json(&bootstrap()).expect("reads");
    assert_eq!(capability::check(&reflected(&typed)).refusals, []);
    for names in [FieldNames::Proto, FieldNames::Camel] {
        let file = folder.path().join("bootstrap.json");
        let text = to_json(&typed, names).expect("known types").to_string();
        std::fs::write(&file, text).expect("written");
        let mut command = envoy(&program, &file);
        command.args(["--mode", "validate"]);
        let mut process = Process::spawn(command);
        let status = process.wait(PATIENCE).await;
        assert!(status.success(), "{names:?}: {process}");
    }
}

fn reflected(bootstrap: &Bootstrap) -> DynamicMessage {
    let packed = any(bootstrap);
    tidegate_envoy::dynamic(&packed.type_url, &packed.value).expect("known types")
}

/// How Envoy writes an admin page.
#[derive(Clone, Copy)]
enum Form {
    Plain,
    WithDefaults,
}

impl Form {
    fn write(self, message: &DynamicMessage) -> Value {
        match self {
            Self::Plain => message_to_json(message, FieldNames::Proto),
            Self::WithDefaults => message_to_json_with_defaults(message, FieldNames::Proto),
        }
    }
}

#[tokio::test]
async fn what_envoy_shows_survives_a_round_trip() {
    let Some(program) = Tool::Envoy.need() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bootstrap.json");
    std::fs::write(&file, bootstrap().to_string()).expect("written");
    let address_file = folder.path().join("admin");
    let mut command = envoy(&program, &file);
    command.arg("--admin-address-path").arg(&address_file);
    let process = Process::spawn(command);
    let admin: SocketAddr =
        eventually(PATIENCE, async || std::fs::read_to_string(&address_file).ok()?.parse().ok())
            .await;

    for (path, name, form) in [
        ("/config_dump?include_eds", "envoy.admin.v3.ConfigDump", Form::Plain),
        ("/server_info", "envoy.admin.v3.ServerInfo", Form::WithDefaults),
        ("/clusters?format=json", "envoy.admin.v3.Clusters", Form::Plain),
        ("/listeners?format=json", "envoy.admin.v3.Listeners", Form::Plain),
    ] {
        let shown = client::get(admin, "admin", path).await.json();
        let descriptor = describe(name).expect("in the pool");
        let message = message_from_json(&descriptor, &shown).expect(path);
        assert_eq!(differences(&form.write(&message), &shown), [""; 0]);
        // And over the wire form.
        let bytes = encode(&message);
        let again = tidegate_envoy::dynamic(name, &bytes).expect("decodes");
        assert_eq!(differences(&form.write(&again), &shown), [""; 0]);
    }
    process.kill().await;
}

/// Where two JSON values differ, one line each; short, because a dump is long.
fn differences(ours: &Value, theirs: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect(ours, theirs, "", &mut found);
    found
}

fn collect(ours: &Value, theirs: &Value, path: &str, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let names: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
            for name in names {
                let (a, b) = (a.get(name), b.get(name));
                let null = Value::Null;
                collect(a.unwrap_or(&null), b.unwrap_or(&null), &format!("{path}.{name}"), found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                collect(a, b, &format!("{path}[{at}]"), found);
            }
        }
        _ if ours == theirs => {}
        _ => found.push(format!("{path}: ours {ours}, Envoy's {theirs}")),
    }
}
