//! `ISTIO_MUTUAL`: the gateway's own certificate in a mesh, from files.

mod common;

use std::sync::Arc;

use common::{World, manifest};
use serde_json::{Value, json};
use tidegate_pilot::status::ConditionKind::{Reconciled, ResolvedRefs};
use tidegate_pilot::{Input, Options};
use tidegate_xds::ResourceType;

const FILES: [&str; 3] = ["/certs/cert-chain.pem", "/certs/key.pem", "/certs/root-cert.pem"];

fn in_mesh() -> Options {
    Options { workload_certificates: Some("/certs/".into()), ..Options::default() }
}

fn server(host: &str, tls: &Value) -> Value {
    let port = json!({"number": 443, "name": host, "protocol": "HTTPS"});
    json!({"port": port, "hosts": [host], "tls": tls})
}

fn gateway() -> Value {
    let servers = [
        server("mesh.com", &json!({"mode": "ISTIO_MUTUAL"})),
        server("web.com", &json!({"mode": "SIMPLE", "credentialName": "web"})),
    ];
    manifest("Gateway", "g", &json!({"servers": servers}))
}

fn secret() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "web", "namespace": "istio-system"},
        "stringData": {"tls.crt": "chain", "tls.key": "key"},
    })
}

fn file(name: &str, content: Result<&str, &str>) -> Input {
    let content = content.map(|text| Arc::from(text.as_bytes())).map_err(str::to_owned);
    Input::File { name: name.into(), content }
}

fn secrets(world: &World) -> Vec<String> {
    world.names(ResourceType::Secret)
}

#[test]
fn without_the_folder_the_server_is_closed_alone_and_told_how_to_open_it() {
    let world = World::with(Options::default(), &[gateway(), secret()]);
    assert_eq!(secrets(&world), ["kubernetes://web"]);
    assert!(world.pilot.files().is_empty());
    let fault = world.fault(&gateway(), ResolvedRefs).expect("it is told");
    assert!(fault.contains("servers[0] (port 443)"), "{fault}");
    assert!(fault.contains("--workload-certs") && fault.contains("root-cert.pem"), "{fault}");
    assert!(fault.contains("connections for its hosts are closed"), "{fault}");
    assert!(!fault.contains("servers[1]"), "{fault}");
    assert_eq!(world.idle(&gateway()), None, "the other server is open");
}

#[test]
fn files_are_asked_for_and_followed() {
    let mut world = World::with(in_mesh(), &[gateway(), secret()]);
    let files: Vec<String> = world.pilot.files().iter().map(ToString::to_string).collect();
    assert_eq!(files, FILES);
    assert!(world.fault(&gateway(), ResolvedRefs).is_some(), "nothing has been read");
    world.give(FILES.map(|name| file(name, Ok("one"))));
    assert_eq!(world.fault(&gateway(), ResolvedRefs), None);
    assert_eq!(secrets(&world), ["ROOTCA", "default", "kubernetes://web"]);
    let output = world.give([file(FILES[0], Ok("two"))]);
    assert_eq!(output.change.upsert.len(), 1, "the chain alone is new");
    let chain = &world.json(ResourceType::Secret, "default")["tls_certificate"];
    assert_eq!(chain["certificate_chain"]["inline_bytes"], "dHdv");
    let output = world.give([file(FILES[2], Err("Permission denied"))]);
    assert!(output.change.upsert.is_empty() && output.change.remove.is_empty());
    let fault = world.fault(&gateway(), ResolvedRefs).expect("it is told");
    assert!(fault.contains("Permission denied; the one before serves on"), "{fault}");
    assert_eq!(world.idle(&gateway()), None);
    world.delete(&gateway());
    assert!(world.pilot.files().is_empty(), "nobody takes them any more");
}

#[test]
fn whoever_is_in_the_mesh_is_verified_whatever_else_is_said() {
    let mut careless = gateway();
    careless["spec"]["servers"][0]["tls"]["insecureSkipVerify"] = json!(true);
    let mut entry = common::entry(&[80]);
    entry["spec"]["subjectAltNames"] = json!(["spiffe://a/ns/b/sa/c"]);
    let tls = json!({"mode": "ISTIO_MUTUAL", "insecureSkipVerify": true});
    let rule = json!({"host": "backend.example.org", "trafficPolicy": {"tls": tls}});
    let rule = manifest("DestinationRule", "d", &rule);
    let mut world = World::with(in_mesh(), &[careless, entry, rule.clone()]);
    world.give(FILES.map(|name| file(name, Ok("one"))));
    assert_eq!(world.fault(&rule, Reconciled), None);
    let listener = world.json(ResourceType::Listener, "0.0.0.0_443");
    let server = &listener["filter_chains"][0]["transport_socket"]["typed_config"];
    assert_eq!(server["require_client_certificate"], true);
    let cluster = world.json(ResourceType::Cluster, "outbound|80||backend.example.org");
    let client = &cluster["transport_socket"]["typed_config"];
    assert_eq!(client["sni"], "outbound_.80_._.backend.example.org");
    for side in [server, client] {
        let common = &side["common_tls_context"];
        let validation = &common["combined_validation_context"];
        assert_eq!(validation["validation_context_sds_secret_config"]["name"], "ROOTCA");
        let lax = &validation["default_validation_context"]["trust_chain_verification"];
        assert!(lax.is_null(), "{lax}");
        assert_eq!(common["tls_certificate_sds_secret_configs"][0]["name"], "default");
    }
    let names = &client["common_tls_context"]["combined_validation_context"];
    let names = &names["default_validation_context"]["match_subject_alt_names"];
    assert_eq!(*names, json!([{"exact": "spiffe://a/ns/b/sa/c"}]));
}
