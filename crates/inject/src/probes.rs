//! Probes of the workload: they are asked of the sidecar, which asks the workload from within. The kubelet's own requests could be
//! refused as a stranger's, and a connection to a redirected port tells only that the sidecar is there.

use serde_json::{Map, Value, json};

use crate::annotations::Plan;
use crate::pod::Pod;

/// What the agent asks, by the path that it is asked for.
const VARIABLE: &str = "ISTIO_KUBE_APP_PROBERS";

/// Leads the probes of all containers to the sidecar, and tells it what they were.
pub(crate) fn rewrite(pod: &mut Pod, plan: &Plan, proxy: &mut Value) {
    if !plan.rewrites_probes || plan.status_port == 0 {
        return;
    }
    let mut probers = Map::new();
    for container in pod.workload_mut() {
        let name = container["name"].as_str().unwrap_or_default().to_owned();
        let ports = container.get("ports").cloned().unwrap_or_default();
        let hooks = ["preStop", "postStart"].map(|hook| {
            (
                format!("/lifecycle/{hook}"),
                format!("/app-lifecycle/{name}/{}z", hook.to_lowercase()),
            )
        });
        let probes = [
            ("readinessProbe", "readyz"),
            ("livenessProbe", "livez"),
            ("startupProbe", "startupz"),
        ]
        .map(|(probe, path)| (format!("/{probe}"), format!("/app-health/{name}/{path}")));
        for (field, path) in probes.into_iter().chain(hooks) {
            let Some(Value::Object(probe)) = container.pointer_mut(&field) else { continue };
            if let Some(prober) = one(probe, &path, &ports, plan.status_port) {
                probers.insert(path, prober);
            }
        }
    }
    if !probers.is_empty()
        && let Some(variables) = proxy["env"].as_array_mut()
    {
        variables.push(json!({ "name": VARIABLE, "value": Value::Object(probers).to_string() }));
    }
}

/// Leads one probe to the sidecar. `None`: it stays as it is.
fn one(
    probe: &mut Map<String, Value>,
    path: &str,
    ports: &Value,
    status_port: u16,
) -> Option<Value> {
    let kind = ["httpGet", "tcpSocket", "grpc"]
        .into_iter()
        .find(|kind| probe.get(*kind).is_some_and(Value::is_object))?;
    let mut action = probe[kind].clone();
    // With an address of its own it does not come in to this pod.
    if action.get("host").and_then(Value::as_str).is_some_and(|host| !host.is_empty()) {
        return None;
    }
    let port = number(action.get("port")?, ports)?;
    if port == u64::from(status_port) {
        return None;
    }
    action["port"] = port.into();
    let mut asked = json!({ "path": path, "port": status_port });
    if kind == "httpGet" {
        if let Some(headers) = action.get("httpHeaders") {
            asked["httpHeaders"] = headers.clone();
        }
        // The agent speaks TLS to the workload, and none to the kubelet.
        if let Some(scheme) = action.get("scheme") {
            asked["scheme"] = if scheme == "HTTPS" { "HTTP".into() } else { scheme.clone() };
        }
    }
    probe.remove(kind);
    probe.insert("httpGet".to_owned(), asked);
    let mut prober = json!({ kind: action });
    if let Some(timeout) = probe.get("timeoutSeconds") {
        prober["timeoutSeconds"] = timeout.clone();
    }
    Some(prober)
}

/// The number of a port that may be named.
fn number(port: &Value, ports: &Value) -> Option<u64> {
    match port {
        Value::String(name) => {
            let named = ports.as_array()?.iter().find(|port| port["name"] == **name)?;
            named["containerPort"].as_u64()
        }
        port => port.as_u64(),
    }
}
