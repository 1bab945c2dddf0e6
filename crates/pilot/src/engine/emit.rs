//! Fourth step: compile what is marked.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tidegate_api::ObjectKey;
use tidegate_xds::assemble::virtual_host_name;
use tidegate_xds::{Resource, ResourceType};

use super::route_table::OwnHost;
use super::{Dirty, Pilot, Vacant, shadows};
use crate::Compiled;
use crate::compile::virtual_host::{self, EncodedRoute};
use crate::compile::{cluster, listener};
use crate::model::names;
use crate::model::virtual_service::Place;

/// Routes of a VirtualService at a place, compiled once however many virtual hosts share them.
type Routes = HashMap<(ObjectKey, Place), Vec<EncodedRoute>>;

impl Pilot {
    /// Compiles everything that is marked, and counts it.
    pub(super) fn emit(&mut self, dirty: &mut Dirty, compiled: &mut Compiled) {
        if !(dirty.tables.is_empty() && dirty.hosts.is_empty()) {
            // What is there is told to those that match nothing.
            dirty.status.extend(self.filters_with_idle_patches().cloned());
        }
        self.emit_destinations(dirty, compiled);
        for name in std::mem::take(&mut dirty.listeners) {
            self.emit_listener(&name, dirty, compiled);
        }
        for name in std::mem::take(&mut dirty.skeletons) {
            let skeleton = virtual_host::skeleton(&name);
            self.put(Resource::encode(ResourceType::RouteConfiguration, name, &skeleton), dirty);
            compiled.route_configurations += 1;
        }
        for name in std::mem::take(&mut dirty.tables) {
            self.emit_table(&name, dirty, compiled);
        }
        self.emit_added(dirty);
        self.forget_patched(dirty);
    }

    /// Compiles what is needed whoever sends: secrets, clusters and endpoints.
    pub(super) fn emit_destinations(&mut self, dirty: &mut Dirty, compiled: &mut Compiled) {
        self.put_fixtures();
        self.bring(dirty, compiled);
        let hosts = std::mem::take(&mut dirty.hosts);
        for host in std::mem::take(&mut dirty.endpoints).difference(&hosts) {
            let some_vacant = self.emit_endpoints(host, compiled);
            self.note_vacant(host, some_vacant, dirty);
        }
        for host in &hosts {
            let some_vacant = self.emit_clusters(host, dirty, compiled);
            self.note_vacant(host, some_vacant, dirty);
        }
    }

    /// Notes which clusters of a host have no endpoints, and marks whom that is to be told if it differs.
    fn note_vacant(&mut self, host: &Arc<str>, some: bool, dirty: &mut Dirty) {
        if self.options.workload().is_some() || !some && !self.vacant.contains_key(host) {
            return;
        }
        let ports = self.registry.ports(host).into_values();
        let now: Vacant =
            ports.flat_map(|(s, port)| cluster::vacant(s, port, &self.context())).collect();
        let differs = self.vacant.get(host).map_or(!now.is_empty(), |before| *before != now);
        if now.is_empty() {
            self.vacant.remove(host);
        } else {
            self.vacant.insert(Arc::clone(host), now);
        }
        if differs {
            dirty.status.extend(self.index.referring_to(host).map(|(service, _)| service.clone()));
            dirty.status.extend(self.rules.concerning(host).map(|rule| rule.key.clone()));
        }
    }

    fn emit_listener(&mut self, name: &Arc<str>, dirty: &mut Dirty, compiled: &mut Compiled) {
        let Some(plan) = self.listeners.plan(name) else { return };
        let bound = |gateway: &str| self.index.bound_to(gateway);
        let found = listener::listener(plan, bound, self.egress_port(plan), &self.context());
        compiled.listeners += 1;
        self.listeners.set_http3(name, found.http3.is_some());
        let over_udp = names::over_udp(name).into();
        for (name, listener) in [(Arc::clone(name), found.listener), (over_udp, found.http3)] {
            match listener {
                Some(listener) => {
                    self.put(Resource::encode(ResourceType::Listener, name, &listener), dirty);
                }
                None => self.outbox.remove(ResourceType::Listener, name),
            }
        }
        let rules = found.sources.into_iter().filter_map(|source| source.rule).collect();
        dirty.status.extend(self.listeners.found(name, found.carries, rules, found.lost));
    }

    fn emit_table(&mut self, name: &Arc<str>, dirty: &mut Dirty, compiled: &mut Compiled) {
        let Some(table) = self.tables.get_mut(name) else { return };
        let settled = table.settle();
        dirty.status.extend(settled.told);
        for gone in &settled.gone {
            let host = virtual_host_name(name, gone);
            self.shadows.forget(&host);
            dirty.status.extend(self.patches.removals.forget(&host));
            self.outbox.remove(ResourceType::VirtualHost, host);
        }
        for (own, OwnHost { domains, status }) in settled.own {
            let message = virtual_host::fixed(&own, domains, status);
            let host = virtual_host_name(name, &own);
            self.put(Resource::encode(ResourceType::VirtualHost, host, &message), dirty);
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
            let found = shadows::find(parts, &shared.domains, &self.index, &self.context());
            let demands = shared.routing.demands();
            let bytes = virtual_host::virtual_host(&shared.name, shared.domains, demands, &ordered);
            let host = virtual_host_name(name, &shared.name);
            let resource = Resource::new(ResourceType::VirtualHost, host, bytes);
            self.put_routed(resource, &shared.routing.routes, dirty);
            let emptied = self.note_removed(name, &shared.name, dirty);
            let host = virtual_host_name(name, &shared.name).into();
            self.shadows.found(&host, found.without(&emptied));
            compiled.virtual_hosts += 1;
        }
    }

    fn compile_routes(&self, key: &ObjectKey, place: &Place, routes: &mut Routes) {
        let Some(service) = self.index.virtual_service(key) else { return };
        routes
            .entry((key.clone(), place.clone()))
            .or_insert_with(|| virtual_host::routes(service, place, None, &self.context()));
    }

    /// Compiles the clusters of a host; answers whether any has no endpoints.
    fn emit_clusters(
        &mut self,
        host: &Arc<str>,
        dirty: &mut Dirty,
        compiled: &mut Compiled,
    ) -> bool {
        let mut vacant = false;
        let mut resources = Vec::new();
        let mut now = BTreeSet::new();
        let needed = self.sidecar.needs(host);
        let ports = self.registry.ports(host).into_values().filter(|_| needed);
        for result in ports.flat_map(|(s, port)| cluster::compile(s, port, &self.context())) {
            vacant |= result.is_vacant();
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
        if !now.is_empty() {
            self.clusters.insert(Arc::clone(host), now);
        }
        resources.into_iter().for_each(|resource| self.put(resource, dirty));
        vacant
    }

    /// Compiles load assignments only: endpoints changed, the service did not. Answers whether any is empty.
    fn emit_endpoints(&mut self, host: &Arc<str>, compiled: &mut Compiled) -> bool {
        let mut vacant = false;
        let mut resources = Vec::new();
        let needed = self.sidecar.needs(host);
        let ports = self.registry.ports(host).into_values().filter(|_| needed);
        for assignment in ports.flat_map(|(s, p)| cluster::assignments(s, p, &self.context())) {
            vacant |= assignment.endpoints.is_empty();
            let name = assignment.cluster_name.as_str();
            resources.push(Resource::encode(ResourceType::Endpoints, name, &assignment));
            compiled.load_assignments += 1;
        }
        resources.into_iter().for_each(|r| self.outbox.put(r));
        vacant
    }
}
