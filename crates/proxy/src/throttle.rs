//! Lines of the log that clients can cause: one a second.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Lets one line through per second, and counts those that it kept back.
#[derive(Debug)]
pub(crate) struct Throttle {
    last: Cell<Option<Instant>>,
    kept_back: Cell<u64>,
}

impl Throttle {
    const INTERVAL: Duration = Duration::from_secs(1);

    pub const fn new() -> Self {
        Self { last: Cell::new(None), kept_back: Cell::new(0) }
    }

    /// Whether a line may be said now, and how many were kept back before it.
    pub fn pass(&self, now: Instant) -> Option<u64> {
        if self.last.get().is_some_and(|last| now.duration_since(last) < Self::INTERVAL) {
            self.kept_back.set(self.kept_back.get() + 1);
            return None;
        }
        self.last.set(Some(now));
        Some(self.kept_back.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_passes() {
        let (throttle, start) = (Throttle::new(), Instant::now());
        assert_eq!(throttle.pass(start), Some(0));
        assert_eq!(throttle.pass(start), None);
        assert_eq!(throttle.pass(start + Throttle::INTERVAL / 2), None);
        assert_eq!(throttle.pass(start + Throttle::INTERVAL), Some(2));
        assert_eq!(throttle.pass(start + 3 * Throttle::INTERVAL), Some(0));
    }
}
