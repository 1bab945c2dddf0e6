//! What goes into a pilot and what comes out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_api::{Object, ObjectKey};
use tidegate_xds::{Change, Rejection, ResourceType};

use crate::status::StatusUpdate;

/// One thing that happened to the set of objects.
#[derive(Clone, Debug)]
pub enum Input {
    /// The object is new or different, and valid.
    Apply(Arc<Object>),
    /// The object is gone.
    Delete(ObjectKey),
    /// A file of [`crate::Pilot::files`] was read, or cannot be: its content, or why.
    File {
        /// Its name, as objects write it.
        name: Arc<str>,
        /// What is in it.
        content: Result<Arc<[u8]>, String>,
    },
    /// The secrets of xDS that the proxy refuses now, by name: all of them.
    Refused(BTreeMap<Arc<str>, RefusedSecret>),
    /// The object was written in a form that does not decode or validate: its last good form serves on.
    Invalid {
        /// Which object.
        key: ObjectKey,
        /// `metadata.generation` of the refused form.
        generation: i64,
        /// What is wrong, one entry per field.
        errors: Vec<String>,
    },
}

/// A secret that the proxy refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedSecret {
    /// The field that is wrong.
    pub path: String,
    /// What is wrong.
    pub reason: String,
    /// Whether the one before serves on.
    pub serves_on: bool,
}

impl RefusedSecret {
    /// The secrets among what a subscriber refuses, by name.
    pub fn among<'r>(
        rejections: impl IntoIterator<Item = &'r Rejection>,
    ) -> BTreeMap<Arc<str>, Self> {
        let secrets = rejections.into_iter().filter(|r| r.kind == ResourceType::Secret);
        let refused = secrets.map(|rejection| {
            let Rejection { name, path, reason, serves_on, .. } = rejection.clone();
            (name, Self { path, reason, serves_on })
        });
        refused.collect()
    }
}

/// What follows from a batch of inputs.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// What changes for the proxy; holds nothing that the proxy already has.
    pub change: Change,
    /// Objects whose conditions changed.
    pub status: Vec<StatusUpdate>,
    /// Secrets that may be more or less to those who take them than before, or that others take: what each is now
    /// [`crate::Pilot::secret_use`] tells.
    pub secrets: BTreeSet<ObjectKey>,
    /// What happened to objects and no condition says.
    pub remarks: Vec<Remark>,
    /// Objects of this batch that `change` (with everything before it) brings into force, and others whose
    /// [`crate::status::Standing`] differs with it, each with its generation: what they stand for is so once every
    /// worker serves the generation that `change` is published as.
    pub applied: Vec<(ObjectKey, i64)>,
    /// How much was compiled, whether or not its bytes came out different.
    pub compiled: Compiled,
}

/// What happened to an object, to be told as an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// Which object.
    pub key: ObjectKey,
    /// What it is, in one word of CamelCase.
    pub reason: &'static str,
    /// The same in words, with what to do.
    pub message: String,
}

/// Units of compilation: the measure of what a change costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compiled {
    /// Listeners.
    pub listeners: usize,
    /// Route configurations without their virtual hosts.
    pub route_configurations: usize,
    /// Virtual hosts.
    pub virtual_hosts: usize,
    /// Clusters.
    pub clusters: usize,
    /// Load assignments.
    pub load_assignments: usize,
    /// Secrets.
    pub secrets: usize,
}

impl Compiled {
    /// All units.
    #[must_use]
    pub fn total(&self) -> usize {
        self.listeners
            + self.route_configurations
            + self.virtual_hosts
            + self.clusters
            + self.load_assignments
            + self.secrets
    }
}
