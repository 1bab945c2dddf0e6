//! What a host is: an address, this machine, or a name to look up.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use hickory_resolver::proto::rr::Name as DnsName;

use super::LookupError;
use crate::upstream::cluster::DnsFamily;

/// What is to be connected to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Host {
    Address(IpAddr),
    /// `localhost` or a name below it (RFC 6761, section 6.3).
    Loopback,
    Name(Name),
}

/// A name to look up: lower case, without a final dot.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Name {
    text: Arc<str>,
    /// Whether it is asked for as it is. Otherwise the search list applies.
    absolute: bool,
}

impl Host {
    /// Reads a host: an address (IPv6 with or without brackets) or a name.
    pub(super) fn parse(host: &str) -> Result<Self, LookupError> {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse() {
            return Ok(Self::Address(address));
        }
        let lower = host.to_ascii_lowercase();
        let (text, dotted) = match lower.strip_suffix('.') {
            Some(text) => (text, true),
            None => (&*lower, lower.contains('.')),
        };
        if text == "localhost" || text.ends_with(".localhost") {
            return Ok(Self::Loopback);
        }
        let name = Name { text: text.into(), absolute: dotted };
        match name.to_dns() {
            Some(_) if !text.is_empty() => Ok(Self::Name(name)),
            _ => Err(LookupError::Invalid),
        }
    }
}

impl Name {
    /// The name as text.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// The name as the resolver library wants it; `None` when it is none.
    pub(super) fn to_dns(&self) -> Option<DnsName> {
        let mut name = DnsName::from_ascii(&self.text).ok()?;
        name.set_fqdn(self.absolute);
        Some(name)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.text, if self.absolute { "." } else { "" })
    }
}

/// The loopback addresses of a family. `Auto` means IPv4 here: that is where servers on this
/// machine listen.
pub(super) fn loopback(family: DnsFamily) -> Vec<IpAddr> {
    let (v4, v6) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
    match family {
        DnsFamily::Auto | DnsFamily::V4Only | DnsFamily::V4Preferred => vec![v4],
        DnsFamily::V6Only => vec![v6],
        DnsFamily::All => vec![v4, v6],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_addresses_this_machine_or_names() {
        let address = |text: &str| Host::Address(text.parse().unwrap());
        assert_eq!(Host::parse("10.0.0.1"), Ok(address("10.0.0.1")));
        assert_eq!(Host::parse("2001:db8::1"), Ok(address("2001:db8::1")));
        assert_eq!(Host::parse("[::1]"), Ok(address("::1")));
        for local in ["localhost", "LOCALHOST.", "a.localhost"] {
            assert_eq!(Host::parse(local), Ok(Host::Loopback));
        }
        for (text, expected) in [
            ("Example.COM", "example.com."),
            ("example.com.", "example.com."),
            ("_sip.example.com", "_sip.example.com."),
            ("redis", "redis"),
            ("redis.", "redis."),
        ] {
            let Ok(Host::Name(name)) = Host::parse(text) else { panic!("{text}") };
            assert_eq!(format!("{name:?}"), expected);
            assert_eq!(name.to_dns().unwrap().to_string(), expected);
        }
        let label = "a".repeat(64);
        let name = "a.".repeat(128);
        for bad in ["", ".", "a..b", &label, &name] {
            assert_eq!(Host::parse(bad), Err(LookupError::Invalid), "{bad}");
        }
    }
}
