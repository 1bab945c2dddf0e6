//! Which HTTP version a client speaks: what was agreed on with ALPN; else HTTP/2 with prior knowledge begins with
//! a fixed preface (RFC 9113 section 3.4), everything else is HTTP/1.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

use super::chain::HttpChain;
use super::open::Open;
use crate::buffer::Buffer;
use crate::config::listener::Codec;
use crate::io::Io;
use crate::timer::Deadline;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a client speaks, and what it said so far.
pub struct Detected {
    /// What it speaks.
    pub codec: Codec,
    /// What was read to tell.
    pub first: Option<Buffer>,
    /// When its first byte came, if telling took more than one look.
    pub since: Option<Instant>,
}

/// Reads as much as it takes to tell. `None` when the client is gone, or says nothing for too long. A client that
/// begins with a piece of the preface and leaves it at that speaks HTTP/1 too slowly.
pub async fn detect(
    http: &HttpChain,
    io: &mut Io,
    first: Option<Buffer>,
    open: &Open,
) -> Option<Detected> {
    let manager = &http.manager;
    if manager.codec != Codec::Auto {
        return Some(Detected { codec: manager.codec, first, since: None });
    }
    if let Some(codec) = io.tls().and_then(|tls| tls.session().alpn_protocol()).and_then(agreed) {
        return Some(Detected { codec, first, since: None });
    }
    let idle = manager.idle_timeout.map(|idle| Instant::now() + idle);
    let mut timer = Deadline::default();
    timer.set(idle);
    let mut bytes = first;
    let mut since = None;
    loop {
        let said = bytes.as_ref().map_or(&[][..], Buffer::filled);
        if let (false, Some(codec)) = (said.is_empty(), told(said)) {
            return Some(Detected { codec, first: bytes, since });
        }
        if let (false, None) = (said.is_empty(), since) {
            let now = Instant::now();
            since = Some(now);
            let head_time = manager.request_headers_timeout.or(manager.stream_idle_timeout);
            timer.set(head_time.map(|time| now + time).into_iter().chain(idle).min());
        }
        let read = poll_fn(|cx| {
            if timer.poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            // No buffer is taken before there is something to put into it.
            if ready!(io.poll_read_ready(cx)).is_err() {
                return Poll::Ready(Some(0));
            }
            let bytes = bytes.get_or_insert_with(|| http.worker.buffers.small());
            let mut room = ReadBuf::new(bytes.room());
            if ready!(Pin::new(&mut *io).poll_read(cx, &mut room)).is_err() {
                return Poll::Ready(Some(0));
            }
            let n = room.filled().len();
            bytes.advance(n);
            Poll::Ready(Some(n))
        })
        .await;
        match read {
            Some(0) => {
                open.closed_by_client();
                return None;
            }
            Some(_) => {}
            None if since.is_some() => {
                return Some(Detected { codec: Codec::Http1, first: bytes, since });
            }
            None => {
                http.stats.downstream_cx_idle_timeout.inc();
                return None;
            }
        }
    }
}

/// The version behind an ALPN protocol (RFC 7301).
fn agreed(protocol: &[u8]) -> Option<Codec> {
    match protocol {
        b"h2" => Some(Codec::Http2),
        b"http/1.1" | b"http/1.0" => Some(Codec::Http1),
        _ => None,
    }
}

/// What the bytes so far tell; `None` while they could still become the preface.
fn told(bytes: &[u8]) -> Option<Codec> {
    let n = bytes.len().min(PREFACE.len());
    match bytes[..n] == PREFACE[..n] {
        false => Some(Codec::Http1),
        true if n == PREFACE.len() => Some(Codec::Http2),
        true => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alpn_tells_first() {
        assert_eq!(agreed(b"h2"), Some(Codec::Http2));
        assert_eq!(agreed(b"http/1.1"), Some(Codec::Http1));
        assert_eq!(agreed(b"istio"), None);
    }

    #[test]
    fn the_preface_is_told_apart_as_soon_as_it_can_be() {
        assert_eq!(told(b""), None);
        assert_eq!(told(b"P"), None);
        assert_eq!(told(b"PO"), Some(Codec::Http1));
        assert_eq!(told(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"), None);
        assert_eq!(told(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nrest"), Some(Codec::Http2));
    }
}
