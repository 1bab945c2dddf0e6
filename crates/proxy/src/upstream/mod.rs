//! Clusters: endpoints, resolution, balancing, connection pools.

pub mod balance;
pub mod cluster;
mod counted;
pub mod dialled;
pub mod discovery;
pub mod dns;
pub mod local;
pub mod membership;
pub mod multiplex;
pub mod placement;
pub mod pool;

pub use cluster::{Cluster, ClusterSlot, Endpoint, EndpointSet};
pub use local::{LocalCluster, LocalClusters};
