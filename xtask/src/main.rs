//! The project's chores. `cargo xtask help` lists them.

mod check;
mod dependencies;
mod descriptors;
mod files;
mod layers;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use workspace::Workspace;

/// Chores of the Tidegate workspace.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", subcommand_required = true)]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Format, layering, dependencies, committed files, clippy: all that is judged without a run.
    Check {
        /// Only these; all when none is named.
        steps: Vec<check::Step>,
    },
    /// Make crates/envoy/descriptors.bin again from crates/envoy/protos.txt.
    Descriptors {
        /// Write nothing; fail when the committed file differs.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let workspace = Workspace::load()?;
    match cli.chore {
        Chore::Check { steps } => check::all(&workspace, &steps),
        Chore::Descriptors { check } => descriptors::run(&workspace, check),
    }
}
