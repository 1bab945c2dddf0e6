//! Counters, gauges and histograms with Envoy's names.
//!
//! A metric has one writer. Every worker writes its own *block* of a cluster, listener or connection
//! manager with plain relaxed loads and stores; whoever reads adds the blocks up. So the request path
//! touches no cache line that another worker writes, and no lock: [`Registry`] is asked for a block when
//! configuration is applied, never on a request.
//!
//! What Envoy has and this has not, as nothing happens here that it would count: flow control by pausing (here a side is read when the other takes more), limits of
//! retries, active health checks, zone-aware and subset balancing, high priority, hot restart and watchdog metrics. Nor
//! are there `external.`/`internal.` copies of the response codes.
//!
//! A metric that is declared is counted: `written.rs` looks for the place.

mod blocks;
mod cell;
mod codes;
mod histogram;
mod metric;
mod queries;
mod refusals;
mod registry;
mod render;
mod totals;
mod units;
#[cfg(test)]
mod written;

pub use blocks::{
    AccessLogStats, CertificateStats, ClusterManagerStats, ClusterStats, CorsStats, DnsStats,
    EndpointStats, FaultStats, HttpInspectorStats, HttpStats, JwtStats, ListenerManagerStats,
    ListenerStats, LocalRateLimitStats, MembershipStats, OutlierStats, RbacShadowStats, RbacStats,
    SdsStats, ServerStats, TcpStats, TlsInspectorStats,
};
pub use cell::{Counter, Gauge, Held};
pub use codes::{ResponseClasses, ResponseCodes};
pub use histogram::{Histogram, HistogramSum};
pub use metric::{Block, Definition, Metric};
pub use refusals::EgressStats;
pub use registry::{Registry, Scope, Stats};
pub use render::{Filter, Kind, Output, render};
