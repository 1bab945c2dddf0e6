//! Sets of pods beside Deployments, what may be used of a cluster, and its nodes.

use super::Type::{Bool, Int, IntOrString, Nested, QuantityMap, Text, Time};
use super::volumes::PERSISTENT_VOLUME_CLAIM_SPEC;
use super::{
    LABEL_SELECTOR, Message, OBJECT_META, POD_TEMPLATE, ROLLING_UPDATE, list, message, one, pointer,
};

pub(super) static DAEMON_SET: Message = Message {
    name: "DaemonSet",
    fields: &[
        pointer(1, "metadata", Nested(&OBJECT_META)),
        pointer(2, "spec", Nested(&DAEMON_SET_SPEC)),
    ],
    ignored: &[3],
};

static DAEMON_SET_SPEC: Message = message(
    "DaemonSetSpec",
    &[
        pointer(1, "selector", Nested(&LABEL_SELECTOR)),
        pointer(2, "template", Nested(&POD_TEMPLATE)),
        one(3, "updateStrategy", Nested(&DAEMON_SET_STRATEGY)),
        one(4, "minReadySeconds", Int),
        pointer(6, "revisionHistoryLimit", Int),
    ],
);

static DAEMON_SET_STRATEGY: Message = message(
    "DaemonSetUpdateStrategy",
    &[one(1, "type", Text), one(2, "rollingUpdate", Nested(&ROLLING_UPDATE))],
);

pub(super) static REPLICA_SET: Message = Message {
    name: "ReplicaSet",
    fields: &[
        pointer(1, "metadata", Nested(&OBJECT_META)),
        pointer(2, "spec", Nested(&REPLICA_SET_SPEC)),
    ],
    ignored: &[3],
};

static REPLICA_SET_SPEC: Message = message(
    "ReplicaSetSpec",
    &[
        pointer(1, "replicas", Int),
        pointer(2, "selector", Nested(&LABEL_SELECTOR)),
        pointer(3, "template", Nested(&POD_TEMPLATE)),
        one(4, "minReadySeconds", Int),
    ],
);

pub(super) static STATEFUL_SET: Message = Message {
    name: "StatefulSet",
    fields: &[
        pointer(1, "metadata", Nested(&OBJECT_META)),
        pointer(2, "spec", Nested(&STATEFUL_SET_SPEC)),
    ],
    ignored: &[3],
};

static STATEFUL_SET_SPEC: Message = message(
    "StatefulSetSpec",
    &[
        pointer(1, "replicas", Int),
        pointer(2, "selector", Nested(&LABEL_SELECTOR)),
        pointer(3, "template", Nested(&POD_TEMPLATE)),
        list(4, "volumeClaimTemplates", Nested(&VOLUME_CLAIM)),
        one(5, "serviceName", Text),
        one(6, "podManagementPolicy", Text),
        one(7, "updateStrategy", Nested(&STATEFUL_SET_STRATEGY)),
        pointer(8, "revisionHistoryLimit", Int),
        one(9, "minReadySeconds", Int),
        one(10, "persistentVolumeClaimRetentionPolicy", Nested(&CLAIM_RETENTION)),
        pointer(11, "ordinals", Nested(&ORDINALS)),
    ],
);

static STATEFUL_SET_STRATEGY: Message = message(
    "StatefulSetUpdateStrategy",
    &[one(1, "type", Text), one(2, "rollingUpdate", Nested(&STATEFUL_SET_ROLLING_UPDATE))],
);

static STATEFUL_SET_ROLLING_UPDATE: Message = message(
    "RollingUpdateStatefulSetStrategy",
    &[pointer(1, "partition", Int), pointer(2, "maxUnavailable", IntOrString)],
);

static CLAIM_RETENTION: Message = message(
    "StatefulSetPersistentVolumeClaimRetentionPolicy",
    &[one(1, "whenDeleted", Text), one(2, "whenScaled", Text)],
);

static ORDINALS: Message = message("StatefulSetOrdinals", &[one(1, "start", Int)]);

static VOLUME_CLAIM: Message = Message {
    name: "PersistentVolumeClaim",
    fields: &[
        pointer(1, "metadata", Nested(&OBJECT_META)),
        pointer(2, "spec", Nested(&PERSISTENT_VOLUME_CLAIM_SPEC)),
    ],
    ignored: &[3],
};

pub(super) static RESOURCE_QUOTA: Message = Message {
    name: "ResourceQuota",
    fields: &[
        pointer(1, "metadata", Nested(&OBJECT_META)),
        pointer(2, "spec", Nested(&RESOURCE_QUOTA_SPEC)),
    ],
    ignored: &[3],
};

static RESOURCE_QUOTA_SPEC: Message = message(
    "ResourceQuotaSpec",
    &[
        one(1, "hard", QuantityMap),
        list(2, "scopes", Text),
        pointer(3, "scopeSelector", Nested(&SCOPE_SELECTOR)),
    ],
);

static SCOPE_SELECTOR: Message =
    message("ScopeSelector", &[list(1, "matchExpressions", Nested(&SCOPE_REQUIREMENT))]);

static SCOPE_REQUIREMENT: Message = message(
    "ScopedResourceSelectorRequirement",
    &[one(1, "scopeName", Text), one(2, "operator", Text), list(3, "values", Text)],
);

pub(super) static LIMIT_RANGE: Message = message(
    "LimitRange",
    &[pointer(1, "metadata", Nested(&OBJECT_META)), pointer(2, "spec", Nested(&LIMIT_RANGE_SPEC))],
);

static LIMIT_RANGE_SPEC: Message =
    message("LimitRangeSpec", &[list(1, "limits", Nested(&LIMIT_RANGE_ITEM))]);

static LIMIT_RANGE_ITEM: Message = message(
    "LimitRangeItem",
    &[
        one(1, "type", Text),
        one(2, "max", QuantityMap),
        one(3, "min", QuantityMap),
        one(4, "default", QuantityMap),
        one(5, "defaultRequest", QuantityMap),
        one(6, "maxLimitRequestRatio", QuantityMap),
    ],
);

pub(super) static NODE: Message = Message {
    name: "Node",
    fields: &[pointer(1, "metadata", Nested(&OBJECT_META)), pointer(2, "spec", Nested(&NODE_SPEC))],
    // A status is written on its own path.
    ignored: &[3],
};

static NODE_SPEC: Message = message(
    "NodeSpec",
    &[
        one(1, "podCIDR", Text),
        one(3, "providerID", Text),
        one(4, "unschedulable", Bool),
        list(5, "taints", Nested(&TAINT)),
        list(7, "podCIDRs", Text),
    ],
);

static TAINT: Message = message(
    "Taint",
    &[
        one(1, "key", Text),
        one(2, "value", Text),
        one(3, "effect", Text),
        one(4, "timeAdded", Time),
    ],
);
