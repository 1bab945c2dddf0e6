//! Conditions of routes in words of people, where those of the configuration say little.

use tidegate_proxy::filter::jwt;
use tidegate_proxy::metadata::ValueTest;
use tidegate_proxy::route::{Condition, HeaderTest, ParameterTest};

/// What a condition asks for.
pub(crate) fn condition(condition: &Condition) -> String {
    let there = |what: &str, name: &str, wanted: bool| {
        let no = if wanted { "" } else { "no " };
        format!("{no}{what} {name}")
    };
    match condition {
        Condition::Header(header) => match &header.test {
            HeaderTest::Present(wanted) => {
                there("header", &header.field.to_string(), *wanted != header.invert)
            }
            HeaderTest::Range { .. } | HeaderTest::Text(_) => condition.to_string(),
        },
        Condition::Query(query) => match &query.test {
            ParameterTest::Present(wanted) => {
                there("query parameter", &String::from_utf8_lossy(&query.name), *wanted)
            }
            ParameterTest::Text(_) => condition.to_string(),
        },
        Condition::Metadata(test) if *test.of == *jwt::NAME => {
            // The first is the key under which the whole payload is noted.
            let path: Vec<&str> = test.path.iter().skip(1).map(|name| &**name).collect();
            let not = if test.invert { "not " } else { "" };
            let value = match &test.test {
                ValueTest::Any(tests) => tests.last().map(ToString::to_string),
                ValueTest::OneOf(test) => Some(test.to_string()),
                other => Some(other.to_string()),
            };
            let value = value.unwrap_or_default();
            format!("claim {} of a verified token: {not}{value}", path.join("."))
        }
        other => other.to_string(),
    }
}
