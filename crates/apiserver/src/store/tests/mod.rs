//! The store from its door: what writers are told, readers see and the file keeps.

mod disk;
mod overlay;
mod power;
mod writes;

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tidegate_api::{Kind, Object, ObjectKey, Origin};

use super::*;

pub(super) struct Bench {
    pub store: Store,
    pub dir: TempDir,
}

pub(super) fn bench() -> Bench {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path(), Options::default()).expect("a store");
    Bench { store, dir }
}

impl Bench {
    /// Closes the store and opens it again, as a restart does.
    pub async fn restart(self) -> Self {
        self.store.close().await;
        let store = Store::open(self.dir.path(), Options::default()).expect("the store again");
        Self { store, dir: self.dir }
    }
}

pub(super) fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("not an object: {other}"),
    }
}

pub(super) fn key(name: &str) -> ObjectKey {
    ObjectKey::new(Kind::ConfigMap, "default", name)
}

/// A ConfigMap with one value.
pub(super) fn config(name: &str, value: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": name, "namespace": "default", "uid": format!("uid-{name}") },
        "data": { "v": value },
    })
}

pub(super) fn decoded(value: &Value, origin: Origin) -> Arc<Object> {
    let kind = tidegate_api::kinds::by_api_version(
        value["apiVersion"].as_str().expect("apiVersion"),
        value["kind"].as_str().expect("kind"),
    )
    .expect("a known kind")
    .kind;
    let decoded = Object::decode(kind, kind.info().versions[0], value, origin);
    Arc::new(decoded.expect("a valid object").object)
}

pub(super) fn draft(value: &Value) -> Draft {
    let object = decoded(value, Origin::Api);
    Draft { key: object.key.clone(), value: map(value.clone()), decoded: Ok(object) }
}

pub(super) fn from_file(value: &Value, path: &str, line: u32) -> Push {
    let origin = Origin::File { path: Arc::from(Path::new(path)), line };
    Push::Put { object: decoded(value, origin), manifest: map(value.clone()) }
}

/// The value of a ConfigMap made by [`config`].
pub(super) fn value_of(entry: &Entry) -> String {
    entry.json()["data"]["v"].as_str().expect("a value").to_owned()
}

/// A change in one line: what, which, and the ConfigMap's value.
pub(super) fn told(change: &Change) -> String {
    let value = |object: &Object| match &object.spec {
        tidegate_api::Spec::ConfigMap(map) => map.data.get("v").cloned().unwrap_or_default(),
        _ => String::new(),
    };
    match change {
        Change::Apply(object) => format!("apply {} {}", object.key.name, value(object)),
        Change::Delete(key) => format!("delete {}", key.name),
        Change::Invalid { key, .. } => format!("invalid {}", key.name),
        Change::Synced => "synced".into(),
    }
}

/// What a new reader of changes is told up to `Synced`, namespaces left out.
pub(super) fn start(changes: &mut Changes) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(change) = changes.try_next() {
        let namespace = matches!(&change, Change::Apply(o) if o.key.kind == Kind::Namespace);
        if !namespace {
            lines.push(told(&change));
        }
    }
    lines
}

/// What [`Store::unsettled`] says, each object in a line.
pub(super) fn unsettled(store: &Store) -> Vec<String> {
    let line = |Unsettled { shown, good, errors }: Unsettled| {
        let good = good.map_or_else(String::new, |good| format!(", good {}", value_of(&good)));
        let wrong = if errors.is_empty() { "" } else { ", newer is wrong" };
        format!("{} {}{good}{wrong}", shown.key().name, value_of(&shown))
    };
    store.unsettled().into_iter().map(line).collect()
}
