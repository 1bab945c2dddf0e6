//! What a sidecar has follows from what its workload sees: all of it is planned on each batch, which costs little, and what is
//! planned as before, of objects that the batch does not touch, is neither compiled nor compared again.

use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use tidegate_api::ObjectKey;
use tidegate_envoy::prost::Message;
use tidegate_envoy::v3::route::{self, RouteConfiguration};
use tidegate_xds::assemble::virtual_host_name;
use tidegate_xds::{Resource, ResourceType};

use super::super::credentials::{Use, User};
use super::super::{Dirty, Pilot};
use super::{Made, Sidecar, Table};
use crate::compile::inbound as compile_inbound;
use crate::compile::sidecar as compile;
use crate::compile::virtual_host::{self, Demands, EncodedRoute};
use crate::compile::{Context, cluster};
use crate::model::names;
use crate::model::tls::Terms;
use crate::sidecar::inbound::{self, Entry};
use crate::sidecar::listeners::{Listener, Outbound, To, outbound};
use crate::sidecar::routes::{Onward, TableName, Tables, Target, VirtualHost};
use crate::sidecar::{Egress, Scope};
use crate::{Compiled, OutboundPolicy, Workload};

/// What a batch touches of what things are made from beside their plans.
struct Touched {
    /// What all of them are made from.
    everything: bool,
    /// Hosts with other services or DestinationRules.
    hosts: BTreeSet<Arc<str>>,
    /// VirtualServices that say something else, or send to such hosts.
    rules: BTreeSet<ObjectKey>,
}

impl Touched {
    fn listener(&self, plan: &Listener) -> bool {
        self.everything
            || plan.chains.iter().any(|chain| match &chain.to {
                To::Routes(_) => false,
                To::Rule { rules, .. } => self.rules.contains(rules),
                To::Service { host, .. } => self.hosts.contains(host),
            })
    }

    fn host(&self, plan: &VirtualHost) -> bool {
        let onward = |onward: &Onward| match onward {
            Onward::Service(service) => self.hosts.contains(&service.host),
            Onward::Elsewhere(_) => false,
        };
        self.everything
            || match &plan.target {
                Target::Rules(key, to) => self.rules.contains(key) || onward(to),
                Target::Service(service) => self.hosts.contains(&service.host),
                Target::Elsewhere(_) => false,
            }
    }
}

/// Routes of a VirtualService for a port, compiled once however many virtual hosts share them. Those of rules that only limit
/// requests lead to the service of their host.
type Routes = HashMap<(ObjectKey, u16, Option<Arc<str>>), Vec<EncodedRoute>>;

/// What comes out of a batch.
#[derive(Default)]
struct Laid {
    now: Sidecar,
    /// What was made anew.
    resources: Vec<Resource>,
}

impl Laid {
    fn put(&mut self, kind: ResourceType, name: &str, message: &impl Message) {
        self.resources.push(Resource::encode(kind, name, message));
    }

    fn put_listener(&mut self, made: compile::Compiled, plan: Option<Listener>) {
        let compile::Compiled { listener, sources } = made;
        self.put(ResourceType::Listener, &listener.name, &listener);
        self.now.listeners.insert(listener.name.into(), Made { plan, sources });
    }
}

impl Table {
    /// That of requests for the workload.
    fn inbound(entry: &Entry, host: route::VirtualHost) -> Self {
        let service = entry.service().map(|local| Arc::clone(&local.service));
        let target = service.map_or(Target::Elsewhere(OutboundPolicy::AllowAny), Target::Service);
        let name = host.name.as_str().into();
        let port = entry.number();
        let host =
            VirtualHost { name: host.name, domains: host.domains, port, target, called: None };
        Self { hosts: BTreeMap::from([(name, host)]), ..Self::default() }
    }
}

impl Pilot {
    /// Lays out everything that a sidecar has but for what is compiled for a host that is sent to, and compiles what differs.
    pub(super) fn lay_out(&mut self, dirty: &mut Dirty, compiled: &mut Compiled) {
        let renamed = self.renamed(dirty);
        let touched = self.touched(dirty);
        let mut before = std::mem::take(&mut self.sidecar);
        let mut laid = Laid::default();
        let names = match self.options.workload() {
            None => BTreeMap::new(),
            Some(workload) => {
                let scope = self.scope();
                let context = self.context();
                laid.now.needed = scope.needs();
                self.lay_out_inbound((&scope, workload), &context, &mut laid);
                lay_out_clusters(&scope, &context, &mut laid);
                let tables =
                    self.lay_out_listeners((&scope, workload), &touched, &mut before, &mut laid);
                compiled.listeners += count(&laid.resources, ResourceType::Listener);
                self.lay_out_tables(tables, &scope, &touched, &mut before, &mut laid);
                Self::find_names(renamed, &scope)
            }
        };
        compiled.route_configurations += count(&laid.resources, ResourceType::RouteConfiguration);
        compiled.virtual_hosts += count(&laid.resources, ResourceType::VirtualHost);
        compiled.clusters += count(&laid.resources, ResourceType::Cluster);
        dirty.names = self.names.replace(names);
        dirty.laid_out = laid.resources;
        self.replace_sidecar(before, laid.now, dirty);
    }

    /// What a batch touches.
    fn touched(&self, dirty: &Dirty) -> Touched {
        let sending = dirty.hosts.iter().flat_map(|host| self.index.referring_to(host));
        let rules = sending.map(|(key, _)| key).chain(&dirty.touched).chain(&dirty.replaced);
        Touched {
            everything: dirty.everything,
            hosts: dirty.hosts.clone(),
            rules: rules.cloned().collect(),
        }
    }

    /// What comes in to the workload.
    fn lay_out_inbound(
        &self,
        (scope, workload): (&Scope<'_>, &Workload),
        context: &Context<'_>,
        laid: &mut Laid,
    ) {
        let entries = inbound::entries(scope, &self.peers.modes());
        let made = compile_inbound::virtual_inbound(&entries, workload, context);
        laid.put_listener(made, None);
        laid.now.certificates = self.certificates(&entries);
        for entry in entries {
            if let Some(at) = entry.bound(workload) {
                laid.put_listener(compile_inbound::bound(&entry, at, workload, context), None);
            }
            let name: Arc<str> = entry.cluster().into();
            let requests = entry.ways().iter().any(|way| way.requests);
            if requests && !laid.now.tables.contains_key(&name) {
                let skeleton = virtual_host::skeleton(&name);
                laid.put(ResourceType::RouteConfiguration, &name, &skeleton);
                let host = compile_inbound::virtual_host(&entry);
                laid.put(ResourceType::VirtualHost, &virtual_host_name(&name, &host.name), &host);
                laid.now.tables.insert(Arc::clone(&name), Table::inbound(&entry, host));
            }
            // What nobody describes has one cluster, whatever its port.
            if let Slot::Vacant(free) = laid.now.inbound.entry(name) {
                let cluster = cluster::inbound(&entry, workload, context);
                laid.resources.push(Resource::encode(
                    ResourceType::Cluster,
                    &*cluster.name,
                    &cluster,
                ));
                free.insert(entry.by);
            }
        }
    }

    /// What handshakes with those who send to the workload take.
    fn certificates(&self, entries: &[Entry]) -> BTreeSet<Use> {
        let mut taken = BTreeSet::new();
        for entry in entries {
            if let Some(tls) = entry.own_tls() {
                let peers = || User::Peers { only: true };
                let user = || entry.owner().cloned().map_or_else(peers, User::Sidecar);
                let terms = Terms::of(tls, &self.options);
                let credentials = terms.iter().flat_map(Terms::credentials);
                taken.extend(credentials.map(|credential| (credential.clone(), user())));
            } else if entry.ways().iter().any(|way| way.terminates) {
                let terms = Terms::of_peers(&self.options);
                let only = entry.ways().iter().all(|way| way.terminates);
                let user = User::Peers { only };
                taken.extend(terms.credentials().map(|one| (one.clone(), user.clone())));
            }
        }
        taken
    }

    /// The listeners for what goes out; answers the route configurations that they ask.
    fn lay_out_listeners(
        &self,
        (scope, workload): (&Scope<'_>, &Workload),
        touched: &Touched,
        before: &mut Sidecar,
        laid: &mut Laid,
    ) -> BTreeSet<TableName> {
        let context = self.context();
        let Outbound { listeners: plans, beaten } = outbound(scope);
        laid.now.beaten = beaten;
        let tables = plans.values().flat_map(Listener::tables).cloned().collect();
        let rules = |key: &ObjectKey| self.index.virtual_service(key).map(|found| &**found);
        for plan in plans.into_values() {
            let name = plan.name();
            let same = |made: &Made| made.plan.as_ref() == Some(&plan) && !touched.listener(&plan);
            match before.listeners.remove_entry(&*name) {
                Some((name, made)) if same(&made) => drop(laid.now.listeners.insert(name, made)),
                was => {
                    before.listeners.extend(was);
                    laid.put_listener(compile::outbound(&plan, rules, &context), Some(plan));
                }
            }
        }
        let made = compile::virtual_outbound(workload.wildcard(), &context);
        laid.put_listener(made, None);
        tables
    }

    /// The route configurations for what goes out.
    fn lay_out_tables(
        &self,
        names: BTreeSet<TableName>,
        scope: &Scope<'_>,
        touched: &Touched,
        before: &mut Sidecar,
        laid: &mut Laid,
    ) {
        let mut tables = Tables::new(scope);
        let mut routes = Routes::new();
        for table in names {
            let name: Arc<str> = table.to_string().into();
            let egress = scope.egress_of(&table);
            let of_every_port = egress.is_some_and(|egress| egress.place.is_proxy());
            let mut was = before.tables.get_mut(&name);
            let same = was.as_ref().is_some_and(|was| was.of_every_port == of_every_port);
            if !same || touched.everything {
                let skeleton = RouteConfiguration {
                    // What stands for several ports tells them apart.
                    ignore_port_in_host_matching: !of_every_port,
                    ..virtual_host::skeleton(&name)
                };
                laid.put(ResourceType::RouteConfiguration, &name, &skeleton);
            }
            let found = tables.table(&table);
            let mut now = Table { of_every_port, hosts: BTreeMap::new(), lost: found.lost };
            for host in found.hosts {
                let is_same = |was: &VirtualHost| *was == host && !touched.host(&host);
                let was = was.as_mut().and_then(|was| was.hosts.get(&*host.name));
                if !was.is_some_and(is_same) {
                    let bytes = self.virtual_host(&host, &table, &mut routes);
                    let resource = virtual_host_name(&name, &host.name);
                    laid.resources.push(Resource::new(ResourceType::VirtualHost, resource, bytes));
                }
                now.hosts.insert(host.name.as_str().into(), host);
            }
            laid.now.tables.insert(name, now);
        }
    }

    /// A virtual host, encoded.
    fn virtual_host(&self, host: &VirtualHost, table: &TableName, routes: &mut Routes) -> Bytes {
        let context = self.context();
        let domains = host.domains.clone();
        let bytes = match &host.target {
            Target::Rules(key, onward) => {
                let service = self.index.virtual_service(key);
                let limits = service.is_some_and(|service| service.limits_requests());
                let of = match onward {
                    Onward::Service(service) if limits => Some(Arc::clone(&service.host)),
                    _ => None,
                };
                let routes = routes.entry((key.clone(), host.port, of)).or_insert_with(|| {
                    let place = Scope::place(host.port);
                    let routes = |s| virtual_host::routes(s, &place, Some(onward), &context);
                    service.map(|s| routes(s)).unwrap_or_default()
                });
                let routes: Vec<&EncodedRoute> = routes.iter().collect();
                virtual_host::virtual_host(&host.name, domains, Demands::default(), &routes)
            }
            Target::Service(service) => {
                let host = compile::to_service(&host.name, domains, service, host.port, &context);
                host.encode_to_vec().into()
            }
            Target::Elsewhere(policy) => {
                compile::to_elsewhere(domains, *policy, table, &context).encode_to_vec().into()
            }
        };
        match &host.called {
            Some(called) => compile::calling(&bytes, called, host.port),
            None => bytes,
        }
    }
}

/// The clusters for what nobody describes, and what handshakes take that names stand for.
fn lay_out_clusters(scope: &Scope<'_>, context: &Context<'_>, laid: &mut Laid) {
    let seen = scope.egress().iter().flat_map(Egress::hosts);
    let seen = seen.flat_map(|(_, ports)| ports.values()).map(|(service, port)| (*service, *port));
    let aliases = scope.egress().iter().flat_map(Egress::all_aliases);
    for (service, port) in seen.chain(aliases) {
        let taken = cluster::own_credentials(service, port, context).into_iter();
        let user = || User::Alias(service.key.clone());
        laid.now.certificates.extend(taken.map(|credential| (credential, user())));
    }
    let passthrough = cluster::passthrough(names::PASSTHROUGH_CLUSTER, context);
    laid.put(ResourceType::Cluster, &passthrough.name, &passthrough);
    if context.options.outbound_policy == OutboundPolicy::AllowAnyDynamicDns {
        let asked = cluster::to_whom_asked(context);
        laid.put(ResourceType::Cluster, &asked.name, &asked);
    }
}

fn count(resources: &[Resource], kind: ResourceType) -> usize {
    resources.iter().filter(|resource| resource.kind == kind).count()
}
