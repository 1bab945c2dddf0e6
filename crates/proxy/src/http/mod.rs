//! HTTP: one request path for HTTP/1 and HTTP/2.
//!
//! | file | subject |
//! |---|---|
//! | `head.rs`, `known.rs` | message heads |
//! | `h1/` | HTTP/1: parsing, framing, connections, serving |
//! | `h2/`, `preface.rs` | HTTP/2, and which of the two a client speaks |
//! | `hello.rs` | clients that begin TLS instead |
//! | `opening.rs` | whether a connection begins with a request at all |
//! | `stream.rs`, `transfer.rs`, `kept.rs` | a request and its answer in any version; moving bodies; keeping them |
//! | `feed.rs` | a request's content on its way to copies of the request |
//! | `exchange.rs` | the request path |
//! | `prepare.rs` | what is done to a request's head on its way, in its order |
//! | `forwarding.rs`, `client_cert.rs`, `path.rs` | what a proxy changes in heads |
//! | `local.rs` | answers of our own |
//! | `limits.rs` | time limits |
//! | `journal.rs`, `open.rs` | what is noted of a request for log and counts; of a connection |

pub mod chain;
pub mod client_cert;
pub mod exchange;
pub mod feed;
pub mod forwarding;
pub mod fuzzing;
pub mod h1;
pub mod h2;
pub mod head;
pub mod hello;
pub mod journal;
mod kept;
pub mod known;
pub mod limits;
pub mod local;
pub mod open;
pub mod opening;
pub mod path;
mod preface;
pub mod prepare;
pub mod stream;
pub mod transfer;
pub mod upstream;

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

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

    /// Goes on with the chain that is in the place of the one that serves it, where that is gone.
    fn follow(&mut self) {
        if let Some(heir) = self.http.heir() {
            self.registration.set_chain(Arc::clone(&heir.chain));
            self.open.goes_on_with(&heir);
            self.http = heir;
        }
    }
}

/// Serves a connection to its end, in the version that the client speaks.
#[expect(
    clippy::manual_async_fn,
    reason = "an async fn has room for its arguments twice, in every idle task"
)]
pub fn serve(mut session: Session, mut conn: Conn) -> impl Future<Output = ()> {
    async move {
        let detected = preface::detect(&mut session, &mut conn).await;
        let (received, _) = conn.take_counts();
        session.http.stats.downstream_cx_rx_bytes_total.add(received);
        let (codec, since) = match detected {
            Some(Detected::Http { codec, since }) => (codec, since),
            // Boxed, so that others do not carry the size of it.
            Some(Detected::Tls(hello)) => {
                return Box::pin(hello::refuse(&session, &mut conn, &hello)).await;
            }
            None => return,
        };
        session.follow();
        session.open.speaks(codec);
        match codec {
            // Boxed, so that an HTTP/1 connection does not carry the size of an HTTP/2 one.
            Codec::Http2 => Box::pin(h2::server::serve(session, conn)).await,
            _ => h1::server::serve(&mut session, &mut conn, since).await,
        }
    }
}

pub use head::{ClientCertificate, Headers, RequestHead, ResponseHead, Scheme, Version};
pub use known::Known;
pub use preface::settled as settled_codec;

#[cfg(test)]
mod tests;
