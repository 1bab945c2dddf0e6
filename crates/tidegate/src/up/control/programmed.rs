//! The condition `Programmed`: which objects wait for which generation, and which the proxy refuses.
//!
//! Pure bookkeeping. An object is programmed once every worker serves the generation that it was published
//! in, and no resource that it feeds is refused. A refusal that goes makes it programmed again.

use std::collections::{BTreeMap, HashMap};

use tidegate_api::ObjectKey;
use tidegate_xds::{Rejection, ResourceType, Verdicts};

/// What is to be told of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Which object.
    pub key: ObjectKey,
    /// `metadata.generation` of the form that this is about.
    pub generation: i64,
    /// Why the proxy refuses what the object feeds; nothing when every worker serves it.
    pub refusal: Option<String>,
}

/// Objects on their way to the workers.
#[derive(Debug, Default)]
pub struct Programmed {
    /// Objects (with `metadata.generation`) by the snapshot generation that they wait for.
    waiting: BTreeMap<u64, Vec<(ObjectKey, i64)>>,
    /// The last generation of each object that was published.
    published: HashMap<ObjectKey, i64>,
    /// Objects that feed a refused resource, with the reason.
    refused: BTreeMap<ObjectKey, String>,
}

impl Programmed {
    /// Objects came into force with a snapshot generation.
    pub fn applied(&mut self, snapshot: u64, objects: Vec<(ObjectKey, i64)>) {
        self.published.extend(objects.iter().cloned());
        if !objects.is_empty() {
            self.waiting.entry(snapshot).or_default().extend(objects);
        }
    }

    /// An object is gone; nothing is told of it any more.
    pub fn forget(&mut self, key: &ObjectKey) {
        self.published.remove(key);
        self.refused.remove(key);
        self.waiting.retain(|_, objects| {
            objects.retain(|(waiting, _)| waiting != key);
            !objects.is_empty()
        });
    }

    /// What follows from what subscribers say. `owners` names the objects that a resource was compiled from.
    pub fn heard(
        &mut self,
        verdicts: &Verdicts,
        owners: impl Fn(ResourceType, &str) -> Vec<ObjectKey>,
    ) -> Vec<Told> {
        let mut now: BTreeMap<ObjectKey, String> = BTreeMap::new();
        for (_, rejection) in verdicts.rejections() {
            for owner in owners(rejection.kind, &rejection.name) {
                now.entry(owner).or_insert_with(|| reason(rejection));
            }
        }
        let before = std::mem::replace(&mut self.refused, now);

        let mut told: BTreeMap<ObjectKey, i64> = BTreeMap::new();
        for key in before.keys().chain(self.refused.keys()) {
            if before.get(key) != self.refused.get(key)
                && let Some(&generation) = self.published.get(key)
            {
                told.insert(key.clone(), generation);
            }
        }
        let later = match verdicts.served() {
            Some(served) => self.waiting.split_off(&(served + 1)),
            None => std::mem::take(&mut self.waiting),
        };
        let arrived = std::mem::replace(&mut self.waiting, later);
        if verdicts.served().is_some() {
            told.extend(arrived.into_values().flatten());
        }
        told.retain(|key, _| self.published.contains_key(key));
        let told = told.into_iter().map(|(key, generation)| {
            let refusal = self.refused.get(&key).cloned();
            Told { key, generation, refusal }
        });
        told.collect()
    }
}

/// The refusal in words.
fn reason(rejection: &Rejection) -> String {
    let Rejection { kind, name, path, reason } = rejection;
    let place = if path.is_empty() { String::new() } else { format!(", {path}") };
    format!("{kind:?} {name}{place}: {reason}")
}

#[cfg(test)]
mod tests {
    use tidegate_api::Kind;
    use tidegate_xds::{Change, Resource, Snapshot, Subscription, Verdict};

    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new(Kind::Gateway, "default", name)
    }

    /// A snapshot at some generation, with one subscriber.
    fn published(changes: u64) -> (Snapshot, Subscription) {
        let snapshot = Snapshot::new();
        let subscription = snapshot.subscribe();
        for version in 0..changes {
            let bytes = version.to_string().into_bytes().into();
            let resource =
                Resource { kind: ResourceType::Cluster, name: "c".into(), version, bytes };
            snapshot.publish(Change { upsert: vec![resource], remove: Vec::new() });
        }
        (snapshot, subscription)
    }

    fn refusal(name: &str) -> Rejection {
        Rejection {
            kind: ResourceType::Listener,
            name: name.into(),
            path: "address".into(),
            reason: "taken".into(),
        }
    }

    fn owner_is_name(_: ResourceType, name: &str) -> Vec<ObjectKey> {
        vec![key(name)]
    }

    fn hear(programmed: &mut Programmed, snapshot: &Snapshot) -> Vec<(String, Option<String>)> {
        let told = programmed.heard(&snapshot.verdicts().borrow(), owner_is_name);
        told.into_iter().map(|told| (told.key.name.to_string(), told.refusal)).collect()
    }

    #[test]
    fn nothing_is_programmed_before_every_worker_serves_it() {
        let (snapshot, subscription) = published(2);
        let mut programmed = Programmed::default();
        programmed.applied(1, vec![(key("a"), 1)]);
        programmed.applied(2, vec![(key("b"), 1)]);
        assert_eq!(hear(&mut programmed, &snapshot), []);

        subscription.report(Verdict { generation: 1, rejected: Vec::new() });
        assert_eq!(hear(&mut programmed, &snapshot), [("a".to_owned(), None)]);
        subscription.report(Verdict { generation: 2, rejected: Vec::new() });
        assert_eq!(hear(&mut programmed, &snapshot), [("b".to_owned(), None)]);
        assert_eq!(hear(&mut programmed, &snapshot), []);
    }

    #[test]
    fn a_refusal_is_told_and_taken_back() {
        let (snapshot, subscription) = published(2);
        let mut programmed = Programmed::default();
        programmed.applied(1, vec![(key("a"), 1), (key("b"), 1)]);
        subscription.report(Verdict { generation: 1, rejected: vec![refusal("b")] });
        let words = Some("Listener b, address: taken".to_owned());
        let told = hear(&mut programmed, &snapshot);
        assert_eq!(told, [("a".to_owned(), None), ("b".to_owned(), words)]);

        subscription.report(Verdict { generation: 2, rejected: Vec::new() });
        assert_eq!(hear(&mut programmed, &snapshot), [("b".to_owned(), None)]);
    }

    #[test]
    fn an_object_waits_for_its_own_generation_and_not_for_its_predecessor_s() {
        let (snapshot, subscription) = published(2);
        let mut programmed = Programmed::default();
        programmed.applied(1, vec![(key("a"), 1)]);
        programmed.forget(&key("a"));
        // Created anew, with generation 1 again, while the snapshot before is on its way.
        programmed.applied(2, vec![(key("a"), 1)]);
        subscription.report(Verdict { generation: 1, rejected: Vec::new() });
        assert_eq!(hear(&mut programmed, &snapshot), []);
        subscription.report(Verdict { generation: 2, rejected: Vec::new() });
        assert_eq!(hear(&mut programmed, &snapshot), [("a".to_owned(), None)]);
    }

    #[test]
    fn what_is_gone_is_not_spoken_of() {
        let (snapshot, subscription) = published(1);
        let mut programmed = Programmed::default();
        programmed.applied(1, vec![(key("a"), 1)]);
        programmed.forget(&key("a"));
        subscription.report(Verdict { generation: 1, rejected: vec![refusal("a")] });
        assert_eq!(hear(&mut programmed, &snapshot), []);
    }
}
