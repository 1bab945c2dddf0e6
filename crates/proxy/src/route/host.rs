//! Virtual host by domain: exact, then the longest `*.suffix`, then the longest `prefix.*`, then `*`.

use std::collections::HashMap;
use std::sync::Arc;

use super::redirect::port_start;

/// Hosts up to this length are lowered without an allocation; DNS names are shorter.
const USUAL_HOST: usize = 256;

/// Domains, in lower case, with a number each. Cloning shares the texts.
#[derive(Clone, Debug, Default)]
pub(super) struct DomainIndex {
    exact: HashMap<Arc<[u8]>, u32>,
    suffixes: Wildcards,
    prefixes: Wildcards,
    any: Option<u32>,
}

/// The fixed parts of domains with a wildcard at one end.
#[derive(Clone, Debug, Default)]
struct Wildcards {
    parts: HashMap<Arc<[u8]>, u32>,
    /// Which bytes stand next to a wildcard: nearly always only the dot. A host is cut at those only. A
    /// byte stays when its last domain goes, which costs a look-up and never an answer.
    edges: Edges,
    /// Length of the longest part ever.
    longest: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Edges([u64; 4]);

impl Edges {
    fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }

    fn contains(self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] & 1 << (byte & 63) != 0
    }
}

/// A domain as it is looked up.
enum Domain<'d> {
    Any,
    Suffix(&'d [u8]),
    Prefix(&'d [u8]),
    Exact(&'d [u8]),
}

impl<'d> Domain<'d> {
    fn parse(domain: &'d [u8]) -> Self {
        match domain {
            b"*" => Self::Any,
            [b'*', suffix @ ..] => Self::Suffix(suffix),
            [prefix @ .., b'*'] => Self::Prefix(prefix),
            exact => Self::Exact(exact),
        }
    }
}

impl DomainIndex {
    /// Adds a domain in lower case; gives back the number that already has it.
    pub fn insert(&mut self, domain: &str, number: u32) -> Result<(), u32> {
        let (parts, part) = match Domain::parse(domain.as_bytes()) {
            Domain::Any => {
                return match self.any {
                    Some(there) => Err(there),
                    None => {
                        self.any = Some(number);
                        Ok(())
                    }
                };
            }
            Domain::Suffix(part) => (self.suffixes.admit(part.first(), part.len()), part),
            Domain::Prefix(part) => (self.prefixes.admit(part.last(), part.len()), part),
            Domain::Exact(part) => (&mut self.exact, part),
        };
        match parts.get(part) {
            Some(there) => Err(*there),
            None => {
                parts.insert(part.into(), number);
                Ok(())
            }
        }
    }

    /// Drops a domain in lower case.
    pub fn remove(&mut self, domain: &str) {
        match Domain::parse(domain.as_bytes()) {
            Domain::Any => self.any = None,
            Domain::Suffix(part) => drop(self.suffixes.parts.remove(part)),
            Domain::Prefix(part) => drop(self.prefixes.parts.remove(part)),
            Domain::Exact(part) => drop(self.exact.remove(part)),
        }
    }

    /// The number of the domain that every authority has, if there is one.
    pub fn any(&self) -> Option<u32> {
        self.any
    }

    /// The number of the domain that fits an authority best.
    pub fn find(&self, authority: &[u8], ignore_port: bool) -> Option<u32> {
        let host = match port_start(authority) {
            Some(colon) if ignore_port => &authority[..colon],
            _ => authority,
        };
        let mut usual = [0; USUAL_HOST];
        if let Some(lower) = usual.get_mut(..host.len()) {
            lower.copy_from_slice(host);
            lower.make_ascii_lowercase();
            self.find_lower(lower)
        } else {
            self.find_lower(&host.to_ascii_lowercase())
        }
    }

    fn find_lower(&self, host: &[u8]) -> Option<u32> {
        self.exact
            .get(host)
            .copied()
            .or_else(|| self.suffixes.longest_suffix(host))
            .or_else(|| self.prefixes.longest_prefix(host))
            .or(self.any)
    }
}

impl Wildcards {
    /// The parts, prepared for one more.
    fn admit(&mut self, edge: Option<&u8>, len: usize) -> &mut HashMap<Arc<[u8]>, u32> {
        if let Some(edge) = edge {
            self.edges.insert(*edge);
        }
        self.longest = self.longest.max(len);
        &mut self.parts
    }

    /// The longest part that `host` ends with, something before it.
    fn longest_suffix(&self, host: &[u8]) -> Option<u32> {
        let first = host.len().saturating_sub(self.longest).max(1);
        (first..host.len())
            .filter(|start| self.edges.contains(host[*start]))
            .find_map(|start| self.parts.get(&host[start..]).copied())
    }

    /// The longest part that `host` begins with, something behind it.
    fn longest_prefix(&self, host: &[u8]) -> Option<u32> {
        let last = host.len().saturating_sub(1).min(self.longest);
        (1..=last)
            .rev()
            .filter(|end| self.edges.contains(host[*end - 1]))
            .find_map(|end| self.parts.get(&host[..end]).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOMAINS: [&str; 10] = [
        "*",
        "example.com",
        "*.example.com",
        "*-bar.example.com",
        "*.com",
        "example.*",
        "example.org.*",
        "example.com:8080",
        "[::1]",
        "exam*",
    ];

    fn index() -> DomainIndex {
        let mut index = DomainIndex::default();
        for (number, domain) in (0..).zip(DOMAINS) {
            assert_eq!(index.insert(domain, number), Ok(()));
        }
        index
    }

    #[test]
    fn precedence() {
        let cases = [
            ("example.com", "example.com"),
            ("EXAMPLE.Com", "example.com"),
            ("a.example.com", "*.example.com"),
            ("a.b.example.com", "*.example.com"),
            ("foo-bar.example.com", "*-bar.example.com"),
            ("-bar.example.com", "*.example.com"),
            (".example.com", "*.com"),
            ("other.com", "*.com"),
            (".com", "*"),
            ("example.net", "example.*"),
            ("example.org.uk", "example.org.*"),
            ("example.org.", "example.*"),
            ("example.", "exam*"),
            ("exam", "*"),
            ("example.com:8080", "example.com:8080"),
            ("example.com:80", "example.*"),
            ("[::1]", "[::1]"),
            ("other", "*"),
            ("", "*"),
        ];
        for (host, expected) in cases {
            let found = index().find(host.as_bytes(), false).map(|number| DOMAINS[number as usize]);
            assert_eq!(found, Some(expected), "{host}");
        }
    }

    #[test]
    fn ports_may_be_ignored() {
        let cases = [
            ("example.com:80", "example.com"),
            ("example.com:8080", "example.com"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("a.example.com:", "*.example.com"),
        ];
        for (host, expected) in cases {
            let found = index().find(host.as_bytes(), true).map(|number| DOMAINS[number as usize]);
            assert_eq!(found, Some(expected), "{host}");
        }
    }

    #[test]
    fn a_domain_belongs_to_one_and_can_be_given_up() {
        let mut index = index();
        for (number, domain) in (0..).zip(DOMAINS) {
            assert_eq!(index.insert(domain, 99), Err(number), "{domain}");
            index.remove(domain);
            assert_eq!(index.insert(domain, 99), Ok(()), "{domain}");
        }
        index.remove("*");
        assert_eq!(index.find(b"nobody", false), None);
    }

    #[test]
    fn long_hosts_are_cut_only_where_a_part_can_begin() {
        let mut index = DomainIndex::default();
        assert_eq!(index.insert("*.example.com", 1), Ok(()));
        let host = format!("{}.EXAMPLE.com", ".x".repeat(30_000));
        assert_eq!(index.find(host.as_bytes(), false), Some(1));
        assert_eq!(index.find(&b".".repeat(60_000), false), None);
    }
}
