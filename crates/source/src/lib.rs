//! Objects in: files, the embedded store, a cluster. One stream of changes; all I/O is here.
//!
//! [`Change`] is what every source comes down to and what pilot takes in. [`Cluster`] follows an API server. [`Files`] reads manifests from
//! files and folders and follows them, [`NamedFiles`] those that objects name; [`Issuers`] asks issuers of tokens where their keys are. Which of several objects of one name counts is for whoever merges
//! the sources (the embedded API's store).

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_api::{Object, ObjectKey};

mod changes;
pub mod cluster;
pub mod files;
mod issuers;
mod named;
mod stored;

pub use changes::{Changes, Queue};
pub use cluster::Cluster;
pub use files::{Batch, FileChange, Files, Finding, WatchError};
pub use issuers::{Issuers, KeysAddress};
pub use named::{Content, NamedFiles};
pub use stored::{Decoded, decode};

/// One thing that happened to the set of objects.
#[derive(Clone, Debug)]
pub enum Change {
    /// The object is new or different, and valid.
    Apply(Arc<Object>),
    /// The object is gone.
    Delete(ObjectKey),
    /// The object was written in a form that does not decode or validate: its last good form serves on.
    Invalid {
        /// Which object.
        key: ObjectKey,
        /// `metadata.generation` of the refused form.
        generation: i64,
        /// What is wrong, one entry per field.
        errors: Vec<String>,
        /// Of a policy of the security API: the labels of whom it is about, where the refused form tells.
        selector: Option<BTreeMap<String, String>>,
    },
    /// Everything that was there at the start has been told.
    Synced,
}
