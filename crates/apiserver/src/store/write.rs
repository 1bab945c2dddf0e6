//! What may be asked of the store's writer, and why it refuses.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value};
use tidegate_api::{ObjectKey, Origin};
use tokio::sync::oneshot;

use super::events::Note;
use super::status::Verdict;
use super::{Decoded, Entry};

/// An object to be stored. `metadata.resourceVersion` is the store's to set; everything else is kept as given.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Which object it is.
    pub key: ObjectKey,
    /// Its JSON; `apiVersion` may be present and is not kept.
    pub value: Map<String, Value>,
    /// Its typed form, or what is wrong with what it says: such an object is stored, and readers of typed objects
    /// are told that it is invalid while its last good form serves on.
    pub decoded: Decoded,
}

/// What must hold of the object at the moment of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// There is none, and its namespace exists and is not being deleted.
    Absent,
    /// It stands at this revision.
    Revision(u64),
}

/// Why a write was refused. Nothing has changed then, except where [`WriteError::Storage`] says otherwise.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    /// An object of that name exists.
    #[error("it already exists")]
    AlreadyExists {
        /// Whether it is being deleted and waits for its finalizers.
        terminating: bool,
    },
    /// There is no such object.
    #[error("not found")]
    NotFound,
    /// The object has changed since it was read.
    #[error("it has been modified: it is at resourceVersion {current}")]
    Conflict {
        /// The revision at which it stands.
        current: u64,
    },
    /// The object is not the API's: edit it where it comes from.
    #[error("{}", place(.0))]
    ReadOnly(Origin),
    /// The object's namespace does not exist.
    #[error("its namespace does not exist")]
    NoNamespace,
    /// The object's namespace is being deleted.
    #[error("its namespace is being deleted")]
    NamespaceTerminating,
    /// The namespace still holds objects.
    #[error("it still holds objects")]
    NotEmpty,
    /// The write could not be made durable. Reads go on; the write may be tried again.
    #[error("the write could not be stored: {reason}")]
    Storage {
        /// Whether the disk is full.
        full: bool,
        /// What the operating system said.
        reason: String,
    },
    /// The store is shutting down.
    #[error("the store is shutting down")]
    Closed,
}

/// Where a read-only object is to be changed instead.
fn place(origin: &Origin) -> String {
    match origin {
        Origin::File { path, line } => {
            format!("it comes from {}:{line}: change it there, the file is watched", path.display())
        }
        Origin::Process => {
            "it shows this process itself and follows it: it cannot be written".into()
        }
        Origin::Api => "it is read-only".into(),
    }
}

/// Why a store could not be opened. Nothing has been changed then.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the directory.
    #[error("{} is in use by another process{}: stop that one, or give this one a data directory of its own",
        dir.display(), pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    InUse {
        /// The data directory.
        dir: PathBuf,
        /// The process that holds it, if it left its number.
        pid: Option<u32>,
    },
    /// The file was written by a later version.
    #[error("{} has format {found}, and this version reads {known}: start the version that wrote it, or \
        give another data directory; the file is left as it is", path.display())]
    Format {
        /// The store's file.
        path: PathBuf,
        /// The format it has.
        found: u64,
        /// The format that this version reads and writes.
        known: u64,
    },
    /// The file is not a store, or is damaged.
    #[error("{} cannot be used as a store: {reason}; it is left as it is: move it away to start with an \
        empty store", path.display())]
    Unusable {
        /// The store's file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file or directory could not be made or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
}

/// A write that somebody waits for: answered when it is durable.
#[derive(Debug)]
pub(super) enum Durable {
    Put {
        draft: Draft,
        expect: Expect,
    },
    Remove {
        key: ObjectKey,
        expect: Option<u64>,
    },
    /// Removes a namespace if nothing of the API's is left in it.
    RemoveNamespace {
        key: ObjectKey,
    },
}

/// A write of the process itself, which it would make again after a restart: it takes effect also while the
/// disk refuses writes, and reaches the disk with the next commit that succeeds.
#[derive(Debug)]
pub(super) enum Volatile {
    Overlay(super::overlay::Push),
    Status(Verdict),
    Record(Note),
    Confirm { key: ObjectKey, revision: u64 },
}

pub(super) type Answer = Result<Arc<Entry>, WriteError>;

#[derive(Debug)]
pub(super) enum Job {
    Durable(Durable, oneshot::Sender<Answer>),
    Volatile(Volatile, oneshot::Sender<()>),
    Close(oneshot::Sender<()>),
}
