//! Which HTTP version a client speaks: what was agreed on with ALPN; else HTTP/2 with prior knowledge begins with
//! a fixed preface (RFC 9113 section 3.4), everything else is HTTP/1, but for clients that begin TLS where none is taken.

use std::future::poll_fn;
use std::task::Poll;

use tokio::time::Instant;

use super::Session;
use super::h1::Conn;
use crate::config::listener::Codec;
use crate::timer::Deadline;
use crate::tls::client_hello::{self, ClientHello, Inspection};
use crate::worker::FIRST_REQUEST;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a client speaks.
pub enum Detected {
    /// A version of HTTP.
    Http {
        /// Which.
        codec: Codec,
        /// When its first byte came, if telling took more than one look.
        since: Option<Instant>,
    },
    /// TLS, where none is taken.
    Tls(Box<ClientHello>),
}

/// The first byte of a TLS handshake (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 22;

/// Reads as much as it takes to tell. `None` when the client is gone, or says nothing for too long. A client that
/// begins with a piece of the preface and leaves it at that speaks HTTP/1 too slowly.
pub async fn detect(session: &mut Session, conn: &mut Conn) -> Option<Detected> {
    let manager = &session.http.manager;
    let tls = conn.io().tls();
    let protocol = tls.and_then(|tls| tls.session().alpn_protocol());
    if let Some(codec) = settled(manager.codec, protocol) {
        return Some(Detected::Http { codec, since: None });
    }
    let idle = manager.idle_timeout.map(|idle| Instant::now() + idle);
    let mut timer = Deadline::default();
    timer.set(idle);
    let (mut since, mut leaves) = (None, false);
    // Boxed, as few clients begin so.
    let mut hello: Option<Box<client_hello::Progress>> = None;
    let mut plain = conn.io().tls().is_none();
    loop {
        let said = conn.filled();
        if plain && said.first() == Some(&TLS_HANDSHAKE) {
            let hello = hello.get_or_insert_default();
            match hello.parse(said, client_hello::DEFAULT_MAX_BYTES) {
                Inspection::Hello(hello) => return Some(Detected::Tls(Box::new(hello))),
                Inspection::NeedMore => {}
                Inspection::NotTls | Inspection::Malformed(_) => plain = false,
            }
        }
        let waits = plain && said.first() == Some(&TLS_HANDSHAKE);
        if let (false, false, Some(codec)) = (waits, said.is_empty(), told(said)) {
            return Some(Detected::Http { codec, since });
        }
        if let (false, None) = (said.is_empty(), since) {
            let now = Instant::now();
            since = Some(now);
            let manager = &session.http.manager;
            let head_time = manager.request_headers_timeout.or(manager.stream_idle_timeout);
            timer.set(head_time.map(|time| now + time).into_iter().chain(idle).min());
        }
        let read = poll_fn(|cx| {
            if let Poll::Ready(read) = conn.poll_fill(cx) {
                return Poll::Ready(Some(read.unwrap_or(0)));
            }
            session.follow();
            session.registration.takes_leave(cx.waker());
            if session.http.is_retired() && session.http.is_over() && !leaves {
                leaves = true;
                let end = Some(Instant::now() + FIRST_REQUEST);
                timer.set(end.into_iter().chain(timer.at()).min());
            }
            timer.poll(cx).map(|()| None)
        })
        .await;
        match read {
            Some(0) => {
                session.open.closed_by_client();
                return None;
            }
            Some(_) => {}
            None if since.is_some() => return Some(Detected::Http { codec: Codec::Http1, since }),
            None => {
                if !leaves {
                    session.http.stats.downstream_cx_idle_timeout.inc();
                }
                return None;
            }
        }
    }
}

/// The version that a connection is read as whatever is sent on it: the one that configuration names, else the one that a
/// handshake agreed on with ALPN. `None` where the first bytes tell.
#[must_use]
pub fn settled(configured: Codec, protocol: Option<&[u8]>) -> Option<Codec> {
    match configured {
        Codec::Auto => protocol.and_then(agreed),
        fixed => Some(fixed),
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
        assert_eq!(settled(Codec::Auto, Some(b"h2")), Some(Codec::Http2));
        assert_eq!(settled(Codec::Auto, None), None, "the first bytes tell");
        assert_eq!(settled(Codec::Http1, Some(b"h2")), Some(Codec::Http1), "as configured");
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
