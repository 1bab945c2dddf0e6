//! Objects that several tests ask about.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_api::kinds::{by_api_version, split_api_version};
use tidegate_api::{KINDS, Object, Origin};
use tidegate_testing::ca::{Ca, Identity};

/// A manifest as the API has it.
pub fn object(manifest: &Value) -> Arc<Object> {
    let info = KINDS.iter().find(|info| info.name == manifest["kind"]).expect("a kind");
    let version = manifest["apiVersion"].as_str().and_then(|v| v.rsplit('/').next());
    let decoded = Object::decode(info.kind, version.unwrap_or("v1"), manifest, Origin::Api);
    Arc::new(decoded.unwrap_or_else(|errors| panic!("{errors:?}\n{manifest:#}")).object)
}

/// The objects of a file that is written for them.
pub fn from_file(file: &Path, manifests: &str) -> Vec<Arc<Object>> {
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
