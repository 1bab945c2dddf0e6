//! `cargo xtask bench`: Tidegate beside its peers, with the harness and our adapter.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use crate::tools::Tool;
use crate::workspace::{Workspace, run};

/// The harness, and the description of Tidegate for it; relative to the workspace.
const HARNESS: &str = "../shared/bench/bench";
const ADAPTER: &str = "bench/adapter.json";
/// What the harness itself calls.
const NEEDED: &[&str] = &["python3", "taskset", "unshare", "ip", "gcc", "openssl", "wrk", "h2load"];

/// Flags of `cargo xtask bench`.
#[derive(Args)]
pub struct Options {
    /// The harness; its README says how it measures.
    #[arg(long, default_value = HARNESS)]
    harness: PathBuf,
    /// Cases, separated by commas.
    #[arg(
        long,
        default_value = "h1,h1-log,h1-100k,tls-term,tls-hs,tls-orig,h2,sni-bulk,sni-cps,routes-10000,idle-h1,idle-tls"
    )]
    cases: String,
    /// Peers, separated by commas; `tidegate` is the adapter.
    #[arg(long, default_value = "tidegate,envoy,nginx")]
    peers: String,
    /// Interleaved rounds; the tables give medians.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Seconds of measurement in each round.
    #[arg(long, default_value_t = 5)]
    secs: u32,
    /// Where raw results are added.
    #[arg(long, default_value = "target/bench.jsonl")]
    out: PathBuf,
}

/// Builds the product as it is shipped and measures it.
pub fn measure(workspace: &Workspace, options: &Options) -> Result<()> {
    let harness = workspace.root.join(&options.harness);
    if !harness.is_file() {
        bail!("no harness at {}: name it with --harness", harness.display());
    }
    for program in NEEDED {
        let path = std::env::var_os("PATH");
        if crate::tools::on_path(program, path).is_none() {
            bail!("the harness needs `{program}` on PATH: install your system's package of it");
        }
    }
    run(workspace.cargo().args(["build", "--release", "--locked", "--bin", "tidegate"]))?;
    let mut command = workspace.command(&harness.to_string_lossy());
    if options.peers.split(',').any(|peer| peer == "envoy") {
        command.env("ENVOY", Tool::Envoy.provide(workspace, true)?);
    }
    command.env("TIDEGATE", workspace.target().join("release/tidegate"));
    command.arg("--adapter").arg(workspace.root.join(ADAPTER));
    command.args(["--peers", &options.peers, "--cases", &options.cases]);
    command.args(["--rounds", &options.rounds.to_string(), "--secs", &options.secs.to_string()]);
    run(command.arg("--out").arg(workspace.root.join(&options.out)))
}
