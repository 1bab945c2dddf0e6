//! Forms that are refused: what serves in their place, and how that is told.

use std::sync::Arc;

use serde_json::json;
use tidegate_api::{Kind, Object, ObjectKey};
use tidegate_explain::{Answer, End, Question, Security, World, render};
use tidegate_pilot::{Input, Options};
use tidegate_testing::ca::Ca;

use crate::support::{answering, from_file, gateway, object, plain, secret, server};

const HOST: &str = "a.example.com";

/// What every world here has beside its VirtualService: a gateway, and two destinations.
const AROUND: &str = "\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: default}
spec:
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ['*']
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: hosts, namespace: default}
spec:
  hosts: [a.org, b.org]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 10.0.0.1}]
";

const GOOD: &str = "\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, namespace: default}
spec:
  hosts: [a.example.com]
  gateways: [gw]
  http:
  - name: old
    match: [{uri: {prefix: /api}}]
    route: [{destination: {host: a.org}}]
";

/// Weights whose sum the proxy does not take, and a rule that is as good as any.
const REFUSED: &str = "\
# A line before.
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, namespace: default}
spec:
  hosts: [a.example.com]
  gateways: [gw]
  http:
  - name: new
    match: [{uri: {prefix: /api}}]
    route:
    - {destination: {host: b.org}, weight: 2000000000}
    - {destination: {host: a.org}, weight: 2000000000}
    - {destination: {host: b.org, port: {number: 80}}, weight: 2000000000}
  - match: [{uri: {prefix: /new}}]
    route: [{destination: {host: b.org}}]
";

struct Case {
    folder: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    fn objects(&self, file: &str, manifests: &str) -> Vec<Arc<Object>> {
        from_file(&self.folder.path().join(file), manifests)
    }

    /// A world of these forms of the VirtualService, where the last is newer than what proved good.
    fn world(&self, good: Option<&str>, later: impl FnOnce(&Self) -> Vec<Input>) -> World {
        let mut objects = self.objects("around.yaml", AROUND);
        objects.extend(good.into_iter().flat_map(|good| self.objects("v.yaml", good)));
        World::of_process(Options::default(), objects, later(self))
    }
}

fn newer(case: &Case) -> Vec<Input> {
    case.objects("v.yaml", REFUSED).into_iter().map(Input::Apply).collect()
}

fn invalid(_: &Case) -> Vec<Input> {
    let key = ObjectKey::new(Kind::VirtualService, "default", "v");
    let errors = vec!["spec.http: Required value".to_owned(), "v.yaml:3".to_owned()];
    vec![Input::Invalid { key, generation: 2, errors }]
}

fn question(path: &str) -> Question {
    Question { host: HOST.to_owned(), path: path.to_owned(), ..Question::default() }
}

fn cluster(answer: &Answer) -> &str {
    answer.clusters.first().map_or("", |cluster| &cluster.name)
}

#[test]
fn a_route_that_is_refused_is_served_in_its_last_good_form() {
    let case = Case::new();
    let world = case.world(Some(GOOD), newer);
    let answer = world.explain(&question("/api"));
    assert_eq!((&answer.end, cluster(&answer)), (&End::Forwarded, "outbound|80||a.org"));
    let [told] = &answer.not_in_force[..] else { panic!("{:#?}", answer.not_in_force) };
    assert_eq!(told.instead, "lastGood");
    assert!(told.refused.contains("the sum of the weights must fit"), "{}", told.refused);
    let place = &told.from[0];
    assert_eq!((place.path.as_str(), place.line), ("spec.http[0].match[0]", Some(10)));
    let text = render(&question("/api"), &answer, false);
    assert!(text.contains("not in force"), "{text}");
    assert!(text.contains("v.yaml:10"), "{text}");
    assert!(text.contains("the last form that was good serves on in its place"), "{text}");

    // What is good beside it is in force, and what is not is told all the same.
    let answer = world.explain(&question("/new"));
    assert_eq!((cluster(&answer), answer.not_in_force.len()), ("outbound|80||b.org", 1));
}

#[test]
fn a_route_that_never_was_good_is_told_where_it_is_answered_500() {
    let case = Case::new();
    let world = case.world(None, newer);
    let answer = world.explain(&question("/api"));
    assert_eq!(answer.end, End::Answered { status: 500 });
    let [told] = &answer.not_in_force[..] else { panic!("{:#?}", answer.not_in_force) };
    assert_eq!((told.instead, told.from[0].line), ("nothing", Some(10)));
}

#[test]
fn a_form_that_does_not_decode_leaves_the_one_before() {
    let case = Case::new();
    let world = case.world(Some(GOOD), invalid);
    let answer = world.explain(&question("/api"));
    assert_eq!(cluster(&answer), "outbound|80||a.org");
    let [told] = &answer.not_in_force[..] else { panic!("{:#?}", answer.not_in_force) };
    assert_eq!(told.refused, "spec.http: Required value; v.yaml:3");
    assert_eq!((told.instead, told.from[0].last_good), ("lastGood", false));
    // No line of the file is that of a form which it does not have any more.
    let from = &answer.route.as_ref().expect("a route").from[0];
    assert_eq!(
        (from.line, from.last_good, from.path.as_str()),
        (None, true, "spec.http[0].match[0]")
    );
    assert!(from.file.as_ref().is_some_and(|file| file.ends_with("v.yaml")), "{from:?}");
    let text = render(&question("/api"), &answer, false);
    assert!(
        text.contains("VirtualService default/v http[0].match[0], in its last good form"),
        "{text}"
    );

    // What the form before does not take, the newest might have.
    let elsewhere = Question { host: "b.example.com".to_owned(), ..question("/api") };
    let lost = world.explain(&elsewhere).lost;
    let said = lost.iter().find(|lost| lost.at == "object").map(|lost| &*lost.refused);
    assert_eq!(said, Some("its newest form is refused: spec.http: Required value; v.yaml:3"));

    let never = case.world(None, invalid).explain(&question("/api"));
    let lost = never.lost.iter().find(|lost| lost.at == "object").expect("a candidate");
    assert!(lost.refused.contains("spec.http: Required value"), "{lost:?}");
    assert_eq!(lost.from[0].name, "v");
}

#[test]
fn a_form_that_is_good_is_in_force_at_once() {
    let case = Case::new();
    let moved = GOOD.replace("a.org", "b.org");
    let later =
        |case: &Case| case.objects("v.yaml", &moved).into_iter().map(Input::Apply).collect();
    let answer = case.world(Some(GOOD), later).explain(&question("/api"));
    assert_eq!((cluster(&answer), answer.not_in_force.len()), ("outbound|80||b.org", 0));
}

#[test]
fn a_certificate_that_serves_on_is_told_with_what_is_wrong_with_its_secret() {
    let ca = Ca::new("root");
    let good = secret("one", &ca, &ca.issue(&[HOST]));
    let tls = json!({"mode": "SIMPLE", "credentialName": "one"});
    let around = [
        gateway("gw", &[server("https", HOST, &tls), plain("other.example.com")]),
        answering("all", &[HOST], &["gw"], 299),
    ];
    let question = Question {
        port: 443,
        security: Security::Tls,
        sni: Some(HOST.to_owned()),
        ..question("/")
    };
    let answer = |later: Option<serde_json::Value>| {
        let objects = around.iter().chain([&good]).map(object);
        let later = later.iter().map(object).map(Input::Apply).collect();
        World::of_process(Options::default(), objects, later).explain(&question)
    };
    assert_eq!(answer(None).not_in_force, []);
    assert_eq!(answer(Some(secret("one", &ca, &ca.issue(&[HOST])))).not_in_force, []);

    let mut other = good.clone();
    other["stringData"]["key"] = json!(ca.issue(&[HOST]).key_pem);
    let mut empty = good.clone();
    empty["stringData"] = json!({"note": "nothing of use"});
    for wrong in [other, empty] {
        let answer = answer(Some(wrong.clone()));
        assert_eq!(answer.end, End::Answered { status: 299 }, "{wrong}");
        let [told] = &answer.not_in_force[..] else { panic!("{wrong} {answer:#?}") };
        assert_eq!((told.instead, told.from[0].kind.as_str()), ("lastGood", "Secret"), "{told:?}");
        assert!(told.refused.contains("Secret istio-system/one"), "{}", told.refused);
    }
}
