//! Distributions of times and sizes.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Buckets of one decade: two significant digits, 10 to 99.
const PER_DECADE: usize = 90;
/// Decades above the first ten values: up to 10^11, three years in milliseconds.
const DECADES: usize = 10;

/// A distribution with two significant digits, as in Envoy: 0 to 9 exactly, then 90 buckets a decade.
///
/// One thread writes, any thread reads. The buckets of a decade exist once a value fell into it, so a
/// histogram without values costs no more than its pointers.
#[derive(Debug, Default)]
pub struct Histogram {
    sum: AtomicU64,
    units: OnceLock<Box<[AtomicU64]>>,
    decades: [OnceLock<Box<[AtomicU64]>>; DECADES],
}

impl Histogram {
    /// Records one value in the unit that the metric's name says (`_ms`, `_time`: milliseconds).
    #[inline]
    pub fn record(&self, value: u64) {
        let (cells, index) = match Place::of(value) {
            Place::Unit(index) => (self.units.get_or_init(|| zeros(10)), index),
            Place::Decade(decade, index) => {
                (self.decades[decade].get_or_init(|| zeros(PER_DECADE)), index)
            }
        };
        let cell = &cells[index];
        cell.store(cell.load(Relaxed).wrapping_add(1), Relaxed);
        self.sum.store(self.sum.load(Relaxed).wrapping_add(value), Relaxed);
    }
}

fn zeros(n: usize) -> Box<[AtomicU64]> {
    std::iter::repeat_with(AtomicU64::default).take(n).collect()
}

/// Where a value is counted.
enum Place {
    Unit(usize),
    Decade(usize, usize),
}

impl Place {
    fn of(value: u64) -> Self {
        let (mut mantissa, mut decade) = (value, 0);
        while mantissa >= 100 {
            mantissa /= 10;
            decade += 1;
        }
        // Both casts are of values below 100.
        match mantissa {
            unit @ 0..10 => Self::Unit(unit as usize),
            _ if decade >= DECADES => Self::Decade(DECADES - 1, PER_DECADE - 1),
            digits => Self::Decade(decade, digits as usize - 10),
        }
    }
}

/// What several [`Histogram`]s hold together.
#[derive(Clone, Debug, Default)]
pub struct HistogramSum {
    /// Sum of all recorded values.
    pub sum: u64,
    /// Number of recorded values.
    pub count: u64,
    /// Buckets in use: lowest value, width, count; in ascending order once [`HistogramSum::add`] returned.
    buckets: Vec<(u64, u64, u64)>,
}

impl HistogramSum {
    /// Adds what `histogram` holds.
    pub fn add(&mut self, histogram: &Histogram) {
        self.sum = self.sum.wrapping_add(histogram.sum.load(Relaxed));
        self.add_cells(&histogram.units, 0, 1);
        let mut width = 1;
        for cells in &histogram.decades {
            self.add_cells(cells, 10, width);
            width *= 10;
        }
    }

    fn add_cells(&mut self, cells: &OnceLock<Box<[AtomicU64]>>, first: u64, width: u64) {
        for (digits, cell) in (first..).zip(cells.get().into_iter().flatten()) {
            let count = cell.load(Relaxed);
            if count == 0 {
                continue;
            }
            self.count += count;
            let low = digits * width;
            match self.buckets.binary_search_by_key(&low, |bucket| bucket.0) {
                Ok(at) => self.buckets[at].2 += count,
                Err(at) => self.buckets.insert(at, (low, width, count)),
            }
        }
    }

    /// The value below which the share `q` (0 to 1) of the values lies; `None` without values. Inside a
    /// bucket values are taken as evenly spread, a single one as its middle.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let target = q.clamp(0.0, 1.0) * self.count as f64;
        let mut below = 0.0;
        for &(low, width, count) in &self.buckets {
            if below + count as f64 >= target {
                let inside = if count == 1 { 0.5 } else { (target - below) / count as f64 };
                // Two digits: as Envoy has it, 7 stands for 7.0 to 7.1, and 0 for itself.
                let spread = match low {
                    0 => 0.0,
                    1..10 => 0.1,
                    _ => width as f64,
                };
                return Some(low as f64 + inside * spread);
            }
            below += count as f64;
        }
        None
    }

    /// How many values are at most `bound`. A bucket that straddles the bound counts above it.
    pub fn at_most(&self, bound: f64) -> u64 {
        self.buckets
            .iter()
            .take_while(|&&(low, width, _)| (low + width - 1) as f64 <= bound)
            .map(|bucket| bucket.2)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum_of(values: &[u64]) -> HistogramSum {
        let histogram = Histogram::default();
        values.iter().for_each(|&value| histogram.record(value));
        let mut sum = HistogramSum::default();
        sum.add(&histogram);
        sum
    }

    #[test]
    fn every_value_lies_in_its_bucket() {
        for value in (0..2_000).chain((2_000..40_000_000).step_by(997)).chain([u64::MAX]) {
            let sum = sum_of(&[value]);
            let [(low, width, 1)] = sum.buckets[..] else { panic!("{:?}", sum.buckets) };
            assert!(low <= value, "{value} in {low}+{width}");
            assert!(value < low + width || value >= 99_000_000_000, "{value} in {low}+{width}");
            assert!(low < 10 || width * 10 <= low, "two digits: {value} in {low}+{width}");
        }
    }

    #[test]
    fn quantiles_and_cumulative_counts() {
        let mut sum = sum_of(&(1..=100).collect::<Vec<_>>());
        assert_eq!((sum.count, sum.sum), (100, 5050));
        assert_eq!(sum.quantile(0.5), Some(50.5));
        assert_eq!(sum.quantile(0.0), Some(1.05));
        assert_eq!(sum.at_most(25.0), 25);
        assert_eq!(sum.at_most(0.5), 0);
        sum.add(&Histogram::default());
        assert_eq!(sum.count, 100);
        assert_eq!(HistogramSum::default().quantile(0.5), None);
    }
}
