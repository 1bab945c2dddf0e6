//! Route configurations that stand inside a listener: Envoy shows them among those that are static.

use tidegate_envoy::prost::{Message, Name};
use tidegate_envoy::v3::hcm::HttpConnectionManager;
use tidegate_envoy::v3::hcm::http_connection_manager::RouteSpecifier;
use tidegate_envoy::v3::listener::filter::ConfigType;
use tidegate_envoy::v3::listener::{Filter, Listener};
use tidegate_envoy::v3::route::RouteConfiguration;
use tidegate_envoy::{type_name, unpack};

use super::super::state::{Accepted, Origin, Resource};

/// The route configurations inside a listener that is in force, as resources of their own.
pub(super) fn route_configurations(listener: &Resource) -> Vec<Resource> {
    let Some(accepted) = &listener.accepted else { return Vec::new() };
    // What is in force has been decoded before.
    let Ok(message) = Listener::decode(accepted.bytes.clone()) else { return Vec::new() };
    let chains = message.filter_chains.iter().chain(&message.default_filter_chain);
    let inside = chains.flat_map(|chain| &chain.filters).filter_map(inside);
    inside
        .map(|routes| Resource {
            name: routes.name.as_str().into(),
            origin: Origin::Static,
            accepted: Some(Accepted {
                version: accepted.version.clone(),
                updated: accepted.updated,
                bytes: routes.encode_to_vec().into(),
            }),
            rejected: None,
            warming: false,
        })
        .collect()
}

/// What a connection manager has of routes in itself.
fn inside(filter: &Filter) -> Option<RouteConfiguration> {
    let Some(ConfigType::TypedConfig(config)) = &filter.config_type else { return None };
    if type_name(&config.type_url) != HttpConnectionManager::full_name() {
        return None;
    }
    let manager: HttpConnectionManager = unpack(config).ok()?;
    match manager.route_specifier? {
        RouteSpecifier::RouteConfig(routes) => Some(routes),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use tidegate_envoy::any;
    use tidegate_envoy::v3::listener::FilterChain;

    use super::*;

    fn chain(route_specifier: RouteSpecifier) -> FilterChain {
        let route_specifier = Some(route_specifier);
        let manager = HttpConnectionManager { route_specifier, ..Default::default() };
        let config_type = Some(ConfigType::TypedConfig(any(&manager)));
        FilterChain {
            filters: vec![Filter { config_type, ..Default::default() }],
            ..Default::default()
        }
    }

    #[test]
    fn only_what_stands_inside_is_found() {
        let routes = |name: &str| {
            let name = name.to_owned();
            RouteSpecifier::RouteConfig(RouteConfiguration { name, ..Default::default() })
        };
        let listener = Listener {
            filter_chains: vec![chain(routes("a")), chain(RouteSpecifier::Rds(Default::default()))],
            default_filter_chain: Some(chain(routes("b"))),
            ..Default::default()
        };
        let resource = |accepted| Resource {
            name: "l".into(),
            origin: Origin::Dynamic,
            accepted,
            rejected: None,
            warming: false,
        };
        let bytes = listener.encode_to_vec().into();
        let accepted = Accepted { version: String::new(), updated: SystemTime::UNIX_EPOCH, bytes };
        let found = route_configurations(&resource(Some(accepted)));
        let names: Vec<&str> = found.iter().map(|resource| &*resource.name).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(route_configurations(&resource(None)).is_empty());
    }
}
