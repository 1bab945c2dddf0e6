//! What a cluster may use at most, held by guards over all workers.
//!
//! A worker that has no connection to an endpoint while others hold all that there may be would wait for ever: each of
//! them uses its own again and again. So it asks, and others give way: they close a connection that is idle or comes back
//! from a request, and one of HTTP/2 takes no more streams. Nobody waits for another worker but who is at a limit. Streams may
//! last for ever: who has waited for the end of others' for as long as a connection may take to make has one beyond the limit.

use std::rc::Weak;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use super::cluster::{Cluster, Endpoint};
use super::pool::Pool;

/// One of something limited is in use; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    cluster: Arc<Cluster>,
    of: fn(&Cluster) -> &AtomicU32,
    /// Where the connection leads that it is for. Others may wait for it.
    endpoint: Option<Arc<Endpoint>>,
}

impl Permit {
    /// Takes one if fewer than `limit` are in use, or in any case if `force`.
    fn take(
        cluster: &Arc<Cluster>,
        of: fn(&Cluster) -> &AtomicU32,
        limit: u32,
        force: bool,
    ) -> Option<Self> {
        let permit = Self { cluster: Arc::clone(cluster), of, endpoint: None };
        // Taken first and checked after, so that two workers cannot both take the last one.
        let before = of(cluster).fetch_add(1, Relaxed);
        (before < limit || force).then_some(permit)
    }

    /// A request in flight.
    #[must_use]
    pub fn request(cluster: &Arc<Cluster>) -> Option<Self> {
        Self::take(cluster, |c| &c.usage.requests, cluster.limits.requests, false)
    }

    /// A retry in flight, its pause included.
    #[must_use]
    pub fn retry(cluster: &Arc<Cluster>) -> Option<Self> {
        let requests = cluster.usage.requests.load(Relaxed);
        let limit = cluster.limits.retries_beside(requests);
        Self::take(cluster, |c| &c.usage.retries, limit, false)
    }

    /// A connection to an endpoint, open or being made. As in Envoy, an endpoint without any may have one beyond the
    /// limit, which others could hold for ever; that is so for `first`, and once for all workers.
    pub(super) fn connection(
        cluster: &Arc<Cluster>,
        endpoint: &Arc<Endpoint>,
        first: bool,
    ) -> Option<Self> {
        let is_first = endpoint.connections.fetch_add(1, Relaxed) == 0;
        let (limit, force) = (cluster.limits.connections, first && is_first);
        let mut permit = Self::take(cluster, |c| &c.usage.connections, limit, force);
        match &mut permit {
            Some(permit) => permit.endpoint = Some(Arc::clone(endpoint)),
            None => drop(endpoint.connections.fetch_sub(1, Relaxed)),
        }
        permit
    }

    /// A connection to an endpoint whatever the limit is.
    pub(super) fn beyond(cluster: &Arc<Cluster>, endpoint: &Arc<Endpoint>) -> Option<Self> {
        let mut permit = Self::take(cluster, |c| &c.usage.connections, u32::MAX, true)?;
        endpoint.connections.fetch_add(1, Relaxed);
        permit.endpoint = Some(Arc::clone(endpoint));
        Some(permit)
    }

    /// A request that waits for a connection.
    pub(super) fn pending(cluster: &Arc<Cluster>) -> Option<Self> {
        Self::take(cluster, |c| &c.usage.pending_requests, cluster.limits.pending_requests, false)
    }

    /// Whether another worker needs the place of this connection.
    pub(super) fn is_wanted(&self) -> bool {
        is_wanted(&self.cluster)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(endpoint) = &self.endpoint {
            endpoint.connections.fetch_sub(1, Relaxed);
        }
        (self.of)(&self.cluster).fetch_sub(1, Relaxed);
        if self.endpoint.is_some() {
            self.cluster.usage.freed.notify_waiters();
        }
    }
}

/// Whether somebody starves, and there is no place that is free.
fn is_wanted(cluster: &Cluster) -> bool {
    let usage = &cluster.usage;
    usage.starving.load(Relaxed) > 0
        && usage.connections.load(Relaxed) >= cluster.limits.connections
}

/// A request that waits for a connection's place in a worker that has no connection to the endpoint.
#[derive(Debug)]
pub(super) struct Starving(Arc<Cluster>);

impl Starving {
    /// Notes whether a request that has found no place starves, and asks others to give way to it if so.
    pub(super) fn note(noted: &mut Option<Self>, cluster: &Arc<Cluster>, starves: bool) {
        if !starves {
            *noted = None;
            return;
        }
        let usage = &cluster.usage;
        noted.get_or_insert_with(|| {
            usage.starving.fetch_add(1, Relaxed);
            Self(Arc::clone(cluster))
        });
        usage.asked.notify_waiters();
    }
}

impl Drop for Starving {
    fn drop(&mut self) {
        self.0.usage.starving.fetch_sub(1, Relaxed);
        // Who let it go first may go on.
        self.0.usage.freed.notify_waiters();
    }
}

/// An HTTP/2 connection that takes no more streams, so that another worker gets its place.
#[derive(Debug)]
pub(super) struct Leaving(Arc<Cluster>);

impl Leaving {
    /// One, if fewer leave than are needed.
    pub(super) fn begin(cluster: &Arc<Cluster>) -> Option<Self> {
        let leaving = Self(Arc::clone(cluster));
        let before = cluster.usage.leaving.fetch_add(1, Relaxed);
        (before < cluster.usage.starving.load(Relaxed)).then_some(leaving)
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.usage.leaving.fetch_sub(1, Relaxed);
    }
}

/// Has a pool give way whenever somebody starves.
pub(super) async fn give_way(pool: Weak<Pool>, cluster: Arc<Cluster>) {
    loop {
        // Listens before it looks: who asks in between is heard.
        let asked = cluster.usage.asked.notified();
        if is_wanted(&cluster) {
            let Some(pool) = pool.upgrade() else { return };
            pool.yield_one(&cluster);
        }
        asked.await;
    }
}
