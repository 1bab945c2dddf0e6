//! Kubernetes' rules for names, labels and keys, with its own words for what breaks them: clients and
//! their users know these sentences.

const LABEL_FORMAT: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric \
    characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or \
    '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_FORMAT: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
    characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', \
    regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_VALUE_FORMAT: &str = "a valid label must be an empty string or consist of alphanumeric \
    characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  \
    or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const QUALIFIED_NAME_FORMAT: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', \
    and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', \
    regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const QUALIFIED_NAME_PARTS: &str = "a qualified name must consist of alphanumeric characters, '-', '_' or \
    '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or \
    '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional \
    DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
const CONFIG_KEY_FORMAT: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or \
    '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

/// Checks a DNS label of lower case (RFC 1123), of at most 63 bytes.
///
/// # Errors
/// Kubernetes' sentence about what is wrong.
pub fn dns_label(text: &str) -> Result<(), String> {
    at_most(text, 63)?;
    if is_dns_label(text) { Ok(()) } else { Err(LABEL_FORMAT.to_owned()) }
}

/// Checks a DNS name of lower case (RFC 1123), of at most 253 bytes.
///
/// # Errors
/// Kubernetes' sentence about what is wrong.
pub fn dns_subdomain(text: &str) -> Result<(), String> {
    at_most(text, 253)?;
    if text.split('.').all(is_dns_label) { Ok(()) } else { Err(SUBDOMAIN_FORMAT.to_owned()) }
}

/// Checks the value of a label.
///
/// # Errors
/// Kubernetes' sentence about what is wrong.
pub fn label_value(text: &str) -> Result<(), String> {
    at_most(text, 63)?;
    if text.is_empty() || is_name_part(text) { Ok(()) } else { Err(LABEL_VALUE_FORMAT.to_owned()) }
}

/// Checks the key of a label or annotation: a name, with a DNS name and a slash before it if it has a prefix.
///
/// # Errors
/// Kubernetes' sentence about what is wrong.
pub fn qualified_name(text: &str) -> Result<(), String> {
    let name = match text.split_once('/') {
        None => text,
        Some((_, name)) if name.contains('/') => return Err(QUALIFIED_NAME_PARTS.to_owned()),
        Some(("", _)) => return Err("prefix part must be non-empty".to_owned()),
        Some((prefix, name)) => {
            dns_subdomain(prefix).map_err(|message| format!("prefix part {message}"))?;
            name
        }
    };
    if name.is_empty() {
        return Err("name part must be non-empty".to_owned());
    }
    at_most(name, 63).map_err(|message| format!("name part {message}"))?;
    if is_name_part(name) { Ok(()) } else { Err(QUALIFIED_NAME_FORMAT.to_owned()) }
}

/// Checks a key of a Secret or ConfigMap.
///
/// # Errors
/// Kubernetes' sentence about what is wrong.
pub fn config_key(text: &str) -> Result<(), String> {
    at_most(text, 253)?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if text.is_empty() || !text.bytes().all(allowed) {
        return Err(CONFIG_KEY_FORMAT.to_owned());
    }
    match text {
        "." | ".." => Err(format!("must not be '{text}'")),
        text if text.starts_with("..") => Err("must not start with '..'".to_owned()),
        _ => Ok(()),
    }
}

/// Checks a port's name, which Services and pods use (RFC 6335): at most 15 bytes, with a letter in it.
///
/// # Errors
/// Kubernetes' sentence about what is wrong.
pub fn port_name(text: &str) -> Result<(), String> {
    if text.len() > 15 {
        return Err("must be no more than 15 characters".to_owned());
    }
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if !text.bytes().all(allowed) {
        return Err(
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned()
        );
    }
    if !text.bytes().any(|b| b.is_ascii_lowercase()) {
        return Err("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        return Err("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        return Err("must not begin or end with a hyphen".to_owned());
    }
    Ok(())
}

fn at_most(text: &str, bytes: usize) -> Result<(), String> {
    if text.len() > bytes { Err(format!("must be no more than {bytes} bytes")) } else { Ok(()) }
}

fn is_dns_label(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.bytes().all(allowed) && !text.starts_with('-') && !text.ends_with('-')
}

fn is_name_part(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    text.bytes().all(allowed) && edge(text.bytes().next()) && edge(text.bytes().last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "a-b", "0", "a.b-c.d"] {
            assert_eq!(dns_subdomain(good), Ok(()), "{good}");
        }
        for bad in ["", "Bad_Name", "-a", "a-", "a..b", ".a", "a b", "ä"] {
            assert!(dns_subdomain(bad).is_err(), "{bad}");
            assert!(dns_label(bad).is_err(), "{bad}");
        }
        assert!(dns_label("a.b").is_err());
        assert_eq!(dns_label(&"a".repeat(64)), Err("must be no more than 63 bytes".to_owned()));
    }

    #[test]
    fn labels_and_keys() {
        for good in ["", "a", "A_b.c-D", "1"] {
            assert_eq!(label_value(good), Ok(()), "{good}");
        }
        for bad in ["b c", "-a", "a_", "ü"] {
            assert!(label_value(bad).is_err(), "{bad}");
        }
        for good in ["a", "example.com/MyName", "kubernetes.io/service-name"] {
            assert_eq!(qualified_name(good), Ok(()), "{good}");
        }
        for bad in ["", "/a", "a/", "a/b/c", "Example.com/a", "a b"] {
            assert!(qualified_name(bad).is_err(), "{bad}");
        }
        for bad in ["", "bad key", "..", "..a", "."] {
            assert!(config_key(bad).is_err(), "{bad}");
        }
        assert_eq!(config_key("tls.crt"), Ok(()));
        for bad in ["", "1", "a--b", "-a", "Http", "averyveryverylongname"] {
            assert!(port_name(bad).is_err(), "{bad}");
        }
        assert_eq!(port_name("http-web1"), Ok(()));
    }
}
