use std::collections::HashSet;

use prost_reflect::{Kind, MessageDescriptor};
use serde_json::json;

use super::*;
use crate::json;

/// Whether a field holds messages, or a map of them.
fn held_message(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    let Kind::Message(message) = field.kind() else {
        return None;
    };
    if !field.is_map() {
        return Some(message);
    }
    message.map_entry_value_field().kind().as_message().cloned()
}

#[test]
fn every_name_in_the_table_exists_and_stands_once() {
    let mut messages = HashSet::new();
    for row in table::rows() {
        assert!(messages.insert(row.message), "{} has two rows", row.message);
        let descriptor = any::describe(row.message).expect("a message of the pool");
        let mut fields = HashSet::new();
        let named = row.honoured.iter().filter(|name| **name != "*");
        let ignored = row.ignored.iter().map(|(name, _)| name);
        let refused = row.refused.iter().map(|(name, _)| name);
        for name in named.chain(ignored).chain(refused) {
            assert!(descriptor.get_field_by_name(name).is_some(), "{}.{name}", row.message);
            assert!(fields.insert(name), "{}.{name} stands twice", row.message);
        }
        let optional = row.optional.iter();
        for name in row.values.iter().chain(row.holds).map(|(name, _)| name).chain(optional) {
            assert!(row.honoured.contains(name), "{}.{name} is not honoured", row.message);
        }
    }
}

/// What a refusal points to.
#[test]
fn the_page_about_the_data_plane_names_every_kind_that_is_served() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/data-plane.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let held = table::rows().flat_map(|row| row.holds).flat_map(|(_, held)| held.iter());
    let cluster = table::rows().find(|row| row.message == "envoy.config.cluster.v3.Cluster");
    let values = cluster.expect("a row").values;
    let named = values.iter().filter(|(name, _)| ["type", "lb_policy"].contains(name));
    let served: Vec<_> = held.chain(named.flat_map(|(_, values)| values.iter())).collect();
    assert!(served.len() > 10, "{served:?}");
    for kind in &served {
        assert!(page.contains(&format!("`{kind}`")), "{kind} is not named");
    }
    // And no extension that is not.
    let words = page.split('`').filter(|word| word.starts_with("envoy.extensions."));
    for word in words {
        assert!(served.iter().any(|kind| **kind == word), "{word} is not served");
    }
}

#[test]
fn every_allowed_value_is_one_of_its_enum() {
    for row in table::rows() {
        let descriptor = any::describe(row.message).expect("a message of the pool");
        for (name, values) in row.values {
            let field = descriptor.get_field_by_name(name).expect("tested above");
            if let Kind::Enum(kind) = field.kind() {
                for value in *values {
                    assert!(kind.get_value_by_name(value).is_some(), "{}.{name}", row.message);
                }
            }
        }
    }
}

#[test]
fn everything_below_an_honoured_field_has_a_row() {
    for row in table::rows().filter(|row| row.honoured != row::ALL) {
        let descriptor = any::describe(row.message).expect("a message of the pool");
        for name in row.honoured {
            let field = descriptor.get_field_by_name(name).expect("tested above");
            let Some(message) = held_message(&field) else {
                continue;
            };
            if message.full_name() == "google.protobuf.Any" {
                let held = row.holds.iter().find(|(field, _)| field == name);
                let (_, held) =
                    held.unwrap_or_else(|| panic!("{}.{name} holds what?", row.message));
                for held in held.iter().filter(|held| **held != NOTHING) {
                    assert!(knows(held), "{held}, held by {}.{name}", row.message);
                }
            } else if message.package_name() != "google.protobuf" {
                assert!(knows(message.full_name()), "{}.{name} has no row", row.message);
            }
        }
    }
}

/// The findings for JSON of a type, as text.
fn findings(type_name: &str, json: &serde_json::Value) -> (Vec<String>, Vec<String>) {
    let descriptor = any::describe(type_name).expect("known");
    let message = json::message_from_json(&descriptor, json).expect("reads");
    let report = check(&message);
    let text = |findings: Vec<Finding>| findings.iter().map(Finding::to_string).collect();
    (text(report.refusals), text(report.notices))
}

const LISTENER: &str = "envoy.config.listener.v3.Listener";
const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";
const HCM: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3\
                   .HttpConnectionManager";

fn listener(http_filters: &serde_json::Value) -> serde_json::Value {
    json!({
        "name": "http",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 80}},
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": {
            "@type": HCM,
            "stat_prefix": "http",
            "http_filters": http_filters
        }}]}]
    })
}

#[test]
fn what_is_honoured_passes() {
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    let filters = json!([{"name": "router", "typed_config": {"@type": router}}]);
    assert_eq!(findings(LISTENER, &listener(&filters)), (vec![], vec![]));
}

#[test]
fn a_refused_field_is_named_by_its_path() {
    let lua = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua";
    let filters = json!([{"name": "lua", "typed_config": {"@type": lua}}]);
    let (refusals, _) = findings(LISTENER, &listener(&filters));
    assert_eq!(
        refusals,
        [format!(
            "filter_chains[0].filters[0].typed_config.http_filters[0].typed_config: `{lua}` is not \
             supported here: `envoy.extensions.filters.http.cors.v3.Cors` or \
             `envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig` or \
             `envoy.extensions.filters.http.fault.v3.HTTPFault` or \
             `envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication` or \
             `envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit` or \
             `envoy.extensions.filters.http.rbac.v3.RBAC` or \
             `envoy.extensions.filters.http.router.v3.Router` is"
        )]
    );
    let (refusals, _) = findings(LISTENER, &json!({"enable_mptcp": true, "freebind": true}));
    assert_eq!(
        refusals,
        [
            "freebind: true is not supported: false is",
            "enable_mptcp: `enable_mptcp` of envoy.config.listener.v3.Listener is not supported",
        ]
    );
}

#[test]
fn an_optional_unknown_filter_is_skipped_and_told() {
    let foreign = json!({"@type": "type.googleapis.com/acme.Filter", "value": ""});
    let filters = json!([{"name": "x", "typed_config": foreign, "is_optional": true}]);
    let (refusals, notices) = findings(LISTENER, &listener(&filters));
    assert_eq!(refusals, Vec::<String>::new());
    assert_eq!(
        notices,
        ["filter_chains[0].filters[0].typed_config.http_filters[0]: skipped: \
          `type.googleapis.com/acme.Filter` is not supported, and it is optional"]
    );
}

/// Each as Envoy judges it with `--mode validate`.
#[test]
fn an_extension_without_its_configuration_is_refused_by_its_path() {
    let set = "must be set: an extension is known by the type of its configuration";
    let tls = json!({"name": "envoy.transport_sockets.tls"});
    let at = |path: &str| format!("{path}: {set}");
    let cluster = json!({
        "name": "c",
        "transport_socket": tls,
        "typed_extension_protocol_options": {"x": {}},
        "cluster_type": {"name": "envoy.clusters.dns"},
        "load_balancing_policy": {"policies": [{"typed_extension_config": {"name": "x"}}]}
    });
    let (refusals, _) = findings(CLUSTER, &cluster);
    assert_eq!(
        refusals,
        [
            at("transport_socket.typed_config"),
            at("typed_extension_protocol_options[\"x\"]"),
            at("cluster_type.typed_config"),
            at("load_balancing_policy.policies[0].typed_extension_config.typed_config"),
        ]
    );
    // A socket in the clear too is said by its type.
    let raw = json!({"transport_socket": {"name": "envoy.transport_sockets.raw_buffer"}});
    assert_eq!(findings(CLUSTER, &raw).0, [at("transport_socket.typed_config")]);
    let filters = json!([
        {"name": "envoy.filters.http.rbac"},
        {"name": "envoy.filters.http.router", "typed_config": {}},
    ]);
    let mut listener = listener(&filters);
    listener["listener_filters"] = json!([{"name": "envoy.filters.listener.tls_inspector"}]);
    listener["access_log"] = json!([{"name": "envoy.access_loggers.file"}]);
    listener["filter_chains"][0]["transport_socket"] = tls;
    let (refusals, _) = findings(LISTENER, &listener);
    assert_eq!(
        refusals,
        [
            at("filter_chains[0].filters[0].typed_config.http_filters[0].typed_config"),
            at("filter_chains[0].filters[0].typed_config.http_filters[1].typed_config"),
            at("filter_chains[0].transport_socket.typed_config"),
            at("listener_filters[0].typed_config"),
            at("access_log[0].typed_config"),
        ]
    );
    let predicate = json!({"name": "envoy.retry_host_predicates.omit_canary_hosts"});
    let policy = json!({"retry_on": "5xx", "retry_host_predicate": [predicate]});
    let (refusals, _) = findings("envoy.config.route.v3.RetryPolicy", &policy);
    assert_eq!(refusals, [at("retry_host_predicate[0].typed_config")]);
}

/// As Envoy does: an optional filter is skipped, and no extension of request IDs means that of UUIDs.
#[test]
fn what_may_go_without_configuration() {
    let filters = json!([{"name": "envoy.filters.http.rbac", "is_optional": true}]);
    let mut listener = listener(&filters);
    let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
    manager["request_id_extension"] = json!({});
    let (refusals, notices) = findings(LISTENER, &listener);
    assert_eq!(refusals, Vec::<String>::new());
    assert_eq!(
        notices,
        ["filter_chains[0].filters[0].typed_config.http_filters[0]: skipped: it has no \
          `typed_config`, and it is optional"]
    );
    // What stands in its place is judged instead of it.
    let discovered = json!([{"name": "x", "config_discovery": {"config_source": {"ads": {}}}}]);
    let (refusals, _) = findings(LISTENER, &self::listener(&discovered));
    let [refusal] = &*refusals else { panic!("{refusals:?}") };
    assert!(refusal.contains("http_filters[0].config_discovery: "), "{refusal}");
}

#[test]
fn values_are_checked_and_no_effect_is_told() {
    let cluster = json!({
        "name": "c",
        "track_cluster_stats": {},
        "load_assignment": {"endpoints": [{"lb_endpoints": [{"health_status": "DRAINING"}]}]},
        "least_request_lb_config": {"choice_count": 3},
        "typed_extension_protocol_options": {
            "x": {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster"}
        }
    });
    let (refusals, notices) = findings(CLUSTER, &cluster);
    assert_eq!(
        refusals,
        [
            "load_assignment.endpoints[0].lb_endpoints[0].health_status: DRAINING is not supported: \
             UNKNOWN or HEALTHY is",
            "typed_extension_protocol_options[\"x\"]: \
             `type.googleapis.com/envoy.config.cluster.v3.Cluster` is not supported here: \
             `envoy.extensions.upstreams.http.v3.HttpProtocolOptions` is",
            "least_request_lb_config.choice_count: 3 is not supported: 2 is",
        ]
    );
    assert_eq!(notices, ["track_cluster_stats: has no effect: statistics are always kept"]);
}

#[test]
fn unknown_fields_and_types_are_refused() {
    let report = check_bytes(CLUSTER, &[0x8a, 0xfa, 0x01, 0x01, b'x']).expect("decodes");
    assert_eq!(
        report.refusals[0].reason,
        "envoy.config.cluster.v3.Cluster has an unknown field 4001"
    );
    let report = check_bytes("envoy.config.route.v3.ScopedRouteConfiguration", &[]).expect("known");
    assert_eq!(report.refusals.len(), 1);
}

#[test]
fn findings_are_bounded() {
    let chain = json!({"use_proxy_proto": true});
    let (refusals, _) = findings(LISTENER, &json!({"filter_chains": vec![chain; 1000]}));
    assert_eq!(refusals.len(), MAX_FINDINGS + 1);
    assert_eq!(refusals.last().map(String::as_str), Some("there are more like these"));
}
