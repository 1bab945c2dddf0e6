//! Clusters: endpoints, resolution, balancing, connection pools.
