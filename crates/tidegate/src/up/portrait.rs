//! Keeps the gateway's own objects up to date: pushes them into the store whenever the facts change.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use tidegate_api::{Kind, Object, ObjectKey, Origin, Spec};
use tidegate_apiserver::store::{Entry, Expired, Push, Store, Watch};
use tidegate_pilot::Options;
use tidegate_pilot::model::gateway::Gateway;
use tidegate_proxy::admin::State;
use tidegate_proxy::remote::Remote;
use tidegate_proxy::view::View;
use tidegate_xds::Verdicts;
use tokio::sync::watch;

use super::gateway::Facts;
use crate::data_plane::DataPlane;

/// The objects that show the gateway, in the store.
pub struct Portrait {
    store: Store,
    view: Arc<View>,
    verdicts: watch::Receiver<Verdicts>,
    ready: watch::Receiver<bool>,
    /// The ports settled at the start.
    settled: BTreeMap<u16, u16>,
    named: Named,
    shown: Option<Facts>,
    now: Facts,
}

impl Portrait {
    /// Shows the gateway as it is now. `facts` holds the ports settled at the start.
    pub async fn new(
        store: &Store,
        data_plane: &DataPlane,
        verdicts: watch::Receiver<Verdicts>,
        facts: &Facts,
        options: &Options,
    ) -> Self {
        let mut portrait = Self {
            store: store.clone(),
            view: Arc::clone(&data_plane.view),
            verdicts,
            ready: data_plane.ready.clone(),
            settled: facts.ports.clone(),
            named: Named::new(store, options.clone()),
            shown: None,
            now: facts.clone(),
        };
        portrait.show().await;
        portrait
    }

    /// Follows readiness, Gateways and listeners until the task is dropped.
    pub async fn keep(mut self) {
        loop {
            // Listeners come and go with verdicts: what no worker opened is not shown.
            tokio::select! {
                changed = self.ready.changed() => if changed.is_err() { return },
                changed = self.verdicts.changed() => if changed.is_err() { return },
                () = self.named.changed(&self.store) => {}
            }
            self.show().await;
        }
    }

    async fn show(&mut self) {
        self.verdicts.mark_unchanged();
        self.now.turn(*self.ready.borrow_and_update(), Timestamp::now());
        let listeners = self.view.listeners();
        let open = listeners.iter().flat_map(|listener| &listener.addresses);
        let open = open.map(Remote::port).collect();
        self.now.ports = ports(&self.settled, self.named.ports(), &open);
        if self.shown.as_ref() != Some(&self.now) {
            for (key, mut manifest) in self.now.objects() {
                push(&self.store, &key, manifest.clone()).await;
                // What the process shows it has done: whoever waits for a rollout asks for that.
                let entry = self.store.get(&key);
                let shown = entry.map(|entry| entry.json()["metadata"]["generation"].clone());
                if let Some(observed) = manifest.pointer_mut("/status/observedGeneration")
                    && let Some(shown) = shown.filter(|shown| shown != observed)
                {
                    *observed = shown;
                    push(&self.store, &key, manifest).await;
                }
            }
            self.shown = Some(self.now.clone());
        }
    }
}

/// The ports that served Gateways name, each with where it is listened on.
struct Named {
    options: Options,
    watch: Watch,
    gateways: HashMap<ObjectKey, Vec<(u16, u16)>>,
}

impl Named {
    fn new(store: &Store, options: Options) -> Self {
        let all = store.list(Kind::Gateway, None);
        let watch = store.watch(Kind::Gateway, all.revision);
        let mut named = Self { options, watch, gateways: HashMap::new() };
        for entry in &all.entries {
            named.set(entry.key(), Some(entry));
        }
        named
    }

    /// Follows the next changes. Cancel safe.
    async fn changed(&mut self, store: &Store) {
        match self.watch.next().await {
            Ok(events) => {
                for event in events {
                    if let Some(key) = event.key() {
                        self.set(key, event.new.as_ref());
                    }
                }
            }
            Err(Expired { .. }) => *self = Self::new(store, self.options.clone()),
        }
    }

    fn set(&mut self, key: &ObjectKey, entry: Option<&Arc<Entry>>) {
        let object = entry.and_then(|entry| entry.decoded().ok());
        let gateway = object.as_deref().and_then(|object| match &object.spec {
            Spec::Gateway(spec) => Gateway::select(object, spec, &self.options),
            _ => None,
        });
        let servers = gateway.iter().flat_map(|gateway| &gateway.servers);
        let ports = servers.filter_map(|server| Some((server.port, *server.listen.first()?)));
        match ports.collect::<Vec<_>>() {
            none if none.is_empty() => self.gateways.remove(key),
            ports => self.gateways.insert(key.clone(), ports),
        };
    }

    fn ports(&self) -> impl Iterator<Item = (u16, u16)> {
        self.gateways.values().flatten().copied()
    }
}

/// The settled ports; those that Gateways name and that are open; and what else is open: a Gateway's last good
/// form may serve a port that its present one does not name.
fn ports(
    settled: &BTreeMap<u16, u16>,
    named: impl Iterator<Item = (u16, u16)>,
    open: &BTreeSet<u16>,
) -> BTreeMap<u16, u16> {
    let mapped: BTreeSet<u16> = settled.values().copied().collect();
    let others = open.iter().filter(|port| !mapped.contains(port)).map(|&port| (port, port));
    let named = named.filter(|(_, bound)| open.contains(bound));
    others.chain(named).chain(settled.iter().map(|(&gateway, &bound)| (gateway, bound))).collect()
}

async fn push(store: &Store, key: &ObjectKey, manifest: Value) {
    let object = match Object::decode(key.kind, "v1", &manifest, Origin::Process) {
        Ok(decoded) => Arc::new(decoded.object),
        Err(errors) => {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            return tracing::error!(%key, "the gateway cannot show itself: {}", errors.join("; "));
        }
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
        let open = BTreeSet::from([8080, 9000]);
        let named = [(80, 8080), (8080, 8080), (8443, 8443), (7000, 7000)];
        let shown = ports(&settled, named.into_iter(), &open);
        let wanted = BTreeMap::from([(80, 8080), (443, 8443), (8080, 8080), (9000, 9000)]);
        assert_eq!(shown, wanted, "what is not open is not shown");
    }
}
