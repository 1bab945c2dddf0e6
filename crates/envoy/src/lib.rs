//! Envoy's types, descriptor pool, protobuf JSON and the capability table. No logic.
//!
//! - [`types`] are the messages as prost structs, generated from the committed descriptor set
//!   (`protos.txt` lists the files); [`v3`] gives short names to the packages that are used most.
//! - [`pool()`] describes the same types, and more, for reflection: JSON, config dumps, EnvoyFilter.
//! - [`json`] is Envoy's JSON in both directions.
//! - [`capability`] says what the proxy does with each type and field, [`variables`] which variables header values may have, [`suites`]
//!   which suites and groups TLS may have.
//! - [`mark`] has the marks that our control plane leaves for our data plane.
//!
//! prost drops fields that it does not know, and an `Any` may hold a type that nobody here knows.
//! So whoever passes on what somebody else sent keeps the bytes, and never encodes the struct again.

mod any;
pub mod capability;
mod encode;
pub mod fuzzing;
pub mod json;
pub mod mark;
mod path;
pub mod suites;
pub mod types;
pub mod v3;
pub mod variables;

pub use any::{AnyError, any, describe, dynamic, pool, type_name, type_url, unpack};
pub use encode::encode;
pub use prost;
pub use prost_reflect;
pub use prost_types;
