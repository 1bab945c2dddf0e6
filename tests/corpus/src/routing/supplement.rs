//! What the tables of facts leave out: see `supplement.yaml`, which says what it may hold.

use std::sync::LazyLock;

use serde_json::Value;

static SUPPLEMENT: LazyLock<Value> = LazyLock::new(|| {
    let documents = tidegate_yaml::parse(include_str!("supplement.yaml"));
    documents.into_iter().filter_map(Result::ok).next().map_or(Value::Null, |d| d.to_json())
});

/// The mesh config of a case: the table's own, where it has one.
pub fn mesh_config(case: &Value) -> &Value {
    let own = &case["meshConfig"];
    let name = case["name"].as_str().unwrap_or_default();
    if own.is_null() { &SUPPLEMENT["meshConfig"][name] } else { own }
}

/// Whether a case is about a proxy that takes HTTP/3.
pub fn http3(case: &Value) -> bool {
    let mut all = SUPPLEMENT["http3"].as_array().into_iter().flatten();
    all.any(|name| *name == case["name"])
}

/// The kind that a case's destination comes from, where that is of the Gateway API's extensions.
pub fn destination(case: &Value) -> Option<&'static str> {
    SUPPLEMENT["destinations"][case["name"].as_str().unwrap_or_default()].as_str()
}

/// The ports of the workload that are those of a case's services, by their names.
pub fn instances(case: &Value) -> &Value {
    &SUPPLEMENT["instances"][case["name"].as_str().unwrap_or_default()]
}

/// The value of a constant that a table names; any other value as it is.
pub fn constant(value: &Value) -> &Value {
    let named = value.as_str().map(|name| &SUPPLEMENT["constants"][name]);
    named.filter(|known| !known.is_null()).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_a_table_leaves_out_is_filled_in() {
        let name = "TestBuildGatewayListenerTlsContext/ecdh curves and cipher suites specified in mesh config with tls SIMPLE";
        let silent = json!({"name": name});
        assert_eq!(mesh_config(&silent)["tlsDefaults"]["ecdhCurves"], json!(["P-256"]));
        let own = json!({"name": name, "meshConfig": {}});
        assert_eq!(mesh_config(&own), &json!({}));
        assert!(mesh_config(&json!({"name": "other"})).is_null());
        let discovery = "TestBuildHTTPRoutes/for virtual service with HTTP/3 discovery enabled";
        assert!(http3(&json!({"name": discovery})));
        assert!(!http3(&silent) && !http3(&json!({})));
        let alpn = json!("util.ALPNDownstreamWithMxc");
        assert_eq!(constant(&alpn)[0], "istio-peer-exchange");
        for plain in [json!("util.Other"), json!(["h2"])] {
            assert_eq!(constant(&plain), &plain);
        }
    }

    /// Nothing that is expected may stand here.
    #[test]
    fn it_holds_inputs_and_constants_alone() {
        let parts: Vec<&String> =
            SUPPLEMENT.as_object().into_iter().flat_map(|m| m.keys()).collect();
        assert_eq!(parts, ["constants", "destinations", "http3", "instances", "meshConfig"]);
    }
}
