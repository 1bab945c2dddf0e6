//! What the cases of tokens are asked of.

use std::sync::LazyLock;

use serde_json::{Value, json};
use tidegate_testing::jwt::Signer;

use super::{router, text};

const FILTER: &str =
    "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";
const PER_ROUTE: &str =
    "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig";
const RBAC: &str = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC";

/// Who signs, by algorithm.
pub static SIGNERS: LazyLock<Vec<(&str, Signer)>> = LazyLock::new(|| {
    ["HS256", "HS512", "RS256", "PS384", "ES256", "ES384", "ES512", "EdDSA"]
        .map(|algorithm| (algorithm, Signer::new(algorithm)))
        .into()
});

/// The filters of the listener `jwt`: one of tokens, and one that asks what they say.
pub(super) fn http_filters() -> Vec<Value> {
    let tokens = json!({
        "@type": FILTER,
        "providers": providers(),
        "rules": rules(),
        "requirement_map": {"a": of("a"), "c": of("c")},
        "bypass_cors_preflight": true,
    });
    vec![
        json!({"name": "tokens", "typed_config": tokens}),
        json!({"name": "claims", "typed_config": {"@type": RBAC, "rules": claims()}}),
        router(),
    ]
}

fn of(name: &str) -> Value {
    json!({"provider_name": name})
}

/// Keys by their names, which are those of their algorithms.
fn keys(named: bool) -> Value {
    let keys = SIGNERS.iter().map(|(algorithm, signer)| {
        let mut key = signer.key();
        key["alg"] = json!(algorithm);
        if named {
            key["kid"] = json!(algorithm);
        }
        key
    });
    json!({"inline_string": json!({"keys": keys.collect::<Vec<_>>()}).to_string()})
}

fn providers() -> Value {
    let header = |name: &str, claim: &str| json!({"header_name": name, "claim_name": claim});
    json!({
        "a": {
            "issuer": "iss-a",
            "audiences": ["us", "https://them/"],
            "local_jwks": keys(true),
            "forward_payload_header": "x-payload",
            "pad_forward_payload_header": true,
            "claim_to_headers": [
                header("x-sub", "sub"), header("x-nested", "m.k"), header("x-number", "n"),
                header("x-part", "f"), header("x-true", "t"), header("x-list", "l"), header("x-map", "m"),
                header("x-null", "z"), header("x-missing", "missing"), header("x-deep", "sub.x"),
            ],
            "payload_in_metadata": "payload",
            "header_in_metadata": "header",
            "normalize_payload_in_metadata": {"space_delimited_claims": ["scope"]},
            "clear_route_cache": true,
        },
        "b": {
            "local_jwks": keys(false),
            "forward": true,
            "from_headers": [{"name": "X-Token"}, {"name": "x-prefixed", "value_prefix": "Token "}],
            "from_params": ["tok"],
            "from_cookies": ["ctok"],
            "forward_payload_header": "x-payload-b",
        },
        "c": {"issuer": "iss-c", "local_jwks": keys(true), "require_expiration": true},
        "d": {"issuer": "iss-d", "local_jwks": keys(true), "max_lifetime": "1000s", "clock_skew_seconds": 5},
        "e": {"issuer": "iss-e", "local_jwks": keys(true), "subjects": {"prefix": "s-"}},
    })
}

fn rules() -> Vec<Value> {
    let rule = |prefix: &str, needs: Value| json!({"match": {"prefix": prefix}, "requires": needs});
    let any = |list: Value| json!({"requires_any": {"requirements": list}});
    let all = |list: Value| json!({"requires_all": {"requirements": list}});
    let (missing, failed) = (json!({"allow_missing": {}}), json!({"allow_missing_or_failed": {}}));
    let optional = |name: &str| any(json!([of(name), missing]));
    vec![
        rule("/a/", of("a")),
        rule("/b/", of("b")),
        rule("/c/", of("c")),
        rule("/d/", of("d")),
        rule("/e/", of("e")),
        rule(
            "/aud/",
            json!({"provider_and_audiences": {"provider_name": "a", "audiences": ["own"]}}),
        ),
        rule("/any/", any(json!([of("a"), of("c")]))),
        rule("/optional/", optional("a")),
        rule("/claims/", optional("a")),
        rule("/whatever/", any(json!([of("a"), failed]))),
        rule("/all/", all(json!([of("a"), of("b")]))),
        rule("/missing/", missing.clone()),
        rule("/failed/", failed.clone()),
        rule("/istio/", any(json!([of("a"), of("c"), all(json!([optional("a"), optional("c")]))]))),
        json!({"match": {"prefix": "/by/", "headers": [{"name": "x-by", "present_match": true}]},
               "requirement_name": "c"}),
        rule("/routed/", optional("a")),
    ]
}

/// What of tokens is asked by path; other paths are for everybody.
fn claims() -> Value {
    let noted = |path: &[&str], value: Value| {
        let path: Vec<Value> = path.iter().map(|key| json!({"key": key})).collect();
        json!({"metadata": {"filter": "envoy.filters.http.jwt_authn", "path": path, "value": value}})
    };
    let exact = |text: &str| json!({"string_match": {"exact": text}});
    let one_of = |value: Value| json!({"list_match": {"one_of": value}});
    let policy = |path: &str, principal: Value| {
        json!({
            "permissions": [{"url_path": {"path": {"exact": format!("/claims/{path}")}}}],
            "principals": [principal],
        })
    };
    let inverted = |mut rule: Value| {
        rule["metadata"]["invert"] = json!(true);
        rule
    };
    let group = |name: &str| one_of(exact(name));
    json!({"action": "ALLOW", "policies": {
        "others": {
            "permissions": [{"not_rule": {"url_path": {"path": {"prefix": "/claims/"}}}}],
            "principals": [{"any": true}],
        },
        "sub": policy("sub", noted(&["payload", "sub"], exact("s-1"))),
        "issued": policy("issued", json!({"and_ids": {"ids": [
            noted(&["payload", "iss"], json!({"string_match": {"safe_regex": {"regex": ".+"}}})),
            noted(&["payload", "sub"], json!({"string_match": {"safe_regex": {"regex": ".+"}}})),
        ]}})),
        "group": policy("group", noted(&["payload", "l"], group("admin"))),
        "either": policy("either", noted(&["payload", "l"],
            json!({"or_match": {"value_matchers": [group("admin"), exact("admin")]}}))),
        "scope": policy("scope", noted(&["payload", "scope"], group("write"))),
        "nested": policy("nested", noted(&["payload", "m", "k"], exact("v"))),
        "number": policy("number", noted(&["payload", "n"], json!({"double_match": {"exact": 5}}))),
        "range": policy("range", noted(&["payload", "f"], json!({"double_match": {"range": {"start": -2, "end": 0}}}))),
        "true": policy("true", noted(&["payload", "t"], json!({"bool_match": true}))),
        "null": policy("null", noted(&["payload", "z"], json!({"null_match": {}}))),
        "there": policy("there", noted(&["payload", "m"], json!({"present_match": true}))),
        "absent": policy("absent", noted(&["payload", "m"], json!({"present_match": false}))),
        "not": policy("not", inverted(noted(&["payload", "sub"], exact("s-1")))),
        "header": policy("header", noted(&["header", "alg"], exact("HS256"))),
        "sourced": policy("sourced", json!({"sourced_metadata": {
            "metadata_matcher": noted(&["payload", "sub"], exact("s-1"))["metadata"]}})),
    }})
}

/// The virtual host of these cases: routes that depend on claims, and routes with requirements of their own.
pub(super) fn virtual_host() -> Value {
    let by_claim = |claim: &str, value: Value| {
        json!({"prefix": "/routed/", "dynamic_metadata": [
            {"filter": "envoy.filters.http.jwt_authn", "path": [{"key": "payload"}, {"key": claim}], "value": value}]})
    };
    let own = |path: &str, needs: Value| {
        let mut own = needs;
        own["@type"] = json!(PER_ROUTE);
        json!({"match": {"path": path}, "route": {"cluster": "origin"}, "typed_per_filter_config": {"tokens": own}})
    };
    json!({"name": "jwt", "domains": ["jwt.example"], "routes": [
        own("/a/off", json!({"disabled": true})),
        own("/a/named", json!({"requirement_name": "c"})),
        own("/a/wrong", json!({"requirement_name": "d"})),
        {"match": by_claim("sub", json!({"string_match": {"exact": "s-1"}})), "direct_response": text(200, "s-1")},
        {"match": {"prefix": "/routed/", "headers": [{"name": "x-sub", "present_match": true}]},
         "direct_response": text(200, "somebody")},
        {"match": {"prefix": "/routed/"}, "direct_response": text(200, "nobody")},
        {"match": {"prefix": "/direct/"}, "direct_response": text(200, "direct")},
        {"match": {"prefix": "/"}, "route": {"cluster": "origin"}},
    ]})
}
