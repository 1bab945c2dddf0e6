//! Slow start: endpoints that are new get few requests at first, then more.

use std::time::Duration;

/// `envoy.config.cluster.v3.Cluster.SlowStartConfig`
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlowStart {
    /// How long an endpoint is new. Not zero.
    pub window: Duration,
    /// How fast its share grows: evenly with 1, faster at first with more. Above 0.
    pub aggression: f64,
    /// The least part of its weight, 0 to 1.
    pub least: f64,
}

impl SlowStart {
    /// The part of its weight that an endpoint of an age has.
    #[must_use]
    pub fn part(&self, age: Duration) -> f64 {
        if age >= self.window {
            return 1.0;
        }
        let age = age.max(Duration::from_millis(1));
        let part = (age.as_secs_f64() / self.window.as_secs_f64()).min(1.0);
        part.powf(self.aggression.recip()).max(self.least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_grow_with_age() {
        let seconds = Duration::from_secs;
        let even = SlowStart { window: seconds(60), aggression: 1.0, least: 0.1 };
        let parts = [0, 3, 15, 30, 59, 60, 90].map(|age| even.part(seconds(age)));
        assert_eq!(parts, [0.1, 0.1, 0.25, 0.5, 59.0 / 60.0, 1.0, 1.0]);
        let fast = SlowStart { aggression: 2.0, ..even };
        assert_eq!(fast.part(seconds(15)), 0.5);
        let none = SlowStart { least: 0.0, ..even };
        assert!(none.part(Duration::ZERO) > 0.0);
    }
}
