//! Limits on the way, and routes that EnvoyFilters changed.

use tidegate_explain::{End, Look, render};

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
