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
    let Found { manifests, faults } = look(paths).await?;
    if faults > 0 {
        return Err(Failure::new(
            "the manifests are wrong where it is told above: nothing is made of them",
        ));
    }
    Ok(manifests)
}

/// What there is in files and folders.
#[derive(Debug, Default)]
pub struct Found {
    /// Each object once.
    pub manifests: Vec<Manifest>,
    /// How many faults were told: of objects that are not among these, mostly.
    pub faults: usize,
}

/// What is good in files and folders. What is found about them, and what is wrong, is told on the way.
///
/// # Errors
/// They cannot be read.
pub async fn look(paths: Vec<PathBuf>) -> Outcome<Found> {
    let mut files = Files::new(paths, Timestamp::UNIX_EPOCH)
        .map_err(|error| Failure::new(format!("manifests cannot be read: {error}")))?;
    let batch = files.next().await;
    let color = std::io::stderr().is_terminal();
    for finding in &batch.findings {
        terminal::say(finding.render(color).trim_end());
    }
    let faults = batch.findings.iter().map(|finding| finding.diagnostic.severity);
    let faults = faults.filter(|severity| *severity == Severity::Error).count();
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
    Ok(Found { manifests: objects.into_values().collect(), faults })
}
