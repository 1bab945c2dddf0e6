//! What a route asks of a request (`RouteMatch`).

use std::fmt;

use crate::http::RequestHead;

use super::condition::Condition;
use super::pattern::Pattern;
use super::text::starts_with_ignoring_case;

/// When a route takes a request: its path and all its conditions.
#[derive(Clone, Debug)]
pub struct RouteMatch {
    /// The path.
    pub path: PathMatch,
    /// Whether ASCII letters of the path compare without case; patterns say so themselves.
    pub ignore_case: bool,
    /// All must hold.
    pub conditions: Vec<Condition>,
}

/// What the path, without query, must be.
#[derive(Clone, Debug)]
pub enum PathMatch {
    /// Beginning with this; empty for any path.
    Prefix(Box<[u8]>),
    /// Equal.
    Exact(Box<[u8]>),
    /// Equal, or beginning with this and then a slash.
    SeparatedPrefix(Box<[u8]>),
    /// Matched as a whole.
    Regex(Pattern),
    /// Any or none, of a CONNECT request; the only one that takes a request without a path.
    Connect,
}

/// The first thing in which a request is not what a route asks for.
#[derive(Clone, Copy, Debug)]
pub enum Mismatch<'r> {
    /// The path.
    Path(&'r PathMatch),
    /// A condition.
    Condition(&'r Condition),
}

impl fmt::Display for Mismatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.fmt(f),
            Self::Condition(condition) => condition.fmt(f),
        }
    }
}

impl RouteMatch {
    /// Whether the route takes the request; `random` is the request's random number.
    #[must_use]
    pub fn matches(&self, head: &RequestHead, random: u64) -> bool {
        self.mismatch(head, random).is_none()
    }

    /// Why the route does not take the request; `None` when it does.
    #[must_use]
    pub fn mismatch(&self, head: &RequestHead, random: u64) -> Option<Mismatch<'_>> {
        if !self.path.matches(head, self.ignore_case) {
            return Some(Mismatch::Path(&self.path));
        }
        self.conditions
            .iter()
            .find(|condition| !condition.holds(head, random))
            .map(Mismatch::Condition)
    }
}

impl PathMatch {
    fn matches(&self, head: &RequestHead, ignore_case: bool) -> bool {
        if matches!(self, Self::Connect) {
            return head.is_method("CONNECT");
        }
        let path = without_query(head.path());
        if path.is_empty() && head.path().is_empty() {
            return false;
        }
        match self {
            Self::Prefix(prefix) => begins(path, prefix, ignore_case),
            Self::Exact(exact) => path.len() == exact.len() && begins(path, exact, ignore_case),
            Self::SeparatedPrefix(prefix) => {
                begins(path, prefix, ignore_case)
                    && matches!(path.get(prefix.len()), None | Some(b'/'))
            }
            Self::Regex(pattern) => pattern.matches(path),
            Self::Connect => false,
        }
    }
}

fn begins(path: &[u8], prefix: &[u8], ignore_case: bool) -> bool {
    if ignore_case { starts_with_ignoring_case(path, prefix) } else { path.starts_with(prefix) }
}

/// The path up to its query or fragment.
#[must_use]
pub(crate) fn without_query(path: &[u8]) -> &[u8] {
    memchr::memchr2(b'?', b'#', path).map_or(path, |end| &path[..end])
}

impl fmt::Display for PathMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(path) => write!(f, "prefix {}", String::from_utf8_lossy(path)),
            Self::Exact(path) => write!(f, "path {}", String::from_utf8_lossy(path)),
            Self::SeparatedPrefix(path) => {
                write!(f, "path_separated_prefix {}", String::from_utf8_lossy(path))
            }
            Self::Regex(pattern) => write!(f, "regex {}", pattern.as_str()),
            Self::Connect => f.write_str("connect_matcher"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_match(spec: &str) -> PathMatch {
        let (kind, text) = spec.split_at(1);
        let bytes = text.as_bytes().into();
        match kind {
            "=" => PathMatch::Exact(bytes),
            "^" => PathMatch::Prefix(bytes),
            "|" => PathMatch::SeparatedPrefix(bytes),
            "~" => PathMatch::Regex(Pattern::new(text).expect("valid")),
            _ => PathMatch::Connect,
        }
    }

    #[test]
    fn paths() {
        // spec, path, matches, matches ignoring case
        let cases = [
            ("=/a", "/a", true, true),
            ("=/a", "/a?x=1", true, true),
            ("=/a", "/A", false, true),
            ("=/a", "/a/", false, false),
            ("^/a", "/ab", true, true),
            ("^/a", "/A", false, true),
            ("^/a?x", "/a?x", false, false),
            ("^", "/", true, true),
            ("^", "*", true, true),
            ("|/a", "/a", true, true),
            ("|/a", "/a/b", true, true),
            ("|/a", "/ab", false, false),
            ("|/a", "/A/b?q", false, true),
            ("~/a.*", "/abc?d", true, true),
            ("~/a", "/A", false, false),
            ("!", "/", false, false),
        ];
        for (spec, path, plain, ignoring) in cases {
            let head = RequestHead::get("", path, &[]);
            let mut route =
                RouteMatch { path: path_match(spec), ignore_case: false, conditions: Vec::new() };
            assert_eq!(route.matches(&head, 0), plain, "{spec} on {path}");
            route.ignore_case = true;
            assert_eq!(route.matches(&head, 0), ignoring, "{spec} on {path}, any case");
        }
    }

    #[test]
    fn only_the_connect_matcher_takes_a_request_without_path() {
        let mut head = RequestHead::default();
        head.set_method(b"CONNECT");
        head.set_authority(b"example.com:443");
        for (spec, expected) in [("!", true), ("^", false), ("~.*", false)] {
            let route =
                RouteMatch { path: path_match(spec), ignore_case: false, conditions: Vec::new() };
            assert_eq!(route.matches(&head, 0), expected, "{spec}");
        }
    }
}
