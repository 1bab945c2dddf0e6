//! Field numbers of the objects that are read from protobuf.

mod events;
mod places;
mod pods;
mod statuses;
mod volumes;
mod workloads;

/// What a field holds.
#[derive(Debug)]
pub(super) enum Type {
    Text,
    Int,
    Bool,
    Time,
    MicroTime,
    IntOrString,
    TextMap,
    BytesMap,
    Quantity,
    QuantityMap,
    Nested(&'static Message),
    /// A message of its own whose fields stand in that of its place in JSON, as Go's embedded structs do.
    Inline(&'static Message),
}

#[derive(Debug)]
pub(super) struct Field {
    pub number: u32,
    pub name: &'static str,
    pub kind: Type,
    pub repeated: bool,
    /// A pointer in Go: if it is there, its zero value was meant.
    pub keep_zero: bool,
}

#[derive(Debug)]
pub(super) struct Message {
    pub name: &'static str,
    pub fields: &'static [Field],
    /// Fields that the server sets itself, whatever a client says.
    pub ignored: &'static [u32],
}

const fn one(number: u32, name: &'static str, kind: Type) -> Field {
    Field { number, name, kind, repeated: false, keep_zero: false }
}

const fn pointer(number: u32, name: &'static str, kind: Type) -> Field {
    Field { keep_zero: true, ..one(number, name, kind) }
}

const fn list(number: u32, name: &'static str, kind: Type) -> Field {
    Field { repeated: true, keep_zero: true, ..one(number, name, kind) }
}

const fn inline(number: u32, fields: &'static Message) -> Field {
    one(number, fields.name, Type::Inline(fields))
}

const fn message(name: &'static str, fields: &'static [Field]) -> Message {
    Message { name, fields, ignored: &[] }
}

use Type::{Bool, BytesMap, Int, IntOrString, MicroTime, Nested, Text, TextMap};
use pods::POD_SPEC;
use statuses::POD_STATUS;

/// The message of a kind, in one of its groups and versions: what has the same name elsewhere has other numbers.
pub(super) fn of(api_version: &str, kind: &str) -> Option<&'static Message> {
    Some(match (api_version, kind) {
        ("v1", "Secret") => &SECRET,
        ("v1", "ConfigMap") => &CONFIG_MAP,
        ("v1", "Namespace") => &NAMESPACE,
        ("v1", "Service") => &SERVICE,
        ("v1", "ServiceAccount") => &SERVICE_ACCOUNT,
        ("v1", "Endpoints") => &ENDPOINTS,
        ("apps/v1", "Deployment") => &DEPLOYMENT,
        ("apps/v1", "DaemonSet") => &workloads::DAEMON_SET,
        ("apps/v1", "StatefulSet") => &workloads::STATEFUL_SET,
        ("apps/v1", "ReplicaSet") => &workloads::REPLICA_SET,
        ("v1", "ResourceQuota") => &workloads::RESOURCE_QUOTA,
        ("v1", "LimitRange") => &workloads::LIMIT_RANGE,
        ("v1", "Node") => &workloads::NODE,
        ("v1", "Pod") => &POD,
        ("discovery.k8s.io/v1", "EndpointSlice") => &ENDPOINT_SLICE,
        ("v1", "Event") => &events::CORE,
        ("events.k8s.io/v1", "Event") => &events::NEWER,
        ("coordination.k8s.io/v1", "Lease") => &LEASE,
        // Each group has options of its own, all alike.
        (_, "DeleteOptions") => &DELETE_OPTIONS,
        ("authorization.k8s.io/v1", "SelfSubjectAccessReview") => &ACCESS_REVIEW,
        ("authorization.k8s.io/v1", "SelfSubjectRulesReview") => &RULES_REVIEW,
        ("authentication.k8s.io/v1", "SelfSubjectReview") => &SUBJECT_REVIEW,
        _ => return None,
    })
}

static OBJECT_META: Message = Message {
    name: "ObjectMeta",
    fields: &[
        one(1, "name", Text),
        one(2, "generateName", Text),
        one(3, "namespace", Text),
        one(5, "uid", Text),
        one(6, "resourceVersion", Text),
        one(11, "labels", TextMap),
        one(12, "annotations", TextMap),
        list(13, "ownerReferences", Nested(&OWNER_REFERENCE)),
        list(14, "finalizers", Text),
    ],
    // selfLink, generation, the timestamps, deletionGracePeriodSeconds, managedFields.
    ignored: &[4, 7, 8, 9, 10, 17],
};

static OWNER_REFERENCE: Message = message(
    "OwnerReference",
    &[
        one(1, "kind", Text),
        one(3, "name", Text),
        one(4, "uid", Text),
        one(5, "apiVersion", Text),
        pointer(6, "controller", Bool),
        pointer(7, "blockOwnerDeletion", Bool),
    ],
);

static SECRET: Message = message(
    "Secret",
    &[
        pointer(1, "metadata", Nested(&OBJECT_META)),
        one(2, "data", BytesMap),
        one(3, "type", Text),
        one(4, "stringData", TextMap),
        pointer(5, "immutable", Bool),
    ],
);

static CONFIG_MAP: Message = message(
    "ConfigMap",
    &[
        pointer(1, "metadata", Nested(&OBJECT_META)),
        one(2, "data", TextMap),
        one(3, "binaryData", BytesMap),
        pointer(4, "immutable", Bool),
    ],
);

static NAMESPACE: Message = Message {
    name: "Namespace",
    fields: &[
        pointer(1, "metadata", Nested(&OBJECT_META)),
        one(2, "spec", Nested(&NAMESPACE_SPEC)),
    ],
    ignored: &[3],
};

static NAMESPACE_SPEC: Message = message("NamespaceSpec", &[list(1, "finalizers", Text)]);

static SERVICE: Message = Message {
    name: "Service",
    fields: &[
        pointer(1, "metadata", Nested(&OBJECT_META)),
        pointer(2, "spec", Nested(&SERVICE_SPEC)),
    ],
    ignored: &[3],
};

static SERVICE_SPEC: Message = message(
    "ServiceSpec",
    &[
        list(1, "ports", Nested(&SERVICE_PORT)),
        one(2, "selector", TextMap),
        one(3, "clusterIP", Text),
        one(4, "type", Text),
        list(5, "externalIPs", Text),
        one(7, "sessionAffinity", Text),
        one(8, "loadBalancerIP", Text),
        list(9, "loadBalancerSourceRanges", Text),
        one(10, "externalName", Text),
        one(11, "externalTrafficPolicy", Text),
        one(12, "healthCheckNodePort", Int),
        one(13, "publishNotReadyAddresses", Bool),
        pointer(17, "ipFamilyPolicy", Text),
        list(18, "clusterIPs", Text),
        list(19, "ipFamilies", Text),
        pointer(20, "allocateLoadBalancerNodePorts", Bool),
        pointer(21, "loadBalancerClass", Text),
        pointer(22, "internalTrafficPolicy", Text),
    ],
);

static SERVICE_PORT: Message = message(
    "ServicePort",
    &[
        one(1, "name", Text),
        one(2, "protocol", Text),
        one(3, "port", Int),
        one(4, "targetPort", IntOrString),
        one(5, "nodePort", Int),
        pointer(6, "appProtocol", Text),
    ],
);

static SERVICE_ACCOUNT: Message = message(
    "ServiceAccount",
    &[
        pointer(1, "metadata", Nested(&OBJECT_META)),
        list(2, "secrets", Nested(&OBJECT_REFERENCE)),
        list(3, "imagePullSecrets", Nested(&LOCAL_REFERENCE)),
        pointer(4, "automountServiceAccountToken", Bool),
    ],
);

static ENDPOINTS: Message = message(
    "Endpoints",
    &[pointer(1, "metadata", Nested(&OBJECT_META)), list(2, "subsets", Nested(&ENDPOINT_SUBSET))],
);

static ENDPOINT_SUBSET: Message = message(
    "EndpointSubset",
    &[
        list(1, "addresses", Nested(&ENDPOINT_ADDRESS)),
        list(2, "notReadyAddresses", Nested(&ENDPOINT_ADDRESS)),
        list(3, "ports", Nested(&ENDPOINTS_PORT)),
    ],
);

static ENDPOINT_ADDRESS: Message = message(
    "EndpointAddress",
    &[
        one(1, "ip", Text),
        pointer(2, "targetRef", Nested(&OBJECT_REFERENCE)),
        one(3, "hostname", Text),
        pointer(4, "nodeName", Text),
    ],
);

static ENDPOINTS_PORT: Message = message(
    "EndpointPort",
    &[
        one(1, "name", Text),
        one(2, "port", Int),
        one(3, "protocol", Text),
        pointer(4, "appProtocol", Text),
    ],
);

static DEPLOYMENT: Message = Message {
    name: "Deployment",
    fields: &[
        pointer(1, "metadata", Nested(&OBJECT_META)),
        pointer(2, "spec", Nested(&DEPLOYMENT_SPEC)),
    ],
    ignored: &[3],
};

static DEPLOYMENT_SPEC: Message = message(
    "DeploymentSpec",
    &[
        pointer(1, "replicas", Int),
        pointer(2, "selector", Nested(&LABEL_SELECTOR)),
        pointer(3, "template", Nested(&POD_TEMPLATE)),
        one(4, "strategy", Nested(&DEPLOYMENT_STRATEGY)),
        one(5, "minReadySeconds", Int),
        pointer(6, "revisionHistoryLimit", Int),
        one(7, "paused", Bool),
        pointer(9, "progressDeadlineSeconds", Int),
    ],
);

static LABEL_SELECTOR: Message = message(
    "LabelSelector",
    &[one(1, "matchLabels", TextMap), list(2, "matchExpressions", Nested(&LABEL_REQUIREMENT))],
);

static LABEL_REQUIREMENT: Message = message(
    "LabelSelectorRequirement",
    &[one(1, "key", Text), one(2, "operator", Text), list(3, "values", Text)],
);

static DEPLOYMENT_STRATEGY: Message = message(
    "DeploymentStrategy",
    &[one(1, "type", Text), one(2, "rollingUpdate", Nested(&ROLLING_UPDATE))],
);

static ROLLING_UPDATE: Message = message(
    "RollingUpdateDeployment",
    &[pointer(1, "maxUnavailable", IntOrString), pointer(2, "maxSurge", IntOrString)],
);

static POD_TEMPLATE: Message = message(
    "PodTemplateSpec",
    &[one(1, "metadata", Nested(&OBJECT_META)), pointer(2, "spec", Nested(&POD_SPEC))],
);

static POD: Message = message(
    "Pod",
    &[
        pointer(1, "metadata", Nested(&OBJECT_META)),
        pointer(2, "spec", Nested(&POD_SPEC)),
        one(3, "status", Nested(&POD_STATUS)),
    ],
);

static LOCAL_REFERENCE: Message = message("LocalObjectReference", &[one(1, "name", Text)]);

static ENDPOINT_SLICE: Message = message(
    "EndpointSlice",
    &[
        pointer(1, "metadata", Nested(&OBJECT_META)),
        list(2, "endpoints", Nested(&ENDPOINT)),
        list(3, "ports", Nested(&ENDPOINT_PORT)),
        one(4, "addressType", Text),
    ],
);

static ENDPOINT: Message = message(
    "Endpoint",
    &[
        list(1, "addresses", Text),
        one(2, "conditions", Nested(&ENDPOINT_CONDITIONS)),
        pointer(3, "hostname", Text),
        one(4, "targetRef", Nested(&OBJECT_REFERENCE)),
        one(5, "deprecatedTopology", TextMap),
        pointer(6, "nodeName", Text),
        pointer(7, "zone", Text),
        one(8, "hints", Nested(&ENDPOINT_HINTS)),
    ],
);

static ENDPOINT_HINTS: Message = message(
    "EndpointHints",
    &[
        list(1, "forZones", Nested(&message("ForZone", &[one(1, "name", Text)]))),
        list(2, "forNodes", Nested(&message("ForNode", &[one(1, "name", Text)]))),
    ],
);

static ENDPOINT_CONDITIONS: Message = message(
    "EndpointConditions",
    &[pointer(1, "ready", Bool), pointer(2, "serving", Bool), pointer(3, "terminating", Bool)],
);

static ENDPOINT_PORT: Message = message(
    "EndpointPort",
    &[
        pointer(1, "name", Text),
        pointer(2, "protocol", Text),
        pointer(3, "port", Int),
        pointer(4, "appProtocol", Text),
    ],
);

static OBJECT_REFERENCE: Message = message(
    "ObjectReference",
    &[
        one(1, "kind", Text),
        one(2, "namespace", Text),
        one(3, "name", Text),
        one(4, "uid", Text),
        one(5, "apiVersion", Text),
        one(6, "resourceVersion", Text),
        one(7, "fieldPath", Text),
    ],
);

static LEASE: Message = message(
    "Lease",
    &[pointer(1, "metadata", Nested(&OBJECT_META)), one(2, "spec", Nested(&LEASE_SPEC))],
);

static LEASE_SPEC: Message = message(
    "LeaseSpec",
    &[
        pointer(1, "holderIdentity", Text),
        pointer(2, "leaseDurationSeconds", Int),
        one(3, "acquireTime", MicroTime),
        one(4, "renewTime", MicroTime),
        pointer(5, "leaseTransitions", Int),
        pointer(6, "strategy", Text),
        pointer(7, "preferredHolder", Text),
    ],
);

static DELETE_OPTIONS: Message = message(
    "DeleteOptions",
    &[
        pointer(1, "gracePeriodSeconds", Int),
        one(2, "preconditions", Nested(&PRECONDITIONS)),
        pointer(3, "orphanDependents", Bool),
        pointer(4, "propagationPolicy", Text),
        list(5, "dryRun", Text),
    ],
);

static PRECONDITIONS: Message =
    message("Preconditions", &[pointer(1, "uid", Text), pointer(2, "resourceVersion", Text)]);

static ACCESS_REVIEW: Message = Message {
    name: "SelfSubjectAccessReview",
    fields: &[
        one(1, "metadata", Nested(&OBJECT_META)),
        pointer(2, "spec", Nested(&ACCESS_REVIEW_SPEC)),
    ],
    ignored: &[3],
};

static ACCESS_REVIEW_SPEC: Message = message(
    "SelfSubjectAccessReviewSpec",
    &[
        one(1, "resourceAttributes", Nested(&RESOURCE_ATTRIBUTES)),
        one(2, "nonResourceAttributes", Nested(&PATH_ATTRIBUTES)),
    ],
);

static RESOURCE_ATTRIBUTES: Message = message(
    "ResourceAttributes",
    &[
        one(1, "namespace", Text),
        one(2, "verb", Text),
        one(3, "group", Text),
        one(4, "version", Text),
        one(5, "resource", Text),
        one(6, "subresource", Text),
        one(7, "name", Text),
    ],
);

static PATH_ATTRIBUTES: Message =
    message("NonResourceAttributes", &[one(1, "path", Text), one(2, "verb", Text)]);

static RULES_REVIEW: Message = Message {
    name: "SelfSubjectRulesReview",
    fields: &[
        one(1, "metadata", Nested(&OBJECT_META)),
        pointer(2, "spec", Nested(&RULES_REVIEW_SPEC)),
    ],
    ignored: &[3],
};

static RULES_REVIEW_SPEC: Message =
    message("SelfSubjectRulesReviewSpec", &[one(1, "namespace", Text)]);

static SUBJECT_REVIEW: Message = Message {
    name: "SelfSubjectReview",
    fields: &[one(1, "metadata", Nested(&OBJECT_META))],
    ignored: &[2],
};
