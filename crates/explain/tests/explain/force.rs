//! Forms that are refused: what serves in their place, and how that is told.

use serde_json::json;
use tidegate_api::{Kind, ObjectKey};
use tidegate_explain::{Answer, End, Look, Question, Security, World, render};
use tidegate_pilot::{Input, Options};
use tidegate_testing::ca::Ca;

use crate::support::{Folder, answering, gateway, object, plain, question, secret, server};

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

/// A world of these forms of the VirtualService, where the last is newer than what proved good.
fn of_process(
    folder: &Folder,
    good: Option<&str>,
    later: impl FnOnce(&Folder) -> Vec<Input>,
) -> World {
    let mut objects = folder.objects("around.yaml", AROUND);
    objects.extend(good.into_iter().flat_map(|good| folder.objects("v.yaml", good)));
    World::of_process(Options::default(), objects, later(folder))
}

fn newer(folder: &Folder) -> Vec<Input> {
    folder.objects("v.yaml", REFUSED).into_iter().map(Input::Apply).collect()
}

fn invalid(_: &Folder) -> Vec<Input> {
    let key = ObjectKey::new(Kind::VirtualService, "default", "v");
    let errors = vec!["spec.http: Required value".to_owned(), "v.yaml:3".to_owned()];
    vec![Input::Invalid { key, generation: 2, errors, selector: None }]
}

fn cluster(answer: &Answer) -> &str {
    answer.clusters.first().map_or("", |cluster| &cluster.name)
}

#[test]
fn a_route_that_is_refused_is_served_in_its_last_good_form() {
    let folder = Folder::new();
    let world = of_process(&folder, Some(GOOD), newer);
    let answer = world.explain(&question(HOST, "/api"));
    assert_eq!((&answer.end, cluster(&answer)), (&End::Forwarded, "outbound|80||a.org"));
    let [told] = &answer.not_in_force[..] else { panic!("{:#?}", answer.not_in_force) };
    assert_eq!(told.instead, "lastGood");
    assert!(told.refused.contains("the sum of the weights must fit"), "{}", told.refused);
    let place = &told.from[0];
    assert_eq!((place.path.as_str(), place.line), ("spec.http[0].match[0]", Some(10)));
    let text = render(&question(HOST, "/api"), &answer, Look::default());
    assert!(text.contains("not in force"), "{text}");
    assert!(text.contains("v.yaml:10"), "{text}");
    assert!(text.contains("the last form that was good serves on in its place"), "{text}");

    // What is good beside it is in force, and what is not is told all the same.
    let answer = world.explain(&question(HOST, "/new"));
    assert_eq!((cluster(&answer), answer.not_in_force.len()), ("outbound|80||b.org", 1));
}

#[test]
fn a_route_that_never_was_good_is_told_where_it_is_answered_500() {
    let folder = Folder::new();
    let world = of_process(&folder, None, newer);
    let answer = world.explain(&question(HOST, "/api"));
    assert_eq!(answer.end, End::Answered { status: 500 });
    let [told] = &answer.not_in_force[..] else { panic!("{:#?}", answer.not_in_force) };
    assert_eq!((told.instead, told.from[0].line), ("nothing", Some(10)));
}

#[test]
fn a_form_that_does_not_decode_leaves_the_one_before() {
    let folder = Folder::new();
    let world = of_process(&folder, Some(GOOD), invalid);
    let answer = world.explain(&question(HOST, "/api"));
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
    let text = render(&question(HOST, "/api"), &answer, Look::default());
    assert!(
        text.contains("VirtualService default/v http[0].match[0], in its last good form"),
        "{text}"
    );

    // What the form before does not take, the newest might have.
    let elsewhere = Question { host: "b.example.com".to_owned(), ..question(HOST, "/api") };
    let lost = world.explain(&elsewhere).lost;
    let said = lost.iter().find(|lost| lost.at == "object").map(|lost| &*lost.refused);
    assert_eq!(said, Some("its newest form is refused: spec.http: Required value; v.yaml:3"));

    let never = of_process(&folder, None, invalid).explain(&question(HOST, "/api"));
    let lost = never.lost.iter().find(|lost| lost.at == "object").expect("a candidate");
    assert!(lost.refused.contains("spec.http: Required value"), "{lost:?}");
    assert_eq!(lost.from[0].name, "v");
}

#[test]
fn a_form_that_is_good_is_in_force_at_once() {
    let folder = Folder::new();
    let moved = GOOD.replace("a.org", "b.org");
    let later =
        |folder: &Folder| folder.objects("v.yaml", &moved).into_iter().map(Input::Apply).collect();
    let answer = of_process(&folder, Some(GOOD), later).explain(&question(HOST, "/api"));
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
        ..question(HOST, "/")
    };
    let answer = |later: Option<serde_json::Value>| {
        let objects = around.iter().chain([&good]).map(object);
        let later = later.iter().map(object).map(Input::Apply).collect();
        World::of_process(Options::default(), objects, later).explain(&question)
    };
    assert_eq!(answer(None).not_in_force, []);
    // One that is the only one serves though it has expired.
    let expired = secret("one", &ca, &ca.issue_expired(&[HOST]));
    let objects = around.iter().chain([&expired]).map(object);
    let shown = World::new(Options::default(), objects).explain(&question);
    let [told] = &shown.not_in_force[..] else { panic!("{shown:#?}") };
    assert_eq!((told.instead, told.from[0].kind.as_str()), ("itself", "Secret"), "{told:?}");
    let text = render(&question, &shown, Look::default());
    assert!(told.refused.contains("expired at 2001-01-01T00:00:00"), "{told:?}");
    assert!(text.contains("  doubtful ") && text.contains("in force all the same"), "{text}");
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

/// What may have to do with every request is told where it is refused, whether or not it stands on the way.
#[test]
fn refused_forms_of_policies_and_patches_are_told() {
    let folder = Folder::new();
    let invalid = |kind: Kind, name: &str| Input::Invalid {
        key: ObjectKey::new(kind, "istio-system", name),
        generation: 1,
        errors: vec![format!("{name} is wrong")],
        selector: None,
    };
    let told = |good: &str, kind: Kind, name: &str| {
        let mut objects = folder.objects("around.yaml", AROUND);
        objects.extend(folder.objects("v.yaml", GOOD));
        objects.extend(
            (!good.is_empty()).then(|| folder.objects("good.yaml", good)).into_iter().flatten(),
        );
        let world = World::of_process(Options::default(), objects, vec![invalid(kind, name)]);
        let answer = world.explain(&question(HOST, "/api"));
        let [form] = &answer.not_in_force[..] else { panic!("{answer:#?}") };
        assert_eq!(
            (form.refused.as_str(), form.from[0].last_good),
            (&*format!("{name} is wrong"), false)
        );
        (answer.end.clone(), form.instead, answer)
    };
    let closed = |kind: &str, name: &str| End::Refused {
        error: tidegate_explain::Error::Denied,
        status: Some(403),
        reason: format!(
            "{kind} istio-system/{name} cannot be read, and what it asks for is not known: until it is right or gone \
             everything is refused"
        ),
    };
    let (end, instead, answer) = told("", Kind::AuthorizationPolicy, "p");
    assert_eq!((end, instead), (closed("AuthorizationPolicy", "p"), "closed"));
    let page = render(&question(HOST, "/api"), &answer, Look::default());
    assert!(!page.contains("last good form"), "there is none: {page}");
    let (end, instead, answer) = told("", Kind::RequestAuthentication, "users");
    assert_eq!((end, instead), (closed("RequestAuthentication", "users"), "closed"));
    assert_eq!(answer.policies[0].from[0].kind, "RequestAuthentication");
    let (end, instead, _) = told("", Kind::EnvoyFilter, "limit");
    assert_eq!((end, instead), (End::Forwarded, "nothing"));
    let good = "\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p, namespace: istio-system}
spec: {action: DENY, rules: [{to: [{operation: {paths: [/shut]}}]}]}
";
    let (end, instead, _) = told(good, Kind::AuthorizationPolicy, "p");
    assert_eq!((end, instead), (End::Forwarded, "lastGood"));
}

#[test]
fn what_of_a_patch_is_not_applied_is_told() {
    let folder = Folder::new();
    let filter = "\
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: limit, namespace: istio-system}
spec:
  configPatches:
  - applyTo: HTTP_FILTER
    match: {context: GATEWAY}
    patch:
      operation: INSERT_FIRST
      value:
        name: limit
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
          stat_prefix: a
          token_bucket: {max_tokens: 1, fill_interval: 1ms}
";
    let mut objects = folder.objects("around.yaml", AROUND);
    objects.extend(folder.objects("v.yaml", GOOD));
    objects.extend(folder.objects("limit.yaml", filter));
    let judge = tidegate_pilot::Judge(tidegate_proxy::config::would_take);
    let options = Options { judge, ..Options::default() };
    let answer = World::new(options, objects).explain(&question(HOST, "/api"));
    let [form] = &answer.not_in_force[..] else { panic!("{answer:#?}") };
    assert_eq!((form.instead, form.from[0].name.as_str()), ("nothing", "limit"));
    assert!(form.refused.contains("50 ms"), "{form:?}");
}
