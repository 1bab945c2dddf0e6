//! What is told of objects as they come, go wrong and recover, and what serves meanwhile.

mod common;

use common::{World, entry, gateway, host, manifest, object, service};
use serde_json::{Value, json};
use tidegate_pilot::status::ConditionKind::{Reconciled, ResolvedRefs};
use tidegate_pilot::{Input, Options};
use tidegate_xds::ResourceType;

fn invalid(manifest: &Value, generation: i64) -> Input {
    let errors = vec!["spec.http[0].route: Required value".to_owned()];
    Input::Invalid { key: object(manifest).key.clone(), generation, errors, selector: None }
}

#[test]
fn a_wrong_form_leaves_the_last_good_one_in_force_and_its_neighbours_alone() {
    let (a, b) = (service("a", "a.com", "/a"), service("b", "b.com", "/b"));
    let mut world =
        World::with(Options::default(), &[gateway(), entry(&[80]), a.clone(), b.clone()]);
    let before = world.bytes();

    let told = world.give([invalid(&a, 2)]);
    assert_eq!(world.bytes(), before);
    assert_eq!((told.compiled.total(), told.status.len()), (0, 1));
    // The newest form is told to be wrong; all else is said of the one before.
    assert_eq!((told.status[0].generation, told.status[0].in_force), (2, 0));
    let fault = world.fault(&a, Reconciled).expect("it is wrong");
    assert_eq!(fault, "Invalid: spec.http[0].route: Required value; the last good form serves on");
    assert_eq!(world.fault(&a, ResolvedRefs), None, "the form in force is still looked at");
    assert_eq!(world.fault(&b, Reconciled), None);

    // What the form in force lacks is told as its own.
    world.delete(&entry(&[80]));
    let lacks = world.fault(&a, ResolvedRefs).expect("nobody has the host");
    assert!(lacks.starts_with("RefNotFound: of its last good form: http[0].route[0]"), "{lacks}");
    world.delete(&gateway());
    let idle = world.idle(&a).expect("it has no Gateway");
    assert_eq!(idle, "NoGateway: of its last good form: there is no Gateway default/g");
    world.give([gateway(), entry(&[80])].iter().map(|manifest| Input::Apply(object(manifest))));

    // The neighbour changes meanwhile, and what is wrong is not told again.
    let changed = world.apply(&service("b", "b.com", "/new"));
    assert_eq!(changed.status.len(), 1);

    world.apply(&service("a", "a.com", "/mended"));
    assert_eq!(world.fault(&a, Reconciled), None);
    assert_eq!(host(&world, "a.com")["routes"][0]["match"]["prefix"], "/mended");
}

#[test]
fn a_gateway_whose_form_is_refused_is_not_missing() {
    let a = service("a", "a.com", "/a");
    let mut world = World::with(Options::default(), std::slice::from_ref(&a));
    assert_eq!(world.idle(&a).as_deref(), Some("NoGateway: there is no Gateway default/g"));
    world.give([invalid(&gateway(), 1)]);
    let why = "the form of Gateway default/g is refused, and there is none from before: its status says what is wrong";
    assert_eq!(world.idle(&a), Some(format!("GatewayNotProgrammed: {why}")));
    let lacks = world.fault(&a, ResolvedRefs).expect("it cannot be used");
    assert!(lacks.contains(&format!("gateways: {why}")), "{lacks}");
    world.delete(&gateway());
    assert_eq!(world.idle(&a).as_deref(), Some("NoGateway: there is no Gateway default/g"));
}

#[test]
fn what_was_never_good_serves_nothing() {
    let a = service("a", "a.com", "/a");
    let mut world = World::with(Options::default(), &[gateway()]);
    let before = world.bytes();
    let told = world.give([invalid(&a, 1)]);
    assert_eq!(world.bytes(), before);
    let fault = world.fault(&a, Reconciled).expect("it is wrong");
    assert_eq!(fault, "Invalid: spec.http[0].route: Required value");
    assert_eq!(
        told.applied,
        [(object(&a).key.clone(), 1)],
        "there is nothing older to stand for it"
    );
    assert_eq!(world.idle(&a).as_deref(), Some("Invalid: spec.http[0].route: Required value"));
    world.delete(&a);
    let again = world.give([invalid(&a, 1)]);
    assert_eq!(again.status.len(), 1, "another object of the name starts from nothing");
}

#[test]
fn a_destination_is_resolved_when_it_comes_and_missed_when_it_goes() {
    let a = service("a", "a.com", "/a");
    let mut world = World::with(Options::default(), &[gateway(), a.clone()]);
    let cluster = |world: &World| {
        host(world, "a.com")["routes"][0]["route"]["cluster"].as_str().map(str::to_owned)
    };
    let missed = world.fault(&a, ResolvedRefs).expect("nobody has the host");
    assert!(missed.contains("http[0].route[0].destination: host backend.example.org not found"));
    // It is routed all the same, to a cluster that is not there: 503, as in Istio.
    assert_eq!(cluster(&world).as_deref(), Some("outbound|80||backend.example.org"));

    let came = world.apply(&entry(&[8080]));
    assert_eq!(world.fault(&a, ResolvedRefs), None);
    assert_eq!(cluster(&world).as_deref(), Some("outbound|8080||backend.example.org"));
    let about: Vec<&str> = came.status.iter().map(|s| &*s.key.name).collect();
    assert_eq!(about, ["a", "backend"]);
    assert_eq!(came.applied.len(), 1, "only what was given is applied");

    world.apply(&entry(&[80, 8080]));
    let open = world.fault(&a, ResolvedRefs).expect("which port?");
    assert!(open.ends_with("host backend.example.org has several ports; say which in port.number"));
    assert_eq!(cluster(&world).as_deref(), Some("outbound|80||backend.example.org"));

    world.delete(&entry(&[80]));
    assert!(world.fault(&a, ResolvedRefs).is_some());
    assert_eq!(world.idle(&a), None, "it answers 503");
    world.apply(&entry(&[]));
    let none = world.fault(&a, ResolvedRefs).expect("no port at all");
    assert!(
        none.ends_with(
            "backend.example.org has no port; ServiceEntry default/backend defines none"
        ),
        "{none}"
    );
}

#[test]
fn a_gateway_that_goes_is_missed_by_those_that_it_served() {
    let a = service("a", "a.com", "/a");
    let mut world = World::with(Options::default(), &[gateway(), entry(&[80]), a.clone()]);
    let gone = world.delete(&gateway());
    let missed = world.fault(&a, ResolvedRefs).expect("no gateway");
    assert_eq!(missed, "RefNotFound: gateways: no Gateway g in namespace default");
    assert_eq!(world.idle(&a).as_deref(), Some("NoGateway: there is no Gateway default/g"));
    assert_eq!(
        gone.applied,
        [(object(&a).key.clone(), 0)],
        "its standing goes out with the change"
    );
    assert!(world.names(ResourceType::Listener).is_empty());
    assert!(world.names(ResourceType::VirtualHost).is_empty());
    assert_eq!(gone.change.remove.len(), 3, "listener, route configuration and virtual host");
    let back = world.apply(&gateway());
    assert_eq!(world.fault(&a, ResolvedRefs), None);
    assert_eq!(world.idle(&a), None);
    assert!(back.applied.iter().any(|(key, _)| *key == object(&a).key), "it waits for the workers");
}

#[test]
fn what_other_proxies_serve_is_not_in_force() {
    let a = service("a", "a.com", "/a");
    let mut world = World::with(Options::default(), &[gateway(), entry(&[80]), a.clone()]);
    let mut elsewhere = gateway();
    elsewhere["spec"]["selector"] = json!({"istio": "egressgateway"});
    let moved = world.apply(&elsewhere);
    let cleared = moved.status.iter().filter(|s| s.conditions.is_empty()).count();
    assert_eq!(cleared, 2, "the Gateway and its VirtualService: {:?}", moved.status);
    assert_eq!(moved.applied.len(), 2, "{:?}", moved.applied);
    for object in [&elsewhere, &a] {
        let idle = world.idle(object).expect("it is for others");
        assert!(
            idle.starts_with("NotSelected: ") && idle.contains("labels are istio=ingressgateway"),
            "{idle}"
        );
    }
    assert!(world.names(ResourceType::Listener).is_empty());
}

#[test]
fn routes_that_nothing_applies_are_not_in_force() {
    let mut world = World::with(Options::default(), &[gateway(), entry(&[80])]);
    let mut idle = |change: &dyn Fn(&mut Value)| {
        let mut a = service("a", "a.com", "/a");
        change(&mut a["spec"]);
        world.apply(&a);
        world.idle(&a)
    };
    assert_eq!(idle(&|_| {}), None);
    let mesh = idle(&|spec| spec["gateways"] = json!(["mesh"])).expect("for sidecars");
    assert!(mesh.starts_with("NotSelected: it names no Gateway"), "{mesh}");
    assert_eq!(idle(&|spec| spec["gateways"] = Value::Null), Some(mesh));
    assert_eq!(idle(&|spec| spec["gateways"] = json!(["mesh", "g"])), None);
    assert_eq!(idle(&|spec| spec["gateways"] = json!(["nowhere", "g"])), None);
    let none = idle(&|spec| spec["gateways"] = json!(["nowhere"]));
    assert_eq!(none.as_deref(), Some("NoGateway: there is no Gateway default/nowhere"));
    let port = idle(&|spec| spec["http"][0]["match"][0]["port"] = json!(8080)).expect("not open");
    assert!(port.starts_with("NotAttached: http: none of the rules applies"), "{port}");
    let hidden = idle(&|spec| spec["exportTo"] = json!(["."])).expect("hidden");
    assert!(hidden.starts_with("NotAttached: exportTo hides this"), "{hidden}");
    // What is not served of a rule leaves the rule in force.
    assert_eq!(
        idle(&|spec| spec["http"][0]["retries"] =
            json!({"attempts": 1, "retryRemoteLocalities": true})),
        None
    );
}

#[test]
fn routes_of_a_gateway_that_lost_its_port_are_not_in_force_until_it_is_free() {
    let server =
        json!({"port": {"number": 443, "name": "tcp", "protocol": "HTTP"}, "hosts": ["*"]});
    let late = manifest("Gateway", "late", &json!({"servers": [server]}));
    let mut b = service("b", "b.com", "/b");
    b["spec"]["gateways"] = json!(["late"]);
    let mut world =
        World::with(Options::default(), &[gateway(), entry(&[80]), late.clone(), b.clone()]);
    let idle = world.idle(&late).expect("port 443 carries TLS");
    assert!(
        idle.starts_with("Conflict: none of its servers is open: servers[0] (port 443)"),
        "{idle}"
    );
    let idle = world.idle(&b).expect("its gateway is closed");
    assert!(idle.starts_with("GatewayNotProgrammed: Gateway default/late: "), "{idle}");
    world.delete(&gateway());
    assert_eq!((world.idle(&late), world.idle(&b)), (None, None));
}

#[test]
fn hosts_without_an_endpoint_s_place_and_rules_without_effect_are_not_in_force() {
    let mut hidden = entry(&[80]);
    hidden["spec"]["exportTo"] = json!(["."]);
    let mut nowhere = entry(&[80]);
    nowhere["spec"]["resolution"] = json!("NONE");
    let rule = |spec: &Value| manifest("DestinationRule", "r", spec);
    let tunnel = json!({"targetHost": "a.example.org", "targetPort": 80});
    let settings =
        rule(&json!({"host": "backend.example.org", "trafficPolicy": {"tunnel": tunnel}}));
    let mut world = World::with(Options::default(), &[hidden.clone(), settings.clone()]);
    assert!(world.idle(&hidden).is_some_and(|idle| idle.starts_with("Hidden: ")));
    let nobodys = world.idle(&settings).expect("nobody is seen to have the host");
    assert!(nobodys.starts_with("RefNotFound: host backend.example.org not found"), "{nobodys}");
    world.apply(&nowhere);
    assert!(world.idle(&settings).is_some_and(|idle| idle.contains("trafficPolicy.tunnel")));
    assert!(world.idle(&nowhere).is_some_and(|idle| idle.starts_with("NotSelected: ")));
    world.apply(&entry(&[80]));
    world.apply(&rule(&json!({"host": "backend.example.org"})));
    assert_eq!((world.idle(&entry(&[80])), world.idle(&settings)), (None, None));
}

#[test]
fn rules_without_effect_are_told() {
    let mut a = service("a", "a.com", "/a");
    a["spec"]["http"][0]["match"][0]["port"] = json!(8080);
    let mut world = World::with(Options::default(), &[gateway(), entry(&[80]), a.clone()]);
    let fault = world.fault(&a, Reconciled).expect("port 8080 is not open");
    assert!(fault.starts_with("NotApplied: http: none of the rules applies"), "{fault}");
    a["spec"]["http"][0]["match"][0]["port"] = json!(80);
    world.apply(&a);
    assert_eq!(world.fault(&a, Reconciled), None);
}

#[test]
fn a_lost_server_name_is_taken_over_when_its_holder_goes() {
    let named = |name: &str, created: &str| {
        let rule = json!({
            "match": [{"sniHosts": ["a.com"]}],
            "route": [{"destination": {"host": format!("{name}.example.org"), "port": {"number": 443}}}],
        });
        let spec = json!({"hosts": ["a.com"], "gateways": ["g"], "tls": [rule]});
        let mut manifest = manifest("VirtualService", name, &spec);
        manifest["metadata"]["creationTimestamp"] = json!(created);
        manifest
    };
    let (old, new) = (named("old", "2020-01-01T00:00:00Z"), named("new", "2021-01-01T00:00:00Z"));
    let mut world = World::with(Options::default(), &[gateway(), new.clone(), old.clone()]);
    let cluster = |world: &World| {
        let listener = world.json(ResourceType::Listener, "0.0.0.0_443");
        assert_eq!(listener["filter_chains"].as_array().map(Vec::len), Some(1));
        listener["filter_chains"][0]["filters"][0]["typed_config"]["cluster"].to_string()
    };
    assert!(cluster(&world).contains("old.example.org"));
    let fault = world.fault(&new, Reconciled).expect("it lost the name");
    assert_eq!(
        fault,
        "Conflict: tls[0].match[0]: connections for a.com on port 443 belong to tls[0].match[0] of VirtualService \
         default/old, which is older"
    );
    world.delete(&old);
    assert!(cluster(&world).contains("new.example.org"));
    assert_eq!(world.fault(&new, Reconciled), None);
}

#[test]
fn resources_lead_back_to_their_objects() {
    let a = service("a", "a.com", "/a");
    let world = World::with(Options::default(), &[gateway(), entry(&[80]), a]);
    let owners = |kind, name: &str| {
        let owners = world.pilot.owners(kind, name).into_iter();
        owners.map(|key| key.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(owners(ResourceType::Listener, "0.0.0.0_80"), ["Gateway default/g"]);
    assert_eq!(owners(ResourceType::RouteConfiguration, "http.80"), ["Gateway default/g"]);
    assert_eq!(owners(ResourceType::VirtualHost, "http.80/a.com:80"), ["VirtualService default/a"]);
    assert_eq!(
        owners(ResourceType::Cluster, "outbound|80||backend.example.org"),
        ["ServiceEntry default/backend"]
    );
    assert!(owners(ResourceType::Cluster, "BlackHoleCluster").is_empty());
}

fn rule(namespace: &str, name: &str, spec: &Value) -> Value {
    let mut rule = manifest("DestinationRule", name, spec);
    rule["metadata"]["namespace"] = json!(namespace);
    rule
}

#[test]
fn a_rule_that_others_come_before_is_told_whom() {
    let backend = "backend.example.org";
    let by = |name: &str| json!({"loadBalancer": {"consistentHash": {"httpHeaderName": name}}});
    let first = rule("default", "a", &json!({"host": backend, "trafficPolicy": by("x-a")}));
    let second = rule("default", "b", &json!({"host": backend, "trafficPolicy": by("x-b")}));
    let root = rule("istio-system", "c", &json!({"host": backend, "trafficPolicy": by("x-c")}));
    let aside = rule("elsewhere", "d", &json!({"host": backend, "trafficPolicy": by("x-d")}));
    let all = [gateway(), entry(&[80]), service("a", "a.com", "/a")];
    let mut world = World::with(Options::default(), &all);
    let hashed = |world: &World| {
        let route = host(world, "a.com")["routes"][0]["route"].clone();
        let policy = world.json(ResourceType::Cluster, "outbound|80||backend.example.org");
        (route["hash_policy"][0]["header"]["header_name"].clone(), policy["lb_policy"].clone())
    };
    assert_eq!(hashed(&world), (Value::Null, json!("LEAST_REQUEST")));
    for rule in [&root, &aside, &second, &first] {
        world.apply(rule);
    }
    assert_eq!(hashed(&world), (json!("x-a"), json!("RING_HASH")));
    assert_eq!((world.fault(&first, Reconciled), world.idle(&first)), (None, None));
    let told = |world: &World, rule: &Value| world.fault(rule, Reconciled).expect("it is told");
    assert_eq!(
        told(&world, &second),
        "Conflict: trafficPolicy: DestinationRule default/a has one for backend.example.org and is older"
    );
    assert!(world.idle(&second).is_some(), "it says nothing else");
    assert!(told(&world, &root).starts_with("Conflict: DestinationRule default/a holds for"));
    assert!(told(&world, &aside).starts_with("Conflict: DestinationRule default/a holds for"));
    assert!(world.idle(&root).is_some() && world.idle(&aside).is_some());

    world.delete(&first);
    assert_eq!((hashed(&world).0, world.fault(&second, Reconciled)), (json!("x-b"), None));
    let mut hidden = second.clone();
    hidden["spec"]["exportTo"] = json!(["."]);
    world.apply(&hidden);
    assert!(
        told(&world, &hidden).starts_with("Hidden: exportTo hides it from namespace istio-system")
    );
    assert_eq!((hashed(&world).0, world.fault(&root, Reconciled)), (json!("x-c"), None));
    let mut other = root.clone();
    other["spec"]["workloadSelector"] = json!({"matchLabels": {"istio": "egressgateway"}});
    world.apply(&other);
    assert_eq!(hashed(&world).0, Value::Null);
    assert!(world.idle(&other).is_some_and(|idle| idle.starts_with("NotSelected: ")));
    world.delete(&hidden);
    assert!(told(&world, &aside).starts_with("NotApplied: namespace elsewhere is not asked"));
    // A wildcard holds for the hosts that it takes.
    let wild =
        rule("istio-system", "w", &json!({"host": "*.example.org", "trafficPolicy": by("x-w")}));
    world.apply(&wild);
    assert_eq!(hashed(&world).0, json!("x-w"));
}

#[test]
fn rules_that_are_never_reached_name_the_one_that_goes_first() {
    let to = json!([{"destination": {"host": "backend.example.org"}}]);
    let prefix = |path: &str| json!({"match": [{"uri": {"prefix": path}}], "route": to});
    let with = |name: &str, created: &str, http: Value| {
        let mut manifest = manifest(
            "VirtualService",
            name,
            &json!({"hosts": ["a.com"], "gateways": ["g"], "http": http}),
        );
        manifest["metadata"]["creationTimestamp"] = json!(created);
        manifest
    };
    let (old, new) = ("2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z");
    let first =
        with("first", old, json!([prefix("/a"), {"route": to}, prefix("/late"), prefix("/later")]));
    let second = with("second", new, json!([prefix("/b"), prefix("/a/x"), {"route": to}]));
    let mut world =
        World::with(Options::default(), &[gateway(), entry(&[80]), first.clone(), second.clone()]);
    let told = |world: &World, object: &Value| world.fault(object, Reconciled);
    assert_eq!(
        told(&world, &first).as_deref(),
        Some(
            "Unreachable: http[2].match[0], http[3].match[0] are never reached: http[1] goes first and takes every \
             request"
        )
    );
    assert_eq!(
        told(&world, &second).as_deref(),
        Some(
            "Unreachable: http[1].match[0] is never reached on host a.com: http[0].match[0] of \
             VirtualService default/first goes first, as it is older, and takes all that it asks for; http[2] is \
             never reached on host a.com: http[1] of VirtualService default/first goes first, as it is older, and \
             takes every request"
        )
    );
    world.delete(&first);
    assert_eq!(told(&world, &second), None, "it is the only one");
    world.apply(&first);
    assert!(told(&world, &second).is_some());
    world.apply(&with("first", old, json!([prefix("/c")])));
    assert_eq!((told(&world, &first), told(&world, &second)), (None, None));

    // One that gets nothing at all is not in force, until it gets something.
    assert_eq!(world.idle(&second), None);
    world.apply(&with("second", new, json!([prefix("/c/d"), prefix("/c")])));
    let idle = world.idle(&second).expect("nothing is left for it");
    let both = "Unreachable: no rule gets a request: http[0].match[0], http[1].match[0] are";
    assert!(idle.starts_with(both), "{idle}");
    world.apply(&with("first", old, json!([prefix("/c/d")])));
    assert_eq!(world.idle(&second), None, "the rest is its own");
}

#[test]
fn hosts_and_conditions_that_nothing_answers_to_are_told() {
    let mut narrow = gateway();
    narrow["spec"]["servers"][0]["hosts"] = json!(["a.com"]);
    narrow["spec"]["servers"][1]["hosts"] = json!(["a.com"]);
    let mut a = service("a", "a.com", "/a");
    a["spec"]["hosts"] = json!(["a.com", "b.com"]);
    a["spec"]["http"][0]["match"] = json!([
        {"uri": {"prefix": "/a"}},
        {"uri": {"prefix": "/b"}, "port": 8080},
        {"uri": {"prefix": "/c"}, "gateways": ["other"]},
        {"uri": {"prefix": "/d"}, "sourceLabels": {"app": "x"}},
        {"uri": {"prefix": "/e"}, "sourceNamespace": "x"},
    ]);
    let mut world = World::with(Options::default(), &[narrow, entry(&[80]), a.clone()]);
    let told = world.fault(&a, Reconciled).expect("much is in vain");
    for part in [
        "HostNotServed: hosts: b.com is served by none of its Gateways (default/g) for what it has rules for, unlike the \
         others",
        "http[0].match[1] is for port 8080 and applies nowhere: its Gateways serve these hosts on port 80",
        "http[0].match[2] is for gateways default/other and applies nowhere: these hosts are served by \
         Gateway default/g",
        "http[0].match[3] is for sourceLabels app=x and applies nowhere: that speaks of the calling workload",
        "http[0].match[4] is for sourceNamespace x and applies nowhere: that speaks of the calling workload",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
    assert!(!told.contains("match[0]"), "{told}");
    // Sidecars may answer to the rest.
    a["spec"]["gateways"] = json!(["g", "mesh"]);
    world.apply(&a);
    assert_eq!(world.fault(&a, Reconciled), None);
}

#[test]
fn a_destination_that_is_hidden_is_told_who_hides_it() {
    let a = service("a", "a.com", "/a");
    let mut hidden = entry(&[80]);
    hidden["spec"]["exportTo"] = json!(["."]);
    let mut world = World::with(Options::default(), &[gateway(), a.clone(), hidden]);
    let missing = world.fault(&a, ResolvedRefs).expect("it is hidden");
    let wanted = "ServiceEntry default/backend has it, and exportTo there hides it from namespace istio-system";
    assert!(missing.contains(wanted), "{missing}");
    world.apply(&entry(&[80]));
    assert_eq!(world.fault(&a, ResolvedRefs), None);
    world.delete(&entry(&[80]));
    assert!(world.fault(&a, ResolvedRefs).is_some_and(|fault| !fault.contains("hides")));

    let mut b = service("b", "b.com", "/b");
    b["spec"]["http"][0]["route"][0]["destination"]["host"] = json!("web");
    let web = |export: &str| {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "web", "annotations": {"networking.istio.io/exportTo": export}},
            "spec": {"ports": [{"name": "http", "port": 80}]},
        })
    };
    world.give([web("."), b.clone()].iter().map(|m| Input::Apply(object(m))));
    let missing = world.fault(&b, ResolvedRefs).expect("it is hidden");
    assert!(
        missing.contains("Service default/web has it, and exportTo there hides it"),
        "{missing}"
    );
    world.apply(&web("*"));
    let seen = world.fault(&b, ResolvedRefs).expect("nobody stands behind it");
    assert!(seen.starts_with("NoEndpoints: "), "{seen}");
}

#[test]
fn a_gateway_that_nearly_exists_is_named() {
    let named = |gateway: &str| {
        let mut service = service("a", "a.com", "/");
        service["spec"]["gateways"] = json!([gateway]);
        service
    };
    let gateway = |namespace: &str, name: &str| {
        let mut gateway = gateway();
        gateway["metadata"] = json!({"name": name, "namespace": namespace});
        gateway
    };
    let a = named("httpbin-gatway");
    let mut world = World::with(Options::default(), std::slice::from_ref(&a));
    let missing = |world: &World| world.fault(&a, ResolvedRefs).unwrap_or_default();
    let plain = "no Gateway httpbin-gatway in namespace default";
    assert!(missing(&world).contains(&format!("{plain}; http")), "{}", missing(&world));
    world.apply(&gateway("default", "httpbin-gateway"));
    let meant = format!("{plain}; did you mean default/httpbin-gateway?");
    assert!(missing(&world).contains(&meant), "{}", missing(&world));
    // It goes, and another of the very name stands in another namespace.
    world.delete(&gateway("default", "httpbin-gateway"));
    world.apply(&gateway("ingress", "httpbin-gatway"));
    assert!(
        missing(&world).contains("did you mean ingress/httpbin-gatway?"),
        "{}",
        missing(&world)
    );
}

/// A host that its Gateway does not list is answered there until somebody else lists it, and then who that is is told.
#[test]
fn who_has_a_host_that_its_own_gateway_does_not_list_is_named() {
    let server = |port: u16, protocol: &str, host: &str| {
        let port = json!({"number": port, "name": "p", "protocol": protocol});
        json!({"servers": [{"port": port, "hosts": [host]}]})
    };
    let gateway = |name: &str, spec: &Value| manifest("Gateway", name, spec);
    let own = gateway("g", &server(80, "HTTP", "other.com"));
    let a = service("a", "a.com", "/a");
    let mut world = World::with(Options::default(), &[own, entry(&[80]), a.clone()]);
    assert_eq!(world.idle(&a), None, "nobody else has the host");

    // Where bytes are passed on, whatever host is written there is nobody's.
    for protocol in ["TCP", "MYSQL"] {
        world.apply(&gateway("bytes", &server(3306, protocol, "*")));
        assert_eq!(world.idle(&a), None, "{protocol}");
    }
    let lists = gateway("lists", &server(8080, "HTTP", "a.com"));
    world.apply(&lists);
    let fault = world.fault(&a, Reconciled).expect("it is another Gateway's");
    assert!(fault.contains("servers[0] of Gateway default/lists has them"), "{fault}");
    assert!(world.idle(&a).is_some());
    world.delete(&lists);
    assert_eq!(world.idle(&a), None);
}

/// What a file says that no schema has is told of its object; of kinds without a status by an event.
#[test]
fn fields_that_no_schema_has_are_told() {
    let with = |manifest: &Value, unknown: &[&str]| {
        let mut object = tidegate_api::Object::clone(&object(manifest));
        object.unknown = unknown.iter().map(|&words| words.to_owned()).collect();
        Input::Apply(object.into())
    };
    let a = service("a", "a.com", "/a");
    let mut world = World::with(Options::default(), &[gateway(), entry(&[80])]);
    world.give([with(&a, &["unknown field \"spec.zzz\" (web.yaml:7)"])]);
    let told = "UnknownField: unknown field \"spec.zzz\" (web.yaml:7): it was left out, and the rest acts as if it were not there";
    assert_eq!(world.fault(&a, Reconciled).as_deref(), Some(told));
    assert_eq!(world.idle(&a), None, "the rest is served");
    world.give([with(&a, &[])]);
    assert_eq!(world.fault(&a, Reconciled), None);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
    let remarks = world.give([with(&secret, &["unknown field \"dat\" (web.yaml:9)"])]).remarks;
    assert_eq!(remarks.len(), 1);
    assert_eq!((&*remarks[0].key.name, remarks[0].reason), ("s", "UnknownField"));
}
