//! DaemonSet, StatefulSet and ReplicaSet: templates of pods like a Deployment's. They are stored and shown; nothing here
//! runs them.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::deployment::{PodTemplateSpec, RollingUpdateDeployment, same_selector};
use super::{LabelSelector, child, pod, set_default};
use crate::Kind;
use crate::scalar::{IntOrString, Opaque};
use crate::validation::Report;

/// One pod on every node.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DaemonSet {
    /// What is wanted.
    pub spec: Option<DaemonSetSpec>,
    /// What is.
    pub status: Option<DaemonSetStatus>,
}

/// What a DaemonSet is.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DaemonSetSpec {
    /// Labels of the pods. It never changes, and the template has to carry them.
    pub selector: Option<LabelSelector>,
    /// What each pod is.
    pub template: Option<PodTemplateSpec>,
    /// How pods are replaced.
    pub update_strategy: Option<DaemonSetUpdateStrategy>,
    /// How long a pod has to be ready before it counts.
    pub min_ready_seconds: Option<i32>,
    /// How many earlier templates are kept; 10 when absent.
    pub revision_history_limit: Option<i32>,
}

/// How the pods of a DaemonSet are replaced.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DaemonSetUpdateStrategy {
    /// RollingUpdate (when absent) or OnDelete.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Parameters of RollingUpdate.
    pub rolling_update: Option<RollingUpdateDeployment>,
}

/// What is known of a DaemonSet.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DaemonSetStatus {
    /// Nodes that have the pod and should.
    pub current_number_scheduled: Option<i32>,
    /// Nodes that have the pod and should not.
    pub number_misscheduled: Option<i32>,
    /// Nodes that should have the pod.
    pub desired_number_scheduled: Option<i32>,
    /// Nodes on which the pod is ready.
    pub number_ready: Option<i32>,
    /// The generation that this status speaks of.
    pub observed_generation: Option<i64>,
    /// Nodes whose pod has the current template.
    pub updated_number_scheduled: Option<i32>,
    /// Nodes on which the pod has been ready for long enough.
    pub number_available: Option<i32>,
    /// Nodes on which it has not.
    pub number_unavailable: Option<i32>,
    /// Count of collisions of template names.
    pub collision_count: Option<i32>,
    /// Conditions of the DaemonSet.
    pub conditions: Option<Opaque>,
}

/// Pods with names and storage that stay theirs.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatefulSet {
    /// What is wanted.
    pub spec: Option<StatefulSetSpec>,
    /// What is.
    pub status: Option<StatefulSetStatus>,
}

/// What a StatefulSet is.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatefulSetSpec {
    /// How many pods are wanted; 1 when absent.
    pub replicas: Option<i32>,
    /// Labels of the pods. It never changes, and the template has to carry them.
    pub selector: Option<LabelSelector>,
    /// What each pod is.
    pub template: Option<PodTemplateSpec>,
    /// Storage of each pod.
    pub volume_claim_templates: Option<Opaque>,
    /// The Service that gives the pods their names.
    pub service_name: Option<String>,
    /// Whether pods are made one after the other (OrderedReady, when absent) or all at once (Parallel).
    pub pod_management_policy: Option<String>,
    /// How pods are replaced.
    pub update_strategy: Option<StatefulSetUpdateStrategy>,
    /// How many earlier templates are kept; 10 when absent.
    pub revision_history_limit: Option<i32>,
    /// How long a pod has to be ready before it counts.
    pub min_ready_seconds: Option<i32>,
    /// What becomes of the storage.
    pub persistent_volume_claim_retention_policy: Option<RetentionPolicy>,
    /// The number of the first pod.
    pub ordinals: Option<Ordinals>,
}

/// How the pods of a StatefulSet are replaced.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatefulSetUpdateStrategy {
    /// RollingUpdate (when absent) or OnDelete.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Parameters of RollingUpdate.
    pub rolling_update: Option<RollingUpdateStatefulSet>,
}

/// Parameters of a rolling update.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RollingUpdateStatefulSet {
    /// Pods of a lower number stay as they are.
    pub partition: Option<i32>,
    /// Pods that may be missing, as a number or in percent.
    pub max_unavailable: Option<IntOrString>,
}

/// What becomes of the storage of pods.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetentionPolicy {
    /// When the StatefulSet is deleted: Retain or Delete.
    pub when_deleted: Option<String>,
    /// When there are fewer pods: Retain or Delete.
    pub when_scaled: Option<String>,
}

/// How pods are numbered.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ordinals {
    /// The first number.
    pub start: Option<i32>,
}

/// What is known of a StatefulSet.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatefulSetStatus {
    /// The generation that this status speaks of.
    pub observed_generation: Option<i64>,
    /// Pods that exist.
    pub replicas: Option<i32>,
    /// Pods that are ready.
    pub ready_replicas: Option<i32>,
    /// Pods of the template of before.
    pub current_replicas: Option<i32>,
    /// Pods of the current template.
    pub updated_replicas: Option<i32>,
    /// Name of the template of before.
    pub current_revision: Option<String>,
    /// Name of the current template.
    pub update_revision: Option<String>,
    /// Count of collisions of template names.
    pub collision_count: Option<i32>,
    /// Conditions of the StatefulSet.
    pub conditions: Option<Opaque>,
    /// Pods that have been ready for long enough.
    pub available_replicas: Option<i32>,
}

/// A number of pods made from one template; usually a Deployment's.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaSet {
    /// What is wanted.
    pub spec: Option<ReplicaSetSpec>,
    /// What is.
    pub status: Option<ReplicaSetStatus>,
}

/// What a ReplicaSet is.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaSetSpec {
    /// How many pods are wanted; 1 when absent.
    pub replicas: Option<i32>,
    /// How long a pod has to be ready before it counts.
    pub min_ready_seconds: Option<i32>,
    /// Labels of the pods. It never changes, and the template has to carry them.
    pub selector: Option<LabelSelector>,
    /// What each pod is.
    pub template: Option<PodTemplateSpec>,
}

/// What is known of a ReplicaSet.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaSetStatus {
    /// Pods that exist.
    pub replicas: Option<i32>,
    /// Pods that carry all labels of the template.
    pub fully_labeled_replicas: Option<i32>,
    /// Pods that are ready.
    pub ready_replicas: Option<i32>,
    /// Pods that have been ready for long enough.
    pub available_replicas: Option<i32>,
    /// Pods that are about to end.
    pub terminating_replicas: Option<i32>,
    /// The generation that this status speaks of.
    pub observed_generation: Option<i64>,
    /// Conditions of the ReplicaSet.
    pub conditions: Option<Opaque>,
}

/// What the three kinds have in common and is checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct PodSet {
    #[serde(default)]
    spec: PodSetSpec,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodSetSpec {
    replicas: Option<i32>,
    min_ready_seconds: Option<i32>,
    revision_history_limit: Option<i32>,
    #[serde(default)]
    selector: LabelSelector,
    #[serde(default)]
    template: PodTemplateSpec,
}

impl PodSet {
    /// Checks the selector and the template.
    pub(crate) fn validate(&self, report: &mut Report) {
        let spec = &self.spec;
        report.field("spec", |report| {
            let numbers = [
                ("replicas", spec.replicas),
                ("minReadySeconds", spec.min_ready_seconds),
                ("revisionHistoryLimit", spec.revision_history_limit),
            ];
            super::deployment::not_negative(report, &numbers);
            spec.template.validate(&spec.selector, report);
        });
    }

    /// The selector never changes.
    pub(super) fn validate_update(&self, old: &PodSet, report: &mut Report) {
        same_selector(&old.spec.selector, &self.spec.selector, report);
    }
}

/// Fills in what Kubernetes fills in.
pub(super) fn defaults(kind: Kind, object: &mut Value) {
    set_default(object, "status", json!({}));
    let spec = child(object, "spec");
    if kind != Kind::DaemonSet {
        set_default(spec, "replicas", json!(1));
    }
    if kind != Kind::ReplicaSet {
        set_default(spec, "revisionHistoryLimit", json!(10));
        let strategy = child(spec, "updateStrategy");
        set_default(strategy, "type", json!("RollingUpdate"));
        if strategy["type"] == "RollingUpdate" {
            let update = child(strategy, "rollingUpdate");
            if kind == Kind::DaemonSet {
                set_default(update, "maxUnavailable", json!(1));
                set_default(update, "maxSurge", json!(0));
            } else {
                set_default(update, "partition", json!(0));
            }
        }
    }
    if kind == Kind::StatefulSet {
        set_default(spec, "podManagementPolicy", json!("OrderedReady"));
        let retention = child(spec, "persistentVolumeClaimRetentionPolicy");
        set_default(retention, "whenDeleted", json!("Retain"));
        set_default(retention, "whenScaled", json!("Retain"));
    }
    pod::template_defaults(child(child(spec, "template"), "spec"));
}
