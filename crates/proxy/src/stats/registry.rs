//! Who counts what: blocks by name and writer.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use tidegate_dns::DnsProxy;

use super::totals::{Total, Totals as _};
use super::{
    AccessLogStats, Block, CertificateStats, ClusterManagerStats, ClusterStats, CorsStats,
    DnsStats, EgressStats, EndpointStats, FaultStats, HttpInspectorStats, HttpStats, JwtStats,
    Kind, ListenerManagerStats, ListenerStats, LocalRateLimitStats, MembershipStats, OutlierStats,
    RbacShadowStats, RbacStats, SdsStats, ServerStats, TcpStats, TlsInspectorStats, units,
};

/// All blocks of the process.
///
/// A name lives as long as anybody holds a [`Stats`] of it, and its counts with it: a worker that lets go
/// of a cluster takes nothing away from the sum while others still hold it.
#[derive(Debug)]
pub struct Registry {
    workers: usize,
    pub(super) clusters: Family<ClusterStats>,
    pub(super) membership: Family<MembershipStats>,
    pub(super) outlier: Family<OutlierStats>,
    pub(super) endpoints: Family<EndpointStats>,
    pub(super) listeners: Family<ListenerStats>,
    pub(super) http: Family<HttpStats>,
    pub(super) tcp: Family<TcpStats>,
    pub(super) cors: Family<CorsStats>,
    pub(super) fault: Family<FaultStats>,
    pub(super) http_rbac: Family<RbacStats>,
    pub(super) http_rbac_shadow: Family<RbacShadowStats>,
    pub(super) jwt: Family<JwtStats>,
    pub(super) network_rbac: Family<RbacStats>,
    pub(super) network_rbac_shadow: Family<RbacShadowStats>,
    pub(super) local_rate_limits: Family<LocalRateLimitStats>,
    pub(super) listener_certificates: Family<CertificateStats>,
    pub(super) cluster_certificates: Family<CertificateStats>,
    pub(super) sds: Family<SdsStats>,
    pub(super) http_inspector: Stats<HttpInspectorStats>,
    pub(super) tls_inspector: Stats<TlsInspectorStats>,
    pub(super) access_log: Stats<AccessLogStats>,
    pub(super) cluster_manager: Stats<ClusterManagerStats>,
    pub(super) dns: Stats<DnsStats>,
    pub(super) dns_proxy: OnceLock<Arc<DnsProxy>>,
    pub(super) egress: Stats<EgressStats>,
    pub(super) listener_manager: Stats<ListenerManagerStats>,
    pub(super) server: Stats<ServerStats>,
}

impl Registry {
    /// A registry for this many workers and the control runtime.
    pub fn new(workers: usize) -> Arc<Self> {
        let writers = workers + 1;
        Arc::new(Self {
            workers,
            clusters: Family::new(writers),
            membership: Family::new(writers),
            outlier: Family::new(writers),
            endpoints: Family::new(writers),
            listeners: Family::new(writers),
            http: Family::new(writers),
            tcp: Family::new(writers),
            cors: Family::new(writers),
            fault: Family::new(writers),
            http_rbac: Family::new(writers),
            http_rbac_shadow: Family::new(writers),
            jwt: Family::new(writers),
            network_rbac: Family::new(writers),
            network_rbac_shadow: Family::new(writers),
            local_rate_limits: Family::new(writers),
            listener_certificates: Family::new(writers),
            cluster_certificates: Family::new(writers),
            sds: Family::new(writers),
            http_inspector: Family::new(writers).get(Key::default(), workers),
            tls_inspector: Family::new(writers).get(Key::default(), workers),
            access_log: Family::new(writers).get(Key::default(), workers),
            cluster_manager: Family::new(writers).get(Key::default(), workers),
            dns: Family::new(writers).get(Key::default(), workers),
            dns_proxy: OnceLock::new(),
            egress: Family::new(writers).get(Key::default(), workers),
            listener_manager: Family::new(writers).get(Key::default(), workers),
            server: Family::new(writers).get(Key::default(), workers),
        })
    }

    /// Shows what a DNS proxy counts of a workload's queries: `dns_proxy.`. There is one at most.
    pub fn show(&self, dns_proxy: Arc<DnsProxy>) {
        // Of two, the first one stays.
        let _ = self.dns_proxy.set(dns_proxy);
    }

    /// Number of workers.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// What worker `index` (from 0) writes.
    ///
    /// # Panics
    /// If there is no such worker: a mistake of the caller, not of a peer.
    pub fn worker(self: &Arc<Self>, index: usize) -> Scope {
        assert!(index < self.workers, "worker {index} of {}", self.workers);
        Scope { registry: self.clone(), writer: index }
    }

    /// What the control runtime writes: membership, configuration, DNS, the process. Its tasks may run on
    /// several threads, so each metric belongs to one task.
    pub fn control(self: &Arc<Self>) -> Scope {
        Scope { registry: self.clone(), writer: self.workers }
    }
    /// The value of a counter or gauge by its full name, such as `cluster.a.upstream_rq_total`.
    ///
    /// For tests and tools: it looks through all names.
    pub fn get(&self, name: &str) -> Option<u64> {
        units::all(self).iter().find_map(|unit| unit.get(name))
    }

    /// Refusals of egress that are in no list.
    pub fn unlisted(&self) -> u64 {
        self.egress.shared().blocks().map(|(_, block)| block.unlisted.get()).sum()
    }

    /// Connections of all listeners that are open now.
    pub fn connections(&self) -> u64 {
        let listeners = self.listeners.all();
        let blocks = listeners.iter().flat_map(|listener| listener.blocks());
        blocks.map(|(_, block)| block.downstream_cx_active.get()).sum()
    }

    /// The metrics of one endpoint of a cluster, as `/clusters` shows them; all zero if no worker has used
    /// it.
    pub fn endpoint(&self, cluster: &str, address: &str) -> Vec<(&'static str, Kind, u64)> {
        let shared = self.endpoints.find(cluster, address);
        (EndpointStats::METRICS.iter().enumerate())
            .map(|(index, (name, metric))| {
                let total = shared.as_ref().and_then(|shared| shared.total(index));
                let total = total.unwrap_or_else(|| Total::of(metric(&EndpointStats::default())));
                (*name, total.kind(), total.number())
            })
            .collect()
    }
}

/// The blocks of one writer.
#[derive(Clone, Debug)]
pub struct Scope {
    registry: Arc<Registry>,
    writer: usize,
}

impl Scope {
    /// The block of a cluster: `cluster.NAME.`. `name` is the cluster's `alt_stat_name`, else its name.
    pub fn cluster(&self, name: &str) -> Stats<ClusterStats> {
        self.registry.clusters.get(Key::new(name, ""), self.writer)
    }

    /// What the control runtime counts of a cluster, under the same prefix and name.
    pub fn membership(&self, name: &str) -> Stats<MembershipStats> {
        self.registry.membership.get(Key::new(name, ""), self.writer)
    }

    /// What outlier detection counts of a cluster, under the same name: `cluster.NAME.outlier_detection.`.
    pub fn outlier(&self, name: &str) -> Stats<OutlierStats> {
        self.registry.outlier.get(Key::new(name, ""), self.writer)
    }

    /// The block of one endpoint of a cluster, shown in `/clusters`. `cluster` is the cluster's name.
    pub fn endpoint(&self, cluster: &str, address: &str) -> Stats<EndpointStats> {
        self.registry.endpoints.get(Key::new(cluster, address), self.writer)
    }

    /// The block of a listener: `listener.NAME.`. `name` is its `stat_prefix`, else its address.
    pub fn listener(&self, name: &str) -> Stats<ListenerStats> {
        self.registry.listeners.get(Key::new(name, ""), self.writer)
    }

    /// The block of an HTTP connection manager: `http.PREFIX.`, and its response classes once more under
    /// `listener.NAME.http.PREFIX.`. `listener` is as for [`Scope::listener`].
    pub fn http(&self, stat_prefix: &str, listener: &str) -> Stats<HttpStats> {
        self.registry.http.get(Key::new(stat_prefix, listener), self.writer)
    }

    /// The block of a TCP proxy filter: `tcp.PREFIX.`.
    pub fn tcp(&self, stat_prefix: &str) -> Stats<TcpStats> {
        self.registry.tcp.get(Key::new(stat_prefix, ""), self.writer)
    }

    /// Requests from other origins, of a connection manager: `http.PREFIX.cors.`.
    pub fn cors(&self, stat_prefix: &str) -> Stats<CorsStats> {
        self.registry.cors.get(Key::new(stat_prefix, ""), self.writer)
    }

    /// Faults, of a connection manager: `http.PREFIX.fault.`.
    pub fn fault(&self, stat_prefix: &str) -> Stats<FaultStats> {
        self.registry.fault.get(Key::new(stat_prefix, ""), self.writer)
    }

    /// What the rules of an HTTP filter decided: `http.PREFIX.rbac.`, and the filter's own prefix.
    pub fn http_rbac(&self, stat_prefix: &str, own: &str) -> Stats<RbacStats> {
        self.registry.http_rbac.get(Key::new(stat_prefix, own), self.writer)
    }

    /// What its shadow rules would have decided.
    pub fn http_rbac_shadow(&self, stat_prefix: &str, own: &str) -> Stats<RbacShadowStats> {
        self.registry.http_rbac_shadow.get(Key::new(stat_prefix, own), self.writer)
    }

    /// What a filter of tokens decided: `http.PREFIX.jwt_authn.`, and the filter's own prefix.
    pub fn jwt(&self, stat_prefix: &str, own: &str) -> Stats<JwtStats> {
        self.registry.jwt.get(Key::new(stat_prefix, own), self.writer)
    }

    /// What the rules of a network filter decided: `PREFIX.rbac.`.
    pub fn network_rbac(&self, stat_prefix: &str) -> Stats<RbacStats> {
        self.registry.network_rbac.get(Key::new(stat_prefix, ""), self.writer)
    }

    /// What its shadow rules would have decided: the same, and their own prefix.
    pub fn network_rbac_shadow(&self, stat_prefix: &str, own: &str) -> Stats<RbacShadowStats> {
        self.registry.network_rbac_shadow.get(Key::new(stat_prefix, own), self.writer)
    }

    /// What a local rate limit decided: `PREFIX.http_local_rate_limit.`.
    pub fn local_rate_limit(&self, stat_prefix: &str) -> Stats<LocalRateLimitStats> {
        self.registry.local_rate_limits.get(Key::new(stat_prefix, ""), self.writer)
    }

    /// A certificate of a listener: `listener.NAME.ssl.certificate.CERTIFICATE.`.
    pub fn listener_certificate(&self, name: &str, certificate: &str) -> Stats<CertificateStats> {
        self.registry.listener_certificates.get(Key::new(name, certificate), self.writer)
    }

    /// A certificate of a cluster: `cluster.NAME.ssl.certificate.CERTIFICATE.`.
    pub fn cluster_certificate(&self, name: &str, certificate: &str) -> Stats<CertificateStats> {
        self.registry.cluster_certificates.get(Key::new(name, certificate), self.writer)
    }

    /// A secret: `sds.NAME.`.
    pub fn sds(&self, name: &str) -> Stats<SdsStats> {
        self.registry.sds.get(Key::new(name, ""), self.writer)
    }

    /// What the HTTP inspector saw: `http_inspector.`.
    pub fn http_inspector(&self) -> Stats<HttpInspectorStats> {
        self.registry.http_inspector.of(self.writer)
    }

    /// What the TLS inspector saw: `tls_inspector.`.
    pub fn tls_inspector(&self) -> Stats<TlsInspectorStats> {
        self.registry.tls_inspector.of(self.writer)
    }

    /// Access logging: `filesystem.` and `access_log.`.
    pub fn access_log(&self) -> Stats<AccessLogStats> {
        self.registry.access_log.of(self.writer)
    }

    /// Clusters as a whole: `cluster_manager.`.
    pub fn cluster_manager(&self) -> Stats<ClusterManagerStats> {
        self.registry.cluster_manager.of(self.writer)
    }

    /// Name resolution: `dns.`.
    pub fn dns(&self) -> Stats<DnsStats> {
        self.registry.dns.of(self.writer)
    }

    /// Egress that is refused: `egress.`.
    pub fn egress(&self) -> Stats<EgressStats> {
        self.registry.egress.of(self.writer)
    }

    /// Listeners as a whole: `listener_manager.`.
    pub fn listener_manager(&self) -> Stats<ListenerManagerStats> {
        self.registry.listener_manager.of(self.writer)
    }

    /// The process: `server.`.
    pub fn server(&self) -> Stats<ServerStats> {
        self.registry.server.of(self.writer)
    }
}

/// One writer's block of one name; dereferences to it. Cheap to clone, but not meant for a request:
/// keep one where the cluster or listener is kept.
pub struct Stats<B: Block> {
    block: Arc<B>,
    shared: Arc<Shared<B>>,
}

impl<B: Block> Stats<B> {
    /// Another writer's block of the same name.
    fn of(&self, writer: usize) -> Self {
        Self { block: self.shared.block(writer), shared: self.shared.clone() }
    }

    /// The blocks that exist of this name.
    pub(super) fn shared(&self) -> &Arc<Shared<B>> {
        &self.shared
    }
}

impl<B: Block> Clone for Stats<B> {
    fn clone(&self) -> Self {
        Self { block: self.block.clone(), shared: self.shared.clone() }
    }
}

impl<B: Block> Deref for Stats<B> {
    type Target = B;

    #[inline]
    fn deref(&self) -> &B {
        &self.block
    }
}

impl<B: Block + fmt::Debug> fmt::Debug for Stats<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.block.fmt(f)
    }
}

/// What a block is about. `:` is written `_` when a metric's name is shown, as in Envoy.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// The name, or the prefix.
    pub(super) name: Box<str>,
    /// What it belongs to, or the endpoint's address; empty for most.
    pub(super) part: Box<str>,
}

impl Key {
    fn new(name: &str, part: &str) -> Self {
        Self { name: name.into(), part: part.into() }
    }
}

/// All blocks of one kind.
#[derive(Debug)]
pub(super) struct Family<B: Block> {
    writers: usize,
    names: Arc<Names<B>>,
}

type Names<B> = Mutex<BTreeMap<Key, Weak<Shared<B>>>>;

impl<B: Block> Family<B> {
    fn new(writers: usize) -> Self {
        Self { writers, names: Arc::default() }
    }

    fn get(&self, key: Key, writer: usize) -> Stats<B> {
        let mut names = lock(&self.names);
        let shared = names.get(&key).and_then(Weak::upgrade).unwrap_or_else(|| {
            let shared = Arc::new(Shared {
                key: key.clone(),
                blocks: std::iter::repeat_with(OnceLock::new).take(self.writers).collect(),
                names: Arc::downgrade(&self.names),
            });
            names.insert(key, Arc::downgrade(&shared));
            shared
        });
        // Not under the lock: should this handle be the last, dropping it takes the lock again.
        drop(names);
        Stats { block: shared.block(writer), shared }
    }

    /// Everything of this kind that is held by somebody, in the order of its keys.
    pub(super) fn all(&self) -> Vec<Arc<Shared<B>>> {
        lock(&self.names).values().filter_map(Weak::upgrade).collect()
    }

    /// The blocks of one name, if somebody holds it.
    pub(super) fn find(&self, name: &str, part: &str) -> Option<Arc<Shared<B>>> {
        lock(&self.names).get(&Key::new(name, part)).and_then(Weak::upgrade)
    }
}

/// The blocks of one name, one for each writer that asked for it.
#[derive(Debug)]
pub(super) struct Shared<B: Block> {
    key: Key,
    blocks: Box<[OnceLock<Arc<B>>]>,
    names: Weak<Names<B>>,
}

impl<B: Block> Shared<B> {
    fn block(&self, writer: usize) -> Arc<B> {
        self.blocks[writer].get_or_init(Arc::default).clone()
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// Blocks that exist, with the number of their writer.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (usize, &B)> {
        self.blocks.iter().enumerate().filter_map(|(writer, block)| Some((writer, &**block.get()?)))
    }
}

impl<B: Block> Drop for Shared<B> {
    fn drop(&mut self) {
        let Some(names) = self.names.upgrade() else {
            return;
        };
        let mut names = lock(&names);
        // The name may have been taken again since the last handle went.
        if names.get(&self.key).is_some_and(|now| std::ptr::eq(now.as_ptr(), self)) {
            names.remove(&self.key);
        }
    }
}

/// A panic while the lock was held leaves the map whole: every change is a single insert or remove.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_outlive_one_worker_and_end_with_the_last() {
        let registry = Registry::new(2);
        let first = registry.worker(0).cluster("a");
        let second = registry.worker(1).cluster("a");
        first.upstream_rq_total.inc();
        second.upstream_rq_total.add(2);
        let total = || -> u64 {
            registry
                .clusters
                .all()
                .iter()
                .flat_map(|a| a.blocks())
                .map(|(_, b)| b.upstream_rq_total.get())
                .sum()
        };
        assert_eq!(total(), 3);
        drop(first);
        assert_eq!(total(), 3, "what the first worker counted stays");
        assert_eq!(registry.worker(0).cluster("a").upstream_rq_total.get(), 1);
        drop(second);
        assert!(registry.clusters.all().is_empty());
        assert!(lock(&registry.clusters.names).is_empty());
        assert_eq!(registry.worker(0).cluster("a").upstream_rq_total.get(), 0);
    }

    #[test]
    fn fixed_blocks_are_one_per_writer() {
        let registry = Registry::new(1);
        registry.worker(0).tls_inspector().sni_found.inc();
        registry.control().server().live.set(1);
        assert_eq!(registry.worker(0).tls_inspector().sni_found.get(), 1);
        assert_eq!(registry.control().tls_inspector().sni_found.get(), 0);
        assert_eq!(registry.control().server().live.get(), 1);
    }
}
