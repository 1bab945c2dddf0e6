//! The same operations in a sidecar, whose two directions are patched each by itself.

use serde_json::{Value, json};
use tidegate_xds::ResourceType;

use super::common::{World, manifest};
use super::{Sort, Whole, all, filter, operations_on_lists, operations_on_wholes, sidecar, told};

/// A way that traffic goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Inbound,
    Outbound,
}

impl Direction {
    const ALL: [Self; 2] = [Self::Inbound, Self::Outbound];

    /// A patch for this direction alone.
    fn only(self, mut patch: Value) -> Value {
        patch["match"]["context"] = match self {
            Self::Inbound => json!("SIDECAR_INBOUND"),
            Self::Outbound => json!("SIDECAR_OUTBOUND"),
        };
        patch
    }

    fn is_of(self, resource: &str) -> bool {
        (self == Self::Inbound) == resource.to_ascii_lowercase().contains("inbound")
    }
}

/// The names of a sort in a sidecar that has `a`, `b` and `c` of it in a direction, after patches for that direction.
fn list(direction: Direction, sort: Sort, patches: &[Value]) -> String {
    let only = |patch| direction.only(patch);
    let patches: Vec<Value> = patches.iter().cloned().map(only).collect();
    let mut more = vec![filter("patches", 0, &patches)];
    if (direction, sort) == (Direction::Outbound, Sort::Route) {
        let rule = |name: &str| {
            json!({"name": name, "match": [{"uri": {"prefix": format!("/{name}")}}],
                   "route": [{"destination": {"host": "backend.example.org"}}]})
        };
        let rules = ["a", "b", "c"].map(rule);
        let spec = json!({"hosts": ["backend.example.org"], "http": rules});
        more.push(manifest("VirtualService", "rules", &spec));
    } else {
        let mut first = ["c", "b", "a"].map(|name| sort.patch("INSERT_FIRST", None, name)).to_vec();
        if sort == Sort::Route {
            // What comes in has a route of its own.
            first.push(sort.patch("REMOVE", Some("default"), ""));
        }
        more.push(filter("base", -1, &first.into_iter().map(only).collect::<Vec<_>>()));
    }
    let (listener, host) = match direction {
        Direction::Inbound => ("virtualInbound", "inbound|8080||/inbound|http|80"),
        Direction::Outbound => ("0.0.0.0_80", "80/backend.example.org:80"),
    };
    sort.there_in(&sidecar(&more), listener, host)
}

#[test]
fn operations_by_what_they_name_in_both_directions() {
    for direction in Direction::ALL {
        operations_on_lists(|sort, patches| list(direction, sort, patches));
    }
}

/// A match of `b`, of what is not there, or of any, in a direction of a [`pair`].
fn names(sort: Whole, direction: Direction, named: Option<&str>) -> Value {
    if direction == Direction::Outbound {
        return sort.names(named);
    }
    let Some(n) = named else { return json!({}) };
    let (number, port) = if n == "b" { (81, 8081) } else { (82, 8082) };
    match sort {
        Whole::Listener if n == "b" => json!({"listener": {"name": "virtualInbound"}}),
        Whole::Listener => json!({"listener": {"name": n}}),
        Whole::FilterChain => json!({"listener": {"filterChain": {"destinationPort": port}}}),
        Whole::RouteConfiguration => json!({"routeConfiguration": {"portNumber": port}}),
        Whole::VirtualHost => {
            json!({"routeConfiguration": {"vhost": {"name": format!("inbound|http|{number}")}}})
        }
        Whole::Cluster => json!({"cluster": {"portNumber": port}}),
    }
}

/// A sidecar with two of everything in both directions, but for the listener of what comes in.
fn pair(patches: &[Value]) -> World {
    let port = |number: u16| json!({"name": format!("http-{number}"), "port": number, "targetPort": 8000 + number});
    let own = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "own", "namespace": "default"},
        "spec": {"clusterIP": "10.0.0.2", "selector": {"app": "a"}, "ports": [port(80), port(81)]},
    });
    let mut more = vec![own, filter("patches", 0, patches)];
    for name in ["a", "b"] {
        let entry = json!({"hosts": [format!("{name}.example")], "resolution": "STATIC",
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"},
                      {"number": 443, "name": "tls", "protocol": "TLS"}],
            "endpoints": [{"address": "192.0.2.1"}]});
        more.push(manifest("ServiceEntry", name, &entry));
    }
    sidecar(&more)
}

/// Those that there are in a direction, each once and with `*` where it is merged.
fn wholes(sort: Whole, direction: Direction, world: &World) -> String {
    let kind = match sort {
        Whole::Listener | Whole::FilterChain => ResourceType::Listener,
        Whole::RouteConfiguration => ResourceType::RouteConfiguration,
        Whole::VirtualHost => ResourceType::VirtualHost,
        Whole::Cluster => ResourceType::Cluster,
    };
    let mut found = all(world, kind);
    found.retain(|(_, name)| direction.is_of(name) || name == "x");
    if sort == Whole::FilterChain {
        let chains = |(listener, _): (Value, String)| {
            let chains = listener["filter_chains"].as_array().cloned().unwrap_or_default();
            chains.into_iter().map(|chain| {
                let asks = chain["filter_chain_match"].clone();
                let name = asks["server_names"][0].as_str().map(str::to_owned);
                let port = || format!("|{}||", asks["destination_port"]);
                (chain, name.unwrap_or_else(port))
            })
        };
        found = found.into_iter().flat_map(chains).collect();
    } else if sort == Whole::VirtualHost {
        found.retain(|(_, name)| name.starts_with("80/") || direction == Direction::Inbound);
        for (host, name) in &mut found {
            if host["domains"][0] != "*" {
                *name = host["domains"][0].as_str().unwrap_or_default().to_owned();
            }
        }
    }
    let letter = |name: &str| match name {
        "x" | "x.example" => Some("x"),
        "0.0.0.0_80" | "80" | "a.example" | "outbound|80||a.example" => Some("a"),
        "0.0.0.0_81" | "81" | "b.example" | "outbound|80||b.example" | "virtualInbound" => {
            Some("b")
        }
        _ if name.contains("|8080||") => Some("a"),
        _ if name.contains("|8081||") => Some("b"),
        _ => None,
    };
    let mut letters: Vec<(&Value, &str)> = Vec::new();
    for (thing, name) in &found {
        let Some(letter) = letter(name) else { continue };
        match letters.iter().find(|(_, known)| *known == letter) {
            Some((known, _)) => {
                let [known, now] =
                    [(*known, letter), (thing, letter)].map(|one| told([one].into_iter()));
                assert_eq!(known, now, "all of {letter} are patched alike");
            }
            None => letters.push((thing, letter)),
        }
    }
    told(letters.into_iter())
}

#[test]
fn operations_on_what_stands_by_itself_in_both_directions() {
    for direction in Direction::ALL {
        operations_on_wholes(|sort, operation, named| {
            let what = names(sort, direction, named);
            let patch = operation.map(|operation| direction.only(sort.patch(operation, &what)));
            let found = wholes(sort, direction, &pair(patch.as_slice()));
            match (sort, direction, operation) {
                // There is one listener alone.
                (Whole::Listener, Direction::Inbound, _) => match found.replace('x', "").as_str() {
                    "" if named.is_some() => format!("a{found}"),
                    "b*" if named.is_none() => format!("a*{found}"),
                    "" => found,
                    _ => format!("a{found}"),
                },
                // Each once, as is said.
                (Whole::VirtualHost, _, Some("REPLACE")) if found == "x" => "xx".to_owned(),
                _ => found,
            }
        });
    }
}

/// The route configurations of a sidecar that have a virtual host `x`.
fn tables_with_x(world: &World) -> Vec<String> {
    let names = world.names(ResourceType::VirtualHost).into_iter();
    let mut tables: Vec<String> =
        names.filter_map(|name| name.strip_suffix("/x").map(str::to_owned)).collect();
    tables.sort();
    tables
}

fn add(what: &Value) -> Value {
    filter("adds", 0, &[Whole::VirtualHost.patch("ADD", what)])
}

#[test]
fn virtual_hosts_are_added_to_the_tables_that_are_matched() {
    const OUT: &str = "SIDECAR_OUTBOUND";
    const IN: &str = "SIDECAR_INBOUND";
    const INBOUND: &str = "inbound|8080||";
    // What comes in to ports that nobody describes.
    const REST: &str = "InboundPassthroughCluster";
    for (context, routes, expected) in [
        (None, json!({}), &["80", REST, INBOUND][..]),
        (Some("ANY"), json!({}), &["80", REST, INBOUND]),
        (Some("ANY"), json!({"portNumber": 8080}), &[INBOUND]),
        (Some(OUT), json!({}), &["80"]),
        (Some(OUT), json!({"name": "80"}), &["80"]),
        (Some(OUT), json!({"name": "81"}), &[]),
        (Some(OUT), json!({"portNumber": 80}), &["80"]),
        (Some(OUT), json!({"name": "80", "portNumber": 81}), &[]),
        (Some(OUT), json!({"name": INBOUND}), &[]),
        (Some(IN), json!({}), &[REST, INBOUND]),
        (Some(IN), json!({"name": INBOUND}), &[INBOUND]),
        // It is the port of the workload, as in Istio, and not that of the service.
        (Some(IN), json!({"portNumber": 8080}), &[INBOUND]),
        (Some(IN), json!({"portNumber": 80}), &[]),
        (Some("GATEWAY"), json!({}), &[]),
    ] {
        let mut what = json!({"routeConfiguration": routes});
        if let Some(context) = context {
            what["context"] = json!(context);
        }
        assert_eq!(tables_with_x(&sidecar(&[add(&what)])), expected, "{what}");
    }
}

/// What is added comes and goes with its route configuration, and with what adds it.
#[test]
fn added_virtual_hosts_follow_their_tables() {
    let adds = add(&json!({"context": "SIDECAR_OUTBOUND"}));
    let mut world = sidecar(std::slice::from_ref(&adds));
    assert_eq!(tables_with_x(&world), ["80"]);
    let spec = json!({"hosts": ["more.example"], "resolution": "DNS",
        "ports": [{"number": 81, "name": "http", "protocol": "HTTP"}]});
    let more = manifest("ServiceEntry", "more", &spec);
    world.apply(&more);
    assert_eq!(tables_with_x(&world), ["80", "81"]);
    world.delete(&more);
    assert_eq!(tables_with_x(&world), ["80"]);
    world.delete(&adds);
    assert!(tables_with_x(&world).is_empty());
    world.apply(&adds);
    assert_eq!(tables_with_x(&world), ["80"]);
}

/// Clusters of the workload itself are matched by every service that leads to them, and by none that does not.
#[test]
fn clusters_of_the_workload_are_matched_by_services() {
    let host = |name: &str| format!("{name}.default.svc.cluster.local");
    let second = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "second", "namespace": "default"},
        "spec": {"clusterIP": "10.0.0.3", "selector": {"app": "a"},
                 "ports": [{"name": "http", "port": 90, "targetPort": 8080}]},
    });
    for (service, is_meant) in
        [(host("a"), true), (host("second"), true), ("backend.example.org".to_owned(), false)]
    {
        let what = json!({"context": "SIDECAR_INBOUND", "cluster": {"service": service}});
        let patch = filter("patches", 0, &[Whole::Cluster.patch("MERGE", &what)]);
        let world = sidecar(&[second.clone(), patch]);
        let merged: Vec<String> = all(&world, ResourceType::Cluster)
            .into_iter()
            .filter(|(cluster, _)| cluster["connect_timeout"] == "77s")
            .map(|(_, name)| name)
            .collect();
        assert_eq!(merged == ["inbound|8080||"], is_meant, "{service}: {merged:?}");
        assert!(is_meant || merged.is_empty(), "{merged:?}");
    }
}
