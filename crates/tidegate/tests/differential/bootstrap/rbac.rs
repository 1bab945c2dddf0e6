//! What the cases of role-based access control are asked of.

use serde_json::{Value, json};

use tidegate_testing::ca::Ca;

use super::{header, router, text};

const HTTP: &str = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC";
const PER_ROUTE: &str = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute";
const FILTER_CONFIG: &str = "type.googleapis.com/envoy.config.route.v3.FilterConfig";
const NETWORK: &str = "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC";
const TLS: &str =
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
const INSPECTOR: &str =
    "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector";

/// The filters of the listener `rbac`: one that denies some, one that allows some and has shadow rules.
pub(super) fn http_filters() -> Vec<Value> {
    let by_path = |path: Value| json!({"url_path": {"path": path}});
    let by_header = |matcher: Value| json!({"header": matcher});
    let net = |address: &str, len: u32| json!({"address_prefix": address, "prefix_len": len});
    let deny = json!({"action": "DENY", "policies": {
        "by path": policy(&by_path(json!({"prefix": "/deny"})), &any()),
        "a header": policy(
            &by_header(json!({"name": "x-bad", "string_match": {"exact": "yes"}})), &any()),
        "both": policy(
            &by_path(json!({"safe_regex": {"regex": "/both/[0-9]+"}})),
            &by_header(json!({"name": "x-who", "present_match": true}))),
        "method": policy(
            &json!({"and_rules": {"rules": [
                by_header(json!({"name": ":method", "string_match": {"exact": "DELETE"}})),
                {"not_rule": by_path(json!({"exact": "/may/delete"}))}]}}),
            &any()),
        "by origin": policy(
            &by_path(json!({"exact": "/from/client"})),
            &json!({"remote_ip": net("203.0.113.0", 24)})),
        "by peer": policy(
            &by_path(json!({"exact": "/from/peer"})),
            &json!({"direct_remote_ip": net("127.0.0.0", 8)})),
        "by source": policy(
            &by_path(json!({"exact": "/from/source"})), &json!({"source_ip": net("::1", 128)})),
        "certificate": policy(&by_path(json!({"exact": "/mutual"})), &json!({"authenticated": {}})),
        "no name": policy(
            &json!({"and_rules": {"rules": [
                by_path(json!({"exact": "/nameless"})),
                {"requested_server_name": {"exact": ""}}]}}),
            &any()),
    }});
    let allow = json!({"policies": {
        "all but one": policy(
            &json!({"or_rules": {"rules": [
                {"destination_port_range": {"start": 1, "end": 65536}},
                {"destination_port": 1}]}}),
            &json!({"and_ids": {"ids": [
                {"not_id": {"url_path": {"path": {"prefix": "/shut"}}}},
                {"or_ids": {"ids": [
                    {"direct_remote_ip": net("10.0.0.0", 8)},
                    {"direct_remote_ip": net("127.0.0.1", 32)}]}}]}})),
    }});
    let shadow = json!({"action": "DENY", "policies": {"all": policy(&any(), &any())}});
    vec![
        json!({"name": "deny", "typed_config": {"@type": HTTP, "rules": deny}}),
        json!({"name": "log", "typed_config": {"@type": HTTP, "rules": {"action": "LOG",
            "policies": {"all": policy(&any(), &any())}}, "rules_stat_prefix": "log"}}),
        json!({"name": "unset", "typed_config": {"@type": HTTP}}),
        json!({"name": "sleeps", "disabled": true, "typed_config": {"@type": HTTP, "rules": {}}}),
        json!({"name": "allow", "typed_config": {"@type": HTTP, "rules": allow,
            "rules_stat_prefix": "own", "shadow_rules": shadow,
            "shadow_rules_stat_prefix": "dry"}}),
        router(),
    ]
}

/// A virtual host that overrides the filters, and routes that do so again.
pub(super) fn virtual_host() -> Value {
    let says = |path: &str, overrides: &[(&str, Value)]| {
        let overrides: serde_json::Map<_, _> =
            overrides.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        json!({
            "match": {"prefix": path},
            "direct_response": text(200, path),
            "typed_per_filter_config": overrides,
        })
    };
    let nobody = json!({"@type": PER_ROUTE, "rbac": {"rules": {}}});
    let anybody = json!({"@type": PER_ROUTE});
    let set = |config: Value| {
        let mut set = json!({"@type": FILTER_CONFIG});
        if let (Some(set), Value::Object(config)) = (set.as_object_mut(), config) {
            set.extend(config);
        }
        set
    };
    let forwards = json!({
        "match": {"prefix": "/deny/o"},
        "route": {"cluster": "origin"},
        "typed_per_filter_config": {"allow": nobody},
        "response_headers_to_add": [header("x-route", "1", "APPEND_IF_EXISTS_OR_ADD")],
    });
    json!({
        "name": "rbac",
        "domains": ["rbac.example"],
        "typed_per_filter_config": {"deny": {"@type": PER_ROUTE}},
        "response_headers_to_add": [header("x-virtual-host", "1", "APPEND_IF_EXISTS_OR_ADD")],
        "routes": [
            forwards,
            says("/deny/anybody", &[("allow", anybody.clone())]),
            says("/deny/nobody", &[("allow", nobody.clone())]),
            says("/deny/again", &[("deny", nobody)]),
            says("/deny", &[]),
            says("/shut/off", &[("allow", set(json!({"disabled": true})))]),
            says("/shut/on", &[("allow", set(json!({"config": {}})))]),
            says("/sleeps", &[]),
            says("/wakes", &[("sleeps", set(json!({"config": {}})))]),
            says("/woken", &[("sleeps", anybody)]),
            says("/shut", &[]),
        ],
    })
}

/// The filters before the connection manager of a listener.
pub(super) fn network_filters(listener: &str) -> Vec<Value> {
    let filter = |rules: Value| {
        let config = json!({"@type": NETWORK, "stat_prefix": "chain", "rules": rules});
        json!({"name": "network-rbac", "typed_config": config})
    };
    let loopback = json!({"direct_remote_ip": {"address_prefix": "127.0.0.0", "prefix_len": 8}});
    let nameless = json!({"requested_server_name": {"exact": ""}});
    let named = json!({"not_rule": nameless});
    let some_port = json!({"destination_port_range": {"start": 1, "end": 65536}});
    match listener {
        "rbac-open" => vec![
            filter(json!({"policies": {"nameless": policy(&nameless, &loopback)}})),
            filter(json!({"action": "DENY", "policies": {"named": policy(&named, &any())}})),
        ],
        "rbac-tls" => {
            vec![filter(json!({"policies": {"named": policy(&named, &any())}}))]
        }
        "rbac-tls-open" => {
            vec![filter(json!({"policies": {"nameless": policy(&nameless, &any())}}))]
        }
        "rbac-closed" => vec![
            filter(json!({"policies": {"port": policy(&some_port, &loopback)}})),
            filter(json!({"policies": {"named": policy(&named, &loopback)}})),
        ],
        _ => Vec::new(),
    }
}

/// Lets a listener terminate TLS, where its name asks for it.
pub(super) fn secure(listener: &mut Value) {
    if !listener["name"].as_str().is_some_and(|name| name.starts_with("rbac-tls")) {
        return;
    }
    let identity = Ca::new("rbac").issue(&["rbac.example"]);
    let certificate = json!({
        "certificate_chain": {"inline_string": identity.certificate_pem},
        "private_key": {"inline_string": identity.key_pem},
    });
    let context = json!({"@type": TLS, "common_tls_context": {"tls_certificates": [certificate]}});
    listener["filter_chains"][0]["transport_socket"] =
        json!({"name": "tls", "typed_config": context});
    listener["listener_filters"] =
        json!([{"name": "inspector", "typed_config": {"@type": INSPECTOR}}]);
}

fn any() -> Value {
    json!({"any": true})
}

fn policy(permission: &Value, principal: &Value) -> Value {
    json!({"permissions": [permission], "principals": [principal]})
}
