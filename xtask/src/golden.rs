//! `cargo xtask golden`: writes golden files again, to be reviewed as code.

use anyhow::Result;
use clap::Args;

use crate::workspace::{Workspace, run};

/// Tests that compare with golden files write them instead when this is set.
const REFRESH: &str = "TIDEGATE_GOLDEN";

/// Flags of `cargo xtask golden`.
#[derive(Args)]
pub struct Options {
    /// Only this package, such as tidegate-pilot.
    #[arg(short, long)]
    package: Option<String>,
    /// Only tests whose name contains this.
    #[arg(default_value = "golden")]
    filter: String,
}

/// Runs the tests with golden files in refresh mode, then shows what changed.
pub fn refresh(workspace: &Workspace, options: &Options) -> Result<()> {
    let mut tests = workspace.cargo();
    tests.args(["test", "--locked"]).env(REFRESH, "refresh");
    match &options.package {
        Some(package) => tests.args(["-p", package]),
        None => tests.arg("--workspace"),
    };
    run(tests.arg(&options.filter))?;
    println!("\nReview what changed as code:");
    run(workspace.command("git").args(["status", "--short"]))
}
