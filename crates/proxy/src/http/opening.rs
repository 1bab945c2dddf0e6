//! Whether the first bytes of a connection are a request, told before anybody serves it.
//!
//! What counts as one is what Envoy's `http_inspector` takes for one: the preface of HTTP/2 (RFC 9113 section 3.4), or a request
//! line (RFC 9112 section 3), leniently read, as nothing is served by it. A line with another version than 1.1, or with none,
//! counts as HTTP/1.0. Bytes that no request can begin with are told at once.

use super::preface::PREFACE;

/// The longest request line: Envoy's bound.
pub const LONGEST: usize = 64 * 1024;

/// A request that a connection begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Of HTTP/1.0, or of no version that is known.
    Http10,
    /// Of HTTP/1.1.
    Http11,
    /// HTTP/2, with prior knowledge.
    Http2,
}

impl Opening {
    /// What filter chains ask for it by (`application_protocols`).
    #[must_use]
    pub fn protocol(self) -> &'static [u8] {
        match self {
            Self::Http10 => b"http/1.0",
            Self::Http11 => b"http/1.1",
            Self::Http2 => b"h2c",
        }
    }
}

/// What bytes tell so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// A request.
    Request(Opening),
    /// Something else.
    Other,
    /// Not yet.
    NeedMore,
    /// It may be a request, whose line is longer than [`LONGEST`].
    TooLong,
}

/// Tells what a connection begins with that begins with `bytes`. A decision stays when more come.
#[must_use]
pub fn tell(bytes: &[u8]) -> Told {
    Progress::default().tell(bytes)
}

/// How far a request line has been looked at. What was is not looked at again when more has arrived.
#[derive(Debug, Default)]
pub struct Progress {
    seen: usize,
    /// Whether that holds the whole method.
    has_method: bool,
}

impl Progress {
    /// As [`tell`], where `bytes` begin with those that this was asked about before.
    pub fn tell(&mut self, bytes: &[u8]) -> Told {
        if bytes.starts_with(PREFACE) {
            return Told::Request(Opening::Http2);
        }
        if PREFACE.starts_with(bytes) {
            return Told::NeedMore;
        }
        let line = bytes.get(..LONGEST).unwrap_or(bytes);
        if !self.has_method {
            let new = line.get(self.seen..).unwrap_or_default();
            self.seen += new.iter().take_while(|byte| is_token(**byte)).count();
            match line.get(self.seen) {
                Some(b' ') if self.seen > 0 => self.has_method = true,
                None if self.seen > 0 => return more(bytes),
                _ => return Told::Other,
            }
        }
        let new = line.get(self.seen..).unwrap_or_default();
        let Some(end) = memchr::memchr(b'\n', new).map(|end| self.seen + end) else {
            self.seen = line.len();
            return more(bytes);
        };
        line.get(..end).and_then(version).map_or(Told::Other, Told::Request)
    }
}

fn more(bytes: &[u8]) -> Told {
    if bytes.len() < LONGEST { Told::NeedMore } else { Told::TooLong }
}

/// The version of a request line without its end; `None` if it is none.
fn version(line: &[u8]) -> Option<Opening> {
    let line = line.trim_ascii_end();
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let (method, target) = (words.next()?, words.next()?);
    let version = words.next();
    if words.next().is_some() || !is_target(target, method == b"CONNECT") {
        return None;
    }
    match version {
        Some(b"HTTP/1.1") => Some(Opening::Http11),
        None => Some(Opening::Http10),
        Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor])
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Some(Opening::Http10)
        }
        Some(_) => None,
    }
}

/// Whether it can be what a request is for: a path, `*`, an absolute URI, or after CONNECT an authority.
fn is_target(target: &[u8], connects: bool) -> bool {
    let scheme = target.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let absolute = scheme > 0 && target.get(scheme..).is_some_and(|rest| rest.starts_with(b"://"));
    let begins = matches!(target.first(), Some(b'/' | b'*')) || absolute || connects;
    begins && target.iter().all(u8::is_ascii_graphic)
}

/// RFC 9110 section 5.6.2: tchar.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openings_are_told_apart() {
        use Opening::{Http2, Http10, Http11};
        let cases: &[(&[u8], Told)] = &[
            (b"GET / HTTP/1.1\r\n", Told::Request(Http11)),
            (b"GET / HTTP/1.1\nHost: a", Told::Request(Http11)),
            (b"BREW  /pot?x HTTP/1.1 \r\n", Told::Request(Http11)),
            (b"OPTIONS * HTTP/1.1\r\n", Told::Request(Http11)),
            (b"CONNECT a.example:443 HTTP/1.1\r\n", Told::Request(Http11)),
            (b"GET http://a.example/ HTTP/1.1\r\n", Told::Request(Http11)),
            (b"GET / HTTP/1.0\r\n", Told::Request(Http10)),
            (b"GET / HTTP/2.0\r\n", Told::Request(Http10)),
            (b"GET /\r\n", Told::Request(Http10)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0", Told::Request(Http2)),
            (b"PRI * HTTP/2.0\r\n\r\nXM", Told::Request(Http10)),
            (b"PRI * HTTP/2.0\r\n\r\nSM", Told::NeedMore),
            (b"", Told::NeedMore),
            (b"P", Told::NeedMore),
            (b"PUT", Told::NeedMore),
            (b"GET / HTTP/1.1", Told::NeedMore),
            (b"hello", Told::NeedMore),
            (b"hello world\r\n", Told::Other),
            (b"hello\r", Told::Other),
            (b"SSH-2.0-x\r\n", Told::Other),
            (b"\r\nGET / HTTP/1.1\r\n", Told::Other),
            (b" GET / HTTP/1.1\r\n", Told::Other),
            (b"GET / x HTTP/1.1\r\n", Told::Other),
            (b"GET a HTTP/1.1\r\n", Told::Other),
            (b"GET / http/1.1\r\n", Told::Other),
            (b"GET / HTTP/1.12\r\n", Told::Other),
            (b"GET / FTP/1.1\r\n", Told::Other),
            (b"G\0T /", Told::Other),
            (b"\x16\x03\x01", Told::Other),
            (b"{\"a\"", Told::Other),
        ];
        for (bytes, wanted) in cases {
            assert_eq!(tell(bytes), *wanted, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn request_lines_have_a_bound() {
        let long = |len: usize| [b"GET /".to_vec(), vec![b'a'; len - 5]].concat();
        assert_eq!(tell(&long(LONGEST - 1)), Told::NeedMore);
        assert_eq!(tell(&long(LONGEST)), Told::TooLong);
        assert_eq!(tell(&vec![b'A'; LONGEST]), Told::TooLong);
        let mut late = long(LONGEST);
        late.extend_from_slice(b" HTTP/1.1\r\n");
        assert_eq!(tell(&late), Told::TooLong);
    }

    /// What was looked at is not looked at again: a line in as many pieces as it has bytes costs what it costs in one.
    #[test]
    fn a_line_in_pieces_is_looked_at_once() {
        let line = b"GET /a/long/path?with=a&query HTTP/1.1\r\n";
        let mut progress = Progress::default();
        for end in 1..line.len() {
            // Had it been looked at again, it would be no request.
            let mut piece = line[..end].to_vec();
            let (seen, _) = piece.split_at_mut(end - 1);
            seen.fill(0);
            assert_eq!(progress.tell(&piece), Told::NeedMore, "{end}");
        }
        assert_eq!(progress.tell(line), Told::Request(Opening::Http11));
    }
}
