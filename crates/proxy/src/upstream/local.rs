//! A worker's own view of the clusters: connections, turns and counts that no other worker touches.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;

use super::balance::Balancer;
use super::cluster::{Cluster, ClusterSlot, EndpointSet};
use super::pool::Pool;
use crate::buffer::BufferPool;
use crate::stats::{ClusterStats, Scope, Stats};

/// The clusters that a worker has used, found by the slot that a route points to.
#[derive(Debug)]
pub struct LocalClusters {
    by_slot: RefCell<Vec<Option<Rc<LocalCluster>>>>,
    stats: Scope,
    buffers: Rc<BufferPool>,
}

impl LocalClusters {
    /// None yet.
    #[must_use]
    pub fn new(stats: Scope, buffers: Rc<BufferPool>) -> Self {
        Self { by_slot: RefCell::default(), stats, buffers }
    }

    /// The cluster that fills `slot` now; `None` when there is none (`NC`).
    pub fn get(&self, slot: &ClusterSlot) -> Option<Rc<LocalCluster>> {
        let index = slot.index as usize;
        if let Some(Some(local)) = self.by_slot.borrow().get(index)
            && slot.is_current(&local.cluster)
        {
            return Some(Rc::clone(local));
        }
        let local = slot.load().map(|cluster| Rc::new(self.adopt(cluster)));
        let mut by_slot = self.by_slot.borrow_mut();
        if by_slot.len() <= index {
            by_slot.resize_with(index + 1, || None);
        }
        by_slot[index].clone_from(&local);
        local
    }

    /// Closes connections that have been idle for too long, and forgets clusters that are gone.
    pub fn sweep(&self) {
        let now = Instant::now();
        for entry in self.by_slot.borrow_mut().iter_mut() {
            let Some(local) = entry else { continue };
            if local.cluster.is_retired() {
                *entry = None;
            } else {
                local.sweep(now);
            }
        }
    }

    fn adopt(&self, cluster: Arc<Cluster>) -> LocalCluster {
        let stats = self.stats.cluster(&cluster.stat_name);
        LocalCluster {
            cluster,
            stats,
            scope: self.stats.clone(),
            buffers: Rc::clone(&self.buffers),
            balancer: Balancer::default(),
            pools: RefCell::default(),
        }
    }
}

/// A cluster in one worker.
#[derive(Debug)]
pub struct LocalCluster {
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// Its counts, of this worker.
    pub stats: Stats<ClusterStats>,
    scope: Scope,
    buffers: Rc<BufferPool>,
    balancer: Balancer,
    pools: RefCell<Pools>,
}

/// Pools beside the endpoints that they lead to.
#[derive(Debug, Default)]
struct Pools {
    endpoints: Arc<EndpointSet>,
    pools: Vec<Rc<Pool>>,
}

impl LocalCluster {
    /// The pool of the endpoint that takes the next request, by its hash where the cluster hashes; `None` when there
    /// is no endpoint (`UH`).
    pub fn pick(&self, hash: Option<u64>, random: impl FnMut() -> u64) -> Option<Rc<Pool>> {
        self.follow_endpoints();
        let pools = self.pools.borrow();
        let policy = self.cluster.balancing;
        let index = self.balancer.pick(policy, &pools.endpoints, hash, random)?;
        pools.pools.get(index).cloned()
    }

    /// As [`Self::pick`], for a request that has been at the endpoints `tried`: others are chosen up to `selections`
    /// times, and after that any other is taken, if there is one and hashes do not lead to it.
    pub fn pick_other(
        &self,
        hash: Option<u64>,
        mut random: impl FnMut() -> u64,
        tried: &[SocketAddr],
        selections: u32,
    ) -> Option<Rc<Pool>> {
        self.follow_endpoints();
        let pools = self.pools.borrow();
        let policy = self.cluster.balancing;
        let is_other = |index: &usize| {
            pools.pools.get(*index).is_some_and(|p| !tried.contains(&p.endpoint.address))
        };
        let mut picks = (0..=u64::from(selections)).map_while(|nth| {
            // As in Envoy, each further choice has a hash of its own.
            let hash = hash.map(|hash| if nth == 0 { hash } else { hash ^ (u64::MAX - nth + 1) });
            self.balancer.pick(policy, &pools.endpoints, hash, &mut random)
        });
        let first = picks.next()?;
        let chosen = Some(first).filter(is_other).or_else(|| picks.find(is_other));
        let others = || {
            let (count, from) = (pools.pools.len(), random() as usize);
            let mut all = (0..count).map(|n| from.wrapping_add(n) % count);
            all.find(is_other).filter(|_| hash.is_none())
        };
        pools.pools.get(chosen.or_else(others).unwrap_or(first)).cloned()
    }

    /// Makes pools for new endpoints and closes those of endpoints that are gone.
    fn follow_endpoints(&self) {
        let current = self.cluster.endpoints.load();
        if Arc::ptr_eq(&current, &self.pools.borrow().endpoints) {
            return;
        }
        let mut pools = self.pools.borrow_mut();
        let mut old = std::mem::take(&mut pools.pools);
        let name = &self.cluster.name;
        pools.pools.extend(current.endpoints.iter().map(|endpoint| {
            match old.iter().position(|pool| pool.endpoint.address == endpoint.address) {
                Some(at) if Arc::ptr_eq(&old[at].endpoint, endpoint) => old.swap_remove(at),
                _ => Rc::new(Pool::new(
                    Arc::clone(endpoint),
                    self.scope.endpoint(name, &endpoint.address.to_string()),
                    self.stats.clone(),
                    Rc::clone(&self.buffers),
                )),
            }
        }));
        pools.endpoints = Arc::clone(&current);
        for pool in old {
            pool.close();
        }
    }

    fn sweep(&self, now: Instant) {
        self.follow_endpoints();
        for pool in &self.pools.borrow().pools {
            pool.sweep(now, self.cluster.idle_timeout);
        }
    }
}

impl Drop for LocalCluster {
    fn drop(&mut self) {
        for pool in &self.pools.borrow().pools {
            pool.close();
        }
    }
}
