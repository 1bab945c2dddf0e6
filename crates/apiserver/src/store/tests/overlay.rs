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
    assert_eq!(start(&mut changes), ["apply a file"]);
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
async fn pushed_objects_are_not_kept_and_keep_their_identity() {
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
    };
    store.set_status(&key("a"), 1, vec![condition]).await;
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
    let errors = vec!["data: must be a map".to_owned()];
    store.push(Push::Invalid { key: key("a"), errors }).await;
    assert_eq!(start(&mut changes), ["invalid a"]);
    assert_eq!(value_of(&store.get(&key("a")).expect("visible")), "1");
}
