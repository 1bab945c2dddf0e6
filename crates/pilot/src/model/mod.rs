//! Istio's semantics without wire types: what objects mean, who wins, what refers to what.

pub mod age;
pub mod authentication;
pub mod authorization;
pub mod credentials;
pub mod delegate;
pub mod destination_rule;
pub mod endpoints;
pub mod envoy_filter;
pub mod gateway;
pub mod host;
pub mod key;
pub mod locality;
pub mod merge;
pub mod names;
pub mod peers;
pub mod policy;
pub mod protocol;
pub mod registry;
pub mod rule;
pub mod service;
pub mod similar;
pub mod subnet;
pub mod tls;
pub mod vacancy;
pub mod virtual_service;
pub mod visibility;
