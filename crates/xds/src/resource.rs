//! What crosses the waist: resources, changes to them, and updates for a reader.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use xxhash_rust::xxh3::xxh3_64;

/// The resource types that cross the waist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    /// `envoy.config.cluster.v3.Cluster`
    Cluster,
    /// `envoy.config.endpoint.v3.ClusterLoadAssignment`
    Endpoints,
    /// `envoy.config.listener.v3.Listener`
    Listener,
    /// `envoy.config.route.v3.RouteConfiguration`, without the virtual hosts that are resources of their own.
    RouteConfiguration,
    /// `envoy.config.route.v3.VirtualHost`, named `ROUTE_CONFIGURATION/VIRTUAL_HOST` as in VHDS, so that one
    /// changed host among 10,000 costs one.
    VirtualHost,
    /// `envoy.extensions.transport_sockets.tls.v3.Secret`
    Secret,
}

impl ResourceType {
    /// Every type, in the order in which an update names them: nothing refers to what comes later, but
    /// listeners to route configurations, which a reader takes in the same step.
    pub const ALL: [Self; 6] = [
        Self::Cluster,
        Self::Endpoints,
        Self::Secret,
        Self::Listener,
        Self::RouteConfiguration,
        Self::VirtualHost,
    ];

    /// The type URL that names this type in xDS.
    #[must_use]
    pub const fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoints => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::RouteConfiguration => {
                "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
            }
            Self::VirtualHost => "type.googleapis.com/envoy.config.route.v3.VirtualHost",
            Self::Secret => "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        }
    }

    /// Position in [`ResourceType::ALL`].
    pub(crate) const fn rank(self) -> usize {
        match self {
            Self::Cluster => 0,
            Self::Endpoints => 1,
            Self::Secret => 2,
            Self::Listener => 3,
            Self::RouteConfiguration => 4,
            Self::VirtualHost => 5,
        }
    }
}

/// One resource: its name, the hash of its bytes, and the deterministic encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Which type the bytes are.
    pub kind: ResourceType,
    /// Unique among resources of its type.
    pub name: Arc<str>,
    /// Hash of `bytes`: equal versions are equal resources.
    pub version: u64,
    /// The encoded message, without an `Any` around it.
    pub bytes: Bytes,
}

impl Resource {
    /// A resource from bytes that are already encoded; the version is their xxh3.
    #[must_use]
    pub fn new(kind: ResourceType, name: impl Into<Arc<str>>, bytes: Bytes) -> Self {
        Self { kind, name: name.into(), version: xxh3_64(&bytes), bytes }
    }

    /// A resource from a message.
    #[must_use]
    pub fn encode(kind: ResourceType, name: impl Into<Arc<str>>, message: &impl Message) -> Self {
        Self::new(kind, name, message.encode_to_vec().into())
    }
}

/// What a publisher changes in one step; readers see all of it or nothing.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// New or replaced resources.
    pub upsert: Vec<Resource>,
    /// Resources that are gone. A name that also stands in `upsert` is replaced, not removed.
    pub remove: Vec<(ResourceType, Arc<str>)>,
}

impl Change {
    /// Whether nothing would change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.upsert.is_empty() && self.remove.is_empty()
    }
}

/// What a subscriber has to apply to go from what it had to `generation`.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// The snapshot's generation after this update; grows by one with each published change.
    pub generation: u64,
    /// New or replaced resources, in the order of [`ResourceType::ALL`] and then by name.
    pub upsert: Vec<Arc<Resource>>,
    /// Resources that are gone, in the opposite order: who refers goes before what is referred to.
    pub remove: Vec<(ResourceType, Arc<str>)>,
}
