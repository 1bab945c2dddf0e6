//! What is told of destinations that nobody stands behind.

mod common;

use common::{World, manifest};
use serde_json::{Value, json};
use tidegate_pilot::Options;
use tidegate_pilot::status::ConditionKind;

fn core(kind: &str, name: &str, labels: &Value, rest: &Value) -> Value {
    let metadata = json!({"name": name, "namespace": "default", "labels": labels});
    let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": metadata});
    let rest = rest.as_object().expect("fields").clone();
    object.as_object_mut().expect("an object").extend(rest);
    object
}

fn web(selector: &Value) -> Value {
    let spec = json!({"selector": selector, "ports": [{"name": "http", "port": 80}]});
    core("Service", "web", &json!({}), &json!({"spec": spec}))
}

fn pod(name: &str, ready: &str) -> Value {
    let status = json!({"podIP": "192.0.2.1", "conditions": [{"type": "Ready", "status": ready}]});
    let spec = json!({"containers": [{"name": "a", "image": "a"}]});
    core("Pod", name, &json!({"app": "web"}), &json!({"spec": spec, "status": status}))
}

/// A slice with one endpoint.
fn slice(version: &str, port: &str, ready: bool) -> Value {
    let labels = json!({"kubernetes.io/service-name": "web", "version": version});
    let address = format!("192.0.2.{}", version.trim_start_matches('v'));
    let endpoint = json!({"addresses": [address], "conditions": {"ready": ready}});
    let rest = json!({
        "addressType": "IPv4",
        "ports": [{"name": port, "port": 8080}],
        "endpoints": [endpoint],
    });
    let mut slice = core("EndpointSlice", &format!("web-{version}"), &labels, &rest);
    slice["apiVersion"] = json!("discovery.k8s.io/v1");
    slice
}

/// A route to these subsets of the Service, each with its weight.
fn route(subsets: &[(&str, u16)]) -> Value {
    let destination = |(subset, weight): &(&str, u16)| json!({"destination": {"host": "web", "subset": subset}, "weight": weight});
    let route: Vec<Value> = subsets.iter().map(destination).collect();
    let spec = json!({"hosts": ["a.com"], "gateways": ["g"], "http": [{"route": route}]});
    manifest("VirtualService", "v", &spec)
}

fn rule() -> Value {
    let subset = |name: &str| json!({"name": name, "labels": {"version": name}});
    let spec = json!({"host": "web", "subsets": [subset("v1"), subset("v2")]});
    manifest("DestinationRule", "r", &spec)
}

fn told(world: &World, object: &Value) -> Option<String> {
    world.fault(object, ConditionKind::ResolvedRefs)
}

const NOBODY: &str = "NoEndpoints: http[0].route[0].destination: host web.default.svc.cluster.local has no endpoint for \
                      port 80: ";

#[test]
fn a_service_without_endpoints_is_told_with_what_would_help() {
    let v = route(&[("", 0)]);
    let mut world = World::with(Options::default(), &[common::gateway(), v.clone()]);
    let mut is = |change: &Value, words: Option<&str>| {
        world.apply(change);
        let expected = words.map(|words| format!("{NOBODY}{words}; requests are answered 503"));
        assert_eq!(told(&world, &v), expected, "{change:#}");
    };
    let label = "there is no EndpointSlice with the label kubernetes.io/service-name=web";
    is(&web(&json!({})), Some(&format!("{label}, and Service default/web selects no Pods")));
    let none = format!("{label}; there is no Pod with app=web in namespace default");
    is(&web(&json!({"app": "web"})), Some(&none));
    let early = format!("{label}; none of the 1 Pods that it selects is ready");
    is(&pod("a", "False"), Some(&early));
    let mut nowhere = pod("a", "True");
    nowhere["status"]["podIP"] = json!("");
    let words = format!(
        "{label}; none of the 1 Pods that it selects has an IP address: as no kubelet is here to write it, give each its \
         status.podIP"
    );
    is(&nowhere, Some(&words));
    is(&pod("a", "True"), None);
    is(&slice("v1", "http", false), Some("none of the 1 in its EndpointSlices is ready"));
    let port = "its EndpointSlices have no port named \"http\", but \"web\"";
    is(&slice("v1", "web", true), Some(port));
    is(&slice("v1", "http", true), None);
    world.delete(&slice("v1", "http", true));
    world.delete(&pod("a", "True"));
    assert!(
        told(&world, &v)
            .is_some_and(|told| told.ends_with(&format!("{none}; requests are answered 503")))
    );
    assert_eq!(world.idle(&v), None, "its requests are answered, with 503");
}

#[test]
fn a_subset_that_no_endpoint_is_in_is_told_with_the_labels_that_there_are() {
    let v = route(&[("v1", 90), ("v2", 10)]);
    let all = [common::gateway(), web(&json!({})), slice("v1", "http", true), rule(), v.clone()];
    let mut world = World::with(Options::default(), &all);
    let words = "subset v2 of host web.default.svc.cluster.local has no endpoint: it is those with version=v2, and the 1 that \
                 there are have version=v1; ";
    let fault = told(&world, &v).expect("a fault");
    let place = "NoEndpoints: http[0].route[1].destination: ";
    assert!(fault.starts_with(&format!("{place}{words}")), "{fault}");
    let advice = |world: &World| {
        let key = common::object(&rule()).key.clone();
        let reconciled = &world.status[&key][0];
        (reconciled.holds, reconciled.message.clone())
    };
    let (holds, message) = advice(&world);
    assert!(holds && message.starts_with(&format!("subsets[1]: {words}")), "{message}");

    // Nothing is sent there yet.
    world.apply(&route(&[("v1", 100), ("v2", 0)]));
    assert_eq!(told(&world, &v), None);
    world.apply(&v);
    assert!(told(&world, &v).is_some());
    world.apply(&slice("v2", "http", true));
    assert_eq!((told(&world, &v), advice(&world)), (None, (true, String::new())));
}

#[test]
fn copies_that_go_nowhere_are_told_and_cost_no_request() {
    let spec = json!({"hosts": ["a.com"], "gateways": ["g"], "http": [{
        "route": [{"destination": {"host": "b.com"}}],
        "mirrors": [{"destination": {"host": "web", "subset": "v1"}}, {"destination": {"host": "b.com"}}],
    }]});
    let v = manifest("VirtualService", "v", &spec);
    let entry = json!({"hosts": ["b.com"], "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        "resolution": "STATIC", "endpoints": [{"address": "192.0.2.9"}]});
    let entry = manifest("ServiceEntry", "b", &entry);
    let mut world = World::with(Options::default(), &[common::gateway(), v.clone(), entry]);
    let starts = |world: &World, words: &str, ends: &str| {
        let told = told(world, &v).unwrap_or_default();
        assert!(told.starts_with(words) && told.ends_with(ends), "{told}");
        assert_eq!(world.fault(&v, ConditionKind::Reconciled), None);
        assert_eq!(world.idle(&v), None);
    };
    let place = "http[0].mirrors[0].destination: ";
    let host = "host web.default.svc.cluster.local";
    let nowhere = "; copies are dropped";
    starts(&world, &format!("RefNotFound: {place}{host} not found"), nowhere);
    world.apply(&web(&json!({"app": "web"})));
    starts(&world, &format!("RefNotFound: {place}subset v1 of {host} not found"), nowhere);
    world.apply(&rule());
    starts(&world, &format!("NoEndpoints: {place}"), "; copies are dropped");
    world.apply(&slice("v1", "http", true));
    assert_eq!(told(&world, &v), None);
    // Beside a route that leads nowhere either, nothing is said of requests.
    let mut nowhere = v.clone();
    nowhere["spec"]["http"][0] = json!({
        "route": [{"destination": {"host": "gone.com"}}],
        "mirror": {"host": "lost.com"},
    });
    world.apply(&nowhere);
    let said = told(&world, &nowhere).expect("two hosts that nobody has");
    let (route, copy) = said.split_once("; http[0].mirror: ").expect("both");
    assert!(
        route.starts_with("RefNotFound: http[0].route[0].destination: host gone.com"),
        "{route}"
    );
    assert!(
        copy.starts_with("host lost.com not found") && copy.ends_with("; copies are dropped"),
        "{copy}"
    );
}

/// A destination that a DestinationRule closes is told to who sends there, until it is open again.
#[test]
fn a_destination_that_a_rule_closes_is_told_to_who_sends_there() {
    let tls = json!({"mode": "SIMPLE", "credentialName": "api-ca"});
    let spec = json!({"host": "web.default.svc.cluster.local", "trafficPolicy": {"tls": tls}});
    let closing = manifest("DestinationRule", "r", &spec);
    let server =
        json!({"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["a.com"]});
    let gateway = manifest("Gateway", "g", &json!({"servers": [server]}));
    let endpoint = slice("v1", "http", true);
    let to_web = {
        let route = json!([{"destination": {"host": "web"}}]);
        let spec = json!({"hosts": ["a.com"], "gateways": ["g"], "http": [{"route": route}]});
        manifest("VirtualService", "v", &spec)
    };
    let mut world = World::with(
        Options::default(),
        &[gateway, web(&json!(null)), endpoint, to_web.clone(), closing.clone()],
    );
    let fault = |world: &World| {
        let key = &common::object(&to_web).key;
        world.pilot.standing(key).expect("it is known").fault.clone()
    };
    let told = fault(&world).expect("it is closed");
    assert!(
        told.starts_with(
            "http[0].route[0].destination: no connection to host web.default.svc.cluster.local is made, by \
             trafficPolicy.tls of DestinationRule default/r: "
        ) && told.contains("api-ca")
            && told.ends_with("; requests are answered 503"),
        "{told}"
    );
    assert_eq!(
        (world.idle(&to_web), world.fault(&to_web, ConditionKind::Reconciled)),
        (None, None)
    );
    let metadata = json!({"name": "api-ca", "namespace": "istio-system"});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"ca.crt": "authorities"}});
    world.apply(&secret);
    assert_eq!(fault(&world), None);
    world.delete(&secret);
    assert!(fault(&world).is_some());
    world.delete(&closing);
    assert_eq!(fault(&world), None);
}

/// A destination without a weight beside others gets nothing, as with Istio, which is told.
#[test]
fn a_destination_without_a_weight_beside_others_is_told() {
    let mut service = route(&[("v1", 80), ("v2", 0)]);
    let mut world = World::with(Options::default(), &[web(&json!(null)), rule(), service.clone()]);
    let advice = |world: &World, service: &Value| {
        world.status[&common::object(service).key][0].message.clone()
    };
    assert!(!advice(&world, &service).contains("weight"));
    let second = service["spec"]["http"][0]["route"][1].as_object_mut().expect("a destination");
    second.remove("weight");
    world.apply(&service);
    let told = advice(&world, &service);
    assert!(told.contains("http[0].route[1]: there is no weight beside others"), "{told}");
}
