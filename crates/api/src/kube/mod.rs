//! The few Kubernetes kinds that matter here: what services and endpoints are read from, and what a user
//! of kubectl expects to find.
//!
//! Fields that decide something here are typed. Deep structures that are only stored and shown (volumes,
//! affinity, probes …) are kept as they were written: their first level is known by name, so that a
//! misspelt field is found there, but not inside them.

pub mod config_map;
pub mod definition;
pub mod deployment;
pub mod endpoint_slice;
pub mod endpoints;
pub mod event;
pub mod lease;
pub mod namespace;
pub mod node;
pub mod pod;
pub mod quotas;
pub mod secret;
pub mod service;
pub mod service_account;
pub mod workloads;

use std::collections::BTreeMap;

pub use config_map::ConfigMap;
pub use definition::CustomResourceDefinition;
pub use deployment::Deployment;
pub use endpoint_slice::EndpointSlice;
pub use endpoints::Endpoints;
pub use event::Event;
pub use lease::Lease;
pub use namespace::Namespace;
pub use node::Node;
pub use pod::Pod;
pub use quotas::{LimitRange, ResourceQuota};
pub use secret::Secret;
pub use service::Service;
pub use service_account::ServiceAccount;
pub use workloads::{DaemonSet, PodSet, ReplicaSet, StatefulSet};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::FieldError;
use crate::validation::Report;
use crate::{Kind, Spec, gateway_api};

/// Fills in what Kubernetes fills in when an object is created or changed. The virtual address and the
/// node ports of a Service are [`service::allocate`]'s to fill in.
pub fn defaults(kind: Kind, object: &mut Value) {
    match kind {
        Kind::Namespace => namespace::defaults(object),
        Kind::Service => service::defaults(object),
        Kind::EndpointSlice => endpoint_slice::defaults(object),
        Kind::Secret => secret::defaults(object),
        Kind::Pod => pod::defaults(object),
        Kind::Deployment => deployment::defaults(object),
        Kind::DaemonSet | Kind::StatefulSet | Kind::ReplicaSet => {
            workloads::defaults(kind, object);
        }
        Kind::Event => event::defaults(object),
        Kind::Endpoints => endpoints::defaults(object),
        Kind::Node => node::defaults(object),
        Kind::ResourceQuota => quotas::defaults(object),
        // What other custom kinds have by default stands in their schema.
        _ => gateway_api::defaults(kind, object),
    }
}

/// Checks what may not change from one form of an object to the next.
pub fn validate_update(old: &Spec, new: &Spec) -> Vec<FieldError> {
    let mut report = Report::new();
    match (old, new) {
        (Spec::Service(old), Spec::Service(new)) => new.validate_update(old, &mut report),
        (Spec::EndpointSlice(old), Spec::EndpointSlice(new)) => {
            new.validate_update(old, &mut report);
        }
        (Spec::Secret(old), Spec::Secret(new)) => new.validate_update(old, &mut report),
        (Spec::ConfigMap(old), Spec::ConfigMap(new)) => new.validate_update(old, &mut report),
        (Spec::Deployment(old), Spec::Deployment(new)) => new.validate_update(old, &mut report),
        (Spec::PodSet(old), Spec::PodSet(new)) => new.validate_update(old, &mut report),
        _ => {}
    }
    report.into_parts().0
}

/// Kubernetes' sentence about a port number that is none.
const PORT_RANGE: &str = "must be between 1 and 65535, inclusive";

/// Sets a field that is absent.
pub(crate) fn set_default(object: &mut Value, field: &str, value: Value) {
    if let Some(map) = object.as_object_mut() {
        map.entry(field).or_insert(value);
    }
}

/// A field that is an object, made if it is absent. Admission has refused objects in which something else
/// stands there, so that nothing of worth is replaced.
fn child<'v>(object: &'v mut Value, field: &str) -> &'v mut Value {
    make_object(object);
    let value = &mut object[field];
    make_object(value);
    value
}

fn make_object(value: &mut Value) {
    if !value.is_object() {
        *value = json!({});
    }
}

/// The objects in a field that is a list; none if it is absent.
fn items<'v>(object: &'v mut Value, field: &str) -> impl Iterator<Item = &'v mut Value> {
    let list = object.get_mut(field).and_then(Value::as_array_mut);
    list.into_iter().flatten().filter(|item| item.is_object())
}

/// What a transport port carries.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema,
)]
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

impl TransportProtocol {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

/// Selects objects by their labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels that an object has to carry, all of them.
    #[serde(default)]
    pub match_labels: BTreeMap<String, String>,
    /// Further conditions on labels, all of which have to hold.
    #[serde(default)]
    pub match_expressions: Vec<LabelSelectorRequirement>,
}

/// A condition on one label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelectorRequirement {
    /// Key of the label.
    #[serde(default)]
    pub key: String,
    /// In, NotIn, Exists or DoesNotExist.
    #[serde(default)]
    pub operator: String,
    /// Values that In and NotIn compare with.
    #[serde(default)]
    pub values: Vec<String>,
}

impl LabelSelector {
    /// Whether nothing is asked for, which selects everything.
    pub fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }

    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|requirement| requirement.holds(labels))
    }
}

impl LabelSelectorRequirement {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        let listed = value.is_some_and(|value| self.values.contains(value));
        match self.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    }
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

#[cfg(test)]
mod tests;
