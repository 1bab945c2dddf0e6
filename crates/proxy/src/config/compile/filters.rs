//! HTTP filters, and what routes say instead of their own configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost_types::Any;
use tidegate_envoy::v3::cors::{Cors, CorsPolicy};
use tidegate_envoy::v3::fault::HttpFault;
use tidegate_envoy::v3::hcm::HttpFilter;
use tidegate_envoy::v3::hcm::http_filter::ConfigType;
use tidegate_envoy::v3::http_rbac::{Rbac, RbacPerRoute};
use tidegate_envoy::v3::jwt::{JwtAuthentication, PerRouteConfig};
use tidegate_envoy::v3::local_ratelimit::LocalRateLimit;
use tidegate_envoy::v3::route::FilterConfig;
use tidegate_envoy::v3::router::Router;

use crate::config::refusal::{Refusal, Within as _};
use crate::filter::fault::FaultFilter;
use crate::filter::{Filter, Kind, Override, Overrides};

use super::cors::cors;
use super::fault::faults;
use super::jwt::{jwt, jwt_per_route};
use super::local_rate_limit::local_rate_limit;
use super::rbac::{http_rbac, rbac_per_route};
use super::{Links, is, noted, unpack};

/// What a request goes through.
pub(super) struct Filters {
    /// The filters before the router.
    pub before: Vec<Filter>,
    /// The router.
    pub router: Router,
}

/// The filters, in the connection manager with a prefix of statistics. The router must be the last of them. Optional filters of other types are skipped, as the capability
/// table has told.
pub(super) fn filters(
    filters: &[HttpFilter],
    manager: &str,
    links: &mut impl Links,
) -> Result<Filters, Refusal> {
    let (mut before, mut router) = (Vec::new(), None);
    for (index, filter) in filters.iter().enumerate() {
        let Some(ConfigType::TypedConfig(any)) = &filter.config_type else { continue };
        if is::<Router>(any) && index + 1 < filters.len() {
            return Err(Refusal::new("the router must be the last filter"))
                .within_item("http_filters", index);
        }
        if is::<Router>(any) && filter.disabled {
            return Err(Refusal::of("disabled", "the router cannot be disabled"))
                .within_item("http_filters", index);
        }
        if is::<Router>(any) {
            router = Some(unpack(any).within("typed_config").within_item("http_filters", index)?);
            continue;
        }
        let field = format!("http_filters[{index}].typed_config");
        let kind = noted(links, &field, |links| kind(any, manager, links))?;
        before.extend(kind.map(|kind| Filter {
            name: filter.name.as_str().into(),
            kind,
            only_by_route: filter.disabled,
        }));
    }
    let router = router.ok_or_else(|| Refusal::of("http_filters", "must end with the router"))?;
    Ok(Filters { before, router })
}

/// What a filter does; `None` for one that is optional and not known.
fn kind(any: &Any, manager: &str, links: &mut impl Links) -> Result<Option<Kind>, Refusal> {
    if is::<JwtAuthentication>(any) {
        return Ok(Some(Kind::Jwt(Arc::new(jwt(&unpack(any)?, manager, links)?))));
    }
    if is::<Rbac>(any) {
        return Ok(Some(Kind::Rbac(Arc::new(http_rbac(&unpack(any)?)?))));
    }
    if is::<Cors>(any) {
        return Ok(Some(Kind::Cors));
    }
    if is::<HttpFault>(any) {
        return Ok(Some(Kind::Fault(Arc::new(FaultFilter::new(faults(&unpack(any)?)?)))));
    }
    if is::<LocalRateLimit>(any) {
        return Ok(Some(Kind::LocalRateLimit(local_rate_limit(&unpack(any)?, false)?)));
    }
    Ok(None)
}

/// What a route, a virtual host or a route configuration says instead of filters' own configuration. What is
/// optional and of another type is skipped, as the capability table has told.
pub(super) fn overrides(configs: &BTreeMap<String, Any>) -> Result<Overrides, Refusal> {
    let mut entries = Vec::new();
    for (name, any) in configs {
        let compiled = override_of(any).within(&format!("typed_per_filter_config[{name:?}]"))?;
        entries.extend(compiled.map(|own| (name.as_str().into(), Arc::new(own))));
    }
    Ok(Overrides::new(entries))
}

fn override_of(any: &Any) -> Result<Option<Override>, Refusal> {
    if is::<FilterConfig>(any) {
        let config: FilterConfig = unpack(any)?;
        return match &config.config {
            _ if config.disabled => Ok(Some(Override::Off)),
            Some(empty) if empty.type_url.is_empty() => Ok(Some(Override::On)),
            Some(inner) => override_of(inner).within("config"),
            None => Err(Refusal::of("config", "must be set")),
        };
    }
    if is::<PerRouteConfig>(any) {
        return jwt_per_route(&unpack(any)?).map(|own| Some(Override::Jwt(own)));
    }
    if is::<RbacPerRoute>(any) {
        return rbac_per_route(&unpack(any)?).map(|set| Some(Override::Rbac(set)));
    }
    if is::<CorsPolicy>(any) {
        return cors(&unpack(any)?).map(|policy| Some(Override::Cors(policy)));
    }
    if is::<HttpFault>(any) {
        return faults(&unpack(any)?).map(|faults| Some(Override::Fault(faults)));
    }
    if is::<LocalRateLimit>(any) {
        let limit = local_rate_limit(&unpack(any)?, true)?;
        return Ok(Some(Override::LocalRateLimit(limit)));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::config::testing::proto;

    use super::*;

    const PER_ROUTE: &str =
        "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute";
    const FILTER_CONFIG: &str = "type.googleapis.com/envoy.config.route.v3.FilterConfig";

    #[test]
    fn overrides_by_the_name_of_the_filter() {
        let configs = json!({
            "whole": {"@type": PER_ROUTE, "rbac": {"rules": {}}},
            "none": {"@type": PER_ROUTE},
            "wrapped": {"@type": FILTER_CONFIG, "config": {"@type": PER_ROUTE, "rbac": {"rules": {}}}},
            "off": {"@type": FILTER_CONFIG, "disabled": true},
            "on": {"@type": FILTER_CONFIG, "config": {}},
            "skipped": {"@type": FILTER_CONFIG, "is_optional": true, "config":
                {"@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"}},
        });
        let host = |configs: &Value| -> tidegate_envoy::v3::route::VirtualHost {
            proto(&json!({"typed_per_filter_config": configs}))
        };
        let found = overrides(&host(&configs).typed_per_filter_config).expect("valid");
        let enforces = |name| {
            found.get(name).map(|own| matches!(own, Override::Rbac(set) if set.rules.is_some()))
        };
        assert_eq!(enforces("whole"), Some(true));
        assert_eq!(enforces("none"), Some(false));
        assert_eq!(enforces("wrapped"), Some(true));
        assert_eq!(enforces("skipped"), None);
        assert!(matches!(found.get("off"), Some(Override::Off)));
        assert!(matches!(found.get("on"), Some(Override::On)));
        let wrong = json!({"w": {"@type": FILTER_CONFIG, "config":
            {"@type": PER_ROUTE, "rbac": {"rules": {"policies": {"p": {}}}}}}});
        let refused = overrides(&host(&wrong).typed_per_filter_config).map(|_| ());
        assert_eq!(
            refused.map_err(|refusal| refusal.path),
            Err("typed_per_filter_config[\"w\"].config.rbac.rules.policies[\"p\"].permissions"
                .into())
        );
    }
}
