//! `cargo xtask corpus`: acceptance cases that live outside this repository, against committed lists of
//! known failures.
//!
//! A suite prints `FAIL CASE: …` for each case that fails and ends with `N passed, M failed, K skipped`.
//! Its list, `tests/known-failures/SUITE.toml`, gives a reason for each case that cannot pass yet. A case
//! that fails and is not listed fails the run; so does a listed one that passes, so the list only
//! shrinks.

mod kubectl;
mod verdict;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use crate::workspace::Workspace;
use verdict::{Known, Outcome};

/// Where the material is expected, relative to the workspace.
const MATERIAL: &str = "../shared";

/// A set of cases with its way to run them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Suite {
    /// Recorded kubectl commands against `tidegate up`, compared with what a real API server's client printed.
    Kubectl,
    /// Objects and calls, through pilot's compiler and the proxy's matcher.
    Routing,
    /// Whole resources, each valid or not, against our decoding and validation.
    Validate,
}

/// Flags of `cargo xtask corpus`.
#[derive(Args)]
pub struct Options {
    /// Only these suites; all when none is named.
    suites: Vec<Suite>,
    /// The folder with the cases. When it is not there, nothing is run and nothing fails.
    #[arg(long, default_value = MATERIAL)]
    material: PathBuf,
    /// Take cases that pass now off the lists.
    #[arg(long)]
    shrink: bool,
}

impl Suite {
    /// Where its cases stand in the material.
    fn folder(self) -> &'static str {
        match self {
            Self::Kubectl => "kubernetes-api",
            Self::Routing => "corpus/routing",
            Self::Validate => "corpus/validate",
        }
    }

    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    fn run(self, workspace: &Workspace, cases: &Path) -> Result<Outcome> {
        match self {
            Self::Kubectl => kubectl::replay(workspace, cases),
            Self::Routing | Self::Validate => {
                let mut runner = workspace.cargo();
                runner.args(["run", "--quiet", "--locked", "-p", "tidegate-corpus", "--"]);
                Outcome::of(runner.arg(self.name()).arg(cases))
            }
        }
    }
}

/// Runs the suites asked for, or all of them.
pub fn all(workspace: &Workspace, options: &Options) -> Result<()> {
    let material = workspace.root.join(&options.material);
    let suites = if options.suites.is_empty() { Suite::value_variants() } else { &options.suites };
    let mut failed = Vec::new();
    for suite in suites {
        println!("== {}", suite.name());
        let cases = material.join(suite.folder());
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
        if verdict.unexpected.is_empty() && (verdict.mended.is_empty() || options.shrink) {
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
