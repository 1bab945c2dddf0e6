//! `%VAR%` in header values: parsed when configured, filled in per request.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::UNIX_EPOCH;

use tokio::time::Instant;

use crate::accesslog::{ResponseFlags, TimeFormat, hostname};
use crate::clock::Clock;
use crate::http::{RequestHead, ResponseHead, Version};
use crate::remote::Remote;
use crate::tls::Settled;
use crate::tls::crypto::sha256;
use crate::tls::x509::hex;

use super::condition::{Field, parameter};
use super::matcher::without_query;

/// What is known about a request beside its head, for the variables of header values. A variable whose
/// fact is `None` is empty.
#[derive(Clone, Debug, Default)]
pub struct Facts<'a> {
    /// The client, after `x-forwarded-for` had its say.
    pub client: Option<SocketAddr>,
    /// The peer of the connection.
    pub peer: Option<SocketAddr>,
    /// Our address on that connection.
    pub local: Option<SocketAddr>,
    /// The path of the Unix socket that the connection came through: its ends have no addresses.
    pub pipe: Option<&'a str>,
    /// SNI of the connection.
    pub server_name: Option<&'a str>,
    /// Name of the route.
    pub route: Option<&'a str>,
    /// Cluster the request goes to.
    pub cluster: Option<&'a str>,
    /// Endpoint that was asked last; known on responses only.
    pub upstream: Option<Remote>,
    /// Whether there was a connection to it.
    pub connected: bool,
    /// Why the exchange goes as it does.
    pub flags: ResponseFlags,
    /// The same in words (`RESPONSE_CODE_DETAILS`); empty before there is an answer.
    pub details: &'a str,
    /// Whether the answer is an endpoint's.
    pub answered: bool,
    /// Bytes of content that came from the client.
    pub received: u64,
    /// How many endpoints were asked.
    pub attempts: u32,
    /// When the request began, by a clock that knows the time of day.
    pub started: Option<(&'a Clock, Instant)>,
    /// Number of the connection.
    pub connection: Option<u64>,
    /// What the handshake with the client settled.
    pub tls: Option<&'a Settled>,
}

/// What a template is filled from.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub request: &'a RequestHead,
    pub response: Option<&'a ResponseHead>,
    pub facts: &'a Facts<'a>,
}

/// A header value with variables in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Box<[Part]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<[u8]>),
    Variable { variable: Variable, longest: Option<usize> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Variable {
    Request(Field, Option<Field>),
    Response(Box<[u8]>, Option<Box<[u8]>>),
    Protocol,
    ResponseCode,
    Flags,
    LongFlags,
    Details,
    Received,
    Duration,
    Attempts,
    /// What is the same for every request as long as heads are sent.
    Fixed(&'static str),
    RouteName,
    ServerName,
    Cluster,
    Address(Peer, AddressPart),
    /// Known when the template is parsed, or never there.
    Constant(Option<Box<str>>),
    Start(TimeFormat),
    Path(PathForm),
    Parameter(Box<[u8]>),
    /// What filters noted, by its path.
    Noted(Box<str>),
    Connection,
    Tls(TlsFact),
}

/// Which path is meant when it was rewritten, and how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PathForm {
    query: bool,
    original: bool,
    current: bool,
}

/// What is told of the handshake with the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TlsFact {
    Version,
    Cipher,
    Subject,
    Serial,
    Uris,
    DnsNames,
    Fingerprint,
    OwnUris,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    Client,
    Direct,
    Local,
    Upstream,
    /// The endpoint, if there was a connection to it.
    Connected,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AddressPart {
    Both,
    Host,
    Port,
}

/// The variables without argument.
const VARIABLES: &[(&str, Variable)] = &[
    ("PROTOCOL", Variable::Protocol),
    ("RESPONSE_CODE", Variable::ResponseCode),
    ("RESPONSE_FLAGS", Variable::Flags),
    ("RESPONSE_FLAGS_LONG", Variable::LongFlags),
    ("RESPONSE_CODE_DETAILS", Variable::Details),
    ("BYTES_RECEIVED", Variable::Received),
    ("DURATION", Variable::Duration),
    ("UPSTREAM_REQUEST_ATTEMPT_COUNT", Variable::Attempts),
    // Of content nothing has been sent, nor of trailers, while heads are changed.
    ("BYTES_SENT", Variable::Fixed("0")),
    ("RESPONSE_TRAILERS_BYTES", Variable::Fixed("0")),
    ("RESPONSE_TX_DURATION", Variable::Fixed("")),
    ("CONNECTION_TERMINATION_DETAILS", Variable::Fixed("")),
    ("DOWNSTREAM_TRANSPORT_FAILURE_REASON", Variable::Fixed("")),
    ("ACCESS_LOG_TYPE", Variable::Fixed("NotSet")),
    // Nobody traces, and there are no virtual clusters.
    ("TRACE_ID", Variable::Fixed("")),
    ("SPAN_ID", Variable::Fixed("")),
    ("VIRTUAL_CLUSTER_NAME", Variable::Fixed("")),
    ("ROUTE_NAME", Variable::RouteName),
    ("REQUESTED_SERVER_NAME", Variable::ServerName),
    ("UPSTREAM_CLUSTER", Variable::Cluster),
    ("UPSTREAM_CLUSTER_RAW", Variable::Cluster),
    ("CONNECTION_ID", Variable::Connection),
    ("START_TIME", Variable::Start(TimeFormat::Iso)),
    ("PATH", Variable::Path(PathForm { query: true, original: true, current: true })),
    ("DOWNSTREAM_TLS_VERSION", Variable::Tls(TlsFact::Version)),
    ("DOWNSTREAM_TLS_CIPHER", Variable::Tls(TlsFact::Cipher)),
    ("DOWNSTREAM_PEER_SUBJECT", Variable::Tls(TlsFact::Subject)),
    ("DOWNSTREAM_PEER_SERIAL", Variable::Tls(TlsFact::Serial)),
    ("DOWNSTREAM_PEER_URI_SAN", Variable::Tls(TlsFact::Uris)),
    ("DOWNSTREAM_PEER_DNS_SAN", Variable::Tls(TlsFact::DnsNames)),
    ("DOWNSTREAM_PEER_FINGERPRINT_256", Variable::Tls(TlsFact::Fingerprint)),
    ("DOWNSTREAM_LOCAL_URI_SAN", Variable::Tls(TlsFact::OwnUris)),
    ("UPSTREAM_HOST", Variable::Address(Peer::Upstream, AddressPart::Both)),
    ("UPSTREAM_REMOTE_ADDRESS", Variable::Address(Peer::Connected, AddressPart::Both)),
    ("UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", Variable::Address(Peer::Connected, AddressPart::Host)),
    ("UPSTREAM_REMOTE_PORT", Variable::Address(Peer::Connected, AddressPart::Port)),
    ("DOWNSTREAM_REMOTE_ADDRESS", Variable::Address(Peer::Client, AddressPart::Both)),
    ("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", Variable::Address(Peer::Client, AddressPart::Host)),
    ("DOWNSTREAM_REMOTE_PORT", Variable::Address(Peer::Client, AddressPart::Port)),
    ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS", Variable::Address(Peer::Direct, AddressPart::Both)),
    (
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
        Variable::Address(Peer::Direct, AddressPart::Host),
    ),
    ("DOWNSTREAM_DIRECT_REMOTE_PORT", Variable::Address(Peer::Direct, AddressPart::Port)),
    ("DOWNSTREAM_LOCAL_ADDRESS", Variable::Address(Peer::Local, AddressPart::Both)),
    ("DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", Variable::Address(Peer::Local, AddressPart::Host)),
    ("DOWNSTREAM_LOCAL_PORT", Variable::Address(Peer::Local, AddressPart::Port)),
];

/// Why a template was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A `%` without its partner.
    #[error("the % at byte {0} opens a variable that is not closed; write %% for a percent sign")]
    Unclosed(usize),
    /// A variable that does not exist, or not in header values.
    #[error("%{0}% is no variable of header values; known are REQ(NAME), RESP(NAME), \
         START_TIME(FORMAT), PATH(FORM), QUERY_PARAM(NAME), ENVIRONMENT(NAME), HOSTNAME, {known}", known = known())]
    Unknown(String),
    /// A variable whose argument or length is wrong.
    #[error("%{0}% is not of the form %NAME(ARGUMENT):LENGTH%")]
    Malformed(String),
}

fn known() -> String {
    let names: Vec<_> = VARIABLES.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

impl Template {
    /// Parses a value.
    ///
    /// # Errors
    /// A variable is not closed, not known or not well formed.
    pub fn new(value: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut text = Vec::new();
        let mut at = 0;
        while let Some(found) = value[at..].find('%') {
            let start = at + found;
            text.extend_from_slice(&value.as_bytes()[at..start]);
            let end = close(value, start + 1).ok_or(TemplateError::Unclosed(start))?;
            if end == start + 1 {
                text.push(b'%');
            } else {
                if !text.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut text).into()));
                }
                parts.push(variable(&value[start + 1..end])?);
            }
            at = end + 1;
        }
        text.extend_from_slice(&value.as_bytes()[at..]);
        if !text.is_empty() {
            parts.push(Part::Text(text.into()));
        }
        Ok(Self { parts: parts.into() })
    }

    /// The body of an answer to a request. Variables without a value are a dash, as in logs.
    #[must_use]
    pub fn body(&self, request: &RequestHead, facts: &Facts<'_>) -> Vec<u8> {
        let (scope, mut out) = (Scope { request, response: None, facts }, Vec::new());
        for part in &self.parts {
            let start = out.len();
            part.write(scope, &mut out);
            if out.len() == start {
                out.push(b'-');
            }
        }
        out
    }

    /// The value for one request; borrowed when it has no variable.
    pub(super) fn render(&self, scope: Scope<'_>) -> Cow<'_, [u8]> {
        match &*self.parts {
            [] => Cow::Borrowed(b""),
            [Part::Text(text)] => Cow::Borrowed(text),
            parts => {
                let mut out = Vec::new();
                parts.iter().for_each(|part| part.write(scope, &mut out));
                Cow::Owned(out)
            }
        }
    }
}

impl Part {
    fn write(&self, scope: Scope<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => out.extend_from_slice(text),
            Self::Variable { variable, longest } => {
                let start = out.len();
                variable.write(scope, out);
                out.truncate(longest.map_or(out.len(), |longest| out.len().min(start + longest)));
            }
        }
    }
}

/// The `%` that closes a variable: the first one outside its argument.
fn close(value: &str, from: usize) -> Option<usize> {
    let mut depth = 0_u32;
    for (offset, byte) in value.as_bytes()[from..].iter().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b'%' if depth == 0 => return Some(from + offset),
            _ => {}
        }
    }
    None
}

/// Parses `NAME`, `NAME(ARGUMENT)` or `NAME(ARGUMENT):LENGTH`.
fn variable(source: &str) -> Result<Part, TemplateError> {
    let malformed = || TemplateError::Malformed(source.to_owned());
    let Some((name, rest)) = source.split_once('(') else {
        if source == "HOSTNAME" {
            let variable = Variable::Constant(hostname());
            return Ok(Part::Variable { variable, longest: None });
        }
        let variable = VARIABLES.iter().find(|(name, _)| *name == source).map(|(_, v)| v.clone());
        return variable
            .map(|variable| Part::Variable { variable, longest: None })
            .ok_or_else(|| TemplateError::Unknown(source.to_owned()));
    };
    let (argument, length) = rest.rsplit_once(')').ok_or_else(malformed)?;
    let longest = match length.strip_prefix(':') {
        Some(digits) => Some(digits.parse().map_err(|_| malformed())?),
        None if length.is_empty() => None,
        None => return Err(malformed()),
    };
    let single = match name {
        "START_TIME" => Some(TimeFormat::parse(argument).map(Variable::Start).ok()),
        "PATH" => Some(path_form(argument).map(Variable::Path)),
        "QUERY_PARAM" => {
            let name = Some(argument).filter(|name| !name.is_empty());
            Some(name.map(|name| Variable::Parameter(name.as_bytes().into())))
        }
        "ENVIRONMENT" => {
            let name = Some(argument).filter(|name| !name.is_empty());
            let value = |name| std::env::var(name).unwrap_or_else(|_| "-".to_owned());
            Some(name.map(|name| Variable::Constant(Some(value(name).into()))))
        }
        "DYNAMIC_METADATA" => Some(Some(Variable::Noted(argument.into()))),
        // There is no such state, endpoints have no metadata, and trailers come after heads.
        "FILTER_STATE" | "PER_REQUEST_STATE" | "UPSTREAM_METADATA" | "TRAILER" => {
            Some(Some(Variable::Constant(None)))
        }
        _ => None,
    };
    if let Some(variable) = single {
        let variable = variable.ok_or_else(malformed)?;
        return Ok(Part::Variable { variable, longest });
    }
    let (main, other) = match argument.split_once('?') {
        Some((main, other)) => (main, Some(other)),
        None => (argument, None),
    };
    if main.is_empty() || other == Some("") {
        return Err(malformed());
    }
    let lower = |name: &str| -> Box<[u8]> { name.to_ascii_lowercase().into_bytes().into() };
    let variable = match name {
        "REQ" => Variable::Request(Field::new(main), other.map(Field::new)),
        "RESP" => Variable::Response(lower(main), other.map(lower)),
        _ => return Err(TemplateError::Unknown(source.to_owned())),
    };
    Ok(Part::Variable { variable, longest })
}

/// The argument of `PATH`: with query (`WQ`) or without (`NQ`), then which path.
fn path_form(text: &str) -> Option<PathForm> {
    let (query, source) = text.split_once(':').unwrap_or((text, ""));
    let query = match query {
        "" | "WQ" => true,
        "NQ" => false,
        _ => return None,
    };
    let (original, current) = match source {
        "" | "ORIG_OR_PATH" => (true, true),
        "ORIG" => (true, false),
        "PATH" => (false, true),
        _ => return None,
    };
    Some(PathForm { query, original, current })
}

impl PathForm {
    fn of(self, head: &RequestHead) -> &[u8] {
        let original = head.original_path().filter(|_| self.original);
        let path = original.or(Some(head.path()).filter(|_| self.current)).unwrap_or_default();
        if self.query { path } else { without_query(path) }
    }
}

impl TlsFact {
    fn write(self, settled: &Settled, out: &mut Vec<u8>) {
        let peer = settled.peer.as_ref();
        let leaf = peer.map(|peer| &peer.leaf);
        let list = |names: &[Box<str>]| names.join(",");
        let found = match self {
            Self::Version => Some(settled.version.to_owned()),
            Self::Cipher => Some(settled.cipher.to_owned()),
            Self::Subject => leaf.map(|leaf| leaf.subject.clone()),
            Self::Serial => leaf.map(|leaf| leaf.serial.clone()),
            Self::Uris => leaf.map(|leaf| list(&leaf.uris)),
            Self::DnsNames => leaf.map(|leaf| list(&leaf.dns_names)),
            Self::Fingerprint => peer.and_then(|peer| Some(hex(&sha256(peer.chain.first()?)))),
            Self::OwnUris => Some(list(&settled.local_uris)),
        };
        // A certificate says what its holder likes: no name may end the line.
        out.extend(found.unwrap_or_default().bytes().filter(|byte| !byte.is_ascii_control()));
    }
}

impl Variable {
    fn write(&self, scope: Scope<'_>, out: &mut Vec<u8>) {
        let facts = scope.facts;
        match self {
            Self::Request(main, other) => {
                let other = other.iter().flat_map(|other| other.values(scope.request));
                let value = main.values(scope.request).chain(other).next();
                out.extend_from_slice(value.unwrap_or_default());
            }
            Self::Response(main, other) => {
                let value = scope.response.and_then(|response| {
                    let get = |name: &[u8]| response.headers.get(name);
                    get(main).or_else(|| other.as_deref().and_then(get))
                });
                out.extend_from_slice(value.unwrap_or_default());
            }
            Self::Protocol => out.extend_from_slice(match scope.request.version {
                Version::Http10 => b"HTTP/1.0",
                Version::Http11 => b"HTTP/1.1",
                Version::Http2 => b"HTTP/2",
            }),
            Self::ResponseCode => {
                // Envoy knows the code only of what an upstream answered when it changes headers.
                let answer = scope.response.filter(|_| facts.answered);
                let status = answer.map_or(0, |response| response.status);
                out.extend_from_slice(status.to_string().as_bytes());
            }
            Self::Flags => out.extend_from_slice(facts.flags.to_string().as_bytes()),
            Self::LongFlags if facts.flags.is_empty() => out.push(b'-'),
            Self::LongFlags => {
                let names: Vec<&str> = facts.flags.long().collect();
                out.extend_from_slice(names.join(",").as_bytes());
            }
            Self::Details => text(Some(facts.details), out),
            Self::Received => out.extend_from_slice(facts.received.to_string().as_bytes()),
            Self::Duration => {
                let took = facts.started.map(|(_, started)| started.elapsed().as_millis());
                text(took.map(|took| took.to_string()).as_deref(), out);
            }
            Self::Attempts => out.extend_from_slice(facts.attempts.to_string().as_bytes()),
            Self::Fixed(fixed) => text(Some(fixed), out),
            Self::RouteName => text(facts.route, out),
            Self::ServerName => text(facts.server_name, out),
            Self::Cluster => text(facts.cluster, out),
            Self::Constant(constant) => text(constant.as_deref(), out),
            Self::Start(format) => {
                let at = facts.started.map(|(clock, started)| clock.wall(started));
                let since = at.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
                if let Some(nanos) = since.and_then(|since| u64::try_from(since.as_nanos()).ok()) {
                    format.write(nanos, out);
                }
            }
            Self::Path(form) => out.extend_from_slice(form.of(scope.request)),
            Self::Parameter(name) => {
                let form = PathForm { query: true, original: true, current: true };
                let value = parameter(form.of(scope.request), name);
                out.extend_from_slice(value.unwrap_or_default());
            }
            Self::Noted(path) => {
                let noted = scope.request.noted.at(path).map(|value| match value.as_text() {
                    Some(text) => text.to_owned(),
                    None => value.to_string(),
                });
                // A token says what its issuer likes: nothing may end the line.
                out.extend(
                    noted.unwrap_or_default().bytes().filter(|byte| !byte.is_ascii_control()),
                );
            }
            Self::Connection => {
                let number = facts.connection.map(|number| number.to_string());
                text(number.as_deref(), out);
            }
            Self::Tls(fact) => {
                if let Some(settled) = facts.tls {
                    fact.write(settled, out);
                }
            }
            Self::Address(peer, part) => {
                let address = match peer {
                    Peer::Client => facts.client,
                    Peer::Direct => facts.peer,
                    Peer::Local => facts.local,
                    Peer::Connected if !facts.connected => None,
                    Peer::Upstream | Peer::Connected => match &facts.upstream {
                        Some(Remote::Pipe(path)) if *part != AddressPart::Port => {
                            return text(Some(path), out);
                        }
                        upstream => upstream.as_ref().and_then(Remote::socket),
                    },
                };
                let ours = matches!(peer, Peer::Client | Peer::Direct | Peer::Local);
                match address {
                    Some(address) => part.write(address, out),
                    None if ours && *part != AddressPart::Port => text(facts.pipe, out),
                    None => {}
                }
            }
        }
    }
}

fn text(value: Option<&str>, out: &mut Vec<u8>) {
    out.extend_from_slice(value.unwrap_or_default().as_bytes());
}

impl AddressPart {
    fn write(self, address: SocketAddr, out: &mut Vec<u8>) {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = match self {
            Self::Both => write!(text, "{address}"),
            Self::Host => write!(text, "{}", address.ip()),
            Self::Port => write!(text, "{}", address.port()),
        };
        out.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests;
