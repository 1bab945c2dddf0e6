//! What the first bytes of a connection tell before its chain is chosen, as it counts.

use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::local::Current;
use crate::buffer::Buffer;
use crate::http::opening::Opening;
use crate::tls::{ClientHello, InspectorLimits, Malformed, Verdict, inspect};
use crate::worker::Worker;

/// How long a client that is refused has to say what it wants. One that waits for the server to begin is closed then.
const REFUSED_LOOK: Duration = Duration::from_secs(1);

/// What was read of a connection, and what it tells.
#[derive(Debug, Default)]
pub(super) struct Looked {
    pub bytes: Option<Buffer>,
    pub hello: Option<ClientHello>,
    pub request: Option<Opening>,
}

impl Looked {
    /// The application protocols that are found, in their order.
    pub fn protocols(&self) -> Vec<&[u8]> {
        let of_hello = self.hello.iter().flat_map(|hello| hello.alpn.iter());
        of_hello.chain(self.request.map(Opening::protocol)).collect()
    }
}

/// Looks at the first bytes as the listener filters are to for connections to `port`; `None` when the connection is over.
pub(super) async fn look(
    worker: &Rc<Worker>,
    current: &Current,
    io: &mut TcpStream,
    port: u16,
) -> Option<Looked> {
    let (stats, listener) = (&current.stats, &current.listener);
    let limits = InspectorLimits {
        hellos: listener.looks_for_tls(port),
        requests: listener.looks_for_requests(port),
        timeout: listener.inspect_timeout,
        ..InspectorLimits::default()
    };
    let looking = stats.downstream_pre_cx_active.hold();
    let inspected = inspect(io, None, limits, &worker.buffers).await;
    drop(looking);
    let counts = worker.stats.tls_inspector();
    let looked = Looked { bytes: inspected.bytes, hello: None, request: inspected.request };
    match inspected.verdict {
        Verdict::Tls(hello) => {
            count_hello(worker, &hello);
            Some(Looked { hello: Some(hello), ..looked })
        }
        // As by Envoy. It may name a server, so it must not pass for one that does not.
        Verdict::Malformed(Malformed::TooLarge(_)) => {
            counts.client_hello_too_large.inc();
            None
        }
        verdict @ (Verdict::NotTls | Verdict::Malformed(_) | Verdict::LongRequest) => {
            if limits.hellos {
                counts.tls_not_found.inc();
            }
            let long = matches!(verdict, Verdict::LongRequest);
            if limits.requests {
                count_request(worker, looked.request, long);
            }
            (!long).then_some(looked)
        }
        Verdict::TimedOut => {
            stats.downstream_pre_cx_timeout.inc();
            // It was no TLS, and may have become a request.
            if limits.hellos && inspected.plain {
                counts.tls_not_found.inc();
            }
            listener.continue_on_inspect_timeout.then_some(looked)
        }
        Verdict::Closed => {
            stats.downstream_listener_filter_remote_close.inc();
            None
        }
        Verdict::Failed(_) => {
            stats.downstream_listener_filter_error.inc();
            None
        }
    }
}

/// Looks at the first bytes of a connection that is refused whatever they are, so that it can be said what was refused, and
/// requests get an answer. `first` has come already.
pub(super) async fn look_at_refused(
    worker: &Worker,
    io: &mut TcpStream,
    first: Option<Buffer>,
) -> Looked {
    let limits = InspectorLimits {
        requests: true,
        timeout: Some(REFUSED_LOOK),
        ..InspectorLimits::default()
    };
    let inspected = inspect(io, first, limits, &worker.buffers).await;
    let hello = match inspected.verdict {
        Verdict::Tls(hello) => Some(hello),
        _ => None,
    };
    Looked { bytes: inspected.bytes, hello, request: inspected.request }
}

fn count_hello(worker: &Worker, hello: &ClientHello) {
    let counts = worker.stats.tls_inspector();
    counts.tls_found.inc();
    let sni = hello.server_name.is_some();
    (if sni { &counts.sni_found } else { &counts.sni_not_found }).inc();
    let alpn = !hello.alpn.is_empty();
    (if alpn { &counts.alpn_found } else { &counts.alpn_not_found }).inc();
}

fn count_request(worker: &Worker, request: Option<Opening>, long: bool) {
    let counts = worker.stats.http_inspector();
    match request {
        _ if long => counts.read_error.inc(),
        Some(Opening::Http10) => counts.http10_found.inc(),
        Some(Opening::Http11) => counts.http11_found.inc(),
        Some(Opening::Http2) => counts.http2_found.inc(),
        None => counts.http_not_found.inc(),
    }
}
