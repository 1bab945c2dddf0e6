//! A map with a bound, which forgets what was put in longest ago.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Values by key, with the turn at which each was put in.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    max: usize,
    by_key: HashMap<K, (u64, V)>,
    by_turn: BTreeMap<u64, K>,
    turns: u64,
}

impl<K: Clone + Eq + Hash, V> Recent<K, V> {
    /// An empty one for so many values.
    pub(crate) fn new(max: usize) -> Self {
        Self { max, by_key: HashMap::new(), by_turn: BTreeMap::new(), turns: 0 }
    }

    /// Puts a value in place of that of the key before.
    pub(crate) fn put(&mut self, key: K, value: V) {
        self.remove(&key);
        self.turns += 1;
        self.by_turn.insert(self.turns, key.clone());
        self.by_key.insert(key, (self.turns, value));
        if self.by_key.len() > self.max
            && let Some((_, oldest)) = self.by_turn.pop_first()
        {
            self.by_key.remove(&oldest);
        }
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.by_key.get(key).map(|(_, value)| value)
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        assert_eq!(self.by_key.len(), self.by_turn.len(), "one turn for each");
        self.by_key.len()
    }

    /// Forgets a key; the value that it had.
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let (turn, value) = self.by_key.remove(key)?;
        self.by_turn.remove(&turn);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_oldest_goes_first() {
        let mut recent = Recent::new(2);
        for (key, value) in [("a", 1), ("b", 2), ("a", 3), ("c", 4)] {
            recent.put(key, value);
        }
        let get = |key| recent.get(&key).copied();
        assert_eq!(["a", "b", "c"].map(get), [Some(3), None, Some(4)]);
        recent.remove(&"a");
        recent.put("d", 5);
        assert_eq!(["a", "c", "d"].map(|key| recent.get(&key).copied()), [None, Some(4), Some(5)]);
        assert_eq!(recent.len(), 2);
    }
}
