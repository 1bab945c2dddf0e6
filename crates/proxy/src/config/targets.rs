//! Clusters that the routes of a static file name: Envoy refuses a file in which one of them is missing, unless
//! `RouteConfiguration.validate_clusters` is false (the default of routes that come by themselves).

use std::collections::BTreeSet;

use prost::Name as _;
use tidegate_envoy::v3::bootstrap::bootstrap::StaticResources;
use tidegate_envoy::v3::hcm::HttpConnectionManager;
use tidegate_envoy::v3::hcm::http_connection_manager::RouteSpecifier;
use tidegate_envoy::v3::listener::filter::ConfigType;
use tidegate_envoy::v3::listener::{Filter, FilterChain, Listener};
use tidegate_envoy::v3::route::RouteConfiguration;
use tidegate_envoy::v3::route::route::Action;
use tidegate_envoy::v3::route::route_action::{ClusterSpecifier, RequestMirrorPolicy};

use super::refusal::Refusal;

/// Every route to a cluster that the file does not have, with its path from the top of the file.
pub(super) fn missing(resources: &StaticResources) -> Vec<Refusal> {
    let known = resources.clusters.iter().map(|cluster| &*cluster.name).collect();
    let listeners = resources.listeners.iter().enumerate();
    let refusals = listeners.flat_map(|(index, listener)| {
        let place = format!("static_resources.listeners[{index}]");
        of_listener(listener, &known).into_iter().map(move |refusal| refusal.within(&place))
    });
    refusals.collect()
}

fn of_listener(listener: &Listener, known: &BTreeSet<&str>) -> Vec<Refusal> {
    let chains = listener.filter_chains.iter().enumerate();
    let chains = chains.map(|(index, chain)| (format!("filter_chains[{index}]"), chain));
    let default = listener.default_filter_chain.iter();
    let default = default.map(|chain| ("default_filter_chain".to_owned(), chain));
    let filters = chains.chain(default).flat_map(|(place, FilterChain { filters, .. })| {
        let filters = filters.iter().enumerate();
        filters.map(move |(index, filter)| (format!("{place}.filters[{index}]"), filter))
    });
    let refusals = filters.flat_map(|(place, filter)| {
        let found = routes(filter).map(|routes| of_routes(&routes, known)).unwrap_or_default();
        let place = format!("{place}.typed_config.route_config");
        found.into_iter().map(move |refusal| refusal.within(&place))
    });
    refusals.collect()
}

/// The routes in a filter, if they are to be checked.
fn routes(filter: &Filter) -> Option<RouteConfiguration> {
    let Some(ConfigType::TypedConfig(config)) = &filter.config_type else { return None };
    if tidegate_envoy::type_name(&config.type_url) != HttpConnectionManager::full_name() {
        return None;
    }
    // What does not decode is refused where it is compiled.
    let manager: HttpConnectionManager = tidegate_envoy::unpack(config).ok()?;
    match manager.route_specifier? {
        RouteSpecifier::RouteConfig(routes) => {
            Some(routes).filter(|routes| routes.validate_clusters.unwrap_or(true))
        }
        _ => None,
    }
}

fn of_routes(routes: &RouteConfiguration, known: &BTreeSet<&str>) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    // An empty name is refused for being empty.
    let mut see = |place: String, name: &str| {
        if !name.is_empty() && !known.contains(name) {
            refusals.push(Refusal::of(&place, unknown(name, known)));
        }
    };
    for (field, name) in mirrored(&routes.request_mirror_policies) {
        see(field, name);
    }
    for (i, host) in routes.virtual_hosts.iter().enumerate() {
        for (field, name) in mirrored(&host.request_mirror_policies) {
            see(format!("virtual_hosts[{i}].{field}"), name);
        }
        for (j, route) in host.routes.iter().enumerate() {
            let Some(Action::Route(action)) = &route.action else { continue };
            let named = named(action.cluster_specifier.as_ref()).into_iter();
            for (field, name) in named.chain(mirrored(&action.request_mirror_policies)) {
                see(format!("virtual_hosts[{i}].routes[{j}].route.{field}"), name);
            }
        }
    }
    refusals
}

/// The clusters that a route names, each with its path.
fn named(specifier: Option<&ClusterSpecifier>) -> Vec<(String, &str)> {
    match specifier {
        Some(ClusterSpecifier::Cluster(name)) => vec![("cluster".to_owned(), name)],
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            let clusters = weighted.clusters.iter().enumerate();
            let place = |index| format!("weighted_clusters.clusters[{index}].name");
            clusters.map(|(index, cluster)| (place(index), &*cluster.name)).collect()
        }
        _ => Vec::new(),
    }
}

/// The clusters that copies go to, each with its path.
fn mirrored(policies: &[RequestMirrorPolicy]) -> impl Iterator<Item = (String, &str)> {
    let place = |index| format!("request_mirror_policies[{index}].cluster");
    policies.iter().enumerate().map(move |(index, policy)| (place(index), &*policy.cluster))
}

fn unknown(name: &str, known: &BTreeSet<&str>) -> String {
    let there = Vec::from_iter(known.iter().copied()).join(", ");
    let there = if there.is_empty() { "none".to_owned() } else { there };
    format!("static_resources.clusters has no cluster {name:?}; there is: {there}")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::config::Bootstrap;

    const MANAGER: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

    /// A file with the clusters `a` and `b` and these routes.
    fn file(routes: &Value, validate: Option<bool>) -> Value {
        let mut config = json!({"name": "r",
            "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": routes}]});
        if let Some(validate) = validate {
            config["validate_clusters"] = json!(validate);
        }
        let manager = json!({"@type": MANAGER, "stat_prefix": "s", "route_config": config});
        let chain = json!({"filters": [{"name": "h", "typed_config": manager}]});
        let address = json!({"socket_address": {"address": "127.0.0.1", "port_value": 0}});
        let cluster = |name| json!({"name": name, "load_assignment": {"cluster_name": name}});
        json!({"static_resources": {
            "clusters": [cluster("a"), cluster("b")],
            "listeners": [{"address": address, "default_filter_chain": chain.clone(), "filter_chains": [chain]}],
        }})
    }

    fn to(action: &Value) -> Value {
        json!([{"match": {"prefix": "/"}, "route": action}])
    }

    #[test]
    fn a_route_to_no_cluster_is_refused_where_it_stands() {
        let weighted = json!({"weighted_clusters": {"clusters": [
            {"name": "a", "weight": 1}, {"name": "none", "weight": 0}]}});
        let cases = [
            (json!({"cluster": "none"}), "cluster"),
            (weighted, "weighted_clusters.clusters[1].name"),
            (
                json!({"cluster": "a", "request_mirror_policies": [{"cluster": "none"}]}),
                "request_mirror_policies[0].cluster",
            ),
        ];
        for (action, field) in cases {
            let file = |validate| Bootstrap::load(&file(&to(&action), validate)).map(drop);
            let refusals = file(None).expect_err("refused").refusals;
            let places: Vec<_> = refusals.iter().map(|refusal| &*refusal.path).collect();
            let within = |chain: &str| {
                format!(
                    "static_resources.listeners[0].{chain}.filters[0].typed_config.route_config\
                     .virtual_hosts[0].routes[0].route.{field}"
                )
            };
            assert_eq!(places, [within("filter_chains[0]"), within("default_filter_chain")]);
            assert!(refusals[0].reason.ends_with("no cluster \"none\"; there is: a, b"));
            assert!(file(Some(true)).is_err());
            assert!(file(Some(false)).is_ok());
        }
        let good = Bootstrap::load(&file(&to(&json!({"cluster": "b"})), None));
        assert!(good.is_ok(), "{good:?}");
    }
}
