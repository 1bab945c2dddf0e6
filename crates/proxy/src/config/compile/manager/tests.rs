use serde_json::{Value, json};
use tidegate_envoy::v3::hcm::HttpConnectionManager;

use crate::config::slots::Slots;
use crate::config::testing::{proto, with};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn router(more: &Value) -> Value {
    let any =
        json!({"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"});
    json!({"name": "router", "typed_config": with(&any, more)})
}

fn minimal() -> Value {
    json!({
        "stat_prefix": "s",
        "rds": {"config_source": {"ads": {}}, "route_config_name": "r"},
        "http_filters": [router(&json!({}))],
    })
}

fn compile(json: &Value) -> Result<HttpManager, Refusal> {
    manager(&proto::<HttpConnectionManager>(json), &mut Slots::default())
}

fn good(more: &Value) -> HttpManager {
    compile(&with(&minimal(), more)).unwrap_or_else(|refusal| panic!("{refusal} in {more}"))
}

#[test]
fn defaults_are_envoys() {
    let manager = good(&json!({}));
    assert_eq!(&*manager.stat_prefix, "s");
    assert_eq!(&*manager.routes.slot().name, "r");
    assert_eq!(manager.codec, Codec::Auto);
    assert_eq!(&*manager.server_name, b"envoy");
    assert_eq!(manager.server_header, ServerHeader::Overwrite);
    assert!(manager.via.is_empty());
    assert!(!manager.use_remote_address && !manager.skip_xff_append);
    assert_eq!(manager.trusted_hops, 0);
    assert!(manager.generate_request_id && !manager.preserve_external_request_id);
    assert!(!manager.request_id_in_response && !manager.suppress_envoy_headers);
    assert!(!manager.normalize_path && !manager.merge_slashes);
    assert_eq!(manager.escaped_slashes, EscapedSlashes::Keep);
    assert_eq!(manager.strip_port, StripPort::Keep);
    assert!(!manager.accept_http_10);
    assert_eq!((manager.max_head, manager.max_headers), (60 * 1024, 100));
    assert_eq!(manager.max_requests_per_connection, None);
    assert_eq!(manager.idle_timeout, Some(3600 * SECOND));
    assert_eq!(manager.max_connection_duration, None);
    assert_eq!(manager.drain_timeout, 5 * SECOND);
    assert_eq!(manager.max_stream_duration, None);
    assert_eq!(manager.stream_idle_timeout, Some(300 * SECOND));
    assert_eq!(manager.request_timeout, None);
    assert_eq!(manager.request_headers_timeout, None);
    assert_eq!(manager.delayed_close_timeout, SECOND);
    assert!(manager.upgrades.is_empty());
    assert_eq!(manager.h2, Http2Options::default());
    assert!(manager.log.is_none());
}

/// Every setting, none of them as by default.
fn all_settings() -> Value {
    json!({
        "codec_type": "HTTP2",
        "server_name": "tide",
        "server_header_transformation": "PASS_THROUGH",
        "via": "gate",
        "use_remote_address": true,
        "xff_num_trusted_hops": 2,
        "skip_xff_append": true,
        "generate_request_id": false,
        "preserve_external_request_id": true,
        "always_set_request_id_in_response": true,
        "http_filters": [router(&json!({"suppress_envoy_headers": true}))],
        "normalize_path": true,
        "merge_slashes": true,
        "path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD",
        "strip_any_host_port": true,
        "http_protocol_options": {"accept_http_10": true},
        "max_request_headers_kb": 96,
        "common_http_protocol_options": {
            "max_headers_count": 7, "max_requests_per_connection": 8, "idle_timeout": "0s",
            "max_connection_duration": "9s", "max_stream_duration": "10s",
        },
        "drain_timeout": "11s",
        "stream_idle_timeout": "0s",
        "request_timeout": "12s",
        "request_headers_timeout": "13s",
        "delayed_close_timeout": "0s",
        "upgrade_configs": [
            {"upgrade_type": "WebSocket"}, {"upgrade_type": "tcp", "enabled": false}, {"upgrade_type": "CONNECT"},
        ],
        "http2_protocol_options": {
            "max_concurrent_streams": 14, "initial_stream_window_size": 65535,
            "initial_connection_window_size": 2147483647,
        },
    })
}

#[test]
fn settings_are_read() {
    let manager = good(&all_settings());
    assert_eq!(manager.codec, Codec::Http2);
    assert_eq!(&*manager.server_name, b"tide");
    assert_eq!(manager.server_header, ServerHeader::PassThrough);
    assert_eq!(&*manager.via, b"gate");
    assert!(manager.use_remote_address && manager.skip_xff_append);
    assert_eq!(manager.trusted_hops, 2);
    assert!(!manager.generate_request_id && manager.preserve_external_request_id);
    assert!(manager.request_id_in_response && manager.suppress_envoy_headers);
    assert!(manager.normalize_path && manager.merge_slashes && manager.accept_http_10);
    assert_eq!(manager.escaped_slashes, EscapedSlashes::UnescapeAndForward);
    assert_eq!(manager.strip_port, StripPort::Any);
}

#[test]
fn limits_are_read() {
    let manager = good(&all_settings());
    assert_eq!((manager.max_head, manager.max_headers), (96 * 1024, 7));
    assert_eq!(manager.max_requests_per_connection, Some(8));
    assert_eq!((manager.idle_timeout, manager.stream_idle_timeout), (None, None));
    assert_eq!(manager.max_connection_duration, Some(9 * SECOND));
    assert_eq!(manager.max_stream_duration, Some(10 * SECOND));
    assert_eq!(manager.drain_timeout, 11 * SECOND);
    assert_eq!(manager.request_timeout, Some(12 * SECOND));
    assert_eq!(manager.request_headers_timeout, Some(13 * SECOND));
    assert_eq!(manager.delayed_close_timeout, Duration::ZERO);
    assert_eq!(manager.upgrades, ["websocket".into(), "connect".into()]);
    let h2 = Http2Options {
        max_concurrent_streams: 14,
        initial_stream_window: 65535,
        initial_connection_window: 2147483647,
    };
    assert_eq!(manager.h2, h2);
}

#[test]
fn routes_inside_the_manager() {
    let host = |name: &str, domain: &str| json!({"name": name, "domains": [domain]});
    let inline = |hosts: Value| {
        let mut json = minimal();
        let fields = json.as_object_mut().expect("an object");
        fields.remove("rds");
        fields.insert("route_config".into(), json!({"name": "inside", "virtual_hosts": hosts}));
        compile(&json)
    };
    // Names need not be unique, domains must be.
    let manager = inline(json!([host("a", "a.test"), host("a", "b.test")])).expect("valid");
    assert_eq!(&*manager.routes.slot().name, "inside");
    assert_eq!(manager.routes.table().virtual_hosts().count(), 2);
    let refused = inline(json!([host("a", "a.test"), host("b", "A.test")])).map(|_| ());
    let refused = refused.expect_err("a domain twice");
    assert_eq!(refused.path, "route_config.virtual_hosts[1].domains[0]");
    assert!(refused.reason.contains("the virtual host a has the domain a.test"), "{refused}");
}

#[test]
fn refusals_name_the_field() {
    let cases = [
        (json!({"stat_prefix": ""}), "stat_prefix"),
        (json!({"rds": {"route_config_name": ""}}), "rds.route_config_name"),
        (json!({"http_filters": []}), "http_filters"),
        (json!({"http_filters": [router(&json!({})), router(&json!({}))]}), "http_filters[0]"),
        (json!({"server_name": "a\nb"}), "server_name"),
        (json!({"via": "a\rb"}), "via"),
        (json!({"max_request_headers_kb": 0}), "max_request_headers_kb"),
        (json!({"max_request_headers_kb": 8193}), "max_request_headers_kb"),
        (
            json!({"strip_any_host_port": true, "strip_matching_host_port": true}),
            "strip_matching_host_port",
        ),
        (
            json!({"common_http_protocol_options": {"max_headers_count": 0}}),
            "common_http_protocol_options.max_headers_count",
        ),
        (
            json!({"http2_protocol_options": {"initial_stream_window_size": 1}}),
            "http2_protocol_options.initial_stream_window_size",
        ),
        (json!({"upgrade_configs": [{}]}), "upgrade_configs[0].upgrade_type"),
        (
            json!({"upgrade_configs": [{"upgrade_type": "a"}, {"upgrade_type": "A"}]}),
            "upgrade_configs[1].upgrade_type",
        ),
    ];
    for (more, expected) in cases {
        let refused = compile(&with(&minimal(), &more)).map(|_| ()).expect_err(expected);
        assert_eq!(refused.path, expected, "{more}: {refused}");
    }
}

#[test]
fn an_optional_filter_of_another_type_is_skipped() {
    let other = json!({
        "name": "x", "is_optional": true,
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"},
    });
    assert!(
        compile(&with(&minimal(), &json!({"http_filters": [other, router(&json!({}))]}))).is_ok()
    );
}

#[test]
fn what_is_told_of_clients_certificates() {
    let details = Details { subject: true, uri: true, ..Details::default() };
    for (mode, expected) in [
        ("SANITIZE", ForwardCert::Sanitize),
        ("FORWARD_ONLY", ForwardCert::Forward),
        ("APPEND_FORWARD", ForwardCert::Append(details)),
        ("SANITIZE_SET", ForwardCert::Set(details)),
        ("ALWAYS_FORWARD_ONLY", ForwardCert::AlwaysForward),
    ] {
        let manager = good(&json!({
            "forward_client_cert_details": mode,
            "set_current_client_cert_details": {"subject": true, "uri": true},
        }));
        assert_eq!(manager.forward_cert, expected);
    }
    assert_eq!(good(&json!({})).forward_cert, ForwardCert::Sanitize);
}
