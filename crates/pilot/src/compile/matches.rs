//! Conditions of HTTP rules.

use tidegate_api::istio::StringMatch;
use tidegate_api::istio::virtual_service::HttpMatchRequest;
use tidegate_envoy::v3::route::header_matcher::HeaderMatchSpecifier;
use tidegate_envoy::v3::route::query_parameter_matcher::QueryParameterMatchSpecifier;
use tidegate_envoy::v3::route::route_match::PathSpecifier;
use tidegate_envoy::v3::route::{HeaderMatcher, QueryParameterMatcher, RouteMatch};

use super::{claims, text};

/// The match of a rule without conditions: every request.
#[must_use]
pub fn any() -> RouteMatch {
    RouteMatch {
        path_specifier: Some(PathSpecifier::Prefix("/".to_owned())),
        ..RouteMatch::default()
    }
}

/// The match of one condition; `by_segment` is whether prefixes of paths end at slashes. Port, gateways and sources are settled before: they choose whether the
/// route exists at all.
#[must_use]
pub fn of_condition(condition: &HttpMatchRequest, by_segment: bool) -> RouteMatch {
    let (mut headers, mut claimed) = (Vec::new(), Vec::new());
    for (all, inverted) in [(&condition.headers, false), (&condition.without_headers, true)] {
        for (name, value) in all {
            match claims::path(name) {
                Some(path) => claimed.push(claims::matcher(&path, value, inverted)),
                None if inverted => headers.push(without(name, value)),
                None => headers.push(header(name, value)),
            }
        }
    }
    headers.sort_by(|a, b| a.name.cmp(&b.name));
    let pseudo = [
        (":method", &condition.method),
        (":authority", &condition.authority),
        (":scheme", &condition.scheme),
    ];
    headers.extend(pseudo.iter().filter_map(|(name, value)| Some(header(name, value.as_ref()?))));
    RouteMatch {
        path_specifier: Some(path(condition.uri.as_ref(), by_segment)),
        case_sensitive: Some(!condition.ignore_uri_case),
        headers,
        dynamic_metadata: claimed,
        query_parameters: condition
            .query_params
            .iter()
            .map(|(name, value)| QueryParameterMatcher {
                name: name.clone(),
                query_parameter_match_specifier: Some(match text::matcher(value) {
                    Some(matcher) => QueryParameterMatchSpecifier::StringMatch(matcher),
                    None => QueryParameterMatchSpecifier::PresentMatch(true),
                }),
            })
            .collect(),
        ..RouteMatch::default()
    }
}

/// Whether a match takes every request. Such routes go behind all others of their host.
#[must_use]
pub fn is_catch_all(matched: &RouteMatch) -> bool {
    let every_path = match &matched.path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => prefix == "/",
        Some(PathSpecifier::SafeRegex(regex)) => regex.regex == ".*",
        _ => false,
    };
    every_path
        && matched.headers.is_empty()
        && matched.query_parameters.is_empty()
        && matched.dynamic_metadata.is_empty()
}

fn path(uri: Option<&StringMatch>, by_segment: bool) -> PathSpecifier {
    match uri {
        None | Some(StringMatch::Present) => PathSpecifier::Prefix("/".to_owned()),
        Some(StringMatch::Exact(path)) => PathSpecifier::Path(path.clone()),
        Some(StringMatch::Prefix(prefix)) if by_segment && prefix != "/" => {
            let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
            PathSpecifier::PathSeparatedPrefix(prefix.to_owned())
        }
        Some(StringMatch::Prefix(prefix)) => PathSpecifier::Prefix(prefix.clone()),
        Some(StringMatch::Regex(regex)) => PathSpecifier::SafeRegex(text::regex(regex)),
    }
}

fn header(name: &str, value: &StringMatch) -> HeaderMatcher {
    HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(match text::matcher(value) {
            Some(matcher) => HeaderMatchSpecifier::StringMatch(matcher),
            None => HeaderMatchSpecifier::PresentMatch(true),
        }),
        ..HeaderMatcher::default()
    }
}

/// The condition turned around. A missing header has no value that could match, so it counts as empty,
/// except where only presence was asked for.
fn without(name: &str, value: &StringMatch) -> HeaderMatcher {
    let matcher = header(name, value);
    let present =
        matches!(matcher.header_match_specifier, Some(HeaderMatchSpecifier::PresentMatch(_)));
    HeaderMatcher { invert_match: true, treat_missing_header_as_empty: !present, ..matcher }
}
