//! What the admin interface asks the rest of the proxy.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use serde_json::Value as Json;
use tidegate_xds::ResourceType;

use crate::egress::Denied;
use crate::remote::Remote;
use crate::tls::inventory::Inventory;
pub use crate::upstream::cluster::Locality;
pub use crate::upstream::outlier::Rates;

/// The running proxy, as the admin interface sees it. Every answer is a copy made for the caller; none may
/// wait for a worker.
pub trait State: Send + Sync + 'static {
    /// How far the process is.
    fn lifecycle(&self) -> Lifecycle;

    /// Whether every worker serves the configuration that was present at start. Stays true once it was.
    fn serves_initial_configuration(&self) -> bool;

    /// What never changes while the process runs.
    fn about(&self) -> About;

    /// The bootstrap: an encoded `envoy.config.bootstrap.v3.Bootstrap`.
    fn bootstrap(&self) -> Bytes;

    /// All resources of a type, in force or refused. Virtual hosts that are resources of their own are shown
    /// inside their route configuration.
    fn resources(&self, kind: ResourceType) -> Vec<Resource>;

    /// Brings counts up to date that nobody keeps while nobody asks.
    fn refresh_stats(&self);

    /// The clusters with their endpoints as they are balanced over now, DNS names resolved.
    fn clusters(&self) -> Vec<Cluster>;

    /// The listeners that are open.
    fn listeners(&self) -> Vec<Listener>;

    /// The certificates of every TLS context.
    fn certificates(&self) -> Vec<Inventory>;

    /// Egress that was denied, the latest first.
    fn denied(&self) -> Vec<Denied>;

    /// Lets listeners close; returns at once.
    fn drain_listeners(&self, drain: Drain);

    /// Opens access log files again; returns at once.
    fn reopen_logs(&self);

    /// Ends the process as SIGTERM does; returns at once.
    fn quit(&self);
}

/// How far the process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// Clusters wait for their first endpoints.
    PreInitializing,
    /// Listeners wait for their first routes and secrets.
    Initializing,
    /// Serving.
    Live,
    /// Serving what is open, accepting nothing new; or failed on purpose (`/healthcheck/fail`).
    Draining,
}

impl Lifecycle {
    /// `envoy.admin.v3.ServerInfo.State`
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PreInitializing => "PRE_INITIALIZING",
            Self::Initializing => "INITIALIZING",
            Self::Live => "LIVE",
            Self::Draining => "DRAINING",
        }
    }

    /// The value of `server.state`.
    pub(super) fn number(self) -> u64 {
        match self {
            Self::Live => 0,
            Self::Draining => 1,
            Self::PreInitializing => 2,
            Self::Initializing => 3,
        }
    }
}

/// What never changes while the process runs.
#[derive(Clone, Debug)]
pub struct About {
    /// Version of the program.
    pub version: String,
    /// When the process started.
    pub started: SystemTime,
    /// `envoy.config.core.v3.Node` as JSON; `Null` without one.
    pub node: Json,
    /// What the program was started with, by option: `command_line_options`.
    pub options: Json,
}

/// One xDS resource.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Its name.
    pub name: Arc<str>,
    /// Where it comes from.
    pub origin: Origin,
    /// The form in force, if there is one.
    pub accepted: Option<Accepted>,
    /// The last form that was refused, if that is newer.
    pub rejected: Option<Rejected>,
    /// Whether the form in force still waits for what it names.
    pub warming: bool,
}

/// Where a resource comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The bootstrap.
    Static,
    /// xDS.
    Dynamic,
}

/// A form of a resource that is in force.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Its version.
    pub version: String,
    /// When it was taken over.
    pub updated: SystemTime,
    /// The encoded message, without an `Any` around it.
    pub bytes: Bytes,
}

/// A form of a resource that was refused.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// Its version.
    pub version: String,
    /// When it was tried.
    pub attempted: SystemTime,
    /// What is wrong with it.
    pub reason: String,
    /// The encoded message.
    pub bytes: Bytes,
}

/// A cluster in force.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Its name.
    pub name: Arc<str>,
    /// Its `alt_stat_name`, if it has one.
    pub alias: Option<Arc<str>>,
    /// Its `eds_cluster_config.service_name`, if it has one.
    pub eds_service: Option<Arc<str>>,
    /// Whether it came by xDS.
    pub added_via_api: bool,
    /// Circuit breaker thresholds of the default priority.
    pub default_priority: Thresholds,
    /// Circuit breaker thresholds of the high priority.
    pub high_priority: Thresholds,
    /// With outlier detection, the success rates of the last interval, of answers and of connections, where there were any.
    pub outlier: Option<[Option<Rates>; 2]>,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// Circuit breaker thresholds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Connections.
    pub max_connections: u32,
    /// Requests that wait for a connection.
    pub max_pending_requests: u32,
    /// Requests under way.
    pub max_requests: u32,
    /// Retries under way.
    pub max_retries: u32,
}

impl Default for Thresholds {
    /// Envoy's defaults.
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_pending_requests: 1024,
            max_requests: 1024,
            max_retries: 3,
        }
    }
}

/// An endpoint as it is balanced over.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its address.
    pub address: Remote,
    /// The name that was resolved to it, or empty.
    pub hostname: String,
    /// Whether it gets requests.
    pub health: Health,
    /// Its success rates in percent in the last interval, of answers and of connections, where they count.
    pub success_rates: [Option<f64>; 2],
    /// Its weight.
    pub weight: u32,
    /// Where it is.
    pub locality: Locality,
    /// Its priority; 0 is used first.
    pub priority: u32,
}

/// Why an endpoint gets requests or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Failed its active health checks.
    pub failed_active: bool,
    /// Ejected by outlier detection.
    pub failed_outlier: bool,
    /// EDS says that it is unhealthy.
    pub failed_eds: bool,
    /// EDS says that it is degraded.
    pub degraded_eds: bool,
}

/// A listener that is open.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Its name.
    pub name: Arc<str>,
    /// The addresses that it is bound to, or that are handed on to it; at least one.
    pub addresses: Vec<Remote>,
}

/// How listeners are drained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drain {
    /// Tell clients first, and close when the drain time is over.
    pub graceful: bool,
    /// Only listeners with `traffic_direction: INBOUND`.
    pub inbound_only: bool,
    /// Drain connections but never close the listeners.
    pub skip_exit: bool,
}
