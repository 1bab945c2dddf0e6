//! The one table of kinds: adding a kind starts with a row here.

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
    Namespace,
    Service,
    EndpointSlice,
    Secret,
    ConfigMap,
    Pod,
    Deployment,
    Event,
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
    /// Namespaced or cluster-wide.
    pub scope: Scope,
    /// Whether `status` is a sub-resource: writes to the main path then leave it alone.
    pub status_subresource: bool,
    /// Whether `metadata.generation` counts changes outside metadata and status.
    pub has_generation: bool,
}
