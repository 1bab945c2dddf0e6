//! The one thread that changes the store: it takes what has piled up, settles it in order, makes it durable
//! in one transaction, shows it to readers, and only then answers.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use tidegate_api::{Kind, ObjectKey, Origin};
use tidegate_source::Change;
use tokio::sync::{mpsc, oneshot};

use super::changes::Told;
use super::disk::{Disk, DiskError, HEADROOM, Row, Table};
use super::events::Recorded;
use super::log::Event;
use super::names::row_key;
use super::state::{Settled, State, writable};
use super::write::{Answer, Draft, Durable, Expect, Job, Volatile, WriteError};
use super::{Entry, kept, overlay, status};

/// Writes that share one transaction: enough to make its cost small, few enough to bound its size.
const BATCH: usize = 256;

#[derive(Debug)]
pub(super) struct Writer {
    pub state: Arc<RwLock<State>>,
    pub disk: Disk,
    /// Objects whose row on disk may differ from memory, since a commit with them failed.
    pub unsaved: BTreeSet<ObjectKey>,
    pub recorded: Recorded,
}

impl Writer {
    /// Runs until every handle of the store is gone, or one closes it.
    pub(super) fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        // What the store was made with goes to the disk at once.
        let mut closed = self.settle(Vec::new());
        while closed.is_none()
            && let Some(first) = jobs.blocking_recv()
        {
            let mut batch = vec![first];
            while batch.len() < BATCH
                && let Ok(job) = jobs.try_recv()
            {
                batch.push(job);
            }
            closed = self.settle(batch);
        }
        let revision = self.read(State::revision);
        let state = Arc::clone(&self.state);
        let rows = self.rows(&Staged::new(&state, revision));
        if let Err(error) = self.disk.commit(&rows, revision) {
            tracing::warn!(%error, "the store could not be closed cleanly; the next start repairs it");
        }
        drop(self);
        if let Some(closed) = closed {
            let _ = closed.send(());
        }
    }

    /// Settles a batch; returns whom to tell when the store has been closed.
    fn settle(&mut self, batch: Vec<Job>) -> Option<oneshot::Sender<()>> {
        let state = Arc::clone(&self.state);
        let mut staged = Staged::new(&state, self.disk.ceiling() + HEADROOM);
        let mut answers: Vec<(oneshot::Sender<Answer>, Answer)> = Vec::new();
        let mut own: Vec<(Volatile, oneshot::Sender<()>)> = Vec::new();
        let mut closed = None;
        for job in batch {
            match job {
                Job::Durable(write, answer) => {
                    let puts = matches!(write, Durable::Put { .. });
                    let result = staged.durable(write);
                    if let (true, Ok(entry)) = (puts, &result) {
                        self.recorded.written(&mut staged, entry);
                    }
                    answers.push((answer, result));
                }
                Job::Volatile(write, done) => {
                    staged.volatile(&write, &mut self.recorded);
                    own.push((write, done));
                }
                Job::Close(done) => closed = Some(done),
            }
        }
        match self.commit(&staged) {
            Ok(()) => {
                self.recorded.settle();
                staged.publish();
            }
            Err(error) => {
                self.unsaved.extend(staged.keys().cloned());
                self.recorded.take_back();
                let mut again = Staged::new(&state, self.disk.ceiling());
                // Numbers that may have reached the disk are never used again.
                again.revision = staged.revision;
                for (write, _) in &own {
                    again.volatile(write, &mut self.recorded);
                }
                self.unsaved.extend(again.keys().cloned());
                self.recorded.settle();
                again.publish();
                refuse(&mut answers, &error);
            }
        }
        for (answer, result) in answers {
            // Whoever asked may have gone; the write stands all the same.
            let _ = answer.send(result);
        }
        for (_, done) in own {
            let _ = done.send(());
        }
        closed
    }

    fn commit(&mut self, staged: &Staged<'_>) -> Result<(), DiskError> {
        let rows = self.rows(staged);
        let tight = staged.revision + HEADROOM / 2 > self.disk.ceiling();
        if rows.is_empty() && !tight {
            return Ok(());
        }
        self.disk.commit(&rows, staged.revision + HEADROOM)?;
        self.unsaved.clear();
        Ok(())
    }

    /// What the disk lacks of a batch, and of what failed to reach it before.
    fn rows(&self, staged: &Staged<'_>) -> Vec<Row> {
        let mut rows = self.object_rows(&staged.objects);
        rows.extend(self.good_rows(&staged.good));
        rows.extend(self.kept_rows(&staged.overlay));
        rows
    }

    /// Objects as they are to be: staged where staged, else as readers see them.
    fn object_rows(&self, staged: &HashMap<ObjectKey, Option<Arc<Entry>>>) -> Vec<Row> {
        let row = |key: &ObjectKey| {
            let now = match staged.get(key) {
                Some(entry) => entry.clone(),
                None => self.read(|state| state.get(key).cloned()),
            };
            let was_ours = self.unsaved.contains(key)
                || self.read(|state| state.get(key).is_some_and(|entry| writable(entry)));
            let text = now.filter(|entry| writable(entry)).map(|e| text_of(&e));
            // An object that is only pushed in has no row, and never had one.
            (text.is_some() || was_ours).then(|| Row {
                table: Table::Objects,
                key: row_key(key),
                text,
            })
        };
        let keys: BTreeSet<&ObjectKey> = staged.keys().chain(&self.unsaved).collect();
        keys.into_iter().filter_map(row).collect()
    }

    /// Last good forms, likewise.
    fn good_rows(&self, staged: &HashMap<ObjectKey, Option<Arc<Entry>>>) -> Vec<Row> {
        let row = |key: &ObjectKey| {
            let good = match staged.get(key) {
                Some(good) => good.clone(),
                None => self.read(|state| state.good(key).cloned()),
            };
            let text = good.as_deref().map(text_of);
            Row { table: Table::Good, key: row_key(key), text }
        };
        let keys: BTreeSet<&ObjectKey> = staged.keys().chain(&self.unsaved).collect();
        keys.into_iter().map(row).collect()
    }

    /// What files' forms leave on the disk, where that is not there yet.
    fn kept_rows(&self, staged: &HashMap<ObjectKey, Vec<Arc<Entry>>>) -> Vec<Row> {
        let keys: BTreeSet<&ObjectKey> = staged.keys().chain(&self.unsaved).collect();
        let row = |key: &ObjectKey| {
            let before = self.read(|state| state.overlay(key).to_vec());
            let text = kept::write(staged.get(key).unwrap_or(&before));
            let there = !self.unsaved.contains(key) && text == kept::write(&before);
            (!there).then(|| Row { table: Table::Files, key: row_key(key), text })
        };
        keys.into_iter().filter_map(row).collect()
    }

    fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn refuse(answers: &mut [(oneshot::Sender<Answer>, Answer)], error: &DiskError) {
    tracing::error!(%error, full = error.full, "a write could not be stored; reads go on");
    for (_, answer) in answers {
        if answer.is_ok() {
            *answer = Err(WriteError::Storage { full: error.full, reason: error.reason.clone() });
        }
    }
}

fn text_of(entry: &Entry) -> Vec<u8> {
    let mut text = Vec::with_capacity(entry.size() + 64);
    entry.write_json(&super::names::storage_version(entry.key().kind), &mut text);
    text
}

/// A batch on its way: what readers see, with the batch's changes on top.
#[derive(Debug)]
pub(super) struct Staged<'a> {
    state: &'a RwLock<State>,
    revision: u64,
    /// Revisions end here until the disk takes another commit.
    limit: u64,
    objects: HashMap<ObjectKey, Option<Arc<Entry>>>,
    overlay: HashMap<ObjectKey, Vec<Arc<Entry>>>,
    good: HashMap<ObjectKey, Option<Arc<Entry>>>,
    unproved: Vec<Arc<Entry>>,
    /// Objects of which no form is waited for any more.
    proved: Vec<ObjectKey>,
    faults: HashMap<ObjectKey, Option<(Origin, Change)>>,
    changes: Vec<Settled>,
    told: Vec<Change>,
}

impl<'a> Staged<'a> {
    fn new(state: &'a RwLock<State>, limit: u64) -> Self {
        let mut staged = Self {
            state,
            revision: 0,
            limit,
            objects: HashMap::new(),
            overlay: HashMap::new(),
            good: HashMap::new(),
            unproved: Vec::new(),
            proved: Vec::new(),
            faults: HashMap::new(),
            changes: Vec::new(),
            told: Vec::new(),
        };
        staged.revision = staged.read(State::revision);
        staged
    }

    fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The objects of which this batch changes what the disk is to hold.
    fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.objects.keys().chain(self.good.keys()).chain(self.overlay.keys())
    }

    /// The object as this batch leaves it so far.
    pub(super) fn get(&self, key: &ObjectKey) -> Option<Arc<Entry>> {
        match self.objects.get(key) {
            Some(entry) => entry.clone(),
            None => self.read(|state| state.get(key).cloned()),
        }
    }

    /// The forms of an object that were pushed in from outside, the one that counts first.
    pub(super) fn overlay(&self, key: &ObjectKey) -> Vec<Arc<Entry>> {
        match self.overlay.get(key) {
            Some(forms) => forms.clone(),
            None => self.read(|state| state.overlay(key).to_vec()),
        }
    }

    pub(super) fn set_overlay(&mut self, key: ObjectKey, forms: Vec<Arc<Entry>>) {
        self.overlay.insert(key, forms);
    }

    /// Tells readers of typed objects what is no change of an object.
    pub(super) fn tell(&mut self, change: Change) {
        self.told.push(change);
    }

    /// Tells readers of typed objects that one is wrong where it comes from, also those that are yet to come.
    pub(super) fn find_fault(&mut self, origin: Origin, fault: Change) {
        if let Change::Invalid { key, .. } = &fault {
            self.faults.insert(key.clone(), Some((origin, fault.clone())));
        }
        self.tell(fault);
    }

    /// What was wrong with an object at `origin` is so no more.
    pub(super) fn mend(&mut self, key: &ObjectKey, origin: &Origin) {
        let there = |fault: Option<&(Origin, Change)>| {
            fault.is_some_and(|(place, _)| overlay::same_source(place, origin))
        };
        let wrong = match self.faults.get(key) {
            Some(fault) => there(fault.as_ref()),
            None => self.read(|state| there(state.fault(key))),
        };
        if wrong {
            self.faults.insert(key.clone(), None);
        }
    }

    /// The next revision; none while the disk cannot record how far they go.
    pub(super) fn next_revision(&self) -> Option<u64> {
        (self.revision < self.limit).then_some(self.revision + 1)
    }

    /// Puts an object at a revision got from [`Self::next_revision`], or removes it.
    pub(super) fn set(
        &mut self,
        key: &ObjectKey,
        new: Option<Arc<Entry>>,
        revision: u64,
        told: Told,
    ) {
        let old = self.get(key);
        self.revision = revision;
        self.objects.insert(key.clone(), new.clone());
        self.changes.push(Settled {
            kind: key.kind,
            event: Event { revision, old, new },
            told: if key.kind == Kind::Event { Told::Nothing } else { told },
        });
    }

    fn durable(&mut self, write: Durable) -> Answer {
        match write {
            Durable::Put { draft, expect } => self.put(draft, expect),
            Durable::Remove { key, expect } => self.remove(&key, expect),
            Durable::RemoveNamespace { key } => {
                if self.holds_anything(&key.name) {
                    return Err(WriteError::NotEmpty);
                }
                self.remove(&key, None)
            }
        }
    }

    fn volatile(&mut self, write: &Volatile, recorded: &mut Recorded) {
        match write {
            Volatile::Overlay(push) => overlay::stage(self, push, recorded),
            Volatile::Status(verdict) => status::stage(self, verdict),
            Volatile::Record(note) => recorded.stage(self, note),
            Volatile::Confirm { key, revision } => self.confirm(key, *revision),
        }
    }

    fn put(&mut self, draft: Draft, expect: Expect) -> Answer {
        let key = draft.key;
        let current = check_put(|key| self.get(key), &key, expect)?;
        if let Some(entry) = current.as_ref().filter(|entry| entry.same_content(&draft.value)) {
            return Ok(Arc::clone(entry));
        }
        let revision = self.revision_for_durable()?;
        if let Some(old) = current {
            if draft.decoded.is_err() && old.decodes() {
                self.keep_unless_kept(&key, &old);
            }
            self.write_over(&key, old);
        }
        let Draft { value, decoded, .. } = draft;
        let entry = Arc::new(Entry::new(key.clone(), value, &decoded, Origin::Api, revision));
        let told = Told::written(&entry, decoded);
        self.set(&key, Some(Arc::clone(&entry)), revision, told);
        Ok(entry)
    }

    /// Keeps the form that is written over as the last good one, at once or once it turns out to be good.
    pub(super) fn write_over(&mut self, key: &ObjectKey, old: Arc<Entry>) {
        if old.confirmed() {
            self.keep(key, old);
        } else {
            self.unproved.push(old);
        }
    }

    fn good(&self, key: &ObjectKey) -> Option<Arc<Entry>> {
        match self.good.get(key) {
            Some(good) => good.clone(),
            None => self.read(|state| state.good(key).cloned()),
        }
    }

    /// Keeps a form as the last good one.
    fn keep(&mut self, key: &ObjectKey, form: Arc<Entry>) {
        self.good.insert(key.clone(), Some(form));
    }

    /// Keeps a form as the last good one where none is known.
    pub(super) fn keep_unless_kept(&mut self, key: &ObjectKey, form: &Arc<Entry>) {
        if self.good(key).is_none() {
            self.keep(key, Arc::clone(form));
        }
    }

    /// Keeps no other form: the one that is shown is good, or the object is gone.
    pub(super) fn keep_none(&mut self, key: &ObjectKey) {
        if self.good(key).is_some() {
            self.good.insert(key.clone(), None);
        }
        self.proved.push(key.clone());
    }

    /// Removes an object of the API's; what it hid shows again.
    fn remove(&mut self, key: &ObjectKey, expect: Option<u64>) -> Answer {
        let entry = self.get(key).ok_or(WriteError::NotFound)?;
        if !writable(&entry) {
            return Err(WriteError::ReadOnly(entry.origin().clone()));
        }
        check_revision(&entry, expect)?;
        let revision = self.revision_for_durable()?;
        self.set(key, None, revision, Told::Gone(entry.uid()));
        self.keep_none(key);
        overlay::uncover(self, key);
        Ok(entry)
    }

    fn revision_for_durable(&self) -> Result<u64, WriteError> {
        self.next_revision().ok_or_else(|| WriteError::Storage {
            full: false,
            reason: "too many writes since the last one that reached the disk".into(),
        })
    }

    fn holds_anything(&self, namespace: &str) -> bool {
        let gone = |key: &ObjectKey| matches!(self.objects.get(key), Some(None));
        let added = self.objects.iter().any(|(key, entry)| {
            *key.namespace == *namespace && entry.as_deref().is_some_and(writable)
        });
        added
            || self.read(|state| {
                state
                    .all()
                    .any(|e| *e.key().namespace == *namespace && writable(e) && !gone(e.key()))
            })
    }

    /// The form at `revision` is served: it is the last good form, also where another was written over it meanwhile.
    fn confirm(&mut self, key: &ObjectKey, revision: u64) {
        let Some(shown) = self.get(key) else { return };
        if shown.typed_revision() == Some(revision) {
            shown.confirm();
            self.keep_none(key);
        } else if let Some(before) = self.unproved(revision)
            && before.key() == key
            && before.uid() == shown.uid()
            && !shown.confirmed()
            && self.good(key).is_none_or(|good| good.typed_revision() < Some(revision))
        {
            before.confirm();
            self.keep(key, before);
        }
    }

    /// A form that another one was written over before it had proved good.
    fn unproved(&self, revision: u64) -> Option<Arc<Entry>> {
        let here = self.unproved.iter().find(|form| form.typed_revision() == Some(revision));
        here.cloned().or_else(|| self.read(|state| state.unproved(revision).cloned()))
    }

    fn publish(self) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        for (key, forms) in self.overlay {
            state.set_overlay(key, forms);
        }
        for (key, good) in self.good {
            state.set_good(key, good);
        }
        self.unproved.into_iter().for_each(|form| state.add_unproved(form));
        self.proved.iter().for_each(|key| state.drop_unproved(key));
        for (key, fault) in self.faults {
            state.set_fault(key, fault);
        }
        state.publish(self.changes, self.revision);
        for change in &self.told {
            state.tell(change);
        }
    }
}

/// Whether an object may be put, and the one that it would replace; `get` says what is there.
pub(super) fn check_put(
    get: impl Fn(&ObjectKey) -> Option<Arc<Entry>>,
    key: &ObjectKey,
    expect: Expect,
) -> Result<Option<Arc<Entry>>, WriteError> {
    let current = get(key);
    match (&current, expect) {
        (Some(entry), _) if !writable(entry) => {
            return Err(WriteError::ReadOnly(entry.origin().clone()));
        }
        (Some(entry), Expect::Absent) => {
            return Err(WriteError::AlreadyExists { terminating: entry.terminating() });
        }
        (None, Expect::Absent) => namespace_takes(get, key)?,
        (None, Expect::Revision(_)) => return Err(WriteError::NotFound),
        (Some(entry), Expect::Revision(revision)) => check_revision(entry, Some(revision))?,
    }
    Ok(current)
}

/// Kubernetes lets objects be created only in a namespace that exists and stays.
fn namespace_takes(
    get: impl Fn(&ObjectKey) -> Option<Arc<Entry>>,
    key: &ObjectKey,
) -> Result<(), WriteError> {
    if key.namespace.is_empty() {
        return Ok(());
    }
    match get(&super::names::namespace_key(&key.namespace)) {
        None => Err(WriteError::NoNamespace),
        Some(namespace) if namespace.terminating() => Err(WriteError::NamespaceTerminating),
        Some(_) => Ok(()),
    }
}

fn check_revision(entry: &Entry, expect: Option<u64>) -> Result<(), WriteError> {
    match expect {
        Some(revision) if revision != entry.revision() => {
            Err(WriteError::Conflict { current: entry.revision() })
        }
        _ => Ok(()),
    }
}
