use serde_json::{Value, json};

use crate::config::slots::Slots;
use crate::config::testing::{proto, with};

use super::super::filter_chain::chain_criteria;
use super::*;

fn compile(more: &Value) -> Result<ListenerShell, Refusal> {
    let base = json!({
        "name": "l",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 8080}},
    });
    listener(&proto(&with(&base, more)), &mut Slots::default())
}

#[test]
fn defaults_are_envoys() {
    let shell = compile(&json!({})).map(Box::new).expect("valid");
    assert_eq!(shell.address, ([127, 0, 0, 1], 8080).into());
    assert_eq!(&*shell.stat_prefix, "127.0.0.1_8080");
    assert!(!shell.needs_inspection && !shell.continue_on_inspect_timeout);
    assert_eq!(shell.inspect_timeout, Some(Duration::from_secs(15)));
    assert_eq!(shell.buffer_limit, 1024 * 1024);
    assert!(shell.log.is_none());
}

#[test]
fn settings_are_read() {
    let shell = compile(&json!({
        "stat_prefix": "s", "listener_filters_timeout": "0s", "continue_on_listener_filters_timeout": true,
        "per_connection_buffer_limit_bytes": 7,
    }))
    .expect("valid");
    assert_eq!((&*shell.stat_prefix, shell.buffer_limit), ("s", 7));
    assert_eq!((shell.inspect_timeout, shell.continue_on_inspect_timeout), (None, true));
}

#[test]
fn connections_are_inspected_when_a_chain_asks_for_what_it_finds() {
    let inspector = json!([{"name": "tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
    }}]);
    let shell = compile(&json!({"listener_filters": inspector})).map(Box::new).expect("valid");
    assert!(shell.needs_inspection);
    let cases = [
        (json!({"server_names": ["a"]}), true),
        (json!({"application_protocols": ["h2"]}), true),
        (json!({"transport_protocol": "tls"}), true),
        (json!({"transport_protocol": "raw_buffer"}), false),
        (json!({"transport_protocol": "raw_buffer", "server_names": ["a"]}), false),
        (json!({"destination_port": 1}), false),
    ];
    for (asked, expected) in cases {
        let criteria = chain_criteria(Some(&proto(&asked))).expect("valid");
        assert_eq!(criteria.need_inspection(), expected, "{asked}");
    }
}

#[test]
fn refusals_name_the_field() {
    let cases = [
        (json!({"address": null}), "address"),
        (
            json!({"address": {"socket_address": {"address": "localhost"}}}),
            "address.socket_address.address",
        ),
        (json!({"listener_filters_timeout": "-1s"}), "listener_filters_timeout"),
    ];
    for (more, expected) in cases {
        let refused = compile(&more).map(|_| ()).expect_err(expected);
        assert_eq!(refused.path, expected, "{refused}");
    }
}

/// What captures connections is understood, and refused where workers would have to do it.
#[test]
fn capture_is_asked_about_and_not_served() {
    let filter = |name: &str, kind: &str| {
        let kind = format!("type.googleapis.com/envoy.extensions.filters.listener.{kind}");
        json!({"listener_filters": [{"name": name, "typed_config": {"@type": kind}}]})
    };
    let other = Capture::default();
    let cases = [
        (json!({"bind_to_port": false}), "bind_to_port", Capture { bound: false, ..other }),
        (
            json!({"use_original_dst": true}),
            "use_original_dst",
            Capture { hands_on: true, ..other },
        ),
        (
            filter("original_dst", "original_dst.v3.OriginalDst"),
            "listener_filters",
            Capture { restores: true, ..other },
        ),
        (
            filter("http_inspector", "http_inspector.v3.HttpInspector"),
            "listener_filters",
            Capture { finds_requests: true, ..other },
        ),
    ];
    for (more, field, capture) in cases {
        let refused = compile(&more).map(|_| ()).expect_err(field);
        assert_eq!(refused.path, field, "{refused}");
        let base = json!({
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 8080}},
        });
        let asked =
            listener(&proto(&with(&base, &more)), &mut Slots::asking()).expect("understood");
        assert_eq!(asked.capture, capture, "{more}");
        assert!(!asked.needs_inspection);
    }
}
