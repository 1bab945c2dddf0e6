//! The operators of format strings.
//!
//! Not here, and refused by name: what Envoy's extensions put into filter state, tracing ids,
//! TLS details of issue and fingerprint, virtual clusters, and header sizes on the wire. A record does not
//! hold them, and a `-` for something that was never measured would be a lie.

use std::time::Duration;

use super::View;
use super::plain::{NOT_KEPT, PLAIN, Read, millis};
use super::query;
use super::time::TimeFormat;
use super::value::Value;
use crate::accesslog::plan::{Headers, Source};
use crate::accesslog::{Field, Kind, Timing};

/// A parsed operator.
#[derive(Clone, Debug)]
pub(super) enum Operator {
    /// Without argument.
    Plain(Read),
    /// `START_TIME(FORMAT)`
    Start(TimeFormat),
    /// `EMIT_TIME(FORMAT)`: the end of the request, as lines may be rendered much later.
    Emit(TimeFormat),
    /// `REQ(NAME?OTHER)` and its like.
    Header(Header, Option<Header>),
    /// `DYNAMIC_METADATA(FILTER:KEY:KEY)`
    Metadata(Box<str>),
    /// `COMMON_DURATION(FROM:TO:UNIT)`
    Between(Moment, Moment, u32),
    /// `GRPC_STATUS(FORM)`
    GrpcStatus(GrpcForm),
    /// `REQUESTED_SERVER_NAME(ORDER)`
    ServerName(NameOrder),
    /// `PATH(QUERY:SOURCE)`
    Path { query: bool, source: PathSource },
    /// `QUERY_PARAMS(SOURCE)`
    Query(PathSource),
    /// `QUERY_PARAM(NAME)`
    QueryParameter(Box<str>),
    /// `HOSTNAME`, `ENVIRONMENT(NAME)`: known when the format is parsed.
    Constant(Option<Box<str>>),
}

/// Whether a `:LENGTH` makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// Text of any length.
    Text,
    /// Anything else.
    Other,
}

/// A point of a request's life, in Envoy's words.
#[derive(Clone, Copy, Debug)]
pub(super) enum Moment {
    DsRxBeg,
    DsRxEnd,
    UsTxBeg,
    UsTxEnd,
    UsRxBeg,
    UsRxEnd,
    DsTxBeg,
    DsTxEnd,
}

/// How a gRPC status is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum GrpcForm {
    Number,
    Camel,
    Snake,
}

/// What a server name is taken from.
#[derive(Clone, Copy, Debug)]
pub(super) enum NameOrder {
    SniOnly,
    SniFirst,
    HostFirst,
}

/// Which path is meant when it was rewritten.
#[derive(Clone, Copy, Debug)]
pub(super) enum PathSource {
    Current,
    Original,
    OriginalOrCurrent,
}

impl Operator {
    /// The operator of that name. On an error: why not.
    pub(super) fn new(name: &str, argument: Option<&str>) -> Result<Self, String> {
        if let Some((_, read)) = PLAIN.iter().find(|(known, _)| *known == name) {
            return match argument {
                None => Ok(Self::Plain(*read)),
                Some(_) => Err("takes no argument".to_owned()),
            };
        }
        let text = argument.unwrap_or_default();
        let required = || match text {
            "" => Err(format!("needs an argument, as in %{name}(NAME)%")),
            text => Ok(text),
        };
        match name {
            "START_TIME" => TimeFormat::parse(text).map(Self::Start),
            "EMIT_TIME" => TimeFormat::parse(text).map(Self::Emit),
            "REQ" => required().and_then(|text| header(Source::Request, text)),
            "RESP" => required().and_then(|text| header(Source::Response, text)),
            "TRAILER" => required().and_then(|text| header(Source::Trailer, text)),
            "DYNAMIC_METADATA" => required().map(|text| Self::Metadata(text.into())),
            "COMMON_DURATION" => required().and_then(between),
            "GRPC_STATUS" => grpc_form(text).map(Self::GrpcStatus),
            "GRPC_STATUS_NUMBER" => match argument {
                None => Ok(Self::GrpcStatus(GrpcForm::Number)),
                Some(_) => Err("takes no argument".to_owned()),
            },
            "REQUESTED_SERVER_NAME" => name_order(text).map(Self::ServerName),
            "PATH" => path(text),
            "QUERY_PARAMS" => path_source(text).map(Self::Query),
            "QUERY_PARAM" => required().map(|text| Self::QueryParameter(text.into())),
            "ENVIRONMENT" => {
                required().map(|text| Self::Constant(std::env::var(text).ok().map(Into::into)))
            }
            "HOSTNAME" => Ok(Self::Constant(hostname())),
            known if NOT_KEPT.contains(&known) => {
                Err("is Envoy's, but its value is not kept here: leave it out".to_owned())
            }
            _ => {
                Err("is unknown; Envoy's documentation of access logs lists the operators"
                    .to_owned())
            }
        }
    }

    /// What it yields for one record.
    pub(super) fn value<'a>(&'a self, view: View<'a>) -> Value<'a> {
        let record = view.record;
        match self {
            Self::Plain(read) => read(view),
            Self::Start(format) => Value::Moment(format, record.start),
            Self::Emit(format) => Value::Moment(format, record.end()),
            Self::Header(name, other) => match (name.value(view), other) {
                (Value::Absent, Some(other)) => other.value(view),
                (value, _) => value,
            },
            Self::Metadata(path) => {
                view.captured(Source::Metadata, path).map_or(Value::Absent, Value::Json)
            }
            Self::Between(from, to, per_second) => {
                let span = (from.of(view), to.of(view));
                let (Some(from), Some(to)) = span else {
                    return Value::Absent;
                };
                let units = to.saturating_sub(from).as_nanos() * u128::from(*per_second);
                Value::Number(u64::try_from(units / 1_000_000_000).unwrap_or(u64::MAX))
            }
            Self::GrpcStatus(form) => form.write(grpc_status(view)),
            Self::ServerName(order) => {
                let sni = view.text(Field::ServerName);
                let host = view.text(Field::Authority);
                Value::bytes(match order {
                    NameOrder::SniOnly => sni,
                    NameOrder::SniFirst => sni.or(host),
                    NameOrder::HostFirst => host.or(sni),
                })
            }
            Self::Path { query: whole, source } => {
                let path = source.path(view);
                Value::bytes(if *whole { path } else { path.map(|path| query::split(path).0) })
            }
            Self::Query(source) => {
                Value::bytes(source.path(view).and_then(|path| query::split(path).1))
            }
            Self::QueryParameter(name) => PathSource::OriginalOrCurrent
                .path(view)
                .and_then(|path| query::parameter(query::split(path).1?, name))
                .map_or(Value::Absent, Value::Bytes),
            Self::Constant(text) => Value::bytes(text.as_deref().map(str::as_bytes)),
        }
    }

    /// Whether its text may be cut to a length.
    pub(super) fn kept(&self) -> Kept {
        match self {
            Self::Header(..)
            | Self::Metadata(_)
            | Self::Path { .. }
            | Self::Query(_)
            | Self::QueryParameter(_)
            | Self::ServerName(_)
            | Self::Constant(_) => Kept::Text,
            _ => Kept::Other,
        }
    }

    /// Adds the headers that it asks for.
    pub(super) fn headers(&self, headers: &mut Headers) {
        match self {
            Self::Header(name, other) => {
                name.ask(headers);
                other.iter().for_each(|other| other.ask(headers));
            }
            Self::Metadata(path) => headers.add(Source::Metadata, path),
            Self::GrpcStatus(_) => {
                headers.add(Source::Request, "content-type");
                headers.add(Source::Response, "grpc-status");
                headers.add(Source::Trailer, "grpc-status");
            }
            _ => {}
        }
    }
}

/// A header, and where a record has it.
#[derive(Clone, Debug)]
pub(super) enum Header {
    /// Every record keeps it.
    Field(Field),
    /// `:status` of the response.
    Status,
    /// `x-envoy-upstream-service-time` of the response.
    ServiceTime,
    /// Kept because a format asks for it.
    Captured(Source, Box<str>),
}

impl Header {
    fn new(source: Source, name: &str) -> Self {
        let name = name.trim().to_ascii_lowercase();
        match (source, name.as_str()) {
            (Source::Response, ":status") => Self::Status,
            (Source::Response, "x-envoy-upstream-service-time") => Self::ServiceTime,
            (Source::Request, known) => match Field::of_request_header(known) {
                Some(field) => Self::Field(field),
                None => Self::Captured(source, name.into()),
            },
            _ => Self::Captured(source, name.into()),
        }
    }

    fn value<'a>(&self, view: View<'a>) -> Value<'a> {
        let record = view.record;
        let number = match self {
            Self::Field(field) => return Value::bytes(view.text(*field)),
            Self::Captured(source, name) => return Value::bytes(view.captured(*source, name)),
            Self::Status => Some(record.status).filter(|status| *status > 0).map(u64::from),
            Self::ServiceTime => record.upstream_service_time.map(millis),
        };
        number.map_or(Value::Absent, Value::Numeral)
    }

    fn ask(&self, headers: &mut Headers) {
        if let Self::Captured(source, name) = self {
            headers.add(*source, name);
        }
    }
}

fn header(source: Source, text: &str) -> Result<Operator, String> {
    let mut names = text.split('?').map(|name| Header::new(source, name));
    let first = names.next().ok_or("needs a name")?;
    let other = names.next();
    match names.next() {
        None => Ok(Operator::Header(first, other)),
        Some(_) => Err("takes one alternative name, as in %REQ(NAME?OTHER)%".to_owned()),
    }
}

fn between(text: &str) -> Result<Operator, String> {
    let [from, to, unit] = text.split(':').collect::<Vec<_>>()[..] else {
        return Err(
            "needs three arguments, as in %COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%".to_owned()
        );
    };
    let moment = |name: &str| {
        Moment::parse(name).ok_or_else(|| format!("does not know the moment {name} (DS_RX_BEG, DS_RX_END, US_TX_BEG, US_TX_END, US_RX_BEG, US_RX_END, DS_TX_BEG, DS_TX_END)"))
    };
    let per_second = match unit {
        "ms" => 1_000,
        "us" => 1_000_000,
        "ns" => 1_000_000_000,
        _ => return Err(format!("does not know the unit {unit} (ms, us, ns)")),
    };
    Ok(Operator::Between(moment(from)?, moment(to)?, per_second))
}

fn grpc_form(text: &str) -> Result<GrpcForm, String> {
    match text {
        "" | "CAMEL_STRING" => Ok(GrpcForm::Camel),
        "SNAKE_STRING" => Ok(GrpcForm::Snake),
        "NUMBER" => Ok(GrpcForm::Number),
        other => {
            Err(format!("does not know the form {other} (CAMEL_STRING, SNAKE_STRING, NUMBER)"))
        }
    }
}

fn name_order(text: &str) -> Result<NameOrder, String> {
    match text {
        "" | "SNI_ONLY" => Ok(NameOrder::SniOnly),
        "SNI_FIRST" => Ok(NameOrder::SniFirst),
        "HOST_FIRST" => Ok(NameOrder::HostFirst),
        other => Err(format!("does not know the order {other} (SNI_ONLY, SNI_FIRST, HOST_FIRST)")),
    }
}

fn path(text: &str) -> Result<Operator, String> {
    let (query, source) = text.split_once(':').unwrap_or((text, ""));
    let query = match query {
        "" | "WQ" => true,
        "NQ" => false,
        other => return Err(format!("does not know {other} (WQ with query, NQ without)")),
    };
    Ok(Operator::Path { query, source: path_source(source)? })
}

fn path_source(text: &str) -> Result<PathSource, String> {
    match text {
        "" | "ORIG_OR_PATH" => Ok(PathSource::OriginalOrCurrent),
        "ORIG" => Ok(PathSource::Original),
        "PATH" => Ok(PathSource::Current),
        other => Err(format!("does not know the path {other} (ORIG, PATH, ORIG_OR_PATH)")),
    }
}

impl Moment {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "DS_RX_BEG" => Self::DsRxBeg,
            "DS_RX_END" => Self::DsRxEnd,
            "US_TX_BEG" => Self::UsTxBeg,
            "US_TX_END" => Self::UsTxEnd,
            "US_RX_BEG" => Self::UsRxBeg,
            "US_RX_END" => Self::UsRxEnd,
            "DS_TX_BEG" => Self::DsTxBeg,
            "DS_TX_END" => Self::DsTxEnd,
            _ => return None,
        })
    }

    fn of(self, view: View<'_>) -> Option<Duration> {
        let Timing {
            request_received,
            upstream_first_sent,
            upstream_last_sent,
            upstream_first_received,
            upstream_last_received,
            first_sent,
            end,
        } = view.record.timing;
        match self {
            _ if view.record.kind != Kind::Http => None,
            Self::DsRxBeg => Some(Duration::ZERO),
            Self::DsRxEnd => request_received,
            Self::UsTxBeg => upstream_first_sent,
            Self::UsTxEnd => upstream_last_sent,
            Self::UsRxBeg => upstream_first_received,
            Self::UsRxEnd => upstream_last_received,
            Self::DsTxBeg => first_sent,
            Self::DsTxEnd => Some(end),
        }
    }
}

impl PathSource {
    fn path<'a>(self, view: View<'a>) -> Option<&'a [u8]> {
        let (original, current) = (view.text(Field::OriginalPath), view.text(Field::Path));
        match self {
            Self::Current => current,
            Self::Original => original,
            Self::OriginalOrCurrent => original.or(current),
        }
    }
}

/// Names of the gRPC status codes, in order.
const GRPC: [(&str, &str); 17] = [
    ("OK", "OK"),
    ("Canceled", "CANCELLED"),
    ("Unknown", "UNKNOWN"),
    ("InvalidArgument", "INVALID_ARGUMENT"),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
    ("NotFound", "NOT_FOUND"),
    ("AlreadyExists", "ALREADY_EXISTS"),
    ("PermissionDenied", "PERMISSION_DENIED"),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
    ("FailedPrecondition", "FAILED_PRECONDITION"),
    ("Aborted", "ABORTED"),
    ("OutOfRange", "OUT_OF_RANGE"),
    ("Unimplemented", "UNIMPLEMENTED"),
    ("Internal", "INTERNAL"),
    ("Unavailable", "UNAVAILABLE"),
    ("DataLoss", "DATA_LOSS"),
    ("Unauthenticated", "UNAUTHENTICATED"),
];

/// The status of a gRPC call: from the trailers, the headers, or what the HTTP status stands for.
fn grpc_status(view: View<'_>) -> Option<u64> {
    let kind = view.captured(Source::Request, "content-type")?;
    if !kind.starts_with(b"application/grpc") {
        return None;
    }
    let sent = view
        .captured(Source::Trailer, "grpc-status")
        .or_else(|| view.captured(Source::Response, "grpc-status"))
        .and_then(|text| str::from_utf8(text).ok()?.parse().ok());
    sent.or(match view.record.status {
        0 | 200 => None,
        400 => Some(13),
        401 => Some(16),
        403 => Some(7),
        404 => Some(12),
        429 | 502..=504 => Some(14),
        _ => Some(2),
    })
}

impl GrpcForm {
    fn write(self, status: Option<u64>) -> Value<'static> {
        let Some(status) = status else {
            return Value::Absent;
        };
        let names = usize::try_from(status).ok().and_then(|index| GRPC.get(index));
        match (self, names) {
            (Self::Number, _) | (_, None) => Value::Number(status),
            (Self::Camel, Some((camel, _))) => Value::Static(camel),
            (Self::Snake, Some((_, snake))) => Value::Static(snake),
        }
    }
}

/// The machine's name.
/// The name of this machine.
pub(crate) fn hostname() -> Option<Box<str>> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())?;
    Some(name.trim().into())
}
