//! Fourth step: compile what is marked.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tidegate_api::ObjectKey;
use tidegate_xds::assemble::virtual_host_name;
use tidegate_xds::{Resource, ResourceType};

use super::route_table::OwnHost;
use super::{Dirty, Pilot, shadows};
use crate::Compiled;
use crate::compile::virtual_host::{self, Demands, EncodedRoute};
use crate::compile::{cluster, listener};
use crate::model::tls::Credential;
use crate::model::virtual_service::Place;

/// Routes of a VirtualService at a place, compiled once however many virtual hosts share them.
type Routes = HashMap<(ObjectKey, Place), Vec<EncodedRoute>>;

impl Pilot {
    /// Compiles everything that is marked, and counts it.
    pub(super) fn emit(&mut self, dirty: &mut Dirty) -> Compiled {
        let mut compiled = Compiled::NONE;
        self.emit_destinations(dirty, &mut compiled);
        for name in std::mem::take(&mut dirty.listeners) {
            self.emit_listener(&name, dirty, &mut compiled);
        }
        for name in std::mem::take(&mut dirty.skeletons) {
            let skeleton = virtual_host::skeleton(&name);
            self.outbox.put(Resource::encode(ResourceType::RouteConfiguration, name, &skeleton));
            compiled.route_configurations += 1;
        }
        for name in std::mem::take(&mut dirty.tables) {
            self.emit_table(&name, &mut compiled);
        }
        compiled
    }

    /// Compiles what is needed whoever sends: secrets, clusters and endpoints.
    pub(super) fn emit_destinations(&mut self, dirty: &mut Dirty, compiled: &mut Compiled) {
        self.put_fixtures();
        for credential in std::mem::take(&mut dirty.credentials) {
            self.emit_credential(&credential, dirty);
            compiled.secrets += 1;
        }
        let hosts = std::mem::take(&mut dirty.hosts);
        for host in std::mem::take(&mut dirty.endpoints).difference(&hosts) {
            self.emit_endpoints(host, compiled);
        }
        for host in &hosts {
            self.emit_clusters(host, compiled);
        }
    }

    fn emit_listener(&mut self, name: &Arc<str>, dirty: &mut Dirty, compiled: &mut Compiled) {
        let Some(plan) = self.listeners.plan(name) else { return };
        let bound = |gateway: &str| self.index.bound_to(gateway);
        let usable = |credential: &Credential| self.credentials.usable(credential);
        let found = listener::listener(plan, bound, usable, &self.context());
        compiled.listeners += 1;
        match found.listener {
            Some(listener) => {
                let name = Arc::clone(name);
                self.outbox.put(Resource::encode(ResourceType::Listener, name, &listener));
            }
            None => self.outbox.remove(ResourceType::Listener, Arc::clone(name)),
        }
        dirty.status.extend(self.listeners.found(name, found.carries, found.lost));
    }

    fn emit_table(&mut self, name: &Arc<str>, compiled: &mut Compiled) {
        let Some(table) = self.tables.get_mut(name) else { return };
        let settled = table.settle();
        for gone in &settled.gone {
            let host = virtual_host_name(name, gone);
            self.shadows.forget(&host);
            self.outbox.remove(ResourceType::VirtualHost, host);
        }
        for (own, OwnHost { domains, status }) in settled.own {
            let message = virtual_host::fixed(&own, domains, status);
            let host = virtual_host_name(name, &own);
            self.outbox.put(Resource::encode(ResourceType::VirtualHost, host, &message));
            compiled.virtual_hosts += 1;
        }
        let mut routes = Routes::new();
        for shared in settled.compile {
            for (place, key) in &shared.routing.routes {
                self.compile_routes(key, place, &mut routes);
            }
            let ordered = shared.routing.routes.iter();
            let ordered: Vec<&EncodedRoute> = ordered
                .filter_map(|(place, key)| routes.get(&(key.clone(), place.clone())))
                .flatten()
                .collect();
            let parts = shared.routing.routes.iter();
            let parts = parts
                .filter_map(|part| Some((part, routes.get(&(part.1.clone(), part.0.clone()))?)));
            let domain = shared.domains.first().map_or("", String::as_str);
            let found = shadows::find(parts, domain, &self.index, &self.context());
            self.shadows.found(&virtual_host_name(name, &shared.name).into(), found);
            let demands = Demands {
                tls: shared.routing.https_redirect,
                client_certificate: shared.routing.guarded,
            };
            let bytes = virtual_host::virtual_host(&shared.name, shared.domains, demands, &ordered);
            let host = virtual_host_name(name, &shared.name);
            self.outbox.put(Resource::new(ResourceType::VirtualHost, host, bytes));
            compiled.virtual_hosts += 1;
        }
    }

    fn compile_routes(&self, key: &ObjectKey, place: &Place, routes: &mut Routes) {
        let Some(service) = self.index.virtual_service(key) else { return };
        routes
            .entry((key.clone(), place.clone()))
            .or_insert_with(|| virtual_host::routes(service, place, &self.context()));
    }

    fn emit_clusters(&mut self, host: &Arc<str>, compiled: &mut Compiled) {
        let mut resources = Vec::new();
        let mut now = BTreeSet::new();
        let ports = self.registry.ports(host).into_values();
        for result in ports.flat_map(|(s, port)| cluster::compile(s, port, &self.context())) {
            if let Some(cluster) = result.cluster {
                let name: Arc<str> = cluster.name.as_str().into();
                resources.push(Resource::encode(ResourceType::Cluster, &*name, &cluster));
                compiled.clusters += 1;
                now.insert(name);
            }
            if let Some(endpoints) = result.endpoints {
                let name = endpoints.cluster_name.as_str();
                resources.push(Resource::encode(ResourceType::Endpoints, name, &endpoints));
                compiled.load_assignments += 1;
            }
        }
        let before = self.clusters.remove(host).unwrap_or_default();
        for name in before.union(&now) {
            // Whatever is put below stays; the kind of a cluster may have changed.
            self.outbox.remove(ResourceType::Cluster, Arc::clone(name));
            self.outbox.remove(ResourceType::Endpoints, Arc::clone(name));
        }
        resources.into_iter().for_each(|r| self.outbox.put(r));
        if !now.is_empty() {
            self.clusters.insert(Arc::clone(host), now);
        }
    }

    /// Compiles load assignments only: endpoints changed, the service did not.
    fn emit_endpoints(&mut self, host: &Arc<str>, compiled: &mut Compiled) {
        let mut resources = Vec::new();
        let ports = self.registry.ports(host).into_values();
        for assignment in ports.flat_map(|(s, p)| cluster::assignments(s, p, &self.context())) {
            let name = assignment.cluster_name.as_str();
            resources.push(Resource::encode(ResourceType::Endpoints, name, &assignment));
            compiled.load_assignments += 1;
        }
        resources.into_iter().for_each(|r| self.outbox.put(r));
    }
}
