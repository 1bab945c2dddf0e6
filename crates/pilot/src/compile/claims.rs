//! Conditions on claims of a JWT, written as headers: `@request.auth.claims.NAME` or `@request.auth.claims[NAME]`.
//!
//! Whoever verifies the JWT puts its claims into the request's dynamic metadata. Where nobody does, no claim is there,
//! and a route that asks for one takes no request.

use tidegate_api::istio::StringMatch;
use tidegate_api::istio::virtual_service::HttpMatchRequest;
use tidegate_envoy::v3::matcher::metadata_matcher::PathSegment;
use tidegate_envoy::v3::matcher::metadata_matcher::path_segment::Segment;
use tidegate_envoy::v3::matcher::value_matcher::MatchPattern;
use tidegate_envoy::v3::matcher::{
    ListMatcher, MetadataMatcher, OrMatcher, StringMatcher, ValueMatcher, list_matcher,
};

use super::text;

/// How the header begins that stands for a claim, in any letter case.
const CLAIMS: &str = "@request.auth.claims";

/// The filter that verifies JWTs, and the key under which it keeps what they say.
pub const FILTER: &str = "envoy.filters.http.jwt_authn";
pub(super) const PAYLOAD: &str = "payload";

/// The claims that a header name leads through, the outermost first; `None` for an ordinary header.
#[must_use]
pub fn path(name: &str) -> Option<Vec<&str>> {
    let (prefix, rest) = name.split_at_checked(CLAIMS.len())?;
    if !prefix.eq_ignore_ascii_case(CLAIMS) {
        return None;
    }
    let bracketed = || rest.strip_prefix('[')?.strip_suffix(']');
    if let Some(dotted) = rest.strip_prefix('.').filter(|rest| !rest.is_empty()) {
        Some(dotted.split('.').collect())
    } else {
        bracketed().filter(|rest| !rest.is_empty()).map(|rest| rest.split("][").collect())
    }
}

/// The claims that a condition asks for: whether it wants them to be there, and the header name that stands for each.
pub fn asked(condition: &HttpMatchRequest) -> impl Iterator<Item = (bool, &String)> {
    let wanted = condition.headers.keys().map(|name| (true, name));
    let unwanted = condition.without_headers.keys().map(|name| (false, name));
    wanted.chain(unwanted).filter(|(_, name)| path(name).is_some())
}

/// The condition on a claim: one value of a list, or the value itself.
#[must_use]
pub fn matcher(path: &[&str], value: &StringMatch, invert: bool) -> MetadataMatcher {
    let pattern = match text::matcher(value) {
        Some(matcher) => MatchPattern::StringMatch(matcher),
        None => MatchPattern::PresentMatch(true),
    };
    MetadataMatcher { invert, ..of(path, in_list_or_alone(pattern)) }
}

/// Asks for a claim that is such a text.
#[must_use]
pub(super) fn exactly(path: &[&str], test: StringMatcher) -> MetadataMatcher {
    of(path, MatchPattern::StringMatch(test))
}

/// Asks for a claim that is such a text, or a list with one.
#[must_use]
pub(super) fn either(path: &[&str], test: StringMatcher) -> MetadataMatcher {
    of(path, in_list_or_alone(MatchPattern::StringMatch(test)))
}

fn in_list_or_alone(pattern: MatchPattern) -> MatchPattern {
    let one = list_matcher::MatchPattern::OneOf(Box::new(value(pattern.clone())));
    let list = MatchPattern::ListMatch(Box::new(ListMatcher { match_pattern: Some(one) }));
    MatchPattern::OrMatch(OrMatcher { value_matchers: vec![value(list), value(pattern)] })
}

fn value(pattern: MatchPattern) -> ValueMatcher {
    ValueMatcher { match_pattern: Some(pattern) }
}

fn of(path: &[&str], pattern: MatchPattern) -> MetadataMatcher {
    let segment = |key: &str| PathSegment { segment: Some(Segment::Key(key.to_owned())) };
    MetadataMatcher {
        filter: FILTER.to_owned(),
        path: std::iter::once(PAYLOAD).chain(path.iter().copied()).map(segment).collect(),
        value: Some(value(pattern)),
        invert: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_claims() {
        let cases: [(&str, Option<&[&str]>); 8] = [
            ("@request.auth.claims.admin", Some(&["admin"])),
            ("@Request.Auth.Claims.group.id", Some(&["group", "id"])),
            ("@request.auth.claims[https://a.b/c]", Some(&["https://a.b/c"])),
            ("@request.auth.claims[group][id]", Some(&["group", "id"])),
            ("@request.auth.claims", None),
            ("@request.auth.claims.", None),
            ("@request.auth.claims[]", None),
            ("x-claims", None),
        ];
        for (name, wanted) in cases {
            assert_eq!(path(name).as_deref(), wanted, "{name}");
        }
    }
}
