//! Runs one suite of acceptance cases. `cargo xtask corpus` calls it and holds what it prints against
//! the list of known failures: `FAIL CASE: …` for each case that fails, then a line with the counts.

mod cases;
#[cfg(test)]
mod changes;
mod inject;
mod iptables;
mod protobuf;
mod routing;
mod server;
mod tables;
mod transcripts;
mod validate;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Run a suite of acceptance cases.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    suite: Suite,
}

#[derive(Subcommand)]
enum Suite {
    /// Objects and calls, through pilot's compiler and the proxy's matcher.
    Routing {
        /// The folder with the cases.
        folder: PathBuf,
    },
    /// Manifests, and what they are with a sidecar in them.
    Inject {
        /// The folder with the cases.
        folder: PathBuf,
    },
    /// Options of capture, and the rules that come of them.
    Iptables {
        /// The folder with the cases.
        folder: PathBuf,
    },
    /// Bodies in protobuf, against the server that `KUBECONFIG` names and what kubectl itself means by them.
    Protobuf {
        /// The folder with `protobuf-requests.json`.
        folder: PathBuf,
    },
    /// Kinds in discovery and the heads of their tables, against the server that `KUBECONFIG` names.
    Tables {
        /// The folder with `tables.json`.
        folder: PathBuf,
    },
    /// What clients asked a real API server, against the one that `KUBECONFIG` names.
    Transcripts {
        /// The folder with the groups of transcripts.
        folder: PathBuf,
    },
    /// Whole resources, each valid or not.
    Validate {
        /// The folder with the cases.
        folder: PathBuf,
    },
}

fn main() -> Result<()> {
    let tally = match Args::parse().suite {
        Suite::Routing { folder } => routing::run(&folder)?,
        Suite::Inject { folder } => inject::run(&folder)?,
        Suite::Iptables { folder } => iptables::run(&folder)?,
        Suite::Protobuf { folder } => protobuf::run(&folder)?,
        Suite::Tables { folder } => tables::run(&folder)?,
        Suite::Transcripts { folder } => transcripts::run(&folder)?,
        Suite::Validate { folder } => validate::run(&folder)?,
    };
    println!("{tally}");
    Ok(())
}
