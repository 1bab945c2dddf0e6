//! `cargo xtask check`: everything that is judged without running the product.

use std::time::Instant;

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::dependencies::Rules;
use crate::workspace::{Workspace, run};
use crate::{files, layers};

/// One of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Step {
    /// `cargo fmt --check` over the workspace.
    Format,
    /// The crates use each other only as layers.toml says.
    Layers,
    /// Licences, banned crates and sources of all dependencies, as deny.toml says.
    Dependencies,
    /// Committed files hold no path of this machine, and no more lines than are read in one go.
    Files,
    /// clippy over all targets of the workspace, warnings as errors.
    Clippy,
}

/// Runs the steps asked for, or all of them; one that fails does not keep the others from running.
pub fn all(workspace: &Workspace, asked: &[Step]) -> Result<()> {
    let steps = if asked.is_empty() { Step::value_variants() } else { asked };
    let mut failed = Vec::new();
    for step in steps {
        let name = format!("{step:?}").to_lowercase();
        println!("== {name}");
        let began = Instant::now();
        match step.run(workspace) {
            Ok(()) => println!("ok ({:.1} s)\n", began.elapsed().as_secs_f32()),
            Err(error) => {
                println!("{error:#}\n");
                failed.push(name);
            }
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

impl Step {
    fn run(self, workspace: &Workspace) -> Result<()> {
        match self {
            Self::Format => run(workspace.cargo().args(["fmt", "--all", "--check"])),
            Self::Layers => none_of(&layer_violations(workspace)?),
            Self::Dependencies => {
                let rules = Rules::parse(&workspace.read("deny.toml")?)?;
                none_of(&rules.violations(&workspace.metadata))
            }
            Self::Files => none_of(&files::violations(workspace)?),
            Self::Clippy => {
                let over =
                    ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
                run(workspace.cargo().args(over))
            }
        }
    }
}

fn layer_violations(workspace: &Workspace) -> Result<Vec<String>> {
    let table = layers::Table::parse(&workspace.read("layers.toml")?)?;
    let (crates, arrows) = layers::arrows(&workspace.metadata);
    Ok(layers::violations(&table, &crates, &arrows))
}

fn none_of(violations: &[String]) -> Result<()> {
    if violations.is_empty() { Ok(()) } else { bail!(violations.join("\n")) }
}
