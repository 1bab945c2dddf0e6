//! HTTP/2 heads into ours and back.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};

use crate::http::h1::{Framing, parse};
use crate::http::head::{Headers, RequestHead, ResponseHead, Scheme, Version};
use crate::http::known::Known;

/// Most header lines that a map of them holds.
const MAX_LINES: usize = 24_000;

/// Reads a request's head, and how its body ends; `ended` says that there is none. `None` when the request is
/// malformed, or cannot be said in HTTP/1 in one way only: no host, a target or lengths that have no place there.
/// `secure` says that the connection is TLS: what `:scheme` claims is not believed.
pub fn read_request<B>(
    request: &Request<B>,
    secure: bool,
    ended: bool,
    head: &mut RequestHead,
) -> Option<Framing> {
    head.clear();
    head.version = Version::Http2;
    head.scheme = if secure { Scheme::Https } else { Scheme::Http };
    head.set_method(request.method().as_str().as_bytes());
    let uri = request.uri();
    let mut hosts = request.headers().get_all(http::header::HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return None;
    }
    match (uri.authority(), host) {
        (Some(authority), _) => head.set_authority(authority.as_str().as_bytes()),
        (None, Some(host)) => head.set_authority(host.as_bytes()),
        (None, None) => return None,
    }
    if request.method() != Method::CONNECT {
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).as_bytes();
        parse::is_origin_target(path, head.is_method("OPTIONS")).then(|| head.set_path(path))?;
    }
    let mut cookies: Vec<u8> = Vec::new();
    for (name, value) in request.headers() {
        match name.as_str() {
            "host" => {}
            // A cookie may come in pieces; outside HTTP/2 it is one field (RFC 9113 section 8.2.3).
            "cookie" => {
                if !cookies.is_empty() {
                    cookies.extend_from_slice(b"; ");
                }
                cookies.extend_from_slice(value.as_bytes());
            }
            name => head.headers.append(name.as_bytes(), value.as_bytes()),
        }
    }
    if !cookies.is_empty() {
        head.headers.append(b"cookie", &cookies);
    }
    let authority = head.authority();
    let names_host = !authority.is_empty() && parse::valid_authority(authority);
    names_host.then(|| framing(request.headers(), ended))?
}

/// How a body ends: at most one line may tell its length.
fn framing(map: &HeaderMap, ended: bool) -> Option<Framing> {
    let mut lengths = map.get_all(http::header::CONTENT_LENGTH).iter();
    let length = lengths.next().map(|length| parse::decimal(length.as_bytes()));
    match (length, lengths.next()) {
        (Some(None), _) | (_, Some(_)) => None,
        (Some(Some(0)), None) => Some(Framing::None),
        (Some(Some(length)), None) => (!ended).then_some(Framing::Length(length)),
        (None, None) if ended => Some(Framing::None),
        (None, None) => Some(Framing::Chunked),
    }
}

/// Writes a request's head; `None` when it cannot be said in HTTP/2.
#[must_use]
pub fn write_request(head: &RequestHead) -> Option<Request<()>> {
    if head.headers.len() > MAX_LINES {
        return None;
    }
    let method = Method::from_bytes(head.method()).ok()?;
    let builder = Uri::builder().authority(head.authority());
    let uri = if method == Method::CONNECT {
        builder.build().ok()?
    } else {
        builder.scheme(head.scheme.as_str()).path_and_query(head.path()).build().ok()?
    };
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.version_mut() = http::Version::HTTP_2;
    *request.headers_mut() = header_map(&head.headers);
    Some(request)
}

/// Reads a response's head.
pub fn read_response<B>(response: &Response<B>, head: &mut ResponseHead) {
    head.clear();
    head.version = Version::Http2;
    head.status = response.status().as_u16();
    for (name, value) in response.headers() {
        head.headers.append(name.as_str().as_bytes(), value.as_bytes());
    }
}

/// Writes a response's head.
#[must_use]
pub fn write_response(head: &ResponseHead) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(head.status).unwrap_or(StatusCode::BAD_GATEWAY);
    *response.version_mut() = http::Version::HTTP_2;
    *response.headers_mut() = header_map(&head.headers);
    response
}

/// Header lines as HTTP/2 wants them: lower case, without fields that concern a connection (RFC 9113
/// section 8.2.2).
#[must_use]
pub fn header_map(headers: &Headers) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(headers.len());
    for (known, name, value) in headers.iter() {
        let of_connection = matches!(
            known,
            Known::Connection
                | Known::KeepAlive
                | Known::ProxyConnection
                | Known::TransferEncoding
                | Known::Upgrade
                | Known::Host
        );
        if let (false, Ok(name), Ok(value)) =
            (of_connection, HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            map.append(name, value);
        }
    }
    map
}

/// Trailers.
#[must_use]
pub fn trailers(map: &HeaderMap) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in map {
        headers.append(name.as_str().as_bytes(), value.as_bytes());
    }
    headers
}

/// The length that a message declares.
#[must_use]
pub fn content_length(map: &HeaderMap) -> Option<u64> {
    parse::decimal(map.get(http::header::CONTENT_LENGTH)?.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_survives_both_ways() {
        let request = Request::builder()
            .method("POST")
            .uri("http://a.example:8080/x?y")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .header("x-a", "1")
            .body(())
            .unwrap();
        let mut head = RequestHead::default();
        assert_eq!(read_request(&request, false, true, &mut head), Some(Framing::None));
        assert_eq!((head.authority(), head.path()), (&b"a.example:8080"[..], &b"/x?y"[..]));
        assert_eq!(head.headers.get(b"cookie"), Some(&b"a=1; b=2"[..]));
        head.headers.append(b"Connection", b"x");
        let back = write_request(&head).unwrap();
        assert_eq!(back.uri(), request.uri());
        assert_eq!(back.headers().len(), 2);
    }

    #[test]
    fn more_lines_than_a_map_holds_are_refused() {
        let mut head = RequestHead::default();
        head.set_method(b"GET");
        head.set_authority(b"a");
        head.set_path(b"/");
        for n in 0..MAX_LINES {
            head.headers.append(format!("x{n}").as_bytes(), b"");
        }
        assert_eq!(write_request(&head).unwrap().headers().len(), MAX_LINES);
        head.headers.append(b"y", b"");
        assert!(write_request(&head).is_none());
    }

    #[test]
    fn what_http_1_could_read_otherwise_is_refused() {
        let read = |uri: &str, lengths: &[&str], ended| {
            let mut request = Request::builder().method("POST").uri(uri);
            for length in lengths {
                request = request.header("content-length", *length);
            }
            let request = request.body(()).ok()?;
            read_request(&request, false, ended, &mut RequestHead::default())
        };
        assert_eq!(read("http://a/", &["5"], false), Some(Framing::Length(5)));
        assert_eq!(read("http://a/", &["0"], false), Some(Framing::None));
        assert_eq!(read("http://a/", &[], false), Some(Framing::Chunked));
        assert_eq!(read("http://a/", &["5", "5"], false), None, "two lengths");
        assert_eq!(read("http://a/", &["+5"], false), None, "no number");
        assert_eq!(read("http://a/", &["5"], true), None, "a length, and no body");
        assert_eq!(read("http://a/\u{e9}", &[], false), None, "no byte of a request line");
        assert_eq!(read("*", &[], false), None, "not OPTIONS");
    }
}
