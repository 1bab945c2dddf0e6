//! GatewayClass, Gateway and ListenerSet: where traffic comes in.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::json;

use super::{
    Group, Hostname, KindName, LocalObjectReference, NamespaceName, ObjectName, PortNumber,
    SecretObjectReference, SectionName, option_value,
};
use crate::kube::LabelSelector;
use crate::schema::rules::{Says, says};

const CONTROLLER: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/[A-Za-z0-9\/\-._~%!$&'()*+,;=:]+$";
const PROTOCOL: &str = r"^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$|[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/[A-Za-z0-9]+$";

/// Says which controller serves the Gateways that name this class.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayClass {
    /// The controller, as a domain and a path: `example.com/gateway-controller`.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = CONTROLLER),
        extend("x-kubernetes-validations" = [says("self == oldSelf", "field is immutable")])
    )]
    pub controller_name: String,
    /// Parameters of the controller.
    pub parameters_ref: Option<ParametersReference>,
    /// What the class is for, in words.
    #[schemars(length(max = 64))]
    pub description: Option<String>,
}

/// An object with parameters.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParametersReference {
    /// API group of the object.
    pub group: Group,
    /// Kind of the object.
    pub kind: KindName,
    /// Name of the object.
    pub name: ObjectName,
    /// Namespace of the object, if it has one.
    pub namespace: Option<NamespaceName>,
}

const LISTENERS: &[Says] = &[
    says(
        "self.all(l, l.protocol in ['HTTP', 'TCP', 'UDP'] ? !has(l.tls) : true)",
        "tls must not be specified for protocols ['HTTP', 'TCP', 'UDP']",
    ),
    says(
        "self.all(l, l.protocol == 'HTTPS' && has(l.tls) ? l.tls.mode == 'Terminate' : true)",
        "tls mode must be Terminate for protocol HTTPS",
    ),
    says(
        "self.all(l, l.protocol == 'TLS' ? has(l.tls) && has(l.tls.mode) : true)",
        "tls mode must be set for protocol TLS",
    ),
    says(
        "self.all(l, l.protocol in ['TCP', 'UDP'] ? !has(l.hostname) : true)",
        "hostname must not be specified for protocols ['TCP', 'UDP']",
    ),
    says(
        "self.all(a, self.exists_one(b, a.name == b.name))",
        "Listener name must be unique within the Gateway",
    ),
    says(
        "self.all(a, self.exists_one(b, a.port == b.port && a.protocol == b.protocol && (has(a.hostname) ? a.hostname : '') \
         == (has(b.hostname) ? b.hostname : '')))",
        "Combination of port, protocol and hostname must be unique for each listener",
    ),
];

/// Addresses of a type that are given are all different.
macro_rules! unique_address {
    ($kind:literal) => {
        says(
            concat!(
                "self.filter(a, a.type == '",
                $kind,
                "' && has(a.value)).all(a, self.exists_one(b, b.type == a.type && \
                 has(b.value) && b.value == a.value))"
            ),
            concat!($kind, " values must be unique"),
        )
    };
}

const ADDRESSES: &[Says] = &[unique_address!("IPAddress"), unique_address!("Hostname")];

/// Asks for addresses and ports on which traffic is taken.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gateway {
    /// The GatewayClass, which says who serves this Gateway.
    pub gateway_class_name: ObjectName,
    /// The ports, each with its protocol and host.
    #[schemars(
        length(min = 1, max = 64),
        extend(
            "x-kubernetes-list-type" = "map",
            "x-kubernetes-list-map-keys" = ["name"],
            "x-kubernetes-validations" = LISTENERS
        )
    )]
    pub listeners: Vec<Listener>,
    /// Addresses that are asked for; the controller's choice when absent.
    #[schemars(length(max = 16), extend("x-kubernetes-validations" = ADDRESSES))]
    pub addresses: Option<Vec<Address>>,
    /// What is put on everything that is made for this Gateway.
    pub infrastructure: Option<Infrastructure>,
    /// ListenerSets that may add listeners.
    pub allowed_listeners: Option<AllowedListeners>,
    /// TLS of the Gateway as a whole.
    pub tls: Option<GatewayTls>,
}

/// Adds listeners to a Gateway of another owner.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListenerSet {
    /// The Gateway.
    pub parent_ref: ParentGateway,
    /// The ports, each with its protocol and host.
    #[schemars(
        length(min = 1, max = 64),
        extend(
            "x-kubernetes-list-type" = "map",
            "x-kubernetes-list-map-keys" = ["name"],
            "x-kubernetes-validations" = LISTENERS
        )
    )]
    pub listeners: Vec<Listener>,
}

/// The Gateway that listeners are added to.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParentGateway {
    /// API group of the parent.
    #[schemars(extend("x-default" = "gateway.networking.k8s.io"))]
    pub group: Option<Group>,
    /// Kind of the parent.
    #[schemars(extend("x-default" = "Gateway"))]
    pub kind: Option<KindName>,
    /// Name of the parent.
    pub name: ObjectName,
    /// Namespace of the parent; the ListenerSet's own when absent.
    pub namespace: Option<NamespaceName>,
}

/// A port with a protocol and a host.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// Name of the listener, which routes may ask for.
    pub name: SectionName,
    /// The host that is served: for HTTP matched against the Host header, for TLS against the SNI. Every host when absent.
    pub hostname: Option<Hostname>,
    /// The port.
    pub port: PortNumber,
    /// What is spoken: HTTP, HTTPS, TLS, TCP or UDP, or a protocol of the controller's own.
    #[schemars(length(min = 1, max = 255), regex(pattern = PROTOCOL))]
    pub protocol: String,
    /// The TLS of HTTPS and TLS.
    pub tls: Option<ListenerTls>,
    /// Routes that may be attached.
    #[schemars(extend("x-default" = {"namespaces": {"from": "Same"}}))]
    pub allowed_routes: Option<AllowedRoutes>,
}

const CERTIFICATES: &[Says] = &[says(
    "self.mode == 'Terminate' ? has(self.certificateRefs) && self.certificateRefs.size() > 0 || has(self.options) && \
     self.options.size() > 0 : true",
    "certificateRefs or options must be specified when mode is Terminate",
)];

/// The TLS of a listener.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = CERTIFICATES))]
pub struct ListenerTls {
    /// Whether TLS ends here.
    #[schemars(extend("x-default" = "Terminate"))]
    pub mode: Option<TlsMode>,
    /// Certificates, for TLS that ends here.
    #[schemars(length(max = 64))]
    pub certificate_refs: Option<Vec<SecretObjectReference>>,
    /// Options of the controller's own.
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = option_value()))]
    pub options: Option<BTreeMap<String, String>>,
}

/// Whether TLS ends at a listener.
#[derive(JsonSchema)]
pub enum TlsMode {
    /// It ends here.
    Terminate,
    /// It goes on to the backend.
    Passthrough,
}

/// Routes that a listener takes.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AllowedRoutes {
    /// Namespaces that they may be in.
    #[schemars(extend("x-default" = {"from": "Same"}))]
    pub namespaces: Option<RouteNamespaces>,
    /// Kinds that they may have; those that fit the protocol when absent.
    #[schemars(length(max = 8))]
    pub kinds: Option<Vec<RouteKind>>,
}

/// Namespaces of routes.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteNamespaces {
    /// Which namespaces.
    #[schemars(extend("x-default" = "Same"))]
    pub from: Option<RoutesFrom>,
    /// Labels of the namespaces, for Selector.
    pub selector: Option<LabelSelector>,
}

/// Which namespaces routes may be in.
#[derive(JsonSchema)]
pub enum RoutesFrom {
    /// All.
    All,
    /// Those with the labels of `selector`.
    Selector,
    /// The Gateway's own.
    Same,
}

/// A kind of routes.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteKind {
    /// API group of the kind.
    #[schemars(extend("x-default" = "gateway.networking.k8s.io"))]
    pub group: Option<Group>,
    /// The kind.
    pub kind: KindName,
}

const ADDRESS: &[Says] = &[
    says(
        "self.type == 'IPAddress' && has(self.value) ? isIP(self.value) : true",
        "IPAddress value must be an address of IPv4 or IPv6",
    ),
    says(
        r"self.type == 'Hostname' && has(self.value) ? self.value.matches(r'^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$') : true",
        r"Hostname value must be empty or contain only valid characters (matching ^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$)",
    ),
];

const ADDRESS_TYPE: &str = r"^Hostname|IPAddress|NamedAddress|[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/[A-Za-z0-9\/\-._~%!$&'()*+,;=:]+$";

/// An address that is asked for.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = ADDRESS))]
pub struct Address {
    /// IPAddress, Hostname, NamedAddress, or a type of the controller's own.
    #[serde(rename = "type")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = ADDRESS_TYPE),
        extend("x-default" = "IPAddress")
    )]
    pub kind: Option<String>,
    /// The address; any of the type when absent.
    #[schemars(length(max = 253))]
    pub value: Option<String>,
}

/// Keys of labels and annotations are names with an optional domain before them.
macro_rules! keys {
    ($what:literal, $one:literal) => {
        [
            says(
                r"self.all(key, key.matches(r'^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]$'))",
                concat!(
                    $what,
                    " keys must be in the form of an optional DNS subdomain prefix followed by a required name segment of \
                     up to 63 characters."
                ),
            ),
            says(
                "self.all(key, !key.matches('^[^/]{253}'))",
                concat!(
                    "If specified, the ", $one,
                    " key's prefix must be a DNS subdomain not longer than 253 characters in total."
                ),
            ),
        ]
    };
}

const LABEL_VALUE: &str = "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$";

const LABELS: [Says; 2] = keys!("Label", "label");
const ANNOTATIONS: [Says; 2] = keys!("Annotation", "annotation");

/// What is put on everything that is made for a Gateway.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Infrastructure {
    /// Labels.
    #[schemars(extend(
        "maxProperties" = 8,
        "x-kubernetes-validations" = LABELS,
        "additionalProperties" = json!({"type": "string", "maxLength": 63, "pattern": LABEL_VALUE}),
    ))]
    pub labels: Option<BTreeMap<String, String>>,
    /// Annotations.
    #[schemars(extend(
        "maxProperties" = 16,
        "x-kubernetes-validations" = ANNOTATIONS,
        "additionalProperties" = option_value(),
    ))]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Parameters of the controller.
    pub parameters_ref: Option<LocalObjectReference>,
}

/// ListenerSets that may add listeners to a Gateway.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AllowedListeners {
    /// Namespaces that they may be in.
    #[schemars(extend("x-default" = {"from": "None"}))]
    pub namespaces: Option<ListenerNamespaces>,
}

/// Namespaces of ListenerSets.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListenerNamespaces {
    /// Which namespaces.
    #[schemars(extend("x-default" = "None"))]
    pub from: Option<ListenersFrom>,
    /// Labels of the namespaces, for Selector.
    pub selector: Option<LabelSelector>,
}

/// Which namespaces ListenerSets may be in.
#[derive(JsonSchema)]
pub enum ListenersFrom {
    /// All.
    All,
    /// Those with the labels of `selector`.
    Selector,
    /// The Gateway's own.
    Same,
    /// None.
    None,
}

/// TLS of a Gateway as a whole.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayTls {
    /// TLS that the Gateway begins with backends.
    pub backend: Option<BackendTls>,
    /// What is asked of clients.
    pub frontend: Option<FrontendTls>,
}

/// TLS that a Gateway begins.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendTls {
    /// The certificate that the Gateway shows to backends.
    pub client_certificate_ref: Option<SecretObjectReference>,
}

/// What a Gateway asks of its clients.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FrontendTls {
    /// On ports that `perPort` does not name.
    pub default: ClientTls,
    /// On single ports.
    #[schemars(
        length(max = 64),
        extend(
            "x-kubernetes-list-type" = "map",
            "x-kubernetes-list-map-keys" = ["port"],
            "x-kubernetes-validations" = [says(
                "self.all(a, self.exists_one(b, a.port == b.port))",
                "Port for TLS configuration must be unique within the Gateway",
            )]
        )
    )]
    pub per_port: Option<Vec<PortTls>>,
}

/// What is asked of the clients of one port.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PortTls {
    /// The port.
    pub port: PortNumber,
    /// What is asked.
    pub tls: ClientTls,
}

/// What is asked of clients.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientTls {
    /// How their certificates are checked; none is asked for when absent.
    pub validation: Option<ClientValidation>,
}

/// How certificates of clients are checked.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientValidation {
    /// Authorities that have to have signed them.
    #[schemars(length(min = 1, max = 16))]
    pub ca_certificate_refs: Vec<AuthorityReference>,
    /// What becomes of clients without a valid certificate.
    #[schemars(extend("x-default" = "AllowValidOnly"))]
    pub mode: Option<ClientValidationMode>,
}

/// An object with certificates of authorities.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthorityReference {
    /// API group of the object; empty for ConfigMaps and Secrets.
    pub group: Group,
    /// Kind of the object.
    pub kind: KindName,
    /// Name of the object.
    pub name: ObjectName,
    /// Namespace of the object; the Gateway's own when absent.
    pub namespace: Option<NamespaceName>,
}

/// What becomes of clients without a valid certificate.
#[derive(JsonSchema)]
pub enum ClientValidationMode {
    /// They are refused.
    AllowValidOnly,
    /// They are let in.
    AllowInsecureFallback,
}
