use serde_json::{Value, json};

use crate::config::slots::Slots;
use crate::config::testing::{proto, with};
use crate::pipe::{NOWHERE, Pipe};
use crate::upstream::source::ClientSource;

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

#[test]
fn inspectors_are_disabled_by_port() {
    let inspector = |more: &Value| {
        let kind =
            "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector";
        with(&json!({"name": "tls", "typed_config": {"@type": kind}}), more)
    };
    let range =
        |start: i64, end: i64| json!({"destination_port_range": {"start": start, "end": end}});
    let compiled = |filters: &[Value]| {
        compile(&json!({"listener_filters": filters})).map(|shell| shell.unseen.tls)
    };
    let unseen = |rule: &Value| compiled(&[inspector(&json!({"filter_disabled": rule}))]);
    let either = json!({"or_match": {"rules": [range(80, 81), range(8080, 8090)]}});
    let both = json!({"and_match": {"rules": [either, range(8085, 70_000)]}});
    for (rule, expected) in [
        (range(80, 81), Ports::from(80..=80)),
        (range(-5, 70_000), Ports::all()),
        (range(81, 81), Ports::default()),
        (range(70_000, 70_001), Ports::default()),
        (either.clone(), Ports::from(80..=80).or(Ports::from(8080..=8089))),
        (json!({"not_match": either}), Ports::from(80..=80).or(Ports::from(8080..=8089)).not()),
        (both, Ports::from(8085..=8089)),
        (json!({"any_match": true}), Ports::all()),
    ] {
        assert_eq!(unseen(&rule).expect("valid"), expected, "{rule}");
    }
    let everywhere = inspector(&json!({}));
    let some = inspector(&json!({"filter_disabled": range(80, 81)}));
    assert_eq!(compiled(&[some, everywhere]).expect("valid"), Ports::default(), "one looks");
    let one = json!({"rules": [range(80, 81)]});
    for (rule, path) in [
        (json!({}), ""),
        (json!({"or_match": one}), ".or_match.rules"),
        (json!({"not_match": {"and_match": one}}), ".not_match.and_match.rules"),
        (json!({"any_match": false}), ".any_match"),
    ] {
        let refused = unseen(&rule).expect_err("it is refused");
        assert_eq!(refused.path, format!("listener_filters[0].filter_disabled{path}"));
    }
}

/// How a listener comes to connections that were dialled elsewhere.
#[test]
fn capture_is_read() {
    let filter = |name: &str, kind: &str| {
        let kind = format!("type.googleapis.com/envoy.extensions.filters.listener.{kind}");
        json!({"listener_filters": [{"name": name, "typed_config": {"@type": kind}}]})
    };
    let other = Capture::default();
    let cases = [
        (json!({}), other),
        (json!({"bind_to_port": false}), Capture { bound: false, ..other }),
        (json!({"use_original_dst": true}), Capture { hands_on: true, restores: true, ..other }),
        (
            filter("original_dst", "original_dst.v3.OriginalDst"),
            Capture { restores: true, ..other },
        ),
        (
            filter("http_inspector", "http_inspector.v3.HttpInspector"),
            Capture { finds_requests: true, ..other },
        ),
        (json!({"transparent": true}), Capture { transparent: true, ..other }),
        (
            filter("original_src", "original_src.v3.OriginalSrc"),
            Capture { keeps_source: Some(Mark(0)), ..other },
        ),
    ];
    for (more, capture) in cases {
        let shell = compile(&more).map(Box::new).expect("valid");
        assert_eq!(shell.capture, capture, "{more}");
        assert!(!shell.needs_inspection);
    }
    let mut marked = filter("original_src", "original_src.v3.OriginalSrc");
    marked["listener_filters"][0]["typed_config"]["mark"] = 1337.into();
    let marked_capture = compile(&marked).map(|shell| shell.capture).expect("valid");
    let peer = "[::ffff:192.0.2.1]:5".parse().expect("an address");
    let source = ClientSource { address: [192, 0, 2, 1].into(), mark: Mark(1337) };
    assert_eq!(marked_capture.source(peer), Some(source));
    marked["listener_filters"][0]["filter_disabled"] = json!({"any_match": true});
    assert_eq!(compile(&marked).map(|_| ()).expect_err("refused").path, "listener_filters");
}

#[test]
fn a_listener_may_have_more_addresses() {
    let at = |ip: &str| json!({"address": {"socket_address": {"address": ip, "port_value": 8080}}});
    let shell = compile(&json!({"additional_addresses": [at("::1"), at("127.0.0.2")]}));
    let more = shell.map(|shell| shell.more_addresses).expect("valid");
    assert_eq!(more, [([0, 0, 0, 0, 0, 0, 0, 1], 8080).into(), ([127, 0, 0, 2], 8080).into()]);
    let wrong = compile(&json!({"additional_addresses": [at("::1"), at("localhost")]}));
    let refused = wrong.map(|_| ()).expect_err("no address");
    assert_eq!(refused.path, "additional_addresses[1].address.socket_address.address");
}

#[test]
fn a_listener_may_be_on_a_unix_socket() {
    let compile = |more: &Value| {
        let base = json!({"name": "l"});
        listener(&proto(&with(&base, more)), &mut Slots::default())
    };
    let at = |pipe: Value| json!({"address": {"pipe": pipe}});
    let shell = compile(&at(json!({"path": "/run/a:b.sock", "mode": 0o660}))).map(Box::new);
    let shell = shell.expect("valid");
    let pipe = Pipe { path: "/run/a:b.sock".into(), mode: 0o660 };
    assert_eq!((shell.address, shell.pipe), (NOWHERE, Some(pipe)));
    assert_eq!(&*shell.stat_prefix, "/run/a_b.sock");
    let own = compile(&at(json!({"path": "@name"}))).map(|shell| shell.pipe);
    assert_eq!(own.expect("valid").expect("a socket").abstract_name(), Some("name"));

    let long = "/".repeat(108);
    let more = json!([{"address": {"socket_address": {"address": "::1", "port_value": 80}}}]);
    let mut both = at(json!({"path": "/run/a.sock"}));
    both["additional_addresses"] = more;
    for (wrong, path) in [
        (at(json!({})), "address.pipe.path"),
        (at(json!({"path": long})), "address.pipe.path"),
        (at(json!({"path": "/a", "mode": 0o1777})), "address.pipe.mode"),
        (at(json!({"path": "@a", "mode": 0o600})), "address.pipe.mode"),
        (both, "additional_addresses"),
    ] {
        assert_eq!(compile(&wrong).map(|_| ()).expect_err("refused").path, path);
    }
}
