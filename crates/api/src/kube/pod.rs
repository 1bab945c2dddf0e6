//! Pod: a workload. It is stored and shown, and its address may serve as an endpoint; nothing here runs it.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{TransportProtocol, child, items, set_default};
use crate::scalar::Opaque;
use crate::validation::{Report, names};

/// A group of containers with one address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    /// What is wanted.
    #[serde(default)]
    pub spec: PodSpec,
    /// What is.
    #[serde(default)]
    pub status: PodStatus,
}

/// What a Pod is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec {
    /// The containers; at least one.
    #[serde(default)]
    pub containers: Vec<Container>,
    /// Containers that run, one after the other, before the others.
    #[serde(default)]
    pub init_containers: Vec<Container>,
    /// Containers that were added to inspect the pod.
    #[serde(default)]
    pub ephemeral_containers: Opaque,
    /// The node that the pod is bound to.
    #[serde(default)]
    pub node_name: String,
    /// Labels of the nodes that the pod may run on.
    #[serde(default)]
    pub node_selector: BTreeMap<String, String>,
    /// The account that the pod runs as.
    #[serde(default)]
    pub service_account_name: String,
    /// Deprecated spelling of `serviceAccountName`.
    #[serde(default)]
    pub service_account: String,
    /// Whether the account's token is mounted.
    pub automount_service_account_token: Option<bool>,
    /// Whether the pod uses its node's network.
    #[serde(default)]
    pub host_network: bool,
    /// Whether the pod uses its node's process ids.
    #[serde(default, rename = "hostPID")]
    pub host_pid: bool,
    /// Whether the pod uses its node's IPC.
    #[serde(default, rename = "hostIPC")]
    pub host_ipc: bool,
    /// Whether the pod uses its node's user namespace.
    pub host_users: Option<bool>,
    /// Whether containers of the pod share process ids.
    pub share_process_namespace: Option<bool>,
    /// Host name of the pod.
    #[serde(default)]
    pub hostname: String,
    /// Host name that replaces the pod's in its kernel.
    pub hostname_override: Option<String>,
    /// Subdomain of the pod's host name.
    #[serde(default)]
    pub subdomain: String,
    /// Whether the pod's host name is its full domain name.
    #[serde(default, rename = "setHostnameAsFQDN")]
    pub set_hostname_as_fqdn: Option<bool>,
    /// When ended containers start again: Always, OnFailure or Never.
    #[serde(default)]
    pub restart_policy: String,
    /// How names are resolved.
    #[serde(default)]
    pub dns_policy: String,
    /// Parameters of name resolution.
    #[serde(default)]
    pub dns_config: Opaque,
    /// Entries for the hosts file.
    #[serde(default)]
    pub host_aliases: Opaque,
    /// How long the pod may take to end.
    pub termination_grace_period_seconds: Option<i64>,
    /// How long the pod may run.
    pub active_deadline_seconds: Option<i64>,
    /// Credentials for pulling images.
    #[serde(default)]
    pub image_pull_secrets: Opaque,
    /// Security settings of the pod.
    #[serde(default)]
    pub security_context: Opaque,
    /// Volumes of the pod.
    #[serde(default)]
    pub volumes: Opaque,
    /// Where the pod may run.
    #[serde(default)]
    pub affinity: Opaque,
    /// Taints of nodes that the pod tolerates.
    #[serde(default)]
    pub tolerations: Opaque,
    /// How pods are spread.
    #[serde(default)]
    pub topology_spread_constraints: Opaque,
    /// Which scheduler binds the pod.
    #[serde(default)]
    pub scheduler_name: String,
    /// Conditions that scheduling waits for.
    #[serde(default)]
    pub scheduling_gates: Opaque,
    /// Group of pods that are scheduled together.
    #[serde(default)]
    pub scheduling_group: Opaque,
    /// Name of the pod's priority.
    #[serde(default)]
    pub priority_class_name: String,
    /// The pod's priority.
    pub priority: Option<i32>,
    /// Whether the pod may push others out.
    pub preemption_policy: Option<String>,
    /// Conditions that count for the pod being ready.
    #[serde(default)]
    pub readiness_gates: Opaque,
    /// Name of the pod's runtime.
    pub runtime_class_name: Option<String>,
    /// What the runtime itself needs.
    #[serde(default)]
    pub overhead: Opaque,
    /// Whether services are told in environment variables.
    pub enable_service_links: Option<bool>,
    /// Operating system of the pod.
    #[serde(default)]
    pub os: Opaque,
    /// Claims on devices.
    #[serde(default)]
    pub resource_claims: Opaque,
    /// Resources of the pod as a whole.
    #[serde(default)]
    pub resources: Opaque,
}

/// One container of a Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// Name of the container, unique in the pod.
    #[serde(default)]
    pub name: String,
    /// Image that the container runs.
    #[serde(default)]
    pub image: String,
    /// Program to run, in place of the image's.
    #[serde(default)]
    pub command: Vec<String>,
    /// Arguments of the program.
    #[serde(default)]
    pub args: Vec<String>,
    /// Directory that the program starts in.
    #[serde(default)]
    pub working_dir: String,
    /// Ports that the container listens on.
    #[serde(default)]
    pub ports: Vec<ContainerPort>,
    /// Environment variables.
    #[serde(default)]
    pub env: Vec<EnvVar>,
    /// Sources of further environment variables.
    #[serde(default)]
    pub env_from: Opaque,
    /// Resources of the container.
    #[serde(default)]
    pub resources: Opaque,
    /// How resources may change while the container runs.
    #[serde(default)]
    pub resize_policy: Opaque,
    /// For init containers: Always makes a sidecar of it.
    pub restart_policy: Option<String>,
    /// Exit codes on which the container starts again.
    #[serde(default)]
    pub restart_policy_rules: Opaque,
    /// Where volumes are mounted.
    #[serde(default)]
    pub volume_mounts: Opaque,
    /// Block devices of the container.
    #[serde(default)]
    pub volume_devices: Opaque,
    /// When the container is restarted.
    #[serde(default)]
    pub liveness_probe: Opaque,
    /// When the container is ready.
    #[serde(default)]
    pub readiness_probe: Opaque,
    /// When the container has started.
    #[serde(default)]
    pub startup_probe: Opaque,
    /// What happens after start and before the end.
    #[serde(default)]
    pub lifecycle: Opaque,
    /// File with the container's last message.
    #[serde(default)]
    pub termination_message_path: String,
    /// Where the last message is taken from.
    #[serde(default)]
    pub termination_message_policy: String,
    /// When the image is pulled.
    #[serde(default)]
    pub image_pull_policy: String,
    /// Security settings of the container.
    #[serde(default)]
    pub security_context: Opaque,
    /// Whether the container reads input.
    #[serde(default)]
    pub stdin: bool,
    /// Whether input ends with its first reader.
    #[serde(default)]
    pub stdin_once: bool,
    /// Whether the container has a terminal.
    #[serde(default)]
    pub tty: bool,
}

/// An environment variable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvVar {
    /// Name of the variable.
    #[serde(default)]
    pub name: String,
    /// Its value.
    #[serde(default)]
    pub value: String,
    /// Where its value is taken from.
    #[serde(default)]
    pub value_from: Opaque,
}

/// A port of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerPort {
    /// Name of the port, which Services may refer to.
    #[serde(default)]
    pub name: String,
    /// The port number.
    #[serde(default)]
    pub container_port: i32,
    /// Transport of the port. TCP when absent.
    #[serde(default)]
    pub protocol: TransportProtocol,
    /// Port of the node that leads here.
    #[serde(default)]
    pub host_port: i32,
    /// Address of the node that leads here.
    #[serde(default, rename = "hostIP")]
    pub host_ip: String,
}

/// What is known of a Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodStatus {
    /// Pending, Running, Succeeded, Failed or Unknown.
    #[serde(default)]
    pub phase: String,
    /// Conditions of the pod.
    #[serde(default)]
    pub conditions: Vec<PodCondition>,
    /// The pod's address.
    #[serde(default, rename = "podIP")]
    pub pod_ip: String,
    /// All addresses of the pod, the first being `podIP`.
    #[serde(default, rename = "podIPs")]
    pub pod_ips: Vec<PodIp>,
    /// The node's address.
    #[serde(default, rename = "hostIP")]
    pub host_ip: String,
    /// All addresses of the node.
    #[serde(default, rename = "hostIPs")]
    pub host_ips: Opaque,
    /// Why the pod is in its phase, in words.
    #[serde(default)]
    pub message: String,
    /// Why the pod is in its phase, in one word.
    #[serde(default)]
    pub reason: String,
    /// When the pod was taken up.
    #[serde(default)]
    pub start_time: Opaque,
    /// State of the init containers.
    #[serde(default)]
    pub init_container_statuses: Opaque,
    /// State of the containers.
    #[serde(default)]
    pub container_statuses: Opaque,
    /// State of the containers that inspect the pod.
    #[serde(default)]
    pub ephemeral_container_statuses: Opaque,
    /// Node that the pod may be bound to once others left it.
    #[serde(default)]
    pub nominated_node_name: String,
    /// Guaranteed, Burstable or BestEffort.
    #[serde(default)]
    pub qos_class: String,
    /// Progress of a change of resources.
    #[serde(default)]
    pub resize: String,
    /// State of claims on devices.
    #[serde(default)]
    pub resource_claim_statuses: Opaque,
    /// State of extended resources.
    #[serde(default)]
    pub extended_resource_claim_status: Opaque,
    /// Resources that were given.
    #[serde(default)]
    pub allocated_resources: Opaque,
    /// Resources of the pod as a whole.
    #[serde(default)]
    pub resources: Opaque,
    /// The generation that this status speaks of.
    #[serde(default)]
    pub observed_generation: i64,
}

/// An address of a Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct PodIp {
    /// The address.
    #[serde(default)]
    pub ip: String,
}

/// A condition of a Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodCondition {
    /// Which condition, such as Ready.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// True, False or Unknown.
    #[serde(default)]
    pub status: String,
    /// Why, in one word.
    #[serde(default)]
    pub reason: String,
    /// Why, in words.
    #[serde(default)]
    pub message: String,
    /// When it was last examined.
    #[serde(default)]
    pub last_probe_time: Opaque,
    /// When it last changed.
    #[serde(default)]
    pub last_transition_time: Opaque,
    /// The generation that it speaks of.
    #[serde(default)]
    pub observed_generation: i64,
}

impl Pod {
    /// Whether the pod takes traffic: its Ready condition, or, where nobody wrote conditions, its phase.
    pub fn is_ready(&self) -> bool {
        match self.status.conditions.iter().find(|c| c.kind == "Ready") {
            Some(ready) => ready.status == "True",
            None => !matches!(self.status.phase.as_str(), "Succeeded" | "Failed"),
        }
    }
}

/// Fills in what Kubernetes fills in when a Pod is created: the template's defaults, then what its admission
/// adds. `status.podIP` stays if somebody wrote it: no kubelet is here to find it out.
pub(super) fn defaults(object: &mut Value) {
    let spec = child(object, "spec");
    template_defaults(spec);
    set_default(spec, "enableServiceLinks", json!(true));
    set_default(spec, "priority", json!(0));
    set_default(spec, "preemptionPolicy", json!("PreemptLowerPriority"));
    let tolerate = |key: &str| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
    let tolerations =
        ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"].map(tolerate);
    set_default(spec, "tolerations", json!(tolerations));
    let class = qos_class(spec);
    let status = child(object, "status");
    set_default(status, "phase", json!("Pending"));
    set_default(status, "qosClass", json!(class));
    if let Some(ip) = status["podIP"].as_str().map(str::to_owned) {
        set_default(status, "podIPs", json!([{"ip": ip}]));
    }
}

/// Fills in what Kubernetes fills in for the spec of a pod, in a template too. Of volumes and their
/// sources nothing is filled in, since nothing here mounts them.
pub(super) fn template_defaults(spec: &mut Value) {
    set_default(spec, "restartPolicy", json!("Always"));
    set_default(spec, "terminationGracePeriodSeconds", json!(30));
    set_default(spec, "dnsPolicy", json!("ClusterFirst"));
    set_default(spec, "securityContext", json!({}));
    set_default(spec, "schedulerName", json!("default-scheduler"));
    if let Some(name) = spec["serviceAccountName"].as_str().map(str::to_owned) {
        set_default(spec, "serviceAccount", name.into());
    }
    for list in ["containers", "initContainers"] {
        for container in items(spec, list) {
            container_defaults(container);
        }
    }
}

fn container_defaults(container: &mut Value) {
    let image = container["image"].as_str().unwrap_or_default();
    // An image without a tag is the latest one; a registry's port is no tag.
    let tag = image.rsplit('/').next().unwrap_or_default().split_once(':').map(|(_, tag)| tag);
    let latest = !image.contains('@') && matches!(tag, None | Some("latest"));
    let policy = if latest { "Always" } else { "IfNotPresent" };
    set_default(container, "imagePullPolicy", json!(policy));
    set_default(container, "resources", json!({}));
    set_default(container, "terminationMessagePath", json!("/dev/termination-log"));
    set_default(container, "terminationMessagePolicy", json!("File"));
    for port in items(container, "ports") {
        set_default(port, "protocol", json!("TCP"));
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe) {
            set_default(probe, "timeoutSeconds", json!(1));
            set_default(probe, "periodSeconds", json!(10));
            set_default(probe, "successThreshold", json!(1));
            set_default(probe, "failureThreshold", json!(3));
            if let Some(get) = probe.get_mut("httpGet") {
                set_default(get, "path", json!("/"));
                set_default(get, "scheme", json!("HTTP"));
            }
        }
    }
}

/// How firmly the pod's resources are promised. Amounts are compared as they are written.
fn qos_class(spec: &Value) -> &'static str {
    let containers: Vec<&Value> = ["containers", "initContainers"]
        .iter()
        .filter_map(|list| spec[list].as_array())
        .flatten()
        .collect();
    let amount = |container: &Value, kind: &str, what: &str| -> Value {
        container["resources"][kind][what].clone()
    };
    let named = |container: &&&Value| {
        ["requests", "limits"].iter().any(|kind| {
            ["cpu", "memory"].iter().any(|what| !amount(container, kind, what).is_null())
        })
    };
    let firm = |container: &&Value| {
        ["cpu", "memory"].iter().all(|what| {
            let (limit, request) =
                (amount(container, "limits", what), amount(container, "requests", what));
            !limit.is_null() && (request.is_null() || request == limit)
        })
    };
    if containers.iter().find(named).is_none() {
        "BestEffort"
    } else if containers.iter().all(firm) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

impl PodSpec {
    /// Checks the containers. What only a kubelet acts on is not checked.
    pub(crate) fn validate(&self, report: &mut Report) {
        if self.containers.is_empty() {
            report.field("containers", |r| r.required(""));
        }
        let mut seen = BTreeSet::new();
        for (field, list) in
            [("initContainers", &self.init_containers), ("containers", &self.containers)]
        {
            report.each(field, list, |report, container| {
                container.validate(report);
                if !container.name.is_empty() && !seen.insert(container.name.as_str()) {
                    report.field("name", |r| r.duplicate(container.name.as_str()));
                }
            });
        }
        let policies = ["Always", "OnFailure", "Never"];
        if !self.restart_policy.is_empty() && !policies.contains(&self.restart_policy.as_str()) {
            let policy = self.restart_policy.as_str();
            report.field("restartPolicy", |r| r.not_supported(policy, &policies));
        }
    }
}

impl Container {
    fn validate(&self, report: &mut Report) {
        report.field("name", |report| match self.name.as_str() {
            "" => report.required(""),
            name => report.check(name, names::dns_label(name)),
        });
        if self.image.is_empty() {
            report.field("image", |r| r.required(""));
        }
        report.each("ports", &self.ports, |report, port| {
            if !port.name.is_empty() {
                let result = names::port_name(&port.name);
                report.field("name", |r| r.check(port.name.as_str(), result));
            }
            match port.container_port {
                0 => report.field("containerPort", |r| r.required("")),
                1..=65_535 => {}
                number => report.field("containerPort", |r| r.invalid(number, super::PORT_RANGE)),
            }
        });
        report.each("env", &self.env, |report, variable| {
            if variable.name.is_empty() {
                report.field("name", |r| r.required(""));
            }
        });
    }
}
