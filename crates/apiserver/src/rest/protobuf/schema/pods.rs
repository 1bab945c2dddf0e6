//! Pods: their containers, and what these may do.

use super::Type::{Bool, Int, IntOrString, Nested, Quantity, QuantityMap, Text, TextMap};
use super::places::{AFFINITY, TOLERATION, TOPOLOGY_SPREAD_CONSTRAINT};
use super::volumes::VOLUME;
use super::{LOCAL_REFERENCE, Message, inline, list, message, one, pointer};

pub(super) static POD_SPEC: Message = message(
    "PodSpec",
    &[
        list(1, "volumes", Nested(&VOLUME)),
        list(2, "containers", Nested(&CONTAINER)),
        one(3, "restartPolicy", Text),
        pointer(4, "terminationGracePeriodSeconds", Int),
        pointer(5, "activeDeadlineSeconds", Int),
        one(6, "dnsPolicy", Text),
        one(7, "nodeSelector", TextMap),
        one(8, "serviceAccountName", Text),
        one(9, "serviceAccount", Text),
        one(10, "nodeName", Text),
        one(11, "hostNetwork", Bool),
        one(12, "hostPID", Bool),
        one(13, "hostIPC", Bool),
        pointer(14, "securityContext", Nested(&POD_SECURITY_CONTEXT)),
        list(15, "imagePullSecrets", Nested(&LOCAL_REFERENCE)),
        one(16, "hostname", Text),
        one(17, "subdomain", Text),
        pointer(18, "affinity", Nested(&AFFINITY)),
        one(19, "schedulerName", Text),
        list(20, "initContainers", Nested(&CONTAINER)),
        pointer(21, "automountServiceAccountToken", Bool),
        list(22, "tolerations", Nested(&TOLERATION)),
        list(23, "hostAliases", Nested(&HOST_ALIAS)),
        one(24, "priorityClassName", Text),
        pointer(25, "priority", Int),
        pointer(26, "dnsConfig", Nested(&POD_DNS_CONFIG)),
        pointer(27, "shareProcessNamespace", Bool),
        list(28, "readinessGates", Nested(&POD_READINESS_GATE)),
        pointer(29, "runtimeClassName", Text),
        pointer(30, "enableServiceLinks", Bool),
        pointer(31, "preemptionPolicy", Text),
        one(32, "overhead", QuantityMap),
        list(33, "topologySpreadConstraints", Nested(&TOPOLOGY_SPREAD_CONSTRAINT)),
        list(34, "ephemeralContainers", Nested(&EPHEMERAL_CONTAINER)),
        pointer(35, "setHostnameAsFQDN", Bool),
        pointer(36, "os", Nested(&POD_OS)),
        pointer(37, "hostUsers", Bool),
        list(38, "schedulingGates", Nested(&POD_SCHEDULING_GATE)),
        list(39, "resourceClaims", Nested(&POD_RESOURCE_CLAIM)),
        pointer(40, "resources", Nested(&RESOURCES)),
        pointer(41, "hostnameOverride", Text),
        pointer(43, "schedulingGroup", Nested(&POD_SCHEDULING_GROUP)),
        list(44, "evictionResponders", Nested(&EVICTION_RESPONDER)),
    ],
);

static CONTAINER: Message = message(
    "Container",
    &[
        one(1, "name", Text),
        one(2, "image", Text),
        list(3, "command", Text),
        list(4, "args", Text),
        one(5, "workingDir", Text),
        list(6, "ports", Nested(&CONTAINER_PORT)),
        list(7, "env", Nested(&ENV_VAR)),
        one(8, "resources", Nested(&RESOURCES)),
        list(9, "volumeMounts", Nested(&VOLUME_MOUNT)),
        pointer(10, "livenessProbe", Nested(&PROBE)),
        pointer(11, "readinessProbe", Nested(&PROBE)),
        pointer(12, "lifecycle", Nested(&LIFECYCLE)),
        one(13, "terminationMessagePath", Text),
        one(14, "imagePullPolicy", Text),
        pointer(15, "securityContext", Nested(&SECURITY_CONTEXT)),
        one(16, "stdin", Bool),
        one(17, "stdinOnce", Bool),
        one(18, "tty", Bool),
        list(19, "envFrom", Nested(&ENV_FROM_SOURCE)),
        one(20, "terminationMessagePolicy", Text),
        list(21, "volumeDevices", Nested(&VOLUME_DEVICE)),
        pointer(22, "startupProbe", Nested(&PROBE)),
        list(23, "resizePolicy", Nested(&CONTAINER_RESIZE_POLICY)),
        pointer(24, "restartPolicy", Text),
        list(25, "restartPolicyRules", Nested(&CONTAINER_RESTART_RULE)),
    ],
);

static POD_SECURITY_CONTEXT: Message = message(
    "PodSecurityContext",
    &[
        pointer(1, "seLinuxOptions", Nested(&SE_LINUX_OPTIONS)),
        pointer(2, "runAsUser", Int),
        pointer(3, "runAsNonRoot", Bool),
        list(4, "supplementalGroups", Int),
        pointer(5, "fsGroup", Int),
        pointer(6, "runAsGroup", Int),
        list(7, "sysctls", Nested(&SYSCTL)),
        pointer(8, "windowsOptions", Nested(&WINDOWS_SECURITY_CONTEXT_OPTIONS)),
        pointer(9, "fsGroupChangePolicy", Text),
        pointer(10, "seccompProfile", Nested(&SECCOMP_PROFILE)),
        pointer(11, "appArmorProfile", Nested(&APP_ARMOR_PROFILE)),
        pointer(12, "supplementalGroupsPolicy", Text),
        pointer(13, "seLinuxChangePolicy", Text),
    ],
);

static HOST_ALIAS: Message =
    message("HostAlias", &[one(1, "ip", Text), list(2, "hostnames", Text)]);

static POD_DNS_CONFIG: Message = message(
    "PodDNSConfig",
    &[
        list(1, "nameservers", Text),
        list(2, "searches", Text),
        list(3, "options", Nested(&POD_DNS_CONFIG_OPTION)),
    ],
);

static POD_READINESS_GATE: Message = message("PodReadinessGate", &[one(1, "conditionType", Text)]);

static EPHEMERAL_CONTAINER: Message = message(
    "EphemeralContainer",
    &[inline(1, &EPHEMERAL_CONTAINER_COMMON), one(2, "targetContainerName", Text)],
);

static POD_OS: Message = message("PodOS", &[one(1, "name", Text)]);

static POD_SCHEDULING_GATE: Message = message("PodSchedulingGate", &[one(1, "name", Text)]);

static POD_RESOURCE_CLAIM: Message = message(
    "PodResourceClaim",
    &[
        one(1, "name", Text),
        pointer(3, "resourceClaimName", Text),
        pointer(4, "resourceClaimTemplateName", Text),
    ],
);

pub(super) static RESOURCES: Message = message(
    "ResourceRequirements",
    &[
        one(1, "limits", QuantityMap),
        one(2, "requests", QuantityMap),
        list(3, "claims", Nested(&RESOURCE_CLAIM)),
    ],
);

static POD_SCHEDULING_GROUP: Message =
    message("PodSchedulingGroup", &[pointer(1, "podGroupName", Text)]);

static EVICTION_RESPONDER: Message =
    message("EvictionResponder", &[one(1, "name", Text), pointer(2, "priority", Int)]);

static CONTAINER_PORT: Message = message(
    "ContainerPort",
    &[
        one(1, "name", Text),
        one(2, "hostPort", Int),
        one(3, "containerPort", Int),
        one(4, "protocol", Text),
        one(5, "hostIP", Text),
    ],
);

static ENV_VAR: Message = message(
    "EnvVar",
    &[
        one(1, "name", Text),
        one(2, "value", Text),
        pointer(3, "valueFrom", Nested(&ENV_VAR_SOURCE)),
    ],
);

static VOLUME_MOUNT: Message = message(
    "VolumeMount",
    &[
        one(1, "name", Text),
        one(2, "readOnly", Bool),
        one(3, "mountPath", Text),
        one(4, "subPath", Text),
        pointer(5, "mountPropagation", Text),
        one(6, "subPathExpr", Text),
        pointer(7, "recursiveReadOnly", Text),
        list(8, "bindMountOptions", Text),
    ],
);

static PROBE: Message = message(
    "Probe",
    &[
        inline(1, &PROBE_HANDLER),
        one(2, "initialDelaySeconds", Int),
        one(3, "timeoutSeconds", Int),
        one(4, "periodSeconds", Int),
        one(5, "successThreshold", Int),
        one(6, "failureThreshold", Int),
        pointer(7, "terminationGracePeriodSeconds", Int),
    ],
);

static LIFECYCLE: Message = message(
    "Lifecycle",
    &[
        pointer(1, "postStart", Nested(&LIFECYCLE_HANDLER)),
        pointer(2, "preStop", Nested(&LIFECYCLE_HANDLER)),
        pointer(3, "stopSignal", Text),
    ],
);

static SECURITY_CONTEXT: Message = message(
    "SecurityContext",
    &[
        pointer(1, "capabilities", Nested(&CAPABILITIES)),
        pointer(2, "privileged", Bool),
        pointer(3, "seLinuxOptions", Nested(&SE_LINUX_OPTIONS)),
        pointer(4, "runAsUser", Int),
        pointer(5, "runAsNonRoot", Bool),
        pointer(6, "readOnlyRootFilesystem", Bool),
        pointer(7, "allowPrivilegeEscalation", Bool),
        pointer(8, "runAsGroup", Int),
        pointer(9, "procMount", Text),
        pointer(10, "windowsOptions", Nested(&WINDOWS_SECURITY_CONTEXT_OPTIONS)),
        pointer(11, "seccompProfile", Nested(&SECCOMP_PROFILE)),
        pointer(12, "appArmorProfile", Nested(&APP_ARMOR_PROFILE)),
    ],
);

static ENV_FROM_SOURCE: Message = message(
    "EnvFromSource",
    &[
        one(1, "prefix", Text),
        pointer(2, "configMapRef", Nested(&CONFIG_MAP_ENV_SOURCE)),
        pointer(3, "secretRef", Nested(&SECRET_ENV_SOURCE)),
    ],
);

static VOLUME_DEVICE: Message =
    message("VolumeDevice", &[one(1, "name", Text), one(2, "devicePath", Text)]);

static CONTAINER_RESIZE_POLICY: Message = message(
    "ContainerResizePolicy",
    &[one(1, "resourceName", Text), one(2, "restartPolicy", Text)],
);

static CONTAINER_RESTART_RULE: Message = message(
    "ContainerRestartRule",
    &[
        one(1, "action", Text),
        pointer(2, "exitCodes", Nested(&CONTAINER_RESTART_RULE_ON_EXIT_CODES)),
    ],
);

static SE_LINUX_OPTIONS: Message = message(
    "SELinuxOptions",
    &[one(1, "user", Text), one(2, "role", Text), one(3, "type", Text), one(4, "level", Text)],
);

static SYSCTL: Message = message("Sysctl", &[one(1, "name", Text), one(2, "value", Text)]);

static WINDOWS_SECURITY_CONTEXT_OPTIONS: Message = message(
    "WindowsSecurityContextOptions",
    &[
        pointer(1, "gmsaCredentialSpecName", Text),
        pointer(2, "gmsaCredentialSpec", Text),
        pointer(3, "runAsUserName", Text),
        pointer(4, "hostProcess", Bool),
    ],
);

static SECCOMP_PROFILE: Message =
    message("SeccompProfile", &[one(1, "type", Text), pointer(2, "localhostProfile", Text)]);

static APP_ARMOR_PROFILE: Message =
    message("AppArmorProfile", &[one(1, "type", Text), pointer(2, "localhostProfile", Text)]);

static POD_DNS_CONFIG_OPTION: Message =
    message("PodDNSConfigOption", &[one(1, "name", Text), pointer(2, "value", Text)]);

static EPHEMERAL_CONTAINER_COMMON: Message = message(
    "EphemeralContainerCommon",
    &[
        one(1, "name", Text),
        one(2, "image", Text),
        list(3, "command", Text),
        list(4, "args", Text),
        one(5, "workingDir", Text),
        list(6, "ports", Nested(&CONTAINER_PORT)),
        list(7, "env", Nested(&ENV_VAR)),
        one(8, "resources", Nested(&RESOURCES)),
        list(9, "volumeMounts", Nested(&VOLUME_MOUNT)),
        pointer(10, "livenessProbe", Nested(&PROBE)),
        pointer(11, "readinessProbe", Nested(&PROBE)),
        pointer(12, "lifecycle", Nested(&LIFECYCLE)),
        one(13, "terminationMessagePath", Text),
        one(14, "imagePullPolicy", Text),
        pointer(15, "securityContext", Nested(&SECURITY_CONTEXT)),
        one(16, "stdin", Bool),
        one(17, "stdinOnce", Bool),
        one(18, "tty", Bool),
        list(19, "envFrom", Nested(&ENV_FROM_SOURCE)),
        one(20, "terminationMessagePolicy", Text),
        list(21, "volumeDevices", Nested(&VOLUME_DEVICE)),
        pointer(22, "startupProbe", Nested(&PROBE)),
        list(23, "resizePolicy", Nested(&CONTAINER_RESIZE_POLICY)),
        pointer(24, "restartPolicy", Text),
        list(25, "restartPolicyRules", Nested(&CONTAINER_RESTART_RULE)),
    ],
);

static RESOURCE_CLAIM: Message =
    message("ResourceClaim", &[one(1, "name", Text), one(2, "request", Text)]);

static ENV_VAR_SOURCE: Message = message(
    "EnvVarSource",
    &[
        pointer(1, "fieldRef", Nested(&OBJECT_FIELD_SELECTOR)),
        pointer(2, "resourceFieldRef", Nested(&RESOURCE_FIELD_SELECTOR)),
        pointer(3, "configMapKeyRef", Nested(&CONFIG_MAP_KEY_SELECTOR)),
        pointer(4, "secretKeyRef", Nested(&SECRET_KEY_SELECTOR)),
        pointer(5, "fileKeyRef", Nested(&FILE_KEY_SELECTOR)),
    ],
);

static PROBE_HANDLER: Message = message(
    "ProbeHandler",
    &[
        pointer(1, "exec", Nested(&EXEC_ACTION)),
        pointer(2, "httpGet", Nested(&HTTP_GET_ACTION)),
        pointer(3, "tcpSocket", Nested(&TCP_SOCKET_ACTION)),
        pointer(4, "grpc", Nested(&GRPC_ACTION)),
    ],
);

static LIFECYCLE_HANDLER: Message = message(
    "LifecycleHandler",
    &[
        pointer(1, "exec", Nested(&EXEC_ACTION)),
        pointer(2, "httpGet", Nested(&HTTP_GET_ACTION)),
        pointer(3, "tcpSocket", Nested(&TCP_SOCKET_ACTION)),
        pointer(4, "sleep", Nested(&SLEEP_ACTION)),
    ],
);

static CAPABILITIES: Message =
    message("Capabilities", &[list(1, "add", Text), list(2, "drop", Text)]);

static CONFIG_MAP_ENV_SOURCE: Message =
    message("ConfigMapEnvSource", &[inline(1, &LOCAL_REFERENCE), pointer(2, "optional", Bool)]);

static SECRET_ENV_SOURCE: Message =
    message("SecretEnvSource", &[inline(1, &LOCAL_REFERENCE), pointer(2, "optional", Bool)]);

static CONTAINER_RESTART_RULE_ON_EXIT_CODES: Message =
    message("ContainerRestartRuleOnExitCodes", &[one(1, "operator", Text), list(2, "values", Int)]);

pub(super) static OBJECT_FIELD_SELECTOR: Message =
    message("ObjectFieldSelector", &[one(1, "apiVersion", Text), one(2, "fieldPath", Text)]);

pub(super) static RESOURCE_FIELD_SELECTOR: Message = message(
    "ResourceFieldSelector",
    &[one(1, "containerName", Text), one(2, "resource", Text), one(3, "divisor", Quantity)],
);

static CONFIG_MAP_KEY_SELECTOR: Message = message(
    "ConfigMapKeySelector",
    &[inline(1, &LOCAL_REFERENCE), one(2, "key", Text), pointer(3, "optional", Bool)],
);

static SECRET_KEY_SELECTOR: Message = message(
    "SecretKeySelector",
    &[inline(1, &LOCAL_REFERENCE), one(2, "key", Text), pointer(3, "optional", Bool)],
);

static FILE_KEY_SELECTOR: Message = message(
    "FileKeySelector",
    &[
        one(1, "volumeName", Text),
        one(2, "path", Text),
        one(3, "key", Text),
        pointer(4, "optional", Bool),
    ],
);

static EXEC_ACTION: Message = message("ExecAction", &[list(1, "command", Text)]);

static HTTP_GET_ACTION: Message = message(
    "HTTPGetAction",
    &[
        one(1, "path", Text),
        one(2, "port", IntOrString),
        one(3, "host", Text),
        one(4, "scheme", Text),
        list(5, "httpHeaders", Nested(&HTTP_HEADER)),
        pointer(6, "protocol", Text),
    ],
);

static TCP_SOCKET_ACTION: Message =
    message("TCPSocketAction", &[one(1, "port", IntOrString), one(2, "host", Text)]);

static GRPC_ACTION: Message = message(
    "GRPCAction",
    &[one(1, "port", Int), pointer(2, "service", Text), pointer(3, "mode", Text)],
);

static SLEEP_ACTION: Message = message("SleepAction", &[one(1, "seconds", Int)]);

static HTTP_HEADER: Message = message("HTTPHeader", &[one(1, "name", Text), one(2, "value", Text)]);
