//! HTTP: one request path for HTTP/1 and HTTP/2.
//!
//! | file | subject |
//! |---|---|
//! | `head.rs`, `known.rs` | message heads |
//! | `h1/` | HTTP/1: parsing, framing, connections, serving |
//! | `h2/`, `preface.rs` | HTTP/2, and which of the two a client speaks |
//! | `stream.rs`, `transfer.rs`, `kept.rs` | a request and its answer in any version; moving bodies; keeping them |
//! | `exchange.rs` | the request path |
//! | `prepare.rs` | what is done to a request's head on its way, in its order |
//! | `forwarding.rs`, `client_cert.rs`, `path.rs` | what a proxy changes in heads |
//! | `local.rs` | answers of our own |
//! | `limits.rs` | time limits |
//! | `journal.rs`, `open.rs` | what is noted of a request for log and counts; of a connection |

pub mod chain;
pub mod client_cert;
pub mod exchange;
pub mod forwarding;
pub mod fuzzing;
pub mod h1;
pub mod h2;
pub mod head;
pub mod journal;
mod kept;
pub mod known;
pub mod limits;
pub mod local;
pub mod open;
pub mod path;
mod preface;
pub mod prepare;
pub mod stream;
pub mod transfer;
pub mod upstream;

use std::future::Future;
use std::rc::Rc;

use crate::config::listener::Codec;
use crate::listener;
use crate::worker::Registration;
use h1::Conn;
use preface::Detected;

/// A client's connection, but for its bytes.
#[derive(Debug)]
pub struct Session {
    /// What serves it.
    pub http: Rc<chain::HttpChain>,
    /// Who it is.
    pub client: chain::Client,
    /// Its entry among the worker's connections.
    pub registration: Registration,
    open: open::Open,
    _counted: listener::Open,
}

impl Session {
    /// A session that begins now; `counted` counts the connection at its listener.
    #[must_use]
    pub fn new(
        http: Rc<chain::HttpChain>,
        client: chain::Client,
        registration: Registration,
        counted: listener::Open,
    ) -> Self {
        let open = open::Open::new(&http);
        Self { http, client, registration, open, _counted: counted }
    }
}

/// Serves a connection to its end, in the version that the client speaks.
#[expect(
    clippy::manual_async_fn,
    reason = "an async fn has room for its arguments twice, in every idle task"
)]
pub fn serve(session: Session, mut conn: Conn) -> impl Future<Output = ()> {
    async move {
        session.registration.set_idle(true);
        let detected = preface::detect(&session, &mut conn).await;
        session.registration.set_idle(false);
        let (received, _) = conn.take_counts();
        session.http.stats.downstream_cx_rx_bytes_total.add(received);
        let Some(Detected { codec, since }) = detected else { return };
        session.open.speaks(codec);
        match codec {
            // Boxed, so that an HTTP/1 connection does not carry the size of an HTTP/2 one.
            Codec::Http2 => Box::pin(h2::server::serve(session, conn)).await,
            _ => h1::server::serve(&session, &mut conn, since).await,
        }
    }
}

pub use head::{Headers, RequestHead, ResponseHead, Scheme, Version};
pub use known::Known;

#[cfg(test)]
mod tests;
