//! Keeps the endpoints of DNS clusters current: the control side between the resolver and the clusters.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::cluster::{Cluster, Discovery as Source, DnsName, Endpoint, EndpointSet, Place};
use super::dns::{Negative, News, Resolver, Subscription, WatchOptions};
use super::incident::{Incident, Listener, NameEvent};
use super::unresolved::Unresolved;
use crate::remote::Remote;

/// Follows the names of clusters.
#[derive(Debug)]
pub struct Discovery {
    resolver: Resolver,
    runtime: Handle,
    /// Who is told of names that lead nowhere.
    listener: Option<Listener>,
    followed: HashMap<Arc<str>, Followed>,
}

/// A cluster that is followed, until this is dropped.
#[derive(Debug)]
struct Followed {
    /// What was told of them.
    unresolved: Arc<Unresolved>,
    _tasks: JoinSet<()>,
}

impl Discovery {
    /// Follows nothing yet. Names are resolved, and endpoints replaced, on `runtime`.
    #[must_use]
    pub fn new(resolver: Resolver, runtime: Handle, listener: Option<Listener>) -> Self {
        Self { resolver, runtime, listener, followed: HashMap::new() }
    }

    /// Follows the names of `cluster`, in place of those of the cluster of this name before.
    pub fn follow(&mut self, cluster: &Arc<Cluster>) {
        if let Some(listener) = &self.listener {
            cluster.tell(listener.clone());
        }
        let before = self.followed.remove(&cluster.name);
        let (names, first_only): (&[DnsName], _) = match &cluster.discovery {
            Source::StrictDns(names) => (names, false),
            Source::LogicalDns(name) => (std::slice::from_ref(name), true),
            Source::Asked(policy) => {
                let options = WatchOptions { min_ttl: policy.min_ttl, ..options(cluster, true) };
                let options = WatchOptions { first_only: false, ..options };
                let resolver = self.resolver.clone();
                return cluster.names().resolve_with(resolver, options, self.runtime.clone());
            }
            Source::Static | Source::Eds(_) | Source::Dialled { .. } => return,
        };
        let watch = |name: &DnsName| {
            self.resolver.watch(&name.host, name.port, options(cluster, first_only))
        };
        let subscriptions: Vec<Subscription> = names.iter().map(watch).collect();
        cluster.set_usage(subscriptions.iter().filter_map(Subscription::usage).collect());
        let listener = self.listener.clone();
        let unresolved = before.map(|before| before.unresolved).unwrap_or_default();
        let _ = cluster.unresolved().set(Arc::clone(&unresolved));
        let tell = (Arc::clone(&unresolved), listener);
        let found = Arc::new(Found::new(Arc::clone(cluster), names.to_vec(), tell));
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
        self.followed.insert(Arc::clone(&cluster.name), Followed { unresolved, _tasks: tasks });
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
    unresolved: Arc<Unresolved>,
    listener: Option<Listener>,
}

impl Found {
    /// Nothing yet. What was told of names that the cluster has no more is forgotten.
    fn new(
        cluster: Arc<Cluster>,
        names: Vec<DnsName>,
        (unresolved, listener): (Arc<Unresolved>, Option<Listener>),
    ) -> Self {
        let addresses = Mutex::new(vec![None; names.len()]);
        let is_there = |host: &Arc<str>| names.iter().any(|name| name.host == *host);
        unresolved.retain(is_there);
        Self { cluster, names, addresses, unresolved, listener }
    }

    /// Tells of a name that leads nowhere, or somewhere again, where that is news. One whose addresses serve on while lookups
    /// fail leads somewhere.
    fn tell(&self, place: usize, news: &News) {
        let failure = news.failure.clone().filter(|_| news.resolution.addresses.is_empty());
        let Some(name) = self.names.get(place).map(|name| Arc::clone(&name.host)) else { return };
        if !self.unresolved.note(&name, failure.as_ref()) {
            return;
        }
        let cluster = Arc::clone(&self.cluster.name);
        if let Some(listener) = &self.listener {
            // Whoever listens may have ended.
            let _ = listener.send(Incident::Name(NameEvent { cluster, name, failure }));
        }
    }

    /// Takes what lookups of one name came to.
    fn put(&self, place: usize, news: News) {
        self.tell(place, &news);
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
        let mut endpoints: Vec<(Arc<Endpoint>, Arc<Place>)> = Vec::new();
        for (name, addresses) in self.names.iter().zip(addresses.iter()) {
            for &address in addresses.iter().flatten() {
                if endpoints.iter().all(|(endpoint, _)| endpoint.address != Remote::Ip(address)) {
                    endpoints.push((keep_or_make(&before, name, address), Arc::clone(&name.place)));
                }
            }
        }
        self.cluster.set_endpoints(EndpointSet::placed(endpoints));
    }
}

fn keep_or_make(before: &EndpointSet, name: &DnsName, address: SocketAddr) -> Arc<Endpoint> {
    let same = |endpoint: &&Arc<Endpoint>| {
        endpoint.address == Remote::Ip(address)
            && endpoint.weight == name.weight.max(1)
            && endpoint.hostname.as_ref() == Some(&name.host)
    };
    match before.endpoints.iter().find(same) {
        Some(endpoint) => Arc::clone(endpoint),
        None => {
            let endpoint = Endpoint::new(address, Some(Arc::clone(&name.host)), name.weight);
            Arc::new(endpoint.known_from(before))
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::super::cluster::Balancing;
    use super::super::dns::{LookupError, Lookups, Resolution};
    use super::super::outlier::tests::cluster;
    use super::*;

    /// A name that leads nowhere is told once for each reason, and once that it leads somewhere again.
    #[test]
    fn a_name_that_leads_nowhere_is_told() {
        let (listener, mut told) = mpsc::unbounded_channel();
        let cluster = cluster(None, 0, Balancing::RoundRobin, EndpointSet::default());
        let (cluster, unresolved) = (Arc::new(cluster), Arc::<Unresolved>::default());
        let form = |host: &str| {
            let name = DnsName { host: host.into(), port: 80, weight: 1, place: Arc::default() };
            let tell = (Arc::clone(&unresolved), Some(listener.clone()));
            Found::new(Arc::clone(&cluster), vec![name], tell)
        };
        let address = SocketAddr::from(([192, 0, 2, 1], 80));
        let mut put_in = |found: &Found, addresses: &[SocketAddr], failure: Option<LookupError>| {
            let resolution = Resolution { ready: true, addresses: addresses.to_vec() };
            found.put(0, News { lookups: Lookups::default(), resolution, failure });
            match told.try_recv() {
                Ok(Incident::Name(event)) => Some(event.to_string()),
                Ok(other) => panic!("{other:?}"),
                Err(_) => None,
            }
        };
        let found = form("db.example");
        let mut put = |addresses: &[_], failure| put_in(&found, addresses, failure);
        let nowhere =
            "db.example is not resolved, so that it has no endpoints: there is no such name";
        let none = || Some(LookupError::NoSuchName);
        assert_eq!(put(&[], none()).as_deref(), Some(nowhere));
        assert_eq!(put(&[], none()), None, "said once");
        assert!(
            put(&[], Some(LookupError::Timeout)).is_some_and(|words| words.contains("in time"))
        );
        assert_eq!(put(&[address], None).as_deref(), Some("db.example is resolved"));
        assert_eq!(put(&[address], Some(LookupError::Timeout)), None, "its addresses serve on");
        assert_eq!(put(&[address], None), None);
        assert_eq!(put(&[], none()).as_deref(), Some(nowhere));

        // The cluster changes: what was told of its name stands.
        let next = form("db.example");
        assert_eq!(put_in(&next, &[], none()), None);
        let resolved = put_in(&form("db.example"), &[address], None);
        assert_eq!(resolved.as_deref(), Some("db.example is resolved"));
        assert_eq!(put_in(&next, &[], none()).as_deref(), Some(nowhere));
        let why = "db.example is not resolved: there is no such name";
        assert_eq!(unresolved.told().as_deref(), Some(why));
        let other = form("other.example");
        assert_eq!(put_in(&other, &[address], None), None);
        assert_eq!(unresolved.told(), None);
        assert_eq!(put_in(&form("db.example"), &[address], None), None, "that was forgotten");
    }
}
