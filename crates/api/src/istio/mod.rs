//! Istio's networking, security, telemetry and extensions APIs, in our own types and words.
//!
//! Field names are the camelCase names of Istio's API; protobuf's snake_case spelling is read as well
//! (see [`crate::schema`]). Every doc comment on a field is what `kubectl explain` prints.

pub mod authorization_policy;
pub mod destination_rule;
pub mod envoy_filter;
pub mod gateway;
pub mod host;
pub mod peer_authentication;
pub mod policy;
mod protocol;
pub mod proxy_config;
pub mod request_authentication;
mod rules;
pub mod service_entry;
pub mod sidecar;
mod string_match;
pub mod telemetry;
pub mod traffic_extension;
pub mod virtual_service;
pub mod wasm_plugin;
pub mod workload_group;

#[cfg(test)]
mod definitions;
#[cfg(test)]
mod testing;

pub use authorization_policy::AuthorizationPolicy;
pub use destination_rule::DestinationRule;
pub use envoy_filter::EnvoyFilter;
pub use gateway::Gateway;
pub use peer_authentication::PeerAuthentication;
pub use protocol::Protocol;
pub use proxy_config::ProxyConfig;
pub use request_authentication::RequestAuthentication;
pub use rules::headers::{frames, is_field};
pub use service_entry::{ServiceEntry, WorkloadEntry};
pub use sidecar::Sidecar;
pub use string_match::StringMatch;
pub use telemetry::Telemetry;
pub use traffic_extension::TrafficExtension;
pub use virtual_service::VirtualService;
pub use wasm_plugin::WasmPlugin;
pub use workload_group::WorkloadGroup;
