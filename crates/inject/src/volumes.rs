//! Volumes of a sidecar, and where it mounts them.

use serde_json::{Value, json};

use crate::annotations::{Plan, Template};

/// The volumes, in Istio's order.
pub(crate) fn volumes(plan: &Plan) -> Vec<Value> {
    let mut volumes = vec![
        json!({ "name": "workload-socket", "emptyDir": {} }),
        json!({ "name": "credential-socket", "emptyDir": {} }),
        json!({ "name": "workload-certs", "emptyDir": {} }),
    ];
    if let Some(bootstrap) = &plan.bootstrap {
        volumes.push(json!({ "name": BOOTSTRAP, "configMap": { "name": bootstrap } }));
    }
    let of_pod = |path: &str| json!({ "path": path, "fieldRef": { "fieldPath": format!("metadata.{path}") } });
    let token =
        json!({ "path": "istio-token", "expirationSeconds": 43200, "audience": "istio-ca" });
    volumes.extend([
        json!({ "name": "istio-envoy", "emptyDir": { "medium": "Memory" } }),
        json!({ "name": "istio-data", "emptyDir": {} }),
        json!({ "name": "istio-podinfo", "downwardAPI": { "items": [of_pod("labels"), of_pod("annotations")] } }),
        json!({ "name": "istio-token", "projected": { "sources": [{ "serviceAccountToken": token }] } }),
        // Where Istio's control plane is not, nobody makes it.
        json!({ "name": "istiod-ca-cert", "configMap": { "name": "istio-ca-root-cert", "optional": true } }),
    ]);
    if plan.template == Template::Sidecar {
        volumes.push(json!({ "name": "istio-ca-crl", "configMap": { "name": "istio-ca-crl", "optional": true } }));
    }
    volumes.extend(plan.volumes.iter().map(|(name, volume)| named(volume, name)));
    volumes
}

/// The mounts of the sidecar.
pub(crate) fn mounts(plan: &Plan) -> Vec<Value> {
    let mut mounts: Vec<(&str, &str)> = vec![
        ("workload-socket", "/var/run/secrets/workload-spiffe-uds"),
        ("credential-socket", "/var/run/secrets/credential-uds"),
        ("workload-certs", "/var/run/secrets/workload-spiffe-credentials"),
        ("istiod-ca-cert", "/var/run/secrets/istio"),
    ];
    if plan.template == Template::Sidecar {
        mounts.push(("istio-ca-crl", "/var/run/secrets/istio/crl"));
    }
    mounts.push(("istio-data", "/var/lib/istio/data"));
    if plan.bootstrap.is_some() {
        mounts.push((BOOTSTRAP, "/etc/istio/custom-bootstrap"));
    }
    mounts.extend([
        ("istio-envoy", "/etc/istio/proxy"),
        ("istio-token", "/var/run/secrets/tokens"),
        ("istio-podinfo", "/etc/istio/pod"),
    ]);
    let mounts = mounts.into_iter().map(|(name, path)| json!({ "name": name, "mountPath": path }));
    mounts.chain(plan.mounts.iter().map(|(name, mount)| named(mount, name))).collect()
}

const BOOTSTRAP: &str = "custom-bootstrap-volume";

fn named(value: &Value, name: &str) -> Value {
    let mut value = value.clone();
    value["name"] = name.into();
    value
}
