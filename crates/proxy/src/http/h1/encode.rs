//! Writing message heads and chunks.

use std::ops::Deref;

use super::super::head::{Headers, RequestHead, ResponseHead};
use super::super::known::Known;

/// What the `Connection` header has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionHeader {
    /// Nothing: HTTP/1.1's default holds.
    None,
    /// The connection closes after this message.
    Close,
    /// It stays open although the peer speaks HTTP/1.0.
    KeepAlive,
    /// The protocol changes; `Upgrade` itself is among the headers.
    Upgrade,
}

/// Appends a request head. `Content-Length` goes through as it stands among the headers; `chunked` adds the
/// coding instead, `empty` a length of zero.
pub fn request(
    out: &mut Vec<u8>,
    head: &RequestHead,
    chunked: bool,
    empty: bool,
    connection: ConnectionHeader,
) {
    out.extend_from_slice(head.method());
    out.push(b' ');
    let target = if head.path().is_empty() { head.authority() } else { head.path() };
    out.extend_from_slice(target);
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    out.extend_from_slice(head.authority());
    out.extend_from_slice(b"\r\n");
    if empty {
        out.extend_from_slice(b"content-length: 0\r\n");
    }
    fields(out, &head.headers, chunked, connection);
}

/// Appends a response head in HTTP/1.1 (RFC 9112 section 2.3: a proxy sends its own version).
pub fn response(
    out: &mut Vec<u8>,
    head: &ResponseHead,
    chunked: bool,
    connection: ConnectionHeader,
) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(&Decimal::new(u64::from(head.status)));
    out.push(b' ');
    out.extend_from_slice(reason(head.status).as_bytes());
    out.extend_from_slice(b"\r\n");
    fields(out, &head.headers, chunked, connection);
}

fn fields(out: &mut Vec<u8>, headers: &Headers, chunked: bool, connection: ConnectionHeader) {
    headers.write(out, |known| matches!(known, Known::TransferEncoding | Known::Connection));
    if chunked {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    out.extend_from_slice(match connection {
        ConnectionHeader::None => b"",
        ConnectionHeader::Close => b"connection: close\r\n",
        ConnectionHeader::KeepAlive => b"connection: keep-alive\r\n",
        ConnectionHeader::Upgrade => b"connection: upgrade\r\n",
    });
    out.extend_from_slice(b"\r\n");
}

/// Appends the size line of a chunk.
pub fn chunk_size(out: &mut Vec<u8>, size: usize) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    for at in (0..digits).rev() {
        out.push(DIGITS[(size >> (at * 4)) & 0xf]);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the last chunk with its trailers.
pub fn last_chunk(out: &mut Vec<u8>, trailers: Option<&Headers>) {
    out.extend_from_slice(b"0\r\n");
    if let Some(trailers) = trailers {
        trailers.write(out, |_| false);
    }
    out.extend_from_slice(b"\r\n");
}

/// A decimal number, written without asking for memory.
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    digits: [u8; 20],
    first: usize,
}

impl Decimal {
    /// The digits of a number.
    #[must_use]
    pub fn new(mut number: u64) -> Self {
        let mut digits = [0; 20];
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return Self { digits, first };
            }
        }
    }
}

impl Deref for Decimal {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.digits[self.first..]
    }
}

/// The reason phrase that a status has in the IANA registry; `Unknown` for others, as Envoy writes.
#[must_use]
pub fn reason(status: u16) -> &'static str {
    // `http` keeps the registry; it says 302 "Found", 413 "Payload Too Large".
    http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_and_chunks() {
        let mut head = RequestHead::default();
        head.set_method(b"GET");
        head.set_authority(b"a.example");
        head.set_path(b"/x?y");
        head.headers.append(b"Accept", b"*/*");
        head.headers.append(b"Connection", b"x");
        let mut out = Vec::new();
        request(&mut out, &head, true, false, ConnectionHeader::None);
        let expected = "GET /x?y HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\n\
                        transfer-encoding: chunked\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);

        out.clear();
        chunk_size(&mut out, 0x1f0);
        chunk_size(&mut out, 0xa);
        last_chunk(&mut out, None);
        assert_eq!(out, b"1f0\r\na\r\n0\r\n\r\n");
        assert_eq!(*Decimal::new(0), *b"0");
        assert_eq!(*Decimal::new(u64::MAX), *b"18446744073709551615");
    }
}
