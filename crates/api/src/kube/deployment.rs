//! Deployment: a template of pods. It is stored and shown; nothing here runs it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::pod::{self, PodSpec};
use super::{LabelSelector, child, set_default};
use crate::metadata::validate_labels;
use crate::scalar::{IntOrString, Opaque};
use crate::validation::Report;

/// A number of pods made from one template.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Deployment {
    /// What is wanted.
    #[serde(default)]
    pub spec: DeploymentSpec,
    /// What is.
    #[serde(default)]
    pub status: DeploymentStatus,
}

/// What a Deployment is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentSpec {
    /// How many pods are wanted; 1 when absent.
    pub replicas: Option<i32>,
    /// Labels of the pods. It never changes, and the template has to carry them.
    #[serde(default)]
    pub selector: LabelSelector,
    /// What each pod is.
    #[serde(default)]
    pub template: PodTemplateSpec,
    /// How pods are replaced.
    #[serde(default)]
    pub strategy: DeploymentStrategy,
    /// How long a pod has to be ready before it counts.
    #[serde(default)]
    pub min_ready_seconds: i32,
    /// How many earlier templates are kept; 10 when absent.
    pub revision_history_limit: Option<i32>,
    /// Whether changes wait.
    #[serde(default)]
    pub paused: bool,
    /// How long a change may take before it counts as failed; 600 when absent.
    pub progress_deadline_seconds: Option<i32>,
}

/// The template of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodTemplateSpec {
    /// Labels and annotations of each pod.
    #[serde(default)]
    pub metadata: TemplateMeta,
    /// What each pod is.
    #[serde(default)]
    pub spec: PodSpec,
}

/// Metadata of a pod's template.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ObjectMeta")]
pub struct TemplateMeta {
    /// Name; not used.
    #[serde(default)]
    pub name: String,
    /// Prefix of the name; not used.
    #[serde(default)]
    pub generate_name: String,
    /// Namespace; not used.
    #[serde(default)]
    pub namespace: String,
    /// Labels of each pod.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Annotations of each pod.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Always null.
    #[serde(default)]
    pub creation_timestamp: Opaque,
    /// Finalizers of each pod.
    #[serde(default)]
    pub finalizers: Vec<String>,
    /// Owners; not used.
    #[serde(default)]
    pub owner_references: Opaque,
}

/// How pods are replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentStrategy {
    /// RollingUpdate (when absent) or Recreate.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// Parameters of RollingUpdate.
    pub rolling_update: Option<RollingUpdateDeployment>,
}

/// Parameters of a rolling update.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RollingUpdateDeployment {
    /// Pods that may be missing, as a number or in percent; 25% when absent.
    pub max_unavailable: Option<IntOrString>,
    /// Pods that may be too many, as a number or in percent; 25% when absent.
    pub max_surge: Option<IntOrString>,
}

/// What is known of a Deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentStatus {
    /// The generation that this status speaks of.
    #[serde(default)]
    pub observed_generation: i64,
    /// Pods that exist.
    #[serde(default)]
    pub replicas: i32,
    /// Pods of the current template.
    #[serde(default)]
    pub updated_replicas: i32,
    /// Pods that are ready.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Pods that have been ready for long enough.
    #[serde(default)]
    pub available_replicas: i32,
    /// Pods that are missing.
    #[serde(default)]
    pub unavailable_replicas: i32,
    /// Pods that are about to end.
    pub terminating_replicas: Option<i32>,
    /// Conditions of the deployment.
    #[serde(default)]
    pub conditions: Opaque,
    /// Count of collisions of template names.
    pub collision_count: Option<i32>,
}

/// Fills in what Kubernetes fills in.
pub(super) fn defaults(object: &mut Value) {
    set_default(object, "status", json!({}));
    let spec = child(object, "spec");
    set_default(spec, "replicas", json!(1));
    set_default(spec, "revisionHistoryLimit", json!(10));
    set_default(spec, "progressDeadlineSeconds", json!(600));
    let strategy = child(spec, "strategy");
    set_default(strategy, "type", json!("RollingUpdate"));
    if strategy["type"] == "RollingUpdate" {
        let update = child(strategy, "rollingUpdate");
        set_default(update, "maxUnavailable", json!("25%"));
        set_default(update, "maxSurge", json!("25%"));
    }
    pod::template_defaults(child(child(spec, "template"), "spec"));
}

impl DeploymentSpec {
    /// Checks the selector and the template.
    pub(crate) fn validate(&self, report: &mut Report) {
        let numbers = [
            ("replicas", self.replicas),
            ("minReadySeconds", Some(self.min_ready_seconds)),
            ("revisionHistoryLimit", self.revision_history_limit),
        ];
        not_negative(report, &numbers);
        if !matches!(self.strategy.kind.as_str(), "" | "RollingUpdate" | "Recreate") {
            report.field("strategy", |r| {
                let kind = self.strategy.kind.as_str();
                r.field("type", |r| {
                    r.not_supported(kind, &["Recreate", "RollingUpdate"]);
                });
            });
        }
        self.template.validate(&self.selector, report);
    }
}

/// Checks numbers that may be absent.
pub(super) fn not_negative(report: &mut Report, numbers: &[(&str, Option<i32>)]) {
    for (field, number) in numbers {
        if let Some(number) = number.filter(|number| *number < 0) {
            report.field(field, |r| {
                r.invalid(number, "must be greater than or equal to 0");
            });
        }
    }
}

impl PodTemplateSpec {
    /// Checks the template and the selector beside it, which has to select what the template makes.
    pub(super) fn validate(&self, selector: &LabelSelector, report: &mut Report) {
        report.field("selector", |report| {
            if selector.is_empty() {
                report.required("");
            }
            validate_labels("matchLabels", &selector.match_labels, report);
        });
        report.field("template", |report| {
            let labels = &self.metadata.labels;
            report.field("metadata", |report| {
                validate_labels("labels", labels, report);
                if !selector.is_empty() && !selector.matches(labels) {
                    report.field("labels", |r| {
                        r.invalid(json!(labels), "`selector` does not match template `labels`");
                    });
                }
            });
            report.field("spec", |report| {
                self.spec.validate(report);
                if !matches!(self.spec.restart_policy.as_str(), "" | "Always") {
                    let policy = self.spec.restart_policy.as_str();
                    report.field("restartPolicy", |r| r.not_supported(policy, &["Always"]));
                }
            });
        });
    }
}

impl Deployment {
    /// The selector never changes.
    pub(super) fn validate_update(&self, old: &Deployment, report: &mut Report) {
        same_selector(&old.spec.selector, &self.spec.selector, report);
    }
}

/// Refuses another selector than there was.
pub(super) fn same_selector(old: &LabelSelector, new: &LabelSelector, report: &mut Report) {
    if new == old {
        return;
    }
    let mut shown = json!({});
    if !new.match_labels.is_empty() {
        shown["matchLabels"] = json!(new.match_labels);
    }
    report.field("spec", |r| {
        r.field("selector", |r| r.invalid(shown, "field is immutable"));
    });
}
