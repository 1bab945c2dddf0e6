//! How it stands with Pods.

use super::Type::{Bool, Int, Nested, Quantity, QuantityMap, Text, Time};
use super::pods::RESOURCES;
use super::{Message, list, message, one, pointer};

pub(super) static POD_STATUS: Message = message(
    "PodStatus",
    &[
        one(1, "phase", Text),
        list(2, "conditions", Nested(&POD_CONDITION)),
        one(3, "message", Text),
        one(4, "reason", Text),
        one(5, "hostIP", Text),
        one(6, "podIP", Text),
        pointer(7, "startTime", Time),
        list(8, "containerStatuses", Nested(&CONTAINER_STATUS)),
        one(9, "qosClass", Text),
        list(10, "initContainerStatuses", Nested(&CONTAINER_STATUS)),
        one(11, "nominatedNodeName", Text),
        list(12, "podIPs", Nested(&POD_IP)),
        list(13, "ephemeralContainerStatuses", Nested(&CONTAINER_STATUS)),
        one(14, "resize", Text),
        list(15, "resourceClaimStatuses", Nested(&POD_RESOURCE_CLAIM_STATUS)),
        list(16, "hostIPs", Nested(&HOST_IP)),
        one(17, "observedGeneration", Int),
        pointer(18, "extendedResourceClaimStatus", Nested(&POD_EXTENDED_RESOURCE_CLAIM_STATUS)),
        one(19, "allocatedResources", QuantityMap),
        pointer(20, "resources", Nested(&RESOURCES)),
        list(
            21,
            "nodeAllocatableResourceClaimStatuses",
            Nested(&NODE_ALLOCATABLE_RESOURCE_CLAIM_STATUS),
        ),
        list(22, "volumeHealth", Nested(&POD_VOLUME_HEALTH)),
    ],
);

static POD_CONDITION: Message = message(
    "PodCondition",
    &[
        one(1, "type", Text),
        one(2, "status", Text),
        one(3, "lastProbeTime", Time),
        one(4, "lastTransitionTime", Time),
        one(5, "reason", Text),
        one(6, "message", Text),
        one(7, "observedGeneration", Int),
    ],
);

static CONTAINER_STATUS: Message = message(
    "ContainerStatus",
    &[
        one(1, "name", Text),
        one(2, "state", Nested(&CONTAINER_STATE)),
        one(3, "lastState", Nested(&CONTAINER_STATE)),
        one(4, "ready", Bool),
        one(5, "restartCount", Int),
        one(6, "image", Text),
        one(7, "imageID", Text),
        one(8, "containerID", Text),
        pointer(9, "started", Bool),
        one(10, "allocatedResources", QuantityMap),
        pointer(11, "resources", Nested(&RESOURCES)),
        list(12, "volumeMounts", Nested(&VOLUME_MOUNT_STATUS)),
        pointer(13, "user", Nested(&CONTAINER_USER)),
        list(14, "allocatedResourcesStatus", Nested(&RESOURCE_STATUS)),
        pointer(15, "stopSignal", Text),
    ],
);

static POD_IP: Message = message("PodIP", &[one(1, "ip", Text)]);

static POD_RESOURCE_CLAIM_STATUS: Message = message(
    "PodResourceClaimStatus",
    &[one(1, "name", Text), pointer(2, "resourceClaimName", Text)],
);

static HOST_IP: Message = message("HostIP", &[one(1, "ip", Text)]);

static POD_EXTENDED_RESOURCE_CLAIM_STATUS: Message = message(
    "PodExtendedResourceClaimStatus",
    &[
        list(1, "requestMappings", Nested(&CONTAINER_EXTENDED_RESOURCE_REQUEST)),
        one(2, "resourceClaimName", Text),
    ],
);

static NODE_ALLOCATABLE_RESOURCE_CLAIM_STATUS: Message = message(
    "NodeAllocatableResourceClaimStatus",
    &[
        one(1, "resourceClaimName", Text),
        list(2, "containers", Text),
        list(4, "mapping", Nested(&NODE_ALLOCATABLE_MAPPED_RESOURCES)),
        list(5, "overhead", Nested(&NODE_ALLOCATABLE_OVERHEAD_RESOURCES)),
    ],
);

static POD_VOLUME_HEALTH: Message = message(
    "PodVolumeHealth",
    &[
        one(1, "name", Text),
        list(2, "healthConditions", Nested(&VOLUME_HEALTH_CONDITION)),
        one(3, "lastTransitionTime", Time),
    ],
);

static CONTAINER_STATE: Message = message(
    "ContainerState",
    &[
        pointer(1, "waiting", Nested(&CONTAINER_STATE_WAITING)),
        pointer(2, "running", Nested(&CONTAINER_STATE_RUNNING)),
        pointer(3, "terminated", Nested(&CONTAINER_STATE_TERMINATED)),
    ],
);

static VOLUME_MOUNT_STATUS: Message = message(
    "VolumeMountStatus",
    &[
        one(1, "name", Text),
        one(2, "mountPath", Text),
        one(3, "readOnly", Bool),
        pointer(4, "recursiveReadOnly", Text),
        pointer(5, "volumeStatus", Nested(&VOLUME_STATUS)),
    ],
);

static CONTAINER_USER: Message =
    message("ContainerUser", &[pointer(1, "linux", Nested(&LINUX_CONTAINER_USER))]);

static RESOURCE_STATUS: Message = message(
    "ResourceStatus",
    &[one(1, "name", Text), list(2, "resources", Nested(&RESOURCE_HEALTH))],
);

static CONTAINER_EXTENDED_RESOURCE_REQUEST: Message = message(
    "ContainerExtendedResourceRequest",
    &[one(1, "containerName", Text), one(2, "resourceName", Text), one(3, "requestName", Text)],
);

static NODE_ALLOCATABLE_MAPPED_RESOURCES: Message = message(
    "NodeAllocatableMappedResources",
    &[one(1, "name", Text), pointer(2, "quantity", Quantity)],
);

static NODE_ALLOCATABLE_OVERHEAD_RESOURCES: Message = message(
    "NodeAllocatableOverheadResources",
    &[one(1, "name", Text), pointer(2, "perPod", Quantity), pointer(3, "perContainer", Quantity)],
);

static VOLUME_HEALTH_CONDITION: Message = message(
    "VolumeHealthCondition",
    &[one(1, "status", Text), one(2, "reason", Text), one(3, "message", Text)],
);

static CONTAINER_STATE_WAITING: Message =
    message("ContainerStateWaiting", &[one(1, "reason", Text), one(2, "message", Text)]);

static CONTAINER_STATE_RUNNING: Message =
    message("ContainerStateRunning", &[one(1, "startedAt", Time)]);

static CONTAINER_STATE_TERMINATED: Message = message(
    "ContainerStateTerminated",
    &[
        one(1, "exitCode", Int),
        one(2, "signal", Int),
        one(3, "reason", Text),
        one(4, "message", Text),
        one(5, "startedAt", Time),
        one(6, "finishedAt", Time),
        one(7, "containerID", Text),
    ],
);

static VOLUME_STATUS: Message =
    message("VolumeStatus", &[pointer(1, "image", Nested(&IMAGE_VOLUME_STATUS))]);

static LINUX_CONTAINER_USER: Message = message(
    "LinuxContainerUser",
    &[one(1, "uid", Int), one(2, "gid", Int), list(3, "supplementalGroups", Int)],
);

static RESOURCE_HEALTH: Message = message(
    "ResourceHealth",
    &[one(1, "resourceID", Text), one(2, "health", Text), pointer(6, "message", Text)],
);

static IMAGE_VOLUME_STATUS: Message = message("ImageVolumeStatus", &[one(1, "imageRef", Text)]);
