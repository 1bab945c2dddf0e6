//! Keys of tokens that are fetched: through which cluster, and what a change of that costs.

mod common;

use common::{World, gateway, manifest, object, service};
use serde_json::{Value, json};
use tidegate_pilot::status::ConditionKind::{Reconciled, ResolvedRefs};
use tidegate_pilot::{Compiled, Input, Options, UnfetchedKeys};
use tidegate_xds::{ResourceType, Unfetched};

/// A RequestAuthentication whose issuer has its keys at an address.
fn tokens(uri: &str) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "RequestAuthentication",
        "metadata": {"name": "t", "namespace": "istio-system"},
        "spec": {"jwtRules": [{"issuer": "i", "jwksUri": uri, "timeout": "2s"}]},
    })
}

fn entry(ports: &[(u16, &str)], resolution: &str) -> Value {
    let port = |(number, protocol): &(u16, &str)| json!({"number": number, "name": format!("p{number}"), "protocol": protocol});
    let ports: Vec<Value> = ports.iter().map(port).collect();
    let mut spec = json!({"hosts": ["keys.example.com"], "ports": ports, "resolution": resolution});
    if resolution == "STATIC" {
        spec["endpoints"] = json!([{"address": "192.0.2.1"}]);
    }
    manifest("ServiceEntry", "keys", &spec)
}

fn world(more: &[Value]) -> World {
    let bytes = service("a", "a.example.com", "/");
    World::with(Options::default(), &[&[gateway(), bytes], more].concat())
}

/// How the keys are fetched.
fn remote(world: &World) -> Value {
    let listener = world.json(ResourceType::Listener, "0.0.0.0_80");
    let filters = &listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"];
    let filter = filters
        .as_array()
        .expect("filters")
        .iter()
        .find(|f| f["name"] == "envoy.filters.http.jwt_authn");
    let filter = filter.expect("a filter of tokens");
    filter["typed_config"]["providers"]["ns[istio-system]-policy[t]-rule[0]"]["remote_jwks"].clone()
}

fn through(world: &World) -> String {
    remote(world)["http_uri"]["cluster"].as_str().expect("a cluster").to_owned()
}

fn cluster(world: &World) -> Value {
    world.json(ResourceType::Cluster, &through(world))
}

fn tls(cluster: &Value) -> &Value {
    &cluster["transport_socket"]["typed_config"]
}

#[test]
fn who_is_in_no_registry_is_resolved_and_verified_by_name() {
    let world = world(&[tokens("https://Keys.example.com/keys?a")]);
    let expected = json!({
        "http_uri": {
            "uri": "https://keys.example.com/keys?a",
            "cluster": "jwks|443|https|keys.example.com",
            "timeout": "2s",
        },
        "cache_duration": "300s",
        "async_fetch": {"fast_listener": true, "failed_refetch_duration": "10s"},
    });
    assert_eq!(remote(&world), expected);
    let cluster = cluster(&world);
    assert_eq!(cluster["type"], "STRICT_DNS");
    let endpoint = &cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
    let expected = json!({"address": "keys.example.com", "port_value": 443});
    assert_eq!(endpoint["address"]["socket_address"], expected);
    assert_eq!(tls(&cluster)["sni"], "keys.example.com");
    assert_eq!(tls(&cluster)["auto_sni_san_validation"], true);
    let trusted = &tls(&cluster)["common_tls_context"]["combined_validation_context"];
    let secret = &trusted["validation_context_sds_secret_config"]["name"];
    assert_eq!(secret, "file-root:system");
    assert!(world.pilot.files().iter().any(|file| file.contains("ca-certificates.crt")));
}

#[test]
fn an_address_is_dialled_and_verified_as_one() {
    let world = world(&[tokens("https://192.0.2.7:8443/keys")]);
    let cluster = cluster(&world);
    assert_eq!(cluster["name"], "jwks|8443|https|192.0.2.7");
    assert_eq!(cluster["type"], "STATIC");
    let named = &tls(&cluster)["common_tls_context"]["combined_validation_context"];
    let named = &named["default_validation_context"]["match_subject_alt_names"];
    assert_eq!(named, &json!([{"exact": "192.0.2.7"}]));
}

#[test]
fn without_tls_there_is_none() {
    let world = world(&[tokens("http://keys.example.com/keys")]);
    assert_eq!(through(&world), "jwks|80|http|keys.example.com");
    assert_eq!(cluster(&world).get("transport_socket"), None);
    assert_eq!(world.pilot.files().len(), 0);
}

#[test]
fn a_service_is_reached_as_its_cluster_says() {
    let plain = entry(&[(80, "HTTP")], "STATIC");
    let mut world = world(&[tokens("http://keys.example.com/keys"), plain.clone()]);
    assert_eq!(through(&world), "outbound|80||keys.example.com");
    let own = "jwks|80|http|keys.example.com";
    assert!(!world.names(ResourceType::Cluster).iter().any(|name| name == own));
    // It goes, and comes again.
    world.delete(&plain);
    assert_eq!(through(&world), own);
    cluster(&world);
    let output = world.apply(&plain);
    assert_eq!(through(&world), "outbound|80||keys.example.com");
    assert!(!world.names(ResourceType::Cluster).iter().any(|name| name == own));
    assert_eq!(output.compiled.listeners, 2);
    // Others do not matter.
    let mut other = plain;
    other["metadata"]["name"] = json!("other");
    other["spec"]["hosts"] = json!(["other.example.com"]);
    assert_eq!(world.apply(&other).compiled.listeners, 0);
}

#[test]
fn https_is_spoken_in_tls_whatever_is_said_of_the_service() {
    let secure = |resolution| entry(&[(443, "HTTPS")], resolution);
    let rule = |tls: &Value| {
        manifest(
            "DestinationRule",
            "keys",
            &json!({"host": "keys.example.com",
            "trafficPolicy": {"tls": tls, "loadBalancer": {"simple": "RANDOM"}}}),
        )
    };
    let uri = "https://keys.example.com/keys";
    let mut world = world(&[tokens(uri), secure("STATIC")]);
    let own = "jwks|443|https|keys.example.com";
    assert_eq!(through(&world), own);
    let compiled = cluster(&world);
    assert_eq!(compiled["type"], "EDS");
    assert_eq!(compiled["eds_cluster_config"]["service_name"], "outbound|443||keys.example.com");
    assert_eq!(tls(&compiled)["sni"], "keys.example.com");
    // The service's own cluster is as it was.
    let of_service = world.json(ResourceType::Cluster, "outbound|443||keys.example.com");
    assert_eq!(of_service.get("transport_socket"), None);
    world.apply(&secure("DNS"));
    assert_eq!(cluster(&world)["type"], "STRICT_DNS");
    // Rules without TLS count in all else.
    world.apply(&rule(&json!({"mode": "DISABLE"})));
    assert_eq!((through(&world).as_str(), &cluster(&world)["lb_policy"]), (own, &json!("RANDOM")));
    assert_eq!(tls(&cluster(&world))["sni"], "keys.example.com");
    world.apply(&rule(&json!({"mode": "SIMPLE", "sni": "other.example.com"})));
    assert_eq!(through(&world), "outbound|443||keys.example.com");
    assert_eq!(tls(&cluster(&world))["sni"], "other.example.com");
    assert!(!world.names(ResourceType::Cluster).iter().any(|name| name == own));
}

#[test]
fn who_owns_a_cluster_for_keys_is_known_and_with_its_last_owner_it_goes() {
    let one = tokens("https://keys.example.com/a");
    let mut other = tokens("https://keys.example.com/b");
    other["metadata"]["name"] = json!("other");
    let mut world = world(&[one.clone(), other.clone()]);
    let name = "jwks|443|https|keys.example.com";
    let key = |manifest: &Value| object(manifest).key.clone();
    let owners = world.pilot.owners(ResourceType::Cluster, name);
    assert_eq!(owners, [key(&other), key(&one)]);
    world.delete(&one);
    assert_eq!(world.pilot.owners(ResourceType::Cluster, name), [key(&other)]);
    world.delete(&other);
    assert!(!world.names(ResourceType::Cluster).iter().any(|cluster| cluster == name));
    assert_eq!(world.pilot.files().len(), 0);
}

#[test]
fn what_is_said_again_costs_nothing() {
    let mut world = world(&[tokens("https://keys.example.com/keys")]);
    let before = world.bytes();
    let output = world.apply(&tokens("https://keys.example.com/keys"));
    assert_eq!((output.compiled, world.bytes()), (Compiled::default(), before));
}

/// What the proxy says of keys is told in the status of who names them, and of nobody else.
#[test]
fn keys_that_cannot_be_fetched_are_told_until_they_can() {
    let policy = tokens("http://keys.example.com/keys");
    let mut other = tokens("http://other.example.com/keys");
    other["metadata"]["name"] = json!("other");
    let mut world = world(&[policy.clone(), other.clone()]);
    let unfetched = |serves_on| Unfetched {
        uri: "http://keys.example.com/keys".to_owned(),
        reason: "192.0.2.1:80: Connection refused".to_owned(),
        serves_on,
    };
    for (serves_on, rest) in
        [(false, "tokens that need them are refused"), (true, "those of before serve on")]
    {
        let told = world.give([Input::Unfetched(UnfetchedKeys::among([&unfetched(serves_on)]))]);
        assert_eq!((told.status.len(), told.compiled), (1, Compiled::default()));
        let words = format!(
            "KeysNotFetched: keys of http://keys.example.com/keys cannot be fetched: \
             192.0.2.1:80: Connection refused; {rest}"
        );
        assert_eq!(world.fault(&policy, ResolvedRefs), Some(words));
        assert_eq!(world.fault(&policy, Reconciled), None);
        assert_eq!(world.fault(&other, ResolvedRefs), None);
    }
    world.give([Input::Unfetched(UnfetchedKeys::default())]);
    assert_eq!(world.fault(&policy, ResolvedRefs), None);
}

/// Whoever feeds the pilot asks issuers where their keys are, where nothing else says it.
#[test]
fn issuers_are_asked_where_their_keys_are() {
    let mut policy = tokens("");
    policy["spec"] = json!({"jwtRules": [{"issuer": "https://issuer.example.com/"}]});
    let mut world = world(&[policy.clone()]);
    let issuers: Vec<String> = world.pilot.issuers().iter().map(ToString::to_string).collect();
    assert_eq!(issuers, ["https://issuer.example.com/"]);
    let fault = world.fault(&policy, Reconciled).expect("they are not known yet");
    assert!(fault.contains("jwtRules[0].issuer: it is being asked"), "{fault}");
    assert_eq!(remote(&world), Value::Null);

    let said = |keys: Result<&str, &str>| Input::Discovered {
        issuer: "https://issuer.example.com/".into(),
        keys: keys.map(str::to_owned).map_err(str::to_owned),
    };
    world.give([said(Err("the answer is 404"))]);
    let fault = world.fault(&policy, Reconciled).expect("they are not known");
    assert!(fault.contains("is not known: the answer is 404; "), "{fault}");
    world.give([said(Ok("https://keys.example.com/a"))]);
    assert_eq!(world.fault(&policy, Reconciled), None);
    assert_eq!(remote(&world)["http_uri"]["uri"], "https://keys.example.com/a");
    assert_eq!(through(&world), "jwks|443|https|keys.example.com");
    // What it says may be wrong, too.
    world.give([said(Ok("keys"))]);
    let fault = world.fault(&policy, Reconciled).expect("no address");
    assert!(fault.contains("jwtRules[0].issuer: "), "{fault}");

    world.apply(&tokens("https://keys.example.com/b"));
    assert!(world.pilot.issuers().is_empty(), "the policy itself says it");
}
