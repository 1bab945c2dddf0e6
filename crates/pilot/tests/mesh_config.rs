//! What a mesh config says of every gateway.

mod common;

use common::{World, manifest};
use serde_json::{Value, json};
use tidegate_pilot::{Options, mesh};
use tidegate_xds::ResourceType;

fn world(gateway_tls: &Value, rule_tls: &Value) -> World {
    let mut options = Options::default();
    let mesh = json!({"tlsDefaults": {
        "cipherSuites": ["ECDHE-RSA-AES128-GCM-SHA256"],
        "ecdhCurves": ["P-384"],
        "minProtocolVersion": "TLSV1_3",
    }});
    assert_eq!(mesh::apply(&mesh, &mut options), Ok(Vec::new()));
    let gateway = json!({
        "selector": {"istio": "ingressgateway"},
        "servers": [{
            "port": {"number": 443, "name": "https", "protocol": "HTTPS"},
            "hosts": ["a.example.com"],
            "tls": gateway_tls,
        }],
    });
    let entry = json!({
        "hosts": ["b.example.com"],
        "ports": [{"number": 443, "name": "https", "protocol": "HTTP"}],
        "resolution": "DNS",
    });
    let rule = json!({"host": "b.example.com", "trafficPolicy": {"tls": rule_tls}});
    let manifests = [
        manifest("Gateway", "g", &gateway),
        manifest("ServiceEntry", "e", &entry),
        manifest("DestinationRule", "r", &rule),
    ];
    World::with(options, &manifests)
}

/// What handshakes are limited to: with clients, and with a destination.
fn params(world: &World) -> (Value, Value) {
    let listener = world.json(ResourceType::Listener, "0.0.0.0_443");
    let common =
        |socket: &Value| socket["typed_config"]["common_tls_context"]["tls_params"].clone();
    let cluster = world.json(ResourceType::Cluster, "outbound|443||b.example.com");
    (
        common(&listener["filter_chains"][0]["transport_socket"]),
        common(&cluster["transport_socket"]),
    )
}

#[test]
fn tls_defaults_count_where_a_server_is_silent() {
    let silent = world(
        &json!({"mode": "SIMPLE", "serverCertificate": "/chain", "privateKey": "/key"}),
        &json!({"mode": "SIMPLE"}),
    );
    let (clients, destination) = params(&silent);
    assert_eq!(clients["cipher_suites"], json!(["ECDHE-RSA-AES128-GCM-SHA256"]));
    assert_eq!(clients["ecdh_curves"], json!(["P-384"]));
    assert_eq!(clients["tls_minimum_protocol_version"], "TLSv1_3");
    assert_eq!(destination["cipher_suites"], clients["cipher_suites"]);
    assert_eq!(destination["ecdh_curves"], clients["ecdh_curves"]);
    let oldest = &destination["tls_minimum_protocol_version"];
    assert!(oldest.is_null() || oldest == "TLS_AUTO", "servers' alone: {oldest}");
}

#[test]
fn a_servers_own_words_count_before_the_defaults() {
    let own = world(
        &json!({
            "mode": "SIMPLE",
            "serverCertificate": "/chain",
            "privateKey": "/key",
            "minProtocolVersion": "TLSV1_2",
            "cipherSuites": ["ECDHE-ECDSA-AES128-GCM-SHA256"],
            "ecdhCurves": ["X25519"],
        }),
        &json!({"mode": "DISABLE"}),
    );
    let (clients, destination) = params(&own);
    assert_eq!(clients["cipher_suites"], json!(["ECDHE-ECDSA-AES128-GCM-SHA256"]));
    assert_eq!(clients["ecdh_curves"], json!(["X25519"]));
    assert_eq!(clients["tls_minimum_protocol_version"], "TLSv1_2");
    assert_eq!(destination, Value::Null);
}

/// What a gateway's connection manager says under a mesh config.
fn manager(mesh: &Value) -> Value {
    let mut options = Options::default();
    assert_eq!(mesh::apply(mesh, &mut options), Ok(Vec::new()));
    let gateway = json!({
        "selector": {"istio": "ingressgateway"},
        "servers": [{
            "port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["a.example.com"],
        }],
    });
    let world = World::with(options, &[manifest("Gateway", "g", &gateway)]);
    let listener = world.json(ResourceType::Listener, "0.0.0.0_80");
    let only = &listener["default_filter_chain"]["filters"][0]["typed_config"];
    if only.is_null() { &listener["filter_chains"][0]["filters"][0]["typed_config"] } else { only }
        .clone()
}

#[test]
fn paths_take_the_form_that_the_mesh_asks_for() {
    let form = |mesh: Value| {
        let manager = manager(&mesh);
        ["normalize_path", "merge_slashes", "path_with_escaped_slashes_action"]
            .map(|field| manager[field].clone())
    };
    let named = |name: &str| form(json!({"pathNormalization": {"normalization": name}}));
    let base = [json!(true), Value::Null, Value::Null];
    assert_eq!(form(json!({})), base);
    assert_eq!(named("DEFAULT"), base);
    assert_eq!(named("BASE"), base);
    assert_eq!(named("NONE"), [json!(false), Value::Null, Value::Null]);
    assert_eq!(named("MERGE_SLASHES"), [json!(true), json!(true), Value::Null]);
    let decoded = [json!(true), json!(true), json!("UNESCAPE_AND_FORWARD")];
    assert_eq!(named("DECODE_AND_MERGE_SLASHES"), decoded);
}

/// What a gateway's connection manager says of those before it: proxies that it trusts, and what becomes of certificates.
fn edge(topology: &Value) -> [Value; 4] {
    let manager = manager(&json!({"defaultConfig": {"gatewayTopology": topology}}));
    [
        "use_remote_address",
        "xff_num_trusted_hops",
        "forward_client_cert_details",
        "set_current_client_cert_details",
    ]
    .map(|field| manager[field].clone())
}

#[test]
fn a_gateway_trusts_as_many_proxies_as_stand_before_it() {
    let told = json!({"subject": true, "cert": true, "dns": true, "uri": true});
    let none = edge(&json!({}));
    assert_eq!(none, [json!(true), Value::Null, json!("SANITIZE_SET"), told.clone()]);
    let two = edge(&json!({"numTrustedProxies": 2, "forwardClientCertDetails": "APPEND_FORWARD"}));
    assert_eq!(two, [json!(true), json!(2), json!("APPEND_FORWARD"), told.clone()]);
    // What a client showed is told only where that is written at all.
    let one = edge(&json!({"numTrustedProxies": 1, "forwardClientCertDetails": "FORWARD_ONLY"}));
    assert_eq!(one, [json!(true), json!(1), json!("FORWARD_ONLY"), Value::Null]);
    let undefined = edge(&json!({"forwardClientCertDetails": "UNDEFINED"}));
    assert_eq!(undefined, none);
}
