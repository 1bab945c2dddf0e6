//! Which listeners, chains, filters, route configurations, virtual hosts, routes and clusters a patch is for.

use std::fmt;
use std::sync::Arc;

use tidegate_api::istio::envoy_filter::{
    ClusterMatch, FilterChainMatch, ListenerMatch, ObjectMatch, RouteAction,
    RouteConfigurationMatch, VirtualHostMatch,
};
use tidegate_api::scalar::Port;
use tidegate_envoy::prost_reflect::{DynamicMessage, Value};

use crate::compile::sidecar::VIRTUAL_OUTBOUND;
use crate::model::gateway::Server;
use crate::model::merge::ListenerPlan;
use crate::model::names;
use crate::sidecar::inbound::VIRTUAL_INBOUND;

/// What is known of a route configuration, or of a virtual host, beside its message.
#[derive(Clone, Debug, Default)]
pub struct RoutePlace {
    /// Its name.
    pub name: String,
    /// The port that is listened on.
    pub listen: Option<u16>,
    /// The servers of Gateways that it is for; none in sidecars.
    pub servers: Vec<ServerFace>,
    /// Whether the proxy is a sidecar: as in Istio, its patches are not asked for what only servers have.
    pub of_sidecar: bool,
}

/// A server of a Gateway, as patches name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFace {
    /// The port that was written.
    pub port: u16,
    /// The port's name.
    pub port_name: String,
    /// `NAMESPACE/NAME` of the Gateway.
    pub gateway: String,
}

impl RoutePlace {
    /// That of a gateway's route configuration for these servers.
    #[must_use]
    pub fn of_gateway(name: &str, servers: &[Arc<Server>]) -> Self {
        Self {
            name: name.to_owned(),
            listen: names::port_of_routes(name),
            servers: servers.iter().map(|server| ServerFace::of(server)).collect(),
            of_sidecar: false,
        }
    }
}

impl ServerFace {
    fn of(server: &Server) -> Self {
        Self {
            port: server.port,
            port_name: server.port_name.clone(),
            gateway: server.gateway.to_string(),
        }
    }
}

impl fmt::Display for ServerFace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { port, port_name, gateway } = self;
        write!(f, "port {port} ({port_name}) of {gateway}")
    }
}

/// A text of a message; empty where it is not given.
pub(crate) fn text(message: &DynamicMessage, field: &str) -> String {
    let value = message.get_field_by_name(field);
    value.as_deref().and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A message inside another.
fn inner(message: &DynamicMessage, field: &str) -> Option<DynamicMessage> {
    if !message.has_field_by_name(field) {
        return None;
    }
    message.get_field_by_name(field)?.as_message().cloned()
}

fn has_text(message: &DynamicMessage, field: &str, wanted: &str) -> bool {
    let list = message.get_field_by_name(field);
    let list = list.as_deref().and_then(Value::as_list).unwrap_or_default();
    list.iter().any(|item| item.as_str() == Some(wanted))
}

fn number(value: &Value) -> Option<u32> {
    match value {
        Value::Message(wrapper) => wrapper.get_field_by_number(1)?.as_u32(),
        value => value.as_u32(),
    }
}

/// Whether nothing is asked, or this.
fn is(wanted: &str, found: &str) -> bool {
    wanted.is_empty() || wanted == found
}

/// Whether a patch is for a listener.
pub fn listener(what: &ObjectMatch, listener: &DynamicMessage) -> bool {
    let socket = || inner(&inner(listener, "address")?, "socket_address");
    let port = || socket()?.get_field_by_name("port_value")?.as_u32();
    what.listener.as_ref().is_none_or(|wanted| {
        is(&wanted.name, &text(listener, "name"))
            && wanted.port_number.is_none_or(|wanted| port() == Some(wanted.get().into()))
    })
}

/// Whether a listener is one of those that connections are redirected to.
#[must_use]
pub fn is_virtual(listener: &str) -> bool {
    [VIRTUAL_INBOUND, VIRTUAL_OUTBOUND].contains(&listener)
}

/// Whether a patch is for what is inside a listener: where connections are redirected to it, the port is that of a chain.
pub fn inside_listener(what: &ObjectMatch, message: &DynamicMessage) -> bool {
    let name = text(message, "name");
    match is_virtual(&name) {
        true => what.listener.as_ref().is_none_or(|wanted| is(&wanted.name, &name)),
        false => listener(what, message),
    }
}

/// Whether a patch may be for a listener that a plan becomes.
#[must_use]
pub fn listener_plan(what: &ObjectMatch, plan: &ListenerPlan) -> bool {
    what.listener.as_ref().is_none_or(|wanted| {
        plan.names().iter().any(|name| is(&wanted.name, name))
            && wanted.port_number.is_none_or(|wanted| wanted.get() == plan.port)
    })
}

fn wanted_chain(what: &ObjectMatch) -> Option<&FilterChainMatch> {
    what.listener.as_ref().and_then(|listener: &ListenerMatch| listener.filter_chain.as_ref())
}

/// Whether a patch is for a filter chain of a listener that it is for. `by_port`: chains are told apart by ports, as listeners
/// elsewhere are.
pub fn filter_chain(what: &ObjectMatch, by_port: bool, chain: &DynamicMessage) -> bool {
    let asks = inner(chain, "filter_chain_match");
    let of_port = what.listener.as_ref().and_then(|listener| listener.port_number);
    let port = asks.as_ref().and_then(|asks| {
        asks.has_field_by_name("destination_port")
            .then(|| number(&*asks.get_field_by_name("destination_port")?))?
    });
    if by_port && of_port.is_some_and(|wanted| port != Some(wanted.get().into())) {
        return false;
    }
    let Some(wanted) = wanted_chain(what) else { return true };
    let asks_for = |field: &str, wanted: &str| {
        wanted.is_empty() || asks.as_ref().is_some_and(|asks| has_text(asks, field, wanted))
    };
    let transport = asks.as_ref().map(|asks| text(asks, "transport_protocol")).unwrap_or_default();
    let protocols = wanted.application_protocols.split(',').map(str::trim);
    is(&wanted.name, &text(chain, "name"))
        && asks_for("server_names", &wanted.sni)
        && is(&wanted.transport_protocol, &transport)
        && protocols.into_iter().all(|protocol| asks_for("application_protocols", protocol))
        && wanted.destination_port.is_none_or(|wanted| port == Some(wanted.get().into()))
}

/// The name of the network filter that a patch is for.
pub fn network_filter(what: &ObjectMatch) -> Option<&str> {
    let filter = wanted_chain(what)?.filter.as_ref()?;
    // The name that Envoy had before is taken for today's.
    Some(match &*filter.name {
        "envoy.http_connection_manager" => "envoy.filters.network.http_connection_manager",
        "envoy.tcp_proxy" => "envoy.filters.network.tcp_proxy",
        name => name,
    })
}

/// The name of the HTTP filter that a patch is for.
pub fn http_filter(what: &ObjectMatch) -> Option<&str> {
    let filter = wanted_chain(what)?.filter.as_ref()?;
    Some(match &*filter.sub_filter.as_ref()?.name {
        "envoy.router" => "envoy.filters.http.router",
        name => name,
    })
}

/// The name of the listener filter that a patch is for.
pub fn listener_filter(what: &ObjectMatch) -> Option<&str> {
    let name = &what.listener.as_ref()?.listener_filter;
    (!name.is_empty()).then_some(name)
}

/// Whether a patch is for a route configuration, or for virtual hosts of it.
pub fn route_configuration(what: &ObjectMatch, place: &RoutePlace) -> bool {
    let Some(wanted) = &what.route_configuration else { return true };
    let RouteConfigurationMatch { port_number, port_name, gateway, name, .. } = wanted;
    let port = port_number.map(Port::get);
    let of_server = port_number.is_some() || !port_name.is_empty() || !gateway.is_empty();
    let fits = |server: &ServerFace| {
        port.is_none_or(|port| port == server.port || Some(port) == place.listen)
            && is(port_name, &server.port_name)
            && is(gateway, &server.gateway)
    };
    let without_servers = || {
        port.is_none_or(|port| Some(port) == place.listen)
            && (place.of_sidecar || port_name.is_empty() && gateway.is_empty())
    };
    is(name, &place.name)
        && (!of_server
            || match place.servers.is_empty() {
                true => without_servers(),
                false => place.servers.iter().any(fits),
            })
}

fn wanted_host(what: &ObjectMatch) -> Option<&VirtualHostMatch> {
    what.route_configuration.as_ref().and_then(|routes| routes.vhost.as_ref())
}

/// Whether a patch is for a virtual host of a route configuration that it is for.
pub fn virtual_host(what: &ObjectMatch, host: &DynamicMessage) -> bool {
    named_host(what, &text(host, "name"), |domain| has_text(host, "domains", domain))
}

/// The same of a virtual host that is not written yet: by its name, and by whether it has a domain.
pub fn named_host(what: &ObjectMatch, name: &str, has: impl Fn(&str) -> bool) -> bool {
    wanted_host(what).is_none_or(|wanted| {
        is(&wanted.name, name) && (wanted.domain_name.is_empty() || has(&wanted.domain_name))
    })
}

/// Whether a patch names a route.
pub fn names_route(what: &ObjectMatch) -> bool {
    wanted_host(what).is_some_and(|host| host.route.is_some())
}

/// Whether a patch is for a route of a virtual host that it is for.
pub fn route(what: &ObjectMatch, route: &DynamicMessage) -> bool {
    let Some(wanted) = wanted_host(what).and_then(|host| host.route.as_ref()) else { return true };
    let does = match wanted.action {
        RouteAction::Any => true,
        RouteAction::Route => route.has_field_by_name("route"),
        RouteAction::Redirect => route.has_field_by_name("redirect"),
        RouteAction::DirectResponse => route.has_field_by_name("direct_response"),
    };
    does && is(&wanted.name, &text(route, "name"))
}

/// Whether a patch is for a cluster. `hosts` are those of services that lead to it, where its name has none.
pub fn cluster(what: &ObjectMatch, name: &str, hosts: &[Arc<str>]) -> bool {
    let Some(wanted) = &what.cluster else { return true };
    let ClusterMatch { port_number, service, subset, name: wanted_name } = wanted;
    if !wanted_name.is_empty() {
        return wanted_name == name;
    }
    let (host, port, of_subset) = names::of_cluster(name).unwrap_or((name, 0, ""));
    (is(service, host) || hosts.iter().any(|host| **host == **service))
        && is(subset, of_subset)
        && port_number.is_none_or(|wanted| wanted.get() == port)
}

/// Whether a patch may be for clusters of a host.
pub fn host(what: &ObjectMatch, host: &str) -> bool {
    let Some(wanted) = &what.cluster else { return true };
    match wanted.name.is_empty() {
        true => is(&wanted.service, host),
        false => names::of_cluster(&wanted.name).is_some_and(|(of, ..)| of == host),
    }
}

#[cfg(test)]
mod tests;
