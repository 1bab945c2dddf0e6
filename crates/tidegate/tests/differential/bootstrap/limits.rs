//! What the cases of local rate limits are asked of. Buckets are filled so slowly that what is taken stays taken.

use serde_json::{Value, json};

use super::{header, router, text};

const LIMIT: &str =
    "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit";

/// The filters of the listener `limit`: one that has no bucket but where routes give it one, and one with buckets for paths.
pub(super) fn http_filters() -> Vec<Value> {
    let by_path = json!({"actions": [{"request_headers": {"header_name": ":path", "descriptor_key": "path"}}]});
    let of_listener = limit(&json!({
        "stat_prefix": "of-listener",
        "token_bucket": bucket(1_000_000),
        "rate_limits": [by_path],
        "descriptors": [
            {"entries": [entry("path", "/listener/a")], "token_bucket": bucket(2)},
            {"entries": [entry("path", "/listener/b?x")], "token_bucket": bucket(0)},
        ],
    }));
    let mut idle = limit(&json!({}));
    idle.as_object_mut().expect("an object").remove("token_bucket");
    vec![
        json!({"name": "limit", "typed_config": idle}),
        json!({"name": "of-listener", "typed_config": of_listener}),
        router(),
    ]
}

/// A bucket that is not filled while the cases run.
fn bucket(max: u32) -> Value {
    json!({"max_tokens": max, "tokens_per_fill": 1, "fill_interval": "36000s"})
}

fn entry(key: &str, value: &str) -> Value {
    json!({"key": key, "value": value})
}

/// A limit that is enforced, changed as told.
fn limit(changes: &Value) -> Value {
    let all = json!({"default_value": {"numerator": 100}});
    let mut config = json!({
        "@type": LIMIT,
        "stat_prefix": "limit",
        "token_bucket": bucket(2),
        "filter_enabled": all,
        "filter_enforced": all,
    });
    if let (Some(config), Value::Object(changes)) = (config.as_object_mut(), changes) {
        config.extend(changes.clone());
    }
    config
}

/// A virtual host whose routes have limits of their own.
pub(super) fn virtual_host() -> Value {
    let routes = [plain(), described()].concat();
    json!({
        "name": "limit",
        "domains": ["limit.example"],
        "rate_limits": [{"actions": [{"generic_key": {"descriptor_value": "host"}}]}],
        "response_headers_to_add": [header("x-virtual-host", "1", "APPEND_IF_EXISTS_OR_ADD")],
        "routes": routes,
    })
}

fn route(path: &str, changes: &Value, action: Value) -> Value {
    let mut forward = json!({"cluster": "origin"});
    if let (Some(forward), Value::Object(action)) = (forward.as_object_mut(), action) {
        forward.extend(action);
    }
    json!({
        "match": {"prefix": path},
        "route": forward,
        "typed_per_filter_config": {"limit": limit(changes)},
        "response_headers_to_add": [header("x-route", "1", "APPEND_IF_EXISTS_OR_ADD")],
    })
}

/// Limits with one bucket.
fn plain() -> Vec<Value> {
    let of = |path, changes: Value| route(path, &changes, json!({}));
    let none = json!({"default_value": {"numerator": 0}});
    let changes = json!([
        header("x-limit", "%REQ(x-a)% %RESPONSE_CODE% %PROTOCOL%", "APPEND_IF_EXISTS_OR_ADD"),
        header("content-type", "text/limit", "OVERWRITE_IF_EXISTS_OR_ADD"),
    ]);
    let direct = json!({
        "match": {"prefix": "/direct"},
        "direct_response": text(200, "direct"),
        "typed_per_filter_config": {"limit": limit(&json!({}))},
    });
    vec![
        of("/plain", json!({})),
        of("/told", json!({"enable_x_ratelimit_headers": "DRAFT_VERSION_03"})),
        of("/headers", json!({"response_headers_to_add": changes})),
        of("/status/ok", json!({"status": {"code": "OK"}})),
        of("/status/503", json!({"status": {"code": "ServiceUnavailable"}})),
        of("/off", json!({"filter_enabled": none})),
        of(
            "/shadow",
            json!({
                "filter_enforced": none,
                "request_headers_to_add_when_not_enforced":
                    [header("x-over", "%REQ(x-a)%", "APPEND_IF_EXISTS_OR_ADD")],
            }),
        ),
        of("/empty", json!({"token_bucket": bucket(0)})),
        of(
            "/exhausted",
            json!({"token_bucket": bucket(0), "rate_limited_as_resource_exhausted": true}),
        ),
        of("/connection", json!({"local_rate_limit_per_downstream_connection": true})),
        direct,
    ]
}

/// Limits that descriptors have buckets in.
fn described() -> Vec<Value> {
    let by_header = json!({"request_headers": {"header_name": "x-a", "descriptor_key": "a"}});
    let optional = json!({"request_headers":
        {"header_name": "x-b", "descriptor_key": "b", "skip_if_absent": true}});
    let described = |entries: &[(&str, &str)], max: u32| {
        let entries: Vec<Value> = entries.iter().map(|(key, value)| entry(key, value)).collect();
        json!({"entries": entries, "token_bucket": bucket(max)})
    };
    let of = |path, action: Value, changes: Value| route(path, &changes, action);
    let actions = |actions: &[&Value]| json!({"rate_limits": [{"actions": actions}]});
    let matching = json!({"header_value_match": {"descriptor_value": "m",
        "headers": [{"name": "x-a", "string_match": {"prefix": "m"}}]}});
    let query = json!({"query_parameters": {"query_parameter_name": "q", "descriptor_key": "q"}});
    let network = json!({"masked_remote_address": {"v4_prefix_mask_len": 8}});
    vec![
        of(
            "/header",
            actions(&[&by_header, &optional]),
            json!({"descriptors": [
                described(&[("a", "one")], 1),
                described(&[("a", "one"), ("b", "two")], 0),
                {"entries": [entry("a", "shown")], "token_bucket": bucket(1), "shadow_mode": true},
            ], "token_bucket": bucket(4)}),
        ),
        of(
            "/any",
            actions(&[&by_header]),
            json!({"descriptors": [described(&[("a", "")], 1)], "token_bucket": bucket(100)}),
        ),
        of(
            "/match",
            actions(&[&matching]),
            json!({"descriptors": [described(&[("header_match", "m")], 1)]}),
        ),
        of("/query", actions(&[&query]), json!({"descriptors": [described(&[("q", "7")], 0)]})),
        of(
            "/address",
            actions(&[&json!({"remote_address": {}})]),
            json!({"descriptors": [described(&[("remote_address", "127.0.0.1")], 1)]}),
        ),
        of(
            "/network",
            actions(&[&network]),
            json!({"descriptors": [described(&[("masked_remote_address", "127.0.0.0/8")], 1)]}),
        ),
        of(
            "/spared",
            actions(&[&by_header]),
            json!({"descriptors": [described(&[("a", "one")], 3)], "token_bucket": bucket(1),
                   "always_consume_default_token_bucket": false}),
        ),
        of(
            "/host/else",
            json!({}),
            json!({"descriptors": [described(&[("generic_key", "host")], 1)]}),
        ),
        of(
            "/host/never",
            json!({}),
            json!({"descriptors": [described(&[("generic_key", "host")], 0)], "vh_rate_limits": "IGNORE"}),
        ),
        of(
            "/host/also",
            actions(&[&by_header]),
            json!({"descriptors": [described(&[("generic_key", "host")], 0)], "vh_rate_limits": "INCLUDE"}),
        ),
        of(
            "/host/own",
            actions(&[&by_header]),
            json!({"descriptors": [described(&[("generic_key", "host")], 0)]}),
        ),
        of(
            "/stage",
            json!({"rate_limits": [{"stage": 1, "actions": [by_header]}]}),
            json!({"descriptors": [described(&[("a", "one")], 0)], "stage": 2}),
        ),
        of(
            "/hits",
            json!({"rate_limits": [{"actions": [by_header], "hits_addend": {"number": 2}}]}),
            json!({"descriptors": [described(&[("a", "one")], 5)], "token_bucket": bucket(100)}),
        ),
    ]
}
