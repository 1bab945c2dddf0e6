//! Where Tidegate is meant to differ from Envoy, each with its reason.

use std::fmt::Write as _;

/// A difference that is meant.
struct Listed {
    /// The cases in which it occurs, by name.
    cases: &'static [&'static str],
    /// Lines that only Envoy has.
    envoy: &'static [&'static str],
    /// Lines that only Tidegate has.
    tidegate: &'static [&'static str],
    /// Why.
    #[allow(dead_code, reason = "for the reader")]
    reason: &'static str,
}

const LISTED: &[Listed] = &[];

/// Collects what differs.
pub struct Differences {
    occurred: Vec<(usize, &'static str)>,
    report: String,
}

impl Differences {
    pub fn new() -> Self {
        Self { occurred: Vec::new(), report: String::new() }
    }

    /// Compares one case.
    pub fn see(&mut self, case: &str, envoy: &[String], tidegate: &[String]) {
        let theirs = without(envoy, tidegate);
        let ours = without(tidegate, envoy);
        if theirs.is_empty() && ours.is_empty() {
            return;
        }
        let is_listed = |listed: &Listed| theirs == listed.envoy && ours == listed.tidegate;
        for (index, listed) in LISTED.iter().enumerate() {
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
        for (index, listed) in LISTED.iter().enumerate() {
            for name in listed.cases {
                if !partial && !self.occurred.contains(&(index, name)) {
                    let _ = writeln!(self.report, "{name}: listed, but did not occur as listed");
                }
            }
        }
        self.report
    }
}

/// The lines that are in `these` more often than in `those`.
fn without<'a>(these: &'a [String], those: &[String]) -> Vec<&'a str> {
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
