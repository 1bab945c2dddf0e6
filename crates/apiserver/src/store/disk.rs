//! The store's file: one redb database in the data directory.
//!
//! * `objects`: `<plural>.<group>/<namespace>/<name>` to the object's JSON.
//! * `good`: the same key to the last form that compiled, where the written one is another.
//! * `files`: the same key to the last good forms that files had, each with its file.
//! * `meta`: `format`, and `ceiling`, the revision that no reader has ever been told to be passed. Objects
//!   that are pushed in from outside use revisions without writing them down, so after an unclean end the
//!   counter goes on from the ceiling: it may skip numbers, it never goes back.
//!
//! The file is made under another name and moved into place when it is whole, so that it either is not there
//! or can be opened. A file of garbage or of a later version is refused and left as it is: it is read before it is opened
//! for writing.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::backends::InMemoryBackend;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::OpenError;
use super::trial::Trial;

const OBJECTS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("objects");
const GOOD: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("good");
const FILES: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("files");
const META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");

/// Version of what the tables mean.
const FORMAT: u64 = 1;
/// The revision of an empty store: 0 has a meaning of its own in lists and watches.
const FIRST_REVISION: u64 = 1;
/// How many revisions may be used between two commits.
pub(super) const HEADROOM: u64 = 10_000;
/// Pages that redb may keep in memory: reads never touch the file, writes touch few pages.
const CACHE_BYTES: usize = 8 << 20;

/// Which table a row is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Objects,
    Good,
    Files,
}

/// One row to write, or to remove when there is no text.
#[derive(Debug)]
pub(super) struct Row {
    pub table: Table,
    pub key: String,
    pub text: Option<Vec<u8>>,
}

/// What the file held.
#[derive(Debug)]
pub(super) struct Loaded {
    /// Where the counter goes on.
    pub revision: u64,
    pub rows: Vec<(Table, String, Vec<u8>)>,
}

/// Why a commit did not happen.
#[derive(Debug)]
pub(super) struct DiskError {
    /// Whether the disk (or a quota) is full.
    pub full: bool,
    pub reason: String,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// Opens the database file; tests put a failing disk under it.
pub(super) type Opener = Box<dyn Fn(&Path) -> Result<Database, redb::DatabaseError> + Send>;

pub(super) struct Disk {
    path: PathBuf,
    opener: Opener,
    /// Absent after a failed commit: redb does not go on after an I/O error, so the file is opened again.
    database: Option<Database>,
    ceiling: u64,
    /// Held for as long as the directory is; none where nothing is on a disk.
    _lock: Option<File>,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("path", &self.path).finish()
    }
}

/// The usual opener.
pub(super) fn open_file(path: &Path) -> Result<Database, redb::DatabaseError> {
    Database::builder().set_cache_size(CACHE_BYTES).open(path)
}

impl Disk {
    /// Opens the store in `dir`, making directory and file when they are not there.
    pub(super) fn open(dir: &Path, opener: Opener) -> Result<(Self, Loaded), OpenError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| OpenError::Io { path, source }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at(dir))?;
        let lock = lock(dir)?;
        let path = dir.join("objects.redb");
        if !path.try_exists().map_err(at(&path))? {
            create(dir, &path)?;
        }
        let loaded = look(&path)?;
        let database = opener(&path).map_err(|e| unreadable(&path, &e))?;
        let mut disk =
            Self { path, opener, database: Some(database), ceiling: 0, _lock: Some(lock) };
        if let Err(error) = disk.commit(&[], loaded.revision + HEADROOM) {
            tracing::error!(path = %disk.path.display(), %error,
                "the store takes no writes for now; what it holds is served");
            disk.ceiling = loaded.revision + HEADROOM;
        }
        Ok((disk, loaded))
    }

    /// An empty one that keeps nothing beyond the process: its file is in memory.
    pub(super) fn in_memory() -> Result<(Self, Loaded), OpenError> {
        let path = PathBuf::from("(memory)");
        let open = |_: &Path| {
            let builder = Database::builder();
            builder.create_with_backend(InMemoryBackend::new())
        };
        let database = open(&path).map_err(|error| unreadable(&path, &error))?;
        prepare(&database).map_err(|error| unreadable(&path, &error))?;
        let loaded = load(&database, &path)?;
        let opener: Opener = Box::new(open);
        Ok((Self { path, opener, database: Some(database), ceiling: 0, _lock: None }, loaded))
    }

    /// The revision up to which the counter may go without another commit.
    pub(super) fn ceiling(&self) -> u64 {
        self.ceiling
    }

    /// Writes `rows` and the ceiling in one transaction. On success they survive a power cut; on failure
    /// none of them can be relied on, and the next commit starts from a file that is opened again.
    pub(super) fn commit(&mut self, rows: &[Row], ceiling: u64) -> Result<(), DiskError> {
        let result = self.try_commit(rows, ceiling);
        match &result {
            Ok(()) => self.ceiling = ceiling,
            Err(_) => self.database = None,
        }
        result
    }

    fn try_commit(&mut self, rows: &[Row], ceiling: u64) -> Result<(), DiskError> {
        let database = match &mut self.database {
            Some(database) => database,
            none => none.insert((self.opener)(&self.path).map_err(failed)?),
        };
        let transaction = database.begin_write().map_err(failed)?;
        {
            let mut objects = transaction.open_table(OBJECTS).map_err(failed)?;
            let mut good = transaction.open_table(GOOD).map_err(failed)?;
            let mut files = transaction.open_table(FILES).map_err(failed)?;
            for Row { table, key, text } in rows {
                let table = match table {
                    Table::Objects => &mut objects,
                    Table::Good => &mut good,
                    Table::Files => &mut files,
                };
                match text {
                    Some(text) => table.insert(key.as_str(), text.as_slice()).map(drop),
                    None => table.remove(key.as_str()).map(drop),
                }
                .map_err(failed)?;
            }
            let mut meta = transaction.open_table(META).map_err(failed)?;
            meta.insert("ceiling", ceiling).map_err(failed)?;
        }
        transaction.commit().map_err(failed)
    }
}

fn failed(error: impl Into<redb::Error>) -> DiskError {
    let error = error.into();
    let kind = match &error {
        redb::Error::Io(error) => Some(error.kind()),
        _ => None,
    };
    DiskError {
        full: matches!(
            kind,
            Some(
                io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
                    | io::ErrorKind::FileTooLarge
            )
        ),
        reason: error.to_string(),
    }
}

/// Takes the directory for this process; the lock goes with the process, however it ends.
fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let io = |source| OpenError::Io { path: path.clone(), source };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(io)?;
    refuse_link(&file, &path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // The number is a courtesy: without it the message still says what to do.
            let _ = file.read_to_string(&mut holder);
            return Err(OpenError::InUse { dir: dir.to_owned(), pid: holder.trim().parse().ok() });
        }
        Err(TryLockError::Error(source)) => return Err(io(source)),
    }
    // The number is for the message above only: a full disk is no reason to go without the lock.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// In a folder that others may write to, a link could lead what is written here into any file of this user's.
fn refuse_link(file: &File, path: &Path) -> io::Result<()> {
    let (opened, there) = (file.metadata()?, fs::symlink_metadata(path)?);
    if (opened.dev(), opened.ino()) == (there.dev(), there.ino()) && opened.nlink() == 1 {
        return Ok(());
    }
    Err(io::Error::other("it is a link: remove it"))
}

/// Makes an empty store under another name, and moves it to `path` when it is on the disk.
fn create(dir: &Path, path: &Path) -> Result<(), OpenError> {
    let draft = dir.join("objects.redb.new");
    let io = |source| OpenError::Io { path: draft.clone(), source };
    // Left by a process that was killed while it made the file: nothing was ever stored in it.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .map_err(io)?;
    let empty = |file| prepare(&Database::builder().create_file(file)?);
    empty(file).map_err(|e| unreadable(&draft, &e))?;
    fs::rename(&draft, path).and_then(|()| File::open(dir)?.sync_all()).map_err(io)
}

/// Makes what an empty store has.
fn prepare(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(OBJECTS)?;
    transaction.open_table(GOOD)?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert("format", FORMAT)?;
        meta.insert("ceiling", FIRST_REVISION)?;
    }
    transaction.commit()?;
    Ok(())
}

/// Reads what a file holds without writing to it: one that cannot be used stays as it is, to the byte. What it takes to
/// repair a file that was not closed cleanly is done in memory.
fn look(path: &Path) -> Result<Loaded, OpenError> {
    let io = |source| OpenError::Io { path: path.to_owned(), source };
    let trial = Trial::of(path).map_err(io)?;
    let look = || {
        let mut builder = Database::builder();
        let database = builder.set_cache_size(CACHE_BYTES).create_with_backend(trial);
        let mut database = database.map_err(|error| unreadable(path, &error))?;
        match database.check_integrity() {
            Ok(true) => load(&database, path),
            Ok(false) => Err(unreadable(path, &"it is damaged: its checksums do not fit")),
            Err(error) => Err(unreadable(path, &error)),
        }
    };
    // redb takes some numbers in a file for good before it has looked at its checksums, and panics where they are not.
    catch_unwind(AssertUnwindSafe(look))
        .unwrap_or_else(|_| Err(unreadable(path, &"it is damaged, and cannot be made sense of")))
}

fn check_format(database: &impl ReadableDatabase, path: &Path) -> Result<(), OpenError> {
    let read = || -> Result<Option<u64>, redb::Error> {
        let meta = database.begin_read()?.open_table(META)?;
        Ok(meta.get("format")?.map(|format| format.value()))
    };
    match read() {
        Ok(Some(FORMAT)) => Ok(()),
        Ok(Some(found)) => Err(OpenError::Format { path: path.to_owned(), found, known: FORMAT }),
        Ok(None) => Err(unreadable(path, &"it holds no format number")),
        Err(error) => Err(unreadable(path, &error)),
    }
}

fn load(database: &impl ReadableDatabase, path: &Path) -> Result<Loaded, OpenError> {
    check_format(database, path)?;
    let read = || -> Result<Loaded, redb::Error> {
        let transaction = database.begin_read()?;
        let ceiling = transaction.open_table(META)?.get("ceiling")?;
        let mut rows = Vec::new();
        let tables = [(Table::Objects, OBJECTS), (Table::Good, GOOD), (Table::Files, FILES)];
        for (table, definition) in tables {
            let content = match transaction.open_table(definition) {
                // Written by a version that did not keep them.
                Err(redb::TableError::TableDoesNotExist(_)) if table == Table::Files => continue,
                content => content?,
            };
            for row in content.iter()? {
                let (key, text) = row?;
                rows.push((table, key.value().to_owned(), text.value().to_vec()));
            }
        }
        Ok(Loaded { revision: ceiling.map_or(FIRST_REVISION, |c| c.value()), rows })
    };
    read().map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, reason: &dyn fmt::Display) -> OpenError {
    OpenError::Unusable { path: path.to_owned(), reason: reason.to_string() }
}
