//! Injection: a sidecar beside a workload, written into the workload's manifest.
//!
//! [`inject`] takes a file of documents and gives it back with a sidecar in each workload that is to have one; what is no workload
//! stays as it is written; [`review`] does the same for a Pod that an API server asks about. What the sidecar is like is said by [`Settings`] and, stronger, by the annotations of the workload.
//!
//! Names, ports, mounts and arguments are those of Istio's sidecar, so that the documents work with its image and control plane;
//! which connections are captured is said by `tidegate_capture`'s options, and by nothing else.

mod annotations;
mod config;
mod containers;
mod environment;
mod merge;
mod metadata;
mod pod;
mod probes;
mod quantity;
mod review;
mod settings;
mod volumes;
mod workload;

use serde_json::Value;
use tidegate_yaml::{Diagnostic, Document};

pub use config::with_mesh_config;
pub use review::review;
pub use settings::{Readiness, Settings};

/// What came of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injected {
    /// The documents.
    pub text: String,
    /// What their author should know: who was left out, and why.
    pub notes: Vec<String>,
}

/// Why a file cannot be injected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A document cannot be read.
    #[error(transparent)]
    Unreadable(Box<Diagnostic>),
    /// An object asks for what cannot be.
    #[error(transparent)]
    Wrong(#[from] Wrong),
}

/// What is wrong with an object: where, why, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{object}: {place}: {reason}")]
pub struct Wrong {
    /// Kind, namespace and name.
    pub object: String,
    /// The annotation or field.
    pub place: String,
    /// What is wrong, and what would be right.
    pub reason: String,
}

/// Puts a sidecar into every workload of a file that is to have one. Documents without one stay as they are written, byte for byte.
///
/// # Errors
/// A document cannot be read, or a workload asks for what cannot be.
pub fn inject(source: &str, settings: &Settings) -> Result<Injected, Error> {
    let parts = tidegate_yaml::parse_parts(source);
    let mut notes = Vec::new();
    let mut texts = Vec::with_capacity(parts.len());
    let mut is_changed = false;
    for (text, documents) in parts {
        match part(documents, settings, &mut notes)? {
            None => texts.push(ended(text)),
            Some(written) => {
                is_changed = true;
                texts.push(written);
            }
        }
    }
    let text = if is_changed { join(&texts) } else { source.to_owned() };
    Ok(Injected { text, notes })
}

/// Puts a sidecar into a document, or into each item of a list.
///
/// Notes are added of who was left out. `None`: the document stays as it is.
///
/// # Errors
/// A workload asks for what cannot be.
pub fn inject_document(
    document: &Value,
    settings: &Settings,
    notes: &mut Vec<String>,
) -> Result<Option<Value>, Wrong> {
    workload::inject(document, settings, notes)
}

/// The documents of one text, written anew if one of them changed.
fn part(
    documents: Vec<Result<Document, Diagnostic>>,
    settings: &Settings,
    notes: &mut Vec<String>,
) -> Result<Option<String>, Error> {
    let mut texts = Vec::new();
    let mut is_changed = false;
    for document in documents {
        let document = document.map_err(|fault| Error::Unreadable(Box::new(fault)))?.to_json();
        let injected = inject_document(&document, settings, notes)?;
        is_changed |= injected.is_some();
        texts.push(tidegate_yaml::write(injected.as_ref().unwrap_or(&document)));
    }
    Ok(is_changed.then(|| join(&texts)))
}

fn join(texts: &[String]) -> String {
    let mut joined = String::new();
    for text in texts {
        if !joined.is_empty() && !text.starts_with("---") {
            joined.push_str("---\n");
        }
        joined.push_str(text);
    }
    joined
}

fn ended(text: &str) -> String {
    if text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") }
}

#[cfg(test)]
mod tests;
