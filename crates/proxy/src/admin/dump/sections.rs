//! The sections of a dump, in Envoy's order. A message becomes JSON only when it is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value as Json, json};
use tidegate_envoy::json::{FieldNames, bytes_to_json};
use tidegate_xds::ResourceType;

use super::super::clusters::{eds_health, locality};
use super::super::state::{Accepted, Cluster, Origin, Resource, State};
use super::super::views::remote;
use super::inline::route_configurations;
use super::mask::Mask;
use super::redact::redact;
use crate::accesslog::timestamp;

/// One member of `configs`.
pub(super) struct Section {
    pub(super) type_url: &'static str,
    pub(super) parts: Vec<Part>,
}

/// A field of a section.
pub(super) enum Part {
    Field(&'static str, Item),
    List(List),
}

/// A list of messages.
pub(super) struct List {
    pub(super) name: &'static str,
    /// Type of its elements.
    pub(super) element: &'static str,
    pub(super) items: Vec<Item>,
}

/// A message that is not yet JSON.
pub(super) struct Item {
    /// Name of the resource.
    name: Arc<str>,
    /// Its `@type`, where one is shown.
    pub(super) type_url: Option<&'static str>,
    mask: Mask,
    make: Box<dyn FnOnce() -> Json + Send>,
}

impl Section {
    fn new(type_url: &'static str, parts: Vec<Part>) -> Self {
        Self { type_url, parts }
    }

    /// Keeps resources by name. What is no list stays.
    pub(super) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        for part in &mut self.parts {
            if let Part::List(list) = part {
                list.items.retain(|item| keep(&item.name));
            }
        }
    }

    /// What the mask shows of it; `None` if that is nothing.
    pub(super) fn mask(mut self, mask: &Mask) -> Option<Self> {
        if *mask == Mask::All {
            return Some(self);
        }
        self.parts.retain_mut(|part| match part {
            Part::Field(name, item) => mask.field(name).is_some_and(|mask| {
                item.mask = mask;
                true
            }),
            Part::List(list) => mask.field(list.name).is_some_and(|mask| {
                list.mask(&mask);
                true
            }),
        });
        (!self.parts.is_empty()).then_some(self)
    }
}

impl List {
    pub(super) fn mask(&mut self, mask: &Mask) {
        for item in &mut self.items {
            item.mask = mask.clone();
        }
    }
}

/// The message as it is shown: masked, and without secrets.
pub(super) fn redacted(item: Item) -> Json {
    let mut value = (item.make)();
    if let (Some(type_url), Json::Object(object)) = (item.type_url, &mut value) {
        object.insert("@type".into(), type_url.into());
    }
    redact(&mut value);
    item.mask.apply(&mut value);
    value
}

/// All sections; endpoints only if they are asked for, as in Envoy.
pub(super) fn all(state: &dyn State, endpoints: bool) -> Vec<Section> {
    let mut sections = vec![bootstrap(state), clusters(state)];
    sections.extend(endpoints.then(|| self::endpoints(state.clusters())));
    sections.extend([listeners(state), scoped_routes(), routes(state), secrets(state)]);
    sections
}

macro_rules! admin {
    ($name:literal) => {
        concat!("type.googleapis.com/envoy.admin.v3.", $name)
    };
}

const BOOTSTRAP: &str = "type.googleapis.com/envoy.config.bootstrap.v3.Bootstrap";
const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
const ENDPOINTS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
const ROUTE: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
const VIRTUAL_HOST: &str = "type.googleapis.com/envoy.config.route.v3.VirtualHost";
const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

fn bootstrap(state: &dyn State) -> Section {
    let started = state.about().started;
    let bytes = state.bootstrap();
    let field = |make: Box<dyn FnOnce() -> Json + Send>| Item {
        name: Arc::default(),
        type_url: None,
        mask: Mask::All,
        make,
    };
    Section::new(
        admin!("BootstrapConfigDump"),
        vec![
            Part::Field("bootstrap", field(Box::new(move || plain(BOOTSTRAP, &bytes)))),
            Part::Field("last_updated", field(Box::new(move || timestamp(started).into()))),
        ],
    )
}

fn clusters(state: &dyn State) -> Section {
    let mut fixed = Vec::new();
    let mut active = Vec::new();
    let mut warming = Vec::new();
    for resource in sorted(state.resources(ResourceType::Cluster)) {
        let list = match (resource.origin, resource.warming) {
            (Origin::Static, _) => &mut fixed,
            (Origin::Dynamic, false) => &mut active,
            (Origin::Dynamic, true) => &mut warming,
        };
        list.push(item(resource, "cluster", CLUSTER, Vec::new()));
    }
    let dynamic = admin!("ClustersConfigDump.DynamicCluster");
    Section::new(
        admin!("ClustersConfigDump"),
        vec![
            part("static_clusters", admin!("ClustersConfigDump.StaticCluster"), fixed),
            part("dynamic_active_clusters", dynamic, active),
            part("dynamic_warming_clusters", dynamic, warming),
        ],
    )
}

fn routes(state: &dyn State) -> Section {
    // Virtual hosts that are resources of their own are named ROUTE/HOST and shown where they belong.
    let mut hosts: BTreeMap<Arc<str>, Vec<Bytes>> = BTreeMap::new();
    for host in sorted(state.resources(ResourceType::VirtualHost)) {
        let Some(accepted) = host.accepted else { continue };
        let route = host.name.split_once('/').map_or("", |(route, _)| route);
        hosts.entry(route.into()).or_default().push(accepted.bytes);
    }
    let listeners = sorted(state.resources(ResourceType::Listener));
    let inline = listeners.iter().flat_map(route_configurations);
    let mut fixed: Vec<_> =
        inline.map(|resource| item(resource, "route_config", ROUTE, Vec::new())).collect();
    let mut dynamic = Vec::new();
    for resource in sorted(state.resources(ResourceType::RouteConfiguration)) {
        let hosts = hosts.remove(&resource.name).unwrap_or_default();
        let list = match resource.origin {
            Origin::Static => &mut fixed,
            Origin::Dynamic => &mut dynamic,
        };
        list.push(item(resource, "route_config", ROUTE, hosts));
    }
    Section::new(
        admin!("RoutesConfigDump"),
        vec![
            part("static_route_configs", admin!("RoutesConfigDump.StaticRouteConfig"), fixed),
            part("dynamic_route_configs", admin!("RoutesConfigDump.DynamicRouteConfig"), dynamic),
        ],
    )
}

/// Scoped routes are not in Istio's world; the section stands so that places in `configs` are Envoy's.
fn scoped_routes() -> Section {
    Section::new(admin!("ScopedRoutesConfigDump"), Vec::new())
}

fn secrets(state: &dyn State) -> Section {
    let mut fixed = Vec::new();
    let mut active = Vec::new();
    let mut warming = Vec::new();
    for resource in sorted(state.resources(ResourceType::Secret)) {
        let list = match (resource.origin, resource.warming) {
            (Origin::Static, _) => &mut fixed,
            (Origin::Dynamic, false) => &mut active,
            (Origin::Dynamic, true) => &mut warming,
        };
        let name = resource.name.clone();
        let inner = item(resource, "secret", SECRET, Vec::new());
        list.push(Item {
            name: name.clone(),
            make: Box::new(move || {
                let mut value = (inner.make)();
                value["name"] = (*name).into();
                value
            }),
            ..inner
        });
    }
    let dynamic = admin!("SecretsConfigDump.DynamicSecret");
    Section::new(
        admin!("SecretsConfigDump"),
        vec![
            part("static_secrets", admin!("SecretsConfigDump.StaticSecret"), fixed),
            part("dynamic_active_secrets", dynamic, active),
            part("dynamic_warming_secrets", dynamic, warming),
        ],
    )
}

fn listeners(state: &dyn State) -> Section {
    let mut fixed = Vec::new();
    let mut dynamic = Vec::new();
    for resource in sorted(state.resources(ResourceType::Listener)) {
        match resource.origin {
            Origin::Static => fixed.push(item(resource, "listener", LISTENER, Vec::new())),
            Origin::Dynamic => dynamic.push(dynamic_listener(resource)),
        }
    }
    Section::new(
        admin!("ListenersConfigDump"),
        vec![
            part("static_listeners", admin!("ListenersConfigDump.StaticListener"), fixed),
            part("dynamic_listeners", admin!("ListenersConfigDump.DynamicListener"), dynamic),
        ],
    )
}

/// `ListenersConfigDump.DynamicListener`: its states under keys of their own.
fn dynamic_listener(resource: Resource) -> Item {
    let name = resource.name.clone();
    let make = move || {
        let mut value = Map::new();
        value.insert("name".into(), (*resource.name).into());
        if let Some(accepted) = &resource.accepted {
            let key = if resource.warming { "warming_state" } else { "active_state" };
            value.insert(key.into(), state(accepted, "listener", LISTENER, &[]).into());
        }
        if let Some(error) = error_state(&resource, LISTENER) {
            value.insert("error_state".into(), error);
        }
        value.into()
    };
    Item { name, type_url: None, mask: Mask::All, make: Box::new(make) }
}

/// A resource as most lists show it: version, message under `field`, time, and what was refused.
fn item(
    resource: Resource,
    field: &'static str,
    type_url: &'static str,
    hosts: Vec<Bytes>,
) -> Item {
    let name = resource.name.clone();
    let make = move || {
        let mut value = match &resource.accepted {
            Some(accepted) => {
                let mut value = state(accepted, field, type_url, &hosts);
                if resource.origin == Origin::Static {
                    value.remove("version_info");
                }
                value
            }
            None => Map::new(),
        };
        if let Some(error) = error_state(&resource, type_url) {
            value.insert("error_state".into(), error);
        }
        value.into()
    };
    Item { name, type_url: None, mask: Mask::All, make: Box::new(make) }
}

fn state(accepted: &Accepted, field: &str, type_url: &str, hosts: &[Bytes]) -> Map<String, Json> {
    let mut message = typed(type_url, &accepted.bytes);
    if !hosts.is_empty() {
        let own = hosts.iter().map(|bytes| plain(VIRTUAL_HOST, bytes));
        match message.get_mut("virtual_hosts") {
            Some(Json::Array(inside)) => inside.extend(own),
            _ => message["virtual_hosts"] = own.collect(),
        }
    }
    let mut value = Map::new();
    value.insert("version_info".into(), accepted.version.as_str().into());
    value.insert(field.into(), message);
    value.insert("last_updated".into(), timestamp(accepted.updated).into());
    value
}

/// `envoy.admin.v3.UpdateFailureState`
fn error_state(resource: &Resource, type_url: &str) -> Option<Json> {
    let rejected = resource.rejected.as_ref()?;
    Some(json!({
        "failed_configuration": typed(type_url, &rejected.bytes),
        "last_update_attempt": timestamp(rejected.attempted),
        "details": rejected.reason,
        "version_info": rejected.version,
    }))
}

/// Endpoints as they are balanced over: one message for each cluster, as Envoy makes them up.
fn endpoints(mut clusters: Vec<Cluster>) -> Section {
    clusters.sort_by(|a, b| a.name.cmp(&b.name));
    let (mut fixed, mut dynamic) = (Vec::new(), Vec::new());
    for cluster in clusters {
        let list = if cluster.added_via_api { &mut dynamic } else { &mut fixed };
        list.push(Item {
            name: cluster.name.clone(),
            type_url: None,
            mask: Mask::All,
            make: Box::new(move || json!({"endpoint_config": load_assignment(&cluster)})),
        });
    }
    Section::new(
        admin!("EndpointsConfigDump"),
        vec![
            part(
                "static_endpoint_configs",
                admin!("EndpointsConfigDump.StaticEndpointConfig"),
                fixed,
            ),
            part(
                "dynamic_endpoint_configs",
                admin!("EndpointsConfigDump.DynamicEndpointConfig"),
                dynamic,
            ),
        ],
    )
}

/// `envoy.config.endpoint.v3.ClusterLoadAssignment`
fn load_assignment(cluster: &Cluster) -> Json {
    let mut groups: BTreeMap<_, Vec<Json>> = BTreeMap::new();
    for endpoint in &cluster.endpoints {
        let mut host = json!({"address": remote(&endpoint.address)});
        if !endpoint.hostname.is_empty() {
            host["hostname"] = endpoint.hostname.as_str().into();
        }
        groups.entry((endpoint.priority, &endpoint.locality)).or_default().push(json!({
            "endpoint": host,
            "health_status": eds_health(endpoint.health),
            "load_balancing_weight": endpoint.weight,
        }));
    }
    let groups = groups.into_iter().map(|((priority, place), hosts)| {
        let mut group = json!({"locality": locality(place), "lb_endpoints": hosts});
        if priority > 0 {
            group["priority"] = priority.into();
        }
        group
    });
    json!({
        "@type": ENDPOINTS,
        "cluster_name": *cluster.name,
        "endpoints": groups.collect::<Vec<_>>(),
        "policy": {"overprovisioning_factor": 140},
    })
}

fn part(name: &'static str, element: &'static str, items: Vec<Item>) -> Part {
    Part::List(List { name, element, items })
}

fn sorted(mut resources: Vec<Resource>) -> Vec<Resource> {
    resources.sort_by(|a, b| a.name.cmp(&b.name));
    resources
}

/// A message as JSON. What is no such message, which nobody accepted, is told instead.
fn plain(type_url: &str, bytes: &[u8]) -> Json {
    bytes_to_json(type_url, bytes, FieldNames::Proto)
        .unwrap_or_else(|error| json!({"undecodable": error.to_string()}))
}

/// A message as JSON with its `@type`.
fn typed(type_url: &str, bytes: &[u8]) -> Json {
    let mut value = plain(type_url, bytes);
    if let Json::Object(object) = &mut value {
        object.insert("@type".into(), type_url.into());
    }
    value
}
