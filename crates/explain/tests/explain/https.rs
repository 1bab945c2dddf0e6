//! Servers that terminate TLS: who is let in by which handshake, and what becomes of hosts of other servers.

use serde_json::{Value, json};
use tidegate_explain::{Answer, End, Error, Protocol, Question, Security, World};
use tidegate_pilot::Options;
use tidegate_testing::ca::Ca;

use crate::support::{answering, gateway, manifest, object, plain, secret, server};

/// A gateway with these servers on port 443, and one VirtualService that takes every request of every host.
pub(crate) fn world(servers: &[Value]) -> World {
    world_of("*", servers)
}

/// As [`world`], where the VirtualService is for one host.
pub(crate) fn world_of(host: &str, servers: &[Value]) -> World {
    let ca = Ca::new("root");
    let leaf = ca.issue(&["a.example.com"]);
    let secrets = ["one", "two"].map(|name| secret(name, &ca, &leaf));
    let own = [gateway("gw", servers), answering("all", &[host], &["gw"], 299)];
    World::new(Options::default(), own.iter().chain(&secrets).map(object))
}

pub(crate) fn question(sni: Option<&str>, host: &str) -> Question {
    Question {
        port: 443,
        protocol: Protocol::Http1,
        security: Security::Tls,
        sni: sni.map(str::to_owned),
        alpn: vec!["http/1.1".to_owned()],
        host: host.to_owned(),
        ..Question::default()
    }
}

/// The status that is answered, or where the connection ends.
pub(crate) fn outcome(answer: &Answer) -> Result<u16, Error> {
    match &answer.end {
        End::Answered { status } | End::Redirected { status, .. } => Ok(*status),
        End::Refused { status: Some(status), .. } => Ok(*status),
        End::Refused { error, .. } => Err(*error),
        End::Forwarded => Ok(200),
        End::Unavailable { .. } => Ok(503),
        End::Undecided { reason } => panic!("{reason}"),
    }
}

pub(crate) fn simple(credential: &str) -> Value {
    json!({"mode": "SIMPLE", "credentialName": credential})
}

pub(crate) fn mutual(credential: &str) -> Value {
    json!({"mode": "MUTUAL", "credentialName": credential})
}

pub(crate) const SIMPLE: &str = "a.example.com";
pub(crate) const MUTUAL: &str = "m.example.com";

#[test]
fn one_certificate_for_all_is_shown_to_who_names_no_server() {
    let world = world(&[
        server("simple", SIMPLE, &simple("one")),
        server("mutual", MUTUAL, &mutual("one")),
    ]);
    let cases = [
        (Some(SIMPLE), SIMPLE, false, Ok(299)),
        (Some(MUTUAL), MUTUAL, true, Ok(299)),
        (Some(MUTUAL), MUTUAL, false, Err(Error::MtlsError)),
        // Without a server name the Host decides, and who has to show a certificate.
        (None, SIMPLE, false, Ok(299)),
        (None, MUTUAL, true, Ok(299)),
        (None, MUTUAL, false, Ok(403)),
        (None, "m.example.com:443", false, Ok(403)),
        (None, "other.example.com", true, Ok(404)),
        // What a handshake did not ask for cannot be had by another one's.
        (Some(SIMPLE), MUTUAL, true, Ok(421)),
        (Some(SIMPLE), "M.example.com.", true, Ok(421)),
        (None, "m.example.com.:443", false, Ok(403)),
        (Some(MUTUAL), SIMPLE, true, Ok(421)),
        (Some(SIMPLE), "other.example.com", false, Ok(404)),
        (Some("other.example.com"), SIMPLE, false, Err(Error::NoFilterChain)),
    ];
    for (sni, host, certificate, expected) in cases {
        let mut question = question(sni, host);
        question.client_certificate = certificate;
        let answer = world.explain(&question);
        assert_eq!(outcome(&answer), expected, "{sni:?} {host} {certificate}: {answer:#?}");
    }
}

/// Whether or not a server is named, and whoever asks: what nobody serves ends in the same way.
#[test]
fn what_no_route_takes_ends_alike_with_a_server_name_and_without() {
    let ca = Ca::new("root");
    let secret = secret("one", &ca, &ca.issue(&["a.example.com"]));
    let servers =
        [server("simple", SIMPLE, &simple("one")), server("mutual", MUTUAL, &mutual("one"))];
    let mut service = answering("api", &["*"], &["gw"], 299);
    service["spec"]["http"][0]["match"] = json!([{"uri": {"prefix": "/api"}}]);
    let own = [gateway("gw", &servers), service, secret];
    let world = World::new(Options::default(), own.iter().map(object));
    let named = [SIMPLE, MUTUAL].map(|host| (Some(host), host));
    for (sni, host) in named.into_iter().chain(named.map(|(_, host)| (None, host))) {
        let path = "/ap".to_owned();
        let asked = Question { client_certificate: true, path, ..question(sni, host) };
        let answer = world.explain(&asked);
        let no_route = matches!(answer.end, End::Refused { error: Error::NoRoute, .. });
        assert!(no_route, "{sni:?} {host}: {answer:#?}");
        assert_eq!(answer.lost.iter().filter(|lost| lost.at == "route").count(), 1);
        let nearest = answer.nearest.unwrap_or_default();
        assert!(nearest.contains("prefix /api"), "{nearest}");
    }
}

#[test]
fn with_several_certificates_the_oldest_simple_server_answers() {
    let servers = [
        server("mutual", MUTUAL, &mutual("two")),
        server("simple", SIMPLE, &simple("one")),
        server("other", "b.example.com", &simple("two")),
    ];
    let with_simple = world(&servers);
    for (host, expected) in [(SIMPLE, 299), (MUTUAL, 421), ("b.example.com", 421)] {
        let answer = with_simple.explain(&question(None, host));
        assert_eq!(outcome(&answer), Ok(expected), "{host}: {answer:#?}");
    }
    let told = with_simple.explain(&question(None, MUTUAL));
    let notes = told.notes.join("\n");
    assert!(
        notes.contains("host m.example.com belongs to a server with other TLS terms"),
        "{notes}"
    );
    assert!(notes.contains("the TLS terms of servers[1] of Gateway default/gw hold"), "{notes}");
    let chain = told.filter_chain.expect("a chain");
    assert_eq!(chain.asks, "connections that name no server");
    assert_eq!(chain.from.iter().map(|s| s.path.as_str()).collect::<Vec<_>>(), ["spec.servers[1]"]);
    // Where all demand a certificate and there are two to choose from, nothing is guessed.
    let mut demanding = servers;
    demanding[1] = server("mutual too", SIMPLE, &mutual("one"));
    let nothing = world(&demanding[..2]).explain(&question(None, SIMPLE));
    assert_eq!(outcome(&nothing), Err(Error::NoFilterChain));
}

#[test]
fn names_of_the_clients_certificate_decide_where_a_server_asks_for_some() {
    let mut named = mutual("one");
    named["subjectAltNames"] = json!(["client.example.com", "spiffe://a/b"]);
    let world =
        world(&[server("simple", SIMPLE, &simple("one")), server("mutual", MUTUAL, &named)]);
    let cases = [
        (Some(MUTUAL), &["client.example.com"][..], Ok(299)),
        (Some(MUTUAL), &["spiffe://a/b"], Ok(299)),
        (Some(MUTUAL), &["*.example.com"], Ok(299)),
        (Some(MUTUAL), &["other.example.com"], Err(Error::MtlsError)),
        // Nothing is said of its names: the right ones are meant.
        (Some(MUTUAL), &[], Ok(299)),
        // Names are looked for by the handshake alone, and that of no server name is everybody's.
        (None, &["spiffe://a/b"], Ok(421)),
    ];
    for (sni, names, expected) in cases {
        let mut question = question(sni, MUTUAL);
        question.client_certificate = true;
        question.client_names = names.iter().map(|name| (*name).to_owned()).collect();
        let answer = world.explain(&question);
        assert_eq!(outcome(&answer), expected, "{sni:?} {names:?}: {answer:#?}");
    }
}

#[test]
fn every_candidate_says_where_it_stands() {
    let world = world(&[
        server("simple", SIMPLE, &simple("one")),
        server("mutual", MUTUAL, &mutual("one")),
        server("late", SIMPLE, &simple("two")),
    ]);
    for (sni, host) in [(Some(SIMPLE), SIMPLE), (None, MUTUAL), (Some("x.org"), SIMPLE)] {
        let answer = world.explain(&question(sni, host));
        assert!(
            answer.lost.iter().all(|lost| !lost.from.is_empty()),
            "{sni:?}: {:#?}",
            answer.lost
        );
        let late = answer.lost.iter().find(|l| l.from.iter().any(|s| s.path == "spec.servers[2]"));
        let refused = late.map_or("", |late| &late.refused);
        assert!(
            refused.contains("belongs to servers[0] of Gateway default/gw"),
            "{sni:?}: {refused}"
        );
    }
}

#[test]
fn a_narrower_server_has_its_host_for_itself() {
    let world = world(&[
        server("wide", "*.example.com", &simple("one")),
        server("mutual", MUTUAL, &mutual("one")),
        server("same", "other.org", &simple("one")),
    ]);
    let cases = [
        (Some("x.example.com"), "x.example.com", Ok(299)),
        (Some("x.example.com"), MUTUAL, Ok(421)),
        // On the same terms a connection serves for both.
        (Some("x.example.com"), "other.org", Ok(299)),
        (Some("other.org"), "x.example.com", Ok(299)),
        (Some("other.org"), MUTUAL, Ok(421)),
        (None, "x.example.com", Ok(299)),
        (None, MUTUAL, Ok(403)),
    ];
    for (sni, host, expected) in cases {
        let answer = world.explain(&question(sni, host));
        assert_eq!(outcome(&answer), expected, "{sni:?} {host}: {answer:#?}");
    }
}

#[test]
fn both_sides_have_to_speak_tls_and_there_has_to_be_a_certificate() {
    let world = world(&[
        server("simple", SIMPLE, &simple("one")),
        server("missing", "b.example.com", &simple("nowhere")),
        plain(SIMPLE),
    ]);
    let plain = Question { security: Security::Plain, ..question(None, SIMPLE) };
    assert_eq!(outcome(&world.explain(&plain)), Err(Error::TlsError));
    let tls = Question { port: 80, ..question(Some(SIMPLE), SIMPLE) };
    assert_eq!(outcome(&world.explain(&tls)), Err(Error::ProtocolError), "an alert");
    let answer = world.explain(&question(Some("b.example.com"), "b.example.com"));
    assert_eq!(outcome(&answer), Err(Error::TlsError));
    let End::Refused { reason, .. } = &answer.end else { panic!("{answer:?}") };
    assert!(reason.contains("no Secret nowhere in namespace istio-system"), "{reason}");
    assert_eq!(outcome(&world.explain(&question(Some(SIMPLE), SIMPLE))), Ok(299));
}

#[test]
fn who_is_not_let_in_is_told_what_would_be() {
    let mut named = mutual("one");
    named["subjectAltNames"] = json!(["spiffe://a"]);
    let mut https = plain("c.example.com");
    https["port"]["number"] = json!(81);
    let world = world(&[
        server("simple", SIMPLE, &simple("one")),
        server("mutual", MUTUAL, &mutual("one")),
        server("named", "n.example.com", &named),
        https,
    ]);
    let nearest = |question: Question| world.explain(&question).nearest.unwrap_or_default();
    let mutual = || question(Some(MUTUAL), MUTUAL);
    assert!(nearest(mutual()).contains("--client-cert yes"));
    assert!(nearest(question(None, MUTUAL)).contains("--client-cert yes"), "403");
    let other = Question {
        client_certificate: true,
        client_names: vec!["spiffe://b".to_owned()],
        ..question(Some("n.example.com"), "n.example.com")
    };
    assert!(nearest(other).contains("--client-cert-san"));
    let text = Question { security: Security::Plain, ..question(None, SIMPLE) };
    assert!(nearest(text).contains("--tls"));
    let tls = Question { port: 81, ..question(Some("c.example.com"), "c.example.com") };
    assert!(nearest(tls).contains("http://"));
    let missing = Question { client_certificate: true, ..mutual() };
    assert_eq!(world.explain(&missing).nearest, None, "it is let in");
}

/// What one server lacks closes its own hosts alone, also for those who name no server.
#[test]
fn without_authorities_only_the_server_that_asks_for_certificates_is_closed() {
    let mut without = mutual("one");
    without["caCertCredentialName"] = json!("nowhere");
    let world =
        world(&[server("simple", SIMPLE, &simple("one")), server("mutual", MUTUAL, &without)]);
    let cases = [
        (Some(SIMPLE), SIMPLE, Ok(299)),
        (Some(MUTUAL), MUTUAL, Err(Error::TlsError)),
        (None, SIMPLE, Ok(299)),
        (None, MUTUAL, Ok(421)),
    ];
    for (sni, host, expected) in cases {
        let answer = world.explain(&question(sni, host));
        assert_eq!(outcome(&answer), expected, "{sni:?} {host}: {answer:#?}");
    }
}

/// What a certificate has to carry is judged by handshakes alone: by the one of no server name only where all ask for the
/// same.
#[test]
fn names_of_certificates_are_checked_without_a_server_name_where_all_ask_for_them() {
    let named = |names: &[&str]| {
        let mut tls = mutual("one");
        tls["subjectAltNames"] = json!(names);
        tls
    };
    let mut pinned = mutual("one");
    pinned["verifyCertificateSpki"] = json!(["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]);
    let asked = |servers: &[Value], host: &str, names: &[&str]| {
        let mut question = question(None, host);
        question.client_certificate = !names.is_empty();
        question.client_names = names.iter().map(|name| (*name).to_owned()).collect();
        outcome(&world(servers).explain(&question))
    };
    let mixed = [
        server("simple", SIMPLE, &simple("one")),
        server("mutual", MUTUAL, &mutual("one")),
        server("named", "n.example.com", &named(&["spiffe://a", "CN=client"])),
        server("pinned", "p.example.com", &pinned),
    ];
    let answers = [(SIMPLE, 299), (MUTUAL, 299), ("n.example.com", 421), ("p.example.com", 421)];
    for (host, expected) in answers {
        assert_eq!(asked(&mixed, host, &["spiffe://a"]), Ok(expected), "{host}");
    }
    assert_eq!(asked(&mixed, MUTUAL, &[]), Ok(403));

    let alike = [
        server("one", MUTUAL, &named(&["client.example.com", "CN=client"])),
        server("two", "n.example.com", &named(&["client.example.com", "CN=client"])),
    ];
    for host in [MUTUAL, "n.example.com"] {
        assert_eq!(
            asked(&alike, host, &["*.example.com"]),
            Ok(299),
            "{host}: a wildcard covers it"
        );
        // Its subject is what is asked for, and no name of it is.
        assert_eq!(asked(&alike, host, &["spiffe://b"]), Err(Error::MtlsError), "{host}");
        // A handshake that looks for names demands a certificate to find them in, as Envoy's does.
        assert_eq!(asked(&alike, host, &[]), Err(Error::MtlsError), "{host}");
    }
}

/// Who may have no certificate has to have one where something is asked of it: Envoy holds the handshake so. Without a server
/// name it is no less: such a host is misdirected where others ask for less.
#[test]
fn what_is_asked_of_certificates_is_asked_of_everybody() {
    let optional = |names: &[&str]| json!({"mode": "OPTIONAL_MUTUAL", "credentialName": "one", "subjectAltNames": names});
    let world = world(&[
        server("simple", SIMPLE, &simple("one")),
        server("optional", MUTUAL, &optional(&[])),
        server("named", "n.example.com", &optional(&["spiffe://a"])),
    ]);
    let cases = [
        (Some(MUTUAL), MUTUAL, Ok(299)),
        (Some("n.example.com"), "n.example.com", Err(Error::MtlsError)),
        (None, MUTUAL, Ok(299)),
        (None, "n.example.com", Ok(421)),
    ];
    for (sni, host, expected) in cases {
        let answer = world.explain(&question(sni, host));
        assert_eq!(outcome(&answer), expected, "{sni:?} {host}: {answer:#?}");
    }
}

/// Neither is who names no server served by a certificate that is not there.
#[test]
fn a_server_without_its_certificate_answers_nobody_without_a_name() {
    let world = world(&[
        server("missing", "b.example.com", &simple("nowhere")),
        server("simple", SIMPLE, &simple("one")),
    ]);
    for (host, expected) in [(SIMPLE, 299), ("b.example.com", 421)] {
        let answer = world.explain(&question(None, host));
        assert_eq!(outcome(&answer), Ok(expected), "{answer:#?}");
    }
}

/// A host that two Gateways have is the older one's, whatever the younger one would ask for or let through.
#[test]
fn a_host_belongs_to_the_oldest_server() {
    let world = world(&[
        server("old", "one/b.example.com", &simple("one")),
        server("young", "two/b.example.com", &mutual("one")),
        server("other", MUTUAL, &mutual("one")),
    ]);
    // The VirtualService is of namespace default, to which neither is open.
    let cases = [
        (Some("b.example.com"), "b.example.com", Ok(404)),
        (None, "b.example.com", Ok(404)),
        (None, MUTUAL, Ok(403)),
        (Some("b.example.com"), MUTUAL, Ok(421)),
    ];
    for (sni, host, expected) in cases {
        let answer = world.explain(&question(sni, host));
        assert_eq!(outcome(&answer), expected, "{sni:?} {host}: {answer:#?}");
    }
}

/// That a host has no routes is nobody's business who has to show a certificate.
#[test]
fn certificates_are_asked_for_before_404() {
    let servers =
        [server("simple", SIMPLE, &simple("one")), server("mutual", MUTUAL, &mutual("one"))];
    let world = world_of(SIMPLE, &servers);
    for (certificate, expected) in [(false, 403), (true, 404)] {
        let mut question = question(None, MUTUAL);
        question.client_certificate = certificate;
        let answer = world.explain(&question);
        assert_eq!(outcome(&answer), Ok(expected), "{answer:#?}");
    }
}

/// What a narrower server does not serve is closed, not served by a wider one.
#[test]
fn a_wider_server_takes_no_names_of_a_narrower_one() {
    let mut passed = server("passed", "p.example.com", &json!({"mode": "PASSTHROUGH"}));
    passed["port"]["protocol"] = json!("TLS");
    let world = world(&[passed, server("wide", "*.example.com", &simple("one"))]);
    let answer = world.explain(&question(Some("p.example.com"), "p.example.com"));
    let names: Vec<&str> = answer.clusters.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["BlackHoleCluster"], "{answer:#?}");
    let other = world.explain(&question(Some("a.example.com"), "a.example.com"));
    assert_eq!(outcome(&other), Ok(299));
}

/// Guide 002: a Gateway with TLS that no VirtualService names takes what another one answers in plain HTTP, and no more.
#[test]
fn a_gateway_that_nobody_names_takes_what_is_open_in_plain_http() {
    let plain = plain(SIMPLE);
    let service = |gateways: &[&str]| answering("v", &[SIMPLE, MUTUAL], gateways, 299);
    let ca = Ca::new("root");
    let secret = secret("one", &ca, &ca.issue(&[SIMPLE]));
    let tls = [server("simple", SIMPLE, &simple("one")), server("other", MUTUAL, &simple("one"))];
    let world = |service: &Value, own: &[Value]| {
        let all = [gateway("plain", own), gateway("tls", &tls), service.clone()];
        World::new(Options::default(), all.iter().chain([&secret]).map(object))
    };
    let adopting = world(&service(&["plain"]), std::slice::from_ref(&plain));
    for (host, expected) in [(SIMPLE, 299), (MUTUAL, 404)] {
        let answer = adopting.explain(&question(Some(host), host));
        assert_eq!(outcome(&answer), Ok(expected), "{host}: {answer:#?}");
    }
    // What its own Gateway asks TLS for, or sends there, is not for another one to show.
    let mut redirect = plain.clone();
    redirect["tls"] = json!({"httpsRedirect": true});
    let mut guarded = server("guarded", SIMPLE, &mutual("one"));
    guarded["port"]["number"] = json!(8443);
    for own in [vec![redirect], vec![plain.clone(), guarded]] {
        let answer = world(&service(&["plain"]), &own).explain(&question(Some(SIMPLE), SIMPLE));
        assert_eq!(outcome(&answer), Ok(404), "{answer:#?}");
    }
    let named = world(&service(&["plain", "tls"]), std::slice::from_ref(&plain));
    assert_eq!(outcome(&named.explain(&question(Some(MUTUAL), MUTUAL))), Ok(299));
}

/// Guide 002: `https://` leads nowhere that `http://` does not.
#[test]
fn a_gateway_that_nobody_names_answers_every_host_as_plain_http_does() {
    let ca = Ca::new("root");
    let secret = secret("one", &ca, &ca.issue(&[SIMPLE]));
    let mut foreign = answering("foreign", &["f.example.com"], &["default/plain"], 297);
    foreign["metadata"]["namespace"] = json!("other");
    let services = [
        answering("wide", &["*.example.com"], &["plain"], 299),
        answering("narrow", &["n.example.com"], &["plain"], 298),
        foreign,
    ];
    for hosts in [json!(["*"]), json!(["*.example.com"]), json!(["n.example.com", "f.example.com"])]
    {
        let mut tls = server("all", "*", &simple("one"));
        tls["hosts"] = hosts.clone();
        let own = [gateway("plain", &[plain("*")]), gateway("tls", &[tls])];
        let all = own.iter().chain(&services).chain([&secret]).map(object);
        let world = World::new(Options::default(), all);
        for (host, expected) in
            [("n.example.com", 298), ("f.example.com", 404), ("a.example.com", 299)]
        {
            let secured = world.explain(&question(Some(host), host));
            let http = Question { port: 80, security: Security::Plain, ..question(None, host) };
            let open = world.explain(&http);
            match outcome(&secured) {
                Ok(status) => assert_eq!(status, expected, "{hosts} {host}: {secured:#?}"),
                Err(error) => assert!(host.starts_with('a') && hosts[1].is_string(), "{error:?}"),
            }
            assert_eq!(outcome(&open), Ok(if expected == 404 { 297 } else { expected }), "{host}");
        }
    }
}

/// The URI in the client's certificate of [`told_of_the_client`].
const CLIENT: &str = "spiffe://mesh/ns/a/sa/b";

/// A host whose rules ask what the gateway says of the client, behind servers on these terms.
fn told_of_the_client(ca: &Ca, servers: &[Value]) -> World {
    let secrets =
        ["one"].map(|name| secret(name, ca, &ca.issue_with_uris(&[SIMPLE], &["spiffe://gw"])));
    let set = json!({"request": {"set": {"x-who": "%DOWNSTREAM_PEER_URI_SAN%"}}});
    let route = json!([{"destination": {"host": "up.org"}}]);
    let told = json!({"x-forwarded-client-cert": {"regex": format!(".*{CLIENT}.*")}});
    let rules = json!([
        {"name": "told", "match": [{"headers": told}], "headers": set, "route": route},
        {"name": "untold", "route": route},
    ]);
    let spec = json!({"hosts": ["*"], "gateways": ["gw"], "http": rules});
    let own = [gateway("gw", servers), manifest("VirtualService", "default", "all", &spec)];
    World::new(Options::default(), own.iter().chain(&secrets).map(object))
}

#[test]
fn what_the_handshake_said_of_the_client_is_matched_and_sent() {
    let world = told_of_the_client(
        &Ca::new("root"),
        &[server("simple", SIMPLE, &simple("one")), server("mutual", MUTUAL, &mutual("one"))],
    );
    let asked = |host: &str| Question {
        client_certificate: true,
        client_names: vec![CLIENT.to_owned()],
        // What clients say of themselves is not believed.
        headers: vec![("x-forwarded-client-cert".to_owned(), "By=me;URI=x".to_owned())],
        ..question(Some(host), host)
    };
    let answer = world.explain(&asked(MUTUAL));
    assert_eq!(answer.route.as_ref().map(|route| &*route.name), Some("told"), "{answer:#?}");
    let sent = answer.sent.expect("it is sent");
    assert!(sent.set_headers.contains(&("x-who".to_owned(), CLIENT.to_owned())), "{sent:?}");
    let own = |name: &str| sent.own_headers.iter().find(|(n, _)| n == name).map(|(_, v)| &**v);
    let wanted = format!("By=spiffe://gw;Subject=\"CN=client\";URI={CLIENT}");
    assert_eq!(own("x-forwarded-client-cert"), Some(&*wanted));
    assert_eq!(own("x-forwarded-proto"), Some("https"));

    // Where nobody asks for its certificate, a client shows none.
    let answer = world.explain(&asked(SIMPLE));
    assert_eq!(answer.route.as_ref().map(|route| &*route.name), Some("untold"), "{answer:#?}");
    assert_eq!(answer.sent.expect("it is sent").removed_headers, ["x-forwarded-client-cert"]);
}

#[test]
fn a_certificate_that_is_given_is_told_as_the_gateway_tells_it() {
    let ca = Ca::new("root");
    let world = told_of_the_client(&ca, &[server("mutual", MUTUAL, &mutual("one"))]);
    let leaf = ca.issue_with_uris(&["client"], &[CLIENT]);
    let question = Question {
        client_certificate: true,
        client_chain: vec![leaf.certificate.to_vec()],
        ..question(Some(MUTUAL), MUTUAL)
    };
    let sent = world.explain(&question).sent.expect("it is sent");
    let told = sent.own_headers.iter().find(|(name, _)| name == "x-forwarded-client-cert");
    let (_, told) = told.expect("it is told");
    for part in
        ["By=spiffe://gw;Hash=", "Cert=\"-----BEGIN%20CERTIFICATE-----", "Subject=\"", "DNS=client"]
    {
        assert!(told.contains(part), "{told}");
    }
}

/// A certificate that is given is judged by what judges those of clients.
#[test]
fn a_certificate_that_is_given_is_verified_as_in_a_handshake() {
    let (ca, stranger) = (Ca::new("root"), Ca::new("root"));
    let (client, other) = (ca.issue(&["client.x"]), ca.issue(&["client.x"]));
    let (nameless, unnamed) = (ca.issue(&[]), "the client's has no names");
    let with = |field: &str, value: &str| {
        let mut tls = mutual("one");
        tls[field] = json!([value]);
        tls
    };
    let hash: String = client.digest().iter().map(|byte| format!("{byte:02x}")).collect();
    let (named, hash) = (with("subjectAltNames", "client.x"), with("verifyCertificateHash", &hash));
    let key = with("verifyCertificateSpki", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    let (optional, any) =
        (json!({"mode": "OPTIONAL_MUTUAL", "credentialName": "one"}), mutual("one"));
    let pinned = "verifyCertificateHash), and the client's is another";
    let (issuer, expired) = (stranger.issue(&["client.x"]), ca.issue_expired(&["client.x"]));
    let cases = [
        (&any, &client, None),
        (&any, &nameless, None),
        (&any, &issuer, Some("its signature does not hold")),
        (&any, &expired, Some("expired")),
        (&optional, &issuer, Some("not accepted")),
        (&simple("one"), &issuer, None),
        (&named, &client, None),
        (&named, &nameless, Some(unnamed)),
        (&hash, &client, None),
        (&hash, &other, Some(pinned)),
        (&key, &client, Some(pinned)),
    ];
    for (tls, leaf, refused) in cases {
        let own = [
            gateway("gw", &[server("own", MUTUAL, tls)]),
            answering("all", &["*"], &["gw"], 299),
            secret("one", &ca, &client),
        ];
        let world = World::new(Options::default(), own.iter().map(object));
        let asked = |chain| Question {
            client_certificate: true,
            client_chain: chain,
            ..question(Some(MUTUAL), MUTUAL)
        };
        let answer = world.explain(&asked(vec![leaf.certificate.to_vec()]));
        match (refused, &answer.end) {
            (None, End::Answered { status: 299 }) => {}
            (Some(why), End::Refused { error: Error::MtlsError, reason, .. }) => {
                assert!(reason.contains(why), "{tls} {why}: {reason}");
            }
            _ => panic!("{tls} {refused:?}: {answer:#?}"),
        }
        // What cannot be judged is told, where anybody asks for it.
        let answer = world.explain(&asked(Vec::new()));
        assert_eq!(outcome(&answer), Ok(299), "{tls}");
        let told = answer.notes.iter().any(|note| note.contains("were not judged"));
        assert_eq!(told, tls["mode"] != "SIMPLE", "{tls}: {:?}", answer.notes);
    }
}
