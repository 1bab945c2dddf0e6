use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use crate::Rejection;

fn resource(kind: ResourceType, name: &str, content: &str) -> Resource {
    Resource::new(kind, name, Bytes::copy_from_slice(content.as_bytes()))
}

fn upsert(name: &str, content: &str) -> Change {
    Change { upsert: vec![resource(ResourceType::Cluster, name, content)], ..Change::default() }
}

fn remove(name: &str) -> Change {
    Change { remove: vec![(ResourceType::Cluster, name.into())], ..Change::default() }
}

fn names(update: &Update) -> Vec<&str> {
    update.upsert.iter().map(|r| &*r.name).collect()
}

#[test]
fn the_first_update_holds_everything_and_the_next_only_differences() {
    let snapshot = Snapshot::new();
    snapshot.publish(upsert("a", "1"));
    let mut reader = snapshot.subscribe();
    snapshot.publish(upsert("b", "1"));

    let first = reader.try_next().expect("the first update");
    assert_eq!((first.generation, names(&first)), (2, vec!["a", "b"]));
    assert!(reader.try_next().is_none());

    assert_eq!(snapshot.publish(upsert("b", "2")), 3);
    let second = reader.try_next().expect("a change");
    assert_eq!((second.generation, names(&second)), (3, vec!["b"]));
}

#[test]
fn an_empty_snapshot_is_told_too() {
    let first = Snapshot::new().subscribe().try_next().expect("the first update");
    assert_eq!(first.generation, 0);
    assert!(first.upsert.is_empty() && first.remove.is_empty());
}

#[test]
fn equal_bytes_change_nothing() {
    let snapshot = Snapshot::new();
    assert_eq!(snapshot.publish(upsert("a", "1")), 1);
    assert_eq!(snapshot.publish(upsert("a", "1")), 1);
    assert_eq!(snapshot.publish(remove("never there")), 1);
    let both = Change { remove: remove("a").remove, ..upsert("a", "1") };
    assert_eq!(snapshot.publish(both), 1, "removed and put back in one step");
}

#[test]
fn a_slow_reader_gets_one_update_for_many_changes() {
    let snapshot = Snapshot::new();
    snapshot.publish(upsert("stays", "1"));
    let mut reader = snapshot.subscribe();
    reader.try_next();
    for content in ["1", "2", "3"] {
        snapshot.publish(upsert("flaps", content));
        snapshot.publish(upsert("stays", content));
        snapshot.publish(remove("flaps"));
    }
    snapshot.publish(upsert("stays", "1"));
    let update = reader.try_next().expect("the generation grew");
    assert_eq!(update.generation, snapshot.generation());
    assert!(update.upsert.is_empty() && update.remove.is_empty(), "{update:?}");
}

#[test]
fn updates_name_nothing_before_it_is_there() {
    let snapshot = Snapshot::new();
    let mut reader = snapshot.subscribe();
    reader.try_next();
    let kinds = [
        ResourceType::VirtualHost,
        ResourceType::Listener,
        ResourceType::Secret,
        ResourceType::Cluster,
        ResourceType::RouteConfiguration,
        ResourceType::Endpoints,
    ];
    let change = |kinds: &[ResourceType]| Change {
        upsert: kinds.iter().map(|k| resource(*k, "x", "1")).collect(),
        ..Change::default()
    };
    snapshot.publish(change(&kinds));
    let update = reader.try_next().expect("a change");
    assert_eq!(update.upsert.iter().map(|r| r.kind).collect::<Vec<_>>(), ResourceType::ALL);

    let gone = Change { remove: kinds.map(|k| (k, "x".into())).to_vec(), ..Change::default() };
    snapshot.publish(gone);
    let mut removed: Vec<_> =
        reader.try_next().expect("a change").remove.iter().map(|(kind, _)| *kind).collect();
    removed.reverse();
    assert_eq!(removed, ResourceType::ALL);
}

#[tokio::test]
async fn next_waits_for_a_change_and_ends_with_the_snapshot() {
    let snapshot = Snapshot::new();
    let mut reader = snapshot.subscribe();
    reader.next().await.expect("everything");
    let publisher = tokio::spawn(async move {
        snapshot.publish(upsert("a", "1"));
        snapshot.publish(upsert("b", "1"));
        drop(snapshot);
    });
    let deadline = Duration::from_secs(10);
    let seen = tokio::time::timeout(deadline, async {
        let mut seen = Vec::new();
        while let Some(update) = reader.next().await {
            seen.extend(update.upsert.iter().map(|r| r.name.to_string()));
        }
        seen
    });
    assert_eq!(seen.await.expect("the snapshot's end"), ["a", "b"]);
    publisher.await.expect("the publisher");
}

#[test]
fn verdicts_tell_what_everyone_serves() {
    let snapshot = Snapshot::new();
    let verdicts = snapshot.verdicts();
    assert_eq!(verdicts.borrow().served(), None);
    let (one, two) = (snapshot.subscribe(), snapshot.subscribe());
    one.report(Verdict { generation: 4, rejected: vec![], ..Verdict::default() });
    assert_eq!(verdicts.borrow().served(), None, "one has not spoken");
    let refused = Rejection {
        kind: ResourceType::Cluster,
        name: "a".into(),
        path: "lb_policy".into(),
        reason: "RING_HASH is not served".into(),
        serves_on: true,
    };
    snapshot.report(
        two.id(),
        Verdict { generation: 3, rejected: vec![refused.clone()], ..Verdict::default() },
    );
    assert_eq!(verdicts.borrow().served(), Some(3));
    assert_eq!(verdicts.borrow().progress(4), (2, 1));
    assert_eq!(verdicts.borrow().rejections().collect::<Vec<_>>(), [(two.id(), &refused)]);
    drop(two);
    assert_eq!(verdicts.borrow().served(), Some(4));
}

#[test]
fn a_route_configuration_is_joined_from_its_own_hosts() {
    let host = |name: &str| resource(ResourceType::VirtualHost, name, name);
    let snapshot = Snapshot::new();
    snapshot.publish(Change {
        upsert: vec![
            resource(ResourceType::RouteConfiguration, "http.80", "skeleton"),
            host("http.80/a:80"),
            host("http.80/b:80"),
            host("http.80.127.0.0.1/c:80"),
            host("http.8080/d:80"),
        ],
        ..Change::default()
    });
    let whole = snapshot.route_configuration("http.80").expect("it is there");
    assert_eq!(&whole[..], b"skeleton\x12\x0chttp.80/a:80\x12\x0chttp.80/b:80");
    assert!(snapshot.route_configuration("http.81").is_none());
}

/// One step of the property below.
#[derive(Clone, Debug)]
enum Step {
    Publish { upsert: Vec<(u8, u8)>, remove: Vec<u8> },
    Read(usize),
    Resubscribe(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let publish =
        (prop::collection::vec((0..6u8, 0..3u8), 0..4), prop::collection::vec(0..6u8, 0..3));
    prop_oneof![
        3 => publish.prop_map(|(upsert, remove)| Step::Publish { upsert, remove }),
        2 => (0..3usize).prop_map(Step::Read),
        1 => (0..3usize).prop_map(Step::Resubscribe),
    ]
}

/// A reader that applies updates strictly: nothing is sent twice, nothing unknown is removed.
struct Reader {
    subscription: Subscription,
    has: BTreeMap<Key, u64>,
    fresh: bool,
}

impl Reader {
    fn new(snapshot: &Snapshot) -> Self {
        Self { subscription: snapshot.subscribe(), has: BTreeMap::new(), fresh: true }
    }

    fn read(&mut self) {
        let Some(update) = self.subscription.try_next() else {
            return;
        };
        for r in &update.upsert {
            let before = self.has.insert((r.kind, Arc::clone(&r.name)), r.version);
            assert_ne!(before, Some(r.version), "sent again: {}", r.name);
        }
        for key in update.remove {
            assert!(self.has.remove(&key).is_some(), "never had: {}", key.1);
            assert!(!self.fresh, "removals in the first update");
        }
        self.fresh = false;
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_interleaving_ends_with_readers_equal_to_the_snapshot(
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let snapshot = Snapshot::new();
        let mut readers: Vec<Reader> = (0..3).map(|_| Reader::new(&snapshot)).collect();
        for step in steps {
            match step {
                Step::Publish { upsert, remove } => {
                    let kind = |name: u8| ResourceType::ALL[usize::from(name) % 3];
                    let change = Change {
                        upsert: upsert
                            .into_iter()
                            .map(|(n, c)| resource(kind(n), &n.to_string(), &c.to_string()))
                            .collect(),
                        remove: remove.into_iter().map(|n| (kind(n), n.to_string().into())).collect(),
                    };
                    snapshot.publish(change);
                }
                Step::Read(reader) => readers[reader].read(),
                Step::Resubscribe(reader) => readers[reader] = Reader::new(&snapshot),
            }
        }
        let all: BTreeMap<Key, u64> = ResourceType::ALL
            .into_iter()
            .flat_map(|kind| snapshot.list(kind))
            .map(|r| ((r.kind, Arc::clone(&r.name)), r.version))
            .collect();
        for reader in &mut readers {
            reader.read();
            prop_assert_eq!(&reader.has, &all);
        }
    }
}
