//! Chains whose route configuration gets another name, or goes, and what stays for connections of chains that go.

use super::*;

const MANAGER: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";

/// A chain for a server name that takes its routes from the route configuration `routes`.
fn following(server_name: &str, routes: &str, stats: &str) -> Value {
    let manager = json!({
        "@type": MANAGER,
        "stat_prefix": stats,
        "rds": {"config_source": {"ads": {}}, "route_config_name": routes},
        "http_filters": [{"name": "router", "typed_config": {"@type": ROUTER}}],
    });
    json!({
        "filter_chain_match": {"server_names": [server_name]},
        "filters": [{"name": "http", "typed_config": manager}],
    })
}

/// A route configuration with one virtual host that answers with its name, or sends to a cluster, and copies to `m`.
fn routes(name: &str, host: &str, cluster: Option<&str>) -> Resource {
    let mut inside = host_json(host, &[host], name);
    if let Some(cluster) = cluster {
        let copied = json!([{"cluster": "m"}]);
        let action = json!({"cluster": cluster, "request_mirror_policies": copied});
        inside["routes"] = json!([{"match": {"prefix": "/"}, "route": action}]);
    }
    let json = json!({"name": name, "virtual_hosts": [inside]});
    resource::<RouteConfiguration>(ResourceType::RouteConfiguration, name, &json)
}

fn served(side: &Side, number: usize) -> Arc<listener::FilterChain> {
    Arc::clone(&side.applier.config().listeners["l"].chains.chains[number])
}

/// The answer that a connection of the chain gets for a host.
fn answer(chain: &listener::FilterChain, host: &str) -> Option<String> {
    let table = chain.manager().expect("HTTP").routes.table();
    let host = table.virtual_host(host.as_bytes())?;
    match &host.routes()[0].action {
        Action::Direct(direct) => Some(String::from_utf8_lossy(&direct.body).into_owned()),
        other => panic!("not answered: {other:?}"),
    }
}

#[test]
fn a_chain_whose_routes_have_another_name_stays() {
    let mut side = Side::new();
    let both =
        |routes: &str| listener("l", &[following("a", routes, "s"), following("b", routes, "s")]);
    side.serve(vec![routes("old", "a", None), both("old")]);
    let before = [served(&side, 0), served(&side, 1)];
    let old = side.applier.config().routes["old"].clone();

    let gone = [(ResourceType::RouteConfiguration, "old")];
    side.apply(vec![routes("new", "a", None), both("new")], &gone);
    for (number, before) in before.iter().enumerate() {
        assert!(Arc::ptr_eq(before, &served(&side, number)));
        assert_eq!(answer(before, "a").as_deref(), Some("new"));
    }
    // Nobody uses the old one any more.
    assert_eq!(old.table.load().virtual_hosts().count(), 0);

    // It follows the new one from now on, and what differs in more is another chain.
    side.serve(vec![routes("new", "x", None)]);
    assert_eq!(answer(&before[0], "x").as_deref(), Some("new"));
    let chains = [following("a", "newer", "s"), following("b", "newer", "other")];
    side.serve(vec![routes("newer", "x", None), listener("l", &chains)]);
    assert!(Arc::ptr_eq(&before[0], &served(&side, 0)));
    assert!(!Arc::ptr_eq(&before[1], &served(&side, 1)));
    assert_eq!(answer(&before[1], "x").as_deref(), Some("new"));
}

#[test]
fn a_chain_that_goes_keeps_its_routes_and_their_clusters() {
    let mut side = Side::new();
    let chains = [following("a", "r", "s"), following("b", "r", "s")];
    let clusters = ["c", "d", "m"].map(|name| cluster(name, &json!({})));
    let routed = routes("r", "a", Some("c"));
    side.serve(clusters.into_iter().chain([routed, listener("l", &chains)]).collect());
    let mut before = Some((served(&side, 0), served(&side, 1)));
    let [c, d, m] = ["c", "d", "m"].map(|name| side.applier.cluster_slot(name));

    let gone = [
        (ResourceType::RouteConfiguration, "r"),
        (ResourceType::Cluster, "c"),
        (ResourceType::Cluster, "d"),
        (ResourceType::Cluster, "m"),
    ];
    let next = listener("l", &[following("b", "r2", "s")]);
    let applied = side.apply(vec![routes("r2", "b", None), next], &gone);
    let config = &applied.config;
    assert!(config.clusters.is_empty() && !config.routes.contains_key("r"));
    let (a, b) = before.as_ref().expect("kept");
    assert!(Arc::ptr_eq(&served(&side, 0), b));
    assert!(a.manager().expect("HTTP").routes.table().virtual_host(b"a").is_some());
    assert_eq!(answer(b, "b").as_deref(), Some("r2"));
    // What it leads to is there, and what nobody leads to is not.
    assert!(c.load().is_some() && m.load().is_some() && side.applier.has_leaving());
    assert!(d.load().is_none());
    drop(applied);

    before.take();
    side.applier.let_go();
    assert!(c.load().is_none() && m.load().is_none() && !side.applier.has_leaving());
}

#[test]
fn routes_that_are_gone_stay_for_chains_that_point_to_them() {
    let mut side = Side::new();
    side.serve(vec![routes("r", "a", None), listener("l", &[following("a", "r", "s")])]);
    let chain = served(&side, 0);
    side.apply(vec![], &[(ResourceType::RouteConfiguration, "r")]);
    assert_eq!(answer(&chain, "a").as_deref(), Some("r"));
    side.serve(vec![routes("r", "b", None)]);
    assert_eq!((answer(&chain, "a"), answer(&chain, "b").as_deref()), (None, Some("r")));

    // Newcomers do not find what nobody uses.
    let gone = [(ResourceType::RouteConfiguration, "r"), (ResourceType::Listener, "l")];
    side.apply(vec![], &gone);
    side.serve(vec![listener("l", &[following("a", "r", "s")])]);
    assert_eq!((answer(&served(&side, 0), "b"), answer(&chain, "b").as_deref()), (None, Some("r")));
}
