//! What a sidecar gets: everything is laid out and compiled again on each batch, and what did not change is not sent again.
//!
//! Its clusters and endpoints are compiled as a gateway's are, by what a batch touches.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use tidegate_api::ObjectKey;
use tidegate_envoy::prost::Message;
use tidegate_xds::assemble::virtual_host_name;
use tidegate_xds::{Resource, ResourceType};

use super::{Dirty, Pilot};
use crate::compile::listener::ChainSource;
use crate::compile::sidecar::{self as compile, VIRTUAL_OUTBOUND};
use crate::compile::virtual_host::{self, Demands, EncodedRoute};
use crate::compile::{Context, cluster};
use crate::model::endpoints::Address;
use crate::model::names;
use crate::model::service::Service;
use crate::model::subnet::Subnet;
use crate::model::virtual_service::Place;
use crate::sidecar::Scope;
use crate::sidecar::listeners::{Listener, outbound};
use crate::sidecar::routes::{self, Lost, TableName, Target, VirtualHost};
use crate::{Compiled, Options};

/// What a sidecar has, and where it comes from.
#[derive(Debug, Default)]
pub(crate) struct Sidecar {
    /// Listeners by name.
    listeners: BTreeMap<Arc<str>, Vec<ChainSource>>,
    /// Route configurations by name, with the port that rules are asked for.
    tables: BTreeMap<Arc<str>, Table>,
}

#[derive(Debug)]
struct Table {
    port: u16,
    hosts: BTreeMap<Arc<str>, VirtualHost>,
    lost: Vec<Lost>,
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
            source.service.iter().chain(source.rule.iter().map(|(key, _)| key)).cloned()
        });
        keys.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// What a virtual host does, and at which place its rules are asked.
    pub(crate) fn host(&self, table: &str, host: &str) -> Option<(&Target, Place)> {
        let table = self.tables.get(table)?;
        Some((&table.hosts.get(host)?.target, Scope::place(table.port)))
    }

    /// The objects behind a virtual host.
    pub(crate) fn host_owners(&self, table: &str, host: &str) -> Vec<ObjectKey> {
        match self.host(table, host) {
            Some((Target::Rules(key), _)) => vec![key.clone()],
            Some((Target::Service(service), _)) => vec![service.key.clone()],
            Some((Target::Elsewhere, _)) | None => Vec::new(),
        }
    }

    /// The VirtualServices that others come before in a table.
    pub(crate) fn lost(&self, table: &str) -> &[Lost] {
        self.tables.get(table).map_or(&[], |table| &table.lost)
    }
}

impl Pilot {
    /// Compiles what a sidecar has.
    pub(super) fn emit_sidecar(&mut self, dirty: &mut Dirty) -> Compiled {
        let mut compiled = Compiled::NONE;
        self.emit_destinations(dirty, &mut compiled);
        let Some(workload) = self.options.workload() else { return compiled };
        let passthrough = cluster::passthrough(names::PASSTHROUGH_CLUSTER, &self.context());
        let mut resources = vec![encode(ResourceType::Cluster, &passthrough.name, &passthrough)];

        let services = self.index.virtual_services().map(|service| &**service);
        let scope = Scope::new(&self.options, &self.registry, services);
        let context = self.context();
        let mut now = Sidecar::default();
        let plans = outbound(&scope);
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
        compiled.listeners += now.listeners.len();

        let tables: BTreeSet<&TableName> = plans.values().flat_map(Listener::tables).collect();
        for table in tables {
            let name: Arc<str> = table.to_string().into();
            let skeleton = virtual_host::skeleton(&name);
            resources.push(encode(ResourceType::RouteConfiguration, &name, &skeleton));
            compiled.route_configurations += 1;
            let found = self.emit_hosts(&name, table, &scope, &context, &mut resources);
            compiled.virtual_hosts += found.hosts.len();
            now.tables.insert(name, found);
        }
        self.replace_sidecar(now);
        resources.into_iter().for_each(|resource| self.outbox.put(resource));
        compiled
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
        let (TableName::Port(port) | TableName::Service(_, port)) = *table;
        let found = routes::table(table, scope);
        let place = Scope::place(port);
        let mut routes: HashMap<&ObjectKey, Vec<EncodedRoute>> = HashMap::new();
        for host in &found.hosts {
            let domains = host.domains.clone();
            let bytes = match &host.target {
                Target::Rules(key) => {
                    let routes = routes.entry(key).or_insert_with(|| {
                        let service = self.index.virtual_service(key);
                        let service = service.map(|s| virtual_host::routes(s, &place, context));
                        service.unwrap_or_default()
                    });
                    let routes: Vec<&EncodedRoute> = routes.iter().collect();
                    virtual_host::virtual_host(&host.name, domains, Demands::default(), &routes)
                }
                Target::Service(service) => {
                    let host = compile::to_service(&host.name, domains, service, port, context);
                    host.encode_to_vec().into()
                }
                Target::Elsewhere => compile::to_elsewhere(domains, context).encode_to_vec().into(),
            };
            let resource = virtual_host_name(name, &host.name);
            resources.push(Resource::new(ResourceType::VirtualHost, resource, bytes));
        }
        let hosts = found.hosts.into_iter().map(|host| (host.name.as_str().into(), host));
        Table { port, hosts: hosts.collect(), lost: found.lost }
    }

    /// Takes what is there now in place of what was there; what is gone is removed, unless it is put again.
    fn replace_sidecar(&mut self, now: Sidecar) {
        let before = std::mem::replace(&mut self.sidecar, now);
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

    /// VirtualServices of the mesh that others come before in a route configuration of a sidecar.
    #[must_use]
    pub fn lost_hosts(&self, table: &str) -> &[Lost] {
        self.sidecar.lost(table)
    }
}

fn encode<M: Message>(kind: ResourceType, name: &str, message: &M) -> Resource {
    Resource::encode(kind, name, message)
}
