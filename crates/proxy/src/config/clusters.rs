//! The clusters that are served, and what EDS assigns to them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use tidegate_envoy::v3::cluster::Cluster as ProtoCluster;
use tidegate_envoy::v3::endpoint::ClusterLoadAssignment;

use crate::upstream::Cluster;
use crate::upstream::cluster::Discovery;

use super::compile::{self, Assigned, Links};
use super::refusal::Refusal;
use super::slots::Slots;

/// The clusters and the assignments.
#[derive(Debug, Default)]
pub(super) struct Clusters {
    current: Arc<BTreeMap<Arc<str>, Arc<Cluster>>>,
    assigned: HashMap<Arc<str>, Assigned>,
    /// Names of the clusters that follow each service.
    followers: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// Names of those that are gone, but still in their slots.
    gone: BTreeSet<Arc<str>>,
}

impl Clusters {
    /// The clusters by name.
    pub fn current(&self) -> &Arc<BTreeMap<Arc<str>, Arc<Cluster>>> {
        &self.current
    }

    /// Serves a cluster from now on, in place of the one of its name.
    pub fn put(
        &mut self,
        proto: &ProtoCluster,
        slots: &mut Slots,
    ) -> Result<Arc<Cluster>, Refusal> {
        let before = self.current.get(&*proto.name).cloned();
        let assigned = |service: &str| self.assigned.get(service).cloned();
        let cluster = Arc::new(compile::cluster(proto, before.as_deref(), assigned, slots)?);
        if let Some(before) = before {
            self.unfollow(&before);
        }
        if let Discovery::Eds(service) = &cluster.discovery {
            self.followers
                .entry(Arc::clone(service))
                .or_default()
                .insert(Arc::clone(&cluster.name));
        }
        slots.cluster(&cluster.name).store(Some(Arc::clone(&cluster)));
        self.gone.remove(&cluster.name);
        Arc::make_mut(&mut self.current).insert(Arc::clone(&cluster.name), Arc::clone(&cluster));
        Ok(cluster)
    }

    /// Configures a cluster no longer; tells whether it was there. It stays in its slot until [`Self::let_go`].
    pub fn remove(&mut self, name: &Arc<str>) -> bool {
        let Some(before) = Arc::make_mut(&mut self.current).remove(name) else { return false };
        self.unfollow(&before);
        self.gone.insert(Arc::clone(name));
        true
    }

    /// Empties the slots of clusters that are gone, but for those that are `used`.
    pub fn let_go(&mut self, used: impl FnOnce() -> HashSet<Arc<str>>, slots: &mut Slots) {
        if self.gone.is_empty() {
            return;
        }
        let used = used();
        self.gone.retain(|name| {
            let is_used = used.contains(name);
            if !is_used {
                slots.cluster(name).store(None);
            }
            is_used
        });
    }

    /// Whether a cluster that is gone is still in its slot.
    pub fn any_gone(&self) -> bool {
        !self.gone.is_empty()
    }

    /// Takes what EDS says of a service.
    pub fn assign(
        &mut self,
        service: &Arc<str>,
        proto: &ClusterLoadAssignment,
    ) -> Result<(), Refusal> {
        let assigned = compile::assignment(proto)?;
        for name in self.followers.get(service).into_iter().flatten() {
            if let Some(cluster) = self.current.get(name) {
                let endpoints = assigned.endpoints(&cluster.endpoints.load());
                cluster.set_endpoints(endpoints);
            }
        }
        self.assigned.insert(Arc::clone(service), assigned);
        Ok(())
    }

    /// EDS no longer speaks of a service. As in Envoy, clusters keep the endpoints that they have.
    pub fn unassign(&mut self, service: &str) {
        self.assigned.remove(service);
    }

    fn unfollow(&mut self, cluster: &Cluster) {
        if let Discovery::Eds(service) = &cluster.discovery
            && let Some(followers) = self.followers.get_mut(service)
        {
            followers.remove(&cluster.name);
            if followers.is_empty() {
                self.followers.remove(service);
            }
        }
    }
}
