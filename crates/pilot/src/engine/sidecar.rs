//! What a sidecar gets: everything is laid out and compiled again on each batch, and what did not change is not sent again.
//!
//! Its clusters and endpoints are compiled as a gateway's are, by what a batch touches.

use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use tidegate_api::{Object, ObjectKey, istio};
use tidegate_envoy::prost::Message;
use tidegate_envoy::v3::route::RouteConfiguration;
use tidegate_xds::assemble::{split_virtual_host_name, virtual_host_name};
use tidegate_xds::{Resource, ResourceType};

use super::credentials::{Use, User};
use super::naming::Found;
use super::{Dirty, Pilot};
use crate::compile::inbound as compile_inbound;
use crate::compile::listener::ChainSource;
use crate::compile::sidecar::{self as compile, VIRTUAL_OUTBOUND};
use crate::compile::virtual_host::{self, Demands, EncodedRoute};
use crate::compile::{Context, cluster};
use crate::model::endpoints::Address;
use crate::model::names;
use crate::model::service::Service;
use crate::model::subnet::Subnet;
use crate::model::tls::Terms;
use crate::model::virtual_service::Place;
use crate::origins::Origin;
use crate::sidecar::inbound::{self, Described, Entry, VIRTUAL_INBOUND};
use crate::sidecar::listeners::{Beaten, Listener, Outbound, outbound};
use crate::sidecar::routes::{self, Lost, Onward, TableName, Target, VirtualHost};
use crate::sidecar::{Egress, Scope};
use crate::{Compiled, Options, OutboundPolicy, Workload};

/// What a sidecar has, and where it comes from.
#[derive(Debug, Default)]
pub(crate) struct Sidecar {
    /// Listeners by name.
    listeners: BTreeMap<Arc<str>, Vec<ChainSource>>,
    /// Route configurations by name.
    tables: BTreeMap<Arc<str>, Table>,
    /// Clusters of the workload itself, and what leads there; none where nothing describes it.
    inbound: BTreeMap<Arc<str>, Option<Described>>,
    /// The certificates that handshakes with peers take.
    certificates: BTreeSet<Use>,
    /// Ports of services that no connection is ever for.
    beaten: Vec<Beaten>,
}

#[derive(Debug)]
struct Table {
    hosts: BTreeMap<Arc<str>, VirtualHost>,
    lost: Vec<Lost>,
}

impl Table {
    /// That of requests for the workload.
    fn inbound(entry: &Entry, host: tidegate_envoy::v3::route::VirtualHost) -> Self {
        let service = entry.service().map(|local| Arc::clone(&local.service));
        let target = service.map_or(Target::Elsewhere(OutboundPolicy::AllowAny), Target::Service);
        let name = host.name.as_str().into();
        let port = entry.number();
        let host =
            VirtualHost { name: host.name, domains: host.domains, port, target, called: None };
        Self { hosts: BTreeMap::from([(name, host)]), lost: Vec::new() }
    }
}

impl Sidecar {
    /// What the chains of a listener were made from, in their order.
    pub(crate) fn chains(&self, listener: &str) -> &[ChainSource] {
        self.listeners.get(listener).map_or(&[], Vec::as_slice)
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
        dirty.scope = true;
        let (policy, proxy) = self.sidecars.outbound(&self.options.domain);
        self.options.outbound_policy = policy;
        self.options.egress_proxy = proxy;
    }

    /// Compiles what a sidecar has.
    pub(super) fn emit_sidecar(&mut self, dirty: &mut Dirty) -> Compiled {
        let mut compiled = Compiled::NONE;
        self.authorize(dirty);
        let renamed = self.renamed(dirty);
        let (now, resources, names) = self.lay_out(renamed, &mut compiled);
        dirty.names = self.names.replace(names);
        let certificates = &self.sidecar.certificates;
        let changed = self.credentials.replace(certificates, &now.certificates);
        dirty.credentials.extend(changed);
        self.emit_destinations(dirty, &mut compiled);
        let (old, new) = (&self.sidecar.beaten, &now.beaten);
        let gone = old.iter().filter(|beaten| !new.contains(beaten));
        let come = new.iter().filter(|beaten| !old.contains(beaten));
        dirty.beaten = gone.chain(come).map(|beaten| beaten.loser.clone()).collect();
        self.replace_sidecar(now);
        resources.into_iter().for_each(|resource| self.put(resource, dirty));
        self.emit_added(dirty);
        self.forget_patched(dirty);
        compiled
    }

    /// What the workload sees.
    fn scope(&self) -> Scope<'_> {
        let services = self.index.virtual_services().map(|service| &**service);
        let sidecar = self.sidecars.chosen().map(|(key, spec)| (key, &**spec));
        Scope::new(&self.options, &self.registry, services, sidecar)
    }

    /// Everything that a sidecar has but for what is compiled for a host that is sent to.
    fn lay_out(
        &self,
        renamed: BTreeSet<Arc<str>>,
        compiled: &mut Compiled,
    ) -> (Sidecar, Vec<Resource>, Found) {
        let (mut now, mut resources) = (Sidecar::default(), Vec::new());
        let Some(workload) = self.options.workload() else {
            return (now, resources, Found::new());
        };
        let scope = self.scope();
        let names = Self::find_names(renamed, &scope);
        let context = self.context();
        self.lay_out_inbound((&scope, workload), &context, &mut now, &mut resources);

        let seen = scope.egress().iter().flat_map(Egress::hosts);
        let seen =
            seen.flat_map(|(_, ports)| ports.values()).map(|(service, port)| (*service, *port));
        let aliases = scope.egress().iter().flat_map(Egress::all_aliases);
        for (service, port) in seen.chain(aliases) {
            let taken = cluster::own_credentials(service, port, &context).into_iter();
            let user = || User::Alias(service.key.clone());
            now.certificates.extend(taken.map(|credential| (credential, user())));
        }

        let passthrough = cluster::passthrough(names::PASSTHROUGH_CLUSTER, &context);
        resources.push(encode(ResourceType::Cluster, &passthrough.name, &passthrough));
        if self.options.outbound_policy == OutboundPolicy::AllowAnyDynamicDns {
            let asked = cluster::to_whom_asked(&context);
            resources.push(encode(ResourceType::Cluster, &asked.name, &asked));
        }
        let Outbound { listeners: plans, beaten } = outbound(&scope);
        now.beaten = beaten;
        for plan in plans.values() {
            let name = plan.name();
            let rules = |key: &ObjectKey| self.index.virtual_service(key).map(|found| &**found);
            let made = compile::outbound(plan, rules, &context);
            resources.push(encode(ResourceType::Listener, &name, &made.listener));
            now.listeners.insert(name.into(), made.sources);
        }
        let made = compile::virtual_outbound(workload.wildcard(), &context);
        resources.push(encode(ResourceType::Listener, VIRTUAL_OUTBOUND, &made.listener));
        now.listeners.insert(VIRTUAL_OUTBOUND.into(), made.sources);

        let tables: BTreeSet<&TableName> = plans.values().flat_map(Listener::tables).collect();
        for table in tables {
            let name: Arc<str> = table.to_string().into();
            // What stands for several ports tells them apart.
            let proxy = scope.egress_of(table).is_some_and(|egress| egress.place.is_proxy());
            let ignore_port_in_host_matching = !proxy;
            let skeleton = RouteConfiguration {
                ignore_port_in_host_matching,
                ..virtual_host::skeleton(&name)
            };
            resources.push(encode(ResourceType::RouteConfiguration, &name, &skeleton));
            let found = self.emit_hosts(&name, table, &scope, &context, &mut resources);
            now.tables.insert(name, found);
        }
        compiled.listeners += now.listeners.len();
        compiled.route_configurations += now.tables.len();
        compiled.virtual_hosts += now.tables.values().map(|table| table.hosts.len()).sum::<usize>();
        compiled.clusters += now.inbound.len() + 1;
        (now, resources, names)
    }

    /// What comes in to the workload.
    fn lay_out_inbound(
        &self,
        (scope, workload): (&Scope<'_>, &Workload),
        context: &Context<'_>,
        now: &mut Sidecar,
        resources: &mut Vec<Resource>,
    ) {
        let entries = inbound::entries(scope, &self.peers.modes());
        let made = compile_inbound::virtual_inbound(&entries, workload, context);
        resources.push(encode(ResourceType::Listener, VIRTUAL_INBOUND, &made.listener));
        now.listeners.insert(VIRTUAL_INBOUND.into(), made.sources);
        now.certificates = self.certificates(&entries);
        for entry in entries {
            if let Some(at) = entry.bound(workload) {
                let made = compile_inbound::bound(&entry, at, workload, context);
                let name = made.listener.name.as_str();
                resources.push(encode(ResourceType::Listener, name, &made.listener));
                now.listeners.insert(name.into(), made.sources);
            }
            let name: Arc<str> = entry.cluster().into();
            let requests = entry.ways().iter().any(|way| way.requests);
            if requests && !now.tables.contains_key(&name) {
                let skeleton = virtual_host::skeleton(&name);
                resources.push(encode(ResourceType::RouteConfiguration, &name, &skeleton));
                let host = compile_inbound::virtual_host(&entry);
                let resource = virtual_host_name(&name, &host.name);
                resources.push(encode(ResourceType::VirtualHost, &resource, &host));
                now.tables.insert(Arc::clone(&name), Table::inbound(&entry, host));
            }
            // What nobody describes has one cluster, whatever its port.
            if let Slot::Vacant(free) = now.inbound.entry(name) {
                let cluster = cluster::inbound(&entry, workload, context);
                resources.push(encode(ResourceType::Cluster, &cluster.name, &cluster));
                free.insert(entry.by);
            }
        }
    }

    /// What handshakes with those who send to the workload take.
    fn certificates(&self, entries: &[Entry]) -> BTreeSet<Use> {
        let mut taken = BTreeSet::new();
        for entry in entries {
            if let Some(tls) = entry.own_tls() {
                let user = || entry.owner().cloned().map_or(User::Peers, User::Sidecar);
                let terms = Terms::of(tls, &self.options);
                let credentials = terms.iter().flat_map(Terms::credentials);
                taken.extend(credentials.map(|credential| (credential.clone(), user())));
            } else if entry.ways().iter().any(|way| way.terminates) {
                let terms = Terms::of_peers(&self.options);
                taken.extend(terms.credentials().map(|one| (one.clone(), User::Peers)));
            }
        }
        taken
    }

    /// The virtual hosts of a table, as resources.
    fn emit_hosts(
        &self,
        name: &str,
        table: &TableName,
        scope: &Scope<'_>,
        context: &Context<'_>,
        resources: &mut Vec<Resource>,
    ) -> Table {
        let found = routes::table(table, scope);
        // Those of rules that only limit requests lead to the service of their host.
        let mut routes: HashMap<(&ObjectKey, u16, Option<&str>), Vec<EncodedRoute>> =
            HashMap::new();
        for host in &found.hosts {
            let domains = host.domains.clone();
            let bytes = match &host.target {
                Target::Rules(key, onward) => {
                    let service = self.index.virtual_service(key);
                    let limits = service.is_some_and(|service| service.limits_requests());
                    let of = match onward {
                        Onward::Service(service) if limits => Some(&*service.host),
                        _ => None,
                    };
                    let routes = routes.entry((key, host.port, of)).or_insert_with(|| {
                        let place = Scope::place(host.port);
                        let routes = |s| virtual_host::routes(s, &place, Some(onward), context);
                        service.map(|s| routes(s)).unwrap_or_default()
                    });
                    let routes: Vec<&EncodedRoute> = routes.iter().collect();
                    virtual_host::virtual_host(&host.name, domains, Demands::default(), &routes)
                }
                Target::Service(service) => {
                    let host =
                        compile::to_service(&host.name, domains, service, host.port, context);
                    host.encode_to_vec().into()
                }
                Target::Elsewhere(policy) => {
                    compile::to_elsewhere(domains, *policy, context).encode_to_vec().into()
                }
            };
            let bytes = match &host.called {
                Some(called) => compile::calling(&bytes, called, host.port),
                None => bytes,
            };
            let resource = virtual_host_name(name, &host.name);
            resources.push(Resource::new(ResourceType::VirtualHost, resource, bytes));
        }
        let hosts = found.hosts.into_iter().map(|host| (host.name.as_str().into(), host));
        Table { hosts: hosts.collect(), lost: found.lost }
    }

    /// Takes what is there now in place of what was there; what is gone is removed, unless it is put again.
    fn replace_sidecar(&mut self, now: Sidecar) {
        let before = std::mem::replace(&mut self.sidecar, now);
        for name in before.inbound.into_keys() {
            self.outbox.remove(ResourceType::Cluster, name);
        }
        for name in before.listeners.into_keys() {
            self.outbox.remove(ResourceType::Listener, name);
        }
        for (name, table) in before.tables {
            for host in table.hosts.into_keys() {
                self.outbox.remove(ResourceType::VirtualHost, virtual_host_name(&name, &host));
            }
            self.outbox.remove(ResourceType::RouteConfiguration, name);
        }
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

    /// The Sidecar that hides a VirtualService from requests to a port, if one does.
    #[must_use]
    pub fn hides_rules(&self, key: &ObjectKey, port: u16) -> Option<Origin> {
        let (sidecar, _) = self.sidecars.chosen()?;
        let scope = self.scope();
        let egress = scope.egress_of(&TableName::Port(port));
        let seen =
            egress.is_some_and(|egress| egress.rules().iter().any(|rules| rules.key == *key));
        (!seen).then(|| Origin::new(sidecar.clone(), "egress"))
    }

    /// The Sidecar that hides a host from requests and connections to a port, if one does.
    #[must_use]
    pub fn hides_host(&self, host: &str, port: u16) -> Option<Origin> {
        let (sidecar, _) = self.sidecars.chosen()?;
        self.registry.ports(host).get(&port)?;
        let scope = self.scope();
        let egress = scope.egress_of(&TableName::Port(port));
        let seen = egress.is_some_and(|egress| {
            egress.ports(host).is_some_and(|ports| ports.contains_key(&port))
        });
        (!seen).then(|| Origin::new(sidecar.clone(), "egress"))
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

fn encode<M: Message>(kind: ResourceType, name: &str, message: &M) -> Resource {
    Resource::encode(kind, name, message)
}
