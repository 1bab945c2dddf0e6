//! The columns of each kind, as a Kubernetes API server prints them.

use serde_json::{Value, json};
use tidegate_api::Kind;

/// The head of a column.
#[derive(Debug)]
pub(super) struct Column {
    name: &'static str,
    /// `string`, `date` or `integer`.
    kind: &'static str,
    /// `name` for the column that kubectl prefixes with the resource.
    format: &'static str,
    /// Shown only with `-o wide`.
    wide: bool,
    description: &'static str,
    /// Where its cells are in an object, as definitions of custom kinds say it.
    path: &'static str,
}

impl Column {
    pub(super) fn definition(&self) -> Value {
        json!({
            "name": self.name,
            "type": self.kind,
            "format": self.format,
            "description": self.description,
            "priority": u8::from(self.wide),
        })
    }
}

/// The columns of a custom kind as its definition has them: the name comes before them by itself.
pub(crate) fn printed(kind: Kind) -> Vec<Value> {
    let printed = |column: &Column| {
        json!({
            "name": column.name,
            "type": column.kind,
            "description": column.description,
            "priority": u8::from(column.wide),
            "jsonPath": column.path,
        })
    };
    columns(kind).iter().filter(|column| column.format != NAME.format).map(printed).collect()
}

const NAME: Column = Column {
    name: "Name",
    kind: "string",
    format: "name",
    wide: false,
    description: "Name of the object, unique in its namespace.",
    path: ".metadata.name",
};

const fn text(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "string", format: "", wide: false, description, path: "" }
}

/// A column of a custom kind.
const fn at(path: &'static str, name: &'static str, description: &'static str) -> Column {
    Column { path, ..text(name, description) }
}

const fn wide(name: &'static str, description: &'static str) -> Column {
    Column { wide: true, ..text(name, description) }
}

/// Built-in kinds give their age as text.
const AGE: Column = text("Age", "Time since the object was created.");
/// Custom kinds give it as a date.
const AGE_DATE: Column = Column { kind: "date", path: ".metadata.creationTimestamp", ..AGE };

const ACCEPTED: &str = ".status.conditions[?(@.type==\"Accepted\")].status";
const PROGRAMMED: &str = ".status.conditions[?(@.type==\"Programmed\")].status";

/// The columns of a kind, in the order of [`super::cells::cells`].
pub(super) fn columns(kind: Kind) -> &'static [Column] {
    match kind {
        Kind::Gateway
        | Kind::Sidecar
        | Kind::EnvoyFilter
        | Kind::WorkloadGroup
        | Kind::ProxyConfig
        | Kind::RequestAuthentication
        | Kind::Telemetry
        | Kind::WasmPlugin
        | Kind::TrafficExtension
        | Kind::TCPRoute
        | Kind::TLSRoute
        | Kind::UDPRoute
        | Kind::BackendTLSPolicy
        | Kind::ReferenceGrant => CUSTOM,
        Kind::VirtualService => VIRTUAL_SERVICE,
        Kind::DestinationRule => DESTINATION_RULE,
        Kind::ServiceEntry => SERVICE_ENTRY,
        Kind::WorkloadEntry => WORKLOAD_ENTRY,
        Kind::AuthorizationPolicy => AUTHORIZATION_POLICY,
        Kind::PeerAuthentication => PEER_AUTHENTICATION,
        Kind::GatewayClass => GATEWAY_CLASS,
        Kind::KubernetesGateway => KUBERNETES_GATEWAY,
        Kind::ListenerSet => LISTENER_SET,
        Kind::HTTPRoute | Kind::GRPCRoute => ROUTE,
        Kind::Namespace => NAMESPACE,
        Kind::Service => SERVICE,
        Kind::Endpoints => ENDPOINTS,
        Kind::EndpointSlice => ENDPOINT_SLICE,
        Kind::Secret => SECRET,
        Kind::ConfigMap => CONFIG_MAP,
        Kind::ServiceAccount => SERVICE_ACCOUNT,
        Kind::Pod => POD,
        Kind::Node => NODE,
        Kind::ResourceQuota => RESOURCE_QUOTA,
        Kind::LimitRange | Kind::CustomResourceDefinition => CREATED,
        Kind::Lease => LEASE,
        Kind::Deployment => DEPLOYMENT,
        Kind::DaemonSet => DAEMON_SET,
        Kind::StatefulSet => STATEFUL_SET,
        Kind::ReplicaSet => REPLICA_SET,
        Kind::Event => EVENT,
    }
}

/// Those of custom kinds that show nothing of themselves.
const CUSTOM: &[Column] = &[NAME, AGE_DATE];

const VIRTUAL_SERVICE: &[Column] = &[
    NAME,
    at(".spec.gateways", "Gateways", "Gateways that apply these routes."),
    at(".spec.hosts", "Hosts", "Hosts whose traffic is routed."),
    AGE_DATE,
];

const DESTINATION_RULE: &[Column] =
    &[NAME, at(".spec.host", "Host", "Host that the rule is about."), AGE_DATE];

const SERVICE_ENTRY: &[Column] = &[
    NAME,
    at(".spec.hosts", "Hosts", "Hosts of the service."),
    at(".spec.location", "Location", "Whether the service is part of the mesh."),
    at(".spec.resolution", "Resolution", "How the addresses of the hosts are found."),
    AGE_DATE,
];

const WORKLOAD_ENTRY: &[Column] =
    &[NAME, AGE_DATE, at(".spec.address", "Address", "Address of the workload.")];

const AUTHORIZATION_POLICY: &[Column] = &[
    NAME,
    at(".spec.action", "Action", "What becomes of requests that a rule matches."),
    AGE_DATE,
];

const PEER_AUTHENTICATION: &[Column] = &[
    NAME,
    at(".spec.mtls.mode", "Mode", "Whether workloads take mesh TLS, plain text or both."),
    AGE_DATE,
];

const GATEWAY_CLASS: &[Column] = &[
    NAME,
    at(".spec.controllerName", "Controller", "Who serves Gateways of the class."),
    at(ACCEPTED, "Accepted", "Whether the controller has taken it up."),
    AGE_DATE,
    Column { wide: true, ..at(".spec.description", "Description", "What it is for.") },
];

const KUBERNETES_GATEWAY: &[Column] = &[
    NAME,
    at(".spec.gatewayClassName", "Class", "The GatewayClass, which says who serves it."),
    at(".status.addresses[*].value", "Address", "Where it is reached."),
    at(PROGRAMMED, "Programmed", "Whether it serves."),
    AGE_DATE,
];

const LISTENER_SET: &[Column] = &[
    NAME,
    at(ACCEPTED, "Accepted", "Whether the Gateway takes the listeners."),
    at(PROGRAMMED, "Programmed", "Whether they serve."),
    AGE_DATE,
];

const ROUTE: &[Column] =
    &[NAME, at(".spec.hostnames", "Hostnames", "Hosts whose traffic is routed."), AGE_DATE];

const NAMESPACE: &[Column] = &[NAME, text("Status", "Active or Terminating."), AGE];

const SERVICE: &[Column] = &[
    NAME,
    text("Type", "How the Service is reached."),
    text("Cluster-IP", "Address within the cluster."),
    text("External-IP", "Addresses from outside."),
    text("Port(s)", "Ports, with the nodes' ports after a colon."),
    AGE,
    wide("Selector", "Labels of the pods behind it."),
];

const ENDPOINTS: &[Column] = &[NAME, text("Endpoints", "Addresses with their ports."), AGE];

const ENDPOINT_SLICE: &[Column] = &[
    NAME,
    text("AddressType", "What kind of addresses these are."),
    text("Ports", "Ports of every endpoint."),
    text("Endpoints", "Addresses of the endpoints."),
    AGE,
];

const SECRET: &[Column] =
    &[NAME, text("Type", "What the data is for."), text("Data", "Number of keys."), AGE];

const CONFIG_MAP: &[Column] = &[NAME, text("Data", "Number of keys."), AGE];

const SERVICE_ACCOUNT: &[Column] = &[NAME, AGE];

const POD: &[Column] = &[
    NAME,
    text("Ready", "Containers that are ready, of all."),
    text("Status", "State of the pod as a whole."),
    text("Restarts", "How often containers were restarted."),
    AGE,
    wide("IP", "Address of the pod."),
    wide("Node", "Node on which it runs."),
    wide("Nominated Node", "Node that is to be freed for it."),
    wide("Readiness Gates", "Further conditions for being ready."),
];

const NODE: &[Column] = &[
    NAME,
    text("Status", "Whether it is ready, and takes pods."),
    text("Roles", "What it is for."),
    AGE,
    text("Version", "Version of its kubelet."),
    wide("Internal-IP", "Address within the cluster."),
    wide("External-IP", "Address from outside."),
    wide("OS-Image", "Its system."),
    wide("Kernel-Version", "Version of its kernel."),
    wide("Container-Runtime", "What runs its containers."),
];

const RESOURCE_QUOTA: &[Column] = &[
    NAME,
    text("Request", "What is used, of what may be."),
    text("Limit", "The same of limits."),
    AGE,
];

const CREATED: &[Column] =
    &[NAME, Column { kind: "date", ..text("Created At", "When it was created.") }];

const LEASE: &[Column] = &[NAME, text("Holder", "Who holds it."), AGE];

/// What of the pods of a template stands in wide tables.
const CONTAINERS: Column = wide("Containers", "Names of the containers.");
const IMAGES: Column = wide("Images", "Images of the containers.");
const SELECTOR: Column = wide("Selector", "Labels of its pods.");

const fn count(name: &'static str, description: &'static str) -> Column {
    Column { kind: "integer", ..text(name, description) }
}

const DAEMON_SET: &[Column] = &[
    NAME,
    count("Desired", "Nodes that should have the pod."),
    count("Current", "Nodes that have it."),
    count("Ready", "Nodes on which it is ready."),
    count("Up-to-date", "Nodes whose pod has the latest template."),
    count("Available", "Nodes on which it has been ready for long enough."),
    text("Node Selector", "Labels of these nodes."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

const STATEFUL_SET: &[Column] =
    &[NAME, text("Ready", "Pods that are ready, of those wanted."), AGE, CONTAINERS, IMAGES];

const REPLICA_SET: &[Column] = &[
    NAME,
    count("Desired", "Pods that are wanted."),
    count("Current", "Pods that exist."),
    count("Ready", "Pods that are ready."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

const DEPLOYMENT: &[Column] = &[
    NAME,
    text("Ready", "Pods that are ready, of those wanted."),
    text("Up-to-date", "Pods that have the latest template."),
    text("Available", "Pods that have been ready for long enough."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

const EVENT: &[Column] = &[
    text("Last Seen", "Time since it happened last."),
    text("Type", "Normal or Warning."),
    text("Reason", "Why, in one word."),
    text("Object", "What it is about."),
    wide("Subobject", "Which part of that."),
    wide("Source", "Who says so."),
    text("Message", "What happened."),
    wide("First Seen", "Time since it happened first."),
    wide("Count", "How often it happened."),
    Column { wide: true, ..NAME },
];
