//! A Kubernetes-style API: REST surface over a store of versioned objects.
//!
//! [`store`] holds the objects: in memory for every read, in one file for what was answered. [`rest`] serves
//! them to kubectl, client-go and their like on loopback, with TLS and a token. One table of kinds
//! ([`tidegate_api::KINDS`]) says what is served; what a kind needs of its own here (defaults, columns) is an
//! exhaustive match on [`tidegate_api::Kind`], so that adding a kind does not compile without it.

mod clock;
mod ids;
pub mod rest;
pub mod store;

pub use rest::{
    CommandOutput, ContainerCommand, Containers, LogLines, LogOptions, NoContainers, Server,
};
pub use store::Store;
