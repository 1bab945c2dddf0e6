//! The store in memory: every read is answered from here, and only the writer thread changes it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Weak};

use tidegate_api::{Kind, ObjectKey, Origin};
use tidegate_source::{Change, Queue};
use tokio::sync::watch;

use super::changes::{self, Told};
use super::log::{Event, Expired, Log, Window};
use super::overlay::same_source;
use super::{Entry, Snapshot};

/// Forms, and bytes of them, that are kept until it is known whether they are good: that takes milliseconds.
const MOST_UNPROVED: (usize, usize) = (1024, 16 << 20);

/// Namespace and name: the order in which lists come back.
type Place = (Arc<str>, Arc<str>);

#[derive(Debug)]
struct Collection {
    objects: BTreeMap<Place, Arc<Entry>>,
    log: Log,
    changed: watch::Sender<u64>,
}

/// One change that the writer has settled (and, where it is the API's, made durable).
#[derive(Debug)]
pub(super) struct Settled {
    pub kind: Kind,
    pub event: Event,
    /// What readers of typed objects are told.
    pub told: Told,
}

/// One object as it is told to a new reader.
pub(super) struct Standing {
    pub shown: Arc<Entry>,
    /// Its last good form, where that is another.
    pub good: Option<Arc<Entry>>,
    /// What is wrong with a newer one.
    pub fault: Option<Change>,
}

#[derive(Debug)]
pub(super) struct State {
    revision: u64,
    /// What no kind's log can reach behind: the revision at which the store was opened.
    opened_at: u64,
    window: Window,
    collections: BTreeMap<Kind, Collection>,
    /// Every object that was pushed in from outside, also those that another one hides; best first.
    overlay: BTreeMap<ObjectKey, Vec<Arc<Entry>>>,
    /// Last good forms of objects whose written form is another one.
    good: BTreeMap<ObjectKey, Arc<Entry>>,
    /// The latest forms that others were written over before they had proved good, by the revision that they are confirmed by.
    unproved: BTreeMap<u64, Arc<Entry>>,
    /// What is wrong with objects that were pushed in, and where that stands.
    faults: BTreeMap<ObjectKey, (Origin, Change)>,
    queues: Vec<Weak<Queue>>,
}

impl State {
    pub(super) fn new(revision: u64, window: Window) -> Self {
        Self {
            revision,
            opened_at: revision,
            window,
            collections: BTreeMap::new(),
            overlay: BTreeMap::new(),
            good: BTreeMap::new(),
            unproved: BTreeMap::new(),
            faults: BTreeMap::new(),
            queues: Vec::new(),
        }
    }

    /// The revision of the last change that readers can see.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn get(&self, key: &ObjectKey) -> Option<&Arc<Entry>> {
        let place = (Arc::clone(&key.namespace), Arc::clone(&key.name));
        self.collections.get(&key.kind)?.objects.get(&place)
    }

    /// The objects of a kind, of one namespace or of all, ordered by namespace and name.
    pub(super) fn list(&self, kind: Kind, namespace: Option<&str>) -> Snapshot {
        Snapshot { revision: self.revision, entries: self.iter(kind, namespace).cloned().collect() }
    }

    fn iter(&self, kind: Kind, namespace: Option<&str>) -> impl Iterator<Item = &Arc<Entry>> {
        let from: Bound<Place> = match namespace {
            Some(namespace) => Bound::Included((namespace.into(), "".into())),
            None => Bound::Unbounded,
        };
        self.collections
            .get(&kind)
            .into_iter()
            .flat_map(move |c| c.objects.range((from.clone(), Bound::Unbounded)))
            .take_while(move |((at, _), _)| namespace.is_none_or(|namespace| **at == *namespace))
            .map(|(_, entry)| entry)
    }

    /// The objects of a kind as they stood at `revision`: today's, with later changes taken back.
    pub(super) fn list_at(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        revision: u64,
    ) -> Result<Snapshot, Expired> {
        let since = self.since(kind, revision)?;
        if since.is_empty() {
            return Ok(Snapshot {
                revision,
                entries: self.iter(kind, namespace).cloned().collect(),
            });
        }
        let mut objects: BTreeMap<Place, Arc<Entry>> = self
            .iter(kind, namespace)
            .map(|entry| (place(entry.key()), Arc::clone(entry)))
            .collect();
        for event in since.iter().rev() {
            let Some(key) = event.key() else { continue };
            if namespace.is_some_and(|namespace| *key.namespace != *namespace) {
                continue;
            }
            match &event.old {
                Some(old) => objects.insert(place(key), Arc::clone(old)),
                None => objects.remove(&place(key)),
            };
        }
        Ok(Snapshot { revision, entries: objects.into_values().collect() })
    }

    /// The changes of a kind after `revision`, oldest first.
    pub(super) fn since(&self, kind: Kind, revision: u64) -> Result<Vec<Arc<Event>>, Expired> {
        match self.collections.get(&kind) {
            Some(collection) => Ok(collection.log.since(revision)?.cloned().collect()),
            None if revision < self.opened_at => {
                Err(Expired { asked: revision, oldest: self.opened_at })
            }
            None => Ok(Vec::new()),
        }
    }

    /// A signal that moves whenever an object of the kind changes.
    pub(super) fn subscribe(&mut self, kind: Kind) -> watch::Receiver<u64> {
        self.collection(kind).changed.subscribe()
    }

    pub(super) fn overlay(&self, key: &ObjectKey) -> &[Arc<Entry>] {
        self.overlay.get(key).map_or(&[], Vec::as_slice)
    }

    pub(super) fn overlays(&self) -> impl Iterator<Item = (&ObjectKey, &Vec<Arc<Entry>>)> {
        self.overlay.iter()
    }

    pub(super) fn set_overlay(&mut self, key: ObjectKey, forms: Vec<Arc<Entry>>) {
        if forms.is_empty() {
            self.overlay.remove(&key);
        } else {
            self.overlay.insert(key, forms);
        }
    }

    pub(super) fn good(&self, key: &ObjectKey) -> Option<&Arc<Entry>> {
        self.good.get(key)
    }

    /// What is to be told of an object beside the form that is shown: its last good one, where that is another, and what is
    /// wrong with a newer one in the file that the one that is shown is from.
    pub(super) fn beside(&self, shown: &Entry) -> (Option<&Arc<Entry>>, Option<&Change>) {
        let fault = self.faults.get(shown.key());
        let fault = fault.filter(|(origin, _)| same_source(origin, shown.origin()));
        (self.good.get(shown.key()), fault.map(|(_, fault)| fault))
    }

    /// What readers of typed objects begin with: of each object the form that is shown, and what is to be told beside it.
    pub(super) fn standing(&self) -> Vec<Standing> {
        let typed = self.all().filter(|entry| entry.key().kind != Kind::Event);
        let standing = typed.map(|shown| {
            let (good, fault) = self.beside(shown);
            Standing { shown: Arc::clone(shown), good: good.cloned(), fault: fault.cloned() }
        });
        standing.collect()
    }

    /// The objects that have something beside the form that is shown, in the order of kinds, namespaces and names.
    pub(super) fn unsettled(&self) -> impl Iterator<Item = &Arc<Entry>> {
        let keys: BTreeSet<_> = self.good.keys().chain(self.faults.keys()).collect();
        keys.into_iter().filter_map(|key| self.get(key))
    }

    pub(super) fn set_good(&mut self, key: ObjectKey, entry: Option<Arc<Entry>>) {
        match entry {
            Some(entry) => self.good.insert(key, entry),
            None => self.good.remove(&key),
        };
    }

    pub(super) fn unproved(&self, revision: u64) -> Option<&Arc<Entry>> {
        self.unproved.get(&revision)
    }

    pub(super) fn add_unproved(&mut self, form: Arc<Entry>) {
        let Some(revision) = form.typed_revision() else { return };
        self.unproved.insert(revision, form);
        let mut size: usize = self.unproved.values().map(|form| form.size()).sum();
        while self.unproved.len() > MOST_UNPROVED.0 || size > MOST_UNPROVED.1 {
            let Some((_, oldest)) = self.unproved.pop_first() else { return };
            size -= oldest.size();
        }
    }

    /// Forgets forms of an object that are older than one that is good, or than its removal.
    pub(super) fn drop_unproved(&mut self, key: &ObjectKey) {
        self.unproved.retain(|_, form| form.key() != key);
    }

    /// What is wrong with an object that was pushed in, and where that stands.
    pub(super) fn fault(&self, key: &ObjectKey) -> Option<&(Origin, Change)> {
        self.faults.get(key)
    }

    pub(super) fn set_fault(&mut self, key: ObjectKey, fault: Option<(Origin, Change)>) {
        match fault {
            Some(fault) => self.faults.insert(key, fault),
            None => self.faults.remove(&key),
        };
    }

    /// Puts an object in place without a change being told: for what the disk held at the start.
    pub(super) fn load(&mut self, entry: Entry) {
        let place = place(entry.key());
        let kind = entry.key().kind;
        self.collection(kind).objects.insert(place, Arc::new(entry));
    }

    /// Every object of every kind, in the order of kinds, namespaces and names.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.collections.values().flat_map(|c| c.objects.values())
    }

    /// Adds a reader of typed objects. It is told of everything from here on, in the order of revisions.
    pub(super) fn attach(&mut self, queue: &Arc<Queue>) {
        self.queues.retain(|queue| queue.strong_count() > 0);
        self.queues.push(Arc::downgrade(queue));
    }

    /// Makes settled changes visible, all at once, and wakes whoever waits for them.
    pub(super) fn publish(&mut self, changes: Vec<Settled>, revision: u64) {
        let queues: Vec<Arc<Queue>> = self.queues.iter().filter_map(Weak::upgrade).collect();
        let window = self.window;
        let mut woken: Vec<Kind> = Vec::new();
        for Settled { kind, event, told } in changes {
            let Some(key) = event.key() else { continue };
            let place = place(key);
            for queue in &queues {
                changes::push(queue, key, &told);
            }
            let collection = self.collection(kind);
            match &event.new {
                Some(entry) => collection.objects.insert(place, Arc::clone(entry)),
                None => collection.objects.remove(&place),
            };
            collection.log.push(Arc::new(event), window);
            if !woken.contains(&kind) {
                woken.push(kind);
            }
        }
        self.revision = self.revision.max(revision);
        for kind in woken {
            self.collection(kind).changed.send_replace(revision);
        }
        for queue in queues {
            queue.wake();
        }
    }

    /// Tells typed readers something that is no change of an object.
    pub(super) fn tell(&self, change: &Change) {
        for queue in self.queues.iter().filter_map(Weak::upgrade) {
            queue.push(change.clone());
            queue.wake();
        }
    }

    fn collection(&mut self, kind: Kind) -> &mut Collection {
        let opened_at = self.opened_at;
        self.collections.entry(kind).or_insert_with(|| Collection {
            objects: BTreeMap::new(),
            log: Log::new(opened_at),
            changed: watch::Sender::new(opened_at),
        })
    }
}

fn place(key: &ObjectKey) -> Place {
    (Arc::clone(&key.namespace), Arc::clone(&key.name))
}

/// Whether an entry is the API's own, and so may be written through it.
pub(super) fn writable(entry: &Entry) -> bool {
    *entry.origin() == Origin::Api
}
