//! Whoever writes in whichever way: who owns which field is as Kubernetes has it, and so are conflicts.
//!
//! A model of the rules: an apply owns what it says, alone or with others who say the same; where it says otherwise than
//! another owner, that is a conflict, or takes the field over by force; what it no longer says goes where nobody else owns
//! it. Whoever writes in another way owns what they change, alone. All of it holds for the object without its status
//! through the object's path, and for the status through its own; what is said there of the other part is said in vain.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::rest::managed;

const MANAGERS: [&str; 3] = ["m1", "m2", "m3"];
const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// A field that is owned as a whole.
struct Place {
    /// Where it is; entries of `ports` are named by their port.
    steps: &'static [&'static str],
    /// As messages name it.
    shown: &'static str,
    /// What it may say, as JSON.
    values: &'static [&'static str],
}

impl Place {
    fn is_status(&self) -> bool {
        self.steps[0] == "status"
    }
}

/// A way to write that is no apply.
#[derive(Clone, Copy)]
enum Way {
    Put,
    Merge,
    Strategic,
}

/// An object that is written to.
struct Subject {
    collection: &'static str,
    /// Without what the places hold.
    bare: fn() -> Value,
    /// Whether it is there before anybody applies it.
    is_there: bool,
    places: &'static [Place],
    ways: &'static [Way],
}

/// An apply may say that there is nothing, and owns that; for other writes it is as if they took it away.
const NOTHING: &str = "null";

const TEXTS: &[&str] = &["\"1\"", "\"2\""];

/// Maps, which are owned key by key.
static MAPS: Subject = Subject {
    collection: CM,
    bare: || json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "o" } }),
    is_there: false,
    places: &[
        Place { steps: &["data", "a"], shown: ".data.a", values: TEXTS },
        Place { steps: &["data", "b"], shown: ".data.b", values: TEXTS },
        Place { steps: &["data", "c"], shown: ".data.c", values: TEXTS },
        Place { steps: &["metadata", "labels", "a"], shown: ".metadata.labels.a", values: TEXTS },
        Place { steps: &["metadata", "labels", "b"], shown: ".metadata.labels.b", values: TEXTS },
    ],
    ways: &[Way::Merge, Way::Strategic, Way::Put],
};

/// Lists that are owned entry by entry, a map that is owned whole, and a status.
static SERVICE: Subject = Subject {
    collection: SERVICES,
    bare: || {
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "o" },
            "spec": { "clusterIP": "None", "ports": [{ "port": 80, "name": "p80" }] } })
    },
    is_there: true,
    places: &[
        Place {
            steps: &["spec", "ports", "80", "appProtocol"],
            shown: ".spec.ports[port=80,protocol=\"TCP\"].appProtocol",
            values: &["\"http\"", "\"grpc\"", NOTHING],
        },
        // Entries that are there while somebody owns them.
        Place {
            steps: &["spec", "ports", "90", "name"],
            shown: ".spec.ports[port=90,protocol=\"TCP\"].name",
            values: &["\"p90\""],
        },
        Place {
            steps: &["spec", "ports", "91", "name"],
            shown: ".spec.ports[port=91,protocol=\"TCP\"].name",
            values: &["\"p91\""],
        },
        Place {
            steps: &["spec", "selector"],
            shown: ".spec.selector",
            values: &["{\"app\":\"a\"}", "{\"app\":\"b\"}"],
        },
        Place {
            steps: &["status", "loadBalancer", "ingress"],
            shown: ".status.loadBalancer.ingress",
            values: &["[{\"ip\":\"10.0.0.1\"}]", "[{\"ip\":\"10.0.0.2\"}]"],
        },
    ],
    ways: &[Way::Strategic, Way::Put],
};

/// A custom kind: lists that are owned whole, and a status.
static ROUTE: Subject = Subject {
    collection: VS,
    bare: || virtual_service("o", "a.example"),
    is_there: true,
    places: &[
        Place {
            steps: &["spec", "gateways"],
            shown: ".spec.gateways",
            values: &["[\"a\"]", "[\"a\",\"b\"]", NOTHING],
        },
        Place {
            steps: &["spec", "exportTo"],
            shown: ".spec.exportTo",
            values: &["[\".\"]", "[\"*\"]"],
        },
        Place { steps: &["metadata", "labels", "a"], shown: ".metadata.labels.a", values: TEXTS },
        Place {
            steps: &["status", "conditions"],
            shown: ".status.conditions",
            values: &[
                "[{\"type\":\"Programmed\",\"status\":\"True\"}]",
                "[{\"type\":\"Programmed\",\"status\":\"False\"}]",
            ],
        },
    ],
    ways: &[Way::Merge, Way::Put],
};

fn json_of(value: &str) -> Value {
    serde_json::from_str(value).expect("JSON")
}

/// The number of a place.
type Leaf = usize;
type Values = BTreeMap<Leaf, &'static str>;
/// A manager, and whether it applies.
type Owner = (&'static str, bool);

#[derive(Clone, Debug)]
enum How {
    Apply {
        force: bool,
    },
    /// The number of a way.
    Write(usize),
}

/// A write. An apply says nothing of places without a value; other writes empty them.
#[derive(Clone, Debug)]
struct Op {
    manager: &'static str,
    to_status: bool,
    how: How,
    /// Numbers of places and values.
    said: BTreeMap<usize, Option<usize>>,
}

fn op() -> impl Strategy<Value = Op> {
    let manager = prop::sample::select(&MANAGERS[..]);
    let how = prop_oneof![
        3 => prop::bool::weighted(0.3).prop_map(|force| How::Apply { force }),
        2 => (0_usize..3).prop_map(How::Write),
    ];
    let said =
        prop::collection::btree_map(0_usize..5, prop::option::weighted(0.7, 0_usize..6), 0..5);
    (manager, prop::bool::weighted(0.3), how, said).prop_map(|(manager, to_status, how, said)| Op {
        manager,
        to_status,
        how,
        said,
    })
}

/// What there is, and whose it is.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    values: Values,
    owners: BTreeMap<Leaf, BTreeSet<Owner>>,
}

impl Model {
    /// The owners that do not agree, or nothing. `reached` are the places that the path reaches.
    fn apply(
        &mut self,
        manager: &'static str,
        wanted: &Values,
        force: bool,
        reached: impl Fn(Leaf) -> bool,
    ) -> BTreeSet<(Owner, Leaf)> {
        let me = (manager, true);
        let mut conflicts = BTreeSet::new();
        for (leaf, value) in wanted {
            if self.values.get(leaf).is_some_and(|now| now != value) {
                let others = self.owners[leaf].iter().filter(|owner| **owner != me);
                conflicts.extend(others.map(|owner| (*owner, *leaf)));
            }
        }
        if !conflicts.is_empty() && !force {
            return conflicts;
        }
        for (leaf, owners) in self.owners.iter_mut().filter(|(leaf, _)| reached(**leaf)) {
            if owners.remove(&me) && owners.is_empty() && !wanted.contains_key(leaf) {
                self.values.remove(leaf);
            }
        }
        for (leaf, value) in wanted {
            let owners = self.owners.entry(*leaf).or_default();
            if self.values.insert(*leaf, value) != Some(value) {
                owners.clear();
            }
            owners.insert(me);
        }
        self.owners.retain(|_, owners| !owners.is_empty());
        BTreeSet::new()
    }

    /// What an object says of it: nothing of where there is nothing.
    fn shown(&self) -> Self {
        let mut shown = self.clone();
        shown.values.retain(|_, value| *value != NOTHING);
        shown
    }

    fn write(&mut self, manager: &'static str, change: &BTreeMap<Leaf, Option<&'static str>>) {
        for (leaf, value) in change {
            match value.filter(|value| *value != NOTHING) {
                None if self.values.get(leaf) == Some(&NOTHING) => {}
                None => {
                    self.values.remove(leaf);
                    self.owners.remove(leaf);
                }
                Some(value) => {
                    if self.values.insert(*leaf, value) != Some(value) {
                        self.owners.insert(*leaf, BTreeSet::from([(manager, false)]));
                    }
                }
            }
        }
    }
}

fn manager_named(name: &str) -> Option<&'static str> {
    MANAGERS.iter().copied().find(|known| *known == name)
}

/// Whether this is the entry of a port.
fn is_of(entry: &Value, port: &str) -> bool {
    entry["port"].as_u64() == port.parse().ok()
}

/// The entry of a port in a list of them, made if there is none.
fn entry_of<'a>(list: &'a mut Value, port: &str) -> &'a mut Value {
    if list.is_null() {
        *list = json!([]);
    }
    let list = list.as_array_mut().expect("a list");
    let at = list.iter().position(|entry| is_of(entry, port)).unwrap_or(list.len());
    if at == list.len() {
        let number: u16 = port.parse().expect("a port");
        list.push(json!({ "port": number, "name": format!("p{port}") }));
    }
    &mut list[at]
}

fn put(object: &mut Value, steps: &[&str], value: Value) {
    match steps {
        [last] => object[*last] = value,
        ["ports", port, rest @ ..] => put(entry_of(&mut object["ports"], port), rest, value),
        [step, rest @ ..] => put(&mut object[*step], rest, value),
        [] => unreachable!("a place has steps"),
    }
}

fn get<'a>(object: &'a Value, steps: &[&str]) -> Option<&'a Value> {
    match steps {
        [] => Some(object),
        ["ports", port, rest @ ..] => {
            let mut list = object["ports"].as_array()?.iter();
            get(list.find(|entry| is_of(entry, port))?, rest)
        }
        [step, rest @ ..] => get(object.get(*step)?, rest),
    }
}

/// Takes a value out of an object, with the entry that it names.
fn take(object: &mut Value, steps: &[&str]) {
    match steps {
        ["ports", port, "name"] => {
            let list = object["ports"].as_array_mut().expect("a list");
            list.retain(|entry| !is_of(entry, port));
        }
        ["ports", port, rest @ ..] => take(entry_of(&mut object["ports"], port), rest),
        [last] => drop(object.as_object_mut().and_then(|map| map.remove(*last))),
        [step, rest @ ..] if object.get(*step).is_some() => take(&mut object[*step], rest),
        _ => {}
    }
}

/// A strategic patch that takes a value out.
fn put_removal(patch: &mut Value, steps: &[&str]) {
    match steps {
        ["spec", "ports", port, "name"] => {
            entry_of(&mut patch["spec"]["ports"], port)["$patch"] = "delete".into();
        }
        steps => put(patch, steps, Value::Null),
    }
}

struct World {
    subject: &'static Subject,
    lab: Lab,
    model: Model,
    last: Option<Value>,
}

impl World {
    async fn new(subject: &'static Subject) -> Self {
        let lab = lab();
        let mut last = None;
        if subject.is_there {
            last = Some(lab.post(subject.collection, (subject.bare)()).await.expect(201));
        }
        Self { subject, lab, model: Model::default(), last }
    }

    fn leaf_shown(&self, path: &str) -> Option<Leaf> {
        self.subject.places.iter().position(|place| place.shown == path)
    }

    /// What an object says of itself.
    fn seen(&self, object: &Value) -> Model {
        let mut model = Model::default();
        for (leaf, place) in self.subject.places.iter().enumerate() {
            if let Some(now) = get(object, place.steps) {
                let value = place.values.iter().find(|value| json_of(value) == *now);
                model.values.insert(leaf, value.unwrap_or_else(|| panic!("another's: {now}")));
            }
        }
        for entry in managed::entries(object) {
            for path in entry.fields.leaves().paths() {
                let Some(leaf) = self.leaf_shown(&path) else { continue };
                let through = entry.manager.subresource.as_deref();
                let own = self.subject.places[leaf].is_status().then_some("status");
                assert_eq!(through, own, "{path} is owned through another path");
                let manager = manager_named(&entry.manager.name).expect("one of ours");
                model.owners.entry(leaf).or_default().insert((manager, entry.applies));
            }
        }
        model
    }

    /// Whom an answer names as owners of other minds.
    fn conflicts_in(&self, answer: &Answer) -> BTreeSet<(Owner, Leaf)> {
        let causes = answer.json["details"]["causes"].as_array().expect("causes").iter();
        causes
            .map(|cause| {
                assert_eq!(cause["reason"], "FieldManagerConflict");
                let who =
                    cause["message"].as_str().expect("who").trim_start_matches("conflict with ");
                let (name, more) = who.trim_start_matches('"').split_once('"').expect("a name");
                let leaf = self.leaf_shown(cause["field"].as_str().expect("a field"));
                let owner = (manager_named(name).expect("one of ours"), !more.contains(" using "));
                (owner, leaf.expect("one of ours"))
            })
            .collect()
    }

    async fn take(&mut self, op: &Op) {
        let subject = self.subject;
        let to_status = op.to_status && subject.places.iter().any(Place::is_status);
        let part = if to_status { "/status" } else { "" };
        let item = format!("{}/o", subject.collection);
        let path = format!("{item}{part}?fieldManager={}", op.manager);
        let reached = |leaf: Leaf| subject.places[leaf].is_status() == to_status;
        let said: BTreeMap<Leaf, Option<&'static str>> = op
            .said
            .iter()
            .filter_map(|(leaf, value)| {
                let place = subject.places.get(*leaf)?;
                Some((*leaf, value.map(|value| place.values[value % place.values.len()])))
            })
            .collect();
        let heard: BTreeMap<_, _> =
            said.iter().filter(|(leaf, _)| reached(**leaf)).map(|(l, v)| (*l, *v)).collect();
        let before = self.model.clone();
        let answer = match (&op.how, &self.last) {
            (How::Apply { .. }, None) if to_status => return,
            (How::Apply { force }, _) => {
                let wanted = heard.iter().filter_map(|(l, v)| Some((*l, (*v)?))).collect();
                let expected = self.model.apply(op.manager, &wanted, *force, reached);
                let path = if *force { format!("{path}&force=true") } else { path };
                let body = self.applied(&said);
                let answer = self.lab.patch(&path, "application/apply-patch+yaml", body).await;
                if !expected.is_empty() {
                    assert_eq!(answer.code, 409, "{expected:?}: {}", answer.text);
                    assert_eq!(self.conflicts_in(&answer), expected);
                    assert_eq!(self.model, before, "a refused apply changes nothing");
                    self.lab.get(&item).await
                } else {
                    answer
                }
            }
            (How::Write(_), None) => return,
            (How::Write(way), Some(last)) => {
                self.model.write(op.manager, &heard);
                let way = subject.ways[way % subject.ways.len()];
                self.write(&path, way, last, &said).await
            }
        };
        let now = answer.expect(if self.last.is_some() { 200 } else { 201 });
        assert_eq!(self.seen(&now), self.model.shown(), "{op:?}: {now:#}");
        if let Some(last) = &self.last
            && self.model == before
        {
            let revision = |object: &Value| object["metadata"]["resourceVersion"].clone();
            // A merge patch makes the map that it takes nothing out of (RFC 7386, section 2), and custom kinds keep it.
            let made = last.get("status").is_none() && now["status"] == json!({});
            let same =
                revision(&now) == revision(last) || made || Self::ports_changed_hands(last, &now);
            assert!(same, "{op:?}: nothing has changed: {last:#} {now:#}");
        }
        self.last = Some(now);
    }

    /// Whether others own the parts of ports that are no places: an apply says them, too.
    fn ports_changed_hands(last: &Value, now: &Value) -> bool {
        let owners = |object: &Value| -> BTreeSet<(String, bool, String)> {
            let entries = managed::entries(object).into_iter();
            let paths = |entry: managed::Entry| {
                let paths = entry.fields.leaves().paths().into_iter();
                let of_ports = paths.filter(|path| path.starts_with(".spec.ports["));
                of_ports
                    .map(|path| (entry.manager.name.clone(), entry.applies, path))
                    .collect::<Vec<_>>()
            };
            entries.flat_map(paths).collect()
        };
        owners(last) != owners(now)
    }

    /// What an apply says.
    fn applied(&self, said: &BTreeMap<Leaf, Option<&'static str>>) -> Value {
        let bare = (self.subject.bare)();
        let mut body = json!({
            "apiVersion": bare["apiVersion"], "kind": bare["kind"], "metadata": { "name": "o" },
        });
        for (leaf, value) in said {
            if let Some(value) = value {
                let value = json_of(value);
                put(&mut body, self.subject.places[*leaf].steps, value);
            }
        }
        body
    }

    async fn write(
        &self,
        path: &str,
        way: Way,
        last: &Value,
        said: &BTreeMap<Leaf, Option<&'static str>>,
    ) -> Answer {
        let mut body = if let Way::Put = way { last.clone() } else { json!({}) };
        for (leaf, value) in said {
            let steps = self.subject.places[*leaf].steps;
            match (way, value) {
                (_, Some(value)) => {
                    put(&mut body, steps, json_of(value));
                }
                (Way::Put, None) => take(&mut body, steps),
                (Way::Merge, None) => put(&mut body, steps, Value::Null),
                (Way::Strategic, None) => put_removal(&mut body, steps),
            }
        }
        match way {
            Way::Put => self.lab.put(path, body).await,
            Way::Merge => self.lab.patch(path, MERGE, body).await,
            Way::Strategic => self.lab.patch(path, STRATEGIC, body).await,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 72, ..drawn() })]

    #[test]
    fn every_field_has_the_owners_that_the_rules_give_it(
        subject in 0_usize..3,
        ops in prop::collection::vec(op(), 1..30),
    ) {
        played(async {
            let mut world = World::new([&MAPS, &SERVICE, &ROUTE][subject]).await;
            for op in &ops {
                world.take(op).await;
            }
        });
    }
}
