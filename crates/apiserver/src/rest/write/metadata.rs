//! Metadata that clients may not set, and names that they leave to the server.

use serde_json::{Map, Value, json};

use super::Writing;
use crate::rest::failure::Failure;
use crate::store::{Entry, generation};
use crate::{clock, ids};

/// What the server sets, whatever a client says.
const SERVER_SET: &[&str] = &[
    "uid",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
];

/// Bytes of a name that was made from `generateName`, without the suffix.
const GENERATED_BASE: usize = 58;

/// The metadata of an object, made if there is none. Something that is no object is left to validation.
pub(super) fn of(value: &mut Value) -> Option<&mut Map<String, Value>> {
    let map = value.as_object_mut()?;
    let metadata = map.entry("metadata").or_insert_with(|| json!({}));
    if metadata.is_null() {
        *metadata = json!({});
    }
    metadata.as_object_mut()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value["metadata"][field].as_str().unwrap_or_default()
}

/// Makes a new object of what was sent: server-set fields, namespace and name.
pub(super) fn for_create(writing: &Writing<'_>, value: &mut Value) -> Result<(), Failure> {
    if !text(value, "resourceVersion").is_empty() {
        return Err(Failure::internal(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    check_namespace(writing, value)?;
    let info = writing.target.served.info;
    let generate = text(value, "generateName").to_owned();
    let generates = text(value, "name").is_empty() && !generate.is_empty();
    let Some(metadata) = of(value) else {
        return Ok(());
    };
    for field in SERVER_SET.iter().chain(&["resourceVersion", "managedFields"]) {
        metadata.remove(*field);
    }
    if generates {
        let end = generate.floor_char_boundary(GENERATED_BASE);
        metadata
            .insert("name".into(), format!("{}{}", &generate[..end], ids::name_suffix()).into());
    }
    if let Some(namespace) = &writing.target.namespace {
        metadata.insert("namespace".into(), namespace.as_str().into());
    } else {
        metadata.remove("namespace");
    }
    metadata.insert("uid".into(), ids::random_uid().into());
    metadata.insert("creationTimestamp".into(), clock::now().into());
    if info.has_generation {
        metadata.insert("generation".into(), 1.into());
    }
    Ok(())
}

/// Checks that what was sent is about the object that the path names.
pub(super) fn check_identity(writing: &Writing<'_>, value: &Value) -> Result<(), Failure> {
    let on_path = writing.target.name.as_deref().unwrap_or_default();
    let given = text(value, "name");
    if !given.is_empty() && given != on_path {
        return Err(Failure::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({on_path})"
        )));
    }
    check_namespace(writing, value)
}

fn check_namespace(writing: &Writing<'_>, value: &Value) -> Result<(), Failure> {
    let given = text(value, "namespace");
    match &writing.target.namespace {
        Some(namespace) if !given.is_empty() && given != namespace => Err(Failure::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        )),
        _ => Ok(()),
    }
}

/// Brings back from the old form what a write may not change.
pub(super) fn for_update(old: &Value, value: &mut Value) {
    let managed = value["metadata"].get("managedFields").cloned();
    let Some(metadata) = of(value) else { return };
    for field in ["name", "namespace", "resourceVersion"].iter().chain(SERVER_SET) {
        match old["metadata"].get(*field) {
            Some(kept) => metadata.insert((*field).into(), kept.clone()),
            None => metadata.remove(*field),
        };
    }
    // Absent means "as before"; an empty list, which clients send to be rid of them, is kept as it is.
    if managed.is_none_or(|managed| managed.is_null()) {
        match old["metadata"].get("managedFields") {
            Some(kept) => metadata.insert("managedFields".into(), kept.clone()),
            None => metadata.remove("managedFields"),
        };
    }
}

/// Empty maps and lists of metadata are as good as absent ones, and not kept.
pub(super) fn drop_empty(value: &mut Value) {
    if let Some(metadata) = of(value) {
        metadata.retain(|_, value| match value {
            Value::Object(map) => !map.is_empty(),
            Value::Array(list) => !list.is_empty(),
            _ => true,
        });
    }
}

/// Marks an object as being deleted; its finalizers keep it.
pub(super) fn mark_deleted(entry: &Entry, value: &mut Map<String, Value>) {
    let counts = entry.key().kind.info().has_generation;
    let Some(Value::Object(metadata)) = value.get_mut("metadata") else { return };
    metadata.insert("deletionTimestamp".into(), clock::now().into());
    if entry.key().kind != tidegate_api::Kind::Namespace {
        metadata.insert("deletionGracePeriodSeconds".into(), 0.into());
    }
    if counts {
        let generation = generation::of(&entry.json()) + 1;
        metadata.insert("generation".into(), generation.into());
    }
}

/// The finalizers of an object.
pub(super) fn finalizers(value: &Value) -> Vec<&str> {
    value["metadata"]["finalizers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}
