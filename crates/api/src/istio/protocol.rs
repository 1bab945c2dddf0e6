//! The protocol of a port: what Istio's `protocol` fields hold.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error as _};

/// What is spoken on a port. Read without regard to letter case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1, or HTTP/2 in clear text.
    Http,
    /// HTTP inside TLS: terminated and routed as HTTP, or passed through by SNI.
    Https,
    /// gRPC over HTTP/2.
    Grpc,
    /// gRPC for browsers.
    GrpcWeb,
    /// HTTP/2 in clear text.
    Http2,
    /// MongoDB, carried as TCP.
    Mongo,
    /// Opaque bytes.
    Tcp,
    /// TLS whose content is opaque.
    Tls,
    /// Datagrams.
    Udp,
    /// Redis, carried as TCP.
    Redis,
    /// MySQL, carried as TCP.
    Mysql,
    /// Istio's HTTP CONNECT tunnel.
    Hbone,
    /// Requests whose target is a whole URL: a forward proxy's.
    HttpProxy,
}

impl Protocol {
    const NAMES: [(&'static str, Protocol); 13] = [
        ("HTTP", Protocol::Http),
        ("HTTPS", Protocol::Https),
        ("GRPC", Protocol::Grpc),
        ("GRPC-WEB", Protocol::GrpcWeb),
        ("HTTP2", Protocol::Http2),
        ("MONGO", Protocol::Mongo),
        ("TCP", Protocol::Tcp),
        ("TLS", Protocol::Tls),
        ("UDP", Protocol::Udp),
        ("REDIS", Protocol::Redis),
        ("MYSQL", Protocol::Mysql),
        ("HBONE", Protocol::Hbone),
        ("HTTP_PROXY", Protocol::HttpProxy),
    ];

    /// What a message says about a name that is none of these.
    pub(crate) const EXPECTED: &'static str = "invalid protocol, supported protocols are HTTP, HTTPS, \
         HTTP2, GRPC, GRPC-WEB, TCP, TLS, MONGO, MYSQL, REDIS, UDP";

    /// Whether requests are routed as HTTP without TLS being taken off first.
    pub fn is_http(self) -> bool {
        use Protocol::{Grpc, GrpcWeb, Http, Http2, HttpProxy};
        matches!(self, Http | HttpProxy | Http2 | Grpc | GrpcWeb)
    }

    /// Whether the port carries TLS.
    pub fn is_tls(self) -> bool {
        matches!(self, Protocol::Https | Protocol::Tls)
    }

    /// Whether the port carries HTTP/2 by definition.
    pub fn is_http2(self) -> bool {
        matches!(self, Protocol::Http2 | Protocol::Grpc | Protocol::GrpcWeb)
    }

    /// Whether bytes are carried without being understood. HTTPS and TLS count: until TLS is terminated
    /// nothing in them can be read.
    pub fn is_tcp(self) -> bool {
        matches!(
            self,
            Protocol::Tcp
                | Protocol::Https
                | Protocol::Tls
                | Protocol::Mongo
                | Protocol::Redis
                | Protocol::Mysql
        )
    }

    /// Istio's name of the protocol, in capitals.
    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(_, p)| *p == self).map_or("TCP", |(name, _)| name)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no protocol that Istio knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", Protocol::EXPECTED)]
pub struct UnknownProtocol;

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    fn from_str(text: &str) -> Result<Self, UnknownProtocol> {
        Self::NAMES
            .into_iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(text))
            .map(|(_, protocol)| protocol)
            .ok_or(UnknownProtocol)
    }
}

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Reads an optional protocol where an empty string means "not given" (it is then detected).
pub(crate) fn empty_is_none<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Protocol>, D::Error> {
    match Option::<Cow<'de, str>>::deserialize(deserializer)? {
        None => Ok(None),
        Some(text) if text.is_empty() => Ok(None),
        Some(text) => text.parse().map(Some).map_err(D::Error::custom),
    }
}

/// Schema of a field that [`empty_is_none`] reads.
pub(crate) fn or_empty(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "x-rule": "protocol-or-empty"})
}

impl JsonSchema for Protocol {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Protocol".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "x-rule": "protocol"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letter_case_is_ignored() {
        assert_eq!("http".parse(), Ok(Protocol::Http));
        assert_eq!("Grpc-Web".parse(), Ok(Protocol::GrpcWeb));
        assert_eq!("".parse::<Protocol>(), Err(UnknownProtocol));
        for (name, protocol) in Protocol::NAMES {
            assert_eq!(protocol.as_str(), name);
        }
    }
}
