use serde_json::{Value, json};

use crate::accesslog::Options;
use crate::config::testing::{proto, with};
use crate::stats::Registry;

use super::*;

const FILE: &str = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog";

fn to_file(more: &Value) -> AccessLog {
    let config = with(&json!({"@type": FILE, "path": "/dev/null"}), more);
    proto(&json!({"name": "file", "typed_config": config}))
}

fn path(entries: &[AccessLog]) -> String {
    logs(entries, None).map(|_| ()).expect_err("refused").path
}

#[test]
fn every_format_is_read() {
    let formats = [
        json!({}),
        json!({"format": "%PROTOCOL%\n"}),
        json!({"json_format": {"p": "%PROTOCOL%"}}),
        json!({"typed_json_format": {"p": "%PROTOCOL%"}}),
        json!({"log_format": {"text_format": "%PROTOCOL%\n"}}),
        json!({"log_format": {"text_format_source": {"inline_string": "%PROTOCOL%\n"}}}),
        json!({"log_format": {"json_format": {"p": "%PROTOCOL%"}, "omit_empty_values": true}}),
    ];
    for format in formats {
        let found = entry(&to_file(&format)).map(|entry| entry.destination);
        assert_eq!(found, Ok(Destination::File("/dev/null".into())), "{format}");
    }
}

#[test]
fn streams_and_their_names() {
    let stream = |name: &str| {
        let url = format!("type.googleapis.com/envoy.extensions.access_loggers.stream.v3.{name}");
        let entry = proto(&json!({"name": "x", "typed_config": {"@type": url}}));
        super::entry(&entry).map(|entry| entry.destination)
    };
    assert_eq!(stream("StdoutAccessLog"), Ok(Destination::Stdout));
    assert_eq!(stream("StderrAccessLog"), Ok(Destination::Stderr));
    let found = entry(&to_file(&json!({"path": "/dev/stdout"}))).map(|entry| entry.destination);
    assert_eq!(found, Ok(Destination::Stdout));
}

#[test]
fn filters() {
    let with_flags = |flags: Value| {
        let mut entry = to_file(&json!({}));
        entry.filter = Some(proto(&json!({"response_flag_filter": {"flags": flags}})));
        entry
    };
    let found = entry(&with_flags(json!(["NR", "UF"]))).map(|entry| entry.filter);
    let flags = ResponseFlags::NO_ROUTE_FOUND | ResponseFlags::UPSTREAM_CONNECTION_FAILURE;
    assert_eq!(found, Ok(Some(Filter::Flags(flags))));
    let refused = path(&[to_file(&json!({})), with_flags(json!(["NR", "XX"]))]);
    assert_eq!(refused, "access_log[1].filter.response_flag_filter.flags[1]");
}

#[test]
fn refusals_name_the_field() {
    let cases = [
        (json!({"path": ""}), "path"),
        (json!({"format": "%NOPE%"}), "format"),
        (json!({"json_format": {"p": "%NOPE%"}}), "json_format"),
        (json!({"log_format": {}}), "log_format.format"),
        (json!({"log_format": {"text_format": "%"}}), "log_format.text_format"),
        (
            json!({"log_format": {"text_format_source": {"filename": "/nowhere/at/all"}}}),
            "log_format.text_format_source.filename",
        ),
    ];
    for (more, expected) in cases {
        assert_eq!(path(&[to_file(&more)]), format!("access_log[0].typed_config.{expected}"));
    }
    assert_eq!(path(&[AccessLog::default()]), "access_log[0].typed_config");
}

#[test]
fn files_are_opened_only_when_something_is_to_be_written() {
    let nowhere = to_file(&json!({"path": "/nowhere/at/all"}));
    assert!(logs(std::slice::from_ref(&nowhere), None).expect("valid").is_none());
    let open = Logs::start(&Registry::new(1), Options::default()).expect("a thread");
    assert!(logs(&[], Some(&open)).expect("valid").is_none());
    assert!(logs(&[to_file(&json!({}))], Some(&open)).expect("valid").is_some());
    let refused = logs(&[to_file(&json!({})), nowhere], Some(&open)).map(|_| ());
    assert_eq!(refused.expect_err("no such folder").path, "access_log[1].typed_config");
}

#[tokio::test]
async fn who_writes_the_same_shares_a_log() {
    let registry = Registry::new(1);
    let all = Logs::start(&registry, Options::default()).expect("a thread");
    let open = |format: &str| {
        let entry = to_file(&json!({"log_format": {"text_format": format}}));
        logs(&[entry], Some(&all)).expect("it is right").expect("a log")
    };
    let (one, same, other) = (open("%PROTOCOL%\n"), open("%PROTOCOL%\n"), open("%DURATION%\n"));
    assert!(Arc::ptr_eq(&one, &same));
    assert!(!Arc::ptr_eq(&one, &other));
}
