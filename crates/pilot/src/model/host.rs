//! Host patterns: exact names, names with a leading `*.`, and `*`.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// A host name, exact or with a leading wildcard, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(Arc<str>);

/// Hosts that can be asked for their intersection with another, at a cost that does not grow with their
/// number while the other is a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostSet(HashSet<Host>);

// === impl Host ===

impl Host {
    /// The pattern as it was written, in lower case: host names know no letter case.
    #[must_use]
    pub fn new(written: &str) -> Self {
        if written.bytes().any(|b| b.is_ascii_uppercase()) {
            Self(written.to_ascii_lowercase().into())
        } else {
            Self(written.into())
        }
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the pattern begins with a wildcard.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with('*')
    }

    /// Whether every name that `self` stands for falls under `other`.
    #[must_use]
    pub fn is_within(&self, other: &Host) -> bool {
        match other.0.strip_prefix('*') {
            None => self == other,
            Some(suffix) => self.0.strip_prefix('*').unwrap_or(&self.0).ends_with(suffix),
        }
    }

    /// Whether every name of this pattern falls under a narrower one than `other`, of two that hold it.
    #[must_use]
    pub fn is_narrower_than(&self, other: &Host) -> bool {
        self != other && self.is_within(other)
    }

    /// Whether any name belongs to both.
    #[must_use]
    pub fn overlaps(&self, other: &Host) -> bool {
        self.is_within(other) || other.is_within(self)
    }

    /// The patterns that hold every name of this one, the narrowest first: itself, then wider ones.
    pub fn patterns(&self) -> impl Iterator<Item = Host> {
        std::iter::once(self.clone()).chain(self.wider())
    }

    /// The wildcards that hold every name of this pattern, the narrowest first; not the pattern itself.
    pub fn wider(&self) -> impl Iterator<Item = Host> {
        let names = self.0.strip_prefix("*.").unwrap_or(&self.0);
        // Of `*.b.c` the first wider wildcard is `*.c`: its own labels begin after the star.
        let labels = names.match_indices('.').map(|(dot, _)| format!("*{}", &names[dot..]));
        let any = (&*self.0 != "*").then(|| "*".to_owned());
        labels.chain(any).map(|pattern| Host(pattern.into()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl HostSet ===

impl FromIterator<Host> for HostSet {
    fn from_iter<I: IntoIterator<Item = Host>>(hosts: I) -> Self {
        Self(hosts.into_iter().collect())
    }
}

impl HostSet {
    /// The patterns that stand for names of both sides: of two that overlap, the narrower. In no order;
    /// each once.
    #[must_use]
    pub fn intersections(&self, host: &Host) -> Vec<Host> {
        let mut both: Vec<Host> = if host.is_wildcard() {
            self.0.iter().filter(|own| own.is_within(host)).cloned().collect()
        } else {
            self.0.get(host).cloned().into_iter().collect()
        };
        if !self.0.contains(host) && host.wider().any(|wider| self.0.contains(&wider)) {
            both.push(host.clone());
        }
        both
    }

    /// Whether the pattern itself is one of them.
    #[must_use]
    pub fn contains(&self, host: &Host) -> bool {
        self.0.contains(host)
    }

    /// The narrowest pattern that holds every name of `host`.
    #[must_use]
    pub fn narrowest(&self, host: &Host) -> Option<Host> {
        let wider = || host.wider().find(|wider| self.0.contains(wider));
        if self.0.contains(host) { Some(host.clone()) } else { wider() }
    }

    /// Whether any name belongs to both.
    #[must_use]
    pub fn overlaps(&self, host: &Host) -> bool {
        self.0.contains(host)
            || host.wider().any(|wider| self.0.contains(&wider))
            || (host.is_wildcard() && self.0.iter().any(|own| own.is_within(host)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_hold_names_and_narrower_wildcards() {
        let within = |a: &str, b: &str| Host::new(a).is_within(&Host::new(b));
        assert!(within("Foo.com", "foo.com"));
        assert!(within("foo.com", "*"));
        assert!(within("a.foo.com", "*.foo.com"));
        assert!(within("*.foo.com", "*.com"));
        assert!(within("*", "*"));
        assert!(!within("foo.com", "*.foo.com"), "a wildcard needs a label");
        assert!(!within("*.com", "*.foo.com"));
        assert!(!within("*.com", "foo.com"));
        assert!(!within("*", "*.com"));
    }

    #[test]
    fn an_intersection_is_the_narrower_pattern() {
        let both = |set: &[&str], host: &str| {
            let set: HostSet = set.iter().map(|h| Host::new(h)).collect();
            let host = Host::new(host);
            let found = set.intersections(&host);
            assert_eq!(set.overlaps(&host), !found.is_empty(), "{host}");
            let mut found: Vec<String> = found.iter().map(Host::to_string).collect();
            found.sort();
            found
        };
        assert_eq!(both(&["*.com"], "foo.com"), ["foo.com"]);
        assert_eq!(both(&["*"], "foo.com"), ["foo.com"]);
        assert_eq!(both(&["*.net", "*"], "*.bar.net"), ["*.bar.net"]);
        assert_eq!(both(&["*.net", "a.org"], "*"), ["*.net", "a.org"]);
        assert_eq!(both(&["a.com", "b.a.com", "c.org"], "*.com"), ["a.com", "b.a.com"]);
        assert_eq!(both(&["*.com", "a.com"], "*.com"), ["*.com", "a.com"]);
        assert_eq!(both(&["foo.com", "*.foo.com"], "bar.com"), [""; 0]);
        assert_eq!(both(&["*.foo.com"], "foo.com"), [""; 0]);
        assert_eq!(both(&["*"], "*"), ["*"]);
    }

    /// The set answers what comparing every pair would.
    #[test]
    fn sets_agree_with_pairs() {
        let all = ["*", "*.com", "*.a.com", "a.com", "b.a.com", "x.b.a.com", "*.org", "org", "com"];
        for mask in 0..1u32 << all.len() {
            let chosen = all.iter().enumerate().filter(|(i, _)| mask >> i & 1 == 1);
            let chosen: Vec<Host> = chosen.map(|(_, h)| Host::new(h)).collect();
            let set: HostSet = chosen.iter().cloned().collect();
            for host in all.iter().map(|h| Host::new(h)) {
                let narrower = |own: &Host| match (own.is_within(&host), host.is_within(own)) {
                    (true, _) => Some(own.clone()),
                    (false, true) => Some(host.clone()),
                    (false, false) => None,
                };
                let pairs: HashSet<Host> = chosen.iter().filter_map(narrower).collect();
                let found: HashSet<Host> = set.intersections(&host).into_iter().collect();
                assert_eq!(found, pairs, "{chosen:?} and {host}");
                assert_eq!(set.overlaps(&host), !pairs.is_empty(), "{chosen:?} and {host}");
            }
        }
    }
}
