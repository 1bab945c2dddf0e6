//! 50,000 objects and 500 watches: all are listed, every change is told to every watch once, and memory has a bound. How long that
//! takes is told by the bench of the same name.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_api::{Kind, ObjectKey};
use tidegate_apiserver::rest::{Handle, Options};
use tidegate_apiserver::store::{self, Expect, Store};
use tidegate_apiserver::{NoContainers, Server};
use tidegate_testing::PATIENCE;
use tidegate_testing::client::Client;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

#[path = "many/door.rs"]
mod door;
mod many;

use door::{Door, resident};

const OBJECTS: usize = 50_000;
const WATCHES: usize = 500;
const CHANGES: usize = 20;
/// Bytes of memory for each byte of an object's JSON.
const MOST: usize = 3;
/// Bytes of memory for each watch: two ends of a connection over TLS, of which each has buffers for a record or two.
const MOST_PER_WATCH: usize = 256 * 1_024;
const LIST: &str = "/apis/networking.istio.io/v1/virtualservices";

type Told = Lines<BufReader<TlsStream<TcpStream>>>;

#[tokio::test]
async fn fifty_thousand_objects_and_five_hundred_watches() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path(), store::Options::default()).expect("a store");
    let before = resident();
    let json = many::store(&store, 0..OBJECTS).await;
    let taken = resident() - before;
    assert!(taken <= MOST * json, "{taken} bytes of memory for {json} bytes of JSON");
    let options = Options::new((Ipv4Addr::LOCALHOST, 0).into(), dir.path().to_owned());
    let server = Server::start(options, store.clone(), Arc::new(NoContainers)).await;
    let server: Handle = server.expect("started");
    let door = Door::to(&server, dir.path());

    let names: BTreeSet<String> = (0..OBJECTS).map(|number| format!("route-{number}")).collect();
    assert!(paged(&door).await == names, "pages list each object once");
    assert!(streamed(&door).await == names, "a watch begins with each object once");

    let before = resident();
    let from = store.revision();
    let target = format!("{LIST}?watch=true&resourceVersion={from}");
    let mut watches = Vec::new();
    for _ in 0..WATCHES {
        watches.push(BufReader::new(door.ask(&target).await).lines());
    }
    let mut wanted = Vec::new();
    for change in 0..CHANGES {
        wanted.push((format!("route-{change}"), rewrite(&store, change).await));
    }
    let mut readers = JoinSet::new();
    for mut lines in watches {
        readers.spawn(async move {
            let mut told = Vec::new();
            while told.len() < CHANGES {
                told.push(next(&mut lines).await);
            }
            (told, lines)
        });
    }
    let mut open = Vec::new();
    while let Some(read) = readers.join_next().await {
        let (told, lines) = read.expect("read");
        assert_eq!(told, wanted);
        open.push(lines);
    }
    let each = (resident().saturating_sub(before)) / WATCHES;
    assert!(each <= MOST_PER_WATCH, "{each} bytes of memory for a watch");
    // What is told next is the next change, so that none before it was told twice.
    let last = (format!("route-{CHANGES}"), rewrite(&store, CHANGES).await);
    for mut lines in open {
        assert_eq!(next(&mut lines).await, last);
    }
    server.shutdown().await;
    store.close().await;
}

/// Writes a route anew: its revision.
async fn rewrite(store: &Store, number: usize) -> String {
    let mut value = many::route(number);
    value["spec"]["hosts"] = json!(["changed.example"]);
    let key = ObjectKey::new(Kind::VirtualService, "default", format!("route-{number}"));
    let current = store.get(&key).expect("it is there").revision();
    let written = store.put(many::draft(value), Expect::Revision(current)).await;
    written.expect("stored").revision().to_string()
}

/// The next change that a watch tells: a name, and the revision.
async fn next(lines: &mut Told) -> (String, String) {
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let event = event(lines).await;
    assert_eq!(event["type"], "MODIFIED");
    let metadata = &event["object"]["metadata"];
    (text(metadata, "name"), text(metadata, "resourceVersion"))
}

/// The next line of a watch that is an event, and no part of the answer's head or of its framing.
async fn event(lines: &mut Told) -> Value {
    loop {
        let line = timeout(PATIENCE, lines.next_line()).await;
        let line = line.expect("in time").expect("read").expect("an open watch");
        if line.starts_with("{\"type\"") {
            return serde_json::from_str(&line).expect("JSON");
        }
    }
}

/// Names of all routes, listed page by page.
async fn paged(door: &Door) -> BTreeSet<String> {
    let (mut names, mut all, mut next) = (BTreeSet::new(), 0, String::new());
    loop {
        let target = format!("{LIST}?limit=5000{next}");
        let page = Client::over(door.ask(&target).await).response().await.json();
        for item in page["items"].as_array().expect("items") {
            names.insert(item["metadata"]["name"].as_str().expect("a name").to_owned());
            all += 1;
        }
        match page["metadata"]["continue"].as_str().filter(|token| !token.is_empty()) {
            Some(token) => next = format!("&continue={token}"),
            None => break,
        }
    }
    assert_eq!(all, names.len(), "none twice");
    names
}

/// Names of all routes, told as the beginning of a watch.
async fn streamed(door: &Door) -> BTreeSet<String> {
    let target = format!(
        "{LIST}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    );
    let mut lines = BufReader::new(door.ask(&target).await).lines();
    let mut names = BTreeSet::new();
    loop {
        let event = event(&mut lines).await;
        let metadata = &event["object"]["metadata"];
        if event["type"] == "BOOKMARK" {
            assert_eq!(metadata["annotations"]["k8s.io/initial-events-end"], "true");
            return names;
        }
        assert_eq!(event["type"], "ADDED");
        assert!(names.insert(metadata["name"].as_str().expect("a name").to_owned()), "once");
    }
}
