//! Manifests from files and folders, followed as they change.
//!
//! A folder means its files that end in `.yaml`, `.yml` or `.json`, with its sub-folders; names that begin
//! with a dot are left out. Folders are watched, never single files, so that files saved by renaming and
//! volumes that swap a `..data` link are noticed. A file that is being written is read once it was closed,
//! or was quiet for a while: half of it is never taken for the whole. Words of writing lag behind the disk, so a
//! file that looks different without one is not taken for whole at once.
//!
//! What is wrong takes down itself alone. An object that does not decode keeps its last good form; so do
//! objects that a document which is no YAML, or a file that cannot be read, may hold. Each of them is told to
//! be wrong. A file that is gone takes its objects along.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value};
use tidegate_api::{Object, ObjectKey, Origin};
use tidegate_yaml::{Diagnostic, Position, Span};

mod finding;
mod locate;
mod open;
mod read;
mod scan;
mod watch;

pub use finding::Finding;
pub use locate::Places;
use read::{Content, Doubt, Known};
use scan::{Entry, Found, Signature, scan};
pub use watch::WatchError;
use watch::{Touched, Watch};

/// One thing that happened to the objects in files.
#[derive(Clone, Debug)]
pub enum FileChange {
    /// The object stands there, in this form.
    Put {
        /// The object; its origin is the file and line.
        object: Arc<Object>,
        /// What was written, without what only a server says (uid, resourceVersion …), and with the
        /// defaults of Kubernetes' own kinds.
        manifest: Map<String, Value>,
    },
    /// The object is gone from that file.
    Remove {
        /// Which object.
        key: ObjectKey,
        /// The file that it was in.
        origin: Origin,
    },
    /// The object stands there in a form that does not decode or validate, or may stand there in a file that cannot
    /// be read: the form before it stays.
    Invalid {
        /// Which object.
        key: ObjectKey,
        /// The file and line.
        origin: Origin,
        /// What is wrong, one entry per field, each with its line.
        errors: Vec<String>,
        /// Of a policy of the security API: the labels of whom it is about, where the refused form tells.
        selector: Option<BTreeMap<String, String>>,
    },
}

/// What came of one look at the files.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Changes to apply in order: an object that moved to another file is there before it is gone.
    pub changes: Vec<FileChange>,
    /// What to tell about files that were read.
    pub findings: Vec<Finding>,
}

/// Manifests in files and folders.
#[derive(Debug)]
pub struct Files {
    roots: Vec<PathBuf>,
    age: Timestamp,
    watch: Watch,
    files: BTreeMap<Arc<Path>, File>,
    /// Places that could not be looked at, so that each is told once.
    unreadable: BTreeSet<PathBuf>,
    started: bool,
}

/// A file as it was read last.
#[derive(Debug, Default)]
struct File {
    signature: Option<Signature>,
    /// Its objects in their last good form.
    forms: BTreeMap<ObjectKey, Last>,
    /// Objects that stood there in a wrong form: one that is good again has to be told, even as it was before.
    refused: BTreeSet<ObjectKey>,
}

/// The last good form of an object.
#[derive(Debug)]
enum Last {
    /// As it was read here.
    Read(Known),
    /// As a process before this one read it; whoever told of it has kept it.
    Kept(Origin),
}

impl Last {
    fn is(&self, form: &Known) -> bool {
        matches!(self, Self::Read(read) if read == form)
    }

    fn remove(self, key: ObjectKey) -> FileChange {
        let origin = match self {
            Self::Read(form) => form.origin,
            Self::Kept(origin) => origin,
        };
        FileChange::Remove { key, origin }
    }
}

impl Files {
    /// Prepares to read `roots`, files or folders. `age` becomes the creation time of every object: objects
    /// in files are all of one age, so that name and namespace order them.
    ///
    /// # Errors
    /// The system gives no means to watch files.
    pub fn new(roots: Vec<PathBuf>, age: Timestamp) -> Result<Self, WatchError> {
        // Places are told to people who may stand elsewhere. What cannot be made absolute is left as it is.
        let absolute = |root| std::path::absolute(&root).unwrap_or(root);
        let roots = roots.into_iter().map(absolute).collect();
        Ok(Self {
            roots,
            age,
            watch: Watch::new()?,
            files: BTreeMap::new(),
            unreadable: BTreeSet::new(),
            started: false,
        })
    }

    /// Takes over objects of which somebody has kept the last good form that an earlier process read: they are
    /// told to be gone, good or wrong, as if they had been read here.
    #[must_use]
    pub fn holding(mut self, kept: impl IntoIterator<Item = (ObjectKey, Origin)>) -> Self {
        for (key, origin) in kept {
            if let Origin::File { path, .. } = &origin {
                let file = self.files.entry(Arc::clone(path)).or_default();
                file.forms.insert(key, Last::Kept(origin));
            }
        }
        self
    }

    /// The first call answers at once with everything there is; later ones wait until something changed.
    /// Reads files on the calling thread. Safe to cancel.
    pub async fn next(&mut self) -> Batch {
        loop {
            let touched =
                if self.started { self.watch.touched().await } else { Touched::default() };
            let batch = self.look(&touched);
            let first = !std::mem::replace(&mut self.started, true);
            if first || !batch.changes.is_empty() || !batch.findings.is_empty() {
                return batch;
            }
        }
    }

    /// Looks at everything that is there; reads files that look different or are known to be.
    fn look(&mut self, touched: &Touched) -> Batch {
        let mut batch = Batch::default();
        let mut found = scan(&self.roots);
        // A folder is watched only after it was looked at: what came in between is found the next time.
        let mut faults = self.watch.forget(touched).follow(&found);
        while self.watch.has_new() {
            found = scan(&self.roots);
            faults = self.watch.follow(&found);
        }
        faults.append(&mut found.faults);
        let mut removed = Vec::new();
        for (path, entry) in &found.files {
            if !self.is_due(path, entry, touched) {
                continue;
            }
            let path: Arc<Path> = path.as_path().into();
            match open::read(&path) {
                // Written while it was read.
                Ok((_, read)) if read != entry.signature && self.watch.put_off(&entry.real) => {}
                Ok((bytes, _)) => {
                    let content = read::read(&path, &bytes, self.age);
                    self.absorb(&path, &entry.signature, content, &mut batch, &mut removed);
                }
                // Gone since it was found: the next look tells.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => faults.push((path.to_path_buf(), error)),
            }
        }
        self.drop_files(&found, &faults, &mut removed);
        batch.changes.append(&mut removed);
        self.doubt_hidden(&found, &faults, &mut batch);
        self.tell(faults, &mut batch);
        batch
    }

    /// Whether a file is to be read: it looks different or is known to be, and is whole.
    fn is_due(&self, path: &Path, entry: &Entry, touched: &Touched) -> bool {
        let known = self.files.get(path);
        let same = known.is_some_and(|file| file.signature.as_ref() == Some(&entry.signature));
        let told = |files: &HashSet<PathBuf>| files.contains(&entry.real);
        let (quiet, closed) = (told(&touched.quiet), told(&touched.closed));
        let due = quiet || closed || !same;
        if !due || told(&touched.writing) {
            return false;
        }
        // Closed, and emptied again by the next one who writes it?
        let emptied =
            entry.signature.is_empty() && known.is_some_and(|file| !file.forms.is_empty());
        let whole = quiet || !self.started || closed && !emptied;
        whole || !self.watch.put_off(&entry.real)
    }

    /// Takes away the objects of files that are gone.
    fn drop_files(
        &mut self,
        found: &Found,
        faults: &[(PathBuf, io::Error)],
        removed: &mut Vec<FileChange>,
    ) {
        // Where one cannot look, nothing is known to be gone.
        let hidden = |path: &Path| faults.iter().any(|(place, _)| path.starts_with(place));
        let gone = |path: &Path| !found.files.contains_key(path) && !hidden(path);
        for (_, file) in self.files.extract_if(.., |path, _| gone(path)) {
            removed.extend(file.forms.into_iter().map(|(key, last)| last.remove(key)));
        }
    }

    /// Tells, once, of every object below a place that cannot be looked at, that nobody knows how it stands.
    fn doubt_hidden(&mut self, found: &Found, faults: &[(PathBuf, io::Error)], batch: &mut Batch) {
        for (place, error) in faults {
            // What stands in a folder of which only changes are not noticed, was read.
            let hidden = |path: &Path| {
                path == place || path.starts_with(place) && !found.files.contains_key(path)
            };
            let doubts = [Doubt { line: 1, reason: error.to_string() }];
            for (path, file) in self.files.iter_mut().filter(|(path, _)| hidden(path)) {
                // Read as soon as it can be, however alike it looks then.
                file.signature = None;
                for key in file.forms.keys() {
                    if file.refused.insert(key.clone()) {
                        batch.changes.push(read::doubted(key, path, &doubts));
                    }
                }
            }
        }
    }

    /// Tells of places that cannot be looked at, once each.
    fn tell(&mut self, faults: Vec<(PathBuf, io::Error)>, batch: &mut Batch) {
        let before = std::mem::take(&mut self.unreadable);
        for (path, error) in faults {
            if self.unreadable.insert(path.clone()) && !before.contains(&path) {
                batch.findings.push(fault(&path, &error));
            }
        }
    }

    /// Compares a file's content with what it held before.
    fn absorb(
        &mut self,
        path: &Arc<Path>,
        signature: &Signature,
        content: Content,
        batch: &mut Batch,
        removed: &mut Vec<FileChange>,
    ) {
        let file = self.files.entry(Arc::clone(path)).or_default();
        file.signature = Some(signature.clone());
        let mut before = std::mem::take(&mut file.forms);
        let mut refused_before = std::mem::take(&mut file.refused);
        for (key, form) in content.forms {
            let known = form.known();
            let same = before.remove(&key).is_some_and(|last| last.is(&known));
            if refused_before.remove(&key) || !same {
                batch.changes.push(form.put());
            }
            file.forms.insert(key, Last::Read(known));
        }
        for refused in content.refused {
            file.refused.insert(refused.key.clone());
            if let Some(good) = before.remove(&refused.key) {
                file.forms.insert(refused.key.clone(), good);
            }
            batch.changes.push(refused.invalid());
        }
        if content.doubts.is_empty() {
            removed.extend(before.into_iter().map(|(key, last)| last.remove(key)));
        } else {
            // One of them may be what the unreadable document is about.
            for key in before.keys() {
                batch.changes.push(read::doubted(key, path, &content.doubts));
            }
            file.refused.append(&mut refused_before);
            file.refused.extend(before.keys().cloned());
            file.forms.extend(before);
        }
        batch.findings.extend(content.findings);
    }
}

fn fault(path: &Path, error: &io::Error) -> Finding {
    let diagnostic = Diagnostic::error(Span::at(Position::START), error.to_string());
    Finding::new(path.into(), diagnostic, "".into())
}

#[cfg(test)]
mod tests;
