//! Where redirects lead, with what clients write into `Host`.

use serde_json::{Value, json};
use tidegate_explain::{End, Question, World};
use tidegate_pilot::Options;

use crate::support::{gateway, manifest, object, plain, question};

/// Where a request for `http://HOST/old/path?q=1` at a port is sent by the only rule of a VirtualService.
fn location(port: u16, hosts: &Value, redirect: &Value, host: &str) -> String {
    let mut server = plain("*");
    server["port"]["number"] = json!(port);
    let rule = json!({"match": [{"uri": {"prefix": "/old"}}], "redirect": redirect});
    let spec = json!({"hosts": hosts, "gateways": ["gw"], "http": [rule]});
    let own = [gateway("gw", &[server]), manifest("VirtualService", "default", "app", &spec)];
    let world = World::new(Options::default(), own.iter().map(object));
    let question = Question { port, ..question(host, "/old/path?q=1") };
    match world.explain(&question).end {
        End::Redirected { location, .. } => location,
        other => panic!("{redirect} for {host}: {other:?}"),
    }
}

#[test]
fn the_port_is_the_one_that_is_asked_for() {
    let (one, any) = (json!(["app.test"]), json!(["*.test"]));
    let tls = json!({"uri": "/", "scheme": "https", "port": 443});
    let derived = |scheme: &str| {
        let mut redirect = json!({"uri": "/", "derivePort": "FROM_PROTOCOL_DEFAULT"});
        if !scheme.is_empty() {
            redirect["scheme"] = scheme.into();
        }
        redirect
    };
    let elsewhere = json!({"uri": "/", "authority": "new.test", "scheme": "https", "port": 443});
    let same = json!({"uri": "/", "scheme": "https", "derivePort": "FROM_REQUEST_PORT"});
    let own = json!({"uri": "/", "port": 8443});
    let none = json!({"uri": "/", "scheme": "https"});
    let cases = [
        // port of the gateway, hosts, redirect, Host, location
        (80, &one, &tls, "app.test", "https://app.test/?q=1"),
        (80, &one, &tls, "app.test:8080", "https://app.test/?q=1"),
        (80, &any, &tls, "app.test:8080", "https://app.test:443/?q=1"),
        (80, &one, &derived("https"), "app.test:8080", "https://app.test/?q=1"),
        (80, &any, &derived("https"), "app.test:8080", "https://app.test:443/?q=1"),
        (8080, &one, &derived(""), "app.test:8080", "http://app.test/?q=1"),
        (8080, &any, &derived(""), "app.test:8080", "http://app.test:80/?q=1"),
        (80, &any, &elsewhere, "app.test:8080", "https://new.test/?q=1"),
        (80, &any, &own, "app.test:8080", "http://app.test:8443/?q=1"),
        (80, &one, &own, "app.test", "http://app.test:8443/?q=1"),
        (8080, &one, &same, "app.test:8080", "https://app.test:8080/?q=1"),
        (443, &any, &same, "app.test:8443", "https://app.test:8443/?q=1"),
        (80, &one, &none, "app.test:8080", "https://app.test:8080/?q=1"),
    ];
    for (port, hosts, redirect, host, wanted) in cases {
        assert_eq!(location(port, hosts, redirect, host), wanted, "{redirect} for {host}");
    }
}

#[test]
fn the_query_stays_unless_the_new_path_has_one() {
    let hosts = json!(["app.test"]);
    for (redirect, wanted) in [
        (json!({"uri": "/new"}), "http://app.test/new?q=1"),
        (json!({"uri": "/new?a=b"}), "http://app.test/new?a=b"),
        (json!({"prefixRewrite": "/new"}), "http://app.test/new/path?q=1"),
    ] {
        assert_eq!(location(80, &hosts, &redirect, "app.test"), wanted, "{redirect}");
    }
}
