//! What clients may take of the server: how many of them, how often they ask, and how slowly.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Requests of one user each second where nothing else is said: more than a client sends that does not run wild.
const REQUESTS: NonZeroU32 = NonZeroU32::new(1_000).expect("more than none");
/// Of how long a time the requests that were not sent may be sent at once.
const SAVED: Duration = Duration::from_secs(10);

/// Bounds of what clients may take of the server. The size of a request is bounded besides: 3 MiB, as in Kubernetes.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Connections at once; more wait.
    pub connections: usize,
    /// Watches at once; more are refused (429).
    pub watches: usize,
    /// Requests of one user each second, in the mean: what was not asked in the last ten seconds may be asked at
    /// once. More are refused (429).
    pub requests: NonZeroU32,
    /// How long a client may take for its part of the TLS handshake.
    pub handshake: Duration,
    /// How long it may take for the head of a request, on HTTP/1 from the answer before it.
    pub head: Duration,
    /// How long it may take for the body of a request.
    pub body: Duration,
    /// For how long a connection is kept on which nothing is asked.
    pub idle: Duration,
    /// For how long one is kept whose client takes nothing of what is sent, or answers no more (Linux); and an answer of which
    /// the client takes nothing, while it takes others on the same connection.
    pub stalled: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1_024,
            watches: 2_048,
            requests: REQUESTS,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(60),
            body: Duration::from_secs(60),
            idle: Duration::from_secs(90),
            // Somebody may have stopped a `kubectl get -w` to read what it says.
            stalled: Duration::from_secs(300),
        }
    }
}

/// How often a user asks: an allowance that fills with time, kept as the moment at which it will be full.
#[derive(Debug)]
pub(crate) struct Pace {
    spacing: Duration,
    full_at: Mutex<Instant>,
}

impl Pace {
    pub(crate) fn new(each_second: NonZeroU32) -> Self {
        let spacing = Duration::from_secs(1) / each_second.get();
        Self { spacing, full_at: Mutex::new(Instant::now()) }
    }

    /// Takes one request off the allowance, or says how long it takes until that is possible.
    pub(crate) fn take(&self, now: Instant) -> Result<(), Duration> {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let next = now.max(*full_at) + self.spacing;
        match (next - now).checked_sub(SAVED) {
            None | Some(Duration::ZERO) => {
                *full_at = next;
                Ok(())
            }
            Some(wait) => Err(wait),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_used_up_and_fills_with_time() {
        let pace = Pace::new(NonZeroU32::new(2).expect("some"));
        let start = Instant::now() + Duration::from_secs(60);
        for _ in 0..20 {
            assert_eq!(pace.take(start), Ok(()), "what was saved");
        }
        let half = Duration::from_millis(500);
        assert_eq!(pace.take(start), Err(half));
        assert_eq!(pace.take(start + half / 2), Err(half / 2), "being refused costs nothing");
        assert_eq!(pace.take(start + half), Ok(()));
        assert_eq!(pace.take(start + half), Err(half));
        let later = start + Duration::from_secs(3_600);
        let taken = (0..100).take_while(|_| pace.take(later).is_ok()).count();
        assert_eq!(taken, 20, "more than that is not saved");
    }
}
