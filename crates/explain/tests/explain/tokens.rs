//! RequestAuthentications on the way of a request, and what tokens say to policies and routes.

use serde_json::json;
use tidegate_explain::{Answer, End, Error, Look, render};
use tidegate_testing::jwt::Signer;

use crate::support::{Case, question};

/// Two issuers, of which one has its tokens elsewhere; a route and a policy that ask for claims.
fn manifests(signer: &Signer, other: &Signer) -> String {
    format!(
        r#"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: g, namespace: default}}
spec:
  servers: [{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: ["*"]}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: v, namespace: default}}
spec:
  hosts: [a.example]
  gateways: [g]
  http:
  - match: [{{uri: {{prefix: /}}, headers: {{"@request.auth.claims.group": {{exact: admin}}}}}}]
    directResponse: {{status: 201}}
  - directResponse: {{status: 202}}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: users, namespace: istio-system}}
spec:
  jwtRules:
  - issuer: one
    audiences: [here]
    jwks: '{}'
  - issuer: two
    fromHeaders: [{{name: x-token}}]
    jwks: '{}'
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: known, namespace: istio-system}}
spec: {{rules: [{{from: [{{source: {{requestPrincipals: ["one/*"]}}}}]}}]}}
"#,
        signer.set(),
        other.set()
    )
}

fn tokens(answer: &Answer) -> Vec<(&str, &str, &str)> {
    let told = answer.tokens.iter().map(|token| {
        let [from] = &token.from[..] else { panic!("one place: {token:?}") };
        (token.issuer.as_str(), token.verdict.as_str(), from.path.as_str())
    });
    told.collect()
}

#[test]
fn tokens_are_verified_and_what_they_say_counts() {
    let (signer, other) = (Signer::new("ES256"), Signer::new("ES256"));
    let case = Case::new(&manifests(&signer, &other));
    let sign = |signer: &Signer, claims: serde_json::Value| {
        format!("Bearer {}", signer.token(&json!({"alg": "ES256"}), &claims))
    };
    let ask = |token: &str| case.ask("a.example", "/", &[("authorization", token)]);
    let good = |more: serde_json::Value| {
        let mut claims = json!({"iss": "one", "sub": "me", "aud": "here"});
        claims.as_object_mut().expect("claims").extend(more.as_object().cloned().expect("claims"));
        sign(&signer, claims)
    };
    let rule = "spec.jwtRules[0]";

    let plain = ask(&good(json!({})));
    assert_eq!(plain.end, End::Answered { status: 202 }, "{plain:#?}");
    assert_eq!(tokens(&plain), [("one", "the token is good", rule)]);
    assert_eq!(plain.policies[0].verdict, "allows it");
    assert_eq!(plain.tokens[0].from[0].line, Some(24));
    // A claim chooses the route.
    let admin = ask(&good(json!({"group": ["admin"]})));
    assert_eq!(admin.end, End::Answered { status: 201 });

    let refused = |status, fault: &str| End::Refused {
        error: Error::Denied,
        status: Some(status),
        reason: format!("no token lets it through: {fault}"),
    };
    let expired = ask(&good(json!({"exp": 1})));
    assert_eq!(expired.end, refused(401, "Jwt is expired"));
    assert_eq!(tokens(&expired), [("one", "the token is refused: Jwt is expired", rule)]);
    let forged = ask(&sign(&other, json!({"iss": "one", "sub": "me", "aud": "here"})));
    assert_eq!(forged.end, refused(401, "Jwt verification fails"));
    let elsewhere = ask(&good(json!({"aud": "there"})));
    assert_eq!(elsewhere.end, refused(403, "Audiences in Jwt are not allowed"));
    assert!(matches!(ask("Bearer garbage").end, End::Refused { status: Some(401), .. }));

    // Without one there is nobody whom the policy knows.
    let none = case.ask("a.example", "/", &[]);
    let End::Refused { status: Some(403), reason, .. } = &none.end else { panic!("{none:#?}") };
    assert_eq!(reason, "no AuthorizationPolicy allows it");
    assert!(none.policies[0].unmet[0].ends_with("the request has no verified token"), "{none:#?}");
    let lost = none.lost.iter().find(|lost| lost.at == "route").expect("the route of a claim");
    let asks =
        "it asks for claim group of a verified token: exact \"admin\"; nothing verified says so";
    assert_eq!(lost.refused, asks);
    let second = sign(&other, json!({"iss": "two", "sub": "you"}));
    let second = case.ask("a.example", "/", &[("x-token", second.trim_start_matches("Bearer "))]);
    assert_eq!(tokens(&second), [("two", "the token is good", "spec.jwtRules[1]")]);
    assert!(
        second.policies[0].unmet[0].contains("its verified token is of two/you"),
        "{second:#?}"
    );
    let page = render(&question("a.example", "/"), &second, Look::default());
    assert!(page.contains("token                two   the token is good"), "{page}");
}

#[test]
fn keys_that_are_fetched_leave_open_what_only_they_tell() {
    let signer = Signer::new("ES256");
    let fetched = manifests(&signer, &signer).replacen(
        &format!("jwks: '{}'", signer.set()),
        "jwksUri: https://keys.example/set",
        1,
    );
    let case = Case::new(&fetched);
    let token = |issuer: &str, end: u64| {
        let claims = json!({"iss": issuer, "sub": "me", "aud": "here", "exp": end});
        signer.token(&json!({"alg": "ES256"}), &claims)
    };
    let ask = |header: &str, token: &str| case.ask("a.example", "/", &[(header, token)]);
    let open = ask("authorization", &format!("Bearer {}", token("one", 4_000_000_000)));
    assert!(
        matches!(&open.end, End::Undecided { reason } if reason.contains("jwksUri")),
        "{open:#?}"
    );
    assert_eq!(
        tokens(&open),
        [("one", "its keys are fetched: not judged here", "spec.jwtRules[0]")]
    );
    // What they do not tell is known without them.
    let expired = ask("authorization", &format!("Bearer {}", token("one", 1)));
    assert!(matches!(expired.end, End::Refused { status: Some(401), .. }), "{expired:#?}");
    let other = ask("x-token", &token("two", 4_000_000_000));
    assert_eq!(tokens(&other), [("two", "the token is good", "spec.jwtRules[1]")]);
}
