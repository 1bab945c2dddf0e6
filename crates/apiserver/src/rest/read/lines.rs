//! Lines that many watches send: each is made once.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

/// Lines that are kept, and bytes of them: watches that follow closely send the same within moments of each other.
const KEPT: (usize, usize) = (256, 1 << 20);

/// What a line says: the revision is that of one change of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Which {
    pub revision: u64,
    /// `ADDED`, `MODIFIED` or `DELETED`.
    pub word: &'static str,
    pub group: &'static str,
    pub version: &'static str,
    pub metadata_only: bool,
}

/// The lines that were made last.
#[derive(Debug, Default)]
pub(crate) struct Lines(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    lines: HashMap<Which, Bytes>,
    order: VecDeque<Which>,
    bytes: usize,
}

impl Lines {
    /// A line, made where nobody has made it yet.
    pub(crate) fn get(&self, which: Which, make: impl FnOnce() -> Vec<u8>) -> Bytes {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = kept.lines.get(&which) {
            return line.clone();
        }
        let line = Bytes::from(make());
        kept.add(which, line.clone());
        line
    }
}

impl Kept {
    fn add(&mut self, which: Which, line: Bytes) {
        self.bytes += line.len();
        self.lines.insert(which, line);
        self.order.push_back(which);
        while self.order.len() > KEPT.0 || self.bytes > KEPT.1 {
            let Some(oldest) = self.order.pop_front() else { return };
            self.bytes -= self.lines.remove(&oldest).map_or(0, |line| line.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn which(revision: u64) -> Which {
        Which { revision, word: "ADDED", group: "", version: "v1", metadata_only: false }
    }

    #[test]
    fn what_is_kept_has_a_bound_and_is_not_made_again() {
        let lines = Lines::default();
        let line = lines.get(which(1), || b"one".to_vec());
        assert_eq!(lines.get(which(1), || panic!("it is there")).as_ptr(), line.as_ptr());
        let other = Which { word: "DELETED", ..which(1) };
        assert_eq!(lines.get(other, || b"gone".to_vec()), "gone");
        for revision in 2..1_000 {
            lines.get(which(revision), || b"more".to_vec());
        }
        assert_eq!(lines.get(which(1), || b"again".to_vec()), "again");
        lines.get(which(2_000), || vec![b'x'; KEPT.1 + 1]);
        let kept = lines.0.lock().expect("no panic");
        assert_eq!((kept.lines.len(), kept.order.len(), kept.bytes), (0, 0, 0), "too large a one");
    }
}
