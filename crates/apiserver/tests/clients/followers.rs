//! Who follows the objects of a kind, and what they were told.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::pin;
use std::process::Stdio;

use futures_util::StreamExt;
use kube::ResourceExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::Event;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;
use tokio::sync::mpsc;

use super::*;

/// The script that follows as an informer does; see there for its lines.
const INFORMER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/informer.py");

/// What kubectl prints of a change.
const CHANGE: &str =
    "jsonpath={.type} {.object.metadata.name} {.object.metadata.resourceVersion}{\"\\n\"}";

/// What one is told of an object: its revision, or that it is gone.
type Told = (String, Option<u64>);

/// One client.
pub(super) struct Follower {
    what: &'static str,
    told: mpsc::UnboundedReceiver<Told>,
    objects: BTreeMap<String, u64>,
    /// Names that were told once, and twice: there is no third time.
    once: BTreeSet<String>,
    twice: BTreeSet<String>,
}

/// All of them.
#[derive(Default)]
pub(super) struct Followers(Vec<Follower>);

impl Followers {
    pub(super) fn add(&mut self, follower: Follower) {
        self.0.push(follower);
    }

    /// Waits until each has been told that many changes.
    pub(super) async fn have_seen(&mut self, changes: usize) {
        for follower in &mut self.0 {
            while follower.once.len() + follower.twice.len() < changes {
                follower.next().await;
            }
        }
    }

    /// What each knows now is this.
    pub(super) fn agree(&self, expected: &BTreeSet<String>) {
        for follower in &self.0 {
            let known: BTreeSet<String> = follower.objects.keys().cloned().collect();
            assert_eq!(&known, expected, "{}", follower.what);
        }
    }
}

impl Follower {
    fn new(what: &'static str, told: mpsc::UnboundedReceiver<Told>) -> Self {
        let (once, twice) = (BTreeSet::new(), BTreeSet::new());
        Self { what, told, objects: BTreeMap::new(), once, twice }
    }

    /// kube-rs' watcher.
    pub(super) fn kube_rs(client: Client, config: watcher::Config) -> Self {
        let what = match config.initial_list_strategy {
            watcher::InitialListStrategy::ListWatch => "kube-rs",
            watcher::InitialListStrategy::StreamingList => "kube-rs, streaming",
        };
        let (sender, told) = mpsc::unbounded_channel();
        tokio::spawn(follow(client, config, sender));
        Self::new(what, told)
    }

    /// Python's client, in a process of its own.
    pub(super) fn python(program: &Path, kubeconfig: &Path) -> Self {
        let mut command = Command::new(program);
        command.arg(INFORMER).arg(kubeconfig).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().expect("it starts");
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let (sender, told) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(line) = lines.next_line().await.expect("readable") {
                let (name, revision) = line.split_once(' ').expect("a name and a revision");
                let revision = (revision != "-").then(|| revision.parse().expect("a number"));
                // The test may have seen enough.
                let _ = sender.send((name.to_owned(), revision));
            }
            drop(process);
        });
        Self::new("Python", told)
    }

    /// kubectl, as somebody types it who looks on, and again whenever it ends.
    pub(super) fn kubectl(program: PathBuf, kubeconfig: PathBuf, home: PathBuf) -> Self {
        let (sender, told) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut known = Known::default();
            while !sender.is_closed() {
                // On one pipe, so that what it logs stands behind what it printed before; and without pages, of which it
                // prints each as one object.
                let mut command = Command::new("sh");
                command.arg("-c").arg("exec \"$@\" 2>&1").arg("sh").arg(&program);
                command.args(["get", "virtualservices.networking.istio.io", "--all-namespaces"]);
                command.args(["--watch", "--output-watch-events", "--chunk-size=0"]);
                command.args(["--v=6", "--output", CHANGE]);
                command.env("KUBECONFIG", &kubeconfig).env("HOME", &home);
                command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
                let mut process = command.spawn().expect("it starts");
                let output = process.stdout.take().expect("piped");
                watched(output, &mut known, &sender).await;
                // It ends as its server does, with whatever status.
                process.wait().await.expect("it has ended");
                sleep(PAUSE).await;
            }
        });
        Self::new("kubectl", told)
    }

    async fn next(&mut self) {
        let what = self.what;
        let told = timeout(PATIENCE, self.told.recv()).await;
        let counted = (self.once.len(), self.twice.len());
        let told = told.unwrap_or_else(|_| panic!("{what}: nothing more after {counted:?}"));
        let (name, revision) = told.unwrap_or_else(|| panic!("{what} has ended"));
        let new = match revision {
            Some(revision) => self.objects.insert(name.clone(), revision) != Some(revision),
            None => self.objects.remove(&name).is_some(),
        };
        assert!(new, "{what}: {name} {revision:?} is told again");
        let fresh = self.once.insert(name.clone()) || self.twice.insert(name.clone());
        assert!(fresh, "{what}: {name} is told a third time");
    }
}

/// What a client knows of the objects: of a list it finds out by comparing what is new, and a watch says it.
#[derive(Default)]
struct Known(BTreeMap<String, u64>);

impl Known {
    /// What a list tells.
    fn listed(&mut self, listed: BTreeMap<String, u64>) -> Vec<Told> {
        let gone = self.0.keys().filter(|name| !listed.contains_key(*name));
        let mut news: Vec<Told> = gone.map(|name| (name.clone(), None)).collect();
        let new = listed.iter().filter(|(name, now)| self.0.get(*name) != Some(now));
        news.extend(new.map(|(name, revision)| (name.clone(), Some(*revision))));
        self.0 = listed;
        news
    }

    /// What an event of a watch tells.
    fn changed(&mut self, name: String, revision: Option<u64>) -> Told {
        match revision {
            Some(revision) => self.0.insert(name.clone(), revision),
            None => self.0.remove(&name),
        };
        (name, revision)
    }
}

/// Tells what is new of a run of kubectl: it prints a list, each object as if it had just been made, then what it watches. That the
/// watch has begun stands in its log alone; a list that no watch followed is of no use, as it may not be whole.
async fn watched(
    output: impl AsyncRead + Unpin,
    known: &mut Known,
    told: &mpsc::UnboundedSender<Told>,
) {
    let mut lines = BufReader::new(output).lines();
    let mut list = Some(BTreeMap::new());
    while let Some(line) = lines.next_line().await.expect("readable") {
        let words: Vec<&str> = line.split(' ').collect();
        let (change, name, revision) = match words[..] {
            [change @ ("ADDED" | "MODIFIED" | "DELETED"), name, revision] => {
                (change, name.to_owned(), revision.parse().expect("a number"))
            }
            _ if line.contains("watch=true") && line.contains("200 OK") => {
                for one in known.listed(list.take().expect("one watch")) {
                    // The test may have seen enough.
                    let _ = told.send(one);
                }
                continue;
            }
            _ => continue,
        };
        match &mut list {
            Some(list) => assert_eq!(list.insert(name, revision), None, "listed twice"),
            None => {
                let _ = told.send(known.changed(name, (change != "DELETED").then_some(revision)));
            }
        }
    }
}

/// Tells what is new: from lists by comparing, from watches as it is.
async fn follow(client: Client, config: watcher::Config, told: mpsc::UnboundedSender<Told>) {
    let api: Api<DynamicObject> = Api::all_with(client, &virtual_services());
    let mut events = pin!(watcher(api, config).default_backoff());
    let mut known = Known::default();
    let mut listed = BTreeMap::new();
    let named = |object: &DynamicObject| {
        let revision = object.resource_version().expect("a revision");
        (object.name_any(), revision.parse().expect("a number"))
    };
    while let Some(event) = events.next().await {
        let news = match event {
            // It tries again.
            Err(_) => Vec::new(),
            Ok(Event::Init) => {
                listed.clear();
                Vec::new()
            }
            Ok(Event::InitApply(object)) => {
                let (name, revision) = named(&object);
                assert_eq!(listed.insert(name, revision), None, "listed twice");
                Vec::new()
            }
            Ok(Event::InitDone) => known.listed(std::mem::take(&mut listed)),
            Ok(Event::Apply(object)) => {
                let (name, revision) = named(&object);
                vec![known.changed(name, Some(revision))]
            }
            Ok(Event::Delete(object)) => vec![known.changed(named(&object).0, None)],
        };
        if news.into_iter().any(|one| told.send(one).is_err()) {
            return;
        }
    }
}
