//! What the control side counts of the whole: clusters and listeners that come, change and go.
//!
//! What is only a level is not kept up to date but looked up when somebody asks ([`Ledger::refresh`]), so that
//! nothing is counted twice and no request pays for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::listener::Listener;
use crate::config::{Changed, Config, Owner};
use crate::stats::{
    CertificateStats, ClusterManagerStats, ListenerManagerStats, Scope, SdsStats, Stats,
};
use crate::upstream::Cluster;
use crate::upstream::membership::Membership;
use crate::worker::fleet::Served;

/// The counts. Behind a lock, as whoever applies configuration and whoever asks are on different threads.
#[derive(Debug)]
pub struct Ledger {
    scope: Scope,
    workers: u64,
    books: Mutex<Books>,
}

/// Whose certificate, and which.
type CertificateKey = (Owner, Arc<str>, Arc<str>);

#[derive(Debug)]
struct Books {
    cluster_manager: Stats<ClusterManagerStats>,
    listener_manager: Stats<ListenerManagerStats>,
    clusters: BTreeMap<Arc<str>, (Arc<Cluster>, Arc<Membership>)>,
    secrets: BTreeMap<Arc<str>, Stats<SdsStats>>,
    certificates: BTreeMap<CertificateKey, Stats<CertificateStats>>,
    /// The listeners, each in all forms that connections may still have.
    listeners: BTreeMap<Arc<str>, Vec<Weak<Listener>>>,
    /// Forms of listeners that are gone.
    draining: Vec<Vec<Weak<Listener>>>,
}

impl Ledger {
    /// Counts in the control runtime's blocks, for so many workers.
    #[must_use]
    pub fn new(scope: Scope, workers: usize) -> Self {
        let books = Mutex::new(Books {
            cluster_manager: scope.cluster_manager(),
            listener_manager: scope.listener_manager(),
            clusters: BTreeMap::new(),
            secrets: BTreeMap::new(),
            certificates: BTreeMap::new(),
            listeners: BTreeMap::new(),
            draining: Vec::new(),
        });
        Self { scope, workers: workers as u64, books }
    }

    /// The workers run.
    pub fn workers_started(&self) {
        self.books().listener_manager.workers_started.set(1);
    }

    /// Clusters have come, changed or gone.
    pub fn clusters(&self, changed: &Changed<Cluster>) {
        let mut books = self.books();
        for cluster in &changed.put {
            let before = books.clusters.get(&cluster.name);
            let stats = &books.cluster_manager;
            let counted =
                if before.is_some() { &stats.cluster_modified } else { &stats.cluster_added };
            counted.inc();
            let kept = before.filter(|(before, _)| before.stat_name == cluster.stat_name);
            let membership = kept.map(|(_, membership)| Arc::clone(membership));
            let membership = membership.unwrap_or_else(|| {
                Arc::new(Membership::new(self.scope.membership(&cluster.stat_name)))
            });
            let detects = cluster.outlier.as_ref();
            membership.detect(detects.map(|_| self.scope.outlier(&cluster.stat_name)));
            cluster.count_in(Arc::clone(&membership));
            let entry = (Arc::clone(cluster), membership);
            books.clusters.insert(Arc::clone(&cluster.name), entry);
        }
        for name in &changed.removed {
            if books.clusters.remove(name).is_some() {
                books.cluster_manager.cluster_removed.inc();
            }
        }
    }

    /// Secrets have come, and were taken or not; others have gone.
    pub fn secrets(&self, came: &[(Arc<str>, bool)], removed: &[Arc<str>]) {
        let mut books = self.books();
        for name in removed {
            books.secrets.remove(name);
        }
        for (name, taken) in came {
            let stats = books.secrets.entry(Arc::clone(name));
            let stats = stats.or_insert_with(|| self.scope.sds(name));
            stats.update_attempt.inc();
            (if *taken { &stats.update_success } else { &stats.update_rejected }).inc();
        }
    }

    /// Notes when the certificates expire that are in force.
    pub fn certificates(&self, config: &Config) {
        let mut expiring: BTreeMap<CertificateKey, SystemTime> = BTreeMap::new();
        for (owner, name, inventory) in config.certificates() {
            for certificate in inventory.all() {
                let Some(expires) = certificate.expires() else { continue };
                let key = (owner, Arc::clone(name), Arc::clone(&certificate.name));
                // Of several of one name, the first to expire.
                let soonest = expiring.entry(key).or_insert(expires);
                *soonest = expires.min(*soonest);
            }
        }
        let mut books = self.books();
        books.certificates.retain(|key, _| expiring.contains_key(key));
        let first = expiring.values().min().copied();
        for (key, expires) in expiring {
            let stats = match &key {
                (Owner::Listener, name, own) => self.scope.listener_certificate(name, own),
                (Owner::Cluster, name, own) => self.scope.cluster_certificate(name, own),
            };
            stats.expiration.set(expires.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs());
            books.certificates.insert(key, stats);
        }
        let days = |first: SystemTime| {
            first.duration_since(SystemTime::now()).unwrap_or_default().as_secs() / 86_400
        };
        let server = self.scope.server();
        server.days_until_first_cert_expiring.set(first.map_or(u64::from(u32::MAX), days));
    }

    /// Workers serve a listener, or a form of it.
    pub fn served(&self, listener: &Arc<Listener>, how: Served) {
        let mut books = self.books();
        let stats = &books.listener_manager;
        match how {
            Served::Opened => stats.listener_added.inc(),
            Served::Moved => stats.listener_modified.inc(),
            Served::InPlace => {
                stats.listener_modified.inc();
                stats.listener_in_place_updated.inc();
            }
        }
        stats.listener_create_success.add(self.workers);
        let forms = books.listeners.entry(Arc::clone(&listener.name)).or_default();
        forms.retain(is_alive);
        forms.push(Arc::downgrade(listener));
    }

    /// A listener could not be opened.
    pub fn not_served(&self) {
        self.books().listener_manager.listener_create_failure.add(self.workers);
    }

    /// A listener is gone.
    pub fn removed(&self, name: &str) {
        let mut books = self.books();
        if let Some(forms) = books.listeners.remove(name) {
            books.listener_manager.listener_removed.inc();
            books.draining.push(forms);
        }
    }

    /// A listener accepts no more.
    pub fn stopped(&self) {
        self.books().listener_manager.listener_stopped.inc();
    }

    /// Brings up to date what is only looked at when somebody asks.
    pub fn refresh(&self) {
        let mut books = self.books();
        books.draining.retain(|forms| forms.iter().any(is_alive));
        let warming = |(cluster, _): &&(Arc<Cluster>, _)| cluster.is_warming();
        let warming = books.clusters.values().filter(warming).count();
        books.cluster_manager.warming_clusters.set(warming as u64);
        books.cluster_manager.active_clusters.set((books.clusters.len() - warming) as u64);
        let stats = &books.listener_manager;
        stats.total_listeners_active.set(books.listeners.len() as u64);
        stats.total_listeners_draining.set(books.draining.len() as u64);
        for (cluster, membership) in books.clusters.values() {
            membership.refresh(cluster);
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // Every change is whole, whoever panicked.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether somebody, a connection for one, still has this form of a listener.
fn is_alive(form: &Weak<Listener>) -> bool {
    form.strong_count() > 0
}
