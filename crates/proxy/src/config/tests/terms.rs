//! A virtual host that is refused is never served on weaker terms than its newest form has.

use super::*;

const RBAC: &str = "envoy.filters.http.rbac";

/// A virtual host whose only route is good or takes nobody knows what, with a guard that admits nobody or without.
fn guarded(name: &str, domains: &[&str], is_good: bool, guard: bool) -> Resource {
    let matched =
        if is_good { json!({"prefix": "/"}) } else { json!({"safe_regex": {"regex": "("}}) };
    let answer = json!({"status": 200, "body": {"inline_string": name}});
    of_routes(name, domains, guard, &[json!({"match": matched, "direct_response": answer})])
}

fn of_routes(name: &str, domains: &[&str], guard: bool, routes: &[Value]) -> Resource {
    let mut json = json!({"name": name, "domains": domains, "routes": routes});
    if guard {
        json["typed_per_filter_config"] = json!({RBAC: {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute",
            "rbac": {"rules": {"action": "ALLOW"}},
        }});
    }
    resource::<VirtualHost>(ResourceType::VirtualHost, &format!("r/{name}"), &json)
}

/// What a request for a host gets: the answer's status, and whether a guard stands before it.
fn served(side: &Side, host: &str) -> Option<(u16, bool)> {
    served_at(side, host, "/")
}

fn served_at(side: &Side, host: &str, path: &str) -> Option<(u16, bool)> {
    let head = RequestHead::get(host, path, &[]);
    let table = side.applier.config().routes.get("r")?.table.load_full();
    match table.decide(&head, 0) {
        Decision::Route { route, .. } => match &route.action {
            Action::Direct(direct) => Some((direct.status, !route.filters.is_empty())),
            other => panic!("not answered: {other:?}"),
        },
        Decision::NoRoute(_) | Decision::NoVirtualHost => None,
    }
}

#[test]
fn a_host_that_left_is_not_served_by_the_old_form() {
    let mut side = Side::new();
    side.serve(vec![table(&json!({})), guarded("g", &["g", "h"], true, false)]);
    side.apply(vec![guarded("g", &["g", "h"], false, false)], &[]);
    assert_eq!(served(&side, "h"), Some((200, false)), "its terms are the same");

    let misdirected = json!({
        "name": "misdirected", "domains": ["h"],
        "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 421}}],
    });
    let misdirected =
        resource::<VirtualHost>(ResourceType::VirtualHost, "r/misdirected", &misdirected);
    side.apply(vec![guarded("g", &["g"], false, false), misdirected], &[]);
    assert_eq!(served(&side, "h"), Some((421, false)));
    assert_eq!(served(&side, "g"), Some((200, false)), "the other one serves on");
    assert_eq!(side.refused(), ["r/g: routes[0].match.safe_regex.regex"]);
}

#[test]
fn a_guard_comes_into_force_whatever_is_wrong_with_routes() {
    let mut side = Side::new();
    side.serve(vec![table(&json!({})), guarded("h", &["h"], true, false)]);
    side.apply(vec![guarded("h", &["h"], false, true)], &[]);
    assert_eq!(served(&side, "h"), Some((200, true)));
    assert!(side.applier.verdict().rejected[0].serves_on);
    // It goes with the form that has none.
    side.apply(vec![guarded("h", &["h"], false, false)], &[]);
    assert_eq!(served(&side, "h"), Some((200, false)));
    // A new form of what is around judges the newest form, not the last good one.
    side.apply(vec![guarded("h", &["h"], false, true)], &[]);
    side.apply(vec![table(&json!({"ignore_port_in_host_matching": true}))], &[]);
    assert_eq!(served(&side, "h:80"), Some((200, true)));
}

#[test]
fn a_wrong_route_costs_itself_alone() {
    let route = |path: &str, status: u16| json!({"match": {"path": path}, "direct_response": {"status": status}});
    let host = |guard, a: u16, b: u16, domains: &[&str]| {
        of_routes("h", domains, guard, &[route("/a", a), route("/b", b)])
    };
    let mut side = Side::new();
    side.serve(vec![table(&json!({}))]);
    side.apply(vec![host(false, 200, 600, &["h"])], &[]);
    let answers = |side: &Side| ["/a", "/b"].map(|path| served_at(side, "h", path));
    assert_eq!(answers(&side), [Some((200, false)), Some((500, false))], "it was never good");
    assert_eq!(side.refused(), ["r/h: routes[1].direct_response.status"]);
    let rejected = side.applier.verdict().rejected;
    assert_eq!((rejected[0].serves_on, rejected[0].route_alone()), (false, Some(1)));

    side.serve(vec![host(false, 200, 201, &["h"])]);
    side.apply(vec![host(true, 202, 600, &["h", "i"])], &[]);
    assert_eq!(answers(&side), [Some((202, true)), Some((201, true))], "its last good form");
    assert_eq!(served_at(&side, "i", "/a"), Some((202, true)));
    side.apply(vec![host(true, 600, 204, &["h"])], &[]);
    assert_eq!(answers(&side), [Some((202, true)), Some((204, true))]);
    assert_eq!(side.refused(), ["r/h: routes[0].direct_response.status"]);
    side.serve(vec![host(false, 200, 200, &["h"])]);
    assert_eq!(answers(&side), [Some((200, false)); 2]);
}

#[test]
fn a_wrong_route_and_a_domain_of_another_are_told_in_turn() {
    let wrong = json!({"match": {"prefix": "/"}, "direct_response": {"status": 600}});
    let mut side = Side::new();
    side.serve(vec![table(&json!({})), guarded("g", &["g"], true, false)]);
    side.apply(vec![of_routes("h", &["g", "h"], false, &[wrong])], &[]);
    let both = ["r/h: routes[0].direct_response.status", "r/h: domains[0]"];
    assert_eq!(side.refused(), both);
    side.apply(vec![], &[(ResourceType::VirtualHost, "r/g")]);
    assert_eq!(side.refused(), both[..1]);
    assert_eq!(served(&side, "g"), Some((500, false)));
}

#[test]
fn domains_without_routes_are_closed() {
    let mut side = Side::new();
    side.serve(vec![table(&json!({})), guarded("all", &["*"], true, false)]);
    side.apply(vec![guarded("h", &["H", "h"], false, true)], &[]);
    assert_eq!(served(&side, "h"), Some((503, false)), "not left to the wider one");
    assert!(!side.applier.verdict().rejected[0].serves_on);

    side.serve(vec![guarded("h", &["h"], true, true)]);
    side.apply(vec![guarded("h", &["h", "i"], false, true)], &[]);
    assert_eq!(served(&side, "i"), Some((503, false)), "no routes were ever good for it");
    side.apply(vec![], &[(ResourceType::VirtualHost, "r/h")]);
    assert_eq!((served(&side, "h"), side.refused()), (Some((200, false)), vec![]));
}

#[test]
fn what_routes_ask_themselves_is_not_replaced_by_what_they_asked() {
    let route = json!({
        "match": {"prefix": "/"}, "direct_response": {"status": 200},
        "typed_per_filter_config": {RBAC: {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute",
        }},
    });
    let json = json!({"name": "h", "domains": ["h"], "routes": [route]});
    let open = resource::<VirtualHost>(ResourceType::VirtualHost, "r/h", &json);
    let mut side = Side::new();
    side.serve(vec![table(&json!({})), open]);
    side.apply(vec![guarded("h", &["h"], false, true)], &[]);
    assert_eq!(served(&side, "h"), Some((503, false)));
}

#[test]
fn a_guard_of_the_table_holds_for_what_is_refused_under_it() {
    let mut side = Side::new();
    side.serve(vec![table(&json!({})), guarded("h", &["h"], true, false)]);
    let guard = json!({RBAC: {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute",
        "rbac": {"rules": {"action": "ALLOW"}},
    }});
    let no_bodies = json!({"max_direct_response_body_size_bytes": 0});
    side.apply(vec![table(&no_bodies)], &[]);
    assert_eq!(served(&side, "h"), Some((200, false)));
    side.apply(vec![table(&with(&no_bodies, &json!({"typed_per_filter_config": guard})))], &[]);
    assert_eq!(served(&side, "h"), Some((500, true)), "what was compiled does not know the guard");
}

#[test]
fn a_domain_of_another_does_not_keep_the_old_form() {
    let mut side = Side::new();
    side.serve(vec![
        table(&json!({})),
        guarded("g", &["g"], true, false),
        guarded("h", &["h", "old"], true, false),
    ]);
    side.apply(vec![guarded("h", &["g", "h", "new"], true, true)], &[]);
    assert_eq!(side.refused(), ["r/h: domains[0]"]);
    let answers = ["g", "h", "new", "old"].map(|host| served(&side, host));
    assert_eq!(answers, [Some((200, false)), Some((200, true)), Some((200, true)), None]);
    side.apply(vec![], &[(ResourceType::VirtualHost, "r/g")]);
    assert_eq!((served(&side, "g"), side.refused()), (Some((200, true)), vec![]));
}

#[test]
fn a_form_that_says_nothing_leaves_the_last_good_one() {
    let mut side = Side::new();
    side.serve(vec![table(&json!({})), guarded("h", &["h"], true, false)]);
    side.apply(vec![Resource::new(ResourceType::VirtualHost, "r/h", vec![0xff].into())], &[]);
    assert_eq!(served(&side, "h"), Some((200, false)));
    side.apply(vec![guarded("h", &[], true, false)], &[]);
    assert_eq!(served(&side, "h"), None, "it has no domains any more");
}
