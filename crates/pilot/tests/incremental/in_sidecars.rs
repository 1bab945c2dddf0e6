//! The same beside a workload, where Sidecars say what is seen and every host has an address.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use tidegate_api::{Kind, ObjectKey};
use tidegate_pilot::{Options, Output, ProxyKind, Workload};
use tidegate_xds::ResourceType;

use super::common::{World, manifest};
use super::{Dice, Objects, Slot, Universe, batches, config};

const SLOTS: [Slot; 27] = [
    ("ServiceEntry", "own", "s0"),
    ("ServiceEntry", "own", "s1"),
    ("ServiceEntry", "own", "s2"),
    ("ServiceEntry", "two", "s0"),
    ("ServiceEntry", "two", "s1"),
    ("Service", "own", "web"),
    ("Service", "two", "web"),
    ("Service", "own", "alias"),
    ("VirtualService", "own", "v0"),
    ("VirtualService", "own", "v1"),
    ("VirtualService", "own", "v2"),
    ("VirtualService", "two", "v0"),
    ("VirtualService", "own", "d0"),
    ("DestinationRule", "own", "r0"),
    ("DestinationRule", "own", "r1"),
    ("DestinationRule", "two", "r0"),
    ("DestinationRule", "istio-system", "r0"),
    ("Sidecar", "own", "c0"),
    ("Sidecar", "istio-system", "c0"),
    ("EndpointSlice", "own", "web-0"),
    ("Pod", "own", "p0"),
    ("WorkloadEntry", "own", "w0"),
    ("PeerAuthentication", "own", "a0"),
    ("AuthorizationPolicy", "own", "a0"),
    ("EnvoyFilter", "own", "f0"),
    ("EnvoyFilter", "istio-system", "f0"),
    ("RequestAuthentication", "own", "t0"),
];

const HOSTS: [&str; 4] = ["a.example", "b.example", "*.example", "c.test"];
const DESTINATIONS: [&str; 7] =
    ["a.example", "b.example", "c.test", "*.example", "web", "web.two.svc.cluster.local", "alias"];

fn service_entry(dice: &mut Dice) -> Value {
    let port = |number: u16, protocol: &str| json!({"number": number, "name": format!("p{number}"), "protocol": protocol});
    let mut ports = vec![port(80, dice.pick(&["HTTP", "HTTP", "GRPC", "TCP", "TLS"]))];
    if dice.flip() {
        ports.push(port(443, dice.pick(&["TLS", "HTTPS", "HTTP", "TCP"])));
    }
    if dice.flip() {
        ports.push(port(9000, dice.pick(&["TCP", "HTTP", "MONGO"])));
    }
    let resolution = dice.pick(&["DNS", "STATIC", "NONE", "DYNAMIC_DNS"]);
    let mut spec = json!({
        "hosts": [dice.pick(&HOSTS)],
        "ports": ports,
        "resolution": resolution,
        "location": dice.pick(&["MESH_EXTERNAL", "MESH_INTERNAL"]),
        "addresses": dice.pick(&[&json!([]), &json!([]), &json!(["10.1.0.1"]), &json!(["10.2.0.0/16"])]),
        "exportTo": dice.pick(&[&json!([]), &json!([]), &json!(["."])]),
    });
    match resolution {
        "STATIC" if dice.flip() => spec["workloadSelector"] = json!({"labels": {"app": "web"}}),
        "STATIC" => spec["endpoints"] = json!([{"address": dice.pick(&["1.1.1.1", "2.2.2.2"])}]),
        _ => {}
    }
    spec
}

fn destination(dice: &mut Dice) -> Value {
    let mut destination = json!({"host": dice.pick(&DESTINATIONS)});
    if dice.flip() {
        destination["port"] = json!({"number": dice.pick(&[&80, &443])});
    }
    if dice.flip() {
        destination["subset"] = json!("v1");
    }
    json!({"destination": destination})
}

fn virtual_service(dice: &mut Dice) -> Value {
    let hosts =
        [*dice.pick(&[&"a.example", &"*.example", &"web", &"alias", &"c.test", &"nobody.example"])];
    let mut http = Vec::new();
    for _ in 0..*dice.pick(&[&0, &1, &2]) {
        let mut rule = match dice.pick(&["route", "route", "limits", "delegate"]) {
            "route" => json!({"route": [destination(dice)]}),
            "limits" => json!({"timeout": dice.pick(&["1s", "2s"])}),
            _ => json!({"delegate": {"name": "d0"}, "match": [{"uri": {"prefix": "/d"}}]}),
        };
        if rule.get("delegate").is_none() && dice.flip() {
            let mut condition = json!({"uri": {"prefix": dice.pick(&["/", "/x"])}});
            if dice.flip() {
                condition["port"] = json!(dice.pick(&[&80, &443]));
            }
            if dice.flip() {
                condition["sourceLabels"] = json!({"app": dice.pick(&["own", "other"])});
            }
            rule["match"] = json!([condition]);
        }
        http.push(rule);
    }
    let (mut tls, mut tcp) = (Vec::new(), Vec::new());
    if dice.flip() {
        let sni = json!([{"sniHosts": [hosts[0]], "port": 443}]);
        tls.push(json!({"match": sni, "route": [destination(dice)]}));
    }
    if http.is_empty() && tls.is_empty() || dice.flip() {
        tcp.push(json!({"route": [destination(dice), destination(dice)]}));
    }
    if let [route] = &mut tcp[..] {
        let share = i32::from(dice.flip()) * 30;
        route["route"][0]["weight"] = json!(share);
        route["route"][1]["weight"] = json!(100 - share);
    }
    json!({
        "hosts": hosts,
        "exportTo": dice.pick(&[&json!([]), &json!([]), &json!(["."])]),
        "http": http,
        "tls": tls,
        "tcp": tcp,
    })
}

fn destination_rule(dice: &mut Dice) -> Value {
    let policies = [
        Value::Null,
        json!({"connectionPool": {"tcp": {"idleTimeout": "7s"}}}),
        json!({"tls": {"mode": "SIMPLE"}}),
        json!({"loadBalancer": {"consistentHash": {"httpHeaderName": "x"}}}),
    ];
    let policy = dice.pick(&policies.each_ref());
    json!({
        "host": dice.pick(&DESTINATIONS),
        "trafficPolicy": policy,
        "subsets": dice.pick(&[&json!([]), &json!([{"name": "v1", "labels": {"version": "1"}}])]),
        "exportTo": dice.pick(&[&json!([]), &json!(["."])]),
    })
}

fn sidecar(dice: &mut Dice) -> Value {
    let mut egress = vec![json!({
        "hosts": dice.pick(&[&json!(["*/*"]), &json!(["./*"]), &json!(["*/a.example", "two/*"]), &json!(["~/*"])]),
    })];
    if dice.flip() {
        let port = json!({"number": 80, "name": "p", "protocol": dice.pick(&["HTTP", "HTTP_PROXY", "TCP"])});
        let mut one = json!({"port": port, "hosts": ["*/b.example", "own/*"]});
        if dice.flip() {
            one["bind"] = json!("127.0.0.1");
            one["captureMode"] = json!("NONE");
        }
        egress.insert(0, one);
    }
    let mut spec = json!({"egress": egress});
    if dice.flip() {
        let port = json!({"number": 8080, "name": "in", "protocol": "HTTP"});
        spec["ingress"] = json!([{"port": port, "defaultEndpoint": "127.0.0.1:8080"}]);
    }
    if dice.flip() {
        let mode = dice.pick(&["ALLOW_ANY", "REGISTRY_ONLY"]);
        spec["outboundTrafficPolicy"] = json!({"mode": mode});
    }
    spec
}

fn service(name: &str, dice: &mut Dice) -> Value {
    if name == "alias" {
        let target = dice.pick(&["a.example", "b.example", "outside.test"]);
        let protocol = dice.pick(&["http", "https", "tcp"]);
        let port = json!({"name": protocol, "port": *dice.pick(&[&80, &443])});
        return json!({"type": "ExternalName", "externalName": target, "ports": [port]});
    }
    let mut ports = vec![
        json!({"name": dice.pick(&["http", "tcp", "unnamed"]), "port": 80, "targetPort": 8080}),
    ];
    if dice.flip() {
        ports.push(json!({"name": "https", "port": 443, "targetPort": 8443}));
    }
    let address = dice.pick(&["10.0.0.1", "None", "10.0.0.2"]);
    json!({"clusterIP": address, "ports": ports, "selector": {"app": dice.pick(&["web", "own"])}})
}

fn envoy_filter(dice: &mut Dice) -> Value {
    let merge = |what: &str, context: &str, value: Value| json!({"applyTo": what, "match": {"context": context}, "patch": {"operation": "MERGE", "value": value}});
    let patches = [
        merge("LISTENER", "SIDECAR_OUTBOUND", json!({"drain_type": "MODIFY_ONLY"})),
        merge("VIRTUAL_HOST", "SIDECAR_OUTBOUND", json!({"include_request_attempt_count": false})),
        merge("ROUTE_CONFIGURATION", "ANY", json!({"response_headers_to_remove": ["x"]})),
        merge("CLUSTER", "ANY", json!({"connect_timeout": "3s"})),
        json!({
            "applyTo": "VIRTUAL_HOST",
            "match": {"routeConfiguration": {"vhost": {"name": "a.example:80"}}},
            "patch": {"operation": "REMOVE"},
        }),
    ];
    let chosen: Vec<&Value> = patches.iter().filter(|_| dice.flip()).collect();
    json!({"configPatches": chosen})
}

fn spec(kind: &str, name: &str, dice: &mut Dice) -> Value {
    match kind {
        "ServiceEntry" => service_entry(dice),
        "Service" => service(name, dice),
        "VirtualService" if name == "d0" => json!({"http": [{"route": [destination(dice)]}]}),
        "VirtualService" => virtual_service(dice),
        "DestinationRule" => destination_rule(dice),
        "Sidecar" => sidecar(dice),
        "WorkloadEntry" => json!({
            "address": dice.pick(&["7.7.7.7", "name.example.org"]), "labels": {"app": dice.pick(&["web", "other"])},
        }),
        "PeerAuthentication" => {
            json!({"mtls": {"mode": dice.pick(&["STRICT", "DISABLE", "PERMISSIVE"])}})
        }
        "AuthorizationPolicy" => json!({
            "action": dice.pick(&["ALLOW", "DENY"]),
            "rules": [{"to": [{"operation": {"paths": [dice.pick(&["/a", "/b"])]}}]}],
        }),
        "RequestAuthentication" => json!({
            "jwtRules": [{"issuer": dice.pick(&["i", "j"]), "jwks": "{\"keys\":[]}"}],
        }),
        "EnvoyFilter" => envoy_filter(dice),
        "Pod" => json!({"containers": [{"name": "c", "image": "i"}]}),
        _ => Value::Null,
    }
}

/// The manifest of one slot of a small universe, in one of its many forms.
fn content(kind: &str, namespace: &str, name: &str, bits: u64) -> Value {
    let mut dice = Dice(bits);
    let created = dice.pick(&["2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"]);
    let mut manifest = match kind {
        "EndpointSlice" => json!({
            "addressType": "IPv4",
            "endpoints": [{"addresses": [dice.pick(&["3.3.3.3", "4.4.4.4"])]}],
            "ports": [{"name": "http", "port": 8080}],
            "metadata": {"labels": {"kubernetes.io/service-name": "web"}},
        }),
        _ => manifest(kind, name, &spec(kind, name, &mut dice)),
    };
    manifest["kind"] = json!(kind);
    if kind == "EnvoyFilter" {
        manifest["apiVersion"] = json!("networking.istio.io/v1alpha3");
    }
    manifest["metadata"]["name"] = json!(name);
    manifest["metadata"]["namespace"] = json!(namespace);
    manifest["metadata"]["creationTimestamp"] = json!(created);
    if kind == "Pod" {
        manifest["apiVersion"] = json!("v1");
        manifest["metadata"]["labels"] = json!({"app": dice.pick(&["web", "own"]), "version": "1"});
        manifest["status"] = json!({"podIP": dice.pick(&["10.0.9.9", "6.6.6.6", ""])});
    }
    manifest
}

fn options() -> Options {
    let proxy = ProxyKind::Sidecar(Workload { addresses: vec![[10, 0, 9, 9].into()] });
    let labels = BTreeMap::from([("app".to_owned(), "own".to_owned())]);
    Options { proxy, labels, namespace: "own".to_owned(), captures_dns: true, ..Options::default() }
}

/// What names mean after what was told of them.
fn follow(names: &mut BTreeMap<Arc<str>, String>, output: Output) {
    for change in output.names {
        match change.entry {
            Some(entry) => names.insert(change.name, format!("{entry:?}")),
            None => names.remove(&change.name),
        };
    }
}

/// Whose every resource is, and who lost in each route configuration.
fn owners(world: &World) -> BTreeMap<String, String> {
    let names = |kind| world.names(kind).into_iter().map(move |name| (kind, name));
    let all = ResourceType::ALL.into_iter().flat_map(names);
    let told = all.map(|(kind, name)| {
        let owners = world.pilot.owners(kind, &name);
        let lost = world.pilot.lost_hosts(&name);
        (format!("{kind:?} {name}"), format!("{owners:?} {lost:?}"))
    });
    told.collect()
}

/// What a sidecar says of objects that have a fault; of ServiceEntries that others have their connections.
fn faults(world: &World) -> BTreeMap<(&ObjectKey, &'static str), String> {
    let all = world.status.iter().flat_map(|(key, told)| told.iter().map(move |one| (key, one)));
    let faults = all.filter(|(_, condition)| !condition.holds);
    let counts = |key: &ObjectKey, clause: &str| match key.kind {
        Kind::AuthorizationPolicy | Kind::RequestAuthentication | Kind::EnvoyFilter => true,
        Kind::ServiceEntry => clause.contains("takes every connection"),
        _ => false,
    };
    let told = faults.map(|(key, condition)| {
        let clauses = condition.message.split("; host ").filter(|clause| counts(key, clause));
        ((key, condition.reason), clauses.collect::<Vec<_>>().join("; "))
    });
    told.filter(|(_, message)| !message.is_empty()).collect()
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn any_sequence_of_changes_ends_as_a_compilation_from_nothing(
        batches in batches(SLOTS.len()),
    ) {
        let mut objects = Objects::of(Universe { slots: &SLOTS, content });
        let mut world = World::new(options());
        let mut names = BTreeMap::new();
        follow(&mut names, world.give([]));
        for batch in batches {
            let inputs = objects.batch(&batch, &mut world);
            follow(&mut names, world.give(inputs));
        }
        let mut scratch = World::new(options());
        let mut told = BTreeMap::new();
        follow(&mut told, scratch.give(objects.inputs()));
        prop_assert_eq!(world.dump(), scratch.dump());
        prop_assert_eq!(world.bytes(), scratch.bytes());
        prop_assert_eq!(faults(&world), faults(&scratch));
        prop_assert_eq!(names, told);
        prop_assert_eq!(owners(&world), owners(&scratch));
    }
}
