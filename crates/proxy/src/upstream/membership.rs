//! What the control side counts of one cluster: its endpoints, and how they are found.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::cluster::{Cluster, Discovery, EndpointSet};
use super::dns::Lookups;
use super::limits::most_retries;
use crate::stats::{MembershipStats, OutlierStats, Stats};

/// The counts of one cluster. They are behind a lock, as each of its names has a task of its own; no request
/// comes here.
#[derive(Debug)]
pub struct Membership {
    stats: Mutex<Stats<MembershipStats>>,
    outlier: Mutex<Option<Stats<OutlierStats>>>,
}

impl Membership {
    /// Counts in `stats`, which nobody else writes.
    #[must_use]
    pub fn new(stats: Stats<MembershipStats>) -> Self {
        Self { stats: Mutex::new(stats), outlier: Mutex::default() }
    }

    /// Counts which endpoints there are in place of those before.
    pub fn replaced(&self, before: &EndpointSet, now: &EndpointSet) {
        let stats = self.stats();
        if differ(before, now) {
            stats.membership_change.inc();
        }
        let count = now.endpoints.len() as u64;
        stats.membership_total.set(count);
        stats.membership_healthy.set(now.healthy as u64);
    }

    /// Counts lookups of the cluster's names, and whether they led to other endpoints.
    pub fn looked_up(&self, lookups: Lookups, changed: bool) {
        let stats = self.stats();
        stats.update_attempt.add(lookups.attempts);
        stats.update_success.add(lookups.answered);
        stats.update_failure.add(lookups.attempts.saturating_sub(lookups.answered));
        if !changed {
            stats.update_no_rebuild.add(lookups.answered);
        }
    }

    /// Brings up to date what is only looked at when somebody asks.
    pub fn refresh(&self, cluster: &Cluster) {
        let stats = self.stats();
        let (usage, limits) = (&cluster.usage, &cluster.limits);
        // As in Envoy, a limit of 0 is not reached by those that it turns away, and a share of the requests in flight never is.
        let reached = |used: &AtomicU32, limit: u32| {
            let used = used.load(Ordering::Relaxed);
            u64::from(used > 0 && used >= limit)
        };
        stats.cx_open.set(reached(&usage.connections, limits.connections));
        stats.rq_open.set(reached(&usage.requests, limits.requests));
        stats.rq_pending_open.set(reached(&usage.pending_requests, limits.pending_requests));
        let of_those_in_flight = limits.retry_budget.is_some() && limits.interval().is_none();
        let retries = reached(&usage.retries, most_retries(cluster));
        stats.rq_retry_open.set(if of_those_in_flight { 0 } else { retries });
        if let Discovery::Dialled { .. } = cluster.discovery {
            let (count, changes) = cluster.originals().take_changes();
            stats.membership_change.add(changes);
            stats.membership_total.set(count as u64);
            stats.membership_healthy.set(count as u64);
        }
        if let Discovery::Asked(_) = cluster.discovery {
            let count = cluster.names().len() as u64;
            stats.membership_total.set(count);
            stats.membership_healthy.set(cluster.names().endpoints().len() as u64);
        }
        let endpoints = cluster.endpoints.load();
        stats.warming_state.set(u64::from(cluster.is_warming()));
        if let Some(outlier) = &*self.outlier() {
            outlier.ejections_active.set((endpoints.endpoints.len() - endpoints.healthy) as u64);
        }
    }

    /// Counts what outlier detection does, from now on, where there is any.
    pub fn detect(&self, stats: Option<Stats<OutlierStats>>) {
        *self.outlier() = stats;
    }

    /// What outlier detection counts in, where there is any.
    pub fn outlier(&self) -> MutexGuard<'_, Option<Stats<OutlierStats>>> {
        self.outlier.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stats(&self) -> MutexGuard<'_, Stats<MembershipStats>> {
        // Counts stay usable whoever panicked.
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn differ(before: &EndpointSet, now: &EndpointSet) -> bool {
    let addresses = |set: &EndpointSet| -> HashSet<_> {
        set.endpoints.iter().map(|endpoint| endpoint.address.clone()).collect()
    };
    addresses(before) != addresses(now)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::stats::Registry;
    use crate::upstream::Endpoint;

    fn set(ports: &[u16]) -> EndpointSet {
        let endpoint = |port: &u16| {
            Endpoint::new(std::net::SocketAddr::from(([127, 0, 0, 1], *port)), None, 1)
        };
        EndpointSet::new(ports.iter().map(endpoint).map(Arc::new).collect())
    }

    #[test]
    fn changes_count_by_address() {
        let registry = Registry::new(1);
        let membership = Membership::new(registry.control().membership("a"));
        let steps: [(&[u16], &[u16], u64); 4] =
            [(&[], &[], 0), (&[], &[1, 2], 1), (&[1, 2], &[2, 1], 1), (&[2, 1], &[2, 3, 4], 2)];
        for (before, now, changes) in steps {
            membership.replaced(&set(before), &set(now));
            assert_eq!(registry.get("cluster.a.membership_change"), Some(changes), "{now:?}");
            assert_eq!(registry.get("cluster.a.membership_total"), Some(now.len() as u64));
        }
    }

    #[test]
    fn lookups_count_by_what_they_came_to() {
        let registry = Registry::new(1);
        let membership = Membership::new(registry.control().membership("a"));
        membership.looked_up(Lookups { attempts: 1, answered: 1 }, true);
        membership.looked_up(Lookups { attempts: 1, answered: 1 }, false);
        membership.looked_up(Lookups { attempts: 2, answered: 0 }, false);
        let counts = ["attempt", "success", "failure", "no_rebuild"]
            .map(|name| registry.get(&format!("cluster.a.update_{name}")));
        assert_eq!(counts, [Some(4), Some(2), Some(2), Some(1)]);
    }
}
