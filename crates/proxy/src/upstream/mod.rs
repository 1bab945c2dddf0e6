//! Clusters: endpoints, resolution, balancing, connection pools.

pub mod balance;
pub mod cluster;
mod counted;
pub mod dialled;
pub mod direct;
pub mod discovery;
pub mod dns;
pub mod dynamic;
pub mod endpoints;
pub mod fault;
pub mod incident;
mod levels;
pub mod limits;
pub mod local;
pub mod membership;
pub mod multiplex;
pub mod original;
pub mod outlier;
pub mod owned;
pub mod placement;
pub mod pool;
pub mod proxy_header;
mod recent;
pub mod sharing;
pub mod slow_start;
pub mod source;
pub mod unresolved;
pub mod wrong_tls;

pub use cluster::{Cluster, ClusterSlot, Endpoint, EndpointSet};
pub use local::{LocalCluster, LocalClusters};
