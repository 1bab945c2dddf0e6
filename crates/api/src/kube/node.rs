//! Node: a machine of a cluster. It is stored and shown; nothing here runs on it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::{Value, json};

use super::{child, set_default};
use crate::scalar::{IntOrString, Opaque};

/// A machine that pods run on.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// What is wanted.
    pub spec: Option<NodeSpec>,
    /// What is.
    pub status: Option<NodeStatus>,
}

/// What a Node is.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeSpec {
    /// Addresses of pods on the node.
    #[serde(rename = "podCIDR")]
    pub pod_cidr: Option<String>,
    /// Addresses of pods on the node, one range per family.
    #[serde(rename = "podCIDRs")]
    pub pod_cidrs: Option<Vec<String>>,
    /// The machine's name with its provider.
    #[serde(rename = "providerID")]
    pub provider_id: Option<String>,
    /// Whether no new pods may come.
    pub unschedulable: Option<bool>,
    /// What keeps pods away.
    pub taints: Option<Vec<Taint>>,
    /// Not in use.
    pub config_source: Option<Opaque>,
    /// Not in use.
    #[serde(rename = "externalID")]
    pub external_id: Option<String>,
}

/// What keeps pods away that do not tolerate it.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Taint {
    /// Its key.
    pub key: Option<String>,
    /// Its value.
    pub value: Option<String>,
    /// NoSchedule, PreferNoSchedule or NoExecute.
    pub effect: Option<String>,
    /// Since when.
    pub time_added: Option<String>,
}

/// What is known of a Node.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// Amounts that the machine has.
    pub capacity: Option<BTreeMap<String, IntOrString>>,
    /// Amounts that pods may take.
    pub allocatable: Option<BTreeMap<String, IntOrString>>,
    /// Not in use.
    pub phase: Option<String>,
    /// The state of the node, one aspect each.
    pub conditions: Option<Vec<NodeCondition>>,
    /// Addresses of the node.
    pub addresses: Option<Vec<NodeAddress>>,
    /// Ports of the node's own services.
    pub daemon_endpoints: Option<Opaque>,
    /// What runs the machine.
    pub node_info: Option<NodeInfo>,
    /// Images that are there.
    pub images: Option<Opaque>,
    /// Volumes in use.
    pub volumes_in_use: Option<Opaque>,
    /// Volumes that are there.
    pub volumes_attached: Option<Opaque>,
    /// Configuration of the kubelet.
    pub config: Option<Opaque>,
    /// What container runtimes can do.
    pub runtime_handlers: Option<Opaque>,
    /// What the node can do.
    pub features: Option<Opaque>,
}

/// One aspect of a node's state.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeCondition {
    /// Which aspect, such as Ready.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// True, False or Unknown.
    pub status: Option<String>,
    /// When it was last heard of.
    pub last_heartbeat_time: Option<String>,
    /// When it last changed.
    pub last_transition_time: Option<String>,
    /// Why, in one word.
    pub reason: Option<String>,
    /// Why, in words.
    pub message: Option<String>,
}

/// An address of a node.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeAddress {
    /// InternalIP, ExternalIP, Hostname, InternalDNS or ExternalDNS.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The address.
    pub address: Option<String>,
}

/// What runs a machine.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "NodeSystemInfo")]
pub struct NodeInfo {
    /// Identity of the machine.
    #[serde(rename = "machineID")]
    pub machine_id: Option<String>,
    /// Identity of the system.
    #[serde(rename = "systemUUID")]
    pub system_uuid: Option<String>,
    /// Identity of the boot.
    #[serde(rename = "bootID")]
    pub boot_id: Option<String>,
    /// Version of the kernel.
    pub kernel_version: Option<String>,
    /// The system, in words.
    pub os_image: Option<String>,
    /// The container runtime and its version.
    pub container_runtime_version: Option<String>,
    /// Version of the kubelet.
    pub kubelet_version: Option<String>,
    /// Version of kube-proxy.
    pub kube_proxy_version: Option<String>,
    /// The operating system.
    pub operating_system: Option<String>,
    /// The kind of processor.
    pub architecture: Option<String>,
    /// Swap space.
    pub swap: Option<Opaque>,
}

/// Fills in what Kubernetes fills in.
pub(super) fn defaults(object: &mut Value) {
    child(object, "spec");
    set_default(object, "status", json!({}));
}
