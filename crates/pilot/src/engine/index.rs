//! Which Gateways and VirtualServices there are, and who refers to whom.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use tidegate_api::{Kind, ObjectKey};

use super::adoption::Adoption;
use super::intake::gateway_key;
use crate::model::age::Age;
use crate::model::gateway::{Class, Gateway, Server};
use crate::model::host::Host;
use crate::model::host_map::HostMap;
use crate::model::similar;
use crate::model::virtual_service::{Order, VirtualService};

/// Gateways and VirtualServices by every name that a change may start from.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Every Gateway there is, served here or not, as `NAMESPACE/NAME`.
    named: HashSet<Arc<str>>,
    /// Gateways that are served here, the oldest first.
    gateways: BTreeMap<Age, Gateway>,
    ages: HashMap<ObjectKey, Age>,
    /// Gateways by the ports that are listened on for them.
    ports: HashMap<u16, BTreeSet<Age>>,
    services: HashMap<ObjectKey, Arc<VirtualService>>,
    /// VirtualServices by the gateways that they name, in the order in which they apply there.
    bound: HashMap<Arc<str>, BTreeMap<Turn, Arc<VirtualService>>>,
    /// VirtualServices by the gateways that they name and the hosts that they have.
    listed: HashMap<Arc<str>, HashMap<Host, BTreeSet<ObjectKey>>>,
    /// How many VirtualServices name a gateway and are not for the mesh as well.
    strangers: HashMap<Arc<str>, usize>,
    /// VirtualServices that name gateways, by their hosts.
    hosted: HostMap<ObjectKey>,
    /// Servers that tell hosts apart, by these.
    servers: HostMap<Place>,
    /// VirtualServices by the hosts that they send to; whether any such destination leaves the port open.
    referrers: HashMap<Arc<str>, BTreeMap<ObjectKey, bool>>,
    /// Gateways that terminate HTTPS and that no VirtualService names, by namespace.
    unnamed: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// What those take; none where that is nothing.
    adoptions: HashMap<Arc<str>, Adoption>,
    /// VirtualServices that share no host with their Gateways: they may be routed there all the same, or not once
    /// another Gateway has their hosts.
    strays: BTreeSet<ObjectKey>,
    /// The same by their hosts.
    strays_by_host: HostMap<ObjectKey>,
    /// VirtualServices by those that they delegate to.
    roots: HashMap<ObjectKey, BTreeSet<ObjectKey>>,
}

/// Place among the VirtualServices of a gateway; hidden ones have none, and are not applied.
type Turn = (Option<Order>, ObjectKey);

/// Place of a server: its Gateway's age, and its own among the servers there.
pub(super) type Place = (Age, usize);

// === Gateways ===

impl Index {
    /// Replaces how a Gateway is served here; `None`: not at all. Answers the ports that are to be merged again.
    ///
    /// [`Index::settle_naming`] has to follow.
    pub(crate) fn set_gateway(
        &mut self,
        key: &ObjectKey,
        gateway: Option<Gateway>,
    ) -> BTreeSet<u16> {
        let mut touched = BTreeSet::new();
        if let Some(age) = self.ages.remove(key)
            && let Some(old) = self.gateways.remove(&age)
        {
            for (host, place) in places(&old) {
                self.servers.remove(host, &place);
            }
            for port in listened(&old) {
                touched.insert(port);
                if let Some(ages) = self.ports.get_mut(&port) {
                    ages.remove(&age);
                    if ages.is_empty() {
                        self.ports.remove(&port);
                    }
                }
            }
        }
        if let Some(gateway) = gateway {
            for (host, place) in places(&gateway) {
                self.servers.insert(host, place);
            }
            for port in listened(&gateway) {
                touched.insert(port);
                self.ports.entry(port).or_default().insert(gateway.age.clone());
            }
            self.ages.insert(key.clone(), gateway.age.clone());
            self.gateways.insert(gateway.age.clone(), gateway);
        }
        touched
    }

    /// Notes whether there is a Gateway of that `NAMESPACE/NAME`, served here or not.
    /// Answers whether that is news.
    pub(crate) fn set_known(&mut self, name: &Arc<str>, exists: bool) -> bool {
        if exists { self.named.insert(Arc::clone(name)) } else { self.named.remove(name) }
    }

    /// Brings up to date what a Gateway's servers mean to the VirtualServices that name it, and to others if none does.
    pub(crate) fn settle_naming(&mut self, name: &Arc<str>) {
        self.note_unnamed(name);
        let naming = self.bound.get(name).into_iter().flat_map(BTreeMap::values);
        for service in naming.cloned().collect::<Vec<_>>() {
            self.note_stray(&service);
        }
    }

    /// Notes whether a VirtualService shares no host with its Gateways.
    fn note_stray(&mut self, service: &VirtualService) {
        self.forget_stray(service);
        if self.strays(service) {
            self.strays.insert(service.key.clone());
            for host in &service.hosts {
                self.strays_by_host.insert(host, service.key.clone());
            }
        }
    }

    fn forget_stray(&mut self, service: &VirtualService) {
        if self.strays.remove(&service.key) {
            for host in &service.hosts {
                self.strays_by_host.remove(host, &service.key);
            }
        }
    }

    /// Whether a VirtualService shares no host with any of its Gateways.
    pub(super) fn is_stray(&self, key: &ObjectKey) -> bool {
        self.strays.contains(key)
    }

    /// Those of them that have a name in common with a host; once for each host of theirs.
    pub(super) fn strays_like(&self, host: &Host) -> impl Iterator<Item = &Arc<VirtualService>> {
        let found = self.strays_by_host.overlapping(host);
        found.filter_map(|key| self.virtual_service(key))
    }

    /// Those of them with a host that falls under a wildcard, and is not the wildcard itself.
    pub(crate) fn strays_under(&self, wildcard: &Host) -> BTreeSet<&ObjectKey> {
        self.strays_by_host.within(wildcard).collect()
    }

    /// Places of servers that tell hosts apart and list one that has a name in common with this one.
    pub(super) fn servers_like(&self, host: &Host) -> impl Iterator<Item = &Place> {
        self.servers.overlapping(host)
    }

    /// The server of a place.
    pub(super) fn server_at(&self, (age, at): &Place) -> Option<&Arc<Server>> {
        self.gateways.get(age)?.servers.get(*at)
    }

    /// The VirtualServices that name a gateway and have this very host.
    pub(super) fn having(&self, host: &Host) -> impl Iterator<Item = &ObjectKey> {
        self.hosted.of(host)
    }

    /// Notes whether a Gateway terminates HTTPS and nobody names it.
    fn note_unnamed(&mut self, gateway: &Arc<str>) {
        let Some((namespace, name)) = gateway.split_once('/') else { return };
        let found = self.gateway(&ObjectKey::new(Kind::Gateway, namespace, name));
        let https = found.is_some_and(|g| g.servers.iter().any(|s| s.https_terms().is_some()));
        if https && !self.bound.contains_key(gateway) {
            self.unnamed.entry(namespace.into()).or_default().insert(Arc::clone(gateway));
        } else if let Some(unnamed) = self.unnamed.get_mut(namespace) {
            unnamed.remove(gateway);
            if unnamed.is_empty() {
                self.unnamed.remove(namespace);
            }
        }
    }

    /// Gateways of a namespace that terminate HTTPS and that no VirtualService names.
    pub(super) fn unnamed_in(&self, namespace: &str) -> &BTreeSet<Arc<str>> {
        static NONE: BTreeSet<Arc<str>> = BTreeSet::new();
        self.unnamed.get(namespace).unwrap_or(&NONE)
    }

    /// Whether a Gateway terminates HTTPS and no VirtualService names it.
    pub(super) fn is_unnamed(&self, gateway: &str) -> bool {
        let namespace = gateway.split_once('/').map_or("", |(namespace, _)| namespace);
        self.unnamed_in(namespace).contains(gateway)
    }

    /// Every Gateway that terminates HTTPS and that no VirtualService names.
    pub(super) fn all_unnamed(&self) -> impl Iterator<Item = &Arc<str>> {
        self.unnamed.values().flatten()
    }

    /// Those whose servers and a VirtualService have names in common.
    pub(super) fn unnamed_like(&self, service: &VirtualService) -> Vec<Arc<str>> {
        let like = |gateway: &&Arc<str>| {
            let found = gateway_key(gateway).and_then(|key| self.gateway(&key));
            let servers = found.into_iter().flat_map(|found| &found.servers);
            let mut names = servers.flat_map(|server| server.names());
            names.any(|name| service.hosts.iter().any(|host| host.overlaps(name)))
        };
        self.all_unnamed().filter(like).cloned().collect()
    }

    /// What a Gateway that nobody names takes.
    pub(crate) fn adoption(&self, gateway: &str) -> Option<&Adoption> {
        self.adoptions.get(gateway)
    }

    /// Notes what a Gateway that nobody names takes; answers whether that is something else than before.
    pub(super) fn set_adoption(&mut self, gateway: &Arc<str>, now: Adoption) -> bool {
        let before = if now == Adoption::default() {
            self.adoptions.remove(gateway)
        } else {
            self.adoptions.insert(Arc::clone(gateway), now)
        };
        before.as_ref() != self.adoptions.get(gateway)
    }

    /// The servers that are listened for on a port, those of the oldest Gateway first.
    pub(crate) fn servers_on(&self, port: u16) -> impl Iterator<Item = &Arc<Server>> {
        let ages = self.ports.get(&port).into_iter().flatten();
        ages.filter_map(|age| self.gateways.get(age))
            .flat_map(|gateway| &gateway.servers)
            .filter(move |server| server.listen.contains(&port))
    }

    /// A Gateway that is served here.
    pub(crate) fn gateway(&self, key: &ObjectKey) -> Option<&Gateway> {
        self.gateways.get(self.ages.get(key)?)
    }

    /// Why a Gateway comes before another, as in "which is older"; both by `NAMESPACE/NAME`.
    pub(super) fn why_gateway_first(&self, first: &str, then: &str) -> Option<&'static str> {
        let age = |name| Some(&self.gateway(&gateway_key(name)?)?.age);
        Some(age(first)?.why_before(age(then)?))
    }

    /// The Gateways that are served here, the oldest first.
    pub(crate) fn gateways(&self) -> impl Iterator<Item = &Gateway> {
        self.gateways.values()
    }

    /// The Gateway that was most likely meant by a `NAMESPACE/NAME` that none has.
    pub(crate) fn gateway_meant(&self, name: &str) -> Option<&str> {
        similar::meant(name, self.named.iter().map(|known| &**known))
    }

    /// The delegate that was most likely meant by one that there is not, as `NAMESPACE/NAME`.
    pub(crate) fn delegate_meant(&self, key: &ObjectKey) -> Option<String> {
        let delegates = self.virtual_services().filter(|service| service.hosts.is_empty());
        let names: Vec<String> = delegates
            .map(|service| format!("{}/{}", service.key.namespace, service.key.name))
            .collect();
        let asked = format!("{}/{}", key.namespace, key.name);
        similar::meant(&asked, names.iter().map(String::as_str)).map(str::to_owned)
    }

    /// The VirtualServices that name Gateways which there are not.
    pub(super) fn naming_nobody(&self) -> impl Iterator<Item = &ObjectKey> {
        let missing = self.bound.iter().filter(|(gateway, _)| !self.named.contains(*gateway));
        missing.flat_map(|(_, services)| services.keys().map(|(_, key)| key))
    }

    /// Whether there is a Gateway of that `NAMESPACE/NAME`, served here or not.
    pub(crate) fn knows_gateway(&self, name: &str) -> bool {
        self.named.contains(name)
    }
}

/// The hosts of a Gateway's servers that tell hosts apart, with the servers' places.
fn places(gateway: &Gateway) -> impl Iterator<Item = (&Host, Place)> {
    let servers = gateway.servers.iter().enumerate();
    let servers = servers.filter(|(_, server)| server.class() != Class::Tcp);
    servers.flat_map(move |(at, server)| {
        server.names().map(move |host| (host, (gateway.age.clone(), at)))
    })
}

fn listened(gateway: &Gateway) -> impl Iterator<Item = u16> {
    gateway.servers.iter().flat_map(|s| s.listen.iter().copied())
}

/// `NAMESPACE/NAME`, as VirtualServices name a Gateway.
pub(crate) fn gateway_name(key: &ObjectKey) -> Arc<str> {
    format!("{}/{}", key.namespace, key.name).into()
}

// === VirtualServices ===

impl Index {
    /// Replaces a VirtualService and answers what was there. What its delegates say is taken from them as they
    /// are now: when one changes, each of its [`Index::roots_of`] has to be replaced too.
    pub(crate) fn set_virtual_service(
        &mut self,
        key: &ObjectKey,
        service: Option<VirtualService>,
    ) -> Option<Arc<VirtualService>> {
        let old = self.services.remove(key);
        if let Some(old) = &old {
            self.unlink(old);
            self.forget_stray(old);
        }
        if let Some(service) = service {
            let find = |key: &ObjectKey| self.services.get(key).map(|found| &**found);
            let service = Arc::new(service.with_delegates(find));
            self.link(&service);
            self.note_stray(&service);
            self.services.insert(key.clone(), service);
        }
        old
    }

    fn link(&mut self, service: &Arc<VirtualService>) {
        for host in service.hosts.iter().filter(|_| !service.gateways.is_empty()) {
            self.hosted.insert(host, service.key.clone());
        }
        for gateway in &service.gateways {
            let turn = (service.order.clone(), service.key.clone());
            let bound = self.bound.entry(Arc::clone(gateway)).or_default();
            bound.insert(turn, Arc::clone(service));
            if !service.in_mesh {
                *self.strangers.entry(Arc::clone(gateway)).or_default() += 1;
            }
            let listed = self.listed.entry(Arc::clone(gateway)).or_default();
            for host in &service.hosts {
                listed.entry(host.clone()).or_default().insert(service.key.clone());
            }
            self.note_unnamed(gateway);
        }
        for delegate in service.delegates() {
            self.roots.entry(delegate).or_default().insert(service.key.clone());
        }
        for (_, _, destination) in service.destinations().chain(service.mirrors()) {
            let referrers = self.referrers.entry(destination.host.as_str().into()).or_default();
            *referrers.entry(service.key.clone()).or_default() |=
                destination.port_number().is_none();
        }
    }

    fn unlink(&mut self, service: &VirtualService) {
        for host in &service.hosts {
            self.hosted.remove(host, &service.key);
        }
        let turn = (service.order.clone(), service.key.clone());
        for gateway in &service.gateways {
            if let Some(listed) = self.listed.get_mut(gateway) {
                for host in &service.hosts {
                    if let Some(keys) = listed.get_mut(host) {
                        keys.remove(&service.key);
                        if keys.is_empty() {
                            listed.remove(host);
                        }
                    }
                }
                if listed.is_empty() {
                    self.listed.remove(gateway);
                }
            }
            if let Some(strangers) = self.strangers.get_mut(gateway).filter(|_| !service.in_mesh) {
                *strangers -= 1;
                if *strangers == 0 {
                    self.strangers.remove(gateway);
                }
            }
            if let Some(bound) = self.bound.get_mut(gateway) {
                bound.remove(&turn);
                if bound.is_empty() {
                    self.bound.remove(gateway);
                    self.note_unnamed(gateway);
                }
            }
        }
        for delegate in service.delegates() {
            if let Some(roots) = self.roots.get_mut(&delegate) {
                roots.remove(&service.key);
                if roots.is_empty() {
                    self.roots.remove(&delegate);
                }
            }
        }
        for (_, _, destination) in service.destinations().chain(service.mirrors()) {
            if let Some(referrers) = self.referrers.get_mut(destination.host.as_str()) {
                referrers.remove(&service.key);
                if referrers.is_empty() {
                    self.referrers.remove(destination.host.as_str());
                }
            }
        }
    }

    /// A VirtualService.
    pub(crate) fn virtual_service(&self, key: &ObjectKey) -> Option<&Arc<VirtualService>> {
        self.services.get(key)
    }

    /// All VirtualServices, in no order.
    pub(crate) fn virtual_services(&self) -> impl Iterator<Item = &Arc<VirtualService>> {
        self.services.values()
    }

    /// The VirtualServices that a gateway applies, in order.
    pub(crate) fn bound_to<'a>(
        &'a self,
        gateway: &str,
    ) -> impl Iterator<Item = &'a VirtualService> + use<'a> {
        let bound = self.bound.get(gateway).into_iter().flatten();
        bound.filter(|((order, _), _)| order.is_some()).map(|(_, service)| &**service)
    }

    /// The VirtualServices that a gateway applies and that may share a host with these names, which are no wildcards. The
    /// cost does not grow with the number of others.
    pub(crate) fn bound_for<'a, 'h>(
        &'a self,
        gateway: &str,
        names: impl Iterator<Item = &'h Host>,
    ) -> Vec<&'a VirtualService> {
        let Some(listed) = self.listed.get(gateway) else { return Vec::new() };
        let patterns = names.flat_map(Host::patterns);
        let keys: BTreeSet<&ObjectKey> =
            patterns.filter_map(|pattern| listed.get(&pattern)).flatten().collect();
        let services = keys.into_iter().filter_map(|key| self.services.get(key));
        services.map(|service| &**service).filter(|service| service.order.is_some()).collect()
    }

    /// Whether every VirtualService that names a gateway is for the mesh as well.
    pub(crate) fn is_for_mesh(&self, gateway: &str) -> bool {
        !self.strangers.contains_key(gateway)
    }

    /// Every VirtualService that names a gateway, applied or not.
    pub(crate) fn naming<'a>(
        &'a self,
        gateway: &str,
    ) -> impl Iterator<Item = &'a ObjectKey> + use<'a> {
        self.bound.get(gateway).into_iter().flatten().map(|((_, key), _)| key)
    }

    /// The VirtualServices that delegate to others which there are not.
    pub(super) fn delegating_to_nobody(&self) -> impl Iterator<Item = &ObjectKey> {
        let missing = self.roots.iter().filter(|(key, _)| !self.services.contains_key(*key));
        missing.flat_map(|(_, roots)| roots)
    }

    /// The VirtualServices that delegate to another.
    pub(crate) fn roots_of(&self, key: &ObjectKey) -> impl Iterator<Item = &ObjectKey> {
        self.roots.get(key).into_iter().flatten()
    }

    /// The hosts that VirtualServices send to.
    pub(crate) fn referred(&self) -> impl Iterator<Item = &Arc<str>> {
        self.referrers.keys()
    }

    /// The VirtualServices that send to a host, and whether they leave the port to be found.
    pub(crate) fn referring_to(&self, host: &str) -> impl Iterator<Item = (&ObjectKey, bool)> {
        self.referrers.get(host).into_iter().flatten().map(|(key, open)| (key, *open))
    }
}
