//! Answers lead back to file and line, losers say why, and misses suggest what would have hit.

use tidegate_explain::{Answer, End, Error, Look, Lost, Protocol, Question, render};

use crate::support::{Case, question};

const MANIFESTS: &str = "\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: default}
spec:
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ['*.example.com']
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: app, namespace: default}
spec:
  hosts: [app.example.com]
  gateways: [gw]
  http:
  - name: canary
    match:
    - uri: {prefix: /api}
      headers: {x-version: {exact: v2}}
    route:
    - destination: {host: b.org}
      weight: 3
    - destination: {host: c.org}
      weight: 1
  - name: api
    match:
    - uri: {prefix: /api}
    - uri: {exact: /late}
      port: 81
    rewrite: {uri: /, authority: b.org}
    headers: {request: {set: {x-env: prod}, remove: [x-secret]}}
    route:
    - destination: {host: b.org}
  - match:
    - uri: {prefix: /old}
    redirect: {uri: /new}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: lost, namespace: default}
spec:
  hosts: [app.example.com]
  gateways: [nowhere]
  http:
  - route:
    - destination: {host: b.org}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: b, namespace: default}
spec:
  hosts: [b.org]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 10.0.0.1}]
";

/// A rule that leads to a delegate, and the delegate, with a rule that contradicts.
const DELEGATES: &str = "\
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: root, namespace: default}
spec:
  hosts: [team.example.com]
  gateways: [gw]
  http:
  - match: [{uri: {prefix: /team}}]
    delegate: {name: team}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: team, namespace: default}
spec:
  http:
  - match: [{uri: {exact: /team}}, {uri: {prefix: /team/a}}]
    route: [{destination: {host: b.org}}]
  - match: [{uri: {prefix: /}}]
    route: [{destination: {host: b.org}}]
";

fn case() -> Case {
    Case::new(MANIFESTS)
}

fn line_of(lost: &Lost) -> Option<u32> {
    lost.from.last().and_then(|source| source.line)
}

#[test]
fn a_request_is_followed_to_its_endpoint_and_back_to_its_lines() {
    let case = case();
    let answer = case.ask("app.example.com", "/api/users?x=1", &[("x-secret", "1")]);
    assert_eq!((answer.error(), &answer.end), (None, &End::Forwarded));
    let route = answer.route.expect("a route");
    assert_eq!((route.name.as_str(), route.from[0].line), ("api", Some(27)));
    assert_eq!(route.from[0].path, "spec.http[1].match[0]");
    assert_eq!(answer.listener.expect("a listener").from[0].line, Some(6));
    let cluster = &answer.clusters[0];
    assert_eq!((cluster.name.as_str(), cluster.exists), ("outbound|80||b.org", true));
    assert_eq!(
        (&cluster.endpoints[..], cluster.from[0].line),
        (&["10.0.0.1:80".to_owned()][..], Some(51))
    );
    let sent = answer.sent.expect("it is sent");
    assert_eq!((sent.path.as_str(), sent.host.as_str()), ("/users?x=1", "b.org"));
    assert!(sent.set_headers.contains(&("x-env".to_owned(), "prod".to_owned())));
    assert_eq!(sent.removed_headers, ["x-secret"]);
    assert_eq!(answer.nearest, None, "it was taken");
}

#[test]
fn a_rule_of_a_delegate_is_named_behind_the_one_that_leads_to_it() {
    let case = Case::new(&format!("{MANIFESTS}{DELEGATES}"));
    let answer = case.ask("team.example.com", "/team/a", &[]);
    let from = answer.route.expect("a route").from;
    let told: Vec<(&str, &str, Option<u32>)> =
        from.iter().map(|s| (s.name.as_str(), s.path.as_str(), s.line)).collect();
    let wanted =
        [("root", "spec.http[0].match[0]", Some(64)), ("team", "spec.http[0].match[1]", Some(72))];
    assert_eq!(told, wanted);
    let contradicting = answer.lost.iter().find(|lost| lost.refused.contains("is left out"));
    let from = &contradicting.expect("its second rule").from;
    assert_eq!((from[0].name.as_str(), from[1].name.as_str()), ("root", "team"));
    assert_eq!(from[1].line, Some(74));
    let owners = answer.virtual_host.expect("a virtual host").from;
    let owners: Vec<&str> = owners.iter().map(|owner| owner.name.as_str()).collect();
    assert_eq!(owners, ["root", "team"]);
}

#[test]
fn every_loser_says_what_kept_it() {
    let case = case();
    let answer = case.ask("app.example.com", "/api", &[("x-version", "v1")]);
    let told: Vec<(Option<u32>, &str)> =
        answer.lost.iter().map(|lost| (line_of(lost), lost.refused.as_str())).collect();
    let wanted = [
        (Some(18), "it asks for header x-version: exact \"v2\"; the request has \"v1\""),
        (Some(35), "it asks for path prefix /old; the path is /api"),
        (Some(28), "it asks for port 81; this is port 80 of Gateway default/gw"),
        (Some(43), "it is bound to default/nowhere, which is not there"),
    ];
    assert_eq!(told, wanted);
}

#[test]
fn weights_are_shares_and_a_cluster_that_is_missing_is_told() {
    let case = case();
    let answer = case.ask("app.example.com", "/api", &[("x-version", "v2")]);
    let shares: Vec<f64> = answer.clusters.iter().map(|c| c.share).collect();
    assert_eq!(shares, [75.0, 25.0]);
    assert!(!answer.clusters[1].exists);
    let missing = &answer.clusters[1];
    let why = "it does not exist: host c.org not found: no ServiceEntry that this gateway sees has that host";
    assert_eq!((missing.fault.as_deref(), missing.status), (Some(why), Some(503)));
}

#[test]
fn misses_suggest_what_would_have_hit() {
    let case = case();
    let nearest = |answer: Answer, error| {
        assert_eq!(answer.error(), Some(error));
        answer.nearest.expect("a suggestion")
    };
    let path = nearest(case.ask("app.example.com", "/ap", &[]), Error::NoRoute);
    assert!(path.contains(":27) would take the request with path prefix /api"), "{path}");
    let host = nearest(case.ask("app.exmaple.com", "/api", &[]), Error::NoVirtualHost);
    assert_eq!(host, "host app.example.com would be taken");
    let mut elsewhere = question("app.example.com", "/api");
    elsewhere.port = 81;
    let port = nearest(case.world.explain(&elsewhere), Error::NoListener);
    assert_eq!(port, "port 80 would be taken");
    let far = nearest(case.ask("unrelated.net", "/api", &[]), Error::NoVirtualHost);
    assert_eq!(far, "the only host that is taken is app.example.com");
    // A tunnel has no path: no other one would make a route of a path take it.
    let mut tunnel = question("app.example.com", "/api");
    tunnel.method = "CONNECT".to_owned();
    for protocol in [Protocol::Http1, Protocol::Http2] {
        tunnel.protocol = protocol;
        let answer = case.world.explain(&tunnel);
        assert_eq!((answer.error(), answer.nearest), (Some(Error::NoRoute), None), "{protocol:?}");
    }
}

/// One Gateway that takes other hosts than its VirtualService, one that sends to TLS, and one for other proxies.
const GATEWAYS: &str = "\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: narrow, namespace: default}
spec:
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: [foo.bar]
  - port: {number: 80, name: tls, protocol: HTTP}
    hosts: [tls.bar]
    tls: {httpsRedirect: true}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: other, namespace: default}
spec:
  selector: {istio: other}
  servers:
  - port: {number: 81, name: http, protocol: HTTP}
    hosts: ['*']
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: any, namespace: default}
spec:
  hosts: ['*']
  gateways: [narrow]
  http: [{route: [{destination: {host: b.org}}]}]
";

#[test]
fn gateways_that_leave_a_request_to_nobody_say_so() {
    let case = Case::new(GATEWAYS);
    let answer = case.ask("bad.bar", "/", &[]);
    assert_eq!(answer.error(), Some(Error::NoVirtualHost));
    let End::Refused { reason, .. } = &answer.end else { panic!("{:?}", answer.end) };
    assert_eq!(reason, "no server of a Gateway here is for bad.bar, only for foo.bar, tls.bar");
    assert_eq!(answer.listener.expect("a listener").from.len(), 2, "where they stand");

    let redirected = case.ask("tls.bar", "/", &[]);
    assert!(matches!(redirected.end, End::Redirected { status: 301, .. }), "{:?}", redirected.end);
    let from = redirected.virtual_host.expect("a virtual host").from;
    assert!(from.iter().any(|place| place.line == Some(10)), "{from:#?}");
    assert!(redirected.notes[0].contains("tls.httpsRedirect"), "{:?}", redirected.notes);

    let elsewhere = Question { port: 81, ..question("bad.bar", "/") };
    let answer = case.world.explain(&elsewhere);
    assert_eq!(answer.error(), Some(Error::NoListener));
    let other = answer.lost.iter().find(|lost| lost.from.iter().any(|from| from.name == "other"));
    let other = other.expect("it is named");
    assert_eq!(line_of(other), Some(16));
    assert!(other.refused.contains("whose labels are istio=ingressgateway"), "{other:?}");
}

#[test]
fn of_faults_those_are_told_that_kept_the_request() {
    let case = Case::new(
        &GATEWAYS.replace("hosts: ['*']\n  gateways", "hosts: [bad.bar, foo.bar]\n  gateways"),
    );
    let said = |host: &str| {
        let answer = case.ask(host, "/", &[]);
        let own = answer.lost.into_iter().find(|lost| lost.at == "object");
        own.map_or_else(String::new, |own| own.refused)
    };
    let listed =
        "its Gateway default/narrow lists foo.bar, tls.bar here, not bad.bar of namespace default";
    assert_eq!(said("bad.bar"), listed);
    assert_eq!(said("other.bar"), "", "it is told with its virtual host");
}

#[test]
fn nobody_stands_in_the_list_twice() {
    let case = Case::new(&MANIFESTS.replace("'*.example.com'", "app.example.com"));
    let answer = case.ask("nobody.org", "/", &[]);
    let all: Vec<&str> = answer.lost.iter().map(|lost| &*lost.from[0].name).collect();
    assert_eq!(all, ["app", "lost"], "{:#?}", answer.lost);
    assert_eq!(line_of(&answer.lost[0]), Some(13), "where its hosts stand");
}

#[test]
fn redirects_and_text() {
    let case = case();
    let answer = case.ask("app.example.com", "/old", &[]);
    let location = "http://app.example.com/new".to_owned();
    assert_eq!(answer.end, End::Redirected { status: 301, location });
    let question = question("app.example.com", "/old");
    let text = render(&question, &answer, Look::default());
    assert!(
        text.starts_with("GET http://app.example.com/old\n  is answered 301, to http://"),
        "{text}"
    );
    assert!(!text.contains('\x1b'), "no colour was asked for");
    assert!(render(&question, &answer, Look { color: true, ..Look::default() }).contains('\x1b'));
}

/// The JSON form is stable: docs/explain.md describes these names.
#[test]
fn the_json_form() {
    let case = case();
    let value = serde_json::to_value(case.ask("nobody.org", "/", &[])).expect("it is JSON");
    assert_eq!(value["end"]["what"], "refused");
    assert_eq!(value["end"]["error"], "NoVirtualHost");
    assert_eq!(value["end"]["status"], 404);
    assert_eq!(value["routeConfiguration"]["name"], "http.80");
    assert_eq!(value["lost"][0]["at"], "virtualHost");
    assert_eq!(value["lost"][0]["from"][0]["kind"], "VirtualService");
    let value = serde_json::to_value(case.ask("app.example.com", "/api", &[])).expect("it is JSON");
    assert_eq!(value["end"], serde_json::json!({"what": "forwarded"}));
    assert_eq!(value["sent"]["setHeaders"][0][0], "x-env");
}

/// Guide 002: a host that its Gateway does not list, and a Gateway that terminates TLS and that nobody names.
const DIALECT: &str = "\
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: unlisted, namespace: default}
spec:
  hosts: [app.other.org]
  gateways: [narrow]
  http: [{directResponse: {status: 299}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: narrow, namespace: default}
spec:
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: [a.narrow.org]
";

#[test]
fn a_host_that_no_gateway_of_a_virtual_service_lists_is_answered_in_plain_http() {
    let case = Case::new(&format!("{MANIFESTS}{DIALECT}"));
    let answer = case.ask("app.other.org", "/", &[]);
    assert_eq!(answer.end, End::Answered { status: 299 }, "{answer:#?}");
    // A Gateway that lists it is all that it takes for it to be as in Istio.
    let listing = DIALECT.replace("gateways: [narrow]", "gateways: [narrow, wide]")
        + "---\napiVersion: networking.istio.io/v1\nkind: Gateway\n\
           metadata: {name: wide, namespace: default}\nspec:\n  servers:\n  \
           - port: {number: 81, name: http, protocol: HTTP}\n    hosts: [app.other.org]\n";
    let case = Case::new(&format!("{MANIFESTS}{listing}"));
    let answer = case.ask("app.other.org", "/", &[]);
    assert_eq!(answer.error(), Some(Error::NoVirtualHost), "{answer:#?}");
}

/// What makes a host somebody's own, so that a VirtualService which only names another Gateway does not open it: each a
/// Gateway beside `narrow`, or another form of it.
#[test]
fn a_host_that_somebody_has_is_not_opened_by_a_virtual_service_of_another_gateway() {
    let beside = |namespace: &str, servers: &str| {
        format!(
            "{DIALECT}---\napiVersion: networking.istio.io/v1\nkind: Gateway\n\
             metadata: {{name: beside, namespace: {namespace}}}\nspec:\n  servers:\n{servers}"
        )
    };
    let http = |hosts: &str, more: &str| {
        format!(
            "  - port: {{number: 80, name: http, protocol: HTTP}}\n    hosts: [{hosts}]\n{more}"
        )
    };
    let tls = |hosts: &str| {
        format!(
            "  - port: {{number: 443, name: https, protocol: HTTPS}}\n    hosts: [{hosts}]\n    \
             tls: {{mode: SIMPLE, credentialName: missing}}\n"
        )
    };
    let redirect = "    tls: {httpsRedirect: true}\n";
    let ended = |manifests: &str| {
        let answer = Case::new(&format!("{MANIFESTS}{manifests}")).ask("app.other.org", "/", &[]);
        answer.end
    };
    let open = End::Answered { status: 299 };
    assert_eq!(ended(&beside("default", &http("'*.other.org'", ""))), open, "a wider door");
    let closed = [
        ("listed as such", beside("default", &http("app.other.org", ""))),
        ("listed elsewhere", beside("elsewhere", &http("'*.other.org'", ""))),
        ("redirected", beside("default", &http("'*.other.org'", redirect))),
        ("of another namespace", beside("default", &http("'team/*.other.org'", ""))),
        ("over TLS", beside("default", &tls("app.other.org"))),
        ("for the mesh too", DIALECT.replace("gateways: [narrow]", "gateways: [mesh, narrow]")),
        ("limited", DIALECT.replace("[a.narrow.org]", "[team/app.other.org]")),
        ("with TLS beside it", format!("{DIALECT}{}", tls("b.narrow.org"))),
    ];
    for (what, manifests) in closed {
        assert_ne!(ended(&manifests), open, "{what}");
    }
}

/// `a.example.com.` is `a.example.com`: to the proxy, and to what is said of it.
#[test]
fn a_dot_at_the_end_of_a_host_is_cut_off_and_told() {
    let case = case();
    let answer = case.ask("app.example.com.", "/api", &[]);
    assert_eq!(answer.route.as_ref().map(|route| &*route.name), Some("api"), "{answer:#?}");
    assert_eq!(answer.sent.map(|sent| sent.path), Some("/".to_owned()));
    let note = "the dot at the end of the Host is cut off: app.example.com. is app.example.com";
    assert_eq!(answer.notes[0], note);
    for host in ["app.example.com", "app.example.com.", "app.example.com.:80"] {
        let answer = case.ask(host, "/none", &[]);
        let said: Vec<&str> = answer.lost.iter().map(|lost| &*lost.refused).collect();
        assert!(!said.iter().any(|said| said.contains("its hosts are")), "{host}: {said:#?}");
    }
}

#[test]
fn a_request_is_read_as_the_proxy_reads_it() {
    let case = case();
    let refused = |headers: &[(&str, &str)]| case.ask("app.example.com", "/api", headers).end;
    let two_lengths = [("content-length", "1"), ("content-length", "2")];
    for headers in [&two_lengths[..], &[("transfer-encoding", "gzip")], &[("host", "b.org")]] {
        let end = refused(headers);
        assert!(
            matches!(end, End::Refused { error: Error::BadRequest, .. }),
            "{headers:?} {end:?}"
        );
    }
    let upgrade = |to| [("connection", "upgrade"), ("upgrade", to)];
    assert_eq!(refused(&upgrade("websocket")), End::Forwarded);
    let end = refused(&upgrade("other"));
    assert!(matches!(end, End::Refused { error: Error::Denied, status: Some(403), .. }), "{end:?}");
    // What concerns one connection alone goes no further.
    let answer = case.ask("app.example.com", "/api", &[("connection", "x-hop"), ("x-hop", "1")]);
    assert_eq!(answer.sent.expect("it is sent").removed_headers, ["connection", "x-hop"]);
}

#[test]
fn times_and_retries_are_told() {
    let rules = "\
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: times, namespace: default}
spec:
  hosts: [times.example.com]
  gateways: [gw]
  http:
  - match: [{uri: {prefix: /own}}]
    timeout: 10s
    retries: {attempts: 3, perTryTimeout: 2s, retryOn: 'gateway-error,429', backoff: 40ms}
    route: [{destination: {host: b.org}}]
  - match: [{uri: {prefix: /never}}]
    retries: {attempts: 0}
    route: [{destination: {host: b.org}}]
  - route: [{destination: {host: b.org}}]
";
    let case = Case::new(&format!("{MANIFESTS}{rules}"));
    let answer = case.ask("times.example.com", "/own", &[]);
    let retries = answer.retries.as_ref().expect("retries");
    assert_eq!(answer.timeout.as_deref(), Some("10s"));
    assert_eq!((retries.attempts, retries.per_try_timeout.as_deref()), (3, Some("2s")));
    assert_eq!(retries.retry_on, ["gateway-error", "retriable-status-codes"]);
    assert_eq!((&retries.statuses[..], retries.backoff.as_str()), (&[429][..], "40ms"));
    let sent = answer.sent.as_ref().expect("it is sent");
    let expected = ("x-envoy-expected-rq-timeout-ms".to_owned(), "2000".to_owned());
    assert!(sent.own_headers.contains(&expected), "{sent:?}");
    let text = render(&question("times.example.com", "/own"), &answer, Look::default());
    let wanted = "up to 3 times, 2s for each attempt\n                       on gateway-error, retriable-status-codes (429)";
    assert!(text.contains(wanted), "{text}");

    let never = case.ask("times.example.com", "/never", &[]);
    assert_eq!((never.timeout, never.retries), (None, None));
    let unsaid = case.ask("times.example.com", "/", &[]).retries.expect("Istio's own");
    assert_eq!((unsaid.attempts, &unsaid.per_try_timeout), (2, &None));
    assert!(unsaid.other_endpoints_first, "{unsaid:?}");
    assert!(unsaid.retry_on.contains(&"connect-failure"), "{unsaid:?}");
}

#[test]
fn copies_are_told_with_their_shares_and_places() {
    let rules = "\
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: copies, namespace: default}
spec:
  hosts: [copies.example.com]
  gateways: [gw]
  http:
  - match: [{uri: {prefix: /delegate}}]
    mirror: {host: b.org}
    mirrorPercentage: {value: 12.5}
    delegate: {name: delegate}
  - mirrors:
    - destination: {host: a.org}
      percentage: {value: 0}
    - destination: {host: b.org}
    - destination: {host: nobody.org}
      percentage: {value: 0.1}
    route: [{destination: {host: b.org}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: delegate, namespace: default}
spec:
  http:
  - route: [{destination: {host: b.org}}]
";
    let case = Case::new(&format!("{MANIFESTS}{rules}"));
    let told = |path: &str| -> Vec<(String, f64, bool, String, bool)> {
        let answer = case.ask("copies.example.com", path, &[]);
        let told = answer.mirrors.iter().map(|mirror| {
            let from = mirror.from.first().expect("a place");
            let place = format!("{} {}", from.name, from.path);
            (mirror.name.clone(), mirror.share, mirror.exists, place, from.line.is_some())
        });
        told.collect()
    };
    let b = "outbound|80||b.org".to_owned();
    let nobody = "outbound|80||nobody.org".to_owned();
    let place = |place: &str| place.to_owned();
    assert_eq!(
        told("/delegate"),
        [(b.clone(), 12.5, true, place("copies spec.http[0].mirror"), true)]
    );
    assert_eq!(
        told("/"),
        [
            (b, 100.0, true, place("copies spec.http[1].mirrors[1]"), true),
            (nobody, 0.1, false, place("copies spec.http[1].mirrors[2]"), true),
        ]
    );
    let answer = case.ask("copies.example.com", "/", &[]);
    let text = render(&question("copies.example.com", "/"), &answer, Look::default());
    assert!(text.contains("copied to            outbound|80||b.org   100%\n"), "{text}");
    assert!(text.contains("outbound|80||nobody.org   0.1%   (nothing arrives: "), "{text}");
}
