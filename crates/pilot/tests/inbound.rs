//! What comes in to a workload, while objects change.

mod common;

use common::{World, manifest, object};
use serde_json::{Value, json};
use tidegate_api::Kind;
use tidegate_pilot::{InboundPolicy, Input, Interception, Options, ProxyKind, Workload, mesh};
use tidegate_xds::ResourceType::{Cluster, Listener, RouteConfiguration, VirtualHost};

fn options() -> Options {
    Options {
        proxy: ProxyKind::Sidecar(Workload { addresses: vec![[10, 0, 9, 9].into()] }),
        labels: [("app".to_owned(), "a".to_owned())].into(),
        namespace: "default".to_owned(),
        ..Options::default()
    }
}

fn service(name: &str, port: u16, target: u16) -> Value {
    let ports = json!([{"name": "http", "port": port, "targetPort": target}]);
    let spec = json!({"clusterIP": "10.0.0.1", "selector": {"app": "a"}, "ports": ports});
    let metadata = json!({"name": name});
    json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
}

fn peers(spec: &Value) -> Value {
    manifest("PeerAuthentication", "peers", spec)
}

fn mode(mode: &str) -> Value {
    peers(&json!({"mtls": {"mode": mode}}))
}

/// The chains for a port, each with whether it takes TLS, and whether it terminates it.
fn chains(world: &World, port: u16) -> Vec<(bool, bool)> {
    let listener = world.json(Listener, "virtualInbound");
    let chains = listener["filter_chains"].as_array().expect("chains").iter();
    let of_port = chains.filter(|c| c["filter_chain_match"]["destination_port"] == port);
    let ways = of_port.map(|chain| {
        let tls = chain["filter_chain_match"]["transport_protocol"] == "tls";
        (tls, !chain["transport_socket"].is_null())
    });
    ways.collect()
}

const MUTUAL: (bool, bool) = (true, true);
const PLAIN: (bool, bool) = (false, false);

#[test]
fn what_is_taken_from_peers_follows_their_policy() {
    let mut world = World::with(options(), &[service("a", 80, 8080)]);
    assert_eq!(chains(&world, 8080), [MUTUAL, PLAIN]);
    let first = world.bytes();
    world.apply(&mode("STRICT"));
    assert_eq!(chains(&world, 8080), [MUTUAL]);
    world.apply(&mode("DISABLE"));
    assert_eq!(chains(&world, 8080), [PLAIN]);
    let ports = json!({"8080": {"mode": "STRICT"}, "9": {"mode": "DISABLE"}});
    let selector = json!({"matchLabels": {"app": "a"}});
    world.apply(&peers(&json!({"selector": selector, "portLevelMtls": ports})));
    assert_eq!((chains(&world, 8080), chains(&world, 9)), (vec![MUTUAL], vec![PLAIN, PLAIN]));
    world.delete(&mode("DISABLE"));
    assert!(world.bytes() == first, "nothing of it is left");
}

/// Until somebody can read what it asks for, nothing weaker than it may be taken.
#[test]
fn a_policy_that_cannot_be_read_leaves_mutual_tls_alone() {
    let mut world = World::with(options(), &[service("a", 80, 8080)]);
    let key = object(&mode("STRICT")).key.clone();
    let invalid = |selector: Option<Value>| Input::Invalid {
        key: key.clone(),
        generation: 1,
        errors: vec!["it is no PeerAuthentication".to_owned()],
        selector: selector.map(|labels| serde_json::from_value(labels).expect("labels")),
    };
    world.give([invalid(Some(json!({"app": "other"})))]);
    assert_eq!(chains(&world, 8080), [MUTUAL, PLAIN], "it is about others");
    world.give([invalid(None)]);
    assert_eq!(chains(&world, 8080), [MUTUAL]);
    world.apply(&mode("PERMISSIVE"));
    assert_eq!(chains(&world, 8080), [MUTUAL, PLAIN]);
    world.give([invalid(None)]);
    assert_eq!(chains(&world, 8080), [MUTUAL, PLAIN], "its last good form holds");
    world.give([Input::Delete(key.clone())]);
    assert_eq!(chains(&world, 8080), [MUTUAL, PLAIN]);
}

#[test]
fn ports_come_and_go_with_the_services_that_lead_there() {
    let mut world = World::with(options(), &[service("a", 80, 8080)]);
    let first = world.bytes();
    world.apply(&service("b", 81, 8081));
    let has = |world: &World, kind, name: &str| world.names(kind).contains(&name.to_owned());
    let parts = [
        (Cluster, "inbound|8081||"),
        (RouteConfiguration, "inbound|8081||"),
        (VirtualHost, "inbound|8081||/inbound|http|81"),
    ];
    for (kind, name) in parts {
        assert!(has(&world, kind, name), "{name}");
    }
    let owners = world.pilot.owners(Cluster, "inbound|8081||");
    assert!(owners.iter().any(|key| key.kind == Kind::Service && &*key.name == "b"));
    world.delete(&service("b", 81, 8081));
    for (kind, name) in parts {
        assert!(!has(&world, kind, name), "{name}");
    }
    assert!(world.bytes() == first, "nothing of it is left");

    let mut hidden = service("b", 81, 8081);
    hidden["metadata"]["annotations"] = json!({"networking.istio.io/exportTo": "other"});
    world.apply(&hidden);
    assert!(has(&world, Cluster, "inbound|8081||"), "whom it is shown to is another matter");
    assert!(!has(&world, Cluster, "outbound|81||b.default.svc.cluster.local"));
}

#[test]
fn certificates_of_the_mesh_are_asked_for_where_mutual_tls_is_taken() {
    let mut world = World::with(
        Options { workload_certificates: Some("/certs".into()), ..options() },
        &[service("a", 80, 8080)],
    );
    let files: Vec<String> = world.pilot.files().iter().map(ToString::to_string).collect();
    assert_eq!(files, ["/certs/cert-chain.pem", "/certs/key.pem", "/certs/root-cert.pem"]);
    world.apply(&mode("DISABLE"));
    assert!(world.pilot.files().is_empty());
}

#[test]
fn patches_are_for_one_way_of_the_traffic() {
    let patch = |context: &str, seconds: u32| {
        let value = json!({"connect_timeout": format!("{seconds}s")});
        let patch = json!({"operation": "MERGE", "value": value});
        json!({"applyTo": "CLUSTER", "match": {"context": context}, "patch": patch})
    };
    let patches = [patch("SIDECAR_INBOUND", 3), patch("SIDECAR_OUTBOUND", 4)];
    let mut filter = manifest("EnvoyFilter", "f", &json!({"configPatches": patches}));
    filter["apiVersion"] = json!("networking.istio.io/v1alpha3");
    let world = World::with(options(), &[service("a", 80, 8080), filter]);
    for (cluster, timeout) in [
        ("inbound|8080||", "3s"),
        ("InboundPassthroughCluster", "3s"),
        ("outbound|80||a.default.svc.cluster.local", "4s"),
        ("PassthroughCluster", "4s"),
    ] {
        assert_eq!(world.json(Cluster, cluster)["connect_timeout"], timeout, "{cluster}");
    }
}

#[test]
fn the_mesh_says_where_the_workload_is_reached_and_who_is_of_it() {
    let mut options = options();
    let config = json!({
        "inboundTrafficPolicy": {"mode": "LOCALHOST"},
        "trustDomainAliases": ["old.example"],
        "trustDomain": "mesh.example",
    });
    assert_eq!(mesh::apply(&config, &mut options), Ok(Vec::new()));
    assert_eq!(options.inbound_policy, InboundPolicy::Localhost);
    assert_eq!(*options.trust_domains, ["mesh.example", "old.example"]);
    let world = World::with(options, &[service("a", 80, 8080)]);
    let cluster = world.json(Cluster, "inbound|8080||");
    let endpoint = &cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
    let socket = &endpoint["address"]["socket_address"];
    assert_eq!(*socket, json!({"address": "127.0.0.1", "port_value": 8080}));
    assert!(cluster["upstream_bind_config"].is_null(), "{cluster:#}");
    let listener = world.json(Listener, "virtualInbound").to_string();
    for domain in ["mesh.example", "old.example"] {
        assert!(listener.contains(&format!("spiffe://{domain}/")), "{domain}");
    }
    assert!(!listener.contains("spiffe://cluster.local/"));
    let passthrough = world.json(Cluster, "InboundPassthroughCluster");
    assert_eq!(
        passthrough["type"], "ORIGINAL_DST",
        "what nothing describes stays where it was dialled"
    );

    let mut gateway = Options::default();
    let idle = mesh::apply(&json!({"trustDomain": "mesh.example"}), &mut gateway);
    assert_eq!(idle, Ok(Vec::new()), "policies at gateways name identities, too");
}

#[test]
fn a_sidecar_describes_ports_in_place_of_services() {
    let mut world = World::with(options(), &[service("a", 80, 8080)]);
    let first = world.bytes();
    let spec = json!({"ingress": [{
        "port": {"number": 9090, "protocol": "HTTP"}, "defaultEndpoint": "127.0.0.1:8080",
        "connectionPool": {"tcp": {"maxConnections": 3}},
    }]});
    world.apply(&manifest("Sidecar", "own", &spec));
    assert_eq!(chains(&world, 8080), []);
    assert_eq!(chains(&world, 9090), [MUTUAL, PLAIN]);
    assert!(!world.names(Cluster).contains(&"inbound|8080||".to_owned()));
    let cluster = world.json(Cluster, "inbound|9090||");
    assert_eq!(cluster["circuit_breakers"]["thresholds"][0]["max_connections"], 3);
    let limits = world.pilot.cluster_settings("inbound|9090||");
    let limits: Vec<&str> = limits.iter().map(|origin| origin.path.as_str()).collect();
    assert_eq!(limits, ["spec.ingress[0].connectionPool"]);
    // Only limits: ports are as services say.
    let spec = json!({"inboundConnectionPool": {"tcp": {"maxConnections": 4}}});
    world.apply(&manifest("Sidecar", "own", &spec));
    assert_eq!(chains(&world, 8080), [MUTUAL, PLAIN]);
    let cluster = world.json(Cluster, "inbound|8080||");
    assert_eq!(cluster["circuit_breakers"]["thresholds"][0]["max_connections"], 4);
    world.delete(&manifest("Sidecar", "own", &spec));
    assert_eq!(world.bytes(), first);
}

/// The names of a listener's filters.
fn listener_filters(listener: &Value) -> Vec<&str> {
    let filters = listener["listener_filters"].as_array().into_iter().flatten();
    let names = filters.filter_map(|filter| filter["name"].as_str());
    names.filter_map(|name| name.strip_prefix("envoy.filters.listener.")).collect()
}

#[test]
fn addresses_are_left_as_they_are_where_tproxy_leads_here() {
    let redirected = World::with(options(), &[service("a", 80, 8080)]);
    let interception = Interception::Tproxy { mark: 1337 };
    let world = World::with(Options { interception, ..options() }, &[service("a", 80, 8080)]);
    let inbound = world.json(Listener, "virtualInbound");
    assert_eq!(inbound["transparent"], true);
    let names = listener_filters(&inbound);
    assert_eq!(names, ["original_dst", "original_src", "tls_inspector", "http_inspector"]);
    let source = &inbound["listener_filters"][1]["typed_config"];
    assert_eq!(source["mark"], 1337, "{source}");
    // What goes out is redirected in either mode.
    let outbound = world.json(Listener, "virtualOutbound");
    assert_eq!(outbound["transparent"], true);
    assert!(!listener_filters(&outbound).contains(&"original_src"), "{outbound:#}");
    for name in ["virtualInbound", "virtualOutbound"] {
        let listener = redirected.json(Listener, name);
        assert!(listener["transparent"].is_null(), "{listener:#}");
        assert!(!listener_filters(&listener).contains(&"original_src"), "{listener:#}");
    }
}

#[test]
fn a_port_that_nothing_is_redirected_from_is_bound() {
    let ingress = |capture: &str, bind: &str| {
        let port = json!({"number": 9080, "name": "http", "protocol": "HTTP"});
        let listener = json!({"port": port, "bind": bind, "captureMode": capture, "defaultEndpoint": "127.0.0.1:8080"});
        manifest("Sidecar", "own", &json!({"ingress": [listener]}))
    };
    let mut world = World::with(options(), &[ingress("NONE", "")]);
    assert_eq!(chains(&world, 9080), []);
    let name = "inbound|10.0.9.9_9080";
    let listener = world.json(Listener, name);
    let address = json!({"address": "10.0.9.9", "port_value": 9080});
    assert_eq!(listener["address"]["socket_address"], address);
    assert_eq!(listener["traffic_direction"], "INBOUND");
    assert!(listener["bind_to_port"].is_null() && listener["use_original_dst"].is_null());
    assert!(!listener.to_string().contains("original_dst"), "{listener:#}");
    let asks = listener["filter_chains"].as_array().expect("chains").iter().map(|chain| {
        assert!(chain["filter_chain_match"]["destination_port"].is_null());
        assert!(chain.to_string().contains("inbound|9080||"));
        chain["filter_chain_match"]["transport_protocol"].clone()
    });
    assert_eq!(asks.collect::<Vec<_>>(), ["tls", "raw_buffer"]);
    assert!(world.names(Cluster).contains(&"inbound|9080||".to_owned()));
    world.apply(&ingress("NONE", "0.0.0.0"));
    assert!(world.names(Listener).contains(&"inbound|0.0.0.0_9080".to_owned()));
    assert!(!world.names(Listener).contains(&name.to_owned()));
    world.apply(&ingress("DEFAULT", ""));
    assert_eq!(chains(&world, 9080), [MUTUAL, PLAIN]);
    assert!(!world.names(Listener).iter().any(|name| name.starts_with("inbound|")));
}

#[test]
fn the_workloads_certificate_is_missed_where_nothing_goes_without() {
    let missed = |world: &World| world.pilot.cannot_do_without("default");
    let mut world = World::with(options(), &[service("a", 80, 8080)]);
    assert!(!missed(&world), "peers may come without TLS");
    world.apply(&mode("STRICT"));
    assert!(missed(&world));
    world.apply(&mode("DISABLE"));
    assert!(!missed(&world));
    let tls = json!({"tls": {"mode": "ISTIO_MUTUAL"}});
    let rule = json!({"host": "a.default.svc.cluster.local", "trafficPolicy": tls});
    world.apply(&manifest("DestinationRule", "a", &rule));
    assert!(missed(&world));
}
