//! A Kubernetes-style API: REST surface over a store of versioned objects.
