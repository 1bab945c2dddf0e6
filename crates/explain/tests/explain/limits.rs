//! Limits on the way, and routes that EnvoyFilters changed.

use tidegate_explain::{Answer, End, Look, render};

use crate::support::{Case, question};

/// A limit for the listener, another for one of two routes, and a route in front of both.
const MANIFESTS: &str = r#"apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: app, namespace: default}
spec:
  hosts: [a.example]
  gateways: [gw]
  http:
  - {name: api, match: [{uri: {prefix: /api}}], directResponse: {status: 201}}
  - {name: rest, directResponse: {status: 202}}
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: limits, namespace: istio-system}
spec:
  configPatches:
  - applyTo: HTTP_FILTER
    patch:
      operation: INSERT_FIRST
      value:
        name: limit
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
          stat_prefix: all
          token_bucket: {max_tokens: 100, tokens_per_fill: 10, fill_interval: 1s}
          filter_enabled: {default_value: {numerator: 100}}
          filter_enforced: {default_value: {numerator: 100}}
  - applyTo: HTTP_ROUTE
    match: {routeConfiguration: {vhost: {route: {name: api}}}}
    patch:
      operation: MERGE
      value:
        typed_per_filter_config:
          limit:
            "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
            stat_prefix: api
            token_bucket: {max_tokens: 2, fill_interval: 60s}
            filter_enabled: {default_value: {numerator: 50}}
  - applyTo: HTTP_ROUTE
    match: {routeConfiguration: {vhost: {name: "a.example:80"}}}
    patch:
      operation: INSERT_FIRST
      value: {name: health, match: {path: /health}, direct_response: {status: 204}}
"#;

#[test]
fn limits_are_told_with_the_line_that_set_them() {
    let case = Case::behind_gateway(MANIFESTS);
    let told = |path: &str| {
        let answer = case.ask("a.example", path, &[]);
        let [limit] = answer.limits.as_slice() else { panic!("one limit: {answer:?}") };
        let [from] = limit.from.as_slice() else { panic!("one patch: {limit:?}") };
        assert_eq!((from.kind.as_str(), from.name.as_str()), ("EnvoyFilter", "limits"));
        (limit.asks.clone(), from.path.clone(), from.line)
    };
    let of_all = "allows 100 at once, then 10 per 1s; 429 beyond that".to_owned();
    assert_eq!(told("/"), (of_all, "spec.configPatches[0]".to_owned(), Some(23)));
    let of_route = "allows 2 at once, then 1 per 60s, of 50 of 100 requests; what is beyond is counted, and goes on";
    assert_eq!(told("/api"), (of_route.to_owned(), "spec.configPatches[1]".to_owned(), Some(34)));
    let asked = question("a.example", "/");
    let page = render(&asked, &case.world.explain(&asked), Look::default());
    assert!(page.contains("limit") && page.contains("all.yaml:23"), "{page}");
}

/// Each route has its own rule, also where a patch has put another in front.
#[test]
fn routes_lead_to_their_rules_and_to_the_patches_that_added_them() {
    let case = Case::behind_gateway(MANIFESTS);
    for (path, status, kind, place) in [
        ("/health", 204, "EnvoyFilter", "spec.configPatches[2]"),
        ("/api", 201, "VirtualService", "spec.http[0].match[0]"),
        ("/", 202, "VirtualService", "spec.http[1]"),
    ] {
        let answer = case.ask("a.example", path, &[]);
        assert_eq!(answer.end, End::Answered { status }, "{path}");
        let route = answer.route.expect("a route");
        let from = route.from.last().expect("a place");
        assert_eq!((from.kind.as_str(), from.path.as_str()), (kind, place), "{path}");
    }
}

/// Who takes a route away is named, and nobody says that there never was one.
#[test]
fn a_route_that_a_patch_removes_is_told_with_the_patch() {
    let patch = |apply_to: &str, route: &str| {
        Case::behind_gateway(&format!(
            "{MANIFESTS}---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: remover, namespace: istio-system}}
spec:
  configPatches:
  - applyTo: {apply_to}
    match: {{routeConfiguration: {{vhost: {{name: 'a.example:80'{route}}}}}}}
    patch: {{operation: REMOVE}}
"
        ))
    };
    let removes = "EnvoyFilter istio-system/remover configPatches[0] removes it";
    let lost = |answer: &Answer, place: &str| {
        let mut lost = answer.lost.iter();
        lost.any(|l| l.refused.starts_with(removes) && l.from.iter().any(|f| f.path == place))
    };
    let one = patch("HTTP_ROUTE", ", route: {name: api}").ask("a.example", "/api", &[]);
    assert_eq!(one.end, End::Answered { status: 202 });
    assert!(lost(&one, "spec.http[0].match[0]") && !lost(&one, "spec.http[1]"), "{one:?}");

    // The route that the other EnvoyFilter adds goes with them.
    let all = patch("HTTP_ROUTE", "").ask("a.example", "/", &[]);
    let End::Refused { reason, .. } = &all.end else { panic!("{all:?}") };
    assert_eq!(
        reason,
        "the routes of a.example:80 are removed by EnvoyFilter istio-system/remover configPatches[0]"
    );
    assert!(lost(&all, "spec.http[1]"), "{all:?}");

    let host = patch("VIRTUAL_HOST", "").ask("a.example", "/", &[]);
    assert!(matches!(&host.end, End::Refused { status: Some(404), .. }), "{host:?}");
    assert!(lost(&host, "spec.http[1]"), "{host:?}");
}

/// Filters of one name are told apart: each limit leads to the EnvoyFilter that set it.
#[test]
fn two_limits_of_one_name_lead_each_to_its_own_envoy_filter() {
    let limit = |name: &str, most: u32| {
        format!(
            "---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: {name}, namespace: istio-system}}
spec:
  configPatches:
  - applyTo: HTTP_FILTER
    match: {{listener: {{filterChain: {{filter: {{name: envoy.filters.network.http_connection_manager, subFilter: {{name: envoy.filters.http.router}}}}}}}}}}
    patch:
      operation: INSERT_BEFORE
      value:
        name: envoy.filters.http.local_ratelimit
        typed_config:
          '@type': type.googleapis.com/udpa.type.v1.TypedStruct
          type_url: type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
          value:
            stat_prefix: limit
            token_bucket: {{max_tokens: {most}, fill_interval: 1s}}
            filter_enabled: {{default_value: {{numerator: 100}}}}
"
        )
    };
    let manifests = format!("{MANIFESTS}{}{}", limit("large", 70), limit("small", 5));
    let answer = Case::behind_gateway(&manifests).ask("a.example", "/", &[]);
    let told = answer.limits.iter().filter(|limit| limit.name.ends_with("local_ratelimit"));
    let told: Vec<(bool, Vec<&str>)> = told
        .map(|limit| {
            let from = limit.from.iter().map(|from| from.name.as_str()).collect();
            (limit.asks.starts_with("allows 70 "), from)
        })
        .collect();
    assert_eq!(told, [(true, vec!["large"]), (false, vec!["small"])]);
}

/// Limits of routes of one virtual host lead each to the patch for its own route, and those of the others to that for the host.
#[test]
fn limits_of_two_routes_lead_each_to_its_own_patch() {
    let limit = |sort: &str, route: &str, most: u32| {
        format!(
            "  - applyTo: {sort}
    match: {{routeConfiguration: {{vhost: {{name: 'a.example:80'{route}}}}}}}
    patch:
      operation: MERGE
      value:
        typed_per_filter_config:
          limit:
            '@type': type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
            stat_prefix: own
            token_bucket: {{max_tokens: {most}, fill_interval: 60s}}
            filter_enabled: {{default_value: {{numerator: 100}}}}
"
        )
    };
    let others = [
        limit("HTTP_ROUTE", ", route: {name: rest}", 3),
        limit("HTTP_ROUTE", ", route: {name: api}", 4),
        limit("VIRTUAL_HOST", "", 5),
    ];
    let own = "---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: own, namespace: istio-system}
spec:
  configPatches:
";
    let manifests =
        format!("{}{own}{}", MANIFESTS.replace("name: api}}}}", "name: none}}}}"), others.concat());
    let case = Case::behind_gateway(&manifests);
    for (path, patch) in [("/", 0), ("/api", 1), ("/health", 2)] {
        let answer = case.ask("a.example", path, &[]);
        let [limit] = answer.limits.as_slice() else { panic!("one limit: {answer:?}") };
        let from: Vec<&str> = limit.from.iter().map(|from| from.path.as_str()).collect();
        assert_eq!(from, [format!("spec.configPatches[{patch}]")], "{path}: {limit:?}");
        assert!(limit.asks.starts_with(&format!("allows {} ", patch + 3)), "{limit:?}");
    }
}
