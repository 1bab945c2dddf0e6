//! What 50,000 objects and 500 watches cost.
//!
//! `cargo bench -p tidegate-apiserver --bench scale` prints memory per object beside its JSON, the time of lists beside that
//! of writing down what is in them, and how long it takes until all watches have been told of a change.

#![allow(missing_docs, reason = "a program, not an interface")]

use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate_api::{Kind, ObjectKey};
use tidegate_apiserver::rest::Options;
use tidegate_apiserver::store::{self, Expect, Store};
use tidegate_apiserver::{NoContainers, Server};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

#[path = "../tests/many/door.rs"]
mod door;
#[path = "../tests/many/mod.rs"]
mod many;

use door::{Door, resident};

const OBJECTS: usize = 50_000;
const LISTED: [usize; 2] = [10_000, OBJECTS];
const WATCHES: usize = 500;
const CHANGES: usize = 50;
const TRIES: usize = 7;
const LIST: &str = "/apis/networking.istio.io/v1/virtualservices";

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure())
}

async fn measure() -> Outcome<()> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path(), store::Options::default())?;
    let before = resident();
    for size in LISTED {
        fill(&store, size).await;
        let entries = store.list(Kind::VirtualService, None).entries;
        let json: usize = entries.iter().map(|entry| entry.size()).sum();
        let taken = resident().saturating_sub(before);
        println!(
            "{size:>6} objects: {} bytes of memory each, {} of JSON",
            taken / size,
            json / size
        );
        let options = Options::new((Ipv4Addr::LOCALHOST, 0).into(), dir.path().to_owned());
        let server = Server::start(options, store.clone(), Arc::new(NoContainers)).await?;
        let door = Door::to(&server, dir.path());
        let (listed, written) = lists(&store, &door).await?;
        let times = listed.as_secs_f64() / written.as_secs_f64();
        println!(
            "{size:>6} objects: listed in {listed:?}, written down in {written:?} ({times:.2} times)"
        );
        if size == OBJECTS {
            watches(&store, &door).await?;
        }
        server.shutdown().await;
    }
    store.close().await;
    Ok(())
}

/// Stores objects until there are so many.
async fn fill(store: &Store, size: usize) {
    let there = store.list(Kind::VirtualService, None).entries.len();
    many::store(store, there..size).await;
}

/// The best times of a list, over TLS and read to its end, and of writing down what is in it.
async fn lists(store: &Store, door: &Door) -> Outcome<(Duration, Duration)> {
    let entries = store.list(Kind::VirtualService, None).entries;
    let values: Vec<Value> = entries.iter().map(|entry| entry.json()).collect();
    let (mut listed, mut written) = (Duration::MAX, Duration::MAX);
    for _ in 0..TRIES {
        let begin = Instant::now();
        let text = serde_json::to_vec(&values)?;
        written = written.min(begin.elapsed());
        let begin = Instant::now();
        let mut answer = Vec::with_capacity(2 * text.len());
        door.ask(LIST).await.read_to_end(&mut answer).await?;
        listed = listed.min(begin.elapsed());
        assert!(answer.len() > text.len(), "all of it");
    }
    Ok((listed, written))
}

/// The time from a write until every watch has been told of it.
async fn watches(store: &Store, door: &Door) -> Outcome<()> {
    let (told, mut hear) = mpsc::unbounded_channel();
    let mut readers = JoinSet::new();
    for _ in 0..WATCHES {
        let target = format!("{LIST}?watch=true&resourceVersion={}", store.revision());
        let mut lines = BufReader::new(door.ask(&target).await).lines();
        let told = told.clone();
        readers.spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if line.starts_with("{\"type\"") && told.send(()).is_err() {
                    return;
                }
            }
        });
    }
    let mut times = Vec::new();
    for change in 0..CHANGES {
        let mut value = many::route(change);
        value["spec"]["hosts"] = json!(["changed.example"]);
        let key = ObjectKey::new(Kind::VirtualService, "default", format!("route-{change}"));
        let current = store.get(&key).ok_or("it is there")?.revision();
        let begin = Instant::now();
        store.put(many::draft(value), Expect::Revision(current)).await?;
        let stored = begin.elapsed();
        for _ in 0..WATCHES {
            hear.recv().await;
        }
        times.push((begin.elapsed() - stored, stored));
    }
    times.sort_unstable();
    let (all, stored) = times[times.len() / 2];
    println!(
        "{WATCHES:>6} watches: told within {all:?} of a change that took {stored:?} to store (median)"
    );
    readers.shutdown().await;
    Ok(())
}
