//! Gateways that are gone for good: what they said of objects of the embedded API is taken out of these.
//!
//! A gateway that writes through the API holds a Lease for it, in its own namespace (`up/cluster.rs`). One that has not renewed it for
//! [`SILENT`], by the clock of this process, is gone; so is one that has none. One that was only cut off says all of it again
//! when it holds its Lease again. The gateway of this process needs none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tidegate_api::Kind;
use tidegate_apiserver::store::Store;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::verdicts;

/// How long after its last sign a gateway is gone: longer than it takes to start one again.
const SILENT: Duration = Duration::from_secs(600);
/// How often it is looked.
const EVERY: Duration = Duration::from_secs(30);
/// What the names of Leases end with whose holders write status.
const OF_STATUS: &str = "-status";

/// Names of gateways.
type Names = BTreeSet<String>;

/// Takes out what gateways said that are gone, for ever; `own` is the gateway of this process.
pub async fn forget(store: Store, own: String) {
    let mut signs = Signs::default();
    let mut before: Option<Names> = None;
    loop {
        let mut present = signs.look(&store, Instant::now());
        present.insert(own.clone());
        // At the start whoever was there before is looked for, too.
        if before.as_ref().is_none_or(|before| !before.is_subset(&present)) {
            sweep(&store, &present).await;
        }
        before = Some(present);
        sleep(EVERY).await;
    }
}

/// The last signs of gateways: the revision of each one's Lease, and since when it is that.
#[derive(Debug, Default)]
struct Signs(BTreeMap<String, (u64, Instant)>);

impl Signs {
    /// The gateways that are not gone.
    fn look(&mut self, store: &Store, now: Instant) -> Names {
        let leases = store.list(Kind::Lease, None).entries;
        let found = leases.iter().filter_map(|lease| {
            let key = lease.key();
            let gateway = key.name.strip_suffix(OF_STATUS)?;
            let (gateway, revision) = (format!("{gateway}.{}", key.namespace), lease.revision());
            let since = match self.0.get(&gateway) {
                Some(&(before, since)) if before == revision => since,
                _ => now,
            };
            Some((gateway, (revision, since)))
        });
        self.0 = found.collect();
        let present = self.0.iter().filter(|(_, (_, since))| now.duration_since(*since) < SILENT);
        present.map(|(gateway, _)| gateway.clone()).collect()
    }
}

/// Takes out of every status what others than these said.
async fn sweep(store: &Store, present: &Names) {
    let present = Arc::new(present.clone());
    let (all, still) = (store.clone(), Arc::clone(&present));
    // Of many objects this takes a while.
    let stale = spawn_blocking(move || {
        let kinds = Kind::compiled().filter(|kind| kind.info().status_subresource);
        let entries = kinds.flat_map(|kind| all.list(kind, None).entries);
        let stale = entries.filter(|entry| {
            let object = entry.json();
            verdicts::of_present(&object["status"], |gateway| still.contains(gateway)).is_some()
        });
        stale.map(|entry| entry.key().clone()).collect::<Vec<_>>()
    });
    for key in stale.await.unwrap_or_default() {
        let present = Arc::clone(&present);
        let change =
            move |status: &_| verdicts::of_present(status, |gateway| present.contains(gateway));
        store.change_status(&key, change).await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tidegate_api::{Object, ObjectKey, Origin};
    use tidegate_apiserver::store::{self, Draft, Expect};

    use super::*;

    async fn put(store: &Store, kind: Kind, object: Value) {
        let version = kind.info().versions[0];
        let decoded = Object::decode(kind, version, &object, Origin::Api).expect("valid").object;
        let Value::Object(value) = object else { panic!("an object") };
        let key = decoded.key.clone();
        let revision = store.get(&key).map(|entry| entry.revision());
        let expect = revision.map_or(Expect::Absent, Expect::Revision);
        let draft = Draft { key, value, decoded: Ok(decoded.into()) };
        store.put(draft, expect).await.expect("stored");
    }

    fn lease(name: &str, number: i64) -> Value {
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "name": name, "namespace": "ns" },
            "spec": { "holderIdentity": "somebody", "leaseTransitions": number },
        })
    }

    fn programmed(status: &str) -> Value {
        json!({ "conditions": [{
            "type": "Programmed", "status": status, "reason": "Served", "message": status,
            "observedGeneration": 1,
        }] })
    }

    #[tokio::test]
    async fn a_gateway_without_a_sign_is_gone_and_one_with_another_is_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open(dir.path(), store::Options::default()).expect("a store");
        let ns = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "ns" } });
        put(&store, Kind::Namespace, ns).await;
        for name in ["stays-status", "goes-status", "of-something-else"] {
            put(&store, Kind::Lease, lease(name, 0)).await;
        }
        let (mut signs, start) = (Signs::default(), Instant::now());
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Names>();
        assert_eq!(signs.look(&store, start), names(&["goes.ns", "stays.ns"]));
        put(&store, Kind::Lease, lease("stays-status", 1)).await;
        let almost = start + SILENT - Duration::from_secs(1);
        assert_eq!(signs.look(&store, almost), names(&["goes.ns", "stays.ns"]));
        assert_eq!(signs.look(&store, start + SILENT), names(&["stays.ns"]));
        put(&store, Kind::Lease, lease("goes-status", 1)).await;
        let back = signs.look(&store, start + 2 * SILENT);
        assert_eq!(back, names(&["goes.ns"]), "it gives signs again");

        let mut gateway = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "Gateway",
            "metadata": { "name": "web", "namespace": "ns" },
            "spec": { "selector": { "a": "b" }, "servers": [
                { "port": { "number": 80, "name": "http", "protocol": "HTTP" }, "hosts": ["*"] },
            ] },
        });
        let (own, other) = (programmed("True"), programmed("False"));
        gateway["status"] = json!({
            "conditions": other["conditions"], "gateways": { "gone.ns": other, "own.ns": own },
        });
        put(&store, Kind::Gateway, gateway).await;
        sweep(&store, &names(&["own.ns"])).await;
        let key = ObjectKey::new(Kind::Gateway, "ns", "web");
        let status = store.get(&key).expect("it is there").json()["status"].clone();
        assert_eq!(status["gateways"].as_object().expect("entries").len(), 1);
        assert_eq!(status["conditions"][0]["status"], "True", "{status}");
        // Nobody has anything to say of it any more.
        sweep(&store, &Names::new()).await;
        let status = store.get(&key).expect("it is there").json()["status"].clone();
        assert_eq!(status, json!({ "conditions": [] }));
        store.close().await;
    }
}
