//! Lookups, counted.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::lookup::{Answering, Family, Lookup, LookupError, Records};
use super::target::Name;
use crate::stats::{DnsStats, Stats};

/// A way of looking up whose questions are counted. The counts are behind a lock, as lookups run in tasks of
/// their own.
pub(super) struct Counted<L> {
    lookup: L,
    stats: Mutex<Stats<DnsStats>>,
}

impl<L> Counted<L> {
    /// Counts in `stats`, which nobody else writes.
    pub(super) fn new(lookup: L, stats: Stats<DnsStats>) -> Self {
        Self { lookup, stats: Mutex::new(stats) }
    }

    fn stats(&self) -> MutexGuard<'_, Stats<DnsStats>> {
        // Counts stay usable whoever panicked.
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, outcome: &Result<Records, LookupError>) {
        let stats = self.stats();
        match outcome {
            Ok(_) => {}
            Err(error) if error.is_negative() => stats.not_found.inc(),
            Err(LookupError::Timeout) => stats.timeouts.inc(),
            Err(_) => stats.get_addr_failure.inc(),
        }
    }
}

/// A question that was asked; the answer came, or nobody waits for it any more, when it is dropped.
struct Asked<'a, L>(&'a Counted<L>);

impl<'a, L> Asked<'a, L> {
    fn new(counted: &'a Counted<L>) -> Self {
        let stats = counted.stats();
        stats.resolve_total.inc();
        stats.pending_resolutions.inc();
        Self(counted)
    }
}

impl<L> Drop for Asked<'_, L> {
    fn drop(&mut self) {
        self.0.stats().pending_resolutions.dec();
    }
}

impl<L: Lookup> Lookup for Counted<L> {
    fn records<'a>(&'a self, name: &'a Name, family: Family) -> Answering<'a> {
        Box::pin(async move {
            let _asked = Asked::new(self);
            let outcome = self.lookup.records(name, family).await;
            self.count(&outcome);
            outcome
        })
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::super::target::Host;
    use super::*;
    use crate::stats::Registry;

    /// Answers as the name says.
    struct Oracle;

    impl Lookup for Oracle {
        fn records<'a>(&'a self, name: &'a Name, _: Family) -> Answering<'a> {
            Box::pin(async move {
                Err(match name.as_str() {
                    "gone.example" => LookupError::NoSuchName,
                    "slow.example" => LookupError::Timeout,
                    "ill.example" => LookupError::Refused("SERVFAIL".to_owned()),
                    _ => pending().await,
                })
            })
        }
    }

    #[tokio::test]
    async fn questions_count_by_their_answer() {
        let registry = Registry::new(1);
        let counted = Counted::new(Oracle, registry.control().dns());
        for host in ["gone.example", "slow.example", "ill.example"] {
            let Ok(Host::Name(name)) = Host::parse(host) else { panic!("{host}") };
            assert!(counted.records(&name, Family::V4).await.is_err());
        }
        let Ok(Host::Name(silent)) = Host::parse("silent.example") else { panic!() };
        let mut asked = counted.records(&silent, Family::V4);
        assert!(futures_poll(&mut asked).is_pending());
        let get = |name: &str| registry.get(&format!("dns.hickory.{name}"));
        assert_eq!(get("pending_resolutions"), Some(1));
        drop(asked);
        let counts =
            ["resolve_total", "pending_resolutions", "not_found", "timeouts", "get_addr_failure"]
                .map(get);
        assert_eq!(counts, [Some(4), Some(0), Some(1), Some(1), Some(1)]);
    }

    fn futures_poll<T>(asked: &mut (impl Future<Output = T> + Unpin)) -> std::task::Poll<T> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        std::pin::Pin::new(asked).poll(&mut context)
    }
}
