//! Things by the hosts that they have, to be asked for those that have names in common with another host.

use std::collections::{BTreeMap, BTreeSet};

use super::host::Host;

/// Things by their hosts. What is asked costs what is found, and not what else there is.
#[derive(Clone, Debug)]
pub struct HostMap<T> {
    /// By the hosts' characters from the last to the first: what is under a wildcard stands together.
    from_the_end: BTreeMap<String, BTreeSet<T>>,
}

impl<T> Default for HostMap<T> {
    fn default() -> Self {
        Self { from_the_end: BTreeMap::new() }
    }
}

impl<T: Ord> HostMap<T> {
    /// Enters a thing under a host of it.
    pub fn insert(&mut self, host: &Host, thing: T) {
        self.from_the_end.entry(reversed(host.as_str())).or_default().insert(thing);
    }

    /// Takes a thing away from a host of it.
    pub fn remove(&mut self, host: &Host, thing: &T) {
        let place = reversed(host.as_str());
        if let Some(things) = self.from_the_end.get_mut(&place) {
            things.remove(thing);
            if things.is_empty() {
                self.from_the_end.remove(&place);
            }
        }
    }

    /// What has this very host.
    pub fn of(&self, host: &Host) -> impl Iterator<Item = &T> + use<'_, T> {
        self.from_the_end.get(&reversed(host.as_str())).into_iter().flatten()
    }

    /// What has a host of which every name falls under a pattern; once for each such host.
    pub fn within(&self, pattern: &Host) -> impl Iterator<Item = &T> {
        let suffix = pattern.as_str().strip_prefix('*');
        let end = reversed(suffix.unwrap_or(pattern.as_str()));
        let first = self.from_the_end.range(end.clone()..);
        let under = first.take_while(move |(place, _)| match suffix {
            Some(_) => place.starts_with(&end),
            None => **place == end,
        });
        under.flat_map(|(_, things)| things)
    }

    /// What has a host that has a name in common with a pattern; once for each such host.
    pub fn overlapping(&self, pattern: &Host) -> impl Iterator<Item = &T> {
        let wider: Vec<Host> = pattern.wider().collect();
        let holding = wider.into_iter().flat_map(|wider| self.of(&wider));
        self.within(pattern).chain(holding)
    }
}

fn reversed(text: &str) -> String {
    text.chars().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [&str; 11] = [
        "*",
        "*.com",
        "*.a.com",
        "a.com",
        "b.a.com",
        "x.b.a.com",
        "*.b.a.com",
        "ba.com",
        "*.org",
        "org",
        "com",
    ];

    /// The map answers what comparing every pair would.
    #[test]
    fn maps_agree_with_pairs() {
        for mask in 0..1u32 << ALL.len() {
            let chosen = || (0..ALL.len()).filter(|i| mask >> i & 1 == 1);
            let mut map = HostMap::default();
            chosen().for_each(|i| map.insert(&Host::new(ALL[i]), i));
            for asked in ALL.map(Host::new) {
                let pairs = |fits: &dyn Fn(&Host) -> bool| -> Vec<usize> {
                    chosen().filter(|i| fits(&Host::new(ALL[*i]))).collect()
                };
                let sorted = |mut found: Vec<usize>| {
                    found.sort_unstable();
                    found
                };
                let within = sorted(map.within(&asked).copied().collect());
                assert_eq!(within, pairs(&|own| own.is_within(&asked)), "{mask:b} {asked}");
                let overlapping = sorted(map.overlapping(&asked).copied().collect());
                assert_eq!(overlapping, pairs(&|own| own.overlaps(&asked)), "{mask:b} {asked}");
            }
            chosen().for_each(|i| map.remove(&Host::new(ALL[i]), &i));
            assert!(map.from_the_end.is_empty(), "nothing is kept");
        }
    }
}
