//! Clusters: endpoints, resolution, balancing, connection pools.

pub mod cluster;

pub use cluster::{Cluster, ClusterSlot, Endpoint, EndpointSet};
