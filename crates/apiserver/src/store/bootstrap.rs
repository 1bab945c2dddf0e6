//! What every store holds from its first moment: the namespaces that everything else is put in.

use serde_json::{Map, Value, json};
use tidegate_api::{ObjectKey, Origin};

use super::Entry;
use super::names::{DEFAULT_NAMESPACE, namespace_key};
use super::state::State;
use crate::{clock, ids};

/// The namespaces that are always there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Namespaces {
    system: Option<&'static str>,
}

impl Namespaces {
    /// `default`, and the one in which a gateway shows itself.
    pub(super) fn new(system: Option<&'static str>) -> Self {
        Self { system }
    }

    pub(super) fn names(self) -> impl Iterator<Item = &'static str> {
        std::iter::once(DEFAULT_NAMESPACE).chain(self.system)
    }

    /// Adds those that are missing; returns which, so that they are written down.
    pub(super) fn add_to(self, state: &mut State) -> Vec<ObjectKey> {
        let mut added = Vec::new();
        for name in self.names() {
            let key = namespace_key(name);
            if state.get(&key).is_some() {
                continue;
            }
            let value = namespace(name);
            let decoded = tidegate_source::decode(&key, &value, Origin::Api);
            // They count as having been there when the store was opened.
            let revision = state.revision();
            state.load(Entry::new(key.clone(), value, &decoded, Origin::Api, revision));
            added.push(key);
        }
        added
    }
}

fn namespace(name: &str) -> Map<String, Value> {
    let value = json!({
        "kind": "Namespace",
        "metadata": {
            "name": name,
            "uid": ids::random_uid(),
            "creationTimestamp": clock::now(),
            "labels": { "kubernetes.io/metadata.name": name },
        },
        "spec": { "finalizers": ["kubernetes"] },
        "status": { "phase": "Active" },
    });
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
