//! Configurations that are written by hand: the guides', the examples', and pilot's own golden ones.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Configurations by name.
pub fn written() -> Vec<(String, Vec<Value>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let golden = root.join("crates/pilot/tests/golden");
    let guide = root.join("tests/guides/002");
    let mut all = Vec::new();
    for file in yaml_in(&golden) {
        all.push((format!("golden/{}", stem(&file)), documents(&file)));
    }
    for folder in entries(&root.join("examples")) {
        let files = yaml_in(&folder);
        if folder.is_dir() && !folder.ends_with("envoy-bootstrap") {
            all.push((
                format!("examples/{}", stem(&folder)),
                files.iter().flat_map(|f| documents(f)).collect(),
            ));
        }
    }
    // Each VirtualService of guide 002 beside its Gateways, and all of them at once.
    let files = yaml_in(&guide);
    let (gateways, rest): (Vec<&PathBuf>, Vec<&PathBuf>) = files
        .iter()
        .filter(|file| !file.ends_with("httpbin-deployment.yaml"))
        .partition(|file| stem(file).starts_with("gateway-"));
    let read =
        |files: &[&PathBuf]| files.iter().flat_map(|file| documents(file)).collect::<Vec<_>>();
    let gateways = read(&gateways);
    for file in &rest {
        all.push((format!("guide-002/{}", stem(file)), [gateways.clone(), read(&[file])].concat()));
    }
    all.push(("guide-002/all".to_owned(), [gateways, read(&rest)].concat()));
    for (_, manifests) in &mut all {
        complete(manifests);
    }
    all
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

fn yaml_in(folder: &Path) -> Vec<PathBuf> {
    let files = if folder.is_dir() { entries(folder) } else { Vec::new() };
    files.into_iter().filter(|path| path.extension().is_some_and(|e| e == "yaml")).collect()
}

fn stem(path: &Path) -> String {
    path.file_stem().expect("a name").to_string_lossy().into_owned()
}

fn documents(file: &Path) -> Vec<Value> {
    let source = fs::read_to_string(file).expect("a manifest");
    let documents = tidegate_yaml::parse(&source).into_iter();
    documents
        .map(|d| d.unwrap_or_else(|fault| panic!("{}: {fault}", file.display())).to_json())
        .collect()
}

/// Adds the Services that a guide takes for granted, and the hosts that its Gateways leave out.
fn complete(manifests: &mut Vec<Value>) {
    let names = |manifests: &[Value], kind: &str| -> Vec<String> {
        let named = manifests.iter().filter(|m| m["kind"] == kind);
        named.filter_map(|m| m["metadata"]["name"].as_str().map(str::to_owned)).collect()
    };
    let services = names(manifests, "Service");
    let mut missing = Vec::new();
    for manifest in manifests.iter().filter(|m| m["kind"] == "VirtualService") {
        for rule in manifest["spec"]["http"].as_array().into_iter().flatten() {
            for share in rule["route"].as_array().into_iter().flatten() {
                let host = share["destination"]["host"].as_str().unwrap_or_default();
                let port = &share["destination"]["port"]["number"];
                let known = services.iter().any(|name| name == host) || host.contains('.');
                if !known && port.is_u64() && !missing.contains(&(host.to_owned(), port.clone())) {
                    missing.push((host.to_owned(), port.clone()));
                }
            }
        }
    }
    for manifest in manifests.iter_mut().filter(|m| m["metadata"]["name"] == "httpbin-gateway") {
        let hosts = manifest["spec"]["servers"][0]["hosts"].as_array_mut().expect("hosts");
        hosts.push("app.example.com".into());
    }
    manifests.extend(missing.into_iter().map(|(name, port)| {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": name },
            "spec": { "ports": [{ "name": "http", "port": port }] },
        })
    }));
}
