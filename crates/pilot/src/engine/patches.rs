//! EnvoyFilters in the engine: which resources they touch, and what they came to on each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use tidegate_api::ObjectKey;
use tidegate_api::istio::envoy_filter::{ApplyTo, Operation};
use tidegate_envoy::prost::Message;
use tidegate_envoy::prost_reflect::DynamicMessage;
use tidegate_envoy::v3::hcm::HttpConnectionManager;
use tidegate_envoy::v3::hcm::http_connection_manager::RouteSpecifier;
use tidegate_envoy::v3::listener::Listener;
use tidegate_envoy::v3::listener::filter::ConfigType;
use tidegate_envoy::v3::route::{Route, VirtualHost};
use tidegate_envoy::{dynamic, encode};
use tidegate_xds::assemble::{split_virtual_host_name, virtual_host_name};
use tidegate_xds::{Resource, ResourceType};

use super::patched::Key;
use super::{Dirty, Pilot, RouteTable};
use crate::compile::virtual_host::{self, EncodedRoute};
use crate::model::envoy_filter::{EnvoyFilter, Patch, Refused, is_of_context, path};
use crate::model::names;
use crate::model::virtual_service::Place;
use crate::origins::Origin;
use crate::patch::matches::{self, RoutePlace};
use crate::patch::{self, Added, Removed, Target, Trace, patched};

/// What is inside a listener.
const IN_LISTENERS: &[ApplyTo] = &[
    ApplyTo::Listener,
    ApplyTo::FilterChain,
    ApplyTo::NetworkFilter,
    ApplyTo::HttpFilter,
    ApplyTo::ListenerFilter,
];
/// What is a route configuration by itself.
const IN_TABLES: &[ApplyTo] = &[ApplyTo::RouteConfiguration];
/// What is inside a virtual host.
const IN_HOSTS: &[ApplyTo] = &[ApplyTo::VirtualHost, ApplyTo::HttpRoute];

/// What patches made of the routes of a virtual host.
pub(super) struct PatchedRoutes {
    /// Those that there are: each one's number before, or the patch that added it.
    pub(super) kept: Vec<Result<usize, Origin>>,
    /// The patches that took others away, by their numbers before.
    pub(super) removed: BTreeMap<usize, Origin>,
}

impl Pilot {
    /// Enters a form of an EnvoyFilter (`None`: it is gone, or not for this proxy), and marks what it touches.
    pub(super) fn set_envoy_filter(
        &mut self,
        key: &ObjectKey,
        filter: Option<EnvoyFilter>,
        dirty: &mut Dirty,
    ) {
        dirty.status.insert(key.clone());
        let [before, now] = self.filters.set(key, filter);
        if before == now {
            return;
        }
        dirty.everything = true;
        // Which filters there are decides who reads what is said to them.
        dirty.status.extend(self.filters.speaking_to_filters().cloned());
        for (kind, name) in self.patches.touched(key).cloned().collect::<Vec<_>>() {
            self.mark_resource(kind, &name, dirty);
        }
        let Some(now) = now.filter(|now| now.refused.is_empty()) else { return };
        for patch in &now.patches {
            self.mark_for(patch, dirty);
        }
    }

    /// The EnvoyFilters of which not every patch was made.
    pub(super) fn filters_with_idle_patches(&self) -> impl Iterator<Item = &ObjectKey> {
        let all = self.filters.applied().map(|filter| (&filter.key, filter.patches.len()));
        all.filter(|(key, count)| self.patches.made(key).len() < *count).map(|(key, _)| key)
    }

    /// Marks a resource to be compiled again.
    fn mark_resource(&mut self, kind: ResourceType, name: &Arc<str>, dirty: &mut Dirty) {
        match kind {
            ResourceType::Listener => {
                let name = names::beside_udp(name).map_or_else(|| Arc::clone(name), Arc::from);
                dirty.listeners.insert(name);
            }
            ResourceType::RouteConfiguration => drop(dirty.skeletons.insert(Arc::clone(name))),
            ResourceType::Cluster => {
                dirty.hosts.extend(names::of_cluster(name).map(|(host, ..)| Arc::from(host)));
            }
            ResourceType::VirtualHost => {
                let Some((table, host)) = split_virtual_host_name(name) else { return };
                let touches = |table: &mut RouteTable| table.touch_named(&|found, _| found == host);
                if self.tables.get_mut(table).is_some_and(touches) {
                    dirty.tables.insert(table.into());
                }
            }
            ResourceType::Endpoints | ResourceType::Secret => {}
        }
    }

    /// Marks what a patch may be for.
    fn mark_for(&mut self, patch: &Patch, dirty: &mut Dirty) {
        let what = &patch.what;
        match patch.apply_to {
            sort if IN_LISTENERS.contains(&sort) => {
                let plans = self.ports.values().flat_map(|plan| &plan.listeners);
                let fits = plans.filter(|plan| matches::listener_plan(what, plan));
                dirty.listeners.extend(fits.map(|plan| Arc::clone(&plan.name)));
            }
            ApplyTo::RouteConfiguration => {
                let tables = self
                    .tables
                    .keys()
                    .filter(|name| matches::route_configuration(what, &self.route_place(name)));
                dirty.skeletons.extend(tables.cloned());
            }
            ApplyTo::VirtualHost | ApplyTo::HttpRoute => {
                let places: Vec<Arc<str>> = self.tables.keys().cloned().collect();
                let fits = |name: &str, domains: &[String]| {
                    let has = |domain: &str| domains.iter().any(|own| own == domain);
                    matches::named_host(what, name, has)
                };
                for name in places {
                    if matches::route_configuration(what, &self.route_place(&name))
                        && let Some(table) = self.tables.get_mut(&name)
                        && table.touch_named(&fits)
                    {
                        dirty.tables.insert(name);
                    }
                }
            }
            ApplyTo::Cluster => {
                let hosts = self.registry.hosts().filter(|host| matches::host(what, host));
                dirty.hosts.extend(hosts.cloned());
            }
            _ => {}
        }
    }

    /// What patches may know of a route configuration.
    pub(super) fn route_place(&self, table: &str) -> RoutePlace {
        // There may be thousands of them.
        let table_of = self.tables.get(table).filter(|_| self.filters.ask_for_servers());
        let servers = table_of.map(RouteTable::servers).unwrap_or_default();
        let of_sidecar = self.options.workload().is_some();
        RoutePlace { of_sidecar, ..RoutePlace::of_gateway(table, servers) }
    }

    /// Puts a resource as EnvoyFilters leave it.
    pub(super) fn put(&mut self, resource: Resource, dirty: &mut Dirty) {
        let place = match resource.kind {
            ResourceType::RouteConfiguration if self.filters.touch(IN_TABLES) => {
                Some(self.route_place(&resource.name))
            }
            ResourceType::VirtualHost if self.filters.touch(IN_HOSTS) => {
                split_virtual_host_name(&resource.name).map(|(table, _)| self.route_place(table))
            }
            _ => None,
        };
        self.put_at(resource, &place.unwrap_or_default(), dirty);
    }

    /// The same, of a virtual host with routes for these places only.
    pub(super) fn put_routed(
        &mut self,
        resource: Resource,
        routes: &[(Place, ObjectKey)],
        dirty: &mut Dirty,
    ) {
        if !self.filters.touch(IN_HOSTS) {
            return self.put(resource, dirty);
        }
        let table = split_virtual_host_name(&resource.name).map(|(table, _)| table);
        let place = self.routed_place(table.unwrap_or_default(), routes);
        self.put_at(resource, &place, dirty);
    }

    /// What patches may know of a virtual host with routes for these places only.
    fn routed_place(&self, table: &str, routes: &[(Place, ObjectKey)]) -> RoutePlace {
        let mut place = self.route_place(table);
        place.servers.retain(|face| {
            let own = |(place, _): &(Place, _)| {
                *place.gateway == *face.gateway && place.port == face.port
            };
            routes.iter().any(own)
        });
        place
    }

    fn put_at(&mut self, resource: Resource, place: &RoutePlace, dirty: &mut Dirty) {
        let (target, sorts) = match resource.kind {
            ResourceType::Listener => (Target::Listener, IN_LISTENERS),
            ResourceType::Cluster => {
                (Target::Cluster(self.sidecar.hosts(&resource.name)), &[ApplyTo::Cluster][..])
            }
            ResourceType::RouteConfiguration => (Target::RouteConfiguration(place), IN_TABLES),
            ResourceType::VirtualHost => (Target::VirtualHost(place), IN_HOSTS),
            ResourceType::Endpoints | ResourceType::Secret => return self.outbox.put(resource),
        };
        let key = (resource.kind, Arc::clone(&resource.name));
        if !self.filters.touch(sorts) {
            self.settle_trace(&key, &Trace::default(), dirty);
            return self.outbox.put(resource);
        }
        let Resource { kind, name, bytes, .. } = resource;
        let found = patched(&self.filters, target, &name, bytes, self.options.judge);
        self.settle_trace(&key, &found.trace, dirty);
        match found.bytes {
            Some(bytes) => self.outbox.put(Resource::new(kind, name, bytes)),
            None => self.outbox.remove(kind, name),
        }
    }

    fn settle_trace(&mut self, key: &Key, trace: &Trace, dirty: &mut Dirty) {
        if trace.is_empty() && !self.patches.traces.contains_key(key) {
            return;
        }
        let touched = self.patches.note(key, trace);
        if key.0 == ResourceType::Listener && !touched.is_empty() {
            dirty.status.extend(self.filters.speaking_to_filters().cloned());
        }
        if !touched.is_empty() {
            dirty.status.extend(self.filters.with_open_descriptors().cloned());
        }
        dirty.status.extend(touched);
    }

    /// Forgets what was found on resources that this batch takes away.
    pub(super) fn forget_patched(&mut self, dirty: &mut Dirty) {
        if self.patches.traces.is_empty() {
            return;
        }
        for key in self.outbox.gone() {
            // A resource that a patch removes is one that it had to do with.
            let removed = self.patches.traces.get(&key).is_some_and(|trace| !trace.made.is_empty());
            if !removed || !self.compiles(&key) {
                self.settle_trace(&key, &Trace::default(), dirty);
            }
        }
    }

    /// Whether objects other than EnvoyFilters make a resource.
    fn compiles(&self, (kind, name): &Key) -> bool {
        match kind {
            _ if self.options.workload().is_some() && self.sidecar.has(*kind, name) => true,
            ResourceType::Listener => self.listeners.opens(name),
            ResourceType::RouteConfiguration => self.tables.contains_key(name),
            ResourceType::VirtualHost => {
                split_virtual_host_name(name).is_some_and(|(table, host)| {
                    self.tables
                        .get(table)
                        .is_some_and(|table| table.names().any(|own| *own == *host))
                })
            }
            ResourceType::Cluster => {
                let of_host =
                    names::of_cluster(name).and_then(|(host, ..)| self.clusters.get(host));
                of_host.is_some_and(|of_host| of_host.contains(name))
            }
            ResourceType::Endpoints | ResourceType::Secret => false,
        }
    }

    /// Adds and takes away what EnvoyFilters add.
    pub(super) fn emit_added(&mut self, dirty: &mut Dirty) {
        const SORTS: [ApplyTo; 3] = [ApplyTo::Listener, ApplyTo::Cluster, ApplyTo::VirtualHost];
        if self.patches.added.is_empty()
            && self.patches.not_added.is_empty()
            && !self.filters.touch(&SORTS)
        {
            return;
        }
        let wanted: Vec<(ResourceType, String, Added)> =
            SORTS.into_iter().flat_map(|sort| self.wanted(sort)).collect();
        let mut now: BTreeMap<Key, (Resource, ObjectKey, usize)> = BTreeMap::new();
        let mut refused: BTreeMap<ObjectKey, Vec<Refused>> = BTreeMap::new();
        for (kind, name, added) in wanted {
            let bytes = Bytes::from(encode(&added.message));
            let resource = Resource::new(kind, name.as_str(), bytes);
            let key: Key = (kind, Arc::clone(&resource.name));
            let taken = now.contains_key(&key) || self.compiles(&key);
            let reason = match added.name().is_empty() {
                true => Some(".patch.value.name: must be given".to_owned()),
                false if taken => Some(format!(".patch.value.name: there is a {name} already")),
                false => None,
            };
            let reason = reason.map(|reason| Refused { patch: added.patch, reason });
            match reason.or_else(|| added.refusal(&resource, self.options.judge)) {
                Some(fault) => refused.entry(added.filter.key.clone()).or_default().push(fault),
                None => {
                    now.insert(key, (resource, added.filter.key.clone(), added.patch));
                }
            }
        }
        for key in std::mem::take(&mut self.patches.added) {
            if !now.contains_key(&key) && !self.compiles(&key) {
                self.settle_trace(&key, &Trace::default(), dirty);
                self.outbox.remove(key.0, key.1);
            }
        }
        self.patches.added = now.keys().cloned().collect();
        for (key, (resource, filter, patch)) in now {
            let made = BTreeMap::from([(filter, BTreeSet::from([patch]))]);
            self.settle_trace(&key, &Trace { made, ..Trace::default() }, dirty);
            self.outbox.put(resource);
        }
        dirty.status.extend(refused.keys().chain(self.patches.not_added.keys()).cloned());
        self.patches.not_added = refused;
    }

    /// What EnvoyFilters would add of a sort, each with the type and name of its resource.
    fn wanted(&self, sort: ApplyTo) -> Vec<(ResourceType, String, Added)> {
        let all = patch::added(&self.filters, sort);
        let mut wanted = Vec::new();
        for added in all {
            match sort {
                ApplyTo::Listener => wanted.push((ResourceType::Listener, added.name(), added)),
                ApplyTo::Cluster => wanted.push((ResourceType::Cluster, added.name(), added)),
                _ => {
                    for table in self.tables.keys().chain(self.sidecar.tables()) {
                        let place = self.route_place(table);
                        if is_of_context(&added.what, table)
                            && matches::route_configuration(&added.what, &place)
                        {
                            let name = virtual_host_name(table, &added.name());
                            wanted.push((ResourceType::VirtualHost, name, added.clone()));
                        }
                    }
                }
            }
        }
        wanted
    }

    /// What became of the routes of a virtual host, given in the order that they had. `None` where no patch was made.
    pub(super) fn patched_routes(
        &self,
        table: &str,
        name: &str,
        routes: &[&EncodedRoute],
    ) -> Option<PatchedRoutes> {
        let resource = virtual_host_name(table, name);
        self.patches.traces.get(&(ResourceType::VirtualHost, resource.as_str().into()))?;
        let shared = self.tables.get(table)?.shared(name)?;
        let place = self.routed_place(table, &shared.routing.routes);
        let demands = shared.routing.demands();
        let bytes = virtual_host::virtual_host(name, shared.domains, demands, routes);
        let mut host = VirtualHost::decode(bytes).ok()?;
        let count = host.routes.len();
        // A field that the proxy does not look at says which route it was.
        for (number, route) in host.routes.iter_mut().enumerate() {
            route.stat_prefix = number.to_string();
        }
        let target = Target::VirtualHost(&place);
        let bytes = host.encode_to_vec().into();
        let found = patched(&self.filters, target, &resource, bytes, self.options.judge);
        let patch = |removed: &Removed| Origin::new(removed.filter.clone(), path(removed.patch));
        let known = |removed: &Removed| Some((removed.mark.parse().ok()?, patch(removed)));
        let mut removed: BTreeMap<usize, Origin> = found.removed.iter().filter_map(known).collect();
        let Some(bytes) = found.bytes else {
            // What took the virtual host itself away came last.
            let last = patch(found.removed.last()?);
            for number in 0..count {
                removed.entry(number).or_insert_with(|| last.clone());
            }
            return Some(PatchedRoutes { kept: Vec::new(), removed });
        };
        let host = VirtualHost::decode(bytes).ok()?;
        let of = |route: &Route| {
            route.stat_prefix.parse().map_err(|_| self.adder(&found.trace, &route.name))
        };
        let kept = host
            .routes
            .iter()
            .map(of)
            .map(|found| found.map_or_else(|adder| adder.map(Err), |n| Some(Ok(n))));
        Some(PatchedRoutes { kept: kept.collect::<Option<_>>()?, removed })
    }

    /// The patch that added a route of a name.
    fn adder(&self, trace: &Trace, route: &str) -> Option<Origin> {
        let mut made = trace.made.iter().filter_map(|(key, made)| {
            let patches = self.filters.get(key)?.patches(ApplyTo::HttpRoute);
            let mut adding = patches.filter(|patch| {
                made.contains(&patch.number)
                    && patch
                        .value
                        .as_ref()
                        .is_some_and(|value| matches::text(value, "name") == route)
            });
            adding.next().map(|patch| Origin::new(key.clone(), path(patch.number)))
        });
        made.next()
    }

    /// The patches that changed a resource and whose values speak of a filter.
    #[must_use]
    pub fn patched_for(&self, kind: ResourceType, name: &str, filter: &str) -> Vec<Origin> {
        let speaking = self.patches.speaking_of(filter, kind, name, &self.filters);
        speaking.into_iter().map(|(key, number)| Origin::new(key, path(number))).collect()
    }

    /// The patches that speak of one of several filters of a name in a listener, which serves `routes`: those that put it there in the
    /// form that it has, where nobody changed it later. `number` is its place among the `count` of that name.
    #[must_use]
    pub fn patched_in(
        &self,
        listener: &Resource,
        (routes, filter): (&str, &str),
        (number, count): (usize, usize),
    ) -> Vec<Origin> {
        let all = self.patched_for(listener.kind, &listener.name, filter);
        let forms = forms(&listener.bytes, routes, filter);
        let Some(form) = forms.get(number).filter(|_| forms.len() == count) else { return all };
        let puts = |origin: &&Origin| {
            let patches = self.filters.get(&origin.key).map(|filter| &filter.patches);
            let own = |patch: &&Patch| origin.path.ends_with(&path(patch.number));
            let mut own = patches.into_iter().flatten().filter(own);
            own.any(|patch| patch.value.as_ref().is_some_and(|value| encode(value) == *form))
        };
        let own: Vec<Origin> = all.iter().filter(puts).cloned().collect();
        if own.is_empty() { all } else { own }
    }

    /// The patches that speak of a filter for a route of a virtual host, which is at `number` among `count`: those for that route, or
    /// else those for the host.
    #[must_use]
    pub fn patched_on(
        &self,
        host: &Resource,
        filter: &str,
        (number, count): (usize, usize),
    ) -> Vec<Origin> {
        let all = self.patches.speaking_of(filter, host.kind, &host.name, &self.filters);
        let route = route_at(&host.bytes, number, count);
        let patch = |(key, number): &(ObjectKey, usize)| {
            let mut patches = self.filters.get(key)?.patches.iter();
            patches.find(|patch| patch.number == *number)
        };
        let of_route = |made: &&(ObjectKey, usize)| {
            let (Some(patch), Some(route)) = (patch(made), &route) else { return false };
            patch.apply_to == ApplyTo::HttpRoute
                && match patch.operation {
                    Operation::Merge | Operation::MergeAndReplaceList => {
                        matches::route(&patch.what, route)
                    }
                    _ => patch.value.as_ref().is_some_and(|value| {
                        matches::text(value, "name") == matches::text(route, "name")
                    }),
                }
        };
        let of_host = |made: &&(ObjectKey, usize)| {
            route.is_some() && patch(made).is_some_and(|patch| patch.apply_to != ApplyTo::HttpRoute)
        };
        let mut found: Vec<&(ObjectKey, usize)> = all.iter().filter(of_route).collect();
        if found.is_empty() {
            found = all.iter().filter(of_host).collect();
        }
        if found.is_empty() {
            found = all.iter().collect();
        }
        found.into_iter().map(|(key, number)| Origin::new(key.clone(), path(*number))).collect()
    }

    /// The patches that changed a resource, in no order of importance.
    #[must_use]
    pub fn patched_by(&self, kind: ResourceType, name: &str) -> Vec<Origin> {
        let Some(trace) = self.patches.traces.get(&(kind, name.into())) else { return Vec::new() };
        let made = trace.made.iter();
        let of = |(key, numbers): (&ObjectKey, &BTreeSet<usize>)| -> Vec<Origin> {
            numbers.iter().map(|number| Origin::new(key.clone(), path(*number))).collect()
        };
        made.flat_map(of).collect()
    }
}

/// One of so many routes of a virtual host.
fn route_at(host: &[u8], number: usize, count: usize) -> Option<DynamicMessage> {
    let host = dynamic(ApplyTo::VirtualHost.message(), host).ok()?;
    let routes = host.get_field_by_name("routes")?;
    let routes = routes.as_list().filter(|routes| routes.len() == count)?;
    routes.get(number)?.as_message().cloned()
}

/// The HTTP filters of a name in front of a route configuration, encoded, in their order.
fn forms(listener: &[u8], routes: &str, name: &str) -> Vec<Vec<u8>> {
    let listener = Listener::decode(listener).unwrap_or_default();
    let chains = listener.filter_chains.iter().chain(&listener.default_filter_chain);
    let managers = chains.flat_map(|chain| &chain.filters).filter_map(|filter| {
        let Some(ConfigType::TypedConfig(config)) = &filter.config_type else { return None };
        HttpConnectionManager::decode(&*config.value).ok()
    });
    let mut serving = managers.filter(|manager| match &manager.route_specifier {
        Some(RouteSpecifier::Rds(rds)) => rds.route_config_name == routes,
        _ => false,
    });
    let filters = serving.next().map(|manager| manager.http_filters).unwrap_or_default();
    filters.iter().filter(|filter| filter.name == name).map(Message::encode_to_vec).collect()
}
