//! Servers that speak first, where nobody says what is spoken.
//!
//! A client that waits for its server says nothing that could be looked at, and would wait for ever. So while it is silent an endpoint is
//! dialled, that of the chain which takes connections of which nothing is known, and who speaks first decides. The server: its
//! connection is carried. The client: its bytes are looked at as ever, and the other connection is closed without a byte of
//! the client's, so that who only waits gets past nothing that is asked of requests.
//!
//! Who spoke first the last time is expected to do so again: where that was a server, the endpoint is dialled at once, so that
//! servers that speak first are not held up. Elsewhere clients have a moment to begin, which spares endpoints connections that
//! are closed again.

use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::local::{Current, Served};
use super::look::Looked;
use crate::http::chain::Client;
use crate::tcp::filter::{Opened, TcpChain};

/// How long a client has to begin before an endpoint is dialled for it: those that speak first do so at once.
const SILENCE: Duration = Duration::from_millis(20);

/// A server that has spoken first.
pub(super) struct Heard {
    /// The chain that it was dialled for.
    pub served: Served,
    /// That chain's proxy.
    pub tcp: Rc<TcpChain>,
    /// The connection to it.
    pub opened: Opened,
}

/// Waits until the client speaks, or a server that is dialled for it; the server, if it was the first. Where the first bytes have
/// a time to come in (`listener_filters_timeout`) that decides, as with Envoy, and there is nothing to wait for here.
pub(super) async fn hear(current: &Current, client: &Client, io: &TcpStream) -> Option<Heard> {
    let listener = &current.listener;
    if !listener.continue_on_inspect_timeout || listener.inspect_timeout.is_some() {
        return None;
    }
    let waiting = current.stats.downstream_pre_cx_active.hold();
    // The bytes, or an error, are for whoever reads: it costs a system call to know that they are there.
    let silence = if current.servers_first.get() { Duration::ZERO } else { SILENCE };
    if timeout(silence, io.peek(&mut [0])).await.is_ok() {
        current.servers_first.set(false);
        return None;
    }
    let served = current.served(client, &Looked::default())?;
    let tcp = served.carries_silence(client)?;
    // Boxed: few connections come here, and those that do not must not carry its size.
    let server = Box::pin(async {
        let opened = tcp.open(client).await?;
        opened.speaks().await?;
        Some(opened)
    });
    let mut first = [0];
    let client_speaks = io.peek(&mut first);
    let opened = tokio::select! {
        biased;
        _ = client_speaks => None,
        opened = server => opened,
    };
    drop(waiting);
    current.servers_first.set(opened.is_some());
    let opened = opened?;
    Some(Heard { served, tcp, opened })
}
