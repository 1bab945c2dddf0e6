//! Istio's networking API, in our own types and words.
//!
//! Field names are the camelCase names of Istio's API; protobuf's snake_case spelling is read as well
//! (see [`crate::schema`]). Every doc comment on a field is what `kubectl explain` prints.

pub mod destination_rule;
pub mod gateway;
pub mod host;
mod protocol;
mod rules;
pub mod service_entry;
mod string_match;
pub mod virtual_service;

#[cfg(test)]
mod testing;

pub use destination_rule::DestinationRule;
pub use gateway::Gateway;
pub use protocol::Protocol;
pub use service_entry::{ServiceEntry, WorkloadEntry};
pub use string_match::StringMatch;
pub use virtual_service::VirtualService;
