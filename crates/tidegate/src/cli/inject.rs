//! `tidegate kube-inject`: manifests in, manifests with a sidecar out. Flags are spelled as istioctl spells them.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::{ArgAction, Args};
use tidegate_capture::{Ports, Ranges, some_ranges};
use tidegate_inject::{Error, Settings, inject, with_mesh_config};

use super::capture::{List, ports};
use crate::failure::{Failure, Outcome};
use crate::terminal;

const EXAMPLES: &str = "\x1b[1mExamples:\x1b[0m
  # Everything that the workload sends and gets goes through its sidecar
  tidegate kube-inject -f sleep.yaml > injected.yaml

  # Only what it sends to two ranges; everything else goes past the sidecar
  tidegate kube-inject -f sleep.yaml --includeIPRanges=10.4.0.0/14,10.7.240.0/20

  # A sidecar as a container beside the others, for Kubernetes before 1.29
  tidegate kube-inject -f - --nativeSidecar=false";

/// Flags of `tidegate kube-inject`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct InjectArgs {
    /// The file with the manifests, or - for standard input
    #[arg(short = 'f', long, value_name = "FILE")]
    filename: PathBuf,

    /// Where to write the result [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    traffic: TrafficArgs,

    #[command(flatten)]
    sidecar: SidecarArgs,
}

/// What is redirected. Annotations of a workload are stronger.
#[derive(Debug, Args)]
pub(super) struct TrafficArgs {
    /// Ranges of addresses to which outbound connections are captured, or * for all
    #[arg(
        long = "includeIPRanges",
        alias = "include-ip-ranges",
        value_name = "RANGES",
        default_value = "*"
    )]
    include_ip_ranges: Ranges,

    /// Ranges to which they are not
    #[arg(
        long = "excludeIPRanges",
        alias = "exclude-ip-ranges",
        value_name = "RANGES",
        default_value = ""
    )]
    #[arg(value_parser = some_ranges)]
    exclude_ip_ranges: Ranges,

    /// Ports to which outbound connections are captured, whatever their address
    #[arg(
        long = "includeOutboundPorts",
        alias = "include-outbound-ports",
        value_name = "PORTS",
        default_value = ""
    )]
    #[arg(value_parser = ports)]
    include_outbound_ports: List<u16>,

    /// Ports to which they are not
    #[arg(
        long = "excludeOutboundPorts",
        alias = "exclude-outbound-ports",
        value_name = "PORTS",
        default_value = ""
    )]
    #[arg(value_parser = ports)]
    exclude_outbound_ports: List<u16>,

    /// Inbound ports that are captured, or * for all
    #[arg(
        long = "includeInboundPorts",
        alias = "include-inbound-ports",
        value_name = "PORTS",
        default_value = "*"
    )]
    include_inbound_ports: Ports,

    /// Inbound ports that are not, where all others are
    #[arg(
        long = "excludeInboundPorts",
        alias = "exclude-inbound-ports",
        value_name = "PORTS",
        default_value = ""
    )]
    #[arg(value_parser = ports)]
    exclude_inbound_ports: List<u16>,
}

/// The sidecar itself.
#[derive(Debug, Args)]
pub(super) struct SidecarArgs {
    /// The image of the sidecar, which takes the arguments of Istio's [default: tidegate-sidecar of this version; with
    /// --istioAgent, Istio's]
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,

    /// Whether the image is Istio's, with its own agent and Envoy
    #[arg(
        long = "istioAgent",
        alias = "istio-agent",
        value_name = "BOOL",
        default_value_t = false
    )]
    #[arg(action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    istio_agent: bool,

    /// The image of the container that redirects connections [default: the sidecar's]
    #[arg(long = "initImage", alias = "init-image", value_name = "IMAGE")]
    init_image: Option<String>,

    /// When images are pulled
    #[arg(long = "imagePullPolicy", alias = "image-pull-policy", value_name = "POLICY")]
    #[arg(value_parser = ["Always", "IfNotPresent", "Never"])]
    pull_policy: Option<String>,

    /// Whether the sidecar is an init container that goes on, or a container beside the others
    #[arg(
        long = "nativeSidecar",
        alias = "native-sidecar",
        value_name = "BOOL",
        default_value_t = true
    )]
    #[arg(action = ArgAction::Set)]
    native: bool,

    /// The port that tells how workload and sidecar are; 0 for none
    #[arg(long = "statusPort", alias = "status-port", value_name = "PORT")]
    status_port: Option<u16>,

    /// Seconds before the sidecar is asked whether it is ready
    #[arg(long = "readinessInitialDelaySeconds", value_name = "SECONDS")]
    readiness_initial_delay: Option<u32>,

    /// Seconds between two times
    #[arg(long = "readinessPeriodSeconds", value_name = "SECONDS")]
    readiness_period: Option<u32>,

    /// How many failures in a row make it not ready
    #[arg(long = "readinessFailureThreshold", value_name = "COUNT")]
    readiness_failure_threshold: Option<u32>,

    /// The revision of the control plane
    #[arg(short, long)]
    revision: Option<String>,

    /// Istio's MeshConfig, of which `defaultConfig` counts
    #[arg(long = "meshConfigFile", alias = "mesh-config-file", value_name = "FILE")]
    mesh_config: Option<PathBuf>,
}

/// Runs the verb.
///
/// # Errors
/// A file cannot be read or written, or a workload asks for what cannot be.
pub fn run(args: &InjectArgs) -> Outcome<()> {
    let settings = settings(&args.traffic, &args.sidecar)?;
    let source = read(&args.filename)?;
    let injected =
        inject(&source, &settings).map_err(|error| told(&args.filename, &source, &error))?;
    for note in injected.notes {
        terminal::say(format_args!("note: {note}"));
    }
    match &args.output {
        None => terminal::print(injected.text),
        Some(file) => fs::write(file, injected.text).map_err(|error| at(file, error)),
    }
}

/// What sidecars are like where workloads do not say.
///
/// # Errors
/// The mesh config cannot be read.
pub(super) fn settings(traffic: &TrafficArgs, sidecar: &SidecarArgs) -> Outcome<Settings> {
    let mut settings = if sidecar.istio_agent { Settings::default() } else { Settings::own() };
    settings.capture.outbound = traffic.include_ip_ranges.clone();
    settings.capture.outbound_except = traffic.exclude_ip_ranges.clone();
    settings.capture.outbound_ports = traffic.include_outbound_ports.0.clone();
    settings.capture.outbound_ports_except = traffic.exclude_outbound_ports.0.clone();
    settings.capture.inbound = traffic.include_inbound_ports.clone();
    settings.capture.inbound_except = traffic.exclude_inbound_ports.0.clone();
    sidecar.apply(&mut settings)?;
    Ok(settings)
}

impl SidecarArgs {
    fn apply(&self, settings: &mut Settings) -> Outcome<()> {
        let set = |to: &mut u32, value: Option<u32>| *to = value.unwrap_or(*to);
        set(&mut settings.readiness.initial_delay, self.readiness_initial_delay);
        set(&mut settings.readiness.period, self.readiness_period);
        set(&mut settings.readiness.failure_threshold, self.readiness_failure_threshold);
        settings.status_port = self.status_port.unwrap_or(settings.status_port);
        settings.native = self.native;
        settings.revision.clone_from(&self.revision);
        settings.init_image.clone_from(&self.init_image);
        settings.pull_policy.clone_from(&self.pull_policy);
        if let Some(image) = &self.image {
            settings.image.clone_from(image);
        }
        let Some(file) = &self.mesh_config else { return Ok(()) };
        let text = read(file)?;
        match tidegate_yaml::parse(&text).as_slice() {
            [Ok(document)] => {
                with_mesh_config(&document.to_json(), settings).map_err(|why| at(file, why))
            }
            [Err(fault), ..] => Err(Failure::in_yaml(fault, &file.display().to_string(), &text)),
            _ => Err(at(file, "one document is expected: Istio's MeshConfig")),
        }
    }
}

/// The text of a file, or of standard input.
fn read(file: &Path) -> Outcome<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        io::stdin()
            .read_to_string(&mut text)
            .map_err(|error| at(Path::new("standard input"), error))?;
        return Ok(text);
    }
    fs::read_to_string(file).map_err(|error| at(file, error))
}

fn told(file: &Path, source: &str, error: &Error) -> Failure {
    match error {
        Error::Unreadable(fault) => Failure::in_yaml(fault, &file.display().to_string(), source),
        Error::Wrong(wrong) => at(file, wrong),
    }
}

fn at(file: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::new(format!("{}: {why}", file.display()))
}
