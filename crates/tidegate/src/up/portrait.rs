//! Keeps the gateway's own objects up to date: pushes them into the store whenever the facts change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use tidegate_api::{Object, ObjectKey, Origin};
use tidegate_apiserver::store::{Push, Store};
use tidegate_proxy::admin::State;
use tidegate_proxy::view::View;
use tidegate_xds::Verdicts;
use tokio::sync::watch;

use super::gateway::Facts;

/// Follows readiness and listeners until the task is dropped. `facts` holds the ports settled at the start.
pub async fn keep(
    store: Store,
    view: Arc<View>,
    mut verdicts: watch::Receiver<Verdicts>,
    mut ready: watch::Receiver<bool>,
    facts: Facts,
) {
    let mut shown = None;
    let mut now = facts.clone();
    loop {
        verdicts.mark_unchanged();
        now.turn(*ready.borrow_and_update(), Timestamp::now());
        let open = view.listeners().iter().map(|listener| listener.address.port()).collect();
        now.ports = ports(&facts.ports, &open);
        if shown.as_ref() != Some(&now) {
            for (key, manifest) in now.objects() {
                push(&store, &key, manifest).await;
            }
            shown = Some(now.clone());
        }
        // Listeners come and go with verdicts: what no worker opened is not shown.
        tokio::select! {
            changed = ready.changed() => if changed.is_err() { return },
            changed = verdicts.changed() => if changed.is_err() { return },
        }
    }
}

/// The settled ports, and those that Gateways opened besides.
fn ports(settled: &BTreeMap<u16, u16>, listening: &BTreeSet<u16>) -> BTreeMap<u16, u16> {
    let mapped: BTreeSet<u16> = settled.values().copied().collect();
    let opened = listening.iter().filter(|port| !mapped.contains(port)).map(|&port| (port, port));
    settled.iter().map(|(&gateway, &bound)| (gateway, bound)).chain(opened).collect()
}

async fn push(store: &Store, key: &ObjectKey, manifest: Value) {
    let object = match Object::decode(key.kind, "v1", &manifest, Origin::Process) {
        Ok(decoded) => Arc::new(decoded.object),
        Err(errors) => return tracing::error!(%key, ?errors, "the gateway cannot show itself"),
    };
    if let Value::Object(manifest) = manifest {
        store.push(Push::Put { object, manifest }).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_gateways_open_stand_beside_the_settled_ones() {
        let settled = BTreeMap::from([(80, 8080), (443, 8443)]);
        let listening = BTreeSet::from([8080, 9000]);
        let shown = ports(&settled, &listening);
        assert_eq!(shown, BTreeMap::from([(80, 8080), (443, 8443), (9000, 9000)]));
    }
}
