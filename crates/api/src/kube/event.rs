//! Event: something that happened to another object.
//!
//! One stored object has two views: `v1` names its fields by their older names, `events.k8s.io/v1` by the
//! newer ones (`involvedObject` and `regarding`, `message` and `note` …). The stored form is `v1`'s;
//! [`Event`] reads it, and the API server converts at its door.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ObjectReference, set_default};
use crate::scalar::Opaque;
use crate::validation::Report;

/// Something that happened to an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// The object that it happened to.
    #[serde(default)]
    pub involved_object: ObjectReference,
    /// Why, in one word.
    #[serde(default)]
    pub reason: String,
    /// What happened, in words.
    #[serde(default)]
    pub message: String,
    /// Who says so.
    #[serde(default)]
    pub source: EventSource,
    /// When it first happened.
    pub first_timestamp: Option<String>,
    /// When it last happened.
    pub last_timestamp: Option<String>,
    /// How often it happened.
    #[serde(default)]
    pub count: i32,
    /// Normal or Warning.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// When it happened, to the microsecond.
    pub event_time: Option<String>,
    /// A run of equal events.
    #[serde(default)]
    pub series: Opaque,
    /// What was done or failed.
    #[serde(default)]
    pub action: String,
    /// Another object that is concerned.
    pub related: Option<ObjectReference>,
    /// Who says so, as a qualified name.
    #[serde(default)]
    pub reporting_component: String,
    /// Which instance of it says so.
    #[serde(default)]
    pub reporting_instance: String,
}

/// Who reports an event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventSource {
    /// Which program.
    #[serde(default)]
    pub component: String,
    /// On which host.
    #[serde(default)]
    pub host: String,
}

/// An event as `events.k8s.io/v1` shows it: the same object under the newer names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Event")]
pub struct EventView {
    /// When it happened, to the microsecond.
    pub event_time: Option<String>,
    /// A run of equal events.
    #[serde(default)]
    pub series: Opaque,
    /// Who says so, as a qualified name.
    #[serde(default)]
    pub reporting_controller: String,
    /// Which instance of it says so.
    #[serde(default)]
    pub reporting_instance: String,
    /// What was done or failed.
    #[serde(default)]
    pub action: String,
    /// Why, in one word.
    #[serde(default)]
    pub reason: String,
    /// The object that it happened to.
    #[serde(default)]
    pub regarding: ObjectReference,
    /// Another object that is concerned.
    pub related: Option<ObjectReference>,
    /// What happened, in words.
    #[serde(default)]
    pub note: String,
    /// Normal or Warning.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// Older form: who says so.
    #[serde(default)]
    pub deprecated_source: EventSource,
    /// Older form: when it first happened.
    pub deprecated_first_timestamp: Option<String>,
    /// Older form: when it last happened.
    pub deprecated_last_timestamp: Option<String>,
    /// Older form: how often it happened.
    #[serde(default)]
    pub deprecated_count: i32,
}

/// Fills in what Kubernetes shows of every event, in the stored form.
pub(super) fn defaults(object: &mut Value) {
    set_default(object, "source", json!({}));
    for field in ["firstTimestamp", "lastTimestamp", "eventTime"] {
        set_default(object, field, Value::Null);
    }
    for field in ["reportingComponent", "reportingInstance"] {
        set_default(object, field, json!(""));
    }
}

impl Event {
    /// An event lives in the namespace of what it happened to; of cluster objects, in any that Kubernetes
    /// looks for them in.
    pub(crate) fn validate(&self, namespace: &str, report: &mut Report) {
        let of = self.involved_object.namespace.as_str();
        let cluster_scope = of.is_empty() && matches!(namespace, "" | "default" | "kube-system");
        if of != namespace && !cluster_scope {
            report.field("involvedObject", |r| {
                r.field("namespace", |r| {
                    r.invalid(of, "does not match event.namespace");
                });
            });
        }
    }
}

/// The two names of each field that the views call differently: of `v1`, and of `events.k8s.io/v1`.
const RENAMED: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// Turns an event as `events.k8s.io/v1` writes it into the stored form. `apiVersion` is left alone.
pub fn from_view(event: &mut Value) {
    rename(event, |(stored, view)| (view, stored));
}

/// Turns a stored event into what `events.k8s.io/v1` shows. `apiVersion` is left alone.
pub fn to_view(event: &mut Value) {
    rename(event, |names| names);
}

fn rename(
    event: &mut Value,
    order: impl Fn((&'static str, &'static str)) -> (&'static str, &'static str),
) {
    let Some(fields) = event.as_object_mut() else {
        return;
    };
    for (from, to) in RENAMED.map(order) {
        if let Some(value) = fields.remove(from) {
            fields.insert(to.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_rename_and_nothing_is_lost() {
        let stored = json!({
            "metadata": {"name": "e"}, "involvedObject": {"kind": "Gateway"}, "message": "m",
            "count": 2, "reason": "Applied", "source": {"component": "c"},
        });
        let mut event = stored.clone();
        to_view(&mut event);
        assert_eq!(event["regarding"]["kind"], "Gateway");
        assert_eq!(event["note"], "m");
        assert!(event.get("message").is_none());
        from_view(&mut event);
        assert_eq!(event, stored);
    }
}
