//! Tests of what filters have noted of a request.

use tidegate_envoy::v3::matcher::double_matcher::MatchPattern as Number;
use tidegate_envoy::v3::matcher::list_matcher::MatchPattern as List;
use tidegate_envoy::v3::matcher::metadata_matcher::path_segment::Segment;
use tidegate_envoy::v3::matcher::value_matcher::MatchPattern;
use tidegate_envoy::v3::matcher::{DoubleMatcher, MetadataMatcher, ValueMatcher};

use crate::config::refusal::{Refusal, Within, each};
use crate::metadata::{MetadataTest, NumberTest, ValueTest};

use super::matching::text;
use super::value::{present, required};

/// A test of what was noted at one place.
pub(super) fn metadata(proto: &MetadataMatcher) -> Result<MetadataTest, Refusal> {
    if proto.path.is_empty() {
        return Err(Refusal::of("path", "must name at least one key"));
    }
    let path = each("path", &proto.path, |segment| match &segment.segment {
        Some(Segment::Key(key)) => Ok(required("key", key)?.into()),
        None => Err(Refusal::of("key", "must be set")),
    })?;
    let value = present("value", proto.value.as_ref())?;
    Ok(MetadataTest {
        of: required("filter", &proto.filter)?.into(),
        path,
        test: test(value).within("value")?,
        invert: proto.invert,
    })
}

fn test(proto: &ValueMatcher) -> Result<ValueTest, Refusal> {
    match &proto.match_pattern {
        Some(MatchPattern::NullMatch(_)) => Ok(ValueTest::Null),
        Some(MatchPattern::PresentMatch(wanted)) => Ok(ValueTest::Present(*wanted)),
        Some(MatchPattern::BoolMatch(wanted)) => Ok(ValueTest::Bool(*wanted)),
        Some(MatchPattern::DoubleMatch(matcher)) => {
            number(matcher).map(ValueTest::Number).within("double_match")
        }
        Some(MatchPattern::StringMatch(matcher)) => {
            text(matcher).map(ValueTest::Text).within("string_match")
        }
        Some(MatchPattern::ListMatch(matcher)) => match &matcher.match_pattern {
            Some(List::OneOf(value)) => test(value)
                .map(|test| ValueTest::OneOf(Box::new(test)))
                .within("one_of")
                .within("list_match"),
            None => Err(Refusal::of("list_match.one_of", "must be set")),
        },
        Some(MatchPattern::OrMatch(matcher)) => {
            let tests = &matcher.value_matchers;
            if tests.len() < 2 {
                return Err(Refusal::of(
                    "or_match.value_matchers",
                    "must have two entries at least",
                ));
            }
            each("value_matchers", tests, test).map(ValueTest::Any).within("or_match")
        }
        None => Err(Refusal::new(
            "one of null_match, double_match, string_match, bool_match, present_match, list_match and or_match must be set",
        )),
    }
}

fn number(proto: &DoubleMatcher) -> Result<NumberTest, Refusal> {
    match &proto.match_pattern {
        Some(Number::Exact(number)) => Ok(NumberTest::Exact(*number)),
        Some(Number::Range(range)) => Ok(NumberTest::Range(range.start, range.end)),
        None => Err(Refusal::new("one of exact and range must be set")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::testing::proto;

    #[test]
    fn tests_say_what_they_ask_and_where_they_are_wrong() {
        let compiled = |value: Value| {
            let matcher =
                json!({"filter": "f", "path": [{"key": "a"}, {"key": "b"}], "value": value});
            metadata(&proto(&matcher)).map(|test| test.to_string()).map_err(|refusal| refusal.path)
        };
        let says = |text: &str| Ok(format!("dynamic_metadata f/a/b: {text}"));
        let text = json!({"string_match": {"exact": "x"}});
        let list = json!({"list_match": {"one_of": text}});
        for (value, expected) in [
            (json!({"null_match": {}}), says("null")),
            (json!({"present_match": true}), says("present_match true")),
            (json!({"bool_match": false}), says("false")),
            (json!({"double_match": {"exact": 1.5}}), says("1.5")),
            (json!({"double_match": {"range": {"start": 1, "end": 2}}}), says("1 to 2")),
            (
                json!({"or_match": {"value_matchers": [list, text]}}),
                says("a list with exact \"x\" or exact \"x\""),
            ),
            (json!({}), Err("value".to_owned())),
            (json!({"double_match": {}}), Err("value.double_match".to_owned())),
            (json!({"list_match": {}}), Err("value.list_match.one_of".to_owned())),
            (
                json!({"or_match": {"value_matchers": [text]}}),
                Err("value.or_match.value_matchers".to_owned()),
            ),
            (json!({"string_match": {"prefix": ""}}), Err("value.string_match.prefix".to_owned())),
        ] {
            assert_eq!(compiled(value.clone()), expected, "{value}");
        }
        let refused = |matcher: Value| metadata(&proto(&matcher)).map(|_| ()).map_err(|r| r.path);
        let value = json!({"present_match": true});
        assert_eq!(refused(json!({"filter": "f", "value": value})), Err("path".into()));
        assert_eq!(
            refused(json!({"filter": "f", "path": [{}], "value": value})),
            Err("path[0].key".into())
        );
        assert_eq!(refused(json!({"path": [{"key": "a"}], "value": value})), Err("filter".into()));
        assert_eq!(refused(json!({"filter": "f", "path": [{"key": "a"}]})), Err("value".into()));
    }
}
