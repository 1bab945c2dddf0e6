//! Keeps the endpoints of DNS clusters current: the control side between the resolver and the clusters.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::cluster::{Cluster, Discovery as Source, DnsName, Endpoint, EndpointSet};
use super::dns::{Negative, News, Resolver, Subscription, WatchOptions};

/// Follows the names of clusters.
#[derive(Debug)]
pub struct Discovery {
    resolver: Resolver,
    runtime: Handle,
    followed: HashMap<Arc<str>, JoinSet<()>>,
}

impl Discovery {
    /// Follows nothing yet. Names are resolved, and endpoints replaced, on `runtime`.
    #[must_use]
    pub fn new(resolver: Resolver, runtime: Handle) -> Self {
        Self { resolver, runtime, followed: HashMap::new() }
    }

    /// Follows the names of `cluster`, in place of those of the cluster of this name before.
    pub fn follow(&mut self, cluster: &Arc<Cluster>) {
        self.forget(&cluster.name);
        let (names, first_only): (&[DnsName], _) = match &cluster.discovery {
            Source::StrictDns(names) => (names, false),
            Source::LogicalDns(name) => (std::slice::from_ref(name), true),
            Source::Static | Source::Eds(_) | Source::Dialled => return,
        };
        let watch = |name: &DnsName| {
            self.resolver.watch(&name.host, name.port, options(cluster, first_only))
        };
        let subscriptions: Vec<Subscription> = names.iter().map(watch).collect();
        cluster.set_usage(subscriptions.iter().filter_map(Subscription::usage).collect());
        let found = Arc::new(Found::new(Arc::clone(cluster), names.to_vec()));
        let mut tasks = JoinSet::new();
        for (place, mut subscription) in subscriptions.into_iter().enumerate() {
            let found = Arc::clone(&found);
            let follow = async move {
                loop {
                    let news = subscription.news().await;
                    found.put(place, news);
                }
            };
            tasks.spawn_on(follow, &self.runtime);
        }
        self.followed.insert(Arc::clone(&cluster.name), tasks);
    }

    /// Follows the names of the cluster of this name no longer.
    pub fn forget(&mut self, cluster: &str) {
        self.followed.remove(cluster);
    }

    /// The resolver.
    #[must_use]
    pub fn resolver(&self) -> &Resolver {
        &self.resolver
    }
}

fn options(cluster: &Cluster, first_only: bool) -> WatchOptions {
    let options = WatchOptions { first_only, ..WatchOptions::from(cluster.dns) };
    // As Envoy's LOGICAL_DNS: an address is replaced by another one only.
    if first_only { WatchOptions { negative: Negative::Keep, ..options } } else { options }
}

/// What the names of one cluster lead to so far.
struct Found {
    cluster: Arc<Cluster>,
    names: Vec<DnsName>,
    addresses: Mutex<Vec<Option<Vec<SocketAddr>>>>,
}

impl Found {
    fn new(cluster: Arc<Cluster>, names: Vec<DnsName>) -> Self {
        let addresses = Mutex::new(vec![None; names.len()]);
        Self { cluster, names, addresses }
    }

    /// Takes what lookups of one name came to.
    fn put(&self, place: usize, news: News) {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let before = addresses[place].take().unwrap_or_default();
        let changed = before != news.resolution.addresses;
        addresses[place] = Some(news.resolution.addresses);
        if let Some(membership) = self.cluster.membership() {
            membership.looked_up(news.lookups, changed);
        }
        if changed || !self.cluster.endpoints.load().ready {
            self.renew(&addresses);
        }
    }

    /// Makes the cluster's endpoints anew. The cluster is known once the first lookup of every name has ended.
    fn renew(&self, addresses: &[Option<Vec<SocketAddr>>]) {
        if addresses.iter().any(Option::is_none) && addresses.iter().flatten().all(Vec::is_empty) {
            return;
        }
        let before = self.cluster.endpoints.load();
        let mut endpoints: Vec<Arc<Endpoint>> = Vec::new();
        for (name, addresses) in self.names.iter().zip(addresses.iter()) {
            for &address in addresses.iter().flatten() {
                if endpoints.iter().all(|endpoint| endpoint.address != address) {
                    endpoints.push(keep_or_make(&before, name, address));
                }
            }
        }
        self.cluster.set_endpoints(EndpointSet::new(endpoints));
    }
}

fn keep_or_make(before: &EndpointSet, name: &DnsName, address: SocketAddr) -> Arc<Endpoint> {
    let same = |endpoint: &&Arc<Endpoint>| {
        endpoint.address == address
            && endpoint.weight == name.weight.max(1)
            && endpoint.hostname.as_ref() == Some(&name.host)
    };
    match before.endpoints.iter().find(same) {
        Some(endpoint) => Arc::clone(endpoint),
        None => Arc::new(Endpoint::new(address, Some(Arc::clone(&name.host)), name.weight)),
    }
}
