//! Whoever writes in whichever way: who owns which field is as Kubernetes has it, and so are conflicts.
//!
//! A model of the rules: an apply owns what it says, alone or with others who say the same; where it says otherwise than
//! another owner, that is a conflict, or takes the field over by force; what it no longer says goes where nobody else owns
//! it. Whoever writes in another way owns what they change, alone.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::rest::managed;

const MANAGERS: [&str; 3] = ["m1", "m2", "m3"];
/// Maps of the object, and keys in each.
const MAPS: [&str; 2] = ["data", "labels"];
const KEYS: [&str; 3] = ["a", "b", "c"];
const VALUES: [&str; 2] = ["1", "2"];

/// A map of the object and a key in it.
type Leaf = (&'static str, &'static str);
type Values = BTreeMap<Leaf, &'static str>;
/// A manager, and whether it applies.
type Owner = (&'static str, bool);

#[derive(Clone, Debug)]
enum Op {
    Apply {
        manager: &'static str,
        wanted: Values,
        force: bool,
    },
    /// Merge patch; what has no value is removed.
    Patch {
        manager: &'static str,
        change: BTreeMap<Leaf, Option<&'static str>>,
    },
}

fn leaf() -> impl Strategy<Value = Leaf> + Clone {
    (prop::sample::select(&MAPS[..]), prop::sample::select(&KEYS[..]))
}

fn op() -> impl Strategy<Value = Op> {
    let manager = prop::sample::select(&MANAGERS[..]);
    let value = prop::sample::select(&VALUES[..]);
    let wanted = prop::collection::btree_map(leaf(), value.clone(), 0..5);
    let change = prop::collection::btree_map(leaf(), prop::option::weighted(0.7, value), 0..4);
    prop_oneof![
        3 => (manager.clone(), wanted, prop::bool::weighted(0.3))
            .prop_map(|(manager, wanted, force)| Op::Apply { manager, wanted, force }),
        1 => (manager, change).prop_map(|(manager, change)| Op::Patch { manager, change }),
    ]
}

/// What there is, and whose it is.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    values: Values,
    owners: BTreeMap<Leaf, BTreeSet<Owner>>,
}

impl Model {
    /// The owners that do not agree, or nothing.
    fn apply(
        &mut self,
        manager: &'static str,
        wanted: &Values,
        force: bool,
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
        for (leaf, owners) in &mut self.owners {
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

    fn patch(&mut self, manager: &'static str, change: &BTreeMap<Leaf, Option<&'static str>>) {
        for (leaf, value) in change {
            match value {
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

/// `.data.a` of ours.
fn leaf_named(path: &str) -> Option<Leaf> {
    let (map, key) = path.trim_start_matches(".metadata").strip_prefix('.')?.split_once('.')?;
    let map = MAPS.iter().find(|known| **known == map)?;
    Some((map, KEYS.iter().find(|known| **known == key)?))
}

fn manager_named(name: &str) -> &'static str {
    MANAGERS.iter().find(|known| **known == name).expect("one of ours")
}

/// What an object says of itself.
fn seen(object: &Value) -> Model {
    let mut model = Model::default();
    for (name, map) in [("data", &object["data"]), ("labels", &object["metadata"]["labels"])] {
        for (key, value) in map.as_object().into_iter().flatten() {
            let leaf = leaf_named(&format!(".{name}.{key}")).expect("one of ours");
            let value = VALUES.iter().find(|known| *value == **known).expect("one of ours");
            model.values.insert(leaf, value);
        }
    }
    for entry in managed::entries(object) {
        let owner = (manager_named(&entry.manager.name), entry.applies);
        for leaf in entry.fields.leaves().paths().iter().filter_map(|path| leaf_named(path)) {
            model.owners.entry(leaf).or_default().insert(owner);
        }
    }
    model
}

fn object(values: &BTreeMap<Leaf, Value>) -> Value {
    let mut object =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "c" } });
    for ((map, key), value) in values {
        match *map {
            "labels" => object["metadata"]["labels"][*key] = value.clone(),
            map => object[map][*key] = value.clone(),
        }
    }
    object
}

/// Whom an answer names as owners of other minds.
fn conflicts_in(answer: &Answer) -> BTreeSet<(Owner, Leaf)> {
    let causes = answer.json["details"]["causes"].as_array().expect("causes").iter();
    causes
        .map(|cause| {
            assert_eq!(cause["reason"], "FieldManagerConflict");
            let who = cause["message"].as_str().expect("who").trim_start_matches("conflict with ");
            let (name, more) = who.trim_start_matches('"').split_once('"').expect("a name");
            let leaf = leaf_named(cause["field"].as_str().expect("a field"));
            ((manager_named(name), more.is_empty()), leaf.expect("one of ours"))
        })
        .collect()
}

struct World {
    lab: Lab,
    model: Model,
    last: Option<Value>,
}

impl World {
    async fn take(&mut self, op: &Op) {
        let path = |manager: &str, more: &str| format!("{CM}/c?fieldManager={manager}{more}");
        let before = self.model.clone();
        let answer = match op {
            Op::Apply { manager, wanted, force } => {
                let expected = self.model.apply(manager, wanted, *force);
                let wanted = wanted.iter().map(|(leaf, value)| (*leaf, json!(value))).collect();
                let path = path(manager, if *force { "&force=true" } else { "" });
                let answer =
                    self.lab.patch(&path, "application/apply-patch+yaml", object(&wanted)).await;
                if !expected.is_empty() {
                    assert_eq!(answer.code, 409, "{expected:?}: {}", answer.text);
                    assert_eq!(conflicts_in(&answer), expected);
                    assert_eq!(self.model, before, "a refused apply changes nothing");
                    self.lab.get(&format!("{CM}/c")).await
                } else {
                    answer
                }
            }
            Op::Patch { manager, change } if self.last.is_some() => {
                self.model.patch(manager, change);
                let change = change.iter().map(|(leaf, value)| (*leaf, json!(value))).collect();
                self.lab.patch(&path(manager, ""), MERGE, object(&change)).await
            }
            Op::Patch { .. } => return,
        };
        let code = if self.last.is_some() { 200 } else { 201 };
        let now = answer.expect(code);
        assert_eq!(seen(&now), self.model, "{now:#}");
        if let Some(last) = &self.last
            && self.model == before
        {
            let revision = |object: &Value| object["metadata"]["resourceVersion"].clone();
            assert_eq!(revision(&now), revision(last), "nothing has changed: {last:#} {now:#}");
        }
        self.last = Some(now);
    }
}

proptest! {
    #![proptest_config(drawn())]

    #[test]
    fn every_field_has_the_owners_that_the_rules_give_it(ops in prop::collection::vec(op(), 1..30)) {
        played(async {
            let mut world = World { lab: lab(), model: Model::default(), last: None };
            for op in &ops {
                world.take(op).await;
            }
        });
    }
}
