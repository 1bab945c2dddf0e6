//! Objects that several tests ask about.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_api::kinds::{by_api_version, split_api_version};
use tidegate_api::{KINDS, Object, Origin};
use tidegate_explain::{Answer, Question, World};
use tidegate_pilot::Options;
use tidegate_testing::ca::{Ca, Identity};

/// A manifest as the API has it.
pub fn object(manifest: &Value) -> Arc<Object> {
    let info = KINDS.iter().find(|info| info.name == manifest["kind"]).expect("a kind");
    let version = manifest["apiVersion"].as_str().and_then(|v| v.rsplit('/').next());
    let decoded = Object::decode(info.kind, version.unwrap_or("v1"), manifest, Origin::Api);
    Arc::new(decoded.unwrap_or_else(|errors| panic!("{errors:?}\n{manifest:#}")).object)
}

/// A request in plain text on port 80.
pub fn question(host: &str, path: &str) -> Question {
    Question { host: host.to_owned(), path: path.to_owned(), ..Question::default() }
}

/// A folder for manifests; what is asked about them looks into it for lines.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    /// The objects of a file that is written for them.
    pub fn objects(&self, file: &str, manifests: &str) -> Vec<Arc<Object>> {
        from_file(&self.0.path().join(file), manifests)
    }
}

/// A Gateway of the name `gw` with every host on port 80.
const GATEWAY: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: default}
spec:
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]
---
";

/// What is made of the manifests of one file.
pub struct Case {
    pub world: World,
    _folder: Folder,
}

impl Case {
    pub fn new(manifests: &str) -> Self {
        let folder = Folder::new();
        let world = World::new(Options::default(), folder.objects("all.yaml", manifests));
        Self { world, _folder: folder }
    }

    /// What is made already.
    pub fn of(world: World) -> Self {
        Self { world, _folder: Folder::new() }
    }

    /// What is made of a Gateway `gw` with every host on port 80, and of manifests behind it.
    pub fn behind_gateway(manifests: &str) -> Self {
        Self::new(&format!("{GATEWAY}{manifests}"))
    }

    /// The answer to a request in plain text with these headers.
    pub fn ask(&self, host: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let headers = headers.iter().map(own).collect();
        self.world.explain(&Question { headers, ..question(host, path) })
    }
}

fn from_file(file: &Path, manifests: &str) -> Vec<Arc<Object>> {
    std::fs::write(file, manifests).expect("written");
    let objects = tidegate_yaml::parse(manifests).into_iter().map(|document| {
        let document = document.expect("YAML");
        let value = document.to_json();
        let api_version = value["apiVersion"].as_str().expect("a version");
        let info = by_api_version(api_version, value["kind"].as_str().expect("a kind"));
        let origin = Origin::File { path: file.into(), line: document.locate("").start.line };
        let (_, version) = split_api_version(api_version);
        let decoded = Object::decode(info.expect("known").kind, version, &value, origin);
        Arc::new(decoded.expect("a good object").object)
    });
    objects.collect()
}

/// A manifest of a kind whose last version is meant.
pub fn manifest(kind: &str, namespace: &str, name: &str, spec: &Value) -> Value {
    json!({"kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec})
}

/// A Gateway of namespace `default` for the proxy with the usual labels.
pub fn gateway(name: &str, servers: &[Value]) -> Value {
    let spec = json!({"selector": {"istio": "ingressgateway"}, "servers": servers});
    manifest("Gateway", "default", name, &spec)
}

/// A server for requests in plain text on port 80.
pub fn plain(host: &str) -> Value {
    json!({"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": [host]})
}

/// A server for requests over TLS on port 443.
pub fn server(name: &str, host: &str, tls: &Value) -> Value {
    json!({"port": {"number": 443, "name": name, "protocol": "HTTPS"}, "hosts": [host], "tls": tls})
}

/// A Secret of the gateway's with a certificate and the authorities that client certificates are verified by.
pub fn secret(name: &str, ca: &Ca, leaf: &Identity) -> Value {
    json!({
        "kind": "Secret",
        "metadata": {"name": name, "namespace": "istio-system"},
        "stringData": {"cert": leaf.certificate_pem, "key": leaf.key_pem, "cacert": ca.pem()},
    })
}

/// A VirtualService of namespace `default` that answers every request for these hosts by itself.
pub fn answering(name: &str, hosts: &[&str], gateways: &[&str], status: u16) -> Value {
    let http = json!([{"directResponse": {"status": status}}]);
    let spec = json!({"hosts": hosts, "gateways": gateways, "http": http});
    manifest("VirtualService", "default", name, &spec)
}
