//! How many requests were sent lately, over all workers and without a lock: time is cut into spans, and each span has a count.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::Instant;

/// Spans that an interval is cut into, as by Envoy: what is looked back at is up to one of them longer than the interval.
const SPANS: u32 = 10;

/// The counts of the spans that an interval reaches into, each with the number of its span in the upper half.
#[derive(Debug)]
pub struct Recent {
    begun: Instant,
    counts: [AtomicU64; SPANS as usize + 1],
}

impl Default for Recent {
    fn default() -> Self {
        Self { begun: Instant::now(), counts: Default::default() }
    }
}

impl Recent {
    /// Counts one more. The interval is always the same.
    pub fn add(&self, interval: Duration) {
        let now = self.now(interval);
        let one_more = |held: u64| {
            let (span, count) = ((held >> 32) as u32, held as u32);
            let count = if span == now { count.saturating_add(1) } else { 1 };
            Some(u64::from(now) << 32 | u64::from(count))
        };
        let _ =
            self.counts[now as usize % self.counts.len()].fetch_update(Relaxed, Relaxed, one_more);
    }

    /// How many there were in the interval.
    #[must_use]
    pub fn count(&self, interval: Duration) -> u32 {
        let now = self.now(interval);
        let held = self.counts.iter().map(|count| count.load(Relaxed));
        let lately = held.filter(|held| now.wrapping_sub((held >> 32) as u32) <= SPANS);
        lately.fold(0, |sum, held| sum.saturating_add(held as u32))
    }

    /// The number of the span that it is.
    fn now(&self, interval: Duration) -> u32 {
        let span = (interval / SPANS).as_nanos().max(1);
        // Of the number the lower part is enough: no two that are a round apart are looked at.
        (self.begun.elapsed().as_nanos() / span) as u32
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn what_is_older_than_the_interval_does_not_count() {
        let recent = Recent::default();
        (0..3).for_each(|_| recent.add(INTERVAL));
        advance(Duration::from_secs(5)).await;
        (0..2).for_each(|_| recent.add(INTERVAL));
        assert_eq!(recent.count(INTERVAL), 5);
        advance(Duration::from_secs(5)).await;
        assert_eq!(recent.count(INTERVAL), 5, "an interval ago");
        advance(Duration::from_secs(1)).await;
        assert_eq!(recent.count(INTERVAL), 2);
        // Its span has the place of one that is long over.
        recent.add(INTERVAL);
        assert_eq!(recent.count(INTERVAL), 3);
        advance(Duration::from_secs(100)).await;
        assert_eq!(recent.count(INTERVAL), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_counts_at_the_same_time_is_counted() {
        let recent = Recent::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| recent.add(Duration::from_secs(36_000))));
            }
        });
        assert_eq!(recent.count(Duration::from_secs(36_000)), 40_000);
    }
}
