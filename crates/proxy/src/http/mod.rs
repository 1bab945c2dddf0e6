//! HTTP: one request path for HTTP/1 and HTTP/2.
//!
//! | file | subject |
//! |---|---|
//! | `head.rs`, `known.rs` | message heads |
//! | `h1/` | HTTP/1: parsing, framing, connections, serving |
//! | `h2/`, `preface.rs` | HTTP/2, and which of the two a client speaks |
//! | `stream.rs`, `transfer.rs` | a request and its answer in any version; moving bodies |
//! | `exchange.rs` | the request path |
//! | `forwarding.rs`, `path.rs` | what a proxy changes in heads |
//! | `local.rs` | answers of our own |
//! | `limits.rs` | time limits |
//! | `journal.rs`, `open.rs` | what is noted of a request for log and counts; of a connection |

pub mod chain;
pub mod exchange;
pub mod forwarding;
pub mod fuzzing;
pub mod h1;
pub mod h2;
pub mod head;
pub mod journal;
pub mod known;
pub mod limits;
pub mod local;
pub mod open;
pub mod path;
mod preface;
pub mod stream;
pub mod transfer;
pub mod upstream;

use std::rc::Rc;

use crate::buffer::Buffer;
use crate::config::listener::Codec;
use crate::io::Io;
use crate::worker::Registration;
use preface::Detected;

/// Serves a connection to its end, in the version that the client speaks. `first` holds bytes that were read
/// from it already.
pub async fn serve(
    http: Rc<chain::HttpChain>,
    client: chain::Client,
    mut io: Io,
    first: Option<Buffer>,
    place: Registration,
) {
    let open = open::Open::new(&http);
    place.set_idle(true);
    let detected = preface::detect(&http, &mut io, first, &open).await;
    place.set_idle(false);
    let Some(Detected { codec, first, since }) = detected else { return };
    open.speaks(codec);
    let read = first.as_ref().map_or(0, |first| first.filled().len());
    http.stats.downstream_cx_rx_bytes_total.add(read as u64);
    match codec {
        // Boxed, so that an HTTP/1 connection does not carry the size of an HTTP/2 one.
        Codec::Http2 => Box::pin(h2::server::serve(http, client, io, first, place, open)).await,
        _ => h1::server::serve(http, client, io, (first, since), place, open).await,
    }
}

pub use head::{Headers, RequestHead, ResponseHead, Scheme, Version};
pub use known::Known;

#[cfg(test)]
mod tests;
