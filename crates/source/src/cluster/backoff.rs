//! How long to wait before the next attempt.

use std::time::Duration;

/// The first wait, of which the half is chance.
const FIRST: Duration = Duration::from_millis(200);

/// Waits double up to this one.
const LONGEST: Duration = Duration::from_secs(30);

/// Waits that grow with every failure in a row, and differ so that those who failed together do not come back together.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Something has worked.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Something has failed, once more.
    pub(super) fn next(&mut self) -> Duration {
        let whole = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        whole.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_bound() {
        let mut backoff = Backoff::default();
        let first = backoff.next();
        assert!(first >= FIRST / 2 && first <= FIRST, "{first:?}");
        for _ in 0..100 {
            assert!(backoff.next() <= LONGEST);
        }
        assert!(backoff.next() >= LONGEST / 2);
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
