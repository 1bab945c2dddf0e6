//! Path and authority normalisation before matching: what is matched is what is forwarded.

use super::h1::parse;
use super::head::RequestHead;
use super::local::LocalReply;
use crate::accesslog::ResponseFlags;
use crate::config::listener::{EscapedSlashes, HttpManager, StripPort};

/// What is normalised: Envoy's `normalize_path`, `merge_slashes` and `path_with_escaped_slashes_action`.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Dots, escapes of unreserved characters, backslashes.
    pub normalize: bool,
    /// Adjacent slashes.
    pub merge_slashes: bool,
    /// Escaped slashes and backslashes.
    pub escaped_slashes: EscapedSlashes,
}

impl From<&HttpManager> for Rules {
    fn from(manager: &HttpManager) -> Self {
        Self {
            normalize: manager.normalize_path,
            merge_slashes: manager.merge_slashes,
            escaped_slashes: manager.escaped_slashes,
        }
    }
}

/// Normalises the path as the connection manager is configured (RFC 3986 section 6.2.2). The query is not
/// touched.
///
/// # Errors
/// An answer of our own: 400 for a path with an escaped NUL or refused escapes, a redirect to the
/// path without escaped slashes.
pub fn normalize(head: &mut RequestHead, rules: Rules) -> Result<(), LocalReply> {
    let target = head.path();
    let end = target.iter().position(|&byte| byte == b'?').unwrap_or(target.len());
    let (path, query) = target.split_at(end);
    if !path.starts_with(b"/") {
        return Ok(());
    }
    let escapes = rules.escaped_slashes != EscapedSlashes::Keep && has_escaped_slash(path);
    let merges = rules.merge_slashes && memchr::memmem::find(path, b"//").is_some();
    let dots = rules.normalize && needs_normalizing(path);
    if !(escapes || merges || dots) {
        return Ok(());
    }
    let mut path = path.to_vec();
    if escapes {
        if rules.escaped_slashes == EscapedSlashes::Reject {
            return Err(bad_path("path_normalization_failed"));
        }
        path = unescape_slashes(&path);
    }
    if rules.normalize {
        if memchr::memmem::find(&path, b"%00").is_some() {
            return Err(bad_path("path_normalization_failed"));
        }
        path = remove_dots(&decode_unreserved(&path));
    }
    if rules.merge_slashes {
        path.dedup_by(|a, b| *a == b'/' && *b == b'/');
    }
    let target = [&path, query].concat();
    if escapes && rules.escaped_slashes == EscapedSlashes::UnescapeAndRedirect {
        let reply = LocalReply::new(307, "", ResponseFlags::NONE, "path_normalization_redirect");
        return Err(LocalReply { location: Some(target), ..reply });
    }
    head.set_path(&target);
    Ok(())
}

/// Cuts the dot off the end of the authority's host, as configured: `a.example.` is `a.example` (RFC 1034, section 3.1).
pub fn strip_trailing_dot(head: &mut RequestHead, manager: &HttpManager) {
    if manager.strip_trailing_dot
        && let Some(host) = without_trailing_dot(head.authority())
    {
        head.set_authority(&host);
    }
}

/// The authority without the dot at the end of its host; `None` where there is none.
fn without_trailing_dot(authority: &[u8]) -> Option<Vec<u8>> {
    let dot = memchr::memrchr(b'.', authority)?;
    // Behind it is nothing, or the port: no address has a dot before a colon.
    let ends = matches!(authority.get(dot + 1), None | Some(b':'));
    ends.then(|| [&authority[..dot], &authority[dot + 1..]].concat())
}

/// Cuts the port off the authority, as configured; `port` is the listener's.
pub fn strip_port(head: &mut RequestHead, manager: &HttpManager, port: u16) {
    if manager.strip_port == StripPort::Keep || head.is_method("CONNECT") {
        return;
    }
    let authority = head.authority();
    let Some(colon) = memchr::memrchr(b':', authority) else { return };
    // A colon before the bracket is part of an IPv6 address.
    if authority.last() == Some(&b']') {
        return;
    }
    let theirs = parse::decimal(&authority[colon + 1..]);
    if manager.strip_port == StripPort::Any || theirs == Some(u64::from(port)) {
        let host = authority[..colon].to_vec();
        head.set_authority(&host);
    }
}

fn bad_path(details: &'static str) -> LocalReply {
    let reply = LocalReply::new(400, "", ResponseFlags::NONE, details);
    LocalReply { close: true, ..reply }
}

/// Whether normalising could change anything: nearly never, so it is asked first.
fn needs_normalizing(path: &[u8]) -> bool {
    path.iter().any(|&byte| byte == b'%' || byte == b'\\' || must_be_escaped(byte))
        || memchr::memmem::find(path, b"/.").is_some()
}

/// Characters that no path may hold as they are (RFC 3986 section 3.3) and that clients send nonetheless.
fn must_be_escaped(byte: u8) -> bool {
    matches!(byte, b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}')
}

fn has_escaped_slash(path: &[u8]) -> bool {
    path.windows(3)
        .any(|escape| escape.eq_ignore_ascii_case(b"%2f") || escape.eq_ignore_ascii_case(b"%5c"))
}

fn unescape_slashes(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, tail)) = rest.split_first() {
        let escape = rest.get(..3).unwrap_or_default();
        if escape.eq_ignore_ascii_case(b"%2f") || escape.eq_ignore_ascii_case(b"%5c") {
            out.push(if escape[1] == b'2' { b'/' } else { b'\\' });
            rest = &rest[3..];
        } else {
            out.push(byte);
            rest = tail;
        }
    }
    out
}

/// Decodes escapes of unreserved characters, escapes what must be escaped, and writes `\` as `/`. Once is enough:
/// what is decoded never becomes part of another escape, so an origin that decodes sees what was matched.
fn decode_unreserved(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, tail)) = rest.split_first() {
        match escaped(rest) {
            Some(decoded) => {
                if decoded.is_ascii_alphanumeric() || matches!(decoded, b'-' | b'.' | b'_' | b'~') {
                    push(&mut out, decoded);
                } else {
                    out.extend_from_slice(&rest[..3]);
                }
                rest = &rest[3..];
            }
            None if must_be_escaped(byte) => {
                out.extend_from_slice(format!("%{byte:02X}").as_bytes());
                rest = tail;
            }
            None => {
                push(&mut out, if byte == b'\\' { b'/' } else { byte });
                rest = tail;
            }
        }
    }
    out
}

/// The byte that an escape at the start stands for.
fn escaped(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else { return None };
    let hex = |byte: u8| (byte as char).to_digit(16);
    hex(*high).zip(hex(*low)).map(|(high, low)| (high * 16 + low) as u8)
}

/// Appends a byte; a lone `%` that it would make the start of an escape is escaped itself.
fn push(out: &mut Vec<u8>, byte: u8) {
    out.push(byte);
    let percent = out.len().saturating_sub(3);
    if escaped(&out[percent..]).is_some() {
        out.splice(percent + 1..percent + 1, *b"25");
    }
}

/// Removes dot segments (RFC 3986 section 5.2.4); `..` at the root stays there.
fn remove_dots(path: &[u8]) -> Vec<u8> {
    let mut out: Vec<&[u8]> = Vec::new();
    let mut segments = path[1..].split(|&byte| byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"." if last => out.push(b""),
            b"." => {}
            b".." => {
                out.pop();
                if last {
                    out.push(b"");
                }
            }
            _ => out.push(segment),
        }
    }
    let mut path = Vec::with_capacity(path.len());
    for segment in out {
        path.push(b'/');
        path.extend_from_slice(segment);
    }
    if path.is_empty() {
        path.push(b'/');
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(path: &str) -> String {
        let path = remove_dots(&decode_unreserved(path.as_bytes()));
        String::from_utf8(path).unwrap()
    }

    #[test]
    fn dots_and_escapes() {
        for (path, expected) in [
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/", "/"),
            ("/.", "/"),
            ("/a//b", "/a//b"),
            ("/%41%2e%2E/x", "/A../x"),
            ("/a/%2e%2e/b", "/b"),
            ("/a%2fb", "/a%2fb"),
            ("/a|b", "/a%7Cb"),
            ("/..", "/"),
            ("/a/../../b", "/b"),
            ("/%2e%2e/etc", "/etc"),
            ("/a\\b", "/a/b"),
            ("/a%zz", "/a%zz"),
            ("/%2%65%2%65/a", "/%252e%252e/a"),
            ("/a%%32f..", "/a%252f.."),
            ("/.hidden", "/.hidden"),
        ] {
            assert_eq!(normal(path), expected, "{path}");
        }
    }

    #[test]
    fn a_dot_at_the_end_of_a_host_is_cut_off() {
        for (authority, expected) in [
            ("a.b.", Some("a.b")),
            ("a.b.:443", Some("a.b:443")),
            ("a.b", None),
            ("a.b:443", None),
            ("a", None),
            ("1.2.3.4", None),
            ("[::1.2.3.4]:80", None),
            (".", Some("")),
            ("a..", Some("a.")),
        ] {
            let found = without_trailing_dot(authority.as_bytes());
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{authority}");
        }
    }

    #[test]
    fn escaped_slashes_are_seen_in_any_case() {
        assert!(has_escaped_slash(b"/a%2Fb") && has_escaped_slash(b"/a%5c"));
        assert_eq!(unescape_slashes(b"/a%2fb%5Cc%20"), b"/a/b\\c%20");
    }
}
