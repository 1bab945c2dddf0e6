use serde_json::{Value, json};

use super::*;
use crate::config::slots::Slots;
use crate::config::testing::proto;

const KEY: &str = r#"{"keys":[{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}"#;

fn with(changes: &[(&str, Value)]) -> Value {
    let mut whole = json!({
        "providers": {
            "a": {"issuer": "i", "local_jwks": {"inline_string": KEY}},
            "b": {"issuer": "j", "local_jwks": {"inline_string": KEY}},
        },
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "a"}}],
    });
    for (path, value) in changes {
        let (parent, name) = path.rsplit_once('/').expect("a path");
        let parent = whole.pointer_mut(parent).expect(path);
        match parent {
            Value::Array(items) => items[name.parse::<usize>().expect("a place")] = value.clone(),
            parent => parent[name] = value.clone(),
        }
    }
    whole
}

fn compiled(whole: &Value) -> Result<Jwt, String> {
    let mut links = Slots::default();
    jwt(&proto(whole), "m", &mut links).map_err(|refusal| refusal.path)
}

#[test]
fn what_is_wrong_is_refused_with_its_place() {
    let none = json!({});
    for (path, value, expected) in [
        ("/providers/a/local_jwks", Value::Null, "providers[\"a\"]"),
        (
            "/providers/a/local_jwks",
            json!({"filename": "/nowhere"}),
            "providers[\"a\"].local_jwks.filename",
        ),
        (
            "/providers/b/from_headers",
            json!([{"name": ""}]),
            "providers[\"b\"].from_headers[0].name",
        ),
        ("/providers/b/from_params", json!([""]), "providers[\"b\"].from_params[0]"),
        (
            "/providers/a/forward_payload_header",
            json!("host"),
            "providers[\"a\"].forward_payload_header",
        ),
        ("/providers/a/max_lifetime", json!("0s"), "providers[\"a\"].max_lifetime"),
        (
            "/providers/a/claim_to_headers",
            json!([{"header_name": "a"}]),
            "providers[\"a\"].claim_to_headers[0].claim_name",
        ),
        (
            "/providers/a/claim_to_headers",
            json!([{"header_name": ":path", "claim_name": "a"}]),
            "providers[\"a\"].claim_to_headers[0].header_name",
        ),
        ("/rules/0/requires", json!({"provider_name": "c"}), "rules[0].requires.provider_name"),
        (
            "/rules/0/requires",
            json!({"requires_any": {"requirements": [none]}}),
            "rules[0].requires.requires_any.requirements",
        ),
        (
            "/rules/0/requires",
            json!({"requires_all": {"requirements": [none, {"provider_name": "c"}]}}),
            "rules[0].requires.requires_all.requirements[1].provider_name",
        ),
        ("/rules/0/match", Value::Null, "rules[0].match"),
        (
            "/rules/0",
            json!({"match": {"prefix": "/"}, "requirement_name": "x"}),
            "rules[0].requirement_name",
        ),
        (
            "/requirement_map",
            json!({"x": {"provider_name": "c"}}),
            "requirement_map[\"x\"].provider_name",
        ),
    ] {
        let refused = compiled(&with(&[(path, value)])).map(|_| ());
        assert_eq!(refused, Err(expected.to_owned()), "{path}");
    }
}

#[test]
fn keys_that_cannot_be_used_take_down_their_own_tokens_alone() {
    for (text, keys, notice) in [
        (KEY.to_owned(), true, None),
        (KEY.replace("[{", "[{},{"), true, Some("a key is left out: keys[0]: `kty` is missing")),
        ("junk".to_owned(), false, Some("this is no key set: it is no JSON")),
    ] {
        let mut links = Slots::default();
        let whole = with(&[("/providers/b/local_jwks", json!({"inline_string": text}))]);
        let jwt = jwt(&proto(&whole), "m", &mut links).expect("valid");
        assert!(matches!(jwt.providers[0].keys, Keys::Here(_)));
        assert_eq!(matches!(jwt.providers[1].keys, Keys::Here(_)), keys);
        let notices = links.take_notices();
        assert_eq!(notices.len(), usize::from(notice.is_some()), "{notices:?}");
        for (found, expected) in notices.iter().zip(notice) {
            assert_eq!(found.path, "providers[\"b\"].local_jwks");
            assert!(found.reason.contains(expected), "{found}");
        }
    }
}

#[test]
fn what_spares_counts_wherever_it_stands() {
    let any = |list: Value| {
        let whole = with(&[("/rules/0/requires", json!({"requires_any": {"requirements": list}}))]);
        compiled(&whole).map(|jwt| format!("{:?}", jwt.rules[0].needs))
    };
    let (a, missing, failed) = (
        json!({"provider_name": "a"}),
        json!({"allow_missing": {}}),
        json!({"allow_missing_or_failed": {}}),
    );
    let is = |text: &str| Ok(text.to_owned());
    assert_eq!(any(json!([missing, a])), is("Any([Of(0, None)], Some(Missing))"));
    assert_eq!(any(json!([missing, a, failed])), is("Any([Of(0, None)], Some(Failed))"));
    assert_eq!(any(json!([failed, a, missing])), is("Any([Of(0, None)], Some(Failed))"));
    assert_eq!(any(json!([missing, failed])), is("Spared(Failed)"));
    assert_eq!(any(json!([a, {}])), is("Any([Of(0, None), Nothing], None)"));
}

#[test]
fn defaults_are_envoys() {
    let jwt = compiled(&with(&[("/providers/b/jwt_cache_config", json!({}))])).expect("valid");
    let [a, b] = &jwt.providers[..] else { panic!("two") };
    assert_eq!((a.skew, a.cache, b.cache, a.longest), (60, (0, 0), (100, 4096), None));
    let mut head = crate::http::RequestHead::default();
    head.set_path(b"/?access_token=x");
    head.headers.append(b"authorization", b"Bearer y");
    let found = a.locations.find(&head).expect("few");
    let texts: Vec<_> = found.iter().map(|found| &found.text[..]).collect();
    assert_eq!(texts, [b"x", b"y"]);
}

#[test]
fn routes_say_what_they_need() {
    let own = |value: Value| jwt_per_route(&proto(&value)).map_err(|refusal| refusal.path);
    assert!(matches!(own(json!({"disabled": true})), Ok(OnRoute::Off)));
    assert!(
        matches!(own(json!({"requirement_name": "x"})), Ok(OnRoute::Needs(name)) if &*name == "x")
    );
    assert_eq!(own(json!({"disabled": false})).map(|_| ()), Err("disabled".into()));
    assert_eq!(own(json!({})).map(|_| ()), Err("".into()));
}

fn fetched(changes: &[(&str, Value)]) -> Value {
    let mut remote = json!({
        "http_uri": {"uri": "https://issuer.example/keys?a", "cluster": "issuer", "timeout": "5s"},
    });
    for (path, value) in changes {
        let (parent, name) = path.rsplit_once('/').expect("a path");
        remote.pointer_mut(parent).expect(path)[name] = value.clone();
    }
    with(&[("/providers/a/local_jwks", Value::Null), ("/providers/a/remote_jwks", remote)])
}

#[test]
fn where_keys_are_fetched_is_told() {
    let mut links = Slots::default();
    let whole = fetched(&[
        ("/cache_duration", json!("0.5s")),
        ("/async_fetch", json!({"failed_refetch_duration": "3s"})),
        ("/retry_policy", json!({"num_retries": 2, "retry_back_off": {"base_interval": "0.1s"}})),
    ]);
    let of = |whole: &Value, links: &mut Slots| {
        let filter = jwt(&proto(whole), "m", links).expect("valid");
        let Some(Keys::Fetched(keys)) = filter.providers.first().map(|one| one.keys.clone()) else {
            panic!("no keys that are fetched");
        };
        (filter, keys)
    };
    let (filter, keys) = of(&whole, &mut links);
    let origin = &keys.source().origin;
    assert_eq!(origin.uri, "https://issuer.example/keys?a");
    assert_eq!((&*origin.cluster, origin.timeout), ("issuer", Duration::from_secs(5)));
    assert_eq!(origin.keep, LEAST_KEEP, "no issuer is asked more often");
    assert_eq!(origin.unasked, Some(Duration::from_secs(3)));
    let second = Duration::from_secs(1);
    let retries = Retries { most: 2, pause: second / 10, longest_pause: second };
    assert_eq!(origin.retries, retries);
    // What is said again is fetched once, and what nobody says any more not at all.
    let (again, same) = of(&whole, &mut links);
    assert!(Arc::ptr_eq(keys.source(), same.source()));
    let (_, other) = of(&fetched(&[]), &mut links);
    assert!(!Arc::ptr_eq(keys.source(), other.source()));
    assert_eq!((other.source().origin.keep, other.source().origin.unasked), (DEFAULT_KEEP, None));
    drop((filter, keys, other));
    assert_eq!(links.sources().len(), 1);
    drop((again, same));
    assert!(links.sources().is_empty());
}

#[test]
fn keys_that_cannot_be_fetched_so_are_refused() {
    for (path, value, expected) in [
        ("/http_uri", Value::Null, "http_uri"),
        ("/http_uri/uri", json!(""), "http_uri.uri"),
        ("/http_uri/uri", json!("/keys"), "http_uri.uri"),
        ("/http_uri/uri", json!("file:///keys"), "http_uri.uri"),
        ("/http_uri/uri", json!("https://user:pass@issuer.example/"), "http_uri.uri"),
        ("/http_uri/cluster", json!(""), "http_uri.cluster"),
        ("/http_uri/timeout", Value::Null, "http_uri.timeout"),
        ("/http_uri/timeout", json!("0s"), "http_uri.timeout"),
        ("/cache_duration", json!("0s"), "cache_duration"),
        (
            "/async_fetch",
            json!({"failed_refetch_duration": "0s"}),
            "async_fetch.failed_refetch_duration",
        ),
        ("/retry_policy", json!({"num_retries": 11}), "retry_policy.num_retries"),
        (
            "/retry_policy",
            json!({"retry_back_off": {"base_interval": "2s", "max_interval": "1s"}}),
            "retry_policy.retry_back_off.max_interval",
        ),
    ] {
        let refused = compiled(&fetched(&[(path, value)])).map(|_| ());
        assert_eq!(refused, Err(format!("providers[\"a\"].remote_jwks.{expected}")), "{path}");
    }
}
