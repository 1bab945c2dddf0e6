//! What a sidecar makes of Services of type ExternalName, whose targets no other object describes.

mod common;

use common::{World, manifest};
use serde_json::{Value, json};
use tidegate_pilot::{Options, ProxyKind, Workload};
use tidegate_xds::ResourceType::{Cluster, Listener, VirtualHost};

const HOST: &str = "out.default.svc.cluster.local";

fn options() -> Options {
    let proxy = ProxyKind::Sidecar(Workload { addresses: vec![[10, 0, 9, 9].into()] });
    Options { proxy, namespace: "default".to_owned(), ..Options::default() }
}

fn service(port: u16, name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "out"},
        "spec": {
            "type": "ExternalName", "externalName": "www.example.org",
            "ports": [{"port": port, "name": name}],
        },
    })
}

/// Where requests to a port go, and the Host that they have there.
fn route(world: &World, port: u16) -> (String, String) {
    let host = world.json(VirtualHost, &format!("{port}/{HOST}:{port}"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let route = &host["routes"][0]["route"];
    (text(&route["cluster"]), text(&route["host_rewrite_literal"]))
}

#[test]
fn requests_go_to_the_target_with_the_host_that_it_knows() {
    let world = World::with(options(), &[service(80, "")]);
    let plain = (format!("outbound|80||{HOST}"), "www.example.org".to_owned());
    assert_eq!(route(&world, 80), plain);
    let world = World::with(options(), &[service(8080, "http")]);
    assert_eq!(route(&world, 8080).1, "www.example.org:8080");
}

#[test]
fn at_443_the_proxy_starts_tls_for_clients_that_speak_none() {
    let mut world = World::with(options(), &[service(443, "")]);
    let in_tls = format!("outbound|443|~tls|{HOST}");
    assert_eq!(route(&world, 443), (in_tls.clone(), "www.example.org".to_owned()));
    let tls = &world.json(Cluster, &in_tls)["transport_socket"]["typed_config"];
    assert_eq!(tls["sni"], "www.example.org");
    assert_eq!(tls["auto_sni_san_validation"], true);
    assert!(tls.to_string().contains("file-root:system"), "{tls}");
    let roots = |world: &World| world.pilot.files().iter().any(|file| file.ends_with(".crt"));
    assert!(roots(&world), "what the system trusts");
    let plain = world.json(Cluster, &format!("outbound|443||{HOST}"));
    assert!(plain["transport_socket"].is_null(), "for clients that do");

    // These are known by the names that lead there; what else comes to the port is nobody's.
    let listener = world.json(Listener, "0.0.0.0_443");
    let chains = listener["filter_chains"].as_array().expect("chains");
    let asks: Vec<&Value> = chains.iter().map(|chain| &chain["filter_chain_match"]).collect();
    let names = json!([HOST, "out", "out.default.svc", "out.default"]);
    assert_eq!(asks.len(), 2, "{asks:?}");
    assert_eq!(asks[0]["server_names"], names);
    assert_eq!(asks[1]["transport_protocol"], "raw_buffer");
    assert!(asks[1]["application_protocols"].is_array());

    world.delete(&service(443, ""));
    assert!(!world.names(Cluster).iter().any(|name| name.contains(HOST)));
    assert!(!roots(&world));
}

#[test]
fn who_says_what_is_spoken_or_which_tls_is_followed() {
    let world = World::with(options(), &[service(443, "tls")]);
    assert!(!world.names(Cluster).iter().any(|name| name.contains("~tls")));
    let world = World::with(options(), &[service(443, "http")]);
    assert_eq!(route(&world, 443).0, format!("outbound|443||{HOST}"));

    let rule = json!({"host": HOST, "trafficPolicy": {"tls": {"mode": "DISABLE"}}});
    let rule = manifest("DestinationRule", "out", &rule);
    let mut world = World::with(options(), &[service(443, ""), rule.clone()]);
    assert_eq!(route(&world, 443).0, format!("outbound|443||{HOST}"));
    assert!(!world.names(Cluster).iter().any(|name| name.contains("~tls")));
    world.delete(&rule);
    assert_eq!(route(&world, 443).0, format!("outbound|443|~tls|{HOST}"));
    assert!(world.names(Cluster).iter().any(|name| name.contains("~tls")));
}

fn rules(host: &str, destination: &Value) -> Value {
    let spec = json!({"hosts": [host], "http": [{"route": [{"destination": destination}]}]});
    manifest("VirtualService", "rules", &spec)
}

fn entry(host: &str) -> Value {
    let ports = [json!({"number": 80, "name": "http", "protocol": "HTTP"})];
    manifest("ServiceEntry", "api", &json!({"hosts": [host], "ports": ports, "resolution": "DNS"}))
}

/// The first route of a virtual host of port 80.
fn action(world: &World, host: &str) -> Value {
    world.json(VirtualHost, &format!("80/{host}"))["routes"][0]["route"].clone()
}

#[test]
fn rules_that_send_there_have_requests_called_as_the_target_knows() {
    let to = json!({"host": "out", "port": {"number": 443}});
    let objects = [service(443, ""), entry("api.example"), rules("api.example", &to)];
    let world = World::with(options(), &objects);
    let sent = action(&world, "api.example:80");
    assert_eq!(sent["cluster"], format!("outbound|443|~tls|{HOST}"));
    assert_eq!(sent["host_rewrite_literal"], "www.example.org");

    // Of several destinations each is called as it knows, and who says the Host means it.
    let mut several = rules("api.example", &to);
    several["spec"]["http"][0]["route"] = json!([
        {"destination": to, "weight": 50},
        {"destination": {"host": "api.example", "port": {"number": 80}}, "weight": 50},
    ]);
    let mut world = World::with(options(), &[service(443, ""), entry("api.example"), several]);
    let sent = action(&world, "api.example:80");
    let clusters = sent["weighted_clusters"]["clusters"].as_array().expect("clusters").clone();
    let called: Vec<&Value> = clusters.iter().map(|one| &one["host_rewrite_literal"]).collect();
    assert_eq!(called, [&json!("www.example.org"), &Value::Null]);
    let mut said = rules("api.example", &to);
    said["spec"]["http"][0]["rewrite"] = json!({"authority": "said.example"});
    world.apply(&said);
    assert_eq!(action(&world, "api.example:80")["host_rewrite_literal"], "said.example");

    // A gateway sends the Host that it was asked for, as in Istio.
    let server =
        json!({"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]});
    let gateway = manifest("Gateway", "g", &json!({"selector": {}, "servers": [server]}));
    let mut bound = rules("api.example", &json!({"host": "out", "port": {"number": 80}}));
    bound["spec"]["gateways"] = json!(["g"]);
    let world = World::with(Options::default(), &[service(80, ""), gateway, bound]);
    let host = world.names(VirtualHost).into_iter().find(|name| name.contains("api.example"));
    let sent =
        world.json(VirtualHost, &host.expect("a virtual host"))["routes"][0]["route"].clone();
    assert_eq!(sent["cluster"], format!("outbound|80||{HOST}"));
    assert!(sent["host_rewrite_literal"].is_null());
}

#[test]
fn a_target_that_a_service_entry_describes_is_called_by_its_own_name() {
    let known = entry("www.example.org");
    let mut world = World::with(options(), &[service(80, ""), known.clone()]);
    let alias = format!("80/{HOST}:80~alias");
    let host = world.json(VirtualHost, &alias);
    let names = json!([HOST, format!("{HOST}."), "out", "out.default.svc", "out.default"]);
    assert_eq!(host["domains"], names);
    let sent = &host["routes"][0]["route"];
    assert_eq!(sent["cluster"], "outbound|80||www.example.org");
    assert_eq!(sent["host_rewrite_literal"], "www.example.org");
    let own = action(&world, "www.example.org:80");
    assert!(own["host_rewrite_literal"].is_null());

    // Rules for the target hold for both.
    let timeout = json!({"hosts": ["www.example.org"], "http": [{"timeout": "3s"}]});
    world.apply(&manifest("VirtualService", "rules", &timeout));
    let sent = world.json(VirtualHost, &alias)["routes"][0]["route"].clone();
    assert_eq!(sent["timeout"], "3s");
    assert_eq!(sent["host_rewrite_literal"], "www.example.org");
    world.delete(&known);
    assert!(!world.names(VirtualHost).contains(&alias));
    assert_eq!(route(&world, 80).1, "www.example.org");
}

/// What a ServiceEntry says of other ports of the target takes nothing away from the Service.
#[test]
fn a_port_that_the_target_s_service_entry_lacks_is_the_service_s_own() {
    let mut known = entry("www.example.org");
    known["spec"]["ports"][0]["number"] = json!(8443);
    let mut world = World::with(options(), &[service(80, ""), known.clone()]);
    let own = (format!("outbound|80||{HOST}"), "www.example.org".to_owned());
    assert_eq!(route(&world, 80), own);
    assert!(world.names(Cluster).contains(&own.0));
    let alias = world.json(VirtualHost, &format!("8443/{HOST}:8443~alias"));
    assert_eq!(alias["routes"][0]["route"]["cluster"], "outbound|8443||www.example.org");
    // Once it says so, requests are for it.
    world.apply(&entry("www.example.org"));
    assert!(!world.names(VirtualHost).contains(&format!("80/{HOST}:80")));
    let alias = world.json(VirtualHost, &format!("80/{HOST}:80~alias"));
    assert_eq!(alias["routes"][0]["route"]["cluster"], "outbound|80||www.example.org");
}
