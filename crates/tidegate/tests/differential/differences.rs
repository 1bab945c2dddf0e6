//! Where Tidegate is meant to differ from Envoy, each with its reason.

mod http1;
mod http2;
mod parts;
mod policy;
mod rbac;

use std::fmt::Write as _;

/// A difference that is meant.
struct Listed {
    /// The cases in which it occurs, by name.
    cases: &'static [&'static str],
    /// What differs.
    what: What,
    /// Why.
    #[allow(dead_code, reason = "for the reader")]
    reason: &'static str,
}

enum What {
    /// Exactly these lines are Envoy's alone, and these Tidegate's.
    Lines(&'static [&'static str], &'static [&'static str]),
    /// Envoy shows exactly these lines, and Tidegate these: the one takes what the other refuses.
    Whole(&'static [Part], &'static [Part]),
}

use What::{Lines, Whole};
use parts::Part;

/// All differences.
fn listed() -> impl Iterator<Item = &'static Listed> {
    http1::LISTED.iter().chain(http2::LISTED).chain(rbac::LISTED).chain(policy::LISTED)
}

/// Collects what differs.
pub struct Differences {
    occurred: Vec<(usize, &'static str)>,
    report: String,
}

/// Whether a case is as it should be: the same on both sides, or different as listed.
pub fn is_settled(case: &str, envoy: &[String], tidegate: &[String]) -> bool {
    let mut differences = Differences::new();
    differences.see(case, envoy, tidegate);
    let is_listed = listed().any(|listed| listed.cases.contains(&case));
    differences.report.is_empty() && (!is_listed || !differences.occurred.is_empty())
}

impl Differences {
    pub fn new() -> Self {
        Self { occurred: Vec::new(), report: String::new() }
    }

    /// Compares one case.
    pub fn see(&mut self, case: &str, envoy: &[String], tidegate: &[String]) {
        let envoy = &own_address(envoy, tidegate);
        let theirs = without(envoy, tidegate);
        let ours = without(tidegate, envoy);
        if theirs.is_empty() && ours.is_empty() {
            return;
        }
        let is_listed = |listed: &Listed| match listed.what {
            Lines(envoy, tidegate) => same_lines(&theirs, envoy) && same_lines(&ours, tidegate),
            Whole(theirs, ours) => {
                let lines = |lines: &[String], parts: &[Part]| {
                    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
                    same_lines(&lines, &parts.concat())
                };
                lines(envoy, theirs) && lines(tidegate, ours)
            }
        };
        for (index, listed) in listed().enumerate() {
            if let Some(name) = listed.cases.iter().find(|name| **name == case)
                && is_listed(listed)
            {
                self.occurred.push((index, name));
                return;
            }
        }
        let _ = writeln!(self.report, "{case}\n  envoy:    {theirs:#?}\n  tidegate: {ours:#?}");
    }

    /// What is not as listed; empty when all is. `partial` says that not all cases were run.
    pub fn report(mut self, partial: bool) -> String {
        for (index, listed) in listed().enumerate() {
            for name in listed.cases {
                if !partial && !self.occurred.contains(&(index, name)) {
                    let _ = writeln!(self.report, "{name}: listed, but did not occur as listed");
                }
            }
        }
        self.report
    }
}

/// Whether these are the same lines, in any order: which of two requests an origin hears first may vary.
fn same_lines<'a>(some: &[&'a str], others: &[&'a str]) -> bool {
    let [mut some, mut others] = [some, others].map(<[&str]>::to_vec);
    some.sort_unstable();
    others.sort_unstable();
    some == others
}

/// The lines that are in `these` more often than in `those`.
pub fn without<'a>(these: &'a [String], those: &[String]) -> Vec<&'a str> {
    let mut those: Vec<&String> = those.iter().collect();
    let mut left = Vec::new();
    for line in these {
        match those.iter().position(|other| *other == line) {
            Some(at) => {
                those.swap_remove(at);
            }
            None => left.push(line.as_str()),
        }
    }
    left
}

/// Envoy writes an address of its own machine where the peer is on loopback (`x-forwarded-for`); Tidegate
/// writes the peer's. Puts the one for the other where nothing else differs, or where there is no other.
fn own_address(envoy: &[String], tidegate: &[String]) -> Vec<String> {
    const FIELD: &str = "> x-forwarded-for: ";
    let before = |line: &str| line.rfind([',', ' ']).map(|at| line[..=at].to_owned());
    let compares = tidegate.iter().any(|line| line.starts_with(FIELD));
    let last = |line: &str| Some(format!("{}127.0.0.1", before(line)?));
    // A copy has a further one, that of who copied it.
    let last_two = |line: &str| Some(format!("{},127.0.0.1", last(line.rsplit_once(',')?.0)?));
    let twice = |line: &str| {
        let own = line.rsplit_once(',');
        own.is_some_and(|(rest, own)| rest.rsplit([',', ' ']).next() == Some(own))
    };
    let meant = |line: &String| {
        if !line.starts_with(FIELD) {
            return None;
        }
        let mut ways = [last(line), last_two(line)].into_iter().flatten();
        let same = ways.find(|way| tidegate.contains(way));
        let other = || if twice(line) { last_two(line) } else { last(line).filter(|_| !compares) };
        same.or_else(other)
    };
    envoy.iter().map(|line| meant(line).unwrap_or_else(|| line.clone())).collect()
}
