//! TLS end to end: the proxy in this process, clients and origins of other makes.

#[path = "tls/clients.rs"]
mod clients;
#[path = "tls/downstream.rs"]
mod downstream;
#[path = "tls/rbac.rs"]
mod rbac;
#[path = "tls/rotation.rs"]
mod rotation;
#[path = "tls/scan.rs"]
mod scan;
#[path = "tls/sds.rs"]
mod sds;
#[path = "tls/setup.rs"]
mod setup;
#[path = "tls/staple.rs"]
mod staple;
#[path = "tls/updates.rs"]
mod updates;
#[path = "tls/upstream.rs"]
mod upstream;
