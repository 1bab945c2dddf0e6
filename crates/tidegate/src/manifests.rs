//! Manifests, read once.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value};
use tidegate_api::{Object, ObjectKey};
use tidegate_source::{FileChange, Files};
use tidegate_yaml::Severity;

use crate::failure::{Failure, Outcome};
use crate::terminal;

/// An object, and how it is written.
#[derive(Clone, Debug)]
pub struct Manifest {
    pub object: Arc<Object>,
    pub written: Map<String, Value>,
}

/// The objects in files and folders, each once. What is found about them is told on the way.
///
/// # Errors
/// They cannot be read, or something is wrong with one: an answer without it would be one about other manifests.
pub async fn read(paths: Vec<PathBuf>) -> Outcome<Vec<Manifest>> {
    let mut files = Files::new(paths, Timestamp::UNIX_EPOCH)
        .map_err(|error| Failure::new(format!("manifests cannot be read: {error}")))?;
    let batch = files.next().await;
    let color = std::io::stderr().is_terminal();
    for finding in &batch.findings {
        terminal::say(finding.render(color).trim_end());
    }
    let mut faults = batch.findings.iter().map(|finding| finding.diagnostic.severity);
    if faults.any(|severity| severity == Severity::Error) {
        return Err(Failure::new(
            "the manifests are wrong where it is told above: nothing is made of them",
        ));
    }
    let mut objects: BTreeMap<ObjectKey, Manifest> = BTreeMap::new();
    for change in batch.changes {
        match change {
            FileChange::Put { object, manifest: written } => {
                objects.insert(object.key.clone(), Manifest { object, written });
            }
            FileChange::Remove { key, .. } | FileChange::Invalid { key, .. } => {
                objects.remove(&key);
            }
        }
    }
    Ok(objects.into_values().collect())
}
