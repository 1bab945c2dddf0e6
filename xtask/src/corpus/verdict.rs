//! What a suite did, held against the failures that are known.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::workspace::shown;

/// What came of a suite's cases.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    passed: usize,
    skipped: usize,
    /// Cases that failed, each with what the suite says of it.
    failed: BTreeMap<String, String>,
}

impl Outcome {
    /// Runs a suite and reads what it prints.
    pub fn of(command: &mut Command) -> Result<Self> {
        let shown = shown(command);
        println!("$ {shown}");
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("a piped standard output")?;
        let lines: Vec<String> = BufReader::new(stdout).lines().collect::<Result<_, _>>()?;
        child.wait()?;
        Self::parse(lines.iter().map(String::as_str)).with_context(|| format!("`{shown}`"))
    }

    fn parse<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Self> {
        let mut outcome = Self::default();
        let mut summary = None;
        for line in lines {
            if let Some((case, why)) = line.strip_prefix("FAIL ").and_then(|l| l.split_once(": ")) {
                outcome.failed.insert(case.to_owned(), why.to_owned());
            } else if line.contains(" passed, ") {
                summary = Some(line);
            }
        }
        let Some(summary) = summary else { bail!("it did not get to its end") };
        let counts: Vec<usize> =
            summary.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [passed, failed, skipped] = counts[..] else { bail!("cannot read `{summary}`") };
        if failed != outcome.failed.len() {
            bail!("{failed} cases failed, {} were named", outcome.failed.len());
        }
        Ok(Self { passed, skipped, ..outcome })
    }

    /// Compares with the known failures.
    pub fn judge(&self, known: &Known) -> Verdict {
        let Known { at_least, cases } = known;
        let unexpected = self.failed.iter().filter(|(case, _)| !cases.contains_key(*case));
        let mended = cases.iter().filter(|(case, reason)| {
            matches!(reason, Reason::Fails(_)) && !self.failed.contains_key(*case)
        });
        Verdict {
            unexpected: unexpected.map(|(case, why)| (case.clone(), why.clone())).collect(),
            mended: mended.map(|(case, _)| case.clone()).collect(),
            too_few: (self.passed < *at_least).then_some((self.passed, *at_least)),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, skipped, failed } = self;
        write!(f, "{passed} passed, {} failed, {skipped} skipped", failed.len())
    }
}

/// What a suite's list says.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Known {
    /// How many cases pass in every run, whatever the list excuses.
    #[serde(default)]
    at_least: usize,
    /// Cases that cannot pass yet, each with the reason.
    #[serde(flatten)]
    cases: BTreeMap<String, Reason>,
}

/// Why a case is on the list.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Reason {
    /// It fails each time.
    Fails(String),
    /// What is compared differs from run to run with any server, so neither outcome says anything of ours.
    Unstable {
        /// What varies.
        unstable: String,
    },
}

impl Reason {
    fn words(&self) -> &str {
        let (Self::Fails(words) | Self::Unstable { unstable: words }) = self;
        words
    }
}

impl Known {
    /// Reads a list; one that is not there is empty.
    pub fn read(file: &Path) -> Result<Self> {
        let Ok(text) = std::fs::read_to_string(file) else { return Ok(Self::default()) };
        let list: Self =
            toml::from_str(&text).with_context(|| format!("cannot read {}", file.display()))?;
        let mut reasons = list.cases.iter();
        if let Some((case, _)) = reasons.find(|(_, reason)| reason.words().trim().is_empty()) {
            bail!("{}: `{case}` has no reason", file.display());
        }
        Ok(list)
    }

    /// Takes what passes now off the list, and leaves every other line of the file as it is.
    pub fn drop_mended(&mut self, verdict: &Verdict, file: &Path) -> Result<()> {
        if verdict.mended.is_empty() {
            return Ok(());
        }
        let text = std::fs::read_to_string(file)?;
        let keeps = |line: &&str| {
            let entry: Result<BTreeMap<String, Reason>, _> = toml::from_str(line);
            entry.map_or(true, |entry| !entry.keys().any(|case| verdict.mended.contains(case)))
        };
        let kept: String = text.lines().filter(keeps).map(|line| format!("{line}\n")).collect();
        self.cases.retain(|case, _| !verdict.mended.contains(case));
        Ok(std::fs::write(file, kept)?)
    }
}

/// Where a run and the list differ.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Failed and not listed.
    pub unexpected: Vec<(String, String)>,
    /// Listed and not failed.
    pub mended: Vec<String>,
    /// How many passed, where the list asks for more, and for how many.
    pub too_few: Option<(usize, usize)>,
}

impl Verdict {
    /// Whether the run is as the list says; `shrunk` when what is mended was taken off it.
    pub fn is_good(&self, shrunk: bool) -> bool {
        self.unexpected.is_empty() && self.too_few.is_none() && (self.mended.is_empty() || shrunk)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (case, why) in &self.unexpected {
            writeln!(f, "failed, and is not a known failure: {case:?}: {why}")?;
        }
        for case in &self.mended {
            writeln!(f, "no longer fails: take {case:?} off the list (or run with --shrink)")?;
        }
        if let Some((passed, at_least)) = self.too_few {
            writeln!(f, "{passed} passed, where the list asks for {at_least} at least")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(cases: &[&str]) -> Known {
        let fails = |case: &&str| ((*case).to_owned(), Reason::Fails("why".to_owned()));
        Known { at_least: 0, cases: cases.iter().map(fails).collect() }
    }

    #[test]
    fn reads_what_a_suite_prints() {
        let lines = ["FAIL a b: wrong: very", "noise", "7 passed, 1 failed, 2 skipped"];
        let outcome = Outcome::parse(lines.into_iter()).expect("complete");
        assert_eq!(outcome.to_string(), "7 passed, 1 failed, 2 skipped");
        assert_eq!(outcome.failed["a b"], "wrong: very");
        assert!(Outcome::parse(["FAIL a: x"].into_iter()).is_err(), "no summary");
        assert!(Outcome::parse(["7 passed, 1 failed, 0 skipped"].into_iter()).is_err());
    }

    #[test]
    fn both_differences_are_told() {
        let lines = ["FAIL a: x", "FAIL b: y", "0 passed, 2 failed, 0 skipped"];
        let outcome = Outcome::parse(lines.into_iter()).expect("complete");
        let verdict = outcome.judge(&known(&["b", "c"]));
        assert_eq!(verdict.unexpected, [("a".to_owned(), "x".to_owned())]);
        assert_eq!(verdict.mended, ["c"]);
        let verdict = outcome.judge(&known(&["a", "b"]));
        assert_eq!(verdict.to_string(), "");
    }

    #[test]
    fn an_unstable_case_may_fail_and_may_pass() {
        let known: Known = toml::from_str(r#"a = { unstable = "an order" }"#).expect("a list");
        for lines in
            [["FAIL a: x", "0 passed, 1 failed, 0 skipped"], ["", "1 passed, 0 failed, 0 skipped"]]
        {
            let outcome = Outcome::parse(lines.into_iter()).expect("complete");
            assert_eq!(outcome.judge(&known).to_string(), "");
        }
    }

    #[test]
    fn what_is_excused_still_counts_against_the_least_number() {
        let text = "at-least = 2\na = \"why\"\nb = { unstable = \"an order\" }";
        let known: Known = toml::from_str(text).expect("a list");
        let judged =
            |lines: [&str; 3]| Outcome::parse(lines.into_iter()).expect("complete").judge(&known);
        let verdict = judged(["FAIL a: x", "FAIL b: y", "2 passed, 2 failed, 0 skipped"]);
        assert!(verdict.is_good(false), "{verdict}");
        let verdict = judged(["FAIL a: x", "FAIL b: y", "1 passed, 2 failed, 1 skipped"]);
        assert!(!verdict.is_good(true));
        assert_eq!(verdict.to_string(), "1 passed, where the list asks for 2 at least\n");
    }

    #[test]
    fn shrinking_leaves_comments_and_other_lines() {
        let file = std::env::temp_dir().join(format!("tidegate-known-{}.toml", std::process::id()));
        std::fs::write(&file, "# why\nat-least = 1\n\"a: b\" = \"x\"\n\nc = \"y\"\n")
            .expect("written");
        let mut known = Known::read(&file).expect("read");
        let verdict = Verdict { unexpected: vec![], mended: vec!["a: b".into()], too_few: None };
        known.drop_mended(&verdict, &file).expect("shrunk");
        assert_eq!(
            std::fs::read_to_string(&file).expect("read"),
            "# why\nat-least = 1\n\nc = \"y\"\n"
        );
        std::fs::write(&file, "c = \"\"\n").expect("written");
        assert!(Known::read(&file).is_err(), "a reason is needed");
        std::fs::remove_file(&file).expect("removed");
    }
}
