//! Flags of `tidegate run`.

use clap::Args;
use ipnet::Ipv4Net;
use tidegate_capture::{Dns, Options, Ports, Ranges, some_ranges};

use super::capture::{List, ports};
use super::sidecar::ProxyFlags;
use super::values::AccessLogFile;

const EXAMPLES: &str = "\x1b[1mExamples:\x1b[0m
  # One request of a workload, as resources let it out
  sudo tidegate run -f ./manifests -- curl -sS http://httpbin.org/headers

  # A shell whose connections are captured, as a workload with labels
  sudo tidegate run -f ./manifests --namespace default --labels app=sleep -- bash

  # As what the API has says; it shows the command as a Pod as long as it runs
  sudo tidegate run --kubeconfig ~/.kube/config --pod sleep --labels app=sleep -- bash

  # Only what goes to one range is captured; the rest is the command's own
  sudo tidegate run -f ./manifests --include-ip-ranges 10.0.0.0/8 -- sleep 1

\x1b[1mStatus:\x1b[0m
  That of the command; 128 and the number of the signal that ended it; 127 where it is not found, 126 where it cannot be
  run, 125 where Tidegate cannot do its part.";

/// Flags of `tidegate run`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArgs {
    #[command(flatten)]
    pub proxy: ProxyFlags,

    /// Ranges of addresses to which outbound connections are captured, or * for all
    #[arg(long, value_name = "RANGES", default_value = "*", help_heading = "Capture")]
    pub include_ip_ranges: Ranges,

    /// Ranges to which they are not
    #[arg(long, value_name = "RANGES", default_value = "", hide_default_value = true)]
    #[arg(value_parser = some_ranges, help_heading = "Capture")]
    pub exclude_ip_ranges: Ranges,

    /// Ports to which outbound connections are not captured
    #[arg(long, value_name = "PORTS", default_value = "", hide_default_value = true)]
    #[arg(value_parser = ports, help_heading = "Capture")]
    pub(super) exclude_outbound_ports: List<u16>,

    /// Inbound ports that are captured, or * for all
    #[arg(long, value_name = "PORTS", default_value = "*", help_heading = "Capture")]
    pub include_inbound_ports: Ports,

    /// Where the command's network gets its addresses: the first four that are free
    #[arg(long, value_name = "RANGE", default_value = "198.18.0.0/16", help_heading = "Network")]
    pub network: Ipv4Net,

    /// Leave the command with this machine alone: nothing is forwarded to other networks
    #[arg(long, help_heading = "Network")]
    pub no_forwarding: bool,

    /// Where access-log lines go: a file, - for standard output, off for nowhere
    #[arg(long, value_name = "FILE", default_value = "/dev/stderr", help_heading = "Logs")]
    pub access_log: AccessLogFile,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<std::ffi::OsString>,
}

impl RunArgs {
    /// What is captured.
    pub fn capture(&self) -> Options {
        Options {
            outbound: self.include_ip_ranges.clone(),
            outbound_except: self.exclude_ip_ranges.clone(),
            outbound_ports_except: self.exclude_outbound_ports.0.clone(),
            inbound: self.include_inbound_ports.clone(),
            dns: Dns::All,
            mode: self.proxy.mode(),
            ..Options::default()
        }
    }
}
