//! Tests of a text (`StringMatcher`).

use std::borrow::Cow;
use std::fmt;

use memchr::memmem;

use super::literals::{self, Choices};
use super::pattern::Pattern;

/// What a text must look like.
#[derive(Clone, Debug)]
pub enum TextMatch {
    /// Equal.
    Exact(Box<[u8]>),
    /// Beginning with this.
    Prefix(Box<[u8]>),
    /// Ending with this.
    Suffix(Box<[u8]>),
    /// With this anywhere in it.
    Contains(Box<[u8]>),
    /// Any of the four above with ASCII letters in either case.
    IgnoreCase(Box<TextMatch>),
    /// Matched as a whole by a pattern.
    Regex(Pattern),
}

impl TextMatch {
    /// Whether the text is as asked.
    #[must_use]
    pub fn matches(&self, text: &[u8]) -> bool {
        match self {
            Self::Exact(wanted) => text == &wanted[..],
            Self::Prefix(wanted) => text.starts_with(wanted),
            Self::Suffix(wanted) => text.ends_with(wanted),
            Self::Contains(wanted) => memmem::find(text, wanted).is_some(),
            Self::IgnoreCase(inner) => inner.matches_ignoring_case(text),
            Self::Regex(pattern) => pattern.matches(text),
        }
    }

    /// Sets of literals, of each of which every text that is as asked has one.
    pub(super) fn literals(&self) -> Cow<'_, [Choices]> {
        match self {
            Self::Exact(wanted) => literals::of_part(wanted, true, true),
            Self::Prefix(wanted) => literals::of_part(wanted, true, false),
            Self::Suffix(wanted) => literals::of_part(wanted, false, true),
            Self::Contains(wanted) => literals::of_part(wanted, false, false),
            Self::IgnoreCase(inner) => inner.literals(),
            Self::Regex(pattern) => pattern.literals().into(),
        }
    }

    fn matches_ignoring_case(&self, text: &[u8]) -> bool {
        match self {
            Self::Exact(wanted) => text.eq_ignore_ascii_case(wanted),
            Self::Prefix(wanted) => starts_with_ignoring_case(text, wanted),
            Self::Suffix(wanted) => text
                .len()
                .checked_sub(wanted.len())
                .is_some_and(|start| text[start..].eq_ignore_ascii_case(wanted)),
            Self::Contains(wanted) => {
                wanted.is_empty()
                    || text.windows(wanted.len()).any(|part| part.eq_ignore_ascii_case(wanted))
            }
            // A pattern says itself whether case counts.
            Self::IgnoreCase(_) | Self::Regex(_) => self.matches(text),
        }
    }
}

impl fmt::Display for TextMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, text) = match self {
            Self::Exact(text) => ("exact", text),
            Self::Prefix(text) => ("prefix", text),
            Self::Suffix(text) => ("suffix", text),
            Self::Contains(text) => ("contains", text),
            Self::IgnoreCase(inner) => return write!(f, "{inner} in any case"),
            Self::Regex(pattern) => return write!(f, "regex {}", pattern.as_str()),
        };
        write!(f, "{kind} {:?}", String::from_utf8_lossy(text))
    }
}

/// Whether `text` begins with `prefix`, ASCII letters in either case.
pub(super) fn starts_with_ignoring_case(text: &[u8], prefix: &[u8]) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_test_with_and_without_case() {
        type Make = fn(Box<[u8]>) -> TextMatch;
        let cases: &[(Make, &str, &str, bool, bool)] = &[
            (TextMatch::Exact, "Abc", "Abc", true, true),
            (TextMatch::Exact, "Abc", "aBC", false, true),
            (TextMatch::Exact, "", "", true, true),
            (TextMatch::Exact, "", "x", false, false),
            (TextMatch::Prefix, "Ab", "Abc", true, true),
            (TextMatch::Prefix, "AB", "abc", false, true),
            (TextMatch::Prefix, "abcd", "abc", false, false),
            (TextMatch::Suffix, "bc", "abc", true, true),
            (TextMatch::Suffix, "BC", "abc", false, true),
            (TextMatch::Suffix, "zabc", "abc", false, false),
            (TextMatch::Contains, "b", "abc", true, true),
            (TextMatch::Contains, "BC", "abcd", false, true),
            (TextMatch::Contains, "x", "abc", false, false),
        ];
        for (make, wanted, text, exact, ignoring) in cases {
            let test = make(wanted.as_bytes().into());
            assert_eq!(test.matches(text.as_bytes()), *exact, "{test:?} on {text}");
            let test = TextMatch::IgnoreCase(Box::new(test));
            assert_eq!(test.matches(text.as_bytes()), *ignoring, "{test:?} on {text}");
        }
    }

    #[test]
    fn a_pattern_keeps_its_own_case() {
        let pattern = TextMatch::Regex(Pattern::new("a+").expect("valid"));
        assert!(pattern.matches(b"aa"));
        assert!(!TextMatch::IgnoreCase(Box::new(pattern)).matches(b"AA"));
    }
}
