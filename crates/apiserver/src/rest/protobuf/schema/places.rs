//! Where Pods may run.

use super::Type::{Int, Nested, Text};
use super::{LABEL_SELECTOR, Message, list, message, one, pointer};

pub(super) static AFFINITY: Message = message(
    "Affinity",
    &[
        pointer(1, "nodeAffinity", Nested(&NODE_AFFINITY)),
        pointer(2, "podAffinity", Nested(&POD_AFFINITY)),
        pointer(3, "podAntiAffinity", Nested(&POD_ANTI_AFFINITY)),
    ],
);

pub(super) static TOLERATION: Message = message(
    "Toleration",
    &[
        one(1, "key", Text),
        one(2, "operator", Text),
        one(3, "value", Text),
        one(4, "effect", Text),
        pointer(5, "tolerationSeconds", Int),
    ],
);

pub(super) static TOPOLOGY_SPREAD_CONSTRAINT: Message = message(
    "TopologySpreadConstraint",
    &[
        one(1, "maxSkew", Int),
        one(2, "topologyKey", Text),
        one(3, "whenUnsatisfiable", Text),
        pointer(4, "labelSelector", Nested(&LABEL_SELECTOR)),
        pointer(5, "minDomains", Int),
        pointer(6, "nodeAffinityPolicy", Text),
        pointer(7, "nodeTaintsPolicy", Text),
        list(8, "matchLabelKeys", Text),
    ],
);

static NODE_AFFINITY: Message = message(
    "NodeAffinity",
    &[
        pointer(1, "requiredDuringSchedulingIgnoredDuringExecution", Nested(&NODE_SELECTOR)),
        list(
            2,
            "preferredDuringSchedulingIgnoredDuringExecution",
            Nested(&PREFERRED_SCHEDULING_TERM),
        ),
    ],
);

static POD_AFFINITY: Message = message(
    "PodAffinity",
    &[
        list(1, "requiredDuringSchedulingIgnoredDuringExecution", Nested(&POD_AFFINITY_TERM)),
        list(
            2,
            "preferredDuringSchedulingIgnoredDuringExecution",
            Nested(&WEIGHTED_POD_AFFINITY_TERM),
        ),
    ],
);

static POD_ANTI_AFFINITY: Message = message(
    "PodAntiAffinity",
    &[
        list(1, "requiredDuringSchedulingIgnoredDuringExecution", Nested(&POD_AFFINITY_TERM)),
        list(
            2,
            "preferredDuringSchedulingIgnoredDuringExecution",
            Nested(&WEIGHTED_POD_AFFINITY_TERM),
        ),
    ],
);

static NODE_SELECTOR: Message =
    message("NodeSelector", &[list(1, "nodeSelectorTerms", Nested(&NODE_SELECTOR_TERM))]);

static PREFERRED_SCHEDULING_TERM: Message = message(
    "PreferredSchedulingTerm",
    &[one(1, "weight", Int), one(2, "preference", Nested(&NODE_SELECTOR_TERM))],
);

static POD_AFFINITY_TERM: Message = message(
    "PodAffinityTerm",
    &[
        pointer(1, "labelSelector", Nested(&LABEL_SELECTOR)),
        list(2, "namespaces", Text),
        one(3, "topologyKey", Text),
        pointer(4, "namespaceSelector", Nested(&LABEL_SELECTOR)),
        list(5, "matchLabelKeys", Text),
        list(6, "mismatchLabelKeys", Text),
    ],
);

static WEIGHTED_POD_AFFINITY_TERM: Message = message(
    "WeightedPodAffinityTerm",
    &[one(1, "weight", Int), one(2, "podAffinityTerm", Nested(&POD_AFFINITY_TERM))],
);

static NODE_SELECTOR_TERM: Message = message(
    "NodeSelectorTerm",
    &[
        list(1, "matchExpressions", Nested(&NODE_SELECTOR_REQUIREMENT)),
        list(2, "matchFields", Nested(&NODE_SELECTOR_REQUIREMENT)),
    ],
);

static NODE_SELECTOR_REQUIREMENT: Message = message(
    "NodeSelectorRequirement",
    &[one(1, "key", Text), one(2, "operator", Text), list(3, "values", Text)],
);
