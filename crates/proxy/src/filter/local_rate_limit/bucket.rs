//! A token bucket that all workers share: one atomic, no lock, no timer.
//!
//! What is kept is the moment at which the bucket would have been empty had nothing been taken since; tokens are the time
//! from then to now, times the rate, up to the bucket's size. Taking some moves the moment on. So a fill happens whenever
//! somebody looks, as in Envoy, a fraction of a token at a time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The slowest rate, in tokens per second: one per year.
const SLOWEST: f64 = 1.0 / (365.0 * 24.0 * 60.0 * 60.0);

/// How a bucket is filled (`TokenBucket`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Most tokens in it, with which it begins.
    pub max: u32,
    /// Tokens that come in each interval.
    pub per_interval: u32,
    /// The interval; longer than nothing.
    pub interval: Duration,
}

impl Fill {
    /// Tokens per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        (f64::from(self.per_interval) / self.interval.as_secs_f64()).max(SLOWEST)
    }
}

/// The bucket.
#[derive(Debug)]
pub struct TokenBucket {
    max: f64,
    rate: f64,
    /// What moments are counted from.
    origin: Instant,
    /// The moment at which it would have been empty, in seconds since `origin`, as the bits of an `f64`.
    empty_at: AtomicU64,
}

/// What a bucket is like at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Most tokens in it.
    pub max: u64,
    /// Whole tokens in it.
    pub remaining: u64,
    /// Whole seconds until there is one, where there is none.
    pub reset: u64,
}

impl TokenBucket {
    /// A full bucket.
    #[must_use]
    pub fn new(fill: Fill, now: Instant) -> Self {
        let (max, rate) = (f64::from(fill.max), fill.rate());
        Self { max, rate, origin: now, empty_at: AtomicU64::new((-max / rate).to_bits()) }
    }

    /// Tokens per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Takes so many tokens; whether they were there. Nothing is taken otherwise.
    pub fn take(&self, tokens: u32, now: Instant) -> bool {
        let wanted = f64::from(tokens);
        let now = self.seconds(now);
        // Nothing else is read by whoever sees the new value.
        let taken = self.empty_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |empty_at| {
            let there = self.tokens(empty_at, now);
            (there >= wanted).then(|| (now - (there - wanted) / self.rate).to_bits())
        });
        taken.is_ok()
    }

    /// What it is like.
    #[must_use]
    pub fn level(&self, now: Instant) -> Level {
        let there = self.tokens(self.empty_at.load(Ordering::Relaxed), self.seconds(now));
        // What is less than a microsecond is nothing but the arithmetic's.
        let reset = ((1.0 - there).max(0.0) / self.rate * 1e6).round() / 1e6;
        // Neither is negative or more than 32 bits. Of tokens fractions are cut off, as by Envoy; a client that waits for as
        // long as it is told gets one.
        Level { max: self.max as u64, remaining: there as u64, reset: reset.ceil() as u64 }
    }

    fn seconds(&self, at: Instant) -> f64 {
        at.saturating_duration_since(self.origin).as_secs_f64()
    }

    /// Workers look at their clocks a moment apart: for the later of them nothing is there that the earlier took.
    fn tokens(&self, empty_at: u64, now: f64) -> f64 {
        ((now - f64::from_bits(empty_at)) * self.rate).clamp(0.0, self.max)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    fn fill(max: u32, per_interval: u32, interval: Duration) -> Fill {
        Fill { max, per_interval, interval }
    }

    /// On a clock that moves as a seed says: never more than the size and what came since, and, where somebody asks again
    /// and again, never less.
    #[test]
    fn never_more_and_never_less_than_what_came() {
        for seed in 0..400 {
            let mut random = fastrand::Rng::with_seed(seed);
            let interval = Duration::from_millis(random.u64(50..5_000));
            let fill = fill(random.u32(0..50), random.u32(1..200), interval);
            let start = Instant::now();
            let bucket = TokenBucket::new(fill, start);
            let (mut now, mut taken) = (start, 0.0);
            for _ in 0..500 {
                now += Duration::from_micros(random.u64(0..interval.as_micros() as u64));
                let tries = random.u32(0..8);
                for _ in 0..tries {
                    let tokens = random.u32(1..4);
                    let before = bucket.level(now).remaining;
                    let got = bucket.take(tokens, now);
                    assert_eq!(got, before >= u64::from(tokens), "seed {seed}");
                    taken += if got { f64::from(tokens) } else { 0.0 };
                }
                let came = (now - start).as_secs_f64() * fill.rate();
                assert!(taken <= f64::from(fill.max) + came + 1e-6, "seed {seed}");
                assert!(bucket.level(now).remaining <= u64::from(fill.max), "seed {seed}");
            }
            // What is left and what was taken is all that came, as long as it was never full.
            let left = bucket.tokens(bucket.empty_at.load(Ordering::Relaxed), bucket.seconds(now));
            let came = (now - start).as_secs_f64() * fill.rate();
            assert!(taken + left <= f64::from(fill.max) + came + 1e-3, "seed {seed}");
        }
    }

    #[test]
    fn a_busy_bucket_gives_all_that_comes() {
        let start = Instant::now();
        let bucket = TokenBucket::new(fill(100, 10, Duration::from_secs(1)), start);
        let mut taken = 0;
        // The guide's numbers: a burst of 100, then 10 in a second.
        for millis in 0..=20_000_u64 {
            let now = start + Duration::from_millis(millis);
            while bucket.take(1, now) {
                taken += 1;
            }
            if millis == 0 {
                assert_eq!(taken, 100);
            }
        }
        assert!((299..=300).contains(&taken), "{taken}");
        assert_eq!(bucket.level(start), Level { max: 100, remaining: 0, reset: 1 });
    }

    #[test]
    fn an_earlier_clock_takes_and_gives_nothing() {
        let start = Instant::now();
        let later = start + Duration::from_secs(5);
        let bucket = TokenBucket::new(fill(1, 1, Duration::from_secs(60)), start);
        assert!(bucket.take(1, later));
        assert!(!bucket.take(1, start) && !bucket.take(1, later));
        assert_eq!(bucket.level(later), Level { max: 1, remaining: 0, reset: 60 });
        // It counts down, in seconds that have begun.
        let reset = |after| bucket.level(later + Duration::from_millis(after)).reset;
        assert_eq!([500, 20_000, 59_500, 60_000].map(reset), [60, 40, 1, 0]);
        assert!(!bucket.take(1, later + Duration::from_secs(59)));
        assert!(bucket.take(1, later + Duration::from_secs(60)));
    }

    #[test]
    fn threads_share_it() {
        let start = Instant::now();
        let bucket = TokenBucket::new(fill(1_000, 1, Duration::from_secs(1_000)), start);
        let taken = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mine = (0..1_000).filter(|_| bucket.take(1, start)).count();
                    taken.fetch_add(u32::try_from(mine).expect("few"), Ordering::Relaxed);
                });
            }
        });
        assert_eq!(taken.into_inner(), 1_000);
    }
}
