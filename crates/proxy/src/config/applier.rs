//! Updates into what is served: one resource that is wrong is refused alone.

mod delivery;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use tidegate_envoy::capability::Finding;
use tidegate_envoy::v3::cluster::Cluster as ProtoCluster;
use tidegate_envoy::v3::endpoint::ClusterLoadAssignment;
use tidegate_envoy::v3::tls::Secret as ProtoSecret;
use tidegate_xds::assemble::split_virtual_host_name;
use tidegate_xds::{Rejection, Resource, ResourceType, Update, Verdict};
use tokio::time::Instant;

use crate::accesslog::Logs;
use crate::tls::inventory::Inventory;
use crate::tls::secret::{Lacks, Secret, SecretSlot};
use crate::upstream::Cluster;

use super::clusters::Clusters;
use super::compile::{self, Links as _};
use super::expiring::Expiring;
use super::judge::{Judged, judge_named};
use super::leaving::Leaving;
use super::listener::{Listener, RouteSlot, canonical, handed_on_to};
use super::listeners::{Before, Listeners, Put};
use super::record::{Records, rejections};
use super::refusal::Refusal;
use super::slots::Slots;
use super::tables::{TableChange, Tables};

pub use delivery::Delivered;

/// What is served, by name; immutable. Its parts are shared between successive configurations.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Generation of the last update in it.
    pub generation: u64,
    /// The listeners.
    pub listeners: Arc<BTreeMap<Arc<str>, Arc<Listener>>>,
    /// The clusters.
    pub clusters: Arc<BTreeMap<Arc<str>, Arc<Cluster>>>,
    /// The route configurations that are resources of their own. Those inside a listener are found there.
    pub routes: Arc<BTreeMap<Arc<str>, Arc<RouteSlot>>>,
}

/// Whose certificates these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A listener's, by the prefix of its stats.
    Listener,
    /// A cluster's, by its name in stats.
    Cluster,
}

impl Config {
    /// The listener that serves a connection which came to `listener` and was dialled to `dialled`: another, where this one
    /// hands connections on and there is one for that address, or else for all addresses with that port.
    #[must_use]
    pub fn handed_on<'c>(
        &'c self,
        listener: &'c Arc<Listener>,
        dialled: SocketAddr,
    ) -> &'c Arc<Listener> {
        if !listener.capture.hands_on {
            return listener;
        }
        let at = |address: SocketAddr| {
            let is_there =
                |other: &&Arc<Listener>| other.addresses().map(canonical).any(|own| own == address);
            self.listeners.values().find(is_there)
        };
        handed_on_to(dialled).into_iter().find_map(at).unwrap_or(listener)
    }

    /// The TLS contexts: whose they are, and the certificates that they have now.
    pub fn certificates(&self) -> impl Iterator<Item = (Owner, &Arc<str>, Inventory)> {
        let listeners = self.listeners.values().flat_map(|listener| {
            let chains = listener.chains.chains.iter().chain(&listener.chains.default);
            let contexts = chains.filter_map(|chain| chain.tls.as_deref());
            contexts.map(|tls| (Owner::Listener, &listener.stat_prefix, Inventory::of(&tls.common)))
        });
        let clusters = self.clusters.values().filter_map(|cluster| {
            let common = &cluster.tls.as_ref()?.context.common;
            Some((Owner::Cluster, &cluster.stat_name, Inventory::of(common)))
        });
        listeners.chain(clusters)
    }
}

/// What an update has done. Routes and endpoints serve already; listeners are for the workers to open,
/// change and close, and the names of DNS clusters for the resolver to follow.
#[derive(Debug)]
pub struct Applied {
    /// What is served now.
    pub config: Arc<Config>,
    /// Listeners that are new or changed, and those that are gone.
    pub listeners: Changed<Listener>,
    /// Clusters likewise.
    pub clusters: Changed<Cluster>,
    /// Names of secrets that came, and whether they were taken.
    pub secrets: Vec<(Arc<str>, bool)>,
    /// Names of those that are gone.
    pub secrets_removed: Vec<Arc<str>>,
    /// Resources of this update that were refused; their last good form serves on. Of a listener, that may be said of the
    /// transport sockets of some chains: the others are served.
    pub rejected: Vec<Rejection>,
    /// Fields of this update that have no effect here.
    pub notices: Vec<Notice>,
    /// What is served although somebody should do something about it.
    pub warnings: Vec<Notice>,
}

/// What an update has changed in one kind of things.
#[derive(Debug)]
pub struct Changed<T> {
    /// New ones, and new forms.
    pub put: Vec<Arc<T>>,
    /// Names of those that are gone.
    pub removed: Vec<Arc<str>>,
}

impl<T> Default for Changed<T> {
    fn default() -> Self {
        Self { put: Vec::new(), removed: Vec::new() }
    }
}

/// A field of a resource that has no effect here, or of which whoever runs the process should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Type of the resource.
    pub kind: ResourceType,
    /// Name of the resource.
    pub name: Arc<str>,
    /// The field, and why it has no effect or what is wrong.
    pub finding: Finding,
}

/// Holds what is served and applies updates to it. Lives on the control side.
#[derive(Debug)]
pub struct Applier {
    slots: Slots,
    clusters: Clusters,
    tables: Tables,
    listeners: Listeners,
    leaving: Leaving,
    expiring: Expiring,
    /// Secrets that are gone, but still in their slots.
    secrets_gone: BTreeSet<Arc<str>>,
    records: Arc<Records>,
    config: Arc<Config>,
}

impl Applier {
    /// Nothing is served. Without `logs` no access log is opened, for who only looks at configuration.
    #[must_use]
    pub fn new(logs: Option<Arc<Logs>>) -> Self {
        Self {
            slots: Slots::new(logs),
            clusters: Clusters::default(),
            tables: Tables::default(),
            listeners: Listeners::default(),
            leaving: Leaving::default(),
            expiring: Expiring::default(),
            secrets_gone: BTreeSet::new(),
            records: Arc::default(),
            config: Arc::default(),
        }
    }

    /// The same, where these know why secrets are not there.
    #[must_use]
    pub fn explaining(self, lacks: Lacks) -> Self {
        Self { slots: self.slots.explained_by(lacks), ..self }
    }

    /// What is served.
    #[must_use]
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// What is known of every resource.
    #[must_use]
    pub fn records(&self) -> &Arc<Records> {
        &self.records
    }

    /// What to report once the workers serve the last update: every refusal that stands, and what is served with a fault.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        Verdict {
            generation: self.config.generation,
            rejected: self.records.rejections(),
            doubtful: self.expiring.expired(SystemTime::now()),
            unfetched: self.slots.unfetched(Instant::now()),
        }
    }

    /// When a certificate will have expired next: then there is another verdict.
    #[must_use]
    pub fn next_expiry(&self) -> Option<SystemTime> {
        self.expiring.next(SystemTime::now())
    }

    /// Applies an update. Only what differs from what is served is decoded; what is good takes effect in an
    /// order in which nothing points to what is not there yet, or not there any more: chains that go keep the routes of
    /// before, and clusters and secrets that go are there until [`Self::let_go`].
    pub fn apply(&mut self, update: &Update) -> Applied {
        let news: Vec<_> =
            update.upsert.iter().filter(|resource| !self.records.is_served(resource)).collect();
        let mut step = Step::default();
        let mut changes: BTreeMap<Arc<str>, TableChange> = BTreeMap::new();
        let mut listeners = Vec::new();
        for &resource in &news {
            match resource.kind {
                ResourceType::Cluster => self.put_cluster(resource, &mut step),
                ResourceType::Endpoints => self.put_endpoints(resource),
                ResourceType::Secret => self.put_secret(resource, &mut step),
                ResourceType::Listener => listeners.push(resource),
                ResourceType::RouteConfiguration => {
                    changes.entry(Arc::clone(&resource.name)).or_default().skeleton =
                        Some(Some(Arc::clone(resource)));
                }
                ResourceType::VirtualHost => match table_of(&resource.name) {
                    Ok(table) => {
                        let host = (Arc::clone(&resource.name), Some(Arc::clone(resource)));
                        changes.entry(table).or_default().hosts.push(host);
                    }
                    Err(refusal) => self.records.refuse(resource, vec![refusal]),
                },
            }
        }
        collect_removed_hosts(&update.remove, &mut changes);
        for resource in listeners {
            self.put_listener(resource, &mut step);
        }
        self.remove_listeners(&update.remove, &mut step);
        for (name, change) in changes {
            self.tables.change(&name, change, &mut self.slots, &self.records);
        }
        for (chain, slot) in step.before.moved.drain(..) {
            if let Some(manager) = chain.manager() {
                manager.routes.follow(slot);
            }
        }
        self.tables.let_go(|| self.listeners.routes());
        self.remove(&update.remove, &mut step);
        self.slots.sweep();
        self.finish(update.generation, &news, step)
    }

    /// Takes away what went with the updates so far, but for what connections of chains that went still use. To be called
    /// when every worker serves the listeners of the last update, and again while [`Self::has_leaving`].
    pub fn let_go(&mut self) {
        self.clusters.let_go(|| self.leaving.clusters(), &mut self.slots);
        for name in std::mem::take(&mut self.secrets_gone) {
            let slot = self.slots.secret(&name);
            slot.store(None);
            self.expiring.note(&slot);
        }
    }

    /// Whether something is left to be taken away.
    #[must_use]
    pub fn has_leaving(&self) -> bool {
        self.clusters.any_gone()
    }

    #[cfg(test)]
    pub(super) fn cluster_slot(&mut self, name: &str) -> Arc<crate::upstream::ClusterSlot> {
        self.slots.cluster(name)
    }

    fn put_cluster(&mut self, resource: &Arc<Resource>, step: &mut Step) {
        let put = judge_named(resource, |proto: &ProtoCluster| &proto.name).and_then(|judged| {
            let cluster = self.clusters.put(&judged.message, &mut self.slots);
            step.warn(resource, self.slots.take_notices());
            Ok((cluster.map_err(|refusal| vec![refusal])?, judged.notices))
        });
        match put {
            Ok((cluster, notices)) => {
                step.clusters.put.push(cluster);
                self.records.serve(resource, notices);
            }
            Err(refusals) => self.records.refuse(resource, refusals),
        }
    }

    fn put_endpoints(&mut self, resource: &Arc<Resource>) {
        let put = judge_named(resource, |proto: &ClusterLoadAssignment| &proto.cluster_name)
            .and_then(|Judged { message, notices }| {
                let assigned = self.clusters.assign(&resource.name, &message);
                assigned.map_err(|refusal| vec![refusal]).map(|()| notices)
            });
        match put {
            Ok(notices) => self.records.serve(resource, notices),
            Err(refusals) => self.records.refuse(resource, refusals),
        }
    }

    fn put_listener(&mut self, resource: &Arc<Resource>, step: &mut Step) {
        let put = self.listeners.put(resource, &mut self.slots);
        step.warn(resource, self.slots.take_notices());
        match put {
            Ok(Put { listener, faults, notices, compiled, before }) => {
                let (name, chains) = (&listener.name, listener.chains.chains.len());
                tracing::debug!("listener {name}: {compiled} of {chains} filter chains compiled");
                step.listeners.put.push(listener);
                step.before.moved.extend(before.moved);
                step.before.retired.extend(before.retired);
                self.records.serve(resource, notices);
                if !faults.is_empty() {
                    self.records.refuse(resource, faults);
                }
            }
            Err(refusals) => self.records.refuse(resource, refusals),
        }
    }

    /// Fills the slot of a secret; contexts that point to it take it from the next handshake on.
    fn put_secret(&mut self, resource: &Arc<Resource>, step: &mut Step) {
        let judged = judge_named(resource, |proto: &ProtoSecret| &proto.name);
        let slot = self.slots.secret(&resource.name);
        self.fill_slot(resource, judged, &slot, step);
    }

    fn fill_slot(
        &mut self,
        resource: &Arc<Resource>,
        judged: Result<Judged<ProtoSecret>, Vec<Refusal>>,
        slot: &Arc<SecretSlot>,
        step: &mut Step,
    ) {
        let put = judged.and_then(|Judged { message, notices }| {
            let secret = compile::secret(&message).map_err(|refusal| vec![refusal])?;
            self.secrets_gone.remove(&resource.name);
            let untimely = fill(slot, secret, SystemTime::now());
            step.warn(resource, untimely.map_err(|refusal| vec![refusal])?);
            Ok(notices)
        });
        self.expiring.note(slot);
        step.secrets.push((Arc::clone(&resource.name), put.is_ok()));
        match put {
            Ok(notices) => self.records.serve(resource, notices),
            Err(refusals) => self.records.refuse(resource, refusals),
        }
    }

    fn remove_listeners(&mut self, removed: &[(ResourceType, Arc<str>)], step: &mut Step) {
        for name in of_kind(removed, ResourceType::Listener) {
            if let Some(chains) = self.listeners.remove(name) {
                step.before.retired.extend(chains);
                step.listeners.removed.push(Arc::clone(name));
            }
        }
    }

    /// Removes clusters, then assignments, then secrets. Routes went with the changes of their table.
    fn remove(&mut self, removed: &[(ResourceType, Arc<str>)], step: &mut Step) {
        let of = |kind| of_kind(removed, kind);
        self.leaving.add(step.before.retired.drain(..));
        for name in of(ResourceType::Cluster) {
            if self.clusters.remove(name) {
                step.clusters.removed.push(Arc::clone(name));
            }
        }
        for name in of(ResourceType::Endpoints) {
            self.clusters.unassign(name);
        }
        for name in of(ResourceType::Secret) {
            self.secrets_gone.insert(Arc::clone(name));
            step.secrets_removed.push(Arc::clone(name));
        }
        for (kind, name) in removed {
            self.records.remove(*kind, name);
        }
    }

    fn finish(&mut self, generation: u64, news: &[&Arc<Resource>], step: Step) -> Applied {
        self.config = Arc::new(Config {
            generation,
            listeners: Arc::clone(self.listeners.current()),
            clusters: Arc::clone(self.clusters.current()),
            routes: Arc::clone(self.tables.current()),
        });
        let mut applied = Applied {
            config: Arc::clone(&self.config),
            listeners: step.listeners,
            clusters: step.clusters,
            secrets: step.secrets,
            secrets_removed: step.secrets_removed,
            rejected: Vec::new(),
            notices: Vec::new(),
            warnings: step.warnings,
        };
        for resource in news {
            let Some(record) = self.records.get(resource.kind, &resource.name) else { continue };
            let served = record.served.as_ref().filter(|served| served.resource == **resource);
            applied.rejected.extend(rejections(resource.kind, &resource.name, &record));
            if let Some(served) = served {
                applied.notices.extend(served.notices.iter().map(|finding| Notice {
                    kind: resource.kind,
                    name: Arc::clone(&resource.name),
                    finding: finding.clone(),
                }));
            }
        }
        applied
    }
}

/// What an update has changed so far.
#[derive(Default)]
struct Step {
    listeners: Changed<Listener>,
    /// What becomes of the chains that listeners had.
    before: Before,
    clusters: Changed<Cluster>,
    secrets: Vec<(Arc<str>, bool)>,
    secrets_removed: Vec<Arc<str>>,
    warnings: Vec<Notice>,
}

impl Step {
    fn warn(&mut self, resource: &Resource, findings: impl IntoIterator<Item = Finding>) {
        let notice =
            |finding| Notice { kind: resource.kind, name: Arc::clone(&resource.name), finding };
        self.warnings.extend(findings.into_iter().map(notice));
    }
}

/// The field of a secret that a certificate stands in.
pub(super) const CHAIN: &str = "tls_certificate.certificate_chain";

/// Fills a slot. A certificate that has expired replaces none that is valid, and one that is not valid yet waits until it
/// is. Where nothing better is there it is served, with a warning: what was served before a restart must not end with it.
pub(super) fn fill(
    slot: &SecretSlot,
    secret: Secret,
    now: SystemTime,
) -> Result<Option<Finding>, Refusal> {
    let Secret::Identity(identity) = &secret else {
        slot.store(Some(secret));
        return Ok(None);
    };
    let Some(why) = identity.untimely(now) else {
        slot.store(Some(secret));
        return Ok(None);
    };
    let before = slot.identity_at(now).filter(|before| before.untimely(now).is_none());
    let reason = match before {
        Some(before) if identity.is_early(now) => {
            slot.store_for_later(before, Arc::clone(identity));
            format!("{why}; until then the one before it serves on")
        }
        Some(_) => {
            let reason = format_args!("{why}; the one before it is valid");
            return Err(Refusal::of(CHAIN, reason));
        }
        None => {
            slot.store(Some(secret));
            format!("{why}; it is served, as there is none that is valid")
        }
    };
    Ok(Some(Finding { path: CHAIN.to_owned(), reason }))
}

/// The route configuration that a virtual host belongs to, by its resource's name.
fn table_of(name: &str) -> Result<Arc<str>, Refusal> {
    match split_virtual_host_name(name) {
        Some((table, _)) => Ok(table.into()),
        None => {
            Err(Refusal::new("a virtual host's resource is named ROUTE_CONFIGURATION/VIRTUAL_HOST"))
        }
    }
}

fn of_kind(
    removed: &[(ResourceType, Arc<str>)],
    kind: ResourceType,
) -> impl Iterator<Item = &Arc<str>> {
    removed.iter().filter(move |entry| entry.0 == kind).map(|entry| &entry.1)
}

fn collect_removed_hosts(
    removed: &[(ResourceType, Arc<str>)],
    changes: &mut BTreeMap<Arc<str>, TableChange>,
) {
    for (kind, name) in removed {
        match kind {
            ResourceType::RouteConfiguration => {
                changes.entry(Arc::clone(name)).or_default().skeleton.get_or_insert(None);
            }
            ResourceType::VirtualHost => {
                if let Ok(table) = table_of(name) {
                    let change = changes.entry(table).or_default();
                    if !change.hosts.iter().any(|(put, _)| put == name) {
                        change.hosts.push((Arc::clone(name), None));
                    }
                }
            }
            _ => {}
        }
    }
}
