//! Message heads: one arena of bytes and a list of spans, whichever HTTP version they came in.
//!
//! A head is read once, matched, edited and written once. It therefore owns its bytes in a single buffer
//! that is reused from request to request: reading a head copies it once and allocates nothing, and the
//! connection's read buffer is free for the body while the head is still needed for the access log.
//! Names keep the spelling that the peer used (HTTP/1 peers exist that care); comparison ignores case.

use std::fmt;

use super::known::Known;

/// A range of bytes in a head's arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    len: u32,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    name: Span,
    value: Span,
    known: Known,
}

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
        self.lines.iter().map(|line| line.name.len + line.value.len).sum()
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
        &self.arena[span.start as usize..(span.start + span.len) as usize]
    }

    /// Adds a line at the end.
    pub fn append(&mut self, name: &[u8], value: &[u8]) {
        self.append_known(Known::of(name), name, value);
    }

    /// Adds a line at the end whose name has been recognised already.
    pub fn append_known(&mut self, known: Known, name: &[u8], value: &[u8]) {
        let name = self.store(name);
        let value = self.store(value);
        self.lines.push(Line { name, value, known });
    }

    /// Replaces all lines of that name by one, in the place of the first, or adds it.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        let known = Known::of(name);
        let Some(at) = self.position(known, name) else {
            self.append(name, value);
            return;
        };
        let value = self.store(value);
        self.lines[at].value = value;
        let mut index = 0;
        let Self { arena, lines } = self;
        lines.retain(|line| {
            let keep = index <= at || !same(arena, line, known, name);
            index += 1;
            keep
        });
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
        lines.retain(|line| {
            let part = |span: Span| &arena[span.start as usize..(span.start + span.len) as usize];
            keep(line.known, part(line.name), part(line.value))
        });
    }

    /// The value of the first line of that name.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.position(Known::of(name), name).map(|at| self.bytes(self.lines[at].value))
    }

    /// The value of the first line of a name known at compile time: one comparison of a byte per line.
    #[must_use]
    pub fn get_known(&self, known: Known) -> Option<&[u8]> {
        self.lines.iter().find(|line| line.known == known).map(|line| self.bytes(line.value))
    }

    /// The values of all lines of that name, in order.
    pub fn get_all<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let known = Known::of(name);
        self.lines
            .iter()
            .filter(move |line| same(&self.arena, line, known, name))
            .map(|line| self.bytes(line.value))
    }

    /// All lines: known name, name as spelled, value.
    pub fn iter(&self) -> impl Iterator<Item = (Known, &[u8], &[u8])> {
        self.lines.iter().map(|line| (line.known, self.bytes(line.name), self.bytes(line.value)))
    }

    fn position(&self, known: Known, name: &[u8]) -> Option<usize> {
        self.lines.iter().position(|line| same(&self.arena, line, known, name))
    }
}

fn same(arena: &[u8], line: &Line, known: Known, name: &[u8]) -> bool {
    if known != Known::Other || line.known != Known::Other {
        return known == line.known;
    }
    let span = line.name;
    arena[span.start as usize..(span.start + span.len) as usize].eq_ignore_ascii_case(name)
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

/// A request's head. The path includes the query; `Host` is kept apart as the authority and is not among
/// the headers.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    /// Version the peer spoke.
    pub version: Version,
    /// Scheme of the connection.
    pub scheme: Scheme,
    /// Header lines without `Host`.
    pub headers: Headers,
    method: Span,
    authority: Span,
    path: Span,
    original_path: Option<Span>,
}

impl RequestHead {
    /// Forgets everything but keeps the memory.
    pub fn clear(&mut self) {
        self.headers.clear();
        self.version = Version::default();
        self.scheme = Scheme::default();
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
        const NAMES: usize = ":method:path:authority:scheme".len();
        let spans = self.method.len + self.path.len + self.authority.len;
        self.headers.size() + spans + (NAMES + self.scheme.as_str().len()) as u32
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
        // :method GET, :path /, :authority h, :scheme http, a bc
        assert_eq!(request.size(), 10 + 6 + 11 + 11 + 3);
        let mut response = ResponseHead::default();
        response.headers.append(b"a", b"bc");
        response.headers.append(b"d", b"");
        response.headers.remove(b"d");
        assert_eq!(response.size(), 10 + 3);
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
