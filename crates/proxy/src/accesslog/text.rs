//! The texts of a record: one buffer, each text behind its tag and length.

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
    /// The path of the Unix socket that the connection came through: it stands for the addresses of both ends.
    Pipe,
    /// A request header of the plan, by its index.
    Request(u8),
    /// A response header of the plan, by its index.
    Response(u8),
    /// A response trailer of the plan, by its index.
    Trailer(u8),
    /// What filters noted, as JSON: what the plan asks for, by its index.
    Metadata(u8),
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

    /// Two bytes that stand for the field: the kind, and the number inside the kind.
    fn tag(self) -> [u8; 2] {
        match self {
            Self::Request(index) => [1, index],
            Self::Response(index) => [2, index],
            Self::Trailer(index) => [3, index],
            Self::Metadata(index) => [4, index],
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
            Self::Pipe => 26,
            Self::Request(index)
            | Self::Response(index)
            | Self::Trailer(index)
            | Self::Metadata(index) => index,
        }
    }
}

/// Fields that are not captured by a plan.
const PLAIN: usize = 27;

/// Room for the texts of a common request, so that filling a record allocates once.
const ROOM: usize = 512;

/// Tag and length before each text.
const ENTRY: usize = 4;

/// The texts of a record.
#[derive(Debug)]
pub(super) struct Texts(Vec<u8>);

impl Texts {
    pub(super) fn new() -> Self {
        Self(Vec::with_capacity(ROOM))
    }

    #[inline]
    pub(super) fn set(&mut self, field: Field, value: &[u8]) {
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        let value = &value[..usize::from(length)];
        let ([kind, number], [low, high]) = (field.tag(), length.to_le_bytes());
        self.0.reserve(ENTRY + value.len());
        self.0.extend_from_slice(&[kind, number, low, high]);
        self.0.extend_from_slice(value);
    }

    pub(super) fn get(&self, field: Field) -> Option<&[u8]> {
        let tag = field.tag();
        self.entries().filter(|entry| entry.0 == tag).last().map(|entry| entry.1)
    }

    /// Every plain field's text, found in one walk.
    pub(super) fn index(&self) -> Index<'_> {
        let mut plain = [None; PLAIN];
        for ([kind, number], value) in self.entries() {
            if let (0, Some(slot)) = (kind, plain.get_mut(usize::from(number))) {
                *slot = Some(value);
            }
        }
        Index(plain)
    }

    /// Memory that the texts take, in bytes.
    pub(super) fn size(&self) -> usize {
        self.0.capacity()
    }

    fn entries(&self) -> impl Iterator<Item = ([u8; 2], &[u8])> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let (&[kind, number, low, high], tail) = rest.split_first_chunk::<ENTRY>()?;
            let (value, next) = tail.split_at(usize::from(u16::from_le_bytes([low, high])));
            rest = next;
            Some(([kind, number], value))
        })
    }
}

/// The texts of plain fields.
#[derive(Debug)]
pub(super) struct Index<'a>([Option<&'a [u8]>; PLAIN]);

impl<'a> Index<'a> {
    /// The text of a plain field; `None` for one that a plan captured, which is not in the index.
    pub(super) fn get(&self, field: Field) -> Option<&'a [u8]> {
        match field.tag() {
            [0, number] => self.0.get(usize::from(number)).copied().flatten(),
            _ => None,
        }
    }
}
