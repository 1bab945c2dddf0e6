//! ServiceAccount: who a workload is.

use schemars::JsonSchema;

use super::ObjectReference;

/// An identity that workloads run as.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccount {
    /// Secrets that workloads of the account may use.
    pub secrets: Option<Vec<ObjectReference>>,
    /// Secrets with which images are fetched.
    pub image_pull_secrets: Option<Vec<LocalObjectReference>>,
    /// Whether pods get a token of the account.
    pub automount_service_account_token: Option<bool>,
}

/// Names an object of the same namespace.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalObjectReference {
    /// Its name.
    pub name: Option<String>,
}
