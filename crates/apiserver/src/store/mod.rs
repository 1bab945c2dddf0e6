//! Versioned objects: one counter of revisions, one order of changes, one file.
//!
//! Every read is answered from memory. Every write goes through one thread ([`writer`]), which settles what
//! has piled up in one durable transaction and only then shows and answers it: what a reader sees, and
//! what a writer was told, survives `kill -9`. While the disk refuses writes, reads go on, and so do the
//! objects that the process itself shows.
//!
//! Three tiers make up what is visible: objects written through the API; objects that the process pushes in
//! ([`overlay`]: manifests and what shows the process itself), which are read-only; and status and events, which
//! the process writes about both. All of them share the one order. Of manifests the last good form is on disk
//! too: it is shown after a restart if the file says something wrong then.

mod bootstrap;
mod changes;
mod disk;
mod entry;
mod events;
pub(crate) mod generation;
mod kept;
mod log;
pub(crate) mod names;
mod overlay;
mod state;
mod status;
mod trial;
mod watch;
mod write;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;

use serde_json::Value;
use tidegate_api::{Kind, ObjectKey, Origin};
use tidegate_source::{Change, Queue};
pub use tidegate_source::{Changes, Decoded};
use tokio::sync::{mpsc, oneshot};

pub use entry::Entry;
pub use events::{Note, Tone};
pub use log::{Event, Expired};
pub(crate) use overlay::uid_of;
pub use overlay::{Hidden, Push, describe, is_own};
pub use status::{Condition, set_among};
pub use tidegate_api::SOURCE_ANNOTATION;
pub use watch::{Snapshot, Watch};
pub use write::{Draft, Expect, OpenError, WriteError};

use changes::change_of;
use disk::{Disk, Loaded, Opener, Table};
use events::Recorded;
use log::Window;
use state::{Standing, State};
use status::Verdict;
use write::{Answer, Durable, Job, Volatile};
use writer::Writer;

/// Writes that may wait for the writer; more wait outside, so that a slow disk is felt and not hidden.
const WAITING_WRITES: usize = 1_024;

/// How a store behaves.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Changes kept per kind for watches that start in the past.
    pub window_events: usize,
    /// Bytes of JSON that those changes may hold per kind.
    pub window_bytes: usize,
    /// The namespace in which a gateway of this process shows itself: besides `default` it is always there.
    pub system_namespace: Option<&'static str>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            window_events: 8_192,
            window_bytes: 16 << 20,
            system_namespace: Some("istio-system"),
        }
    }
}

/// An object of which the form that is shown is not known to be good, or is not the newest.
#[derive(Clone, Debug)]
pub struct Unsettled {
    /// The form that is shown.
    pub shown: Arc<Entry>,
    /// The last form that proved good, where that is another; see [`Store::confirm`].
    pub good: Option<Arc<Entry>>,
    /// What is wrong with a newer form in its file, which does not decode: one entry per field.
    pub errors: Vec<String>,
}

/// A handle of the store; clones are the same store. When the last handle goes the file is closed in the
/// background; [`Store::close`] closes it and waits.
#[derive(Clone, Debug)]
pub struct Store {
    state: Arc<RwLock<State>>,
    jobs: mpsc::Sender<Job>,
    permanent: bootstrap::Namespaces,
}

impl Store {
    /// Opens the store in `dir`, making both when they are not there. Reads every object: do it before serving.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]; a file that cannot be used is left as it is.
    pub fn open(dir: &Path, options: Options) -> Result<Self, OpenError> {
        Self::open_with(dir, options, Box::new(disk::open_file))
    }

    /// An empty store whose objects are gone with the process: for one that only serves what is pushed in.
    ///
    /// # Errors
    ///
    /// The thread that writes cannot be made.
    pub fn in_memory(options: Options) -> Result<Self, OpenError> {
        Self::start(Disk::in_memory()?, Path::new("(memory)"), options)
    }

    fn open_with(dir: &Path, options: Options, opener: Opener) -> Result<Self, OpenError> {
        Self::start(Disk::open(dir, opener)?, dir, options)
    }

    fn start(
        (disk, loaded): (Disk, Loaded),
        dir: &Path,
        options: Options,
    ) -> Result<Self, OpenError> {
        let window = Window { events: options.window_events, bytes: options.window_bytes };
        let mut state = load(loaded, window);
        let permanent = bootstrap::Namespaces::new(options.system_namespace);
        let unsaved = BTreeSet::from_iter(permanent.add_to(&mut state));
        let recorded = Recorded::load(state.all());
        let state = Arc::new(RwLock::new(state));
        let (jobs, waiting) = mpsc::channel(WAITING_WRITES);
        let writer = Writer { state: Arc::clone(&state), disk, unsaved, recorded };
        thread::Builder::new()
            .name("store".into())
            .spawn(move || writer.run(waiting))
            .map_err(|source| OpenError::Io { path: dir.to_owned(), source })?;
        Ok(Self { state, jobs, permanent })
    }

    /// Writes what is left, closes the file and lets the directory go. Later writes are refused; reads go on.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.jobs.send(Job::Close(done)).await.is_ok() {
            // An error means that another handle has closed it already.
            let _ = closed.await;
        }
    }

    /// Whether a namespace is always there, and cannot be deleted.
    pub(crate) fn is_permanent(&self, namespace: &str) -> bool {
        self.permanent.names().any(|name| name == namespace)
    }

    // === Reading ===

    /// The revision of the last change that can be seen.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.state().revision()
    }

    /// One object.
    #[must_use]
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<Entry>> {
        self.state().get(key).cloned()
    }

    /// The objects of a kind, in one namespace or in all.
    #[must_use]
    pub fn list(&self, kind: Kind, namespace: Option<&str>) -> Snapshot {
        self.state().list(kind, namespace)
    }

    /// The objects of a kind as they stood at `revision`.
    ///
    /// # Errors
    ///
    /// [`Expired`] when the window does not reach back so far.
    pub fn list_at(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        revision: u64,
    ) -> Result<Snapshot, Expired> {
        self.state().list_at(kind, namespace, revision)
    }

    /// Follows the changes of a kind after `revision`.
    #[must_use]
    pub fn watch(&self, kind: Kind, revision: u64) -> Watch {
        let changed = self.state_mut().subscribe(kind);
        Watch::new(self.clone(), kind, revision, changed)
    }

    /// Every typed object and every change from here on. Any number of readers may follow.
    #[must_use]
    pub fn changes(&self) -> Changes {
        let queue = Arc::new(Queue::default());
        let standing = {
            let mut state = self.state_mut();
            state.attach(&queue);
            state.standing()
        };
        // Nobody has to wait while they are decoded.
        let mut start = VecDeque::new();
        for Standing { shown, good, fault } in standing {
            start.extend(good.map(|good| change_of(&good)));
            start.push_back(change_of(&shown));
            start.extend(fault);
        }
        start.push_back(Change::Synced);
        Changes::new(start, queue)
    }

    /// Whether there is a form of an object that can be read, which is in force whatever the newest one says.
    #[must_use]
    pub fn has_good_form(&self, key: &ObjectKey) -> bool {
        let state = self.state();
        let shown = state.get(key);
        shown.is_some_and(|shown| shown.decodes() || state.beside(shown).0.is_some())
    }

    /// The objects of which the form that is shown is not known to be good, or is not the newest.
    #[must_use]
    pub fn unsettled(&self) -> Vec<Unsettled> {
        let state = self.state();
        let unsettled = state.unsettled().filter_map(|shown| {
            let (good, fault) = state.beside(shown);
            let errors = match fault {
                Some(Change::Invalid { errors, .. }) => errors.clone(),
                _ => Vec::new(),
            };
            let any = good.is_some() || !errors.is_empty();
            any.then(|| Unsettled { shown: Arc::clone(shown), good: good.cloned(), errors })
        });
        unsettled.collect()
    }

    /// Objects that stand in two places, of which only one counts.
    #[must_use]
    pub fn hidden(&self) -> Vec<Hidden> {
        let state = self.state();
        let mut hidden = Vec::new();
        for (key, forms) in state.overlays() {
            let Some(visible) = state.get(key) else { continue };
            for form in forms.iter().filter(|f| f.origin() != visible.origin()) {
                hidden.push(Hidden {
                    key: key.clone(),
                    by: visible.origin().clone(),
                    origin: form.origin().clone(),
                });
            }
        }
        hidden
    }

    /// Objects whose form in a file is kept: after a start, whoever reads the files has to push of each how it
    /// stands now.
    #[must_use]
    pub fn kept(&self) -> Vec<(ObjectKey, Origin)> {
        let state = self.state();
        let forms = state.overlays().flat_map(|(_, forms)| forms);
        let files = forms.filter(|form| matches!(form.origin(), Origin::File { .. }));
        files.map(|form| (form.key().clone(), form.origin().clone())).collect()
    }

    // === Writing ===

    /// Stores an object if `expect` holds. Storing what is there already changes nothing and tells nobody.
    /// Answers with the object as it stands once that is durable.
    ///
    /// # Errors
    ///
    /// See [`WriteError`].
    pub async fn put(&self, draft: Draft, expect: Expect) -> Answer {
        self.durable(Durable::Put { draft, expect }).await
    }

    /// Whether a put would be refused as things stand: for those that only want to know.
    ///
    /// # Errors
    ///
    /// See [`WriteError`].
    pub fn would_put(&self, key: &ObjectKey, expect: Expect) -> Result<(), WriteError> {
        let state = self.state();
        writer::check_put(|key| state.get(key).cloned(), key, expect).map(drop)
    }

    /// Removes an object of the API's at once (finalizers are the caller's matter), if it stands at `expect`
    /// or that is absent. Answers with the object as it was.
    ///
    /// # Errors
    ///
    /// See [`WriteError`].
    pub async fn remove(&self, key: &ObjectKey, expect: Option<u64>) -> Answer {
        let key = key.clone();
        self.durable(Durable::Remove { key, expect }).await
    }

    /// Removes a namespace in which the API holds nothing any more.
    ///
    /// # Errors
    ///
    /// [`WriteError::NotEmpty`] when it does; else see [`WriteError`].
    pub async fn remove_namespace(&self, namespace: &str) -> Answer {
        let key = names::namespace_key(namespace);
        self.durable(Durable::RemoveNamespace { key }).await
    }

    /// Changes what is pushed in from outside. Never refused; see [`Push`].
    pub async fn push(&self, push: Push) {
        self.volatile(Volatile::Overlay(push)).await;
    }

    /// Does the same with many at a time, in this order, without waiting for the disk in between.
    pub async fn push_all(&self, pushes: impl IntoIterator<Item = Push>) {
        let mut waiting = Vec::new();
        for push in pushes {
            let (done, settled) = oneshot::channel();
            if self.jobs.send(Job::Volatile(Volatile::Overlay(push), done)).await.is_ok() {
                waiting.push(settled);
            }
        }
        for settled in waiting {
            // A store that is being closed has no reader left to tell.
            let _ = settled.await;
        }
    }

    /// Sets conditions of an object, as found out for `generation` of it; others stay. Nothing happens when
    /// there is no such object, or when they stand there already.
    pub async fn set_status(&self, key: &ObjectKey, conditions: Vec<Condition>) {
        self.volatile(Volatile::Status(Verdict::conditions(key.clone(), conditions))).await;
    }

    /// Changes the status of an object, if it is there: `change` is told what it is when it is written, and answers what it
    /// becomes, or nothing where it stays.
    pub async fn change_status(
        &self,
        key: &ObjectKey,
        change: impl Fn(&Value) -> Option<Value> + Send + 'static,
    ) {
        let verdict = Verdict { key: key.clone(), change: Box::new(change) };
        self.volatile(Volatile::Status(verdict)).await;
    }

    /// Says something about an object, for `kubectl describe` and `kubectl events`.
    pub async fn record_event(&self, note: Note) {
        self.volatile(Volatile::Record(note)).await;
    }

    /// The form of the object that [`Changes`] told with this `resource_version` is served, and nothing that it feeds is
    /// refused. A form that was confirmed is kept when another is written over it, until that one is confirmed too: it is what
    /// serves after a restart, see [`Changes`]. Nor does it matter whether the other was written before this is said.
    pub async fn confirm(&self, key: &ObjectKey, resource_version: u64) {
        let key = key.clone();
        self.volatile(Volatile::Confirm { key, revision: resource_version }).await;
    }

    async fn durable(&self, write: Durable) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.jobs.send(Job::Durable(write, answer)).await.map_err(|_| WriteError::Closed)?;
        answered.await.unwrap_or(Err(WriteError::Closed))
    }

    async fn volatile(&self, write: Volatile) {
        let (done, settled) = oneshot::channel();
        if self.jobs.send(Job::Volatile(write, done)).await.is_ok() {
            // A store that is being closed has no reader left to tell.
            let _ = settled.await;
        }
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Decodes what the file held. Nothing is lost: a form that no longer decodes is kept, shown as it was
/// written and told as invalid; a row of a kind that this version does not know stays in the file.
fn load(loaded: Loaded, window: Window) -> State {
    // What was only pushed in may have vanished meanwhile, and nobody will tell that it did: who was told of the
    // last revision of the process before has to list again.
    let mut state = State::new(loaded.revision + 1, window);
    for (table, row, text) in loaded.rows {
        let Some(key) = names::parse_row_key(&row) else {
            tracing::warn!(%row, "this version does not know the kind: the object is kept, and not shown");
            continue;
        };
        if table == Table::Files {
            // Not shown before it is known how the files stand now.
            state.set_overlay(key.clone(), kept::read(&key, &text));
            continue;
        }
        let Ok(Value::Object(mut value)) = serde_json::from_slice(&text) else {
            tracing::error!(%row, "the stored object is no JSON: it is kept, and not shown");
            continue;
        };
        overlay::disown(&mut value);
        let revision = value["metadata"]["resourceVersion"]
            .as_str()
            .and_then(|revision| revision.parse().ok())
            .unwrap_or(loaded.revision);
        let decoded = tidegate_source::decode(&key, &value, Origin::Api);
        if let Err(errors) = &decoded {
            tracing::warn!(%row, ?errors, "the stored object does not decode: it is kept, and shown as it was written");
        }
        let entry = Entry::new(key.clone(), value, &decoded, Origin::Api, revision);
        match table {
            Table::Objects => state.load(entry),
            Table::Good => state.set_good(key, Some(Arc::new(entry))),
            Table::Files => {}
        }
    }
    state
}
