//! What 50,000 objects and 500 watches cost.
//!
//! `cargo bench -p tidegate-apiserver --bench scale` prints memory per object beside its JSON, the time of lists beside that
//! of writing down what is in them, and how long it takes until all watches have been told of a change.

#![allow(missing_docs, reason = "a program, not an interface")]

use std::error::Error;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tidegate_api::{Kind, ObjectKey};
use tidegate_apiserver::rest::{Handle, Options};
use tidegate_apiserver::store::{self, Expect, Store};
use tidegate_apiserver::{NoContainers, Server};
use tidegate_testing::client;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

#[path = "../tests/many/mod.rs"]
mod many;

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
    let before = resident()?;
    for size in LISTED {
        fill(&store, size).await;
        let entries = store.list(Kind::VirtualService, None).entries;
        let json: usize = entries.iter().map(|entry| entry.size()).sum();
        let taken = resident()?.saturating_sub(before);
        println!(
            "{size:>6} objects: {} bytes of memory each, {} of JSON",
            taken / size,
            json / size
        );
        let options = Options::new((Ipv4Addr::LOCALHOST, 0).into(), dir.path().to_owned());
        let server = Server::start(options, store.clone(), Arc::new(NoContainers)).await?;
        let door = Door::to(&server, dir.path())?;
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

/// Bytes of memory that the process has.
fn resident() -> Outcome<usize> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kilobytes: usize = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1_024)
}

/// Stores objects until there are so many.
async fn fill(store: &Store, size: usize) {
    let there = store.list(Kind::VirtualService, None).entries.len();
    many::store(store, there..size).await;
}

/// How clients come in.
struct Door {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    token: String,
}

impl Door {
    fn to(server: &Handle, dir: &std::path::Path) -> Outcome<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(dir.join("ca.crt"))?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let token = fs::read_to_string(dir.join("token"))?.trim().to_owned();
        Ok(Self { address: server.local_addr(), tls: Arc::new(tls), token })
    }

    async fn ask(&self, target: &str) -> Outcome<TlsStream<TcpStream>> {
        let mut stream = client::tls(self.address, "127.0.0.1", Arc::clone(&self.tls)).await?;
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\r\n",
            self.token
        );
        stream.write_all(head.as_bytes()).await?;
        stream.flush().await?;
        Ok(stream)
    }
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
        door.ask(LIST).await?.read_to_end(&mut answer).await?;
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
        let mut lines = BufReader::new(door.ask(&target).await?).lines();
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
