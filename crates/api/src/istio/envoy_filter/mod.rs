//! EnvoyFilter: changes to the Envoy configuration that everything else is compiled to.

use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::Value;
use tidegate_envoy::json::{self, JsonError};
use tidegate_envoy::prost_reflect::DynamicMessage;

use super::policy::TargetReference;
use super::service_entry::WorkloadSelector;
use crate::scalar::Port;
use crate::schema::rules::says;

mod validate;

/// Changes the Envoy configuration that other resources are compiled to: filters, listeners, routes, clusters.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [says(
    "!(has(self.workloadSelector) && has(self.targetRefs))",
    "only one of targetRefs or workloadSelector can be set",
)]))]
pub struct EnvoyFilter {
    /// The workloads whose proxies are changed; all of the namespace when absent, and all of the mesh in the root
    /// namespace.
    pub workload_selector: Option<WorkloadSelector>,
    /// Gateways of the Gateway API whose proxies are changed, in place of a selector.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub target_refs: Vec<TargetReference>,
    /// The changes, in the order in which they are made.
    #[serde(default)]
    pub config_patches: Vec<ConfigPatch>,
    /// Which EnvoyFilters come first: the smallest number does, also below zero. Then those of the root namespace, then
    /// the oldest.
    #[serde(default)]
    pub priority: i32,
}

/// One change.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "EnvoyConfigObjectPatch")]
pub struct ConfigPatch {
    /// What sort of thing is changed.
    pub apply_to: Option<ApplyTo>,
    /// Which of them; all when absent.
    pub r#match: Option<ObjectMatch>,
    /// What is done.
    pub patch: Option<Patch>,
}

/// A sort of things in Envoy's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ApplyTo {
    /// A listener.
    Listener,
    /// A filter chain of a listener.
    FilterChain,
    /// A network filter of a filter chain.
    NetworkFilter,
    /// An HTTP filter of a connection manager.
    HttpFilter,
    /// A route configuration.
    RouteConfiguration,
    /// A virtual host of a route configuration.
    VirtualHost,
    /// A route of a virtual host.
    HttpRoute,
    /// A cluster.
    Cluster,
    /// An extension that is fetched by itself.
    ExtensionConfig,
    /// The bootstrap.
    Bootstrap,
    /// A listener filter of a listener.
    ListenerFilter,
}

/// Which things are changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(
    rename = "EnvoyConfigObjectMatch",
    extend(
        "x-oneof" = [["listener", "routeConfiguration", "cluster", "waypoint"]],
        "x-kubernetes-validations" = [says(
            "has(self.waypoint) == (has(self.context) && self.context == 'WAYPOINT')",
            "only support waypointMatch when context is WAYPOINT",
        )]
    )
)]
pub struct ObjectMatch {
    /// In which proxies, and in which direction. ANY when absent.
    #[serde(default)]
    pub context: PatchContext,
    /// In which proxies, by what they are.
    pub proxy: Option<ProxyMatch>,
    /// In which listeners, for what is inside one.
    pub listener: Option<ListenerMatch>,
    /// In which route configurations, for what is inside one.
    pub route_configuration: Option<RouteConfigurationMatch>,
    /// Which clusters.
    pub cluster: Option<ClusterMatch>,
    /// What of a waypoint.
    pub waypoint: Option<WaypointMatch>,
}

/// A sort of proxy and a direction of traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PatchContext {
    /// Gateways, and sidecars in both directions.
    #[default]
    Any,
    /// What comes in at sidecars.
    SidecarInbound,
    /// What goes out through sidecars.
    SidecarOutbound,
    /// Gateways.
    Gateway,
    /// Waypoints.
    Waypoint,
}

/// What a proxy says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProxyMatch {
    /// A regular expression for the proxy's version.
    #[serde(default)]
    pub proxy_version: String,
    /// Metadata of the proxy's node, all of which it has to have.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

/// Which listeners, and what inside them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListenerMatch {
    /// The port that is listened on.
    #[serde(default, deserialize_with = "crate::scalar::zero_is_no_port")]
    #[schemars(schema_with = "crate::scalar::port_or_zero")]
    pub port_number: Option<Port>,
    /// Not used; Istio does not, either.
    #[serde(default)]
    pub port_name: String,
    /// Which filter chain.
    pub filter_chain: Option<FilterChainMatch>,
    /// Which listener filter, by name.
    #[serde(default)]
    pub listener_filter: String,
    /// The listener's name.
    #[serde(default)]
    pub name: String,
}

/// Which filter chain of a listener, by what it asks of connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FilterChainMatch {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// One of the server names that it asks for.
    #[serde(default)]
    pub sni: String,
    /// The transport protocol that it asks for: `tls` or `raw_buffer`.
    #[serde(default)]
    pub transport_protocol: String,
    /// Application protocols that it asks for, with commas between.
    #[serde(default)]
    pub application_protocols: String,
    /// Which filter of it.
    pub filter: Option<FilterMatch>,
    /// The destination port that it asks for.
    #[serde(default, deserialize_with = "crate::scalar::zero_is_no_port")]
    #[schemars(schema_with = "crate::scalar::port_or_zero")]
    pub destination_port: Option<Port>,
}

/// Which network filter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FilterMatch {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Which HTTP filter, where it is a connection manager.
    pub sub_filter: Option<SubFilterMatch>,
}

/// Which HTTP filter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubFilterMatch {
    /// Its name.
    #[serde(default)]
    pub name: String,
}

/// Which route configurations, and what inside them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteConfigurationMatch {
    /// The port of the servers, or of the service, that it is for.
    #[serde(default, deserialize_with = "crate::scalar::zero_is_no_port")]
    #[schemars(schema_with = "crate::scalar::port_or_zero")]
    pub port_number: Option<Port>,
    /// The name of the server's port, at gateways.
    #[serde(default)]
    pub port_name: String,
    /// The Gateway that it is for, as namespace/name.
    #[serde(default)]
    pub gateway: String,
    /// Which virtual host of it.
    pub vhost: Option<VirtualHostMatch>,
    /// Its name.
    #[serde(default)]
    pub name: String,
}

/// Which virtual host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VirtualHostMatch {
    /// Its name, `HOST:PORT`.
    #[serde(default)]
    pub name: String,
    /// One of its domains.
    #[serde(default)]
    pub domain_name: String,
    /// Which route of it.
    pub route: Option<RouteMatch>,
}

/// Which route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "EnvoyFilterRouteMatch")]
pub struct RouteMatch {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// What it does with requests. ANY when absent.
    #[serde(default)]
    pub action: RouteAction,
}

/// What a route does with requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RouteAction {
    /// Whatever it is.
    #[default]
    Any,
    /// It sends them on.
    Route,
    /// It redirects them.
    Redirect,
    /// It answers them.
    DirectResponse,
}

/// Which clusters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterMatch {
    /// The port of the service.
    #[serde(default, deserialize_with = "crate::scalar::zero_is_no_port")]
    #[schemars(schema_with = "crate::scalar::port_or_zero")]
    pub port_number: Option<Port>,
    /// The service's full host name.
    #[serde(default)]
    pub service: String,
    /// The subset.
    #[serde(default)]
    pub subset: String,
    /// The cluster's name; nothing else counts where it is given.
    #[serde(default)]
    pub name: String,
}

/// What of a waypoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaypointMatch {
    /// The port of the service.
    pub port_number: Option<Port>,
    /// Which filter.
    pub filter: Option<FilterMatch>,
    /// Which route.
    pub route: Option<SubFilterMatch>,
}

/// What is done.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Patch {
    /// How the value and what is there come together.
    pub operation: Option<Operation>,
    /// Envoy's configuration, as JSON; not for REMOVE.
    #[serde(default)]
    #[schemars(schema_with = "free_form")]
    pub value: Value,
    /// Where among Istio's own filters an HTTP filter is added.
    #[serde(default)]
    pub filter_class: FilterClass,
}

/// How a value and what is there come together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Operation {
    /// The value's fields replace those that are there; lists grow.
    Merge,
    /// The value is added at the end.
    Add,
    /// What is there goes.
    Remove,
    /// The value is added before what is there; at the front where the match names nothing.
    InsertBefore,
    /// The value is added after what is there; at the end where the match names nothing.
    InsertAfter,
    /// The value is added at the front.
    InsertFirst,
    /// The value takes the place of a filter.
    Replace,
    /// As MERGE, but lists are replaced.
    MergeAndReplaceList,
}

/// A place among Istio's own filters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FilterClass {
    /// Where the operation says.
    #[default]
    Unspecified,
    /// After authentication.
    Authn,
    /// After authorization.
    Authz,
    /// Before statistics.
    Stats,
}

fn free_form(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "properties": {}, "x-kubernetes-preserve-unknown-fields": true})
}

impl ApplyTo {
    /// Full name of the message that a value is.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::Listener => "envoy.config.listener.v3.Listener",
            Self::FilterChain => "envoy.config.listener.v3.FilterChain",
            Self::NetworkFilter => "envoy.config.listener.v3.Filter",
            Self::HttpFilter => {
                "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter"
            }
            Self::RouteConfiguration => "envoy.config.route.v3.RouteConfiguration",
            Self::VirtualHost => "envoy.config.route.v3.VirtualHost",
            Self::HttpRoute => "envoy.config.route.v3.Route",
            Self::Cluster => "envoy.config.cluster.v3.Cluster",
            Self::ExtensionConfig => "envoy.config.core.v3.TypedExtensionConfig",
            Self::Bootstrap => "envoy.config.bootstrap.v3.Bootstrap",
            Self::ListenerFilter => "envoy.config.listener.v3.ListenerFilter",
        }
    }

    /// Its name, as objects write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Listener => "LISTENER",
            Self::FilterChain => "FILTER_CHAIN",
            Self::NetworkFilter => "NETWORK_FILTER",
            Self::HttpFilter => "HTTP_FILTER",
            Self::RouteConfiguration => "ROUTE_CONFIGURATION",
            Self::VirtualHost => "VIRTUAL_HOST",
            Self::HttpRoute => "HTTP_ROUTE",
            Self::Cluster => "CLUSTER",
            Self::ExtensionConfig => "EXTENSION_CONFIG",
            Self::Bootstrap => "BOOTSTRAP",
            Self::ListenerFilter => "LISTENER_FILTER",
        }
    }
}

impl fmt::Display for ApplyTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Operation {
    /// Its name, as objects write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Merge => "MERGE",
            Self::Add => "ADD",
            Self::Remove => "REMOVE",
            Self::InsertBefore => "INSERT_BEFORE",
            Self::InsertAfter => "INSERT_AFTER",
            Self::InsertFirst => "INSERT_FIRST",
            Self::Replace => "REPLACE",
            Self::MergeAndReplaceList => "MERGE_AND_REPLACE_LIST",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ConfigPatch {
    /// The value as Envoy's message; `None` where there is none.
    ///
    /// # Errors
    /// The first field that the message does not have, or that has a value of another type.
    pub fn message(&self) -> Result<Option<DynamicMessage>, JsonError> {
        let (Some(apply_to), Some(patch)) = (self.apply_to, &self.patch) else { return Ok(None) };
        if patch.value.is_null() || patch.operation == Some(Operation::Remove) {
            return Ok(None);
        }
        json::message_from_istio(apply_to.message(), &patch.value).map(Some)
    }
}

#[cfg(test)]
mod tests;
