//! What each operation of an EnvoyFilter does: where what it names is there, where that is missing, and where it names nothing.

mod common;
#[path = "patches/sidecar.rs"]
mod in_sidecars;

use common::{World, entry, manifest};
use serde_json::{Value, json};
use tidegate_pilot::status::ConditionKind::Reconciled;
use tidegate_pilot::{Options, ProxyKind, Workload};
use tidegate_xds::ResourceType;

const MANAGER: &str = "envoy.filters.network.http_connection_manager";
const LISTENER: &str = "0.0.0.0_80";
const HOST: &str = "http.80/a.example:80";

/// What patches of a kind are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Listener,
    Network,
    Http,
    Route,
}

impl Sort {
    const ALL: [Self; 4] = [Self::Listener, Self::Network, Self::Http, Self::Route];

    fn apply_to(self) -> &'static str {
        match self {
            Self::Listener => "LISTENER_FILTER",
            Self::Network => "NETWORK_FILTER",
            Self::Http => "HTTP_FILTER",
            Self::Route => "HTTP_ROUTE",
        }
    }

    /// A match of one by its name, or of none in particular.
    fn names(self, name: Option<&str>) -> Value {
        match (self, name) {
            (Self::Listener, Some(name)) => json!({"listener": {"listenerFilter": name}}),
            (Self::Network, Some(name)) => {
                json!({"listener": {"filterChain": {"filter": {"name": name}}}})
            }
            (Self::Http, Some(name)) => json!({"listener": {"filterChain":
                {"filter": {"name": MANAGER, "subFilter": {"name": name}}}}}),
            (Self::Http, None) => {
                json!({"listener": {"filterChain": {"filter": {"name": MANAGER}}}})
            }
            (Self::Route, Some(name)) => {
                json!({"routeConfiguration": {"vhost": {"route": {"name": name}}}})
            }
            (Self::Listener | Self::Network | Self::Route, None) => json!({}),
        }
    }

    fn value(self, name: &str) -> Value {
        let kind = match self {
            Self::Listener => "listener.tls_inspector.v3.TlsInspector",
            Self::Network => "network.rbac.v3.RBAC",
            Self::Http => "http.rbac.v3.RBAC",
            Self::Route => {
                return json!({"name": name, "match": {"prefix": format!("/{name}")},
                              "direct_response": {"status": 200}});
            }
        };
        let kind = format!("type.googleapis.com/envoy.extensions.filters.{kind}");
        json!({"name": name, "typed_config": {"@type": kind}})
    }

    fn patch(self, operation: &str, named: Option<&str>, name: &str) -> Value {
        let mut patch = json!({"operation": operation});
        if operation != "REMOVE" {
            patch["value"] = self.value(name);
        }
        json!({"applyTo": self.apply_to(), "match": self.names(named), "patch": patch})
    }

    /// The names of those that a gateway has, but for what every listener has.
    fn there(self, world: &World) -> String {
        self.there_in(world, LISTENER, HOST)
    }

    /// The same of a listener, whose chain for requests is looked at, and of a virtual host.
    fn there_in(self, world: &World, listener: &str, host: &str) -> String {
        let listener = || world.json(ResourceType::Listener, listener);
        let chain = || {
            let listener = listener();
            let chains = listener["filter_chains"].as_array().into_iter().flatten();
            let mut chains = std::iter::once(&listener["default_filter_chain"]).chain(chains);
            let of_requests = chains.find(|chain| chain.to_string().contains(MANAGER));
            of_requests.expect("a chain for requests").clone()
        };
        let list = match self {
            Self::Listener => listener()["listener_filters"].clone(),
            Self::Network => chain()["filters"].clone(),
            Self::Http => {
                let filters = chain()["filters"].clone();
                let manager =
                    filters.as_array().into_iter().flatten().find(|f| f["name"] == MANAGER);
                manager.expect("a manager")["typed_config"]["http_filters"].clone()
            }
            Self::Route => world.json(ResourceType::VirtualHost, host)["routes"].clone(),
        };
        let names = list.as_array().into_iter().flatten().filter_map(|one| one["name"].as_str());
        names.filter(|name| !name.starts_with("envoy.")).collect()
    }
}

fn filter(name: &str, priority: i32, patches: &[Value]) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": name, "namespace": "istio-system"},
        "spec": {"priority": priority, "configPatches": patches},
    })
}

/// A gateway that has `a`, `b` and `c` of a sort, and patches of one EnvoyFilter on that.
fn world(sort: Sort, patches: &[Value]) -> World {
    let port = json!({"number": 80, "name": "http", "protocol": "HTTP"});
    let gateway = json!({"servers": [{"port": port, "hosts": ["a.example"]}]});
    let rules: Vec<Value> = ["a", "b", "c"]
        .iter()
        .map(|name| {
            json!({"name": name, "match": [{"uri": {"prefix": format!("/{name}")}}],
                   "route": [{"destination": {"host": "backend.example.org"}}]})
        })
        .collect();
    let service = json!({"hosts": ["a.example"], "gateways": ["gw"], "http": rules});
    let mut manifests = vec![
        manifest("Gateway", "gw", &gateway),
        manifest("VirtualService", "a", &service),
        entry(&[80]),
        filter("patches", 0, patches),
    ];
    if sort != Sort::Route {
        let first = ["c", "b", "a"].map(|name| sort.patch("INSERT_FIRST", None, name));
        manifests.push(filter("base", -1, &first));
    }
    World::with(Options::default(), &manifests)
}

#[test]
fn operations_by_what_they_name() {
    operations_on_lists(|sort, patches| sort.there(&world(sort, patches)));
}

/// Checks what comes of each operation on lists of `a`, `b` and `c`, of which `there` tells the names.
fn operations_on_lists(there: impl Fn(Sort, &[Value]) -> String) {
    // The operation; what comes of it where what it names is there (`b`), is not, and where it names nothing.
    let cases = [
        ("ADD", ["abcx", "abcx", "abcx"]),
        ("INSERT_FIRST", ["xabc", "xabc", "xabc"]),
        ("INSERT_BEFORE", ["axbc", "abc", "xabc"]),
        ("INSERT_AFTER", ["abxc", "abc", "abcx"]),
        ("REPLACE", ["axc", "abc", "abc"]),
        ("REMOVE", ["ac", "abc", "abc"]),
        ("MERGE", ["axc", "abc", "abc"]),
    ];
    for sort in Sort::ALL {
        assert_eq!(there(sort, &[]), "abc", "{sort:?}");
        for (operation, expected) in cases {
            for (named, expected) in [Some("b"), Some("z"), None].into_iter().zip(expected) {
                let expected = match (sort, operation, named) {
                    // It is refused: Istio does it with filters alone.
                    (Sort::Route, "REPLACE", _) => "abc",
                    (Sort::Route, "INSERT_FIRST", Some("z")) => "abc",
                    // Routes are removed and merged also where none is named. So are filters merged: into those of
                    // another type it cannot be, and nothing is then.
                    (Sort::Route, "REMOVE", None) => "",
                    (Sort::Route, "MERGE", None) => "xxx",
                    _ => expected,
                };
                let found = there(sort, &[sort.patch(operation, named, "x")]);
                assert_eq!(found, expected, "{sort:?} {operation} {named:?}");
            }
        }
    }
}

/// What stands by itself, of which there are two: `a` and `b`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whole {
    Listener,
    FilterChain,
    RouteConfiguration,
    VirtualHost,
    Cluster,
}

impl Whole {
    const ALL: [Self; 5] = [
        Self::Listener,
        Self::FilterChain,
        Self::RouteConfiguration,
        Self::VirtualHost,
        Self::Cluster,
    ];

    /// A match of `b`, of what is not there, or of any, in a gateway.
    fn names(self, named: Option<&str>) -> Value {
        let Some(n) = named else {
            // One route configuration is enough for virtual hosts.
            let any = json!({"routeConfiguration": {"portNumber": 80}});
            return if self == Self::VirtualHost { any } else { json!({}) };
        };
        let host = format!("{n}.example");
        let port = if n == "b" { 81 } else { 82 };
        match self {
            Self::Listener => json!({"listener": {"name": format!("0.0.0.0_{port}")}}),
            Self::FilterChain => json!({"listener": {"filterChain": {"sni": host}}}),
            Self::RouteConfiguration => json!({"routeConfiguration": {"portNumber": port}}),
            Self::VirtualHost => {
                json!({"routeConfiguration": {"portNumber": 80, "vhost": {"domainName": host}}})
            }
            Self::Cluster => json!({"cluster": {"service": host}}),
        }
    }

    /// A patch for what is matched, with what MERGE gives, or what is added.
    fn patch(self, operation: &str, what: &Value) -> Value {
        let (apply_to, merged, added) = match self {
            Self::Listener => ("LISTENER", json!({"stat_prefix": "merged"}), json!({"name": "x"})),
            Self::FilterChain => (
                "FILTER_CHAIN",
                json!({"transport_socket_connect_timeout": "9s"}),
                json!({"name": "x", "filters": [Sort::Network.value("x")],
                       "filter_chain_match": {"server_names": ["x.example"]}}),
            ),
            Self::RouteConfiguration => (
                "ROUTE_CONFIGURATION",
                json!({"most_specific_header_mutations_wins": true}),
                json!({"name": "x"}),
            ),
            Self::VirtualHost => (
                "VIRTUAL_HOST",
                json!({"response_headers_to_add": [{"header": {"key": "merged", "value": "1"}}]}),
                json!({"name": "x", "domains": ["x.example"]}),
            ),
            Self::Cluster => (
                "CLUSTER",
                json!({"connect_timeout": "77s"}),
                json!({"name": "x", "connect_timeout": "1s"}),
            ),
        };
        let mut patch = json!({"operation": operation});
        if operation != "REMOVE" {
            patch["value"] = if operation.starts_with("MERGE") { merged } else { added };
        }
        json!({"applyTo": apply_to, "match": what, "patch": patch})
    }

    /// Those that a gateway has, each with `*` where it is merged.
    fn there(self, world: &World) -> String {
        let all = |kind| all(world, kind);
        let found: Vec<(Value, String)> = match self {
            Self::Listener => all(ResourceType::Listener),
            Self::FilterChain => {
                let listener = world.json(ResourceType::Listener, "0.0.0.0_443");
                let chains = listener["filter_chains"].as_array().cloned().unwrap_or_default();
                let name = |chain: &Value| {
                    chain["filter_chain_match"]["server_names"][0].as_str().unwrap_or("").to_owned()
                };
                chains.into_iter().map(|chain| (chain.clone(), name(&chain))).collect()
            }
            Self::RouteConfiguration => all(ResourceType::RouteConfiguration),
            Self::VirtualHost => {
                let mut hosts = all(ResourceType::VirtualHost);
                hosts.retain(|(_, name)| name.starts_with("http.80/"));
                for (host, name) in &mut hosts {
                    *name = host["domains"][0].as_str().unwrap_or_default().to_owned();
                }
                hosts
            }
            Self::Cluster => all(ResourceType::Cluster),
        };
        let letter = |name: &str| match name {
            "0.0.0.0_80" | "http.80" | "a.example" | "outbound|80||a.example" => Some("a"),
            "0.0.0.0_81" | "http.81" | "b.example" | "outbound|80||b.example" => Some("b"),
            "x" | "x.example" => Some("x"),
            _ => None,
        };
        let letters = found.iter().filter_map(|(found, name)| Some((found, letter(name)?)));
        told(letters)
    }
}

/// Every resource of a type, with its name.
fn all(world: &World, kind: ResourceType) -> Vec<(Value, String)> {
    let names = world.names(kind).into_iter();
    names.map(|name| (world.json(kind, &name), name)).collect()
}

/// The letters of things in their order, each with `*` where the thing is merged.
fn told<'a>(found: impl Iterator<Item = (&'a Value, &'a str)>) -> String {
    let is_merged = |resource: &Value| {
        let text = resource.to_string();
        text.contains("merged")
            || text.contains("\"9s\"")
            || text.contains("\"77s\"")
            || resource["most_specific_header_mutations_wins"] == true
    };
    let star = |resource| if is_merged(resource) { "*" } else { "" };
    let mut told: Vec<String> =
        found.map(|(resource, letter)| format!("{letter}{}", star(resource))).collect();
    told.sort();
    told.concat()
}

/// A gateway with two of everything.
fn pair(patches: &[Value]) -> World {
    let http = |number: u16| {
        let port = json!({"number": number, "name": format!("p{number}"), "protocol": "HTTP"});
        json!({"port": port, "hosts": ["a.example", "b.example"]})
    };
    let port = json!({"number": 443, "name": "tls", "protocol": "TLS"});
    let tls = json!({"port": port, "hosts": ["*"], "tls": {"mode": "PASSTHROUGH"}});
    let gateway = json!({"servers": [http(80), http(81), tls]});
    let mut manifests = vec![manifest("Gateway", "gw", &gateway), filter("patches", 0, patches)];
    for name in ["a", "b"] {
        let host = format!("{name}.example");
        let to = json!([{"destination": {"host": host, "port": {"number": 80}}}]);
        let service = json!({"hosts": [host], "gateways": ["gw"], "http": [{"route": to}],
            "tls": [{"match": [{"sniHosts": [host]}], "route": to}]});
        manifests.push(manifest("VirtualService", name, &service));
        let entry = json!({"hosts": [host], "resolution": "STATIC",
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
            "endpoints": [{"address": "192.0.2.1"}]});
        manifests.push(manifest("ServiceEntry", name, &entry));
    }
    World::with(Options::default(), &manifests)
}

#[test]
fn operations_on_what_stands_by_itself() {
    operations_on_wholes(|sort, operation, named| {
        let patch = operation.map(|operation| sort.patch(operation, &sort.names(named)));
        sort.there(&pair(patch.as_slice()))
    });
}

/// Checks what comes of each operation on `a` and `b`; `there` tells what is there after it, or before any.
fn operations_on_wholes(there: impl Fn(Whole, Option<&str>, Option<&str>) -> String) {
    // What comes of it where it is for `b`, for what is not there, and for any.
    let cases = [
        ("ADD", ["abx", "abx", "abx"]),
        ("REMOVE", ["a", "ab", ""]),
        ("MERGE", ["ab*", "ab", "a*b*"]),
        ("MERGE_AND_REPLACE_LIST", ["ab*", "ab", "a*b*"]),
        ("REPLACE", ["ab", "ab", "ab"]),
        ("INSERT_BEFORE", ["ab", "ab", "ab"]),
        ("INSERT_AFTER", ["ab", "ab", "ab"]),
        ("INSERT_FIRST", ["ab", "ab", "ab"]),
    ];
    for sort in Whole::ALL {
        assert_eq!(there(sort, None, None), "ab", "{sort:?}");
        for (operation, expected) in cases {
            for (named, expected) in [Some("b"), Some("z"), None].into_iter().zip(expected) {
                let expected = match (sort, operation, named) {
                    // It has its port from servers: there is nothing to add, and it is not taken away from them.
                    (Whole::RouteConfiguration, "ADD" | "REMOVE", _) => "ab",
                    (Whole::VirtualHost, "REPLACE", Some("b")) => "ax",
                    (Whole::VirtualHost, "REPLACE", None) => "xx",
                    _ => expected,
                };
                let found = there(sort, Some(operation), named);
                assert_eq!(found, expected, "{sort:?} {operation} {named:?}");
            }
        }
    }
}

/// What is refused says which operations there are.
#[test]
fn what_is_not_done_is_refused_with_what_is() {
    for (sort, operation, done) in [
        (Whole::Listener, "REPLACE", "ADD or REMOVE or MERGE or MERGE_AND_REPLACE_LIST"),
        (Whole::RouteConfiguration, "ADD", "MERGE or MERGE_AND_REPLACE_LIST"),
        (Whole::Cluster, "INSERT_FIRST", "ADD or REMOVE or MERGE or MERGE_AND_REPLACE_LIST"),
    ] {
        let patch = sort.patch(operation, &sort.names(None));
        let world = pair(std::slice::from_ref(&patch));
        let fault = world.fault(&filter("patches", 0, &[patch]), Reconciled).expect("it is told");
        assert!(fault.contains(&format!("{operation} is not done")), "{fault}");
        assert!(fault.contains(&format!(": {done} is")), "{fault}");
    }
}

/// Filters are patched one patch after the other, and merged at last.
#[test]
fn the_order_of_patches_counts() {
    for sort in [Sort::Listener, Sort::Network, Sort::Http] {
        let patch = |operation, named, name| sort.patch(operation, Some(named), name);
        let cases = [
            (vec![patch("INSERT_BEFORE", "b", "x"), patch("REMOVE", "b", "")], "axc"),
            (vec![patch("REMOVE", "b", ""), patch("INSERT_BEFORE", "b", "x")], "ac"),
            (vec![patch("INSERT_AFTER", "b", "x"), patch("INSERT_AFTER", "x", "y")], "abxyc"),
            (vec![patch("ADD", "b", "x"), patch("REMOVE", "x", "")], "abc"),
            (vec![patch("REPLACE", "b", "x"), patch("REPLACE", "x", "y")], "ayc"),
            (vec![patch("MERGE", "x", "y"), patch("INSERT_AFTER", "b", "x")], "abyc"),
        ];
        for (patches, expected) in cases {
            assert_eq!(sort.there(&world(sort, &patches)), expected, "{sort:?} {patches:?}");
        }
    }
}

/// A sidecar of a workload of a service.
fn sidecar(more: &[Value]) -> World {
    let workload = Workload { addresses: vec![[10, 0, 9, 9].into()] };
    let options = Options {
        proxy: ProxyKind::Sidecar(workload),
        labels: [("app".to_owned(), "a".to_owned())].into(),
        namespace: "default".to_owned(),
        ..Options::default()
    };
    let ports = json!([{"name": "http", "port": 80, "targetPort": 8080}]);
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "a", "namespace": "default"},
        "spec": {"clusterIP": "10.0.0.1", "selector": {"app": "a"}, "ports": ports},
    });
    World::with(options, &[&[service, entry(&[80])], more].concat())
}

/// What is for any context is for both directions of a sidecar, and what is for one is not for the other.
#[test]
fn contexts_are_directions_in_a_sidecar() {
    for (context, inbound, outbound) in [
        ("ANY", true, true),
        ("SIDECAR_INBOUND", true, false),
        ("SIDECAR_OUTBOUND", false, true),
        ("GATEWAY", false, false),
    ] {
        let patch = json!({
            "applyTo": "LISTENER",
            "match": {"context": context},
            "patch": {"operation": "MERGE", "value": {"stat_prefix": "patched"}},
        });
        let world = sidecar(&[filter("f", 0, &[patch])]);
        let names = world.names(ResourceType::Listener);
        let patched = |inside: bool| {
            let of: Vec<&String> = names
                .iter()
                .filter(|name| name.contains("nbound") == inside || *name == "virtualOutbound")
                .collect();
            let of = of.into_iter().filter(|name| (*name == "virtualInbound") == inside);
            let all: Vec<bool> = of
                .map(|name| world.json(ResourceType::Listener, name)["stat_prefix"] == "patched")
                .collect();
            assert!(!all.is_empty(), "{names:?}");
            assert!(all.iter().all(|one| *one == all[0]), "{context} {inside}: {names:?}");
            all[0]
        };
        assert_eq!((patched(true), patched(false)), (inbound, outbound), "{context}");
        // What is added is for no direction: it is there once.
        for (apply_to, kind) in
            [("LISTENER", ResourceType::Listener), ("CLUSTER", ResourceType::Cluster)]
        {
            let add = json!({
                "applyTo": apply_to,
                "match": {"context": context},
                "patch": {"operation": "ADD", "value": {"name": "added"}},
            });
            let world = sidecar(&[filter("f", 0, &[add])]);
            let added = world.names(kind).contains(&"added".to_owned());
            assert_eq!(added, context != "GATEWAY", "{apply_to} {context}");
        }
    }
}

/// Who says something to an HTTP filter is told where there is none: in a sidecar if none of its listeners has it, and of those that
/// policies bring if there is no policy.
#[test]
fn what_is_said_to_a_filter_that_nobody_brings_is_told() {
    const PER_ROUTE: &str =
        "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute";
    let say = |name: &str| {
        let value = json!({"typed_per_filter_config": {name: {"@type": PER_ROUTE}}});
        let patch =
            json!({"applyTo": "VIRTUAL_HOST", "patch": {"operation": "MERGE", "value": value}});
        filter("says", 0, &[patch])
    };
    let unread = |name: &str, at: &str| {
        format!(
            "NoEffect: configPatches[0].patch.value.typed_per_filter_config[\"{name}\"] has no effect at {at}: no HTTP filter of this \
             name is there; add it with a patch of HTTP_FILTER"
        )
    };
    let says = say("x");
    let mut world = sidecar(std::slice::from_ref(&says));
    assert_eq!(world.fault(&says, Reconciled), Some(unread("x", "any listener")));
    let brings = filter("brings", 0, &[Sort::Http.patch("INSERT_FIRST", None, "x")]);
    world.apply(&brings);
    assert_eq!(world.fault(&says, Reconciled), None);
    world.delete(&brings);
    assert_eq!(world.fault(&says, Reconciled), Some(unread("x", "any listener")));

    let rbac = "envoy.filters.http.rbac";
    let says = say(rbac);
    let mut world = pair(&[]);
    world.apply(&says);
    assert_eq!(world.fault(&says, Reconciled), Some(unread(rbac, "0.0.0.0_80, 0.0.0.0_81")));
    let denies = json!({
        "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
        "metadata": {"name": "denies", "namespace": "istio-system"},
        "spec": {"action": "DENY", "rules": [{"to": [{"operation": {"paths": ["/no"]}}]}]},
    });
    world.apply(&denies);
    assert_eq!(world.fault(&says, Reconciled), None);
    world.delete(&denies);
    assert!(world.fault(&says, Reconciled).is_some());
}

/// Patches are for the versions that they name.
#[test]
fn versions_are_asked_for() {
    let version = |pattern: &str| {
        let mut patch = Sort::Http.patch("INSERT_FIRST", None, "x");
        patch["match"]["proxy"] = json!({"proxyVersion": pattern});
        Sort::Http.there(&world(Sort::Http, &[patch]))
    };
    assert_eq!(version(""), "xabc");
    assert_eq!(version(".*"), "xabc");
    assert_eq!(version("^0\\.0\\.0-none$"), "abc");
}
