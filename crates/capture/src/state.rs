//! Which rules of a network namespace are ours, as `iptables-save` shows them, and how they are replaced by others.
//!
//! Ours are the chains whose names begin with `ISTIO_`, whoever made them, the rules that lead there, and the rules of built-in
//! chains that carry [`COMMENT`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::rules::Table;

/// The comment of rules that were added to built-in chains.
pub const COMMENT: &str = "tidegate-capture";

/// What the names of our chains begin with.
const PREFIX: &str = "ISTIO_";

/// The rules of one address family that are ours, by table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    tables: BTreeMap<String, Own>,
}

/// What is ours in a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Own {
    chains: BTreeSet<String>,
    /// In their order, as `-A CHAIN …` or `-I CHAIN POSITION …`.
    rules: Vec<String>,
}

impl State {
    /// What of the output of `iptables-save` is ours.
    #[must_use]
    pub fn of_saved(saved: &str) -> Self {
        let mut state = Self::default();
        let mut table = String::new();
        for line in saved.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix('*') {
                name.clone_into(&mut table);
            } else if let Some(chain) = line.strip_prefix(':') {
                let chain = chain.split_whitespace().next().unwrap_or_default();
                if chain.starts_with(PREFIX) {
                    let own = state.tables.entry(table.clone()).or_default();
                    own.chains.insert(chain.to_owned());
                }
            } else if is_ours(line) {
                state.tables.entry(table.clone()).or_default().rules.push(line.to_owned());
            }
        }
        state
    }

    /// What rules look like when they are in force: those of built-in chains with [`COMMENT`].
    #[must_use]
    pub fn of_tables(tables: &[Table]) -> Self {
        let tables = tables.iter().map(|table| {
            let chains = table.chains.iter().map(|chain| (*chain).to_owned()).collect();
            let rules = table.rules.iter().map(|rule| marked(rule)).collect();
            (table.name.to_owned(), Own { chains, rules })
        });
        Self { tables: tables.collect() }
    }

    /// Whether nothing is ours.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// How many rules there are, by table.
    pub fn counts(&self) -> impl Iterator<Item = (&str, usize)> {
        self.tables.iter().map(|(table, own)| (table.as_str(), own.rules.len()))
    }

    /// What `iptables-restore --noflush` takes to have `new` in place of this. Each table changes at once or not at all.
    #[must_use]
    pub fn replaced_by(&self, new: &Self) -> String {
        let nothing = Own::default();
        let names: BTreeSet<&String> = self.tables.keys().chain(new.tables.keys()).collect();
        let mut text = String::new();
        for name in names {
            let of = |state: &'_ Self| state.tables.get(name).cloned().unwrap_or_default();
            let (old, new) = (of(self), of(new));
            if old == nothing && new == nothing {
                continue;
            }
            // Writing into a string does not fail.
            let _ = writeln!(text, "*{name}");
            for chain in old.chains.union(&new.chains) {
                let _ = writeln!(text, ":{chain} - [0:0]");
            }
            let led = old.rules.iter().filter(|rule| !chain_of(rule).starts_with(PREFIX));
            for rule in led {
                let _ = writeln!(text, "{}", rule.replacen("-A ", "-D ", 1));
            }
            for rule in &new.rules {
                let _ = writeln!(text, "{rule}");
            }
            for chain in old.chains.difference(&new.chains) {
                let _ = writeln!(text, "-X {chain}");
            }
            text.push_str("COMMIT\n");
        }
        text
    }
}

/// The chain that a rule is of.
fn chain_of(rule: &str) -> &str {
    rule.split_whitespace().nth(1).unwrap_or_default()
}

/// Whether a line of `iptables-save` is a rule of ours.
fn is_ours(line: &str) -> bool {
    if !line.starts_with("-A ") {
        return false;
    }
    let words = words(line);
    let after = |flags: &[&str]| {
        let at = words.iter().position(|word| flags.contains(&word.as_str()));
        at.and_then(|at| words.get(at + 1)).map_or("", String::as_str)
    };
    chain_of(line).starts_with(PREFIX)
        || after(&["-j", "-g"]).starts_with(PREFIX)
        || after(&["--comment"]) == COMMENT
}

/// The words of a rule; in quotes, spaces are part of a word.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word) = (Vec::new(), String::new());
    let (mut quoted, mut escaped) = (false, false);
    for c in line.chars() {
        match c {
            _ if escaped => {
                word.push(c);
                escaped = false;
            }
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ' ' if !quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            _ => word.push(c),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

/// A rule with [`COMMENT`], if its chain is a built-in one.
fn marked(rule: &str) -> String {
    if chain_of(rule).starts_with(PREFIX) {
        return rule.to_owned();
    }
    match rule.rsplit_once(" -j ") {
        Some((asks, target)) => format!("{asks} -m comment --comment {COMMENT} -j {target}"),
        None => rule.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Family, Options, Ranges, tables};

    const SAVED: &str = "# Generated\n*nat\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [1:60]\n:ISTIO_OUTPUT - [0:0]\n\
        :KUBE - [0:0]\n-A PREROUTING -i eth1 -m comment --comment tidegate-capture -j RETURN\n\
        -A PREROUTING -i eth2 -m comment --comment \"not -j ISTIO_OUTPUT\" -j KUBE\n-A OUTPUT -j ISTIO_OUTPUT\n\
        -A OUTPUT -j KUBE\n-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN\nCOMMIT\n*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n";

    #[test]
    fn rules_of_others_are_left_alone() {
        let state = State::of_saved(SAVED);
        assert_eq!(state.counts().collect::<Vec<_>>(), [("nat", 3)]);
        let gone = state.replaced_by(&State::default());
        assert_eq!(
            gone,
            "*nat\n:ISTIO_OUTPUT - [0:0]\n-D PREROUTING -i eth1 -m comment --comment tidegate-capture -j RETURN\n\
             -D OUTPUT -j ISTIO_OUTPUT\n-X ISTIO_OUTPUT\nCOMMIT\n"
        );
        assert_eq!(State::default().replaced_by(&State::default()), "");
    }

    #[test]
    fn rules_take_the_place_of_those_before() {
        let options = Options { outbound: Ranges::All, ..Options::default() };
        let new = State::of_tables(&tables(&options, Family::V4));
        let text = State::of_saved(SAVED).replaced_by(&new);
        let nat = text.split("COMMIT").find(|table| table.contains("*nat")).expect("a table");
        let (old, made) = nat.split_once("-D OUTPUT -j ISTIO_OUTPUT\n").expect("it goes");
        assert!(
            old.contains(":ISTIO_OUTPUT - [0:0]\n") && old.contains(":ISTIO_REDIRECT"),
            "{old}"
        );
        let led = format!("-A OUTPUT -m comment --comment {COMMENT} -j ISTIO_OUTPUT\n");
        assert!(made.contains(&led), "{made}");
        assert!(!made.contains("-X"), "{made}");
        // What was there comes back by the same way.
        let back = new.replaced_by(&State::of_saved(SAVED));
        assert!(back.contains("-X ISTIO_REDIRECT\n"), "{back}");
        assert!(back.contains("-A OUTPUT -j ISTIO_OUTPUT\n"), "{back}");
    }
}
