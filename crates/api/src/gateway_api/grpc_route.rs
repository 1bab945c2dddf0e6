//! GRPCRoute: where calls of gRPC go.

use schemars::JsonSchema;

use super::http_route::{ValueMatch, ValueMatchType};
use super::{
    BackendReference, Hostname, MATCHES, PARENTS, ParentReference, SectionName, SharedFilters,
    filter_rules, once,
};
use crate::schema::rules::{Says, says};

/// Sends calls of gRPC that reach a Gateway, by host, service, method and header fields, to backends.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrpcRoute {
    /// The Gateways that the route wants to be attached to.
    #[schemars(length(max = 32), extend("x-kubernetes-validations" = PARENTS))]
    pub parent_refs: Option<Vec<ParentReference>>,
    /// Hosts, matched against the Host header; those of the listener when absent.
    #[schemars(length(max = 16))]
    pub hostnames: Option<Vec<Hostname>>,
    /// The rules; the one that matches most narrowly counts.
    #[schemars(length(max = 16), extend("x-kubernetes-validations" = MATCHES))]
    pub rules: Option<Vec<GrpcRule>>,
}

/// Which calls go where.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrpcRule {
    /// Name of the rule.
    pub name: Option<SectionName>,
    /// Conditions of which one has to hold; every call matches when absent.
    #[schemars(length(max = 64))]
    pub matches: Option<Vec<GrpcMatch>>,
    /// What is done to calls and answers.
    #[schemars(length(max = 16), extend("x-kubernetes-validations" = FILTERS))]
    pub filters: Option<Vec<GrpcFilter>>,
    /// The backends, among which calls are shared out.
    #[schemars(length(max = 16))]
    pub backend_refs: Option<Vec<GrpcBackend>>,
}

/// A condition; everything in it has to hold.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrpcMatch {
    /// Service and method; all of them when absent.
    pub method: Option<MethodMatch>,
    /// Header fields.
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub headers: Option<Vec<ValueMatch>>,
}

const METHOD: &[Says] = &[
    says(
        "has(self.service) || has(self.method)",
        "One or both of 'service' or 'method' must be specified",
    ),
    says(
        r"self.type == 'Exact' && has(self.service) ? self.service.matches(r'^(?i)\.?[a-z_][a-z_0-9]*(\.[a-z_][a-z_0-9]*)*$') : true",
        r"service must only contain valid characters (matching ^(?i)\.?[a-z_][a-z_0-9]*(\.[a-z_][a-z_0-9]*)*$)",
    ),
    says(
        "self.type == 'Exact' && has(self.method) ? self.method.matches('^[A-Za-z_][A-Za-z_0-9]*$') : true",
        "method must only contain valid characters (matching ^[A-Za-z_][A-Za-z_0-9]*$)",
    ),
];

/// What is called.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = METHOD))]
pub struct MethodMatch {
    /// How it is compared.
    #[serde(rename = "type")]
    #[schemars(extend("x-default" = "Exact"))]
    pub kind: Option<ValueMatchType>,
    /// The service with its package; all of them when absent.
    #[schemars(length(max = 1024))]
    pub service: Option<String>,
    /// The method; all of them when absent.
    #[schemars(length(max = 1024))]
    pub method: Option<String>,
}

const FILTERS: &[Says] = &[once!("RequestHeaderModifier"), once!("ResponseHeaderModifier")];

const FILTER: &[Says] = filter_rules! {
    "requestHeaderModifier" => "RequestHeaderModifier",
    "responseHeaderModifier" => "ResponseHeaderModifier",
    "requestMirror" => "RequestMirror",
    "extensionRef" => "ExtensionRef",
};

/// One thing that is done to calls or answers; `type` says which field there is.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = FILTER))]
pub struct GrpcFilter {
    /// What is done.
    #[serde(rename = "type")]
    pub kind: GrpcFilterType,
    /// What requests of HTTP have, too.
    #[serde(flatten)]
    pub shared: SharedFilters,
}

/// What a filter does.
#[derive(JsonSchema)]
pub enum GrpcFilterType {
    /// Changes the answer's header fields.
    ResponseHeaderModifier,
    /// Changes the call's header fields.
    RequestHeaderModifier,
    /// Copies calls.
    RequestMirror,
    /// Something of the controller's own.
    ExtensionRef,
}

/// A backend with filters of its own.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrpcBackend {
    /// The backend.
    #[serde(flatten)]
    pub backend: BackendReference,
    /// What is done to calls and answers of this backend.
    #[schemars(length(max = 16), extend("x-kubernetes-validations" = FILTERS))]
    pub filters: Option<Vec<GrpcFilter>>,
}
