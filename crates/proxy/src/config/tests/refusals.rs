//! What is deleted is refused on connections that are open, too, although these keep the routes of what is gone.

use super::*;
use crate::config::listener::RouteSlot;

/// A virtual host of a route configuration.
fn host_of(table: &str, json: &Value) -> Resource {
    let name = format!("{table}/{}", json["name"].as_str().expect("a name"));
    resource::<VirtualHost>(ResourceType::VirtualHost, &name, json)
}

/// The virtual host for everything else, which lets nothing out.
fn rest(table: &str) -> Resource {
    let mut rest = host_json("block_all", &["*"], "denied");
    rest["routes"][0]["metadata"] =
        json!({"filter_metadata": {"io.tidegate": {"denies_egress": true}}});
    host_of(table, &rest)
}

fn named_table(name: &str) -> Resource {
    let json = json!({"name": name});
    resource::<RouteConfiguration>(ResourceType::RouteConfiguration, name, &json)
}

/// A route configuration with hosts that answer with its name.
fn with_hosts(name: &str, hosts: &[&str]) -> Vec<Resource> {
    let own = hosts.iter().map(|host| host_of(name, &host_json(host, &[host], name)));
    std::iter::once(named_table(name)).chain(own).collect()
}

/// A listener whose requests a route configuration is for.
fn pointing(name: &str, table: &str) -> Resource {
    let config = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "s", "rds": {"route_config_name": table, "config_source": {"ads": {}}},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config":
            {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
    });
    listener(name, &[json!({"filters": [{"name": "hcm", "typed_config": config}]})])
}

/// What a connection sees that has the routes of a listener.
fn seen(slot: &RouteSlot, hosts: &[&str]) -> Vec<String> {
    let table = slot.table.load_full();
    let answer = |host: &&str| match table.decide(&RequestHead::get(host, "/", &[]), 0) {
        Decision::Route { route, .. } => match &route.action {
            Action::Direct(direct) => String::from_utf8_lossy(&direct.body).into_owned(),
            other => panic!("not answered: {other:?}"),
        },
        Decision::NoRoute(_) | Decision::NoVirtualHost => "-".to_owned(),
    };
    hosts.iter().map(answer).collect()
}

fn slot(side: &Side, table: &str) -> Arc<RouteSlot> {
    Arc::clone(&side.applier.config().routes[table])
}

const GONE: [(ResourceType, &str); 4] = [
    (ResourceType::RouteConfiguration, "r"),
    (ResourceType::VirtualHost, "r/a"),
    (ResourceType::VirtualHost, "r/b"),
    (ResourceType::VirtualHost, "r/block_all"),
];
const LISTENER: (ResourceType, &str) = (ResourceType::Listener, "l");

#[test]
fn a_host_that_goes_is_refused_by_what_stays() {
    let mut side = Side::new();
    let hosts = [with_hosts("r", &["a", "b"]), vec![rest("r"), pointing("l", "r")]].concat();
    side.serve(hosts);
    let open = slot(&side, "r");
    assert_eq!(seen(&open, &["a", "b", "c"]), ["r", "r", "denied"]);
    side.apply(Vec::new(), &[(ResourceType::VirtualHost, "r/a")]);
    assert_eq!(seen(&open, &["a", "b", "c"]), ["denied", "r", "denied"]);
}

#[test]
fn of_a_port_that_goes_what_others_serve_stays_and_the_rest_is_refused() {
    let mut side = Side::new();
    let first = [with_hosts("r", &["a", "b"]), vec![rest("r"), pointing("l", "r")]].concat();
    side.serve([first, with_hosts("other", &["a"])].concat());
    let open = slot(&side, "r");
    side.apply(Vec::new(), &[&GONE[..], &[LISTENER]].concat());
    assert_eq!(seen(&open, &["a", "b", "c"]), ["r", "denied", "denied"]);

    // Once it is nobody's any more, it has gone for good.
    let mut side = Side::new();
    side.serve([with_hosts("r", &["a", "b"]), vec![rest("r"), pointing("l", "r")]].concat());
    let open = slot(&side, "r");
    side.apply(Vec::new(), &[&GONE[..], &[LISTENER]].concat());
    assert_eq!(seen(&open, &["a", "b", "c"]), ["denied", "denied", "denied"]);
}

#[test]
fn a_listener_that_still_points_to_what_is_gone_refuses_it() {
    let mut side = Side::new();
    side.serve([with_hosts("r", &["a", "b"]), vec![rest("r"), pointing("l", "r")]].concat());
    let open = slot(&side, "r");
    side.apply(Vec::new(), &GONE);
    assert_eq!(seen(&open, &["a", "b", "c"]), ["denied", "denied", "denied"]);
    // What comes again is served again.
    side.serve([with_hosts("r", &["a"]), vec![rest("r")]].concat());
    assert_eq!(seen(&slot(&side, "r"), &["a", "b"]), ["r", "denied"]);
}

/// Where nothing is refused, routes stay with whoever points to them, as in Envoy.
#[test]
fn what_lets_everything_out_stays_as_long_as_a_listener_points_to_it() {
    let mut side = Side::new();
    side.serve([with_hosts("r", &["a", "b"]), vec![pointing("l", "r")]].concat());
    let open = slot(&side, "r");
    side.apply(Vec::new(), &GONE[..3]);
    assert_eq!(seen(&open, &["a", "b", "c"]), ["r", "r", "-"]);
    side.apply(Vec::new(), &[LISTENER]);
    assert_eq!(seen(&open, &["a", "b", "c"]), ["-", "-", "-"]);
}
