//! HTTP/2 heads into ours and back.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};

use crate::http::head::{Headers, RequestHead, ResponseHead, Scheme, Version};
use crate::http::known::Known;

/// Reads a request's head; false when it names no host. `secure` says that the connection is TLS: what
/// `:scheme` claims is not believed.
pub fn read_request<B>(request: &Request<B>, secure: bool, head: &mut RequestHead) -> bool {
    head.clear();
    head.version = Version::Http2;
    head.scheme = if secure { Scheme::Https } else { Scheme::Http };
    head.set_method(request.method().as_str().as_bytes());
    let uri = request.uri();
    match (uri.authority(), request.headers().get(http::header::HOST)) {
        (Some(authority), _) => head.set_authority(authority.as_str().as_bytes()),
        (None, Some(host)) => head.set_authority(host.as_bytes()),
        (None, None) => return false,
    }
    if request.method() != Method::CONNECT {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        head.set_path(path.as_bytes());
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
    super::super::h1::parse::valid_authority(head.authority())
}

/// Writes a request's head; `None` when it cannot be said in HTTP/2.
#[must_use]
pub fn write_request(head: &RequestHead) -> Option<Request<()>> {
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
    super::super::h1::parse::decimal(map.get(http::header::CONTENT_LENGTH)?.as_bytes())
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
        assert!(read_request(&request, false, &mut head));
        assert_eq!((head.authority(), head.path()), (&b"a.example:8080"[..], &b"/x?y"[..]));
        assert_eq!(head.headers.get(b"cookie"), Some(&b"a=1; b=2"[..]));
        head.headers.append(b"Connection", b"x");
        let back = write_request(&head).unwrap();
        assert_eq!(back.uri(), request.uri());
        assert_eq!(back.headers().len(), 2);
    }
}
