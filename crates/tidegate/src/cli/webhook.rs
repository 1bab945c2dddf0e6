//! Flags of `tidegate webhook`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use tidegate_inject::Settings;

use super::inject::{SidecarArgs, TrafficArgs, settings};
use super::logging::LogLevel;
use super::values::existing_path;
use crate::failure::Outcome;

const EXAMPLES: &str = "\x1b[1mExamples:\x1b[0m
  # Reviews are taken at https://…:15017/inject
  tidegate webhook --tls-cert tls.crt --tls-key tls.key

  # All that is captured by default is what goes to two ranges
  tidegate webhook --tls-cert tls.crt --tls-key tls.key --includeIPRanges=10.4.0.0/14,10.7.240.0/20";

/// Flags of `tidegate webhook`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct WebhookArgs {
    /// Where the API server asks
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:15017")]
    pub listen: SocketAddr,

    /// The certificate and its chain, in PEM; a new one in its place is shown at once
    #[arg(long, value_name = "FILE", value_parser = existing_path)]
    pub tls_cert: PathBuf,

    /// Its key, in PEM
    #[arg(long, value_name = "FILE", value_parser = existing_path)]
    pub tls_key: PathBuf,

    /// What to log: error, warn, info, debug or trace, or directives such as warn,tidegate=debug
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: LogLevel,

    #[command(flatten)]
    traffic: TrafficArgs,

    #[command(flatten)]
    sidecar: SidecarArgs,
}

impl WebhookArgs {
    /// What sidecars are like where Pods do not say.
    ///
    /// # Errors
    /// The mesh config cannot be read.
    pub fn settings(&self) -> Outcome<Settings> {
        settings(&self.traffic, &self.sidecar)
    }
}
