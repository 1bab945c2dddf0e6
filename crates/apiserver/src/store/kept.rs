//! Last good forms of objects in files, as the disk keeps them: one row per object, with a form per file.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tidegate_api::{ObjectKey, Origin};

use super::Entry;
use super::names::storage_version;

/// The row of an object that was pushed in; none when no file has it.
pub(super) fn write(forms: &[Arc<Entry>]) -> Option<Vec<u8>> {
    let kept: Vec<Value> = forms.iter().filter_map(|form| one(form)).collect();
    (!kept.is_empty()).then(|| Value::Array(kept).to_string().into_bytes())
}

/// A form of a file whose name can be written down.
fn one(form: &Entry) -> Option<Value> {
    let Origin::File { path, line } = form.origin() else { return None };
    let object = form.manifest(&storage_version(form.key().kind));
    Some(json!({ "file": path.to_str()?, "line": line, "object": object }))
}

/// The forms that a row holds and that still decode.
pub(super) fn read(key: &ObjectKey, row: &[u8]) -> Vec<Arc<Entry>> {
    let Ok(Value::Array(kept)) = serde_json::from_slice(row) else {
        tracing::error!(%key, "the kept form of a manifest is no JSON: it is not shown");
        return Vec::new();
    };
    kept.into_iter().filter_map(|form| read_one(key, form)).collect()
}

fn read_one(key: &ObjectKey, mut form: Value) -> Option<Arc<Entry>> {
    let path: Arc<Path> = Path::new(form["file"].as_str()?).into();
    let line = u32::try_from(form["line"].as_u64()?).ok()?;
    let object: Map<String, Value> = match form["object"].take() {
        Value::Object(object) => object,
        _ => return None,
    };
    let origin = Origin::File { path, line };
    let decoded = tidegate_source::decode(key, &object, origin.clone());
    if let Err(errors) = &decoded {
        tracing::warn!(%key, ?errors, "the kept form of a manifest does not decode");
    }
    decoded.is_ok().then(|| Arc::new(Entry::new(key.clone(), object, &decoded, origin, 0)))
}
