//! Flags of `tidegate up`.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use tidegate_proxy::upstream::dns::ConnectTo;

use super::api::ApiFlags;
use super::logging::LogLevel;
use super::values::{
    AccessLogFile, AccessLogFormat, Labels, PortMap, dns_name, dns_server, existing_path,
    ip_address, socket_address, workers,
};

const EXAMPLES: &str = "\x1b[1mExamples:\x1b[0m
  # With origins to try it on, no network needed
  tidegate up --demo

  # Manifests from a folder, watched; what kubectl applies is kept beside them
  tidegate up -f ./manifests

  # Port 80 of a Gateway bound at 8000, everything on loopback
  tidegate up --gateway-listen 127.0.0.1 --port-map 80=8000

  # The gateway of a cluster: objects come from its API server, Secrets from the namespace
  tidegate up --kubeconfig ~/.kube/config --namespace istio-system

  # httpbin.org as a process on this machine answers it
  tidegate up --connect-to httpbin.org:80:127.0.0.1:8081

  # Lines of the access log as Istio 1.1 wrote them, to a file (SIGUSR1 reopens it)
  tidegate up --access-log /var/log/tidegate.log --access-log-format istio-1.1

\x1b[1mPorts:\x1b[0m
  6443 API (without --kubeconfig), 15000 admin, 15021 health, and what Gateways say.
  Without the right to bind 80 and 443 they are bound at 8080 and 8443.

\x1b[1mSignals:\x1b[0m
  SIGTERM, SIGINT  stop accepting, finish what is in flight, end; a second one ends at once
  SIGUSR1          reopen the access log";

/// Flags of `tidegate up`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct UpArgs {
    #[command(flatten)]
    pub api: ApiFlags,

    /// Serve no API here: objects come from the API server of this kubeconfig [without FILE: KUBECONFIG, else ~/.kube/config,
    /// else the service account of this Pod]
    #[arg(long, value_name = "FILE", num_args = 0..=1, help_heading = "Resources")]
    #[arg(conflicts_with_all = ["data_dir", "files", "demo", "api_listen", "api_token_file", "api_request_rate"])]
    pub kubeconfig: Option<Option<PathBuf>>,

    /// A context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME", requires = "kubeconfig", help_heading = "Resources")]
    pub context: Option<String>,

    /// With --kubeconfig, the gateway's namespace: its Secrets count [default: that of this Pod, else istio-system]
    #[arg(
        short = 'n',
        long,
        value_name = "NAMESPACE",
        requires = "kubeconfig",
        help_heading = "Gateway"
    )]
    #[arg(value_parser = dns_name)]
    pub namespace: Option<String>,

    /// With --kubeconfig, write no status, no events and no Lease: what is found out stands in the log
    #[arg(long, requires = "kubeconfig", help_heading = "Resources")]
    pub no_status: bool,

    /// Start built-in origins that answer as httpbin.org and www.google.com
    #[arg(long, help_heading = "Resources")]
    pub demo: bool,

    /// Where the admin interface listens: /config_dump, /stats, /clusters …
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:15000",
        help_heading = "Listening"
    )]
    #[arg(value_parser = socket_address)]
    pub admin_listen: SocketAddr,

    /// Where /healthz/ready is answered [default: port 15021 of the gateway's address]
    #[arg(long, value_name = "ADDRESS:PORT", help_heading = "Listening")]
    #[arg(value_parser = socket_address)]
    pub health_listen: Option<SocketAddr>,

    /// The address that Gateways' ports are bound at
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0", help_heading = "Listening")]
    #[arg(value_parser = ip_address)]
    pub gateway_listen: IpAddr,

    /// Gateway ports bound at other ports: 80=8080,443=8443; 0 lets the kernel choose
    #[arg(long, value_name = "PORT=PORT,…", help_heading = "Listening")]
    pub port_map: Option<PortMap>,

    /// Serve the Gateways whose selector these labels satisfy; app=istio-NAME comes with istio=NAME
    #[arg(
        long,
        value_name = "KEY=VALUE,…",
        default_value = "istio=ingressgateway",
        help_heading = "Gateway"
    )]
    pub gateway_labels: Labels,

    /// A mesh config, whose settings hold
    #[arg(long, value_name = "FILE", value_parser = existing_path, help_heading = "Gateway")]
    pub mesh_config: Option<PathBuf>,

    /// The gateway's certificate in a mesh, for ISTIO_MUTUAL: a folder with cert-chain.pem, key.pem and root-cert.pem
    #[arg(long, value_name = "DIR", value_parser = existing_path, help_heading = "Gateway")]
    pub workload_certs: Option<PathBuf>,

    /// Worker threads [default: one per core]
    #[arg(long, value_name = "N", value_parser = workers, help_heading = "Gateway")]
    pub workers: Option<NonZeroUsize>,

    /// Name servers to ask instead of the system's; may be repeated
    #[arg(long, value_name = "ADDRESS[:PORT]", value_parser = dns_server, help_heading = "Gateway")]
    pub dns_server: Vec<SocketAddr>,

    /// Connect to ADDR:PORT2 instead of HOST:PORT, as curl's option of this name; may be repeated
    #[arg(long, value_name = "HOST:PORT:ADDR:PORT2", help_heading = "Gateway")]
    pub connect_to: Vec<ConnectTo>,

    /// Where access-log lines go: a file, - for standard output, off for nowhere
    #[arg(long, value_name = "FILE", default_value = "-", help_heading = "Logs")]
    pub access_log: AccessLogFile,

    /// The text of access-log lines: istio (today's), istio-1.1, istio-1.0, envoy, or a format string of Envoy's
    #[arg(long, value_name = "FORMAT", default_value = "istio", help_heading = "Logs")]
    pub access_log_format: AccessLogFormat,

    /// The program's own log, on standard error: error, warn, info, debug, trace or directives
    #[arg(long, value_name = "LEVEL", default_value = "info", help_heading = "Logs")]
    pub log_level: LogLevel,
}
