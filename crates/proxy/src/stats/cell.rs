//! The two cells every block is made of.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A count that only grows. One thread writes, any thread reads.
///
/// Writing is a load and a store, not a read-modify-write: with a single writer nothing is lost, and no
/// locked instruction stands on the request path.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Counts `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// What has been counted.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A level that goes up and down. One thread writes, any thread reads.
///
/// A gauge that was never written counts as unused: `/stats?usedonly` leaves it out, but shows one that
/// came back to zero.
#[derive(Debug)]
pub struct Gauge(AtomicU64);

/// Stands for a gauge that nobody wrote yet; no level reaches it.
const UNUSED: u64 = u64::MAX;

impl Default for Gauge {
    fn default() -> Self {
        Self(AtomicU64::new(UNUSED))
    }
}

impl Gauge {
    /// One more.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// One less; stays at zero there.
    #[inline]
    pub fn dec(&self) {
        self.sub(1);
    }

    /// One more until the guard is dropped.
    #[inline]
    pub fn hold(&self) -> Held<'_> {
        self.inc();
        Held(self)
    }

    /// `n` more.
    #[inline]
    pub fn add(&self, n: u64) {
        self.set(self.get().saturating_add(n));
    }

    /// `n` less; stays at zero below.
    #[inline]
    pub fn sub(&self, n: u64) {
        self.set(self.get().saturating_sub(n));
    }

    /// The level is `n` now.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n.min(UNUSED - 1), Relaxed);
    }

    /// The level.
    #[inline]
    pub fn get(&self) -> u64 {
        self.used().unwrap_or(0)
    }

    /// The level, or `None` if nobody ever wrote one.
    #[inline]
    pub fn used(&self) -> Option<u64> {
        Some(self.0.load(Relaxed)).filter(|&level| level != UNUSED)
    }
}

/// One more in a gauge, until dropped.
#[derive(Debug)]
pub struct Held<'a>(&'a Gauge);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauge_knows_zero_from_unused() {
        let gauge = Gauge::default();
        assert_eq!((gauge.get(), gauge.used()), (0, None));
        gauge.inc();
        gauge.dec();
        gauge.dec();
        assert_eq!((gauge.get(), gauge.used()), (0, Some(0)));
        gauge.set(u64::MAX);
        assert_eq!(gauge.used(), Some(u64::MAX - 1));
    }
}
