//! The command line. Flags are turned into typed values here; what lies behind sees only valid ones.

mod agent;
mod analyze;
mod api;
mod capture;
mod completion;
mod egress;
mod expand;
mod explain;
mod inject;
mod istio;
mod istioctl;
mod logging;
mod objects;
mod proxy;
pub(crate) mod proxy_config;
mod proxy_status;
mod run;
mod sidecar;
mod up;
mod values;
mod webhook;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use self::analyze::{AnalyzeArgs, Output as AnalyzeOutput};
pub use self::api::{ApiArgs, ApiFlags};
pub use self::explain::{
    Direction as ExplainDirection, ExplainArgs, Output as ExplainOutput, ProxyKind,
};
pub use self::logging::LogLevel;
pub use self::objects::{
    AccessArgs, ApplyArgs, CreateArgs, DeleteArgs, DescribeArgs, GetArgs, ManifestArgs, Output,
    ReplaceArgs, ServerArgs,
};
pub use self::proxy::ProxyArgs;
pub use self::run::RunArgs;
pub use self::sidecar::{ProxyFlags, SidecarArgs};
pub use self::up::UpArgs;
pub use self::values::{AccessLogFile, DnsListen, Labels, PortMap, RunAs};
pub use self::webhook::WebhookArgs;
use crate::failure::Outcome;
use crate::terminal;

const ABOUT: &str = "Istio's gateways in one program, described with Istio's own resources: an API for \
                     kubectl, a control plane and a data plane.";

const EXAMPLES: &str = "\x1b[1mExamples:\x1b[0m
  # Everything in one process, with origins to try it on; then use kubectl in another terminal
  tidegate up --demo

  # Manifests from a folder, watched for changes
  tidegate up -f ./manifests

  # The data plane alone, on an Envoy bootstrap file
  tidegate proxy -c envoy.yaml

  # Where a request goes, and why not elsewhere
  tidegate explain GET http://httpbin.example.com/get -f ./manifests

  # What a running gateway has been told to do
  tidegate proxy-config routes";

#[derive(Debug, Parser)]
#[command(name = "tidegate", version, about = ABOUT, after_help = EXAMPLES)]
#[command(disable_help_subcommand = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run everything in one process: the API for kubectl, the control plane and the gateway
    Up(Box<UpArgs>),
    /// Serve the API alone, for gateways and sidecars that are processes of their own
    Api(ApiArgs),
    /// Run the data plane alone on an Envoy bootstrap file
    Proxy(ProxyArgs),
    /// Carry the captured connections of one workload, out and in
    Sidecar(Box<SidecarArgs>),
    /// Run a command in a network of its own, with a sidecar around it
    Run(Box<RunArgs>),
    /// Create the objects of manifests
    Create(CreateArgs),
    /// Create the objects of manifests, or change those that are there
    Apply(ApplyArgs),
    /// Replace objects by those of manifests
    Replace(ReplaceArgs),
    /// Delete objects
    Delete(DeleteArgs),
    /// Show objects
    Get(GetArgs),
    /// Show what an object says, whether it is in force, and what happened to it
    Describe(DescribeArgs),
    /// Say where a request goes, and why not elsewhere
    Explain(Box<ExplainArgs>),
    /// Say what is wrong with objects: those of the running process, or of manifests that nobody has applied yet
    Analyze(Box<AnalyzeArgs>),
    /// Show what a running gateway has been told to do
    #[command(visible_alias = "pc")]
    ProxyConfig(proxy_config::ProxyConfigArgs),
    /// Say whether gateways have what they were told
    #[command(visible_alias = "ps")]
    ProxyStatus(proxy_status::ProxyStatusArgs),
    /// List what was not let out, and what would let it out
    Egress(egress::EgressArgs),
    /// Lead a workload's connections to its sidecar
    Capture(capture::CaptureArgs),
    /// Put a sidecar into manifests; also when the program is called istioctl
    KubeInject(Box<inject::InjectArgs>),
    /// Put sidecars into Pods when a cluster creates them: a mutating webhook
    Webhook(Box<WebhookArgs>),
    /// Write out what the annotations of ServiceEntries stand for
    ///
    /// With `tidegate.dev/egress-gateway: istio-egressgateway.istio-system` the hosts are reached through that gateway; with
    /// `tidegate.dev/originate-tls: "true"` it starts TLS to them. What has no such annotation is left out.
    Expand(expand::ExpandArgs),
    /// Print the version
    Version,
    /// Print a completion script for your shell
    Completion(completion::CompletionArgs),
}

/// Parses the command line, runs the verb, and says in words what went wrong.
pub fn run() -> ExitCode {
    match start(std::env::args_os().collect()) {
        Ok(status) => status,
        Err(failure) => {
            terminal::say(failure);
            ExitCode::FAILURE
        }
    }
}

/// Runs what a command line means, which may be one of Istio's image.
fn start(line: Vec<OsString>) -> Outcome<ExitCode> {
    let pod = istio::Pod {
        variable: &|name| std::env::var(name).ok(),
        file: &|path| std::fs::read_to_string(path).ok(),
        addresses: &|| crate::sidecar::own_addresses(&[]).unwrap_or_default(),
    };
    match istio::meant(line, &pod)? {
        istio::Meant::Ours(line) => dispatch(Cli::parse_from(istioctl::ordered(line)).verb),
        istio::Meant::Agents(line) => agent::run(line).map(|()| ExitCode::SUCCESS),
    }
}

fn dispatch(verb: Verb) -> Outcome<ExitCode> {
    let done = match verb {
        // Its status is that of the command.
        Verb::Run(args) => return Ok(crate::run::run(*args)),
        // It is another one where something was found.
        Verb::Analyze(args) => return crate::analyze::run(&args),
        Verb::Up(args) => crate::up::run(*args),
        Verb::Api(args) => crate::api_server::run(&args),
        Verb::Proxy(args) => crate::proxy::run(&args),
        Verb::Sidecar(args) => crate::sidecar::run(*args),
        Verb::Create(args) => crate::objects::run(crate::objects::create(args)),
        Verb::Apply(args) => crate::objects::run(crate::objects::apply(args)),
        Verb::Replace(args) => crate::objects::run(crate::objects::replace(args)),
        Verb::Delete(args) => crate::objects::run(crate::objects::delete(args)),
        Verb::Get(args) => crate::objects::run(crate::objects::get(args)),
        Verb::Describe(args) => crate::objects::run(crate::objects::describe(args)),
        Verb::Explain(args) => crate::explain::run(&args),
        Verb::ProxyConfig(args) => proxy_config::run(&args),
        Verb::ProxyStatus(args) => proxy_status::run(&args),
        Verb::Egress(args) => egress::run(&args),
        Verb::Capture(args) => capture::run(&args),
        Verb::KubeInject(args) => inject::run(&args),
        Verb::Webhook(args) => crate::webhook::run(&args),
        Verb::Expand(args) => expand::run(&args),
        Verb::Version => terminal::print(format_args!("tidegate {}\n", env!("CARGO_PKG_VERSION"))),
        Verb::Completion(args) => completion::run(&args),
    };
    done.map(|()| ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests;
