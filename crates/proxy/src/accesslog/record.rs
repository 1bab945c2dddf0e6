//! What is known of a request or a connection when it is over.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{CapturePlan, Log, ResponseFlags};

/// One request, or one event of a TCP connection.
///
/// Names and headers are copied into one buffer ([`Record::set`]): a copy of some bytes costs less than
/// counting a reference that other workers count as well.
#[derive(Debug)]
pub struct Record {
    /// What this is a record of.
    pub kind: Kind,
    /// Protocol of the request; `None` for TCP.
    pub protocol: Option<Protocol>,
    /// Protocol towards the upstream.
    pub upstream_protocol: Option<Protocol>,
    /// Status sent to the client; 0 if none was sent.
    pub status: u16,
    /// Why it ended so.
    pub flags: ResponseFlags,
    /// Tries to reach an upstream.
    pub attempts: u32,
    /// When the first byte of the request, or the connection, arrived: nanoseconds since 1970.
    pub start: u64,
    /// What happened when.
    pub timing: Timing,
    /// Bytes moved.
    pub bytes: Traffic,
    /// Number of the downstream connection, unique in the process.
    pub connection_id: u64,
    /// Number of the upstream connection; 0 if there was none.
    pub upstream_connection_id: u64,
    /// The client: the peer, or the address that `x-forwarded-for` or PROXY protocol gives for it.
    pub downstream_remote: Option<SocketAddr>,
    /// The peer of the downstream connection.
    pub downstream_direct_remote: Option<SocketAddr>,
    /// Where the downstream connection arrived (its original destination when captured).
    pub downstream_local: Option<SocketAddr>,
    /// The endpoint.
    pub upstream_remote: Option<SocketAddr>,
    /// Our side of the upstream connection.
    pub upstream_local: Option<SocketAddr>,
    /// What `x-envoy-upstream-service-time` says: from the request sent to the response head received.
    pub upstream_service_time: Option<Duration>,
    log: LogId,
    text: Vec<u8>,
}

/// Which [`Log`] a record goes to: a number, not a reference, so that making a record counts nothing that
/// other workers count as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct LogId(pub(super) u64);

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request that ended.
    Http,
    /// A TCP connection whose upstream was just chosen. Text and JSON formats do not log it; Mixer's do.
    TcpOpen,
    /// A TCP connection that ended, or was refused.
    TcpClose,
}

/// HTTP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
    /// HTTP/3
    Http3,
}

impl Protocol {
    /// As access logs write it: `HTTP/1.1`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
            Self::Http3 => "HTTP/3",
        }
    }
}

/// Moments, each as time since [`Record::start`]; `None` if it never came to that.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timing {
    /// Last byte of the request received.
    pub request_received: Option<Duration>,
    /// First byte sent to the upstream.
    pub upstream_first_sent: Option<Duration>,
    /// Last byte of the request sent to the upstream.
    pub upstream_last_sent: Option<Duration>,
    /// First byte of the response received from the upstream.
    pub upstream_first_received: Option<Duration>,
    /// Last byte of the response received from the upstream.
    pub upstream_last_received: Option<Duration>,
    /// First byte of the response sent.
    pub first_sent: Option<Duration>,
    /// The end: last byte sent, or connection closed.
    pub end: Duration,
}

/// Bytes moved. For TCP only `received` and `sent` and the wire bytes count.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    /// Body bytes received from the client; for TCP all bytes.
    pub received: u64,
    /// Body bytes sent to the client; for TCP all bytes.
    pub sent: u64,
    /// All bytes received from the client, heads and framing included.
    pub wire_received: u64,
    /// All bytes sent to the client, heads and framing included.
    pub wire_sent: u64,
    /// All bytes received from the upstream.
    pub upstream_wire_received: u64,
    /// All bytes sent to the upstream.
    pub upstream_wire_sent: u64,
    /// Names and values of the request's headers.
    pub request_headers: u32,
    /// Names and values of the response's headers.
    pub response_headers: u32,
    /// Names and values of the response's trailers.
    pub response_trailers: u32,
}

/// A text of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `:method`
    Method,
    /// `:path`, as it went to the upstream.
    Path,
    /// `:authority`, as it went to the upstream.
    Authority,
    /// `:scheme`
    Scheme,
    /// `x-envoy-original-path`, if the path was rewritten.
    OriginalPath,
    /// `x-forwarded-for`
    ForwardedFor,
    /// `user-agent`
    UserAgent,
    /// `x-request-id`
    RequestId,
    /// `referer`
    Referer,
    /// Server name of the ClientHello.
    ServerName,
    /// The cluster's name.
    Cluster,
    /// The cluster's `alt_stat_name`, if it has one.
    ClusterAlias,
    /// The route's name.
    Route,
    /// The virtual host's name.
    VirtualHost,
    /// The listener's name.
    Listener,
    /// The filter chain's name.
    FilterChain,
    /// Hostname of the endpoint.
    UpstreamHostName,
    /// Who set the status and why: `via_upstream`, `route_not_found` and so on.
    Details,
    /// Why we closed the connection below HTTP.
    ConnectionTermination,
    /// Why the connection to the upstream failed.
    UpstreamFailure,
    /// Why the downstream TLS handshake failed.
    DownstreamFailure,
    /// Subject of the client's certificate.
    PeerSubject,
    /// URI of the client's certificate: its SPIFFE identity.
    PeerUri,
    /// URI of our certificate.
    LocalUri,
    /// Downstream TLS version: `TLSv1.3`.
    TlsVersion,
    /// Downstream TLS cipher.
    TlsCipher,
    /// A request header of the plan, by its index.
    Request(u8),
    /// A response header of the plan, by its index.
    Response(u8),
    /// A response trailer of the plan, by its index.
    Trailer(u8),
}

impl Field {
    /// The field that always keeps this request header (in lower case), if one does.
    pub fn of_request_header(name: &str) -> Option<Self> {
        Some(match name {
            ":method" => Self::Method,
            ":path" => Self::Path,
            ":authority" | "host" => Self::Authority,
            ":scheme" => Self::Scheme,
            "x-envoy-original-path" => Self::OriginalPath,
            "x-forwarded-for" => Self::ForwardedFor,
            "user-agent" => Self::UserAgent,
            "x-request-id" => Self::RequestId,
            "referer" => Self::Referer,
            _ => return None,
        })
    }

    /// Two bytes that stand for the field in the buffer.
    fn tag(self) -> [u8; 2] {
        match self {
            Self::Request(index) => [1, index],
            Self::Response(index) => [2, index],
            Self::Trailer(index) => [3, index],
            plain => [0, plain.number()],
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::Method => 0,
            Self::Path => 1,
            Self::Authority => 2,
            Self::Scheme => 3,
            Self::OriginalPath => 4,
            Self::ForwardedFor => 5,
            Self::UserAgent => 6,
            Self::RequestId => 7,
            Self::Referer => 8,
            Self::ServerName => 9,
            Self::Cluster => 10,
            Self::ClusterAlias => 11,
            Self::Route => 12,
            Self::VirtualHost => 13,
            Self::Listener => 14,
            Self::FilterChain => 15,
            Self::UpstreamHostName => 16,
            Self::Details => 17,
            Self::ConnectionTermination => 18,
            Self::UpstreamFailure => 19,
            Self::DownstreamFailure => 20,
            Self::PeerSubject => 21,
            Self::PeerUri => 22,
            Self::LocalUri => 23,
            Self::TlsVersion => 24,
            Self::TlsCipher => 25,
            Self::Request(index) | Self::Response(index) | Self::Trailer(index) => index,
        }
    }
}

/// Room for the texts of a common request, so that filling a record allocates once.
const TEXT: usize = 512;
/// Tag and length before each text.
const ENTRY: usize = 4;

impl Record {
    /// A record for `log` of something that started at `start`.
    pub fn new(kind: Kind, start: SystemTime, log: &Log) -> Self {
        Self {
            kind,
            protocol: None,
            upstream_protocol: None,
            status: 0,
            flags: ResponseFlags::NONE,
            attempts: 0,
            start: nanos(start.duration_since(UNIX_EPOCH).unwrap_or_default()),
            timing: Timing::default(),
            bytes: Traffic::default(),
            connection_id: 0,
            upstream_connection_id: 0,
            downstream_remote: None,
            downstream_direct_remote: None,
            downstream_local: None,
            upstream_remote: None,
            upstream_local: None,
            upstream_service_time: None,
            log: log.id(),
            text: Vec::with_capacity(TEXT),
        }
    }

    /// Sets a text; the last one set counts. What exceeds 65,535 bytes is cut.
    #[inline]
    pub fn set(&mut self, field: Field, value: impl AsRef<[u8]>) {
        let value = value.as_ref();
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        self.text.reserve(ENTRY + usize::from(length));
        self.text.extend_from_slice(&field.tag());
        self.text.extend_from_slice(&length.to_ne_bytes());
        self.text.extend_from_slice(&value[..usize::from(length)]);
    }

    /// A text, if it was set.
    pub fn get(&self, field: Field) -> Option<&[u8]> {
        let tag = field.tag();
        let mut found = None;
        let mut rest = &self.text[..];
        while let Some((head, tail)) = rest.split_first_chunk::<ENTRY>() {
            let (value, next) = tail.split_at(usize::from(u16::from_ne_bytes([head[2], head[3]])));
            if head[..2] == tag {
                found = Some(value);
            }
            rest = next;
        }
        found
    }

    /// Keeps the request headers that formats ask for, by the plan of the record's log. `find` returns the
    /// first value of a header by its name in lower case, `:method`, `:path`, `:authority` and `:scheme`
    /// among them.
    pub fn capture_request<'a>(
        &mut self,
        plan: &CapturePlan,
        mut find: impl FnMut(&str) -> Option<&'a [u8]>,
    ) {
        const ALWAYS: [(&str, Field); 9] = [
            (":method", Field::Method),
            (":path", Field::Path),
            (":authority", Field::Authority),
            (":scheme", Field::Scheme),
            ("x-envoy-original-path", Field::OriginalPath),
            ("x-forwarded-for", Field::ForwardedFor),
            ("user-agent", Field::UserAgent),
            ("x-request-id", Field::RequestId),
            ("referer", Field::Referer),
        ];
        for (name, field) in ALWAYS {
            if let Some(value) = find(name) {
                self.set(field, value);
            }
        }
        self.capture(Field::Request, plan.request(), find);
    }

    /// Keeps the response headers that formats ask for; as [`Record::capture_request`].
    pub fn capture_response<'a>(
        &mut self,
        plan: &CapturePlan,
        find: impl FnMut(&str) -> Option<&'a [u8]>,
    ) {
        self.capture(Field::Response, plan.response(), find);
    }

    /// Keeps the response trailers that formats ask for; as [`Record::capture_request`].
    pub fn capture_trailers<'a>(
        &mut self,
        plan: &CapturePlan,
        find: impl FnMut(&str) -> Option<&'a [u8]>,
    ) {
        self.capture(Field::Trailer, plan.trailer(), find);
    }

    fn capture<'a>(
        &mut self,
        field: fn(u8) -> Field,
        names: &[Box<str>],
        mut find: impl FnMut(&str) -> Option<&'a [u8]>,
    ) {
        for (index, name) in (0..=u8::MAX).zip(names) {
            if let Some(value) = find(name) {
                self.set(field(index), value);
            }
        }
    }

    /// Which log this goes to.
    pub(super) fn log(&self) -> LogId {
        self.log
    }

    /// When it ended: nanoseconds since 1970.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(nanos(self.timing.end))
    }

    /// Memory that the record takes, in bytes.
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.text.capacity()
    }
}

/// Nanoseconds; 584 years fit.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record::new(Kind::Http, UNIX_EPOCH, &Log::default())
    }

    #[test]
    fn texts_are_kept_and_the_last_one_counts() {
        let mut record = record();
        record.set(Field::Path, "/a");
        record.set(Field::Cluster, "outbound|80||a");
        record.set(Field::Request(1), "");
        record.set(Field::Path, b"/b\xff");
        assert_eq!(record.get(Field::Path), Some(&b"/b\xff"[..]));
        assert_eq!(record.get(Field::Cluster), Some(&b"outbound|80||a"[..]));
        assert_eq!(record.get(Field::Request(1)), Some(&b""[..]));
        assert_eq!(record.get(Field::Response(1)), None);
        assert_eq!(record.get(Field::Authority), None);
    }

    #[test]
    fn a_text_is_bounded() {
        let mut record = record();
        record.set(Field::UserAgent, vec![b'x'; 100_000]);
        record.set(Field::Path, "/");
        assert_eq!(record.get(Field::UserAgent).map(<[u8]>::len), Some(65_535));
        assert_eq!(record.get(Field::Path), Some(&b"/"[..]));
    }

    #[test]
    fn known_headers_are_captured_by_name() {
        let mut record = record();
        record.capture_request(&CapturePlan::default(), |name| match name {
            ":authority" => Some(b"a.example"),
            "user-agent" => Some(b"curl"),
            _ => None,
        });
        assert_eq!(record.get(Field::Authority), Some(&b"a.example"[..]));
        assert_eq!(record.get(Field::UserAgent), Some(&b"curl"[..]));
        assert_eq!(record.get(Field::Referer), None);
    }
}
