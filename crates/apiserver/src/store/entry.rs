//! One object as the store holds it: its JSON, ready to send, and its decoded form.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Map, Value};
use tidegate_api::{ObjectKey, Origin};
use tidegate_source::Decoded;

/// One object at one revision. Never changes; a write makes another entry.
///
/// The JSON is kept as text without `apiVersion`, since every served version is a view of the same object:
/// a list of ten thousand objects is then copied, not built.
#[derive(Debug)]
pub struct Entry {
    key: ObjectKey,
    revision: u64,
    body: Box<str>,
    decoded: Decoded,
    origin: Origin,
    terminating: bool,
    /// Whether the control plane compiled this form without fault.
    confirmed: AtomicBool,
}

impl Entry {
    /// Makes the entry of `value` at `revision`: `metadata.resourceVersion` is set and `apiVersion` left out.
    pub(crate) fn new(
        key: ObjectKey,
        mut value: Map<String, Value>,
        decoded: Decoded,
        origin: Origin,
        revision: u64,
    ) -> Self {
        value.remove("apiVersion");
        let metadata = value.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
        let (mut terminating, mut generation) = (false, 0);
        if let Value::Object(metadata) = metadata {
            metadata.insert("resourceVersion".into(), revision.to_string().into());
            generation = metadata.get("generation").and_then(Value::as_i64).unwrap_or_default();
            terminating = metadata.contains_key("deletionTimestamp");
        }
        // It was decoded before the write was settled: what the write gave it is not in it yet.
        let decoded = decoded.map(|mut object| {
            if (object.resource_version, object.generation) != (revision, generation) {
                let object = Arc::make_mut(&mut object);
                object.resource_version = revision;
                object.generation = generation;
            }
            object
        });
        Self {
            body: Value::Object(value).to_string().into_boxed_str(),
            key,
            revision,
            decoded,
            origin,
            terminating,
            confirmed: AtomicBool::new(false),
        }
    }

    /// The same object with `value` in place of its JSON, decoded as before: for changes that no reader
    /// of the typed form cares about (status conditions).
    pub(super) fn with_value(&self, value: Map<String, Value>, revision: u64) -> Self {
        let decoded = self.decoded.clone();
        let mut entry =
            Self::new(self.key.clone(), value, Err(Arc::from([])), self.origin.clone(), revision);
        entry.decoded = decoded;
        entry.confirmed = AtomicBool::new(self.confirmed());
        entry
    }

    /// Kind, namespace and name.
    #[must_use]
    pub fn key(&self) -> &ObjectKey {
        &self.key
    }

    /// `metadata.resourceVersion`.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Where the object came from; anything but [`Origin::Api`] is read-only.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Whether `metadata.deletionTimestamp` is set.
    #[must_use]
    pub fn terminating(&self) -> bool {
        self.terminating
    }

    /// The typed form, or why there is none. Its `resource_version` is the revision of the last write that
    /// changed more than status conditions.
    pub fn decoded(&self) -> &Decoded {
        &self.decoded
    }

    /// The revision of the typed form, if there is one: what [`super::Store::confirm`] names it by.
    pub(super) fn typed_revision(&self) -> Option<u64> {
        self.decoded.as_ref().ok().map(|object| object.resource_version)
    }

    /// `metadata.uid`.
    pub(super) fn uid(&self) -> Arc<str> {
        match &self.decoded {
            Ok(object) => Arc::clone(&object.uid),
            Err(_) => self.json()["metadata"]["uid"].as_str().unwrap_or_default().into(),
        }
    }

    /// `metadata.labels`.
    #[must_use]
    pub fn labels(&self) -> Cow<'_, BTreeMap<String, String>> {
        match &self.decoded {
            Ok(object) => Cow::Borrowed(&object.labels),
            Err(_) => Cow::Owned(string_map(&self.json()["metadata"]["labels"])),
        }
    }

    /// Whether the control plane compiled this form without fault.
    pub(super) fn confirmed(&self) -> bool {
        self.confirmed.load(Ordering::Relaxed)
    }

    pub(super) fn confirm(&self) {
        self.confirmed.store(true, Ordering::Relaxed);
    }

    /// Length of the stored JSON in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.body.len()
    }

    /// The object as JSON, without `apiVersion`.
    #[must_use]
    pub fn json(&self) -> Value {
        // The body was made by serde_json from a map.
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// The object as a map, with `apiVersion`.
    #[must_use]
    pub fn manifest(&self, api_version: &str) -> Map<String, Value> {
        match self.json() {
            Value::Object(mut map) => {
                map.insert("apiVersion".into(), api_version.into());
                map
            }
            _ => Map::new(),
        }
    }

    /// Appends the object's JSON, as a view in `api_version`, to `out`.
    pub fn write_json(&self, api_version: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"apiVersion\":\"");
        out.extend_from_slice(api_version.as_bytes());
        out.extend_from_slice(b"\",");
        out.extend_from_slice(&self.body.as_bytes()[1..]);
    }

    /// Whether both hold the same JSON but for `metadata.resourceVersion`.
    pub(super) fn same_content(&self, value: &Map<String, Value>) -> bool {
        let mut mine = self.manifest("");
        mine.remove("apiVersion");
        without_revision(&mut mine);
        let mut theirs = value.clone();
        theirs.remove("apiVersion");
        without_revision(&mut theirs);
        mine == theirs
    }
}

fn without_revision(map: &mut Map<String, Value>) {
    if let Some(Value::Object(metadata)) = map.get_mut("metadata") {
        metadata.remove("resourceVersion");
    }
}

/// A JSON object of strings as a map; anything else in it is left out.
fn string_map(value: &Value) -> BTreeMap<String, String> {
    let Value::Object(map) = value else {
        return BTreeMap::new();
    };
    map.iter().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}
