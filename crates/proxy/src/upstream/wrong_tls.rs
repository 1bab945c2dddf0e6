//! TLS that two sides of the proxy mean differently, said in one sentence that names what to change.
//!
//! Where the proxy begins TLS itself, a client must not, and the endpoint has to take it. Both mistakes are otherwise told in
//! words of TLS libraries (`WRONG_VERSION_NUMBER`), from which nobody learns what to change.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

use super::incident::{Incident, Listener};

/// The time between two tellings of the same cluster.
const INTERVAL: Duration = Duration::from_secs(60);

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// The endpoint answers a ClientHello with bytes that are no TLS.
    PlainEndpoint,
    /// A client begins TLS where requests in plain text are taken, to be sent in TLS.
    ClientAtRequests,
    /// A client's TLS is sent inside of the proxy's own.
    ClientInside,
}

/// A mistake, and where it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongTls {
    /// The cluster whose connections begin with TLS.
    pub cluster: Arc<str>,
    /// The field that has them begin so, if a control plane told it.
    pub field: Option<Arc<str>>,
    /// What is wrong.
    pub mistake: Mistake,
}

/// Who is told of a cluster's mistakes, and when that was last.
#[derive(Debug, Default)]
pub(super) struct Told {
    listener: OnceLock<Listener>,
    /// By mistake: milliseconds since the first telling of all, and 1; 0 for never.
    last: [AtomicU64; 3],
}

impl Told {
    /// Says who is told. Counts the first time only.
    pub fn by(&self, listener: Listener) {
        let _ = self.listener.set(listener);
    }

    /// Tells of a mistake, in the log and to whoever listens, unless that was done of late.
    pub fn tell(&self, wrong: &WrongTls) {
        if !self.is_due(wrong.mistake, now()) {
            return;
        }
        tracing::warn!(cluster = %wrong.cluster, "{wrong}");
        if let Some(listener) = self.listener.get() {
            // Whoever listens may have ended.
            let _ = listener.send(Incident::Tls(wrong.clone()));
        }
    }

    fn is_due(&self, mistake: Mistake, now: u64) -> bool {
        let last = &self.last[mistake as usize];
        let before = last.load(Ordering::Relaxed);
        let due = before == 0 || now.saturating_sub(before) >= INTERVAL.as_millis() as u64;
        // Of workers that find it at a time, one tells.
        due && last.compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// Milliseconds, from 1.
fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64 + 1
}

impl fmt::Display for WrongTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mistake {
            Mistake::PlainEndpoint => f.write_str("the endpoint answers TLS with plain bytes")?,
            Mistake::ClientAtRequests => f.write_str(
                "the client begins TLS where it is to speak plain HTTP, as the proxy begins TLS itself",
            )?,
            Mistake::ClientInside => {
                f.write_str("the client's TLS is sent inside of TLS that the proxy begins itself")?;
            }
        }
        f.write_str(": ")?;
        if self.mistake == Mistake::ClientAtRequests {
            f.write_str("use http:// in the client, or ")?;
        }
        match &self.field {
            Some(field) => write!(f, "set {field} to DISABLE")?,
            None => write!(f, "remove transport_socket of cluster {}", self.cluster)?,
        }
        f.write_str(match self.mistake {
            Mistake::PlainEndpoint => " if plain text is meant, else send to a port that takes TLS",
            Mistake::ClientAtRequests => " and the protocol of the port to TLS",
            Mistake::ClientInside => {
                ", or the protocol of the port to HTTP and use http:// in the client"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_name_the_field() {
        let said = |mistake, field: Option<&str>| {
            let (cluster, field) = ("outbound|443||a.example".into(), field.map(Into::into));
            WrongTls { cluster, field, mistake }.to_string()
        };
        let field = Some("DestinationRule default/a spec.trafficPolicy.tls.mode");
        assert_eq!(
            said(Mistake::PlainEndpoint, field),
            "the endpoint answers TLS with plain bytes: set DestinationRule default/a spec.trafficPolicy.tls.mode to DISABLE \
             if plain text is meant, else send to a port that takes TLS"
        );
        assert_eq!(
            said(Mistake::ClientAtRequests, field),
            "the client begins TLS where it is to speak plain HTTP, as the proxy begins TLS itself: use http:// in the client, \
             or set DestinationRule default/a spec.trafficPolicy.tls.mode to DISABLE and the protocol of the port to TLS"
        );
        assert_eq!(
            said(Mistake::ClientInside, field),
            "the client's TLS is sent inside of TLS that the proxy begins itself: set DestinationRule default/a \
             spec.trafficPolicy.tls.mode to DISABLE, or the protocol of the port to HTTP and use http:// in the client"
        );
        assert_eq!(
            said(Mistake::PlainEndpoint, None),
            "the endpoint answers TLS with plain bytes: remove transport_socket of cluster outbound|443||a.example if plain text \
             is meant, else send to a port that takes TLS"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_mistake_is_told_once_a_minute() {
        let (listener, mut told) = tokio::sync::mpsc::unbounded_channel();
        let desk = Told::default();
        desk.by(listener);
        let wrong = |mistake| WrongTls { cluster: "a".into(), field: None, mistake };
        let count = |told: &mut tokio::sync::mpsc::UnboundedReceiver<Incident>| {
            std::iter::from_fn(|| told.try_recv().ok()).count()
        };
        for _ in 0..3 {
            desk.tell(&wrong(Mistake::PlainEndpoint));
        }
        desk.tell(&wrong(Mistake::ClientInside));
        assert_eq!(count(&mut told), 2);
        tokio::time::advance(INTERVAL).await;
        desk.tell(&wrong(Mistake::PlainEndpoint));
        assert_eq!(count(&mut told), 1);
    }
}
