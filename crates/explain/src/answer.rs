//! What is answered. The JSON form is what `-o json` prints, and is documented in docs/explain.md: fields are
//! added to it, never renamed.

use serde::Serialize;
use tidegate_api::ObjectKey;

/// The way of a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// What happens to the request in the end.
    pub end: End,
    /// The listener that accepts the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<Part>,
    /// The filter chain that serves it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_chain: Option<Part>,
    /// The route configuration that is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route_configuration: Option<Part>,
    /// The virtual host of the request's authority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_host: Option<Part>,
    /// The route that takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<Part>,
    /// Faults that are made on purpose: `delay` and `abort`, and for which requests.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Part>,
    /// What is said to other origins; absent where the request is from none, or nobody looks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// Limits on the way: what may be answered 429 instead.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Part>,
    /// How long an answer may take, such as `15s`; absent where there is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// When and how often it is sent again; absent where it never is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<Retries>,
    /// Where it may go: one cluster, or several by weight.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<Cluster>,
    /// Where copies of it go, each with its share of requests; their answers are dropped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<Cluster>,
    /// The request line and host that the upstream gets, when the request is forwarded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<Sent>,
    /// Forms of the objects on the way that are refused, and what is in force in their place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_in_force: Vec<NotInForce>,
    /// What RequestAuthentications make of its tokens.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<TokenJudged>,
    /// What AuthorizationPolicies make of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<Judged>,
    /// What else is worth knowing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The ServiceEntry that would let it out, where it may not go as no object describes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<serde_json::Value>,
    /// Who else could have taken it, and what kept each from it, in the order in which they were tried.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<Lost>,
    /// What would have to be different for the nearest of them to take it; only when nothing did, or a route for everything
    /// after one that lacked one condition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
}

/// What happens to a request or connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", tag = "what")]
pub enum End {
    /// It is sent to a cluster.
    #[default]
    Forwarded,
    /// The client is sent elsewhere.
    Redirected {
        /// Status code of the answer.
        status: u16,
        /// The `location` header.
        location: String,
    },
    /// The gateway answers by itself.
    Answered {
        /// Status code of the answer.
        status: u16,
    },
    /// It is taken, and no cluster that it may be sent to can be reached.
    Unavailable {
        /// Status code of the answer; absent when the connection is closed without one.
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        /// Why, in words.
        reason: String,
    },
    /// Nobody can say here: it rests on what is not known.
    Undecided {
        /// On what, in words.
        reason: String,
    },
    /// Nothing takes it.
    Refused {
        /// Where it ended.
        error: Error,
        /// Status code of the answer; absent when the connection is closed without one.
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        /// Why, in words.
        reason: String,
    },
}

/// Where a connection or request ends that nothing takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Error {
    /// Nothing listens there: the connection is refused.
    NoListener,
    /// No filter chain takes the connection: it is closed.
    NoFilterChain,
    /// What is sent is not what the chain decodes: 400, or the connection is closed.
    ProtocolError,
    /// Plain text where TLS is expected: the connection is closed.
    #[serde(rename = "TLSError")]
    TlsError,
    /// A client certificate is asked for and not shown: the handshake fails.
    #[serde(rename = "MTLSError")]
    MtlsError,
    /// Rules about who is let in deny it: 403, or the connection is closed.
    Denied,
    /// The request itself is refused before it is routed.
    BadRequest,
    /// No virtual host has the request's authority: 404.
    NoVirtualHost,
    /// The virtual host has no route for the request: 404.
    NoRoute,
    /// The host answers over TLS only, and sends the client there: 301.
    #[serde(rename = "TLSRedirect")]
    TlsRedirect,
}

impl Error {
    /// Its name, as it stands in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoListener => "NoListener",
            Self::NoFilterChain => "NoFilterChain",
            Self::ProtocolError => "ProtocolError",
            Self::TlsError => "TLSError",
            Self::MtlsError => "MTLSError",
            Self::Denied => "Denied",
            Self::BadRequest => "BadRequest",
            Self::NoVirtualHost => "NoVirtualHost",
            Self::NoRoute => "NoRoute",
            Self::TlsRedirect => "TLSRedirect",
        }
    }
}

/// One station of the way.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// Its name, as Istio names it; empty when it has none.
    pub name: String,
    /// What it asks for, in words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub asks: String,
    /// What it was made from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<Source>,
}

/// A place in an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Kind of the object.
    pub kind: String,
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// The field: `spec.http[0].match[1]`.
    pub path: String,
    /// The manifest that it stands in; absent for objects of the API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The field's line in that file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Whether it is a place in the last good form of an object whose newest form is refused: no file has it any more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub last_good: bool,
}

impl Source {
    /// Whether it is a place in an object.
    #[must_use]
    pub fn is_in(&self, key: &ObjectKey) -> bool {
        self.kind == key.kind.to_string()
            && self.namespace == *key.namespace
            && self.name == *key.name
    }
}

/// A cluster that a request may be sent to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Its share of requests, in percent.
    pub share: f64,
    /// Whether it exists; a request for one that does not is answered 503.
    pub exists: bool,
    /// Where it sends: addresses, or names to resolve, with ports.
    pub endpoints: Vec<String>,
    /// What is spoken to its endpoints; absent where it is no HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spoken: Option<Spoken>,
    /// The PROXY header that connections to it begin with; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_header: Option<ProxyHeader>,
    /// How TLS is spoken with it; absent where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
    /// Why nothing that is sent to it arrives, as far as is known from the objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// The status code that such a request is answered; absent where connections are closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What it was made from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<Source>,
}

/// What is spoken to endpoints.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spoken {
    /// `HTTP/1.1`, `HTTP/2`, or `that of the client`.
    pub protocol: &'static str,
    /// What has HTTP/2 spoken: the port of a service, or a setting.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<Source>,
}

/// The PROXY header that connections begin with.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxyHeader {
    /// `V1` or `V2`.
    pub version: &'static str,
    /// The setting that says so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<Source>,
}

/// How TLS is spoken with a cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamTls {
    /// `SIMPLE`, or `MUTUAL` where a certificate is shown.
    pub mode: &'static str,
    /// The server that is asked for (SNI); empty where none is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub server_name: String,
    /// Whether the server's certificate is verified.
    pub verified: bool,
    /// Names of which the server's certificate has to carry one; any will do where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Who must have issued the server's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorities: Option<String>,
    /// The certificate that is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Why no handshake can be held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// The settings that say so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<Source>,
}

/// What goes upstream.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sent {
    /// The method.
    pub method: String,
    /// The Host header.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// Headers that the route adds or changes, as they are sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub set_headers: Vec<(String, String)>,
    /// Headers that the route takes away, and those of the client that are not passed on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub removed_headers: Vec<String>,
    /// Headers that the proxy adds or changes whatever the route, as they are sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub own_headers: Vec<(String, String)>,
    /// Names of those among them whose values are examples, wholly or in part: they say what the question leaves open, such as
    /// the client's address, or are new with each request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<String>,
}

/// When and how often a request is sent again.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Retries {
    /// How often at most, after the first attempt.
    pub attempts: u32,
    /// What it is sent again for, by Envoy's names.
    pub retry_on: Vec<&'static str>,
    /// The statuses of `retriable-status-codes`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<u16>,
    /// How long one attempt may take, such as `2s`; absent where only the whole is limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_try_timeout: Option<String>,
    /// Below how long the first pause is; each is chosen below twice the one before, up to the longest.
    pub backoff: String,
    /// The longest pause.
    pub longest_backoff: String,
    /// Whether endpoints that were tried are avoided.
    pub other_endpoints_first: bool,
}

/// What becomes of a request from another origin (CORS).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cors {
    /// The origin that the request names.
    pub origin: String,
    /// Whether it is let in.
    pub allowed: bool,
    /// Whether the request is a browser's question before another one.
    pub preflight: bool,
    /// Headers that the answer gets, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// What says so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<Source>,
}

/// What a rule of a RequestAuthentication makes of the tokens of a request.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenJudged {
    /// The issuer that the rule is about.
    pub issuer: String,
    /// What it makes of them, in words.
    pub verdict: String,
    /// The rule.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<Source>,
}

/// What an AuthorizationPolicy makes of a request or a connection.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Judged {
    /// What it does, in words: `denies it`, `allows it`, `allows something else` …
    pub verdict: &'static str,
    /// Of a policy that would have had to match: which of its conditions do not hold, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unmet: Vec<String>,
    /// The rule, or the whole policy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<Source>,
}

/// A form of an object that is refused.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NotInForce {
    /// What is wrong with it.
    pub refused: String,
    /// What is in force in its place: `lastGood`, the form before; `itself`, all the same, as there is nothing better;
    /// `rest`, what else it says; `closed`, that nothing is let through at all; or `nothing`.
    pub instead: &'static str,
    /// Where it stands, in the newest form.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<Source>,
}

/// A candidate that did not take the request.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lost {
    /// At which station it was one: `listener`, `filterChain`, `virtualHost`, `route` or `object`.
    pub at: &'static str,
    /// Its name, where it has one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What kept it from taking the request.
    pub refused: String,
    /// Whether it is for something else altogether: another port, host or path, which is not even like what was asked for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub far: bool,
    /// What it was made from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<Source>,
}

impl Lost {
    /// An object that had no part in what was asked.
    pub(crate) fn object(from: Source, refused: String) -> Self {
        Self { at: "object", name: String::new(), refused, far: false, from: vec![from] }
    }
}

impl Answer {
    /// The places of objects on the way that the request takes.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        let parts = [&self.listener, &self.filter_chain, &self.virtual_host, &self.route];
        let parts = parts.into_iter().flatten().flat_map(|Part { from, .. }| from);
        let clusters = self.clusters.iter().flat_map(|cluster| {
            let tls = cluster.tls.iter().flat_map(|tls| &tls.from);
            cluster
                .from
                .iter()
                .chain(cluster.spoken.iter().flat_map(|spoken| &spoken.from))
                .chain(cluster.proxy_header.iter().flat_map(|header| &header.from))
                .chain(tls)
        });
        let policies = self.policies.iter().flat_map(|judged| &judged.from);
        let tokens = self.tokens.iter().flat_map(|judged| &judged.from);
        let settings = self.faults.iter().chain(&self.limits).flat_map(|part| &part.from);
        parts.chain(clusters).chain(policies).chain(tokens).chain(settings)
    }

    /// Where it ended; `None` when it was taken.
    #[must_use]
    pub fn error(&self) -> Option<Error> {
        match &self.end {
            End::Refused { error, .. } => Some(*error),
            End::Redirected { .. } if self.route.is_none() => Some(Error::TlsRedirect),
            _ => None,
        }
    }
}
