//! What each operation of an EnvoyFilter does: where what it names is there, where that is missing, and where it names nothing.

mod common;

use common::{World, entry, manifest};
use serde_json::{Value, json};
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

    /// The names of those that are there, but for what every listener has.
    fn there(self, world: &World) -> String {
        let listener = || world.json(ResourceType::Listener, LISTENER);
        let chain = || {
            let listener = listener();
            let default = listener["default_filter_chain"].clone();
            if default.is_null() { listener["filter_chains"][0].clone() } else { default }
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
            Self::Route => world.json(ResourceType::VirtualHost, HOST)["routes"].clone(),
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
        assert_eq!(sort.there(&world(sort, &[])), "abc", "{sort:?}");
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
                let world = world(sort, &[sort.patch(operation, named, "x")]);
                assert_eq!(sort.there(&world), expected, "{sort:?} {operation} {named:?}");
            }
        }
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

/// What is for any context is for both directions of a sidecar, and what is for one is not for the other.
#[test]
fn contexts_are_directions_in_a_sidecar() {
    let workload = Workload { addresses: vec![[10, 0, 9, 9].into()] };
    let options = || Options {
        proxy: ProxyKind::Sidecar(workload.clone()),
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
        let world =
            World::with(options(), &[service.clone(), entry(&[80]), filter("f", 0, &[patch])]);
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
    }
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
