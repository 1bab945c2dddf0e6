//! Heads that come in HTTP/2 and go on in HTTP/1.

use http::uri::{Authority, PathAndQuery};
use http::{HeaderName, HeaderValue, Method, Request, Uri};

use super::super::forwarding::strip_hop_by_hop;
use super::super::h1::Framing;
use super::super::h1::encode::{self, ConnectionHeader};
use super::super::h1::parse::{self, HeadScanner, MAX_LINES};
use super::super::h2::message;
use super::super::head::RequestHead;
use super::super::known::Known;
use super::LIMIT;

/// Reads `data`, lines `name: value` with the pseudo-header fields among them, as an HTTP/2 request, in both
/// forms of body. What is accepted and written for an HTTP/1 origin is one head there, which says the same.
///
/// # Panics
/// When that does not hold.
pub fn http2(data: &[u8]) {
    let Some(request) = request(data) else { return };
    for ended in [true, false] {
        let mut head = RequestHead::default();
        let Some(framing) = message::read_request(&request, false, ended, &mut head) else {
            return;
        };
        if let Some(again) = message::write_request(&head) {
            assert_eq!(again.method(), request.method());
        }
        strip_hop_by_hop(&mut head.headers, false);
        head.headers.remove(b"expect");
        let mut out = Vec::new();
        let chunked = framing == Framing::Chunked;
        let empty =
            framing == Framing::None && head.headers.get_known(Known::ContentLength).is_none();
        encode::request(&mut out, &head, chunked, empty, ConnectionHeader::None);
        check(&out, &head, framing);
    }
}

fn check(out: &[u8], head: &RequestHead, framing: Framing) {
    let shown = out.escape_ascii();
    let end = HeadScanner::default().scan(out, 2 * LIMIT);
    assert_eq!(end, Ok(Some(out.len())), "more than one head: {shown}");
    let mut again = RequestHead::default();
    let read = parse::request(out, MAX_LINES, &mut again);
    let read = read.unwrap_or_else(|error| panic!("{error}: {shown}"));
    assert_eq!(
        (again.method(), again.authority(), again.path()),
        (head.method(), head.authority(), head.path()),
        "{shown}"
    );
    if !head.is_method("CONNECT") {
        assert_eq!(read.framing, framing, "{shown}");
    }
}

/// What the `h2` crate makes of such fields (RFC 9113 section 8.3). It refuses fields of a connection itself; lines
/// that are no field are left out.
fn request(data: &[u8]) -> Option<Request<()>> {
    let mut request = Request::new(());
    let mut parts = http::uri::Parts::default();
    for line in data.split(|&byte| byte == b'\n').take(MAX_LINES / 2) {
        let Some(at) = line.iter().skip(1).position(|&byte| byte == b':') else { continue };
        let (name, value) = (&line[..=at], line[at + 2..].trim_ascii());
        match name {
            b":method" => *request.method_mut() = Method::from_bytes(value).ok()?,
            b":authority" => parts.authority = Some(Authority::try_from(value).ok()?),
            b":path" => parts.path_and_query = Some(PathAndQuery::try_from(value).ok()?),
            b":scheme" => parts.scheme = Some(value.try_into().ok()?),
            name => {
                let field = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value));
                if let (Ok(name), Ok(value)) = field
                    && travels(&name, &value)
                {
                    request.headers_mut().append(name, value);
                }
            }
        }
    }
    if parts.authority.is_none() {
        parts.scheme = None;
    }
    *request.uri_mut() = Uri::from_parts(parts).ok()?;
    Some(request)
}

fn travels(name: &HeaderName, value: &HeaderValue) -> bool {
    match Known::of(name.as_str().as_bytes()) {
        Known::Connection
        | Known::KeepAlive
        | Known::ProxyConnection
        | Known::TransferEncoding
        | Known::Upgrade => false,
        Known::Te => value == "trailers",
        _ => true,
    }
}
