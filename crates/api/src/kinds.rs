//! The one table of kinds: adding a kind starts with a row here.
//!
//! A kind is one stored object; the groups and versions it is served under are views of it. Only Event has
//! views in two groups.

mod lookup;

use std::fmt;

pub use lookup::{by_any_name, by_api_version, by_kind, by_plural, split_api_version};

/// Whether objects of a kind live in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Objects have a namespace.
    Namespaced,
    /// Objects have none.
    Cluster,
}

/// A kind that this program knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "each name is the Kubernetes kind of that name")]
pub enum Kind {
    Gateway,
    VirtualService,
    DestinationRule,
    ServiceEntry,
    WorkloadEntry,
    Sidecar,
    AuthorizationPolicy,
    RequestAuthentication,
    PeerAuthentication,
    EnvoyFilter,
    WorkloadGroup,
    ProxyConfig,
    Telemetry,
    WasmPlugin,
    TrafficExtension,
    GatewayClass,
    /// The Gateway of the Gateway API, where [`Kind::Gateway`] is Istio's.
    KubernetesGateway,
    ListenerSet,
    HTTPRoute,
    GRPCRoute,
    TCPRoute,
    TLSRoute,
    UDPRoute,
    BackendTLSPolicy,
    ReferenceGrant,
    Namespace,
    Service,
    Endpoints,
    EndpointSlice,
    Lease,
    Secret,
    ConfigMap,
    ServiceAccount,
    Pod,
    Node,
    ResourceQuota,
    LimitRange,
    Deployment,
    DaemonSet,
    StatefulSet,
    ReplicaSet,
    Event,
    CustomResourceDefinition,
}

/// How a kind is named and served.
#[derive(Debug)]
pub struct KindInfo {
    /// The kind that this row describes.
    pub kind: Kind,
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Served versions, the preferred one first; each is a view of the one stored object.
    pub versions: &'static [&'static str],
    /// Views of the same objects under other groups: (group, version).
    pub views: &'static [(&'static str, &'static str)],
    /// The kind's name, as in `kind:`.
    pub name: &'static str,
    /// Plural, as in the URL.
    pub plural: &'static str,
    /// Singular, as kubectl accepts it.
    pub singular: &'static str,
    /// Short names, as kubectl accepts them.
    pub short_names: &'static [&'static str],
    /// Discovery categories (`all`, `istio-io`, …).
    pub categories: &'static [&'static str],
    /// What can be done with objects of the kind, in the order in which discovery lists it.
    pub verbs: &'static [&'static str],
    /// Namespaced or cluster-wide.
    pub scope: Scope,
    /// Whether `status` is a sub-resource: writes to the main path then leave it alone.
    pub status_subresource: bool,
    /// Whether `metadata.generation` counts changes outside metadata and status.
    pub has_generation: bool,
    /// Whether anything is compiled from objects of the kind: what a source has to watch.
    pub compiled: bool,
    /// Whether Kubernetes builds the kind in: such kinds take strategic merge patches and protobuf, and
    /// their errors read as Go's decoder writes them. The others are custom resources.
    pub built_in: bool,
    /// Why an object of the kind does nothing here, where Kubernetes or Istio would act on it: what follows on "this is
    /// stored, but", for whoever writes one.
    pub idle: Option<&'static str>,
}

const BUILT_IN_VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const CUSTOM_VERBS: &[&str] =
    &["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
const ISTIO_CATEGORIES: &[&str] = &["istio-io", "networking-istio-io"];
const SECURITY_CATEGORIES: &[&str] = &["istio-io", "security-istio-io"];
const GATEWAY_API_IDLE: &str =
    "nothing here serves the Gateway API: use Istio's Gateway and VirtualService";

/// A row of Istio's networking group: all of them are alike.
const fn networking(
    kind: Kind,
    name: &'static str,
    plural: &'static str,
    singular: &'static str,
    short_names: &'static [&'static str],
) -> KindInfo {
    KindInfo {
        kind,
        group: "networking.istio.io",
        versions: &["v1", "v1beta1", "v1alpha3"],
        views: &[],
        name,
        plural,
        singular,
        short_names,
        categories: ISTIO_CATEGORIES,
        verbs: CUSTOM_VERBS,
        scope: Scope::Namespaced,
        status_subresource: true,
        has_generation: true,
        compiled: true,
        built_in: false,
        idle: None,
    }
}

/// A row of Istio's security group.
const fn security(
    kind: Kind,
    name: &'static str,
    plural: &'static str,
    singular: &'static str,
    short_names: &'static [&'static str],
) -> KindInfo {
    KindInfo {
        group: "security.istio.io",
        versions: &["v1", "v1beta1"],
        categories: SECURITY_CATEGORIES,
        ..networking(kind, name, plural, singular, short_names)
    }
}

/// A row of the Gateway API's group.
const fn gateway_api(
    kind: Kind,
    name: &'static str,
    plural: &'static str,
    singular: &'static str,
    short_names: &'static [&'static str],
) -> KindInfo {
    KindInfo {
        group: crate::gateway_api::GROUP,
        versions: &["v1"],
        categories: &["gateway-api"],
        compiled: false,
        idle: Some(GATEWAY_API_IDLE),
        ..networking(kind, name, plural, singular, short_names)
    }
}

/// What most rows of Kubernetes' own kinds have in common.
const BUILT_IN: KindInfo = KindInfo {
    kind: Kind::ConfigMap,
    group: "",
    versions: &["v1"],
    views: &[],
    name: "ConfigMap",
    plural: "configmaps",
    singular: "configmap",
    short_names: &["cm"],
    categories: &[],
    verbs: BUILT_IN_VERBS,
    scope: Scope::Namespaced,
    status_subresource: false,
    has_generation: false,
    compiled: false,
    built_in: true,
    idle: None,
};

/// What the rows of templates of pods have in common.
const POD_SET: KindInfo = KindInfo {
    group: "apps",
    categories: &["all"],
    status_subresource: true,
    has_generation: true,
    idle: Some(
        "nothing here runs its pods: endpoints come from EndpointSlices, ServiceEntries and Pods with an address",
    ),
    ..BUILT_IN
};

/// Every kind, Istio's first: where two groups share a name, the first is what kubectl means.
pub static KINDS: &[KindInfo] = &[
    networking(Kind::Gateway, "Gateway", "gateways", "gateway", &["gw"]),
    networking(
        Kind::VirtualService,
        "VirtualService",
        "virtualservices",
        "virtualservice",
        &["vs"],
    ),
    networking(
        Kind::DestinationRule,
        "DestinationRule",
        "destinationrules",
        "destinationrule",
        &["dr"],
    ),
    networking(Kind::ServiceEntry, "ServiceEntry", "serviceentries", "serviceentry", &["se"]),
    networking(Kind::WorkloadEntry, "WorkloadEntry", "workloadentries", "workloadentry", &["we"]),
    networking(Kind::Sidecar, "Sidecar", "sidecars", "sidecar", &[]),
    security(
        Kind::AuthorizationPolicy,
        "AuthorizationPolicy",
        "authorizationpolicies",
        "authorizationpolicy",
        &["ap"],
    ),
    security(
        Kind::RequestAuthentication,
        "RequestAuthentication",
        "requestauthentications",
        "requestauthentication",
        &["ra"],
    ),
    security(
        Kind::PeerAuthentication,
        "PeerAuthentication",
        "peerauthentications",
        "peerauthentication",
        &["pa"],
    ),
    KindInfo {
        versions: &["v1alpha3"],
        ..networking(Kind::EnvoyFilter, "EnvoyFilter", "envoyfilters", "envoyfilter", &[])
    },
    KindInfo {
        compiled: false,
        idle: Some("no WorkloadEntry is made from it: write WorkloadEntries yourself"),
        ..networking(
            Kind::WorkloadGroup,
            "WorkloadGroup",
            "workloadgroups",
            "workloadgroup",
            &["wg"],
        )
    },
    KindInfo {
        versions: &["v1beta1"],
        compiled: false,
        idle: Some("has no effect: this proxy is set up by flags of the command that starts it"),
        ..networking(Kind::ProxyConfig, "ProxyConfig", "proxyconfigs", "proxyconfig", &[])
    },
    KindInfo {
        group: "telemetry.istio.io",
        versions: &["v1", "v1alpha1"],
        categories: &["istio-io", "telemetry-istio-io"],
        compiled: false,
        idle: Some("has no effect: logs and metrics are set up by flags and the mesh config alone"),
        ..networking(Kind::Telemetry, "Telemetry", "telemetries", "telemetry", &["telemetry"])
    },
    KindInfo {
        group: "extensions.istio.io",
        versions: &["v1alpha1"],
        categories: &["istio-io", "extensions-istio-io"],
        compiled: false,
        idle: Some("has no effect: this proxy runs no WebAssembly"),
        ..networking(Kind::WasmPlugin, "WasmPlugin", "wasmplugins", "wasmplugin", &[])
    },
    KindInfo {
        group: "extensions.istio.io",
        versions: &["v1alpha1"],
        categories: &["istio-io", "extensions-istio-io"],
        compiled: false,
        idle: Some("has no effect: this proxy runs neither WebAssembly nor Lua"),
        ..networking(
            Kind::TrafficExtension,
            "TrafficExtension",
            "trafficextensions",
            "trafficextension",
            &[],
        )
    },
    KindInfo {
        versions: &["v1", "v1beta1"],
        scope: Scope::Cluster,
        ..gateway_api(Kind::GatewayClass, "GatewayClass", "gatewayclasses", "gatewayclass", &["gc"])
    },
    KindInfo {
        versions: &["v1", "v1beta1"],
        ..gateway_api(Kind::KubernetesGateway, "Gateway", "gateways", "gateway", &["gtw"])
    },
    gateway_api(Kind::ListenerSet, "ListenerSet", "listenersets", "listenerset", &["lset"]),
    KindInfo {
        versions: &["v1", "v1beta1"],
        ..gateway_api(Kind::HTTPRoute, "HTTPRoute", "httproutes", "httproute", &[])
    },
    gateway_api(Kind::GRPCRoute, "GRPCRoute", "grpcroutes", "grpcroute", &[]),
    gateway_api(Kind::TCPRoute, "TCPRoute", "tcproutes", "tcproute", &[]),
    gateway_api(Kind::TLSRoute, "TLSRoute", "tlsroutes", "tlsroute", &[]),
    gateway_api(Kind::UDPRoute, "UDPRoute", "udproutes", "udproute", &[]),
    gateway_api(
        Kind::BackendTLSPolicy,
        "BackendTLSPolicy",
        "backendtlspolicies",
        "backendtlspolicy",
        &["btlspolicy"],
    ),
    KindInfo {
        versions: &["v1", "v1beta1"],
        status_subresource: false,
        ..gateway_api(
            Kind::ReferenceGrant,
            "ReferenceGrant",
            "referencegrants",
            "referencegrant",
            &["refgrant"],
        )
    },
    KindInfo {
        kind: Kind::Namespace,
        name: "Namespace",
        plural: "namespaces",
        singular: "namespace",
        short_names: &["ns"],
        verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
        scope: Scope::Cluster,
        status_subresource: true,
        ..BUILT_IN
    },
    KindInfo {
        kind: Kind::Service,
        name: "Service",
        plural: "services",
        singular: "service",
        short_names: &["svc"],
        categories: &["all"],
        status_subresource: true,
        compiled: true,
        ..BUILT_IN
    },
    KindInfo {
        kind: Kind::Endpoints,
        name: "Endpoints",
        plural: "endpoints",
        singular: "endpoints",
        short_names: &["ep"],
        idle: Some("endpoints are read from EndpointSlices alone"),
        ..BUILT_IN
    },
    KindInfo {
        kind: Kind::EndpointSlice,
        group: "discovery.k8s.io",
        name: "EndpointSlice",
        plural: "endpointslices",
        singular: "endpointslice",
        short_names: &[],
        has_generation: true,
        compiled: true,
        ..BUILT_IN
    },
    KindInfo {
        kind: Kind::Lease,
        group: "coordination.k8s.io",
        name: "Lease",
        plural: "leases",
        singular: "lease",
        short_names: &[],
        ..BUILT_IN
    },
    KindInfo {
        kind: Kind::Secret,
        name: "Secret",
        plural: "secrets",
        singular: "secret",
        short_names: &[],
        compiled: true,
        ..BUILT_IN
    },
    BUILT_IN,
    KindInfo {
        kind: Kind::Pod,
        name: "Pod",
        plural: "pods",
        singular: "pod",
        short_names: &["po"],
        categories: &["all"],
        status_subresource: true,
        has_generation: true,
        compiled: true,
        ..BUILT_IN
    },
    KindInfo {
        kind: Kind::ServiceAccount,
        name: "ServiceAccount",
        plural: "serviceaccounts",
        singular: "serviceaccount",
        short_names: &["sa"],
        ..BUILT_IN
    },
    KindInfo {
        kind: Kind::Node,
        name: "Node",
        plural: "nodes",
        singular: "node",
        short_names: &["no"],
        scope: Scope::Cluster,
        status_subresource: true,
        ..BUILT_IN
    },
    KindInfo {
        kind: Kind::ResourceQuota,
        name: "ResourceQuota",
        plural: "resourcequotas",
        singular: "resourcequota",
        short_names: &["quota"],
        status_subresource: true,
        idle: Some("nothing here is held to it"),
        ..BUILT_IN
    },
    KindInfo {
        kind: Kind::LimitRange,
        name: "LimitRange",
        plural: "limitranges",
        singular: "limitrange",
        short_names: &["limits"],
        idle: Some("nothing here is held to it"),
        ..BUILT_IN
    },
    KindInfo {
        kind: Kind::Deployment,
        name: "Deployment",
        plural: "deployments",
        singular: "deployment",
        short_names: &["deploy"],
        ..POD_SET
    },
    KindInfo {
        kind: Kind::DaemonSet,
        name: "DaemonSet",
        plural: "daemonsets",
        singular: "daemonset",
        short_names: &["ds"],
        ..POD_SET
    },
    KindInfo {
        kind: Kind::StatefulSet,
        name: "StatefulSet",
        plural: "statefulsets",
        singular: "statefulset",
        short_names: &["sts"],
        ..POD_SET
    },
    KindInfo {
        kind: Kind::ReplicaSet,
        name: "ReplicaSet",
        plural: "replicasets",
        singular: "replicaset",
        short_names: &["rs"],
        ..POD_SET
    },
    KindInfo {
        kind: Kind::Event,
        views: &[("events.k8s.io", "v1")],
        name: "Event",
        plural: "events",
        singular: "event",
        short_names: &["ev"],
        ..BUILT_IN
    },
    KindInfo {
        kind: Kind::CustomResourceDefinition,
        group: "apiextensions.k8s.io",
        name: "CustomResourceDefinition",
        plural: "customresourcedefinitions",
        singular: "customresourcedefinition",
        short_names: &["crd", "crds"],
        categories: &["api-extensions"],
        verbs: &["get", "list", "watch"],
        scope: Scope::Cluster,
        idle: Some(
            "the kinds that are served follow from the program, and so do their definitions",
        ),
        ..BUILT_IN
    },
];

impl Kind {
    /// The kind's row in the table.
    pub fn info(self) -> &'static KindInfo {
        // The table holds every kind exactly once, which a test checks; the first row is never the wrong
        // answer in a build that passed it.
        KINDS.iter().find(|row| row.kind == self).unwrap_or(&KINDS[0])
    }

    /// The kind's name, as in `kind:`.
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// The kinds from which anything is compiled, in table order.
    pub fn compiled() -> impl Iterator<Item = Kind> {
        KINDS.iter().filter(|row| row.compiled).map(|row| row.kind)
    }

    /// Every kind, in table order.
    pub fn all() -> impl Iterator<Item = Kind> {
        KINDS.iter().map(|row| row.kind)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl KindInfo {
    /// Whether the kind is served as that group and version.
    pub fn serves(&self, group: &str, version: &str) -> bool {
        self.group_versions().any(|served| served == (group, version))
    }

    /// Every (group, version) that the kind is served under, the preferred one first.
    pub fn group_versions(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let group = self.group;
        self.versions.iter().map(move |version| (group, *version)).chain(self.views.iter().copied())
    }

    /// `apiVersion` of a view: `v1`, or `group/version`.
    pub fn api_version(group: &str, version: &str) -> String {
        if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
    }

    /// The plural with its group, as error messages name the resource: `gateways.networking.istio.io`.
    pub fn qualified_plural(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_owned()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }
}

#[cfg(test)]
mod tests;
