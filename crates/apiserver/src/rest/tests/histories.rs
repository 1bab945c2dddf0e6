//! Whatever is written, and whenever somebody begins to watch: they are told what happened, all of it, in order, once.
//!
//! A model keeps what the answers to writes said. Clients follow as informers do: where the server says that it has
//! forgotten, they list and go on from there.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::watches::{Lines, open};
use super::*;

const INFORMERS: usize = 4;
const NAMESPACES: [&str; 2] = ["default", "istio-system"];
const NAMES: [&str; 2] = ["a", "b"];
const APPS: [&str; 2] = ["x", "y"];
const FINALIZER: &str = "example.com/held";

/// Namespace and name.
type Place = (&'static str, &'static str);

#[derive(Clone, Debug)]
enum Op {
    Create { place: Place, app: usize, held: bool },
    Change { place: Place, app: usize, value: u8, whole: bool },
    Release { place: Place },
    Delete { place: Place },
    Follow { informer: usize, scope: Scope, from: From },
    Read { informer: usize, events: usize },
    Restart,
}

/// What an informer is to be told of.
#[derive(Clone, Copy, Debug)]
struct Scope {
    namespace: Option<&'static str>,
    app: Option<usize>,
}

/// Where a watch begins.
#[derive(Clone, Copy, Debug)]
enum From {
    /// With all there is.
    Now,
    /// With all there is, and a mark where that ends.
    Streamed,
    /// After one of the revisions that there have been.
    Past(prop::sample::Index),
}

fn op() -> impl Strategy<Value = Op> {
    let place = (prop::sample::select(&NAMESPACES[..]), prop::sample::select(&NAMES[..]));
    let app = 0..APPS.len();
    let scope =
        (prop::option::of(prop::sample::select(&NAMESPACES[..])), prop::option::of(app.clone()))
            .prop_map(|(namespace, app)| Scope { namespace, app });
    let from = prop_oneof![
        Just(From::Now),
        Just(From::Streamed),
        any::<prop::sample::Index>().prop_map(From::Past),
    ];
    prop_oneof![
        4 => (place.clone(), app.clone(), prop::bool::weighted(0.3))
            .prop_map(|(place, app, held)| Op::Create { place, app, held }),
        6 => (place.clone(), app, 0..3_u8, any::<bool>())
            .prop_map(|(place, app, value, whole)| Op::Change { place, app, value, whole }),
        1 => place.clone().prop_map(|place| Op::Release { place }),
        2 => place.prop_map(|place| Op::Delete { place }),
        3 => (0..INFORMERS, scope, from)
            .prop_map(|(informer, scope, from)| Op::Follow { informer, scope, from }),
        4 => (0..INFORMERS, 1..6_usize).prop_map(|(informer, events)| Op::Read { informer, events }),
        1 => Just(Op::Restart),
    ]
}

fn collection(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps")
}

fn item((namespace, name): Place) -> String {
    format!("{}/{name}", collection(namespace))
}

fn revision(object: &Value) -> u64 {
    let text = object["metadata"]["resourceVersion"].as_str().expect("a revision");
    text.parse().expect("a number")
}

impl Scope {
    fn path(self) -> String {
        let path = self.namespace.map_or_else(|| "/api/v1/configmaps".to_owned(), collection);
        let selector = self.app.map(|app| format!("app={}", APPS[app])).unwrap_or_default();
        format!("{path}?labelSelector={selector}")
    }

    fn has(self, place: Place, object: &Value) -> bool {
        self.namespace.is_none_or(|namespace| namespace == place.0)
            && self.app.is_none_or(|app| object["metadata"]["labels"]["app"] == APPS[app])
    }
}

/// One write.
struct Step {
    revision: u64,
    place: Place,
    old: Option<Value>,
    new: Option<Value>,
}

impl Step {
    /// What somebody is told of it.
    fn told(&self, scope: Scope) -> Option<(&'static str, Value)> {
        let inside = |object: &Option<Value>| {
            object.as_ref().filter(|object| scope.has(self.place, object)).cloned()
        };
        let (word, mut object) = match (inside(&self.old), inside(&self.new)) {
            (None, Some(new)) => ("ADDED", new),
            (Some(_), Some(new)) => ("MODIFIED", new),
            (Some(old), None) => ("DELETED", old),
            (None, None) => return None,
        };
        object["metadata"]["resourceVersion"] = self.revision.to_string().into();
        Some((word, object))
    }
}

/// What has been written, as the answers said.
struct Model {
    now: BTreeMap<Place, Value>,
    history: Vec<Step>,
    /// Where the history begins of which the server still knows.
    since_start: usize,
    started_at: u64,
    /// Revisions that somebody may remember.
    revisions: Vec<u64>,
}

impl Model {
    fn new(revision: u64) -> Self {
        let (now, history) = (BTreeMap::new(), Vec::new());
        Self { now, history, since_start: 0, started_at: revision, revisions: vec![revision] }
    }

    fn record(&mut self, place: Place, new: Option<Value>, revision: u64) {
        assert!(self.revisions.iter().all(|old| *old < revision), "revisions rise");
        let old = match &new {
            Some(new) => self.now.insert(place, new.clone()),
            None => self.now.remove(&place),
        };
        self.history.push(Step { revision, place, old, new });
        self.revisions.push(revision);
    }

    fn restarted(&mut self, revision: u64) {
        self.since_start = self.history.len();
        self.started_at = revision;
        self.revisions.push(revision);
    }

    /// Watches from before here are to be refused, and no others.
    fn floor(&self) -> u64 {
        let forgotten = self.history.len().saturating_sub(WINDOW);
        match forgotten > self.since_start {
            true => self.history[forgotten - 1].revision,
            false => self.started_at,
        }
    }

    fn inside(&self, scope: Scope) -> BTreeMap<Place, u64> {
        let objects = self.now.iter().filter(|(place, object)| scope.has(**place, object));
        objects.map(|(place, object)| (*place, revision(object))).collect()
    }
}

/// Somebody who follows.
struct Informer {
    scope: Scope,
    lines: Lines,
    /// What there was when the watch began, yet to be told.
    first: Vec<Value>,
    /// Whether it is then to be told where that ends.
    marked: bool,
    /// Everything up to here has been told.
    revision: u64,
    objects: BTreeMap<Place, u64>,
}

impl Informer {
    async fn follow(lab: &Lab, model: &Model, scope: Scope, from: From) -> Self {
        let initial =
            "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
        let (query, revision) = match from {
            From::Now => (String::new(), None),
            From::Streamed => (format!("&{initial}"), None),
            From::Past(index) => {
                let revision = *index.get(&model.revisions);
                (format!("&resourceVersion={revision}"), Some(revision))
            }
        };
        let path = format!("{}&watch=true{query}", scope.path());
        let lines = open(lab, &path, "*/*").await;
        let all = model.now.iter().filter(|(place, object)| scope.has(**place, object));
        let first = match revision {
            None => all.map(|(_, object)| object.clone()).rev().collect(),
            Some(_) => Vec::new(),
        };
        let mut informer = Self {
            scope,
            lines,
            first,
            marked: matches!(from, From::Streamed),
            revision: revision.unwrap_or_else(|| lab.store.revision()),
            objects: BTreeMap::new(),
        };
        // Of what was before, it knows as a client would that has read it then.
        for step in
            model.history.iter().filter(|step| revision.is_some_and(|at| step.revision <= at))
        {
            informer.take(step);
        }
        informer
    }

    fn take(&mut self, step: &Step) {
        match &step.new {
            Some(new) if self.scope.has(step.place, new) => {
                self.objects.insert(step.place, step.revision);
            }
            _ => drop(self.objects.remove(&step.place)),
        }
    }

    /// How many more events are due.
    fn due(&self, model: &Model) -> usize {
        let news = model.history.iter().filter(|step| step.revision > self.revision);
        let told = news.filter(|step| step.told(self.scope).is_some()).count();
        self.first.len() + usize::from(self.marked) + told
    }

    /// Reads one event that is due, and has it be the right one.
    async fn read(&mut self, lab: &Lab, model: &Model) {
        let event = self.lines.next().await.expect("a watch without a time does not end");
        let (word, object) = (event["type"].as_str().expect("a type"), &event["object"]);
        if word == "ERROR" {
            assert_eq!((&object["code"], &object["reason"]), (&json!(410), &json!("Expired")));
            assert!(self.revision < model.floor(), "{} is remembered: {object}", self.revision);
            return self.list(lab, model).await;
        }
        if let Some(first) = self.first.pop() {
            assert_eq!((word, object), ("ADDED", &first));
            let place = place_of(object);
            self.objects.insert(place, revision(object));
            return;
        }
        if std::mem::take(&mut self.marked) {
            assert_eq!((word, revision(object)), ("BOOKMARK", self.revision));
            assert_eq!(object["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
            return;
        }
        let mut news = model.history.iter().filter(|step| step.revision > self.revision);
        let step = news.find(|step| step.told(self.scope).is_some()).expect("one is due");
        let (expected, shown) = step.told(self.scope).expect("one is due");
        assert_eq!((word, object), (expected, &shown));
        self.revision = step.revision;
        self.take(step);
    }

    /// The server has forgotten too much: how it is now, and what comes then.
    async fn list(&mut self, lab: &Lab, model: &Model) {
        let list = lab.get(&self.scope.path()).await.expect(200);
        let items = list["items"].as_array().expect("items").iter();
        self.objects = items.map(|object| (place_of(object), revision(object))).collect();
        assert_eq!(self.objects, model.inside(self.scope));
        self.revision = revision(&list);
        (self.first, self.marked) = (Vec::new(), false);
        let path = format!("{}&watch=true&resourceVersion={}", self.scope.path(), self.revision);
        self.lines = open(lab, &path, "*/*").await;
    }

    async fn catch_up(&mut self, lab: &Lab, model: &Model) {
        while self.due(model) > 0 {
            self.read(lab, model).await;
        }
        assert_eq!(self.objects, model.inside(self.scope));
    }
}

fn place_of(object: &Value) -> Place {
    let among = |words: &[&'static str], field: &str| {
        let text = object["metadata"][field].as_str().expect("text");
        *words.iter().find(|word| **word == text).expect("one of ours")
    };
    (among(&NAMESPACES, "namespace"), among(&NAMES, "name"))
}

struct World {
    lab: Lab,
    model: Model,
    informers: [Option<Informer>; INFORMERS],
}

impl World {
    fn new() -> Self {
        // A watch that has ended has its place until the task behind it has noticed.
        let lab = lab_with(64 * INFORMERS);
        let model = Model::new(lab.store.revision());
        Self { lab, model, informers: [const { None }; INFORMERS] }
    }

    async fn take(&mut self, op: Op) {
        match op {
            Op::Create { place, app, held } => self.create(place, app, held).await,
            Op::Change { place, app, value, whole } => self.change(place, app, value, whole).await,
            Op::Release { place } => {
                let free = json!({ "metadata": { "finalizers": null } });
                self.changed(place, self.lab.patch(&item(place), MERGE, free).await);
            }
            Op::Delete { place } => {
                let answer = self.lab.delete(&item(place)).await;
                self.changed(place, answer);
            }
            Op::Follow { informer, scope, from } => {
                let follower = Informer::follow(&self.lab, &self.model, scope, from).await;
                self.informers[informer] = Some(follower);
            }
            Op::Read { informer, events } => {
                let Some(informer) = &mut self.informers[informer] else { return };
                for _ in 0..events.min(informer.due(&self.model)) {
                    if informer.due(&self.model) > 0 {
                        informer.read(&self.lab, &self.model).await;
                    }
                }
            }
            Op::Restart => panic!("it takes the world"),
        }
    }

    async fn create(&mut self, place: Place, app: usize, held: bool) {
        let mut object = config_map(place.1, &json!({ "app": APPS[app] }));
        if held {
            object["metadata"]["finalizers"] = json!([FINALIZER]);
        }
        let answer = self.lab.post(&collection(place.0), object).await;
        match self.model.now.contains_key(&place) {
            true => assert_eq!(answer.code, 409, "{}", answer.text),
            false => {
                let object = answer.expect(201);
                let revision = revision(&object);
                assert_eq!(revision, self.lab.store.revision());
                self.model.record(place, Some(object), revision);
            }
        }
    }

    async fn change(&mut self, place: Place, app: usize, value: u8, whole: bool) {
        let change = json!({
            "metadata": { "labels": { "app": APPS[app] } }, "data": { "a": value.to_string() },
        });
        let answer = match self.model.now.get(&place).filter(|_| whole) {
            Some(now) => {
                let mut object = now.clone();
                object["metadata"]["labels"] = change["metadata"]["labels"].clone();
                object["data"] = change["data"].clone();
                self.lab.put(&item(place), object).await
            }
            None => self.lab.patch(&item(place), MERGE, change.clone()).await,
        };
        if let Some(now) = self.model.now.get(&place) {
            let same = |field: fn(&Value) -> &Value| field(now) == field(&change);
            let none = same(|o| &o["metadata"]["labels"]) && same(|o| &o["data"]);
            let changed =
                answer.json["metadata"]["resourceVersion"] != now["metadata"]["resourceVersion"];
            assert_eq!(changed, !none, "what changes nothing is no write");
        }
        self.changed(place, answer);
    }

    /// Writes down what an answer says of an object.
    fn changed(&mut self, place: Place, answer: Answer) {
        let Some(now) = self.model.now.get(&place) else {
            assert_eq!(answer.code, 404, "{}", answer.text);
            return;
        };
        let object = answer.expect(200);
        let current = self.lab.store.revision();
        let terminating = |object: &Value| !object["metadata"]["deletionTimestamp"].is_null();
        let held = |object: &Value| !object["metadata"]["finalizers"].is_null();
        if object["kind"] == "Status" || (terminating(now) && !held(&object)) {
            assert!(!held(now) || terminating(now), "what is held stays");
            self.model.record(place, None, current);
        } else if revision(&object) == revision(now) {
            assert_eq!(&object, now, "no write without a revision");
        } else {
            assert_eq!(revision(&object), current);
            self.model.record(place, Some(object), current);
        }
    }

    /// Stops the server and starts it again; whoever followed goes on as clients do.
    async fn restart(self) -> Self {
        let Self { lab, mut model, mut informers } = self;
        let lab = lab.restart().await;
        model.restarted(lab.store.revision());
        for informer in informers.iter_mut().flatten() {
            let revision = informer.revision;
            // What was told of before is known; of the rest there may be nothing, and never anything wrong.
            let path = format!("{}&watch=true&resourceVersion={revision}", informer.scope.path());
            informer.lines = open(&lab, &path, "*/*").await;
            let event = informer.lines.next().await.expect("an answer");
            assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)));
            informer.list(&lab, &model).await;
        }
        Self { lab, model, informers }
    }

    /// Everybody is told all that there is left to tell, and then what happens at last.
    async fn end(mut self) {
        for place in [("default", "a"), ("istio-system", "b")] {
            for app in [0, 1] {
                self.create(place, app, false).await;
                self.change(place, app, 9, false).await;
            }
        }
        for informer in self.informers.iter_mut().flatten() {
            informer.catch_up(&self.lab, &self.model).await;
        }
    }
}

proptest! {
    #![proptest_config(drawn())]

    #[test]
    fn every_watch_tells_the_history(ops in prop::collection::vec(op(), 1..60)) {
        played(async {
            let mut world = World::new();
            for op in ops {
                match op {
                    Op::Restart => world = world.restart().await,
                    op => world.take(op).await,
                }
            }
            world.end().await;
        });
    }
}
