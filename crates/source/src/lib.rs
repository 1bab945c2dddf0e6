//! Objects in: files, the embedded store, a cluster. One stream of changes; all I/O is here.

use std::sync::Arc;

use tidegate_api::{Object, ObjectKey};

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
    },
    /// Everything that was there at the start has been told.
    Synced,
}
