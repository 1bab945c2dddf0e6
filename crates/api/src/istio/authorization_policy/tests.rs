use serde_json::{Value, json};

use crate::Kind::AuthorizationPolicy;
use crate::istio::testing::{advice, faults, with};
use crate::{Object, Origin};

fn from(source: Value) -> Value {
    with(&json!({"rules": [{"from": [{}]}]}), &[("/rules/0/from/0/source", source)])
}

fn to(operation: Value) -> Value {
    with(&json!({"rules": [{"to": [{}]}]}), &[("/rules/0/to/0/operation", operation)])
}

#[test]
fn sources_and_operations() {
    for good in [
        from(json!({"principals": ["*"], "notIpBlocks": ["10.0.0.0/8", "::1"]})),
        from(json!({"serviceAccounts": ["a", "ns/a"]})),
        from(json!({"trustDomains": ["cluster.local", "a*", "*a", "*"]})),
        to(json!({"ports": ["0", "65535"], "paths": ["/a/{*}/b/{**}/c", "/x*", "a"]})),
    ] {
        assert_eq!(faults(AuthorizationPolicy, &good), [""; 0], "{good}");
    }
    for (bad, fault) in [
        (from(json!({})), "must not be empty"),
        (from(json!({"principals": ["a", ""]})), "principals[1]: Invalid value: \"\": empty"),
        (from(json!({"ipBlocks": ["10.0.0"]})), "is not a valid IP"),
        (from(json!({"remoteIpBlocks": ["10.0.0.0/33"]})), "is not a valid CIDR"),
        (from(json!({"serviceAccounts": ["a*"]})), "wildcard not allowed"),
        (from(json!({"notServiceAccounts": ["a/b/c"]})), "must be a service account"),
        (from(json!({"trustDomains": ["a*b"]})), "at the start or at the end"),
        (from(json!({"notTrustDomains": ["a/b"]})), "has no /"),
        (from(json!({"serviceAccounts": ["a"], "namespaces": ["b"]})), "Cannot set"),
        (to(json!({})), "must not be empty"),
        (to(json!({"ports": ["http"]})), "must be a port"),
        (to(json!({"notPorts": ["65536"]})), "must be a port"),
        (to(json!({"paths": ["/a/{x}"]})), "stand in {*}"),
        (to(json!({"paths": ["/a{*}"]})), "stand in {*}"),
        (to(json!({"paths": ["/{**}/{*}"]})), "last operator"),
        (to(json!({"notPaths": ["/{*}/*"]})), "no plain text"),
        (json!({"rules": [{"to": []}]}), "`to` must not be empty"),
        (json!({"rules": [{"from": [{}]}]}), "source` must not be nil"),
        (json!({"action": "DENY"}), "never matches"),
        (json!({"provider": {"name": "a"}}), "only the action CUSTOM"),
        (json!({"selector": {"matchLabels": {"a": "*"}}}), "wildcard not allowed"),
    ] {
        let faults = faults(AuthorizationPolicy, &bad);
        assert!(faults.len() == 1 && faults[0].contains(fault), "{bad}: {faults:?}");
    }
}

#[test]
fn conditions() {
    let when =
        |key: &str, values: Value| json!({"rules": [{"when": [{"key": key, "values": values}]}]});
    for (key, value) in [
        ("request.headers[a]", "x*"),
        ("source.ip", "10.0.0.0/8"),
        ("source.serviceAccount", "a/b"),
        ("destination.port", "80"),
        ("request.auth.claims[a][b]", "*"),
        ("experimental.envoy.filters.a.b[c]", "[d]"),
    ] {
        assert_eq!(faults(AuthorizationPolicy, &when(key, json!([value]))), [""; 0], "{key}");
    }
    for (key, values) in [
        ("source.ip", json!(["a.b.c.d"])),
        ("destination.port", json!(["http"])),
        ("source.trustDomain", json!(["a*b"])),
        ("request.headers", json!(["a"])),
        ("nothing", json!(["a"])),
        ("source.namespace", json!([])),
        ("source.namespace", json!([""])),
    ] {
        let faults = faults(AuthorizationPolicy, &when(key, values));
        assert_eq!(faults.len(), 1, "{key}: {faults:?}");
    }
}

#[test]
fn custom_policies_ask_a_provider_about_what_is_known_by_then() {
    let custom = json!({"action": "CUSTOM", "provider": {"name": "a"}, "rules": [{}]});
    assert_eq!(faults(AuthorizationPolicy, &custom), [""; 0]);
    for (pointer, value) in [
        ("/provider", json!({})),
        ("/rules/0/from", json!([{"source": {"principals": ["a"]}}])),
        ("/rules/0/when", json!([{"key": "request.auth.principal", "values": ["a"]}])),
        ("/rules", json!([])),
    ] {
        let faults = faults(AuthorizationPolicy, &with(&custom, &[(pointer, value)]));
        assert_eq!(faults.len(), 1, "{pointer}: {faults:?}");
    }
}

#[test]
fn a_rule_of_http_alone_denies_tcp_as_a_whole() {
    let deny = |spec: Value| with(&spec, &[("/action", json!("DENY"))]);
    for spec in [
        to(json!({"methods": ["GET"]})),
        from(json!({"requestPrincipals": ["*"]})),
        with(
            &to(json!({"methods": ["GET"]})),
            &[("/rules/0/from", json!([{"source": {"ipBlocks": ["::1"]}}]))],
        ),
    ] {
        let advice = advice(AuthorizationPolicy, &deny(spec.clone()));
        assert!(advice.len() == 1 && advice[0].contains("name the ports"), "{spec}: {advice:?}");
        assert_eq!(self::advice(AuthorizationPolicy, &spec), [""; 0]);
    }
    for spec in [
        json!({"rules": [{}]}),
        to(json!({"methods": ["GET"], "ports": ["80"]})),
        from(json!({"ipBlocks": ["::1"]})),
    ] {
        assert_eq!(advice(AuthorizationPolicy, &deny(spec)), [""; 0]);
    }
}

#[test]
fn what_can_be_tried_out() {
    let faults = |action: &str, value: &str| {
        let object = json!({
            "metadata": {"name": "a", "namespace": "b", "annotations": {"istio.io/dry-run": value}},
            "spec": {"action": action, "provider": null, "rules": [{}]},
        });
        Object::examine(AuthorizationPolicy, "v1", &object, Origin::Api).errors.len()
    };
    assert_eq!(faults("ALLOW", "true"), 0);
    assert_eq!(faults("DENY", "0"), 0);
    assert_eq!(faults("DENY", "yes"), 1);
    assert_eq!(faults("AUDIT", "true"), 1);
}
