//! Resource kinds as Rust types: Istio's and the few core Kubernetes kinds that matter, in our own words.
//!
//! One place per question: [`kinds`] says which kinds exist and how they are named on the wire; [`object`]
//! is what travels between source, pilot and API server; one file per kind under `istio` and `kube` holds
//! its type, its documentation (what `kubectl explain` prints) and its validation.

pub mod kinds;
pub mod object;

pub use kinds::{Kind, KindInfo, Scope};
pub use object::{Object, ObjectKey, Origin, Spec};
