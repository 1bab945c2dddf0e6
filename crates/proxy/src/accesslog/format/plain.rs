//! The operators without argument: one line each.

use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use super::View;
use super::value::Value;
use crate::accesslog::{Field, Kind, Protocol};
use crate::remote::Remote;

/// Reads one operator's value.
pub(super) type Read = for<'a> fn(View<'a>) -> Value<'a>;

/// Every operator without argument.
pub(super) const PLAIN: &[(&str, Read)] = &[
    ("ACCESS_LOG_TYPE", |v| {
        Value::Static(match v.record.kind {
            Kind::Http => "DownstreamEnd",
            Kind::TcpOpen => "TcpUpstreamConnected",
            Kind::TcpClose => "TcpConnectionEnd",
        })
    }),
    ("BYTES_RECEIVED", |v| Value::Number(v.record.bytes.received)),
    ("BYTES_SENT", |v| Value::Number(v.record.bytes.sent)),
    ("CONNECTION_ID", |v| Value::Number(v.record.connection_id)),
    ("CONNECTION_TERMINATION_DETAILS", |v| text(v, Field::ConnectionTermination)),
    ("DOWNSTREAM_DIRECT_LOCAL_ADDRESS", |v| near_address(v, v.record.downstream_local)),
    ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS", |v| near_address(v, v.record.downstream_direct_remote)),
    ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", |v| {
        near_ip(v, v.record.downstream_direct_remote)
    }),
    ("DOWNSTREAM_DIRECT_REMOTE_PORT", |v| near_port(v, v.record.downstream_direct_remote)),
    ("DOWNSTREAM_LOCAL_ADDRESS", |v| near_address(v, v.record.downstream_local)),
    ("DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", |v| near_ip(v, v.record.downstream_local)),
    ("DOWNSTREAM_LOCAL_PORT", |v| near_port(v, v.record.downstream_local)),
    ("DOWNSTREAM_LOCAL_URI_SAN", |v| text(v, Field::LocalUri)),
    ("DOWNSTREAM_PEER_SUBJECT", |v| text(v, Field::PeerSubject)),
    ("DOWNSTREAM_PEER_URI_SAN", |v| text(v, Field::PeerUri)),
    ("DOWNSTREAM_REMOTE_ADDRESS", |v| near_address(v, v.record.downstream_remote)),
    ("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", |v| near_ip(v, v.record.downstream_remote)),
    ("DOWNSTREAM_REMOTE_PORT", |v| near_port(v, v.record.downstream_remote)),
    ("DOWNSTREAM_TLS_CIPHER", |v| text(v, Field::TlsCipher)),
    ("DOWNSTREAM_TLS_VERSION", |v| text(v, Field::TlsVersion)),
    ("DOWNSTREAM_TRANSPORT_FAILURE_REASON", |v| word(v, Field::DownstreamFailure)),
    ("DOWNSTREAM_WIRE_BYTES_RECEIVED", |v| Value::Number(v.record.bytes.wire_received)),
    ("DOWNSTREAM_WIRE_BYTES_SENT", |v| Value::Number(v.record.bytes.wire_sent)),
    ("DURATION", |v| elapsed(Some(v.record.timing.end))),
    ("FILTER_CHAIN_NAME", |v| text(v, Field::FilterChain)),
    ("PROTOCOL", |v| protocol(v.record.protocol)),
    ("REQUEST_DURATION", |v| elapsed(v.record.timing.request_received)),
    ("REQUEST_HEADERS_BYTES", |v| Value::Number(v.record.bytes.request_headers.into())),
    ("REQUEST_TX_DURATION", |v| elapsed(v.record.timing.upstream_last_sent)),
    ("RESPONSE_CODE", |v| Value::Number(v.record.status.into())),
    ("RESPONSE_CODE_DETAILS", |v| word(v, Field::Details)),
    ("RESPONSE_DURATION", |v| elapsed(v.record.timing.upstream_first_received)),
    ("RESPONSE_FLAGS", |v| Value::Flags(v.record.flags)),
    ("RESPONSE_FLAGS_LONG", |v| Value::LongFlags(v.record.flags)),
    ("RESPONSE_HEADERS_BYTES", |v| Value::Number(v.record.bytes.response_headers.into())),
    ("RESPONSE_TRAILERS_BYTES", |v| Value::Number(v.record.bytes.response_trailers.into())),
    ("RESPONSE_TX_DURATION", |v| {
        let timing = v.record.timing;
        elapsed(timing.upstream_first_received.map(|first| timing.end.saturating_sub(first)))
    }),
    ("ROUTE_NAME", |v| text(v, Field::Route)),
    ("STREAM_ID", |v| unique(v, 1)),
    ("UNIQUE_ID", |v| unique(v, 0)),
    ("UPSTREAM_CLUSTER", |v| {
        let alias = v.text(Field::ClusterAlias);
        Value::bytes(alias.or_else(|| v.text(Field::Cluster)))
    }),
    ("UPSTREAM_CLUSTER_RAW", |v| text(v, Field::Cluster)),
    ("UPSTREAM_CONNECTION_ID", |v| Value::Number(v.record.upstream_connection_id)),
    ("UPSTREAM_HOST", |v| remote(v.record.upstream_remote.as_ref())),
    ("UPSTREAM_HOST_NAME", |v| match v.text(Field::UpstreamHostName) {
        None => remote(v.record.upstream_remote.as_ref()),
        name => Value::bytes(name),
    }),
    ("UPSTREAM_HOST_NAME_WITHOUT_PORT", |v| match v.text(Field::UpstreamHostName) {
        None => remote_host(v.record.upstream_remote.as_ref()),
        name => Value::bytes(name.map(without_port)),
    }),
    ("UPSTREAM_LOCAL_ADDRESS", |v| address(v.record.upstream_local)),
    ("UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", |v| ip(v.record.upstream_local)),
    ("UPSTREAM_LOCAL_PORT", |v| port(v.record.upstream_local)),
    ("UPSTREAM_PROTOCOL", |v| protocol(v.record.upstream_protocol)),
    ("UPSTREAM_REMOTE_ADDRESS", |v| remote(connected(v))),
    ("UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", |v| remote_host(connected(v))),
    ("UPSTREAM_REMOTE_PORT", |v| remote_port(connected(v))),
    ("UPSTREAM_REQUEST_ATTEMPT_COUNT", |v| Value::Number(v.record.attempts.into())),
    ("UPSTREAM_TRANSPORT_FAILURE_REASON", |v| word(v, Field::UpstreamFailure)),
    ("UPSTREAM_WIRE_BYTES_RECEIVED", |v| Value::Number(v.record.bytes.upstream_wire_received)),
    ("UPSTREAM_WIRE_BYTES_SENT", |v| Value::Number(v.record.bytes.upstream_wire_sent)),
];

/// Operators of Envoy whose value no record holds.
pub(super) const NOT_KEPT: &[&str] = &[
    "CEL",
    "CLUSTER_METADATA",
    "DOWNSTREAM_DETECTED_CLOSE_TYPE",
    "DOWNSTREAM_HANDSHAKE_DURATION",
    "DOWNSTREAM_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_HEADER_BYTES_SENT",
    "DOWNSTREAM_LOCAL_CLOSE_REASON",
    "DOWNSTREAM_LOCAL_DNS_SAN",
    "DOWNSTREAM_LOCAL_EMAIL_SAN",
    "DOWNSTREAM_LOCAL_IP_SAN",
    "DOWNSTREAM_LOCAL_SUBJECT",
    "DOWNSTREAM_PEER_CERT",
    "DOWNSTREAM_PEER_CERT_V_END",
    "DOWNSTREAM_PEER_CERT_V_START",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256",
    "DOWNSTREAM_PEER_CHAIN_SERIALS",
    "DOWNSTREAM_PEER_DNS_SAN",
    "DOWNSTREAM_PEER_EMAIL_SAN",
    "DOWNSTREAM_PEER_FINGERPRINT_1",
    "DOWNSTREAM_PEER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_IP_SAN",
    "DOWNSTREAM_PEER_ISSUER",
    "DOWNSTREAM_PEER_SERIAL",
    "DOWNSTREAM_TLS_SESSION_ID",
    "EMIT_TIME_LOCAL",
    "FILTER_STATE",
    "LOCAL_REPLY_BODY",
    "METADATA",
    "ROUNDTRIP_DURATION",
    "SPAN_ID",
    "START_TIME_LOCAL",
    "TLS_JA3_FINGERPRINT",
    "TLS_JA4_FINGERPRINT",
    "TRACE_ID",
    "UPSTREAM_CONNECTION_POOL_READY_DURATION",
    "UPSTREAM_DETECTED_CLOSE_TYPE",
    "UPSTREAM_FILTER_STATE",
    "UPSTREAM_HEADER_BYTES_RECEIVED",
    "UPSTREAM_HEADER_BYTES_SENT",
    "UPSTREAM_LOCAL_CLOSE_REASON",
    "UPSTREAM_METADATA",
    "UPSTREAM_PEER_CERT",
    "UPSTREAM_PEER_ISSUER",
    "UPSTREAM_PEER_SUBJECT",
    "UPSTREAM_PEER_URI_SAN",
    "UPSTREAM_TLS_CIPHER",
    "UPSTREAM_TLS_SESSION_ID",
    "UPSTREAM_TLS_VERSION",
    "VIRTUAL_CLUSTER_NAME",
];

fn text(view: View<'_>, field: Field) -> Value<'_> {
    Value::bytes(view.text(field).filter(|text| !text.is_empty()))
}

fn word(view: View<'_>, field: Field) -> Value<'_> {
    view.text(field).map_or(Value::Absent, Value::Word)
}

fn elapsed(duration: Option<Duration>) -> Value<'static> {
    Value::number(duration.map(millis))
}

/// Whole milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn protocol(protocol: Option<Protocol>) -> Value<'static> {
    protocol.map_or(Value::Absent, |protocol| Value::Static(protocol.as_str()))
}

fn address(address: Option<SocketAddr>) -> Value<'static> {
    address.map_or(Value::Absent, Value::Address)
}

fn ip(address: Option<SocketAddr>) -> Value<'static> {
    address.map_or(Value::Absent, |address| Value::Ip(address.ip()))
}

fn port(address: Option<SocketAddr>) -> Value<'static> {
    Value::number(address.map(|address| address.port().into()))
}

/// The address of an end of the client's connection: the path of the Unix socket, where it came through one.
fn near_address(view: View<'_>, end: Option<SocketAddr>) -> Value<'_> {
    end.map_or_else(|| text(view, Field::Pipe), |end| address(Some(end)))
}

fn near_ip(view: View<'_>, end: Option<SocketAddr>) -> Value<'_> {
    end.map_or_else(|| text(view, Field::Pipe), |end| ip(Some(end)))
}

/// Its port, which a Unix socket has none of.
fn near_port(view: View<'_>, end: Option<SocketAddr>) -> Value<'_> {
    match view.text(Field::Pipe) {
        Some(_) if end.is_none() => Value::Blank,
        _ => port(end),
    }
}

/// The endpoint, if the connection to it was made.
fn connected(view: View<'_>) -> Option<&Remote> {
    view.record.upstream_remote.as_ref().filter(|_| view.record.upstream_connected)
}

fn remote(remote: Option<&Remote>) -> Value<'_> {
    match remote {
        Some(Remote::Pipe(path)) => Value::bytes(Some(path.as_bytes())),
        other => address(other.and_then(Remote::socket)),
    }
}

fn remote_host(at: Option<&Remote>) -> Value<'_> {
    match at {
        Some(Remote::Ip(address)) => ip(Some(*address)),
        other => remote(other),
    }
}

/// As in Envoy, nothing at all is written of a socket without a port.
fn remote_port(remote: Option<&Remote>) -> Value<'_> {
    match remote {
        Some(Remote::Pipe(_)) => Value::Static(""),
        other => port(other.and_then(Remote::socket)),
    }
}

fn without_port(host: &[u8]) -> &[u8] {
    match host.iter().rposition(|byte| *byte == b':') {
        Some(at) if host[at + 1..].iter().all(u8::is_ascii_digit) => &host[..at],
        _ => host,
    }
}

/// A number in the form of a random UUID (RFC 9562 section 5.4), the same whenever this record is rendered:
/// made from what tells the record from all others, under keys of this process.
fn unique(view: View<'_>, purpose: u64) -> Value<'static> {
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let record = view.record;
    let half = |half: u64| {
        let id = view.text(Field::RequestId);
        KEYS.hash_one((purpose, half, record.start, record.end(), record.connection_id, id))
    };
    let (high, low) = (half(0), half(1));
    let bits = (u128::from(high) << 64 | u128::from(low)) & !(0xf << 76) & !(0b11 << 62);
    let hex = format!("{:032x}", bits | 0x4 << 76 | 0b10 << 62);
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    Value::Bytes(parts.join("-").into_bytes().into())
}
