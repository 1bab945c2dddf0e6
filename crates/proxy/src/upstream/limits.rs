//! What a cluster may use at most, held by guards over all workers, and over the forms that it has one after the other.
//!
//! A worker that has no connection to an endpoint while others hold all that there may be would wait for ever: each of
//! them uses its own again and again. Over HTTP/2 it opens streams on theirs (`multiplex/connection.rs`). Else it asks, and others give
//! way: they close a connection that is idle or comes back from a request, and one of HTTP/2, which is for another server then, takes no
//! more streams for a while. Clients whose connections are their own (`owned.rs`) give way to each other so, in one worker or in several.
//! Nobody waits for another worker but who is at a limit.

use std::rc::Weak;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};

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
        let permit = Self::take(cluster, |c| &c.usage.requests, cluster.limits.requests)?;
        sent(cluster);
        Some(permit)
    }

    /// A retry in flight, its pause included.
    #[must_use]
    pub fn retry(cluster: &Arc<Cluster>) -> Option<Self> {
        let permit = Self::take(cluster, |c| &c.usage.retries, most_retries(cluster))?;
        sent(cluster);
        Some(permit)
    }

    /// A connection to an endpoint, open or being made. As in Envoy, an endpoint without any may have one beyond the
    /// limit, which others could hold for ever; that is so for `first`, and once for all workers. A form of the cluster that
    /// has none there counts so, too: it can use none of those that were made for another.
    pub(super) fn connection(
        cluster: &Arc<Cluster>,
        endpoint: &Arc<Endpoint>,
        first: bool,
    ) -> Option<Self> {
        let (count, form) = (&endpoint.connections, cluster.usage.form());
        let is_first = first && count.begin(form);
        let limit = if is_first { u32::MAX } else { cluster.limits.connections };
        let mut permit = Self::take(cluster, |c| &c.usage.connections, limit)?;
        if !is_first {
            count.add(form);
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
            endpoint.connections.end(self.cluster.usage.form());
        }
        (self.of)(&self.cluster).fetch_sub(1, Relaxed);
        if self.endpoint.is_some() {
            self.cluster.usage.freed.notify_waiters();
        }
    }
}

/// How many connections to an endpoint the newest form of its cluster has that has made any: the form's number in the upper half,
/// and the count in the lower.
#[derive(Debug, Default)]
pub struct Connections(AtomicU64);

impl Connections {
    /// Counts the first one of a form; whether it is that.
    fn begin(&self, form: u32) -> bool {
        self.change(form, |count| (count == 0).then_some(1))
    }

    fn add(&self, form: u32) {
        self.change(form, |count| Some(count + 1));
    }

    fn end(&self, form: u32) {
        self.change(form, |count| count.checked_sub(1));
    }

    /// Changes the count of a form, unless a newer one has made connections; whether it changed.
    fn change(&self, form: u32, to: impl Fn(u32) -> Option<u32>) -> bool {
        let next = |held: u64| {
            let (of, count) = ((held >> 32) as u32, held as u32);
            let count = if of == form { count } else { 0 };
            let next = if of > form { None } else { to(count) };
            next.map(|count| u64::from(form) << 32 | u64::from(count))
        };
        self.0.fetch_update(Relaxed, Relaxed, next).is_ok()
    }
}

/// Counts a request that is sent, or sent again, where that is looked back at.
fn sent(cluster: &Cluster) {
    if let Some(interval) = cluster.limits.interval() {
        cluster.usage.recent.add(interval);
    }
}

/// How many retries may be in flight now.
pub(super) fn most_retries(cluster: &Cluster) -> u32 {
    let in_flight = || cluster.usage.requests.load(Relaxed);
    let lately = |interval| cluster.usage.recent.count(interval);
    cluster.limits.retries_beside(cluster.limits.interval().map_or_else(in_flight, lately))
}

/// Whether there are as many connections as there may be.
pub(super) fn is_full(cluster: &Cluster) -> bool {
    cluster.usage.connections.load(Relaxed) >= cluster.limits.connections
}

/// Whether somebody starves, and there is no place that is free. A form whose place another has taken does not know how many
/// there may be.
fn is_wanted(cluster: &Cluster) -> bool {
    cluster.usage.starving.load(Relaxed) > 0 && (cluster.is_retired() || is_full(cluster))
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
        assert!(endpoint.connections.begin(0), "there is none");
    }

    /// A form counts what those before it still use, and each may have a first connection to an endpoint.
    #[test]
    fn limits_hold_over_the_forms_of_a_cluster() {
        let form = |before: Option<&Cluster>| {
            let mut cluster = cluster(None, 0, Balancing::RoundRobin, endpoints(1));
            (cluster.limits.connections, cluster.limits.requests) = (2, 3);
            cluster.usage = before.map(|before| before.usage.next()).unwrap_or_default();
            Arc::new(cluster)
        };
        let old = form(None);
        let endpoint = Arc::clone(&old.endpoints.load().endpoints[0]);
        let connect = |cluster, first| Permit::connection(cluster, &endpoint, first);
        let count = |held: &[Option<Permit>]| held.iter().flatten().count();
        let mut requests: Vec<_> = (0..2).map(|_| Permit::request(&old)).collect();
        let mut connections: Vec<_> = (0..3).map(|_| connect(&old, true)).collect();
        assert_eq!((count(&requests), count(&connections)), (2, 2));

        let new = form(Some(&old));
        requests.extend((0..3).map(|_| Permit::request(&new)));
        assert_eq!(count(&requests), 3, "of both");
        assert!(connect(&new, false).is_none());
        connections.extend((0..3).map(|_| connect(&new, true)));
        assert_eq!(count(&connections), 3, "its first");
        connections.extend((0..3).map(|_| connect(&old, true)));
        assert_eq!(count(&connections), 3, "the old one has no other first");

        // What the old form gives back is the new one's, and nobody's beyond the limit.
        connections.drain(..2);
        assert!(connect(&new, false).is_some());
        requests.clear();
        assert_eq!(count(&(0..4).map(|_| Permit::request(&new)).collect::<Vec<_>>()), 3);
        connections.clear();
        let usage = &new.usage;
        assert_eq!((usage.connections.load(Relaxed), usage.requests.load(Relaxed)), (0, 0));
        assert!(endpoint.connections.begin(1), "none is left");
    }
}
