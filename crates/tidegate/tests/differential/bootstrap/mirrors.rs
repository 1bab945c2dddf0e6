//! Routes whose requests are copied, below a host of their own: `/NAME`.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{PROTOCOL, cluster, header};

/// The cluster that copies go to: the origin itself, which tells them by what they say. Nobody else asks it.
pub(super) fn clusters(origin: SocketAddr) -> [Value; 2] {
    let mut copies = cluster("copies", &[origin]);
    copies["typed_extension_protocol_options"] = json!({
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": PROTOCOL,
            "explicit_http_config": {"http_protocol_options": {"enable_trailers": true}}}});
    let mut none = cluster("no-copies", &[origin]);
    none["circuit_breakers"] = json!({"thresholds": [{"max_requests": 0}]});
    [copies, none]
}

fn to(path: &str, policies: &Value, more: Value) -> Value {
    let mut action = json!({"cluster": "origin", "request_mirror_policies": policies});
    if let (Some(action), Value::Object(more)) = (action.as_object_mut(), more) {
        action.extend(more);
    }
    json!({
        "match": {"prefix": format!("/{path}")},
        "route": action,
        "request_headers_to_add": [header("x-route", "1", "APPEND_IF_EXISTS_OR_ADD")],
        "request_headers_to_remove": ["x-gone"],
    })
}

/// The hosts.
pub(super) fn virtual_hosts() -> [Value; 2] {
    let share =
        |of: u32| json!({"default_value": {"numerator": of, "denominator": "TEN_THOUSAND"}});
    let one = json!([{"cluster": "copies"}]);
    let with = |more: Value| {
        let mut policy = json!({"cluster": "copies"});
        if let (Some(policy), Value::Object(more)) = (policy.as_object_mut(), more) {
            policy.extend(more);
        }
        json!([policy])
    };
    let mut none = to("none", &json!([]), json!({}));
    none["route"].as_object_mut().expect("an object").remove("request_mirror_policies");
    let routes = vec![
        to("one", &one, json!({})),
        to("two", &json!([{"cluster": "copies"}, {"cluster": "origin2"}]), json!({})),
        to("same-host", &with(json!({"disable_shadow_host_suffix_append": true})), json!({})),
        to("other-host", &with(json!({"host_rewrite_literal": "other.example:81"})), json!({})),
        to("all", &with(json!({"runtime_fraction": share(10_000)})), json!({})),
        to("nobody", &with(json!({"runtime_fraction": share(0)})), json!({})),
        to(
            "rewritten",
            &one,
            json!({"prefix_rewrite": "/new", "host_rewrite_literal": "inner.example"}),
        ),
        to("named", &one, json!({"cluster": "named", "auto_host_rewrite": true})),
        to("nowhere", &json!([{"cluster": "nowhere"}, {"cluster": "copies"}]), json!({})),
        to("refused", &json!([{"cluster": "refused"}, {"cluster": "empty"}]), json!({})),
        to("full", &json!([{"cluster": "no-copies"}]), json!({})),
        to("of-refused", &one, json!({"cluster": "refused"})),
        to("of-empty", &one, json!({"cluster": "empty"})),
        to("of-nowhere", &one, json!({"cluster": "nowhere"})),
        to("of-full", &one, json!({"cluster": "no-copies"})),
        to("short", &one, json!({"timeout": "0.4s"})),
        to(
            "again",
            &one,
            json!({"timeout": "0s", "retry_policy": {"retry_on": "5xx", "num_retries": 2}}),
        ),
        none,
    ];
    let host = |name: &str, more: Value| {
        let mut host = json!({"name": name, "domains": [format!("{name}.example"),
            format!("{name}.example:81")], "routes": routes,
            "include_request_attempt_count": true});
        if let (Some(host), Value::Object(more)) = (host.as_object_mut(), more) {
            host.extend(more);
        }
        host
    };
    let inherited = json!([{"cluster": "copies", "host_rewrite_literal": "of-host.example"}]);
    [host("mirror", json!({})), host("mirrors", json!({"request_mirror_policies": inherited}))]
}
