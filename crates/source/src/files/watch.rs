//! Notices that files changed, and waits until those that are being written are whole.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::scan::{Found, is_manifest};

/// A file that was written and not closed counts as whole after this time without another write. Where the
/// system tells of closing, only a writer that keeps the file open comes to this, and a shell has emptied a file
/// long before a slow program's output is redirected into it.
const QUIET: Duration =
    if cfg!(target_os = "linux") { Duration::from_secs(10) } else { Duration::from_millis(200) };

/// A file that looks different, and of which nobody has told why, is whole after this time: the word of who
/// writes it may be on its way.
const UNTOLD: Duration = Duration::from_millis(100);

/// Files that may be in writing at a time before all are looked at instead.
const MAX_WRITING: usize = 4096;

/// The system gives no means to watch files.
#[derive(Debug, thiserror::Error)]
#[error("cannot watch files: {0}; raise fs.inotify.max_user_instances if it is exhausted")]
pub struct WatchError(#[from] notify::Error);

/// What is known about the files since they were looked at last.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// Files that are being written, by their real paths: not to be read now.
    pub(super) writing: HashSet<PathBuf>,
    /// Files that were written and closed, or moved here, by their real paths: whole, however alike they look,
    /// unless they have been written again since.
    pub(super) closed: HashSet<PathBuf>,
    /// Files that nobody has written for long enough, by their real paths: whole.
    pub(super) quiet: HashSet<PathBuf>,
    /// Places that went away, whose watches are dead even if something of the name is there again.
    pub(super) gone: HashSet<PathBuf>,
}

/// Watches folders.
pub(super) struct Watch {
    watcher: RecommendedWatcher,
    folders: BTreeSet<PathBuf>,
    new: bool,
    inbox: Arc<Inbox>,
}

/// Between the watcher's thread and whoever waits: names, never a queue.
#[derive(Debug, Default)]
struct Inbox {
    pending: Mutex<Pending>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    /// Something happened that can be looked at now.
    ready: bool,
    /// Names of files that are read whatever their extension.
    names: HashSet<OsString>,
    /// Files that may be in writing, each with when it will have been quiet for long enough.
    writing: HashMap<PathBuf, Instant>,
    closed: HashSet<PathBuf>,
    gone: HashSet<PathBuf>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("folders", &self.folders).finish_non_exhaustive()
    }
}

impl Watch {
    pub(super) fn new() -> Result<Self, WatchError> {
        let inbox = Arc::new(Inbox::default());
        let sink = Arc::clone(&inbox);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            sink.take(event);
        })?;
        Ok(Self { watcher, folders: BTreeSet::new(), new: false, inbox })
    }

    /// Forgets folders that went away: their watches are dead, even if something of the name is there again.
    pub(super) fn forget(&mut self, touched: &Touched) -> &mut Self {
        self.drop_folders(|folder| touched.gone.contains(folder));
        self
    }

    /// Watches the folders that were found and no others. Answers those that cannot be watched.
    pub(super) fn follow(&mut self, found: &Found) -> Vec<(PathBuf, io::Error)> {
        self.inbox.pending().names =
            found.files.values().filter_map(|f| f.real.file_name()).map(OsStr::to_owned).collect();
        self.drop_folders(|folder| !found.folders.contains(folder));
        let mut faults = Vec::new();
        self.new = false;
        for folder in &found.folders {
            if self.folders.contains(folder) {
                continue;
            }
            match self.watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => self.new |= self.folders.insert(folder.clone()),
                Err(error) => faults.push((folder.clone(), not_watched(&error))),
            }
        }
        faults
    }

    /// Whether the last [`Watch::follow`] added a folder, which then has to be looked at again.
    pub(super) fn has_new(&self) -> bool {
        self.new
    }

    /// Has a file looked at again when it was closed, or after a while; not where too many wait already.
    pub(super) fn put_off(&self, real: &Path) -> bool {
        let mut pending = self.inbox.pending();
        let room = pending.writing.len() < MAX_WRITING;
        if room {
            pending.suspect(real.to_owned());
        }
        room
    }

    fn drop_folders(&mut self, stale: impl FnMut(&PathBuf) -> bool) {
        for folder in self.folders.extract_if(.., stale) {
            // The watch of a folder that is gone went with it.
            let _ = self.watcher.unwatch(&folder);
        }
    }

    /// Waits until something changed that can be looked at.
    pub(super) async fn touched(&self) -> Touched {
        loop {
            let woken = self.inbox.wake.notified();
            let quiet_at = match self.inbox.pending().take() {
                Ok(touched) => return touched,
                Err(quiet_at) => quiet_at,
            };
            match quiet_at {
                Some(at) => {
                    // Either way there is something new to look at.
                    let _ = tokio::time::timeout_at(at.into(), woken).await;
                }
                None => woken.await,
            }
        }
    }
}

/// A path without links: folders may be watched under several names.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

fn not_watched(error: &notify::Error) -> io::Error {
    let help =
        "changes there are not noticed; raise fs.inotify.max_user_watches if it is exhausted";
    io::Error::other(format!("cannot be watched: {error}; {help}"))
}

impl Inbox {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, event: notify::Result<Event>) {
        let told = match event {
            Ok(event) => self.pending().note(event),
            // Events were lost: look at everything.
            Err(_) => {
                self.pending().ready = true;
                true
            }
        };
        if told {
            self.wake.notify_one();
        }
    }
}

impl Pending {
    /// Notes an event; answers whether it means anything.
    fn note(&mut self, event: Event) -> bool {
        if event.need_rescan() {
            self.ready = true;
            return true;
        }
        match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => {
                let closed = event.paths.into_iter().filter(|path| self.is_read(path));
                let closed: Vec<PathBuf> = closed.collect();
                self.close(closed);
            }
            // Somebody reads, perhaps this source itself.
            EventKind::Access(_) => return false,
            EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Any) => {
                let written = event.paths.into_iter().filter(|path| self.is_read(path));
                let written: Vec<PathBuf> = written.collect();
                if written.is_empty() {
                    return false;
                }
                self.write(written);
            }
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) => {
                // What was moved in place is whole; what stood there before is gone.
                let moved = event.paths.iter().filter(|path| self.is_read(path)).cloned();
                let moved: Vec<PathBuf> = moved.collect();
                self.close(moved);
                self.remove(event.paths);
            }
            EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => {
                self.remove(event.paths);
            }
            EventKind::Create(_) => {
                // A file that is created is written next; a folder or a link is whole. What it is, the
                // disk tells better than the event.
                let is_file = |path: &PathBuf| path.symlink_metadata().is_ok_and(|m| m.is_file());
                let (files, others): (Vec<_>, Vec<_>) = event.paths.into_iter().partition(is_file);
                self.ready |= !others.is_empty();
                files.into_iter().for_each(|file| self.suspect(file));
                self.bound();
            }
            _ => self.ready = true,
        }
        true
    }

    /// Whether a file of that name is read at all: others may change as often as they like.
    fn is_read(&self, path: &Path) -> bool {
        is_manifest(path) || path.file_name().is_some_and(|name| self.names.contains(name))
    }

    fn write(&mut self, files: Vec<PathBuf>) {
        let whole = Instant::now() + QUIET;
        self.writing.extend(files.into_iter().map(|path| (path, whole)));
        self.bound();
    }

    /// A file that somebody may be writing.
    fn suspect(&mut self, file: PathBuf) {
        self.writing.entry(file).or_insert_with(|| Instant::now() + UNTOLD);
    }

    fn close(&mut self, files: Vec<PathBuf>) {
        for path in &files {
            self.writing.remove(path);
        }
        self.ready |= !files.is_empty();
        self.closed.extend(files);
    }

    fn remove(&mut self, paths: Vec<PathBuf>) {
        for path in &paths {
            self.writing.remove(path);
        }
        self.gone.extend(paths);
        self.ready = true;
    }

    fn bound(&mut self) {
        if self.writing.len() > MAX_WRITING {
            self.writing.clear();
            self.ready = true;
        }
    }

    /// What can be looked at now; else when the first file in writing will have been quiet.
    fn take(&mut self) -> Result<Touched, Option<Instant>> {
        let now = Instant::now();
        let quiet = self.writing.extract_if(|_, whole| *whole <= now);
        let quiet: HashSet<PathBuf> = quiet.map(|(path, _)| real(&path)).collect();
        if !self.ready && quiet.is_empty() {
            return Err(self.writing.values().min().copied());
        }
        self.ready = false;
        Ok(Touched {
            writing: self.writing.keys().map(|path| real(path)).collect(),
            closed: std::mem::take(&mut self.closed).iter().map(|path| real(path)).collect(),
            quiet,
            gone: std::mem::take(&mut self.gone),
        })
    }
}
