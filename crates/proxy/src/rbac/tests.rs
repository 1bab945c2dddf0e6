use std::net::SocketAddr;
use std::rc::Rc;
use std::time::SystemTime;

use super::*;
use crate::config::chains::Net;
use crate::filter::local_rate_limit::OfConnection;
use crate::http::RequestHead;
use crate::http::chain::Client;
use crate::route::{Field, HeaderCondition, HeaderTest, TextMatch};
use crate::stats::Registry;
use crate::tls::Settled;
use crate::tls::handshake::Peer;
use crate::tls::identity::Leaf;
use crate::worker::Places;

fn client(name: Option<&str>, tls: Option<Settled>) -> Client {
    Client {
        peer: ([192, 0, 2, 1], 1234).into(),
        local: "[::ffff:10.1.2.3]:443".parse::<SocketAddr>().expect("an address"),
        captured: None,
        pipe: None,
        source: None,
        id: 1,
        server_name: name.map(Arc::from),
        place: Places::new(1).take().expect("a place"),
        tls: tls.map(Rc::new),
        limits: OfConnection::default(),
        pools: Default::default(),
    }
}

/// A handshake in which the client showed a certificate for these names.
fn shown(uris: &[&str], dns_names: &[&str], verified: bool) -> Settled {
    let names = |names: &[&str]| names.iter().map(|name| (*name).into()).collect();
    let leaf = Leaf {
        serial: "1".into(),
        subject: "CN=me".into(),
        dns_names: names(dns_names),
        uris: names(uris),
        not_before: SystemTime::UNIX_EPOCH,
        not_after: SystemTime::UNIX_EPOCH,
    };
    Settled {
        peer: Some(Peer { leaf, chain: Vec::new(), verified, forwarded: Default::default() }),
        ..anonymous()
    }
}

/// A handshake without a certificate of the client's.
fn anonymous() -> Settled {
    Settled {
        version: "TLSv1.3",
        cipher: "TLS_AES_128_GCM_SHA256",
        server_name: None,
        alpn: None,
        resumed: false,
        peer: None,
        local_uris: Vec::new(),
    }
}

fn exact(text: &str) -> TextMatch {
    TextMatch::Exact(text.as_bytes().into())
}

fn net(address: [u8; 4], len: u8) -> Net {
    Net::new(address.into(), len)
}

fn head(path: &str) -> RequestHead {
    RequestHead::get("", path, &[("x-a", "1")])
}

#[test]
fn conditions_on_addresses_names_and_requests() {
    let header = |value: &str| {
        Rule::Header(HeaderCondition {
            field: Field::new("x-a"),
            test: HeaderTest::Text(exact(value)),
            invert: false,
            absent_is_empty: false,
        })
    };
    // rule, for the request, for its connection
    let cases = [
        (Rule::Any, true, true),
        (Rule::Destination(net([10, 0, 0, 0], 8)), true, true),
        (Rule::Destination(net([10, 2, 0, 0], 16)), false, false),
        (Rule::Destination(Net::new("::".parse().expect("an address"), 0)), false, false),
        (Rule::DestinationPort(443..444), true, true),
        (Rule::DestinationPort(1..443), false, false),
        (Rule::ServerName(exact("a.b")), true, true),
        (Rule::ServerName(exact("")), false, false),
        (Rule::Peer(net([192, 0, 2, 0], 24)), true, true),
        (Rule::Peer(net([203, 0, 113, 0], 24)), false, false),
        (Rule::Remote(net([203, 0, 113, 0], 24)), true, false),
        (Rule::Path(exact("/p")), true, false),
        (Rule::Path(exact("/p?q")), false, false),
        (header("1"), true, false),
        (header("2"), false, false),
        (Rule::All(vec![Rule::Any, Rule::Path(exact("/p"))]), true, false),
        (Rule::One(vec![Rule::Path(exact("/p")), Rule::Any]), true, true),
        (Rule::Not(Box::new(Rule::Path(exact("/p")))), false, true),
    ];
    let (client, head) = (client(Some("a.b"), None), head("/p?q"));
    let request = Asked::of(&client, [203, 0, 113, 7].into(), Some(&head));
    let connection = Asked::of(&client, client.peer.ip(), None);
    for (rule, of_request, of_connection) in cases {
        assert_eq!(rule.holds(&request), of_request, "{rule:?}");
        assert_eq!(rule.holds(&connection), of_connection, "{rule:?}");
    }
}

#[test]
fn no_server_name_is_the_empty_one() {
    for (name, expected) in [(None, true), (Some("a"), false)] {
        let client = client(name, None);
        let asked = Asked::of(&client, client.peer.ip(), None);
        assert_eq!(Rule::ServerName(exact("")).holds(&asked), expected);
    }
}

#[test]
fn a_principal_is_a_name_of_a_verified_certificate() {
    let cases = [
        (None, "CN=me", false, false),
        (Some(anonymous()), "", true, false),
        (Some(shown(&["spiffe://a", "spiffe://b"], &[], true)), "spiffe://b", true, true),
        (Some(shown(&["spiffe://a"], &["d.example"], true)), "d.example", true, true),
        (Some(shown(&["spiffe://a"], &["d.example"], true)), "CN=me", true, true),
        (Some(shown(&["spiffe://a"], &[], true)), "spiffe://", true, false),
        (Some(shown(&["spiffe://a"], &[], false)), "spiffe://a", true, false),
    ];
    for (tls, name, anybody, named) in cases {
        let client = client(None, tls);
        let asked = Asked::of(&client, client.peer.ip(), None);
        assert_eq!(Rule::Authenticated(None).holds(&asked), anybody, "{client:?}");
        assert_eq!(
            Rule::Authenticated(Some(exact(name))).holds(&asked),
            named,
            "{name} {client:?}"
        );
    }
}

#[test]
fn actions_and_why_they_deny() {
    let rules = |action, permits: &[(&str, bool)]| {
        let policy = |(name, matches): &(&str, bool)| {
            let rule = if *matches { Rule::Any } else { Rule::Not(Box::new(Rule::Any)) };
            Policy::new(name, vec![Rule::Not(Box::new(Rule::Any)), rule], vec![Rule::Any])
        };
        Rules::new(action, permits.iter().map(policy).collect())
    };
    let client = client(None, None);
    let asked = Asked::of(&client, client.peer.ip(), None);
    let judge = |action, permits: &[(&str, bool)]| {
        let verdict = rules(action, permits).judge(&asked);
        verdict.err().map(|Denied(why)| why.to_string())
    };
    let because = |policy| Some(format!("rbac_access_denied_matched_policy[{policy}]"));
    assert_eq!(judge(Action::Allow, &[]), because("none"));
    assert_eq!(judge(Action::Allow, &[("a", false)]), because("none"));
    assert_eq!(judge(Action::Allow, &[("a", false), ("b", true)]), None);
    assert_eq!(judge(Action::Deny, &[]), None);
    assert_eq!(judge(Action::Deny, &[("a", false)]), None);
    assert_eq!(judge(Action::Deny, &[("a", false), ("b c\n", true), ("d", true)]), because("b_c_"));
    assert_eq!(judge(Action::Log, &[("a", false)]), None);
    // A principal must hold as well.
    let nobody = Policy::new("a", vec![Rule::Any], vec![Rule::Not(Box::new(Rule::Any))]);
    assert!(Rules::new(Action::Allow, vec![nobody]).judge(&asked).is_err());
}

#[test]
fn shadow_rules_are_counted_and_nothing_else() {
    let registry = Registry::new(1);
    let filter = HttpRbac {
        set: RuleSet {
            rules: Some(Rules::new(Action::Deny, Vec::new())),
            shadow: Some(Rules::new(Action::Allow, Vec::new())),
        },
        stat_prefixes: ["".into(), "dry.".into()],
    };
    let counts = Counts::of_http(&registry.worker(0), "in:80", &filter);
    let client = client(None, None);
    let asked = Asked::of(&client, client.peer.ip(), None);
    assert_eq!(filter.set.judge(&asked, &counts), Ok(None));
    assert_eq!(RuleSet::default().judge(&asked, &counts), Ok(None));
    let of_network = NetworkRbac {
        set: RuleSet { rules: Some(Rules::new(Action::Allow, Vec::new())), shadow: None },
        needs_handshake: false,
        needs_server_name: false,
        stat_prefix: "tcp.".into(),
        shadow_stat_prefix: "dry".into(),
    };
    let network = Counts::of_network(&registry.worker(0), &of_network);
    assert!(of_network.set.judge(&asked, &network).is_err());
    let expected = [
        ("http.in_80.rbac.allowed", 1),
        ("http.in_80.rbac.denied", 0),
        ("http.in_80.rbac.dry.shadow_allowed", 0),
        ("http.in_80.rbac.dry.shadow_denied", 1),
        ("tcp.rbac.allowed", 0),
        ("tcp.rbac.denied", 1),
        ("tcp.rbac.dry.shadow_denied", 0),
    ];
    for (name, count) in expected {
        assert_eq!(registry.get(name), Some(count), "{name}");
    }
}

#[test]
fn what_a_policy_of_the_action_log_matches_is_counted_and_noted() {
    let registry = Registry::new(1);
    let named = |name: &str| {
        let field = Field::new("x-name");
        let test = HeaderTest::Text(TextMatch::Exact(name.as_bytes().into()));
        let named = HeaderCondition { field, test, invert: false, absent_is_empty: false };
        Policy::new(name, vec![Rule::Header(named)], vec![Rule::Any])
    };
    let rules = Some(Rules::new(Action::Log, vec![named("a"), named("b")]));
    let set = RuleSet { rules, shadow: None };
    let filter = HttpRbac { set, stat_prefixes: Default::default() };
    let counts = Counts::of_http(&registry.worker(0), "in", &filter);
    let client = client(None, None);
    for (name, logs) in [("a", true), ("b", true), ("c", false)] {
        let mut head = RequestHead::get("h", "/", &[("x-name", name)]);
        let asked = Asked::of(&client, client.peer.ip(), Some(&head));
        let judged = filter.set.judge(&asked, &counts);
        assert_eq!(judged, Ok(Some(logs)), "{name}");
        counts.note(&mut head.noted, logs);
        let noted = head.noted.get("envoy.common", &["access_log_hint".into()]);
        assert_eq!(noted, Some(&Value::Bool(logs)));
    }
    let counted =
        ["allowed", "denied", "logged"].map(|name| registry.get(&format!("http.in.rbac.{name}")));
    assert_eq!(counted, [Some(3), Some(0), Some(2)]);
}
