//! Priorities: how requests are shared between the endpoints of one priority and those of the next, as by Envoy.
//!
//! A priority takes what its healthy endpoints can; they can do more than their share, by the overprovisioning factor.
//! What is left goes to the next priority.

/// The endpoints of one priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// How many there are.
    pub all: usize,
    /// How many of them are not ejected.
    pub healthy: usize,
}

/// What one priority takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Percent of the requests.
    pub percent: u32,
    /// Whether so few are healthy that requests go to all of its endpoints.
    pub panic: bool,
}

impl Level {
    /// Percent of all requests that the healthy ones can take.
    fn availability(self, overprovisioning: u32) -> u64 {
        let could = u64::from(overprovisioning) * self.healthy as u64;
        could.checked_div(self.all as u64).unwrap_or_default().min(100)
    }

    fn panics(self, threshold: u32) -> bool {
        // Nobody is too few of nobody.
        100 * self.healthy < threshold as usize * self.all.max(1)
    }
}

/// What each of `levels`, by falling priority, takes. `overprovisioning` is in percent; fewer healthy endpoints than
/// `threshold` percent are a panic, unless all priorities together have enough. They add up to 100, if any endpoint
/// may take requests.
#[must_use]
pub fn loads(levels: &[Level], overprovisioning: u32, threshold: u32) -> Vec<Load> {
    let available: Vec<u64> =
        levels.iter().map(|level| level.availability(overprovisioning)).collect();
    let total = available.iter().sum::<u64>().min(100);
    let panics = |level: &Level| total < 100 && level.panics(threshold);
    if !levels.is_empty() && levels.iter().all(panics) {
        // Nobody has enough: each takes its share of all endpoints.
        let all: Vec<u64> = levels.iter().map(|level| level.all as u64).collect();
        let percents = percents(&all, all.iter().sum());
        return percents.into_iter().map(|percent| Load { percent, panic: true }).collect();
    }
    let load = |(level, percent)| Load { percent, panic: panics(level) };
    levels.iter().zip(percents(&available, total)).map(load).collect()
}

/// Percent of `total` that each of `parts` is, as long as there is anything left of 100; the first that is anything takes what
/// rounding leaves over.
fn percents(parts: &[u64], total: u64) -> Vec<u32> {
    let mut left = 100;
    let mut percents: Vec<u32> = Vec::with_capacity(parts.len());
    for part in parts {
        let percent = (part * 100).checked_div(total).unwrap_or_default();
        let percent = left.min(u32::try_from(percent).unwrap_or(left));
        left -= percent;
        percents.push(percent);
    }
    let first = parts.iter().position(|part| *part > 0);
    if let Some(percent) = first.and_then(|first| percents.get_mut(first)) {
        *percent += left;
    }
    percents
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(healthy: &[usize], threshold: u32) -> (Vec<u32>, Vec<bool>) {
        let levels: Vec<_> = healthy.iter().map(|&healthy| Level { all: 100, healthy }).collect();
        let loads = loads(&levels, 140, threshold);
        loads.iter().map(|load| (load.percent, load.panic)).unzip()
    }

    /// The tables of Envoy's documentation of priorities, and of panic with them.
    #[test]
    fn loads_are_envoys() {
        for (healthy, percent) in [
            ([100, 100], [100, 0]),
            ([72, 100], [100, 0]),
            ([71, 100], [99, 1]),
            ([50, 100], [70, 30]),
            ([25, 100], [35, 65]),
            ([0, 100], [0, 100]),
            ([25, 25], [50, 50]),
        ] {
            assert_eq!(told(&healthy, 0).0, percent, "{healthy:?}");
        }
        assert_eq!(told(&[20, 20, 10], 0).0, [40, 40, 20]);
        for (healthy, percent, panic) in [
            ([72, 72], [100, 0], [false, false]),
            ([71, 71], [99, 1], [false, false]),
            ([50, 60], [70, 30], [false, false]),
            ([25, 100], [35, 65], [false, false]),
            ([25, 25], [50, 50], [true, true]),
            ([5, 65], [8, 92], [true, false]),
        ] {
            assert_eq!(told(&healthy, 50), (percent.to_vec(), panic.to_vec()), "{healthy:?}");
        }
    }

    #[test]
    fn where_all_panic_each_takes_its_share_of_all() {
        let levels = [(1, 0), (3, 0), (0, 0), (8, 1)].map(|(all, healthy)| Level { all, healthy });
        let percent: Vec<_> = loads(&levels, 140, 50).iter().map(|load| load.percent).collect();
        assert_eq!(percent, [8 + 1, 25, 0, 66], "what rounding leaves goes to the first");
    }

    #[test]
    fn they_add_up_if_anybody_may_take_requests() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..10_000 {
            let levels: Vec<Level> = (0..random.usize(..5))
                .map(|_| {
                    let all = random.usize(..9);
                    Level { all, healthy: random.usize(..=all) }
                })
                .collect();
            let (overprovisioning, threshold) = (random.u32(1..300), random.u32(..=100));
            let loads = loads(&levels, overprovisioning, threshold);
            let sum: u32 = loads.iter().map(|load| load.percent).sum();
            let context = (&levels, overprovisioning, threshold, &loads);
            assert!(sum == 0 || sum == 100, "{context:?}");
            for (level, load) in levels.iter().zip(&loads) {
                let takers = if load.panic { level.all } else { level.healthy };
                assert!(load.percent == 0 || takers > 0, "{context:?}");
            }
        }
    }
}
