//! The few Kubernetes kinds that matter here: what services and endpoints are read from, and what a user
//! of kubectl expects to find.
//!
//! Fields that decide something here are typed. Deep structures that are only stored and shown (volumes,
//! affinity, probes …) are kept as they were written: their first level is known by name, so that a
//! misspelt field is found there, but not inside them.

pub mod config_map;
pub mod deployment;
pub mod endpoint_slice;
pub mod event;
pub mod namespace;
pub mod pod;
pub mod secret;
pub mod service;

pub use config_map::ConfigMap;
pub use deployment::Deployment;
pub use endpoint_slice::EndpointSlice;
pub use event::Event;
pub use namespace::Namespace;
pub use pod::Pod;
pub use secret::Secret;
pub use service::Service;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::scalar::Opaque;

/// What a transport port carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TransportProtocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// Selects objects by their labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels that an object has to carry, all of them.
    #[serde(default)]
    pub match_labels: std::collections::BTreeMap<String, String>,
    /// Further conditions on labels.
    #[serde(default)]
    pub match_expressions: Opaque,
}

/// Names another object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectReference {
    /// API group and version of the object.
    #[serde(default)]
    pub api_version: String,
    /// Kind of the object.
    #[serde(default)]
    pub kind: String,
    /// Namespace of the object.
    #[serde(default)]
    pub namespace: String,
    /// Name of the object.
    #[serde(default)]
    pub name: String,
    /// Identity of the object.
    #[serde(default)]
    pub uid: String,
    /// Version of the object that is meant.
    #[serde(default)]
    pub resource_version: String,
    /// The part of the object that is meant, such as `spec.containers{name}`.
    #[serde(default)]
    pub field_path: String,
}
