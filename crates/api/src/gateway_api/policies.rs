//! BackendTLSPolicy and ReferenceGrant: what routes and Gateways may rely on.

use std::collections::BTreeMap;

use schemars::JsonSchema;

use super::{
    Group, Hostname, KindName, LocalObjectReference, NamespaceName, ObjectName, SUBDOMAIN,
    SectionName, option_value,
};
use crate::schema::rules::{Says, says};

const WELL_KNOWN: &str = r"^(System|([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]))$";
const ABSOLUTE_URI: &str = r"^(([^:/?#]+):)(//([^/?#]*))([^?#]*)(\?([^#]*))?(#(.*))?";

/// Whether `p` and `q` name the same object.
macro_rules! same_target {
    () => {
        "p.group == q.group && p.kind == q.kind && p.name == q.name"
    };
}

/// Backends that a policy names twice are told apart by their sections.
const TARGETS: &[Says] = &[
    says(
        concat!(
            "self.all(p, self.all(q, ",
            same_target!(),
            " ? has(p.sectionName) == has(q.sectionName) : true))"
        ),
        "sectionName must be specified when targetRefs includes 2 or more references to the same target",
    ),
    says(
        concat!(
            "self.all(p, self.exists_one(q, ",
            same_target!(),
            " && (has(p.sectionName) ? p.sectionName : '') == (has(q.sectionName) ? q.sectionName : '')))"
        ),
        "sectionName must be unique when targetRefs includes 2 or more references to the same target",
    ),
];

/// Says how a Gateway begins TLS with backends.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendTlsPolicy {
    /// The backends, usually Services.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-validations" = TARGETS))]
    pub target_refs: Vec<PolicyTarget>,
    /// How their certificates are checked.
    pub validation: BackendValidation,
    /// Options of the controller's own.
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = option_value()))]
    pub options: Option<BTreeMap<String, String>>,
}

/// A backend that a policy is about.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyTarget {
    /// API group of the backend; empty for Services.
    pub group: Group,
    /// Kind of the backend.
    pub kind: KindName,
    /// Name of the backend.
    pub name: ObjectName,
    /// The name of a port of the backend; all of them when absent.
    pub section_name: Option<SectionName>,
}

const AUTHORITIES: &[Says] = &[
    says(
        "!(has(self.caCertificateRefs) && self.caCertificateRefs.size() > 0 && has(self.wellKnownCACertificates))",
        "must not contain both CACertificateRefs and WellKnownCACertificates",
    ),
    says(
        "has(self.caCertificateRefs) && self.caCertificateRefs.size() > 0 || has(self.wellKnownCACertificates)",
        "must specify either CACertificateRefs or WellKnownCACertificates",
    ),
];

/// How certificates of backends are checked.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = AUTHORITIES))]
pub struct BackendValidation {
    /// Objects with certificates of authorities.
    #[schemars(length(max = 8))]
    pub ca_certificate_refs: Option<Vec<LocalObjectReference>>,
    /// Authorities by a name: System for those that the system trusts.
    #[serde(rename = "wellKnownCACertificates")]
    #[schemars(length(min = 1, max = 253), regex(pattern = WELL_KNOWN))]
    pub well_known_ca_certificates: Option<String>,
    /// The server name that is asked for, and that certificates have to carry.
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub hostname: String,
    /// Names of which certificates have to carry one, in place of `hostname`.
    #[schemars(length(max = 5))]
    pub subject_alt_names: Option<Vec<SubjectAltName>>,
}

/// Which field goes with which type.
macro_rules! name_of_type {
    ($field:literal, $kind:literal, $called:literal) => {
        [
            says(
                concat!("self.type == '", $kind, "' ? has(self.", $field, ") : true"),
                concat!(
                    "SubjectAltName element must contain ",
                    $called,
                    ", if Type is set to ",
                    $kind
                ),
            ),
            says(
                concat!("has(self.", $field, ") ? self.type == '", $kind, "' : true"),
                concat!(
                    "SubjectAltName element must not contain ",
                    $called,
                    ", if Type is not set to ",
                    $kind
                ),
            ),
        ]
    };
}

const NAME: &[[Says; 2]] =
    &[name_of_type!("hostname", "Hostname", "Hostname"), name_of_type!("uri", "URI", "URI")];

/// A name that a certificate carries.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = NAME.as_flattened()))]
pub struct SubjectAltName {
    /// Which field there is.
    #[serde(rename = "type")]
    pub kind: SubjectAltNameType,
    /// A host.
    pub hostname: Option<Hostname>,
    /// A URI.
    #[schemars(length(min = 1, max = 253), regex(pattern = ABSOLUTE_URI))]
    pub uri: Option<String>,
}

/// What kind of name a certificate carries.
#[derive(JsonSchema)]
pub enum SubjectAltNameType {
    /// A host.
    Hostname,
    /// A URI.
    #[serde(rename = "URI")]
    Uri,
}

/// Lets objects of other namespaces refer to objects of this one.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReferenceGrant {
    /// Who may refer.
    #[schemars(length(min = 1, max = 16))]
    pub from: Vec<Referrer>,
    /// To what.
    #[schemars(length(min = 1, max = 16))]
    pub to: Vec<Referent>,
}

/// Objects that may refer to others.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Referrer {
    /// API group of these objects.
    pub group: Group,
    /// Kind of these objects.
    pub kind: KindName,
    /// Namespace of these objects.
    pub namespace: NamespaceName,
}

/// Objects that may be referred to.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Referent {
    /// API group of these objects; empty for the core group.
    pub group: Group,
    /// Kind of these objects.
    pub kind: KindName,
    /// The one object; all of the kind when absent.
    pub name: Option<ObjectName>,
}
