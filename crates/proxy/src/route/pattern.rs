//! Regular expressions as RE2 means them: linear time, over bytes, against the whole text.
//!
//! The engine is the `regex` crate, whose syntax is nearly RE2's. Known differences: `\C` and `\Q…\E` are
//! refused; in a pattern that needs no Unicode, `.` matches one byte where RE2 takes one UTF-8 character.

use std::fmt;

use regex::bytes::{Captures, Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::Hir;
use regex_syntax::hir::literal::{ExtractKind, Extractor};

use super::literals::{self, Choices};

/// Longest pattern accepted, bytes.
const MAX_SOURCE: usize = 16 * 1024;
/// Most memory that a compiled pattern, and its cache per thread, may take, bytes.
const MAX_COMPILED: usize = 1024 * 1024;
/// Most literals taken as the possible beginnings of a pattern's matches.
const MAX_PREFIXES: usize = 16;
/// Largest character class that is taken apart into literals: both cases of a letter, not the digits.
const MAX_PREFIX_CLASS: usize = 4;

/// Why a pattern or a substitution was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(String);

/// A pattern that must match a whole text.
#[derive(Clone)]
pub struct Pattern {
    source: Box<str>,
    regex: Regex,
    prefixes: Box<[Box<[u8]>]>,
    literals: Box<[Choices]>,
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// The syntax is wrong, or the pattern or its automaton is too large.
    pub fn new(source: &str) -> Result<Self, PatternError> {
        let (hir, unicode) = parse(source)?;
        // Alternatives need the group: `a|b` anchored without it would match `a…`.
        let regex = compile(&format!(r"\A(?:{source})\z"), unicode)?;
        let (prefixes, literals) = (prefixes(&hir), literals::of_pattern(&hir));
        Ok(Self { source: source.into(), regex, prefixes, literals })
    }

    /// Whether the pattern matches all of `text`.
    #[must_use]
    pub fn matches(&self, text: &[u8]) -> bool {
        self.regex.is_match(text)
    }

    /// The pattern as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Literals of which every match begins with one; a single empty one when nothing is known.
    pub(super) fn prefixes(&self) -> &[Box<[u8]>] {
        &self.prefixes
    }

    /// Sets of literals, of each of which every match has one.
    pub(super) fn literals(&self) -> &[Choices] {
        &self.literals
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.source)
    }
}

/// Replaces every match of a pattern (`RegexMatchAndSubstitute`).
#[derive(Clone, Debug)]
pub struct Substitution {
    regex: Regex,
    replacement: Box<[Piece]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(Box<[u8]>),
    Group(usize),
}

impl Substitution {
    /// Compiles a pattern and what replaces its matches: text with `\0` for the match, `\1` to `\9` for
    /// its groups and `\\` for a backslash.
    ///
    /// # Errors
    /// The pattern is refused as by [`Pattern::new`], or the replacement names a group that is not there.
    pub fn new(pattern: &str, replacement: &str) -> Result<Self, PatternError> {
        let (_, unicode) = parse(pattern)?;
        let regex = compile(pattern, unicode)?;
        let replacement = pieces(replacement, regex.captures_len())?;
        Ok(Self { regex, replacement })
    }

    /// The text with every match replaced.
    #[must_use]
    pub fn apply(&self, text: &[u8]) -> Vec<u8> {
        self.regex
            .replace_all(text, |captures: &Captures<'_>| {
                let mut out = Vec::new();
                for piece in &self.replacement {
                    match piece {
                        Piece::Literal(literal) => out.extend_from_slice(literal),
                        Piece::Group(index) => {
                            out.extend_from_slice(
                                captures.get(*index).map_or(b"", |group| group.as_bytes()),
                            );
                        }
                    }
                }
                out
            })
            .into_owned()
    }
}

/// Parses without Unicode where that is possible: `\d` and `\w` are ASCII in RE2, and bytes are cheaper.
fn parse(source: &str) -> Result<(Hir, bool), PatternError> {
    if source.len() > MAX_SOURCE {
        return Err(PatternError(format!(
            "the pattern is longer than {MAX_SOURCE} bytes; split it into several routes"
        )));
    }
    let parse = |unicode| {
        let mut parser = ParserBuilder::new().unicode(unicode).utf8(false).build();
        parser.parse(source).map_err(|error| PatternError(describe(&error)))
    };
    match parse(false) {
        Ok(hir) => Ok((hir, false)),
        Err(_) => Ok((parse(true)?, true)),
    }
}

fn describe(error: &regex_syntax::Error) -> String {
    let (kind, offset) = match error {
        regex_syntax::Error::Parse(error) => (error.kind().to_string(), error.span().start.offset),
        regex_syntax::Error::Translate(error) => {
            (error.kind().to_string(), error.span().start.offset)
        }
        other => return other.to_string(),
    };
    format!("the pattern is no regular expression: {kind}, at byte {offset}")
}

fn compile(pattern: &str, unicode: bool) -> Result<Regex, PatternError> {
    RegexBuilder::new(pattern)
        .unicode(unicode)
        .size_limit(MAX_COMPILED)
        .dfa_size_limit(MAX_COMPILED)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(limit) => PatternError(format!(
                "the compiled pattern would take more than {limit} bytes; use smaller repetitions"
            )),
            other => PatternError(format!("the pattern is no regular expression: {other}")),
        })
}

fn prefixes(hir: &Hir) -> Box<[Box<[u8]>]> {
    let mut extractor = Extractor::new();
    extractor.kind(ExtractKind::Prefix).limit_class(MAX_PREFIX_CLASS).limit_total(MAX_PREFIXES);
    let sequence = extractor.extract(hir);
    match sequence.literals() {
        Some(literals) if !literals.is_empty() => {
            literals.iter().map(|literal| literal.as_bytes().into()).collect()
        }
        _ => Box::new([Box::default()]),
    }
}

fn pieces(replacement: &str, groups: usize) -> Result<Box<[Piece]>, PatternError> {
    let mut pieces = Vec::new();
    let mut literal = Vec::new();
    let mut bytes = replacement.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            literal.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'\\') => literal.push(b'\\'),
            Some(digit @ b'0'..=b'9') => {
                let group = usize::from(digit - b'0');
                if group >= groups {
                    return Err(PatternError(format!(
                        "the substitution uses group \\{group}, but the pattern has {} group(s)",
                        groups - 1
                    )));
                }
                if !literal.is_empty() {
                    pieces.push(Piece::Literal(std::mem::take(&mut literal).into()));
                }
                pieces.push(Piece::Group(group));
            }
            _ => {
                return Err(PatternError(
                    "a backslash in the substitution must be followed by a digit or a backslash"
                        .to_owned(),
                ));
            }
        }
    }
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal.into()));
    }
    Ok(pieces.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(source: &str) -> Pattern {
        Pattern::new(source).expect("a valid pattern")
    }

    #[test]
    fn a_pattern_matches_the_whole_text_or_not_at_all() {
        let cases: &[(&str, &[u8], bool)] = &[
            ("/a", b"/a", true),
            ("/a", b"/ab", false),
            ("/a|/b", b"/b", true),
            ("/a|/ab", b"/ab", true),
            ("/a|/b", b"/bc", false),
            (r"/\d+", b"/12", true),
            (r"/\d+", "/\u{0663}".as_bytes(), false),
            ("/.*", b"/\xff\xfe", true),
            ("/.", b"/\n", false),
            ("(?i)/ABC", b"/aBc", true),
            ("/é", "/é".as_bytes(), true),
            ("/[é]", "/é".as_bytes(), true),
            ("", b"", true),
        ];
        for (source, text, expected) in cases {
            assert_eq!(pattern(source).matches(text), *expected, "{source} on {text:?}");
        }
    }

    #[test]
    fn a_wrong_or_huge_pattern_is_refused_with_its_place() {
        let cases = [
            ("a(b", "unclosed group, at byte 1"),
            ("a)(b", "unopened group, at byte 1"),
            ("(?:x{1000}){1000}", "would take more than"),
            (r"\Qx\E", "unrecognized escape sequence, at byte 0"),
        ];
        for (source, expected) in cases {
            let error = Pattern::new(source).expect_err(source).to_string();
            assert!(error.contains(expected), "{source}: {error}");
        }
        assert!(Pattern::new(&"a".repeat(MAX_SOURCE + 1)).is_err());
    }

    #[test]
    fn every_match_begins_with_one_of_the_prefixes() {
        let cases: &[(&str, &[&str])] = &[
            (r"/users/\d+", &["/users/"]),
            ("/(a|b)/x", &["/a/x", "/b/x"]),
            ("^/start.*", &["/start"]),
            (".*/end", &[""]),
            ("", &[""]),
        ];
        for (source, expected) in cases {
            let found: Vec<_> = pattern(source)
                .prefixes()
                .iter()
                .map(|p| String::from_utf8_lossy(p).into_owned())
                .collect();
            assert_eq!(found, *expected, "{source}");
        }
    }

    #[test]
    fn substitution_replaces_every_match() {
        let cases = [
            (
                "^/service/([^/]+)(/.*)$",
                r"\2/instance/\1",
                "/service/foo/v1/api",
                "/v1/api/instance/foo",
            ),
            ("one", "two", "/xxx/one/yyy/one/zzz", "/xxx/two/yyy/two/zzz"),
            ("(?i)/xxx/", "/yyy/", "/aaa/XxX/bbb", "/aaa/yyy/bbb"),
            ("^(.*?)one(.*)$", r"\1two\2", "/xxx/one/yyy/one/zzz", "/xxx/two/yyy/one/zzz"),
            ("a", r"[\0]\\", "bab", r"b[a]\b"),
            ("(a)|b", r"<\1>", "ab", "<a><>"),
            ("none", "x", "/path", "/path"),
        ];
        for (pattern, replacement, text, expected) in cases {
            let substitution = Substitution::new(pattern, replacement).expect("valid");
            let out = substitution.apply(text.as_bytes());
            assert_eq!(String::from_utf8_lossy(&out), expected, "{pattern}");
        }
    }

    #[test]
    fn a_wrong_substitution_is_refused() {
        for (replacement, expected) in
            [(r"\1", "has 0 group(s)"), (r"\x", "digit"), ("\\", "digit")]
        {
            let error = Substitution::new("a", replacement).expect_err("refused").to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
