//! Objects that are pushed in by the process: manifests from files, and what shows the process itself.
//!
//! They are visible like any other object and cannot be written. Where the API holds an object of the same
//! name, that one wins, the other is hidden and this is reported; it shows again when the API's is deleted.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tidegate_api::{Object, ObjectKey, Origin};
use tidegate_source::Change;

use super::changes::{Told, change_of};
use super::events::{Note, Recorded, Tone};
use super::state::writable;
use super::writer::Staged;
use super::{Entry, SOURCE_ANNOTATION, generation};

/// One change of what is pushed in.
#[derive(Clone, Debug)]
pub enum Push {
    /// The object is there, in this form.
    Put {
        /// Its decoded form; [`Object::origin`] says where it comes from. Of one file (or of the process) there
        /// is one form of an object: the latest.
        object: Arc<Object>,
        /// Its JSON.
        manifest: Map<String, Value>,
    },
    /// The object is gone from where it came from.
    Remove {
        /// Which object.
        key: ObjectKey,
        /// Where it came from; the line does not matter.
        origin: Origin,
    },
    /// The object stands there in a form that does not decode: the form before it stays.
    Invalid {
        /// Which object.
        key: ObjectKey,
        /// Where it stands.
        origin: Origin,
        /// What is wrong, one entry per field.
        errors: Vec<String>,
        /// Of a policy of the security API: the labels of whom it is about, where the refused form tells.
        selector: Option<BTreeMap<String, String>>,
    },
}

/// An object that stands in two places, of which only one counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hidden {
    /// The object.
    pub key: ObjectKey,
    /// Where the form that counts comes from.
    pub by: Origin,
    /// Where the form that is hidden comes from.
    pub origin: Origin,
}

pub(super) fn stage(staged: &mut Staged<'_>, push: &Push, recorded: &mut Recorded) {
    match push {
        Push::Put { object, manifest } => put(staged, object, manifest, recorded),
        Push::Remove { key, origin } => {
            let mut forms = staged.overlay(key);
            forms.retain(|form| !same_source(form.origin(), origin));
            staged.set_overlay(key.clone(), forms);
            staged.mend(key, origin);
            if staged.get(key).is_some_and(|entry| !writable(&entry)) {
                show(staged, key);
            }
        }
        Push::Invalid { key, origin, errors, selector } => {
            let fault = |generation| Change::Invalid {
                key: key.clone(),
                generation,
                errors: errors.clone(),
                selector: selector.clone(),
            };
            invalid(staged, key, origin, fault, recorded);
        }
    }
}

/// Tells that an object's form is wrong, if that is the object that counts. The generation is that of the form
/// that is shown: a form that was refused has none.
fn invalid(
    staged: &mut Staged<'_>,
    key: &ObjectKey,
    origin: &Origin,
    fault: impl FnOnce(i64) -> Change,
    recorded: &mut Recorded,
) {
    if staged.get(key).is_none() {
        // A form that was kept from before the start, if there is one.
        show(staged, key);
    }
    let shown = staged.get(key);
    match &shown {
        Some(shown) if writable(shown) => hides(staged, key, origin, recorded),
        Some(shown) if !same_source(shown.origin(), origin) => {}
        _ => {
            let generation = shown.map_or(0, |shown| generation::of(&shown.json()));
            staged.find_fault(origin.clone(), fault(generation));
        }
    }
}

/// Says at the API's object that a file has one of its name.
fn hides(staged: &mut Staged<'_>, key: &ObjectKey, origin: &Origin, recorded: &mut Recorded) {
    let place = describe(origin);
    tracing::warn!(kind = ?key.kind, namespace = %key.namespace, name = %key.name, %place,
        "an object stands both in the API and in a file: the API's counts");
    let message = format!(
        "{place} has an object of this name too: this one, written through the API, counts"
    );
    let about = key.clone();
    recorded.stage(staged, &Note { about, tone: Tone::Warning, reason: "Hides".into(), message });
}

fn put(
    staged: &mut Staged<'_>,
    object: &Arc<Object>,
    manifest: &Map<String, Value>,
    recorded: &mut Recorded,
) {
    let key = &object.key;
    let form = form_of(object, manifest);
    let mut forms = staged.overlay(key);
    match forms.iter_mut().find(|old| same_source(old.origin(), form.origin())) {
        Some(old) => {
            if staged.get(key).is_none() && old.json() != form.json() {
                // A form from before the start, which served then unless a good one was kept beside it.
                staged.keep_unless_kept(key, old);
            }
            *old = Arc::new(form);
        }
        None => forms.push(Arc::new(form)),
    }
    forms.sort_by(|a, b| rank(a.origin()).cmp(&rank(b.origin())));
    staged.set_overlay(key.clone(), forms);
    staged.mend(key, &object.origin);
    match staged.get(key) {
        Some(entry) if writable(&entry) => hides(staged, key, &object.origin, recorded),
        _ => show(staged, key),
    }
}

/// Shows what an API object hid, after that one has been removed.
pub(super) fn uncover(staged: &mut Staged<'_>, key: &ObjectKey) {
    if !staged.overlay(key).is_empty() {
        show(staged, key);
    }
}

/// Makes the first of an object's forms the visible one, or removes the object when there is none.
fn show(staged: &mut Staged<'_>, key: &ObjectKey) {
    let Some(revision) = staged.next_revision() else {
        tracing::error!(kind = ?key.kind, name = %key.name, "not shown: the disk takes no writes");
        return;
    };
    let current = staged.get(key);
    let Some(form) = staged.overlay(key).into_iter().next() else {
        if let Some(current) = current {
            staged.set(key, None, revision, Told::Gone(current.uid()));
        }
        staged.keep_none(key);
        return;
    };
    let Value::Object(mut value) = form.json() else { return };
    if let Some(current) = &current {
        let json = current.json();
        if let Some(status) = json.get("status") {
            value.entry("status").or_insert_with(|| status.clone());
        }
        set_generation(key, &mut value, generation::of(&json));
        if current.same_content(&value)
            && current.origin() == form.origin()
            && current.unknown() == form.unknown()
        {
            // Readers may have heard in between that the object's form is wrong.
            return staged.tell(change_of(current));
        }
        if key.kind.info().has_generation {
            generation::count(&json, &mut value);
        }
        staged.write_over(key, Arc::clone(current));
    } else {
        set_generation(key, &mut value, 1);
    }
    let decoded = form.decoded();
    let entry = Entry::new(key.clone(), value, &decoded, form.origin().clone(), revision);
    let told = Told::written(&entry, decoded);
    staged.set(key, Some(Arc::new(entry)), revision, told);
}

fn set_generation(key: &ObjectKey, value: &mut Map<String, Value>, generation: i64) {
    if key.kind.info().has_generation
        && let Some(Value::Object(metadata)) = value.get_mut("metadata")
    {
        metadata.insert("generation".into(), generation.into());
    }
}

/// The form as it is kept: named, dated and marked with where it comes from.
fn form_of(object: &Arc<Object>, manifest: &Map<String, Value>) -> Entry {
    let uid = uid_of(&object.key);
    let mut value = manifest.clone();
    let metadata = value.entry("metadata").or_insert_with(|| json!({}));
    if let Value::Object(metadata) = metadata {
        metadata.insert("name".into(), (*object.key.name).into());
        if !object.key.namespace.is_empty() {
            metadata.insert("namespace".into(), (*object.key.namespace).into());
        }
        metadata.insert("uid".into(), uid.into());
        let created = crate::clock::whole_seconds(object.created);
        metadata.insert("creationTimestamp".into(), created.into());
        let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
        if let Value::Object(annotations) = annotations {
            annotations.insert(SOURCE_ANNOTATION.into(), describe(&object.origin).into());
        }
    }
    let (key, origin) = (object.key.clone(), object.origin.clone());
    Entry::new(key, value, &Ok(Arc::clone(object)), origin, 0)
}

/// A uid that follows from the name: the same object has it after a restart, so that it is not taken for another one.
pub(crate) fn uid_of(key: &ObjectKey) -> String {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, key).hash(&mut hasher);
        hasher.finish()
    };
    crate::ids::uuid((u128::from(half(0)) << 64) | u128::from(half(1)))
}

/// Where an object comes from, in the form that people read.
#[must_use]
pub fn describe(origin: &Origin) -> String {
    match origin {
        Origin::File { path, line } => format!("{}:{line}", path.display()),
        Origin::Process => "tidegate".into(),
        Origin::Api => "the API".into(),
    }
}

/// Whether an object, as the API shows it, is the process's own.
#[must_use]
pub fn is_own(object: &Value) -> bool {
    object["metadata"]["annotations"][SOURCE_ANNOTATION] == *describe(&Origin::Process)
}

/// Takes away what a form that is stored, from when anybody could write it, says of where it comes from.
pub(super) fn disown(object: &mut Map<String, Value>) {
    let annotations =
        object.get_mut("metadata").and_then(|metadata| metadata.get_mut("annotations"));
    if let Some(Value::Object(annotations)) = annotations {
        annotations.remove(SOURCE_ANNOTATION);
    }
}

pub(super) fn same_source(a: &Origin, b: &Origin) -> bool {
    match (a, b) {
        (Origin::File { path: a, .. }, Origin::File { path: b, .. }) => a == b,
        (a, b) => a == b,
    }
}

/// The process's own objects come before files, files in the order of their names.
fn rank(origin: &Origin) -> (u8, Option<&std::path::Path>) {
    match origin {
        Origin::Api => (0, None),
        Origin::Process => (1, None),
        Origin::File { path, .. } => (2, Some(path)),
    }
}
