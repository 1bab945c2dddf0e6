//! One schema per kind, made from our own Rust types, and everything that is done with it.
//!
//! The types under [`crate::istio`] and [`crate::kube`] are the only source: their fields, doc comments
//! and attributes become a tree of [`Schema`] nodes once per process. [`walk`] compares an object with the
//! tree; [`openapi`] prints the tree for `kubectl explain`. What a field means beyond JSON's types stands
//! beside the field as an attribute:
//!
//! | attribute | meaning |
//! |---|---|
//! | `x-rule` | a check on the value, which is shown as a rule ([`Rule`]) |
//! | `x-oneof` | groups of fields of which at most one may be given |
//! | `x-alias` | other keys that a guide writes for the field: a dialect, read with a warning |
//! | `x-dialect` | the field itself is a dialect; the text says what to write today |
//! | `nullable` | an explicit null is stored |
//! | `x-default` | what is stored where the field is absent |
//! | `x-kubernetes-list-type`, `x-kubernetes-list-map-keys` | how entries of a list are told apart ([`ListType`]) |
//! | `x-kubernetes-validations` | rules across fields ([`rules`]) |

mod compile;
pub mod openapi;
mod path;
pub mod rules;
pub mod walk;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;
use schemars::JsonSchema;
use serde_json::{Map, Value};

use rules::{Says, says};

use crate::gateway_api;
use crate::istio;
use crate::kube;
use crate::metadata::ObjectMeta;
use crate::scalar::{GoDuration, Opaque, Port};
use crate::{KINDS, Kind};

/// What a value has to look like.
#[derive(Clone, Debug)]
pub struct Schema {
    /// What the value means, in words; empty where the type's own words do.
    pub description: String,
    /// Whether an explicit null is stored. A null elsewhere counts as absent.
    pub nullable: bool,
    /// The shape.
    pub node: Node,
    /// Rules that the value as a whole has to keep.
    pub rules: Vec<rules::ValidationRule>,
    /// Whether there are rules here or further inside.
    pub ruled: bool,
}

/// How the entries of a list are told apart, in two forms of it and within one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    /// Not at all: the list is one value.
    #[default]
    Atomic,
    /// By their values, all of which differ.
    Set,
    /// By the values of these fields, which differ as a whole.
    Map(Vec<String>),
}

impl ListType {
    /// What tells an entry from the others; none where nothing does.
    pub fn identity(&self, entry: &Value) -> Option<Value> {
        match self {
            ListType::Atomic => None,
            ListType::Set => Some(entry.clone()),
            ListType::Map(keys) => {
                let key = |key: &String| Some((key.clone(), entry.get(key)?.clone()));
                keys.iter().map(key).collect::<Option<Map<_, _>>>().map(Value::Object)
            }
        }
    }
}

/// The shape of a value.
#[derive(Clone, Debug)]
pub enum Node {
    /// Anything; kept as it was written.
    Any,
    /// A number or a text.
    IntOrString,
    /// true or false.
    Boolean,
    /// A whole number.
    Integer {
        /// Smallest value.
        min: i128,
        /// Largest value.
        max: i128,
        /// The only values allowed; none for any within the bounds.
        values: Vec<i64>,
        /// The format as Kubernetes names it: int32, int64, uint32 …
        format: String,
        /// A further check.
        rule: Option<Rule>,
    },
    /// Any number.
    Number {
        /// Smallest value, if bounded.
        min: Option<f64>,
        /// Largest value, if bounded.
        max: Option<f64>,
    },
    /// A text.
    String {
        /// `byte` for base64, `date-time`; empty for plain text.
        format: String,
        /// The only values allowed, each with its meaning; none for free text.
        values: Vec<(String, String)>,
        /// Fewest characters.
        min_length: usize,
        /// Most characters.
        max_length: Option<usize>,
        /// What it has to match.
        pattern: Option<Regex>,
        /// A further check.
        rule: Option<Rule>,
    },
    /// A list.
    Array {
        /// What each entry looks like.
        items: Box<Schema>,
        /// Fewest entries.
        min: usize,
        /// Most entries.
        max: usize,
        /// How entries are told apart.
        list_type: ListType,
    },
    /// Keys of the user's choice.
    Map {
        /// What each value looks like.
        values: Box<Schema>,
        /// Fewest keys.
        min: usize,
        /// Most keys.
        max: usize,
    },
    /// Fields by name.
    Object(Object),
}

impl Node {
    /// The further check of a scalar.
    fn rule(&self) -> Option<Rule> {
        match self {
            Node::Integer { rule, .. } | Node::String { rule, .. } => *rule,
            _ => None,
        }
    }
}

/// Fields by name.
#[derive(Clone, Debug)]
pub struct Object {
    /// The type's name, as Istio or Kubernetes calls it.
    pub name: String,
    /// The fields.
    pub fields: BTreeMap<String, Field>,
    /// Fields that have to be there, in the order of the type.
    pub required: Vec<String>,
    /// Groups of fields of which at most one may be given.
    pub one_of: Vec<Vec<String>>,
    /// Whether other fields are kept instead of being unknown.
    pub preserve_unknown: bool,
}

impl Object {
    /// The field that a key in `spec` of a custom resource stands for, with its own name: the key itself, a guide's word for it,
    /// or protobuf's spelling.
    pub(crate) fn spelt(&self, key: &str) -> Option<(&str, &Field)> {
        if let Some((name, field)) = self.fields.get_key_value(key) {
            return Some((name, field));
        }
        let spelt = if key.contains('_') { camel_case(key) } else { String::new() };
        let mut fields = self.fields.iter();
        fields
            .find(|(name, field)| **name == spelt || field.aliases.iter().any(|alias| alias == key))
            .map(|(name, field)| (name.as_str(), field))
    }
}

/// Protobuf's JSON name of a field: underscores go, and the letter after each is a capital.
fn camel_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut capital = false;
    for letter in name.chars() {
        match letter {
            '_' => capital = true,
            letter if capital => {
                out.extend(letter.to_uppercase());
                capital = false;
            }
            letter => out.push(letter),
        }
    }
    out
}

/// One field of an [`Object`].
#[derive(Clone, Debug)]
pub struct Field {
    /// What it looks like.
    pub schema: Schema,
    /// Other keys that stand for it in one of the guides.
    pub aliases: Vec<String>,
    /// Set when the field itself is a dialect: what to write instead.
    pub dialect: Option<String>,
    /// What is stored where it is absent.
    pub default: Option<Value>,
}

/// A check on a scalar beyond its JSON type, in the words of Istio's own rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A port, 1 to 65535.
    Port,
    /// A port, or 0 for none.
    PortOrZero,
    /// A duration of a millisecond at least.
    Duration,
    /// A duration from zero up.
    DurationOrZero,
    /// A protocol's name.
    Protocol,
    /// A protocol's name, or empty for one that is detected.
    ProtocolOrEmpty,
}

const PORT: &str = "port must be between 1-65535";
const DURATION: &str = "must be a valid duration greater than 1ms";
const DURATION_OR_ZERO: &str = "must be a valid duration, such as 3s, or 0s";

impl Rule {
    fn of(word: &str) -> Option<Rule> {
        Some(match word {
            "port" => Rule::Port,
            "port-or-zero" => Rule::PortOrZero,
            "duration" => Rule::Duration,
            "duration-or-zero" => Rule::DurationOrZero,
            "protocol" => Rule::Protocol,
            "protocol-or-empty" => Rule::ProtocolOrEmpty,
            _ => return None,
        })
    }

    /// What the rule is in the schema of a custom resource. It is checked by [`Rule::check_number`] and [`Rule::check_text`], as
    /// there is a port or a duration in most objects, and a test holds that both say the same.
    fn says(self) -> Says {
        match self {
            Rule::Port => says("0 < self && self <= 65535", PORT),
            Rule::PortOrZero => says("0 <= self && self <= 65535", PORT),
            Rule::Duration => says("duration(self) >= duration('1ms')", DURATION),
            Rule::DurationOrZero => says("duration(self) >= duration('0s')", DURATION_OR_ZERO),
            Rule::Protocol => says(
                "self.matches('(?i)^(HTTPS?|HTTP2|HTTP_PROXY|GRPC|GRPC-WEB|TCP|TLS|UDP|MONGO|MYSQL|REDIS|HBONE)$')",
                istio::Protocol::EXPECTED,
            ),
            Rule::ProtocolOrEmpty => says(
                "self.matches('(?i)^(|HTTPS?|HTTP2|HTTP_PROXY|GRPC|GRPC-WEB|TCP|TLS|UDP|MONGO|MYSQL|REDIS|HBONE)$')",
                istio::Protocol::EXPECTED,
            ),
        }
    }

    /// Checks a number; the message says what would be right.
    fn check_number(self, number: i128) -> Result<(), &'static str> {
        let ok = match self {
            Rule::PortOrZero if number == 0 => true,
            Rule::Port | Rule::PortOrZero => {
                u64::try_from(number).ok().and_then(Port::new).is_some()
            }
            _ => true,
        };
        if ok { Ok(()) } else { Err(PORT) }
    }

    /// Checks a text; the message says what would be right.
    fn check_text(self, text: &str) -> Result<(), &'static str> {
        match self {
            Rule::Duration => match GoDuration::parse(text) {
                Some(span) if span.get().as_micros() >= 1000 => Ok(()),
                _ => Err(DURATION),
            },
            Rule::DurationOrZero => match GoDuration::parse(text) {
                Some(_) => Ok(()),
                None => Err(DURATION_OR_ZERO),
            },
            Rule::ProtocolOrEmpty if text.is_empty() => Ok(()),
            Rule::Protocol | Rule::ProtocolOrEmpty => match text.parse::<istio::Protocol>() {
                Ok(_) => Ok(()),
                Err(_) => Err(istio::Protocol::EXPECTED),
            },
            Rule::Port | Rule::PortOrZero => Ok(()),
        }
    }
}

/// The schema of whole objects of a kind, as the kind's own group shows them.
pub fn of(kind: Kind) -> &'static Schema {
    &TREES.kinds[&kind]
}

/// The schema of whole objects of a kind as a group shows them: the kind's own, or that of another view.
pub fn of_view(kind: Kind, group: &str) -> &'static Schema {
    if kind == Kind::Event && group == "events.k8s.io" { &TREES.new_events } else { of(kind) }
}

/// The schema of `metadata`.
pub fn object_meta() -> &'static Schema {
    &TREES.metadata
}

struct Trees {
    kinds: BTreeMap<Kind, Schema>,
    new_events: Schema,
    metadata: Schema,
}

static TREES: LazyLock<Trees> = LazyLock::new(|| Trees {
    kinds: KINDS.iter().map(|row| (row.kind, whole(row.kind))).collect(),
    new_events: built_in::<kube::event::EventView>(),
    metadata: compile::compile::<ObjectMeta>(),
});

/// What every object looks like: its type, its metadata, and what its kind adds.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "only its schema is used")]
struct Whole<T> {
    /// Group and version of the form that this object is written in.
    api_version: Option<String>,
    /// Kind of the object.
    kind: Option<String>,
    /// Name, identity and history of the object.
    metadata: Option<ObjectMeta>,
    #[serde(flatten)]
    rest: T,
}

/// What a custom kind adds to [`Whole`].
#[derive(JsonSchema)]
#[allow(dead_code, reason = "only its schema is used")]
struct Custom<T> {
    spec: Option<T>,
    /// What is, as this program reports it.
    status: Option<Status>,
}

/// As [`Custom`], for kinds that are not accepted without `spec`.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "only its schema is used")]
struct CustomWithSpec<T, S = Status> {
    spec: T,
    /// What is, as this program reports it.
    status: Option<S>,
}

/// As [`CustomWithSpec`], for kinds without a status.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "only its schema is used")]
struct SpecAlone<T> {
    spec: T,
}

/// What is known of an object: whether it is compiled, complete and served.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "IstioStatus", extend("x-kubernetes-preserve-unknown-fields" = true))]
#[allow(dead_code, reason = "only its schema is used")]
struct Status {
    /// The state of the object, one aspect each.
    conditions: Option<Vec<Condition>>,
    /// Findings of the analysis.
    validation_messages: Option<Opaque>,
    /// The generation that this status speaks of.
    observed_generation: Option<Opaque>,
}

/// One aspect of an object's state.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "IstioCondition")]
#[allow(dead_code, reason = "only its schema is used")]
struct Condition {
    /// Which aspect: Reconciled, ResolvedRefs or Programmed.
    r#type: Option<String>,
    /// True, False or Unknown.
    status: Option<String>,
    /// When it was last examined.
    last_probe_time: Option<String>,
    /// When it last changed.
    last_transition_time: Option<String>,
    /// Why, in one word.
    reason: Option<String>,
    /// Why, in words.
    message: Option<String>,
    /// The generation that it speaks of.
    observed_generation: Option<Opaque>,
}

fn whole(kind: Kind) -> Schema {
    match kind {
        Kind::Gateway => custom::<istio::Gateway>(),
        Kind::VirtualService => custom::<istio::VirtualService>(),
        Kind::DestinationRule => custom::<istio::DestinationRule>(),
        Kind::ServiceEntry => custom_with_spec::<istio::ServiceEntry>(),
        Kind::WorkloadEntry => custom_with_spec::<istio::WorkloadEntry>(),
        Kind::WorkloadGroup => custom_with_spec::<istio::WorkloadGroup>(),
        Kind::Sidecar => custom::<istio::Sidecar>(),
        Kind::AuthorizationPolicy => custom::<istio::AuthorizationPolicy>(),
        Kind::RequestAuthentication => custom::<istio::RequestAuthentication>(),
        Kind::PeerAuthentication => custom::<istio::PeerAuthentication>(),
        Kind::EnvoyFilter => custom::<istio::EnvoyFilter>(),
        Kind::ProxyConfig => custom::<istio::ProxyConfig>(),
        Kind::Telemetry => custom::<istio::Telemetry>(),
        Kind::WasmPlugin => custom_with_spec::<istio::WasmPlugin>(),
        Kind::TrafficExtension => custom_with_spec::<istio::TrafficExtension>(),
        Kind::GatewayClass => of_gateway_api::<gateway_api::GatewayClass>(),
        Kind::KubernetesGateway => of_gateway_api::<gateway_api::Gateway>(),
        Kind::ListenerSet => of_gateway_api::<gateway_api::ListenerSet>(),
        Kind::HTTPRoute => of_gateway_api::<gateway_api::HttpRoute>(),
        Kind::GRPCRoute => of_gateway_api::<gateway_api::GrpcRoute>(),
        Kind::TCPRoute => of_gateway_api::<gateway_api::TcpRoute>(),
        Kind::TLSRoute => of_gateway_api::<gateway_api::TlsRoute>(),
        Kind::UDPRoute => of_gateway_api::<gateway_api::UdpRoute>(),
        Kind::BackendTLSPolicy => of_gateway_api::<gateway_api::BackendTlsPolicy>(),
        Kind::ReferenceGrant => {
            whole_of::<SpecAlone<gateway_api::ReferenceGrant>, gateway_api::ReferenceGrant>()
        }
        Kind::Namespace => built_in::<kube::Namespace>(),
        Kind::Service => built_in::<kube::Service>(),
        Kind::Endpoints => built_in::<kube::Endpoints>(),
        Kind::EndpointSlice => built_in::<kube::EndpointSlice>(),
        Kind::Secret => built_in::<kube::Secret>(),
        Kind::ConfigMap => built_in::<kube::ConfigMap>(),
        Kind::ServiceAccount => built_in::<kube::ServiceAccount>(),
        Kind::Pod => built_in::<kube::Pod>(),
        Kind::Node => built_in::<kube::Node>(),
        Kind::ResourceQuota => built_in::<kube::ResourceQuota>(),
        Kind::LimitRange => built_in::<kube::LimitRange>(),
        Kind::Lease => built_in::<kube::Lease>(),
        Kind::Deployment => built_in::<kube::Deployment>(),
        Kind::DaemonSet => built_in::<kube::DaemonSet>(),
        Kind::StatefulSet => built_in::<kube::StatefulSet>(),
        Kind::ReplicaSet => built_in::<kube::ReplicaSet>(),
        Kind::Event => built_in::<kube::Event>(),
        Kind::CustomResourceDefinition => built_in::<kube::CustomResourceDefinition>(),
    }
}

fn custom<T: JsonSchema>() -> Schema {
    whole_of::<Custom<T>, T>()
}

fn custom_with_spec<T: JsonSchema>() -> Schema {
    whole_of::<CustomWithSpec<T>, T>()
}

fn of_gateway_api<T: JsonSchema>() -> Schema {
    whole_of::<CustomWithSpec<T, gateway_api::Status>, T>()
}

fn built_in<T: JsonSchema>() -> Schema {
    whole_of::<T, T>()
}

/// Whether objects of a kind may not be without `spec`.
pub(crate) fn needs_spec(kind: Kind) -> bool {
    match &of(kind).node {
        Node::Object(object) => object.required.iter().any(|field| field == "spec"),
        _ => false,
    }
}

/// The schema of objects with this body, described in the words of `T`.
fn whole_of<Body: JsonSchema, T: JsonSchema>() -> Schema {
    let description = compile::compile::<T>().description;
    Schema { description, ..compile::compile::<Whole<Body>>() }
}

#[cfg(test)]
mod tests;
