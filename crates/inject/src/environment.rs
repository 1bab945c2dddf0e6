//! What a proxy finds in its environment: who its pod is, and how it is to be run.

use serde_json::{Value, json};
use tidegate_capture::Mode;

use crate::annotations::{Plan, Template};
use crate::containers::PROXY;
use crate::pod::Pod;
use crate::settings::Settings;
use crate::workload::Owner;

/// The variables, by the names that Istio's agent reads them by.
pub(crate) fn of(plan: &Plan, settings: &Settings, pod: &Pod, owner: &Owner) -> Vec<Value> {
    let set = |name: &str, value: &str| json!({ "name": name, "value": value });
    let field = |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let limit = |name: &str, limit: &str| json!({ "name": name, "valueFrom": { "resourceFieldRef": { "resource": limit, "divisor": "1" } } });
    let revision =
        settings.revision.as_deref().filter(|revision| !["", "default"].contains(revision));
    let control_plane =
        revision.map_or("istiod".to_owned(), |revision| format!("istiod-{revision}"));
    let config = Value::Object(plan.proxy_config.clone()).to_string();
    let containers: Vec<&str> = pod
        .containers()
        .filter_map(|one| one["name"].as_str())
        .filter(|name| *name != PROXY)
        .collect();
    let mut variables = vec![
        set("PILOT_CERT_PROVIDER", "istiod"),
        set("CA_ADDR", &format!("{control_plane}.istio-system.svc:15012")),
        field("POD_NAME", "metadata.name"),
        field("POD_NAMESPACE", "metadata.namespace"),
        field("INSTANCE_IP", "status.podIP"),
        field("SERVICE_ACCOUNT", "spec.serviceAccountName"),
        field("HOST_IP", "status.hostIP"),
        limit("ISTIO_CPU_LIMIT", "limits.cpu"),
        set("PROXY_CONFIG", &config),
        set("ISTIO_META_POD_PORTS", &ports(pod)),
        set("ISTIO_META_APP_CONTAINERS", &containers.join(",")),
        limit("GOMEMLIMIT", "limits.memory"),
        set("ISTIO_META_CLUSTER_ID", "Kubernetes"),
        field("ISTIO_META_NODE_NAME", "spec.nodeName"),
        set("ISTIO_META_INTERCEPTION_MODE", mode(plan)),
    ];
    if !owner.name.is_empty() {
        let name = pod
            .labels
            .get("service.istio.io/workload-name")
            .filter(|_| plan.template == Template::Sidecar);
        variables.push(set("ISTIO_META_WORKLOAD_NAME", name.unwrap_or(&owner.name)));
        variables.push(set("ISTIO_META_OWNER", &path(owner)));
    }
    if plan.bootstrap.is_some() {
        variables.push(set(
            "ISTIO_BOOTSTRAP_OVERRIDE",
            "/etc/istio/custom-bootstrap/custom_bootstrap.json",
        ));
    }
    variables.push(set("ISTIO_META_MESH_ID", &settings.domain));
    variables.push(set("TRUST_DOMAIN", &settings.domain));
    variables.extend(plan.metadata.iter().map(|(name, value)| set(name, value)));
    variables
}

fn mode(plan: &Plan) -> &'static str {
    match plan.mode {
        None => "NONE",
        Some(Mode::Redirect) => "REDIRECT",
        Some(Mode::Tproxy { .. }) => "TPROXY",
    }
}

/// The ports of the workload's containers.
fn ports(pod: &Pod) -> String {
    let ports = pod.containers().filter_map(|container| container["ports"].as_array()).flatten();
    Value::Array(ports.cloned().collect()).to_string()
}

/// The owner's path in the API, as Istio writes it.
fn path(owner: &Owner) -> String {
    let Owner { api_version, kind, namespace, name } = owner;
    let namespace = if namespace.is_empty() { "default" } else { namespace };
    let kind = kind.to_lowercase();
    format!("kubernetes://apis/{api_version}/namespaces/{namespace}/{kind}s/{name}")
}
