//! What travels between source, pilot and API server: one decoded object.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::Kind;

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
    /// The typed content.
    pub spec: Spec,
}

/// The typed content of an object, one variant per kind.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Spec {
    /// A kind that is stored and shown, but that nothing is compiled from.
    Opaque,
}
