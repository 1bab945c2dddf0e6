//! Requests shared by weight.

use super::*;
use crate::filter::{Filter, Kind};
use crate::rbac;
use crate::route::{Field, HeaderCondition, HeaderTest};

/// A target that nothing is sent to, which tells in the answer that it was chosen.
fn target(name: &str) -> (Target, u32) {
    let chosen = Mutation {
        name: b"x-chosen".as_slice().into(),
        value: Template::new("%UPSTREAM_CLUSTER%").unwrap(),
        action: AppendAction::Append,
        keep_empty: false,
    };
    let level = MutationLevel { add: vec![chosen], ..MutationLevel::default() };
    let target = Target {
        cluster: cluster(name, &[], UpstreamProtocol::Http1),
        request_headers: Mutations::default(),
        response_headers: Mutations::new(vec![Arc::new(level)]),
        host: None,
    };
    (target, 1)
}

/// Denies requests that have the header `x-denied`.
fn denies() -> Filter {
    let denied = HeaderCondition {
        field: Field::new("x-denied"),
        test: HeaderTest::Present(true),
        invert: false,
        absent_is_empty: false,
    };
    let policy = rbac::Policy::new("p", vec![rbac::Rule::Header(denied)], vec![rbac::Rule::Any]);
    let rules = Some(rbac::Rules::new(rbac::Action::Deny, vec![policy]));
    let set = rbac::RuleSet { rules, shadow: None };
    let filter = rbac::HttpRbac { set, stat_prefixes: Default::default() };
    Filter { name: "rbac".into(), kind: Kind::Rbac(Arc::new(filter)), only_by_route: false }
}

/// Only what is sent on takes a turn: turns are a sequence that never gives one of two halves three times in a row, and of which
/// every 55th is nearly the same.
#[tokio::test]
async fn a_request_that_a_filter_answers_takes_nobodys_turn() {
    let mut action = forward(cluster("none", &[], UpstreamProtocol::Http1), None);
    if let Action::Forward(forward) = &mut action {
        forward.targets = Shares::new(vec![target("a"), target("b")]).expect("a weight");
    }
    let mut manager = manager(vec![route("/", action)]);
    manager.filters = vec![denies()];
    let proxy = Proxy::start(manager).await;
    let mut client = Client::connect(proxy.address).await;
    let mut chosen = String::new();
    for _ in 0..30 {
        for _ in 0..54 {
            let answer = client.request("GET / HTTP/1.1\r\nHost: a\r\nX-Denied: 1\r\n\r\n").await;
            assert_eq!(answer.status, 403);
        }
        let answer = client.request("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(answer.status, 503);
        chosen += answer.header("x-chosen").expect("told");
    }
    assert!(!chosen.contains("aaa") && !chosen.contains("bbb"), "{chosen}");
}
