//! Reading message heads, strictly.
//!
//! A proxy and the origin behind it must never disagree on where a message ends, so everything that
//! RFC 9112 lets a recipient refuse is refused: bare LF, obs-fold, a space before the colon, NUL, more than
//! one length, a length beside a transfer coding, a coding other than `chunked`.

use std::mem::MaybeUninit;

use super::super::head::{RequestHead, ResponseHead, Scheme, Version};
use super::super::known::Known;

/// Most header lines of an answer, of a trailer section, and of a request that is read without asking for memory.
pub const MAX_LINES: usize = 256;

/// Why a message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMessage {
    /// Not HTTP/1 at all, or a control character where none may be.
    #[error("malformed start line or header")]
    Malformed,
    /// LF without CR before it (RFC 9112 section 2.2).
    #[error("bare LF")]
    BareLf,
    /// More than the largest head allowed.
    #[error("head too large")]
    TooLarge,
    /// More lines than allowed.
    #[error("too many headers")]
    TooManyHeaders,
    /// No `Host` (RFC 9112 section 3.2).
    #[error("missing host")]
    NoHost,
    /// Several `Host`, or one that names no host.
    #[error("duplicate or invalid host")]
    Host,
    /// A request target with a fragment.
    #[error("fragment in the request target")]
    Fragment,
    /// A request target that is in none of the four forms.
    #[error("invalid request target")]
    Target,
    /// `Content-Length` that is no number, is there twice, or stands beside `Transfer-Encoding`.
    #[error("invalid or ambiguous content-length")]
    Length,
    /// A transfer coding other than `chunked`.
    #[error("unsupported transfer coding")]
    Coding,
    /// A transfer coding where none may be: in HTTP/1.0, or in an answer that has no content.
    #[error("transfer coding out of place")]
    CodingOutOfPlace,
    /// `Connection` names a field that is not the connection's, or too many of them.
    #[error("invalid connection option")]
    Nominated,
    /// Another version than 1.0 or 1.1.
    #[error("unsupported version")]
    Version,
    /// Chunk framing, or a trailer.
    #[error("malformed chunk")]
    Chunk,
}

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
    /// Everything until the connection closes (responses and tunnels).
    UntilClose,
}

/// What a head says about the connection that carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carriage {
    /// How the body ends.
    pub framing: Framing,
    /// Whether the connection can carry another message after this one.
    pub keep_alive: bool,
    /// Whether the peer waits for `100 Continue` (requests).
    pub expects_continue: bool,
    /// Whether the message asks for, or grants, an upgrade.
    pub upgrade: bool,
}

/// Finds the end of a head without looking at a byte twice, however the bytes arrive.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadScanner {
    scanned: usize,
    line_start: usize,
    started: bool,
}

impl HeadScanner {
    /// Looks at the bytes so far; `Some(n)` when the first `n` bytes are a whole head. Empty lines in front
    /// of a start line count as part of it (RFC 9112 section 2.2), at most 16 bytes of them.
    ///
    /// # Errors
    /// A bare LF, or more than `limit` bytes without an end.
    pub fn scan(&mut self, bytes: &[u8], limit: usize) -> Result<Option<usize>, BadMessage> {
        for at in memchr::memchr_iter(b'\n', &bytes[self.scanned..]).map(|at| at + self.scanned) {
            if at == 0 || bytes[at - 1] != b'\r' {
                return Err(BadMessage::BareLf);
            }
            let empty = at - 1 == self.line_start;
            self.line_start = at + 1;
            if !empty {
                self.started = true;
            } else if self.started {
                return if at < limit { Ok(Some(at + 1)) } else { Err(BadMessage::TooLarge) };
            } else if at > 16 {
                return Err(BadMessage::Malformed);
            }
        }
        self.scanned = bytes.len();
        if bytes.len() > limit { Err(BadMessage::TooLarge) } else { Ok(None) }
    }
}

/// How many lines a head has, where more than the usual ones are allowed.
fn count_lines(bytes: &[u8], allowed: usize) -> usize {
    if allowed <= MAX_LINES { 0 } else { memchr::memchr_iter(b'\n', bytes).count() }
}

/// Reads a request's head. `bytes` is exactly one head, as [`HeadScanner::scan`] found it.
///
/// # Errors
/// See [`BadMessage`].
pub fn request(
    bytes: &[u8],
    max_lines: usize,
    head: &mut RequestHead,
) -> Result<Carriage, BadMessage> {
    // Not initialised: that would cost more than reading a usual head.
    let mut few = [const { MaybeUninit::uninit() }; MAX_LINES];
    let mut many = Vec::new();
    let lines = match count_lines(bytes, max_lines) {
        ..=MAX_LINES => &mut few[..max_lines.min(MAX_LINES)],
        more => {
            many.resize_with(more.min(max_lines), MaybeUninit::uninit);
            &mut many[..]
        }
    };
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(bytes, lines) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(BadMessage::Malformed),
        Err(_) if speaks_another_version(bytes) => return Err(BadMessage::Version),
        Err(error) => return Err(from_httparse(error)),
    }
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version)
    else {
        return Err(BadMessage::Malformed);
    };
    head.clear();
    head.version = version_of(version);
    head.set_method(method.as_bytes());

    let mut facts = Facts::default();
    let host = take_lines(bytes, parsed.headers, head, &mut facts)?;
    if facts.nominates_foreign || facts.options >= MAX_OPTIONS {
        return Err(BadMessage::Nominated);
    }
    set_target(head, target.as_bytes(), host, method == "CONNECT")?;
    let framing = match facts.framing(head.version)? {
        Some(framing) => framing,
        None if method == "CONNECT" => Framing::UntilClose,
        None => Framing::None,
    };
    Ok(Carriage {
        framing,
        keep_alive: facts.keep_alive(head.version),
        expects_continue: facts.expects_continue && head.version == Version::Http11,
        upgrade: facts.upgrade && facts.connection_upgrade && head.version == Version::Http11,
    })
}

/// Takes the lines of a request's head over, but for `Host`, whose value is returned.
fn take_lines<'a>(
    bytes: &'a [u8],
    lines: &[httparse::Header<'a>],
    head: &mut RequestHead,
    facts: &mut Facts,
) -> Result<Option<&'a [u8]>, BadMessage> {
    let loaded = head.headers.load(bytes);
    let mut host = None;
    for line in lines {
        let known = Known::of(line.name.as_bytes());
        facts.see(known, line.value)?;
        if known == Known::Host {
            if host.replace(line.value).is_some() {
                return Err(BadMessage::Host);
            }
        } else {
            head.headers.append_loaded(&loaded, known, line.name.as_bytes(), line.value);
        }
    }
    Ok(host)
}

/// Reads a response's head; `bytes` is exactly one head. `to_head` says that the request was HEAD,
/// `to_connect` that it was CONNECT: both decide on the body (RFC 9112 section 6.3).
///
/// # Errors
/// See [`BadMessage`].
pub fn response(
    bytes: &[u8],
    max_lines: usize,
    to_head: bool,
    to_connect: bool,
    head: &mut ResponseHead,
) -> Result<Carriage, BadMessage> {
    let mut lines = [const { MaybeUninit::uninit() }; MAX_LINES];
    let lines = &mut lines[..max_lines.min(MAX_LINES)];
    let mut parsed = httparse::Response::new(&mut []);
    match httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut parsed,
        bytes,
        lines,
    ) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(BadMessage::Malformed),
        Err(error) => return Err(from_httparse(error)),
    }
    let (Some(version), Some(status)) = (parsed.version, parsed.code) else {
        return Err(BadMessage::Malformed);
    };
    if !(100..=999).contains(&status) {
        return Err(BadMessage::Malformed);
    }
    head.clear();
    head.version = version_of(version);
    head.status = status;
    let loaded = head.headers.load(bytes);
    let mut facts = Facts::default();
    let bare = matches!(status, 100..=199 | 204);
    for line in parsed.headers.iter() {
        let known = Known::of(line.name.as_bytes());
        facts.see(known, line.value)?;
        if !(bare && known == Known::ContentLength) {
            head.headers.append_loaded(&loaded, known, line.name.as_bytes(), line.value);
        }
    }
    let declared = facts.framing(head.version)?;
    // Content that cannot be there is announced: another recipient might look for it (RFC 9110 section 8.6,
    // RFC 9112 section 6.1). A length of zero is common, does no harm, and ends here.
    match declared {
        Some(Framing::Length(_)) if bare => return Err(BadMessage::Length),
        Some(Framing::Chunked) if bare => return Err(BadMessage::CodingOutOfPlace),
        _ => {}
    }
    let framing = match status {
        101 => Framing::UntilClose,
        200..=299 if to_connect => Framing::UntilClose,
        _ if to_head || bare || status == 304 => Framing::None,
        _ => declared.unwrap_or(Framing::UntilClose),
    };
    Ok(Carriage {
        framing,
        keep_alive: facts.keep_alive(head.version) && framing != Framing::UntilClose,
        expects_continue: false,
        upgrade: status == 101,
    })
}

/// Reads trailer lines: `bytes` is what follows the last chunk up to and with the empty line.
///
/// # Errors
/// [`BadMessage::Chunk`] for anything that is not a header line, [`BadMessage::TooManyHeaders`].
pub fn trailers(
    bytes: &[u8],
    max_lines: usize,
    mut append: impl FnMut(&[u8], &[u8]),
) -> Result<(), BadMessage> {
    let mut lines = [httparse::EMPTY_HEADER; MAX_LINES];
    match httparse::parse_headers(bytes, &mut lines[..max_lines.min(MAX_LINES)]) {
        Ok(httparse::Status::Complete((_, lines))) => {
            // Fields that frame, route or authenticate a message have no place behind it (RFC 9110 6.5.1).
            for line in lines {
                if may_trail(Known::of(line.name.as_bytes())) {
                    append(line.name.as_bytes(), line.value);
                }
            }
            Ok(())
        }
        Err(httparse::Error::TooManyHeaders) => Err(BadMessage::TooManyHeaders),
        _ => Err(BadMessage::Chunk),
    }
}

fn may_trail(known: Known) -> bool {
    !matches!(
        known,
        Known::ContentLength
            | Known::TransferEncoding
            | Known::Host
            | Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::Te
            | Known::Trailer
            | Known::Upgrade
            | Known::Expect
            | Known::ContentType
            | Known::ProxyAuthorization
            | Known::ProxyAuthenticate
    )
}

/// Whether a head that could not be read is a request in another version: `HTTP/` with two digits, or, as in
/// HTTP/0.9, no version at all.
fn speaks_another_version(bytes: &[u8]) -> bool {
    let start = bytes.trim_ascii_start();
    let end = start.iter().position(|&byte| byte == b'\r').unwrap_or(start.len());
    let mut words = start[..end].split(|&byte| byte == b' ');
    let method = words.next().unwrap_or_default();
    let is_request = !method.is_empty()
        && method.iter().all(u8::is_ascii_uppercase)
        && words.next().is_some_and(|target| target.starts_with(b"/"));
    let version = words.next();
    let is_version = match version {
        None => true,
        Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor]) => {
            let known = *major == b'1' && matches!(minor, b'0' | b'1');
            major.is_ascii_digit() && minor.is_ascii_digit() && !known
        }
        Some(_) => false,
    };
    is_request && is_version && words.next().is_none()
}

fn from_httparse(error: httparse::Error) -> BadMessage {
    match error {
        httparse::Error::TooManyHeaders => BadMessage::TooManyHeaders,
        _ => BadMessage::Malformed,
    }
}

fn version_of(minor: u8) -> Version {
    if minor == 0 { Version::Http10 } else { Version::Http11 }
}

/// What the lines of a head say about framing and connection, collected in one pass.
#[derive(Default)]
struct Facts {
    length: Option<u64>,
    coding: Coding,
    /// Options of `Connection`.
    options: usize,
    nominates_foreign: bool,
    close: bool,
    keep_alive: bool,
    connection_upgrade: bool,
    upgrade: bool,
    expects_continue: bool,
}

/// What `Transfer-Encoding` says.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Coding {
    #[default]
    None,
    Chunked,
    Other,
}

/// So many options of `Connection` are refused, as by Envoy: each is looked for among all fields.
const MAX_OPTIONS: usize = 10;

/// Fields that a client must not have removed by naming them in `Connection`: they say whom a request is for
/// and where it came from.
fn is_foreign(option: &[u8]) -> bool {
    use Known::{ForwardedFor, ForwardedHost, ForwardedProto, Host};
    matches!(Known::of(option), Host | ForwardedFor | ForwardedHost | ForwardedProto)
        || option.starts_with(b":")
}

impl Facts {
    fn see(&mut self, known: Known, value: &[u8]) -> Result<(), BadMessage> {
        match known {
            Known::ContentLength => {
                let length = decimal(value).ok_or(BadMessage::Length)?;
                if self.length.replace(length).is_some() {
                    return Err(BadMessage::Length);
                }
            }
            Known::TransferEncoding => {
                let chunked = value.eq_ignore_ascii_case(b"chunked");
                let first = self.coding == Coding::None;
                self.coding = if chunked && first { Coding::Chunked } else { Coding::Other };
            }
            Known::Connection => {
                for token in tokens(value) {
                    self.options += 1;
                    self.nominates_foreign |= is_foreign(token);
                    self.close |= token.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
                    self.connection_upgrade |= token.eq_ignore_ascii_case(b"upgrade");
                }
            }
            // Going on in HTTP/1.1 is the answer to this one (RFC 9113 section 3.1).
            Known::Upgrade => self.upgrade |= !value.eq_ignore_ascii_case(b"h2c"),
            Known::Expect => {
                self.expects_continue |= value.eq_ignore_ascii_case(b"100-continue");
            }
            _ => {}
        }
        Ok(())
    }

    fn framing(&self, version: Version) -> Result<Option<Framing>, BadMessage> {
        match (self.coding, self.length) {
            (Coding::Chunked | Coding::Other, Some(_)) => Err(BadMessage::Length),
            (Coding::Other, None) => Err(BadMessage::Coding),
            // A coding in HTTP/1.0 is faulty framing (RFC 9112 section 6.1).
            (Coding::Chunked, None) if version == Version::Http10 => {
                Err(BadMessage::CodingOutOfPlace)
            }
            (Coding::Chunked, None) => Ok(Some(Framing::Chunked)),
            (Coding::None, Some(0)) => Ok(Some(Framing::None)),
            (Coding::None, Some(length)) => Ok(Some(Framing::Length(length))),
            (Coding::None, None) => Ok(None),
        }
    }

    fn keep_alive(&self, version: Version) -> bool {
        match version {
            Version::Http10 => self.keep_alive && !self.close,
            _ => !self.close,
        }
    }
}

/// The elements of a comma-separated list, without white space around them.
pub fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

/// A decimal number without sign, space or overflow.
#[must_use]
pub fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, &byte| {
        byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte - b'0'))
    })
}

/// Settles authority and path from the request target's form (RFC 9112 section 3.2).
fn set_target(
    head: &mut RequestHead,
    target: &[u8],
    host: Option<&[u8]>,
    connect: bool,
) -> Result<(), BadMessage> {
    if host.is_none() && head.version == Version::Http11 {
        return Err(BadMessage::NoHost);
    }
    if !valid_authority(host.unwrap_or_default()) {
        return Err(BadMessage::Host);
    }
    if target.contains(&b'#') {
        return Err(BadMessage::Fragment);
    }
    if target.iter().any(|&byte| byte >= 0x7f) {
        return Err(BadMessage::Target);
    }
    if connect {
        if target.is_empty() || !valid_authority(target) {
            return Err(BadMessage::Target);
        }
        head.set_authority(target);
        return Ok(());
    }
    if is_origin_target(target, head.is_method("OPTIONS")) {
        // HTTP/1.0 knows requests without a host, but no host to send them to is configured.
        head.set_authority(host.ok_or(BadMessage::NoHost)?);
        head.set_path(target);
        return Ok(());
    }
    // Absolute form: its authority counts, not Host's (RFC 9112 section 3.2.2).
    let rest = match strip_prefix_ignore_case(target, b"http://") {
        Some(rest) => rest,
        None => {
            head.scheme = Scheme::Https;
            strip_prefix_ignore_case(target, b"https://").ok_or(BadMessage::Target)?
        }
    };
    let end = rest.iter().position(|&byte| byte == b'/' || byte == b'?').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.is_empty() || !valid_authority(authority) {
        return Err(BadMessage::Target);
    }
    head.set_authority(authority);
    match path.first() {
        Some(b'/') => head.set_path(path),
        None => head.set_path(if head.is_method("OPTIONS") { b"*" } else { b"/" }),
        Some(_) => {
            let path = [b"/", path].concat();
            head.set_path(&path);
        }
    }
    Ok(())
}

/// Whether bytes are a request target in origin form, or `*` of OPTIONS (RFC 9112 section 3.2).
#[must_use]
pub fn is_origin_target(target: &[u8], options: bool) -> bool {
    (target.starts_with(b"/") || (options && target == b"*"))
        && target.iter().all(|&byte| byte.is_ascii_graphic() && byte != b'#')
}

fn strip_prefix_ignore_case<'a>(bytes: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let start = bytes.get(..prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then(|| &bytes[prefix.len()..])
}

/// Whether bytes are `host [":" port]` without user information (RFC 3986 section 3.2; RFC 9110 section
/// 4.2.4 forbids user information in requests). An empty one is valid: it is a request without a host.
#[must_use]
pub fn valid_authority(authority: &[u8]) -> bool {
    let (host, port) = match authority.first() {
        Some(b'[') => match authority.iter().position(|&byte| byte == b']') {
            Some(end) => {
                let literal = &authority[1..end];
                let hex =
                    |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.' | b'%');
                if literal.is_empty() || !literal.iter().all(hex) {
                    return false;
                }
                match &authority[end + 1..] {
                    [] => (&b""[..], None),
                    [b':', port @ ..] => (&b""[..], Some(port)),
                    _ => return false,
                }
            }
            None => return false,
        },
        _ => match authority.iter().position(|&byte| byte == b':') {
            Some(colon) => (&authority[..colon], Some(&authority[colon + 1..])),
            None => (authority, None),
        },
    };
    let valid = |byte: &u8| {
        byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'-' | b'.'
                    | b'_'
                    | b'~'
                    | b'%'
                    | b'!'
                    | b'$'
                    | b'&'
                    | b'\''
                    | b'('
                    | b')'
                    | b'*'
                    | b'+'
                    | b','
                    | b';'
                    | b'='
            )
    };
    host.iter().all(valid)
        && port.is_none_or(|port| port.len() <= 5 && port.iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests;
