use serde_json::{Value, json};
use tidegate_api::{Kind, Object, ObjectKey, Spec};

use super::*;
use crate::Options;
use crate::model::gateway::Gateway;

/// Merges Gateways (name and servers, in order of age) on one port.
fn merged(port: u16, gateways: &[(&str, Value)]) -> PortPlan {
    let servers = gateways.iter().flat_map(|(name, servers)| {
        let spec: tidegate_api::istio::Gateway =
            serde_json::from_value(json!({"servers": servers})).expect("a Gateway");
        let key = ObjectKey::new(Kind::Gateway, "default", *name);
        let object = Object::new(key, Spec::Gateway(Box::new(spec.clone())));
        Gateway::select(&object, &spec, &Options::default()).expect("no selector").servers
    });
    let servers: Vec<_> = servers.collect();
    let mut plan = merge(port, servers.iter().filter(|s| s.listen.contains(&port)), "0.0.0.0");
    plan.lay_out(|_| true);
    plan
}

fn server(protocol: &str, host: &str) -> Value {
    let tls = matches!(protocol, "HTTPS" | "TLS").then(|| json!({"mode": "PASSTHROUGH"}));
    json!({"port": {"number": 80, "name": "p", "protocol": protocol}, "hosts": [host], "tls": tls})
}

fn shares(plan: &PortPlan) -> Vec<(&str, usize)> {
    plan.listeners.iter().map(|l| (&*l.name, l.servers.len())).collect()
}

fn reasons(plan: &PortPlan) -> Vec<&str> {
    plan.refused.iter().map(|r| r.reason.as_str()).collect()
}

#[test]
fn http_of_any_version_shares_a_port() {
    let plan = merged(
        80,
        &[
            ("a", json!([server("HTTP", "a.com")])),
            ("b", json!([server("GRPC", "a.com"), server("http2", "b.com")])),
            ("c", json!([server("GRPC-Web", "c.com")])),
        ],
    );
    assert_eq!(shares(&plan), [("0.0.0.0_80", 4)]);
    assert_eq!(&*plan.listeners[0].routes[0].name, "http.80");
    assert!(plan.refused.is_empty());
}

#[test]
fn the_oldest_protocol_wins_and_is_named() {
    let plan = merged(
        80,
        &[
            ("a", json!([server("TCP", "*")])),
            ("b", json!([server("HTTP", "*")])),
            ("c", json!([server("MONGO", "*")])),
        ],
    );
    assert_eq!(shares(&plan), [("0.0.0.0_80", 1)]);
    assert_eq!(
        reasons(&plan),
        [
            "port 80 carries TCP for servers[0] of Gateway default/a, which is as old and comes first by its name; HTTP cannot \
             share it",
            "port 80 belongs to servers[0] of Gateway default/a, which is as old and comes first by its name; TCP servers cannot \
             share one",
        ]
    );
}

#[test]
fn tls_servers_share_a_port_but_no_host() {
    let plan = merged(
        80,
        &[
            ("a", json!([server("HTTPS", "a.com")])),
            ("b", json!([server("TLS", "b.com")])),
            ("c", json!([server("TLS", "a.com")])),
        ],
    );
    assert_eq!(shares(&plan), [("0.0.0.0_80", 2)]);
    assert_eq!(
        reasons(&plan),
        [
            "host a.com on port 80 belongs to servers[0] of Gateway default/a, which is as old and comes first by its name"
        ]
    );
}

#[test]
fn addresses_do_not_disturb_each_other() {
    let mut bound = server("TCP", "*");
    bound["bind"] = json!("127.0.0.1");
    let plan = merged(80, &[("a", json!([server("HTTP", "*"), bound]))]);
    assert_eq!(shares(&plan), [("0.0.0.0_80", 1), ("127.0.0.1_80", 1)]);
    assert!(plan.refused.is_empty());
}

#[test]
fn tls_without_settings_is_refused() {
    let bare = json!({"port": {"number": 80, "name": "p", "protocol": "HTTPS"}, "hosts": ["*"]});
    let plan = merged(80, &[("a", json!([bare]))]);
    assert!(plan.listeners.is_empty());
    assert_eq!(reasons(&plan), ["HTTPS needs tls settings, such as mode PASSTHROUGH"]);
}

/// A server that terminates HTTPS with the Secret `s`, whose terms differ by `oldest`.
fn https(hosts: &[&str], oldest: &str) -> Value {
    let tls = json!({"mode": "SIMPLE", "credentialName": "s", "minProtocolVersion": oldest});
    json!({"port": {"number": 80, "name": "p", "protocol": "HTTPS"}, "hosts": hosts, "tls": tls})
}

#[test]
fn a_conflict_names_all_hosts_that_it_closes() {
    let more = ["one", "two", "a", "b", "c", "d", "e"];
    let servers = json!([https(&["one"], "TLSV1_2"), https(&more, "TLSV1_2")]);
    assert_eq!(
        reasons(&merged(80, &[("g", servers)])),
        [
            "host one on port 80 belongs to servers[0] of Gateway default/g, which stands before it in the same \
          Gateway; so the whole server is closed, also for two, a, b, c, d and 1 more"
        ]
    );
}

/// What cannot hold a handshake has no say in how connections without a server name are served.
#[test]
fn faulty_terms_leave_connections_without_a_name_to_others() {
    let [faulty, sound] = ["TLSV1_3", "TLSV1_2"].map(|oldest| {
        let mut server = https(&[oldest], oldest);
        server["tls"]["maxProtocolVersion"] = json!("TLSV1_2");
        server
    });
    let plan = merged(80, &[("a", json!([faulty])), ("b", json!([sound.clone()]))]);
    let alone = merged(80, &[("b", json!([sound]))]);
    let nameless = |plan: &PortPlan| plan.listeners[0].nameless.clone();
    assert!(nameless(&alone).is_some());
    assert_eq!(nameless(&plan), nameless(&alone));
}

/// Rules about certificates are for those that were verified: where any will do, the handshake alone demands one.
#[test]
fn certificates_that_nobody_verifies_are_demanded_by_the_handshake() {
    let every = |unverified: bool| {
        let mut server = https(&["*"], "TLSV1_2");
        server["tls"]["mode"] = json!("MUTUAL");
        server["tls"]["insecureSkipVerify"] = json!(unverified);
        let plan = merged(80, &[("a", json!([server, https(&["b"], "TLSV1_2")]))]);
        plan.listeners[0].nameless.clone()
    };
    let shared = every(false).expect("routed by Host");
    assert!(shared.every.is_some_and(|server| server.takes_every_name()));
    assert!(!shared.terms.demands_certificate());
    assert_eq!(every(true), None);
}
