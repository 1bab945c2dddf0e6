//! `kill -9` at any moment: what was answered is there afterwards, and the counter never goes back.
//!
//! The test starts itself again as a process that writes and says what it tries and what was answered, and
//! kills that process a hundred times, each time at another, seeded moment.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate_api::{Kind, Object, ObjectKey, Origin};
use tidegate_apiserver::store::{Draft, Expect, Options, Store};

/// Tells the test that it is the process that writes, and where.
const DIR: &str = "TIDEGATE_KILL_TEST_DIR";
const ROUNDS: u64 = 100;
const WRITERS: usize = 4;
const KEYS: usize = 5;

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(Kind::ConfigMap, "default", name)
}

fn draft(name: &str, step: u64) -> Draft {
    let value = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": name, "namespace": "default", "uid": "u" },
        "data": { "step": step.to_string(), "filler": "x".repeat(700) },
    });
    let decoded = Object::decode(Kind::ConfigMap, "v1", &value, Origin::Api).expect("valid");
    let Value::Object(map) = value else { unreachable!("made as a map above") };
    Draft { key: key(name), value: map, decoded: Ok(decoded.object.into()) }
}

fn step_of(store: &Store, name: &str) -> Option<u64> {
    let json = store.get(&key(name))?.json();
    json["data"]["step"].as_str()?.parse().ok()
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).expect("a reader");
    out.flush().expect("a reader");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
}

/// Writes for ever, each writer to keys of its own: mostly updates, now and then a delete.
async fn write(store: Store, writer: usize, mut step: u64) {
    loop {
        step += 1;
        let name = format!("w{writer}-{}", step as usize % KEYS);
        let current = store.get(&key(&name));
        let answer = match current {
            Some(_) if step.is_multiple_of(7) => {
                say(&format!("try {name} delete {step}\n"));
                store.remove(&key(&name), None).await
            }
            Some(entry) => {
                say(&format!("try {name} put {step}\n"));
                store.put(draft(&name, step), Expect::Revision(entry.revision())).await
            }
            None => {
                say(&format!("try {name} put {step}\n"));
                store.put(draft(&name, step), Expect::Absent).await
            }
        };
        answer.expect("nothing stands in the way");
        say(&format!("ok {name} {}\n", store.revision()));
    }
}

/// The process that is killed; as a test of its own it does nothing.
#[test]
fn writer_process() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    runtime().block_on(async {
        let store = Store::open(Path::new(&dir), Options::default()).expect("a store");
        let start = store.revision() * 10;
        let writers: Vec<_> =
            (0..WRITERS).map(|writer| tokio::spawn(write(store.clone(), writer, start))).collect();
        for writer in writers {
            writer.await.expect("writers go on until they are killed");
        }
    });
}

/// A step that a key may stand at: absent after a delete.
type Step = Option<u64>;

#[derive(Default)]
struct Expected {
    answered: BTreeMap<String, Step>,
    tried: BTreeMap<String, Step>,
    revision: u64,
    answers: u64,
}

impl Expected {
    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["try", name, "put", step] => {
                let step = step.parse().expect("a step");
                self.tried.insert((*name).to_owned(), Some(step));
            }
            ["try", name, "delete", _] => {
                self.tried.insert((*name).to_owned(), None);
            }
            ["ok", name, revision] => {
                let step = self.tried.remove(*name).expect("tried first");
                self.answered.insert((*name).to_owned(), step);
                let revision: u64 = revision.parse().expect("a revision");
                self.revision = self.revision.max(revision);
                self.answers += 1;
            }
            // What the test harness itself prints.
            _ => {}
        }
    }

    /// Compares with what is there: the last answer of each key, or what was tried after it.
    fn check(&mut self, dir: &Path) {
        let store = Store::open(dir, Options::default()).expect("the store opens after a kill");
        assert!(
            store.revision() >= self.revision,
            "the counter went back: {} after {}",
            store.revision(),
            self.revision
        );
        self.revision = store.revision();
        for writer in 0..WRITERS {
            for index in 0..KEYS {
                let name = format!("w{writer}-{index}");
                let found = step_of(&store, &name);
                let answered = self.answered.get(&name).copied().flatten();
                let tried = self.tried.get(&name);
                assert!(
                    found == answered || tried == Some(&found),
                    "{name} is at {found:?}; answered: {answered:?}, tried: {tried:?}"
                );
                self.answered.insert(name, found);
            }
        }
        self.tried.clear();
        runtime().block_on(store.close());
    }
}

#[test]
fn nothing_that_was_answered_is_lost() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut random = fastrand::Rng::with_seed(20_260_822);
    let mut expected = Expected::default();
    for _ in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["writer_process", "--exact", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the writing process");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        // Some are killed while they open the store.
        for line in lines.by_ref().take(random.usize(..60)) {
            expected.hear(&line.expect("a line"));
        }
        let pause = Duration::from_micros(random.u64(..4_000));
        let start = Instant::now();
        while start.elapsed() < pause {
            std::hint::spin_loop();
        }
        child.kill().expect("killed");
        child.wait().expect("gone");
        // What it said before it died. Lines are short enough for a pipe to take them whole or not at all.
        for line in lines.map_while(Result::ok) {
            expected.hear(&line);
        }
        expected.check(dir.path());
    }
    assert!(expected.answers > ROUNDS, "only {} writes were answered", expected.answers);
}
