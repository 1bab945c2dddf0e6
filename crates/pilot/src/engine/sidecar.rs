//! What a sidecar gets, and where it comes from.
//!
//! Its clusters and endpoints are compiled as a gateway's are, by what a batch touches; the rest is laid out on each batch, and
//! compiled where it comes out different (`lay_out`).

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use tidegate_api::{Object, ObjectKey, istio};
use tidegate_xds::ResourceType;
use tidegate_xds::assemble::{split_virtual_host_name, virtual_host_name};

use super::credentials::Use;
use super::{Dirty, Pilot};
use crate::compile::listener::ChainSource;
use crate::model::endpoints::Address;
use crate::model::names;
use crate::model::service::Service;
use crate::model::subnet::Subnet;
use crate::model::virtual_service::Place;
use crate::origins::Origin;
use crate::sidecar::Scope;
use crate::sidecar::egress::imports_at;
use crate::sidecar::inbound::Described;
use crate::sidecar::listeners::{Beaten, Listener};
use crate::sidecar::routes::{Lost, TableName, Target, VirtualHost};
use crate::{Compiled, Options};

mod lay_out;

/// What a sidecar has, and where it comes from.
#[derive(Debug, Default)]
pub(crate) struct Sidecar {
    /// Listeners by name.
    listeners: BTreeMap<Arc<str>, Made>,
    /// Route configurations by name.
    tables: BTreeMap<Arc<str>, Table>,
    /// Clusters of the workload itself, and what leads there; none where nothing describes it.
    inbound: BTreeMap<Arc<str>, Option<Described>>,
    /// The certificates that handshakes with peers take.
    certificates: BTreeSet<Use>,
    /// Ports of services that no connection is ever for.
    beaten: Vec<Beaten>,
    /// The hosts that anything may be sent to; nothing where that may be any.
    needed: Option<BTreeSet<Arc<str>>>,
}

/// A listener as it was made.
#[derive(Debug)]
struct Made {
    /// What follows from the objects; nothing for what is made anew on each batch.
    plan: Option<Listener>,
    /// What its chains were made from, in their order.
    sources: Vec<ChainSource>,
}

/// A route configuration as it was made.
#[derive(Debug, Default)]
struct Table {
    /// Whether requests have to name the port that they are for, as several stand in it.
    of_every_port: bool,
    hosts: BTreeMap<Arc<str>, VirtualHost>,
    lost: Vec<Lost>,
}

impl Sidecar {
    /// What the chains of a listener were made from, in their order.
    pub(crate) fn chains(&self, listener: &str) -> &[ChainSource] {
        self.listeners.get(listener).map_or(&[], |made| &made.sources)
    }

    /// The objects behind a listener.
    pub(crate) fn listener_owners(&self, listener: &str) -> Vec<ObjectKey> {
        let sources = self.chains(listener).iter();
        let keys = sources.flat_map(|source| {
            let rule = source.rule.iter().map(|(key, _)| key);
            let peers = source.peers.iter().map(|(key, _)| key);
            source.service.iter().chain(rule).chain(peers).cloned()
        });
        keys.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// What a virtual host does, and at which place its rules are asked.
    pub(crate) fn host(&self, table: &str, host: &str) -> Option<(&Target, Place)> {
        let host = self.tables.get(table)?.hosts.get(host)?;
        Some((&host.target, Scope::place(host.port)))
    }

    /// The objects behind a virtual host.
    pub(crate) fn host_owners(&self, table: &str, host: &str) -> Vec<ObjectKey> {
        match self.host(table, host) {
            Some((Target::Rules(key, _), _)) => vec![key.clone()],
            Some((Target::Service(service), _)) => vec![service.key.clone()],
            Some((Target::Elsewhere(_), _)) | None => Vec::new(),
        }
    }

    /// Who describes a cluster of the workload.
    pub(crate) fn inbound(&self, cluster: &str) -> Option<&Described> {
        self.inbound.get(cluster)?.as_ref()
    }

    /// The hosts of services that lead to a cluster of the workload; none of others.
    pub(crate) fn hosts(&self, cluster: &str) -> &[Arc<str>] {
        match self.inbound(cluster) {
            Some(Described::Service(local)) => &local.hosts,
            Some(Described::Sidecar(_)) | None => &[],
        }
    }

    /// Whether it has a resource of that name.
    pub(crate) fn has(&self, kind: ResourceType, name: &str) -> bool {
        match kind {
            ResourceType::Listener => self.listeners.contains_key(name),
            ResourceType::RouteConfiguration => self.tables.contains_key(name),
            ResourceType::VirtualHost => {
                split_virtual_host_name(name).is_some_and(|(table, host)| {
                    self.tables.get(table).is_some_and(|table| table.hosts.contains_key(host))
                })
            }
            ResourceType::Cluster => self.inbound.contains_key(name),
            ResourceType::Endpoints | ResourceType::Secret => false,
        }
    }

    /// The names of its route configurations.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &Arc<str>> {
        self.tables.keys()
    }

    /// Whether anything may be sent to a host.
    pub(crate) fn needs(&self, host: &str) -> bool {
        self.needed.as_ref().is_none_or(|needed| needed.contains(host))
    }

    /// The ports of an object's services that no connection is ever for.
    pub(crate) fn beaten(&self, key: &ObjectKey) -> impl Iterator<Item = &Beaten> {
        self.beaten.iter().filter(move |beaten| beaten.loser == *key)
    }

    /// The VirtualServices that others come before in a table.
    pub(crate) fn lost(&self, table: &str) -> &[Lost] {
        self.tables.get(table).map_or(&[], |table| &table.lost)
    }
}

impl Pilot {
    /// Takes a form of a Sidecar. A gateway sees everything.
    pub(super) fn set_sidecar(
        &mut self,
        object: &Object,
        spec: &istio::Sidecar,
        dirty: &mut Dirty,
    ) {
        if self.options.workload().is_some() {
            self.sidecars.set(object, spec, &self.options);
            self.follow_sidecar(dirty);
        }
    }

    /// Forgets a Sidecar.
    pub(super) fn remove_sidecar(&mut self, key: &ObjectKey, dirty: &mut Dirty) {
        self.sidecars.remove(key);
        self.follow_sidecar(dirty);
    }

    /// Gives the hosts of a ServiceEntry addresses, those that they have already where they have some.
    pub(super) fn give_addresses(&mut self, object: &Object, services: &mut [Service]) {
        let Some(workload) = self.options.workload().filter(|_| self.options.captures_dns) else {
            return;
        };
        let families = workload.loopbacks();
        let namespace = &object.key.namespace;
        let mut given = Vec::new();
        for service in services.iter_mut().filter(|service| service.gets_address(object)) {
            let Some(own) = self.auto_addresses.take(namespace, &service.host) else { continue };
            given.push(Arc::clone(&service.host));
            let of_family =
                |address: &IpAddr| families.iter().any(|of| of.is_ipv4() == address.is_ipv4());
            service.addresses = own.into_iter().filter(of_family).map(Subnet::from).collect();
        }
        self.take_addresses_back(&object.key);
        if !given.is_empty() {
            self.addressed.insert(object.key.clone(), given);
        }
    }

    /// Takes back the addresses that the hosts of a ServiceEntry were given.
    pub(super) fn take_addresses_back(&mut self, key: &ObjectKey) {
        for host in self.addressed.remove(key).into_iter().flatten() {
            self.auto_addresses.leave(&key.namespace, &host);
        }
    }

    /// Has the policy of the Sidecar that counts in place of the mesh's.
    fn follow_sidecar(&mut self, dirty: &mut Dirty) {
        (dirty.scope, dirty.everything) = (true, true);
        let (policy, proxy) = self.sidecars.outbound(&self.options.domain);
        self.options.outbound_policy = policy;
        self.options.egress_proxy = proxy;
        let bounds = self.sidecars.chosen().filter(|(_, spec)| !spec.egress.is_empty());
        self.options.bounded_by = bounds.map(|(key, _)| key.clone());
    }

    /// Compiles what differs of what a sidecar has.
    pub(super) fn emit_sidecar(&mut self, dirty: &mut Dirty) -> Compiled {
        let mut compiled = Compiled::NONE;
        self.authorize(dirty);
        self.lay_out(dirty, &mut compiled);
        self.emit_destinations(dirty, &mut compiled);
        for resource in std::mem::take(&mut dirty.laid_out) {
            self.put(resource, dirty);
        }
        self.emit_added(dirty);
        self.forget_patched(dirty);
        compiled
    }

    /// Takes what is there now in place of what was there: what is gone is removed, and what hangs on the difference is marked.
    fn replace_sidecar(&mut self, mut before: Sidecar, now: Sidecar, dirty: &mut Dirty) {
        let changed = self.credentials.replace(&before.certificates, &now.certificates);
        dirty.credentials.extend(changed);
        let old: HashSet<&Beaten> = before.beaten.iter().collect();
        let new: HashSet<&Beaten> = now.beaten.iter().collect();
        let differ = old.symmetric_difference(&new);
        dirty.beaten = differ.map(|beaten| beaten.loser.clone()).collect();
        self.mark_needed(&before, &now, dirty);
        before.inbound.retain(|name, _| !now.inbound.contains_key(name));
        for name in before.inbound.into_keys() {
            self.outbox.remove(ResourceType::Cluster, name);
        }
        before.listeners.retain(|name, _| !now.listeners.contains_key(name));
        for name in before.listeners.into_keys() {
            self.outbox.remove(ResourceType::Listener, name);
        }
        for (name, table) in before.tables {
            let still = now.tables.get(&name);
            for host in table.hosts.into_keys() {
                if still.is_none_or(|still| !still.hosts.contains_key(&host)) {
                    self.outbox.remove(ResourceType::VirtualHost, virtual_host_name(&name, &host));
                }
            }
            if still.is_none() {
                self.outbox.remove(ResourceType::RouteConfiguration, name);
            }
        }
        self.sidecar = now;
    }

    /// Marks the hosts that something may be sent to now, or no more.
    fn mark_needed(&self, before: &Sidecar, now: &Sidecar, dirty: &mut Dirty) {
        match (&before.needed, &now.needed) {
            (None, None) => {}
            (Some(before), Some(now)) => {
                dirty.hosts.extend(before.symmetric_difference(now).cloned());
            }
            (Some(one), None) | (None, Some(one)) => {
                let others = self.registry.hosts().filter(|host| !one.contains(&**host));
                dirty.hosts.extend(others.cloned());
            }
        }
    }

    /// What the workload sees.
    fn scope(&self) -> Scope<'_> {
        let services = self.index.virtual_services().map(|service| &**service);
        let sidecar = self.sidecars.chosen().map(|(key, spec)| (key, &**spec));
        Scope::new(&self.options, &self.registry, services, sidecar)
    }

    /// The host that a workload means by a name, which may leave out what its resolver completes; the name itself where
    /// no object has it.
    #[must_use]
    pub fn host_called(&self, name: &str) -> Arc<str> {
        let found = self.service_called(name);
        found.map_or_else(|| name.to_ascii_lowercase().into(), |service| Arc::clone(&service.host))
    }

    fn service_called(&self, name: &str) -> Option<&Arc<Service>> {
        let Options { namespace, domain, .. } = &self.options;
        let name = name.to_ascii_lowercase();
        let hosts = [
            names::full_host(&name, namespace, domain),
            format!("{name}.svc.{domain}"),
            format!("{name}.{domain}"),
        ];
        hosts.iter().find_map(|host| self.registry.find(host, namespace))
    }

    /// The address that a workload finds for a name: of the service, else of an endpoint that is dialled directly.
    #[must_use]
    pub fn address_of(&self, name: &str) -> Option<IpAddr> {
        let service = self.service_called(name)?;
        let own = service.addresses.iter().find_map(Subnet::single);
        let endpoints = || {
            let port = service.ports.first().filter(|_| service.direct)?;
            self.registry.endpoints(service, port).iter().find_map(|endpoint| {
                match &endpoint.address {
                    Address::Socket(address, _) => address.parse().ok(),
                    Address::Pipe(_) => None,
                }
            })
        };
        own.or_else(endpoints)
    }

    /// The Sidecar that hides a VirtualService from the requests of a route configuration, if one does.
    #[must_use]
    pub fn hides_rules(&self, key: &ObjectKey, table: &TableName) -> Option<Origin> {
        let (sidecar, spec) = self.sidecars.chosen()?;
        let rules = self.index.virtual_service(key).filter(|rules| rules.acts_in_mesh());
        let seen = rules.is_some_and(|rules| match &spec.egress[..] {
            [] => true,
            _ => imports_at(spec, table, &self.options)
                .is_some_and(|imports| imports.bring_in_rules(rules)),
        });
        (!seen).then(|| Origin::new(sidecar.clone(), "egress"))
    }

    /// The Sidecar that hides a host from requests and connections to a port of it, if one does. A table says where they come in.
    #[must_use]
    pub fn hides_host(&self, host: &str, table: &TableName, port: u16) -> Option<Origin> {
        let (sidecar, spec) = self.sidecars.chosen()?;
        self.registry.ports(host).get(&port)?;
        let imports = match &spec.egress[..] {
            [] => return None,
            _ => imports_at(spec, table, &self.options),
        };
        let mut definitions = self.registry.definitions(host);
        let seen = imports.is_some_and(|imports| {
            definitions.any(|service| imports.bring_in(service) && service.port(port).is_some())
        });
        (!seen).then(|| Origin::new(sidecar.clone(), "egress"))
    }

    /// The Sidecar that is about the workload.
    #[must_use]
    pub fn sidecar(&self) -> Option<&ObjectKey> {
        self.sidecars.chosen().map(|(key, _)| key)
    }

    /// The ports of the workload that ports of this number lead to, each with the object whose they are.
    pub fn behind_port(&self, number: u16) -> impl Iterator<Item = (&ObjectKey, u16)> {
        self.sidecar.inbound.iter().filter_map(move |(cluster, by)| {
            let (_, port, _) = names::of_cluster(cluster)?;
            match by.as_ref()? {
                Described::Service(local) if local.port.number == number => {
                    Some((&local.service.key, port))
                }
                Described::Sidecar(ingress) if port == number => Some((&ingress.key, port)),
                Described::Service(_) | Described::Sidecar(_) => None,
            }
        })
    }

    /// VirtualServices of the mesh that others come before in a route configuration of a sidecar.
    #[must_use]
    pub fn lost_hosts(&self, table: &str) -> &[Lost] {
        self.sidecar.lost(table)
    }
}
