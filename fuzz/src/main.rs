//! The stable driver: feeds targets with seeded, mutated inputs. `cargo xtask fuzz` runs it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use tidegate_fuzz::drive::{Budget, drive};
use tidegate_fuzz::{TARGETS, Target, target};

/// Feed fuzz targets with seeded, mutated inputs.
#[derive(Parser)]
struct Args {
    /// Only these targets; all when none is named.
    #[arg(value_parser = named)]
    targets: Vec<&'static Target>,
    /// Seconds for each target.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// The same seed gives the same inputs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Feed this file once instead.
    #[arg(long, requires = "targets")]
    input: Option<PathBuf>,
}

fn named(name: &str) -> Result<&'static Target, String> {
    target(name).ok_or_else(|| {
        let known: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        format!("no such target; there are {}", known.join(", "))
    })
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let targets = if args.targets.is_empty() { TARGETS.iter().collect() } else { args.targets };
    if let Some(file) = args.input {
        let data =
            std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        targets.iter().for_each(|target| target.run(&data));
        return Ok(ExitCode::SUCCESS);
    }
    let mut failed = false;
    for target in targets {
        let report = drive(target, args.seed, Budget::Time(Duration::from_secs(args.seconds)))?;
        let verdict = report.failure.as_deref().unwrap_or("ok");
        println!("{}: {} inputs, {verdict}", target.name, report.inputs);
        failed |= report.failure.is_some();
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
