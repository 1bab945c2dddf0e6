//! A set of HTTP statuses.

/// Statuses from 100 to 599.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statuses([u64; 8]);

impl Statuses {
    /// Those for which `holds`.
    pub fn of(mut holds: impl FnMut(u16) -> bool) -> Self {
        let mut set = Self::default();
        for status in 100..600 {
            if let (true, Some((word, bit))) = (holds(status), place(status)) {
                set.0[word] |= bit;
            }
        }
        set
    }

    /// Whether a status is one of them.
    #[must_use]
    pub fn contains(&self, status: u16) -> bool {
        place(status).is_some_and(|(word, bit)| self.0[word] & bit != 0)
    }
}

/// The word of a status, and its bit there.
fn place(status: u16) -> Option<(usize, u64)> {
    let at = usize::from(status.checked_sub(100)?);
    (at < 500).then(|| (at / 64, 1 << (at % 64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_was_asked_for() {
        let set = Statuses::of(|status| [100, 163, 164, 429, 599].contains(&status));
        for status in 0..1000 {
            let expected = [100, 163, 164, 429, 599].contains(&status);
            assert_eq!(set.contains(status), expected, "{status}");
        }
    }
}
