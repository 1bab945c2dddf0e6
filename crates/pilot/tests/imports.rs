//! What a Sidecar does not bring in has neither cluster nor endpoints, unless rules that it brings in send there.

mod common;

use common::{World, manifest};
use serde_json::{Value, json};
use tidegate_pilot::{Options, ProxyKind, Workload};
use tidegate_xds::ResourceType::{Cluster, Endpoints};

fn options() -> Options {
    let proxy = ProxyKind::Sidecar(Workload { addresses: vec![[10, 0, 9, 9].into()] });
    Options { proxy, namespace: "default".to_owned(), ..Options::default() }
}

fn entry(host: &str) -> Value {
    let ports = json!([{"number": 80, "name": "http", "protocol": "HTTP"}]);
    manifest("ServiceEntry", host, &json!({"hosts": [host], "ports": ports, "resolution": "DNS"}))
}

/// A Service with one address, called `NAME.default.svc.cluster.local`.
fn service(name: &str) -> [Value; 2] {
    let ports = json!([{"name": "http", "port": 80, "targetPort": 8080}]);
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"clusterIP": "10.96.0.1", "ports": ports}});
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
        "ports": [{"name": "http", "port": 8080}], "endpoints": [{"addresses": ["10.1.0.1"]}]});
    [service, slice]
}

fn sidecar(hosts: &[&str]) -> Value {
    manifest("Sidecar", "default", &json!({"egress": [{"hosts": hosts}]}))
}

/// The hosts with clusters for what goes out, and those with endpoints that come by themselves.
fn reached(world: &World) -> [Vec<String>; 2] {
    [Cluster, Endpoints].map(|kind| {
        let names = world.names(kind).into_iter();
        names.filter_map(|name| Some(name.strip_prefix("outbound|80||")?.to_owned())).collect()
    })
}

#[test]
fn hosts_come_and_go_with_the_sidecar() {
    let [web, slice] = service("web");
    let manifests = [entry("a.example"), entry("b.example"), entry("c.example"), web, slice];
    let mut world = World::with(options(), &manifests);
    let all = ["a.example", "b.example", "c.example", "web.default.svc.cluster.local"];
    assert_eq!(reached(&world), [&all[..], &all[3..]]);

    world.apply(&sidecar(&["./a.example", "./c.example"]));
    assert_eq!(reached(&world), [&["a.example", "c.example"][..], &[]]);
    // Where rules send that are brought in.
    let route = json!({"destination": {"host": "b.example"}});
    let mirror = json!({"host": "web"});
    let rules = json!({"hosts": ["a.example"], "http": [{"route": [route], "mirror": mirror}]});
    let rules = manifest("VirtualService", "rules", &rules);
    world.apply(&rules);
    assert_eq!(reached(&world), [&all[..], &all[3..]]);
    world.delete(&rules);
    world.apply(&sidecar(&["./web.default.svc.cluster.local"]));
    assert_eq!(reached(&world), [&all[3..], &all[3..]]);
    // What comes while it is not brought in waits until it is.
    world.apply(&entry("d.example"));
    assert_eq!(reached(&world)[0], &all[3..]);
    world.apply(&sidecar(&["./d.example"]));
    assert_eq!(reached(&world), [&["d.example"][..], &[]]);
    world.delete(&sidecar(&["./d.example"]));
    assert_eq!(reached(&world)[0].len(), 5);
    assert_eq!(reached(&world)[1], &all[3..]);
}
