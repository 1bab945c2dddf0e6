use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::{Database, StorageBackend, TableDefinition};

use super::*;

#[tokio::test]
async fn a_restart_keeps_everything() {
    let bench = bench();
    let a = bench.store.put(draft(&config("a", "1")), Expect::Absent).await.expect("created");
    bench.store.put(draft(&config("b", "1")), Expect::Absent).await.expect("created");
    bench.store.remove(&key("b"), None).await.expect("removed");
    let bench = bench.restart().await;
    let again = bench.store.get(&key("a")).expect("kept");
    assert_eq!(again.revision(), a.revision());
    assert_eq!(again.json(), a.json());
    assert!(bench.store.get(&key("b")).is_none());
    // What happened before the restart can no longer be told one by one.
    assert!(bench.store.watch(Kind::ConfigMap, a.revision()).poll().is_err());
    let uid = |store: &Store| {
        let default = store.get(&names::namespace_key("default")).expect("made with the store");
        default.json()["metadata"]["uid"].clone()
    };
    let before = uid(&bench.store);
    let bench = bench.restart().await;
    assert_eq!(uid(&bench.store), before);
}

#[tokio::test]
async fn a_watch_does_not_go_on_across_a_restart() {
    let bench = bench();
    bench.store.push(from_file(&config("f", "1"), "/m/x.yaml", 1)).await;
    let last = bench.store.revision();
    let bench = bench.restart().await;
    // The file is gone, and there is nobody to tell that it is.
    assert!(bench.store.watch(Kind::ConfigMap, last).poll().is_err());
    assert!(bench.store.list_at(Kind::ConfigMap, None, last).is_err());
    assert!(bench.store.watch(Kind::ConfigMap, bench.store.revision()).poll().is_ok());
}

#[tokio::test]
async fn the_last_good_form_is_kept_beside_the_written_one() {
    let bench = bench();
    let one = bench.store.put(draft(&config("a", "1")), Expect::Absent).await.expect("created");
    bench.store.confirm(&key("a"), one.revision()).await;
    let two = bench
        .store
        .put(draft(&config("a", "2")), Expect::Revision(one.revision()))
        .await
        .expect("updated");
    let three = bench
        .store
        .put(draft(&config("a", "3")), Expect::Revision(two.revision()))
        .await
        .expect("updated");
    let bench = bench.restart().await;
    assert_eq!(start(&mut bench.store.changes()), ["apply a 1", "apply a 3", "synced"]);
    assert_eq!(value_of(&bench.store.get(&key("a")).expect("a")), "3");
    assert_eq!(unsettled(&bench.store), ["a 3, good 1"]);

    bench.store.confirm(&key("a"), three.revision()).await;
    let bench = bench.restart().await;
    assert_eq!(start(&mut bench.store.changes()), ["apply a 3", "synced"]);
    assert_eq!(unsettled(&bench.store), [""; 0]);
}

#[tokio::test]
async fn a_form_that_proves_good_after_another_was_written_over_it_is_kept() {
    let bench = bench();
    let one = bench.store.put(draft(&config("a", "1")), Expect::Absent).await.expect("created");
    let over = Expect::Revision(one.revision());
    let two = bench.store.put(draft(&config("a", "2")), over).await.expect("updated");
    assert_eq!(unsettled(&bench.store), [""; 0], "nobody knows of either whether it is good");
    bench.store.confirm(&key("a"), one.revision()).await;
    assert_eq!(unsettled(&bench.store), ["a 2, good 1"]);
    let bench = bench.restart().await;
    assert_eq!(start(&mut bench.store.changes()), ["apply a 1", "apply a 2", "synced"]);

    // Known later still, it does not take the place of what proved good since.
    let over = Expect::Revision(two.revision());
    let three = bench.store.put(draft(&config("a", "3")), over).await.expect("updated");
    let over = Expect::Revision(three.revision());
    let four = bench.store.put(draft(&config("a", "4")), over).await.expect("updated");
    for (revision, told) in [(3, "a 4, good 3"), (2, "a 4, good 3"), (4, ""), (3, "")] {
        let revision = [two.revision(), three.revision(), four.revision()][revision - 2];
        bench.store.confirm(&key("a"), revision).await;
        assert_eq!(unsettled(&bench.store).join(""), told);
    }
    // Nor does a form of an object that is gone.
    let over = Expect::Revision(four.revision());
    let five = bench.store.put(draft(&config("a", "5")), over).await.expect("updated");
    let over = Expect::Revision(five.revision());
    bench.store.put(draft(&config("a", "6")), over).await.expect("updated");
    bench.store.remove(&key("a"), None).await.expect("removed");
    let mut next = config("a", "7");
    next["metadata"]["uid"] = "another".into();
    bench.store.put(draft(&next), Expect::Absent).await.expect("created");
    bench.store.confirm(&key("a"), five.revision()).await;
    assert_eq!(unsettled(&bench.store), [""; 0]);
}

#[tokio::test]
async fn a_form_that_says_something_wrong_leaves_the_one_before_in_service() {
    let bench = bench();
    let one = bench.store.put(draft(&config("a", "1")), Expect::Absent).await.expect("created");
    let mut changes = bench.store.changes();
    start(&mut changes);
    let wrong = Draft {
        decoded: Err(Arc::from(["data: is wrong".to_owned()])),
        ..draft(&config("a", "2"))
    };
    bench.store.put(wrong, Expect::Revision(one.revision())).await.expect("stored");
    assert_eq!(start(&mut changes), ["invalid a"]);
    assert_eq!(start(&mut bench.store.changes()), ["apply a 1", "invalid a", "synced"]);
    let bench = bench.restart().await;
    // This form decodes after all, being only called wrong here; the one before is told first.
    assert_eq!(start(&mut bench.store.changes()), ["apply a 1", "apply a 2", "synced"]);
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let Bench { store: _store, dir } = bench();
    let error = Store::open(dir.path(), Options::default()).expect_err("in use");
    assert!(matches!(error, OpenError::InUse { pid: Some(pid), .. } if pid == std::process::id()));
    assert!(error.to_string().contains("in use by another process"), "{error}");
}

#[tokio::test]
async fn files_are_for_their_owner_only() {
    let Bench { store, dir } = bench();
    store.close().await;
    for file in ["objects.redb", "lock"] {
        let mode = fs::metadata(dir.path().join(file)).expect(file).permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[test]
fn garbage_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("objects.redb");
    for garbage in [vec![], b"not a database".to_vec(), vec![7; 1 << 16]] {
        fs::write(&path, &garbage).expect("written");
        let error = Store::open(dir.path(), Options::default()).expect_err("garbage");
        assert!(matches!(error, OpenError::Unusable { .. }), "{error}");
        assert_eq!(fs::read(&path).expect("still there"), garbage);
    }
}

#[tokio::test]
async fn a_later_format_is_refused_and_left_alone() {
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
    drop(database);
    let before = fs::read(&path).expect("the file");
    let error = Store::open(dir.path(), Options::default()).expect_err("a later format");
    assert!(matches!(error, OpenError::Format { found: 99, known: 1, .. }), "{error}");
    assert!(fs::read(&path).expect("the file") == before, "the file was touched");
}

#[tokio::test]
async fn a_store_from_before_forms_of_files_were_kept_is_read() {
    let Bench { store, dir } = bench();
    store.push(from_file(&config("f", "1"), "/m/x.yaml", 1)).await;
    store.close().await;
    let database = Database::open(dir.path().join("objects.redb")).expect("the file");
    let transaction = database.begin_write().expect("a transaction");
    let files: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("files");
    assert!(transaction.delete_table(files).expect("deleted"));
    transaction.commit().expect("committed");
    drop(database);
    let store = Store::open(dir.path(), Options::default()).expect("a store");
    assert!(store.kept().is_empty());
}

/// One from before the API refused it may say what only the server may.
#[tokio::test]
async fn where_a_stored_object_says_that_it_comes_from_is_not_read() {
    let bench = bench();
    let mut forged = config("a", "1");
    forged["metadata"]["annotations"] = json!({ SOURCE_ANNOTATION: "tidegate", "mine": "kept" });
    let object = bench.store.put(draft(&forged), Expect::Absent).await.expect("created");
    assert!(is_own(&object.json()));
    let bench = bench.restart().await;
    let object = bench.store.get(&key("a")).expect("kept").json();
    assert_eq!(object["metadata"]["annotations"], json!({ "mine": "kept" }));
}

#[tokio::test]
async fn what_was_left_of_an_interrupted_creation_is_no_obstacle() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("objects.redb.new"), b"half").expect("written");
    let store = Store::open(dir.path(), Options::default()).expect("a store");
    store.put(draft(&config("a", "1")), Expect::Absent).await.expect("created");
}

/// A disk that can be full.
#[derive(Debug)]
struct Disk {
    file: File,
    full: Arc<AtomicBool>,
}

impl Disk {
    fn check(&self) -> io::Result<()> {
        match self.full.load(Ordering::SeqCst) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.file.write_all_at(data, offset)
    }
}

fn open_on(dir: &Path, full: &Arc<AtomicBool>) -> Store {
    let full = Arc::clone(full);
    let opener = move |path: &Path| {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let full = Arc::clone(&full);
        Database::builder().create_with_backend(Disk { file, full })
    };
    Store::open_with(dir, Options::default(), Box::new(opener)).expect("a store")
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_serves_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let full = Arc::new(AtomicBool::new(false));
    let store = open_on(dir.path(), &full);
    let a = store.put(draft(&config("a", "1")), Expect::Absent).await.expect("created");
    let mut watch = store.watch(Kind::ConfigMap, a.revision());

    full.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        let refused = store.put(draft(&config("b", "1")), Expect::Absent).await;
        assert!(matches!(refused, Err(WriteError::Storage { full: true, .. })), "{refused:?}");
    }
    assert_eq!(value_of(&store.get(&key("a")).expect("served on")), "1");
    assert!(store.get(&key("b")).is_none());
    assert!(watch.poll().expect("in the window").is_empty(), "a refused write is not told");

    // What the process itself shows and says goes on.
    store.push(from_file(&config("f", "1"), "/m/x.yaml", 1)).await;
    assert!(store.get(&key("f")).is_some());
    let condition = Condition {
        name: "Programmed",
        holds: Some(true),
        reason: "Served".into(),
        message: String::new(),
        generation: 1,
    };
    store.set_status(&key("a"), vec![condition]).await;
    assert!(store.get(&key("a")).expect("a").json()["status"].is_object());

    full.store(false, Ordering::SeqCst);
    let b = store.put(draft(&config("b", "2")), Expect::Absent).await.expect("created");
    assert!(b.revision() > a.revision());
    store.close().await;

    let store = open_on(dir.path(), &full);
    assert_eq!(store.kept().len(), 1, "likewise the form of a file");
    let kept = store.get(&key("a")).expect("kept").json();
    assert!(kept["status"].is_object(), "what could not be written then was written later");
    assert_eq!(value_of(&store.get(&key("b")).expect("kept")), "2");
}

/// What proves good while the disk is full, and is not written again.
#[tokio::test]
async fn a_last_good_form_that_a_full_disk_did_not_take_is_written_later() {
    for close_at_once in [false, true] {
        let dir = tempfile::tempdir().expect("a directory");
        let full = Arc::new(AtomicBool::new(false));
        let store = open_on(dir.path(), &full);
        let mut written = Vec::new();
        for name in ["a", "b"] {
            let created = store.put(draft(&config(name, "1")), Expect::Absent).await;
            let one = created.expect("created").revision();
            let over = Expect::Revision(one);
            let two = store.put(draft(&config(name, "2")), over).await.expect("updated");
            written.push((one, two.revision()));
        }
        store.confirm(&key("b"), written[1].0).await;
        assert_eq!(unsettled(&store), ["b 2, good 1"]);

        full.store(true, Ordering::SeqCst);
        store.confirm(&key("a"), written[0].0).await;
        store.confirm(&key("b"), written[1].1).await;
        assert_eq!(unsettled(&store), ["a 2, good 1"]);

        full.store(false, Ordering::SeqCst);
        if !close_at_once {
            store.put(draft(&config("c", "1")), Expect::Absent).await.expect("created");
        }
        store.close().await;
        let store = open_on(dir.path(), &full);
        assert_eq!(unsettled(&store), ["a 2, good 1"], "close at once: {close_at_once}");
    }
}

#[tokio::test]
async fn a_full_disk_does_not_let_events_pile_up() {
    const KEPT: usize = 2_000;
    let dir = tempfile::tempdir().expect("a directory");
    let full = Arc::new(AtomicBool::new(false));
    let store = open_on(dir.path(), &full);
    let say = |n: usize| {
        let store = store.clone();
        let note = Note {
            about: key("a"),
            tone: Tone::Normal,
            reason: "Said".into(),
            message: n.to_string(),
        };
        async move { store.record_event(note).await }
    };
    let said = tokio::task::JoinSet::from_iter((0..KEPT).map(say));
    said.join_all().await;
    let kept = || store.list(Kind::Event, None).entries.len();
    assert_eq!(kept(), KEPT);
    full.store(true, Ordering::SeqCst);
    say(KEPT).await;
    assert_eq!(kept(), KEPT, "one more, and the oldest gone");
}

#[tokio::test]
async fn events_that_our_processes_write_have_a_bound_and_those_of_others_stay() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path(), Options::default()).expect("a store");
    let event = |name: &str, component: &str| {
        draft(&json!({
            "apiVersion": "v1", "kind": "Event", "metadata": { "name": name, "namespace": "default" },
            "involvedObject": { "kind": "Pod", "name": "p", "namespace": "default" },
            "reason": "Said", "message": name, "source": { "component": component },
        }))
    };
    for (name, component) in [("ours", "tidegate"), ("theirs", "other")] {
        store.put(event(name, component), Expect::Absent).await.expect("created");
    }
    let names = || {
        let all = store.list(Kind::Event, None).entries;
        let names = all.iter().map(|entry| entry.key().name.to_string());
        names.filter(|name| ["ours", "theirs"].contains(&name.as_str())).collect::<Vec<_>>()
    };
    assert_eq!(names(), ["ours", "theirs"]);
    for n in 0..2_000 {
        let note = Note {
            about: key("a"),
            tone: Tone::Normal,
            reason: "Said".into(),
            message: n.to_string(),
        };
        store.record_event(note).await;
    }
    assert_eq!(names(), ["theirs"], "the oldest of ours goes");
}

#[test]
fn a_link_in_place_of_the_lock_is_not_followed() {
    let (dir, other) =
        (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("another"));
    let precious = other.path().join("precious");
    fs::write(&precious, "content").expect("written");
    let lock = dir.path().join("lock");
    for link in
        [std::os::unix::fs::symlink, |from, to| fs::hard_link(from, to)] as [fn(_, _) -> _; 2]
    {
        link(&precious, &lock).expect("linked");
        let error = Store::open(dir.path(), Options::default()).expect_err("refused").to_string();
        assert!(error.contains("it is a link"), "{error}");
        assert_eq!(fs::read_to_string(&precious).expect("there"), "content");
        fs::remove_file(&lock).expect("removed");
    }
}
