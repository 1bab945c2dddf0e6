//! A small local file that is read again when it changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// A file, parsed again when it changes. A file that is not there is empty.
#[derive(Debug)]
pub struct Watched<T> {
    path: PathBuf,
    parsed: Mutex<Option<(Option<Stamp>, Arc<T>)>>,
}

/// What tells one version of a file from another.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
}

impl<T> Watched<T> {
    /// The file at a path, which is not read yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, parsed: Mutex::new(None) }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's content now. It is on a local disk and small, so it is read where it is needed.
    pub fn current(&self, parse: impl FnOnce(&str) -> T) -> Arc<T> {
        let stamp = Stamp::of(&self.path);
        let mut parsed = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        match &*parsed {
            Some((known, content)) if *known == stamp => Arc::clone(content),
            _ => {
                let text = fs::read(&self.path).unwrap_or_default();
                let content = Arc::new(parse(&String::from_utf8_lossy(&text)));
                *parsed = Some((stamp, Arc::clone(&content)));
                content
            }
        }
    }
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self { modified: metadata.modified().ok(), length: metadata.len() })
    }
}
