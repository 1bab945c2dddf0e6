//! The metadata that every object carries.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::Kind;
use crate::scalar::Opaque;
use crate::validation::{Report, names};

/// Most bytes that the annotations of one object may have, keys and values together.
const MAX_ANNOTATION_BYTES: usize = 256 * 1024;

/// Name, identity and history of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectMeta {
    /// Name of the object, unique among its kind in its namespace. It never changes.
    #[serde(default)]
    pub name: String,
    /// Prefix from which the server makes a name when none is given.
    #[serde(default)]
    pub generate_name: String,
    /// Namespace of the object.
    #[serde(default)]
    pub namespace: String,
    /// Link to the object; no longer used.
    #[serde(default)]
    pub self_link: String,
    /// Identity of the object, set by the server; a new object of the same name gets another.
    #[serde(default)]
    pub uid: String,
    /// Version of the object, set by the server on each write.
    #[serde(default)]
    pub resource_version: String,
    /// Count of changes to what is wanted, set by the server.
    #[serde(default)]
    pub generation: i64,
    /// When the object was made, set by the server.
    #[schemars(extend("format" = "date-time"))]
    pub creation_timestamp: Option<String>,
    /// When the object was asked to go, set by the server.
    #[schemars(extend("format" = "date-time"))]
    pub deletion_timestamp: Option<String>,
    /// How long the object has to go, in seconds.
    pub deletion_grace_period_seconds: Option<i64>,
    /// Labels, by which objects are selected.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Notes of tools and users; nothing is selected by them.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Objects that this one depends on.
    #[serde(default)]
    pub owner_references: Vec<OwnerReference>,
    /// What has to happen before the object is gone.
    #[serde(default)]
    pub finalizers: Vec<String>,
    /// Which manager wrote which field, kept by the server.
    #[serde(default)]
    pub managed_fields: Vec<ManagedFieldsEntry>,
}

/// An object that another depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OwnerReference {
    /// API group and version of the owner.
    #[serde(default)]
    pub api_version: String,
    /// Kind of the owner.
    #[serde(default)]
    pub kind: String,
    /// Name of the owner.
    #[serde(default)]
    pub name: String,
    /// Identity of the owner.
    #[serde(default)]
    pub uid: String,
    /// Whether the owner manages the object.
    pub controller: Option<bool>,
    /// Whether the owner cannot go before the object.
    pub block_owner_deletion: Option<bool>,
}

/// The fields that one manager wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManagedFieldsEntry {
    /// Who wrote them.
    #[serde(default)]
    pub manager: String,
    /// Apply or Update.
    #[serde(default)]
    pub operation: String,
    /// Version of the API in which they were written.
    #[serde(default)]
    pub api_version: String,
    /// When they were written.
    #[schemars(extend("format" = "date-time"))]
    pub time: Option<String>,
    /// Form of `fieldsV1`: FieldsV1.
    #[serde(default)]
    pub fields_type: String,
    /// The fields, as a tree.
    #[serde(default, rename = "fieldsV1")]
    pub fields_v1: Opaque,
    /// Sub-resource through which they were written.
    #[serde(default)]
    pub subresource: String,
}

impl ObjectMeta {
    /// Checks what the metadata of an object of `kind` says. Without a name, `generateName` has to be there.
    pub fn validate(&self, kind: Kind, report: &mut Report) {
        if self.name.is_empty() {
            if self.generate_name.is_empty() {
                report.field("name", |r| r.required("name or generateName is required"));
            }
        } else {
            let result = match kind {
                Kind::Namespace | Kind::Service => names::dns_label(&self.name),
                _ => names::dns_subdomain(&self.name),
            };
            report.field("name", |r| r.check(self.name.as_str(), result));
        }
        if !self.namespace.is_empty() {
            let result = names::dns_label(&self.namespace);
            report.field("namespace", |r| r.check(self.namespace.as_str(), result));
        }
        validate_labels("labels", &self.labels, report);
        report.field("annotations", |report| {
            for key in self.annotations.keys() {
                report.check(key.as_str(), names::qualified_name(&key.to_lowercase()));
            }
            let bytes: usize = self.annotations.iter().map(|(k, v)| k.len() + v.len()).sum();
            if bytes > MAX_ANNOTATION_BYTES {
                report.too_long(format!("may not be more than {MAX_ANNOTATION_BYTES} bytes"));
            }
        });
        report.field("ownerReferences", |report| {
            for owner in &self.owner_references {
                owner.validate(report);
            }
        });
        report.each("finalizers", &self.finalizers, |report, name| {
            report.check(name.as_str(), names::qualified_name(name));
        });
    }
}

/// Checks a map of labels, as objects carry them and selectors ask for them.
pub(crate) fn validate_labels(field: &str, labels: &BTreeMap<String, String>, report: &mut Report) {
    report.field(field, |report| {
        for (key, value) in labels {
            report.check(key.as_str(), names::qualified_name(key));
            report.check(value.as_str(), names::label_value(value));
        }
    });
}

impl OwnerReference {
    fn validate(&self, report: &mut Report) {
        if self.api_version.is_empty() {
            report.field("apiVersion", |r| r.invalid("", "version must not be empty"));
        }
        let required = [("kind", &self.kind), ("name", &self.name), ("uid", &self.uid)];
        for (field, value) in required {
            if value.is_empty() {
                report.field(field, |r| r.invalid("", "must not be empty"));
            }
        }
    }
}
