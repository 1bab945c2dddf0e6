//! Patches of all sorts against what their standards say, on documents and patches of chance.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Map, Value, json};

use super::{json, merge, strategic};

const KEYS: [&str; 4] = ["a", "b", "c/d", "e~f"];
/// What a pointer to a place that is there goes on with.
const MORE: [&str; 11] = ["", "", "", "/a", "/c~1d", "/e~0f", "/-", "/0", "/1", "/01", "/x"];
const OPERATIONS: [&str; 6] = ["add", "remove", "replace", "move", "copy", "test"];

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..3).prop_map(Value::from),
        prop::sample::select(&["", "x"][..]).prop_map(Value::from),
    ]
}

/// A document that is an object.
fn object() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(&KEYS[..]).prop_map(str::to_owned);
    prop::collection::btree_map(key, document(), 0..4)
        .prop_map(|map| Value::Object(map.into_iter().collect()))
}

fn document() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 24, 4, |inner| {
        let key = prop::sample::select(&KEYS[..]).prop_map(str::to_owned);
        prop_oneof![
            3 => prop::collection::btree_map(key, inner.clone(), 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
            1 => prop::collection::vec(inner, 0..4).prop_map(Value::from),
        ]
    })
}

/// RFC 6902 once more, as it reads: a document and an operation, and the document after it if it can be carried out.
mod rfc_6902 {
    use super::*;

    /// RFC 6901, section 4.
    fn tokens(pointer: &str) -> Option<Vec<String>> {
        match pointer {
            "" => Some(Vec::new()),
            _ => {
                let tokens = pointer.strip_prefix('/')?.split('/');
                Some(tokens.map(|token| token.replace("~1", "/").replace("~0", "~")).collect())
            }
        }
    }

    /// The place in a list that a token names: digits without a leading zero.
    fn index(token: &str) -> Option<usize> {
        let digits = token.bytes().all(|byte| byte.is_ascii_digit());
        let plain = digits && (token == "0" || !token.starts_with('0'));
        token.parse().ok().filter(|_| plain)
    }

    fn get(document: &Value, path: &[String]) -> Option<Value> {
        let Some((token, rest)) = path.split_first() else { return Some(document.clone()) };
        match document {
            Value::Object(map) => get(map.get(token)?, rest),
            Value::Array(list) => get(list.get(index(token)?)?, rest),
            _ => None,
        }
    }

    fn add(document: Value, path: &[String], value: Value) -> Option<Value> {
        let Some((token, rest)) = path.split_first() else { return Some(value) };
        match document {
            Value::Object(mut map) => {
                let inner = match rest {
                    [] => value,
                    rest => add(map.get(token)?.clone(), rest, value)?,
                };
                map.insert(token.clone(), inner);
                Some(map.into())
            }
            Value::Array(mut list) => {
                let length = list.len();
                match rest {
                    [] if token == "-" => list.push(value),
                    [] => list.insert(index(token).filter(|index| *index <= length)?, value),
                    rest => {
                        let place = list.get_mut(index(token)?)?;
                        *place = add(place.take(), rest, value)?;
                    }
                }
                Some(list.into())
            }
            _ => None,
        }
    }

    fn remove(document: Value, path: &[String]) -> Option<Value> {
        let (token, rest) = path.split_first()?;
        match document {
            Value::Object(mut map) => {
                let inner = map.remove(token)?;
                if !rest.is_empty() {
                    map.insert(token.clone(), remove(inner, rest)?);
                }
                Some(map.into())
            }
            Value::Array(mut list) => {
                let index = index(token).filter(|index| *index < list.len())?;
                let inner = list.remove(index);
                if !rest.is_empty() {
                    list.insert(index, remove(inner, rest)?);
                }
                Some(list.into())
            }
            _ => None,
        }
    }

    /// Section 4.
    pub(super) fn carried_out(document: &Value, operation: &Value) -> Option<Value> {
        let path = tokens(operation["path"].as_str()?)?;
        let from = || tokens(operation["from"].as_str()?);
        let value = || operation.get("value").cloned();
        match operation["op"].as_str()? {
            "add" => add(document.clone(), &path, value()?),
            "remove" => remove(document.clone(), &path),
            "replace" if path.is_empty() => value(),
            "replace" => {
                get(document, &path)?;
                add(remove(document.clone(), &path)?, &path, value()?)
            }
            "move" => {
                let from = from()?;
                let moved = get(document, &from)?;
                match path.starts_with(&from) {
                    // To where it is.
                    true if path.len() == from.len() => Some(document.clone()),
                    // Into itself.
                    true => None,
                    false => add(remove(document.clone(), &from)?, &path, moved),
                }
            }
            "copy" => add(document.clone(), &path, get(document, &from()?)?),
            "test" => (get(document, &path)? == value()?).then(|| document.clone()),
            _ => None,
        }
    }
}

/// Every pointer into a document.
fn pointers(document: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match document {
        Value::Object(map) => {
            for (key, inner) in map {
                let key = key.replace('~', "~0").replace('/', "~1");
                pointers(inner, &format!("{at}/{key}"), all);
            }
        }
        Value::Array(list) => {
            for (index, inner) in list.iter().enumerate() {
                pointers(inner, &format!("{at}/{index}"), all);
            }
        }
        _ => {}
    }
}

/// A document, and operations on places that it has or might have.
fn document_and_operations() -> impl Strategy<Value = (Value, Vec<Value>)> {
    document().prop_flat_map(|document| {
        let mut there = Vec::new();
        pointers(&document, "", &mut there);
        let place = (prop::sample::select(there), prop::sample::select(&MORE[..]))
            .prop_map(|(there, more)| format!("{there}{more}"));
        let operation = (prop::sample::select(&OPERATIONS[..]), place.clone(), place, scalar())
            .prop_filter(
                "who removes all is refused by some and not by others",
                |(op, path, from, _)| {
                    !(*op == "remove" && path.is_empty() || *op == "move" && from.is_empty())
                },
            )
            .prop_map(|(op, path, from, value)| match op {
                "remove" => json!({ "op": op, "path": path }),
                "move" | "copy" => json!({ "op": op, "path": path, "from": from }),
                _ => json!({ "op": op, "path": path, "value": value }),
            });
        (Just(document), prop::collection::vec(operation, 1..5))
    })
}

/// Lists of a Service that merge, by kind.
#[derive(Clone, Debug)]
struct Service {
    labels: BTreeMap<String, String>,
    ports: Vec<(u16, Option<u16>)>,
    addresses: Vec<String>,
    finalizers: Vec<String>,
}

fn service() -> impl Strategy<Value = Service> {
    let some = |words: &'static [&'static str]| {
        let all: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let most = all.len();
        prop::sample::subsequence(all, 0..=most).prop_shuffle()
    };
    let value = prop::sample::select(&["1", "2"][..]).prop_map(str::to_owned);
    let key = prop::sample::select(&["a", "b", "c"][..]).prop_map(str::to_owned);
    let ports = prop::collection::btree_map(80..84_u16, prop::option::of(1..3_u16), 0..4)
        .prop_map(|ports| ports.into_iter().collect::<Vec<_>>())
        .prop_shuffle();
    let labels = prop::collection::btree_map(key, value, 0..3);
    (labels, ports, some(&["10.0.0.1", "10.0.0.2"]), some(&["x/a", "x/b", "x/c"])).prop_map(
        |(labels, ports, addresses, finalizers)| Service { labels, ports, addresses, finalizers },
    )
}

impl Service {
    fn json(&self) -> Value {
        let ports = self.ports.iter().map(|(port, target)| match target {
            Some(target) => json!({ "port": port, "targetPort": target }),
            None => json!({ "port": port }),
        });
        let ports: Vec<Value> = ports.collect();
        json!({
            "metadata": { "labels": self.labels, "finalizers": self.finalizers },
            "spec": { "ports": ports, "clusterIPs": self.addresses },
        })
    }
}

/// The patch that leads from one object to another, as kubectl makes it.
fn way(from: &Map<String, Value>, to: &Map<String, Value>) -> Map<String, Value> {
    let mut patch = Map::new();
    for (key, _) in from.iter().filter(|(key, _)| !to.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, new) in to.iter().filter(|(key, new)| from.get(*key) != Some(*new)) {
        match (from.get(key), new) {
            (Some(Value::Object(old)), Value::Object(new)) => {
                patch.insert(key.clone(), way(old, new).into());
            }
            (Some(Value::Array(old)), Value::Array(new)) if key == "ports" => {
                ways_of_ports(old, new, &mut patch);
            }
            (Some(Value::Array(old)), Value::Array(new)) if key == "finalizers" => {
                let left = |list: &[Value], other: &[Value]| -> Vec<Value> {
                    list.iter().filter(|entry| !other.contains(entry)).cloned().collect()
                };
                patch.insert(format!("$deleteFromPrimitiveList/{key}"), left(old, new).into());
                patch.insert(format!("$setElementOrder/{key}"), new.clone().into());
                patch.insert(key.clone(), left(new, old).into());
            }
            _ => {
                patch.insert(key.clone(), new.clone());
            }
        }
    }
    patch
}

fn ways_of_ports(old: &[Value], new: &[Value], patch: &mut Map<String, Value>) {
    let named = |list: &[Value], port: &Value| {
        list.iter().find(|entry| entry["port"] == *port).and_then(Value::as_object).cloned()
    };
    let mut entries = Vec::new();
    for entry in new {
        let port = &entry["port"];
        let mut change = match named(old, port) {
            Some(old) => way(&old, &named(new, port).expect("it is there")),
            None => named(new, port).expect("it is there"),
        };
        if !change.is_empty() {
            change.insert("port".into(), port.clone());
            entries.push(Value::Object(change));
        }
    }
    for entry in old.iter().filter(|entry| named(new, &entry["port"]).is_none()) {
        entries.push(json!({ "$patch": "delete", "port": entry["port"] }));
    }
    let order: Vec<Value> = new.iter().map(|entry| json!({ "port": entry["port"] })).collect();
    patch.insert("$setElementOrder/ports".into(), order.into());
    patch.insert("ports".into(), entries.into());
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        // The same every time; another number for others.
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn merge_patches_are_those_of_rfc_7386(document in document(), patch in document()) {
        let mut ours = document.clone();
        merge::apply(&mut ours, &patch);
        let mut theirs = document;
        json_patch::merge(&mut theirs, &patch);
        prop_assert_eq!(ours, theirs);
    }

    #[test]
    fn json_patches_are_those_of_rfc_6902((document, operations) in document_and_operations()) {
        let expected = operations.iter().try_fold(document.clone(), |document, operation| {
            rfc_6902::carried_out(&document, operation)
        });
        let mut patched = document.clone();
        let result = json::apply(&mut patched, &operations.into());
        match expected {
            Some(expected) => prop_assert_eq!((result.is_ok(), patched), (true, expected)),
            None => {
                prop_assert_eq!(result.expect_err("it cannot be carried out").code, 422);
                prop_assert_eq!(patched, document, "all of it or nothing");
            }
        }
    }

    #[test]
    fn a_strategic_patch_leads_where_it_was_made_for(from in service(), to in service()) {
        let (from, to) = (from.json(), to.json());
        let both = (from.as_object().expect("a map"), to.as_object().expect("a map"));
        let patch = Value::Object(way(both.0, both.1));
        let mut patched = from.clone();
        strategic::apply(&mut patched, &patch).expect("applied");
        prop_assert_eq!(&patched, &to, "{} from {}", patch, from);
        // Nothing that it says is lost where somebody else has changed other fields meanwhile.
        let mut other = from;
        other["spec"]["type"] = "NodePort".into();
        other["metadata"]["labels"]["other"] = "z".into();
        strategic::apply(&mut other, &patch).expect("applied");
        prop_assert_eq!(&other["spec"]["type"], "NodePort");
        prop_assert_eq!(&other["metadata"]["labels"]["other"], "z");
        prop_assert_eq!(&other["spec"]["ports"], &to["spec"]["ports"]);
    }

    /// RFC 7386 is what is left of a strategic patch where there are no directives and no lists that merge.
    #[test]
    fn without_lists_a_strategic_patch_is_a_merge_patch(document in object(), patch in object()) {
        let (mut strategic, mut merged) = (document.clone(), document);
        strategic::apply(&mut strategic, &patch).expect("applied");
        merge::apply(&mut merged, &patch);
        prop_assert_eq!(strategic, merged);
    }
}
