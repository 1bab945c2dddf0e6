//! ResourceQuota and LimitRange: how much a namespace may use. They are stored and shown; nothing here holds anybody to them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::{Value, json};

use super::set_default;
use crate::scalar::{IntOrString, Opaque};

/// How much all objects of a namespace may use together.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceQuota {
    /// What is wanted.
    pub spec: Option<ResourceQuotaSpec>,
    /// What is.
    pub status: Option<ResourceQuotaStatus>,
}

/// What a ResourceQuota is.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceQuotaSpec {
    /// The most of each resource.
    pub hard: Option<BTreeMap<String, IntOrString>>,
    /// Which pods are counted.
    pub scopes: Option<Vec<String>>,
    /// Which pods are counted, by conditions.
    pub scope_selector: Option<Opaque>,
}

/// What is known of a ResourceQuota.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceQuotaStatus {
    /// The most of each resource.
    pub hard: Option<BTreeMap<String, IntOrString>>,
    /// How much of each is used.
    pub used: Option<BTreeMap<String, IntOrString>>,
}

/// How much single objects of a namespace may use.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LimitRange {
    /// What is wanted.
    pub spec: Option<LimitRangeSpec>,
}

/// What a LimitRange is.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LimitRangeSpec {
    /// Limits, one kind of objects each.
    pub limits: Option<Vec<LimitRangeItem>>,
}

/// Limits of a kind of objects.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LimitRangeItem {
    /// Container, Pod or PersistentVolumeClaim.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The most that one may use.
    pub max: Option<BTreeMap<String, IntOrString>>,
    /// The least.
    pub min: Option<BTreeMap<String, IntOrString>>,
    /// The limit of one that has none.
    pub default: Option<BTreeMap<String, IntOrString>>,
    /// What one asks for that asks for nothing.
    pub default_request: Option<BTreeMap<String, IntOrString>>,
    /// The most that the limit may be, in terms of what is asked for.
    pub max_limit_request_ratio: Option<BTreeMap<String, IntOrString>>,
}

/// Fills in what Kubernetes fills in.
pub(super) fn defaults(object: &mut Value) {
    set_default(object, "status", json!({}));
}
