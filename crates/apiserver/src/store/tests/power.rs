//! The power goes at any moment, and files are damaged: what was answered is there, or it is told in words.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::{Database, StorageBackend, TableDefinition};
use tokio::task::JoinSet;

use super::*;

/// What a disk writes as a whole or not at all.
const SECTOR: usize = 512;
const ROUNDS: usize = 50;
const WRITERS: usize = 3;
const KEYS: usize = 4;

/// A disk with a cache, and a number of operations after which the power goes.
#[derive(Debug)]
struct Cache {
    /// What the process sees.
    image: Vec<u8>,
    /// What is not on the disk yet.
    unsynced: Vec<Unsynced>,
    left: usize,
}

#[derive(Debug)]
enum Unsynced {
    Write(u64, Vec<u8>),
    Length(u64),
}

impl Unsynced {
    fn reach(&self, file: &File) -> io::Result<()> {
        match self {
            Self::Write(offset, data) => file.write_all_at(data, *offset),
            Self::Length(length) => file.set_len(*length),
        }
    }
}

#[derive(Clone, Debug)]
struct Disk {
    file: Arc<File>,
    cache: Arc<Mutex<Cache>>,
}

impl Disk {
    fn open(path: &Path, left: usize) -> Self {
        let file = OpenOptions::new().read(true).write(true).open(path).expect("the file");
        let image = fs::read(path).expect("the file");
        let cache = Cache { image, unsynced: Vec::new(), left };
        Self { file: Arc::new(file), cache: Arc::new(Mutex::new(cache)) }
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().expect("no panic")
    }

    /// The cache, if there is still power for an operation.
    fn powered(&self) -> io::Result<MutexGuard<'_, Cache>> {
        let mut cache = self.cache();
        cache.left = cache.left.saturating_sub(1);
        match cache.left {
            0 => Err(io::Error::other("the power is gone")),
            _ => Ok(cache),
        }
    }

    /// What was in the cache reaches the disk in part.
    fn settle(&self, random: &mut fastrand::Rng) {
        for one in self.cache().unsynced.drain(..) {
            match one {
                Unsynced::Write(offset, data) => {
                    for (index, sector) in data.chunks(SECTOR).enumerate() {
                        if random.bool() {
                            let at = offset + (index * SECTOR) as u64;
                            self.file.write_all_at(sector, at).expect("written");
                        }
                    }
                }
                length if random.bool() => length.reach(&self.file).expect("set"),
                _ => {}
            }
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.cache().image.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (cache, start) = (self.cache(), offset as usize);
        out.copy_from_slice(&cache.image[start..start + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut cache = self.powered()?;
        cache.image.resize(len as usize, 0);
        cache.unsynced.push(Unsynced::Length(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut cache = self.powered()?;
        cache.unsynced.drain(..).try_for_each(|one| one.reach(&self.file))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut cache = self.powered()?;
        let start = offset as usize;
        cache.image[start..start + data.len()].copy_from_slice(data);
        cache.unsynced.push(Unsynced::Write(offset, data.to_vec()));
        Ok(())
    }
}

/// What each key stands at: what was answered last, and what was tried after it.
#[derive(Debug, Default)]
struct Expected {
    answered: BTreeMap<String, Option<String>>,
    tried: BTreeMap<String, Option<String>>,
    answers: usize,
}

impl Expected {
    /// Each key stands at what was answered last, or at what was tried after it.
    fn check(&mut self, store: &Store, round: usize) {
        for (writer, number) in (0..WRITERS).flat_map(|w| (0..KEYS).map(move |n| (w, n))) {
            let name = format!("w{writer}-{number}");
            let found = store.get(&key(&name)).map(|entry| value_of(&entry));
            let answered = self.answered.get(&name).cloned().flatten();
            let tried = self.tried.get(&name);
            assert!(
                found == answered || tried == Some(&found),
                "round {round}: {name} is {found:?}; answered: {answered:?}, tried: {tried:?}"
            );
            self.answered.insert(name, found);
        }
        self.tried.clear();
    }
}

/// Writes until that fails: mostly updates, now and then a delete.
async fn write(store: Store, writer: usize, expected: Arc<Mutex<Expected>>) {
    for step in 1.. {
        let name = format!("w{writer}-{}", step % KEYS);
        let current = store.get(&key(&name));
        let value = (step % 7 != 0 || current.is_none())
            .then(|| format!("{}:{}", store.revision(), "x".repeat(step % 5 * 900)));
        expected.lock().expect("no panic").tried.insert(name.clone(), value.clone());
        let answer = match (&current, &value) {
            (_, None) => store.remove(&key(&name), None).await,
            (None, Some(value)) => store.put(draft(&config(&name, value)), Expect::Absent).await,
            (Some(old), Some(value)) => {
                let over = Expect::Revision(old.revision());
                store.put(draft(&config(&name, value)), over).await
            }
        };
        match answer {
            Ok(_) => {
                let mut expected = expected.lock().expect("no panic");
                expected.tried.remove(&name);
                expected.answered.insert(name, value);
                expected.answers += 1;
            }
            Err(error) => {
                assert!(matches!(error, WriteError::Storage { .. }), "{error}");
                return;
            }
        }
    }
}

#[tokio::test]
async fn what_was_answered_outlives_a_power_cut() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut random = fastrand::Rng::with_seed(20_261_123);
    Store::open(dir.path(), Options::default()).expect("a store").close().await;
    let expected = Arc::new(Mutex::new(Expected::default()));
    let mut revision = 0;
    for round in 0..ROUNDS {
        let disk = Disk::open(&dir.path().join("objects.redb"), random.usize(20..400));
        let opened = {
            let disk = disk.clone();
            let opener = move |_: &Path| Database::builder().create_with_backend(disk.clone());
            Store::open_with(dir.path(), Options::default(), Box::new(opener))
        };
        // It may go while the store is opened.
        if let Ok(store) = opened {
            let mut writers = JoinSet::new();
            for writer in 0..WRITERS {
                writers.spawn(write(store.clone(), writer, Arc::clone(&expected)));
            }
            writers.join_all().await;
            revision = store.revision().max(revision);
            store.close().await;
        }
        disk.settle(&mut random);
        let store = Store::open(dir.path(), Options::default());
        let store = store.unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert!(store.revision() >= revision, "the counter went back: {revision}");
        expected.lock().expect("no panic").check(&store, round);
        store.close().await;
    }
    let answers = expected.lock().expect("no panic").answers;
    assert!(answers > 5 * ROUNDS, "only {answers} writes were answered");
}

/// Objects of a file that is damaged.
const OBJECTS: usize = 40;

/// What one of them holds.
fn stored(n: usize) -> String {
    "v".repeat(n * 97)
}

/// The file of a store with some objects: as it is after a clean end, and as a process leaves it that is killed.
async fn files() -> [Vec<u8>; 2] {
    let Bench { store, dir } = bench();
    for n in 0..OBJECTS {
        let object = config(&format!("o{n}"), &stored(n));
        store.put(draft(&object), Expect::Absent).await.expect("created");
    }
    let path = dir.path().join("objects.redb");
    let killed = fs::read(&path).expect("the file");
    store.close().await;
    [fs::read(&path).expect("the file"), killed]
}

#[tokio::test]
async fn a_later_format_is_left_alone_also_where_its_process_was_killed() {
    let Bench { store, dir } = bench();
    store.close().await;
    let path = dir.path().join("objects.redb");
    let database = Database::open(&path).expect("the file");
    let transaction = database.begin_write().expect("a transaction");
    {
        let meta: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
        let mut meta = transaction.open_table(meta).expect("the table");
        meta.insert("format", 99).expect("written");
    }
    transaction.commit().expect("committed");
    // As the file stands while its process runs.
    let unclean = fs::read(&path).expect("the file");
    drop(database);
    fs::write(&path, &unclean).expect("written");
    let error = Store::open(dir.path(), Options::default()).expect_err("a later format");
    assert!(matches!(error, OpenError::Format { found: 99, known: 1, .. }), "{error}");
    assert!(fs::read(&path).expect("the file") == unclean, "the file was touched");
}

#[tokio::test]
async fn a_damaged_file_is_read_whole_or_refused_in_words_and_left_alone() {
    let mut random = fastrand::Rng::with_seed(20_261_124);
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("objects.redb");
    let (mut refused, mut read) = (0, 0);
    // Of a process that was killed, a newest commit that is damaged looks as one that was not finished.
    for (file, unfinished) in files().await.into_iter().zip([0, 1]) {
        for _ in 0..80 {
            let mut damaged = file.clone();
            match random.u8(..3) {
                0 => damaged.truncate(random.usize(..file.len())),
                1 => {
                    let start = random.usize(..file.len());
                    let end = file.len().min(start + random.usize(1..20_000));
                    damaged[start..end].fill_with(|| random.u8(..));
                }
                _ => {
                    for _ in 0..random.usize(1..200) {
                        let at = random.usize(..file.len());
                        damaged[at] ^= 1 << random.u8(..8);
                    }
                }
            }
            fs::write(&path, &damaged).expect("written");
            match Store::open(dir.path(), Options::default()) {
                Ok(store) => {
                    read += 1;
                    let found: Vec<String> = (0..OBJECTS)
                        .map_while(|n| store.get(&key(&format!("o{n}"))))
                        .map(|entry| value_of(&entry))
                        .collect();
                    assert!(found.len() >= OBJECTS - unfinished, "{} are left", found.len());
                    let whole = found.iter().enumerate().all(|(n, value)| *value == stored(n));
                    assert!(whole, "what is read is not what was stored");
                    let more = draft(&config("more", "1"));
                    let written = store.put(more, Expect::Absent).await;
                    written.expect("what was read can be written to");
                    store.close().await;
                }
                Err(error) => {
                    refused += 1;
                    assert!(error.to_string().contains("objects.redb"), "{error}");
                    assert!(fs::read(&path).expect("the file") == damaged, "touched: {error}");
                }
            }
        }
    }
    assert!(refused > 30 && read > 5, "{refused} refused, {read} read");
}
