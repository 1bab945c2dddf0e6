//! Namespace: where other objects live.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::scalar::Opaque;

/// A space of names for other objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Namespace {
    /// What is wanted.
    #[serde(default)]
    pub spec: NamespaceSpec,
    /// What is.
    #[serde(default)]
    pub status: NamespaceStatus,
}

/// What a Namespace is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceSpec {
    /// What has to happen before the namespace is gone.
    #[serde(default)]
    pub finalizers: Vec<String>,
}

/// What is known of a Namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceStatus {
    /// Active or Terminating.
    #[serde(default)]
    pub phase: String,
    /// Conditions of the namespace.
    #[serde(default)]
    pub conditions: Opaque,
}
