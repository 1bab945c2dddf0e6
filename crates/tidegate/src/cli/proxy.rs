//! Flags of `tidegate proxy`.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;

use super::logging::LogLevel;
use super::values::{dns_server, existing_path, workers};

const EXAMPLES: &str = "\x1b[1mExamples:\x1b[0m
  # The file that also starts Envoy: envoy -c envoy.yaml
  tidegate proxy -c envoy.yaml

  # One worker, for measuring
  tidegate proxy -c envoy.json --workers 1

What the file asks for and this proxy does not do is an error that names the field's path.

`tidegate proxy sidecar …` is `tidegate sidecar …` by the command line of Istio's image, for injected containers.";

/// Flags of `tidegate proxy`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ProxyArgs {
    /// An Envoy bootstrap with static_resources, as YAML or JSON
    #[arg(short = 'c', long = "config", value_name = "FILE", value_parser = existing_path)]
    pub config: PathBuf,

    /// Worker threads [default: one per core]
    #[arg(long, alias = "concurrency", value_name = "N", value_parser = workers)]
    pub workers: Option<NonZeroUsize>,

    /// Name servers to ask instead of the system's; may be repeated
    #[arg(long, value_name = "ADDRESS[:PORT]", value_parser = dns_server)]
    pub dns_server: Vec<SocketAddr>,

    /// The program's own log, on standard error: error, warn, info, debug, trace or directives
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: LogLevel,
}
