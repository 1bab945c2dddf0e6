use prost::Message;
use prost_types::Any;
use serde_json::json;

use super::*;
use crate::v3::bootstrap::Bootstrap;
use crate::v3::cluster::Cluster;
use crate::v3::core::{Metadata, TransportSocket, transport_socket::ConfigType};
use crate::v3::listener::Listener;

fn bootstrap() -> Value {
    json!({
        "node": {"id": "a", "metadata": {"n": 1, "f": 0.5, "none": null, "list": [true, "x", {}]}},
        "static_resources": {
            "listeners": [{
                "name": "http",
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": 8080}},
                "per_connection_buffer_limit_bytes": 32768,
                "filter_chains": [{"filters": [{
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.network\
                                  .http_connection_manager.v3.HttpConnectionManager",
                        "stat_prefix": "http",
                        "codec_type": "HTTP1",
                        "stream_idle_timeout": "1.500s",
                        "http_filters": [{
                            "name": "envoy.filters.http.router",
                            "typed_config": {
                                "@type": "type.googleapis.com/envoy.extensions.filters.http\
                                          .router.v3.Router"
                            }
                        }]
                    }
                }]}]
            }],
            "clusters": [{
                "name": "c",
                "connect_timeout": "5s",
                "common_lb_config": {"healthy_panic_threshold": {"value": 0.1}},
                "circuit_breakers": {"thresholds": [{"max_requests": 7}]},
                "outlier_detection": {"max_ejection_percent": 100}
            }]
        },
        "stats_flush_interval": "60s",
        "header_prefix": "x-a"
    })
}

#[test]
fn round_trip_keeps_everything() {
    let typed: Bootstrap = from_json(&bootstrap()).expect("reads");
    assert_eq!(to_json(&typed, FieldNames::Proto).expect("known"), bootstrap());

    let camel = to_json(&typed, FieldNames::Camel).expect("known");
    assert_eq!(
        camel["staticResources"]["listeners"][0]["filterChains"][0]["filters"][0]["typedConfig"]["streamIdleTimeout"],
        "1.500s"
    );
    assert_eq!(from_json::<Bootstrap>(&camel), Ok(typed));
}

#[test]
fn sixty_four_bit_integers_are_strings_and_both_are_read() {
    let wrapped = |v: Value| json!({"ring_hash_lb_config": {"minimum_ring_size": v}});
    let text: Cluster = from_json(&wrapped(json!("18446744073709551615"))).expect("string");
    let shown = to_json(&text, FieldNames::Proto).expect("known");
    assert_eq!(shown, wrapped(json!("18446744073709551615")));
    assert!(from_json::<Cluster>(&wrapped(json!(1024))).is_ok());
}

#[test]
fn defaults_are_written_on_request() {
    let message =
        crate::dynamic("envoy.config.core.v3.SubstitutionFormatString", &[]).expect("known");
    assert_eq!(message_to_json(&message, FieldNames::Proto), json!({}));
    assert_eq!(
        message_to_json_with_defaults(&message, FieldNames::Camel),
        json!({"omitEmptyValues": false, "contentType": "", "formatters": []})
    );
}

#[test]
fn unknown_types_are_opaque_both_ways() {
    let foreign = Any { type_url: "type.googleapis.com/acme.Foreign".into(), value: vec![1, 2, 3] };
    let socket = TransportSocket {
        name: "x".into(),
        config_type: Some(ConfigType::TypedConfig(foreign.clone())),
    };
    let shown = to_json(&socket, FieldNames::Proto).expect("known");
    assert_eq!(
        shown["typed_config"],
        json!({"@type": "type.googleapis.com/acme.Foreign", "value": "AQID"})
    );
    assert_eq!(from_json::<TransportSocket>(&shown), Ok(socket));
}

#[test]
fn an_any_that_does_not_decode_is_shown_as_bytes() {
    let broken = Any {
        type_url: "type.googleapis.com/envoy.config.cluster.v3.Cluster".into(),
        value: vec![0xff],
    };
    let socket =
        TransportSocket { name: String::new(), config_type: Some(ConfigType::TypedConfig(broken)) };
    let shown = to_json(&socket, FieldNames::Proto).expect("known");
    assert_eq!(shown["typed_config"]["value"], "/w==");
}

#[test]
fn nested_any_is_bounded() {
    let mut any = Any { type_url: "type.googleapis.com/acme.Foreign".into(), value: vec![] };
    for _ in 0..1000 {
        any = Any {
            type_url: "type.googleapis.com/google.protobuf.Any".into(),
            value: any.encode_to_vec(),
        };
    }
    let shown = bytes_to_json("google.protobuf.Any", &any.encode_to_vec(), FieldNames::Proto);
    let text = shown.expect("known").to_string();
    let depth = text.matches(r#""value":{"#).count();
    assert!(depth > 10 && depth <= MAX_DEPTH, "{depth}");
    assert!(from_json::<Metadata>(&deep(200)).is_err());
}

fn deep(levels: usize) -> Value {
    let mut json = json!({"@type": "type.googleapis.com/acme.Foreign", "value": ""});
    for _ in 0..levels {
        json = json!({"@type": "type.googleapis.com/google.protobuf.Any", "value": json});
    }
    json!({"typed_filter_metadata": {"k": json}})
}

#[test]
fn maps_encode_in_key_order_inside_any_too() {
    let metadata: serde_json::Map<_, _> =
        (0..30).map(|n| (format!("k{n}"), json!({"a": n, "b": n}))).collect();
    let json = json!({"typed_filter_metadata": {"k": {
        "@type": "type.googleapis.com/envoy.config.core.v3.Metadata",
        "filter_metadata": metadata
    }}});
    let once: Metadata = from_json(&json).expect("reads");
    let again: Metadata = from_json(&json).expect("reads");
    assert_eq!(once.encode_to_vec(), again.encode_to_vec());
    let inner: Metadata = crate::unpack(&once.typed_filter_metadata["k"]).expect("unpacks");
    assert_eq!(inner.encode_to_vec(), once.typed_filter_metadata["k"].value);
}

/// JSON for a `Listener`, and the error it must give.
const REFUSED: &[(&str, &str)] = &[
    (
        r#"{"filter_chains": [{"filter": []}]}"#,
        "filter_chains[0].filter: envoy.config.listener.v3.FilterChain has no such field",
    ),
    (
        r#"{"Filter_chains": []}"#,
        "Filter_chains: envoy.config.listener.v3.Listener has no such field, did you mean \
         `filter_chains`?",
    ),
    (r#"{"name": 1}"#, "name: expected a string, found 1"),
    (
        r#"{"traffic_direction": "SIDEWAYS"}"#,
        "traffic_direction: expected one of UNSPECIFIED, INBOUND, OUTBOUND, found \"SIDEWAYS\"",
    ),
    (r#"{"filter_chains": {}}"#, "filter_chains: expected a list, found an object"),
    (
        r#"{"statPrefix": "a", "stat_prefix": "b"}"#,
        "stat_prefix: given twice, in two spellings: keep one",
    ),
    (
        r#"{"address": {"pipe": {"path": "a"}, "socket_address": {}}}"#,
        "address.socket_address: cannot be given together with `pipe`",
    ),
    (
        r#"{"address": "127.0.0.1:80"}"#,
        "address: expected an object (envoy.config.core.v3.Address), found \"127.0.0.1:80\"",
    ),
    (
        r#"{"filter_chains": [{"filters": [{"typed_config": {"@type": "t/acme.Filter", "a": 1}}]}]}"#,
        "filter_chains[0].filters[0].typed_config.@type: type `acme.Filter` is not known here",
    ),
    (
        r#"{"filter_chains": [{"filters": [{"typed_config": {"stat_prefix": "x"}}]}]}"#,
        "filter_chains[0].filters[0].typed_config: needs `@type`, the URL of the type it holds",
    ),
    (
        r#"{"metadata": {"filter_metadata": {"a.b": 1}}}"#,
        "metadata.filter_metadata[\"a.b\"]: invalid type: integer `1`, expected a map",
    ),
    ("[]", "expected an object (envoy.config.listener.v3.Listener), found a list"),
];

#[test]
fn errors_name_the_field() {
    for (text, expected) in REFUSED {
        let json: Value = serde_json::from_str(text).expect("JSON");
        let error = from_json::<Listener>(&json).expect_err(text);
        assert_eq!(error.to_string(), *expected, "{text}");
    }
    let bad = json!({"connect_timeout": "soon"});
    assert_eq!(from_json::<Cluster>(&bad).expect_err("no duration").path, "connect_timeout");
    let bad = json!({"outlier_detection": {"max_ejection_percent": -1}});
    let error = from_json::<Cluster>(&bad).expect_err("negative");
    assert_eq!(error.path, "outlier_detection.max_ejection_percent");
}

#[test]
fn null_is_absent_except_where_it_is_a_value() {
    let listener: Listener =
        from_json(&json!({"name": null, "filter_chains": null})).expect("reads");
    assert_eq!(listener, Listener::default());
}
