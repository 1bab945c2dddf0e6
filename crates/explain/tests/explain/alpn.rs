//! Which version of HTTP a connection is read as, and what becomes of clients that speak another.

use serde_json::json;
use tidegate_explain::{Answer, End, Error, Protocol, Question, Security, World};
use tidegate_pilot::Options;
use tidegate_testing::ca::Ca;

use crate::support::{answering, gateway, object, plain, secret, server};

const HOST: &str = "a.example.com";

fn world() -> World {
    let ca = Ca::new("root");
    let tls = json!({"mode": "SIMPLE", "credentialName": "one"});
    let own = [
        gateway("gw", &[server("https", HOST, &tls), plain(HOST)]),
        answering("all", &[HOST], &["gw"], 299),
        secret("one", &ca, &ca.issue(&[HOST])),
    ];
    World::new(Options::default(), own.iter().map(object))
}

fn asked(protocol: Protocol, alpn: &[&str]) -> Question {
    Question {
        port: 443,
        protocol,
        security: Security::Tls,
        sni: Some(HOST.to_owned()),
        alpn: alpn.iter().map(ToString::to_string).collect(),
        host: HOST.to_owned(),
        ..Question::default()
    }
}

/// The status that is answered, if any, and what is wrong.
fn outcome(answer: &Answer) -> (Option<u16>, Option<Error>) {
    match &answer.end {
        End::Answered { status } => (Some(*status), None),
        End::Refused { status, error, .. } => (*status, Some(*error)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_client_speaks_what_its_handshake_agreed_on() {
    use Protocol::{Http, Http1, Http2, Tcp};
    let world = world();
    let (served, wrong) = ((Some(299), None), Some(Error::ProtocolError));
    let cases: [(Protocol, &[&str], _); 13] = [
        (Http1, &["http/1.1"], served),
        (Http2, &["h2"], served),
        // The gateway's order counts, and HTTP/2 is its first.
        (Http2, &["http/1.1", "h2"], served),
        (Http1, &["http/1.1", "h2"], (None, wrong)),
        (Http1, &["h2"], (None, wrong)),
        (Http2, &["http/1.1"], (Some(400), wrong)),
        // With nothing agreed on, the first bytes tell.
        (Http1, &[], served),
        (Http2, &[], served),
        (Http2, &["acme"], served),
        (Http, &["h2"], served),
        (Http, &[], served),
        (Tcp, &["http/1.1"], (Some(400), wrong)),
        (Tcp, &["h2"], (None, wrong)),
    ];
    for (protocol, alpn, expected) in cases {
        let answer = world.explain(&asked(protocol, alpn));
        assert_eq!(outcome(&answer), expected, "{protocol:?} {alpn:?}: {answer:#?}");
    }
}

#[test]
fn a_client_that_speaks_another_version_is_told_which() {
    let world = world();
    let told = |protocol, alpn| {
        let answer = world.explain(&asked(protocol, &[alpn]));
        let End::Refused { reason, .. } = answer.end else { panic!("{answer:#?}") };
        (reason, answer.nearest.unwrap_or_default())
    };
    let (reason, nearest) = told(Protocol::Http1, "h2");
    assert!(
        reason.contains("speaks HTTP/1.1") && reason.contains("on HTTP/2 (ALPN h2)"),
        "{reason}"
    );
    assert!(nearest.contains("--protocol http2"), "{nearest}");
    let (reason, nearest) = told(Protocol::Http2, "http/1.1");
    assert!(reason.contains("speaks HTTP/2") && reason.contains("(ALPN http/1.1)"), "{reason}");
    assert!(nearest.ends_with("(--protocol http)"), "{nearest}");
}

#[test]
fn in_plain_text_either_version_is_read() {
    let world = world();
    for protocol in [Protocol::Http, Protocol::Http1, Protocol::Http2] {
        let question = Question { protocol, host: HOST.to_owned(), ..Question::default() };
        assert_eq!(outcome(&world.explain(&question)), (Some(299), None), "{protocol:?}");
    }
}
