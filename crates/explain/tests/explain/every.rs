//! A server for every name, and those beside it: which handshake lets in whom, with a server name and without.

use serde_json::{Value, json};
use tidegate_explain::{Error, World};

use crate::https::{MUTUAL, SIMPLE, mutual, outcome, question, simple, world, world_of};
use crate::support::server;

/// A host that no server lists.
const ANY: &str = "any.org";

/// Server name, Host, whether the client shows a certificate, and how it ends.
type Case<'a> = (Option<&'a str>, &'a str, bool, Result<u16, Error>);

fn ends(world: &World, cases: &[Case<'_>]) {
    for (sni, host, certificate, expected) in cases {
        let mut question = question(*sni, host);
        question.client_certificate = *certificate;
        let answer = world.explain(&question);
        assert_eq!(outcome(&answer), *expected, "{sni:?} {host} {certificate}: {answer:#?}");
    }
}

#[test]
fn the_host_decides_also_beside_a_server_for_every_name() {
    let world = world(&[
        server("all", "*", &simple("one")),
        server("mutual", MUTUAL, &mutual("one")),
        server("simple", SIMPLE, &simple("one")),
    ]);
    ends(
        &world,
        &[
            (None, ANY, false, Ok(299)),
            (None, SIMPLE, false, Ok(299)),
            (None, MUTUAL, true, Ok(299)),
            (None, MUTUAL, false, Ok(403)),
            (Some(ANY), ANY, false, Ok(299)),
            (Some(ANY), SIMPLE, true, Ok(299)),
            (Some(MUTUAL), MUTUAL, true, Ok(299)),
            (Some(MUTUAL), MUTUAL, false, Err(Error::MtlsError)),
            // Who names another server may be asked for a certificate when it names the right one.
            (Some(ANY), MUTUAL, false, Ok(421)),
            (Some(ANY), MUTUAL, true, Ok(299)),
            (Some(SIMPLE), MUTUAL, true, Ok(421)),
            (Some(SIMPLE), ANY, false, Ok(299)),
            (Some(MUTUAL), ANY, true, Ok(421)),
        ],
    );
    let answer = world.explain(&question(None, MUTUAL));
    assert_eq!(answer.filter_chain.expect("a chain").from[0].path, "spec.servers[0]");
    assert!(answer.notes.join("\n").contains("the Host of each request decides"));
    assert!(answer.nearest.expect("what would be").contains("--client-cert yes"));
    let elsewhere = world.explain(&question(Some(ANY), MUTUAL));
    let notes = elsewhere.notes.join("\n");
    assert!(notes.contains("connect anew, with m.example.com as server name"), "{notes}");
    // Routes are told by their own numbers.
    let mut shown = question(None, MUTUAL);
    shown.client_certificate = true;
    let route = world.explain(&shown).route.expect("a route");
    assert_eq!(route.from[0].path, "spec.http[0]");
}

#[test]
fn what_a_server_for_every_name_demands_it_demands_of_all_who_name_one() {
    let alone = world(&[server("all", "*", &mutual("one"))]);
    let beside = world(&[
        server("simple", SIMPLE, &simple("one")),
        server("all", "*", &mutual("one")),
        server("mutual", MUTUAL, &mutual("one")),
    ]);
    for world in [&alone, &beside] {
        ends(
            world,
            &[
                (None, ANY, false, Ok(403)),
                (None, MUTUAL, false, Ok(403)),
                (None, ANY, true, Ok(299)),
                (Some(ANY), ANY, false, Err(Error::MtlsError)),
                (Some(ANY), MUTUAL, false, Err(Error::MtlsError)),
                (Some(ANY), SIMPLE, false, Err(Error::MtlsError)),
                (Some(ANY), ANY, true, Ok(299)),
                (Some(ANY), MUTUAL, true, Ok(299)),
                (Some(MUTUAL), MUTUAL, false, Err(Error::MtlsError)),
            ],
        );
    }
    ends(
        &beside,
        &[
            (None, SIMPLE, false, Ok(299)),
            (Some(SIMPLE), SIMPLE, false, Ok(299)),
            (Some(SIMPLE), ANY, true, Ok(421)),
            (Some(ANY), SIMPLE, true, Ok(299)),
        ],
    );
}

/// The terms of the server for every name hold on its connections, whatever the others ask for.
#[test]
fn other_terms_than_those_for_every_name_need_a_server_name() {
    let with = |tls: Value, more: Value| {
        let mut tls = tls;
        let more = more.as_object().cloned().unwrap_or_default();
        tls.as_object_mut().expect("settings").extend(more);
        tls
    };
    let optional = |more| with(json!({"mode": "OPTIONAL_MUTUAL", "credentialName": "one"}), more);
    let beside = |every: Value| {
        world(&[server("mutual", MUTUAL, &mutual("one")), server("all", "*", &every)])
    };
    let other_ca = json!({"caCertCredentialName": "two"});
    // What is asked for, and how a host that demands a certificate of "one" ends without a server name.
    for (every, any, ends_so) in [
        (optional(json!({})), Ok(299), [Ok(403), Ok(299)]),
        (optional(other_ca), Ok(299), [Ok(421), Ok(421)]),
        (
            optional(json!({"subjectAltNames": ["c"]})),
            Err(Error::MtlsError),
            [Err(Error::MtlsError), Ok(421)],
        ),
        (
            with(simple("one"), json!({"minProtocolVersion": "TLSV1_3"})),
            Ok(299),
            [Ok(421), Ok(421)],
        ),
        (simple("two"), Ok(299), [Ok(421), Ok(421)]),
        (mutual("two"), Err(Error::MtlsError), [Err(Error::MtlsError), Ok(421)]),
    ] {
        let [without, shown] = ends_so;
        ends(
            &beside(every),
            &[
                (None, ANY, false, any),
                (Some(ANY), ANY, false, any),
                (None, MUTUAL, false, without),
                (None, MUTUAL, true, shown),
                (Some(MUTUAL), MUTUAL, true, Ok(299)),
                (Some(MUTUAL), MUTUAL, false, Err(Error::MtlsError)),
            ],
        );
    }
}

/// What is for every host answers for none whose server demands a certificate.
#[test]
fn hosts_without_routes_are_not_answered_by_wider_ones() {
    let servers = [server("all", "*", &simple("one")), server("mutual", MUTUAL, &mutual("one"))];
    let of_another = world_of(ANY, &servers);
    ends(
        &of_another,
        &[
            (None, ANY, false, Ok(299)),
            (None, MUTUAL, false, Ok(403)),
            (Some(ANY), MUTUAL, false, Ok(421)),
            (None, MUTUAL, true, Ok(404)),
            (None, "other.org", false, Ok(404)),
        ],
    );
}
