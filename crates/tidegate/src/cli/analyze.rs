//! Flags of `tidegate analyze`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tidegate_explain::Level;

use super::objects::AccessArgs;
use super::values::{Labels, dns_name, existing_path};

const EXAMPLES: &str = "\x1b[1mExamples:\x1b[0m
  # What is wrong with the objects of the API server, in namespace default
  tidegate analyze

  # The same of all namespaces
  tidegate analyze -A

  # Manifests alone, before anybody applies them
  tidegate analyze ./manifests

  # What would be wrong if they were applied to what is there
  tidegate analyze ./manifests --use-kube

\x1b[1mExit status:\x1b[0m
  0   nothing as bad as --failure-threshold
  79  something, as with istioctl
  1   the objects cannot be had";

/// Flags of `tidegate analyze`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct AnalyzeArgs {
    /// Manifests: files, or folders with their sub-folders
    #[arg(value_name = "PATH", value_parser = existing_path, help_heading = "Objects")]
    pub paths: Vec<PathBuf>,

    /// Manifests, likewise
    #[arg(short = 'f', long = "filename", value_name = "PATH", num_args = 1.., help_heading = "Objects")]
    #[arg(value_parser = existing_path)]
    pub files: Vec<PathBuf>,

    /// Take the objects of an API server, too: manifests go before those of the same name [default: where there are no manifests]
    #[arg(
        long,
        value_name = "true|false",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        help_heading = "Objects"
    )]
    pub use_kube: Option<bool>,

    #[command(flatten)]
    pub access: AccessArgs,

    /// The namespace whose objects are judged [default: default; of manifests alone, all]
    #[arg(short, long, value_name = "NAMESPACE", value_parser = dns_name, conflicts_with = "all_namespaces")]
    pub namespace: Option<String>,

    /// Judge the objects of all namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,

    /// The labels of the gateway, which Gateways select [default: those of the gateway that is running, else istio=ingressgateway]
    #[arg(long, value_name = "KEY=VALUE,…")]
    pub gateway_labels: Option<Labels>,

    /// A mesh config, whose settings hold [default: that of the running process]
    #[arg(long, value_name = "FILE", value_parser = existing_path)]
    pub mesh_config: Option<PathBuf>,

    /// The gateway's certificate in a mesh, for ISTIO_MUTUAL: a folder with cert-chain.pem, key.pem and root-cert.pem
    #[arg(long, value_name = "DIR", value_parser = existing_path)]
    pub workload_certs: Option<PathBuf>,

    /// Print only what is at least as bad
    #[arg(long, value_name = "LEVEL", default_value = "info", ignore_case = true)]
    pub output_threshold: Threshold,

    /// Fail when something is at least as bad
    #[arg(long, value_name = "LEVEL", default_value = "error", ignore_case = true)]
    pub failure_threshold: Threshold,

    /// How to print it
    #[arg(short, long, value_name = "FORMAT", default_value = "log")]
    pub output: Output,
}

impl AnalyzeArgs {
    /// All manifests that are named.
    #[must_use]
    pub fn manifests(&self) -> Vec<PathBuf> {
        self.paths.iter().chain(&self.files).cloned().collect()
    }

    /// Whether objects of an API server count.
    #[must_use]
    pub fn live(&self) -> bool {
        self.use_kube.unwrap_or_else(|| self.manifests().is_empty())
    }

    /// The namespace whose objects are judged; `None` for all.
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        let usual = (self.live() && !self.all_namespaces).then_some("default");
        self.namespace.as_deref().or(usual)
    }
}

/// How bad something has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Threshold {
    /// All there is
    Info,
    /// What does nothing, in part
    Warning,
    /// What does nothing, or names what is not there
    Error,
}

impl Threshold {
    /// Whether something is as bad.
    #[must_use]
    pub fn is_met_by(self, level: Level) -> bool {
        let least = match self {
            Self::Info => Level::Info,
            Self::Warning => Level::Warning,
            Self::Error => Level::Error,
        };
        level >= least
    }
}

/// `--output`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A line for each finding
    Log,
    /// A list, in JSON
    Json,
    /// The same in YAML
    Yaml,
}
