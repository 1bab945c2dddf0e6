//! What the cases of faults, of requests from other origins and of mirrors are asked of.

use serde_json::{Value, json};

use super::{header, router, text};

const CORS: &str = "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors";
const POLICY: &str = "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy";
const FAULT: &str = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault";
const FILTER_CONFIG: &str = "type.googleapis.com/envoy.config.route.v3.FilterConfig";

/// The filters of the listener `policy`.
pub(super) fn http_filters() -> Vec<Value> {
    let own = fault(json!({
        "abort": {"http_status": 429, "percentage": percent(100)},
        "headers": [{"name": "x-fail", "string_match": {"exact": "yes"}}],
    }));
    vec![
        json!({"name": "fault", "typed_config": own}),
        json!({"name": "cors", "typed_config": {"@type": CORS}}),
        router(),
    ]
}

fn percent(of: u32) -> Value {
    json!({"numerator": of, "denominator": "HUNDRED"})
}

fn fault(config: Value) -> Value {
    typed(FAULT, config)
}

fn cors(config: Value) -> Value {
    typed(POLICY, config)
}

fn typed(kind: &str, config: Value) -> Value {
    let mut typed = json!({"@type": kind});
    if let (Some(typed), Value::Object(config)) = (typed.as_object_mut(), config) {
        typed.extend(config);
    }
    typed
}

/// Routes that say what the filters do.
pub(super) fn virtual_host() -> Value {
    let mut routes = faults();
    routes.extend(origins());
    json!({
        "name": "policy",
        "domains": ["policy.example"],
        "routes": routes,
        "response_headers_to_add": [header("x-virtual-host", "1", "APPEND_IF_EXISTS_OR_ADD")],
        "typed_per_filter_config": {"cors": cors(json!({
            "allow_origin_string_match": [{"exact": "https://host.example"}],
            "max_age": "77",
            "expose_headers": "x-of-host",
        }))},
    })
}

fn to(path: &str, own: &[(&str, Value)]) -> Value {
    let own: serde_json::Map<_, _> =
        own.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    json!({
        "match": {"prefix": path},
        "route": {"cluster": "origin"},
        "response_headers_to_add": [
            header("x-route", "1", "APPEND_IF_EXISTS_OR_ADD"),
            header("access-control-allow-origin", "route", "APPEND_IF_EXISTS_OR_ADD"),
        ],
        "typed_per_filter_config": own,
    })
}

fn faults() -> Vec<Value> {
    let abort = |path: &str, abort: Value| to(path, &[("fault", fault(json!({"abort": abort})))]);
    let delay = |path: &str, time: &str, more: Value| {
        let delay = json!({"fixed_delay": time, "percentage": percent(100)});
        let mut config = json!({"delay": delay});
        if let (Some(config), Value::Object(more)) = (config.as_object_mut(), more) {
            config.extend(more);
        }
        to(path, &[("fault", fault(config))])
    };
    let all = |status: Value| {
        let mut abort = json!({"percentage": percent(100)});
        if let (Some(abort), Value::Object(status)) = (abort.as_object_mut(), status) {
            abort.extend(status);
        }
        abort
    };
    let mut direct = to(
        "/fault/direct",
        &[("fault", fault(json!({"abort": all(json!({"http_status": 503}))})))],
    );
    direct["direct_response"] = text(200, "direct");
    direct.as_object_mut().expect("a route").remove("route");
    let mut slow = delay("/fault/slow", "30s", json!({}));
    slow["route"]["idle_timeout"] = "0.3s".into();
    vec![
        abort("/fault/503", all(json!({"http_status": 503}))),
        abort("/fault/200", all(json!({"http_status": 200}))),
        abort("/fault/grpc/14", all(json!({"grpc_status": 14}))),
        abort("/fault/grpc/5", all(json!({"grpc_status": 5}))),
        abort("/fault/none", json!({"http_status": 503})),
        abort("/fault/zero", json!({"http_status": 503, "percentage": percent(0)})),
        delay("/fault/delay", "0.2s", json!({})),
        delay("/fault/both", "0.2s", json!({"abort": all(json!({"http_status": 504}))})),
        delay("/fault/full", "30s", json!({"max_active_faults": 0})),
        slow,
        direct,
        to("/fault/off", &[("fault", json!({"@type": FILTER_CONFIG, "disabled": true}))]),
        to("/fault/of-filter", &[]),
    ]
}

fn origins() -> Vec<Value> {
    let some = json!([{"exact": "https://a.example"}, {"safe_regex": {"regex": "https://.*\\.b"}}]);
    let whole = json!({
        "allow_origin_string_match": some,
        "allow_methods": "GET,PUT",
        "allow_headers": "x-a,x-b",
        "expose_headers": "x-c",
        "max_age": "600",
        "allow_credentials": true,
        "allow_private_network_access": true,
    });
    let with = |more: Value| {
        let mut config = whole.clone();
        if let (Some(config), Value::Object(more)) = (config.as_object_mut(), more) {
            config.extend(more);
        }
        [("cors", cors(config))]
    };
    let never = json!({"default_value": percent(0)});
    let always = json!({"default_value": percent(100)});
    let mut direct = to("/cors/direct", &with(json!({})));
    direct["direct_response"] = text(200, "direct");
    direct.as_object_mut().expect("a route").remove("route");
    let mut empty = to("/cors/empty", &with(json!({})));
    empty["route"]["cluster"] = "empty".into();
    vec![
        to("/cors/whole", &with(json!({}))),
        to("/cors/answered", &with(json!({"forward_not_matching_preflights": false}))),
        to(
            "/cors/any",
            &with(json!({
            "allow_origin_string_match": [{"exact": "*"}], "allow_methods": "*",
            "allow_headers": "*", "allow_credentials": false})),
        ),
        to("/cors/off", &with(json!({"filter_enabled": never}))),
        to("/cors/shadow", &with(json!({"filter_enabled": never, "shadow_enabled": always}))),
        to("/cors/part", &[("cors", cors(json!({"allow_methods": "PATCH"})))]),
        to("/cors/host", &[]),
        empty,
        direct,
    ]
}
