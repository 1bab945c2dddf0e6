//! Tests of what filters have noted (`MetadataMatcher`, `ValueMatcher`).

use std::fmt;

use super::{Metadata, Value};
use crate::route::TextMatch;

/// A test of what was noted at one place.
#[derive(Clone, Debug)]
pub struct MetadataTest {
    /// The filter that noted it.
    pub of: Box<str>,
    /// A key of the filter's own, and then the fields below it.
    pub path: Vec<Box<str>>,
    /// What it must be.
    pub test: ValueTest,
    /// Whether the result is turned round.
    pub invert: bool,
}

/// What a value must be.
#[derive(Clone, Debug)]
pub enum ValueTest {
    /// `null`.
    Null,
    /// There (`true`); `false` never holds, as in Envoy.
    Present(bool),
    /// This boolean.
    Bool(bool),
    /// Such a number.
    Number(NumberTest),
    /// Such a text.
    Text(TextMatch),
    /// A list with such an entry.
    OneOf(Box<ValueTest>),
    /// One of these.
    Any(Vec<ValueTest>),
}

/// What a number must be.
#[derive(Clone, Copy, Debug)]
pub enum NumberTest {
    /// This one.
    Exact(f64),
    /// From the first on, below the second.
    Range(f64, f64),
}

impl MetadataTest {
    /// Whether it holds. What was never noted is as nothing asks.
    #[must_use]
    pub fn holds(&self, noted: &Metadata) -> bool {
        let value = noted.get(&self.of, &self.path);
        value.is_some_and(|value| self.test.accepts(value)) != self.invert
    }
}

impl ValueTest {
    fn accepts(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Null, Value::Null) => true,
            (Self::Present(wanted), _) => *wanted,
            (Self::Bool(wanted), Value::Bool(value)) => wanted == value,
            (Self::Number(NumberTest::Exact(wanted)), Value::Number(value)) => wanted == value,
            (Self::Number(NumberTest::Range(start, end)), Value::Number(value)) => {
                (start..end).contains(&value)
            }
            (Self::Text(test), Value::Text(text)) => test.matches(text.as_bytes()),
            (Self::OneOf(test), Value::List(items)) => items.iter().any(|item| test.accepts(item)),
            (Self::Any(tests), value) => tests.iter().any(|test| test.accepts(value)),
            _ => false,
        }
    }
}

impl fmt::Display for MetadataTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dynamic_metadata {}", self.of)?;
        for name in &self.path {
            write!(f, "/{name}")?;
        }
        write!(f, ": {}{}", if self.invert { "not " } else { "" }, self.test)
    }
}

impl fmt::Display for ValueTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Present(wanted) => write!(f, "present_match {wanted}"),
            Self::Bool(wanted) => wanted.fmt(f),
            Self::Number(NumberTest::Exact(wanted)) => wanted.fmt(f),
            Self::Number(NumberTest::Range(start, end)) => write!(f, "{start} to {end}"),
            Self::Text(test) => test.fmt(f),
            Self::OneOf(test) => write!(f, "a list with {test}"),
            Self::Any(tests) => {
                for (at, test) in tests.iter().enumerate() {
                    write!(f, "{}{test}", if at > 0 { " or " } else { "" })?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Fields;

    #[test]
    fn values_are_found_and_judged_by_their_kind() {
        let payload = br#"{"s":"ab","n":1.5,"t":true,"z":null,"l":["x",["y"]],"m":{"k":"v"}}"#;
        let payload = Value::Map(Fields::from_json(payload).expect("valid"));
        let mut noted = Metadata::default();
        noted.note("f", "p".into(), Value::Null);
        noted.note("f", "p".into(), payload);
        let exact = |text: &str| ValueTest::Text(TextMatch::Exact(text.as_bytes().into()));
        let cases = [
            ("p/s", exact("ab"), true),
            ("p/s", exact("a"), false),
            ("p/s", ValueTest::Present(true), true),
            ("p/s", ValueTest::Present(false), false),
            ("p/m", exact("v"), false),
            ("p/m/k", exact("v"), true),
            ("p/m/k/v", ValueTest::Present(true), false),
            ("p/q", ValueTest::Present(true), false),
            ("p/q", ValueTest::Null, false),
            ("q", ValueTest::Present(true), false),
            ("p/z", ValueTest::Null, true),
            ("p/t", ValueTest::Bool(true), true),
            ("p/t", ValueTest::Bool(false), false),
            ("p/n", ValueTest::Number(NumberTest::Exact(1.5)), true),
            ("p/n", ValueTest::Number(NumberTest::Range(1.0, 1.5)), false),
            ("p/n", ValueTest::Number(NumberTest::Range(1.5, 2.0)), true),
            ("p/l", ValueTest::OneOf(Box::new(exact("x"))), true),
            ("p/l", ValueTest::OneOf(Box::new(exact("y"))), false),
            ("p/l", ValueTest::OneOf(Box::new(ValueTest::OneOf(Box::new(exact("y"))))), true),
            ("p/s", ValueTest::OneOf(Box::new(exact("ab"))), false),
            ("p/s", ValueTest::Any(vec![ValueTest::Null, exact("ab")]), true),
            ("p/s", ValueTest::Any(vec![]), false),
        ];
        for (path, test, expected) in cases {
            let path = path.split('/').map(Box::from).collect();
            let test = MetadataTest { of: "f".into(), path, test, invert: false };
            assert_eq!(test.holds(&noted), expected, "{test}");
            let other = MetadataTest { of: "g".into(), ..test.clone() };
            assert!(!other.holds(&noted) && !test.holds(&Metadata::default()), "{test}");
            let inverted = MetadataTest { invert: true, ..test };
            assert_eq!(inverted.holds(&noted), !expected, "{inverted}");
            assert!(inverted.holds(&Metadata::default()), "{inverted}");
        }
    }
}
