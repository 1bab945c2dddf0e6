//! Whom a policy of the security API is about: workloads by their labels, or named resources.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::schema::rules::{Says, says};
use crate::validation::Report;
use crate::{Kind, Object};

/// The annotation that makes an AuthorizationPolicy count what it would do, and do nothing.
pub const DRY_RUN: &str = "istio.io/dry-run";

/// Of the ways to say whom a policy is about one may be used.
pub(super) const ATTACHMENT: &[Says] = &[says(
    "[has(self.selector), has(self.targetRef), has(self.targetRefs)].filter(given, given).size() <= 1",
    "only one of targetRefs or selector can be set",
)];

const LABELS: &[Says] = &[
    says("self.all(key, !key.contains('*'))", "wildcard not allowed in label key match"),
    says("self.all(key, key.size() > 0)", "key must not be empty"),
];

/// The value of a label that picks workloads: what is said where it has a wildcard.
pub(super) fn label_value(message: &'static str) -> Value {
    let rules = [says("!self.contains('*')", message)];
    json!({"type": "string", "maxLength": 63, "x-kubernetes-validations": rules})
}

/// Labels that pick the workloads that a policy is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "WorkloadSelector")]
pub struct PolicySelector {
    /// Labels that a workload has to carry, all of them. Without any, every workload of the policy's namespace is meant; of
    /// the whole mesh, if that is the root namespace.
    #[serde(default)]
    #[schemars(extend(
        "maxProperties" = 4096,
        "x-kubernetes-validations" = LABELS,
        "additionalProperties" = label_value("wildcard not allowed in label value match"),
    ))]
    pub match_labels: BTreeMap<String, String>,
}

/// The labels of the workloads that a policy is about, as far as a form of it tells that is refused. `None` where that
/// cannot be known, and for other kinds.
#[must_use]
pub fn selected(kind: Kind, manifest: &Value) -> Option<BTreeMap<String, String>> {
    let policies =
        [Kind::AuthorizationPolicy, Kind::RequestAuthentication, Kind::PeerAuthentication];
    if !policies.contains(&kind) {
        return None;
    }
    let spec = manifest.get("spec")?;
    let targets = ["targetRef", "targetRefs", "target_ref", "target_refs"];
    if targets.iter().any(|field| spec.get(field).is_some()) {
        return None;
    }
    let selector = spec.get("selector")?.as_object()?;
    let (field, labels) = selector.iter().next().filter(|_| selector.len() == 1)?;
    if field != "matchLabels" && field != "match_labels" {
        return None;
    }
    let label = |(name, value): (&String, &Value)| {
        let value = value.as_str().filter(|value| !value.contains('*'))?;
        (!name.is_empty() && !name.contains('*')).then(|| (name.clone(), value.to_owned()))
    };
    labels.as_object()?.iter().map(label).collect()
}

/// A resource that a policy is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "PolicyTargetReference")]
pub struct TargetReference {
    /// API group of the resource; empty for the core group.
    #[serde(default)]
    #[schemars(
        length(max = 253),
        regex(pattern = r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub group: String,
    /// Kind of the resource.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$")
    )]
    pub kind: String,
    /// Name of the resource, in the policy's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Has to be absent: a policy is about resources of its own namespace.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-validations" = [says(
        "self == ''",
        "cross namespace referencing is not currently supported",
    )]))]
    pub namespace: String,
}

/// What a policy of Istio may be attached to: group and kind.
const TARGETS: [(&str, &str); 4] = [
    ("", "Service"),
    ("networking.istio.io", "ServiceEntry"),
    ("gateway.networking.k8s.io", "Gateway"),
    ("gateway.networking.k8s.io", "GatewayClass"),
];

impl TargetReference {
    fn validate(&self, report: &mut Report) {
        if !TARGETS.contains(&(self.group.as_str(), self.kind.as_str())) {
            let shown = |(group, kind): (&str, &str)| match group {
                "" => kind.to_owned(),
                group => format!("{group}/{kind}"),
            };
            let allowed: Vec<String> = TARGETS.into_iter().map(shown).collect();
            let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
            let written = shown((&self.group, &self.kind));
            report.field("kind", |r| r.not_supported(written, &allowed));
        }
    }
}

/// Checks whom a policy is about.
pub(super) fn validate_attachment(
    report: &mut Report,
    selector: Option<&PolicySelector>,
    target: Option<&TargetReference>,
    targets: &[TargetReference],
) {
    validate_selector(report, selector);
    report.optional("targetRef", target, |r, target| target.validate(r));
    report.each("targetRefs", targets, |r, target| target.validate(r));
}

/// Tells of a selector that picks nothing in particular.
pub(super) fn validate_selector(report: &mut Report, selector: Option<&PolicySelector>) {
    report.optional("selector", selector, |report, selector| {
        if selector.match_labels.is_empty() {
            report.advise("workload selector specified without labels");
        }
    });
}

/// Only an AuthorizationPolicy can be tried out.
pub(super) fn refuse_dry_run(report: &mut Report, object: &Object) {
    if object.annotations.contains_key(DRY_RUN) {
        report.field("metadata", |r| {
            r.field("annotations", |r| {
                r.forbidden(format!("{DRY_RUN} is for AuthorizationPolicies only; remove it"));
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whom_a_refused_form_is_about_is_read_where_nothing_else_can_be_meant() {
        let read = |spec: Value| selected(Kind::AuthorizationPolicy, &json!({"spec": spec}));
        let labels = |value: &str| Some(BTreeMap::from([("app".to_owned(), value.to_owned())]));
        let broken = json!([{"when": [{"key": "typo"}]}]);
        let spec = json!({"selector": {"matchLabels": {"app": "other"}}, "rules": broken});
        assert_eq!(read(spec.clone()), labels("other"));
        assert_eq!(read(json!({"selector": {"match_labels": {"app": "a"}}})), labels("a"));
        for unclear in [
            json!({"rules": broken}),
            json!({"selector": {}}),
            json!({"selector": {"matchLabels": {"app": 1}}}),
            json!({"selector": {"matchLabels": {"app": "*"}}}),
            json!({"selector": {"matchLabels": ["app"]}}),
            json!({"selector": {"matchLabel": {"app": "other"}}}),
            json!({"selector": {"matchLabels": {"app": "a"}}, "targetRefs": []}),
            json!("text"),
        ] {
            assert_eq!(read(unclear.clone()), None, "{unclear}");
        }
        assert_eq!(selected(Kind::PeerAuthentication, &json!({"spec": spec})), labels("other"));
        assert_eq!(selected(Kind::ServiceEntry, &json!({"spec": spec})), None);
    }
}
