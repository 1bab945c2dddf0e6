//! What would become of a resource, asked before it is published.

use std::sync::Arc;

use tidegate_envoy::v3::route::{RouteConfiguration, RouteMatch};
use tidegate_xds::assemble::split_virtual_host_name;
use tidegate_xds::{Resource, ResourceType, Update};

use super::Applier;
use super::compile::matching::route_match;

/// Whether a resource would be taken, were it there by itself. Nothing comes of the question.
///
/// # Errors
/// The field that would be refused, and why.
pub fn would_take(resource: &Resource) -> Result<(), String> {
    let mut upsert = vec![Arc::new(resource.clone())];
    if resource.kind == ResourceType::VirtualHost
        && let Some((table, _)) = split_virtual_host_name(&resource.name)
    {
        let around = RouteConfiguration { name: table.to_owned(), ..RouteConfiguration::default() };
        let around = Resource::encode(ResourceType::RouteConfiguration, table, &around);
        upsert.push(Arc::new(around));
    }
    let mut applier = Applier::new(None);
    applier.apply(&Update { generation: 1, upsert, remove: Vec::new() });
    match applier.verdict().rejected.into_iter().next() {
        Some(rejection) if rejection.path.is_empty() => Err(rejection.reason),
        Some(rejection) => Err(format!("{}: {}", rejection.path, rejection.reason)),
        None => Ok(()),
    }
}

/// Which requests a route with this match takes; `None` where it is refused.
#[must_use]
pub fn matcher(matched: &RouteMatch) -> Option<crate::route::RouteMatch> {
    route_match(matched).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_envoy::v3::cluster::Cluster;
    use tidegate_envoy::v3::listener::Listener;
    use tidegate_envoy::v3::route::VirtualHost;

    use super::*;
    use crate::config::testing::proto;

    #[test]
    fn each_kind_is_judged_as_it_would_be() {
        let host = |status: u32| {
            let route = json!({"match": {"prefix": "/"}, "direct_response": {"status": status}});
            let host: VirtualHost =
                proto(&json!({"name": "h", "domains": ["*"], "routes": [route]}));
            would_take(&Resource::encode(ResourceType::VirtualHost, "table/h", &host))
        };
        assert_eq!(host(200), Ok(()));
        assert!(host(9).is_err_and(|why| why.starts_with("routes[0].direct_response.status: ")));
        let cluster: Cluster =
            proto(&json!({"name": "c", "lb_policy": "MAGLEV", "type": "STATIC"}));
        let cluster =
            |name: &str| would_take(&Resource::encode(ResourceType::Cluster, name, &cluster));
        assert_eq!(cluster("c"), Ok(()));
        assert!(cluster("d").is_err_and(|why| why.starts_with("name: ")));
        let listener: Listener = proto(&json!({"name": "l"}));
        let listener = would_take(&Resource::encode(ResourceType::Listener, "l", &listener));
        assert!(listener.is_err());
    }
}
