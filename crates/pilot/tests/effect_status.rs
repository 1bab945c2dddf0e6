//! What is told of fields and values that are accepted and have no effect.

mod common;

use common::{World, entry, gateway, host, manifest, service};
use serde_json::{Value, json};
use tidegate_pilot::Options;
use tidegate_pilot::status::ConditionKind::{Reconciled, ResolvedRefs};

#[test]
fn what_routes_ask_for_in_vain_is_told() {
    let mut a = service("a", "a.com", "/a");
    a["spec"]["http"][0]["match"][0]["headers"] =
        json!({"@request.auth.claims.group": {"exact": "x"}});
    let mut moved = service("b", "b.com", "/b");
    moved["spec"]["http"][0] = json!({"redirect": {"uri": "/x", "redirectCode": 317}});
    let world =
        World::with(Options::default(), &[gateway(), entry(&[80]), a.clone(), moved.clone()]);
    let fault = world.fault(&a, Reconciled).expect("nobody verifies a JWT");
    assert_eq!(
        fault,
        "NotServed: http[0].match[0].headers[@request.auth.claims.group]: no RequestAuthentication for this gateway says whose \
         JWTs are verified, so that no claim is known and the condition never holds"
    );
    let fault = world.fault(&moved, Reconciled).expect("there is no such redirect");
    assert!(fault.contains("redirectCode: 317 is none of 301") && fault.contains("answered 500"));
    assert_eq!(host(&world, "b.com")["routes"][0]["direct_response"]["status"], 500);
}

#[test]
fn claims_are_known_as_long_as_a_request_authentication_verifies_tokens() {
    let mut service = service("a", "a.com", "/a");
    service["spec"]["http"][0]["match"][0]["headers"] =
        json!({"@request.auth.claims.group": {"exact": "x"}});
    let jwks =
        r#"{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let tokens = json!({
        "kind": "RequestAuthentication",
        "apiVersion": "security.istio.io/v1",
        "metadata": {"name": "t", "namespace": "istio-system"},
        "spec": {"jwtRules": [{"issuer": "i", "jwks": jwks}]},
    });
    let mut world = World::with(Options::default(), &[gateway(), entry(&[80]), service.clone()]);
    let says = |world: &World| world.fault(&service, Reconciled).is_some();
    assert!(says(&world));
    world.apply(&tokens);
    assert!(!says(&world));
    world.delete(&tokens);
    assert!(says(&world));
}

/// A virtual host with a value that the proxy refuses would be refused whole, with the rules of others in it.
#[test]
fn a_value_that_is_not_served_costs_its_rule_alone() {
    let rule = |path: &str, changes: &Value| {
        let mut rule = json!({
            "match": [{"uri": {"exact": path}}],
            "route": [{"destination": {"host": "backend.example.org"}}],
        });
        for (field, value) in changes.as_object().expect("fields") {
            rule[field] = value.clone();
        }
        rule
    };
    let header = |name: &str, value: &str| json!({"headers": {"response": {"set": {name: value}}}});
    let good = "%RESPONSE_CODE_DETAILS% %BYTES_RECEIVED% 100%%";
    let of = |changes: &Value| {
        let rules = json!([rule("/good", &header("x-a", good)), rule("/bad", changes)]);
        let spec = json!({"hosts": ["a.com"], "gateways": ["g"], "http": rules});
        manifest("VirtualService", "v", &spec)
    };
    let mut world = World::with(Options::default(), &[gateway(), entry(&[80])]);
    for (changes, told) in [
        (
            header("x-a", "%PROTOCOL% %UPSTREAM_TLS_VERSION%"),
            "headers.response.set[x-a]: %UPSTREAM_TLS_VERSION% is no variable of header values here",
        ),
        (
            header("x-a", "%PATH(XQ)%"),
            "headers.response.set[x-a]: %PATH(XQ)% cannot be read: between its parentheses stands WQ or NQ, with :ORIG, :PATH or \
             :ORIG_OR_PATH behind it if need be, and behind them nothing but :LENGTH",
        ),
        (
            header("a b", "c"),
            "headers.response.set[a b]: \"a b\" is no name of a header (RFC 9110, section 5.6.2)",
        ),
        (
            header("content-length", "5"),
            "headers.response.set[content-length]: content-length says where a message ends, which the proxy alone decides: a \
             wrong one would make a second message of what follows (RFC 9112, section 11.2)",
        ),
        (
            json!({"rewrite": {"uriRegexRewrite": {"match": "/(.*)", "rewrite": "/\\2"}}}),
            "rewrite.uriRegexRewrite.rewrite: \\2 names a group, and the pattern has 1 of them",
        ),
        (
            json!({"rewrite": {"uri": "/a\r\nb: c"}}),
            "rewrite.uri: a line break or NUL cannot stand in a head of HTTP",
        ),
    ] {
        world.apply(&of(&changes));
        let routes = host(&world, "a.com")["routes"].clone();
        assert_eq!(routes[0]["response_headers_to_add"][0]["header"]["value"], good);
        assert_eq!(routes[1]["direct_response"]["status"], 500, "{told}");
        assert!(routes[1]["response_headers_to_add"].is_null());
        assert_eq!(
            world.fault(&of(&changes), Reconciled),
            Some(format!("NotServed: http[1].{told}; requests are answered 500"))
        );
    }
    world.apply(&of(&json!({})));
    assert_eq!(world.fault(&of(&json!({})), Reconciled), None);

    let nameless =
        json!({"match": [{"queryParams": {"": {"exact": "a"}}}, {"uri": {"exact": "/b"}}]});
    world.apply(&of(&nameless));
    let routes = host(&world, "a.com")["routes"].as_array().expect("routes").len();
    assert_eq!(routes, 2, "the condition that can be met is left");
    let fault = world.fault(&of(&nameless), Reconciled).expect("it is told");
    assert!(
        fault.starts_with("NotServed: http[1].match[0].queryParams: a query parameter without"),
        "{fault}"
    );
}

/// A hash that the proxy refuses would cost the virtual hosts that lead to the destination.
#[test]
fn a_hash_that_is_not_served_is_left_out() {
    let rule = |hash: &Value| {
        let policy = json!({"loadBalancer": {"consistentHash": hash}});
        manifest(
            "DestinationRule",
            "r",
            &json!({"host": "backend.example.org", "trafficPolicy": policy}),
        )
    };
    let manifests = [gateway(), entry(&[80]), service("v", "a.com", "/")];
    let mut world = World::with(Options::default(), &manifests);
    let hashed =
        |world: &World| !host(world, "a.com")["routes"][0]["route"]["hash_policy"].is_null();
    for (hash, told) in [
        (json!({"httpHeaderName": "a b"}), "httpHeaderName: is no name of a header"),
        (json!({"httpCookie": {"name": "a\nb", "ttl": "0s"}}), "httpCookie: a line break"),
        (json!({"useSourceIp": false}), "useSourceIp: false names nothing to hash"),
        (json!({"httpQueryParameterName": ""}), "httpQueryParameterName: a query parameter has"),
    ] {
        world.apply(&rule(&hash));
        let fault = world.fault(&rule(&hash), Reconciled).expect("it is told");
        assert!(fault.starts_with(&format!("NotServed: consistentHash.{told}")), "{fault}");
        assert!(!hashed(&world), "{hash}");
    }
    for hash in [json!({"httpHeaderName": ":path"}), json!({"useSourceIp": true})] {
        world.apply(&rule(&hash));
        assert!(hashed(&world) && world.fault(&rule(&hash), Reconciled).is_none(), "{hash}");
    }
}

#[test]
fn a_status_that_there_is_not_is_told_and_answered_500() {
    let mut wrong = service("a", "a.com", "/a");
    wrong["spec"]["http"][0] = json!({"directResponse": {"status": 600, "body": {"string": "x"}}});
    let world = World::with(Options::default(), &[gateway(), wrong.clone()]);
    let fault = world.fault(&wrong, Reconciled).expect("the data plane would refuse it");
    assert!(fault.contains("http[0].directResponse.status: 600 is no status of HTTP"), "{fault}");
    assert_eq!(host(&world, "a.com")["routes"][0]["direct_response"], json!({"status": 500}));
}

#[test]
fn fields_without_effect_are_told() {
    let mut with_default = gateway();
    with_default["spec"]["servers"][0]["defaultEndpoint"] = json!("127.0.0.1:8080");
    let labels = json!([{ "sniHosts": ["a.com"], "sourceLabels": {"app": "a"} }]);
    let route = json!([{ "destination": { "host": "backend.example.org" } }]);
    let narrow = |matches: &Value| {
        let rule = json!({ "match": matches, "route": route });
        manifest(
            "VirtualService",
            "t",
            &json!({"hosts": ["a.com"], "gateways": ["g"], "tls": [rule]}),
        )
    };
    let tls = narrow(&labels);
    let mut world =
        World::with(Options::default(), &[with_default.clone(), entry(&[80]), tls.clone()]);
    for (object, told) in [
        (&with_default, "servers[0].defaultEndpoint is not served yet"),
        (&tls, "tls[0].match[0].sourceLabels is for sidecars: a gateway does not look at it"),
    ] {
        let fault = world.fault(object, Reconciled).expect("it is told");
        assert!(fault.starts_with(&format!("NotServed: {told}")), "{fault}");
    }
    world.apply(&narrow(&json!([{ "sniHosts": ["a.com"] }])));
    world.apply(&gateway());
    for object in [&with_default, &tls] {
        assert_eq!(world.fault(object, Reconciled), None);
    }
    let with_resolution = |host: &str, resolution: &str| {
        let mut entry = entry(&[80]);
        entry["spec"]["hosts"] = json!([host]);
        entry["spec"]["resolution"] = json!(resolution);
        entry
    };
    let nowhere = with_resolution("backend.example.org", "NONE");
    world.apply(&nowhere);
    let rule = narrow(&json!([{ "sniHosts": ["a.com"] }]));
    let fault = world.fault(&rule, ResolvedRefs).expect("whoever leads there is told");
    assert!(fault.contains("NONE"), "{fault}");
    let idle = world.idle(&nowhere).expect("it is for sidecars");
    assert!(idle.starts_with("NotSelected: it is for sidecars: resolution NONE"), "{idle}");
    let asked = with_resolution("*.example.org", "DYNAMIC_DNS");
    world.apply(&asked);
    assert_eq!(world.fault(&asked, Reconciled), None);
}

#[test]
fn a_gateway_tells_of_a_port_that_nothing_opens() {
    let server =
        json!({"port": {"number": 9000, "name": "tcp", "protocol": "TCP"}, "hosts": ["*"]});
    let tcp = manifest("Gateway", "g", &json!({"servers": [server]}));
    let mut world = World::with(Options::default(), &[tcp.clone(), entry(&[80])]);
    let fault = world.fault(&tcp, Reconciled).expect("it is told");
    assert!(fault.starts_with("NoRoute: servers[0]"), "{fault}");
    let rule = json!({ "route": [{ "destination": { "host": "backend.example.org" } }] });
    let route =
        manifest("VirtualService", "t", &json!({"hosts": ["*"], "gateways": ["g"], "tcp": [rule]}));
    world.apply(&route);
    assert_eq!(world.fault(&tcp, Reconciled), None, "it is open now");
    world.delete(&route);
    assert!(world.fault(&tcp, Reconciled).is_some());
}
