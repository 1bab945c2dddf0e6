use super::*;

fn source(store: &Store, name: &str) -> String {
    store.get(&key(name)).expect("visible").json()["metadata"]["annotations"][SOURCE_ANNOTATION]
        .as_str()
        .unwrap_or("API")
        .to_owned()
}

#[tokio::test]
async fn pushed_objects_are_shown_and_cannot_be_written() {
    let Bench { store, dir: _dir } = bench();
    let mut watch = store.watch(Kind::ConfigMap, store.revision());
    store.push(from_file(&config("a", "1"), "/m/x.yaml", 7)).await;
    let entry = store.get(&key("a")).expect("visible");
    assert_eq!(source(&store, "a"), "/m/x.yaml:7");
    assert_eq!(watch.poll().expect("in the window").len(), 1);

    for refused in [
        store.put(draft(&config("a", "2")), Expect::Absent).await,
        store.put(draft(&config("a", "2")), Expect::Revision(entry.revision())).await,
        store.remove(&key("a"), None).await,
    ] {
        let refused = refused.expect_err("read-only").to_string();
        assert!(refused.contains("/m/x.yaml:7"), "{refused}");
    }

    store.push(from_file(&config("a", "1"), "/m/x.yaml", 7)).await;
    assert!(watch.poll().expect("in the window").is_empty(), "nothing has changed");
    store.push(from_file(&config("a", "2"), "/m/x.yaml", 9)).await;
    assert_eq!(source(&store, "a"), "/m/x.yaml:9");
    let origin = Origin::File { path: Arc::from(Path::new("/m/x.yaml")), line: 9 };
    store.push(Push::Remove { key: key("a"), origin }).await;
    assert!(store.get(&key("a")).is_none());
    assert_eq!(watch.poll().expect("in the window").len(), 2);
}

#[tokio::test]
async fn a_store_in_memory_serves_what_is_pushed_in() {
    let store = Store::in_memory(Options::default()).expect("a store");
    let mut changes = store.changes();
    start(&mut changes);
    store.push(from_file(&config("a", "1"), "/m/x.yaml", 7)).await;
    assert!(matches!(changes.try_next(), Some(Change::Apply(_))));
    // Of two files that hold it the rule is that of every store.
    store.push(from_file(&config("a", "2"), "/m/y.yaml", 7)).await;
    assert_eq!(source(&store, "a"), "/m/x.yaml:7");
    store.close().await;
    let again = Store::in_memory(Options::default()).expect("another store");
    assert!(again.get(&key("a")).is_none());
}

/// What was left out of a form is told with it, though what is kept is the same.
#[tokio::test]
async fn what_was_left_out_of_a_form_is_a_change() {
    let Bench { store, dir: _dir } = bench();
    let mut changes = store.changes();
    start(&mut changes);
    let mut told = async |unknown: &[&str]| {
        let push = from_file(&config("a", "1"), "/m/x.yaml", 7);
        let Push::Put { object, manifest } = push else { panic!("an object, not {push:?}") };
        let mut object = Object::clone(&object);
        object.unknown = unknown.iter().map(|&words| words.to_owned()).collect();
        store.push(Push::Put { object: object.into(), manifest }).await;
        match changes.try_next() {
            Some(Change::Apply(object)) => object.unknown.clone(),
            other => panic!("a form, not {other:?}"),
        }
    };
    assert_eq!(told(&[]).await, [""; 0]);
    assert_eq!(told(&["zzz"]).await, ["zzz"]);
    assert_eq!(told(&[]).await, [""; 0]);
}

#[tokio::test]
async fn the_api_wins_and_what_it_hid_comes_back() {
    let Bench { store, dir: _dir } = bench();
    let written = store.put(draft(&config("a", "api")), Expect::Absent).await.expect("created");
    let mut changes = store.changes();
    start(&mut changes);
    store.push(from_file(&config("a", "file"), "/m/x.yaml", 1)).await;
    assert_eq!(source(&store, "a"), "API");
    assert!(start(&mut changes).is_empty());
    let hidden = store.hidden();
    assert_eq!(hidden.len(), 1);
    assert_eq!((&hidden[0].key, &hidden[0].by), (&key("a"), &Origin::Api));
    let said = store.list(Kind::Event, None).entries;
    assert!(said[0].json()["message"].as_str().expect("words").contains("/m/x.yaml:1"));

    // The API's object stays writable.
    let expect = Expect::Revision(written.revision());
    store.put(draft(&config("a", "api 2")), expect).await.expect("updated");
    store.remove(&key("a"), None).await.expect("removed");
    assert_eq!(source(&store, "a"), "/m/x.yaml:1");
    assert!(store.hidden().is_empty());
    // The file's object is another one.
    assert_eq!(start(&mut changes), ["delete a", "apply a file"]);
}

#[tokio::test]
async fn of_several_files_the_first_by_name_counts() {
    let Bench { store, dir: _dir } = bench();
    store.push(from_file(&config("a", "y"), "/m/y.yaml", 1)).await;
    store.push(from_file(&config("a", "x"), "/m/x.yaml", 1)).await;
    assert_eq!(source(&store, "a"), "/m/x.yaml:1");
    assert_eq!(store.hidden().len(), 1);
    let origin = Origin::File { path: Arc::from(Path::new("/m/x.yaml")), line: 0 };
    store.push(Push::Remove { key: key("a"), origin }).await;
    assert_eq!(source(&store, "a"), "/m/y.yaml:1");
}

#[tokio::test]
async fn pushed_objects_are_shown_when_they_are_pushed_again_and_keep_their_identity() {
    let bench = bench();
    bench.store.push(from_file(&config("a", "1"), "/m/x.yaml", 1)).await;
    let uid =
        |store: &Store| store.get(&key("a")).expect("visible").json()["metadata"]["uid"].clone();
    let (before, revision) = (uid(&bench.store), bench.store.revision());
    let bench = bench.restart().await;
    assert!(bench.store.get(&key("a")).is_none());
    assert!(bench.store.revision() >= revision);
    bench.store.push(from_file(&config("a", "1"), "/m/x.yaml", 1)).await;
    assert_eq!(uid(&bench.store), before);
}

#[tokio::test]
async fn status_of_pushed_objects_is_shown_and_survives_their_edits() {
    let Bench { store, dir: _dir } = bench();
    store.push(from_file(&config("a", "1"), "/m/x.yaml", 1)).await;
    let condition = Condition {
        name: "Programmed",
        holds: Some(true),
        reason: "Served".into(),
        message: String::new(),
        generation: 1,
    };
    store.set_status(&key("a"), vec![condition]).await;
    store.push(from_file(&config("a", "2"), "/m/x.yaml", 1)).await;
    let entry = store.get(&key("a")).expect("visible");
    assert_eq!(value_of(&entry), "2");
    assert_eq!(entry.json()["status"]["conditions"][0]["type"], "Programmed");
}

#[tokio::test]
async fn a_broken_manifest_is_told_and_its_last_good_form_stays() {
    let Bench { store, dir: _dir } = bench();
    store.push(from_file(&config("a", "1"), "/m/x.yaml", 1)).await;
    let mut changes = store.changes();
    start(&mut changes);
    store.push(wrong("/m/x.yaml")).await;
    assert_eq!(start(&mut changes), ["invalid a"]);
    assert_eq!(value_of(&store.get(&key("a")).expect("visible")), "1");
    // Mended as it was before: nothing changes, and whoever heard that it is wrong hears that it is not.
    let mut watch = store.watch(Kind::ConfigMap, store.revision());
    store.push(from_file(&config("a", "1"), "/m/x.yaml", 1)).await;
    assert_eq!(start(&mut changes), ["apply a 1"]);
    assert!(watch.poll().expect("in the window").is_empty());
}

#[tokio::test]
async fn the_last_good_form_of_a_manifest_is_shown_after_a_restart_when_its_file_is_wrong() {
    let mut bench = bench();
    for push in [
        from_file(&config("a", "1"), "/m/x.yaml", 7),
        from_file(&config("a", "2"), "/m/x.yaml", 7),
        from_file(&config("b", "1"), "/m/x.yaml", 9),
        wrong("/m/x.yaml"),
    ] {
        bench.store.push(push).await;
    }
    let file = Origin::File { path: Arc::from(Path::new("/m/x.yaml")), line: 7 };
    for _ in 0..2 {
        bench = bench.restart().await;
        let kept = bench.store.kept();
        assert_eq!((kept.len(), &kept[0]), (2, &(key("a"), file.clone())));
        assert_eq!(start(&mut bench.store.changes()), ["synced"], "nobody knows the file yet");

        let good = from_file(&config("b", "1"), "/m/x.yaml", 9);
        bench.store.push_all([wrong("/m/x.yaml"), good]).await;
        assert_eq!(source(&bench.store, "a"), "/m/x.yaml:7");
        let told = start(&mut bench.store.changes());
        assert_eq!(told, ["apply a 2", "invalid a", "apply b 1", "synced"]);
        assert_eq!(unsettled(&bench.store), ["a 2, newer is wrong"]);
    }
    // Mended: whoever comes later hears of no fault.
    bench.store.push(from_file(&config("a", "3"), "/m/x.yaml", 7)).await;
    assert_eq!(start(&mut bench.store.changes()), ["apply a 3", "apply b 1", "synced"]);
    assert_eq!(unsettled(&bench.store), [""; 0]);
}

#[tokio::test]
async fn the_last_good_form_of_a_manifest_is_kept_beside_the_one_that_is_refused() {
    let put = |value| from_file(&config("a", value), "/m/x.yaml", 1);
    let bench = bench();
    bench.store.push(put("1")).await;
    let one = bench.store.get(&key("a")).expect("shown").revision();
    bench.store.confirm(&key("a"), one).await;
    bench.store.push(put("2")).await;
    bench.store.push(put("3")).await;
    let bench = bench.restart().await;
    bench.store.push(put("3")).await;
    assert_eq!(start(&mut bench.store.changes()), ["apply a 1", "apply a 3", "synced"]);
    // Another one that is written while nobody looks: the good one stays.
    let bench = bench.restart().await;
    bench.store.push(put("4")).await;
    assert_eq!(start(&mut bench.store.changes()), ["apply a 1", "apply a 4", "synced"]);
    let four = bench.store.get(&key("a")).expect("shown").revision();
    bench.store.confirm(&key("a"), four).await;
    let bench = bench.restart().await;
    bench.store.push(put("4")).await;
    assert_eq!(start(&mut bench.store.changes()), ["apply a 4", "synced"]);
    // Of what was confirmed before the start no other is known to be better.
    let bench = bench.restart().await;
    bench.store.push(put("5")).await;
    assert_eq!(start(&mut bench.store.changes()), ["apply a 4", "apply a 5", "synced"]);
    let Push::Put { object, .. } = put("5") else { panic!("a form") };
    let (key, origin) = (object.key.clone(), object.origin.clone());
    bench.store.push(Push::Remove { key, origin }).await;
    bench.store.push(put("6")).await;
    assert_eq!(start(&mut bench.store.changes()), ["apply a 6", "synced"], "another object");
}

#[tokio::test]
async fn a_manifest_that_is_gone_is_not_kept() {
    let bench = bench();
    bench.store.push(from_file(&config("a", "1"), "/m/x.yaml", 1)).await;
    bench.store.push(from_file(&config("a", "2"), "/m/y.yaml", 1)).await;
    let bench = bench.restart().await;
    assert_eq!(bench.store.kept().len(), 2);
    let gone = |(key, origin)| Push::Remove { key, origin };
    bench.store.push_all(bench.store.kept().into_iter().take(1).map(gone)).await;
    let bench = bench.restart().await;
    bench.store.push(wrong("/m/x.yaml")).await;
    assert_eq!(source(&bench.store, "a"), "/m/y.yaml:1", "the other file's is all there is");
    bench.store.push_all(bench.store.kept().into_iter().map(gone)).await;
    assert!(bench.store.get(&key("a")).is_none());
    let bench = bench.restart().await;
    assert!(bench.store.kept().is_empty());
}

/// The object `a` in a wrong form.
fn wrong(path: &str) -> Push {
    let origin = Origin::File { path: Arc::from(Path::new(path)), line: 3 };
    Push::Invalid {
        key: key("a"),
        origin,
        errors: vec!["data: must be a map".to_owned()],
        selector: None,
    }
}

#[tokio::test]
async fn a_broken_manifest_says_nothing_of_an_object_from_elsewhere() {
    let Bench { store, dir: _dir } = bench();
    store.put(draft(&config("a", "api")), Expect::Absent).await.expect("created");
    let mut changes = store.changes();
    start(&mut changes);
    store.push(wrong("/m/x.yaml")).await;
    assert!(start(&mut changes).is_empty(), "the API's object is not wrong");
    let said = store.list(Kind::Event, None).entries;
    assert_eq!(said[0].json()["reason"], "Hides");
    assert!(said[0].json()["message"].as_str().expect("words").contains("/m/x.yaml:3"));

    store.remove(&key("a"), None).await.expect("removed");
    store.push(from_file(&config("a", "x"), "/m/x.yaml", 1)).await;
    start(&mut changes);
    store.push(wrong("/m/y.yaml")).await;
    assert!(start(&mut changes).is_empty(), "another file's object counts");
}

#[tokio::test]
async fn generations_count_what_is_asked_for() {
    let Bench { store, dir: _dir } = bench();
    let entry = |port: u16| {
        json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "ServiceEntry",
            "metadata": { "name": "a", "namespace": "default" },
            "spec": { "hosts": ["a.example"], "resolution": "DNS",
                "ports": [{ "number": port, "name": "http", "protocol": "HTTP" }] },
        })
    };
    let key = ObjectKey::new(Kind::ServiceEntry, "default", "a");
    let generation = || {
        let entry = store.get(&key).expect("visible");
        let typed = entry.decoded().expect("decodes").generation;
        assert_eq!(entry.json()["metadata"]["generation"], typed);
        typed
    };
    store.push(from_file(&entry(80), "/m/x.yaml", 1)).await;
    assert_eq!(generation(), 1);
    store.push(from_file(&entry(80), "/m/x.yaml", 2)).await;
    assert_eq!(generation(), 1, "a line above it is no other object");
    store.push(from_file(&entry(81), "/m/x.yaml", 2)).await;
    assert_eq!(generation(), 2);

    let mut changes = store.changes();
    start(&mut changes);
    let origin = Origin::File { path: Arc::from(Path::new("/m/x.yaml")), line: 2 };
    store
        .push(Push::Invalid { key: key.clone(), origin, errors: Vec::new(), selector: None })
        .await;
    let told = changes.try_next();
    assert!(matches!(told, Some(Change::Invalid { generation: 2, .. })), "{told:?}");
}

/// The store keeps the text alone.
#[tokio::test]
async fn the_typed_form_of_a_text_is_the_one_that_was_told() {
    let Bench { store, dir: _dir } = bench();
    let mut changes = store.changes();
    start(&mut changes);
    let Push::Put { object, manifest } = from_file(&config("a", "x"), "/m/x.yaml", 7) else {
        panic!("a form")
    };
    let mut object = Object::clone(&object);
    object.unknown = vec!["unknown field \"zzz\" (/m/x.yaml:9)".to_owned()];
    object.labels = [("app".to_owned(), "a".to_owned())].into();
    let mut manifest = manifest;
    manifest["metadata"]["labels"] = json!({ "app": "a" });
    store.push(Push::Put { object: object.into(), manifest }).await;
    store.put(draft(&config("b", "y")), Expect::Absent).await.expect("stored");
    for name in ["a", "b"] {
        let Some(Change::Apply(told)) = changes.try_next() else { panic!("{name} is told") };
        let entry = store.get(&key(name)).expect("stored");
        assert_eq!(format!("{told:?}"), format!("{:?}", entry.decoded().expect("decodes")));
        assert_eq!(told.resource_version, entry.revision());
        assert_eq!(entry.labels().get("app"), told.labels.get("app").map(String::as_str));
        assert_eq!(entry.labels().get("none"), None);
    }
}
