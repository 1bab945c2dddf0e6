//! Message heads: one arena of bytes and a list of spans, whichever HTTP version they came in.
//!
//! A head is read once, matched, edited and written once. It therefore owns its bytes in a single buffer
//! that is reused from request to request: reading a head copies it once and allocates nothing, and the
//! connection's read buffer is free for the body while the head is still needed for the access log.
//! Names keep the spelling that the peer used (HTTP/1 peers exist that care); comparison ignores case.

use std::fmt;

use super::known::Known;
use crate::metadata::Metadata;

/// A range of bytes in a head's arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    len: u32,
}

/// A header line. It stands in the arena as HTTP/1 writes it, `name: value\r\n`, so that lines that stand side by
/// side are written with one copy.
#[derive(Clone, Copy, Debug)]
struct Line {
    start: u32,
    name: u32,
    value: u32,
    known: Known,
}

impl Line {
    fn name(self) -> Span {
        Span { start: self.start, len: self.name }
    }

    fn value(self) -> Span {
        Span { start: self.start + self.name + SEPARATOR.len() as u32, len: self.value }
    }

    fn end(self) -> u32 {
        self.value().start + self.value + END.len() as u32
    }
}

/// Between name and value.
const SEPARATOR: &[u8; 2] = b": ";
/// After a value.
const END: &[u8; 2] = b"\r\n";

/// Header lines in the order received, with the arena that all spans of a head point into.
#[derive(Clone, Default)]
pub struct Headers {
    arena: Vec<u8>,
    lines: Vec<Line>,
}

impl Headers {
    /// An empty set; the first lines allocate.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of lines.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is no line.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Forgets everything but keeps the memory.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.lines.clear();
    }

    /// Memory that is kept for reuse, bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.arena.capacity() + self.lines.capacity() * size_of::<Line>()
    }

    /// Bytes of all names and values, as Envoy's `%REQUEST_HEADERS_BYTES%` counts them.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.lines.iter().map(|line| line.name + line.value).sum()
    }

    /// Copies bytes into the arena.
    pub fn store(&mut self, bytes: &[u8]) -> Span {
        let start = self.arena.len() as u32;
        self.arena.extend_from_slice(bytes);
        Span { start, len: bytes.len() as u32 }
    }

    /// The bytes of a span.
    #[must_use]
    pub fn bytes(&self, span: Span) -> &[u8] {
        part(&self.arena, span)
    }

    /// Adds a line at the end.
    pub fn append(&mut self, name: &[u8], value: &[u8]) {
        self.append_known(Known::of(name), name, value);
    }

    /// Adds a line at the end whose name has been recognised already.
    pub fn append_known(&mut self, known: Known, name: &[u8], value: &[u8]) {
        let line = self.store_line(known, name, value);
        self.lines.push(line);
    }

    /// Copies a head of HTTP/1 as a whole, so that its lines need not be copied one by one.
    pub fn load<'b>(&mut self, head: &'b [u8]) -> Loaded<'b> {
        Loaded { at: self.store(head).start, head }
    }

    /// Adds a line at the end that is a part of a head that was loaded.
    pub fn append_loaded(&mut self, from: &Loaded<'_>, known: Known, name: &[u8], value: &[u8]) {
        match from.line(name, value) {
            Some(start) => self.lines.push(Line {
                start,
                name: name.len() as u32,
                value: value.len() as u32,
                known,
            }),
            None => self.append_known(known, name, value),
        }
    }

    fn store_line(&mut self, known: Known, name: &[u8], value: &[u8]) -> Line {
        let start = self.arena.len() as u32;
        self.arena.reserve(name.len() + SEPARATOR.len() + value.len() + END.len());
        self.arena.extend_from_slice(name);
        self.arena.extend_from_slice(SEPARATOR);
        self.arena.extend_from_slice(value);
        self.arena.extend_from_slice(END);
        Line { start, name: name.len() as u32, value: value.len() as u32, known }
    }

    /// Replaces all lines of that name by one, in the place of the first, or adds it.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        self.set_line(Known::of(name), name, value);
    }

    /// As [`Headers::set`], for a name known at compile time. [`Known::Other`] has no name.
    pub fn set_known(&mut self, known: Known, value: &[u8]) {
        self.set_line(known, known.name().as_bytes(), value);
    }

    fn set_line(&mut self, known: Known, name: &[u8], value: &[u8]) {
        let line = self.store_line(known, name, value);
        let Some(at) = self.position(known, name) else {
            self.lines.push(line);
            return;
        };
        self.lines[at] = self.respell(self.lines[at], line);
        let mut index = 0;
        let Self { arena, lines } = self;
        lines.retain(|line| {
            let keep = index <= at || !same(arena, line, known, name);
            index += 1;
            keep
        });
    }

    /// The new line for an old one of the same name: in the spelling that the peer used.
    fn respell(&mut self, old: Line, new: Line) -> Line {
        let (from, to) = (old.name(), new.name());
        let name = from.start as usize..(from.start + from.len) as usize;
        self.arena.copy_within(name, to.start as usize);
        new
    }

    /// Drops all lines of that name; tells whether there was one.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let known = Known::of(name);
        if self.position(known, name).is_none() {
            return false;
        }
        let before = self.lines.len();
        let Self { arena, lines } = self;
        lines.retain(|line| !same(arena, line, known, name));
        before != self.lines.len()
    }

    /// Keeps the lines for which `keep` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(Known, &[u8], &[u8]) -> bool) {
        let Self { arena, lines } = self;
        lines.retain(|line| keep(line.known, part(arena, line.name()), part(arena, line.value())));
    }

    /// The value of the first line of that name.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.position(Known::of(name), name).map(|at| self.bytes(self.lines[at].value()))
    }

    /// The value of the first line of a name known at compile time: one comparison of a byte per line.
    #[must_use]
    pub fn get_known(&self, known: Known) -> Option<&[u8]> {
        self.lines.iter().find(|line| line.known == known).map(|line| self.bytes(line.value()))
    }

    /// The values of all lines of that name, in order.
    pub fn get_all<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let known = Known::of(name);
        self.lines
            .iter()
            .filter(move |line| same(&self.arena, line, known, name))
            .map(|line| self.bytes(line.value()))
    }

    /// As [`Headers::get_all`], for a name known at compile time.
    pub fn get_all_known(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        self.lines
            .iter()
            .filter(move |line| line.known == known)
            .map(|line| self.bytes(line.value()))
    }

    /// All lines: known name, name as spelled, value.
    pub fn iter(&self) -> impl Iterator<Item = (Known, &[u8], &[u8])> {
        self.lines
            .iter()
            .map(|line| (line.known, self.bytes(line.name()), self.bytes(line.value())))
    }

    /// Appends all lines but those that `skip` names, as HTTP/1 writes them.
    pub fn write(&self, out: &mut Vec<u8>, skip: impl Fn(Known) -> bool) {
        let mut run = 0..0;
        for line in self.lines.iter().filter(|line| !skip(line.known)) {
            if line.start as usize != run.end {
                out.extend_from_slice(&self.arena[run]);
                run = line.start as usize..0;
            }
            run.end = line.end() as usize;
        }
        out.extend_from_slice(&self.arena[run]);
    }

    fn position(&self, known: Known, name: &[u8]) -> Option<usize> {
        self.lines.iter().position(|line| same(&self.arena, line, known, name))
    }
}

/// A head in the arena.
#[derive(Debug)]
pub struct Loaded<'b> {
    at: u32,
    head: &'b [u8],
}

impl Loaded<'_> {
    /// Where in the arena the line of these two slices of the head begins, if it stands there as it is written.
    fn line(&self, name: &[u8], value: &[u8]) -> Option<u32> {
        let start = (name.as_ptr() as usize).wrapping_sub(self.head.as_ptr() as usize);
        let separator = start.wrapping_add(name.len());
        let (between, rest) = self.head.get(separator..)?.split_first_chunk()?;
        let end = rest.get(value.len()..)?.first_chunk()?;
        let written = between == SEPARATOR && end == END && rest.as_ptr() == value.as_ptr();
        written.then_some(self.at + start as u32)
    }
}

fn same(arena: &[u8], line: &Line, known: Known, name: &[u8]) -> bool {
    if known != Known::Other || line.known != Known::Other {
        return known == line.known;
    }
    part(arena, line.name()).eq_ignore_ascii_case(name)
}

fn part(arena: &[u8], span: Span) -> &[u8] {
    &arena[span.start as usize..(span.start + span.len) as usize]
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(_, name, value)| {
                (String::from_utf8_lossy(name), String::from_utf8_lossy(value))
            }))
            .finish()
    }
}

/// HTTP version of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
    /// HTTP/2
    Http2,
}

/// The scheme of a request, as the connection it came on tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// Plain text.
    #[default]
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// What the client of a connection has shown of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificate {
    /// No certificate, or the connection has none to show.
    #[default]
    None,
    /// A certificate, which nothing verified.
    Presented,
    /// A certificate that was verified.
    Verified,
}

/// A request's head. The path includes the query; `Host` is kept apart as the authority and is not among
/// the headers.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    /// Version the peer spoke.
    pub version: Version,
    /// Scheme of the connection.
    pub scheme: Scheme,
    /// What the client has shown on the connection.
    pub certificate: ClientCertificate,
    /// Header lines without `Host`.
    pub headers: Headers,
    /// What filters have noted of the request.
    pub noted: Metadata,
    method: Span,
    authority: Span,
    path: Span,
    original_path: Option<Span>,
}

impl RequestHead {
    /// Forgets everything but keeps the memory.
    pub fn clear(&mut self) {
        self.headers.clear();
        self.noted.clear();
        self.version = Version::default();
        self.scheme = Scheme::default();
        self.certificate = ClientCertificate::default();
        self.method = Span::default();
        self.authority = Span::default();
        self.path = Span::default();
        self.original_path = None;
    }

    /// The method, a token.
    #[must_use]
    pub fn method(&self) -> &[u8] {
        self.headers.bytes(self.method)
    }

    /// Host and, if the client sent one, port.
    #[must_use]
    pub fn authority(&self) -> &[u8] {
        self.headers.bytes(self.authority)
    }

    /// Path and query as they will be matched and forwarded.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        self.headers.bytes(self.path)
    }

    /// The path before a rewrite; `None` when none happened.
    #[must_use]
    pub fn original_path(&self) -> Option<&[u8]> {
        self.original_path.map(|span| self.headers.bytes(span))
    }

    /// Bytes of all names and values, those that HTTP/2 begins with `:` among them.
    #[must_use]
    pub fn size(&self) -> u32 {
        let scheme = if self.method.len > 0 { self.scheme.as_str() } else { "" };
        let values = [
            (":method", self.method.len),
            (":path", self.path.len),
            (":authority", self.authority.len),
            (":scheme", scheme.len() as u32),
        ];
        // A head that could not be read has none of them.
        let there = values.iter().filter(|(_, len)| *len > 0);
        self.headers.size() + there.map(|(name, len)| name.len() as u32 + len).sum::<u32>()
    }

    /// Sets the method.
    pub fn set_method(&mut self, method: &[u8]) {
        self.method = self.headers.store(method);
    }

    /// Sets the authority.
    pub fn set_authority(&mut self, authority: &[u8]) {
        self.authority = self.headers.store(authority);
    }

    /// Sets path and query.
    pub fn set_path(&mut self, path: &[u8]) {
        self.path = self.headers.store(path);
    }

    /// Replaces path and query and remembers the first one for `x-envoy-original-path` and the log.
    pub fn rewrite_path(&mut self, path: &[u8]) {
        self.original_path.get_or_insert(self.path);
        self.path = self.headers.store(path);
    }

    /// Whether the method is this one (methods are case-sensitive, RFC 9110 section 9.1).
    #[must_use]
    pub fn is_method(&self, method: &str) -> bool {
        self.method() == method.as_bytes()
    }
}

/// A response's head.
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    /// Version the peer spoke.
    pub version: Version,
    /// Status code, 100 to 999.
    pub status: u16,
    /// Header lines.
    pub headers: Headers,
}

impl ResponseHead {
    /// Bytes of all names and values, `:status` among them.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.headers.size() + ":status200".len() as u32
    }

    /// Forgets everything but keeps the memory.
    pub fn clear(&mut self) {
        self.headers.clear();
        self.version = Version::default();
        self.status = 0;
    }
}

#[cfg(test)]
impl RequestHead {
    /// A GET of a path at an authority, with these header lines; what is empty is not there.
    pub(crate) fn get(authority: &str, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut head = Self::default();
        head.set_method(b"GET");
        if !authority.is_empty() {
            head.set_authority(authority.as_bytes());
        }
        if !path.is_empty() {
            head.set_path(path.as_bytes());
        }
        for (name, value) in headers {
            head.headers.append(name.as_bytes(), value.as_bytes());
        }
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_compare_without_case_and_keep_their_spelling() {
        let mut headers = Headers::new();
        headers.append(b"Content-Length", b"3");
        headers.append(b"X-Custom", b"a");
        headers.append(b"x-custom", b"b");
        assert_eq!(headers.get(b"content-length"), Some(&b"3"[..]));
        assert_eq!(headers.get_known(Known::ContentLength), Some(&b"3"[..]));
        let all: Vec<_> = headers.get_all(b"X-CUSTOM").collect();
        assert_eq!(all, [b"a", b"b"]);
        assert_eq!(headers.iter().next().map(|line| line.1), Some(&b"Content-Length"[..]));
    }

    #[test]
    fn set_replaces_every_line_in_the_place_of_the_first() {
        let mut headers = Headers::new();
        for (name, value) in [("a", "1"), ("B", "2"), ("A", "3")] {
            headers.append(name.as_bytes(), value.as_bytes());
        }
        headers.set(b"A", b"9");
        let lines: Vec<_> = headers.iter().map(|(_, name, value)| (name, value)).collect();
        assert_eq!(lines, [(&b"a"[..], &b"9"[..]), (&b"B"[..], &b"2"[..])]);
        assert!(headers.remove(b"b"));
        assert!(!headers.remove(b"b"));
    }

    #[test]
    fn a_size_is_that_of_names_and_values() {
        let mut request = RequestHead::default();
        request.headers.append(b"a", b"bc");
        request.set_method(b"GET");
        request.set_path(b"/old");
        request.rewrite_path(b"/");
        request.set_authority(b"h");
        assert_eq!(RequestHead::default().size(), 0);
        // :method GET, :path /, :authority h, :scheme http, a bc
        assert_eq!(request.size(), 10 + 6 + 11 + 11 + 3);
        let mut response = ResponseHead::default();
        response.headers.append(b"a", b"bc");
        response.headers.append(b"d", b"");
        response.headers.remove(b"d");
        assert_eq!(response.size(), 10 + 3);
    }

    #[test]
    fn lines_are_written_in_order_with_the_spelling_of_the_peer() {
        let mut headers = Headers::new();
        let written = |headers: &Headers| {
            let mut out = b"start\r\n".to_vec();
            headers.write(&mut out, |known| known == Known::Connection);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(&headers), "start\r\n");
        headers.store(b"GET");
        for (name, value) in [("Via", "1"), ("Connection", "x"), ("B", ""), ("VIA", "2")] {
            headers.append(name.as_bytes(), value.as_bytes());
        }
        assert_eq!(written(&headers), "start\r\nVia: 1\r\nB: \r\nVIA: 2\r\n");
        headers.set_known(Known::Via, b"three");
        headers.set(b"b", b"4");
        headers.set(b"c", b"5");
        assert_eq!(written(&headers), "start\r\nVia: three\r\nB: 4\r\nc: 5\r\n");
        headers.retain(|_, name, _| name != b"B");
        assert_eq!(written(&headers), "start\r\nVia: three\r\nc: 5\r\n");
    }

    #[test]
    fn lines_of_a_loaded_head_are_those_that_were_read() {
        let head = b"GET / HTTP/1.1\r\nA: 1\r\nB:2\r\nC:  3 \r\nD: \r\nE: 5\r\n\r\n";
        let part = |range: std::ops::Range<usize>| &head[range];
        let mut headers = Headers::new();
        headers.store(b"before");
        let loaded = headers.load(head);
        let lines = [(16..17, 19..20), (22..23, 24..25), (27..28, 31..32), (40..41, 43..44)];
        for (name, value) in lines {
            headers.append_loaded(&loaded, Known::Other, part(name), part(value));
        }
        // A value that is empty may be a slice of anything.
        headers.append_loaded(&loaded, Known::Other, part(35..36), b"");
        let mut out = Vec::new();
        headers.write(&mut out, |_| false);
        assert_eq!(out, b"A: 1\r\nB: 2\r\nC: 3\r\nE: 5\r\nD: \r\n");
    }

    #[test]
    fn a_rewrite_remembers_the_first_path() {
        let mut head = RequestHead::default();
        head.set_path(b"/a");
        head.rewrite_path(b"/b");
        head.rewrite_path(b"/c");
        assert_eq!((head.path(), head.original_path()), (&b"/c"[..], Some(&b"/a"[..])));
    }
}
