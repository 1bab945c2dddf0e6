//! Clusters that hash, and routes that say what of a request.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{address, cluster};

/// Names of the clusters, and how each chooses.
fn kinds() -> [(&'static str, Value); 4] {
    let typed = |name: &str, config: Value| {
        let mut config = config;
        config["@type"] =
            format!("type.googleapis.com/envoy.extensions.load_balancing_policies.{name}").into();
        json!({"load_balancing_policy": {"policies": [
            {"typed_extension_config": {"name": "x", "typed_config": config}}]}})
    };
    [
        ("ring", json!({"lb_policy": "RING_HASH"})),
        ("maglev", json!({"lb_policy": "MAGLEV"})),
        ("small-ring", typed("ring_hash.v3.RingHash", json!({"minimum_ring_size": 7}))),
        ("small-maglev", typed("maglev.v3.Maglev", json!({"table_size": 11}))),
    ]
}

/// A route per cluster and property, `/hash/CLUSTER/PROPERTY`.
pub(super) fn routes() -> Vec<Value> {
    let header = json!({"header": {"header_name": "x-key"}});
    let rewritten = json!({"header": {"header_name": "x-key", "regex_rewrite": {
        "pattern": {"regex": "^([a-z]+).*"}, "substitution": "\\1"}}});
    let cookie = json!({"cookie": {"name": "session"}});
    let query = json!({"query_parameter": {"name": "key"}});
    let source = json!({"connection_properties": {"source_ip": true}});
    let first = json!({"header": {"header_name": "x-key"}, "terminal": true});
    let properties = [
        ("header", json!([header])),
        ("rewritten", json!([rewritten])),
        ("cookie", json!([cookie])),
        ("query", json!([query])),
        ("source", json!([source])),
        ("both", json!([header, query])),
        ("first", json!([first, query])),
    ];
    let all = kinds();
    let route = |kind: &str, property: &str, policies: &Value| {
        json!({"match": {"prefix": format!("/hash/{kind}/{property}")},
            "route": {"cluster": kind, "hash_policy": policies}})
    };
    all.iter()
        .flat_map(|(kind, _)| properties.iter().map(|(name, p)| route(kind, name, p)))
        .collect()
}

/// The clusters; in the small ones, the first endpoint has twice the weight of the others.
pub(super) fn clusters(endpoints: &[SocketAddr]) -> Vec<Value> {
    let with = |(name, more): (&str, Value)| {
        let mut made = cluster(name, &[]);
        let weighted = endpoints.iter().enumerate().map(|(number, at)| {
            let weight = if number == 0 && name.starts_with("small") { 2 } else { 1 };
            json!({"endpoint": {"address": address(*at)}, "load_balancing_weight": weight})
        });
        made["load_assignment"]["endpoints"][0]["lb_endpoints"] = weighted.collect();
        if let (Some(made), Value::Object(more)) = (made.as_object_mut(), more) {
            made.extend(more);
        }
        made
    };
    kinds().map(with).to_vec()
}
