//! Responses counted by status.

use std::sync::OnceLock;

use super::Counter;

/// `…_1xx` to `…_5xx` and `…_completed`, all of them shown from the start.
#[derive(Debug, Default)]
pub struct ResponseClasses([Counter; 5]);

impl ResponseClasses {
    /// Counts one finished response; a status outside 100..=599 counts in no class, as in Envoy.
    #[inline]
    pub fn count(&self, status: u16) {
        if let Some(class) = class_of(status) {
            self.0[class].inc();
        }
    }

    /// Counts of the classes 1xx to 5xx.
    pub fn counts(&self) -> [u64; 5] {
        self.0.each_ref().map(Counter::get)
    }
}

/// `…_200`, `…_404` and so on with their classes and `…_completed`, each shown once it was counted.
///
/// One increment counts all three: class and total are sums made when somebody reads. The cells of a class
/// exist once it was seen, so a cluster without traffic costs five pointers.
#[derive(Debug, Default)]
pub struct ResponseCodes([OnceLock<Box<[Counter]>>; 5]);

impl ResponseCodes {
    /// Counts one finished response; a status outside 100..=599 is not counted.
    #[inline]
    pub fn count(&self, status: u16) {
        if let Some(class) = class_of(status) {
            let cells = self.0[class]
                .get_or_init(|| std::iter::repeat_with(Counter::default).take(100).collect());
            cells[usize::from(status % 100)].inc();
        }
    }

    /// Calls `each` with every status counted at least once, in order.
    pub fn for_each(&self, mut each: impl FnMut(u16, u64)) {
        for (class, cells) in (1u16..).zip(&self.0) {
            for (code, cell) in (0u16..).zip(cells.get().into_iter().flatten()) {
                match cell.get() {
                    0 => {}
                    count => each(class * 100 + code, count),
                }
            }
        }
    }
}

#[inline]
fn class_of(status: u16) -> Option<usize> {
    (100..600).contains(&status).then(|| usize::from(status / 100 - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_code_and_class() {
        let codes = ResponseCodes::default();
        let classes = ResponseClasses::default();
        for status in [200, 418, 418, 599, 99, 600, 0] {
            codes.count(status);
            classes.count(status);
        }
        let mut seen = Vec::new();
        codes.for_each(|code, count| seen.push((code, count)));
        assert_eq!(seen, [(200, 1), (418, 2), (599, 1)]);
        assert_eq!(classes.counts(), [0, 1, 0, 2, 1]);
    }
}
