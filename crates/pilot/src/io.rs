//! What goes into a pilot and what comes out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_api::{Object, ObjectKey};
use tidegate_xds::{Change, Doubtful, Rejection, ResourceType, Unfetched};

use crate::sidecar::name_table::NameChange;
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
    /// An issuer of [`crate::Pilot::issuers`] was asked where its keys are: their address, or why that is not known.
    Discovered {
        /// Its address, as objects write it.
        issuer: Arc<str>,
        /// Where its keys are.
        keys: Result<String, String>,
    },
    /// What the proxy finds wrong with secrets of xDS now, by name: all of them.
    Faulty(BTreeMap<Arc<str>, FaultySecret>),
    /// What the data plane cannot fetch, in place of what was said of that before.
    Unfetched(UnfetchedKeys),
    /// The object was written in a form that does not decode or validate: its last good form serves on.
    Invalid {
        /// Which object.
        key: ObjectKey,
        /// `metadata.generation` of the refused form.
        generation: i64,
        /// What is wrong, one entry per field.
        errors: Vec<String>,
        /// Of a policy of the security API: the labels of whom it is about, where the refused form tells
        /// ([`tidegate_api::istio::policy::selected`]).
        selector: Option<BTreeMap<String, String>>,
    },
}

/// A secret that the proxy finds something wrong with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultySecret {
    /// The field that is wrong.
    pub path: String,
    /// What is wrong.
    pub reason: String,
    /// What is served.
    pub serves: Serves,
}

/// What is served of something that has a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    /// Nothing.
    Nothing,
    /// The form before.
    Before,
    /// It is, all the same, as there is nothing better.
    Itself,
}

impl FaultySecret {
    /// The secrets among what subscribers refuse, or serve although something is wrong with it; by name.
    pub fn among<'r>(
        rejected: impl IntoIterator<Item = &'r Rejection>,
        doubtful: impl IntoIterator<Item = &'r Doubtful>,
    ) -> BTreeMap<Arc<str>, Self> {
        let doubtful = doubtful.into_iter().filter(|d| d.kind == ResourceType::Secret);
        let doubtful = doubtful.map(|doubtful| {
            let Doubtful { name, path, reason, .. } = doubtful.clone();
            (name, Self { path, reason, serves: Serves::Itself })
        });
        let rejected = rejected.into_iter().filter(|r| r.kind == ResourceType::Secret);
        let rejected = rejected.map(|rejection| {
            let Rejection { name, path, reason, serves_on, .. } = rejection.clone();
            let serves = if serves_on { Serves::Before } else { Serves::Nothing };
            (name, Self { path, reason, serves })
        });
        // What is wrong with the newest form is told, and not that the one before it expires meanwhile.
        doubtful.chain(rejected).collect()
    }
}

/// Keys of tokens that the data plane cannot fetch: by their address, why, and what follows from it, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnfetchedKeys(pub(crate) BTreeMap<String, String>);

impl UnfetchedKeys {
    /// Those that subscribers report.
    pub fn among<'r>(reported: impl IntoIterator<Item = &'r Unfetched>) -> Self {
        let words = |keys: &Unfetched| {
            let rest = if keys.serves_on {
                "those of before serve on"
            } else {
                "tokens that need them are refused"
            };
            (keys.uri.clone(), format!("{}; {rest}", keys.reason))
        };
        Self(reported.into_iter().map(words).collect())
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
    /// Secrets of xDS of which a new form was not given to the proxy, as it lacks what is taken from it: once for each form.
    pub withheld: Vec<Arc<str>>,
    /// Secrets of xDS that are not there: why, in words; `None` for those that nobody takes any more. What was said of one
    /// that comes holds until the proxy has it.
    pub lacking: Vec<(Arc<str>, Option<String>)>,
    /// Names that mean something else than before to a workload that asks its sidecar for them (`Options::captures_dns`): with
    /// all before, the table that its queries are answered from.
    pub names: Vec<NameChange>,
    /// What happened to objects and no condition says.
    pub remarks: Vec<Remark>,
    /// Objects of this batch that `change` (with everything before it) brings into force, and others whose
    /// [`crate::status::Standing`] differs with it, each with its generation: what they stand for is so once every
    /// worker serves the generation that `change` is published as.
    pub applied: Vec<(ObjectKey, i64)>,
    /// How much was compiled, whether or not its bytes came out different.
    pub compiled: Compiled,
    /// Of how many objects it was found out what is to be told, whether or not that came out different.
    pub accounts: usize,
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
