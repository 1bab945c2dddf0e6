//! The ClientHello, as far as routing needs it: server name, ALPN, offered versions.
//!
//! [`parse`] looks at the first bytes of a connection, however many have arrived, and either
//! decides or asks for more. Who asks again when more has arrived keeps a [`Progress`]: each byte is then
//! looked at once, however many pieces it came in, and the body is parsed once.
//!
//! The parser is strict where a lax reading could make this proxy and the server behind it see two
//! different names (lengths must fit exactly, one server name, no extension twice among those that
//! are read), and lenient about all that it does not need: unknown extensions, cipher suites and
//! GREASE values (RFC 8701) pass by unread. With Encrypted Client Hello the name is the outer,
//! public one.
//!
//! Known gap: an SSLv2-framed hello (RFC 5246, appendix E.2) counts as [`Inspection::NotTls`].

mod body;
mod record;

use std::fmt;

use thiserror::Error;

/// The most bytes a hello may take by default, record headers included: the limit of Envoy's
/// TLS inspector.
pub const DEFAULT_MAX_BYTES: usize = 16 * 1024;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inspection {
    /// So far it could be a ClientHello; ask again with more bytes.
    NeedMore,
    /// These bytes do not start a TLS handshake.
    NotTls,
    /// A whole ClientHello.
    Hello(ClientHello),
    /// It starts like a TLS handshake and is none.
    Malformed(Malformed),
}

/// What routing needs of a ClientHello (RFC 8446, section 4.1.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientHello {
    /// The host of the `server_name` extension (RFC 6066, section 3): a valid host name in lower
    /// case, without a final dot. With Encrypted Client Hello this is the outer name.
    pub server_name: Option<Box<str>>,
    /// The protocols of the ALPN extension (RFC 7301), in the client's order.
    pub alpn: Alpn,
    /// The protocol versions that the client offers.
    pub versions: Versions,
    /// Whether the first suite that the client names is of ChaCha20: it has no hardware for AES.
    pub prefers_chacha: bool,
    /// Whether the hello carries an `encrypted_client_hello` extension, real or GREASE.
    pub encrypted: bool,
}

/// The protocols that a client offers through ALPN (RFC 7301), in its order of preference.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Alpn(Box<[u8]>);

/// A TLS version that this proxy knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// TLS 1.0 (RFC 2246).
    Tls10 = 1,
    /// TLS 1.1 (RFC 4346).
    Tls11 = 2,
    /// TLS 1.2 (RFC 5246).
    Tls12 = 3,
    /// TLS 1.3 (RFC 8446).
    Tls13 = 4,
}

/// A set of TLS versions.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Versions(u8);

/// Why bytes that begin a TLS handshake are no acceptable ClientHello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Malformed {
    /// It is longer than the limit.
    #[error("the ClientHello is longer than {0} bytes")]
    TooLarge(usize),
    /// A record of another kind, or of no TLS version, stands where the hello should go on.
    #[error("a record that is no handshake stands inside the ClientHello")]
    UnexpectedRecord,
    /// RFC 8446, section 5.1: a handshake record is never empty.
    #[error("an empty handshake record")]
    EmptyRecord,
    /// RFC 8446, section 5.1: a record holds at most 2^14 bytes.
    #[error("a handshake record of {0} bytes; the most is 16384")]
    RecordTooLong(usize),
    /// The first handshake message is another one.
    #[error("the first handshake message has type {0}, a ClientHello has type 1")]
    NotClientHello(u8),
    /// A field ends before or after the length that was announced for it.
    #[error("the {0} does not fit its length")]
    Length(&'static str),
    /// An extension that may occur once occurs again.
    #[error("the extension {0} occurs twice")]
    Duplicate(&'static str),
    /// The server name is no DNS host name.
    #[error("the server name is not a host name")]
    ServerName,
}

/// Says what `bytes`, the first bytes of a connection, are.
///
/// `max_bytes` bounds the hello with its record headers; a longer one is
/// [`Malformed::TooLarge`] as soon as its length is known. Bytes after the hello are not looked at.
pub fn parse(bytes: &[u8], max_bytes: usize) -> Inspection {
    Progress::default().parse(bytes, max_bytes)
}

/// How far the first bytes of a connection have been looked at.
#[derive(Debug, Default)]
pub struct Progress(record::Progress);

impl Progress {
    /// As [`parse`], where `bytes` begin with those that this was asked about before.
    pub fn parse(&mut self, bytes: &[u8], max_bytes: usize) -> Inspection {
        match self.0.message(bytes, max_bytes) {
            record::Message::Incomplete => Inspection::NeedMore,
            record::Message::NotTls => Inspection::NotTls,
            record::Message::Malformed(why) => Inspection::Malformed(why),
            record::Message::Whole(message) => match body::client_hello(&message) {
                Ok(hello) => Inspection::Hello(hello),
                Err(why) => Inspection::Malformed(why),
            },
        }
    }
}

/// A reserved value that a client throws in to keep peers tolerant (RFC 8701): `0x?A?A`.
fn is_grease(value: [u8; 2]) -> bool {
    value[0] == value[1] && value[0] & 0x0f == 0x0a
}

// === impl Alpn ===

impl Alpn {
    /// The protocol names, GREASE left out.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        // `body` accepts only a list whose lengths fit, so every split below succeeds.
        let mut rest: &[u8] = &self.0;
        std::iter::from_fn(move || {
            let (&length, tail) = rest.split_first()?;
            let (name, tail) = tail.split_at_checked(usize::from(length))?;
            rest = tail;
            Some(name)
        })
        .filter(|name| !<[u8; 2]>::try_from(*name).is_ok_and(is_grease))
    }

    /// Whether `protocol` is offered.
    pub fn contains(&self, protocol: &[u8]) -> bool {
        self.iter().any(|offered| offered == protocol)
    }

    /// Whether nothing is offered.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

impl fmt::Debug for Alpn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|name| name.escape_ascii().to_string())).finish()
    }
}

// === impl Versions ===

impl Versions {
    const ALL: [Version; 4] = [Version::Tls10, Version::Tls11, Version::Tls12, Version::Tls13];

    /// Whether `version` is in the set.
    pub fn contains(self, version: Version) -> bool {
        self.0 & 1 << version as u8 != 0
    }

    /// The highest version in the set.
    pub fn highest(self) -> Option<Version> {
        Self::ALL.into_iter().rev().find(|version| self.contains(*version))
    }

    /// Adds the version with this number on the wire; unknown ones and GREASE are ignored.
    fn insert_wire(&mut self, wire: [u8; 2]) {
        if let [3, minor @ 1..=4] = wire {
            self.0 |= 1 << minor;
        }
    }

    /// What a hello without `supported_versions` offers: all up to its version, at most TLS 1.2
    /// (RFC 8446, section 4.2.1).
    fn up_to_wire(highest: [u8; 2]) -> Self {
        let mut versions = Self::default();
        for minor in 1..=3 {
            if [3, minor] <= highest {
                versions.insert_wire([3, minor]);
            }
        }
        versions
    }
}

impl fmt::Debug for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(Self::ALL.into_iter().filter(|v| self.contains(*v))).finish()
    }
}

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;
