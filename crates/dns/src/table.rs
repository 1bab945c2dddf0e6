//! The names that are answered here.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::net::IpAddr;

use hickory_proto::rr::Name;
use thiserror::Error;

/// How many names may lead to one another in a row.
const MAX_ALIASES: usize = 8;
/// Names of one address that an answer has at most: several hosts may share one.
const MAX_NAMES: usize = 8;

/// Text that is no name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no DNS name: labels of 1 to 63 bytes with dots between, 253 together")]
pub struct InvalidName(String);

/// A host of the table: what its name leads to, and its shorter names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// What it leads to.
    pub leads: Leads,
    /// Other names of it. One that is itself the name of a host belongs to that.
    pub short: Vec<Name>,
}

/// What a name leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leads {
    /// Addresses of either family.
    To(Vec<IpAddr>),
    /// Whatever another name has (CNAME): of the table, else of a resolver.
    Alias(Name),
}

/// The name of a host, which may begin with `*.`; a dot at its end makes no difference.
///
/// # Errors
/// It is none.
pub fn host_name(text: &str) -> Result<Name, InvalidName> {
    let mut name = Name::from_ascii(text).map_err(|_| InvalidName(text.to_owned()))?;
    name.set_fqdn(true);
    match name.is_root() {
        true => Err(InvalidName(text.to_owned())),
        false => Ok(name.to_lowercase()),
    }
}

/// Hosts by name.
#[derive(Debug, Default)]
pub(crate) struct Table {
    hosts: HashMap<Name, Host>,
    /// The hosts that have a shorter name; the first one counts.
    short: HashMap<Name, BTreeSet<Name>>,
    /// The hosts at an address, but for wildcards, which are no name of anything.
    by_address: HashMap<IpAddr, BTreeSet<Name>>,
    /// How many hosts are wildcards.
    wildcards: usize,
}

/// What the table says of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The names on the way: each an alias of the next, the last of `end`.
    pub(crate) aliases: Vec<Name>,
    /// Where that leads.
    pub(crate) end: End,
}

/// Where a name of the table leads in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// To addresses, under this name.
    Addresses(Name, Vec<IpAddr>),
    /// To a name that is not of the table.
    Elsewhere(Name),
}

impl Table {
    /// Puts a host in place of what there was under its name; `None` takes it away.
    pub(crate) fn set(&mut self, name: &Name, host: Option<Host>) {
        let wild = usize::from(name.is_wildcard());
        if let Some(before) = self.hosts.remove(name) {
            self.wildcards -= wild;
            for address in before.addresses(name) {
                take_out(&mut self.by_address, address, name);
            }
            for short in &before.short {
                take_out(&mut self.short, short, name);
            }
        }
        if let Some(host) = host {
            self.wildcards += wild;
            for short in &host.short {
                self.short.entry(short.clone()).or_default().insert(name.clone());
            }
            for address in host.addresses(name) {
                self.by_address.entry(*address).or_default().insert(name.clone());
            }
            self.hosts.insert(name.clone(), host);
        }
    }

    /// How many hosts there are.
    pub(crate) fn len(&self) -> usize {
        self.hosts.len()
    }

    /// What a name leads to; `None` for one that is not of the table.
    ///
    /// A client completes names with its search list before it asks for them as they are. A host of the table under the
    /// first domain of that, `search`, is the host itself under another name: that spares the rest of the list.
    pub(crate) fn find(&self, asked: &Name, search: Option<&Name>) -> Option<Found> {
        if let Some(host) = self.named(asked) {
            return Some(self.follow(asked, host, Vec::new()));
        }
        let rest = without(asked, search?)?;
        // A short name under the search domain would be the name of the host in full.
        let host = self.hosts.get(&rest).or_else(|| self.wildcard(&rest))?;
        Some(self.follow(&rest, host, vec![asked.clone()]))
    }

    /// The hosts at an address.
    pub(crate) fn names_of(&self, address: IpAddr) -> Vec<Name> {
        let names = self.by_address.get(&address).into_iter().flatten();
        names.take(MAX_NAMES).cloned().collect()
    }

    fn follow(&self, name: &Name, host: &Host, mut aliases: Vec<Name>) -> Found {
        let (mut name, mut host) = (name.clone(), host);
        loop {
            let target = match &host.leads {
                Leads::To(addresses) => {
                    let end = End::Addresses(name, addresses.clone());
                    return Found { aliases, end };
                }
                Leads::Alias(target) => target,
            };
            aliases.push(name);
            match self.named(target).filter(|_| aliases.len() < MAX_ALIASES) {
                Some(next) => (name, host) = (target.clone(), next),
                None => return Found { aliases, end: End::Elsewhere(target.clone()) },
            }
        }
    }

    /// The host of a name: its own, a short one, or the closest wildcard.
    fn named(&self, name: &Name) -> Option<&Host> {
        self.hosts.get(name).or_else(|| self.shortened(name)).or_else(|| self.wildcard(name))
    }

    fn shortened(&self, name: &Name) -> Option<&Host> {
        self.hosts.get(self.short.get(name)?.first()?)
    }

    fn wildcard(&self, name: &Name) -> Option<&Host> {
        if self.wildcards == 0 {
            return None;
        }
        let mut rest = name.clone();
        while rest.num_labels() > 1 {
            let parent = rest.base_name();
            if let Some(host) = self.hosts.get(&rest.into_wildcard()) {
                return Some(host);
            }
            rest = parent;
        }
        None
    }
}

impl Host {
    /// The addresses that have this host's name.
    fn addresses(&self, name: &Name) -> &[IpAddr] {
        match &self.leads {
            Leads::To(addresses) if !name.is_wildcard() => addresses,
            _ => &[],
        }
    }
}

fn take_out<K: Eq + Hash>(index: &mut HashMap<K, BTreeSet<Name>>, key: &K, name: &Name) {
    if let Some(hosts) = index.get_mut(key) {
        hosts.remove(name);
        if hosts.is_empty() {
            index.remove(key);
        }
    }
}

/// What of a name stands before a domain.
fn without(name: &Name, domain: &Name) -> Option<Name> {
    if !domain.zone_of(name) {
        return None;
    }
    let labels: Vec<&[u8]> = name.iter().collect();
    let before = labels.len().checked_sub(domain.iter().count()).filter(|before| *before > 0)?;
    Name::from_labels(labels[..before].iter().copied()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        host_name(text).expect(text)
    }

    fn table(hosts: &[(&str, &[&str], &str)]) -> Table {
        let mut table = Table::default();
        for (host, short, leads) in hosts {
            let leads = match leads.parse() {
                Ok(address) => Leads::To(vec![address]),
                Err(_) => Leads::Alias(name(leads)),
            };
            let short = short.iter().map(|short| name(short)).collect();
            table.set(&name(host), Some(Host { leads, short }));
        }
        table
    }

    /// The aliases and what they end at, in words.
    fn found(table: &Table, asked: &str) -> String {
        let search = name("own.svc.cluster.local");
        let Some(Found { aliases, end }) = table.find(&name(asked), Some(&search)) else {
            return "-".to_owned();
        };
        let mut said: Vec<String> = aliases.iter().map(|name| format!("{name} ->")).collect();
        said.push(match end {
            End::Addresses(name, addresses) => format!("{name} {addresses:?}"),
            End::Elsewhere(name) => format!("{name}"),
        });
        said.join(" ")
    }

    #[test]
    fn names_lead_to_hosts() {
        let table = table(&[
            ("a.own.svc.cluster.local", &["a", "a.own", "a.own.svc"], "192.0.2.1"),
            ("httpbin.own.svc.cluster.local", &["httpbin"], "httpbin.org"),
            ("web.own.svc.cluster.local", &["web"], "db.example"),
            ("db.example", &[], "192.0.2.2"),
            ("*.wide.example", &[], "192.0.2.3"),
            ("*.b.wide.example", &[], "192.0.2.4"),
            ("httpbin.wide.example", &[], "192.0.2.5"),
        ]);
        for (asked, expected) in [
            ("a", "a. [192.0.2.1]"),
            ("A.Own", "a.own. [192.0.2.1]"),
            ("a.other", "-"),
            ("a.own.svc.cluster.local.", "a.own.svc.cluster.local. [192.0.2.1]"),
            ("httpbin", "httpbin. -> httpbin.org."),
            ("web", "web. -> db.example. [192.0.2.2]"),
            ("x.wide.example", "x.wide.example. [192.0.2.3]"),
            ("y.x.wide.example", "y.x.wide.example. [192.0.2.3]"),
            ("x.b.wide.example", "x.b.wide.example. [192.0.2.4]"),
            ("b.wide.example", "b.wide.example. [192.0.2.3]"),
            ("wide.example", "-"),
            ("httpbin.wide.example", "httpbin.wide.example. [192.0.2.5]"),
            (
                "db.example.own.svc.cluster.local",
                "db.example.own.svc.cluster.local. -> db.example. [192.0.2.2]",
            ),
            (
                "x.wide.example.own.svc.cluster.local",
                "x.wide.example.own.svc.cluster.local. -> x.wide.example. [192.0.2.3]",
            ),
            ("a.own.own.svc.cluster.local", "-"),
            ("own.svc.cluster.local", "-"),
        ] {
            assert_eq!(found(&table, asked), expected, "{asked}");
        }
    }

    #[test]
    fn addresses_have_the_names_of_hosts_that_are_there() {
        let mut table = table(&[
            ("a.example", &["a"], "192.0.2.1"),
            ("b.example", &[], "192.0.2.1"),
            ("*.wide.example", &[], "192.0.2.1"),
            ("c.example", &[], "a.example"),
        ]);
        let names = |table: &Table| table.names_of([192, 0, 2, 1].into());
        assert_eq!(names(&table), [name("a.example"), name("b.example")]);
        table.set(&name("a.example"), None);
        assert_eq!(names(&table), [name("b.example")]);
        let moved = Host { leads: Leads::To(vec![[192, 0, 2, 9].into()]), short: Vec::new() };
        table.set(&name("b.example"), Some(moved));
        assert_eq!(table.names_of([192, 0, 2, 9].into()), [name("b.example")]);
        table.set(&name("b.example"), None);
        assert!(table.by_address.is_empty());
        for number in 0..20 {
            let host = Host { leads: Leads::To(vec![[192, 0, 2, 7].into()]), short: Vec::new() };
            table.set(&name(&format!("n{number}.example")), Some(host));
        }
        assert_eq!(table.names_of([192, 0, 2, 7].into()).len(), MAX_NAMES);
    }

    #[test]
    fn a_short_name_gives_way_to_a_host_of_that_name_and_comes_back() {
        let mut table = table(&[
            ("a.n.svc.cluster.local", &["a.n"], "192.0.2.1"),
            ("a.m.svc.cluster.local", &["a.n"], "192.0.2.2"),
            ("a.n", &[], "192.0.2.3"),
        ]);
        assert_eq!(found(&table, "a.n"), "a.n. [192.0.2.3]");
        table.set(&name("a.n"), None);
        assert_eq!(found(&table, "a.n"), "a.n. [192.0.2.2]");
        table.set(&name("a.m.svc.cluster.local"), None);
        assert_eq!(found(&table, "a.n"), "a.n. [192.0.2.1]");
        table.set(&name("a.n.svc.cluster.local"), None);
        assert_eq!(found(&table, "a.n"), "-");
        assert!(table.hosts.is_empty() && table.short.is_empty());
    }

    #[test]
    fn wildcards_are_counted_as_they_come_and_go() {
        let mut table = table(&[("*.a.example", &[], "192.0.2.1")]);
        table.set(&name("*.a.example"), Some(Host { leads: Leads::To(Vec::new()), short: vec![] }));
        assert_eq!(found(&table, "x.a.example"), "x.a.example. []");
        table.set(&name("*.a.example"), None);
        table.set(&name("*.a.example"), None);
        assert_eq!((table.wildcards, found(&table, "x.a.example").as_str()), (0, "-"));
    }

    #[test]
    fn names_that_lead_in_a_circle_end_at_a_resolver() {
        let table = table(&[("a.example", &[], "b.example"), ("b.example", &[], "a.example")]);
        let found = table.find(&name("a.example"), None).expect("a host");
        assert_eq!(found.aliases.len(), MAX_ALIASES);
        assert!(matches!(found.end, End::Elsewhere(_)));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["", ".", "a..b", &"a".repeat(64), &"a.".repeat(128)] {
            assert!(host_name(text).is_err(), "{text:?}");
        }
    }
}
