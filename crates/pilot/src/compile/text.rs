//! `StringMatch` as Envoy's matchers.

use tidegate_api::istio::StringMatch;
use tidegate_envoy::v3::matcher::string_matcher::MatchPattern;
use tidegate_envoy::v3::matcher::{RegexMatcher, StringMatcher};

/// The matcher of a text; `None` when it only has to be there.
///
/// The expression `*`, which is none, has meant presence in Istio since before it was refused.
#[must_use]
pub fn matcher(condition: &StringMatch) -> Option<StringMatcher> {
    let pattern = match condition {
        StringMatch::Present => return None,
        StringMatch::Regex(regex) if regex == "*" => return None,
        StringMatch::Exact(text) => MatchPattern::Exact(text.clone()),
        StringMatch::Prefix(text) => MatchPattern::Prefix(text.clone()),
        StringMatch::Regex(regex) => MatchPattern::SafeRegex(self::regex(regex)),
    };
    Some(of(pattern))
}

/// The matcher of a pattern, in the letter case that it is written in.
#[must_use]
pub fn of(pattern: MatchPattern) -> StringMatcher {
    StringMatcher { match_pattern: Some(pattern), ..StringMatcher::default() }
}

/// The matcher of a text that is just this.
#[must_use]
pub fn exact(text: &str) -> StringMatcher {
    of(MatchPattern::Exact(text.to_owned()))
}

/// The matcher of a text that begins so.
#[must_use]
pub fn starting(text: &str) -> StringMatcher {
    of(MatchPattern::Prefix(text.to_owned()))
}

/// The matcher of a text that an RE2 expression matches as a whole.
#[must_use]
pub fn matching(expression: &str) -> StringMatcher {
    of(MatchPattern::SafeRegex(regex(expression)))
}

/// A text as an expression that matches it alone. Only what RE2 gives a meaning is escaped.
#[must_use]
pub fn quote(text: &str) -> String {
    const MEANT: &[char] = &['\\', '.', '+', '*', '?', '(', ')', '|', '[', ']', '{', '}', '^', '$'];
    let mut quoted = String::with_capacity(text.len());
    for character in text.chars() {
        if MEANT.contains(&character) {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted
}

/// An RE2 expression that has to match the whole text.
#[must_use]
pub fn regex(expression: &str) -> RegexMatcher {
    RegexMatcher { regex: expression.to_owned(), ..RegexMatcher::default() }
}
