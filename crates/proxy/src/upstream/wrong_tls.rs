//! TLS that two sides of the proxy mean differently, said in one sentence that names what to change.
//!
//! Where the proxy begins TLS itself, a client must not, and the endpoint has to take it, with a certificate that is accepted.
//! Mistakes are otherwise told in words of TLS libraries (`WRONG_VERSION_NUMBER`), from which nobody learns what to change.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

use super::incident::{Incident, Listener};
use crate::tls::{About, Distrust};

/// The time between two tellings of the same cluster.
const INTERVAL: Duration = Duration::from_secs(60);

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// The endpoint answers a ClientHello with bytes that are no TLS.
    PlainEndpoint,
    /// A client begins TLS where requests in plain text are taken, to be sent in TLS.
    ClientAtRequests,
    /// A client's TLS is sent inside of the proxy's own.
    ClientInside,
    /// The endpoint shows a certificate that is not accepted.
    Certificate(Distrust),
}

impl Mistake {
    /// How many kinds there are.
    const KINDS: usize = 4;

    /// The number of its kind.
    const fn kind(&self) -> usize {
        match self {
            Self::PlainEndpoint => 0,
            Self::ClientAtRequests => 1,
            Self::ClientInside => 2,
            Self::Certificate(_) => 3,
        }
    }

    /// Whether it is the endpoint's, whatever its client means.
    #[must_use]
    pub const fn is_of_endpoint(&self) -> bool {
        matches!(self, Self::PlainEndpoint | Self::Certificate(_))
    }
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
    last: [AtomicU64; Mistake::KINDS],
}

impl Told {
    /// Says who is told. Counts the first time only.
    pub fn by(&self, listener: Listener) {
        let _ = self.listener.set(listener);
    }

    /// Tells of a mistake, in the log and to whoever listens, unless that was done of late.
    pub fn tell(&self, wrong: &WrongTls) {
        if !self.is_due(&wrong.mistake, now()) {
            return;
        }
        tracing::warn!(cluster = %wrong.cluster, "{wrong}");
        if let Some(listener) = self.listener.get() {
            // Whoever listens may have ended.
            let _ = listener.send(Incident::Tls(wrong.clone()));
        }
    }

    fn is_due(&self, mistake: &Mistake, now: u64) -> bool {
        let last = &self.last[mistake.kind()];
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
        let (found, first, then) = match &self.mistake {
            Mistake::PlainEndpoint => (
                "the endpoint answers TLS with plain bytes",
                "",
                " if plain text is meant, else send to a port that takes TLS",
            ),
            Mistake::ClientAtRequests => (
                "the client begins TLS where it is to speak plain HTTP, as the proxy begins TLS itself",
                "use http:// in the client, or ",
                " and the protocol of the port to TLS",
            ),
            Mistake::ClientInside => (
                "the client's TLS is sent inside of TLS that the proxy begins itself",
                "",
                ", or the protocol of the port to HTTP and use http:// in the client",
            ),
            Mistake::Certificate(distrust) => return self.of_certificate(distrust, f),
        };
        write!(f, "{found}: {first}")?;
        match &self.field {
            Some(field) => write!(f, "set {field} to DISABLE")?,
            None => write!(f, "remove transport_socket of cluster {}", self.cluster)?,
        }
        f.write_str(then)
    }
}

impl WrongTls {
    fn of_certificate(&self, distrust: &Distrust, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the endpoint's certificate is not accepted: {}", distrust.why)?;
        // The field that has TLS begin stands beside those that say how.
        let own = self.field.as_deref().and_then(|field| field.strip_suffix("mode"));
        match (distrust.about, own) {
            (About::Itself, _) => Ok(()),
            (About::Names, Some(own)) => {
                write!(
                    f,
                    ": {own}sni is the name that is asked for, .subjectAltNames those that are accepted"
                )
            }
            (About::Issuers, Some(own)) => {
                write!(
                    f,
                    ": {own}caCertificates or .credentialName say who is, the system's authorities without them"
                )
            }
            (About::Names | About::Issuers, None) => {
                write!(f, ": see transport_socket of cluster {}", self.cluster)
            }
        }
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

    #[test]
    fn what_is_wrong_with_a_certificate_is_said_with_the_fields_that_ask_for_it() {
        let said = |about, why: &str, field: Option<&str>| {
            let mistake = Mistake::Certificate(Distrust { about, why: why.into() });
            WrongTls { cluster: "c".into(), field: field.map(Into::into), mistake }.to_string()
        };
        let field = Some("DestinationRule default/a spec.trafficPolicy.tls.mode");
        assert_eq!(
            said(About::Names, "it is for b, and a was asked for", field),
            "the endpoint's certificate is not accepted: it is for b, and a was asked for: DestinationRule default/a \
             spec.trafficPolicy.tls.sni is the name that is asked for, .subjectAltNames those that are accepted"
        );
        assert_eq!(
            said(About::Issuers, "nobody who is trusted has issued it", field),
            "the endpoint's certificate is not accepted: nobody who is trusted has issued it: DestinationRule default/a \
             spec.trafficPolicy.tls.caCertificates or .credentialName say who is, the system's authorities without them"
        );
        let expired = "the endpoint's certificate is not accepted: it has expired";
        assert_eq!(said(About::Itself, "it has expired", field), expired);
        let no_field = said(About::Issuers, "nobody who is trusted has issued it", None);
        assert!(no_field.ends_with(": see transport_socket of cluster c"), "{no_field}");
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
