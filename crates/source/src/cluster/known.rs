//! What was told of the objects of one kind, and so what is news. No I/O.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use tidegate_api::{Kind, Object, ObjectKey, Origin};

use super::raw::Raw;
use crate::{Change, Queue, decode};

/// The objects of one kind as they were told.
#[derive(Debug)]
pub(super) struct Known {
    kind: Kind,
    told: HashMap<ObjectKey, Told>,
    /// Counts lists, so that what the newest one lacks is known to be gone.
    lists: u64,
}

/// What was told of one object.
#[derive(Debug)]
struct Told {
    uid: Box<str>,
    /// `metadata.resourceVersion`.
    version: Box<str>,
    /// Its last good form.
    good: Option<Arc<Object>>,
    /// Whether the newest form is another, which is wrong.
    faulty: bool,
    /// The list that had it last.
    list: u64,
}

impl Known {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, told: HashMap::new(), lists: 0 }
    }

    /// How many objects there are, for all that is known.
    pub(super) fn len(&self) -> usize {
        self.told.len()
    }

    /// A list begins; one that was not finished tells nothing of what is gone.
    pub(super) fn begin(&mut self) {
        self.lists += 1;
    }

    /// The list has ended: what it lacks is gone.
    pub(super) fn finish(&mut self, queue: &Queue) {
        let lists = self.lists;
        for (key, told) in self.told.extract_if(|_, told| told.list != lists) {
            queue.delete(&key, (*told.uid).into());
        }
    }

    /// An object stands there in this form.
    pub(super) fn put(&mut self, raw: Raw, queue: &Queue) {
        let Some(key) = raw.key(self.kind) else { return };
        let before = self.told.remove(&key);
        let mut told = match before {
            Some(told) if *told.uid == *raw.uid() => told,
            other => {
                // Another object took the place: what refuses the new one must not go on with that.
                if let Some(other) = other {
                    queue.delete(&key, (*other.uid).into());
                }
                Told {
                    uid: raw.uid().into(),
                    version: "".into(),
                    good: None,
                    faulty: false,
                    list: 0,
                }
            }
        };
        told.list = self.lists;
        if *told.version != *raw.version() || told.version.is_empty() {
            told.version = raw.version().into();
            told.take(&key, raw, queue);
        }
        self.told.insert(key, told);
    }

    /// An object is gone.
    pub(super) fn remove(&mut self, raw: &Raw, queue: &Queue) {
        let key = raw.key(self.kind);
        if let Some((key, told)) = key.and_then(|key| self.told.remove_entry(&key)) {
            queue.delete(&key, (*told.uid).into());
        }
    }
}

impl Told {
    /// Takes in a form, and tells it where a reader has something to do about it.
    fn take(&mut self, key: &ObjectKey, raw: Raw, queue: &Queue) {
        let decoded = decode(key, &raw.value, Origin::Api);
        let same = matches!((&decoded, &self.good), (Ok(new), Some(good)) if same(new, good));
        if same && !self.faulty {
            return;
        }
        queue.push(Change::of(key, &decoded, || Value::Object(raw.value)));
        self.faulty = decoded.is_err();
        if let Ok(object) = decoded {
            self.good = Some(object);
        }
    }
}

/// Whether two forms of an object differ in nothing but what was said of it in a status.
fn same(a: &Object, b: &Object) -> bool {
    a.generation == b.generation
        && a.created == b.created
        && a.labels == b.labels
        && a.annotations == b.annotations
        && a.unknown == b.unknown
        && a.spec == b.spec
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Changes;

    struct World {
        known: Known,
        queue: Arc<Queue>,
        changes: Changes,
    }

    impl World {
        fn new() -> Self {
            let queue = Arc::new(Queue::default());
            let changes = Changes::new([].into(), Arc::clone(&queue));
            Self { known: Known::new(Kind::Gateway), queue, changes }
        }

        fn put(&mut self, raw: &Value) -> Vec<String> {
            self.known.put(read(raw), &self.queue);
            self.told()
        }

        fn list(&mut self, objects: &[Value]) -> Vec<String> {
            self.known.begin();
            for object in objects {
                self.known.put(read(object), &self.queue);
            }
            self.known.finish(&self.queue);
            self.told()
        }

        fn told(&mut self) -> Vec<String> {
            let told = std::iter::from_fn(|| self.changes.try_next());
            told.map(|change| match change {
                Change::Apply(object) => format!("+{}@{}", object.name(), object.resource_version),
                Change::Delete(key) => format!("-{}", key.name),
                Change::Invalid { key, generation, errors, .. } => {
                    format!("!{} {generation} {}", key.name, errors.join("; "))
                }
                Change::Synced => "synced".to_owned(),
            })
            .collect()
        }
    }

    fn read(value: &Value) -> Raw {
        serde_json::from_value(value.clone()).expect("an object")
    }

    fn gateway(name: &str, uid: &str, version: &str, port: i64) -> Value {
        let port = json!({ "number": port, "name": "http", "protocol": "HTTP" });
        json!({
            "metadata": {
                "name": name, "namespace": "default", "uid": uid, "resourceVersion": version,
                "generation": port["number"],
            },
            "spec": { "selector": { "istio": "x" }, "servers": [{ "port": port, "hosts": ["*"] }] },
        })
    }

    #[test]
    fn a_list_after_an_outage_tells_what_is_different_and_no_more() {
        let mut world = World::new();
        let list = [gateway("a", "1", "10", 80), gateway("b", "2", "11", 80)];
        assert_eq!(world.list(&list), ["+a@10", "+b@11"]);
        assert!(world.list(&list).is_empty(), "nothing is new");
        let list = [gateway("b", "2", "12", 81), gateway("c", "3", "13", 80)];
        assert_eq!(world.list(&list), ["+b@12", "+c@13", "-a"]);
    }

    #[test]
    fn a_list_that_breaks_off_takes_nothing_away() {
        let mut world = World::new();
        world.list(&[gateway("a", "1", "10", 80), gateway("b", "2", "11", 80)]);
        world.known.begin();
        assert!(world.put(&gateway("a", "1", "10", 80)).is_empty());
        let list = [gateway("a", "1", "10", 80), gateway("b", "2", "11", 80)];
        assert!(world.list(&list).is_empty(), "the next one is whole");
    }

    #[test]
    fn what_stands_in_the_place_of_another_is_told_after_its_end() {
        let mut world = World::new();
        world.list(&[gateway("a", "1", "10", 80)]);
        assert_eq!(world.put(&gateway("a", "2", "12", 80)), ["-a", "+a@12"]);
        let mut wrong = gateway("a", "3", "13", 80);
        wrong["spec"]["servers"] = json!("none");
        let told = world.put(&wrong);
        assert!(told[0] == "-a" && told[1].starts_with("!a 80 spec.servers"), "{told:?}");
    }

    #[test]
    fn statuses_are_no_change() {
        let mut world = World::new();
        world.list(&[gateway("a", "1", "10", 80)]);
        let mut told = gateway("a", "1", "11", 80);
        told["status"] = json!({ "conditions": [{ "type": "Programmed", "status": "True" }] });
        assert!(world.put(&told).is_empty());
        told["metadata"]["labels"] = json!({ "a": "b" });
        told["metadata"]["resourceVersion"] = "12".into();
        assert_eq!(world.put(&told), ["+a@12"]);
    }

    #[test]
    fn a_good_form_after_a_wrong_one_is_told_even_as_it_was_before() {
        let mut world = World::new();
        world.list(&[gateway("a", "1", "10", 80)]);
        let mut wrong = gateway("a", "1", "11", 80);
        wrong["spec"]["servers"][0]["port"]["protocol"] = "NONE".into();
        let told = world.put(&wrong);
        assert!(told.len() == 1 && told[0].starts_with("!a"), "{told:?}");
        assert!(world.put(&wrong).is_empty(), "told already");
        assert_eq!(world.put(&gateway("a", "1", "12", 80)), ["+a@12"]);
    }

    #[test]
    fn fields_that_nobody_knows_here_are_kept_in_words() {
        let mut world = World::new();
        let mut object = gateway("a", "1", "10", 80);
        object["spec"]["fromLaterVersions"] = true.into();
        world.known.put(read(&object), &world.queue);
        let Some(Change::Apply(object)) = world.changes.try_next() else { panic!("an object") };
        assert_eq!(object.unknown, ["unknown field \"spec.fromLaterVersions\""]);
    }
}
