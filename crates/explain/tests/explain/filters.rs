//! Faults on purpose, and requests from other origins.

use tidegate_explain::{Answer, End, Look, Question, render};

use crate::support::{Case, question};

const MANIFESTS: &str = r#"apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: hosts, namespace: default}
spec:
  hosts: [a.org]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 10.0.0.1}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: app, namespace: default}
spec:
  hosts: [a.example]
  gateways: [gw]
  http:
  - match: [{uri: {prefix: /always}}]
    fault:
      abort: {httpStatus: 555, percentage: {value: 100}}
    route: [{destination: {host: a.org}}]
  - match: [{uri: {prefix: /some}}]
    fault:
      delay: {fixedDelay: 5s, percentage: {value: 12.5}}
      abort: {httpStatus: 555, percentage: {value: 50}}
    route: [{destination: {host: a.org}}]
  - match: [{uri: {prefix: /none}}]
    fault: {abort: {httpStatus: 555, percentage: {value: 0}}}
    route: [{destination: {host: a.org}}]
  - match: [{uri: {prefix: /cors}}]
    corsPolicy:
      allowOrigins: [{exact: "https://a.example"}]
      allowMethods: [GET, PUT]
      exposeHeaders: [x-a]
      maxAge: 1h
    route: [{destination: {host: a.org}}]
  - match: [{uri: {prefix: /closed}}]
    corsPolicy:
      allowOrigins: [{exact: "https://a.example"}]
      unmatchedPreflights: IGNORE
    route: [{destination: {host: a.org}}]
  - match: [{uri: {prefix: /delegated}}]
    fault: {abort: {httpStatus: 501}}
    delegate: {name: part}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: part, namespace: default}
spec:
  http:
  - match: [{uri: {prefix: /delegated/own}}]
    fault: {abort: {httpStatus: 502}}
    route: [{destination: {host: a.org}}]
  - route: [{destination: {host: a.org}}]
"#;

/// What faults do, with name, path and line of what says so.
fn faults(answer: &Answer) -> Vec<(&str, &str, String)> {
    let told = answer.faults.iter().map(|fault| {
        let [from] = &fault.from[..] else { panic!("one place: {fault:?}") };
        let place = format!("{} {} {:?}", from.name, from.path, from.line.expect("a line"));
        (fault.name.as_str(), fault.asks.as_str(), place)
    });
    told.collect()
}

#[test]
fn a_fault_of_every_request_is_its_end_and_others_are_told_with_their_share() {
    let case = Case::behind_gateway(MANIFESTS);
    let always = case.ask("a.example", "/always", &[]);
    assert_eq!((&always.end, always.clusters.len()), (&End::Answered { status: 555 }, 0));
    let place = |place: &str| place.to_owned();
    assert_eq!(
        faults(&always),
        [(
            "abort",
            "every request is answered 555 instead",
            place("app spec.http[0].fault.abort 26")
        )]
    );
    let some = case.ask("a.example", "/some", &[]);
    assert_eq!(some.end, End::Forwarded);
    assert_eq!(
        faults(&some),
        [
            ("delay", "12.5% of requests waits 5s first", place("app spec.http[1].fault.delay 30")),
            (
                "abort",
                "50% of requests is answered 555 instead",
                place("app spec.http[1].fault.abort 31")
            ),
        ]
    );
    let page = render(&question("a.example", "/some"), &some, Look::default());
    assert!(page.contains("goes to outbound|80||a.org; 50% of requests is answered 555"), "{page}");
    let none = case.ask("a.example", "/none", &[]);
    assert_eq!((&none.end, none.faults.len()), (&End::Forwarded, 0));
    assert_eq!(case.ask("a.example", "/delegated/own", &[]).end, End::Answered { status: 502 });
    let inherited = case.ask("a.example", "/delegated", &[]);
    assert_eq!(inherited.end, End::Answered { status: 501 });
    assert_eq!(faults(&inherited)[0].2, "app spec.http[5].fault.abort 49");
}

#[test]
fn preflights_are_answered_by_the_gateway_and_others_told_what_the_answer_says() {
    let case = Case::behind_gateway(MANIFESTS);
    let ask = |method: &str, path: &str, origin: &str| {
        let line = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut headers = vec![line("origin", origin)];
        if method == "OPTIONS" {
            headers.push(line("access-control-request-method", "PUT"));
        }
        let method = method.to_owned();
        let answer =
            case.world.explain(&Question { method, headers, ..question("a.example", path) });
        let cors = answer.cors.expect("it is told");
        let [from] = &cors.from[..] else { panic!("one place: {cors:?}") };
        assert!(from.path.ends_with(".corsPolicy"), "{from:?}");
        let headers: Vec<String> =
            cors.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        (answer.end, cors.allowed, cors.preflight, headers.join("; "), from.line)
    };
    let (good, bad) = ("https://a.example", "https://b.example");
    let origin = "access-control-allow-origin: https://a.example";
    let asked =
        format!("{origin}; access-control-allow-methods: GET,PUT; access-control-max-age: 3600");
    let answered = End::Answered { status: 200 };
    assert_eq!(ask("OPTIONS", "/cors", good), (answered.clone(), true, true, asked, Some(37)));
    let told = format!("access-control-expose-headers: x-a; {origin}");
    assert_eq!(ask("GET", "/cors", good), (End::Forwarded, true, false, told, Some(37)));
    let none = String::new;
    assert_eq!(ask("OPTIONS", "/cors", bad), (End::Forwarded, false, true, none(), Some(37)));
    assert_eq!(ask("GET", "/cors", bad), (End::Forwarded, false, false, none(), Some(37)));
    assert_eq!(ask("OPTIONS", "/closed", bad), (answered, false, true, none(), Some(44)));
    assert_eq!(case.ask("a.example", "/cors", &[]).cors, None, "no other origin");
}
