//! Objects, compiled as a running gateway compiles them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tidegate_api::{Object, ObjectKey};
use tidegate_pilot::origins::Origin;
use tidegate_pilot::{Input, Options, Pilot};
use tidegate_proxy::config::{Applier, Config};
use tidegate_source::NamedFiles;
use tidegate_source::files::Places;
use tidegate_xds::{Rejection, Snapshot};

use crate::answer::Source;

/// Everything that a decision is made from.
#[derive(Debug)]
pub struct World {
    pub(crate) pilot: Pilot,
    pub(crate) config: Arc<Config>,
    pub(crate) snapshot: Snapshot,
    pub(crate) rejected: Vec<Rejection>,
    objects: BTreeMap<ObjectKey, Arc<Object>>,
    places: Places,
}

impl World {
    /// Compiles objects for a gateway.
    #[must_use]
    pub fn new(options: Options, objects: impl IntoIterator<Item = Arc<Object>>) -> Self {
        let objects: BTreeMap<ObjectKey, Arc<Object>> =
            objects.into_iter().map(|object| (object.key.clone(), object)).collect();
        let mut pilot = Pilot::new(options);
        let snapshot = Snapshot::new();
        let mut subscription = snapshot.subscribe();
        let output = pilot.apply(objects.values().map(|o| Input::Apply(Arc::clone(o))));
        snapshot.publish(output.change);
        let mut files = NamedFiles::default();
        files.follow(&pilot.files());
        let read = files.look().into_iter().map(|(name, content)| Input::File { name, content });
        snapshot.publish(pilot.apply(read).change);
        let mut applier = Applier::asking();
        let mut rejected = Vec::new();
        while let Some(update) = subscription.try_next() {
            rejected.extend(applier.apply(&update).rejected);
        }
        let config = Arc::clone(applier.config());
        Self { pilot, config, snapshot, rejected, objects, places: Places::default() }
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

    /// Whether the objects come from manifests, so that a running gateway may have more.
    pub(crate) fn is_of_files(&self) -> bool {
        self.objects.values().any(|o| matches!(o.origin, tidegate_api::Origin::File { .. }))
    }

    /// An address of the client: any outside.
    pub(crate) fn client() -> SocketAddr {
        SocketAddr::new(Ipv4Addr::new(192, 0, 2, 1).into(), 50_000)
    }

    /// The place of a part of an object, with file and line where it comes from a file.
    pub(crate) fn source(&self, origin: &Origin) -> Source {
        let key = &origin.key;
        let (file, line) = match self.objects.get(key).map(|o| &o.origin) {
            Some(tidegate_api::Origin::File { path, line }) => {
                let found = self.places.line_of(path, *line, &origin.path).unwrap_or(*line);
                (Some(path.display().to_string()), Some(found))
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
        }
    }
}
