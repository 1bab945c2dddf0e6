//! `cargo xtask corpus`: acceptance cases that live outside this repository, against committed lists of
//! known failures.
//!
//! A suite prints `FAIL CASE: …` for each case that fails and ends with `N passed, M failed, K skipped`.
//! Its list, `tests/known-failures/SUITE.toml`, gives a reason for each case that cannot pass yet. A case
//! that fails and is not listed fails the run; so does a listed one that passes, so the list only
//! shrinks. `at-least` in a list is how many cases have to pass in every run.

mod kubectl;
mod verdict;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use crate::workspace::Workspace;
use kubectl::Serving;
use verdict::{Known, Outcome};

/// Where the material is expected, relative to the workspace.
const MATERIAL: &str = "../shared";

/// A set of cases with its way to run them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Suite {
    /// Manifests, and what they are with a sidecar in them.
    Inject,
    /// Options of capture, and the rules of iptables that come of them.
    Iptables,
    /// Recorded kubectl commands against `tidegate api`, compared with what a real API server's client printed.
    Kubectl,
    /// The same against `tidegate up`, whose gateway writes status and shows itself.
    KubectlUp,
    /// Bodies in protobuf that kubectl sent, against `tidegate api` and what kubectl itself means by them.
    Protobuf,
    /// Objects and calls, through pilot's compiler and the proxy's matcher.
    Routing,
    /// Kinds in discovery and the heads of their tables, of `tidegate api`.
    Tables,
    /// Recorded requests of clients against `tidegate up`, compared with what a real API server answered.
    Transcripts,
    /// Whole resources, each valid or not, against our decoding and validation.
    Validate,
}

/// Flags of `cargo xtask corpus`.
#[derive(Args)]
pub struct Options {
    /// Only these suites, all when none is named; or a folder with cases in `inject/`, `iptables/`, `routing/` or `validate/`.
    #[arg(value_name = "SUITE|FOLDER", value_parser = Wanted::read)]
    wanted: Vec<Wanted>,
    /// The folder with the cases. When it is not there, nothing is run and nothing fails.
    #[arg(long, default_value = MATERIAL)]
    material: PathBuf,
    /// Take cases that pass now off the lists.
    #[arg(long)]
    shrink: bool,
}

/// What a run is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    /// A suite, of the material.
    Suite(Suite),
    /// The suites of a folder.
    Folder(PathBuf),
}

impl Wanted {
    fn read(text: &str) -> Result<Self, String> {
        match Suite::from_str(text, true) {
            Ok(suite) => Ok(Self::Suite(suite)),
            Err(_) if Path::new(text).is_dir() => Ok(Self::Folder(text.into())),
            Err(_) => {
                Err("it is no suite (inject, iptables, kubectl, kubectl-up, protobuf, routing, tables, transcripts, validate) \
                     and no folder"
                    .to_owned())
            }
        }
    }

    /// Suites with the folders of their cases. A folder that is named has one of its suites at least.
    fn cases(&self, material: &Path) -> Result<Vec<(Suite, PathBuf)>> {
        match self {
            Self::Suite(suite) => Ok(vec![(*suite, material.join(suite.folder()))]),
            Self::Folder(folder) => {
                let there: Vec<_> =
                    [Suite::Inject, Suite::Iptables, Suite::Routing, Suite::Validate]
                        .into_iter()
                        .map(|suite| (suite, folder.join(suite.name())))
                        .filter(|(_, cases)| cases.is_dir())
                        .collect();
                if there.is_empty() {
                    bail!(
                        "{} has none of inject/, iptables/, routing/ and validate/",
                        folder.display()
                    );
                }
                Ok(there)
            }
        }
    }
}

impl Suite {
    /// Where its cases stand in the material.
    fn folder(self) -> &'static str {
        match self {
            Self::Inject => "corpus/inject",
            Self::Iptables => "corpus/iptables",
            Self::Kubectl | Self::KubectlUp | Self::Protobuf | Self::Tables => "kubernetes-api",
            Self::Routing => "corpus/routing",
            Self::Transcripts => "kubernetes-api/transcripts",
            Self::Validate => "corpus/validate",
        }
    }

    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// The command that runs its cases and prints what came of them.
    fn runner(self, workspace: &Workspace, cases: &Path) -> Command {
        let mut runner = workspace.cargo();
        runner.args(["run", "--quiet", "--locked", "-p", "tidegate-corpus", "--"]);
        runner.arg(self.name()).arg(cases);
        runner
    }

    fn run(self, workspace: &Workspace, cases: &Path) -> Result<Outcome> {
        match self {
            Self::Kubectl => kubectl::replay(workspace, cases, Serving::Alone),
            Self::KubectlUp => kubectl::replay(workspace, cases, Serving::Gateway),
            Self::Protobuf | Self::Tables => kubectl::requests(
                workspace,
                &self.name(),
                Serving::Alone,
                self.runner(workspace, cases),
            ),
            Self::Transcripts => kubectl::requests(
                workspace,
                &self.name(),
                Serving::Gateway,
                self.runner(workspace, cases),
            ),
            Self::Inject | Self::Iptables | Self::Routing | Self::Validate => {
                Outcome::of(&mut self.runner(workspace, cases))
            }
        }
    }
}

/// Runs the suites asked for, or all of them.
pub fn all(workspace: &Workspace, options: &Options) -> Result<()> {
    let material = workspace.root.join(&options.material);
    let every: Vec<Wanted> = Suite::value_variants().iter().copied().map(Wanted::Suite).collect();
    let wanted = if options.wanted.is_empty() { &every } else { &options.wanted };
    let mut all = Vec::new();
    for wanted in wanted {
        all.extend(wanted.cases(&material)?);
    }
    let mut failed = Vec::new();
    for (suite, cases) in all {
        println!("== {}", suite.name());
        let cases = workspace.root.join(cases);
        if !cases.is_dir() {
            println!("skipped: no cases at {}\n", cases.display());
            continue;
        }
        let file = workspace.root.join(format!("tests/known-failures/{}.toml", suite.name()));
        let mut known = Known::read(&file)?;
        let outcome = suite.run(workspace, &cases)?;
        let verdict = outcome.judge(&known);
        println!("{outcome}");
        print!("{verdict}");
        if options.shrink {
            known.drop_mended(&verdict, &file)?;
        }
        if verdict.is_good(options.shrink) {
            println!("ok\n");
        } else {
            println!();
            failed.push(suite.name());
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    fn wanted(arguments: &[&str]) -> Result<Vec<Wanted>, clap::Error> {
        let arguments = std::iter::once(&"corpus").chain(arguments);
        Ok(Cli::try_parse_from(arguments)?.options.wanted)
    }

    #[test]
    fn a_suite_or_a_folder_can_be_asked_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().to_str().expect("text");
        assert_eq!(wanted(&[]).expect("all"), []);
        assert_eq!(wanted(&["routing"]).expect("a suite"), [Wanted::Suite(Suite::Routing)]);
        let named = wanted(&[path]).expect("a folder");
        assert!(named[0].cases(Path::new("none")).is_err(), "it has no cases");
        let cases = folder.path().join("validate");
        std::fs::create_dir(&cases).expect("a folder");
        let found = named[0].cases(Path::new("none")).expect("cases");
        assert_eq!(found, [(Suite::Validate, cases)]);
        assert!(wanted(&["/nowhere/at/all"]).is_err());
    }
}
