//! AuthorizationPolicies on the way of a request.

use tidegate_explain::{Answer, End, Error, Question};

use crate::support::{Case, question};

const OBJECTS: &str = r#"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, namespace: default}
spec:
  hosts: [a.example.com]
  gateways: [g]
  http: [{match: [{uri: {prefix: /open}}, {uri: {prefix: /shut}}, {uri: {prefix: /other}}], directResponse: {status: 418}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: denies, namespace: istio-system}
spec:
  action: DENY
  rules:
  - to: [{operation: {methods: [PUT]}}]
  - to: [{operation: {paths: ["/shut*"]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: allows, namespace: istio-system}
spec:
  rules: [{to: [{operation: {paths: ["/open*", "/shut*"]}}]}]
"#;

/// What policies make of it: verdict, name, path and line.
fn judged(answer: &Answer) -> Vec<(&str, String)> {
    let place = |judged: &tidegate_explain::Judged| {
        let from = judged.from.first().expect("a place");
        format!("{} {} {}", from.name, from.path, from.line.expect("a line"))
    };
    answer.policies.iter().map(|judged| (judged.verdict, place(judged))).collect()
}

#[test]
fn the_policy_that_decides_is_named_with_its_place() {
    let case = Case::new(OBJECTS);
    let denied = |reason: &str| End::Refused {
        error: Error::Denied,
        status: Some(403),
        reason: reason.to_owned(),
    };
    let open = case.ask("a.example.com", "/open", &[]);
    assert_eq!(open.end, End::Answered { status: 418 });
    assert_eq!(judged(&open), [("allows it", "allows spec.rules[0] 30".to_owned())]);

    let shut = case.ask("a.example.com", "/shut", &[]);
    assert_eq!(shut.end, denied("AuthorizationPolicy istio-system/denies denies it"));
    assert_eq!(judged(&shut), [("denies it", "denies spec.rules[1] 24".to_owned())]);
    assert_eq!(shut.nearest, None);

    let other = case.ask("a.example.com", "/other", &[]);
    assert_eq!(other.end, denied("no AuthorizationPolicy allows it"));
    assert_eq!(judged(&other), [("allows something else", "allows spec 29".to_owned())]);
    let unmet =
        "rules[0].to[0].operation.paths (line 30) asks for /open* or /shut*; the path is /other";
    assert_eq!(other.policies[0].unmet, [unmet]);
    // Also where there is nothing to be had.
    assert_eq!(case.ask("b.example.com", "/other", &[]).end, other.end);
}

/// A policy for each way in which one fails to allow, in front of the same route.
const CLOSED: &str = r#"
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: deny-all, namespace: istio-system}
spec: {}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: elsewhere, namespace: default}
spec: {rules: [{}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: some, namespace: istio-system}
spec:
  rules:
  - to: [{operation: {methods: [get], paths: ["/open"]}}, {operation: {ports: ["81"]}}]
    from: [{source: {ipBlocks: [127.0.0.1], notRequestPrincipals: ["*"]}}]
    when: [{key: "request.headers[x-a]", notValues: ["1"]}]
"#;

#[test]
fn what_kept_a_policy_from_allowing_is_told() {
    let gateway = OBJECTS.split("---").take(2).collect::<Vec<_>>().join("---");
    let case = Case::new(&(gateway + CLOSED));
    let answer = case.ask("a.example.com", "/open", &[("x-a", "1")]);
    let [all, some] = &answer.policies[..] else { panic!("two policies: {answer:#?}") };
    assert_eq!((all.verdict, all.unmet.len()), ("allows nothing: it has no rules", 0));
    let unmet: Vec<String> =
        some.unmet.iter().map(|unmet| unmet.replace("rules[0].", "")).collect();
    assert_eq!(
        unmet,
        [
            "to[0].operation.methods (line 33) asks for get; the method is GET",
            "to[1].operation.ports (line 33) asks for 81; the port is 80",
            "from[0].source.ipBlocks (line 34) asks for 127.0.0.1; the peer's address is 192.0.2.1",
            "when[0].notValues (line 35) asks for request.headers[x-a] none of 1; the request has 1",
        ]
    );
    let lost =
        answer.lost.iter().find(|lost| lost.from[0].name == "elsewhere").expect("it is told");
    assert!(lost.refused.contains("for this gateway it has to be in istio-system"), "{lost:?}");
}

#[test]
fn an_address_that_decides_is_named_and_may_be_given() {
    let gateway = OBJECTS.split("---").take(2).collect::<Vec<_>>().join("---");
    let policy = r#"
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: near, namespace: istio-system}
spec: {rules: [{from: [{source: {ipBlocks: [127.0.0.0/8]}}]}]}
"#;
    let case = Case::new(&(gateway + policy));
    let question = question("a.example.com", "/open");
    let unknown = case.world.explain(&question);
    assert!(matches!(unknown.end, End::Refused { error: Error::Denied, .. }), "{unknown:#?}");
    let note = "from 127.0.0.0 it would be let through here (--client-address 127.0.0.0)";
    assert!(unknown.notes.iter().any(|told| told.contains(note)), "{:?}", unknown.notes);
    let near = Question { client_address: "127.0.0.1".parse().ok(), ..question.clone() };
    let near = case.world.explain(&near);
    assert_eq!((near.end, near.notes.len()), (End::Answered { status: 418 }, 0));
    let far = Question { client_address: "10.0.0.1".parse().ok(), ..question };
    let far = case.world.explain(&far);
    assert_eq!((&far.end, far.notes.len()), (&unknown.end, 0));
    assert!(far.policies[0].unmet[0].ends_with("the peer's address is 10.0.0.1"), "{far:?}");
}
