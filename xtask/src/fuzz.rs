//! `cargo xtask fuzz`: every fuzz target for a bounded time, on stable Rust.

use anyhow::Result;
use clap::Args;

use crate::workspace::{Workspace, run};

/// Flags of `cargo xtask fuzz`.
#[derive(Args)]
pub struct Options {
    /// Optimised: several times the inputs, after a longer build.
    #[arg(long)]
    release: bool,
    /// Handed on: target names, `--seconds N`, `--seed N`, `--input FILE`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    driver: Vec<String>,
}

/// Builds and runs the seeded driver of `fuzz/`.
pub fn all(workspace: &Workspace, options: &Options) -> Result<()> {
    let mut driver = workspace.cargo();
    driver.args(["run", "--quiet", "--locked", "-p", "tidegate-fuzz", "--bin", "tidegate-fuzz"]);
    if options.release {
        driver.arg("--release");
    }
    run(driver.arg("--").args(&options.driver))
}
