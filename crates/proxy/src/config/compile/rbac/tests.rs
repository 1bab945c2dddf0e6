use serde_json::{Value, json};

use crate::config::testing::proto;

use super::*;

/// Rules with one policy.
fn policy(permission: &Value, principal: &Value) -> Value {
    json!({"policies": {"p": {"permissions": [permission], "principals": [principal]}}})
}

fn any() -> Value {
    json!({"any": true})
}

fn http(rules: &Value) -> Result<HttpRbac, String> {
    let proto = proto(&json!({"rules": rules}));
    http_rbac(&proto).map_err(|refusal| refusal.to_string())
}

#[test]
fn every_condition_that_is_honoured_compiles() {
    let net = json!({"address_prefix": "10.0.0.0", "prefix_len": 8});
    let path = json!({"path": {"prefix": "/a"}});
    let header = json!({"name": "x-a", "present_match": true});
    let permissions = [
        any(),
        json!({"header": header}),
        json!({"url_path": path}),
        json!({"destination_ip": net}),
        json!({"destination_port": 443}),
        json!({"destination_port_range": {"start": 0, "end": 65536}}),
        json!({"requested_server_name": {"exact": ""}}),
        json!({"and_rules": {"rules": [any()]}}),
        json!({"or_rules": {"rules": [any()]}}),
        json!({"not_rule": any()}),
    ];
    for permission in permissions {
        let compiled = http(&policy(&permission, &any()));
        assert!(compiled.is_ok(), "{permission}: {compiled:?}");
    }
    let principals = [
        json!({"authenticated": {}}),
        json!({"authenticated": {"principal_name": {"prefix": "spiffe://"}}}),
        json!({"source_ip": net}),
        json!({"direct_remote_ip": net}),
        json!({"remote_ip": net}),
        json!({"header": header}),
        json!({"url_path": path}),
        json!({"and_ids": {"ids": [any()]}}),
        json!({"or_ids": {"ids": [any()]}}),
        json!({"not_id": any()}),
    ];
    for principal in principals {
        let compiled = http(&policy(&any(), &principal));
        assert!(compiled.is_ok(), "{principal}: {compiled:?}");
    }
}

#[test]
fn what_is_wrong_is_refused_by_its_path() {
    let cases = [
        (json!({"policies": {"p": {"principals": [any()]}}}), "permissions: must have an entry"),
        (json!({"policies": {"p": {"permissions": [any()]}}}), "principals: must have an entry"),
        (policy(&json!({}), &any()), "permissions[0]: a rule must be set"),
        (policy(&any(), &json!({})), "principals[0]: an identifier must be set"),
        (
            policy(&json!({"and_rules": {}}), &any()),
            "permissions[0].and_rules.rules: must have an entry",
        ),
        (
            policy(&json!({"not_rule": {"destination_port": 65536}}), &any()),
            "permissions[0].not_rule.destination_port: must name a port",
        ),
        (
            policy(&json!({"destination_port_range": {"start": 2, "end": 2}}), &any()),
            "permissions[0].destination_port_range: must name a port",
        ),
        (
            policy(&json!({"destination_port_range": {"start": -1, "end": 2}}), &any()),
            "permissions[0].destination_port_range.start: must be 0",
        ),
        (policy(&json!({"url_path": {}}), &any()), "permissions[0].url_path.path: must be set"),
        (
            policy(&any(), &json!({"or_ids": {"ids": [{"remote_ip": {"address_prefix": "x"}}]}})),
            "principals[0].or_ids.ids[0].remote_ip.address_prefix: ",
        ),
        (
            policy(&any(), &json!({"authenticated": {"principal_name": {}}})),
            "principals[0].authenticated.principal_name: one of",
        ),
    ];
    for (rules, expected) in cases {
        let refusal = http(&rules).map(|_| ()).expect_err(expected);
        let expected = format!("rules.policies[\"p\"].{expected}");
        assert!(refusal.starts_with(&expected), "{refusal}, not {expected}");
    }
    let refused = http(&json!({"action": 7})).map(|_| ()).expect_err("no action");
    assert!(refused.starts_with("rules.action: "), "{refused}");
}

#[test]
fn a_connection_has_no_headers_and_its_counters_a_prefix() {
    let header = json!({"header": {"name": "x-a", "present_match": true}});
    let below = json!({"or_rules": {"rules": [{"not_rule": header}]}});
    let compile = |json: &Value| network_rbac(&proto(json));
    let refused = compile(&json!({"stat_prefix": "s", "shadow_rules": policy(&below, &any())}));
    let path = "shadow_rules.policies[\"p\"].permissions[0].or_rules.rules[0].not_rule.header";
    assert_eq!(refused.map(|_| ()).map_err(|refusal| refusal.path), Err(path.to_owned()));
    let refused = compile(&json!({})).map(|_| ());
    assert_eq!(refused.map_err(|refusal| refusal.path), Err("stat_prefix".to_owned()));
    let asks = |permission: &Value, principal: &Value| {
        let rules = policy(permission, principal);
        let filter = compile(&json!({"stat_prefix": "s", "rules": rules})).expect("valid");
        (filter.needs_server_name, filter.needs_handshake)
    };
    let name = json!({"not_rule": {"requested_server_name": {"exact": ""}}});
    let mutual = json!({"and_ids": {"ids": [{"authenticated": {}}]}});
    assert_eq!(asks(&any(), &any()), (false, false));
    assert_eq!(asks(&name, &any()), (true, false));
    assert_eq!(asks(&any(), &mutual), (false, true));
}
