//! What is known of a request or a connection when it is over.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::text::{Index, Texts};
use super::{CapturePlan, Field, Log, ResponseFlags};
use crate::remote::Remote;

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
    pub upstream_remote: Option<Remote>,
    /// Whether there was a connection to it.
    pub upstream_connected: bool,
    /// Our side of the upstream connection, where it has an address.
    pub upstream_local: Option<SocketAddr>,
    /// What `x-envoy-upstream-service-time` says: from the request sent to the response head received.
    pub upstream_service_time: Option<Duration>,
    log: LogId,
    texts: Texts,
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

/// Bytes moved. For TCP only `received` and `sent` and the wire bytes count; over HTTP/2 the wire's bytes are heads,
/// before they are compressed, and contents.
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
            upstream_connected: false,
            upstream_local: None,
            upstream_service_time: None,
            log: log.id(),
            texts: Texts::new(),
        }
    }

    /// Sets a text; the last one set counts. What exceeds 65,535 bytes is cut.
    #[inline]
    pub fn set(&mut self, field: Field, value: impl AsRef<[u8]>) {
        self.texts.set(field, value.as_ref());
    }

    /// A text, if it was set.
    pub fn get(&self, field: Field) -> Option<&[u8]> {
        self.texts.get(field)
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

    /// Keeps what formats ask for of what filters noted. `find` returns it as JSON, by its path as formats write it. What does not
    /// fit into a text is left out: half of it would be no JSON.
    pub fn capture_metadata(&mut self, plan: &CapturePlan, find: impl Fn(&str) -> Option<String>) {
        for (index, path) in (0..=u8::MAX).zip(plan.metadata()) {
            if let Some(json) = find(path).filter(|json| u16::try_from(json.len()).is_ok()) {
                self.set(Field::Metadata(index), json);
            }
        }
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

    /// Its texts by field, for whoever asks for many of them.
    pub(super) fn index(&self) -> Index<'_> {
        self.texts.index()
    }

    /// When it ended: nanoseconds since 1970.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(nanos(self.timing.end))
    }

    /// Memory that the record takes, in bytes.
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.texts.size()
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
