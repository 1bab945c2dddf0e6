//! Clients that we did not write: what they ask is answered as they expect, and who follows is told everything once.

mod followers;
mod python;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::runtime::watcher;
use kube::{Client, Config};
use serde_json::json;
use tempfile::TempDir;
use tidegate_apiserver::rest::{Handle, Options};
use tidegate_apiserver::store::{self, Store};
use tidegate_apiserver::{NoContainers, Server};
use tidegate_testing::PATIENCE;
use tidegate_testing::tools::Tool;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use followers::{Follower, Followers};

/// Writers, objects of each, and requests of each at once.
const WRITERS: usize = 3;
const OBJECTS: usize = 1_667;
const AT_ONCE: usize = 16;
/// How long a writer waits that was not answered.
const PAUSE: Duration = Duration::from_millis(20);

/// An API server that stays at its address.
struct World {
    dir: TempDir,
    address: SocketAddr,
    running: Option<(Handle, Store)>,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut world = Self { dir, address: (Ipv4Addr::LOCALHOST, 0).into(), running: None };
        world.start().await;
        world
    }

    async fn start(&mut self) {
        let store = Store::open(self.dir.path(), store::Options::default()).expect("a store");
        let options = Options::new(self.address, self.dir.path().to_owned());
        let server = Server::start(options, store.clone(), Arc::new(NoContainers)).await;
        let server = server.expect("started");
        self.address = server.local_addr();
        self.running = Some((server, store));
    }

    async fn restart(&mut self) {
        let (server, store) = self.running.take().expect("it runs");
        server.shutdown().await;
        store.close().await;
        self.start().await;
    }

    fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }

    async fn client(&self) -> Client {
        let file = Kubeconfig::read_from(self.kubeconfig()).expect("a kubeconfig");
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(file, &options).await.expect("good");
        Client::try_from(config).expect("a client")
    }
}

fn virtual_services() -> ApiResource {
    let kind = GroupVersionKind::gvk("networking.istio.io", "v1", "VirtualService");
    ApiResource::from_gvk_with_plural(&kind, "virtualservices")
}

fn virtual_service(name: &str) -> DynamicObject {
    let mut object = DynamicObject::new(name, &virtual_services());
    object.data = json!({ "spec": {
        "hosts": [format!("{name}.example")],
        "http": [{ "route": [{ "destination": { "host": "a.example" } }] }],
    }});
    object
}

/// Carries out a part of the work of all writers at once, and counts what is done.
async fn write(world: &World, done: &watch::Sender<usize>, change: Change) -> JoinSet<()> {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (client, done) = (world.client().await, done.clone());
        writers.spawn(async move {
            let api: Api<DynamicObject> =
                Api::namespaced_with(client, "default", &virtual_services());
            let mut at_once = JoinSet::new();
            for number in 0..OBJECTS {
                let (api, done) = (api.clone(), done.clone());
                at_once.spawn(async move {
                    change.carry_out(&api, writer, number).await;
                    done.send_modify(|done| *done += 1);
                });
                if at_once.len() == AT_ONCE {
                    at_once.join_next().await.expect("some").expect("written");
                }
            }
            at_once.join_all().await;
        });
    }
    writers
}

#[derive(Clone, Copy)]
enum Change {
    /// Every object is made.
    First,
    /// Every object is changed or removed.
    Second,
}

impl Change {
    /// Does it until it is done: a server that starts again is waited for.
    async fn carry_out(self, api: &Api<DynamicObject>, writer: usize, number: usize) {
        let name = format!("w{writer}-{number}");
        loop {
            let (answer, done_already) = match self {
                Self::First => {
                    let object = virtual_service(&name);
                    (api.create(&PostParams::default(), &object).await.map(drop), 409)
                }
                Self::Second if number.is_multiple_of(2) => {
                    let change = Patch::Merge(json!({ "spec": { "hosts": ["changed.example"] } }));
                    (api.patch(&name, &PatchParams::default(), &change).await.map(drop), 0)
                }
                Self::Second => (api.delete(&name, &DeleteParams::default()).await.map(drop), 404),
            };
            match answer {
                Ok(()) => return,
                Err(kube::Error::Api(status)) if status.code == done_already => return,
                // It may be stopping, or want fewer requests.
                Err(kube::Error::Api(status)) => {
                    assert!([429, 503].contains(&status.code), "{status:?}");
                }
                Err(_) => {}
            }
            sleep(PAUSE).await;
        }
    }
}

/// Each object is made and then changed or removed, and a client is told of both, or its program does not follow. The server
/// starts again in the midst of each, and a history that is lost costs a list, from which the same is to be seen.
#[tokio::test]
async fn ten_thousand_changes_of_three_writers_are_told_once_across_restarts() {
    let mut world = World::new().await;
    let mut followers = Followers::default();
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        followers.add(Follower::kube_rs(world.client().await, config));
    }
    if let Some(python) = Tool::KubernetesPython.need() {
        followers.add(Follower::python(&python, &world.kubeconfig()));
    }
    if let Some(kubectl) = Tool::Kubectl.need() {
        let home = world.dir.path().join("home");
        followers.add(Follower::kubectl(kubectl, world.kubeconfig(), home));
    }
    let done = watch::Sender::new(0);
    let all = WRITERS * OBJECTS;
    for (round, change) in [Change::First, Change::Second].into_iter().enumerate() {
        let writers = write(&world, &done, change).await;
        let half = round * all + all / 2;
        let mut progress = done.subscribe();
        while *progress.borrow_and_update() < half {
            let more = timeout(PATIENCE, progress.changed()).await;
            more.expect("in time").expect("they write");
        }
        world.restart().await;
        writers.join_all().await;
        followers.have_seen((round + 1) * all).await;
    }
    followers.agree(&(0..WRITERS).flat_map(left).collect());
}

/// The objects of a writer that are there at last.
fn left(writer: usize) -> impl Iterator<Item = String> {
    (0..OBJECTS).step_by(2).map(move |number| format!("w{writer}-{number}"))
}
