//! A worker's own view of the clusters: connections, turns and counts that no other worker touches.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;

use super::balance::Balancer;
use super::cluster::{Cluster, ClusterSlot, Discovery, Endpoint, EndpointSet};
use super::dynamic::{Asked, LocalNames, NoEndpoint};
use super::original::named::Named;
use super::original::{Captured, LocalOriginals};
use super::outlier::Seen;
use super::pool::Pool;
use crate::buffer::BufferPool;
use crate::http::RequestHead;
use crate::http::chain::Client;
use crate::remote::Remote;
use crate::stats::{ClusterStats, Scope, Stats};
use crate::throttle::Throttle;

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
            originals: LocalOriginals::default(),
            names: LocalNames::default(),
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
    /// Where clients dialled, for a cluster that sends there.
    originals: LocalOriginals,
    /// What clients asked for, for a cluster that sends there.
    names: LocalNames,
}

/// Pools beside the endpoints that they lead to.
#[derive(Debug, Default)]
struct Pools {
    endpoints: Arc<EndpointSet>,
    pools: Vec<Rc<Pool>>,
}

impl LocalCluster {
    /// The pool of the endpoint that takes the next request of a client, by its hash where the cluster hashes; `None` when
    /// there is no endpoint (`UH`). What is sent for nobody has no client.
    pub fn pick(
        &self,
        client: Option<&Client>,
        hash: Option<u64>,
        random: impl FnMut() -> u64,
    ) -> Option<Rc<Pool>> {
        let pool = if let Discovery::Dialled { .. } = self.cluster.discovery {
            self.pick_original(client, None)?
        } else {
            self.follow_endpoints();
            let pools = self.pools.borrow();
            let position = self.position(&pools.endpoints, (hash, 0), random)?;
            Rc::clone(pools.pools.get(position)?)
        };
        Some(self.pool_for(client, pool))
    }

    /// The client's own pool beside one, where connections say who the client is, or come from its address and others' do not.
    fn pool_for(&self, client: Option<&Client>, shared: Rc<Pool>) -> Rc<Pool> {
        let Some(client) = client else { return shared };
        let source = client.source.and_then(|source| source.toward(&shared.endpoint.address));
        match self.cluster.proxy_header.is_some() || source != shared.source {
            true => client.pools.beside(&shared, client.ends(), source),
            false => shared,
        }
    }

    /// The pool for what a client asks for, once that is resolved, where the cluster sends to what clients ask for; `None` where it does
    /// not. `asked` is a host, and a port if there is one.
    ///
    /// # Errors
    /// See [`NoEndpoint`].
    pub async fn pick_asked(&self, asked: &[u8], client: &Client) -> Result<Rc<Pool>, NoEndpoint> {
        let Discovery::Asked(policy) = &self.cluster.discovery else {
            return Err(NoEndpoint::Nameless);
        };
        let asked = Asked::of(asked, policy).ok_or(NoEndpoint::Nameless)?;
        let names = (self.cluster.names(), policy);
        let make = |endpoint| self.pool(endpoint);
        let pool = self.names.pick(asked, names, self.cluster.connect_timeout, make).await?;
        if client.captured.is_none() {
            // Whoever came here by the name would come here again.
            NoEndpoint::of_own(&pool.endpoint, client.local.ip())?;
        }
        Ok(self.pool_for(Some(client), pool))
    }

    /// Whether it sends to what clients ask for: [`Self::pick_asked`] is for it.
    #[must_use]
    pub fn sends_where_asked(&self) -> bool {
        matches!(self.cluster.discovery, Discovery::Asked(_))
    }

    /// Where a request says that it goes, for a cluster that lets requests say so: [`Self::pick_named`] is for it.
    #[must_use]
    pub fn named(&self, head: &RequestHead) -> Option<SocketAddr> {
        self.names_addresses()?.address(head, || self.stats.original_dst_host_invalid.inc())
    }

    fn names_addresses(&self) -> Option<&Named> {
        match &self.cluster.discovery {
            Discovery::Dialled { named, .. } => named.as_deref(),
            _ => None,
        }
    }

    /// The pool for where a request says that it goes; nothing where that is here, again and again.
    pub fn pick_named(&self, client: Option<&Client>, to: SocketAddr) -> Option<Rc<Pool>> {
        let pool = self.pick_original(client, Some(to))?;
        Some(self.pool_for(client, pool))
    }

    /// The pool for where a client dialled, or for `named`.
    fn pick_original(
        &self,
        client: Option<&Client>,
        named: Option<SocketAddr>,
    ) -> Option<Rc<Pool>> {
        let captured = match named {
            None => client.and_then(|client| client.captured),
            Some(dialled) => {
                // Who came here by that name may have passed here before.
                let came = |client: &Client| Captured::to(client.local, client.peer);
                let before = client.map(|client| client.captured.unwrap_or_else(|| came(client)));
                let passes = before.map_or(0, |before| before.passes);
                Some(Captured { dialled, passes }).filter(|captured| !captured.circles())
            }
        };
        let Some(mut captured) = captured else {
            self.tell_nowhere();
            return None;
        };
        if let Some(named) = self.names_addresses() {
            captured.dialled = named.ported(captured.dialled);
        }
        let source = client.and_then(|client| client.source?.toward(&captured.dialled.into()));
        let passes = captured.passes.saturating_add(1);
        let make = |endpoint| self.pool(endpoint).passing(passes).coming_from(source);
        Some(self.originals.pick((captured, source), self.cluster.originals(), make))
    }

    /// Says of a connection that was dialled to a listener itself, or of requests that name one, that there is nowhere to send them.
    fn tell_nowhere(&self) {
        thread_local! {
            static TOLD: Throttle = const { Throttle::new() };
        }
        let now = std::time::Instant::now();
        let Some(kept_back) = TOLD.with(|told| told.pass(now)) else { return };
        tracing::warn!(
            cluster = %self.cluster.name, kept_back,
            "what was to go to where its client dialled is refused: nothing redirected that connection to this proxy, it was \
             dialled to a listener itself, and would be sent in a circle"
        );
    }

    fn position(
        &self,
        endpoints: &EndpointSet,
        hash: (Option<u64>, u64),
        random: impl FnMut() -> u64,
    ) -> Option<usize> {
        let picked = self.balancer.pick(&self.cluster.sharing, endpoints, hash, random)?;
        if picked.panic {
            self.stats.lb_healthy_panic.inc();
        }
        Some(picked.position)
    }

    /// As [`Self::pick`], for a request that has been at the endpoints `tried`: others are chosen up to `selections`
    /// times, and after that any other is taken, if there is one and hashes do not lead to it.
    pub fn pick_other(
        &self,
        client: Option<&Client>,
        hash: Option<u64>,
        mut random: impl FnMut() -> u64,
        (tried, selections): (&[Remote], u32),
    ) -> Option<Rc<Pool>> {
        if let Discovery::Dialled { .. } = self.cluster.discovery {
            return self.pick(client, hash, random);
        }
        self.follow_endpoints();
        let pools = self.pools.borrow();
        let is_other = |index: &usize| {
            pools.pools.get(*index).is_some_and(|p| !tried.contains(&p.endpoint.address))
        };
        let mut last = None;
        let mut picks = (0..=u64::from(selections)).map_while(|choice| {
            last = self.position(&pools.endpoints, (hash, choice), &mut random);
            last
        });
        let chosen = picks.find(is_other);
        let others = || {
            let from = random() as usize;
            let mut all = pools.endpoints.groups().flat_map(|group| {
                let nth = (0..group.count()).map(move |n| from.wrapping_add(n) % group.count());
                nth.filter_map(|nth| group.position(nth))
            });
            all.find(is_other).filter(|_| hash.is_none())
        };
        let pool = pools.pools.get(chosen.or_else(others).or(last)?)?;
        Some(self.pool_for(client, Rc::clone(pool)))
    }

    /// Takes in what became of an attempt at an endpoint.
    pub fn saw(&self, pool: &Pool, seen: Seen) {
        if let Some(outlier) = &self.cluster.outlier {
            let endpoint = &pool.endpoint;
            endpoint.monitor.put(seen, outlier, |cause| self.cluster.suspect(endpoint, cause));
        }
    }

    /// Makes pools for new endpoints and closes those of endpoints that are gone.
    fn follow_endpoints(&self) {
        let current = self.cluster.endpoints.load();
        if Arc::ptr_eq(&current, &self.pools.borrow().endpoints) {
            return;
        }
        let mut pools = self.pools.borrow_mut();
        if Arc::ptr_eq(&current.endpoints, &pools.endpoints.endpoints) {
            pools.endpoints = Arc::clone(&current);
            // Whoever is ejected needs no connections for now.
            for pool in pools.pools.iter().filter(|pool| pool.endpoint.monitor.is_ejected()) {
                pool.close_idle();
            }
            return;
        }
        let before = std::mem::take(&mut pools.pools).into_iter();
        let mut old: HashMap<_, _> =
            before.map(|pool| (Arc::as_ptr(&pool.endpoint), pool)).collect();
        pools.pools.extend(current.endpoints.iter().map(|endpoint| {
            let known = old.remove(&Arc::as_ptr(endpoint));
            known.unwrap_or_else(|| Rc::new(self.pool(Arc::clone(endpoint))))
        }));
        pools.endpoints = Arc::clone(&current);
        for pool in old.into_values() {
            pool.close();
        }
    }

    /// A pool for an endpoint.
    fn pool(&self, endpoint: Arc<Endpoint>) -> Pool {
        let stats = self.scope.endpoint(&self.cluster.name, &endpoint.address.to_string());
        Pool::new(endpoint, stats, self.stats.clone(), Rc::clone(&self.buffers))
    }

    fn sweep(&self, now: Instant) {
        if let Discovery::Dialled { cleanup, .. } = self.cluster.discovery {
            let times = (self.cluster.http.idle_timeout, cleanup);
            return self.originals.sweep(now, times, self.cluster.originals());
        }
        if let Discovery::Asked(policy) = &self.cluster.discovery {
            let idle = self.cluster.http.idle_timeout;
            return self.names.sweep(now, idle, (self.cluster.names(), policy));
        }
        self.follow_endpoints();
        for pool in &self.pools.borrow().pools {
            pool.sweep(now, self.cluster.http.idle_timeout);
        }
    }
}

impl Drop for LocalCluster {
    fn drop(&mut self) {
        for pool in &self.pools.borrow().pools {
            pool.close();
        }
        self.originals.close(self.cluster.originals());
        self.names.close(self.cluster.names());
    }
}
