//! Each field of a match by itself: what it takes and what it does not.

use serde_json::{Value as Json, json};
use tidegate_envoy::json::message_from_istio;
use tidegate_envoy::prost::Message as _;
use tidegate_envoy::v3::listener::{FilterChain, FilterChainMatch as Asks};
use tidegate_envoy::{dynamic, type_name};

use super::*;

fn what(json: Json) -> ObjectMatch {
    serde_json::from_value(json).expect("a match")
}

fn chain() -> DynamicMessage {
    let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let chain = FilterChain {
        name: "one".to_owned(),
        filter_chain_match: Some(Asks {
            server_names: list(&["a.example", "b.example"]),
            transport_protocol: "tls".to_owned(),
            application_protocols: list(&["h2", "http/1.1"]),
            destination_port: Some(8443),
            ..Asks::default()
        }),
        ..FilterChain::default()
    };
    let name = type_name("type.googleapis.com/envoy.config.listener.v3.FilterChain");
    dynamic(name, &chain.encode_to_vec()).expect("a chain")
}

#[test]
fn fields_of_filter_chains() {
    let plain = dynamic("envoy.config.listener.v3.FilterChain", &[]).expect("a chain");
    for (field, fit, other) in [
        ("name", json!("one"), json!("two")),
        ("sni", json!("b.example"), json!("c.example")),
        ("transportProtocol", json!("tls"), json!("raw_buffer")),
        ("applicationProtocols", json!("h2"), json!("h3")),
        ("applicationProtocols", json!("http/1.1,h2"), json!("h2,h3")),
        ("destinationPort", json!(8443), json!(443)),
    ] {
        let wanted = |value: &Json| what(json!({"listener": {"filterChain": {field: value}}}));
        assert!(filter_chain(&wanted(&fit), false, &chain()), "{field} {fit}");
        assert!(!filter_chain(&wanted(&other), false, &chain()), "{field} {other}");
        assert!(!filter_chain(&wanted(&fit), false, &plain), "{field} of a chain without");
    }
    for nothing in [json!({}), json!({"listener": {}}), json!({"listener": {"filterChain": {}}})] {
        assert!(filter_chain(&what(nothing), false, &plain));
    }
    // Where connections are redirected to, the listener's port is that of a chain.
    let port = |port: u16| what(json!({"listener": {"portNumber": port}}));
    for (wanted, by_port, fits) in [(8443, true, true), (443, true, false), (443, false, true)] {
        assert_eq!(filter_chain(&port(wanted), by_port, &chain()), fits, "{wanted} {by_port}");
    }
}

fn message(kind: &str, json: &Json) -> DynamicMessage {
    message_from_istio(kind, json).expect("a message")
}

#[test]
fn fields_of_listeners() {
    let at = json!({"socket_address": {"address": "0.0.0.0", "port_value": 8080}});
    let of = message("envoy.config.listener.v3.Listener", &json!({"name": "l", "address": at}));
    for (wanted, fits) in [
        (json!({}), true),
        (json!({"name": "l"}), true),
        (json!({"name": "m"}), false),
        (json!({"portNumber": 8080}), true),
        (json!({"portNumber": 80}), false),
        (json!({"name": "l", "portNumber": 80}), false),
        // Nobody knows it any more, in Istio either.
        (json!({"portName": "other"}), true),
    ] {
        assert_eq!(listener(&what(json!({"listener": wanted})), &of), fits, "{wanted}");
    }
}

#[test]
fn fields_of_virtual_hosts_and_routes() {
    let host = json!({"name": "a.example:80", "domains": ["a.example", "a.example:*"]});
    let host = message("envoy.config.route.v3.VirtualHost", &host);
    let of_host = |wanted: Json| what(json!({"routeConfiguration": {"vhost": wanted}}));
    for (wanted, fits) in [
        (json!({}), true),
        (json!({"name": "a.example:80"}), true),
        (json!({"name": "a.example"}), false),
        (json!({"domainName": "a.example:*"}), true),
        (json!({"domainName": "b.example"}), false),
        (json!({"name": "a.example:80", "domainName": "b.example"}), false),
    ] {
        assert_eq!(virtual_host(&of_host(wanted.clone()), &host), fits, "{wanted}");
    }
    let of_action = |action: &str| {
        let mut one = json!({"name": "r", "match": {"prefix": "/"}});
        one[action] = json!({});
        message("envoy.config.route.v3.Route", &one)
    };
    for (wanted, [routed, redirected, answered]) in [
        (json!({}), [true, true, true]),
        (json!({"name": "r"}), [true, true, true]),
        (json!({"name": "s"}), [false, false, false]),
        (json!({"action": "ANY"}), [true, true, true]),
        (json!({"action": "ROUTE"}), [true, false, false]),
        (json!({"action": "REDIRECT"}), [false, true, false]),
        (json!({"action": "DIRECT_RESPONSE"}), [false, false, true]),
        (json!({"name": "s", "action": "ROUTE"}), [false, false, false]),
    ] {
        let what = of_host(json!({"route": wanted}));
        let fits = ["route", "redirect", "direct_response"].map(|a| route(&what, &of_action(a)));
        assert_eq!(fits, [routed, redirected, answered], "{wanted}");
    }
}

#[test]
fn fields_of_route_configurations() {
    let server =
        ServerFace { port: 80, port_name: "http".to_owned(), gateway: "default/gw".to_owned() };
    let gateway = RoutePlace {
        name: "http.8080".to_owned(),
        listen: Some(8080),
        servers: vec![server],
        of_sidecar: false,
    };
    let sidecar = RoutePlace {
        name: "9080".to_owned(),
        listen: Some(9080),
        servers: Vec::new(),
        of_sidecar: true,
    };
    let fits = |place: &RoutePlace, wanted: Json| {
        route_configuration(&what(json!({"routeConfiguration": wanted})), place)
    };
    for (wanted, at_gateway, at_sidecar) in [
        (json!({}), true, true),
        (json!({"name": "http.8080"}), true, false),
        (json!({"name": "9080"}), false, true),
        (json!({"portNumber": 80}), true, false),
        (json!({"portNumber": 8080}), true, false),
        (json!({"portNumber": 9080}), false, true),
        (json!({"portName": "http"}), true, true),
        (json!({"portName": "other"}), false, true),
        (json!({"gateway": "default/gw"}), true, true),
        (json!({"gateway": "default/other"}), false, true),
        (json!({"portNumber": 80, "portName": "other"}), false, false),
    ] {
        assert_eq!(fits(&gateway, wanted.clone()), at_gateway, "gateway: {wanted}");
        assert_eq!(fits(&sidecar, wanted.clone()), at_sidecar, "sidecar: {wanted}");
    }
}

#[test]
fn fields_of_clusters() {
    let of = "outbound|80|v1|a.example";
    for (wanted, fits) in [
        (json!({}), true),
        (json!({"name": of}), true),
        // A name is all that is asked then.
        (json!({"name": of, "subset": "v2", "portNumber": 1}), true),
        (json!({"name": "outbound|80||a.example"}), false),
        (json!({"service": "a.example"}), true),
        (json!({"service": "b.example"}), false),
        (json!({"subset": "v1"}), true),
        (json!({"subset": "v2"}), false),
        (json!({"portNumber": 80}), true),
        (json!({"portNumber": 81}), false),
        (json!({"service": "a.example", "subset": "v1", "portNumber": 81}), false),
    ] {
        let what = what(json!({"cluster": wanted}));
        assert_eq!(cluster(&what, of, &[]), fits, "{wanted}");
    }
}
