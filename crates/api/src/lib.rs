//! Resource kinds as Rust types: Istio's and the few core Kubernetes kinds that matter, in our own words.
//!
//! One place per question:
//!
//! | question | place |
//! |---|---|
//! | Which kinds exist, and how are they named on the wire? | [`kinds`] |
//! | What does a kind hold, what does it mean, what may it say? | one file per kind under [`istio`], [`gateway_api`] and [`kube`] |
//! | What does an object have to look like? | [`schema`], made from those types |
//! | What is stored of what a client sent? | [`admission`], then [`kube::defaults`] |
//! | What does an object say? | [`Object::decode`], which gives the typed [`Object`] of [`object`] |
//!
//! An object may be well-formed and still say something wrong: [`admit`] judges the shape, so that the
//! object can be stored; [`Object::decode`] judges the rest, so that nothing wrong is compiled.

pub mod admission;
pub mod base64;
pub mod decode;
pub mod error;
pub mod gateway_api;
pub mod istio;
pub mod kinds;
pub mod kube;
pub mod metadata;
pub mod object;
pub mod scalar;
pub mod schema;
pub mod validation;

pub use admission::{FieldValidation, admit};
pub use decode::{Decoded, Examined};
pub use error::{FieldError, Reason, Warning, WarningKind, shortened};
pub use kinds::{KINDS, Kind, KindInfo, Scope};
pub use metadata::ObjectMeta;
pub use object::{Object, ObjectKey, Origin, SOURCE_ANNOTATION, Spec};
