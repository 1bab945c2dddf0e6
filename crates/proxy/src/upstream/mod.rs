//! Clusters: endpoints, resolution, balancing, connection pools.

pub mod cluster;
pub mod dns;

pub use cluster::{Cluster, ClusterSlot, Endpoint, EndpointSet};
