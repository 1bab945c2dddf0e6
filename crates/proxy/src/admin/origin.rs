//! Who may ask: no web page of another site, whatever name it found for this address.

use std::net::IpAddr;

use http::Request;
use http::header::{HOST, HeaderValue, ORIGIN};

/// Checks that a request names this machine as its host, and that an order (POST) does not come from a page
/// of another site.
///
/// A browser that was led here by DNS rebinding sends the name it knows; an address or `localhost` cannot
/// be rebound. What sends no `Host` (HTTP/1.0) or no `Origin` is no browser.
///
/// # Errors
/// Why the request is refused, and what would be accepted.
pub(super) fn check<B>(request: &Request<B>, allowed: &[String]) -> Result<(), String> {
    let header = request.headers().get(HOST);
    let host = request.uri().host().or_else(|| header.map(|host| host_of(text(host))));
    if let Some(host) = host.filter(|host| !is_ours(host, allowed)) {
        return Err(format!(
            "host {host:?} is refused: ask for an IP address or localhost, or allow the name"
        ));
    }
    let origin = request.headers().get(ORIGIN).map(text);
    let site = origin.map(|origin| origin.split_once("://").map_or("", |(_, site)| host_of(site)));
    match site {
        Some(site) if request.method() != http::Method::GET && !is_ours(site, allowed) => {
            Err("orders from pages of other sites are refused".to_owned())
        }
        _ => Ok(()),
    }
}

/// A header's text; what is no ASCII is nobody's name.
fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or("?")
}

/// An authority without its port, an IPv6 address without its brackets.
fn host_of(authority: &str) -> &str {
    let (host, port) = match authority.rfind(']') {
        Some(end) => authority.split_at(end + 1),
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let is_port = port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    if port.is_empty() || is_port { host } else { authority }
}

fn is_ours(host: &str, allowed: &[String]) -> bool {
    let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = inside.unwrap_or(host).trim_end_matches('.');
    host.parse::<IpAddr>().is_ok()
        || host.eq_ignore_ascii_case("localhost")
        || allowed.iter().any(|name| name.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(method: &str, headers: &[(&str, &str)]) -> bool {
        let mut request = Request::builder().method(method).uri("/stats");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(&request.body(()).unwrap(), &["gateway.example".to_owned()]).is_ok()
    }

    #[test]
    fn only_names_of_this_machine() {
        for host in [
            "127.0.0.1:15000",
            "[::1]:15000",
            "[::1]",
            "localhost",
            "LOCALHOST.:15000",
            "10.0.0.1",
            "Gateway.Example:15000",
        ] {
            assert!(checked("GET", &[("host", host)]), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:15000",
            "",
            "127.0.0.1.evil.example",
            "localhost.evil",
            "[::1].evil",
        ] {
            assert!(!checked("GET", &[("host", host)]), "{host}");
        }
        assert!(checked("GET", &[]));
    }

    #[test]
    fn no_orders_from_other_sites() {
        let host = ("host", "127.0.0.1:15000");
        assert!(checked("POST", &[host]));
        assert!(checked("POST", &[host, ("origin", "http://localhost:15000")]));
        assert!(!checked("POST", &[host, ("origin", "https://evil.example")]));
        assert!(!checked("POST", &[host, ("origin", "null")]));
        assert!(
            checked("GET", &[host, ("origin", "https://evil.example")]),
            "reading is the browser's matter"
        );
    }
}
