//! What is told of VirtualServices of the very host that was asked for, and that get no request.

use serde_json::{Value, json};
use tidegate_explain::{Answer, Question, Security, World};
use tidegate_pilot::{Input, Options};

use crate::support::{answering, gateway, manifest, object, plain, question};

fn ask(objects: &[Value], question: &Question) -> Answer {
    World::new(Options::default(), objects.iter().map(object)).explain(question)
}

/// Why the objects of a name did not take the request.
fn said(answer: &Answer, name: &str) -> Vec<String> {
    let of = answer.lost.iter().filter(|lost| lost.at != "virtualHost");
    let of = of.filter(|lost| lost.from.iter().any(|from| from.name == name));
    of.map(|lost| lost.refused.clone()).collect()
}

#[test]
fn a_rule_that_a_redirect_goes_before_is_told_who_redirects() {
    let mut redirecting = plain("r.test");
    redirecting["tls"] = json!({"httpsRedirect": true});
    let objects = [
        gateway("plain", &[plain("r.test")]),
        gateway("redir", &[redirecting]),
        answering("rv", &["r.test"], &["plain"], 299),
    ];
    let answer = ask(&objects, &question("r.test", "/"));
    let wanted = "it would take the request (path prefix /), and the redirect to TLS by servers[0] of Gateway \
                  default/redir goes first";
    assert_eq!(said(&answer, "rv"), [wanted], "{answer:#?}");
}

#[test]
fn the_host_that_goes_first_is_the_one_that_was_asked_for() {
    let objects = [
        gateway("gw", &[plain("*")]),
        answering("two", &["a.test", "b.test"], &["gw"], 298),
        answering("star", &["*"], &["gw"], 299),
    ];
    let answer = ask(&objects, &question("b.test", "/"));
    let wanted = "requests for b.test go first, which is narrower than *";
    assert_eq!(said(&answer, "star"), [wanted]);
}

#[test]
fn rules_of_another_kind_are_told() {
    let route = json!([{"destination": {"host": "up.test"}}]);
    let bytes = json!({"hosts": ["t.test"], "gateways": ["gw"], "tcp": [{"route": route}]});
    let objects =
        [gateway("gw", &[plain("t.test")]), manifest("VirtualService", "default", "t80", &bytes)];
    let answer = ask(&objects, &question("t.test", "/"));
    let wanted = "it has rules for connections (tls, tcp), and none for requests (http)";
    assert_eq!(said(&answer, "t80"), [wanted]);

    let through = json!({
        "port": {"number": 443, "name": "tls", "protocol": "HTTPS"},
        "hosts": ["hp.test"],
        "tls": {"mode": "PASSTHROUGH"},
    });
    let objects = [gateway("gw", &[through]), answering("hp", &["hp.test"], &["gw"], 299)];
    let tls = Question {
        port: 443,
        security: Security::Tls,
        sni: Some("hp.test".to_owned()),
        ..question("hp.test", "/")
    };
    let answer = ask(&objects, &tls);
    let said = said(&answer, "hp").concat();
    assert!(said.starts_with("NotApplied: http: none of the rules applies"), "{answer:#?}");
}

#[test]
fn what_is_refused_is_not_missing() {
    let invalid = |refused: &Value| Input::Invalid {
        key: object(refused).key.clone(),
        generation: 1,
        errors: vec!["spec: Invalid value".to_owned()],
        selector: None,
    };
    let chain = json!({"match": [{"uri": {"prefix": "/c"}}], "delegate": {"name": "chain"}});
    let mut root = answering("root", &["a.test"], &["gw"], 299);
    root["spec"]["http"].as_array_mut().expect("rules").insert(0, chain);
    let objects =
        [gateway("gw", &[plain("*.test")]), root, answering("bound", &["a.test"], &["gbad"], 299)];
    let refused = [gateway("gbad", &[plain("*")]), answering("chain", &["x"], &["gw"], 299)];
    let later = refused.iter().map(invalid).collect();
    let world = World::of_process(Options::default(), objects.iter().map(object), later);
    let answer = world.explain(&question("a.test", "/c"));
    assert_eq!(said(&answer, "bound"), ["it is bound to default/gbad, whose form is refused"]);
    let root = said(&answer, "root").concat();
    assert!(root.contains("the form of VirtualService default/chain is refused"), "{root}");
}
