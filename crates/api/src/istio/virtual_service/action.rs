//! What an HTTP rule does to a request, besides sending it somewhere.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use crate::istio::StringMatch;
use crate::scalar::{GoDuration, Percent, Port};

/// Answers with a redirect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "HTTPRedirect", extend("x-oneof" = [["port", "derivePort"]]))]
pub struct HttpRedirect {
    /// The new path, in place of the whole one. The request's query stays, unless the new path has one of its own.
    #[serde(default)]
    pub uri: String,
    /// The new host; the request's when absent.
    #[serde(default)]
    pub authority: String,
    /// The new port. Without it and `derivePort`, what the client wrote into Host stays, or `authority` says it.
    pub port: Option<u16>,
    /// Where the new port is taken from, in place of `port`.
    pub derive_port: Option<DerivePort>,
    /// The new scheme: http or https.
    #[serde(default)]
    pub scheme: String,
    /// Status of the answer: 301 (when absent or 0), 302, 303, 307 or 308. With others of 3xx, requests are answered 500.
    #[serde(default)]
    pub redirect_code: u32,
    /// Replaces the part of the path that the rule's prefix matched; excludes `uri`.
    #[serde(default)]
    pub prefix_rewrite: String,
}

impl HttpRedirect {
    /// How the port of the new location is chosen; `None` leaves it out.
    pub fn port_choice(&self) -> Option<RedirectPort> {
        match (self.port, self.derive_port) {
            (Some(port), _) => Port::new(port.into()).map(RedirectPort::Fixed),
            (None, derive) => derive.map(RedirectPort::Derived),
        }
    }
}

/// The port of a redirect's location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedirectPort {
    /// This one.
    Fixed(Port),
    /// Taken from the request or the scheme.
    Derived(DerivePort),
}

/// Where a redirect takes its port from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DerivePort {
    /// 80 for http, 443 for https, whatever port the request was sent to.
    FromProtocolDefault,
    /// The port that the request came in on: the Gateway server's.
    FromRequestPort,
}

/// Answers with a fixed status and body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "HTTPDirectResponse")]
pub struct HttpDirectResponse {
    /// The status, 200 to 599. 600 is accepted, as by Istio, and answered 500.
    pub status: u32,
    /// The body; none when absent. At most 1 MiB.
    pub body: Option<DirectResponseBody>,
}

/// The body of a [`HttpDirectResponse`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DirectResponseBody {
    /// Nothing.
    #[default]
    Empty,
    /// Written as text.
    Text(String),
    /// Written as base64.
    Bytes(Vec<u8>),
}

impl DirectResponseBody {
    /// The bytes to send.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            DirectResponseBody::Empty => &[],
            DirectResponseBody::Text(text) => text.as_bytes(),
            DirectResponseBody::Bytes(bytes) => bytes,
        }
    }
}

/// The body of a fixed answer, as text or as bytes.
#[derive(Deserialize, JsonSchema)]
#[schemars(extend("x-oneof" = [["string", "bytes"]]))]
struct WrittenBody {
    /// The body as text.
    string: Option<String>,
    /// The body as base64.
    #[schemars(extend("format" = "byte"))]
    bytes: Option<String>,
}

impl<'de> Deserialize<'de> for DirectResponseBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match WrittenBody::deserialize(deserializer)? {
            WrittenBody { string: None, bytes: None } => Ok(DirectResponseBody::Empty),
            WrittenBody { string: Some(text), bytes: None } => Ok(DirectResponseBody::Text(text)),
            WrittenBody { string: None, bytes: Some(text) } => crate::base64::decode(&text)
                .map(DirectResponseBody::Bytes)
                .map_err(D::Error::custom),
            _ => Err(D::Error::custom("only one of string and bytes can be set")),
        }
    }
}

impl JsonSchema for DirectResponseBody {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "HTTPBody".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        WrittenBody::json_schema(generator)
    }
}

/// Names the VirtualService whose rules go on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Delegate {
    /// Name of the VirtualService.
    #[serde(default)]
    pub name: String,
    /// Its namespace; the referring object's own when absent.
    #[serde(default)]
    pub namespace: String,
}

/// Changes path or host before a request is forwarded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "HTTPRewrite")]
pub struct HttpRewrite {
    /// Replaces the matched prefix, or the whole path when the rule matched otherwise. `/` takes the prefix away: with
    /// prefix `/api`, `/api/users` becomes `/users`.
    #[serde(default)]
    pub uri: String,
    /// Replaces the Host header.
    #[serde(default)]
    pub authority: String,
    /// Replaces what a regular expression matches in the path; excludes `uri`.
    pub uri_regex_rewrite: Option<RegexRewrite>,
}

/// A substitution by regular expression.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegexRewrite {
    /// RE2 expression for the part of the path to replace.
    #[serde(default, rename = "match")]
    pub pattern: String,
    /// What is put in its place; `\1` … stand for the expression's groups.
    #[serde(default)]
    pub rewrite: String,
}

/// When and how often a failed request is tried again.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "HTTPRetry")]
pub struct HttpRetry {
    /// How many times a request is tried again; 0 turns retries off.
    #[serde(default)]
    pub attempts: i32,
    /// Limit for each attempt; the rule's timeout when absent.
    pub per_try_timeout: Option<GoDuration>,
    /// Conditions separated by commas, as Envoy names them; a number stands for that status.
    #[serde(default)]
    pub retry_on: String,
    /// A dialect of guide 002: statuses to try again on. Decoding moves them into `retry_on`; empty
    /// afterwards.
    #[serde(default)]
    #[schemars(
        extend("x-dialect" = "add these statuses to what retryOn has instead, such as retryOn: \"connect-failure,503,504\""),
        inner(range(min = 100, max = 599))
    )]
    pub(crate) retriable_status_codes: Vec<u16>,
    /// Whether attempts may leave the locality that the first one chose. Has no effect yet.
    #[schemars(extend("nullable" = true))]
    pub retry_remote_localities: Option<bool>,
    /// Whether attempts avoid endpoints that already failed. When absent they do, unless the destination's endpoint follows
    /// from the request (`consistentHash`).
    #[schemars(extend("nullable" = true))]
    pub retry_ignore_previous_hosts: Option<bool>,
    /// The shortest pause before an attempt; 25ms when absent.
    pub backoff: Option<GoDuration>,
}

impl HttpRetry {
    /// Folds the dialect's separate list of statuses into `retry_on`, which is where Istio has them.
    pub(crate) fn fold_status_codes(&mut self) {
        for code in std::mem::take(&mut self.retriable_status_codes) {
            if !self.retry_on.is_empty() {
                self.retry_on.push(',');
            }
            self.retry_on.push_str(&code.to_string());
        }
    }
}

/// Delays or fails requests on purpose.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "HTTPFaultInjection")]
pub struct HttpFaultInjection {
    /// Hold requests back.
    pub delay: Option<FaultDelay>,
    /// Answer requests with an error.
    pub abort: Option<FaultAbort>,
}

/// Holds requests back.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Delay", extend("x-oneof" = [["fixedDelay", "exponentialDelay"]]))]
pub struct FaultDelay {
    /// Deprecated: share of requests, a whole number of percent.
    #[serde(default)]
    pub percent: i32,
    /// How long.
    pub fixed_delay: Option<GoDuration>,
    /// Not supported; refused.
    pub exponential_delay: Option<GoDuration>,
    /// Share of requests that are held back; none when it and `percent` are absent.
    pub percentage: Option<Percent>,
}

/// Answers requests with an error.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Abort", extend("x-oneof" = [["httpStatus", "grpcStatus", "http2Error"]]))]
pub struct FaultAbort {
    /// The HTTP status, 200 to 600.
    pub http_status: Option<i32>,
    /// The gRPC status, by name.
    pub grpc_status: Option<String>,
    /// Not supported; refused.
    pub http2_error: Option<String>,
    /// Share of requests that fail; all when absent.
    pub percentage: Option<Percent>,
}

/// Cross-origin resource sharing.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CorsPolicy {
    /// Deprecated: origins that are allowed, as they are.
    #[serde(default)]
    pub allow_origin: Vec<String>,
    /// Origins that are allowed.
    #[serde(default)]
    pub allow_origins: Vec<StringMatch>,
    /// Methods that are allowed.
    #[serde(default)]
    pub allow_methods: Vec<String>,
    /// Request headers that are allowed.
    #[serde(default)]
    pub allow_headers: Vec<String>,
    /// Response headers that scripts may read.
    #[serde(default)]
    pub expose_headers: Vec<String>,
    /// How long a preflight's answer may be kept.
    pub max_age: Option<GoDuration>,
    /// Whether credentials may be sent.
    #[schemars(extend("nullable" = true))]
    pub allow_credentials: Option<bool>,
    /// What happens to preflights from other origins.
    #[serde(default)]
    pub unmatched_preflights: UnmatchedPreflights,
}

/// What happens to preflights whose origin is not allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UnmatchedPreflights {
    /// As FORWARD.
    #[default]
    Unspecified,
    /// They go to the destination.
    Forward,
    /// They are answered here, without the headers that would allow them.
    Ignore,
}

/// Changes to headers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Headers {
    /// Changes to the request before it is forwarded.
    pub request: Option<HeaderOperations>,
    /// Changes to the response before it is returned.
    pub response: Option<HeaderOperations>,
}

/// Changes to the headers of one direction. Values may hold Envoy's `%VARIABLES%`; `%%` is a percent sign.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeaderOperations {
    /// Headers to overwrite.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// Headers to add, beside those that are there.
    #[serde(default)]
    pub add: BTreeMap<String, String>,
    /// Headers to take away.
    #[serde(default)]
    pub remove: Vec<String>,
}
