//! Conditions on a request beside its path (`HeaderMatcher`, `QueryParameterMatcher`, fractions, gRPC).
//!
//! Known difference: lines of a header that Envoy keeps as one (`user-agent`, `x-forwarded-for` and a dozen
//! more) are joined there when they arrive; here each is a value of its own.

use std::borrow::Cow;
use std::fmt;

use crate::http::h1::encode::Decimal;
use crate::http::{ClientCertificate, RequestHead, ResponseHead};
use crate::metadata::MetadataTest;
use crate::random::Random;

use super::grpc;
use super::text::TextMatch;

/// One condition of a route; all of them must hold.
#[derive(Clone, Debug)]
pub enum Condition {
    /// On a header.
    Header(HeaderCondition),
    /// On a query parameter.
    Query(QueryCondition),
    /// For a share of requests (`runtime_fraction`).
    Fraction(Fraction),
    /// Only requests with a gRPC content type.
    Grpc,
    /// On what filters have noted of the request.
    Metadata(MetadataTest),
    /// On the client's certificate.
    Certificate(CertificateTest),
}

/// What a client must have shown, or must not (`tls_context`). Of a session that is resumed it counts what was shown when it
/// began; Envoy takes such certificates for not validated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateTest {
    /// Whether there is a certificate; `None` when that does not matter.
    pub presented: Option<bool>,
    /// Whether there is one that was verified.
    pub validated: Option<bool>,
}

impl CertificateTest {
    fn holds(self, shown: ClientCertificate) -> bool {
        let presented = shown != ClientCertificate::None;
        let validated = shown == ClientCertificate::Verified;
        self.presented.is_none_or(|wanted| wanted == presented)
            && self.validated.is_none_or(|wanted| wanted == validated)
    }
}

impl fmt::Display for CertificateTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tls_context")?;
        for (name, wanted) in [("presented", self.presented), ("validated", self.validated)] {
            if let Some(wanted) = wanted {
                write!(f, " {name} {wanted}")?;
            }
        }
        Ok(())
    }
}

/// A share of requests: those whose random number, modulo the denominator, is below the numerator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fraction {
    /// How many of `denominator` requests.
    pub numerator: u32,
    /// 100, 10,000 or 1,000,000.
    pub denominator: u32,
}

impl Fraction {
    /// No request.
    pub const NONE: Self = Self { numerator: 0, denominator: 100 };

    /// Whether it takes a request. Where it takes all or none, no number is drawn.
    #[must_use]
    pub fn takes(self, random: &Random) -> bool {
        let Self { numerator, denominator } = self;
        numerator >= denominator || numerator > 0 && self.holds(random.next())
    }

    /// Whether a request with this random number is one of them.
    #[must_use]
    pub fn holds(self, random: u64) -> bool {
        random % u64::from(self.denominator).max(1) < u64::from(self.numerator)
    }
}

impl Condition {
    /// Whether the condition holds; `random` is the request's random number.
    #[must_use]
    pub fn holds(&self, head: &RequestHead, random: u64) -> bool {
        match self {
            Self::Header(condition) => condition.holds(head),
            Self::Query(condition) => condition.holds(head),
            Self::Fraction(share) => share.holds(random),
            Self::Grpc => grpc::is_call(head),
            Self::Metadata(test) => test.holds(&head.noted),
            Self::Certificate(test) => test.holds(head.certificate),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(condition) => {
                let not = if condition.invert { "not " } else { "" };
                write!(f, "header {}: {not}", condition.field)?;
                match &condition.test {
                    HeaderTest::Present(wanted) => write!(f, "present_match {wanted}"),
                    HeaderTest::Range { start, end } => write!(f, "range_match {start} to {end}"),
                    HeaderTest::Text(test) => test.fmt(f),
                }
            }
            Self::Query(condition) => {
                write!(f, "query parameter {}: ", String::from_utf8_lossy(&condition.name))?;
                match &condition.test {
                    ParameterTest::Present(wanted) => write!(f, "present_match {wanted}"),
                    ParameterTest::Text(test) => test.fmt(f),
                }
            }
            Self::Fraction(Fraction { numerator, denominator }) => {
                write!(f, "runtime_fraction {numerator} of {denominator}")
            }
            Self::Grpc => f.write_str("grpc"),
            Self::Metadata(test) => test.fmt(f),
            Self::Certificate(test) => test.fmt(f),
        }
    }
}

/// What a header condition reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// `:method`
    Method,
    /// `:path`, with the query
    Path,
    /// `:authority`, or `host`, which is the same
    Authority,
    /// `:scheme`
    Scheme,
    /// A header, its name in lower case.
    Header(Box<[u8]>),
}

impl Field {
    /// The field of a name; names compare without case.
    #[must_use]
    pub fn new(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            ":method" => Self::Method,
            ":path" => Self::Path,
            ":authority" | "host" => Self::Authority,
            ":scheme" => Self::Scheme,
            name => Self::Header(name.as_bytes().into()),
        }
    }

    /// Its name, in lower case.
    #[must_use]
    pub fn name(&self) -> Cow<'_, str> {
        match self {
            Self::Method => ":method".into(),
            Self::Path => ":path".into(),
            Self::Authority => ":authority".into(),
            Self::Scheme => ":scheme".into(),
            Self::Header(name) => String::from_utf8_lossy(name),
        }
    }

    /// Its values in a request: one for each line.
    pub fn values<'h>(&'h self, head: &'h RequestHead) -> impl Iterator<Item = &'h [u8]> {
        let (pseudo, name) = match self {
            Self::Method => (present(head.method()), None),
            Self::Path => (present(head.path()), None),
            Self::Authority => (present(head.authority()), None),
            Self::Scheme => (present(head.scheme.as_str().as_bytes()), None),
            Self::Header(name) => (None, Some(name)),
        };
        let lines = name.into_iter().flat_map(|name| head.headers.get_all(name));
        pseudo.into_iter().chain(lines)
    }
}

/// A head has no marker for an absent pseudo header; none of them is present and empty.
fn present(value: &[u8]) -> Option<&[u8]> {
    Some(value).filter(|value| !value.is_empty())
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// A condition on a header.
#[derive(Clone, Debug)]
pub struct HeaderCondition {
    /// What is read.
    pub field: Field,
    /// What it must be.
    pub test: HeaderTest,
    /// Whether the result is turned round.
    pub invert: bool,
    /// Whether an absent header counts as an empty one.
    pub absent_is_empty: bool,
}

/// What a header must be.
#[derive(Clone, Debug)]
pub enum HeaderTest {
    /// There, or (`false`) not there.
    Present(bool),
    /// A decimal number in `start..end`.
    Range {
        /// First number that is good.
        start: i64,
        /// First number that is too large.
        end: i64,
    },
    /// A text.
    Text(TextMatch),
}

impl HeaderCondition {
    /// Whether the condition holds: a test of the value, when it holds for any line of the header. An absent
    /// header fails such a test, turned round or not.
    #[must_use]
    pub fn holds(&self, head: &RequestHead) -> bool {
        self.holds_for(self.field.values(head))
    }

    /// The same, of an answer; its `:status` is a header among others.
    #[must_use]
    pub fn holds_of(&self, answer: &ResponseHead) -> bool {
        let Field::Header(name) = &self.field else { return self.holds_for(std::iter::empty()) };
        let digits = Decimal::new(answer.status.into());
        let status = (**name == *b":status").then_some(&*digits);
        self.holds_for(status.into_iter().chain(answer.headers.get_all(name)))
    }

    fn holds_for<'v>(&self, values: impl Iterator<Item = &'v [u8]>) -> bool {
        let (mut there, mut accepted) = (false, false);
        for value in values {
            there = true;
            accepted |= self.test.accepts(value);
        }
        if !there && self.absent_is_empty {
            there = true;
            accepted = self.test.accepts(b"");
        }
        match self.test {
            HeaderTest::Present(wanted) => (there == wanted) != self.invert,
            HeaderTest::Range { .. } | HeaderTest::Text(_) => there && accepted != self.invert,
        }
    }

    /// The one value that the field must have, when the condition is just that.
    pub(super) fn exact(&self) -> Option<&[u8]> {
        match &self.test {
            HeaderTest::Text(TextMatch::Exact(value)) if !self.invert && !self.absent_is_empty => {
                Some(value)
            }
            _ => None,
        }
    }

    /// What any value that makes the condition hold is like, when one must.
    pub(super) fn text(&self) -> Option<&TextMatch> {
        match &self.test {
            HeaderTest::Text(test) if !self.invert => Some(test),
            _ => None,
        }
    }

    /// Whether the condition holds only when the header is there.
    pub(super) fn needs_header(&self) -> bool {
        let needed = match self.test {
            HeaderTest::Present(wanted) => wanted != self.invert,
            HeaderTest::Range { .. } | HeaderTest::Text(_) => true,
        };
        needed && !self.absent_is_empty
    }
}

impl HeaderTest {
    /// Whether a value is as asked; any is, for a test of presence.
    fn accepts(&self, value: &[u8]) -> bool {
        match self {
            Self::Present(_) => true,
            Self::Range { start, end } => {
                integer(value).is_some_and(|number| (*start..*end).contains(&number))
            }
            Self::Text(test) => test.matches(value),
        }
    }
}

/// A decimal integer with optional sign and surrounding white space.
fn integer(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text.trim_ascii()).ok()?.parse().ok()
}

/// A condition on a query parameter. Of several of one name the first counts; nothing is percent-decoded.
#[derive(Clone, Debug)]
pub struct QueryCondition {
    /// The parameter's name.
    pub name: Box<[u8]>,
    /// What it must be.
    pub test: ParameterTest,
}

/// What a query parameter must be.
#[derive(Clone, Debug)]
pub enum ParameterTest {
    /// There, or (`false`) not there.
    Present(bool),
    /// There, with such a value.
    Text(TextMatch),
}

impl QueryCondition {
    /// Whether the condition holds.
    #[must_use]
    pub fn holds(&self, head: &RequestHead) -> bool {
        let value = parameter(head.path(), &self.name);
        match (&self.test, value) {
            (ParameterTest::Present(wanted), value) => value.is_some() == *wanted,
            (ParameterTest::Text(test), Some(value)) => test.matches(value),
            (ParameterTest::Text(_), None) => false,
        }
    }

    /// The one value that the parameter must have, when the condition is just that.
    pub(super) fn exact(&self) -> Option<&[u8]> {
        match self.text() {
            Some(TextMatch::Exact(value)) => Some(value),
            _ => None,
        }
    }

    /// What the value must be like.
    pub(super) fn text(&self) -> Option<&TextMatch> {
        match &self.test {
            ParameterTest::Text(test) => Some(test),
            ParameterTest::Present(_) => None,
        }
    }

    /// Whether the condition holds only when the parameter is there.
    pub(super) fn needs_parameter(&self) -> bool {
        !matches!(self.test, ParameterTest::Present(false))
    }
}

/// The value of the first query parameter of a name; empty when it has no `=`.
pub(super) fn parameter<'p>(path: &'p [u8], name: &[u8]) -> Option<&'p [u8]> {
    parameters(path).find_map(|(key, value)| (key == name).then_some(value))
}

/// Names and values of the query parameters.
pub(crate) fn parameters(path: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let query = memchr::memchr(b'?', path).map(|at| &path[at + 1..]);
    let pairs = query.into_iter().flat_map(|query| query.split(|byte| *byte == b'&'));
    pairs.map(|pair| match memchr::memchr(b'=', pair) {
        Some(at) => (&pair[..at], &pair[at + 1..]),
        None => (pair, &b""[..]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::{Value, ValueTest};

    fn head(path: &str, headers: &[(&str, &str)]) -> RequestHead {
        RequestHead::get("Example.com:80", path, headers)
    }

    fn exact(value: &str) -> HeaderTest {
        HeaderTest::Text(TextMatch::Exact(value.as_bytes().into()))
    }

    fn condition(name: &str, test: HeaderTest) -> HeaderCondition {
        HeaderCondition { field: Field::new(name), test, invert: false, absent_is_empty: false }
    }

    #[test]
    fn header_tests_with_inversion_and_absence() {
        let range = || HeaderTest::Range { start: -10, end: 0 };
        // header, test, holds plain, holds inverted, holds with absence as empty
        let cases: &[(Option<&str>, HeaderTest, bool, bool, bool)] = &[
            (Some("v"), HeaderTest::Present(true), true, false, true),
            (None, HeaderTest::Present(true), false, true, true),
            (Some("v"), HeaderTest::Present(false), false, true, false),
            (None, HeaderTest::Present(false), true, false, false),
            (Some("v"), exact("v"), true, false, true),
            (Some("w"), exact("v"), false, true, false),
            (None, exact("v"), false, false, false),
            (None, exact(""), false, false, true),
            (Some("-1"), range(), true, false, true),
            (Some(" -10 "), range(), true, false, true),
            (Some("0"), range(), false, true, false),
            (Some("-1x"), range(), false, true, false),
            (Some(""), range(), false, true, false),
            (None, range(), false, false, false),
        ];
        for (value, test, plain, inverted, as_empty) in cases {
            let headers: Vec<_> = value.iter().map(|value| ("X-Test", *value)).collect();
            let head = head("/", &headers);
            let mut condition = condition("x-test", test.clone());
            assert_eq!(condition.holds(&head), *plain, "{value:?} {test:?}");
            condition.invert = true;
            assert_eq!(condition.holds(&head), *inverted, "{value:?} not {test:?}");
            condition.invert = false;
            condition.absent_is_empty = true;
            assert_eq!(condition.holds(&head), *as_empty, "{value:?} {test:?}, absent as empty");
        }
    }

    #[test]
    fn any_line_of_a_header_may_match_and_none_when_turned_round() {
        let cases: &[(&[&str], bool, bool)] =
            &[(&["a", "b"], true, false), (&["b", "a"], true, false), (&["b", "a,"], false, true)];
        for (values, plain, inverted) in cases {
            let headers: Vec<_> = values.iter().map(|value| ("x-test", *value)).collect();
            let head = head("/", &headers);
            let mut condition = condition("x-test", exact("a"));
            assert_eq!(condition.holds(&head), *plain, "{values:?}");
            condition.invert = true;
            assert_eq!(condition.holds(&head), *inverted, "{values:?}");
        }
    }

    #[test]
    fn pseudo_headers_and_lines() {
        let head = head("/a?b=c", &[("X-A", "1"), ("x-b", "2"), ("x-a", "3")]);
        let cases: &[(&str, &[&str])] = &[
            (":method", &["GET"]),
            (":path", &["/a?b=c"]),
            (":authority", &["Example.com:80"]),
            ("Host", &["Example.com:80"]),
            (":scheme", &["http"]),
            ("x-a", &["1", "3"]),
            ("X-B", &["2"]),
            ("user-agent", &[]),
        ];
        for (name, expected) in cases {
            let field = Field::new(name);
            let values: Vec<_> = field.values(&head).map(String::from_utf8_lossy).collect();
            assert_eq!(values, *expected, "{name}");
        }
    }

    #[test]
    fn query_parameters() {
        let exact = |value: &str| ParameterTest::Text(TextMatch::Exact(value.as_bytes().into()));
        let cases = [
            ("/p?a=1&a=2", "a", exact("1"), true),
            ("/p?a=1&a=2", "a", exact("2"), false),
            ("/p?a", "a", exact(""), true),
            ("/p?a", "a", ParameterTest::Present(true), true),
            ("/p?b=a", "a", ParameterTest::Present(true), false),
            ("/p", "a", ParameterTest::Present(false), true),
            ("/p?x=%61", "x", exact("a"), false),
            ("/p?x=y=z", "x", exact("y=z"), true),
            ("/p", "a", exact("1"), false),
        ];
        for (path, name, test, expected) in cases {
            let condition = QueryCondition { name: name.as_bytes().into(), test };
            assert_eq!(condition.holds(&head(path, &[])), expected, "{path} {condition:?}");
        }
    }

    #[test]
    fn conditions_say_what_they_ask() {
        let mut header = condition("X-A", exact("v"));
        header.invert = true;
        let pattern = TextMatch::IgnoreCase(Box::new(TextMatch::Suffix(b"z".as_slice().into())));
        let query =
            QueryCondition { name: b"q".as_slice().into(), test: ParameterTest::Text(pattern) };
        let cases = [
            (Condition::Header(header), "header x-a: not exact \"v\""),
            (Condition::Query(query), "query parameter q: suffix \"z\" in any case"),
            (
                Condition::Fraction(Fraction { numerator: 1, denominator: 100 }),
                "runtime_fraction 1 of 100",
            ),
        ];
        for (condition, expected) in cases {
            assert_eq!(condition.to_string(), expected);
        }
    }

    #[test]
    fn metadata_is_what_filters_have_noted() {
        let condition = |invert| {
            let test = ValueTest::Present(true);
            let path = vec!["a".into()];
            Condition::Metadata(MetadataTest { of: "f".into(), path, test, invert })
        };
        let mut head = head("/", &[]);
        assert!(!condition(false).holds(&head, 0));
        assert!(condition(true).holds(&head, 0));
        head.noted.note("f", "a".into(), Value::Null);
        assert!(condition(false).holds(&head, 0));
        assert!(!condition(true).holds(&head, 0));
        head.clear();
        assert!(!condition(false).holds(&head, 0));
        let expected = "dynamic_metadata f/a: not present_match true";
        assert_eq!(condition(true).to_string(), expected);
    }

    #[test]
    fn certificates_are_what_the_client_has_shown() {
        use ClientCertificate::{None as Nothing, Presented, Verified};
        // What is asked, and for which of the three it holds.
        let cases = [
            (None, None, [true, true, true]),
            (Some(true), None, [false, true, true]),
            (Some(false), None, [true, false, false]),
            (None, Some(true), [false, false, true]),
            (None, Some(false), [true, true, false]),
            (Some(true), Some(false), [false, true, false]),
        ];
        for (presented, validated, expected) in cases {
            let condition = Condition::Certificate(CertificateTest { presented, validated });
            let mut head = head("/", &[]);
            let holds = [Nothing, Presented, Verified].map(|shown| {
                head.certificate = shown;
                condition.holds(&head, 0)
            });
            assert_eq!(holds, expected, "{condition}");
        }
        let test = CertificateTest { presented: Some(true), validated: Some(false) };
        assert_eq!(test.to_string(), "tls_context presented true validated false");
    }

    #[test]
    fn fractions_and_grpc() {
        let half = Condition::Fraction(Fraction { numerator: 50, denominator: 100 });
        assert!(half.holds(&head("/", &[]), 149));
        assert!(!half.holds(&head("/", &[]), 150));
        for (content_type, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc-web", false),
        ] {
            let head = head("/", &[("content-type", content_type)]);
            assert_eq!(Condition::Grpc.holds(&head, 0), expected, "{content_type}");
        }
    }
}
