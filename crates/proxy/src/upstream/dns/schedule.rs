//! When a name is looked up next.

use std::time::Duration;

use super::super::cluster::{DnsFamily, DnsPolicy};

/// How long an idle name is refreshed for after its last use, by default.
const REST_AFTER: Duration = Duration::from_secs(60);

/// How a name is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchOptions {
    /// Which addresses are asked for (Envoy's `dns_lookup_family`).
    pub family: DnsFamily,
    /// The time between lookups when the TTL does not count or is zero (Envoy's
    /// `dns_refresh_rate`).
    pub refresh: Duration,
    /// Whether the TTL of the records counts (Envoy's `respect_dns_ttl`).
    pub respect_ttl: bool,
    /// A TTL below this is taken as this.
    pub min_ttl: Duration,
    /// A TTL above this is taken as this.
    pub max_ttl: Duration,
    /// The most that is added by chance to the time between lookups (Envoy's `dns_jitter`). At
    /// least a twentieth of that time, up to one second, always may be.
    pub jitter: Duration,
    /// The time between lookups that fail (Envoy's `dns_failure_refresh_rate`).
    pub failure: Backoff,
    /// What an answer without addresses means.
    pub negative: Negative,
    /// Whether only the first address counts, in the server's order (LOGICAL_DNS); otherwise all do
    /// (STRICT_DNS).
    pub first_only: bool,
    /// How long after its last use the name is refreshed, from its first one on; `None` for ever, used or not, as Envoy does it.
    pub rest_after: Option<Duration>,
}

/// Times that double from failure to failure. Half of each is left to chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first time.
    pub base: Duration,
    /// The longest.
    pub max: Duration,
}

/// What it means for the last good addresses that the name does not exist or has no address any
/// more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Negative {
    /// Nothing: they serve on.
    Keep,
    /// They are dropped when no answer said otherwise for this long. Zero drops them at the first
    /// such answer, as Envoy does for STRICT_DNS.
    DropAfter(Duration),
}

/// What the last lookup says about the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// It brought addresses that live so long.
    Fresh { ttl: Duration },
    /// It failed, as those before it, this many in a row.
    Failing { failures: u32 },
    /// So did it, with the answer that there is no address; since how long.
    Negative { failures: u32, confirmed: Duration },
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            family: DnsFamily::default(),
            refresh: Duration::from_secs(5),
            respect_ttl: true,
            min_ttl: Duration::from_secs(1),
            max_ttl: Duration::from_secs(3600),
            jitter: Duration::ZERO,
            failure: Backoff { base: Duration::from_secs(1), max: Duration::from_secs(30) },
            negative: Negative::DropAfter(Duration::from_secs(30)),
            first_only: false,
            rest_after: Some(REST_AFTER),
        }
    }
}

impl From<DnsPolicy> for WatchOptions {
    fn from(policy: DnsPolicy) -> Self {
        let DnsPolicy { family, refresh, respect_ttl } = policy;
        Self { family, refresh, respect_ttl, ..Self::default() }
    }
}

impl WatchOptions {
    /// How long to wait before the next lookup. `chance`, from 0 to 1, decides about what is left
    /// to chance.
    pub(super) fn delay(&self, pace: Pace, chance: f64) -> Duration {
        match pace {
            Pace::Fresh { ttl } => {
                let time = self.lifetime(ttl);
                let spread = self.jitter.max((time / 20).min(Duration::from_secs(1)));
                time.saturating_add(spread.mul_f64(chance))
            }
            Pace::Failing { failures } => self.failure.delay(failures, chance),
            Pace::Negative { failures, confirmed } => {
                let delay = self.failure.delay(failures, chance);
                // Not later than when the answer begins to count.
                match self.negative {
                    Negative::DropAfter(grace) if confirmed < grace => delay.min(grace - confirmed),
                    _ => delay,
                }
            }
        }
    }

    fn lifetime(&self, ttl: Duration) -> Duration {
        if self.respect_ttl && !ttl.is_zero() {
            ttl.max(self.min_ttl).min(self.max_ttl)
        } else {
            self.refresh
        }
    }
}

impl Backoff {
    fn delay(self, failures: u32, chance: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let time = self.base.saturating_mul(1 << doublings).min(self.max);
        time / 2 + (time / 2).mul_f64(chance)
    }
}

impl Negative {
    /// Whether answers without an address, repeated for `confirmed`, are believed.
    pub(super) fn is_believed(self, confirmed: Duration) -> bool {
        matches!(self, Negative::DropAfter(grace) if confirmed >= grace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_ttl_counts_within_its_bounds() {
        let respectful = WatchOptions::default();
        let indifferent = WatchOptions { respect_ttl: false, ..respectful };
        let cases = [
            (respectful, 60, 60),
            (respectful, 1, 1),
            (respectful, 0, 5),
            (respectful, 86_400, 3600),
            (WatchOptions { min_ttl: 10 * SECOND, ..respectful }, 2, 10),
            (indifferent, 60, 5),
        ];
        for (options, ttl, expected) in cases {
            let pace = Pace::Fresh { ttl: ttl * SECOND };
            assert_eq!(options.delay(pace, 0.0), expected * SECOND);
            let latest = options.delay(pace, 1.0);
            assert!(latest > expected * SECOND && latest <= (expected + 1) * SECOND);
        }
        let spread = WatchOptions { jitter: 9 * SECOND, ..respectful };
        assert_eq!(spread.delay(Pace::Fresh { ttl: 60 * SECOND }, 1.0), 69 * SECOND);
    }

    #[test]
    fn failures_slow_lookups_down_to_a_limit() {
        let options = WatchOptions::default();
        let longest = |failures| options.delay(Pace::Failing { failures }, 1.0).as_secs();
        assert_eq!([1, 2, 3, 4, 5, 6, u32::MAX].map(longest), [1, 2, 4, 8, 16, 30, 30]);
        let shortest = options.delay(Pace::Failing { failures: 6 }, 0.0);
        assert_eq!(shortest, 15 * SECOND);
    }

    #[test]
    fn a_negative_answer_is_confirmed_when_its_time_is_over() {
        let options = WatchOptions::default();
        let pace = Pace::Negative { failures: 9, confirmed: 29 * SECOND };
        assert_eq!(options.delay(pace, 1.0), SECOND);
        assert!(!options.negative.is_believed(29 * SECOND));
        assert!(options.negative.is_believed(30 * SECOND));
        assert!(!Negative::Keep.is_believed(Duration::MAX));
        assert!(Negative::DropAfter(Duration::ZERO).is_believed(Duration::ZERO));
    }
}
