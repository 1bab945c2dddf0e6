//! Objects, compiled as a running gateway compiles them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use tidegate_api::{Kind, Object, ObjectKey, Spec};
use tidegate_pilot::expand::GATEWAY_ANNOTATION;
use tidegate_pilot::origins::Origin;
use tidegate_pilot::{FaultySecret, Input, Options, Pilot};
use tidegate_proxy::config::{Applier, Config};
use tidegate_source::NamedFiles;
use tidegate_source::files::Places;
use tidegate_xds::{Rejection, ResourceType, Snapshot, Subscription};

use crate::answer::Source;

/// Everything that a decision is made from.
#[derive(Debug)]
pub struct World {
    pub(crate) pilot: Pilot,
    pub(crate) config: Arc<Config>,
    pub(crate) snapshot: Snapshot,
    pub(crate) rejected: Vec<Rejection>,
    objects: BTreeMap<ObjectKey, Arc<Object>>,
    /// Objects whose form here is not the newest, so that no line of their file is known.
    outdated: BTreeSet<ObjectKey>,
    /// What is wrong with newest forms that do not decode.
    unread: BTreeMap<ObjectKey, Vec<String>>,
    /// The objects in the forms that proved good last, where some have newer ones.
    before: Option<Box<World>>,
    /// Whether these are all objects that there are: a running process said so.
    all: bool,
    /// The ports that a running process has open, where it says so.
    pub(crate) open: Option<BTreeSet<u16>>,
    /// The endpoints that a running process has ejected, by cluster, where it says so.
    pub(crate) ejected: Option<BTreeMap<String, Vec<SocketAddr>>>,
    places: Places,
}

impl World {
    /// Compiles objects for a gateway.
    #[must_use]
    pub fn new(options: Options, objects: impl IntoIterator<Item = Arc<Object>>) -> Self {
        let objects: BTreeMap<ObjectKey, Arc<Object>> =
            objects.into_iter().map(|object| (object.key.clone(), object)).collect();
        let mut running = Running::new(options);
        running.take(objects.values().map(|o| Input::Apply(Arc::clone(o))));
        running.settle(objects)
    }

    /// Compiles objects as a process has that runs already: in the forms that proved good last, and then what was written
    /// of some of them `later`. Where that is refused, what was there before is in force.
    #[must_use]
    pub fn of_process(
        options: Options,
        objects: impl IntoIterator<Item = Arc<Object>>,
        later: Vec<Input>,
    ) -> Self {
        let mut before = Self::new(options.clone(), objects);
        before.all = true;
        if later.is_empty() {
            return before;
        }
        let mut objects = before.objects.clone();
        let mut running = Running::new(options);
        running.take(objects.values().map(|o| Input::Apply(Arc::clone(o))));
        let mut unread = BTreeMap::new();
        for input in &later {
            match input {
                Input::Apply(object) => {
                    before.outdated.insert(object.key.clone());
                    objects.insert(object.key.clone(), Arc::clone(object));
                }
                Input::Invalid { key, errors, .. } => {
                    before.outdated.insert(key.clone());
                    unread.insert(key.clone(), errors.clone());
                }
                _ => {}
            }
        }
        running.take(later);
        let outdated = unread.keys().cloned().collect();
        let before = Some(Box::new(before));
        Self { outdated, unread, before, all: true, ..running.settle(objects) }
    }

    /// With the endpoints that a running process has ejected (`outlierDetection`), by the name of their cluster; nothing where it is
    /// not known.
    #[must_use]
    pub fn with_ejected(self, ejected: Option<BTreeMap<String, Vec<SocketAddr>>>) -> Self {
        Self { ejected, ..self }
    }

    /// The control plane, with everything in it.
    #[must_use]
    pub fn pilot(&self) -> &Pilot {
        &self.pilot
    }

    /// The resources that it made.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Resources that the proxy refuses, with the reasons.
    #[must_use]
    pub fn rejected(&self) -> &[Rejection] {
        &self.rejected
    }

    /// What the form of a resource that is served was compiled from: the last good forms of objects, where what came of
    /// newer ones is refused as a whole.
    pub(crate) fn behind(&self, kind: ResourceType, name: &str) -> &Self {
        let mut of_it = self.rejected.iter().filter(|r| r.kind == kind && *r.name == *name);
        let old = of_it.any(|rejection| rejection.serves_on);
        self.before.as_deref().filter(|_| old).unwrap_or(self)
    }

    /// The objects of a kind.
    pub(crate) fn keys(&self, kind: Kind) -> impl Iterator<Item = &ObjectKey> {
        self.objects.keys().filter(move |key| key.kind == kind)
    }

    /// Where the hosts of an object stand, or the whole of one that has none.
    pub(crate) fn hosts_of(&self, key: ObjectKey) -> Source {
        let has_hosts = match self.objects.get(&key).map(|object| &object.spec) {
            Some(Spec::VirtualService(service)) => !service.hosts.is_empty(),
            _ => false,
        };
        let path = if has_hosts { "spec.hosts" } else { "spec" };
        self.source(&Origin { key, path: path.to_owned() })
    }

    /// An object, in its newest form that decodes.
    pub(crate) fn object(&self, key: &ObjectKey) -> Option<&Object> {
        self.objects.get(key).map(|object| &**object)
    }

    /// Whether any form of an object is there.
    pub(crate) fn has(&self, key: &ObjectKey) -> bool {
        self.objects.contains_key(key)
    }

    /// What is wrong with newest forms that do not decode, by object.
    pub(crate) fn unread(&self) -> &BTreeMap<ObjectKey, Vec<String>> {
        &self.unread
    }

    /// Whether a running gateway may have more objects than are here.
    pub(crate) fn may_lack(&self) -> bool {
        !self.all
    }

    /// The place of a part of an object, with file and line where it comes from a file; of one that nobody wrote, the annotation
    /// that stands for it.
    pub(crate) fn source(&self, origin: &Origin) -> Source {
        let written_out = self.pilot.written_out_of(&origin.key).map(|entry| Origin {
            key: entry.clone(),
            path: format!("metadata.annotations[{GATEWAY_ANNOTATION}]"),
        });
        let origin = written_out.as_ref().unwrap_or(origin);
        let key = &origin.key;
        let last_good = self.outdated.contains(key) && self.has(key);
        let (file, line) = match self.objects.get(key).map(|o| &o.origin) {
            Some(tidegate_api::Origin::File { path, line }) => {
                let found = || self.places.line_of(path, *line, &origin.path).unwrap_or(*line);
                (Some(path.display().to_string()), (!last_good).then(found))
            }
            _ => (None, None),
        };
        Source {
            kind: key.kind.to_string(),
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
            path: origin.path.clone(),
            file,
            line,
            last_good,
        }
    }
}

/// What a running gateway does with objects, without workers that serve what comes out.
struct Running {
    pilot: Pilot,
    snapshot: Snapshot,
    subscription: Subscription,
    applier: Applier,
    files: NamedFiles,
}

impl Running {
    fn new(options: Options) -> Self {
        let snapshot = Snapshot::new();
        Self {
            pilot: Pilot::new(options),
            subscription: snapshot.subscribe(),
            snapshot,
            applier: Applier::new(None),
            files: NamedFiles::default(),
        }
    }

    /// Takes what happened at once, to the end.
    fn take(&mut self, inputs: impl IntoIterator<Item = Input>) {
        self.compile(inputs);
        // Issuers are not asked here where their keys are. That keys are fetched, and so not known, is what counts.
        let issuers = self.pilot.issuers().into_iter();
        let elsewhere: Vec<Input> = issuers
            .map(|issuer| Input::Discovered { keys: Ok(issuer.to_string()), issuer })
            .collect();
        self.compile(elsewhere);
        self.files.follow(&self.pilot.files());
        let read = self.files.look().into_iter();
        let read: Vec<Input> = read.map(|(name, content)| Input::File { name, content }).collect();
        self.compile(read);
        let verdict = self.applier.verdict();
        let faulty = FaultySecret::among(&verdict.rejected, &verdict.doubtful);
        self.compile([Input::Faulty(faulty)]);
        // There are no connections that still need what is gone.
        self.applier.let_go();
    }

    fn compile(&mut self, inputs: impl IntoIterator<Item = Input>) {
        self.snapshot.publish(self.pilot.apply(inputs).change);
        while let Some(update) = self.subscription.try_next() {
            self.applier.apply(&update);
        }
    }

    fn settle(self, objects: BTreeMap<ObjectKey, Arc<Object>>) -> World {
        World {
            config: Arc::clone(self.applier.config()),
            rejected: self.applier.verdict().rejected,
            pilot: self.pilot,
            snapshot: self.snapshot,
            objects,
            outdated: BTreeSet::new(),
            unread: BTreeMap::new(),
            before: None,
            all: false,
            open: None,
            ejected: None,
            places: Places::default(),
        }
    }
}
