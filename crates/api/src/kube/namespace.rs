//! Namespace: where other objects live.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{child, set_default};
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

/// The label that carries a namespace's own name, so that selectors can pick it.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Fills in what Kubernetes fills in.
pub(super) fn defaults(object: &mut Value) {
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    if !name.is_empty() {
        child(child(object, "metadata"), "labels")[NAME_LABEL] = name.into();
    }
    set_default(child(object, "spec"), "finalizers", json!(["kubernetes"]));
    set_default(child(object, "status"), "phase", json!("Active"));
}
