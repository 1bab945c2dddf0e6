//! HTTPRoute: where requests go.

use schemars::JsonSchema;

use super::{
    BackendReference, HeaderName, Hostname, MATCHES, PARENTS, ParentReference, PortNumber,
    SUBDOMAIN, SectionName, SharedFilters, Span, filter_rules, once,
};
use crate::schema::rules::{Says, says};

/// Sends requests that reach a Gateway, by host, path, header fields and more, to backends.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpRoute {
    /// The Gateways that the route wants to be attached to.
    #[schemars(length(max = 32), extend("x-kubernetes-validations" = PARENTS))]
    pub parent_refs: Option<Vec<ParentReference>>,
    /// Hosts, matched against the Host header; those of the listener when absent.
    #[schemars(length(max = 16))]
    pub hostnames: Option<Vec<Hostname>>,
    /// The rules; the one that matches most narrowly counts.
    #[schemars(
        length(min = 1, max = 16),
        extend(
            "x-default" = [{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}]}],
            "x-kubernetes-validations" = MATCHES
        )
    )]
    pub rules: Option<Vec<HttpRule>>,
}

/// Whether a filter of the list puts something in the place of the prefix that matched.
macro_rules! replaces_prefix {
    ($filter:literal) => {
        concat!(
            "exists(f, has(f.",
            $filter,
            ") && has(f.",
            $filter,
            ".path) && has(f.",
            $filter,
            ".path.replacePrefixMatch))"
        )
    };
}

/// Whether there is one match, and by a prefix.
macro_rules! one_prefix {
    () => {
        "self.matches.size() == 1 && has(self.matches[0].path) && self.matches[0].path.type == 'PathPrefix'"
    };
}

/// What may be put in the place of a prefix: one that is known.
macro_rules! prefix_is_known {
    ($filter:literal, $message:literal) => {
        says(
            concat!(
                "has(self.filters) && self.filters.",
                replaces_prefix!($filter),
                " ? ",
                one_prefix!(),
                " : true"
            ),
            $message,
        )
    };
    (backends $filter:literal, $message:literal) => {
        says(
            concat!(
                "has(self.backendRefs) && self.backendRefs.exists(b, has(b.filters) && b.filters.",
                replaces_prefix!($filter),
                ") ? ",
                one_prefix!(),
                " : true"
            ),
            $message,
        )
    };
}

const RULE: &[Says] = &[
    says(
        "has(self.backendRefs) && self.backendRefs.size() > 0 && has(self.filters) ? !self.filters.exists(f, \
         has(f.requestRedirect)) : true",
        "RequestRedirect filter must not be used together with backendRefs",
    ),
    prefix_is_known!(
        "requestRedirect",
        "When using RequestRedirect filter with path.replacePrefixMatch, exactly one PathPrefix match must be specified"
    ),
    prefix_is_known!(
        "urlRewrite",
        "When using URLRewrite filter with path.replacePrefixMatch, exactly one PathPrefix match must be specified"
    ),
    prefix_is_known!(
        backends "requestRedirect",
        "Within backendRefs, when using RequestRedirect filter with path.replacePrefixMatch, exactly one PathPrefix match must \
         be specified"
    ),
    prefix_is_known!(
        backends "urlRewrite",
        "Within backendRefs, When using URLRewrite filter with path.replacePrefixMatch, exactly one PathPrefix match must be \
         specified"
    ),
];

/// Which requests go where.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = RULE))]
pub struct HttpRule {
    /// Name of the rule.
    pub name: Option<SectionName>,
    /// Conditions of which one has to hold.
    #[schemars(
        length(max = 64),
        extend("x-default" = [{"path": {"type": "PathPrefix", "value": "/"}}])
    )]
    pub matches: Option<Vec<HttpMatch>>,
    /// What is done to requests and answers.
    #[schemars(length(max = 16), extend("x-kubernetes-validations" = FILTERS))]
    pub filters: Option<Vec<HttpFilter>>,
    /// The backends, among which requests are shared out.
    #[schemars(length(max = 16))]
    pub backend_refs: Option<Vec<HttpBackend>>,
    /// How long answers may take.
    pub timeouts: Option<HttpTimeouts>,
}

/// A condition; everything in it has to hold.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpMatch {
    /// The path.
    #[schemars(extend("x-default" = {"type": "PathPrefix", "value": "/"}))]
    pub path: Option<PathMatch>,
    /// Header fields.
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub headers: Option<Vec<ValueMatch>>,
    /// Parameters of the query.
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub query_params: Option<Vec<ParameterMatch>>,
    /// The method.
    pub method: Option<Method>,
}

/// A rule of paths that are compared as text.
macro_rules! path {
    (without $part:literal) => {
        says(
            concat!(
                "self.type in ['Exact', 'PathPrefix'] ? !self.value.contains('",
                $part,
                "') : true"
            ),
            concat!("must not contain '", $part, "' when type one of ['Exact', 'PathPrefix']"),
        )
    };
    (not_before_end $part:literal) => {
        says(
            concat!(
                "self.type in ['Exact', 'PathPrefix'] ? !self.value.endsWith('",
                $part,
                "') : true"
            ),
            concat!("must not end with '", $part, "' when type one of ['Exact', 'PathPrefix']"),
        )
    };
}

const PATH: &[Says] = &[
    says(
        "self.type in ['Exact', 'PathPrefix'] ? self.value.startsWith('/') : true",
        "value must be an absolute path and start with '/' when type one of ['Exact', 'PathPrefix']",
    ),
    path!(without "//"),
    path!(without "/./"),
    path!(without "/../"),
    path!(without "%2f"),
    path!(without "%2F"),
    path!(without "#"),
    path!(not_before_end "/.."),
    path!(not_before_end "/."),
    says(
        r#"self.type in ['Exact', 'PathPrefix'] ? self.value.matches("^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})+$") : true"#,
        "must only contain valid characters (matching ^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})+$) for types \
         ['Exact', 'PathPrefix']",
    ),
];

/// What a path has to look like.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = PATH))]
pub struct PathMatch {
    /// How it is compared.
    #[serde(rename = "type")]
    #[schemars(extend("x-default" = "PathPrefix"))]
    pub kind: Option<PathMatchType>,
    /// What it is compared with.
    #[schemars(length(max = 1024), extend("x-default" = "/"))]
    pub value: Option<String>,
}

/// How a path is compared.
#[derive(JsonSchema)]
pub enum PathMatchType {
    /// As a whole.
    Exact,
    /// By its first segments.
    PathPrefix,
    /// As a regular expression.
    RegularExpression,
}

/// What a header field has to look like.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ValueMatch {
    /// How it is compared.
    #[serde(rename = "type")]
    #[schemars(extend("x-default" = "Exact"))]
    pub kind: Option<ValueMatchType>,
    /// Its name.
    pub name: HeaderName,
    /// What it is compared with.
    #[schemars(length(min = 1, max = 4096))]
    pub value: String,
}

/// What a parameter of the query has to look like.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParameterMatch {
    /// How it is compared.
    #[serde(rename = "type")]
    #[schemars(extend("x-default" = "Exact"))]
    pub kind: Option<ValueMatchType>,
    /// Its name.
    pub name: HeaderName,
    /// What it is compared with.
    #[schemars(length(min = 1, max = 1024))]
    pub value: String,
}

/// How a value is compared.
#[derive(JsonSchema)]
pub enum ValueMatchType {
    /// As a whole.
    Exact,
    /// As a regular expression.
    RegularExpression,
}

/// A method of HTTP.
#[derive(JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(rename = "HTTPMethod")]
#[allow(missing_docs, reason = "each is the method of that name")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
}

const FILTERS: &[Says] = &[
    says(
        "!(self.exists(f, f.type == 'RequestRedirect') && self.exists(f, f.type == 'URLRewrite'))",
        "May specify either httpRouteFilterRequestRedirect or httpRouteFilterRequestRewrite, but not both",
    ),
    once!("CORS"),
    once!("RequestHeaderModifier"),
    once!("ResponseHeaderModifier"),
    once!("RequestRedirect"),
    once!("URLRewrite"),
];

const FILTER: &[Says] = filter_rules! {
    "cors" => "CORS",
    "requestHeaderModifier" => "RequestHeaderModifier",
    "responseHeaderModifier" => "ResponseHeaderModifier",
    "requestMirror" => "RequestMirror",
    "requestRedirect" => "RequestRedirect",
    "urlRewrite" => "URLRewrite",
    "extensionRef" => "ExtensionRef",
};

/// One thing that is done to requests or answers; `type` says which field there is.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = FILTER))]
pub struct HttpFilter {
    /// What is done.
    #[serde(rename = "type")]
    pub kind: HttpFilterType,
    /// What calls of gRPC have, too.
    #[serde(flatten)]
    pub shared: SharedFilters,
    /// An answer that sends the client elsewhere.
    pub request_redirect: Option<RedirectFilter>,
    /// Another path or host for the backend.
    pub url_rewrite: Option<RewriteFilter>,
    /// What pages of other origins may do.
    pub cors: Option<CorsFilter>,
}

/// What a filter does.
#[derive(JsonSchema)]
pub enum HttpFilterType {
    /// Changes the request's header fields.
    RequestHeaderModifier,
    /// Changes the answer's header fields.
    ResponseHeaderModifier,
    /// Copies requests.
    RequestMirror,
    /// Sends the client elsewhere.
    RequestRedirect,
    /// Changes path or host.
    #[serde(rename = "URLRewrite")]
    UrlRewrite,
    /// Something of the controller's own.
    ExtensionRef,
    /// Tells browsers what pages of other origins may do.
    #[serde(rename = "CORS")]
    Cors,
}

/// An answer that sends the client elsewhere; what is absent stays as it is.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedirectFilter {
    /// The scheme.
    pub scheme: Option<Scheme>,
    /// The host.
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub hostname: Option<String>,
    /// The path.
    pub path: Option<PathModifier>,
    /// The port.
    pub port: Option<PortNumber>,
    /// The status.
    #[schemars(extend("enum" = [301, 302, 303, 307, 308], "x-default" = 302))]
    pub status_code: Option<i32>,
}

/// A scheme of HTTP.
#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Plain text.
    Http,
    /// TLS.
    Https,
}

/// Which field goes with which type.
macro_rules! replacement {
    ($field:literal, $kind:literal) => {
        [
            says(
                concat!("self.type == '", $kind, "' ? has(self.", $field, ") : true"),
                concat!($field, " must be specified when type is set to '", $kind, "'"),
            ),
            says(
                concat!("has(self.", $field, ") ? self.type == '", $kind, "' : true"),
                concat!("type must be '", $kind, "' when ", $field, " is set"),
            ),
        ]
    };
}

const REPLACEMENTS: &[[Says; 2]] = &[
    replacement!("replaceFullPath", "ReplaceFullPath"),
    replacement!("replacePrefixMatch", "ReplacePrefixMatch"),
];

/// Another path.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = REPLACEMENTS.as_flattened()))]
pub struct PathModifier {
    /// What is replaced.
    #[serde(rename = "type")]
    pub kind: PathModifierType,
    /// The whole path.
    #[schemars(length(max = 1024))]
    pub replace_full_path: Option<String>,
    /// What takes the place of the prefix that matched.
    #[schemars(length(max = 1024))]
    pub replace_prefix_match: Option<String>,
}

/// What of a path is replaced.
#[derive(JsonSchema)]
pub enum PathModifierType {
    /// All of it.
    ReplaceFullPath,
    /// The prefix that matched.
    ReplacePrefixMatch,
}

/// Another path or host for the backend.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RewriteFilter {
    /// The host.
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub hostname: Option<String>,
    /// The path.
    pub path: Option<PathModifier>,
}

/// `*` means all, and needs nothing beside it.
macro_rules! all_or_some {
    ($name:literal, $what:literal) => {
        says(
            "'*' in self ? self.size() == 1 : true",
            concat!($name, " cannot contain '*' alongside other ", $what),
        )
    };
}

const ALL_OR_SOME_ORIGINS: Says = all_or_some!("AllowOrigins", "origins");
const ALL_OR_SOME_METHODS: Says = all_or_some!("AllowMethods", "methods");
// As the Gateway API says it of headers.
const ALL_OR_SOME_HEADERS: Says = all_or_some!("AllowHeaders", "methods");

/// What pages of other origins may do.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CorsFilter {
    /// Origins whose pages may send requests: a scheme with a host, `*.` before it for all names below; `*` for all.
    #[schemars(
        length(max = 64),
        extend("x-kubernetes-list-type" = "set", "x-kubernetes-validations" = [ALL_OR_SOME_ORIGINS])
    )]
    pub allow_origins: Option<Vec<Origin>>,
    /// Whether they may send cookies and credentials.
    pub allow_credentials: Option<bool>,
    /// Methods that they may use; `*` for all.
    #[schemars(
        length(max = 9),
        extend("x-kubernetes-list-type" = "set", "x-kubernetes-validations" = [ALL_OR_SOME_METHODS])
    )]
    pub allow_methods: Option<Vec<AnyMethod>>,
    /// Header fields that they may send.
    #[schemars(
        length(max = 64),
        extend("x-kubernetes-list-type" = "set", "x-kubernetes-validations" = [ALL_OR_SOME_HEADERS])
    )]
    pub allow_headers: Option<Vec<HeaderName>>,
    /// Header fields of answers that they may read.
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "set"))]
    pub expose_headers: Option<Vec<HeaderName>>,
    /// How long a browser remembers this, in seconds.
    #[schemars(range(min = 1), extend("x-default" = 5))]
    pub max_age: Option<i32>,
}

const ORIGIN: &str = r"^\*$|^https?://((\*\.)?([-a-zA-Z0-9]+\.)*[-a-zA-Z0-9]+|\*)(:[0-9]{1,5})?$";

/// Where a page comes from: a scheme with a host, or all of them.
#[derive(JsonSchema)]
pub struct Origin(#[schemars(length(min = 1, max = 253), regex(pattern = ORIGIN))] pub String);

/// A method of HTTP, or all of them.
#[derive(JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(rename = "HTTPMethodWithWildcard")]
#[allow(missing_docs, reason = "each is the method of that name, and Any is all of them")]
pub enum AnyMethod {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    #[serde(rename = "*")]
    Any,
}

/// A backend with filters of its own.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpBackend {
    /// The backend.
    #[serde(flatten)]
    pub backend: BackendReference,
    /// What is done to requests and answers of this backend.
    #[schemars(length(max = 16), extend("x-kubernetes-validations" = FILTERS))]
    pub filters: Option<Vec<HttpFilter>>,
}

const TIMEOUTS: &[Says] = &[says(
    "has(self.request) && has(self.backendRequest) && duration(self.request) != duration('0s') ? \
     duration(self.backendRequest) <= duration(self.request) : true",
    "backendRequest timeout cannot be longer than request timeout",
)];

/// How long answers may take.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = TIMEOUTS))]
pub struct HttpTimeouts {
    /// From the request's arrival to the end of the answer; `0s` for no bound.
    pub request: Option<Span>,
    /// From the sending of the request to the end of one backend's answer; no longer than `request`.
    pub backend_request: Option<Span>,
}
