//! Sets of ports.

use std::ops::RangeInclusive;

/// A set of ports: ranges in order, none of which touches another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports(Vec<RangeInclusive<u16>>);

impl From<RangeInclusive<u16>> for Ports {
    fn from(range: RangeInclusive<u16>) -> Self {
        if range.is_empty() { Self::default() } else { Self(vec![range]) }
    }
}

impl Ports {
    /// Every port.
    #[must_use]
    pub fn all() -> Self {
        Self::from(0..=u16::MAX)
    }

    /// Whether a port is one of them.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        let at = self.0.partition_point(|range| *range.end() < port);
        self.0.get(at).is_some_and(|range| range.contains(&port))
    }

    /// These and others.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let mut all = [self.0, other.0].concat();
        all.sort_by_key(|range| *range.start());
        let mut joined: Vec<RangeInclusive<u16>> = Vec::with_capacity(all.len());
        for range in all {
            match joined.last_mut() {
                Some(last) if *range.start() <= last.end().saturating_add(1) => {
                    *last = *last.start()..=*last.end().max(range.end());
                }
                _ => joined.push(range),
            }
        }
        Self(joined)
    }

    /// Those of these that are among others.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        self.not().or(other.not()).not()
    }

    /// All others.
    #[must_use]
    #[allow(clippy::should_implement_trait, reason = "it stands beside `or` and `and`")]
    pub fn not(self) -> Self {
        let (mut free, mut next) = (Vec::with_capacity(self.0.len() + 1), Some(0));
        for range in self.0 {
            if let (Some(first), Some(last)) = (next, range.start().checked_sub(1))
                && first <= last
            {
                free.push(first..=last);
            }
            next = range.end().checked_add(1);
        }
        free.extend(next.map(|first| first..=u16::MAX));
        Self(free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ranges: &[RangeInclusive<u16>]) -> Ports {
        ranges.iter().cloned().map(Ports::from).fold(Ports::default(), Ports::or)
    }

    #[test]
    fn sets_are_joined_met_and_turned_round() {
        let own = set(&[80..=80, 81..=90, 443..=443, 8080..=9000]);
        assert_eq!(own, Ports(vec![80..=90, 443..=443, 8080..=9000]));
        assert_eq!(own.clone().not().not(), own);
        assert_eq!(own.clone().or(own.clone().not()), Ports::all());
        assert_eq!(own.clone().and(own.clone().not()), Ports::default());
        assert_eq!(own.clone().and(set(&[85..=8080])), set(&[85..=90, 443..=443, 8080..=8080]));
        for port in [0, 79, 80, 90, 91, 443, 444, 9000, 9001, u16::MAX] {
            let inside = matches!(port, 80..=90 | 443 | 8080..=9000);
            assert_eq!(own.contains(port), inside, "{port}");
            assert_eq!(own.clone().not().contains(port), !inside, "{port}");
        }
        assert_eq!(Ports::all().not(), Ports::default());
        assert_eq!(set(&[0..=0, u16::MAX..=u16::MAX]).not(), set(&[1..=u16::MAX - 1]));
    }
}
