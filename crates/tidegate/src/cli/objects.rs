//! Flags of the verbs that read and write objects of an API server. They are spelled as kubectl spells them.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

const CREATE: &str = "\x1b[1mExamples:\x1b[0m
  # What stands in a file, or on standard input; several documents are told apart
  tidegate create -f ./manifests
  tidegate create -f -";

const APPLY: &str = "\x1b[1mExamples:\x1b[0m
  # What is there is changed, what is not is created; fields of others stay
  tidegate apply -f ./manifests

  # Fields that somebody else has set, too
  tidegate apply -f ./manifests --force-conflicts";

const REPLACE: &str = "\x1b[1mExamples:\x1b[0m
  # What is there becomes what the file says, as a whole
  tidegate replace -f ./manifests";

const DELETE: &str = "\x1b[1mExamples:\x1b[0m
  # By kind and name: the kind in any letter case, singular, plural or short
  tidegate delete ServiceEntry httpbin-ext google-ext
  tidegate delete vs/httpbin-ext -n default

  # What stands in a file
  tidegate delete -f ./manifests";

const GET: &str = "\x1b[1mExamples:\x1b[0m
  # A kind, in every namespace
  tidegate get virtualservices -A

  # One object, as it is stored
  tidegate get gateway front-proxy -o yaml

  # Several kinds
  tidegate get gw,vs,se";

const DESCRIBE: &str = "\x1b[1mExamples:\x1b[0m
  # What an object says, whether it is in force, and what happened to it
  tidegate describe virtualservice httpbin-ext";

/// Which API server, and as whom.
#[derive(Clone, Debug, Default, Args)]
pub struct AccessArgs {
    /// The kubeconfig [default: KUBECONFIG, else ~/.kube/config, else the service account of this Pod, else that of `tidegate up`]
    #[arg(long, value_name = "FILE", help_heading = "API server")]
    pub kubeconfig: Option<PathBuf>,

    /// A context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME", help_heading = "API server")]
    pub context: Option<String>,
}

/// Which API server, as whom, and in which namespace.
#[derive(Clone, Debug, Args)]
pub struct ServerArgs {
    #[command(flatten)]
    pub access: AccessArgs,

    /// The namespace of objects that name none [default: that of the context, else default]
    #[arg(short = 'n', long, value_name = "NAMESPACE", help_heading = "API server")]
    pub namespace: Option<String>,
}

/// Flags of `tidegate create` and, but for its name, `replace`.
#[derive(Clone, Debug, Args)]
#[command(after_help = CREATE)]
pub struct CreateArgs {
    #[command(flatten)]
    pub manifests: ManifestArgs,
}

/// Flags of `tidegate replace`.
#[derive(Clone, Debug, Args)]
#[command(after_help = REPLACE)]
pub struct ReplaceArgs {
    #[command(flatten)]
    pub manifests: ManifestArgs,
}

/// Flags of `tidegate apply`.
#[derive(Clone, Debug, Args)]
#[command(after_help = APPLY)]
pub struct ApplyArgs {
    #[command(flatten)]
    pub manifests: ManifestArgs,

    /// Take over fields that somebody else has set
    #[arg(long)]
    pub force_conflicts: bool,

    /// The name under which fields are owned
    #[arg(long, value_name = "NAME", default_value = "tidegate")]
    pub field_manager: String,

    /// Taken as kubectl takes it: there is no other way here
    #[arg(long, hide = true)]
    pub server_side: bool,
}

/// Which manifests.
#[derive(Clone, Debug, Args)]
pub struct ManifestArgs {
    /// A file, a folder with files, or - for standard input; may be repeated
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    #[command(flatten)]
    pub server: ServerArgs,
}

/// Flags of `tidegate delete`.
#[derive(Clone, Debug, Args)]
#[command(after_help = DELETE)]
pub struct DeleteArgs {
    /// KIND NAME… or KIND/NAME…
    #[arg(value_name = "KIND NAME", required_unless_present = "files", conflicts_with = "files")]
    pub what: Vec<String>,

    /// A file, a folder with files, or - for standard input; may be repeated
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// It is no fault if something is not there
    #[arg(long)]
    pub ignore_not_found: bool,

    #[command(flatten)]
    pub server: ServerArgs,
}

/// Flags of `tidegate get`.
#[derive(Clone, Debug, Args)]
#[command(after_help = GET)]
pub struct GetArgs {
    /// KIND[,KIND…] [NAME…] or KIND/NAME…
    #[arg(value_name = "KIND NAME", required = true)]
    pub what: Vec<String>,

    /// How it is shown [default: a table]
    #[arg(short = 'o', long, value_enum)]
    pub output: Option<Output>,

    /// Of every namespace
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub all_namespaces: bool,

    /// Those with labels that this selector fits
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub selector: Option<String>,

    #[command(flatten)]
    pub server: ServerArgs,
}

/// Forms of what is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A table with more columns
    Wide,
    /// YAML
    Yaml,
    /// JSON
    Json,
    /// Kind and name, one a line
    Name,
}

/// Flags of `tidegate describe`.
#[derive(Clone, Debug, Args)]
#[command(after_help = DESCRIBE)]
pub struct DescribeArgs {
    /// KIND NAME… or KIND/NAME…
    #[arg(value_name = "KIND NAME", required = true)]
    pub what: Vec<String>,

    #[command(flatten)]
    pub server: ServerArgs,
}
