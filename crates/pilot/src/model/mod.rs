//! Istio's semantics without wire types: what objects mean, who wins, what refers to what.

pub mod age;
pub mod credentials;
pub mod delegate;
pub mod destination_rule;
pub mod endpoints;
pub mod gateway;
pub mod host;
pub mod key;
pub mod merge;
pub mod names;
pub mod policy;
pub mod protocol;
pub mod registry;
pub mod rule;
pub mod service;
pub mod subnet;
pub mod tls;
pub mod virtual_service;
pub mod visibility;
