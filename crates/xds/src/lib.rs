//! The waist: named, versioned xDS resources, published by pilot and read by the proxy.
//!
//! A [`Snapshot`] is the current set of resources. Whoever compiles publishes a [`Change`]; whoever serves
//! subscribes and receives [`Update`]s: first everything, then only what differs. A slow subscriber gets
//! fewer, larger updates, never an unbounded queue.

use std::sync::Arc;

use bytes::Bytes;

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

/// What a publisher changes in one step; readers see all of it or nothing.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// New or replaced resources.
    pub upsert: Vec<Resource>,
    /// Resources that are gone.
    pub remove: Vec<(ResourceType, Arc<str>)>,
}

/// What a subscriber has to apply to go from what it had to `generation`.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// The snapshot's generation after this update; grows by one with each published change.
    pub generation: u64,
    /// New or replaced resources, in an order that never names what is not there yet: clusters, endpoints,
    /// secrets, listeners, route configurations, virtual hosts.
    pub upsert: Vec<Arc<Resource>>,
    /// Resources that are gone.
    pub remove: Vec<(ResourceType, Arc<str>)>,
}

/// What a subscriber says about a generation once every worker serves it.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// The generation that is served now.
    pub generation: u64,
    /// Resources that were refused; their last good form serves on.
    pub rejected: Vec<Rejection>,
}

/// One refused resource, as a NACK names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Type of the resource.
    pub kind: ResourceType,
    /// Name of the resource.
    pub name: Arc<str>,
    /// Path of the field inside the resource, such as `filter_chains[0].filters[1].typed_config`; empty when
    /// the whole is meant.
    pub path: String,
    /// What is wrong and what would be accepted.
    pub reason: String,
}
