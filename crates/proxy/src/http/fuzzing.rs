//! Bodies of the fuzz targets of HTTP, as plain functions: any driver may feed them.

mod http2;
mod opening;
mod path;

pub use http2::http2;
pub use opening::opening;
pub use path::path;

use super::forwarding::strip_hop_by_hop;
use super::h1::encode::{self, ConnectionHeader};
use super::h1::parse::{self, HeadScanner, MAX_LINES};
use super::h1::{BadMessage, BodyDecoder, Decoded, Framing};
use super::head::{Headers, RequestHead, ResponseHead};
use super::known::Known;

/// Largest head, as Envoy's default.
const LIMIT: usize = 60 * 1024;

/// Reads `data` as a request, a response and chunks, and checks what must hold for any input:
///
/// - no panic, no endless loop;
/// - where a head ends, and what chunks carry, does not depend on how the bytes arrive;
/// - a head that is accepted has one framing, and says the same when it is written and read again.
///
/// # Panics
///
/// When one of these does not hold.
pub fn http1(data: &[u8]) {
    let found = HeadScanner::default().scan(data, LIMIT);
    assert_eq!(scan_in_pieces(data), found, "the end of a head depends on how it arrives");
    if let Ok(Some(len)) = found {
        request(&data[..len]);
        response(&data[..len]);
    }
    let step = 1 + data.first().map_or(0, |byte| usize::from(byte % 13));
    assert_eq!(dechunk(data, step), dechunk(data, usize::MAX), "chunks depend on how they arrive");
}

fn scan_in_pieces(data: &[u8]) -> Result<Option<usize>, BadMessage> {
    let mut scanner = HeadScanner::default();
    for end in (1..=data.len()).step_by(7).chain([data.len()]) {
        let found = scanner.scan(&data[..end], LIMIT);
        if !matches!(found, Ok(None)) {
            return found;
        }
    }
    Ok(None)
}

fn request(bytes: &[u8]) {
    let mut head = RequestHead::default();
    let Ok(carriage) = parse::request(bytes, MAX_LINES, &mut head) else { return };
    let lengths = head.headers.get_all(b"content-length").count();
    let codings = head.headers.get_all(b"transfer-encoding").count();
    assert!(lengths + codings <= 1, "two framings: {head:?}");
    assert!(head.headers.get_known(Known::Host).is_none(), "a second host: {head:?}");

    // As it goes on to the next hop.
    strip_hop_by_hop(&mut head.headers, carriage.upgrade);
    let mut out = Vec::new();
    let chunked = carriage.framing == Framing::Chunked;
    let connection =
        if carriage.upgrade { ConnectionHeader::Upgrade } else { ConnectionHeader::None };
    encode::request(&mut out, &head, chunked, false, connection);
    assert_eq!(scan_in_pieces(&out), Ok(Some(out.len())), "{}", out.escape_ascii());
    let mut again = RequestHead::default();
    let read = parse::request(&out, MAX_LINES, &mut again);
    let read = read.unwrap_or_else(|error| panic!("{error}: {}", out.escape_ascii()));
    assert_eq!((read.framing, read.upgrade), (carriage.framing, carriage.upgrade));
    assert_eq!(
        (again.method(), again.authority(), again.path()),
        (head.method(), head.authority(), head.path())
    );
    same_fields(&head.headers, &again.headers);
}

/// What stands between two hops may differ, nothing else.
fn same_fields(sent: &Headers, read: &Headers) {
    let end_to_end = |headers: &Headers| -> Vec<(Vec<u8>, Vec<u8>)> {
        let own = |known| matches!(known, Known::TransferEncoding | Known::Connection);
        let lines = headers.iter().filter(|(known, ..)| !own(*known));
        lines.map(|(_, name, value)| (name.to_vec(), value.to_vec())).collect()
    };
    assert_eq!(end_to_end(read), end_to_end(sent));
}

fn response(bytes: &[u8]) {
    let mut head = ResponseHead::default();
    for (to_head, to_connect) in [(false, false), (true, false), (false, true)] {
        let Ok(carriage) = parse::response(bytes, MAX_LINES, to_head, to_connect, &mut head) else {
            return;
        };
        let lengths = head.headers.get_all(b"content-length").count();
        let codings = head.headers.get_all(b"transfer-encoding").count();
        assert!(lengths + codings <= 1, "two framings: {head:?}");
        assert!(!(to_head && carriage.framing == Framing::Chunked), "HEAD has no body");

        // As it goes on to the client; where its end is the connection's, it may be told in chunks.
        strip_hop_by_hop(&mut head.headers, carriage.upgrade);
        let mut out = Vec::new();
        let chunked = carriage.framing == Framing::Chunked;
        encode::response(&mut out, &head, chunked, ConnectionHeader::None);
        assert_eq!(scan_in_pieces(&out), Ok(Some(out.len())), "{}", out.escape_ascii());
        let mut again = ResponseHead::default();
        let read = parse::response(&out, MAX_LINES, to_head, to_connect, &mut again);
        let read = read.unwrap_or_else(|error| panic!("{error}: {}", out.escape_ascii()));
        assert_eq!((again.status, read.framing), (head.status, carriage.framing));
        same_fields(&head.headers, &again.headers);
    }
}

/// The content of chunks that arrive in pieces of `step` bytes, and how it ended.
fn dechunk(data: &[u8], step: usize) -> (Vec<u8>, Result<bool, BadMessage>) {
    let mut decoder = BodyDecoder::from(Framing::Chunked);
    let (mut content, mut at, mut end) = (Vec::new(), 0, 0);
    loop {
        match decoder.decode(&data[at..end]) {
            Ok(Decoded::Data { skip, len }) => {
                content.extend_from_slice(&data[at + skip..at + skip + len]);
                decoder.consumed(len);
                at += skip + len;
            }
            Ok(Decoded::End { .. }) => return (content, Ok(true)),
            Ok(Decoded::More { skip }) => {
                at += skip;
                if end == data.len() {
                    return (content, Ok(false));
                }
                end = end.saturating_add(step).min(data.len());
            }
            Err(error) => return (content, Err(error)),
        }
    }
}
