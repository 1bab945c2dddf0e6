//! `sds://NAME`: certificates that a server of the mesh config has.

mod common;

use common::{World, manifest};
use serde_json::{Value, json};
use tidegate_pilot::status::ConditionKind::{Reconciled, ResolvedRefs};
use tidegate_pilot::{Options, mesh};
use tidegate_xds::ResourceType;

const CLUSTER: &str = "outbound|80||backend.example.org";

fn options() -> Options {
    let sds = json!({"name": "sds", "service": "backend.example.org", "port": 80});
    let mesh = json!({"extensionProviders": [{"name": "sds", "sds": sds}]});
    let mut options = Options::default();
    mesh::apply(&mesh, &mut options).expect("a mesh config");
    options
}

fn gateway(tls: &Value) -> Value {
    let port = json!({"number": 443, "name": "https", "protocol": "HTTPS"});
    let server = json!({"port": port, "hosts": ["a.com"], "tls": tls});
    manifest("Gateway", "g", &json!({"servers": [server]}))
}

fn context(world: &World, kind: ResourceType, name: &str) -> Value {
    let resource = world.json(kind, name);
    let holder =
        if kind == ResourceType::Listener { &resource["filter_chains"][0] } else { &resource };
    holder["transport_socket"]["typed_config"]["common_tls_context"].clone()
}

/// A secret's name, and the cluster that it is asked for at.
fn asked(config: &Value) -> (Option<&str>, Option<&str>) {
    let grpc = &config["sds_config"]["api_config_source"]["grpc_services"][0]["envoy_grpc"];
    (config["name"].as_str(), grpc["cluster_name"].as_str())
}

#[test]
fn both_sides_ask_the_server_for_certificates_and_authorities() {
    let web = gateway(&json!({"mode": "MUTUAL", "credentialName": "sds://web"}));
    let tls = json!({"mode": "MUTUAL", "credentialName": "sds://client"});
    let rule = json!({"host": "backend.example.org", "trafficPolicy": {"tls": tls}});
    let rule = manifest("DestinationRule", "d", &rule);
    let objects = [web.clone(), rule.clone(), common::entry(&[80])];
    let world = World::with(options(), &objects);
    let listener = context(&world, ResourceType::Listener, "0.0.0.0_443");
    let cluster = context(&world, ResourceType::Cluster, CLUSTER);
    for (context, pair, authorities) in
        [(listener, "web", "web-cacert"), (cluster, "client", "client-cacert")]
    {
        let own = &context["tls_certificate_sds_secret_configs"][0];
        assert_eq!(asked(own), (Some(pair), Some(CLUSTER)));
        let peers = &context["combined_validation_context"]["validation_context_sds_secret_config"];
        assert_eq!(asked(peers), (Some(authorities), Some(CLUSTER)));
    }
    assert!(world.names(ResourceType::Secret).is_empty(), "nobody else brings them");
    for object in [&web, &rule] {
        assert_eq!(world.fault(object, ResolvedRefs), None);
        assert_eq!(world.fault(object, Reconciled), None);
        assert_eq!(world.idle(object), None);
    }
    // What the data plane says of them is told to whoever takes them.
    let owners = world.pilot.owners(ResourceType::Secret, &format!("{CLUSTER}/web"));
    assert_eq!(owners, [common::object(&web).key.clone()]);
}

#[test]
fn without_a_server_the_mesh_config_is_named() {
    let web = gateway(&json!({"mode": "SIMPLE", "credentialName": "sds://web"}));
    let world = World::with(Options::default(), std::slice::from_ref(&web));
    let fault = world.fault(&web, ResolvedRefs).expect("it is told");
    assert!(fault.contains("sds://web") && fault.contains("extensionProviders[].sds"), "{fault}");
    assert!(world.idle(&web).is_some(), "no connection gets in");
}

#[test]
fn lists_of_revoked_certificates_come_with_the_authorities() {
    let web = gateway(&json!({
        "mode": "MUTUAL", "credentialName": "sds://web", "caCrl": "/etc/crl.pem",
    }));
    let world = World::with(options(), std::slice::from_ref(&web));
    let fault = world.fault(&web, ResolvedRefs).expect("it is told");
    assert!(fault.contains("caCrl") && fault.contains("are closed"), "{fault}");
}
