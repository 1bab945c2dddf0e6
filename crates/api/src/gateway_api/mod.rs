//! The Gateway API's kinds of the standard channel: their shape, their defaults, and our own words.
//!
//! They are stored and shown, so that tools which write them find what they expect; nothing is compiled from them, which
//! whoever writes one is told, and their status says what the Gateway API's own definitions say of an object that no
//! controller has taken up.

mod gateway;
mod grpc_route;
mod http_route;
mod l4_routes;
mod policies;

pub use gateway::{Gateway, GatewayClass, ListenerSet};
pub use grpc_route::GrpcRoute;
pub use http_route::HttpRoute;
pub use l4_routes::{TcpRoute, TlsRoute, UdpRoute};
pub use policies::{BackendTlsPolicy, ReferenceGrant};

use schemars::JsonSchema;
use serde_json::{Value, json};

use crate::Kind;
use crate::scalar::Opaque;
use crate::schema::rules::{Says, says};

/// The group of all of them.
pub const GROUP: &str = "gateway.networking.k8s.io";

const GROUP_NAME: &str = r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
const KIND_NAME: &str = r"^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$";
const LABEL: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
const SUBDOMAIN: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
const WILDCARD: &str = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
const HEADER: &str = r"^[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+$";
const DURATION: &str = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$";

/// What the entries of a list of filters have to keep: which field goes with which type.
macro_rules! filter_rules {
    ($($field:literal => $kind:literal),+ $(,)?) => {
        &[$(
            says(
                concat!("has(self.", $field, ") ? self.type == '", $kind, "' : true"),
                concat!("filter.", $field, " must be nil if the filter.type is not ", $kind),
            ),
            says(
                concat!("self.type == '", $kind, "' ? has(self.", $field, ") : true"),
                concat!("filter.", $field, " must be specified for ", $kind, " filter.type"),
            ),
        )+]
    };
}
use filter_rules;

/// At most one filter of a type.
macro_rules! once {
    ($kind:literal) => {
        says(
            concat!("self.filter(f, f.type == '", $kind, "').size() <= 1"),
            concat!($kind, " filter cannot be repeated"),
        )
    };
}
use once;

/// The rules of a route have at most 128 matches, all together.
const MATCHES: &[Says] = &[says(
    "self.map(r, has(r.matches) ? r.matches.size() : 0).sum() <= 128",
    "While 16 rules and 64 matches per rule are allowed, the total number of matches across all rules in a route must be less \
     than 128",
)];

/// Whether `p` and `q` name the same object of the same namespace.
macro_rules! same_parent {
    () => {
        "p.group == q.group && p.kind == q.kind && p.name == q.name && (has(p.__namespace__) ? p.__namespace__ : '') \
         == (has(q.__namespace__) ? q.__namespace__ : '')"
    };
}

/// Parents that a route names twice are told apart by their sections.
const PARENTS: &[Says] = &[
    says(
        concat!(
            "self.all(p, self.all(q, ",
            same_parent!(),
            " ? has(p.sectionName) == has(q.sectionName) : true))"
        ),
        "sectionName must be specified when parentRefs includes 2 or more references to the same parent",
    ),
    says(
        concat!(
            "self.all(p, self.exists_one(q, ",
            same_parent!(),
            " && (has(p.sectionName) ? p.sectionName : '') == (has(q.sectionName) ? q.sectionName : '')))"
        ),
        "sectionName must be unique when parentRefs includes 2 or more references to the same parent",
    ),
];

/// A Service is asked for by one of its ports.
const BACKEND: &[Says] = &[says(
    "self.group == '' && self.kind == 'Service' ? has(self.port) : true",
    "Must have port for Service reference",
)];

/// An API group; empty for the core group.
#[derive(JsonSchema)]
pub struct Group(#[schemars(length(max = 253), regex(pattern = GROUP_NAME))] pub String);

/// The name of a kind.
#[derive(JsonSchema)]
pub struct KindName(#[schemars(length(min = 1, max = 63), regex(pattern = KIND_NAME))] pub String);

/// The name of an object.
#[derive(JsonSchema)]
pub struct ObjectName(#[schemars(length(min = 1, max = 253))] pub String);

/// The name of a namespace.
#[derive(JsonSchema)]
pub struct NamespaceName(#[schemars(length(min = 1, max = 63), regex(pattern = LABEL))] pub String);

/// The name of a part of an object.
#[derive(JsonSchema)]
pub struct SectionName(
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))] pub String,
);

/// A host name, `*.` before it for all names below.
#[derive(JsonSchema)]
pub struct Hostname(#[schemars(length(min = 1, max = 253), regex(pattern = WILDCARD))] pub String);

/// The name of a header field.
#[derive(JsonSchema)]
pub struct HeaderName(#[schemars(length(min = 1, max = 256), regex(pattern = HEADER))] pub String);

/// A time span such as `10s` or `1h30m`.
#[derive(JsonSchema)]
pub struct Span(#[schemars(regex(pattern = DURATION))] pub String);

/// A port number.
#[derive(JsonSchema)]
pub struct PortNumber(#[schemars(range(min = 1, max = 65535))] pub i32);

/// The Gateway, or other object, that a route wants to be attached to.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParentReference {
    /// API group of the parent.
    #[schemars(extend("x-default" = "gateway.networking.k8s.io"))]
    pub group: Option<Group>,
    /// Kind of the parent: Gateway, or Service for traffic within the mesh.
    #[schemars(extend("x-default" = "Gateway"))]
    pub kind: Option<KindName>,
    /// Namespace of the parent; the route's own when absent.
    pub namespace: Option<NamespaceName>,
    /// Name of the parent.
    pub name: ObjectName,
    /// The listener of the parent; all of them when absent.
    pub section_name: Option<SectionName>,
    /// The port of the parent; all of them when absent.
    pub port: Option<PortNumber>,
}

/// Where a route sends what it matches.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendReference {
    /// The backend.
    #[serde(flatten)]
    pub object: BackendObjectReference,
    /// Share of the traffic, relative to the other backends of the rule.
    #[schemars(range(min = 0, max = 1_000_000), extend("x-default" = 1))]
    pub weight: Option<i32>,
}

/// An object without weight or share: one that copies are sent to.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = BACKEND))]
pub struct BackendObjectReference {
    /// API group of the backend.
    #[schemars(extend("x-default" = ""))]
    pub group: Option<Group>,
    /// Kind of the backend.
    #[schemars(extend("x-default" = "Service"))]
    pub kind: Option<KindName>,
    /// Name of the backend.
    pub name: ObjectName,
    /// Namespace of the backend; the route's own when absent. Another one needs a ReferenceGrant there.
    pub namespace: Option<NamespaceName>,
    /// Port of the backend; a Service needs one.
    pub port: Option<PortNumber>,
}

/// An object of the same namespace.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalObjectReference {
    /// API group of the object.
    pub group: Group,
    /// Kind of the object.
    pub kind: KindName,
    /// Name of the object.
    pub name: ObjectName,
}

/// An object with a certificate and its key.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretObjectReference {
    /// API group of the object.
    #[schemars(extend("x-default" = ""))]
    pub group: Option<Group>,
    /// Kind of the object.
    #[schemars(extend("x-default" = "Secret"))]
    pub kind: Option<KindName>,
    /// Name of the object.
    pub name: ObjectName,
    /// Namespace of the object; that of whoever names it when absent.
    pub namespace: Option<NamespaceName>,
}

/// A header field or query parameter with a value.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeaderValue {
    /// Name of the field.
    pub name: HeaderName,
    /// Its value.
    #[schemars(length(min = 1, max = 4096))]
    pub value: String,
}

/// What is done to the header fields of a request or an answer.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeaderFilter {
    /// Fields that take the place of what there is under their names.
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub set: Option<Vec<HeaderValue>>,
    /// Fields that are added to what there is.
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub add: Option<Vec<HeaderValue>>,
    /// Names of fields that are taken away.
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub remove: Option<Vec<String>>,
}

/// A part of the traffic.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [says(
    "self.numerator <= self.denominator",
    "numerator must be less than or equal to denominator",
)]))]
pub struct Fraction {
    /// How many.
    #[schemars(range(min = 0))]
    pub numerator: i32,
    /// Of how many.
    #[schemars(range(min = 1), extend("x-default" = 100))]
    pub denominator: Option<i32>,
}

/// Where copies of requests are sent; their answers are thrown away.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [says(
    "!(has(self.percent) && has(self.fraction))",
    "Only one of percent or fraction may be specified in HTTPRequestMirrorFilter",
)]))]
pub struct MirrorFilter {
    /// Who gets the copies.
    pub backend_ref: BackendObjectReference,
    /// Share of the requests that are copied, in percent; all of them when neither this nor `fraction` is there.
    #[schemars(range(min = 0, max = 100))]
    pub percent: Option<i32>,
    /// Share of the requests that are copied, as a fraction.
    pub fraction: Option<Fraction>,
}

/// What is done to requests of HTTP and calls of gRPC alike.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SharedFilters {
    /// Changes of the request's header fields.
    pub request_header_modifier: Option<HeaderFilter>,
    /// Changes of the answer's header fields.
    pub response_header_modifier: Option<HeaderFilter>,
    /// Copies of requests.
    pub request_mirror: Option<MirrorFilter>,
    /// A filter of the controller's own.
    pub extension_ref: Option<LocalObjectReference>,
}

/// The value of an option or annotation.
fn option_value() -> Value {
    json!({"type": "string", "maxLength": 4096})
}

/// What is known of an object, as the controller that has taken it up reports it.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct Status {
    /// The state of the object, one aspect each.
    pub conditions: Option<Vec<Opaque>>,
}

/// What the Gateway API's definitions say of an object that no controller has taken up yet.
pub(crate) fn defaults(kind: Kind, object: &mut Value) {
    let aspects: &[&str] = match kind {
        Kind::GatewayClass => &["Accepted"],
        Kind::KubernetesGateway | Kind::ListenerSet => &["Accepted", "Programmed"],
        _ => return,
    };
    let pending = |aspect: &&str| {
        json!({
            "type": aspect,
            "status": "Unknown",
            "reason": "Pending",
            "message": "Waiting for controller",
            "lastTransitionTime": "1970-01-01T00:00:00Z",
        })
    };
    let conditions: Vec<Value> = aspects.iter().map(pending).collect();
    crate::kube::set_default(object, "status", json!({ "conditions": conditions }));
}

#[cfg(test)]
mod tests;
