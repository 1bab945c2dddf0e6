//! Which rules of a network namespace are ours, as `iptables-save` shows them, and how they are replaced by others.
//!
//! Ours are the chains whose names begin with `ISTIO_`, whoever made them, the rules that lead there, and the rules of built-in
//! chains that carry [`COMMENT`].

use std::borrow::Cow;
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
    /// In their order.
    rules: Vec<Rule>,
    /// How many rules of others stand in each chain that is not ours.
    others: BTreeMap<String, usize>,
}

/// A rule of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    /// As `-A CHAIN …` or `-I CHAIN POSITION …`.
    text: String,
    /// How many rules of others stand before it, where it was in force in a chain that is not ours.
    behind: Option<usize>,
}

impl Own {
    fn is_empty(&self) -> bool {
        self.chains.is_empty() && self.rules.is_empty()
    }

    /// Those that stand in chains that are not ours.
    fn guests(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(|rule| !chain_of(&rule.text).starts_with(PREFIX))
    }
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
            } else if line.starts_with("-A ") {
                state.tables.entry(table.clone()).or_default().count(line);
            }
        }
        state
    }

    /// What rules look like when they are in force: those of built-in chains with [`COMMENT`].
    #[must_use]
    pub fn of_tables(tables: &[Table]) -> Self {
        let tables = tables.iter().map(|table| {
            let chains = table.chains.iter().map(|chain| (*chain).to_owned()).collect();
            let rules = table.rules.iter().map(|rule| Rule { text: marked(rule), behind: None });
            let own = Own { chains, rules: rules.collect(), others: BTreeMap::new() };
            (table.name.to_owned(), own)
        });
        Self { tables: tables.collect() }
    }

    /// Whether nothing is ours.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables.values().all(Own::is_empty)
    }

    /// How many rules there are, by table.
    pub fn counts(&self) -> impl Iterator<Item = (&str, usize)> {
        let own = self.tables.iter().filter(|(_, own)| !own.is_empty());
        own.map(|(table, own)| (table.as_str(), own.rules.len()))
    }

    /// What `iptables-restore --noflush` takes to have `new` in place of this. Each table changes at once or not at all. Rules that
    /// were in force come back to where they stood among those of others; new ones come behind them.
    #[must_use]
    pub fn replaced_by(&self, new: &Self) -> String {
        let names: BTreeSet<&String> = self.tables.keys().chain(new.tables.keys()).collect();
        let mut text = String::new();
        for name in names {
            let of = |state: &'_ Self| state.tables.get(name).cloned().unwrap_or_default();
            let (old, new) = (of(self), of(new));
            if old.is_empty() && new.is_empty() {
                continue;
            }
            // Writing into a string does not fail.
            let _ = writeln!(text, "*{name}");
            for chain in old.chains.union(&new.chains) {
                let _ = writeln!(text, ":{chain} - [0:0]");
            }
            for rule in old.guests() {
                let _ = writeln!(text, "{}", rule.text.replacen("-A ", "-D ", 1));
            }
            let mut back = BTreeMap::<&str, usize>::new();
            for rule in &new.rules {
                let already = back.entry(chain_of(&rule.text)).or_default();
                let _ = writeln!(text, "{}", rule.among(&old.others, *already));
                *already += 1;
            }
            for chain in old.chains.difference(&new.chains) {
                let _ = writeln!(text, "-X {chain}");
            }
            text.push_str("COMMIT\n");
        }
        text
    }
}

impl Own {
    /// Counts a rule of the table, ours or not.
    fn count(&mut self, line: &str) {
        let chain = chain_of(line);
        let is_guest = !chain.starts_with(PREFIX);
        if is_ours(line) {
            let behind = is_guest.then(|| self.others.get(chain).copied().unwrap_or_default());
            self.rules.push(Rule { text: line.to_owned(), behind });
        } else if is_guest {
            *self.others.entry(chain.to_owned()).or_default() += 1;
        }
    }
}

impl Rule {
    /// What adds it where `already` rules of ours are back in its chain, beside those of others.
    fn among(&self, others: &BTreeMap<String, usize>, already: usize) -> Cow<'_, str> {
        let chain = chain_of(&self.text);
        let others = others.get(chain).copied().unwrap_or_default();
        match self.behind.filter(|behind| *behind < others) {
            // At the end, where most are, no number is needed.
            None => Cow::Borrowed(&self.text),
            Some(behind) => {
                let place = format!("-I {chain} {} ", behind + already + 1);
                Cow::Owned(self.text.replacen(&format!("-A {chain} "), &place, 1))
            }
        }
    }
}

/// The chain that a rule is of.
fn chain_of(rule: &str) -> &str {
    rule.split_whitespace().nth(1).unwrap_or_default()
}

/// Whether a rule, as `iptables-save` shows it, is ours.
fn is_ours(line: &str) -> bool {
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

    #[test]
    fn rules_come_back_to_their_place_among_those_of_others() {
        let saved =
            |rules: &[&str]| State::of_saved(&format!("*nat\n{}\nCOMMIT\n", rules.join("\n")));
        let ours = "-A OUTPUT -j ISTIO_OUTPUT";
        let more = "-A OUTPUT -o eth1 -m comment --comment tidegate-capture -j RETURN";
        let old = saved(&["-A OUTPUT -j A", more, ours, "-A OUTPUT -j B", "-A KUBE -j C", ours]);
        let added = |now: &[&str]| {
            let text = saved(now).replaced_by(&old);
            text.lines()
                .filter(|line| line.contains("OUTPUT "))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let back = [&more.replace("-A OUTPUT", "-I OUTPUT 2"), "-I OUTPUT 3 -j ISTIO_OUTPUT", ours];
        assert_eq!(added(&["-A OUTPUT -j A", "-A OUTPUT -j B"]), back);
        // Those of others may be fewer by now.
        assert_eq!(added(&["-A OUTPUT -j A"]), [more, ours, ours]);
    }
}
