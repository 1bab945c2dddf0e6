//! Istio's rules for header names, and Envoy's for values with `%VARIABLES%`.

use crate::istio::virtual_service::{HeaderOperations, Headers};
use crate::validation::Report;

/// Longest name or value of a header that Envoy lets a configuration set, and most of them in one place.
const LONGEST_IN_ENVOY: usize = 16 * 1024;
const MOST_IN_ENVOY: usize = 1000;

/// What is told of changes to the Server header of responses.
const OWN_SERVER: &str =
    "has no effect at a gateway, which writes its own Server header afterwards, as in Istio";

/// Checks changes to the headers of requests and responses.
pub(crate) fn changes(report: &mut Report, headers: Option<&Headers>) {
    let Some(headers) = headers else { return };
    report.field("headers", |report| {
        report.optional("request", headers.request.as_ref(), |r, ops| {
            operations(r, ops, true);
        });
        report.optional("response", headers.response.as_ref(), |r, ops| {
            operations(r, ops, false);
        });
    });
}

fn operations(report: &mut Report, operations: &HeaderOperations, request: bool) {
    if operations.set.len() + operations.add.len() > MOST_IN_ENVOY {
        report.advise(format!("Envoy takes {MOST_IN_ENVOY} headers at most"));
    }
    for (field, map) in [("set", &operations.set), ("add", &operations.add)] {
        report.entries(field, map, |report, name, text| {
            // The host of a request may be written; everything else that HTTP itself needs may not.
            let result = if request && is_authority(name) { Ok(()) } else { changeable(name) };
            report.check(name, result);
            report.check(text.as_str(), value(text));
            if !request && name.eq_ignore_ascii_case("server") {
                report.advise(OWN_SERVER);
            }
            if request && field == "add" && is_authority(name) {
                report.advise(
                    "a request has one host, so that this takes its place: write it under set, or as rewrite.authority",
                );
            }
            if name.len().max(text.len()) > LONGEST_IN_ENVOY {
                report.advise(format!(
                    "Envoy takes {LONGEST_IN_ENVOY} bytes at most, in names as in values"
                ));
            }
        });
    }
    report.each("remove", &operations.remove, |report, name| {
        report.check(name.as_str(), changeable(name));
        if !request && name.eq_ignore_ascii_case("server") {
            report.advise(OWN_SERVER);
        }
    });
}

/// Whether the name means the host of a request.
pub(crate) fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case(":authority") || name.eq_ignore_ascii_case("host")
}

/// Whether the name says where a message ends. Whoever could write it could make two messages of one (RFC 9112, section
/// 11.2), so that nobody may, whatever Envoy does.
#[must_use]
pub fn frames(name: &str) -> bool {
    ["content-length", "transfer-encoding"].iter().any(|own| name.eq_ignore_ascii_case(own))
}

fn changeable(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        Err("header name cannot be empty")
    } else if name.eq_ignore_ascii_case("host") {
        Err("the Host header cannot be changed here")
    } else if name.starts_with(':') {
        Err("header cannot have \":\" prefix")
    } else {
        Ok(())
    }
}

/// Whether a condition on this name asks for a claim of a JWT (`@request.auth.claims.…`).
pub(crate) fn is_jwt_claim(name: &str) -> bool {
    const PREFIX: &str = "@request.auth.claims";
    let Some((prefix, rest)) = name.split_at_checked(PREFIX.len()) else {
        return false;
    };
    let path = (rest.starts_with('.') && rest.len() > 1)
        || (rest.starts_with('[') && rest.ends_with(']') && rest.len() > 2);
    prefix.eq_ignore_ascii_case(PREFIX) && path
}

/// Checks the name of a header that is matched.
pub(crate) fn matchable(name: &str) -> Result<(), &'static str> {
    const PSEUDO: [&str; 5] = [":method", ":scheme", ":authority", ":path", ":status"];
    if name.is_empty() {
        Err("header name cannot be empty")
    } else if is_jwt_claim(name) || PSEUDO.contains(&name) || is_token(name) {
        Ok(())
    } else {
        Err("not a valid header name")
    }
}

/// Checks the name of a header in a CORS policy, where `*` means any.
pub(crate) fn cors(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        Err("header name cannot be empty")
    } else if name == "*" || is_token(name) {
        Ok(())
    } else {
        Err("not a valid header name")
    }
}

/// Whether the text names a header or a pseudo-header.
#[must_use]
pub fn is_field(name: &str) -> bool {
    is_token(name.strip_prefix(':').unwrap_or(name))
}

/// Whether the text is a token of RFC 9110, section 5.6.2.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Checks a header value as Envoy's formatter reads it: `%%` is a percent sign, `%NAME%` and
/// `%NAME(argument)%` stand for values of the request. Which names there are is not checked.
fn value(text: &str) -> Result<(), &'static str> {
    let control = |b: u8| (b < 0x20 && b != b'\t') || b == 0x7f;
    if text.bytes().any(control) {
        return Err("header value has a control character");
    }
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let after = &rest[at + 1..];
        rest = match after.strip_prefix('%') {
            Some(after) => after,
            None => after_variable(after)?,
        };
    }
    Ok(())
}

/// What follows a variable whose opening percent sign has been read.
fn after_variable(text: &str) -> Result<&str, &'static str> {
    const UNTERMINATED: &str = "unescaped % or unterminated variable; write %% for a percent sign";
    let end = text.find(['%', '(']).ok_or(UNTERMINATED)?;
    if text.as_bytes()[end] == b'%' {
        return Ok(&text[end + 1..]);
    }
    // The argument goes on to the first closing parenthesis that no backslash protects.
    let argument = &text[end + 1..];
    let mut escaped = false;
    let close = argument.bytes().position(|b| {
        let closes = b == b')' && !escaped;
        escaped = b == b'\\' && !escaped;
        closes
    });
    let after = &argument[close.ok_or(UNTERMINATED)? + 1..];
    // Envoy lets a number that limits the length stand between the argument and the closing sign.
    let after = match after.strip_prefix(':') {
        Some(limit) => limit.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => after,
    };
    after.trim_start_matches(' ').strip_prefix('%').ok_or(UNTERMINATED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        for good in [
            "",
            "foo",
            "%HOSTNAME%",
            "100%%",
            "100%% and more",
            "prefix %HOSTNAME% suffix",
            "%DYNAMIC_METADATA(com.test.my_filter)%",
            "%DYNAMIC_METADATA([\"a\", \"b\"])%",
            "%REQ(X?Y):10%",
            "%A%%%",
            "%REQ(a\\)b)%",
        ] {
            assert_eq!(value(good), Ok(()), "{good}");
        }
        for bad in ["abc%123", "%START_TIME%%", "%", "%A(b%", "%A(b)c%", "a\nb"] {
            assert!(value(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names() {
        for good in
            ["x", ":authority", "X-Foo", "@request.auth.claims.foo", "@request.auth.claims[foo]"]
        {
            assert_eq!(matchable(good), Ok(()), "{good}");
        }
        for bad in ["", ":foo", "a b", "a:b"] {
            assert!(matchable(bad).is_err(), "{bad}");
        }
        assert!(is_jwt_claim("@Request.Auth.Claims.x"));
        assert!(!is_jwt_claim("@request.auth.claims"));
        assert!(!is_jwt_claim("ä"));
    }
}
