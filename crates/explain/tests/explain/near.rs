//! What is near to what was asked and what is far from it: ports, candidates, and what is made up.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tidegate_explain::{Answer, End, Error, Look, Question, Security, World, render};
use tidegate_pilot::{GatewayService, Options};
use tidegate_testing::ca::Ca;

use crate::support::{Case, answering, gateway, manifest, object, plain, question, secret, server};

/// A server for plain HTTP on another port.
fn on(port: u16, host: &str) -> Value {
    let mut server = plain(host);
    server["port"]["number"] = json!(port);
    server["port"]["name"] = json!(format!("http-{port}"));
    server
}

fn world(objects: &[Value]) -> World {
    World::new(Options::default(), objects.iter().map(object))
}

fn reason(answer: &Answer) -> &str {
    match &answer.end {
        End::Refused { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_port_that_is_not_open_is_told_with_those_that_are() {
    let asked = Question { port: 81, ..question("a.test", "/") };
    let ended = |servers: &[Value]| {
        let objects = if servers.is_empty() { Vec::new() } else { vec![gateway("gw", servers)] };
        let answer = world(&objects).explain(&asked);
        assert_eq!(answer.error(), Some(Error::NoListener));
        (reason(&answer).to_owned(), answer.nearest)
    };
    let none = "port 81 is not open: no Gateway that is served here opens any";
    assert_eq!(ended(&[]), (none.to_owned(), None));
    let one = ended(&[plain("*")]);
    assert_eq!(one.0, "port 81 is not open; only 80 is");
    assert_eq!(one.1.as_deref(), Some("port 80 would be taken"));
    // The port of the request's own host is nearer than another.
    let several = ended(&[on(70, "b.test"), on(90, "a.test"), on(80, "b.test")]);
    assert_eq!(several.0, "port 81 is not open; 70, 80 and 90 are");
    assert_eq!(several.1.as_deref(), Some("port 90 would be taken"));
    // A port that speaks TLS would not take it.
    let tls = json!({"mode": "SIMPLE", "credentialName": "x"});
    assert_eq!(ended(&[server("https", "a.test", &tls)]).1, None);
}

/// What a process could not bind is not open, whatever its objects say.
#[test]
fn a_port_that_the_process_could_not_open_takes_nothing() {
    let objects =
        [gateway("gw", &[plain("*"), on(90, "*")]), answering("all", &["*"], &["gw"], 299)];
    let world = || World::of_process(Options::default(), objects.iter().map(object), Vec::new());
    let asked = Question { port: 90, ..question("a.test", "/") };
    let taken = End::Answered { status: 299 };
    assert_eq!(world().explain(&asked).end, taken, "nobody says which are open");
    let open = |ports: &[u16]| world().with_open_ports(Some(ports.iter().copied().collect()));
    assert_eq!(open(&[80, 90]).explain(&asked).end, taken);
    let answer = open(&[80]).explain(&asked);
    assert_eq!(reason(&answer), "port 90 is not open, though a Gateway asks for it; only 80 is");
    assert_eq!(answer.nearest.as_deref(), Some("port 80 would be taken"));
    let listener = answer.listener.as_ref().expect("who asks for it is told");
    assert_eq!(listener.from[0].path, "spec.servers[1]");
    let elsewhere = open(&[80]).explain(&Question { port: 70, ..asked.clone() });
    assert_eq!(reason(&elsewhere), "port 70 is not open; only 80 is");
    assert_eq!(elsewhere.lost[1].refused, "it is for port 90, which is not open");
    let none = open(&[]).explain(&asked);
    assert_eq!(reason(&none), "port 90 is not open, though a Gateway asks for it, and no other is");
}

/// A process listens where it was told to, whatever addresses there are.
#[test]
fn an_address_where_nothing_listens_takes_nothing() {
    let objects = [gateway("gw", &[plain("*")]), answering("all", &["*"], &["gw"], 299)];
    let options = Options { address: [127, 0, 0, 1].into(), ..Options::default() };
    let world = World::new(options, objects.iter().map(object));
    let at = |address: Option<&str>| {
        let address = address.map(|text| text.parse().expect("an address"));
        world.explain(&Question { address, ..question("a.test", "/") })
    };
    for address in [None, Some("127.0.0.1")] {
        let answer = at(address);
        assert_eq!(answer.end, End::Answered { status: 299 }, "{address:?}");
        assert_eq!(answer.listener.expect("one").name, "127.0.0.1_80");
    }
    let answer = at(Some("127.0.0.5"));
    assert_eq!(answer.error(), Some(Error::NoListener));
    let said = "port 80 is not open at address 127.0.0.5, only at 127.0.0.1";
    assert_eq!(reason(&answer), said);
    let nearest = answer.nearest.as_deref();
    assert_eq!(nearest, Some("address 127.0.0.1 would be taken (--address)"));
    assert_eq!(answer.lost[0].refused, "it listens at address 127.0.0.1 only");
}

#[test]
fn ports_are_named_as_clients_know_them() {
    let front = GatewayService {
        host: "front.test".to_owned(),
        namespace: "istio-system".to_owned(),
        ports: [(80, 8080), (443, 8443), (90, 90)].into(),
    };
    let options = Options { services: vec![front], ..Options::default() };
    let world = World::new(options, [object(&gateway("gw", &[plain("*"), on(90, "*")]))]);
    let answer = world.explain(&Question { port: 8443, ..question("a.test", "/") });
    let said = "port 443 (bound at 8443) is not open; 90 and 80 (bound at 8080) are";
    assert_eq!(reason(&answer), said);
    assert_eq!(answer.nearest.as_deref(), Some("port 90 would be taken"));
}

#[test]
fn a_redirect_to_tls_names_the_server_that_asks_for_it_and_a_port_that_is_closed() {
    let manifests = "\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: default}
spec:
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: [a.test]
    tls:
      httpsRedirect: true
";
    let closed = Case::new(manifests);
    let answer = closed.ask("a.test", "/x", &[]);
    let text = render(&question("a.test", "/x"), &answer, Look::default());
    let headline = text.lines().nth(1).expect("a second line");
    let wanted =
        "  is answered 301, to https://a.test/x; Gateway default/gw servers[0].tls.httpsRedirect, ";
    assert!(headline.starts_with(wanted), "{text}");
    assert!(headline.ends_with("all.yaml:9 asks for it"), "{text}");
    let note = "port 443, where the client is sent, is not open".to_owned();
    assert!(answer.notes.contains(&note), "{:?}", answer.notes);

    let https = "  - port: {number: 443, name: https, protocol: HTTPS}\n    hosts: [a.test]\n    \
                 tls: {mode: SIMPLE, credentialName: nowhere}\n";
    let open = Case::new(&format!("{manifests}{https}")).ask("a.test", "/x", &[]);
    assert!(matches!(open.end, End::Redirected { .. }), "{open:#?}");
    assert!(!open.notes.contains(&note), "{:?}", open.notes);
}

/// What a VirtualService of the request's host and Gateway fails on is told, and not what else is wrong with it.
#[test]
fn the_reason_is_that_of_this_request() {
    let tls = json!({"mode": "SIMPLE", "credentialName": "x"});
    let mut hidden = answering("hidden", &["a.test"], &["gw"], 299);
    hidden["spec"]["exportTo"] = json!(["."]);
    let mut idle = answering("idle", &["b.test"], &["gw"], 299);
    idle["spec"]["http"][0]["match"] = json!([{"port": 90}]);
    let carried = json!({
        "hosts": ["c.test"], "gateways": ["gw"],
        "tls": [{"match": [{"sniHosts": ["c.test"]}], "route": [{"destination": {"host": "up.test"}}]}],
    });
    // Each of them has a fault of its own, too: a destination or a Gateway that is not there.
    let objects = [
        gateway("gw", &[plain("*.test"), server("https", "z.test", &tls)]),
        hidden,
        idle,
        manifest("VirtualService", "default", "carried", &carried),
        answering("wide", &["*.test", "other.org"], &["gw", "nowhere"], 298),
        answering("elsewhere", &["*.test"], &["nowhere"], 299),
        answering("narrow", &["d.test"], &["gw"], 297),
        answering("unlisted", &["other.org", "d.test"], &["gw"], 299),
    ];
    let world = world(&objects);
    let said = |host: &str, name: &str| {
        let lost = world.explain(&question(host, "/")).lost;
        let of = lost.into_iter().filter(|lost| lost.at != "virtualHost");
        let of = of.filter(|lost| lost.from.iter().any(|from| from.name == name));
        let said: Vec<String> = of.map(|lost| lost.refused).collect();
        assert_eq!(said.len(), 1, "{name} for {host}: {said:?}");
        said.concat()
    };
    let hidden = "its exportTo hides it from namespace istio-system of the gateway";
    assert_eq!(said("a.test", "hidden"), hidden);
    let idle = "it asks for port 90; this is port 80 of Gateway default/gw";
    assert_eq!(said("b.test", "idle"), idle);
    let carried = "it has rules for connections (tls, tcp), and none for requests (http)";
    assert_eq!(said("c.test", "carried"), carried);
    let wide = "requests for d.test go first, which is narrower than *.test";
    assert_eq!(said("d.test", "wide"), wide);
    let elsewhere = "it is bound to default/nowhere, which is not there";
    assert_eq!(said("d.test", "elsewhere"), elsewhere);
    let unlisted = "its Gateway default/gw lists *.test here, not other.org of namespace default";
    assert_eq!(said("other.org", "unlisted"), unlisted);
}

#[test]
fn far_candidates_are_counted_and_near_ones_shown() {
    let rule = |prefix: String| json!({"match": [{"uri": {"prefix": prefix}}], "directResponse": {"status": 299}});
    let mut http: Vec<Value> = (0..30).map(|n| rule(format!("/other-{n}"))).collect();
    http.push(rule("/api/users".to_owned()));
    let mut objects: Vec<Value> = (0..40)
        .map(|n| answering(&format!("far-{n}"), &[&format!("far-{n}.org")], &["gw"], 299))
        .collect();
    let spec = json!({"hosts": ["a.test"], "gateways": ["gw"], "http": http});
    objects.push(manifest("VirtualService", "default", "own", &spec));
    objects.push(gateway("gw", &[plain("*")]));
    let asked = question("a.test", "/api/user");
    let answer = world(&objects).explain(&asked);
    assert_eq!(answer.error(), Some(Error::NoRoute));
    assert_eq!(answer.lost.len(), 71, "the JSON form has all");
    let near: Vec<&str> =
        answer.lost.iter().filter(|lost| !lost.far).map(|lost| &*lost.refused).collect();
    assert_eq!(near, ["it asks for path prefix /api/users; the path is /api/user"]);
    let text = render(&asked, &answer, Look::default());
    assert!(text.contains("/api/users; the path"), "{text}");
    assert!(!text.contains("/other-0;"), "{text}");
    let counted = "and 30 routes, 40 objects for something else; --all shows them";
    assert!(text.contains(counted), "{text}");
    let all = render(&asked, &answer, Look { all: true, ..Look::default() });
    let told: BTreeSet<&str> =
        all.lines().filter(|line| line.contains("VirtualService default/far-")).collect();
    assert_eq!((told.len(), all.contains("--all")), (40, false), "{all}");
    assert!(all.contains("/other-29;"), "{all}");

    // Nobody needs a count in place of a handful.
    let few = world(&objects[37..]).explain(&question("stranger.example", "/"));
    let text = render(&question("stranger.example", "/"), &few, Look::default());
    assert!(few.lost.iter().all(|lost| lost.far), "{:#?}", few.lost);
    assert!(text.contains("far-39.org") && !text.contains("--all"), "{text}");
}

#[test]
fn what_is_made_up_is_marked() {
    let rule = json!({
        "headers": {"request": {"set": {
            "x-client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
            "x-gateway": "at %DOWNSTREAM_LOCAL_ADDRESS%",
            "x-fixed": "always",
        }}},
        "route": [{"destination": {"host": "up.org"}}],
    });
    let spec = json!({"hosts": ["a.test"], "gateways": ["gw"], "http": [rule]});
    let objects = [gateway("gw", &[plain("*")]), manifest("VirtualService", "default", "v", &spec)];
    let world = world(&objects);
    let examples = |asked: &Question| world.explain(asked).sent.expect("it is sent").examples;
    let asked = question("a.test", "/");
    let all = examples(&asked);
    for made_up in ["x-client", "x-gateway", "x-request-id", "x-forwarded-for"] {
        assert!(all.iter().any(|name| name == made_up), "{made_up}: {all:?}");
    }
    for told in ["x-fixed", "x-forwarded-proto", "x-envoy-attempt-count"] {
        assert!(!all.iter().any(|name| name == told), "{told}: {all:?}");
    }
    let text = render(&asked, &world.explain(&asked), Look::default());
    assert!(text.contains("+ x-client: 192.0.2.1   (an example)"), "{text}");
    assert!(text.contains("+ x-fixed: always\n"), "{text}");
    // What the question says is nobody's invention.
    let dialled = Question { address: "10.0.0.9".parse().ok(), security: Security::Plain, ..asked };
    let all = examples(&dialled);
    assert!(!all.iter().any(|name| name == "x-gateway"), "{all:?}");
}

/// Of a Secret that is there and wrong it is told what is wrong, and of one that is not, which there is.
#[test]
fn a_secret_that_cannot_be_used_is_told_with_its_reason() {
    let ca = Ca::new("root");
    let leaf = ca.issue(&["a.test"]);
    let tls = json!({"mode": "SIMPLE", "credentialName": "web-cert"});
    let refused = |name: &str, key: Option<&str>| {
        let mut given = secret(name, &ca, &leaf);
        match key {
            Some(key) => given["stringData"]["key"] = json!(key),
            None => drop(given["stringData"].as_object_mut().expect("data").remove("key")),
        }
        let own = [gateway("gw", &[server("https", "a.test", &tls)]), given];
        let sni = Some("a.test".to_owned());
        let asked = Question { port: 443, security: Security::Tls, sni, ..question("a.test", "/") };
        let answer = world(&own).explain(&asked);
        assert_eq!(answer.error(), Some(Error::TlsError));
        reason(&answer).to_owned()
    };
    let other = ca.issue(&["b.test"]).key_pem;
    let cases = [
        (refused("web-cert", None), "Secret istio-system/web-cert has no certificate with a key"),
        (refused("web-cert", Some("garbage")), "Secret istio-system/web-cert, key: "),
        (refused("web-cert", Some(&other)), "key: the key is not that of the certificate"),
        (refused("web-crt", Some(&leaf.key_pem)), "; did you mean web-crt?"),
    ];
    for (told, words) in cases {
        assert!(told.contains(words), "{words}: {told}");
        assert!(!told.contains("is not there"), "{told}");
    }
}

/// Why a certificate is not accepted is said in words.
#[test]
fn the_certificate_of_an_authority_is_no_clients() {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject as _;
    let ca = Ca::new("root");
    let tls = json!({"mode": "MUTUAL", "credentialName": "one"});
    let own = [
        gateway("gw", &[server("https", "a.test", &tls)]),
        answering("v", &["a.test"], &["gw"], 200),
        secret("one", &ca, &ca.issue(&["a.test"])),
    ];
    let of_authority =
        CertificateDer::from_pem_slice(Ca::new("other").pem().as_bytes()).expect("PEM");
    let asked = Question {
        port: 443,
        security: Security::Tls,
        sni: Some("a.test".to_owned()),
        client_certificate: true,
        client_chain: vec![of_authority.to_vec()],
        ..question("a.test", "/")
    };
    let answer = world(&own).explain(&asked);
    let words = "it is the certificate of an authority, and not of a peer";
    assert!(reason(&answer).ends_with(words), "{answer:#?}");
}

#[test]
fn a_gateway_that_is_named_and_not_there_is_told() {
    let world = world(&[answering("v", &["a.test"], &["elsewhere"], 200)]);
    let End::Refused { reason, .. } = world.explain(&question("a.test", "/")).end else {
        panic!("there is no gateway")
    };
    let missing = "VirtualServices name default/elsewhere, and no such Gateway is here";
    assert!(reason.ends_with(missing), "{reason}");
}

/// What is served though no server lists it, is said to be.
#[test]
fn a_host_that_no_server_lists_is_told_to_be() {
    let of = |listed: &str| {
        let world =
            world(&[gateway("gw", &[plain(listed)]), answering("v", &["a.tset"], &["gw"], 200)]);
        world.explain(&question("a.tset", "/"))
    };
    let lenient = of("a.test");
    assert_eq!(lenient.end, End::Answered { status: 200 });
    let [note] = &lenient.notes[..] else { panic!("{lenient:#?}") };
    assert!(
        note.starts_with("Gateway default/gw lists none of the hosts of VirtualService default/v")
    );
    let listed = of("*.tset");
    assert_eq!((listed.end, listed.notes.len()), (End::Answered { status: 200 }, 0));
}

/// What a rule for everything takes may have been meant for a rule before it.
#[test]
fn a_rule_that_lacks_one_thing_is_told_where_a_rule_for_everything_took_the_request() {
    let rule = |asked: Value, status: u16| {
        let mut rule = json!({"directResponse": {"status": status}});
        if !asked.is_null() {
            rule["match"] = json!([asked]);
        }
        rule
    };
    let header = |name: &str| (name.to_owned(), json!({"exact": "1"}));
    let headers = |names: &[&str]| -> Value { names.iter().map(|n| header(n)).collect() };
    let http = [
        rule(json!({"uri": {"prefix": "/api"}, "headers": headers(&["x-a", "x-b"])}), 201),
        rule(json!({"uri": {"exact": "/users"}}), 202),
        rule(json!({"headers": headers(&["x-c"])}), 203),
        rule(json!({"uri": {"regex": "/n[0-9]+"}}), 204),
        rule(Value::Null, 299),
        rule(json!({"uri": {"prefix": "/late"}, "headers": headers(&["x-d"])}), 205),
    ];
    let spec = json!({"hosts": ["a.test"], "gateways": ["gw"], "http": http});
    let objects =
        [gateway("gw", &[plain("*")]), manifest("VirtualService", "default", "own", &spec)];
    let world = world(&objects);
    let nearest = |path: &str, names: &[&str]| {
        let headers = names.iter().map(|name| ((*name).to_owned(), "1".to_owned())).collect();
        world.explain(&Question { headers, ..question("a.test", path) })
    };
    let cases: [(&str, &[&str], Option<&str>); 9] = [
        (
            "/api/x",
            &["x-a"],
            Some(
                "spec.http[0].match[0] of VirtualService default/own would take the request with header x-b: exact \"1\"",
            ),
        ),
        // Two are no slip.
        ("/api/x", &[], None),
        (
            "/user",
            &[],
            Some(
                "spec.http[1].match[0] of VirtualService default/own would take the request with path /users",
            ),
        ),
        ("/elsewhere", &[], None),
        // What fits wins over what is alike.
        (
            "/apu",
            &["x-a", "x-b"],
            Some(
                "spec.http[0].match[0] of VirtualService default/own would take the request with path prefix /api",
            ),
        ),
        // Rules for every path are for no path that is like this one; patterns say nothing of what is like them.
        ("/n", &[], None),
        // What comes later is not kept by what it asks for.
        ("/late", &[], None),
        // What takes some requests only was meant for them.
        ("/users", &[], None),
        ("/user", &["x-c"], None),
    ];
    for (path, names, expected) in cases {
        let answer = nearest(path, names);
        assert!(matches!(answer.end, End::Answered { .. }), "{answer:#?}");
        assert_eq!(answer.nearest.as_deref(), expected, "{path} {names:?}");
    }
}

/// Rules for other callers, gateways and ports say who calls here, and are candidates like others.
#[test]
fn rules_for_other_callers_are_told_by_path_and_with_who_calls() {
    let rule = |asked: Value| json!({"match": [asked], "directResponse": {"status": 299}});
    let http = [
        rule(json!({"uri": {"prefix": "/other"}})),
        rule(json!({"uri": {"prefix": "/labelled"}, "sourceLabels": {"app": "foo"}})),
        rule(json!({"uri": {"prefix": "/spaced"}, "sourceNamespace": "other"})),
        rule(json!({"uri": {"prefix": "/ported"}, "port": 90})),
        rule(json!({"uri": {"prefix": "/gated"}, "gateways": ["second"]})),
    ];
    let spec = json!({"hosts": ["a.test"], "gateways": ["gw", "second"], "http": http});
    let rules = manifest("VirtualService", "default", "own", &spec);
    let bytes = json!({
        "hosts": ["*"], "gateways": ["gw"],
        "tcp": [{"route": [{"destination": {"host": "up.test"}}]}],
    });
    let bytes = manifest("VirtualService", "default", "bytes", &bytes);
    let world = world(&[gateway("gw", &[plain("*")]), rules, bytes]);
    let caller = "the caller is the gateway, ";
    let cases = [
        ("/labelled", "sourceLabels app=foo", format!("{caller}with labels istio=ingressgateway")),
        ("/spaced", "sourceNamespace other", format!("{caller}of namespace istio-system")),
        ("/ported", "port 90", "this is port 80 of Gateway default/gw".to_owned()),
        ("/gated", "gateways default/second", "this is Gateway default/gw".to_owned()),
    ];
    for (number, (path, asked, here)) in (1..).zip(cases) {
        let answer = world.explain(&question("a.test", path));
        assert_eq!(answer.error(), Some(Error::NoRoute));
        let place = format!("spec.http[{number}].match[0]");
        let own = format!("{place} of VirtualService default/own");
        let wanted = format!("{own} would take the request with {asked}");
        assert_eq!(answer.nearest.as_deref(), Some(&*wanted));
        let near: Vec<(&str, &str)> = answer
            .lost
            .iter()
            .filter(|lost| !lost.far)
            .map(|lost| (&*lost.from[0].path, &*lost.refused))
            .collect();
        let refused = format!("it asks for {asked}; {here}");
        assert_eq!(near, [(&*place, &*refused)], "{path}");
        let named =
            |lost: &tidegate_explain::Lost| lost.from.iter().any(|from| from.name == "bytes");
        assert!(!answer.lost.iter().any(named), "it takes no requests: {:#?}", answer.lost);
    }
}
