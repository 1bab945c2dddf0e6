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

/// The group of all of them.
pub const GROUP: &str = "gateway.networking.k8s.io";

const GROUP_NAME: &str = r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
const KIND_NAME: &str = r"^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$";
const LABEL: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
const SUBDOMAIN: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
const WILDCARD: &str = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
const HEADER: &str = r"^[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+$";
const DURATION: &str = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$";

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
    /// Share of the traffic, relative to the other backends of the rule.
    #[schemars(range(min = 0, max = 1_000_000), extend("x-default" = 1))]
    pub weight: Option<i32>,
}

/// An object without weight or share: one that copies are sent to.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendObjectReference {
    /// API group of the backend.
    #[schemars(extend("x-default" = ""))]
    pub group: Option<Group>,
    /// Kind of the backend.
    #[schemars(extend("x-default" = "Service"))]
    pub kind: Option<KindName>,
    /// Name of the backend.
    pub name: ObjectName,
    /// Namespace of the backend; the route's own when absent.
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
    #[schemars(length(max = 16))]
    pub set: Option<Vec<HeaderValue>>,
    /// Fields that are added to what there is.
    #[schemars(length(max = 16))]
    pub add: Option<Vec<HeaderValue>>,
    /// Names of fields that are taken away.
    #[schemars(length(max = 16))]
    pub remove: Option<Vec<String>>,
}

/// A part of the traffic.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
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
#[schemars(extend("x-oneof" = [["percent", "fraction"]]))]
pub struct MirrorFilter {
    /// Who gets the copies.
    pub backend_ref: BackendObjectReference,
    /// Share of the requests that are copied, in percent; all of them when neither this nor `fraction` is there.
    #[schemars(range(min = 0, max = 100))]
    pub percent: Option<i32>,
    /// Share of the requests that are copied, as a fraction.
    pub fraction: Option<Fraction>,
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
