//! Which files there are now, and which folders have to be watched to notice that this changed.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::open::regular;

/// Files in folders that are taken for manifests.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// Tells apart contents of a file without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signature {
    device: u64,
    inode: u64,
    length: u64,
    modified: Option<SystemTime>,
}

/// A manifest that was found.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) signature: Signature,
    /// Its path without links, by which events name it.
    pub(super) real: PathBuf,
}

/// What one look found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Manifests, by their path as it was given or found.
    pub(super) files: BTreeMap<PathBuf, Entry>,
    /// Folders whose entries matter.
    pub(super) folders: BTreeSet<PathBuf>,
    /// Places that could not be looked at.
    pub(super) faults: Vec<(PathBuf, io::Error)>,
}

/// Looks at every root.
pub(super) fn scan(roots: &[PathBuf]) -> Found {
    let mut found = Found::default();
    let mut seen = HashSet::new();
    for root in roots {
        // The root itself may be replaced, or appear later.
        found.watch_parent(root);
        match fs::metadata(root) {
            Ok(metadata) if metadata.is_dir() => found.folder(root, &mut seen),
            Ok(metadata) => found.file(root, &metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => found.faults.push((root.clone(), error)),
        }
    }
    found
}

impl Found {
    /// Takes a folder in, with its sub-folders. A folder that links lead to twice is taken once.
    fn folder(&mut self, folder: &Path, seen: &mut HashSet<PathBuf>) {
        let entries = fs::canonicalize(folder).and_then(|real| {
            if !seen.insert(real) {
                return Ok(None);
            }
            fs::read_dir(folder).map(Some)
        });
        let entries = match entries {
            Ok(Some(entries)) => entries,
            Ok(None) => return,
            Err(error) => return self.faults.push((folder.to_owned(), error)),
        };
        self.folders.insert(folder.to_owned());
        for entry in entries.flatten() {
            let path = entry.path();
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            // Follows links; one that leads nowhere is no manifest.
            let Ok(metadata) = fs::metadata(&path) else { continue };
            if metadata.is_dir() {
                self.folder(&path, seen);
            } else if is_manifest(&path) {
                self.file(&path, &metadata);
            }
        }
    }

    fn file(&mut self, path: &Path, metadata: &Metadata) {
        if let Err(error) = regular(metadata) {
            return self.faults.push((path.to_owned(), error));
        }
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        // What a link leads to may change where it is.
        self.watch_parent(&real);
        let entry = Entry { signature: Signature::of(metadata), real };
        self.files.insert(path.to_owned(), entry);
    }

    fn watch_parent(&mut self, path: &Path) {
        let parent =
            path.parent().map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p });
        if let Some(parent) = parent.filter(|p| p.is_dir()) {
            self.folders.insert(parent.to_owned());
        }
    }
}

impl Signature {
    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: metadata.modified().ok(),
        }
    }
}

/// Whether a file in a folder is taken for a manifest.
pub(super) fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str());
    extension.is_some_and(|e| EXTENSIONS.iter().any(|known| e.eq_ignore_ascii_case(known)))
}
