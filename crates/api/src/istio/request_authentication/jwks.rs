//! Keys of issuers: written out (RFC 7517), or where they are.

use serde_json::Value;

use crate::scalar::Port;
use crate::validation::Report;

/// Where keys are fetched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JwksUri {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// The host, without brackets if it is an address.
    pub host: String,
    /// The port; 80 or 443 where none is written.
    pub port: Port,
    /// Path and query, at least `/`.
    pub path: String,
}

/// What is said of an address of another scheme.
pub(super) const SCHEME: &str = "url must have scheme http:// or https://";

impl JwksUri {
    /// Reads an address: `http://` or `https://`, a host, and a port if it is not the usual one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let scheme = || SCHEME.to_owned();
        let (tls, rest) = match text.split_once("://").ok_or_else(scheme)? {
            (http, rest) if http.eq_ignore_ascii_case("http") => (false, rest),
            (https, rest) if https.eq_ignore_ascii_case("https") => (true, rest),
            _ => return Err(scheme()),
        };
        if rest.bytes().any(|b| b.is_ascii_control() || b == b' ') {
            return Err("spaces and control characters have to be written as %XX".to_owned());
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err("a name and password are not sent".to_owned());
        }
        // An address of version 6 stands in brackets, as it has colons of its own.
        let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, rest)) => (host, rest.strip_prefix(':')),
            None => match authority.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        if host.is_empty() {
            return Err("a host is needed".to_owned());
        }
        let usual = if tls { "443" } else { "80" };
        let port = port.filter(|port| !port.is_empty()).unwrap_or(usual);
        let digits = port.bytes().all(|b| b.is_ascii_digit());
        let port = port.parse().ok().filter(|_| digits).and_then(Port::new);
        let path = match path {
            path if path.starts_with('/') => path.to_owned(),
            path => format!("/{path}"),
        };
        Ok(Self { tls, host: host.to_owned(), port: port.ok_or("invalid port")?, path })
    }
}

/// Checks a set of keys, or a single key. Private ones are told, as they are not needed, and so are those that are shared, with which
/// tokens are made, too.
pub(super) fn validate(report: &mut Report, text: &str) {
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => return report.wrong(format!("jwks parse error: {error}")),
    };
    let keys = match &value["keys"] {
        Value::Array(keys) => keys.as_slice(),
        Value::Null if value.is_object() => std::slice::from_ref(&value),
        _ => return report.wrong("jwks parse error: an object with a list of keys is expected"),
    };
    for (at, key) in keys.iter().enumerate() {
        if let Err(message) = check(key) {
            report.wrong(format!("jwks parse error: key {at}: {message}"));
        } else if key["kty"] == "oct" {
            report.advise(format!(
                "key {at} is a shared secret: if it is long enough (32 bytes for HS256), tokens signed with it are taken, and whoever reads it \
                 here can make them; prefer a public key"
            ));
        } else if key.get("d").is_some() {
            report.advise(format!(
                "key {at} contains private key material; only public keys are used for verification"
            ));
        }
    }
}

/// Checks that a key has what its type needs (RFC 7518, section 6; RFC 8037).
fn check(key: &Value) -> Result<(), String> {
    let kind = key["kty"].as_str().ok_or("kty is missing")?;
    let (texts, numbers): (&[&str], &[&str]) = match kind {
        "RSA" => (&[], &["n", "e"]),
        "EC" => (&["crv"], &["x", "y"]),
        "OKP" => (&["crv"], &["x"]),
        "oct" => (&[], &["k"]),
        other => return Err(format!("kty {other:?} is not known")),
    };
    for field in texts {
        key[field].as_str().ok_or_else(|| format!("{field} is missing"))?;
    }
    for field in numbers {
        let number = key[field].as_str().ok_or_else(|| format!("{field} is missing"))?;
        let digit = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let number = number.trim_end_matches('=');
        if number.is_empty() || number.len() % 4 == 1 || !number.bytes().all(digit) {
            return Err(format!("{field} is no base64url"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let parsed =
            |text| JwksUri::parse(text).map(|uri| (uri.tls, uri.host, uri.port.get(), uri.path));
        let is =
            |tls, host: &str, port, path: &str| Ok((tls, host.to_owned(), port, path.to_owned()));
        assert_eq!(parsed("https://foo.com/a?b#c"), is(true, "foo.com", 443, "/a?b"));
        assert_eq!(parsed("HTTP://foo.com:8080"), is(false, "foo.com", 8080, "/"));
        assert_eq!(parsed("http://foo.com?a"), is(false, "foo.com", 80, "/?a"));
        assert_eq!(parsed("http://[::1]:81/"), is(false, "::1", 81, "/"));
        for bad in [
            "foo.com",
            "ftp://a",
            "https://foo.com:x",
            "https://",
            "http://a:0",
            "http://a b",
            "http://u@a",
        ] {
            assert!(JwksUri::parse(bad).is_err(), "{bad}");
        }
    }
}
