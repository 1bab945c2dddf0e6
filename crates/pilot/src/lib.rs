//! Resources in, xDS out: pure, incremental, no I/O.
//!
//! [`Pilot::apply`] takes what happened to objects and answers what changes for the proxy (a
//! [`tidegate_xds::Change`]) and for the objects' status. It knows no sockets, no files and no clock; the
//! same inputs give the same outputs.
//!
//! - [`model`] is Istio's semantics without wire types: ages, hosts, merging of Gateways, the registry.
//! - [`sidecar`] decides which listeners and virtual hosts the proxy beside a workload has.
//! - [`compile`] writes Envoy's messages with Istio's names and settings.
//! - `engine` keeps the index from objects to the resources that they feed, and recompiles only those: a
//!   listener, a virtual host, the clusters of one host, their endpoints.
//! - [`expand`] writes out what annotations stand for.
//! - [`patch`] changes what was compiled as EnvoyFilters say.
//! - [`status`] says of each object whether it was compiled without fault and whether what it names exists.
//!
//! An object that is wrong takes down itself alone: whoever decodes objects sends [`Input::Invalid`], the
//! last good form stays in the model, and the reason stands in the status.
//!
//! Not served yet, and told in status where it is used: issuers of tokens of whom only the name is written. What a sidecar
//! gets is compiled from scratch on every change of objects.

pub mod compile;
mod engine;
pub mod expand;
mod io;
pub mod mesh;
pub mod model;
mod options;
pub mod origins;
pub mod patch;
pub mod sidecar;
pub mod status;

pub use engine::Pilot;
pub use io::{Compiled, FaultySecret, Input, Output, Remark, Serves, UnfetchedKeys};
pub use options::{
    AccessLog, GatewayService, InboundPolicy, Interception, Judge, Options, OutboundPolicy,
    PathNormalization, ProxyKind, Topology, Workload,
};
