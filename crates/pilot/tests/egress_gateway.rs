//! An egress gateway by annotation: the same as by the objects that it stands for, however it comes about.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{World, manifest, object};
use serde_json::{Value, json};
use tidegate_api::{Kind, ObjectKey, Spec};
use tidegate_pilot::expand::{
    GATEWAY_ANNOTATION, MUTUAL_ANNOTATION, Ports, TLS_ANNOTATION, Wish, long_form,
};
use tidegate_pilot::status::ConditionKind;
use tidegate_pilot::{GatewayService, Input, Options, ProxyKind, Workload};
use tidegate_xds::ResourceType;

const DOMAIN: &str = "cluster.local";

fn sidecar() -> Options {
    let proxy = ProxyKind::Sidecar(Workload { addresses: vec![[10, 0, 9, 9].into()] });
    Options { proxy, namespace: "default".to_owned(), captures_dns: true, ..Options::default() }
}

fn egress_gateway() -> Options {
    let labels = [("istio".to_owned(), "egressgateway".to_owned())];
    Options { labels: labels.into(), ..Options::default() }
}

fn front(ports: &[u16]) -> Vec<Value> {
    let ports: Vec<Value> =
        ports.iter().map(|port| json!({"name": format!("p{port}"), "port": port})).collect();
    let metadata = json!({"name": "istio-egressgateway", "namespace": "istio-system"});
    let spec =
        json!({"clusterIP": "10.96.0.7", "selector": {"istio": "egressgateway"}, "ports": ports});
    let service =
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec});
    vec![service]
}

/// HTTP that leaves in TLS, TLS that is passed through, and TCP, to one host.
fn books() -> Value {
    let port = |number: u16, protocol: &str| json!({"number": number, "name": protocol.to_lowercase(), "protocol": protocol});
    let ports = [port(80, "HTTP"), port(443, "HTTPS"), port(3306, "TCP")];
    let spec = json!({"hosts": ["books.example.com"], "ports": ports, "resolution": "DNS"});
    let mut entry = manifest("ServiceEntry", "books", &spec);
    entry["metadata"]["annotations"] = json!({
        GATEWAY_ANNOTATION: "istio-egressgateway.istio-system",
        TLS_ANNOTATION: "true",
    });
    entry
}

/// The same in mutual TLS up to the gateway.
fn mutual() -> Value {
    let mut entry = books();
    entry["metadata"]["annotations"][MUTUAL_ANNOTATION] = "true".into();
    entry
}

/// The ServiceEntry without its annotations, and what these stand for.
fn written_out(entry: &Value) -> Vec<Value> {
    let decoded = object(entry);
    let Spec::ServiceEntry(spec) = &decoded.spec else { panic!("a ServiceEntry") };
    let wish = Wish::of(&decoded, DOMAIN).expect("a wish").expect("that can be read");
    let form = long_form(&decoded, spec, &wish, None, &Ports::default(), DOMAIN);
    let mut plain = entry.clone();
    plain["metadata"].as_object_mut().expect("metadata").remove("annotations");
    [plain].into_iter().chain(form.manifests).collect()
}

fn resource_names(world: &World) -> usize {
    ResourceType::ALL.iter().map(|kind| world.names(*kind).len()).sum()
}

#[test]
fn one_object_or_many_come_to_the_same_resources() {
    let front = front(&[80, 443, 3306]);
    let forms = [books(), mutual()];
    let all = forms.iter().flat_map(|form| [(sidecar(), form), (egress_gateway(), form)]);
    for (options, form) in all {
        let long = [front.clone(), written_out(form)].concat();
        let expected = World::with(options.clone(), &long);
        let short = [front.clone(), vec![form.clone()]].concat();
        let world = World::with(options.clone(), &short);
        assert_eq!(world.dump(), expected.dump());

        // In the other order, one by one; and nothing is left of it afterwards.
        let mut world = World::new(options.clone());
        let nothing = resource_names(&World::with(options.clone(), &front));
        short.iter().rev().for_each(|manifest| _ = world.apply(manifest));
        assert_eq!(world.dump(), expected.dump());
        world.delete(form);
        assert_eq!(resource_names(&world), nothing);

        // Without its annotations it is what it says itself.
        let mut world = World::with(options.clone(), &short);
        let plain = written_out(form).remove(0);
        world.apply(&plain);
        assert_eq!(
            world.dump(),
            World::with(options, &[front.clone(), vec![plain]].concat()).dump()
        );
    }
}

#[test]
fn an_object_that_somebody_wrote_counts_before_one_that_is_written_out() {
    let all = [front(&[80, 443, 3306]), vec![books()]].concat();
    let mut world = World::with(egress_gateway(), &all);
    assert_eq!(world.fault(&books(), ConditionKind::Reconciled), None);
    let before = world.dump();
    let name = "books-via-istio-egressgateway";
    let server = json!({"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["books.example.com"]});
    let spec = json!({"selector": {"istio": "egressgateway"}, "servers": [server]});
    let own = manifest("Gateway", name, &spec);
    let key = ObjectKey::new(Kind::Gateway, "default", name);
    assert!(world.pilot.written_out_of(&key).is_some());
    world.apply(&own);
    assert_eq!(world.pilot.written_out_of(&key), None);
    assert!(!world.names(ResourceType::Listener).iter().any(|name| name.ends_with("_3306")));
    let told = world.fault(&books(), ConditionKind::Reconciled).expect("it is told");
    assert!(
        told.contains("Gateway default/books-via-istio-egressgateway is there by itself"),
        "{told}"
    );
    world.delete(&own);
    assert_eq!(world.dump(), before);
    assert_eq!(world.fault(&books(), ConditionKind::Reconciled), None);
}

#[test]
fn what_is_wrong_is_said_of_the_service_entry() {
    let mut world = World::with(egress_gateway(), &[books()]);
    // Another's older VirtualService has the host at the gateway's port by itself.
    let told = |world: &World| world.fault(&books(), ConditionKind::Reconciled);
    assert_eq!(told(&world), None);
    world.apply(&front(&[80, 443])[0]);
    assert!(told(&world).expect("a fault").contains("has no port 3306"));
    world.apply(&front(&[80, 443, 3306])[0]);
    assert_eq!(told(&world), None);
    let mut wrong = books();
    wrong["metadata"]["annotations"][GATEWAY_ANNOTATION] = "nowhere/at/all".into();
    let output = world.give([Input::Apply(object(&wrong))]);
    assert!(told(&world).expect("a fault").contains("names no Service"));
    assert!(
        output.status.iter().all(|update| update.key.kind == Kind::ServiceEntry),
        "nobody wrote others"
    );
}

#[test]
fn a_change_of_nothing_compiles_nothing() {
    let all = [front(&[80, 443, 3306]), vec![books()]].concat();
    let mut world = World::with(egress_gateway(), &all);
    let output = world.apply(&front(&[80, 443, 3306])[0]);
    assert_eq!(
        output.compiled.listeners + output.compiled.virtual_hosts,
        0,
        "{:?}",
        output.compiled
    );
}

#[test]
fn resources_lead_back_to_the_service_entry() {
    let all = [front(&[80, 443, 3306]), vec![books()]].concat();
    let world = World::with(egress_gateway(), &all);
    for name in world.names(ResourceType::Listener) {
        let owners = world.pilot.owners(ResourceType::Listener, &name);
        assert_eq!(owners, [object(&books()).key.clone()], "{name}");
    }
}

#[test]
fn in_mutual_tls_workloads_of_every_namespace_show_their_certificate_to_the_gateway() {
    let all = [front(&[80, 443, 3306]), vec![mutual()]].concat();
    let in_mesh = |options: Options, namespace: &str| Options {
        workload_certificates: Some("/certs/".into()),
        namespace: namespace.to_owned(),
        ..options
    };
    for namespace in ["default", "elsewhere"] {
        let world = World::with(in_mesh(sidecar(), namespace), &all);
        for port in [80, 443, 3306] {
            let name = format!(
                "outbound|{port}|books-example-com|istio-egressgateway.istio-system.svc.{DOMAIN}"
            );
            let tls = &world.json(ResourceType::Cluster, &name)["transport_socket"]["typed_config"];
            assert_eq!(tls["sni"], "books.example.com", "{name}");
            let own = &tls["common_tls_context"]["tls_certificate_sds_secret_configs"][0];
            assert_eq!(own["name"], "default", "{name}");
        }
    }
    let files = ["cert-chain.pem", "key.pem", "root-cert.pem"];
    let mut world = World::with(in_mesh(egress_gateway(), "istio-system"), &all);
    world.give(files.map(|file| {
        let content = Ok(std::sync::Arc::from(b"pem".as_slice()));
        Input::File { name: format!("/certs/{file}").into(), content }
    }));
    for port in [80, 443, 3306] {
        let listener = world.json(ResourceType::Listener, &format!("0.0.0.0_{port}"));
        let chains = listener["filter_chains"].as_array().expect("chains");
        for chain in chains {
            let tls = &chain["transport_socket"]["typed_config"];
            assert_eq!(tls["require_client_certificate"], true, "{port}: {chain:#}");
        }
        let names = &chains[0]["filter_chain_match"]["server_names"];
        assert_eq!((chains.len(), names), (1, &json!(["books.example.com"])), "{port}");
    }
    assert_eq!(world.fault(&mutual(), ConditionKind::Reconciled), None);
}

/// The ports by which workloads know a listener as their way out, of each chain with the default one as the last, and whether that
/// one refuses.
fn ways_out(world: &World, listener: &str) -> (Vec<Option<f64>>, bool) {
    let listener = world.json(ResourceType::Listener, listener);
    let mark = |chain: &Value, name: &str| {
        chain["metadata"]["filter_metadata"]["io.tidegate"][name].clone()
    };
    let chains = listener["filter_chains"].as_array().expect("chains").iter();
    let last = &listener["default_filter_chain"];
    let all = chains.chain(Some(last).filter(|last| !last.is_null()));
    let ports = all.map(|chain| mark(chain, "egress_port").as_f64()).collect();
    (ports, mark(last, "denies_egress") == true)
}

#[test]
fn what_a_way_out_for_workloads_does_not_lead_on_is_marked() {
    let front = GatewayService {
        host: "istio-egressgateway.istio-system.svc.cluster.local".to_owned(),
        namespace: "istio-system".to_owned(),
        ports: [(80, 8080), (443, 8443)].into(),
    };
    let options = Options { services: vec![front], ..egress_gateway() };
    let mut world = World::with(options, &[books()]);
    assert_eq!(ways_out(&world, "0.0.0.0_8080"), (vec![Some(80.0)], false));
    assert_eq!(ways_out(&world, "0.0.0.0_8443"), (vec![Some(443.0); 2], true));
    // All that comes to a port of TCP has a way.
    assert_eq!(ways_out(&world, "0.0.0.0_3306"), (vec![Some(3306.0)], false));

    // A port that others than workloads come to is none.
    let server = json!({"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["shop.example"]});
    let selector = json!({"istio": "egressgateway"});
    let entrance = manifest("Gateway", "in", &json!({"selector": selector, "servers": [server]}));
    let route = json!([{"route": [{"destination": {"host": "books.example.com"}}]}]);
    let shop = manifest(
        "VirtualService",
        "shop",
        &json!({"hosts": ["shop.example"], "gateways": ["in"], "http": route}),
    );
    world.apply(&entrance);
    assert_eq!(ways_out(&world, "0.0.0.0_8080").0, [Some(80.0)]);
    world.apply(&shop);
    assert_eq!(ways_out(&world, "0.0.0.0_8080").0, [None]);
    assert_eq!(ways_out(&world, "0.0.0.0_8443").0, [Some(443.0); 2]);
    world.delete(&shop);
    assert_eq!(ways_out(&world, "0.0.0.0_8080").0, [Some(80.0)]);

    // Nor is a gateway that no rule of the mesh leads to.
    let plain = written_out(&books());
    let world = World::with(egress_gateway(), &plain);
    assert_eq!(ways_out(&world, "0.0.0.0_80").0, [None]);
    assert_eq!(ways_out(&world, "0.0.0.0_443"), (vec![None], false));
}

/// A host of plain bytes at port 3306, through the gateway.
fn database(name: &str, created: &str) -> Value {
    let port = json!({"number": 3306, "name": "tcp", "protocol": "TCP"});
    let host = format!("{name}.example");
    let spec = json!({"hosts": [host], "ports": [port], "resolution": "DNS"});
    let mut entry = manifest("ServiceEntry", name, &spec);
    entry["metadata"]["creationTimestamp"] = created.into();
    entry["metadata"]["annotations"] =
        json!({GATEWAY_ANNOTATION: "istio-egressgateway.istio-system"});
    entry
}

/// Where each listener of plain bytes sends, by its port.
fn bytes_go(world: &World) -> BTreeMap<u16, Vec<String>> {
    let mut all: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for name in world.names(ResourceType::Listener) {
        let listener = world.json(ResourceType::Listener, &name);
        let port = listener["address"]["socket_address"]["port_value"].as_f64().expect("a port");
        for chain in listener["filter_chains"].as_array().into_iter().flatten() {
            for filter in chain["filters"].as_array().into_iter().flatten() {
                if let Some(cluster) = filter["typed_config"]["cluster"].as_str() {
                    all.entry(port as u16).or_default().push(cluster.to_owned());
                }
            }
        }
    }
    all
}

#[test]
fn plain_bytes_of_two_hosts_never_share_a_port_of_the_gateway() {
    let first = database("z", "2026-01-01T00:00:00Z");
    let (second, third) =
        (database("a", "2026-01-02T00:00:00Z"), database("b", "2026-01-03T00:00:00Z"));
    let younger = vec![second.clone(), third.clone()];
    let mut world = World::with(egress_gateway(), &[front(&[3306]), younger.clone()].concat());
    assert_eq!(bytes_go(&world)[&3306], ["outbound|3306||a.example"], "the oldest of two");
    world.apply(&first);
    let ways = bytes_go(&world);
    assert_eq!(ways[&3306], ["outbound|3306||z.example"], "the oldest has the number");
    let port = |of: &str| {
        let is = |to: &Vec<String>| *to == [format!("outbound|3306||{of}")];
        let found = ways.iter().find(|(_, to)| is(to)).map(|(port, _)| *port);
        found.unwrap_or_else(|| panic!("{of}: {ways:?}"))
    };
    let [a, b] = ["a.example", "b.example"].map(port);
    assert_eq!(ways.len(), 3, "{ways:?}");
    assert_eq!(world.fault(&first, ConditionKind::Reconciled), None);
    let told = world.fault(&second, ConditionKind::Reconciled).expect("the Service lacks it");
    assert!(told.contains(&format!("no port {a}")) && told.contains("3306"), "{told}");

    // No order makes a difference, and the sidecar comes to the same ports.
    let all = [front(&[3306, a, b]), vec![first.clone()], younger].concat();
    let mut reversed = all.clone();
    reversed.reverse();
    let mut world = World::with(egress_gateway(), &all);
    assert_eq!(bytes_go(&world), ways);
    assert_eq!(world.fault(&second, ConditionKind::Reconciled), None);
    assert_eq!(world.dump(), World::with(egress_gateway(), &reversed).dump());
    let workload = World::with(sidecar(), &all);
    let sent: BTreeSet<String> = bytes_go(&workload).remove(&3306).into_iter().flatten().collect();
    let to = |port: u16| format!("outbound|{port}||istio-egressgateway.istio-system.svc.{DOMAIN}");
    assert_eq!(sent, [3306, a, b].map(to).into());

    // What the gateway's Service has a port for stays there, and nothing is left of what goes.
    world.delete(&first);
    let left = bytes_go(&world);
    assert_eq!((left.len(), left.get(&3306)), (2, None), "{left:?}");
    world.apply(&front(&[3306])[0]);
    assert_eq!(bytes_go(&world)[&3306], ["outbound|3306||a.example"]);
    [&second, &third].into_iter().for_each(|entry| _ = world.delete(entry));
    assert_eq!(bytes_go(&world), BTreeMap::new());
}

#[test]
fn plain_bytes_keep_off_ports_of_what_says_whom_it_is_for() {
    let other = |name: &str, ports: &[(u16, &str)]| {
        let mut entry = database(name, "2026-01-02T00:00:00Z");
        let port = |(number, protocol): &(u16, &str)| json!({"number": number, "name": format!("p{number}"), "protocol": protocol});
        entry["spec"]["ports"] = ports.iter().map(port).collect();
        entry
    };
    let older = database("older", "2026-01-01T00:00:00Z");
    let mut world =
        World::with(egress_gateway(), &[older, other("web", &[(3306, "HTTP"), (8080, "HTTP")])]);
    assert_eq!(bytes_go(&world).get(&3306), None, "requests are expected there");
    world.apply(&other("low", &[(80, "TCP")]));
    let ways = bytes_go(&world);
    assert!(ways.keys().all(|port| (20_000..30_000).contains(port)), "{ways:?}");
    assert_eq!(ways.len(), 2, "{ways:?}");
}

#[test]
fn in_mutual_tls_hosts_of_one_port_are_told_apart_by_name() {
    let entry = |name: &str| {
        let mut entry = database(name, "2026-01-01T00:00:00Z");
        entry["metadata"]["annotations"][MUTUAL_ANNOTATION] = "true".into();
        entry
    };
    let all = [front(&[3306]), vec![entry("db1"), entry("db2")]].concat();
    let options = Options {
        workload_certificates: Some("/certs/".into()),
        namespace: "istio-system".to_owned(),
        ..egress_gateway()
    };
    let mut world = World::with(options, &all);
    world.give(["cert-chain.pem", "key.pem", "root-cert.pem"].map(|file| {
        let content = Ok(std::sync::Arc::from(b"pem".as_slice()));
        Input::File { name: format!("/certs/{file}").into(), content }
    }));
    let listener = world.json(ResourceType::Listener, "0.0.0.0_3306");
    let told: BTreeMap<String, String> = (listener["filter_chains"].as_array().expect("chains"))
        .iter()
        .map(|chain| {
            let name = chain["filter_chain_match"]["server_names"][0].as_str().expect("a name");
            let filters = chain["filters"].as_array().expect("filters");
            let to = filters.iter().find_map(|it| it["typed_config"]["cluster"].as_str());
            (name.to_owned(), to.expect("a cluster").to_owned())
        })
        .collect();
    let expected = ["db1.example", "db2.example"]
        .map(|host| (host.to_owned(), format!("outbound|3306||{host}")));
    assert_eq!(told, expected.into());
}
