//! Istio's rules for host names and addresses. Letter case does not count in them.

use std::net::IpAddr;

/// Checks a full or short domain name without wildcards.
pub(crate) fn fqdn(name: &str) -> Result<(), String> {
    length(name)?;
    labels(name, name)
}

/// Checks a domain name whose first label may be, or begin with, a `*`.
pub(crate) fn wildcard_domain(name: &str) -> Result<(), String> {
    length(name)?;
    let (first, rest) = match name.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (name, None),
    };
    if !is_wildcard_label(first) {
        return Err(bad_label(name, first));
    }
    rest.map_or(Ok(()), |rest| labels(rest, name))
}

/// Checks a host of a VirtualService that a gateway applies. With SNI routes the names of
/// AUTO_PASSTHROUGH (`outbound_.80_._.host`) are hosts too.
pub(crate) fn gateway_domain(sni: bool, name: &str) -> Result<(), String> {
    match name.strip_prefix("outbound_.") {
        Some(rest) if sni => {
            length(name)?;
            let mut parts = rest.splitn(3, '_');
            let port = parts.next().unwrap_or_default();
            let host = parts.nth(1).unwrap_or_default().trim_matches('.');
            let port_ok = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
            if port_ok && host.contains(|c: char| c.is_ascii_alphabetic()) {
                Ok(())
            } else {
                Err(format!("domain name {name:?} invalid (should be outbound_.PORT_._.HOST)"))
            }
        }
        _ => wildcard_domain(name),
    }
}

/// Checks that a `*` is a whole label: `*.example.com`, not `*example.com`.
pub(crate) fn whole_wildcard(name: &str) -> Result<(), String> {
    if name.contains('*') && name != "*" && !name.starts_with("*.") {
        Err(format!("partial wildcard {name:?} not allowed; write *.domain"))
    } else {
        Ok(())
    }
}

/// Checks an address or a range of addresses (CIDR).
pub(crate) fn subnet(text: &str) -> Result<(), String> {
    let Some((address, length)) = text.split_once('/') else {
        return match text.parse::<IpAddr>() {
            Ok(_) => Ok(()),
            Err(_) => Err(format!("{text} is not a valid IP")),
        };
    };
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return Err(format!("{text} is not a valid CIDR block")),
    };
    let plain =
        length == "0" || (!length.starts_with('0') && length.bytes().all(|b| b.is_ascii_digit()));
    match length.parse::<u8>() {
        Ok(length) if plain && length <= most => Ok(()),
        _ => Err(format!("{text} is not a valid CIDR block")),
    }
}

/// Checks the path of a Unix socket; `@` begins the name of an abstract one.
pub(crate) fn unix_path(path: &str) -> Result<(), &'static str> {
    if path.starts_with('@') || (path.starts_with('/') && !path.ends_with('/')) {
        Ok(())
    } else {
        Err("UDS must be an absolute path to a file, or an abstract socket")
    }
}

/// Whether the text is an address.
pub(crate) fn is_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

/// Whether the text is a DNS label of any letter case.
pub(crate) fn is_label(text: &str) -> bool {
    text.len() <= 63
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
}

fn is_wildcard_label(text: &str) -> bool {
    let rest = text.strip_prefix('*').map(|rest| rest.strip_prefix('-').unwrap_or(rest));
    text == "*" || (text.len() <= 63 && is_label(rest.unwrap_or(text)))
}

fn length(name: &str) -> Result<(), String> {
    match name.len() {
        0 => Err("empty domain name not allowed".to_owned()),
        1..=255 => Ok(()),
        _ => Err(format!("domain name {name:?} too long (max 255)")),
    }
}

/// Checks every label of `part`, a part of the domain `whole`. A name may end with a dot.
fn labels(part: &str, whole: &str) -> Result<(), String> {
    let last = part.rsplit('.').next().unwrap_or_default();
    if last.parse::<i64>().is_ok() {
        return Err(format!(
            "domain name {whole:?} invalid (top level domain {last:?} cannot be all-numeric)"
        ));
    }
    let part = part.strip_suffix('.').unwrap_or(part);
    match part.split('.').find(|label| !is_label(label)) {
        Some(label) => Err(bad_label(whole, label)),
        None => Ok(()),
    }
}

fn bad_label(name: &str, label: &str) -> String {
    format!("domain name {name:?} invalid (label {label:?} invalid)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains() {
        for good in ["a", "foo.bar", "Foo.Bar", "istio.io.", "a-b.c1", "1.a"] {
            assert_eq!(fqdn(good), Ok(()), "{good}");
            assert_eq!(wildcard_domain(good), Ok(()), "{good}");
        }
        for good in ["*", "*.foo.com", "*foo.com", "*-foo.com"] {
            assert_eq!(wildcard_domain(good), Ok(()), "{good}");
            assert!(fqdn(good).is_err(), "{good}");
        }
        for bad in
            ["", "-", "foo.*.bar", "foo.*", "foo.ba!r", "a..b", "10.0.0.1", "*.", "**", "a_b"]
        {
            assert!(wildcard_domain(bad).is_err(), "{bad}");
        }
        assert!(fqdn(&"a.".repeat(200)).is_err());
        assert!(whole_wildcard("*x.com").is_err());
        assert_eq!(whole_wildcard("*.x.com"), Ok(()));
        assert_eq!(gateway_domain(true, "outbound_.80_._.e2e.foobar.mesh"), Ok(()));
        assert!(gateway_domain(true, "outbound_.x_._.e2e.foobar.mesh").is_err());
        assert!(gateway_domain(false, "outbound_.80_._.e2e.foobar.mesh").is_err());
    }

    #[test]
    fn addresses() {
        for good in ["1.2.3.4", "1.2.3.4/16", "::1", "fd00::/8", "0.0.0.0/0"] {
            assert_eq!(subnet(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "1.2.3",
            "1.2.3.4/33",
            "1.2.3.4/",
            "1.2.3.4/+8",
            "1.2.3.4/08",
            "a/8",
            "1.2.3.4/8/8",
        ] {
            assert!(subnet(bad).is_err(), "{bad}");
        }
    }
}
