//! What routes ask of a request.

use tidegate_envoy::v3::base::FractionalPercent;
use tidegate_envoy::v3::base::fractional_percent::DenominatorType;
use tidegate_envoy::v3::core::RuntimeFractionalPercent;
use tidegate_envoy::v3::matcher::string_matcher::MatchPattern;
use tidegate_envoy::v3::matcher::{
    MetadataMatcher, RegexMatchAndSubstitute, RegexMatcher, StringMatcher,
};
use tidegate_envoy::v3::route::header_matcher::HeaderMatchSpecifier;
use tidegate_envoy::v3::route::query_parameter_matcher::QueryParameterMatchSpecifier;
use tidegate_envoy::v3::route::route_match::{PathSpecifier, TlsContextMatchOptions};
use tidegate_envoy::v3::route::{HeaderMatcher, QueryParameterMatcher, RouteMatch as ProtoMatch};

use crate::config::refusal::{Refusal, Within, each};
use crate::route::{
    CertificateTest, Condition, Field, Fraction, HeaderCondition, HeaderTest, ParameterTest,
    PathMatch, Pattern, QueryCondition, RouteMatch, Substitution, TextMatch,
};

use super::metadata::metadata;
use super::value::{enumeration, header_name, header_value, present, required};

/// Most bytes of a query parameter's name, as Envoy allows.
const MAX_PARAMETER_NAME: usize = 1024;

/// The match of a route.
pub(in crate::config) fn route_match(proto: &ProtoMatch) -> Result<RouteMatch, Refusal> {
    let headers = |proto: &HeaderMatcher| header(proto).map(Condition::Header);
    let mut conditions = each("headers", &proto.headers, headers)?;
    conditions.extend(each("query_parameters", &proto.query_parameters, query)?);
    let noted = |proto: &MetadataMatcher| metadata(proto).map(Condition::Metadata);
    conditions.extend(each("dynamic_metadata", &proto.dynamic_metadata, noted)?);
    if proto.grpc.is_some() {
        conditions.push(Condition::Grpc);
    }
    if let Some(asked) = &proto.tls_context {
        let TlsContextMatchOptions { presented, validated } = *asked;
        conditions.push(Condition::Certificate(CertificateTest { presented, validated }));
    }
    let share = share("runtime_fraction", proto.runtime_fraction.as_ref())?;
    conditions.extend(share.map(Condition::Fraction));
    Ok(RouteMatch {
        path: path(proto.path_specifier.as_ref())?,
        ignore_case: proto.case_sensitive == Some(false),
        conditions,
    })
}

fn path(specifier: Option<&PathSpecifier>) -> Result<PathMatch, Refusal> {
    let bytes = |text: &String| text.as_bytes().into();
    match specifier {
        Some(PathSpecifier::Prefix(prefix)) => Ok(PathMatch::Prefix(bytes(prefix))),
        Some(PathSpecifier::Path(path)) => Ok(PathMatch::Exact(bytes(path))),
        Some(PathSpecifier::PathSeparatedPrefix(prefix)) => separated_prefix(prefix),
        Some(PathSpecifier::SafeRegex(matcher)) => {
            Ok(PathMatch::Regex(regex(matcher).within("safe_regex")?))
        }
        Some(PathSpecifier::ConnectMatcher(_)) => Ok(PathMatch::Connect),
        Some(PathSpecifier::PathMatchPolicy(_)) | None => Err(Refusal::new(
            "one of path, prefix, path_separated_prefix, safe_regex and connect_matcher must be set",
        )),
    }
}

fn separated_prefix(prefix: &str) -> Result<PathMatch, Refusal> {
    if prefix.len() < 2 || prefix.ends_with('/') || prefix.contains(['?', '#']) {
        return Err(Refusal::of(
            "path_separated_prefix",
            "must have two characters or more, no ? or #, and no slash at its end",
        ));
    }
    Ok(PathMatch::SeparatedPrefix(prefix.as_bytes().into()))
}

/// A test of a header.
#[allow(deprecated, reason = "the older matchers are what older control planes send")]
pub(super) fn header(proto: &HeaderMatcher) -> Result<HeaderCondition, Refusal> {
    let exact = |text: &String| -> Box<[u8]> { text.as_bytes().into() };
    let test = match &proto.header_match_specifier {
        None => HeaderTest::Present(true),
        Some(HeaderMatchSpecifier::PresentMatch(wanted)) => HeaderTest::Present(*wanted),
        Some(HeaderMatchSpecifier::RangeMatch(range)) => {
            HeaderTest::Range { start: range.start, end: range.end }
        }
        Some(HeaderMatchSpecifier::StringMatch(matcher)) => {
            HeaderTest::Text(text(matcher).within("string_match")?)
        }
        // Unlike a string_match, an empty exact_match is a prefix of everything.
        Some(HeaderMatchSpecifier::ExactMatch(wanted)) if wanted.is_empty() => {
            HeaderTest::Text(TextMatch::Prefix(Box::default()))
        }
        Some(HeaderMatchSpecifier::ExactMatch(wanted)) => {
            HeaderTest::Text(TextMatch::Exact(exact(wanted)))
        }
        Some(HeaderMatchSpecifier::PrefixMatch(wanted)) => {
            HeaderTest::Text(TextMatch::Prefix(exact(wanted)))
        }
        Some(HeaderMatchSpecifier::SuffixMatch(wanted)) => {
            HeaderTest::Text(TextMatch::Suffix(exact(wanted)))
        }
        Some(HeaderMatchSpecifier::ContainsMatch(wanted)) => {
            HeaderTest::Text(TextMatch::Contains(exact(wanted)))
        }
        Some(HeaderMatchSpecifier::SafeRegexMatch(matcher)) => {
            HeaderTest::Text(TextMatch::Regex(regex(matcher).within("safe_regex_match")?))
        }
    };
    Ok(HeaderCondition {
        field: Field::new(&header_name("name", &proto.name)?),
        test,
        invert: proto.invert_match,
        absent_is_empty: proto.treat_missing_header_as_empty,
    })
}

pub(super) fn query(proto: &QueryParameterMatcher) -> Result<Condition, Refusal> {
    let name = required("name", &proto.name)?;
    if name.len() > MAX_PARAMETER_NAME {
        return Err(Refusal::of(
            "name",
            format_args!("must have {MAX_PARAMETER_NAME} bytes at most"),
        ));
    }
    let test = match &proto.query_parameter_match_specifier {
        None => ParameterTest::Present(true),
        Some(QueryParameterMatchSpecifier::PresentMatch(wanted)) => ParameterTest::Present(*wanted),
        Some(QueryParameterMatchSpecifier::StringMatch(matcher)) => {
            ParameterTest::Text(text(matcher).within("string_match")?)
        }
    };
    Ok(Condition::Query(QueryCondition { name: name.as_bytes().into(), test }))
}

/// A share of requests. There is no runtime: the default holds.
pub(super) fn share(
    field: &str,
    proto: Option<&RuntimeFractionalPercent>,
) -> Result<Option<Fraction>, Refusal> {
    let share = |proto: &RuntimeFractionalPercent| {
        fraction(present("default_value", proto.default_value.as_ref())?).within("default_value")
    };
    proto.map(share).transpose().within(field)
}

/// A share of requests.
pub(super) fn fraction(proto: &FractionalPercent) -> Result<Fraction, Refusal> {
    let denominator = match enumeration("denominator", proto.denominator)? {
        DenominatorType::Hundred => 100,
        DenominatorType::TenThousand => 10_000,
        DenominatorType::Million => 1_000_000,
    };
    Ok(Fraction { numerator: proto.numerator, denominator })
}

/// A test of a text.
pub(super) fn text(proto: &StringMatcher) -> Result<TextMatch, Refusal> {
    let part = |field: &str, value: &str| -> Result<Box<[u8]>, Refusal> {
        Ok(required(field, value)?.as_bytes().into())
    };
    let test = match &proto.match_pattern {
        Some(MatchPattern::Exact(wanted)) => TextMatch::Exact(wanted.as_bytes().into()),
        Some(MatchPattern::Prefix(wanted)) => TextMatch::Prefix(part("prefix", wanted)?),
        Some(MatchPattern::Suffix(wanted)) => TextMatch::Suffix(part("suffix", wanted)?),
        Some(MatchPattern::Contains(wanted)) => TextMatch::Contains(part("contains", wanted)?),
        Some(MatchPattern::SafeRegex(_)) if proto.ignore_case => {
            let reason = "has no effect on safe_regex; begin the pattern with (?i)";
            return Err(Refusal::of("ignore_case", reason));
        }
        Some(MatchPattern::SafeRegex(matcher)) => {
            TextMatch::Regex(regex(matcher).within("safe_regex")?)
        }
        Some(MatchPattern::Custom(_)) | None => {
            return Err(Refusal::new(
                "one of exact, prefix, suffix, contains and safe_regex must be set",
            ));
        }
    };
    Ok(if proto.ignore_case { TextMatch::IgnoreCase(Box::new(test)) } else { test })
}

fn regex(proto: &RegexMatcher) -> Result<Pattern, Refusal> {
    let source = required("regex", &proto.regex)?;
    Pattern::new(source).map_err(|error| Refusal::of("regex", error))
}

/// A pattern and what replaces its matches.
pub(super) fn substitution(proto: &RegexMatchAndSubstitute) -> Result<Substitution, Refusal> {
    let pattern = present("pattern", proto.pattern.as_ref())?;
    let source = required("regex", &pattern.regex).within("pattern")?;
    header_value("substitution", &proto.substitution)?;
    // The pattern is compiled by itself first, so that its faults are told apart from the replacement's.
    Pattern::new(source).map_err(|error| Refusal::of("pattern.regex", error))?;
    Substitution::new(source, &proto.substitution)
        .map_err(|error| Refusal::of("substitution", error))
}

#[cfg(test)]
mod tests {
    use tidegate_envoy::v3::base::Int64Range;

    use super::*;

    fn regex_of(source: &str) -> RegexMatcher {
        RegexMatcher { regex: source.into(), ..RegexMatcher::default() }
    }

    fn refused(proto: &ProtoMatch) -> String {
        route_match(proto).expect_err("refused").path
    }

    #[test]
    fn paths() {
        let compile = |specifier| {
            let proto = ProtoMatch { path_specifier: Some(specifier), ..ProtoMatch::default() };
            route_match(&proto).map(|found| found.path.to_string()).map_err(|refusal| refusal.path)
        };
        let separated = |prefix: &str| PathSpecifier::PathSeparatedPrefix(prefix.into());
        let cases = [
            (PathSpecifier::Prefix("/a".into()), Ok("prefix /a")),
            (PathSpecifier::Prefix(String::new()), Ok("prefix ")),
            (PathSpecifier::Path("/a".into()), Ok("path /a")),
            (separated("/a"), Ok("path_separated_prefix /a")),
            (separated("/"), Err("path_separated_prefix")),
            (separated("/a/"), Err("path_separated_prefix")),
            (separated("/a?b"), Err("path_separated_prefix")),
            (PathSpecifier::SafeRegex(regex_of("/a.*")), Ok("regex /a.*")),
            (PathSpecifier::SafeRegex(regex_of("(")), Err("safe_regex.regex")),
            (PathSpecifier::SafeRegex(regex_of("")), Err("safe_regex.regex")),
            (PathSpecifier::ConnectMatcher(Default::default()), Ok("connect_matcher")),
        ];
        for (specifier, expected) in cases {
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(compile(specifier.clone()), expected, "{specifier:?}");
        }
        assert_eq!(refused(&ProtoMatch::default()), "");
    }

    #[test]
    fn case_counts_unless_it_says_otherwise() {
        for (case_sensitive, ignore_case) in
            [(None, false), (Some(true), false), (Some(false), true)]
        {
            let path_specifier = Some(PathSpecifier::Path("/".into()));
            let proto = ProtoMatch { case_sensitive, path_specifier, ..ProtoMatch::default() };
            assert_eq!(route_match(&proto).map(|found| found.ignore_case), Ok(ignore_case));
        }
    }

    #[test]
    #[allow(deprecated, reason = "the older matchers are what older control planes send")]
    fn header_matchers() {
        let string = |pattern| {
            HeaderMatchSpecifier::StringMatch(StringMatcher {
                match_pattern: Some(pattern),
                ignore_case: false,
            })
        };
        let cases = [
            (None, Ok("Present(true)")),
            (Some(HeaderMatchSpecifier::PresentMatch(false)), Ok("Present(false)")),
            (
                Some(HeaderMatchSpecifier::RangeMatch(Int64Range { start: -1, end: 5 })),
                Ok("Range { start: -1, end: 5 }"),
            ),
            (Some(string(MatchPattern::Exact("v".into()))), Ok("Text(Exact([118]))")),
            (Some(string(MatchPattern::Prefix(String::new()))), Err("string_match.prefix")),
            (Some(string(MatchPattern::SafeRegex(regex_of("v")))), Ok("Text(Regex(/v/))")),
            (
                Some(string(MatchPattern::SafeRegex(regex_of("[")))),
                Err("string_match.safe_regex.regex"),
            ),
            (Some(HeaderMatchSpecifier::ExactMatch(String::new())), Ok("Text(Prefix([]))")),
            (Some(HeaderMatchSpecifier::ExactMatch("v".into())), Ok("Text(Exact([118]))")),
            (Some(HeaderMatchSpecifier::ContainsMatch("v".into())), Ok("Text(Contains([118]))")),
            (
                Some(HeaderMatchSpecifier::SafeRegexMatch(regex_of("("))),
                Err("safe_regex_match.regex"),
            ),
        ];
        for (header_match_specifier, expected) in cases {
            let matcher = HeaderMatcher {
                name: "X-A".into(),
                header_match_specifier: header_match_specifier.clone(),
                ..HeaderMatcher::default()
            };
            let found = header(&matcher).map(|condition| format!("{:?}", condition.test));
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(
                found.map_err(|refusal| refusal.path),
                expected,
                "{header_match_specifier:?}"
            );
        }
    }

    #[test]
    fn the_place_of_a_wrong_condition_is_named() {
        let path_specifier = Some(PathSpecifier::Prefix("/".into()));
        let with = |proto: ProtoMatch| {
            refused(&ProtoMatch { path_specifier: path_specifier.clone(), ..proto })
        };
        let headers = vec![HeaderMatcher { name: "a b".into(), ..HeaderMatcher::default() }];
        assert_eq!(with(ProtoMatch { headers, ..ProtoMatch::default() }), "headers[0].name");
        let query_parameters = vec![QueryParameterMatcher::default()];
        assert_eq!(
            with(ProtoMatch { query_parameters, ..ProtoMatch::default() }),
            "query_parameters[0].name"
        );
        let runtime_fraction = Some(RuntimeFractionalPercent::default());
        assert_eq!(
            with(ProtoMatch { runtime_fraction, ..ProtoMatch::default() }),
            "runtime_fraction.default_value"
        );
    }

    #[test]
    fn fractions() {
        for (denominator, expected) in
            [(0, Some(100)), (1, Some(10_000)), (2, Some(1_000_000)), (3, None)]
        {
            let found = fraction(&FractionalPercent { numerator: 7, denominator }).ok();
            let found = found.map(|condition| format!("{condition:?}"));
            let expected =
                expected.map(|d| format!("{:?}", Fraction { numerator: 7, denominator: d }));
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn substitutions() {
        let proto = |pattern: Option<&str>, substitution: &str| RegexMatchAndSubstitute {
            pattern: pattern.map(regex_of),
            substitution: substitution.into(),
        };
        let path = |proto| substitution(&proto).map(|_| ()).map_err(|refusal| refusal.path);
        assert_eq!(path(proto(Some("a"), "b")), Ok(()));
        for (pattern, replacement, expected) in [
            (None, "", "pattern"),
            (Some(""), "", "pattern.regex"),
            (Some("("), "", "pattern.regex"),
            (Some("a"), "\\1", "substitution"),
            (Some("a"), "\n", "substitution"),
        ] {
            assert_eq!(path(proto(pattern, replacement)), Err(expected.to_owned()));
        }
    }
}
