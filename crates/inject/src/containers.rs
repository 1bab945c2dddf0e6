//! The containers that are injected.

use serde_json::{Value, json};
use tidegate_capture::{Options, arguments};

use crate::annotations::{Plan, Template};
use crate::pod::Pod;
use crate::settings::Settings;
use crate::workload::Owner;
use crate::{environment, volumes};

/// The container that redirects connections.
pub(crate) const INIT: &str = "istio-init";
/// The container with the proxy.
pub(crate) const PROXY: &str = "istio-proxy";

/// The user and group that the proxy runs as: what they send is not redirected.
const ID: u32 = 1337;

/// The container that sets rules before the workload starts.
pub(crate) fn init(plan: &Plan, capture: &Options, settings: &Settings) -> Value {
    let mut args = vec!["istio-iptables".to_owned()];
    args.extend(arguments(capture));
    args.push(format!("--log_output_level={}", plan.agent_log_level));
    let mut container = json!({
        "name": INIT,
        "image": plan.init_image,
        "args": args,
        "resources": plan.resources,
        // Rules can be set by root alone.
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "privileged": false,
            "capabilities": { "add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"] },
            "readOnlyRootFilesystem": false,
            "runAsGroup": 0,
            "runAsNonRoot": false,
            "runAsUser": 0,
        },
    });
    if !plan.metadata.is_empty() {
        let variables =
            plan.metadata.iter().map(|(name, value)| json!({ "name": name, "value": value }));
        container["env"] = variables.collect();
    }
    pull(&mut container, settings);
    container
}

/// The container with the proxy.
pub(crate) fn proxy(plan: &Plan, settings: &Settings, pod: &Pod, owner: &Owner) -> Value {
    let role = match plan.template {
        Template::Sidecar => "sidecar",
        Template::Gateway => "router",
    };
    let mut container = json!({
        "name": PROXY,
        "image": plan.image,
        "args": [
            "proxy",
            role,
            "--domain",
            format!("$(POD_NAMESPACE).svc.{}", settings.domain),
            format!("--proxyLogLevel={}", plan.log_level),
            format!("--proxyComponentLogLevel={}", plan.component_log_level),
            format!("--log_output_level={}", plan.agent_log_level),
        ],
        "env": environment::of(plan, settings, pod, owner),
        "ports": [{ "containerPort": 15090, "name": "http-envoy-prom", "protocol": "TCP" }],
        "resources": plan.resources,
        "volumeMounts": volumes::mounts(plan),
    });
    match plan.template {
        Template::Sidecar => sidecar(&mut container, plan),
        Template::Gateway => {
            container["securityContext"] = json!({ "runAsUser": ID, "runAsGroup": ID });
            container["readinessProbe"] = readiness(plan);
        }
    }
    pull(&mut container, settings);
    container
}

fn sidecar(container: &mut Value, plan: &Plan) {
    container["securityContext"] = security(plan);
    if plan.status_port != 0 {
        container["readinessProbe"] = readiness(plan);
        container["startupProbe"] = json!({
            "httpGet": health(),
            "periodSeconds": 1,
            "timeoutSeconds": 3,
            "failureThreshold": 600,
        });
    }
    let agent = |words: &[&str]| json!({ "exec": { "command": words } });
    if plan.native {
        container["restartPolicy"] = "Always".into();
        // It is told first when the pod ends, and ended last: connections are drained in between.
        let port = format!("--debug-port={}", plan.status_port);
        let drain = agent(&["pilot-agent", "request", &port, "POST", "drain"]);
        container["lifecycle"] = json!({ "preStop": drain });
    } else if plan.holds_application {
        container["lifecycle"] = json!({ "postStart": agent(&["pilot-agent", "wait"]) });
    }
}

fn security(plan: &Plan) -> Value {
    let mut capabilities = json!({ "drop": ["ALL"] });
    let redirects = matches!(plan.mode, Some(tidegate_capture::Mode::Tproxy { .. }));
    let wanted = [(redirects, "NET_ADMIN"), (plan.binds_low_ports, "NET_BIND_SERVICE")];
    let added: Vec<&str> = wanted.into_iter().filter(|(is, _)| *is).map(|(_, name)| name).collect();
    if !added.is_empty() {
        capabilities["add"] = added.into();
    }
    json!({
        "allowPrivilegeEscalation": false,
        "privileged": false,
        "capabilities": capabilities,
        "readOnlyRootFilesystem": true,
        "runAsGroup": ID,
        "runAsNonRoot": !plan.runs_as_root(),
        "runAsUser": if plan.runs_as_root() { 0 } else { ID },
    })
}

/// Where the proxy says how it is.
fn health() -> Value {
    json!({ "path": "/healthz/ready", "port": 15021 })
}

fn readiness(plan: &Plan) -> Value {
    let mut probe = json!({
        "httpGet": health(),
        "periodSeconds": plan.readiness.period,
        "timeoutSeconds": 3,
        "failureThreshold": plan.readiness.failure_threshold,
    });
    if plan.readiness.initial_delay != 0 {
        probe["initialDelaySeconds"] = plan.readiness.initial_delay.into();
    }
    probe
}

fn pull(container: &mut Value, settings: &Settings) {
    if let Some(policy) = &settings.pull_policy {
        container["imagePullPolicy"] = policy.as_str().into();
    }
}
