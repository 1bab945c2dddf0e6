use super::*;

#[tokio::test]
async fn create_update_delete() {
    let Bench { store, dir: _dir } = bench();
    let before = store.revision();
    let created = store.put(draft(&config("a", "1")), Expect::Absent).await.expect("created");
    assert_eq!(created.revision(), before + 1);
    assert_eq!(created.json()["metadata"]["resourceVersion"], (before + 1).to_string());
    let again = store.put(draft(&config("a", "2")), Expect::Absent).await;
    assert!(matches!(again, Err(WriteError::AlreadyExists { terminating: false })));

    let expect = Expect::Revision(created.revision());
    let updated = store.put(draft(&config("a", "2")), expect).await.expect("updated");
    assert_eq!(updated.revision(), before + 2);
    let stale = store.put(draft(&config("a", "3")), expect).await;
    assert!(matches!(stale, Err(WriteError::Conflict { current }) if current == before + 2));
    let absent = store.put(draft(&config("b", "3")), expect).await;
    assert!(matches!(absent, Err(WriteError::NotFound)));

    let stale = store.remove(&key("a"), Some(created.revision())).await;
    assert!(matches!(stale, Err(WriteError::Conflict { .. })));
    let removed = store.remove(&key("a"), None).await.expect("removed");
    assert_eq!(value_of(&removed), "2");
    assert!(store.get(&key("a")).is_none());
    assert!(matches!(store.remove(&key("a"), None).await, Err(WriteError::NotFound)));
    assert_eq!(store.revision(), before + 3);
}

#[tokio::test]
async fn a_write_of_what_is_there_changes_nothing() {
    let Bench { store, dir: _dir } = bench();
    let created = store.put(draft(&config("a", "1")), Expect::Absent).await.expect("created");
    let mut watch = store.watch(Kind::ConfigMap, created.revision());
    let mut same = config("a", "1");
    same["metadata"]["resourceVersion"] = created.revision().to_string().into();
    let expect = Expect::Revision(created.revision());
    let entry = store.put(draft(&same), expect).await.expect("accepted");
    assert_eq!(entry.revision(), created.revision());
    assert_eq!(store.revision(), created.revision());
    assert!(watch.poll().expect("within the window").is_empty());
}

#[tokio::test]
async fn objects_are_created_in_namespaces_that_stay() {
    let Bench { store, dir: _dir } = bench();
    let mut elsewhere = config("a", "1");
    elsewhere["metadata"]["namespace"] = "nowhere".into();
    let refused = store.put(draft(&elsewhere), Expect::Absent).await;
    assert!(matches!(refused, Err(WriteError::NoNamespace)));

    let mut namespace = json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "nowhere" },
    });
    let created = store.put(draft(&namespace), Expect::Absent).await.expect("created");
    store.put(draft(&elsewhere), Expect::Absent).await.expect("created");
    namespace["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let expect = Expect::Revision(created.revision());
    store.put(draft(&namespace), expect).await.expect("terminating");
    elsewhere["metadata"]["name"] = "b".into();
    let refused = store.put(draft(&elsewhere), Expect::Absent).await;
    assert!(matches!(refused, Err(WriteError::NamespaceTerminating)));

    let refused = store.remove_namespace("nowhere").await;
    assert!(matches!(refused, Err(WriteError::NotEmpty)));
    let inside = ObjectKey::new(Kind::ConfigMap, "nowhere", "a");
    store.remove(&inside, None).await.expect("emptied");
    store.remove_namespace("nowhere").await.expect("gone");
}

#[tokio::test]
async fn lists_are_ordered_and_can_look_back() {
    let Bench { store, dir: _dir } = bench();
    for name in ["b", "a", "c"] {
        store.put(draft(&config(name, "1")), Expect::Absent).await.expect("created");
    }
    let names = |snapshot: &Snapshot| -> Vec<String> {
        let name = |e: &Arc<Entry>| format!("{}={}", e.key().name, value_of(e));
        snapshot.entries.iter().map(name).collect()
    };
    let then = store.list(Kind::ConfigMap, Some("default"));
    assert_eq!(names(&then), ["a=1", "b=1", "c=1"]);

    let b = store.get(&key("b")).expect("b");
    store.put(draft(&config("b", "2")), Expect::Revision(b.revision())).await.expect("updated");
    store.remove(&key("a"), None).await.expect("removed");
    store.put(draft(&config("d", "1")), Expect::Absent).await.expect("created");
    assert_eq!(names(&store.list(Kind::ConfigMap, None)), ["b=2", "c=1", "d=1"]);
    assert!(store.list(Kind::ConfigMap, Some("defaul")).entries.is_empty());

    let back = store.list_at(Kind::ConfigMap, None, then.revision).expect("in the window");
    assert_eq!(names(&back), names(&then));
    assert!(store.list_at(Kind::ConfigMap, None, 0).is_err());
}

#[tokio::test]
async fn watches_see_every_change_in_order() {
    let Bench { store, dir: _dir } = bench();
    let mut watch = store.watch(Kind::ConfigMap, store.revision());
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0..50 {
                let name = format!("n{}", n % 5);
                let expect = match store.get(&key(&name)) {
                    Some(entry) => Expect::Revision(entry.revision()),
                    None => Expect::Absent,
                };
                store.put(draft(&config(&name, &n.to_string())), expect).await.expect("written");
            }
            store.remove(&key("n0"), None).await.expect("removed");
        })
    };
    let mut seen = Vec::new();
    let mut last = 0;
    while seen.len() < 51 {
        for event in watch.next().await.expect("within the window") {
            assert!(event.revision > last);
            last = event.revision;
            seen.push(event.new.as_ref().map(|entry| value_of(entry)));
        }
    }
    writer.await.expect("writer");
    let expected: Vec<Option<String>> =
        (0..50).map(|n| Some(n.to_string())).chain([None]).collect();
    assert_eq!(seen, expected);
    assert_eq!(watch.position(), store.revision());
}

#[tokio::test]
async fn a_watch_that_falls_behind_is_told_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = Options { window_events: 2, ..Options::default() };
    let store = Store::open(dir.path(), options).expect("a store");
    let mut watch = store.watch(Kind::ConfigMap, store.revision());
    for name in ["a", "b", "c"] {
        store.put(draft(&config(name, "1")), Expect::Absent).await.expect("created");
    }
    let expired = watch.next().await.expect_err("out of the window");
    assert!(expired.asked < expired.oldest);
}

#[tokio::test]
async fn typed_readers_are_told_the_state_and_then_what_changes() {
    let Bench { store, dir: _dir } = bench();
    store.put(draft(&config("a", "1")), Expect::Absent).await.expect("created");
    let mut changes = store.changes();
    assert_eq!(start(&mut changes), ["apply a 1", "synced"]);

    let b = store.put(draft(&config("b", "1")), Expect::Absent).await.expect("created");
    store.remove(&key("a"), None).await.expect("removed");
    assert_eq!(told(&changes.next().await), "apply b 1");
    assert_eq!(told(&changes.next().await), "delete a");

    // Of several changes that were not read yet only the last is told.
    let c =
        store.put(draft(&config("b", "2")), Expect::Revision(b.revision())).await.expect("updated");
    store.put(draft(&config("b", "3")), Expect::Revision(c.revision())).await.expect("updated");
    assert_eq!(start(&mut changes), ["apply b 3"]);
}

#[tokio::test]
async fn status_is_no_change_and_events_add_up() {
    let Bench { store, dir: _dir } = bench();
    let entry = store.put(draft(&config("a", "1")), Expect::Absent).await.expect("created");
    let mut changes = store.changes();
    start(&mut changes);
    let condition = |holds| Condition {
        name: "Reconciled",
        holds: Some(holds),
        reason: "Compiled".into(),
        message: "without fault".into(),
        generation: 1,
    };
    store.set_status(&key("a"), vec![condition(true)]).await;
    let status = store.get(&key("a")).expect("a").json()["status"].clone();
    assert_eq!(status["conditions"][0]["type"], "Reconciled");
    assert_eq!(status["conditions"][0]["status"], "True");
    assert_eq!(status["conditions"][0]["observedGeneration"], 1);
    let revision = store.revision();
    store.set_status(&key("a"), vec![condition(true)]).await;
    assert_eq!(store.revision(), revision, "the same status is no write");
    assert!(start(&mut changes).is_empty());
    let now = store.get(&key("a")).expect("a");
    let typed = now.decoded().expect("decodes").resource_version;
    assert_eq!(typed, entry.revision(), "the typed form is the one from before");

    for reason in ["Applied", "Applied", "Refused"] {
        store
            .record_event(Note {
                about: key("a"),
                tone: Tone::Normal,
                reason: reason.into(),
                message: "said".into(),
            })
            .await;
    }
    let mut counts: Vec<(String, u64)> = store
        .list(Kind::Event, Some("default"))
        .entries
        .iter()
        .map(|entry| {
            let json = entry.json();
            assert_eq!(json["involvedObject"]["uid"], "uid-a");
            let reason = json["reason"].as_str().expect("a reason").to_owned();
            (reason, json["count"].as_u64().expect("a count"))
        })
        .collect();
    counts.sort();
    assert_eq!(counts, [("Applied".to_owned(), 2), ("Refused".to_owned(), 1)]);
}

#[tokio::test]
async fn many_writers_lose_nothing() {
    let bench = bench();
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let store = bench.store.clone();
            tokio::spawn(async move {
                for n in 0..25 {
                    let value = config(&format!("w{writer}-{n}"), "1");
                    store.put(draft(&value), Expect::Absent).await.expect("created");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("writer");
    }
    let revision = bench.store.revision();
    let bench = bench.restart().await;
    let snapshot = bench.store.list(Kind::ConfigMap, None);
    assert_eq!(snapshot.entries.len(), 200);
    let mut revisions: Vec<u64> = snapshot.entries.iter().map(|e| e.revision()).collect();
    revisions.sort_unstable();
    revisions.dedup();
    assert_eq!(revisions.len(), 200);
    assert_eq!(
        bench.store.revision(),
        revision + 1,
        "a clean end skips no more than the restart itself"
    );
}

#[tokio::test]
async fn another_object_of_a_name_is_told_after_the_end_of_the_first() {
    let Bench { store, dir: _dir } = bench();
    store.put(draft(&config("a", "1")), Expect::Absent).await.expect("created");
    let mut changes = store.changes();
    start(&mut changes);
    store.remove(&key("a"), None).await.expect("removed");
    let mut other = config("a", "2");
    other["metadata"]["uid"] = json!("another");
    let other = store.put(draft(&other), Expect::Absent).await.expect("created");
    assert_eq!(start(&mut changes), ["delete a", "apply a 2"]);

    // Of one object the last form is enough, as long as it is the same one.
    let mut third = config("a", "3");
    third["metadata"]["uid"] = json!("another");
    let expect = Expect::Revision(other.revision());
    store.put(draft(&third), expect).await.expect("updated");
    store.remove(&key("a"), None).await.expect("removed");
    store.put(draft(&third), Expect::Absent).await.expect("created");
    assert_eq!(start(&mut changes), ["apply a 3"]);
}
