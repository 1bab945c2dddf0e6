//! Flags of `tidegate api`; `tidegate up` has those of the API itself, too.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::Args;

use super::logging::LogLevel;
use super::values::{existing_path, socket_address};

const EXAMPLES: &str = "\x1b[1mExamples:\x1b[0m
  # One API, and a gateway on it, in another process or on another machine
  tidegate api --data-dir ./state
  tidegate up --kubeconfig ./state/kubeconfig

  # Manifests from a folder, watched; what kubectl applies is kept beside them
  tidegate api -f ./manifests

\x1b[1mSignals:\x1b[0m
  SIGTERM, SIGINT  end watches, finish requests, end; a second one ends at once";

/// Flags of `tidegate api`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ApiArgs {
    #[command(flatten)]
    pub api: ApiFlags,

    /// The program's own log, on standard error: error, warn, info, debug, trace or directives
    #[arg(long, value_name = "LEVEL", default_value = "info", help_heading = "Logs")]
    pub log_level: LogLevel,
}

/// What the API serves, where, and to whom.
#[derive(Clone, Debug, Args)]
pub struct ApiFlags {
    /// Where state is kept [default: tidegate in the XDG data folder, ~/.local/share]
    #[arg(long, value_name = "DIR", help_heading = "Resources")]
    pub data_dir: Option<PathBuf>,

    /// Manifests: files, or folders with their sub-folders; watched for changes, read-only for the API
    #[arg(short = 'f', long = "filename", value_name = "PATH", num_args = 1.., help_heading = "Resources")]
    #[arg(value_parser = existing_path)]
    pub files: Vec<PathBuf>,

    /// Where the Kubernetes-style API listens: TLS, and beyond loopback only with --api-token-file
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:6443",
        help_heading = "Listening"
    )]
    #[arg(value_parser = socket_address)]
    pub api_listen: SocketAddr,

    /// Further users of the API: lines of TOKEN,USER,UID,"GROUPS", where the group system:masters may do everything and
    /// tidegate:view may read all but Secrets
    #[arg(long, value_name = "FILE", value_parser = existing_path, help_heading = "Listening")]
    pub api_token_file: Option<PathBuf>,

    /// Requests that one user of the API may send each second, in the mean: what they did not use in the last ten seconds
    /// they may send at once; more are answered 429
    #[arg(long, value_name = "N", default_value = "1000", help_heading = "Listening")]
    pub api_request_rate: NonZeroU32,
}
