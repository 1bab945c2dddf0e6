//! The API server as a source of objects: everything is told, once, whatever happens to the server or the way there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_api::{Kind, ObjectKey};
use tidegate_apiserver::rest::{Handle, Options};
use tidegate_apiserver::store::{self, Store};
use tidegate_apiserver::{NoContainers, Server};
use tidegate_source::cluster::{
    self, Access, Ask, Candidate, Client, Election, Health, Times, Timing,
};
use tidegate_source::{Change, Cluster};
use tidegate_testing::tools::Tool;
use tidegate_testing::{Link, PATIENCE, eventually, namespace};
use tokio::task::JoinSet;
use tokio::time::timeout;

const GATEWAYS: &str = "/apis/networking.istio.io/v1/namespaces/default/gateways";
const VIRTUAL_SERVICES: &str = "/apis/networking.istio.io/v1/namespaces/default/virtualservices";
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// An API server, and the way to it that its reader takes.
struct World {
    dir: TempDir,
    options: store::Options,
    running: Option<(Handle, Store)>,
    link: Link,
}

impl World {
    async fn new(options: store::Options) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let link = Link::to(([127, 0, 0, 1], 1).into()).await;
        let mut world = Self { dir, options, running: None, link };
        world.start().await;
        world
    }

    /// Starts the server, with what it had.
    async fn start(&mut self) {
        let store = Store::open(self.dir.path(), self.options).expect("a store");
        let options = Options::new(([127, 0, 0, 1], 0).into(), self.dir.path().to_owned());
        let server = Server::start(options, store.clone(), Arc::new(NoContainers)).await;
        let server = server.expect("started");
        self.link.mend(server.local_addr());
        let kubeconfig = std::fs::read_to_string(server.kubeconfig()).expect("a kubeconfig");
        let direct = server.local_addr().to_string();
        let through = kubeconfig.replace(&direct, &self.link.address().to_string());
        assert_ne!(kubeconfig, through);
        std::fs::write(self.kubeconfig(), through).expect("written");
        self.running = Some((server, store));
    }

    async fn stop(&mut self) {
        let (server, store) = self.running.take().expect("it runs");
        server.shutdown().await;
        store.close().await;
    }

    /// The kubeconfig that leads through the link.
    fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("through")
    }

    fn server(&self) -> SocketAddr {
        self.running.as_ref().expect("it runs").0.local_addr()
    }

    fn reader(&self) -> Reader {
        self.reader_with(Times::default())
    }

    fn reader_with(&self, times: Times) -> Reader {
        let access = Access::find(Some(&self.kubeconfig()), None, None).expect("an access");
        let options = cluster::Options { times, ..cluster::Options::default() };
        let cluster = Cluster::follow(access, &options);
        Reader { cluster, objects: BTreeMap::new(), told: Vec::new() }
    }

    async fn writer(&self) -> Writer {
        let path = self.running.as_ref().expect("it runs").0.kubeconfig().to_owned();
        let access = Access::find(Some(&path), None, None).expect("an access");
        Writer { client: access.client().await.expect("a client") }
    }
}

#[derive(Clone)]
struct Writer {
    client: Client,
}

impl Writer {
    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let patches = method == Method::PATCH;
        let media = if patches { "application/merge-patch+json" } else { "application/json" };
        let mut ask = Ask::new(method.clone(), path);
        if let Some(body) = body {
            ask = ask.with(media, body.to_string().into_bytes());
        }
        let answer = self.client.send(ask).await.expect("an answer");
        assert!(answer.status.is_success(), "{method} {path}: {answer:?}");
        answer.body
    }

    async fn create(&self, path: &str, object: Value) {
        self.send(Method::POST, path, Some(object)).await;
    }

    async fn change(&self, path: &str, name: &str, port: u16) {
        let change = json!({ "spec": { "servers": [server(port)] } });
        self.send(Method::PATCH, &format!("{path}/{name}"), Some(change)).await;
    }

    async fn delete(&self, path: &str, name: &str) {
        self.send(Method::DELETE, &format!("{path}/{name}"), None).await;
    }
}

fn server(port: u16) -> Value {
    json!({ "port": { "number": port, "name": "http", "protocol": "HTTP" }, "hosts": ["*"] })
}

fn gateway(name: &str) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": { "name": name },
        "spec": { "selector": { "istio": "ingressgateway" }, "servers": [server(80)] },
    })
}

fn virtual_service(name: &str) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": { "name": name },
        "spec": {
            "hosts": [format!("{name}.example")],
            "http": [{ "route": [{ "destination": { "host": "a.example" } }] }],
        },
    })
}

/// Who follows, and what was told.
struct Reader {
    cluster: Cluster,
    /// Generations of what there is.
    objects: BTreeMap<ObjectKey, i64>,
    told: Vec<String>,
}

impl Reader {
    async fn next(&mut self) -> Change {
        let change = timeout(PATIENCE, self.cluster.next()).await;
        let change = change.unwrap_or_else(|_| panic!("nothing more after {:?}", self.told));
        let words = match &change {
            Change::Apply(object) => {
                self.objects.insert(object.key.clone(), object.generation);
                format!("+{} {}", object.name(), object.generation)
            }
            Change::Delete(key) => {
                self.objects.remove(key);
                format!("-{}", key.name)
            }
            Change::Invalid { key, .. } => format!("!{}", key.name),
            Change::Synced => "synced".to_owned(),
        };
        self.told.push(words);
        change
    }

    /// Everything up to this word.
    async fn until(&mut self, word: &str) -> Vec<String> {
        while self.told.last().is_none_or(|last| last != word) {
            self.next().await;
        }
        std::mem::take(&mut self.told)
    }

    async fn synced(&mut self) -> Vec<String> {
        self.until("synced").await
    }

    async fn health(&self, wanted: impl Fn(&Health) -> bool) -> Health {
        let mut health = self.cluster.health();
        let found = timeout(PATIENCE, health.wait_for(|now| wanted(now))).await;
        found.expect("in time").expect("it follows").clone()
    }

    async fn lost(&self) -> String {
        match self.health(|now| matches!(now, Health::Lost { .. })).await {
            Health::Lost { why, .. } => why.to_string(),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn everything_is_told_then_what_happens() {
    let world = World::new(store::Options::default()).await;
    let writer = world.writer().await;
    writer.create(GATEWAYS, gateway("a")).await;
    let mut wrong = virtual_service("wrong");
    wrong["spec"]["hosts"] = json!(["*.*"]);
    writer.create(VIRTUAL_SERVICES, wrong.clone()).await;
    let mut reader = world.reader();
    let told = reader.synced().await;
    let of_service = "+kubernetes 0".to_owned();
    for word in ["+a 1".to_owned(), "!wrong".to_owned(), of_service, "synced".to_owned()] {
        assert!(told.contains(&word), "no {word:?} in {told:?}");
    }
    assert_eq!(told.last().map(String::as_str), Some("synced"));
    assert_eq!(reader.health(|now| *now == Health::Connected).await, Health::Connected);
    let settings = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" } });
    writer.create(CONFIG_MAPS, settings).await;
    writer.change(GATEWAYS, "a", 81).await;
    writer.delete(GATEWAYS, "a").await;
    writer.create(GATEWAYS, gateway("b")).await;
    // What comes at once is told in one.
    let told = reader.until("+b 1").await;
    assert!(matches!(&told[..], [.., gone, _] if gone == "-a") && told.len() <= 3, "{told:?}");
    let good = json!({ "spec": { "hosts": ["right.example"] } });
    let path = format!("{VIRTUAL_SERVICES}/wrong");
    writer.send(Method::PATCH, &path, Some(good)).await;
    assert_eq!(reader.until("+wrong 2").await, ["+wrong 2"]);
}

#[tokio::test]
async fn a_server_that_is_away_takes_nothing_along() {
    let mut world = World::new(store::Options::default()).await;
    let writer = world.writer().await;
    for name in ["goes", "stays", "changes", "is-another"] {
        writer.create(GATEWAYS, gateway(name)).await;
    }
    let mut reader = world.reader();
    reader.synced().await;
    world.link.cut();
    let why = reader.lost().await;
    assert!(why.contains("through: "), "{why}");
    assert_eq!(reader.objects.len(), 5, "{:?}", reader.objects);
    writer.delete(GATEWAYS, "goes").await;
    writer.change(GATEWAYS, "changes", 81).await;
    writer.create(GATEWAYS, gateway("comes")).await;
    writer.delete(GATEWAYS, "is-another").await;
    writer.create(GATEWAYS, gateway("is-another")).await;
    assert!(reader.cluster.try_next().is_none(), "nobody can know");
    world.link.mend(world.server());
    let told = reader.until("+is-another 1").await;
    let expected = ["-goes", "+changes 2", "+comes 1", "-is-another", "+is-another 1"];
    assert_eq!(told, expected);
    reader.health(|now| *now == Health::Connected).await;

    // The process behind it ends; its port is another one then, which its kubeconfig says.
    world.stop().await;
    reader.lost().await;
    assert!(reader.cluster.try_next().is_none());
    world.start().await;
    let writer = world.writer().await;
    writer.delete(GATEWAYS, "stays").await;
    assert_eq!(reader.until("-stays").await, ["-stays"]);
    reader.health(|now| *now == Health::Connected).await;
}

/// As where a store was moved away, or a backup of it brought back.
#[tokio::test]
async fn a_server_that_is_not_as_far_as_it_was_is_listed_again() {
    let mut world = World::new(store::Options::default()).await;
    let writer = world.writer().await;
    writer.create(GATEWAYS, gateway("gone")).await;
    for port in 81..99 {
        writer.change(GATEWAYS, "gone", port).await;
    }
    let mut reader = world.reader();
    reader.synced().await;
    world.stop().await;
    reader.lost().await;
    std::fs::remove_file(world.dir.path().join("objects.redb")).expect("a store");
    world.start().await;
    let writer = world.writer().await;
    writer.create(GATEWAYS, gateway("new")).await;
    for _ in 0..2 {
        reader.until_either(["-gone", "+new 1"]).await;
    }
    reader.health(|now| *now == Health::Connected).await;
}

#[tokio::test]
async fn a_silent_network_delays_and_loses_nothing() {
    let world = World::new(store::Options::default()).await;
    let writer = world.writer().await;
    writer.create(GATEWAYS, gateway("a")).await;
    let mut reader = world.reader();
    reader.synced().await;
    world.link.hold();
    writer.change(GATEWAYS, "a", 81).await;
    writer.create(GATEWAYS, gateway("b")).await;
    assert!(reader.cluster.try_next().is_none());
    world.link.mend(world.server());
    assert_eq!(reader.until("+b 1").await, ["+a 2", "+b 1"]);
}

/// What becomes of the packets of a port, in the network namespace of the test.
struct Packets {
    nft: PathBuf,
    port: u16,
}

impl Packets {
    /// Drops all.
    fn drop_all(&self) {
        let of_all = ["sport", "dport"].map(|side| format!("tcp {side} {}", self.port));
        self.drop(&of_all);
    }

    /// Drops those of connections that were there before this, for good: the network has forgotten them, and nobody has
    /// told their ends.
    fn let_new_ones_pass(&self) {
        let text = std::fs::read_to_string("/proc/net/tcp").expect("connections");
        let port = |address: &str| u16::from_str_radix(address.rsplit(':').next()?, 16).ok();
        let of_old = text.lines().filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let (own, peer) = (port(words.next()?)?, port(words.next()?)?);
            (peer == self.port).then_some(own)
        });
        let of_old = of_old.flat_map(|own| {
            [("sport", "dport"), ("dport", "sport")]
                .map(|(one, other)| format!("tcp {one} {own} tcp {other} {}", self.port))
        });
        self.drop(&of_old.collect::<Vec<_>>());
    }

    fn drop(&self, which: &[String]) {
        let rules: String = which.iter().map(|one| format!("{one} drop; ")).collect();
        let all = format!(
            "table ip lossy\ndelete table ip lossy\n\
             table ip lossy {{ chain input {{ type filter hook input priority 0; {rules}}}; }}"
        );
        let done = Command::new(&self.nft).arg(all).output().expect("nft");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

/// Longer than anybody waits here, and with connections that are dead for good afterwards: watches are given up for their
/// silence; lists, writes and the Lease for want of an answer.
#[tokio::test]
async fn connections_that_the_network_has_forgotten_are_outlasted() {
    let Some(nft) = Tool::Nft.need() else { return };
    if !namespace::inside() {
        return;
    }
    let world = World::new(store::Options::default()).await;
    let packets = Packets { nft, port: world.link.address().port() };
    let writer = world.writer().await;
    for name in ["goes", "changes"] {
        writer.create(GATEWAYS, gateway(name)).await;
    }
    let [one, two, three] = [1, 2, 3].map(Duration::from_secs);
    let mut reader = world.reader_with(Times { answer: two, request: two, watch: 2, margin: one });
    reader.synced().await;
    let client = reader.cluster.client();
    let candidate = Candidate {
        namespace: "default".to_owned(),
        name: "lease".to_owned(),
        identity: "this".to_owned(),
        timing: Timing { lasts: three, renew_within: two, every: one / 5 },
    };
    let election = Election::start(client.clone(), candidate);
    let mut leads = election.leads();
    // The second time all connections are of the time after the first.
    for round in 1..=2 {
        timeout(PATIENCE, leads.wait_for(|leads| *leads)).await.expect("in time").expect("it runs");
        packets.drop_all();
        writer.delete(GATEWAYS, "goes").await;
        writer.change(GATEWAYS, "changes", 80 + round).await;
        let gone = timeout(PATIENCE, leads.wait_for(|leads| !leads)).await;
        gone.expect("in time").expect("it runs");
        let path = format!("{CONFIG_MAPS}/round-{round}?fieldManager=this");
        let write = || {
            let settings = json!({ "apiVersion": "v1", "kind": "ConfigMap" });
            let media = "application/apply-patch+yaml";
            client
                .send(Ask::new(Method::PATCH, &path).with(media, settings.to_string().into_bytes()))
        };
        let why = write().await.expect_err("nobody hears it");
        assert!(why.contains("no answer within 2 s"), "{why}");
        // Who watched asks again, and is not heard either.
        let lost = |now: &Health| matches!(now, Health::Lost { why, .. } if why.contains("no answer within 2 s"));
        reader.health(lost).await;
        assert!(reader.cluster.try_next().is_none(), "nobody can know");
        packets.let_new_ones_pass();
        let changed = format!("+changes {}", round + 1);
        for _ in 0..2 {
            reader.until_either(["-goes", &changed]).await;
        }
        reader.told.clear();
        reader.health(|now| *now == Health::Connected).await;
        let written = eventually(PATIENCE, write).await;
        assert!(written.status.is_success(), "{written:?}");
        writer.create(GATEWAYS, gateway("goes")).await;
        assert_eq!(reader.until("+goes 1").await.last().map(String::as_str), Some("+goes 1"));
    }
    timeout(PATIENCE, leads.wait_for(|leads| *leads)).await.expect("in time").expect("it runs");
}

#[tokio::test]
async fn a_history_that_is_too_short_costs_a_list() {
    let mut options = store::Options::default();
    options.window_events = 2;
    let world = World::new(options).await;
    let writer = world.writer().await;
    for name in ["goes", "stays"] {
        writer.create(GATEWAYS, gateway(name)).await;
    }
    let mut reader = world.reader();
    reader.synced().await;
    world.link.cut();
    reader.lost().await;
    writer.delete(GATEWAYS, "goes").await;
    for port in 81..90 {
        writer.change(GATEWAYS, "stays", port).await;
    }
    let path = format!("{GATEWAYS}?watch=true&resourceVersion=1&timeoutSeconds=1");
    let answer = writer.client.send(Ask::new(Method::GET, &path)).await.expect("an answer");
    let answer = answer.body.to_string();
    assert!(answer.contains("too old resource version"), "{answer}");
    world.link.mend(world.server());
    let mut told = vec![reader.until_either(["-goes", "+stays 10"]).await];
    told.push(reader.until_either(["-goes", "+stays 10"]).await);
    told.sort_unstable();
    assert_eq!(told, ["+stays 10", "-goes"]);
}

#[tokio::test]
async fn credentials_are_read_again() {
    let world = World::new(store::Options::default()).await;
    let writer = world.writer().await;
    let mut reader = world.reader();
    reader.synced().await;
    let good = std::fs::read_to_string(world.kubeconfig()).expect("a kubeconfig");
    let token = std::fs::read_to_string(world.dir.path().join("token")).expect("a token");
    std::fs::write(world.kubeconfig(), good.replace(token.trim(), "expired")).expect("written");
    world.link.cut();
    reader.lost().await;
    world.link.mend(world.server());
    let unauthorized =
        |now: &Health| matches!(now, Health::Lost { why, .. } if why.contains("it answers 401"));
    reader.health(unauthorized).await;
    writer.create(GATEWAYS, gateway("a")).await;
    std::fs::write(world.kubeconfig(), good).expect("written");
    assert_eq!(reader.until("+a 1").await, ["+a 1"]);
    reader.health(|now| *now == Health::Connected).await;
}

#[tokio::test]
async fn ten_thousand_objects_of_three_writers_are_told_without_loss() {
    const EACH: usize = 3_334;
    let world = World::new(store::Options::default()).await;
    let mut reader = world.reader();
    let mut writers = JoinSet::new();
    for writer in 0..3 {
        let client = world.writer().await;
        writers.spawn(async move {
            let mut at_once = JoinSet::new();
            for i in 0..EACH {
                let client = client.clone();
                at_once.spawn(async move {
                    let object = virtual_service(&format!("w{writer}-{i}"));
                    client.create(VIRTUAL_SERVICES, object).await;
                });
                if at_once.len() == 64 {
                    at_once.join_next().await.expect("some").expect("created");
                }
            }
            while let Some(done) = at_once.join_next().await {
                done.expect("created");
            }
        });
    }
    let mut cuts = 0;
    let of_writers = |reader: &Reader| {
        let keys = reader.objects.keys();
        keys.filter(|key| key.kind == Kind::VirtualService).count()
    };
    while of_writers(&reader) < 3 * EACH {
        reader.next().await;
        if cuts < 3 && of_writers(&reader) > (cuts + 1) * EACH / 2 {
            cuts += 1;
            world.link.cut();
            reader.lost().await;
            world.link.mend(world.server());
        }
    }
    while let Some(done) = writers.join_next().await {
        done.expect("written");
    }
    let repeated = reader.told.iter().collect::<std::collections::BTreeSet<_>>();
    assert_eq!(repeated.len(), reader.told.len(), "nothing is told twice");
}

impl Reader {
    async fn until_either(&mut self, words: [&str; 2]) -> String {
        loop {
            self.next().await;
            let last = self.told.last().cloned().unwrap_or_default();
            if words.contains(&last.as_str()) {
                return last;
            }
        }
    }
}
