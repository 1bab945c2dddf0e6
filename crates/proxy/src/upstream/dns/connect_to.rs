//! Connections that go elsewhere: curl's `--connect-to`.

use std::str::FromStr;

use thiserror::Error;

/// A rule `HOST:PORT:ADDR:PORT`: connections to the first two go to the last two. An empty HOST or
/// first PORT means any, an empty ADDR or last PORT leaves that part as it is. IPv6 addresses stand
/// in brackets.
///
/// A rule is about names and addresses that a cluster is to resolve: the endpoints of STRICT_DNS and
/// LOGICAL_DNS clusters. Those of STATIC and EDS clusters are addresses already (a name there is
/// refused, and `hostname` is a label, never dialled); they are connected to as they stand, so that no rule
/// for any host catches them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectTo {
    host: Option<String>,
    port: Option<u16>,
    to_host: Option<String>,
    to_port: Option<u16>,
}

/// Why a text is no [`ConnectTo`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConnectToError {
    /// There are not four parts.
    #[error("`{0}` is not HOST:PORT:ADDR:PORT (an IPv6 address stands in brackets)")]
    Parts(String),
    /// A port is none.
    #[error("`{0}` is not a port; leave it empty to mean any")]
    Port(String),
}

impl ConnectTo {
    /// Where a connection to `host` and `port` goes; `None` when the rule is not about it.
    pub fn apply<'a>(&'a self, host: &'a str, port: u16) -> Option<(&'a str, u16)> {
        let about_host = self.host.as_deref().is_none_or(|rule| same_host(rule, host));
        let about_port = self.port.is_none_or(|rule| rule == port);
        (about_host && about_port)
            .then(|| (self.to_host.as_deref().unwrap_or(host), self.to_port.unwrap_or(port)))
    }
}

fn same_host(rule: &str, host: &str) -> bool {
    let plain = |host| str::trim_end_matches(bare(host), '.');
    plain(rule).eq_ignore_ascii_case(plain(host))
}

/// Without the brackets of an IPv6 address.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

impl FromStr for ConnectTo {
    type Err = ConnectToError;

    fn from_str(text: &str) -> Result<Self, ConnectToError> {
        let split = || {
            let (host, rest) = split_host(text)?;
            let (port, rest) = rest.split_once(':')?;
            let (to_host, to_port) = split_host(rest)?;
            (!to_port.contains(':')).then_some([host, port, to_host, to_port])
        };
        let [host, port, to_host, to_port] =
            split().ok_or_else(|| ConnectToError::Parts(text.into()))?;
        let some = |host: &str| (!host.is_empty()).then(|| bare(host).to_owned());
        Ok(Self {
            host: some(host),
            port: parse_port(port)?,
            to_host: some(to_host),
            to_port: parse_port(to_port)?,
        })
    }
}

/// The host up to its colon, and what follows that.
fn split_host(text: &str) -> Option<(&str, &str)> {
    if text.starts_with('[') {
        let end = text.find("]:")?;
        return Some((&text[..=end], &text[end + 2..]));
    }
    text.split_once(':')
}

fn parse_port(text: &str) -> Result<Option<u16>, ConnectToError> {
    match text {
        "" => Ok(None),
        _ => text.parse().map(Some).map_err(|_| ConnectToError::Port(text.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_redirect_what_they_are_about() {
        let cases = [
            ("a.com:80:127.0.0.1:8080", "A.com.", 80, Some(("127.0.0.1", 8080))),
            ("a.com:80:127.0.0.1:8080", "a.com", 81, None),
            ("a.com:80:127.0.0.1:8080", "b.com", 80, None),
            ("::b.com:", "a.com", 80, Some(("b.com", 80))),
            (":443::8443", "a.com", 443, Some(("a.com", 8443))),
            (":443::8443", "a.com", 80, None),
            ("a.com::[::1]:9", "a.com", 1, Some(("::1", 9))),
            ("[2001:db8::1]:80:c.com:", "2001:DB8::1", 80, Some(("c.com", 80))),
        ];
        for (rule, host, port, expected) in cases {
            assert_eq!(rule.parse::<ConnectTo>().unwrap().apply(host, port), expected, "{rule}");
        }
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for text in ["", "a", "a:80", "a:80:b", "a:80:b:80:c", "[::1:80:b:80", "::1:80:b:80:1"] {
            assert_eq!(text.parse::<ConnectTo>(), Err(ConnectToError::Parts(text.into())));
        }
        for text in ["a:http:b:80", "a:80:b:65536"] {
            assert!(matches!(text.parse::<ConnectTo>(), Err(ConnectToError::Port(_))));
        }
    }
}
