//! Resource kinds as Rust types: Istio's and the few core Kubernetes kinds that matter, in our own words.
//!
//! One place per question: [`kinds`] says which kinds exist and how they are named on the wire; [`object`]
//! is what travels between source, pilot and API server; one file per kind under [`istio`] and [`kube`]
//! holds its type, its documentation (what `kubectl explain` prints) and its validation.

pub mod admission;
pub mod base64;
pub mod decode;
pub mod error;
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
pub use error::{FieldError, Reason, Warning, WarningKind};
pub use kinds::{KINDS, Kind, KindInfo, Scope};
pub use metadata::ObjectMeta;
pub use object::{Object, ObjectKey, Origin, Spec};
