//! What travels between source, pilot and API server: one decoded object.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::Kind;
use crate::istio;
use crate::kube;

/// Names one object: kind, namespace (empty when the kind has none) and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The kind.
    pub kind: Kind,
    /// The namespace; empty for kinds of cluster scope.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

impl ObjectKey {
    /// Names an object of a namespace.
    pub fn new(kind: Kind, namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        ObjectKey { kind, namespace: namespace.into(), name: name.into() }
    }

    /// Names an object of cluster scope.
    pub fn cluster(kind: Kind, name: impl Into<Arc<str>>) -> Self {
        ObjectKey::new(kind, "", name)
    }
}

/// `VirtualService default/front-proxy`, or `Namespace default` for kinds of cluster scope.
impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

/// The annotation by which an API says where an object comes from that nobody can write there: `path:line`, or `tidegate`.
pub const SOURCE_ANNOTATION: &str = "tidegate.dev/source";

/// Where an object came from; shown wherever a decision is explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Written through the API (embedded or a cluster's).
    Api,
    /// Read from a manifest: file and 1-based line of its first key. Read-only through the API.
    File {
        /// The file as it was named or found.
        path: Arc<Path>,
        /// Line of the document's first key.
        line: u32,
    },
    /// Made by this process to show itself (its gateway's Service, Pod …). Read-only through the API.
    Process,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Api => f.write_str("API"),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Process => f.write_str("this process"),
        }
    }
}

/// One object, decoded: metadata that matters everywhere, and its typed spec.
#[derive(Clone, Debug)]
pub struct Object {
    /// Kind, namespace, name.
    pub key: ObjectKey,
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// `metadata.resourceVersion`; 0 for objects that no API stores.
    pub resource_version: u64,
    /// `metadata.generation`; 0 where the kind has none.
    pub generation: i64,
    /// `metadata.creationTimestamp`: Istio orders conflicting objects by it, oldest first. All objects
    /// from files share one age, so that name and namespace order them.
    pub created: jiff::Timestamp,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// Where it came from.
    pub origin: Origin,
    /// Fields that no schema has, which were left out, each with its place in words. Of objects in files, and in API servers that may
    /// know fields which are unknown here: whoever writes through the embedded API is answered.
    pub unknown: Vec<String>,
    /// The typed content.
    pub spec: Spec,
}

impl Object {
    /// An object with this content and nothing else known about it: no labels, the oldest age, written
    /// through the API.
    pub fn new(key: ObjectKey, spec: Spec) -> Self {
        Object {
            key,
            uid: "".into(),
            resource_version: 0,
            generation: 0,
            created: jiff::Timestamp::UNIX_EPOCH,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            origin: Origin::Api,
            unknown: Vec::new(),
            spec,
        }
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        self.key.kind
    }

    /// The namespace; empty for kinds of cluster scope.
    pub fn namespace(&self) -> &str {
        &self.key.namespace
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.key.name
    }
}

/// The typed content of an object, one variant per kind.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Spec {
    /// A kind that is stored and shown, but that nothing is compiled from.
    Opaque,
    /// `spec` of a Gateway.
    Gateway(Box<istio::Gateway>),
    /// `spec` of a VirtualService.
    VirtualService(Box<istio::VirtualService>),
    /// `spec` of a DestinationRule.
    DestinationRule(Box<istio::DestinationRule>),
    /// `spec` of a ServiceEntry.
    ServiceEntry(Box<istio::ServiceEntry>),
    /// `spec` of a WorkloadEntry.
    WorkloadEntry(Box<istio::WorkloadEntry>),
    /// `spec` of a Sidecar.
    Sidecar(Box<istio::Sidecar>),
    /// `spec` of an AuthorizationPolicy.
    AuthorizationPolicy(Box<istio::AuthorizationPolicy>),
    /// `spec` of a RequestAuthentication.
    RequestAuthentication(Box<istio::RequestAuthentication>),
    /// `spec` of a PeerAuthentication.
    PeerAuthentication(Box<istio::PeerAuthentication>),
    /// `spec` of an EnvoyFilter.
    EnvoyFilter(Box<istio::EnvoyFilter>),
    /// A Namespace.
    Namespace(Box<kube::Namespace>),
    /// A Service.
    Service(Box<kube::Service>),
    /// An EndpointSlice.
    EndpointSlice(Box<kube::EndpointSlice>),
    /// A Secret.
    Secret(Box<kube::Secret>),
    /// A ConfigMap.
    ConfigMap(Box<kube::ConfigMap>),
    /// A Pod.
    Pod(Box<kube::Pod>),
    /// A Deployment.
    Deployment(Box<kube::Deployment>),
    /// A DaemonSet, StatefulSet or ReplicaSet.
    PodSet(Box<kube::PodSet>),
    /// An Event.
    Event(Box<kube::Event>),
}
