//! The body of a ClientHello (RFC 8446, section 4.1.2) and the extensions that routing reads.

use super::{Alpn, ClientHello, Malformed, Versions, is_grease};

const EXTENSION_SERVER_NAME: u16 = 0;
const EXTENSION_ALPN: u16 = 16;
const EXTENSION_SUPPORTED_VERSIONS: u16 = 43;
const EXTENSION_ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
const NAME_TYPE_HOST: u8 = 0;

/// `TLS_CHACHA20_POLY1305_SHA256` (RFC 8446, appendix B.4) and those of TLS 1.2 (RFC 7905).
const CHACHA_SUITES: [[u8; 2]; 4] = [[0x13, 0x03], [0xcc, 0xa8], [0xcc, 0xa9], [0xcc, 0xaa]];

/// A host name is at most this long (RFC 1035, section 2.3.4, without the root's dot).
const MAX_HOST: usize = 253;
const MAX_LABEL: usize = 63;

/// Parses a whole message body.
pub(super) fn client_hello(body: &[u8]) -> Result<ClientHello, Malformed> {
    let mut body = Reader { rest: body, field: "ClientHello" };
    let legacy_version = body.array()?;
    let _random: [u8; 32] = body.array()?;
    let session = body.list8("session id")?;
    let suites = body.list16("cipher suite list")?;
    let compression = body.list8("compression method list")?;
    if session.rest.len() > 32 {
        return Err(Malformed::Length(session.field));
    }
    if suites.rest.is_empty() || !suites.rest.len().is_multiple_of(2) {
        return Err(Malformed::Length(suites.field));
    }
    if compression.rest.is_empty() {
        return Err(Malformed::Length(compression.field));
    }
    // Before TLS 1.3 a hello could end here (RFC 5246, section 7.4.1.2).
    let seen = if body.rest.is_empty() {
        Extensions::default()
    } else {
        let list = body.list16("extension list")?;
        body.end()?;
        Extensions::read(list)?
    };
    Ok(ClientHello {
        server_name: seen.server_name,
        alpn: seen.alpn.unwrap_or_default(),
        versions: seen.versions.unwrap_or_else(|| Versions::up_to_wire(legacy_version)),
        prefers_chacha: prefers_chacha(suites.rest),
        encrypted: seen.encrypted,
    })
}

fn prefers_chacha(suites: &[u8]) -> bool {
    let (suites, _) = suites.as_chunks::<2>();
    suites.iter().find(|suite| !is_grease(**suite)).is_some_and(|s| CHACHA_SUITES.contains(s))
}

/// The extensions that are read. Each is `Some` once it has occurred.
#[derive(Default)]
struct Extensions {
    server_name: Option<Box<str>>,
    alpn: Option<Alpn>,
    versions: Option<Versions>,
    encrypted: bool,
}

impl Extensions {
    fn read(mut list: Reader<'_>) -> Result<Self, Malformed> {
        let mut seen = Self::default();
        while !list.rest.is_empty() {
            let kind = u16::from_be_bytes(list.array()?);
            match kind {
                EXTENSION_SERVER_NAME => {
                    let name = server_name(list.list16("server_name extension")?)?;
                    once(&mut seen.server_name, name, "server_name")?;
                }
                EXTENSION_ALPN => {
                    let protocols = alpn(list.list16("ALPN extension")?)?;
                    once(&mut seen.alpn, protocols, "application_layer_protocol_negotiation")?;
                }
                EXTENSION_SUPPORTED_VERSIONS => {
                    let versions =
                        supported_versions(list.list16("supported_versions extension")?)?;
                    once(&mut seen.versions, versions, "supported_versions")?;
                }
                other => {
                    list.list16("extension")?;
                    seen.encrypted |= other == EXTENSION_ENCRYPTED_CLIENT_HELLO;
                }
            }
        }
        Ok(seen)
    }
}

fn once<T>(slot: &mut Option<T>, value: T, name: &'static str) -> Result<(), Malformed> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Malformed::Duplicate(name)),
    }
}

/// RFC 6066, section 3. The list has room for several names, but only one of the only type there
/// is may occur: anything more could be read in two ways, so it is refused.
fn server_name(mut extension: Reader<'_>) -> Result<Box<str>, Malformed> {
    let mut names = extension.list16("server name list")?;
    extension.end()?;
    let [kind] = names.array()?;
    let host = names.list16("server name")?;
    names.end()?;
    match kind {
        NAME_TYPE_HOST => host_name(host.rest),
        _ => Err(Malformed::ServerName),
    }
}

/// A DNS host name, lower case and without its final dot. Underscores are accepted: they are no
/// letters of a host name, yet live services have them.
fn host_name(name: &[u8]) -> Result<Box<str>, Malformed> {
    let name = name.strip_suffix(b".").unwrap_or(name);
    let label = |label: &[u8]| {
        (1..=MAX_LABEL).contains(&label.len())
            && label.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte))
    };
    if name.len() > MAX_HOST || !name.split(|byte| *byte == b'.').all(label) {
        return Err(Malformed::ServerName);
    }
    let mut host: Box<str> = str::from_utf8(name).map_err(|_| Malformed::ServerName)?.into();
    host.make_ascii_lowercase();
    Ok(host)
}

/// RFC 7301, section 3.1: at least one protocol, none of them empty.
fn alpn(mut extension: Reader<'_>) -> Result<Alpn, Malformed> {
    let list = extension.list16("ALPN list")?;
    extension.end()?;
    let mut protocols = Reader { ..list };
    while !protocols.rest.is_empty() {
        if protocols.list8("ALPN protocol")?.rest.is_empty() {
            return Err(Malformed::Length("ALPN protocol"));
        }
    }
    match list.rest {
        [] => Err(Malformed::Length(list.field)),
        wire => Ok(Alpn(wire.into())),
    }
}

/// RFC 8446, section 4.2.1.
fn supported_versions(mut extension: Reader<'_>) -> Result<Versions, Malformed> {
    let mut list = extension.list8("version list")?;
    extension.end()?;
    let mut versions = Versions::default();
    while !list.rest.is_empty() {
        versions.insert_wire(list.array()?);
    }
    Ok(versions)
}

/// A cursor over a field, which it names when a length does not fit.
struct Reader<'a> {
    rest: &'a [u8],
    field: &'static str,
}

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, tail) = self.rest.split_first_chunk().ok_or(Malformed::Length(self.field))?;
        self.rest = tail;
        Ok(*head)
    }

    /// A vector with a length of one byte.
    fn list8(&mut self, field: &'static str) -> Result<Reader<'a>, Malformed> {
        let [length] = self.array()?;
        self.list(usize::from(length), field)
    }

    /// A vector with a length of two bytes.
    fn list16(&mut self, field: &'static str) -> Result<Reader<'a>, Malformed> {
        let length = u16::from_be_bytes(self.array()?);
        self.list(usize::from(length), field)
    }

    fn list(&mut self, length: usize, field: &'static str) -> Result<Reader<'a>, Malformed> {
        let (head, tail) = self.rest.split_at_checked(length).ok_or(Malformed::Length(field))?;
        self.rest = tail;
        Ok(Reader { rest: head, field })
    }

    /// Nothing may follow.
    fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed::Length(self.field)) }
    }
}
