use serde_json::{Value, json};

use crate::config::slots::Slots;
use crate::config::testing::proto;
use crate::http::RequestHead;
use crate::route::Action;

use super::*;

fn compile(table: &Value, host: &Value) -> Result<Arc<VirtualHost>, Refusal> {
    let level = table_level(&proto(table))?;
    virtual_host(&proto(host), &level, &mut Slots::default())
}

fn direct(body: &str) -> Value {
    json!({"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": body}}})
}

#[test]
fn domains_are_lowered_and_unique() {
    let host = compile(&json!({}), &json!({"name": "h", "domains": ["A.Test", "*.B.test"]}));
    let host = host.expect("valid");
    assert_eq!((&*host.name, &host.domains[..]), ("h", &["a.test".into(), "*.b.test".into()][..]));
    assert!(!host.attempts.to_endpoint);
    for (domains, expected) in [
        (json!([]), "domains"),
        (json!(["a", "A"]), "domains[1]"),
        (json!(["a", "b\n"]), "domains[1]"),
    ] {
        let refused = compile(&json!({}), &json!({"name": "h", "domains": domains}));
        assert_eq!(refused.map(|_| ()).expect_err(expected).path, expected);
    }
    let refused = compile(&json!({}), &json!({"domains": ["a"]})).map(|_| ());
    assert_eq!(refused.expect_err("no name").path, "name");
}

#[test]
fn a_wrong_route_is_named() {
    let wrong = json!({"match": {"prefix": "/"}, "route": {"cluster": ""}});
    let host = json!({"name": "h", "domains": ["*"], "routes": [direct(""), wrong]});
    let refused = compile(&json!({}), &host).map(|_| ()).expect_err("no cluster");
    assert_eq!(refused.path, "routes[1].route.cluster");
}

#[test]
fn the_table_bounds_direct_bodies() {
    let host =
        |len: usize| json!({"name": "h", "domains": ["*"], "routes": [direct(&"x".repeat(len))]});
    assert!(compile(&json!({}), &host(4096)).is_ok());
    let refused = compile(&json!({}), &host(4097)).map(|_| ()).expect_err("too long");
    assert_eq!(refused.path, "routes[0].direct_response.body.inline_string");
    assert!(compile(&json!({"max_direct_response_body_size_bytes": 5000}), &host(4097)).is_ok());
}

#[test]
fn tls_and_attempts() {
    let cases = [("NONE", false), ("EXTERNAL_ONLY", true), ("ALL", true)];
    for (require_tls, redirects) in cases {
        let host = json!({
            "name": "h", "domains": ["*"], "routes": [direct("")], "require_tls": require_tls,
            "include_request_attempt_count": true,
        });
        let host = compile(&json!({}), &host).expect("valid");
        let mut head = RequestHead::default();
        head.set_path(b"/");
        let route = host.route(&head, 0).expect("a route");
        assert_eq!(matches!(route.action, Action::Redirect(_)), redirects, "{require_tls}");
        assert!(host.attempts.to_endpoint);
    }
}

#[test]
fn the_table_level_is_read() {
    let level = table_level(&proto(&json!({"ignore_port_in_host_matching": true}))).expect("valid");
    assert!(level.ignore_port);
    let wrong = json!({"response_headers_to_add": [{"header": {"key": ":status", "value": "1"}}]});
    let refused = table_level(&proto(&wrong)).map(|_| ()).expect_err("a pseudo header");
    assert_eq!(refused.path, "response_headers_to_add[0].header.key");
}
