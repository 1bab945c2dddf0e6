//! Updates applied: last good forms, what is shared, what is told.

use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_envoy::prost::Name;
use tidegate_envoy::v3::cluster::Cluster;
use tidegate_envoy::v3::endpoint::ClusterLoadAssignment;
use tidegate_envoy::v3::listener::Listener;
use tidegate_envoy::v3::route::{RouteConfiguration, VirtualHost};
use tidegate_xds::{Resource, ResourceType, Update};

use crate::http::RequestHead;
use crate::route::{Action, Decision};

use super::testing::{proto, with};
use super::*;

mod many_chains;
mod refusals;
mod renames;
mod secrets;
mod sockets;
mod succession;
mod terms;

/// An applier and the generation that it has reached.
struct Side {
    applier: Applier,
    generation: u64,
}

impl Side {
    fn new() -> Self {
        Self { applier: Applier::new(None), generation: 0 }
    }

    fn apply(&mut self, upsert: Vec<Resource>, remove: &[(ResourceType, &str)]) -> Applied {
        self.generation += 1;
        let applied = self.applier.apply(&Update {
            generation: self.generation,
            upsert: upsert.into_iter().map(Arc::new).collect(),
            remove: remove.iter().map(|(kind, name)| (*kind, Arc::from(*name))).collect(),
        });
        self.applier.let_go();
        applied
    }

    /// Applies what must all be good.
    fn serve(&mut self, upsert: Vec<Resource>) -> Applied {
        let applied = self.apply(upsert, &[]);
        assert_eq!(applied.rejected, []);
        applied
    }

    /// The body of the direct response that a request gets from the route configuration `table`.
    fn answer(&self, table: &str, host: &str) -> Option<String> {
        let head = RequestHead::get(host, "/", &[]);
        let table = self.applier.config().routes.get(table)?.table.load_full();
        match table.decide(&head, 0) {
            Decision::Route { route, .. } => match &route.action {
                Action::Direct(direct) => Some(String::from_utf8_lossy(&direct.body).into_owned()),
                other => panic!("not answered: {other:?}"),
            },
            Decision::NoRoute(_) | Decision::NoVirtualHost => None,
        }
    }

    fn refused(&self) -> Vec<String> {
        let rejected = self.applier.verdict().rejected;
        rejected.into_iter().map(|each| format!("{}: {}", each.name, each.path)).collect()
    }
}

fn resource<T: Name + Default>(kind: ResourceType, name: &str, json: &Value) -> Resource {
    Resource::encode(kind, name, &proto::<T>(json))
}

fn cluster(name: &str, more: &Value) -> Resource {
    let endpoint =
        json!({"address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}}});
    let listed =
        json!({"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]});
    let json = with(&json!({"name": name, "load_assignment": listed}), more);
    resource::<Cluster>(ResourceType::Cluster, name, &json)
}

fn eds_cluster(name: &str, service: &str) -> Resource {
    let config = json!({"eds_config": {"ads": {}}, "service_name": service});
    let json = json!({"name": name, "type": "EDS", "eds_cluster_config": config});
    resource::<Cluster>(ResourceType::Cluster, name, &json)
}

fn endpoints(service: &str, ports: &[u16]) -> Resource {
    let endpoint = |port: &u16| json!({"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}});
    let endpoints: Vec<_> = ports.iter().map(endpoint).collect();
    let json = json!({"cluster_name": service, "endpoints": [{"lb_endpoints": endpoints}]});
    resource::<ClusterLoadAssignment>(ResourceType::Endpoints, service, &json)
}

fn host_json(name: &str, domains: &[&str], body: &str) -> Value {
    let route = json!({"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": body}}});
    json!({"name": name, "domains": domains, "routes": [route]})
}

fn host(name: &str, domains: &[&str], body: &str) -> Resource {
    let json = host_json(name, domains, body);
    resource::<VirtualHost>(ResourceType::VirtualHost, &format!("r/{name}"), &json)
}

fn bad_host(name: &str) -> Resource {
    let route =
        json!({"match": {"safe_regex": {"regex": "("}}, "direct_response": {"status": 200}});
    let json = json!({"name": name, "domains": [name], "routes": [route]});
    resource::<VirtualHost>(ResourceType::VirtualHost, &format!("r/{name}"), &json)
}

fn table(more: &Value) -> Resource {
    let json = with(&json!({"name": "r"}), more);
    resource::<RouteConfiguration>(ResourceType::RouteConfiguration, "r", &json)
}

fn chain(name: &str, server_names: &[&str], stat_prefix: &str) -> Value {
    let config = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": stat_prefix, "cluster": "c",
    });
    json!({
        "name": name, "filter_chain_match": {"server_names": server_names},
        "filters": [{"name": "tcp", "typed_config": config}],
    })
}

fn listener(name: &str, chains: &[Value]) -> Resource {
    let address = json!({"socket_address": {"address": "127.0.0.1", "port_value": 8080}});
    let json = json!({"name": name, "address": address, "filter_chains": chains});
    resource::<Listener>(ResourceType::Listener, name, &json)
}

/// HTTP/3 is not spoken: a listener for it is refused by what it asks for, and the one on TCP beside it is served.
#[test]
fn a_listener_on_udp_is_refused_alone() {
    const QUIC: &str =
        "type.googleapis.com/envoy.extensions.transport_sockets.quic.v3.QuicDownstreamTransport";
    let mut side = Side::new();
    let chain = chain("a", &["a"], "a");
    let socket = json!({"name": "quic", "typed_config": {"@type": QUIC}});
    let over_udp = with(&chain, &json!({"transport_socket": socket}));
    let address = json!({"address": "127.0.0.1", "port_value": 8080, "protocol": "UDP"});
    let udp = json!({
        "name": "udp_l", "address": {"socket_address": address}, "filter_chains": [over_udp],
        "udp_listener_config": {"quic_options": {}},
    });
    let udp = resource::<Listener>(ResourceType::Listener, "udp_l", &udp);
    let applied = side.apply(vec![listener("l", &[chain]), udp], &[]);
    let served = applied.listeners.put.iter().map(|listener| &*listener.name);
    assert_eq!(served.collect::<Vec<_>>(), ["l"]);
    let told = applied.rejected.iter().map(|r| format!("{}: {}: {}", r.name, r.path, r.reason));
    let told: Vec<String> = told.collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(told[0], "udp_l: address.socket_address.protocol: UDP is not supported: TCP is");
    let why = "HTTP/3 is not spoken: only TCP listeners are supported";
    assert_eq!(told[1], format!("udp_l: udp_listener_config: {why}"));
    let socket = format!(
        "udp_l: filter_chains[0].transport_socket.typed_config: `{QUIC}` is not supported here"
    );
    assert!(told[2].starts_with(&socket), "{told:?}");
}

#[test]
fn a_wrong_resource_is_refused_alone_and_its_last_good_form_serves_on() {
    let mut side = Side::new();
    side.serve(vec![table(&json!({})), host("a", &["a"], "1"), host("b", &["b"], "1")]);
    let applied = side.apply(vec![bad_host("a"), host("b", &["b"], "2")], &[]);
    let paths: Vec<_> = applied.rejected.iter().map(|each| (&*each.name, &*each.path)).collect();
    assert_eq!(paths, [("r/a", "routes[0].match.safe_regex.regex")]);
    assert!(applied.rejected[0].reason.contains("unclosed group"), "{:?}", applied.rejected);
    assert_eq!(side.answer("r", "a").as_deref(), Some("1"));
    assert_eq!(side.answer("r", "b").as_deref(), Some("2"));

    // It stands until the resource is good again, or gone.
    side.serve(vec![host("b", &["b"], "3")]);
    assert_eq!(side.refused(), ["r/a: routes[0].match.safe_regex.regex"]);
    side.serve(vec![host("a", &["a"], "4")]);
    assert_eq!((side.refused(), side.answer("r", "a").as_deref()), (vec![], Some("4")));
    side.apply(vec![bad_host("a")], &[]);
    side.apply(vec![], &[(ResourceType::VirtualHost, "r/a")]);
    assert_eq!((side.refused(), side.answer("r", "a")), (vec![], None));
}

#[test]
fn records_hold_both_forms() {
    let mut side = Side::new();
    let good = cluster("c", &json!({}));
    let bad = cluster("c", &json!({"connect_timeout": "0s"}));
    side.serve(vec![good.clone()]);
    side.apply(
        vec![bad.clone(), cluster("d", &json!({"health_checks": [{"timeout": "1s"}]}))],
        &[],
    );
    let records = side.applier.records().of(ResourceType::Cluster);
    let names: Vec<_> = records.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["c", "d"]);
    let both = &records[0].1;
    assert_eq!(both.served.as_ref().map(|served| served.resource.version), Some(good.version));
    assert_eq!(both.refused.as_ref().map(|refused| refused.resource.version), Some(bad.version));
    assert!(records[1].1.served.is_none());
    assert_eq!(side.refused(), ["c: connect_timeout", "d: health_checks"]);
    assert_eq!(side.applier.verdict().generation, 2);
}

#[test]
fn what_is_served_already_stays_as_it_is() {
    let mut side = Side::new();
    let all = || {
        let hosts = [table(&json!({})), host("a", &["a"], "1")];
        let rest = [
            cluster("c", &json!({"ignore_health_on_host_removal": true})),
            listener("l", &[chain("x", &[], "s")]),
        ];
        hosts.into_iter().chain(rest).collect()
    };
    let first = side.serve(all());
    let again = side.serve(all());
    assert!(again.clusters.put.is_empty() && again.listeners.put.is_empty());
    assert_eq!((first.notices.len(), again.notices.len()), (1, 0));
    assert!(Arc::ptr_eq(&first.config.clusters["c"], &again.config.clusters["c"]));

    // The old form again, after a newer one was refused: that refusal is gone with the newer form.
    side.apply(vec![bad_host("a")], &[]);
    side.serve(all());
    assert_eq!((side.refused(), side.answer("r", "a").as_deref()), (vec![], Some("1")));
}

#[test]
fn fields_without_effect_are_told() {
    let mut side = Side::new();
    let applied = side.serve(vec![cluster("c", &json!({"ignore_health_on_host_removal": true}))]);
    let told: Vec<_> =
        applied.notices.iter().map(|notice| (&*notice.name, &*notice.finding.path)).collect();
    assert_eq!(told, [("c", "ignore_health_on_host_removal")]);
    let inside = host_json("a", &["a"], "");
    let inside = with(&inside, &json!({"virtual_clusters": [{"name": "v"}]}));
    let applied = side.serve(vec![table(&json!({"virtual_hosts": [inside]}))]);
    assert_eq!(applied.notices[0].finding.path, "virtual_hosts[0].virtual_clusters");
}

#[test]
fn names_must_be_those_of_the_resources() {
    let mut side = Side::new();
    let json = json!({"name": "c", "load_assignment": {"cluster_name": "c"}});
    side.apply(vec![resource::<Cluster>(ResourceType::Cluster, "other", &json)], &[]);
    let host = resource::<VirtualHost>(ResourceType::VirtualHost, "x", &host_json("a", &["a"], ""));
    side.apply(vec![host, Resource::new(ResourceType::Listener, "l", vec![0xff].into())], &[]);
    side.apply(vec![Resource::new(ResourceType::Secret, "s", vec![].into())], &[]);
    assert_eq!(side.refused(), ["other: name", "l: ", "x: ", "s: name"]);
}

#[test]
fn one_host_changes_and_the_others_stay_the_same() {
    let mut side = Side::new();
    let hosts = (0..50).map(|n| host(&format!("h{n}"), &[&format!("h{n}")], "1"));
    side.serve(std::iter::once(table(&json!({}))).chain(hosts).collect());
    let slot = Arc::clone(&side.applier.config().routes["r"]);
    let before = slot.table.load_full();
    side.serve(vec![host("h7", &["h7"], "2")]);
    assert!(Arc::ptr_eq(&slot, &side.applier.config().routes["r"]));
    let after = slot.table.load_full();
    for n in 0..50 {
        let name = format!("h{n}");
        let same = Arc::ptr_eq(
            before.virtual_host(name.as_bytes()).expect("there"),
            after.virtual_host(name.as_bytes()).expect("there"),
        );
        assert_eq!(same, n != 7, "{name}");
    }
}

#[test]
fn a_route_configuration_with_its_hosts_inside_keeps_those_that_did_not_change() {
    let mut side = Side::new();
    let with_b = |body: &str| {
        table(
            &json!({"virtual_hosts": [host_json("a", &["a"], "1"), host_json("b", &["b"], body)]}),
        )
    };
    let find = |side: &Side, host: &str| {
        let table = side.applier.config().routes["r"].table.load_full();
        Arc::clone(table.virtual_host(host.as_bytes()).expect("there"))
    };
    side.serve(vec![with_b("1")]);
    let (a, b) = (find(&side, "a"), find(&side, "b"));
    side.serve(vec![with_b("2")]);
    assert!(Arc::ptr_eq(&a, &find(&side, "a")) && !Arc::ptr_eq(&b, &find(&side, "b")));

    // All faults of all hosts are named, and the whole old form stays.
    let wrong = json!({"name": "", "domains": ["w"]});
    let applied =
        side.apply(vec![table(&json!({"virtual_hosts": [wrong, host_json("b", &[], "3")]}))], &[]);
    let paths: Vec<_> = applied.rejected.iter().map(|each| &*each.path).collect();
    assert_eq!(paths, ["virtual_hosts[0].name", "virtual_hosts[1].domains"]);
    assert_eq!(side.answer("r", "b").as_deref(), Some("2"));
    let twice = json!({"virtual_hosts": [host_json("a", &["x"], ""), host_json("b", &["X"], "")]});
    side.apply(vec![table(&twice)], &[]);
    assert_eq!(side.refused(), ["r: virtual_hosts[1].domains[0]"]);
}

#[test]
fn a_domain_that_another_host_has_is_waited_for() {
    let mut side = Side::new();
    side.serve(vec![table(&json!({})), host("a", &["a", "shared"], "a")]);
    side.apply(vec![host("b", &["b", "shared"], "b")], &[]);
    assert_eq!(side.refused(), ["r/b: domains[1]"]);
    let answers = |side: &Side| ["b", "shared"].map(|host| side.answer("r", host));
    assert_eq!(answers(&side), [Some("b".into()), Some("a".into())], "it lacks that one alone");
    side.serve(vec![host("a", &["a"], "a")]);
    assert_eq!((side.refused(), side.answer("r", "shared").as_deref()), (vec![], Some("b")));

    // Both at once: the domain moves without a gap.
    side.serve(vec![host("a", &["a", "shared"], "a"), host("b", &["b"], "b")]);
    assert_eq!(side.answer("r", "shared").as_deref(), Some("a"));
}

#[test]
fn what_the_table_says_holds_for_hosts_that_came_before_it() {
    let mut side = Side::new();
    side.serve(vec![host("a", &["a"], "a")]);
    assert_eq!(side.answer("r", "a"), None);
    side.serve(vec![table(&json!({}))]);
    assert_eq!((side.answer("r", "a").as_deref(), side.answer("r", "a:80")), (Some("a"), None));
    side.serve(vec![table(&json!({"ignore_port_in_host_matching": true}))]);
    assert_eq!(side.answer("r", "a:80").as_deref(), Some("a"));

    // A body that the new form of the table forbids: the host's compiled form serves on, and it is told.
    side.apply(vec![table(&json!({"max_direct_response_body_size_bytes": 0}))], &[]);
    assert_eq!(side.refused(), ["r/a: routes[0].direct_response.body.inline_string"]);
    assert_eq!(side.answer("r", "a").as_deref(), Some("a"));

    side.apply(vec![], &[(ResourceType::RouteConfiguration, "r")]);
    assert_eq!(side.answer("r", "a"), None);
    side.serve(vec![table(&json!({}))]);
    assert_eq!((side.answer("r", "a").as_deref(), side.refused()), (Some("a"), vec![]));

    // A new form of a host that was refused stays refused, whatever happens around it.
    side.apply(vec![bad_host("a")], &[]);
    side.serve(vec![table(&json!({"ignore_port_in_host_matching": true}))]);
    assert_eq!(side.refused(), ["r/a: routes[0].match.safe_regex.regex"]);
    assert_eq!(side.answer("r", "a:80").as_deref(), Some("a"));
}

#[test]
fn a_host_inside_the_table_has_its_domains_before_others() {
    let mut side = Side::new();
    side.serve(vec![table(&json!({})), host("own", &["d"], "own")]);
    side.apply(vec![table(&json!({"virtual_hosts": [host_json("in", &["d"], "in")]}))], &[]);
    assert_eq!(
        (side.answer("r", "d").as_deref(), side.refused()),
        (Some("in"), vec!["r/own: domains[0]".into()])
    );
    side.serve(vec![table(&json!({}))]);
    assert_eq!((side.answer("r", "d").as_deref(), side.refused()), (Some("own"), vec![]));
}

#[test]
fn clusters_fill_the_slots_that_routes_and_listeners_point_to() {
    let mut side = Side::new();
    let applied = side.serve(vec![listener("l", &[chain("x", &[], "s")])]);
    let listener::NetworkFilter::Tcp(proxy) = &applied.listeners.put[0].chains.chains[0].filter
    else {
        panic!("not a TCP proxy")
    };
    let slot = Arc::clone(proxy.clusters.at(0));
    assert!(slot.load().is_none());
    let applied = side.serve(vec![cluster("c", &json!({}))]);
    assert!(Arc::ptr_eq(&applied.clusters.put[0], &slot.load().expect("filled")));
    let applied = side.apply(vec![cluster("c", &json!({"connect_timeout": "-1s"}))], &[]);
    assert!(applied.clusters.put.is_empty() && slot.load().is_some());
    let applied = side.apply(vec![], &[(ResourceType::Cluster, "c"), (ResourceType::Cluster, "d")]);
    assert_eq!(applied.clusters.removed, ["c".into()]);
    assert!(slot.load().is_none() && applied.config.clusters.is_empty());
}

#[test]
fn assignments_reach_every_cluster_that_follows_them() {
    let mut side = Side::new();
    let ports = |side: &Side, name: &str| -> Option<Vec<u16>> {
        let endpoints = side.applier.config().clusters[name].endpoints.load_full();
        let ports = endpoints.endpoints.iter().map(|endpoint| endpoint.address.port()).collect();
        endpoints.ready.then_some(ports)
    };
    side.serve(vec![eds_cluster("one", "s"), eds_cluster("two", "s"), endpoints("s", &[1, 2])]);
    assert_eq!((ports(&side, "one"), ports(&side, "two")), (Some(vec![1, 2]), Some(vec![1, 2])));
    let kept = Arc::clone(&side.applier.config().clusters["one"].endpoints.load().endpoints[1]);
    side.serve(vec![endpoints("s", &[2, 3])]);
    let now = side.applier.config().clusters["one"].endpoints.load_full();
    assert!(Arc::ptr_eq(&kept, &now.endpoints[0]));

    // Another service; the old one is no longer followed. A wrong assignment changes nothing.
    side.serve(vec![eds_cluster("two", "other"), endpoints("s", &[4])]);
    assert_eq!((ports(&side, "one"), ports(&side, "two")), (Some(vec![4]), None));
    let wrong = json!({"cluster_name": "s", "endpoints": [{"lb_endpoints": [{}]}]});
    side.apply(vec![resource::<ClusterLoadAssignment>(ResourceType::Endpoints, "s", &wrong)], &[]);
    assert_eq!(side.refused(), ["s: endpoints[0].lb_endpoints[0].endpoint"]);
    assert_eq!(ports(&side, "one"), Some(vec![4]));

    // Once unassigned, those who have endpoints keep them, and newcomers have none.
    side.apply(vec![eds_cluster("new", "s")], &[(ResourceType::Endpoints, "s")]);
    assert_eq!(ports(&side, "one"), Some(vec![4]));
    side.serve(vec![eds_cluster("newer", "s")]);
    assert_eq!(ports(&side, "newer"), None);
}

#[test]
fn chains_that_do_not_change_stay_and_others_go() {
    let mut side = Side::new();
    let first =
        side.serve(vec![listener("l", &[chain("a", &["a"], "1"), chain("b", &["b"], "1")])]);
    let first = Arc::clone(&first.listeners.put[0]);
    let second =
        side.serve(vec![listener("l", &[chain("b", &["b"], "2"), chain("a", &["a"], "1")])]);
    let second = Arc::clone(&second.listeners.put[0]);
    assert!(Arc::ptr_eq(&first.chains.chains[0], &second.chains.chains[1]));
    assert!(!second.chains.chains.iter().any(|chain| Arc::ptr_eq(chain, &first.chains.chains[1])));

    let applied =
        side.apply(vec![listener("l", &[chain("a", &["a"], "1"), chain("b", &["a"], "2")])], &[]);
    assert!(applied.listeners.put.is_empty());
    assert_eq!(side.refused(), ["l: filter_chains[1].filter_chain_match"]);
    assert!(Arc::ptr_eq(&side.applier.config().listeners["l"], &second));
    let applied = side.apply(vec![], &[(ResourceType::Listener, "l")]);
    assert_eq!(applied.listeners.removed, ["l".into()]);
}

#[test]
fn a_listener_finds_its_routes_before_and_after_they_come() {
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "s",
        "rds": {"config_source": {"ads": {}}, "route_config_name": "r"},
        "http_filters": [{"name": "router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
        }}],
    });
    let chain = json!({"filters": [{"name": "http", "typed_config": manager}]});
    let mut side = Side::new();
    let applied = side.serve(vec![listener("l", &[chain])]);
    let listener::NetworkFilter::Http(manager) = &applied.listeners.put[0].chains.chains[0].filter
    else {
        panic!("not HTTP")
    };
    assert!(manager.routes.table().virtual_host(b"a").is_none());
    side.serve(vec![table(&json!({})), host("a", &["a"], "")]);
    assert!(manager.routes.table().virtual_host(b"a").is_some());
}

#[test]
fn slots_of_clusters_that_come_and_go_do_not_gather() {
    let mut side = Side::new();
    for n in 0..500 {
        let name = format!("c{n}");
        let applied = side.serve(vec![cluster(&name, &json!({}))]);
        let slot = applied.clusters.put.len();
        assert_eq!(slot, 1);
        side.apply(vec![], &[(ResourceType::Cluster, &name)]);
    }
    let last =
        side.serve(vec![cluster("last", &json!({})), listener("l", &[chain("x", &[], "s")])]);
    let listener::NetworkFilter::Tcp(proxy) = &last.listeners.put[0].chains.chains[0].filter else {
        panic!("not a TCP proxy")
    };
    assert!(proxy.clusters.at(0).index < 200, "{}", proxy.clusters.at(0).index);
}
