//! EnvoyFilters: who is first, what is taken and what is not, and what a change costs.

mod common;

use common::{World, entry, manifest, object};
use serde_json::{Value, json};
use tidegate_pilot::status::ConditionKind::Reconciled;
use tidegate_pilot::{Compiled, Judge, Options};
use tidegate_xds::{Resource, ResourceType};

const ROUTER: &str = "envoy.filters.http.router";
const MANAGER: &str = "envoy.filters.network.http_connection_manager";
const RBAC: &str = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC";

const RBAC_PER_ROUTE: &str =
    "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute";
const CORS: &str = "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy";

fn filter(name: &str, patches: &[Value]) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": name, "namespace": "istio-system"},
        "spec": {"configPatches": patches},
    })
}

/// An HTTP filter before the router.
fn insert(name: &str) -> Value {
    json!({
        "applyTo": "HTTP_FILTER",
        "match": {"listener": {"filterChain": {"filter": {"name": MANAGER, "subFilter": {"name": ROUTER}}}}},
        "patch": {"operation": "INSERT_BEFORE", "value": {"name": name, "typed_config": {"@type": RBAC}}},
    })
}

fn base() -> Vec<Value> {
    let server = |number: u16| {
        let port = json!({"number": number, "name": format!("p{number}"), "protocol": "HTTP"});
        json!({"port": port, "hosts": ["a.example", "b.example"]})
    };
    let service = |name: &str| {
        let route = json!([{"destination": {"host": "backend.example.org"}}]);
        let spec = json!({"hosts": [format!("{name}.example")], "gateways": ["gw"],
                          "http": [{"name": name, "route": route}]});
        manifest("VirtualService", name, &spec)
    };
    vec![
        manifest("Gateway", "gw", &json!({"servers": [server(80), server(81)]})),
        service("a"),
        service("b"),
        entry(&[80]),
    ]
}

fn world(more: &[Value]) -> World {
    World::with(Options::default(), &[base(), more.to_vec()].concat())
}

/// The names of the HTTP filters of a listener: those of patches, and the router.
fn filters_of(world: &World, listener: &str) -> Vec<String> {
    let dump = world.dump();
    let path = format!("/Listener/{listener}/filter_chains/0/filters/0/typed_config/http_filters");
    let listed =
        find(&dump, "http_filters", listener).unwrap_or_else(|| panic!("{path}\n{dump:#}"));
    let names = listed.iter().map(|f| f["name"].as_str().unwrap_or_default());
    let own = names.filter(|name| !name.starts_with("envoy.filters.") || *name == ROUTER);
    own.map(str::to_owned).collect()
}

/// The first list of a name inside what has another name.
fn find<'v>(value: &'v Value, list: &str, inside: &str) -> Option<&'v Vec<Value>> {
    fn first<'v>(value: &'v Value, list: &str) -> Option<&'v Vec<Value>> {
        match value {
            Value::Object(object) => object
                .get(list)
                .and_then(Value::as_array)
                .or_else(|| object.values().find_map(|value| first(value, list))),
            Value::Array(items) => items.iter().find_map(|value| first(value, list)),
            _ => None,
        }
    }
    match value {
        Value::Object(object) => object.iter().find_map(|(key, value)| {
            let named = key == inside || value.get("name").and_then(Value::as_str) == Some(inside);
            if named { first(value, list) } else { find(value, list, inside) }
        }),
        Value::Array(items) => items.iter().find_map(|value| {
            let named = value.get("name").and_then(Value::as_str) == Some(inside);
            if named { first(value, list) } else { find(value, list, inside) }
        }),
        _ => None,
    }
}

#[test]
fn the_order_is_priority_then_the_root_namespace_then_age() {
    let with = |name: &str, namespace: &str, priority: i32, created: &str| {
        let mut filter = filter(name, &[insert(name)]);
        filter["metadata"]["namespace"] = namespace.into();
        filter["metadata"]["creationTimestamp"] = created.into();
        filter["spec"]["priority"] = priority.into();
        filter
    };
    let (old, new) = ("2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z");
    let filters = [
        with("last", "istio-system", 5, old),
        with("own", "edge", 0, old),
        with("root-new", "istio-system", 0, new),
        with("root-old", "istio-system", 0, old),
        with("first", "edge", -1, new),
        with("elsewhere", "default", -9, old),
    ];
    let options = Options { namespace: "edge".to_owned(), ..Options::default() };
    let world = World::with(options, &[base(), filters.to_vec()].concat());
    let wanted = ["first", "root-old", "root-new", "own", "last", ROUTER];
    assert_eq!(filters_of(&world, "0.0.0.0_80"), wanted);
    let idle = world.idle(&filters[5]).expect("another namespace");
    let words = "NotSelected: it is for workloads of its own namespace: for this gateway it has to be in edge or istio-system";
    assert_eq!(idle, words);
}

#[test]
fn why_an_envoy_filter_is_for_others_is_told() {
    let with = |field: &str, value: Value| {
        let mut filter = filter("f", &[insert("f")]);
        filter["metadata"]["namespace"] = "istio-system".into();
        filter["spec"][field] = value;
        filter
    };
    let labels = with("workloadSelector", json!({"labels": {"istio": "ingresgateway"}}));
    let target = json!([{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "g"}]);
    let target = with("targetRefs", target);
    let mut world = World::with(Options::default(), &base());
    for (filter, told) in [
        (labels, "whose labels are istio=ingressgateway"),
        (
            target,
            "targetRefs is for proxies of the Gateway API, and this one is none: name it by workloadSelector.labels",
        ),
    ] {
        world.apply(&filter);
        let idle = world.idle(&filter).expect("it is for others");
        assert!(idle.starts_with("NotSelected: ") && idle.contains(told), "{idle}");
    }
}

/// What the proxy would say: nothing with a filter called `bad` in it.
fn no_bad(resource: &Resource) -> Result<(), String> {
    let is_bad = resource.bytes.windows(3).any(|part| part == b"bad");
    if is_bad { Err("http_filters[0]: is bad".to_owned()) } else { Ok(()) }
}

#[test]
fn what_the_proxy_would_refuse_is_left_out_whole_and_costs_nobody_else_anything() {
    let good = filter("good", &[insert("good")]);
    let half = filter("half", &[insert("fine"), insert("bad")]);
    let options = Options { judge: Judge(no_bad), ..Options::default() };
    let mut world = World::with(options, &[base(), vec![good.clone(), half.clone()]].concat());
    assert_eq!(filters_of(&world, "0.0.0.0_80"), ["good", ROUTER]);
    assert_eq!(world.fault(&good, Reconciled), None);
    let fault = world.fault(&half, Reconciled).expect("it is told");
    assert!(
        fault.starts_with(
            "Refused: configPatches[0]: the proxy would refuse 0.0.0.0_80: http_filters[0]: is bad"
        ),
        "{fault}"
    );
    world.apply(&filter("half", &[insert("fine")]));
    assert_eq!(filters_of(&world, "0.0.0.0_80"), ["good", "fine", ROUTER]);
    assert_eq!(world.fault(&half, Reconciled), None);
    world.delete(&good);
    assert_eq!(filters_of(&world, "0.0.0.0_80"), ["fine", ROUTER]);
}

#[test]
fn a_form_that_cannot_be_honoured_leaves_the_one_before() {
    let good = filter("f", &[insert("good")]);
    let mut world = world(std::slice::from_ref(&good));
    let lua = json!({"name": "lua", "typed_config":
        {"@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"}});
    let mut broken = insert("good");
    broken["patch"]["value"] = lua;
    let broken = filter("f", &[insert("other"), broken]);
    world.apply(&broken);
    assert_eq!(filters_of(&world, "0.0.0.0_80"), ["good", ROUTER]);
    let fault = world.fault(&broken, Reconciled).expect("it is told");
    assert!(fault.starts_with("Refused: configPatches[1].patch.value.typed_config: "), "{fault}");
    assert!(fault.ends_with("the last good form serves on"), "{fault}");
    assert_eq!(world.idle(&broken), None);
    // Where there is none before, nothing of it is applied.
    world.delete(&good);
    world.apply(&broken);
    assert_eq!(filters_of(&world, "0.0.0.0_80"), [ROUTER]);
    assert!(world.idle(&broken).is_some_and(|idle| idle.starts_with("Refused: ")));
}

/// An extension is known by the type of its configuration: by its name alone it would be nothing, and a TLS socket plaintext.
#[test]
fn an_extension_without_its_configuration_is_refused_by_its_path() {
    let named = |name: &str| json!({"name": name});
    let socket = json!({"transport_socket": named("envoy.transport_sockets.tls")});
    let predicate = named("envoy.retry_host_predicates.omit_canary_hosts");
    let retries = json!({"retry_on": "5xx", "retry_host_predicate": [predicate]});
    let http_filters = insert("x")["match"].clone();
    let any = json!({"context": "GATEWAY"});
    let cases = [
        ("HTTP_FILTER", http_filters, "INSERT_BEFORE", named("envoy.filters.http.rbac"), ""),
        ("LISTENER_FILTER", any.clone(), "ADD", named("envoy.filters.listener.proxy_protocol"), ""),
        ("CLUSTER", any.clone(), "MERGE", socket.clone(), "transport_socket."),
        ("FILTER_CHAIN", any.clone(), "MERGE", socket, "transport_socket."),
        (
            "HTTP_ROUTE",
            any,
            "MERGE",
            json!({"route": {"retry_policy": retries}}),
            "route.retry_policy.retry_host_predicate[0].",
        ),
    ];
    for (apply_to, what, operation, value, path) in cases {
        let patch = json!({"operation": operation, "value": value});
        let filter = filter("f", &[json!({"applyTo": apply_to, "match": what, "patch": patch})]);
        let world = world(std::slice::from_ref(&filter));
        let fault = world.fault(&filter, Reconciled).unwrap_or_else(|| panic!("{apply_to}"));
        let told = format!("Refused: configPatches[0].patch.value.{path}typed_config: must be set");
        assert!(fault.starts_with(&told), "{apply_to}: {fault}");
        assert!(world.idle(&filter).is_some_and(|idle| idle.starts_with("Refused: ")));
        assert_eq!(filters_of(&world, "0.0.0.0_80"), [ROUTER]);
    }
}

#[test]
fn patches_that_match_nothing_are_told_until_something_is_there() {
    let listener = json!({"applyTo": "LISTENER", "match": {"listener": {"portNumber": 82}},
        "patch": {"operation": "MERGE", "value": {"per_connection_buffer_limit_bytes": 9}}});
    let filter = filter("f", &[insert("x"), listener]);
    let mut world = world(std::slice::from_ref(&filter));
    let fault = world.fault(&filter, Reconciled).expect("there is no port 82");
    let there = "its listeners, which go by the port that is bound, are 0.0.0.0_80, 0.0.0.0_81";
    let told = format!("NoMatch: configPatches[1] matches nothing that this proxy has; {there}");
    assert_eq!(fault, told);
    assert_eq!(world.idle(&filter), None, "the other one is in force");
    let port = json!({"number": 82, "name": "p", "protocol": "HTTP"});
    let spec = json!({"servers": [{"port": port, "hosts": ["c.example"]}]});
    let gateway = manifest("Gateway", "more", &spec);
    world.apply(&gateway);
    assert_eq!(world.fault(&filter, Reconciled), None);
    world.delete(&gateway);
    assert_eq!(world.fault(&filter, Reconciled), Some(told));
}

/// Those of an HTTPS listener go by names of servers: they come and go while it stays.
#[test]
fn the_route_configurations_that_there_are_are_told_as_they_are() {
    let named = json!({"applyTo": "ROUTE_CONFIGURATION",
        "match": {"routeConfiguration": {"name": "http.8080"}},
        "patch": {"operation": "MERGE", "value": {"max_direct_response_body_size_bytes": 9}}});
    let named = filter("n", &[named]);
    let mut world = world(std::slice::from_ref(&named));
    let there = |world: &World| {
        let fault = world.fault(&named, Reconciled).expect("there is no such name");
        let (_, names) = fault.split_once("go by the port that is bound, are ").expect("names");
        names.to_owned()
    };
    assert_eq!(there(&world), "http.80, http.81");
    let server = |name: &str, host: &str, mode: &str| {
        let port = json!({"number": 443, "name": name, "protocol": "HTTPS"});
        json!({"port": port, "hosts": [host], "tls": {"mode": mode, "credentialName": "c"}})
    };
    let one = server("one", "c.example", "SIMPLE");
    let gateway = |servers: Value| manifest("Gateway", "tls", &json!({"servers": servers}));
    world.apply(&gateway(json!([one])));
    let of_one = there(&world);
    assert!(of_one.starts_with("http.80, http.81, https.443."), "{of_one}");
    world.apply(&gateway(json!([one, server("two", "d.example", "MUTUAL")])));
    let of_both = there(&world);
    assert!(of_both.starts_with(&format!("{of_one}, https.443.")), "{of_both}");
    world.apply(&gateway(json!([one])));
    assert_eq!(there(&world), of_one);
}

/// Who names a filter that is not there is told which are where it would be.
#[test]
fn the_filters_that_there_are_are_told_to_who_names_another() {
    const TCP: &str = "envoy.filters.network.tcp_proxy";
    let port = json!({"number": 9000, "name": "tcp", "protocol": "TCP"});
    let passes_on = [
        manifest("Gateway", "tcp", &json!({"servers": [{"port": port, "hosts": ["*"]}]})),
        manifest(
            "VirtualService",
            "tcp",
            &json!({"hosts": ["*"], "gateways": ["tcp"],
            "tcp": [{"route": [{"destination": {"host": "backend.example.org"}}]}]}),
        ),
    ];
    let remove = |apply_to: &str, listener: Value| {
        let patch = json!({"operation": "REMOVE"});
        json!({"applyTo": apply_to, "match": {"listener": listener}, "patch": patch})
    };
    let of_chain =
        |port: u16, filter: Value| json!({"portNumber": port, "filterChain": {"filter": filter}});
    let http = json!({"name": MANAGER, "subFilter": {"name": "lua"}});
    let network = json!({"name": "lua"});
    let of_listener = json!({"portNumber": 80, "listenerFilter": "lua"});
    let cases = [
        (remove("HTTP_FILTER", of_chain(80, http.clone())), "HTTP filters", ROUTER),
        (remove("HTTP_FILTER", of_chain(9000, http)), "network filters", TCP),
        (remove("NETWORK_FILTER", of_chain(80, network)), "network filters", MANAGER),
        (remove("LISTENER_FILTER", of_listener), "listener filters", "none"),
    ];
    for (patch, sort, among) in cases {
        let filter = filter("f", &[patch]);
        let mut world = world(&[&passes_on[..], std::slice::from_ref(&filter)].concat());
        let fault = world.fault(&filter, Reconciled).expect("there is no such filter");
        let begins = format!(
            "NoMatch: configPatches[0] matches nothing that this proxy has; the {sort} there are "
        );
        let names = fault.strip_prefix(&begins).unwrap_or_else(|| panic!("{sort}: {fault}"));
        assert!(names.split(", ").any(|name| name == among), "{names}");
        // What another EnvoyFilter adds is there, too.
        if sort == "HTTP filters" {
            let other = self::filter("e", &[insert("added")]);
            world.apply(&other);
            let fault = world.fault(&filter, Reconciled).expect("no other");
            assert!(fault.contains("added, "), "{fault}");
            world.apply(&self::filter("e", &[insert("lua")]));
            assert_eq!(world.fault(&filter, Reconciled), None);
            world.delete(&other);
            let fault = world.fault(&filter, Reconciled).expect("it is gone");
            assert!(fault.ends_with(names), "{fault}");
        }
    }
}

#[test]
fn a_patch_costs_what_it_touches() {
    let mut world = world(&[]);
    let units = |listeners, virtual_hosts, clusters, load_assignments| Compiled {
        listeners,
        route_configurations: 0,
        virtual_hosts,
        clusters,
        load_assignments,
        secrets: 0,
    };
    let port = json!({"applyTo": "LISTENER", "match": {"listener": {"portNumber": 81}},
        "patch": {"operation": "MERGE", "value": {"per_connection_buffer_limit_bytes": 9}}});
    assert_eq!(world.apply(&filter("l", &[port])).compiled, units(1, 0, 0, 0));
    let host = json!({"applyTo": "HTTP_ROUTE",
        "match": {"routeConfiguration": {"portNumber": 80, "vhost": {"name": "a.example:80"}}},
        "patch": {"operation": "MERGE", "value": {"route": {"timeout": "1s"}}}});
    let host = filter("r", &[host]);
    let output = world.apply(&host);
    assert_eq!(output.compiled, units(0, 1, 0, 0));
    assert_eq!(output.change.upsert.len(), 1);
    let elsewhere = json!({"applyTo": "CLUSTER", "match": {"cluster": {"service": "other.example"}},
        "patch": {"operation": "REMOVE"}});
    assert_eq!(world.apply(&filter("c", &[elsewhere])).compiled, units(0, 0, 0, 0));
    assert_eq!(world.delete(&host).compiled, units(0, 1, 0, 0));
}

#[test]
fn what_is_added_and_removed_comes_and_goes_with_its_patch() {
    let host = json!({"applyTo": "VIRTUAL_HOST", "match": {"routeConfiguration": {"name": "http.80"}},
        "patch": {"operation": "ADD", "value": {"name": "added", "domains": ["c.example"]}}});
    let cluster = json!({"applyTo": "CLUSTER",
        "patch": {"operation": "ADD", "value": {"name": "added", "connect_timeout": "1s"}}});
    let gone = json!({"applyTo": "VIRTUAL_HOST",
        "match": {"routeConfiguration": {"vhost": {"name": "b.example:81"}}},
        "patch": {"operation": "REMOVE"}});
    let taken = json!({"applyTo": "VIRTUAL_HOST", "match": {"routeConfiguration": {"name": "http.80"}},
        "patch": {"operation": "ADD", "value": {"name": "a.example:80", "domains": ["d.example"]}}});
    let filter = filter("f", &[host, cluster, gone, taken]);
    let mut world = world(&[]);
    let names = |world: &World, kind| -> Vec<String> {
        let all = world.snapshot.subscribe().try_next().expect("everything").upsert;
        let of_kind = all.iter().filter(|resource| resource.kind == kind);
        of_kind.map(|resource| resource.name.to_string()).collect()
    };
    let before = [ResourceType::VirtualHost, ResourceType::Cluster].map(|kind| names(&world, kind));
    world.apply(&filter);
    let hosts = names(&world, ResourceType::VirtualHost);
    assert!(hosts.contains(&"http.80/added".to_owned()), "{hosts:?}");
    assert!(!hosts.contains(&"http.81/b.example:81".to_owned()), "{hosts:?}");
    assert!(names(&world, ResourceType::Cluster).contains(&"added".to_owned()));
    let fault = world.fault(&filter, Reconciled).expect("one name is taken");
    assert!(
        fault
            .contains("configPatches[3].patch.value.name: there is a http.80/a.example:80 already"),
        "{fault}"
    );
    let by = world.pilot.patched_by(ResourceType::VirtualHost, "http.80/added");
    assert_eq!(
        by.iter().map(|origin| origin.path.as_str()).collect::<Vec<_>>(),
        ["spec.configPatches[0]"]
    );
    assert_eq!(by.first().map(|origin| &origin.key), Some(&object(&filter).key));
    world.delete(&filter);
    let after = [ResourceType::VirtualHost, ResourceType::Cluster].map(|kind| names(&world, kind));
    assert_eq!(after, before);
}

/// Whoever wrote a route is told who takes it away, for as long as that is so.
#[test]
fn routes_that_a_patch_removes_are_told_to_their_virtual_service() {
    let remove = |apply_to: &str, port: u16| {
        let wanted =
            json!({"name": format!("http.{port}"), "vhost": {"name": format!("a.example:{port}")}});
        json!({"applyTo": apply_to, "match": {"routeConfiguration": wanted},
               "patch": {"operation": "REMOVE"}})
    };
    let mut world = world(&[]);
    let (a, b) = (base()[1].clone(), base()[2].clone());
    let removes = |patch: usize, port: u16| {
        format!(
            "http[0]: EnvoyFilter istio-system/f configPatches[{patch}] removes it from http.{port}/a.example:{port}"
        )
    };
    world.apply(&filter("f", &[remove("HTTP_ROUTE", 80)]));
    assert_eq!(world.fault(&a, Reconciled), Some(format!("Removed: {}", removes(0, 80))));
    assert_eq!((world.idle(&a), world.fault(&b, Reconciled)), (None, None), "port 81 has it");

    let both = filter("f", &[remove("HTTP_ROUTE", 80), remove("VIRTUAL_HOST", 81)]);
    world.apply(&both);
    let told = format!("{}; {}", removes(0, 80), removes(1, 81));
    assert_eq!(world.fault(&a, Reconciled), Some(format!("Removed: {told}")));
    assert_eq!(world.idle(&a), Some(format!("Removed: no rule gets a request: {told}")));
    world.delete(&both);
    assert_eq!((world.fault(&a, Reconciled), world.idle(&a)), (None, None));
}

/// Each patch is told what there is of the sort that it names, and nobody what another one lacks.
#[test]
fn what_there_is_is_told_to_each_patch_that_names_something_else() {
    let of_routes = |wanted: Value| {
        json!({"applyTo": "HTTP_ROUTE", "match": {"routeConfiguration": wanted},
                                           "patch": {"operation": "REMOVE"}})
    };
    let of_cluster = |wanted: Value| {
        json!({"applyTo": "CLUSTER", "match": {"cluster": wanted},
                                            "patch": {"operation": "REMOVE"}})
    };
    let backend = "backend.example.org";
    let filter = filter(
        "f",
        &[
            of_routes(json!({"name": "http.80", "vhost": {"name": "x.example:80"}})),
            of_routes(json!({"vhost": {"name": "a.example:80", "route": {"name": "x"}}})),
            of_cluster(json!({"service": "x.example.org"})),
            of_cluster(json!({"name": format!("outbound|81||{backend}")})),
            of_cluster(json!({"service": backend, "subset": "x"})),
            of_cluster(json!({"service": "y.example.org"})),
            of_routes(json!({"portNumber": 8080})),
            of_routes(json!({"portNumber": 80, "gateway": "default/web"})),
            of_routes(json!({"vhost": {"domainName": "x.example"}})),
            of_routes(
                json!({"portNumber": 81, "vhost": {"name": "b.example:81", "domainName": "x.example"}}),
            ),
        ],
    );
    let mut world = world(std::slice::from_ref(&filter));
    let told = |world: &World| world.fault(&filter, Reconciled).expect("nothing is there");
    let nothing = "nothing that this proxy has";
    let expected = [
        format!(
            "NoMatch: configPatches[0] matches {nothing}; its virtual hosts there are a.example:80, b.example:80"
        ),
        format!(
            "configPatches[1] matches {nothing}; the names of routes (http[].name) of a.example:80 are a"
        ),
        format!(
            "configPatches[2], configPatches[5] match {nothing}; the hosts of its clusters are {backend}"
        ),
        format!("configPatches[3] matches {nothing}; the ports of {backend} are 80"),
        format!("configPatches[4] matches {nothing}; the subsets of {backend} are none"),
        format!(
            "configPatches[6], configPatches[7] match {nothing}; the servers there are port 80 (p80) of default/gw, \
             port 81 (p81) of default/gw"
        ),
        format!("configPatches[8] matches {nothing}; the domains are a.example, b.example"),
        format!("configPatches[9] matches {nothing}; the domains of b.example:81 are b.example"),
    ];
    assert_eq!(told(&world), expected.join("; "));
    let subsets = json!({"host": backend, "subsets": [{"name": "v1", "labels": {"v": "1"}}]});
    world.apply(&manifest("DestinationRule", "r", &subsets));
    assert!(told(&world).contains(&format!("the subsets of {backend} are v1; ")));
    world.delete(&base()[1]);
    let gone = told(&world);
    assert!(gone.contains("its virtual hosts there are b.example:80"), "{gone}");
}

/// What is said to an HTTP filter of some routes is read by one of that name in front of them, and by nobody else.
#[test]
fn settings_for_a_filter_that_is_not_there_are_told() {
    let said = json!({"typed_per_filter_config": {"x": {"@type": RBAC_PER_ROUTE}}});
    let merge = |sort: &str, value: &Value| {
        json!({"applyTo": sort, "match": {"routeConfiguration": {"vhost": {"name": "a.example:80"}}},
            "patch": {"operation": "MERGE", "value": value}})
    };
    let told = |path: &str, listeners: &str| {
        format!(
            "configPatches[0].patch.value{path}.typed_per_filter_config[\"x\"] has no effect at {listeners}: no HTTP \
             filter of this name is there; add it with a patch of HTTP_FILTER"
        )
    };
    let own = filter("own", &[merge("HTTP_ROUTE", &said)]);
    let mut world = world(std::slice::from_ref(&own));
    let nowhere = format!("NoEffect: {}", told("", "0.0.0.0_80"));
    assert_eq!(world.fault(&own, Reconciled).as_deref(), Some(&*nowhere));
    assert_eq!(world.idle(&own).as_deref(), Some(&*nowhere), "it says nothing else");
    // Another EnvoyFilter may bring it, and take it away again.
    let other = filter("other", &[insert("x")]);
    world.apply(&other);
    assert_eq!((world.fault(&own, Reconciled), world.idle(&own)), (None, None));
    world.apply(&filter("other", &[insert("y")]));
    assert_eq!(world.fault(&own, Reconciled).as_deref(), Some(&*nowhere));
    world.delete(&other);
    assert_eq!(world.fault(&own, Reconciled).as_deref(), Some(&*nowhere));
    // One that says more is in force for that.
    let timed = json!({"include_request_attempt_count": true,
        "routes": [{"name": "r", "match": {"prefix": "/"}, "direct_response": {"status": 200},
            "typed_per_filter_config": {"x": {"@type": RBAC_PER_ROUTE}}}]});
    world.apply(&filter("own", &[merge("VIRTUAL_HOST", &timed)]));
    let inside = format!("NoEffect: {}", told(".routes[0]", "0.0.0.0_80"));
    assert_eq!(world.fault(&own, Reconciled), Some(inside));
    assert_eq!(world.idle(&own), None);
    // Those that stand in every listener are there.
    let cors = json!({"typed_per_filter_config": {"envoy.filters.http.cors": {"@type": CORS}}});
    world.apply(&filter("own", &[merge("HTTP_ROUTE", &cors)]));
    assert_eq!((world.fault(&own, Reconciled), world.idle(&own)), (None, None));
}

/// Buckets by descriptors are for requests of which something says what they are known by.
#[test]
fn descriptors_that_nobody_is_known_by_are_told() {
    const LIMIT: &str =
        "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit";
    let bucket = json!({"max_tokens": 9, "fill_interval": "1s"});
    let limit = json!({"name": "limit", "typed_config": {"@type": LIMIT, "stat_prefix": "limit", "token_bucket": bucket,
        "descriptors": [{"entries": [{"key": "who", "value": "me"}], "token_bucket": bucket}]}});
    let add = json!({"applyTo": "HTTP_FILTER",
        "match": {"listener": {"filterChain": {"filter": {"name": MANAGER, "subFilter": {"name": ROUTER}}}}},
        "patch": {"operation": "INSERT_BEFORE", "value": limit}});
    let known = json!([{"actions": [{"request_headers": {"header_name": "who", "descriptor_key": "who"}}]}]);
    let of_host = |host: &str| {
        json!({"applyTo": "VIRTUAL_HOST", "match": {"routeConfiguration": {"vhost": {"name": host}}},
            "patch": {"operation": "MERGE", "value": {"rate_limits": known}}})
    };
    let own = filter("own", std::slice::from_ref(&add));
    let mut world = world(std::slice::from_ref(&own));
    let told = "NoEffect: configPatches[0].patch.value.typed_config.descriptors limit nobody: what a request is known by is said \
                nowhere; add rate_limits with actions to the filter, or to a virtual host or route";
    assert_eq!(world.fault(&own, Reconciled).as_deref(), Some(told));
    assert_eq!(world.idle(&own), None, "the filter's own bucket is there");
    // Another EnvoyFilter may say so, where it is made.
    world.apply(&filter("other", &[of_host("x.example:80")]));
    assert_eq!(world.fault(&own, Reconciled).as_deref(), Some(told));
    let other = filter("other", &[of_host("a.example:80")]);
    world.apply(&other);
    assert_eq!(world.fault(&own, Reconciled), None);
    world.delete(&other);
    assert_eq!(world.fault(&own, Reconciled).as_deref(), Some(told));
    // The filter itself may, too.
    let mut whole = add;
    whole["patch"]["value"]["typed_config"]["rate_limits"] = known;
    world.apply(&filter("own", &[whole]));
    assert_eq!(world.fault(&own, Reconciled), None);
}

/// As in Istio, a cluster's patch with a transport socket has nothing else.
#[test]
fn beside_a_transport_socket_nothing_is_merged_into_a_cluster() {
    const RAW: &str =
        "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";
    let socket = json!({"name": "raw", "typed_config": {"@type": RAW}});
    let merge = |value: &Value| json!({"applyTo": "CLUSTER", "patch": {"operation": "MERGE", "value": value}});
    let timeout = json!({"connect_timeout": "7s"});
    let mut both = timeout.clone();
    both["transport_socket"] = socket.clone();
    let own = filter("own", &[merge(&both)]);
    let mut world = world(std::slice::from_ref(&own));
    let cluster =
        |world: &World| world.json(ResourceType::Cluster, "outbound|80||backend.example.org");
    assert_eq!(cluster(&world)["transport_socket"]["name"], "raw");
    assert_ne!(cluster(&world)["connect_timeout"], "7s");
    let fault = world.fault(&own, Reconciled).expect("it is told");
    assert!(fault.starts_with("NoEffect: configPatches[0].patch.value: connect_timeout without effect: beside transport_socket"), "{fault}");
    assert_eq!(world.idle(&own), None);
    let apart = filter("own", &[merge(&json!({"transport_socket": socket})), merge(&timeout)]);
    world.apply(&apart);
    assert_eq!(
        (&cluster(&world)["connect_timeout"], world.fault(&apart, Reconciled)),
        (&json!("7s"), None)
    );
}
