use serde_json::{Value, json};

use crate::Kind::VirtualService;
use crate::istio::testing::{advice, examine, faults, with};

fn to(host: &str) -> Value {
    json!([{"destination": {"host": host}}])
}

/// A VirtualService with one HTTP rule that forwards, changed as told.
fn rule(changes: &[(&str, Value)]) -> Value {
    json!({"hosts": ["a.b"], "http": [with(&json!({"route": to("c.d")}), changes)]})
}

#[test]
fn hosts_and_gateways() {
    let object = |hosts: Value, gateways: Value| json!({"hosts": hosts, "gateways": gateways, "http": [{"route": to("c.d")}]});
    for (hosts, gateways) in [
        (json!(["*"]), json!(["gw"])),
        (json!(["a", "b.c", "10.0.0.1"]), json!([])),
        (json!(["*.a.b", "x.c"]), json!(["ns/gw"])),
    ] {
        assert_eq!(advice(VirtualService, &object(hosts.clone(), gateways)), [""; 0], "{hosts}");
    }
    for (hosts, gateways, fault) in [
        (json!(["*"]), json!([]), "not allowed for virtual services bound to the mesh"),
        (json!(["*"]), json!(["mesh", "gw"]), "not allowed for virtual services bound to the mesh"),
        (json!(["a!b"]), json!([]), "label \"a!b\" invalid"),
        (json!(["a.b", "a.b"]), json!([]), "Duplicate value: \"a.b\""),
        (
            json!(["a.b", "*.b"]),
            json!(["gw"]),
            "Duplicate value: \"*.b\": *.b takes in a.b already: remove one of them",
        ),
        (
            json!(["*.b", "a.b"]),
            json!(["gw"]),
            "Duplicate value: \"a.b\": *.b takes in a.b already: remove one of them",
        ),
        (json!(["*.a.b", "*.b"]), json!(["gw"]), "\"*.b\": *.b takes in *.a.b already"),
        (json!(["a.b"]), json!(["n_s/gw"]), "the name of a Gateway, or namespace/name"),
    ] {
        let faults = faults(VirtualService, &object(hosts.clone(), gateways));
        assert!(faults.len() == 1 && faults[0].contains(fault), "{hosts}: {faults:?}");
    }
    let legacy =
        advice(VirtualService, &object(json!(["a.b"]), json!(["gw.ns.svc.cluster.local"])));
    assert!(legacy[0].ends_with("write it as ns/gw"), "{legacy:?}");
    assert_eq!(
        faults(VirtualService, &json!({"hosts": ["a.b"]})),
        ["spec: Invalid value: http, tcp or tls must be provided in virtual service"]
    );
}

#[test]
fn a_rule_does_one_thing() {
    let delegate = json!({"name": "x"});
    for (changes, fault) in [
        (vec![("/redirect", json!({"uri": "/"}))], "both route and redirect"),
        (vec![("/directResponse", json!({"status": 200}))], "both route and directResponse"),
        (vec![("/delegate", delegate)], "both route and delegate"),
        (vec![("/route", json!([]))], "HTTP route, redirect or direct_response is required"),
        (
            vec![
                ("/mirror", json!({"host": "e"})),
                ("/mirrors", json!([{"destination": {"host": "e"}}])),
            ],
            "both mirror and mirrors",
        ),
        (vec![("/rewrite", json!({}))], "at least one of uri"),
        (vec![("/fault", json!({}))], "an abort and/or a delay"),
        (vec![("/timeout", json!("-1s"))], "must be a valid duration"),
        (vec![("/corsPolicy", json!({"allowOrigins": [{}]}))], "one of exact, prefix and regex"),
        (vec![("/corsPolicy", json!({"maxAge": "1500ms"}))], "only to seconds"),
    ] {
        let faults = faults(VirtualService, &rule(&changes));
        assert!(faults.len() == 1 && faults[0].contains(fault), "{changes:?}: {faults:?}");
    }
    assert_eq!(advice(VirtualService, &rule(&[("/timeout", json!("0s"))])), [""; 0]);
}

#[test]
fn conditions() {
    let condition =
        |condition: Value| faults(VirtualService, &rule(&[("/match", json!([condition]))]));
    for good in [
        json!({"uri": {"prefix": ""}}),
        json!({"headers": {"x-a": {}, ":authority": {"prefix": "api."}}}),
        json!({"withoutHeaders": {"x-a": {"regex": "*"}}}),
        json!({"queryParams": {"q": {"exact": ""}}, "port": 0}),
    ] {
        assert_eq!(condition(good.clone()), [""; 0], "{good}");
    }
    for (bad, fault) in [
        (json!({"method": {"prefix": ""}}), "prefix string match should not be empty"),
        (json!({"uri": {"regex": "["}}), "unclosed character class"),
        (json!({"uri": {"regex": "a".repeat(1025)}}), "regex is too large"),
        (json!({"uri": {"regex": "(?:a{1000}){1000}"}}), "exceeds size limit"),
        (json!({"uri": {"regex": "(?x)/a # b"}}), "unclosed group"),
        (json!({"uri": {"exact": "/", "prefix": "/"}}), "Found 2 valid alternatives"),
        (json!({"headers": {"a b": {"exact": "x"}}}), "not a valid header name"),
        (
            json!({"headers": {"@request.auth.claims.a": {"exact": "x"}}}),
            "only supported for gateways",
        ),
        (json!({"sourceLabels": {"a": "b c"}}), "a valid label must be"),
        (json!({"sourceNamespace": "a.b"}), "the name of a namespace"),
        (json!({"port": 65_536}), "between 1-65535"),
    ] {
        let faults = condition(bad.clone());
        assert!(faults.len() == 1 && faults[0].contains(fault), "{bad}: {faults:?}");
    }
}

#[test]
fn retries_and_destinations() {
    let retries = |retries: Value| faults(VirtualService, &rule(&[("/retries", retries)]));
    assert_eq!(retries(json!({"attempts": 0})), [""; 0]);
    assert_eq!(retries(json!({"attempts": 2, "retryOn": "5xx,503,reset"})), [""; 0]);
    assert!(retries(json!({"attempts": 0, "retryOn": "5xx"}))[0].contains("set to 0 (disabled)"));
    assert_eq!(
        retries(json!({"attempts": 1, "retryOn": "5xx, reset"})),
        [
            "spec.http[0].retries.retryOn: Invalid value: \" reset\": is not a valid retryOn policy: write the list without spaces"
        ]
    );
    let unknown = retries(json!({"attempts": 1, "retryOn": "5xx,rest"}));
    assert!(unknown[0].contains("\"rest\": ") && unknown[0].contains(", reset, "), "{unknown:?}");
    let route = |route: Value| faults(VirtualService, &rule(&[("/route", route)]));
    assert_eq!(route(json!([{"destination": {"host": "a"}, "weight": 0}])), [""; 0]);
    for (bad, fault) in [
        (json!([{"destination": {"host": "*"}}]), "a destination is one service"),
        (json!([{"destination": {"host": "a", "subset": "v_1"}}]), "must be a DNS label"),
        (json!([{"destination": {"host": "a", "port": {}}}]), "port must be between 1-65535"),
        (json!([{"destination": {"host": "a"}, "weight": -1}]), "must be non-negative"),
        (
            json!([{"destination": {"host": "a"}}, {"destination": {"host": "b"}}]),
            "total destination weight = 0: of several destinations at least one needs a weight",
        ),
        (
            json!([{"destination": {"host": "a"}, "headers": {"request": {"remove": ["Host"]}}}]),
            "the Host header cannot be changed here",
        ),
        (
            json!([{"destination": {"host": "a"}, "headers": {"response": {"set": {"a": "5%"}}}}]),
            "write %% for a percent sign",
        ),
    ] {
        let faults = route(bad.clone());
        assert!(faults.len() == 1 && faults[0].contains(fault), "{bad}: {faults:?}");
    }
    let twice = [
        ("/rewrite", json!({"authority": "x"})),
        ("/headers", json!({"request": {"set": {":authority": "y"}}})),
    ];
    assert!(faults(VirtualService, &rule(&twice))[0].contains("cannot be set multiple times"));
}

#[test]
fn redirects_and_fixed_answers() {
    let answer = |field: &str, value: Value| {
        faults(VirtualService, &json!({"hosts": ["a.b"], "http": [{field: value}]}))
    };
    assert_eq!(
        answer("redirect", json!({"authority": "c.d", "derivePort": "FROM_REQUEST_PORT"})),
        [""; 0]
    );
    assert!(answer("redirect", json!({}))[0].contains("must specify URI"));
    assert!(
        answer("redirect", json!({"uri": "/", "redirectCode": 200}))[0].contains("must be 3xx")
    );
    assert!(answer("redirect", json!({"scheme": "ftp"}))[0].contains("Unsupported value: \"ftp\""));
    assert!(
        answer("redirect", json!({"port": 1, "derivePort": "FROM_REQUEST_PORT"}))[0]
            .contains("oneOf")
    );
    assert_eq!(
        answer("directResponse", json!({"status": 200, "body": {"bytes": "aGk="}})),
        [""; 0]
    );
    assert!(answer("directResponse", json!({"status": 199}))[0].contains("in range 200-600"));
    let long = "a".repeat(1024 * 1024 + 1);
    let body = json!({"status": 200, "body": {"string": long}});
    assert!(answer("directResponse", body)[0].contains("Too long"));
}

#[test]
fn connections() {
    let tls = |condition: Value| {
        json!({"hosts": ["*.example.com"], "gateways": ["gw"], "tls": [
            {"match": [condition], "route": to("c.d")},
        ]})
    };
    assert_eq!(advice(VirtualService, &tls(json!({"sniHosts": ["a.example.com"]}))), [""; 0]);
    assert!(
        faults(VirtualService, &tls(json!({"sniHosts": ["a.org"]})))[0]
            .contains("compatible subset")
    );
    assert!(
        faults(VirtualService, &tls(json!({"sniHosts": []})))[0].contains("at least one SNI host")
    );
    assert!(advice(VirtualService, &tls(json!({"sniHosts": ["1.1.1.1"]})))[0].contains("SNI spec"));
    let tcp = json!({"hosts": ["a.b"], "tcp": [{
        "match": [{"port": 27017, "destinationSubnets": ["10.0.0.0/8"]}], "route": to("c.d"),
    }]});
    assert_eq!(advice(VirtualService, &tcp), [""; 0]);
    let bad = with(&tcp, &[("/tcp/0/match/0/destinationSubnets/0", json!("10.0.0"))]);
    assert!(faults(VirtualService, &bad)[0].contains("not a valid IP"));
    let none = with(&tcp, &[("/tcp/0/route", json!([]))]);
    assert_eq!(
        faults(VirtualService, &none),
        ["spec.tcp[0].route: Required value: TCP route is required"]
    );
}

#[test]
fn delegates_have_http_rules_only() {
    let delegate = json!({"http": [{"route": to("c.d")}]});
    assert_eq!(advice(VirtualService, &delegate), [""; 0]);
    for (field, value) in [("/gateways", json!(["gw"])), ("/tcp", json!([{"route": to("c.d")}]))] {
        let faults = faults(VirtualService, &with(&delegate, &[(field, value)]));
        assert!(faults[0].contains("a VirtualService without hosts"), "{faults:?}");
    }
}

#[test]
fn rules_that_nothing_reaches_are_told() {
    let uri = |path: &str| json!([{"uri": {"prefix": path}}]);
    let spec = json!({"hosts": ["a.b"], "http": [
        {"match": uri("/a"), "route": to("c.d")},
        {"match": uri("/a"), "route": to("c.d"), "name": "again"},
        {"route": to("c.d"), "name": "all"},
        {"match": uri("/b"), "route": to("c.d")},
    ]});
    assert_eq!(
        advice(VirtualService, &spec),
        [
            "spec.http[1].match[0]: not used: rule #0 has the same condition",
            "spec.http[3]: never used: rule \"all\" has no conditions and takes everything",
        ]
    );
}

/// What a delegate does not ask for goes on to the rules behind it.
#[test]
fn a_delegate_takes_less_than_its_conditions_say() {
    let leaf = json!({"name": "leaf"});
    let spec = json!({"hosts": ["a.b"], "http": [
        {"match": [{"uri": {"prefix": "/a"}}], "delegate": leaf},
        {"match": [{"uri": {"prefix": "/a"}}], "route": to("c.d")},
        {"delegate": leaf},
        {"match": [{"uri": {"prefix": "/last"}}], "route": to("c.d")},
    ]});
    assert_eq!(advice(VirtualService, &spec), [""; 0]);
}

/// Istio's webhook takes these, and no proxy does.
#[test]
fn what_proxies_refuse_is_told() {
    let rewrite =
        |pattern: &str, text: &str| json!({"uriRegexRewrite": {"match": pattern, "rewrite": text}});
    let long = "a".repeat(1025);
    for (pointer, value, told) in [
        (
            "/headers",
            json!({"request": {"set": {"a b": "c"}}}),
            "headers.request.set[a b]: \"a b\" is no name of a header",
        ),
        (
            "/headers",
            json!({"request": {"set": {"Content-Length": "5"}}}),
            "headers.request.set[Content-Length]: Content-Length says where a message ends",
        ),
        (
            "/headers",
            json!({"response": {"add": {"transfer-encoding": "chunked"}}}),
            "headers.response.add[transfer-encoding]: transfer-encoding says where a message ends",
        ),
        (
            "/headers",
            json!({"request": {"add": {"ä": "c"}}}),
            "headers.request.add[ä]: \"ä\" is no name",
        ),
        (
            "/headers",
            json!({"response": {"remove": ["a", "b:"]}}),
            "headers.response.remove[1]: \"b:\" is no name",
        ),
        (
            "/route/0/headers",
            json!({"response": {"set": {"(": "c"}}}),
            "route[0].headers.response.set[(]: \"(\" is no name",
        ),
        ("/rewrite", json!({"uri": "/a\r\nb: c/"}), "rewrite.uri: a line break or NUL"),
        ("/rewrite", json!({"authority": "a\0"}), "rewrite.authority: a line break or NUL"),
        (
            "/rewrite",
            rewrite("^/(a)", "/\\2"),
            "rewrite.uriRegexRewrite.rewrite: \\2 names a group, and the pattern has 1 of them",
        ),
        ("/rewrite", rewrite("^/a", "/\\1"), "the pattern has 0 of them"),
        (
            "/rewrite",
            rewrite("^/(é)", "/\\x"),
            "a backslash stands before a digit or another backslash",
        ),
        ("/rewrite", rewrite("a", "\\"), "a backslash stands before a digit"),
        ("/rewrite", rewrite("a", "\n"), "rewrite.uriRegexRewrite.rewrite: a line break or NUL"),
        (
            "/match",
            json!([{"queryParams": {"": {"exact": "a"}}}]),
            "match[0].queryParams: a query parameter without a name",
        ),
        (
            "/match",
            json!([{"queryParams": {long.as_str(): {}}}]),
            "match[0].queryParams: the name of a query parameter has 1024 bytes",
        ),
        (
            "/headers",
            json!({"request": {"set": {"a": "b".repeat(16 * 1024 + 1)}}}),
            "Envoy takes 16384 bytes at most",
        ),
    ] {
        let advice = advice(VirtualService, &rule(&[(pointer, value)]));
        assert!(advice.len() == 1 && advice[0].contains(told), "{told}: {advice:?}");
        assert!(advice[0].starts_with("spec.http[0]."), "{advice:?}");
    }
    // Istio takes it as 0, which nobody means who leaves it out.
    let (most, none) = (
        json!({"destination": {"host": "c.d"}, "weight": 80}),
        json!({"destination": {"host": "e.f"}}),
    );
    let left_out = advice(VirtualService, &rule(&[("/route", json!([most, none]))]));
    assert!(
        left_out.len() == 1 && left_out[0].starts_with("spec.http[0].route[1]: there is no weight"),
        "{left_out:?}"
    );
    assert_eq!(advice(VirtualService, &rule(&[("/route", json!([none]))])), [""; 0]);
    let zero = json!({"destination": {"host": "e.f"}, "weight": 0});
    assert_eq!(advice(VirtualService, &rule(&[("/route", json!([most, zero]))])), [""; 0]);
    let heavy = json!({"destination": {"host": "c.d"}, "weight": i32::MAX});
    let heavy = advice(VirtualService, &rule(&[("/route", json!([heavy, heavy, heavy]))]));
    assert!(
        heavy.len() == 1 && heavy[0].contains("the sum of weights is above 4294967295"),
        "{heavy:?}"
    );
    for (pointer, value) in [
        ("/headers", json!({"request": {"set": {":authority": "a.b"}, "remove": ["x~!"]}})),
        ("/rewrite", rewrite("^/(a)(b)(?:c)", r"/\2\1\0\\3")),
        ("/rewrite", json!({"uri": "/a b?c#d\te/", "authority": "x:1"})),
        ("/match", json!([{"queryParams": {"a": {"exact": ""}}}])),
    ] {
        assert_eq!(advice(VirtualService, &rule(&[(pointer, value.clone())])), [""; 0], "{value}");
    }
    let redirect = json!({"uri": "/a\nb", "authority": "c\rd"});
    let redirect =
        advice(VirtualService, &json!({"hosts": ["a.b"], "http": [{"redirect": redirect}]}));
    assert_eq!(redirect.len(), 2, "{redirect:?}");
    assert!(redirect[0].starts_with("spec.http[0].redirect.uri: a line break"), "{redirect:?}");
}

/// An object with a fault is not in effect, so that nothing is said of how its rules answer.
#[test]
fn what_proxies_refuse_is_not_told_of_what_has_no_effect() {
    let unknown = json!({"request": {"add": {"x-a": "%NONE%"}}});
    let spec = rule(&[("/headers", unknown.clone())]);
    assert!(advice(VirtualService, &spec)[0].ends_with("are answered 500"));
    let unclosed = json!({"request": {"add": {"x-b": "50%"}}});
    for changes in
        [vec![("/headers", unclosed)], vec![("/headers", unknown), ("/timeout", json!("-1s"))]]
    {
        let examined = examine(VirtualService, &rule(&changes));
        assert_eq!(examined.errors.len(), 1, "{:?}", examined.errors);
        assert!(examined.warnings.is_empty(), "{:?}", examined.warnings);
    }
}

#[test]
fn what_hardly_does_what_was_meant_is_told() {
    let uri = |kind: &str, text: &str| json!([{"uri": {kind: text}}]);
    let delay = |delay: Value| json!({"delay": delay});
    for (pointer, value, told) in [
        (
            "/match",
            uri("prefix", "v"),
            "match[0].uri: a path begins with a slash, so that \"v\" is never met",
        ),
        ("/match", uri("exact", "v1/"), "match[0].uri: a path begins with a slash"),
        (
            "/match",
            uri("prefix", "/api/*"),
            "match[0].uri: the asterisk stands for itself: prefix \"/api/\" takes",
        ),
        (
            "/fault",
            delay(json!({"fixedDelay": "1s"})),
            "fault.delay: delays nothing without percentage",
        ),
        (
            "/rewrite",
            json!({"uri": "/hdr"}),
            "rewrite.uri: where a condition asks for no uri, it takes the place of the first slash",
        ),
        (
            "/headers",
            json!({"request": {"add": {"Host": "a.b"}}}),
            "headers.request.add[Host]: a request has one host",
        ),
        (
            "/headers",
            json!({"request": {"set": {"x-a": "%FOO%"}}}),
            "headers.request.set[x-a]: %FOO% is no variable of header values",
        ),
        (
            "/route/0/headers",
            json!({"response": {"add": {"x-a": "%FOO%"}}}),
            "route[0].headers.response.add[x-a]: %FOO% is no variable",
        ),
    ] {
        let mut rule = rule(&[(pointer, value)]);
        if pointer == "/rewrite" {
            rule["http"][0]["match"] = json!([{"uri": {"prefix": "/a"}}, {"headers": {"x": {}}}]);
        }
        let advice = advice(VirtualService, &rule);
        assert!(advice.len() == 1 && advice[0].contains(told), "{told}: {advice:?}");
    }
    for (pointer, value) in [
        ("/match", uri("prefix", "")),
        ("/match", uri("exact", "*")),
        ("/match", uri("regex", "v.*")),
        ("/fault", delay(json!({"fixedDelay": "1s", "percent": 5}))),
        ("/fault", delay(json!({"fixedDelay": "1s", "percentage": {"value": 0}}))),
        ("/rewrite", json!({"uri": "/hdr/"})),
        ("/headers", json!({"request": {"set": {"Host": "a.b", "x-a": "%PROTOCOL% 100%%"}}})),
    ] {
        let advice = advice(VirtualService, &rule(&[(pointer, value.clone())]));
        assert_eq!(advice, [""; 0], "{value}");
    }
}

#[test]
fn what_a_gateway_writes_itself_is_told() {
    for (change, told) in [
        (json!({"response": {"set": {"Server": "mine"}}}), true),
        (json!({"response": {"add": {"server": "mine"}}}), true),
        (json!({"response": {"remove": ["server"]}}), true),
        (json!({"request": {"set": {"server": "mine"}}}), false),
        (json!({"response": {"set": {"x-server": "mine"}}}), false),
    ] {
        let advice = advice(VirtualService, &rule(&[("/headers", change.clone())]));
        let found = advice.len() == 1 && advice[0].contains("its own Server header");
        assert!(found == told && (told || advice.is_empty()), "{change}: {advice:?}");
    }
}
