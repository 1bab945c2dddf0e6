//! What a proxy changes in headers: hop-by-hop fields, who the client is, which request this is.
//!
//! Pure functions on heads; the rules are Envoy's connection manager's.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

use super::h1::parse::tokens;
use super::head::{Headers, RequestHead, ResponseHead, Scheme};
use super::known::Known;
use crate::config::listener::{HttpManager, ServerHeader};
use crate::pipe::known;
use crate::random::Random;
use crate::tls::Settled;

/// What the names of all headers that steer the proxy begin with.
const STEERING_PREFIX: &[u8] = b"x-envoy-";

/// Headers that steer the proxy: only one that takes its peer for part of its own service could heed them.
const STEERING: [&[u8]; 16] = [
    b"x-envoy-expected-rq-timeout-ms",
    b"x-envoy-force-trace",
    b"x-envoy-hedge-on-per-try-timeout",
    b"x-envoy-internal",
    b"x-envoy-ip-tags",
    b"x-envoy-max-retries",
    b"x-envoy-original-url",
    b"x-envoy-retriable-header-names",
    b"x-envoy-retriable-status-codes",
    b"x-envoy-retry-grpc-on",
    b"x-envoy-retry-on",
    b"x-envoy-upstream-alt-stat-name",
    b"x-envoy-upstream-rq-per-try-timeout-ms",
    b"x-envoy-upstream-rq-timeout-alt-response",
    b"x-envoy-upstream-rq-timeout-ms",
    b"x-envoy-upstream-stream-duration-ms",
];

/// Headers in which one proxy tells the next what it did: at an edge they would be a client's word. With them goes
/// `x-envoy-original-path`.
const TOLD: [&[u8]; 4] = [
    b"x-envoy-decorator-operation",
    b"x-envoy-downstream-service-cluster",
    b"x-envoy-downstream-service-node",
    b"x-envoy-original-host",
];

/// Removes the fields that concern one connection only (RFC 9110 section 7.6.1), those that `Connection`
/// names among them. `upgrade` keeps `Upgrade`, which then goes on to the next hop.
pub fn strip_hop_by_hop(headers: &mut Headers, upgrade: bool) {
    strip(headers, upgrade, |_, _, _| true);
}

/// As [`strip_hop_by_hop`], in one pass with what else is not for the next hop: `keep` says what is.
fn strip(headers: &mut Headers, upgrade: bool, keep: impl Fn(Known, &[u8], &[u8]) -> bool) {
    let nominated: Vec<Vec<u8>> = headers
        .iter()
        .filter(|(known, ..)| *known == Known::Connection)
        .flat_map(|(_, _, value)| tokens(value))
        .filter(|token| Known::of(token) == Known::Other && !is_option(token))
        .map(<[u8]>::to_vec)
        .collect();
    let mut trailers = false;
    headers.retain(|known, name, value| match known {
        Known::Connection
        | Known::KeepAlive
        | Known::ProxyConnection
        | Known::TransferEncoding
        | Known::Http2Settings => false,
        Known::Upgrade => upgrade,
        Known::Te => {
            trailers |= tokens(value).any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
            false
        }
        _ => keep(known, name, value),
    });
    for name in nominated {
        headers.remove(&name);
    }
    // The only coding that means something end to end.
    if trailers {
        headers.append_known(Known::Te, b"te", b"trailers");
    }
}

/// Whether a header goes on to the next hop, as far as one hop's trust decides on it.
fn goes_on(edge: bool, known: Known, name: &[u8], value: &[u8]) -> bool {
    match known {
        Known::Expect => !value.eq_ignore_ascii_case(b"100-continue"),
        Known::OriginalPath => !edge,
        Known::Other if begins_with(name, STEERING_PREFIX) => {
            let is_one_of = |names: &[&[u8]]| names.iter().any(|n| name.eq_ignore_ascii_case(n));
            !(is_one_of(&STEERING) || edge && is_one_of(&TOLD))
        }
        _ => true,
    }
}

fn begins_with(name: &[u8], prefix: &[u8]) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

fn is_option(token: &[u8]) -> bool {
    token.eq_ignore_ascii_case(b"close")
        || token.eq_ignore_ascii_case(b"keep-alive")
        || token.eq_ignore_ascii_case(b"upgrade")
}

/// Prepares a request for routing and for the next hop; returns the client's address, as far as it can be
/// believed. `tls` is what its handshake settled, if there was one.
pub fn request(
    head: &mut RequestHead,
    manager: &HttpManager,
    peer: SocketAddr,
    tls: Option<&Settled>,
    upgrade: bool,
    random: &Random,
) -> SocketAddr {
    let edge = manager.use_remote_address;
    let shown = tls.filter(|tls| tls.peer.is_some());
    let keeps_cert = manager.forward_cert.keeps(shown.is_some());
    strip(&mut head.headers, upgrade, |known, name, value| match known {
        Known::ForwardedClientCert => keeps_cert,
        _ => goes_on(edge, known, name, value),
    });
    if let Some(element) = shown.and_then(|settled| manager.forward_cert.element(settled)) {
        append_list(&mut head.headers, Known::ForwardedClientCert, element, b",");
    }
    let scheme = head.scheme;
    let headers = &mut head.headers;
    let client = if edge {
        let client = match manager.trusted_hops {
            0 => peer,
            hops => nth_from_end(headers, hops - 1).map_or(peer, |ip| SocketAddr::new(ip, 0)),
        };
        let (mut text, mut other) = ([0; 48], [0; 48]);
        let peer_text = ip_text(&mut text, peer.ip());
        if !manager.skip_xff_append && known(peer).is_some() {
            append_list(headers, Known::ForwardedFor, peer_text, b",");
        }
        if manager.trusted_hops == 0 || headers.get_known(Known::ForwardedProto).is_none() {
            set_proto(headers, scheme);
        }
        let client_text = match client.ip() == peer.ip() {
            true => peer_text,
            false => ip_text(&mut other, client.ip()),
        };
        if known(client).is_some() {
            headers.set_known(Known::ExternalAddress, client_text);
        }
        client
    } else {
        if headers.get_known(Known::ForwardedProto).is_none() {
            set_proto(headers, scheme);
        }
        // The hop in front is trusted with the scheme, not with how the proxy is to act.
        head.scheme = match headers.get_known(Known::ForwardedProto) {
            Some(b"https") => Scheme::Https,
            Some(b"http") => Scheme::Http,
            _ => scheme,
        };
        nth_from_end(headers, manager.trusted_hops).map_or(peer, |ip| SocketAddr::new(ip, 0))
    };
    let untrusted = edge && !manager.preserve_external_request_id;
    let missing = headers.get_known(Known::RequestId).is_none();
    if manager.generate_request_id && (missing || untrusted) {
        headers.set_known(Known::RequestId, &random.uuid());
    }
    if !manager.via.is_empty() {
        append_list(headers, Known::Via, &manager.via, b", ");
    }
    client
}

fn set_proto(headers: &mut Headers, scheme: Scheme) {
    headers.set_known(Known::ForwardedProto, scheme.as_str().as_bytes());
}

/// Prepares a response for the client.
pub fn response(
    head: &mut ResponseHead,
    manager: &HttpManager,
    request_id: Option<&[u8]>,
    date: &[u8],
) {
    let upgrade = head.status == 101;
    strip_hop_by_hop(&mut head.headers, upgrade);
    let headers = &mut head.headers;
    let has_server = headers.get_known(Known::Server).is_some();
    match manager.server_header {
        ServerHeader::Overwrite => headers.set_known(Known::Server, &manager.server_name),
        ServerHeader::AppendIfAbsent if !has_server => {
            headers.append_known(Known::Server, b"server", &manager.server_name);
        }
        ServerHeader::AppendIfAbsent | ServerHeader::PassThrough => {}
    }
    // A recipient with a clock adds the date that an origin left out (RFC 9110 section 6.6.1).
    if headers.get_known(Known::Date).is_none() {
        headers.append_known(Known::Date, b"date", date);
    }
    if !manager.via.is_empty() {
        append_list(headers, Known::Via, &manager.via, b", ");
    }
    if let (true, Some(id)) = (manager.request_id_in_response, request_id) {
        headers.set_known(Known::RequestId, id);
    }
}

fn ip_text(buffer: &mut [u8; 48], ip: IpAddr) -> &[u8] {
    // 48 bytes hold every address: the longest text is 45.
    let mut rest = &mut buffer[..];
    match ip.to_canonical() {
        // Most clients have one of these; the formatter takes ten times as long.
        IpAddr::V4(ip) => {
            for (at, octet) in ip.octets().into_iter().enumerate() {
                let (dot, hundreds, tens) = (at > 0, octet > 99, octet > 9);
                let digits = [b'.', b'0' + octet / 100, b'0' + octet / 10 % 10, b'0' + octet % 10];
                for (written, digit) in [dot, hundreds, tens, true].into_iter().zip(digits) {
                    if written {
                        let _ = rest.write_all(&[digit]);
                    }
                }
            }
        }
        IpAddr::V6(ip) => {
            let _ = write!(rest, "{ip}");
        }
    }
    let left = rest.len();
    &buffer[..48 - left]
}

/// Adds an address to `x-forwarded-for`.
pub fn append_forwarded_for(headers: &mut Headers, ip: IpAddr) {
    append_list(headers, Known::ForwardedFor, ip_text(&mut [0; 48], ip), b",");
}

fn append_list(headers: &mut Headers, name: Known, value: &[u8], separator: &[u8]) {
    if headers.get_known(name).is_none() {
        headers.append_known(name, name.name().as_bytes(), value);
        return;
    }
    // Several lines are one list (RFC 9110 section 5.3): none of them may be lost.
    let mut list: Vec<u8> = Vec::new();
    for part in headers.get_all_known(name).chain([value]).filter(|part| !part.is_empty()) {
        if !list.is_empty() {
            list.extend_from_slice(separator);
        }
        list.extend_from_slice(part);
    }
    headers.set_known(name, &list);
}

/// The address `n` places before the last in `x-forwarded-for`, over all its lines.
fn nth_from_end(headers: &Headers, n: u32) -> Option<IpAddr> {
    let lines: Vec<&[u8]> = headers.get_all_known(Known::ForwardedFor).collect();
    let mut entries = lines.iter().rev().flat_map(|line| line.rsplit(|&byte| byte == b','));
    let entry = entries.nth(n as usize)?.trim_ascii();
    std::str::from_utf8(entry).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in lines {
            headers.append(name.as_bytes(), value.as_bytes());
        }
        headers
    }

    #[test]
    fn connection_fields_do_not_travel() {
        let mut headers = headers(&[
            ("Connection", "close, X-Secret , Host, upgrade"),
            ("X-Secret", "1"),
            ("Keep-Alive", "timeout=1"),
            ("TE", "gzip"),
            ("Upgrade", "h2c"),
            ("Proxy-Connection", "x"),
            ("Accept", "*/*"),
        ]);
        strip_hop_by_hop(&mut headers, false);
        let names: Vec<_> = headers.iter().map(|(_, name, _)| name.to_vec()).collect();
        assert_eq!(names, [b"Accept"]);
    }

    #[test]
    fn a_client_neither_steers_nor_speaks_for_a_proxy() {
        let passes = |edge, name: &[u8]| goes_on(edge, Known::of(name), name, b"1");
        for name in STEERING {
            assert!(!passes(true, name) && !passes(false, name), "{}", name.escape_ascii());
        }
        for name in TOLD.into_iter().chain([&b"X-Envoy-Original-Path"[..]]) {
            assert!(!passes(true, name) && passes(false, name), "{}", name.escape_ascii());
        }
        assert!(passes(true, b"x-envoy-retry") && passes(true, b"x-env"));
    }

    #[test]
    fn the_client_is_found_behind_trusted_hops() {
        let headers =
            headers(&[("x-forwarded-for", "1.1.1.1, 2.2.2.2"), ("X-Forwarded-For", "3.3.3.3")]);
        let at = |n| nth_from_end(&headers, n).map(|ip| ip.to_string());
        assert_eq!(at(0).as_deref(), Some("3.3.3.3"));
        assert_eq!(at(2).as_deref(), Some("1.1.1.1"));
        assert_eq!(at(3), None);
    }

    #[test]
    fn addresses_are_written_plainly() {
        let text = |ip: &str| {
            let mut buffer = [0; 48];
            String::from_utf8(ip_text(&mut buffer, ip.parse().unwrap()).to_vec()).unwrap()
        };
        assert_eq!(text("::ffff:10.0.0.1"), "10.0.0.1");
        assert_eq!(text("2001:db8::1"), "2001:db8::1");
        for ip in ["0.0.0.0", "255.255.255.255", "9.10.99.100", "203.0.113.7"] {
            assert_eq!(text(ip), ip);
        }
    }
}
