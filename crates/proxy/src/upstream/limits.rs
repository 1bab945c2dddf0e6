//! What a cluster may use at most, held by guards over all workers.
//!
//! A worker that has no connection to an endpoint while others hold all that there may be would wait for ever: each of
//! them uses its own again and again. Over HTTP/2 it opens streams on theirs (`multiplex/connection.rs`). Else it asks, and others give
//! way: they close a connection that is idle or comes back from a request, and one of HTTP/2, which is for another server then, takes no
//! more streams for a while. Clients whose connections are their own (`owned.rs`) give way to each other so, in one worker or in several.
//! Nobody waits for another worker but who is at a limit.

use std::rc::Weak;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use tokio::time::timeout_at;

use super::cluster::{Cluster, Endpoint};
use super::multiplex::Leaving;
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
    /// Takes one if fewer than `limit` are in use. One that is not had is not counted for an instant either: others would take
    /// it for one that is.
    fn take(cluster: &Arc<Cluster>, of: fn(&Cluster) -> &AtomicU32, limit: u32) -> Option<Self> {
        let taken = of(cluster).fetch_update(Relaxed, Relaxed, |n| (n < limit).then(|| n + 1));
        taken.is_ok().then(|| Self { cluster: Arc::clone(cluster), of, endpoint: None })
    }

    /// A request in flight.
    #[must_use]
    pub fn request(cluster: &Arc<Cluster>) -> Option<Self> {
        Self::take(cluster, |c| &c.usage.requests, cluster.limits.requests)
    }

    /// A retry in flight, its pause included.
    #[must_use]
    pub fn retry(cluster: &Arc<Cluster>) -> Option<Self> {
        let requests = cluster.usage.requests.load(Relaxed);
        let limit = cluster.limits.retries_beside(requests);
        Self::take(cluster, |c| &c.usage.retries, limit)
    }

    /// A connection to an endpoint, open or being made. As in Envoy, an endpoint without any may have one beyond the
    /// limit, which others could hold for ever; that is so for `first`, and once for all workers.
    pub(super) fn connection(
        cluster: &Arc<Cluster>,
        endpoint: &Arc<Endpoint>,
        first: bool,
    ) -> Option<Self> {
        let count = &endpoint.connections;
        let is_first = first && count.compare_exchange(0, 1, Relaxed, Relaxed).is_ok();
        let limit = if is_first { u32::MAX } else { cluster.limits.connections };
        let mut permit = Self::take(cluster, |c| &c.usage.connections, limit)?;
        if !is_first {
            count.fetch_add(1, Relaxed);
        }
        permit.endpoint = Some(Arc::clone(endpoint));
        Some(permit)
    }

    /// A request that waits for a connection.
    pub(super) fn pending(cluster: &Arc<Cluster>) -> Option<Self> {
        Self::take(cluster, |c| &c.usage.pending_requests, cluster.limits.pending_requests)
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

/// Whether there are as many connections as there may be.
pub(super) fn is_full(cluster: &Cluster) -> bool {
    cluster.usage.connections.load(Relaxed) >= cluster.limits.connections
}

/// Whether somebody starves, and there is no place that is free.
fn is_wanted(cluster: &Cluster) -> bool {
    cluster.usage.starving.load(Relaxed) > 0 && is_full(cluster)
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
        // Who let it go first may go on, and so may who gave way.
        self.0.usage.freed.notify_waiters();
        self.0.usage.asked.notify_waiters();
    }
}

/// Has a pool give way whenever somebody starves, until it has no connections: of pools of clients there may be many.
pub(super) async fn give_way(pool: Weak<Pool>, cluster: Arc<Cluster>) {
    let mut leaving: Option<Leaving> = None;
    loop {
        // Listens before it looks: who asks in between is heard.
        let asked = cluster.usage.asked.notified();
        let Some(here) = pool.upgrade() else { return };
        if !here.has_connections() {
            here.giving.take();
            return;
        }
        let gives = is_wanted(&cluster);
        let gave = gives && here.close_idle_one();
        // One that has closed now is let go: until then it has its place.
        leaving = leaving.filter(Leaving::goes_on);
        if gives && !gave && leaving.is_none() {
            leaving = here.multiplex.leave_one();
        }
        drop(here);
        match &leaving {
            None => asked.await,
            Some(leaving) => {
                let _ = timeout_at(leaving.end(), asked).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::super::cluster::Balancing;
    use super::super::outlier::tests::{cluster, endpoints};
    use super::*;

    const TRIES: usize = 200_000;

    /// Nobody holds a place, but for one who asks, and for those that ask where there is none at all.
    #[test]
    fn who_gets_none_hides_none() {
        let cluster = Arc::new(cluster(None, 0, Balancing::RoundRobin, endpoints(1)));
        let endpoint = Arc::clone(&cluster.endpoints.load().endpoints[0]);
        let of: fn(&Cluster) -> &AtomicU32 = |cluster| &cluster.usage.retries;
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..TRIES {
                    assert!(Permit::take(&cluster, of, 0).is_none());
                }
            });
            for _ in 0..TRIES {
                assert!(Permit::take(&cluster, of, 1).is_some());
            }
        });
        assert_eq!(of(&cluster).load(Relaxed), 0);

        // So it is with an endpoint that has no connection: it gets one whatever the limit is.
        cluster.usage.connections.store(cluster.limits.connections, Relaxed);
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..TRIES {
                    assert!(Permit::connection(&cluster, &endpoint, false).is_none());
                }
            });
            for _ in 0..TRIES {
                assert!(Permit::connection(&cluster, &endpoint, true).is_some());
            }
        });
        assert_eq!(endpoint.connections.load(Relaxed), 0);
    }
}
