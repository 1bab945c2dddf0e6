//! Event: something that happened to another object.
//!
//! One stored object has two views: `v1` names its fields by their older names, `events.k8s.io/v1` by the
//! newer ones (`involvedObject` and `regarding`, `message` and `note` …). The stored form is `v1`'s;
//! [`Event`] reads it, and the API server converts at its door.

use schemars::JsonSchema;
use serde::Deserialize;

use super::ObjectReference;
use crate::scalar::Opaque;

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
