use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidegate_api::{Object, Origin, Spec};
use tidegate_envoy::json::{FieldNames, to_json};

use super::*;
use crate::Options;
use crate::model::authorization::Reach;
use tidegate_api::istio::policy::{PolicySelector, TargetReference};

/// Policies named `a`, `b` … in the root namespace, each with its spec.
fn policies(specs: &[Value]) -> Policies {
    let mut all = Policies::default();
    for (name, spec) in ('a'..).zip(specs) {
        let manifest = json!({
            "metadata": {"name": name.to_string(), "namespace": "istio-system"}, "spec": spec,
        });
        let decoded =
            Object::decode(Kind::AuthorizationPolicy, "v1", &manifest, Origin::Api).expect("valid");
        let Spec::AuthorizationPolicy(spec) = &decoded.object.spec else { panic!("a policy") };
        let policy = Policy::new(&decoded.object, spec, &Options::default());
        assert!(all.set(&decoded.object.key, Some(policy)));
    }
    all
}

/// The names of the policies of each filter, with its action.
fn names(configs: impl Iterator<Item = Value>) -> Vec<(String, Vec<String>)> {
    let told = configs.map(|config| {
        let rules = &config["typed_config"]["rules"];
        let action = rules["action"].as_str().unwrap_or("ALLOW").to_owned();
        let policies = rules["policies"].as_object().cloned().unwrap_or_default();
        (action, policies.keys().cloned().collect())
    });
    told.collect()
}

fn requests(compiled: &Authorization) -> Vec<(String, Vec<String>)> {
    names(compiled.requests.iter().map(|f| to_json(f, FieldNames::Proto).expect("known types")))
}

fn connections(compiled: &Authorization) -> Vec<(String, Vec<String>)> {
    names(compiled.connections.iter().map(|f| to_json(f, FieldNames::Proto).expect("known types")))
}

fn filter(action: &str, policies: &[&str]) -> (String, Vec<String>) {
    (action.to_owned(), policies.iter().map(|name| (*name).to_owned()).collect())
}

#[test]
fn what_only_requests_have_never_allows_a_connection_and_denies_every_one() {
    let http = json!([{"to": [{"operation": {"paths": ["/a"], "ports": ["80"]}}]}, {}]);
    let specs =
        [json!({"action": "ALLOW", "rules": http}), json!({"action": "DENY", "rules": http})];
    let compiled = compile(&policies(&specs), &[]);
    let name =
        |policy: &str, rule: usize| format!("ns[istio-system]-policy[{policy}]-rule[{rule}]");
    assert_eq!(
        connections(&compiled),
        [filter("DENY", &[&name("b", 0), &name("b", 1)]), filter("ALLOW", &[&name("a", 1)])]
    );
    assert_eq!(requests(&compiled)[1], filter("ALLOW", &[&name("a", 0), &name("a", 1)]));
    assert_eq!(compiled.faults, BTreeMap::new());
    let found = origin(&name("b", 0)).expect("a place");
    assert_eq!((&*found.key.name, &*found.path), ("b", "spec.rules[0]"));
}

#[test]
fn what_cannot_be_compiled_closes() {
    let rules = json!([{"when": [{"key": "request.headers[a b]", "values": ["x"]}]}]);
    let specs = [json!({"rules": rules}), json!({"action": "DENY", "rules": rules})];
    let compiled = compile(&policies(&specs), &[]);
    let denies = "ns[istio-system]-policy[b]-rule[0]";
    assert_eq!(requests(&compiled), [filter("DENY", &[denies]), filter("ALLOW", &[])]);
    assert_eq!(compiled.faults.len(), 2, "{:?}", compiled.faults);
    let written = to_json(&compiled.requests[0], FieldNames::Proto).expect("known types");
    let rule = &written["typed_config"]["rules"]["policies"][denies];
    assert_eq!(rule["principals"], json!([{"and_ids": {"ids": [{"any": true}]}}]));
}

#[test]
fn nobody_is_asked_yet_and_so_nothing_passes_that_would_be() {
    let custom = json!({"action": "CUSTOM", "provider": {"name": "p"}, "rules": [{}]});
    let compiled = compile(&policies(&[custom]), &[]);
    let name = "istio-ext-authz-p-ns[istio-system]-policy[a]-rule[0]-deny-due-to-bad-CUSTOM-action";
    assert_eq!(requests(&compiled), [filter("DENY", &[name])]);
    assert_eq!(connections(&compiled), [filter("DENY", &[name])]);
    let (_, rest) = name.split_once("-ns").expect("a namespace");
    assert_eq!(origin(name), origin(&format!("ns{rest}")));
}

#[test]
fn a_policy_that_cannot_be_read_closes_the_gateway_if_it_may_be_about_it() {
    let options = Options::default();
    let key = |namespace: &str| ObjectKey::new(Kind::AuthorizationPolicy, namespace, "a");
    let mut all = policies(&[json!({})]);
    assert!(!all.set_unreadable(&key("default"), None, &options), "of another namespace");
    assert!(!all.set_unreadable(&key("istio-system"), None, &options), "its last good form holds");
    assert!(all.set(&key("istio-system"), None));
    assert!(all.set_unreadable(&key("istio-system"), None, &options));
    let everything = filter("DENY", &["ns[istio-system]-policy[a]-unreadable"]);
    let compiled = compile(&all, &[]);
    assert_eq!(requests(&compiled), connections(&compiled));
    assert_eq!(connections(&compiled), [everything]);
    assert!(all.set(&key("istio-system"), None));
    assert_eq!(compile(&all, &[]), Authorization::default());
}

#[test]
fn who_is_meant() {
    let mut options = Options { namespace: "edge".to_owned(), ..Options::default() };
    let selector =
        |labels: Value| serde_json::from_value(json!({"matchLabels": labels})).expect("labels");
    let own: PolicySelector = selector(json!({"istio": "ingressgateway"}));
    let other: PolicySelector = selector(json!({"istio": "egressgateway"}));
    let class = target("gateway.networking.k8s.io", "GatewayClass", "front");
    let front = target("gateway.networking.k8s.io", "Gateway", "front");
    let back = target("gateway.networking.k8s.io", "Gateway", "back");
    let service = target("", "Service", "front");
    let all = |targets: &[&TargetReference], options: &Options, reach| {
        for namespace in ["edge", "istio-system"] {
            let wanted = if namespace == "edge" { reach } else { Reach::Targets };
            assert_eq!(Reach::of(namespace, None, targets, options), wanted, "{targets:?}");
        }
    };
    for (namespace, selector, reach) in [
        ("edge", None, Reach::Here),
        ("istio-system", Some(&own), Reach::Here),
        ("istio-system", Some(&other), Reach::Labels),
        ("default", Some(&own), Reach::Namespace),
    ] {
        assert_eq!(Reach::of(namespace, selector, &[], &options), reach, "{namespace}");
    }
    for named in [&front, &back, &class, &service] {
        all(&[named], &options, Reach::Targets);
    }
    // A proxy of the Gateway API; selectors mean it as any other.
    options.labels.insert("gateway.networking.k8s.io/gateway-name".to_owned(), "front".to_owned());
    assert_eq!(Reach::of("edge", Some(&own), &[], &options), Reach::Here);
    for (targets, reach) in [
        (&[&front][..], Reach::Here),
        (&[&back, &front], Reach::Here),
        (&[&back], Reach::Targets),
        (&[&class], Reach::Targets),
        (&[&service], Reach::Targets),
    ] {
        all(targets, &options, reach);
    }
}

fn target(group: &str, kind: &str, name: &str) -> TargetReference {
    let (group, kind, name) = (group.to_owned(), kind.to_owned(), name.to_owned());
    TargetReference { group, kind, name, namespace: String::new() }
}
