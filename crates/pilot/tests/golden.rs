//! Golden files: manifests in, resources and status out. `TIDEGATE_GOLDEN=refresh` writes them again; review
//! the difference as code.
//!
//! Every golden configuration also has to be one that our proxy honours without a remark and that Envoy
//! accepts.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use common::{World, documents};
use serde_json::{Map, Value, json};
use tidegate_envoy::capability::{self, Report};
use tidegate_envoy::json::{FieldNames, to_json};
use tidegate_pilot::model::names;
use tidegate_pilot::status::Force;
use tidegate_pilot::{AccessLog, Input, Options, OutboundPolicy, ProxyKind, Workload};
use tidegate_testing::ca::{Ca, Identity};
use tidegate_testing::tools::Tool;
use tidegate_xds::ResourceType;
use tidegate_xds::bootstrap::static_bootstrap;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The manifests, by the name of their file.
fn inputs() -> Vec<(String, Vec<Value>)> {
    let mut inputs: Vec<_> = fs::read_dir(folder())
        .expect("the golden folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .map(|path| {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            (name, documents(&fs::read_to_string(path).expect("a manifest")))
        })
        .collect();
    inputs.sort_by(|a, b| a.0.cmp(&b.0));
    inputs
}

/// The proxy that a golden file is for: the sidecar of a workload where the file's name begins so; one that knows where it is
/// in `localities`; one that takes HTTP/3 in `http3`.
fn options(name: &str) -> Options {
    if !name.starts_with("sidecar-") {
        let mut options = Options { http3: name == "http3", ..in_mesh() };
        if name == "localities" {
            let place = [("region", "eu"), ("zone", "a")];
            let label =
                |(part, value)| (format!("topology.kubernetes.io/{part}"), String::from(value));
            options.labels.extend(place.map(label));
        }
        return options;
    }
    Options {
        proxy: ProxyKind::Sidecar(Workload { addresses: vec![[10, 1, 0, 9].into()] }),
        labels: [("app".to_owned(), "productpage".to_owned())].into(),
        namespace: "default".to_owned(),
        outbound_policy: match name.ends_with("allow-any") {
            true => OutboundPolicy::AllowAny,
            false => OutboundPolicy::RegistryOnly,
        },
        ..in_mesh()
    }
}

fn status(world: &World) -> Value {
    let told = world.status.iter().map(|(key, conditions)| {
        let mut conditions: Map<String, Value> = conditions
            .iter()
            .map(|c| {
                let word = if c.holds { "True" } else { "False" };
                let faults: Vec<&str> = c.message.split("; ").filter(|f| !f.is_empty()).collect();
                let value = json!([format!("{word} ({})", c.reason), faults]);
                (c.kind.as_str().to_owned(), value)
            })
            .collect();
        let force = world.pilot.standing(key).map(|standing| match &standing.force {
            Force::Whole => json!("whole"),
            Force::Through(listeners) => json!(listeners.iter().map(|l| &**l).collect::<Vec<_>>()),
            Force::Nothing { reason, message } => json!(format!("nothing ({reason}): {message}")),
        });
        conditions.extend(force.map(|force| ("InForce".to_owned(), force)));
        (key.to_string(), Value::Object(conditions))
    });
    Value::Object(told.collect())
}

#[test]
fn golden_files() {
    let refresh = std::env::var_os("TIDEGATE_GOLDEN").is_some();
    let mut different = Vec::new();
    for (name, manifests) in inputs() {
        let world = World::with(options(&name), &manifests);
        let found = json!({"resources": world.dump(), "status": status(&world)});
        let found = format!("{found:#}\n");
        let path = folder().join(format!("{name}.json"));
        if refresh {
            fs::write(&path, found).expect("a golden file is written");
        } else if fs::read_to_string(&path).unwrap_or_default() != found {
            different.push(name);
        }
    }
    assert!(
        different.is_empty(),
        "not as in tests/golden: {different:?}; set TIDEGATE_GOLDEN=refresh and review what changed"
    );
}

/// Puts real certificates in place of the words that stand for them.
fn fill(manifest: &mut Value, ca: &Ca) {
    let Some(data) = manifest["stringData"].as_object_mut() else { return };
    let leaf = ca.issue(&["app.example.com"]);
    for (key, value) in data {
        *value = match key.as_str() {
            "tls.crt" | "cert" => leaf.certificate_pem.as_str(),
            "tls.key" | "key" => leaf.key_pem.as_str(),
            _ => ca.pem(),
        }
        .into();
    }
}

/// The content of a file that pilot asks for.
fn content(name: &str, ca: &Ca, leaf: &Identity) -> Arc<[u8]> {
    let text = match name.rsplit('/').next() {
        Some("cert-chain.pem") => &leaf.certificate_pem,
        Some("key.pem") => &leaf.key_pem,
        _ => ca.pem(),
    };
    text.as_bytes().into()
}

fn in_mesh() -> Options {
    Options {
        workload_certificates: Some("/etc/certs".into()),
        secret_server: Some("outbound|8443||sds.example.com".into()),
        ..Options::default()
    }
}

fn logged(name: &str) -> Options {
    let log = AccessLog { path: "/dev/stdout".to_owned(), format: AccessLog::ISTIO.to_owned() };
    Options { access_log: Some(log), ..options(name) }
}

/// What only Envoy wants to know of a cluster that resolves what clients ask for.
const ENVOYS_OWN: &str = "cluster_type.typed_config.allow_insecure_cluster_options";

#[test]
fn the_proxy_honours_everything_without_a_remark() {
    for (name, manifests) in inputs() {
        let world = World::with(logged(&name), &manifests);
        for kind in ResourceType::ALL {
            for resource in world.snapshot.list(kind) {
                let report = capability::check_bytes(kind.type_url(), &resource.bytes);
                let report = report.expect("a known type");
                if kind == ResourceType::Listener && names::beside_udp(&resource.name).is_some() {
                    refuses_http3(&report);
                    continue;
                }
                // What has no effect in an EnvoyFilter is its author's, and told in its status.
                let own = !name.starts_with("envoy-filter");
                // Envoy asks for this one before it takes such a cluster.
                let told = |path: &str| path != ENVOYS_OWN;
                let notices = report.notices.iter().filter(|notice| own && told(&notice.path));
                let findings: Vec<_> = report.refusals.iter().chain(notices).collect();
                assert!(findings.is_empty(), "{name}: {kind:?} {}: {findings:?}", resource.name);
            }
        }
    }
}

/// Our own proxy does not speak HTTP/3, and says where such a listener asks for it.
fn refuses_http3(report: &Report) {
    let refused: Vec<String> = report.refusals.iter().map(ToString::to_string).collect();
    let says = |path: &str| refused.iter().any(|told| told.starts_with(path));
    for path in ["address.socket_address.protocol", "udp_listener_config"] {
        assert!(says(path), "{path}: {refused:?}");
    }
}

#[test]
fn envoy_accepts_the_same_as_a_static_bootstrap() {
    let Some(envoy) = Tool::Envoy.need() else { return };
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let ca = Ca::new("root");
    for (name, mut manifests) in inputs() {
        manifests.iter_mut().for_each(|manifest| fill(manifest, &ca));
        let mut world = World::with(logged(&name), &manifests);
        let leaf = ca.issue(&["app.example.com"]);
        let files = world.pilot.files().into_iter().map(|name| {
            let content = Ok(content(&name, &ca, &leaf));
            Input::File { name, content }
        });
        let files: Vec<Input> = files.collect();
        world.give(files);
        let bootstrap = static_bootstrap(&world.snapshot, "tidegate").expect("it assembles");
        let bootstrap = to_json(&bootstrap, FieldNames::Proto).expect("known types");
        assert!(!bootstrap.to_string().contains("\"ads\""), "{name} leaves something to ADS");
        let file = scratch.path().join(format!("{name}.json"));
        fs::write(&file, bootstrap.to_string()).expect("a bootstrap is written");
        let judged = Command::new(&envoy)
            .args(["--mode", "validate", "--log-level", "warning", "-c"])
            .arg(&file)
            .output()
            .expect("Envoy runs");
        let said = String::from_utf8_lossy(&judged.stderr);
        assert!(judged.status.success(), "{name}: Envoy refuses it: {said}\n{bootstrap:#}");
    }
}
