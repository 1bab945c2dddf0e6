//! Flags of `tidegate sidecar`, and those that it shares with `tidegate run`.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use tidegate_capture::Mode;
use tidegate_proxy::upstream::dns::ConnectTo;

use super::logging::LogLevel;
use super::values::{
    AccessLogFile, AccessLogFormat, DnsListen, Labels, RunAs, dns_name, dns_server, existing_path,
    ip_address, socket_address, workers,
};

const EXAMPLES: &str = "\x1b[1mExamples:\x1b[0m
  # In the network namespace of a workload: capture what it sends, and carry it
  tidegate capture apply --include-ip-ranges '*' --include-inbound-ports '*'
  tidegate sidecar -f ./manifests --namespace default --labels app=sleep

  # What an API server has, for the workload that a Pod there describes
  tidegate sidecar --kubeconfig ~/.kube/config --namespace default --pod sleep

  # The same with its DNS queries, so that TCP services on one port are told apart by name
  tidegate capture apply --include-ip-ranges '*' --include-inbound-ports '*' --redirect-dns
  tidegate sidecar -f ./manifests --labels app=sleep --redirect-dns

  # What no object describes is refused, unless the mesh config says otherwise
  tidegate sidecar -f ./manifests --mesh-config mesh.yaml

  # With the addresses of its clients, which a redirect would hide from the workload
  tidegate capture apply --include-ip-ranges '*' --include-inbound-ports '*' -m TPROXY
  tidegate sidecar -f ./manifests --labels app=sleep --interception-mode TPROXY

  # As another group, whose connections are not captured: capture apply --proxy-gid 2000
  tidegate sidecar -f ./manifests --run-as 0:2000

\x1b[1mPorts:\x1b[0m
  15001 what the workload sends, 15006 what comes to it, as captured; 15053 its DNS queries;
  15000 admin, 15021 health, 15020 health, counters and the workload's probes, 15090 counters

\x1b[1mSignals:\x1b[0m
  SIGTERM, SIGINT  stop accepting, finish what is in flight, end; a second one ends at once
  SIGUSR1          reopen the access log";

/// Flags of `tidegate sidecar`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct SidecarArgs {
    #[command(flatten)]
    pub proxy: ProxyFlags,

    /// Addresses of the workload; may be repeated [default: those of this machine's interfaces, but for loopback]
    #[arg(long, value_name = "ADDRESS", value_parser = ip_address, help_heading = "Workload")]
    pub address: Vec<IpAddr>,

    /// The user and group to run as once all is bound that root binds: one whose connections are not captured [default: 1337; with
    /// --interception-mode TPROXY 0:1337]
    #[arg(long, value_name = "UID[:GID]", help_heading = "Workload")]
    pub run_as: Option<RunAs>,

    /// Where the admin interface listens: /config_dump, /stats, /clusters …
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:15000",
        help_heading = "Listening"
    )]
    #[arg(value_parser = socket_address)]
    pub admin_listen: SocketAddr,

    /// Where /healthz/ready is answered [default: port 15021 of every address]
    #[arg(long, value_name = "ADDRESS:PORT", help_heading = "Listening")]
    #[arg(value_parser = socket_address)]
    pub health_listen: Option<SocketAddr>,

    /// Where /healthz/ready, /stats/prometheus and the probes of injected Pods are answered [default: port 15020 of every address]
    #[arg(long, value_name = "ADDRESS:PORT", help_heading = "Listening")]
    #[arg(value_parser = socket_address)]
    pub status_listen: Option<SocketAddr>,

    /// Where /stats/prometheus is answered [default: port 15090 of every address]
    #[arg(long, value_name = "ADDRESS:PORT", help_heading = "Listening")]
    #[arg(value_parser = socket_address)]
    pub metrics_listen: Option<SocketAddr>,

    /// Where the workload's DNS queries are answered, off for nowhere [default: port 15053 of loopback, where capture apply
    /// --redirect-dns leads them]. Hosts of ServiceEntries without an address have one of their own there
    #[arg(long, value_name = "ADDRESS:PORT", num_args = 0.., help_heading = "Listening")]
    pub dns_listen: Vec<DnsListen>,

    /// The workload asks nobody else for names (capture apply --redirect-dns): connections for a host that has an address of its own
    /// here are told by that address, and what is dialled elsewhere is not led to whoever has its port
    #[arg(long, help_heading = "Listening")]
    pub redirect_dns: bool,

    /// Where access-log lines go: a file, - for standard output, off for nowhere
    #[arg(long, value_name = "FILE", default_value = "-", help_heading = "Logs")]
    pub access_log: AccessLogFile,
}

/// What is said of a workload and of the proxy beside it.
#[derive(Clone, Debug, Args)]
pub struct ProxyFlags {
    /// Manifests: files, or folders with their sub-folders; watched for changes
    #[arg(short = 'f', long = "filename", value_name = "PATH", num_args = 1.., help_heading = "Resources")]
    #[arg(value_parser = existing_path, conflicts_with_all = ["kubeconfig", "context"])]
    pub files: Vec<PathBuf>,

    /// Without manifests: the kubeconfig of the API server that has them [default: KUBECONFIG, else ~/.kube/config, else the
    /// service account of this Pod, else that of `tidegate up`]
    #[arg(long, value_name = "FILE", help_heading = "Resources")]
    pub kubeconfig: Option<PathBuf>,

    /// A context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME", help_heading = "Resources")]
    pub context: Option<String>,

    /// A mesh config, whose settings hold
    #[arg(long, value_name = "FILE", value_parser = existing_path, help_heading = "Resources")]
    pub mesh_config: Option<PathBuf>,

    /// The workload's namespace: it sees what is exported there
    #[arg(
        short = 'n',
        long,
        value_name = "NAMESPACE",
        default_value = "default",
        help_heading = "Workload"
    )]
    #[arg(value_parser = dns_name)]
    pub namespace: String,

    /// The workload's name [default: this machine's, or that of the command that is run, with a number]. With an API server, labels and
    /// addresses of a sidecar's workload are those of its Pod where no flag says them
    #[arg(long, value_name = "NAME", value_parser = dns_name, help_heading = "Workload")]
    pub pod: Option<String>,

    /// The workload's labels: rules and policies select by them
    #[arg(short = 'l', long, value_name = "KEY=VALUE,…", help_heading = "Workload")]
    pub labels: Option<Labels>,

    /// The workload's service account, as its admin interface tells it
    #[arg(long, value_name = "NAME", default_value = "default", help_heading = "Workload")]
    #[arg(value_parser = dns_name)]
    pub service_account: String,

    /// The workload's certificate in a mesh, for ISTIO_MUTUAL: a folder with cert-chain.pem, key.pem and root-cert.pem
    #[arg(long, value_name = "DIR", value_parser = existing_path, help_heading = "Workload")]
    pub workload_certs: Option<PathBuf>,

    /// How inbound connections are led to the proxy, as capture apply -m has it: REDIRECT, or TPROXY, by which the workload sees its
    /// clients' own addresses [default: REDIRECT]
    #[arg(long, value_name = "MODE", help_heading = "Workload")]
    pub interception_mode: Option<Mode>,

    /// Worker threads [default: one per core]
    #[arg(long, alias = "concurrency", value_name = "N", value_parser = workers, help_heading = "Proxy")]
    pub workers: Option<NonZeroUsize>,

    /// Name servers to ask instead of the system's; may be repeated
    #[arg(long, value_name = "ADDRESS[:PORT]", value_parser = dns_server, help_heading = "Proxy")]
    pub dns_server: Vec<SocketAddr>,

    /// Connect to ADDR:PORT2 instead of HOST:PORT, as curl's option of this name; may be repeated
    #[arg(long, value_name = "HOST:PORT:ADDR:PORT2", help_heading = "Proxy")]
    pub connect_to: Vec<ConnectTo>,

    /// The text of access-log lines: istio (today's), istio-1.1, istio-1.0, envoy, or a format string of Envoy's
    #[arg(long, value_name = "FORMAT", default_value = "istio", help_heading = "Logs")]
    pub access_log_format: AccessLogFormat,

    /// The program's own log, on standard error: error, warn, info, debug, trace or directives [default: info, beside a
    /// command warn]
    #[arg(long, value_name = "LEVEL", help_heading = "Logs")]
    pub log_level: Option<LogLevel>,
}

impl ProxyFlags {
    /// How inbound connections are led to the proxy.
    pub fn mode(&self) -> Mode {
        self.interception_mode.unwrap_or_default()
    }
}
