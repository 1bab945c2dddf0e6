//! One object as the store holds it: its JSON, ready to send, and what is asked of it often.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Map, Value};
use tidegate_api::{ObjectKey, Origin};
use tidegate_source::Decoded;

use super::{names, overlay};

/// One object at one revision. Never changes; a write makes another entry.
///
/// The JSON is kept as text without `apiVersion`, since every served version is a view of the same object:
/// a list of ten thousand objects is then copied, not built. The typed form, which takes several times the room of the
/// text, is made of it when somebody asks.
#[derive(Debug)]
pub struct Entry {
    key: ObjectKey,
    revision: u64,
    body: Box<str>,
    typed: Result<Typed, Arc<[String]>>,
    labels: Labels,
    origin: Origin,
    generation: i64,
    terminating: bool,
    /// Whether the control plane compiled this form without fault.
    confirmed: AtomicBool,
}

/// What the text does not say of the typed form.
#[derive(Clone, Debug)]
struct Typed {
    revision: u64,
    /// Fields that no schema has, which were left out.
    unknown: Box<[String]>,
}

/// `metadata.labels`, in the order of their keys.
#[derive(Debug, Default)]
pub struct Labels(Box<[(Box<str>, Box<str>)]>);

impl Labels {
    /// Those of an object's metadata; what is no string is left out.
    fn of(metadata: &Map<String, Value>) -> Self {
        let labels = metadata.get("labels").and_then(Value::as_object).into_iter().flatten();
        let labels = labels.filter_map(|(key, value)| Some((&**key, value.as_str()?)));
        let mut labels: Box<[_]> = labels.map(|(key, value)| (key.into(), value.into())).collect();
        labels.sort_unstable();
        Self(labels)
    }

    /// The value of a label.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(there, _)| (**there).cmp(key)).ok()?;
        Some(&self.0[at].1)
    }
}

impl Entry {
    /// Makes the entry of `value`, which decodes to `decoded`, at `revision`: `metadata.resourceVersion` is set and `apiVersion`
    /// left out.
    pub(crate) fn new(
        key: ObjectKey,
        mut value: Map<String, Value>,
        decoded: &Decoded,
        origin: Origin,
        revision: u64,
    ) -> Self {
        value.remove("apiVersion");
        let metadata = value.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
        let (mut terminating, mut generation, mut labels) = (false, 0, Labels::default());
        if let Value::Object(metadata) = metadata {
            metadata.insert("resourceVersion".into(), revision.to_string().into());
            terminating = metadata.contains_key("deletionTimestamp");
            generation = metadata.get("generation").and_then(Value::as_i64).unwrap_or_default();
            labels = Labels::of(metadata);
        }
        let typed = match decoded {
            Ok(object) => Ok(Typed { revision, unknown: object.unknown.clone().into() }),
            Err(errors) => Err(Arc::clone(errors)),
        };
        Self {
            body: Value::Object(value).to_string().into_boxed_str(),
            key,
            revision,
            typed,
            labels,
            origin,
            generation,
            terminating,
            confirmed: AtomicBool::new(false),
        }
    }

    /// The same object with `value` in place of its JSON, decoded as before: for changes that no reader
    /// of the typed form cares about (status conditions).
    pub(super) fn with_value(&self, value: Map<String, Value>, revision: u64) -> Self {
        let none = Err(Arc::from([]));
        let mut entry = Self::new(self.key.clone(), value, &none, self.origin.clone(), revision);
        entry.typed = self.typed.clone();
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

    /// `metadata.generation`; 0 where the kind has none.
    pub(super) fn generation(&self) -> i64 {
        self.generation
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

    /// The typed form, made of the text, or why there is none. Its `resource_version` is the revision of the last write that
    /// changed more than status conditions.
    ///
    /// # Errors
    ///
    /// What is wrong with it, one entry per field.
    pub fn decoded(&self) -> Decoded {
        let typed = self.typed.as_ref().map_err(Arc::clone)?;
        let mut value = self.manifest(&names::storage_version(self.key.kind));
        // Where it comes from is shown in it, and was not written there.
        overlay::disown(&mut value);
        let mut object = tidegate_source::decode(&self.key, &value, self.origin.clone())?;
        let made = Arc::make_mut(&mut object);
        made.resource_version = typed.revision;
        made.unknown = typed.unknown.to_vec();
        Ok(object)
    }

    /// Whether there is a typed form.
    #[must_use]
    pub fn decodes(&self) -> bool {
        self.typed.is_ok()
    }

    /// The fields of the typed form that no schema has; none when there is no typed form.
    pub(super) fn unknown(&self) -> Option<&[String]> {
        self.typed.as_ref().ok().map(|typed| &*typed.unknown)
    }

    /// The revision of the typed form, if there is one: what [`super::Store::confirm`] names it by.
    pub(super) fn typed_revision(&self) -> Option<u64> {
        self.typed.as_ref().ok().map(|typed| typed.revision)
    }

    /// `metadata.uid`.
    pub(super) fn uid(&self) -> Arc<str> {
        self.json()["metadata"]["uid"].as_str().unwrap_or_default().into()
    }

    /// `metadata.labels`.
    #[must_use]
    pub fn labels(&self) -> &Labels {
        &self.labels
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
