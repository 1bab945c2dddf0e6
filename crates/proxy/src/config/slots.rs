//! Names that outlive what fills them: clusters, route configurations, secrets, and keys that are fetched.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tidegate_envoy::capability::Finding;
use tidegate_xds::Unfetched;
use tokio::time::Instant;

use crate::accesslog::Logs;
use crate::filter::jwt::remote::{KeySource, Origin};
use crate::route::RouteTable;
use crate::sds::Wanted;
use crate::tls::secret::{Lacks, SecretSlot};
use crate::upstream::ClusterSlot;

use super::compile::Links;
use super::listener::RouteSlot;
use super::refusal::Refusal;

/// Slots without use that may gather before they are looked for.
const TOLERATED: usize = 64;

/// All slots by name, made when a name is first heard of.
#[derive(Debug, Default)]
pub(super) struct Slots {
    clusters: HashMap<Arc<str>, Arc<ClusterSlot>>,
    routes: HashMap<Arc<str>, Arc<RouteSlot>>,
    secrets: HashMap<Arc<str>, Arc<SecretSlot>>,
    /// Why some of them are empty.
    lacks: Lacks,
    /// Secrets from servers of their own, by the cluster of the server.
    asked: BTreeMap<Arc<str>, Asked>,
    /// Keys that are fetched, by where and how.
    keys: HashMap<Origin, Arc<KeySource>>,
    /// Numbers of cluster slots that are free again.
    free: Vec<u32>,
    logs: Option<Arc<Logs>>,
    /// What was said of the resource that is being compiled.
    notices: Vec<Refusal>,
    /// Cluster slots left by the last search for unused ones.
    kept: usize,
}

/// The secrets that a server is asked for, by name.
#[derive(Debug)]
struct Asked {
    cluster: Arc<ClusterSlot>,
    slots: BTreeMap<Arc<str>, Arc<SecretSlot>>,
}

impl Slots {
    pub fn new(logs: Option<Arc<Logs>>) -> Self {
        Self { logs, ..Self::default() }
    }

    /// The same, where these know why secrets are not there.
    pub fn explained_by(self, lacks: Lacks) -> Self {
        Self { lacks, ..self }
    }

    /// Forgets slots that nothing fills and nothing points to. The search costs a look at every slot, so
    /// it waits until their number has doubled since the last one.
    pub fn sweep(&mut self) {
        if self.clusters.len() <= 2 * self.kept + TOLERATED {
            return;
        }
        let free = &mut self.free;
        self.clusters.retain(|_, slot| {
            let used = Arc::strong_count(slot) > 1 || slot.load().is_some();
            if !used {
                free.push(slot.index);
            }
            used
        });
        self.routes.retain(|_, slot| Arc::strong_count(slot) > 1);
        self.secrets.retain(|_, slot| Arc::strong_count(slot) > 1 || slot.is_filled());
        self.kept = self.clusters.len();
    }

    /// What servers of secrets are asked for. Secrets that nothing points to any more are forgotten; the names of their
    /// slots are pushed to `gone`.
    pub fn wanted(&mut self, gone: &mut Vec<Arc<str>>) -> BTreeMap<Arc<str>, Wanted> {
        for asked in self.asked.values_mut() {
            asked.slots.retain(|_, slot| {
                let used = Arc::strong_count(slot) > 1;
                if !used {
                    gone.push(Arc::clone(&slot.name));
                }
                used
            });
        }
        self.asked.retain(|_, asked| !asked.slots.is_empty());
        let wanted = self.asked.iter().map(|(server, asked)| {
            let names = asked.slots.keys().cloned().collect();
            (Arc::clone(server), Wanted { cluster: Arc::clone(&asked.cluster), names })
        });
        wanted.collect()
    }

    /// The keys that are to be fetched. Those that no filter uses any more are forgotten.
    pub fn sources(&mut self) -> Vec<Arc<KeySource>> {
        self.keys.retain(|_, source| source.is_used());
        self.keys.values().cloned().collect()
    }

    /// Those whose last fetch failed, in the order of their addresses.
    pub fn unfetched(&self, now: Instant) -> Vec<Unfetched> {
        let used = self.keys.values().filter(|source| source.is_used());
        let failed = used.filter_map(|source| {
            let (uri, reason) = (source.origin.uri.to_string(), source.fault()?.to_string());
            Some(Unfetched { uri, reason, serves_on: source.has_keys(now) })
        });
        let mut failed: Vec<_> = failed.collect();
        failed.sort_unstable_by(|a, b| (&a.uri, &a.reason).cmp(&(&b.uri, &b.reason)));
        failed
    }

    /// The slot of a secret that a server is asked for.
    pub fn asked(&self, server: &str, name: &str) -> Option<&Arc<SecretSlot>> {
        self.asked.get(server)?.slots.get(name)
    }

    /// The secrets that have never come from a server.
    pub fn missing(&self, server: &str) -> impl Iterator<Item = &Arc<SecretSlot>> {
        let slots = self.asked.get(server).into_iter().flat_map(|asked| asked.slots.values());
        slots.filter(|slot| !slot.is_filled())
    }

    /// What was said since this was asked last.
    pub fn take_notices(&mut self) -> Vec<Finding> {
        let finding = |Refusal { path, reason }| Finding { path, reason };
        self.notices.drain(..).map(finding).collect()
    }

    #[cfg(test)]
    pub fn clusters(&self) -> usize {
        self.clusters.len()
    }
}

impl Links for Slots {
    fn cluster(&mut self, name: &str) -> Arc<ClusterSlot> {
        if let Some(slot) = self.clusters.get(name) {
            return Arc::clone(slot);
        }
        // Numbers in use and free ones make up all below their sum.
        let index = self.free.pop().unwrap_or(self.clusters.len() as u32);
        let name: Arc<str> = name.into();
        let slot = Arc::new(ClusterSlot::empty(index, Arc::clone(&name)));
        self.clusters.insert(name, Arc::clone(&slot));
        slot
    }

    fn routes(&mut self, name: &str) -> Arc<RouteSlot> {
        if let Some(slot) = self.routes.get(name) {
            return Arc::clone(slot);
        }
        let name: Arc<str> = name.into();
        let table = ArcSwap::from_pointee(RouteTable::default());
        let slot = Arc::new(RouteSlot { name: Arc::clone(&name), table });
        self.routes.insert(name, Arc::clone(&slot));
        slot
    }

    fn secret(&mut self, name: &str) -> Arc<SecretSlot> {
        if let Some(slot) = self.secrets.get(name) {
            return Arc::clone(slot);
        }
        let name: Arc<str> = name.into();
        let slot = Arc::new(SecretSlot::empty(Arc::clone(&name)).explained_by(&self.lacks));
        self.secrets.insert(name, Arc::clone(&slot));
        slot
    }

    fn secret_of(&mut self, cluster: &str, name: &str) -> Arc<SecretSlot> {
        if let Some(slot) = self.asked(cluster, name) {
            return Arc::clone(slot);
        }
        let slot = Arc::new(SecretSlot::empty(format!("{cluster}/{name}").into()));
        let cluster = Links::cluster(self, cluster);
        let asked = self.asked.entry(Arc::clone(&cluster.name));
        let asked = asked.or_insert_with(|| Asked { cluster, slots: BTreeMap::new() });
        asked.slots.insert(name.into(), Arc::clone(&slot));
        slot
    }

    fn keys(&mut self, origin: Origin) -> Arc<KeySource> {
        if let Some(source) = self.keys.get(&origin) {
            return Arc::clone(source);
        }
        let cluster = Links::cluster(self, &origin.cluster);
        let source = Arc::new(KeySource::new(origin.clone(), cluster));
        self.keys.insert(origin, Arc::clone(&source));
        source
    }

    fn notice(&mut self, notice: Refusal) {
        self.notices.push(notice);
    }

    fn notices(&mut self) -> &mut [Refusal] {
        &mut self.notices
    }

    fn logs(&self) -> Option<&Logs> {
        self.logs.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_slot_as_long_as_it_is_used() {
        let mut slots = Slots::default();
        let first = slots.cluster("a");
        assert!(Arc::ptr_eq(&first, &slots.cluster("a")));
        assert!(Arc::ptr_eq(&slots.routes("r"), &slots.routes("r")));
        for number in 0..TOLERATED {
            slots.cluster(&number.to_string());
        }
        slots.sweep();
        assert_eq!(slots.clusters(), 1);
        assert!(Arc::ptr_eq(&first, &slots.cluster("a")));
    }

    #[test]
    fn numbers_are_dense_and_used_again() {
        let mut slots = Slots::default();
        let kept = slots.cluster("kept");
        let mut highest = 0;
        for round in 0..10 {
            for number in 0..100 {
                highest = highest.max(slots.cluster(&format!("{round}-{number}")).index);
            }
            slots.sweep();
        }
        assert_eq!(kept.index, 0);
        assert!(highest < 300, "{highest}");
        let mut indexes: Vec<_> = slots.clusters.values().map(|slot| slot.index).collect();
        indexes.sort_unstable();
        indexes.dedup();
        assert_eq!(indexes.len(), slots.clusters.len());
    }
}
