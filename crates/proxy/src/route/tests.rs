//! The indexed decision against a plain one, on random tables and requests: both must name the same route.

use std::sync::Arc;

use fastrand::Rng;

use crate::filter::Overrides;
use crate::http::RequestHead;
use crate::metadata::{MetadataTest, ValueTest};

use super::*;

pub(super) mod plain;

use plain::{Kind, PlainRequest, PlainRoute, PlainTest, PlainValue, plain_domain};

// === compiling the plain form ===

fn text(value: &PlainValue) -> Option<TextMatch> {
    let bytes = |text: &String| text.as_bytes().into();
    Some(match value {
        PlainValue::Exact(text) => TextMatch::Exact(bytes(text)),
        PlainValue::Prefix(text) => TextMatch::Prefix(bytes(text)),
        PlainValue::Suffix(text) => TextMatch::Suffix(bytes(text)),
        PlainValue::Contains(text) => TextMatch::Contains(bytes(text)),
        PlainValue::AnyCase(inner) => TextMatch::IgnoreCase(Box::new(text(inner)?)),
        PlainValue::Regex(pattern) => TextMatch::Regex(Pattern::new(pattern).expect("valid")),
        PlainValue::Range(..) | PlainValue::Present(_) => return None,
    })
}

fn condition(test: &PlainTest) -> Condition {
    match test {
        PlainTest::Header { name, value, invert, absent_is_empty } => {
            let test = match value {
                PlainValue::Range(start, end) => HeaderTest::Range { start: *start, end: *end },
                PlainValue::Present(wanted) => HeaderTest::Present(*wanted),
                other => HeaderTest::Text(text(other).expect("a text")),
            };
            Condition::Header(HeaderCondition {
                field: Field::new(name),
                test,
                invert: *invert,
                absent_is_empty: *absent_is_empty,
            })
        }
        PlainTest::Query { name, value } => Condition::Query(QueryCondition {
            name: name.as_bytes().into(),
            test: text(value).map_or_else(
                || ParameterTest::Present(matches!(value, PlainValue::Present(true))),
                ParameterTest::Text,
            ),
        }),
        PlainTest::Fraction(percent) => {
            Condition::Fraction(Fraction { numerator: *percent, denominator: 100 })
        }
        PlainTest::Grpc => Condition::Grpc,
        PlainTest::Metadata(invert) => Condition::Metadata(MetadataTest {
            of: "f".into(),
            path: vec!["k".into()],
            test: ValueTest::Present(true),
            invert: *invert,
        }),
    }
}

pub(super) fn route(number: usize, plain: &PlainRoute) -> Arc<Route> {
    let path = plain.path.as_bytes().into();
    let path = match plain.kind {
        Kind::Prefix => PathMatch::Prefix(path),
        Kind::Exact => PathMatch::Exact(path),
        Kind::Separated => PathMatch::SeparatedPrefix(path),
        Kind::Regex => PathMatch::Regex(Pattern::new(&plain.path).expect("valid")),
        Kind::Connect => PathMatch::Connect,
    };
    let conditions = plain.tests.iter().map(condition).collect();
    Arc::new(Route {
        name: number.to_string().into(),
        matcher: RouteMatch { path, ignore_case: plain.ignore_case, conditions },
        action: Action::Direct(Direct::new(200, "")),
        request_headers: Mutations::default(),
        response_headers: Mutations::default(),
        filters: Overrides::default(),
    })
}

fn host(name: &str, domains: &[String], routes: &[PlainRoute]) -> Arc<VirtualHost> {
    let routes = routes.iter().enumerate().map(|(number, plain)| route(number, plain)).collect();
    let domains = domains.iter().map(|domain| domain.as_str().into()).collect();
    Arc::new(VirtualHost::new(name.into(), domains, routes))
}

// === random tables and requests ===

pub(super) fn pick<'a>(rng: &mut Rng, from: &[&'a str]) -> &'a str {
    from[rng.usize(..from.len())]
}

fn random_path(rng: &mut Rng) -> String {
    let mut path = String::new();
    for _ in 0..rng.usize(..4) {
        path.push('/');
        path.push_str(pick(rng, &["a", "b", "ab", "A", "aB", "", "é"]));
    }
    if path.is_empty() { "/".to_owned() } else { path }
}

pub(super) fn random_value(rng: &mut Rng) -> PlainValue {
    let number = rng.usize(..12).to_string();
    match rng.usize(..12) {
        0 => PlainValue::Prefix(pick(rng, &["1", "a", "ab"]).to_owned()),
        1 => PlainValue::Suffix(pick(rng, &["1", "a", "ba"]).to_owned()),
        2 => PlainValue::Contains(pick(rng, &["1", ",", "b"]).to_owned()),
        3 => {
            let text = pick(rng, &["AB", "a", "Ba"]).to_owned();
            let kinds: [fn(String) -> PlainValue; 4] =
                [PlainValue::Exact, PlainValue::Prefix, PlainValue::Suffix, PlainValue::Contains];
            PlainValue::AnyCase(Box::new(kinds[rng.usize(..4)](text)))
        }
        4 => PlainValue::Regex(pick(rng, &["[0-9]+", "a|ab", ".*b", "1.?"]).to_owned()),
        5 => PlainValue::Range(rng.i64(-2..5), rng.i64(3..12)),
        6 => PlainValue::Present(rng.bool()),
        _ => PlainValue::Exact(number),
    }
}

pub(super) fn random_test(rng: &mut Rng) -> PlainTest {
    match rng.usize(..11) {
        10 if rng.bool() => PlainTest::Grpc,
        10 => PlainTest::Metadata(rng.u8(..4) > 0),
        0 => PlainTest::Fraction(rng.u32(..=100)),
        1..4 => {
            let value = match random_value(rng) {
                PlainValue::Range(..) => PlainValue::Present(rng.bool()),
                other => other,
            };
            PlainTest::Query { name: pick(rng, &["q", "r", "s"]).to_owned(), value }
        }
        4 => PlainTest::Header {
            name: pick(rng, &[":method", ":authority", ":path"]).to_owned(),
            value: PlainValue::Exact(pick(rng, &["GET", "POST", "/a", "/"]).to_owned()),
            invert: rng.bool(),
            absent_is_empty: false,
        },
        _ => PlainTest::Header {
            name: pick(rng, &["x-a", "x-b", "user-agent"]).to_owned(),
            value: random_value(rng),
            invert: rng.u8(..6) == 0,
            absent_is_empty: rng.u8(..6) == 0,
        },
    }
}

pub(super) fn random_route(rng: &mut Rng, most_tests: usize) -> PlainRoute {
    let kind = match rng.usize(..20) {
        0..7 => Kind::Prefix,
        7..12 => Kind::Exact,
        12..16 => Kind::Separated,
        16..19 => Kind::Regex,
        _ => Kind::Connect,
    };
    let mut path = random_path(rng);
    match kind {
        Kind::Regex => {
            path = match rng.usize(..5) {
                0 => pick(rng, &["/.*", ".*/b", "/(a|b)/.*", "(?i)/a.*", "/a+", "/[ab]/?", "/aé?"])
                    .to_owned(),
                1 => path + "(/.*)?",
                2 => path + "|/b",
                _ => path + ".*",
            };
        }
        Kind::Prefix if rng.u8(..8) == 0 => path.clear(),
        Kind::Separated if path.ends_with('/') => path.push('a'),
        _ => {}
    }
    let tests = (0..rng.usize(..=most_tests)).map(|_| random_test(rng)).collect();
    PlainRoute { kind, path, ignore_case: rng.u8(..4) == 0, tests }
}

pub(super) fn random_request(rng: &mut Rng) -> PlainRequest {
    let method = pick(rng, &["GET", "GET", "POST", "CONNECT"]);
    let mut path = random_path(rng);
    for (at, _) in (0..rng.usize(..3)).enumerate() {
        path.push(if at == 0 { '?' } else { '&' });
        path.push_str(pick(rng, &["q", "r", "s"]));
        if rng.bool() {
            path.push('=');
            path.push_str(pick(rng, &["1", "2", "a", "ab", "10"]));
        }
    }
    if method == "CONNECT" && rng.bool() {
        path.clear();
    }
    let mut headers: Vec<_> = (0..rng.usize(..5))
        .map(|_| {
            let value = match rng.bool() {
                true => rng.usize(..12).to_string(),
                false => pick(rng, &["a", "ab", "aba", ""]).to_owned(),
            };
            (pick(rng, &["x-a", "x-b", "user-agent", "x-c"]).to_owned(), value)
        })
        .collect();
    if rng.u8(..4) == 0 {
        let kind = pick(rng, &["application/grpc", "application/grpc+proto", "text/plain"]);
        headers.push(("content-type".to_owned(), kind.to_owned()));
    }
    PlainRequest { method, authority: "h".to_owned(), path, headers, random: rng.u64(..) }
}

fn check(routes: &[PlainRoute], host: &VirtualHost, request: &PlainRequest, seed: u64) {
    let expected = routes.iter().position(|route| route.takes(request));
    let found = host.route(&request.head(), request.random).map(|route| &*route.name);
    let expected = expected.map(|number| number.to_string());
    assert_eq!(found, expected.as_deref(), "seed {seed}: {request:?} in {routes:#?}");
}

#[test]
fn the_index_finds_what_a_plain_search_finds() {
    for seed in 0..2_000 {
        let mut rng = Rng::with_seed(seed);
        let most_tests = rng.usize(..4);
        let routes: Vec<_> =
            (0..rng.usize(1..40)).map(|_| random_route(&mut rng, most_tests)).collect();
        let host = host("h", &["*".to_owned()], &routes);
        for _ in 0..20 {
            check(&routes, &host, &random_request(&mut rng), seed);
        }
    }
}

#[test]
fn ten_thousand_routes_of_all_kinds() {
    let mut rng = Rng::with_seed(11);
    let routes: Vec<_> = (0..10_000)
        .map(|number| {
            let mut route = random_route(&mut rng, 3);
            // Most have a place of their own, so that no early one takes everything.
            if number % 16 > 0 && !matches!(route.kind, Kind::Regex | Kind::Connect) {
                route.path = format!("/{}{}", number % 1_000, route.path);
            }
            if route.path.len() < 3 && route.tests.is_empty() {
                route.tests.push(PlainTest::Fraction(1));
            }
            if route.kind == Kind::Separated && route.path.ends_with('/') {
                route.path.push('a');
            }
            route
        })
        .collect();
    let host = host("h", &["*".to_owned()], &routes);
    for _ in 0..500 {
        let mut request = random_request(&mut rng);
        if !request.path.is_empty() && rng.u8(..8) > 0 {
            request.path = format!("/{}{}", rng.usize(..1_000), request.path);
        }
        let expected = routes.iter().position(|route| route.takes(&request));
        let found = host.route(&request.head(), request.random).map(|route| &*route.name);
        let expected = expected.map(|number| number.to_string());
        assert_eq!(found, expected.as_deref(), "{request:?}");
    }
}

#[test]
fn many_routes_at_one_path_that_differ_by_values() {
    for seed in 0..50 {
        let mut rng = Rng::with_seed(seed);
        let exact = |name: &str, number: usize| PlainTest::Header {
            name: name.to_owned(),
            value: PlainValue::Exact(number.to_string()),
            invert: false,
            absent_is_empty: false,
        };
        let routes: Vec<_> = (0..300)
            .map(|_| {
                let mut route = random_route(&mut rng, 1);
                if rng.u8(..10) > 0 {
                    route = PlainRoute {
                        kind: Kind::Prefix,
                        path: "/".into(),
                        ignore_case: false,
                        tests: vec![],
                    };
                    route.tests.push(exact("x-a", rng.usize(..12)));
                    if rng.bool() {
                        route.tests.push(exact("x-b", rng.usize(..12)));
                    }
                    if rng.bool() {
                        let value = PlainValue::Exact(rng.usize(..3).to_string());
                        route.tests.push(PlainTest::Query { name: "q".into(), value });
                    }
                }
                route
            })
            .collect();
        let host = host("h", &["*".to_owned()], &routes);
        for _ in 0..100 {
            check(&routes, &host, &random_request(&mut rng), seed);
        }
    }
}

#[test]
fn the_order_of_routes_decides_not_the_length_of_their_paths() {
    let route = |kind, path: &str| PlainRoute {
        kind,
        path: path.into(),
        ignore_case: false,
        tests: vec![],
    };
    let routes = [
        route(Kind::Exact, "/a/b"),
        route(Kind::Prefix, "/a"),
        route(Kind::Prefix, "/a/b/c"),
        route(Kind::Regex, "/z/.*"),
        route(Kind::Prefix, "/z/y"),
        route(Kind::Prefix, "/"),
    ];
    let host = host("h", &["*".to_owned()], &routes);
    for (path, expected) in [("/a/b", "0"), ("/a/b/c", "1"), ("/z/y", "3"), ("/z", "5")] {
        let mut head = RequestHead::default();
        head.set_path(path.as_bytes());
        assert_eq!(host.route(&head, 0).map(|route| &*route.name), Some(expected), "{path}");
    }
}

#[test]
fn domains_of_a_table_that_changes() {
    const HOSTS: [&str; 8] = ["a.b.c", "b.c", "x-a.b.c", "c", "a.b", "a.b.d", "A.B.C", "z"];
    const DOMAINS: [&str; 9] =
        ["*", "a.b.c", "*.b.c", "*.c", "*-a.b.c", "a.*", "a.b.*", "b.c", "*c"];
    for seed in 0..200 {
        let mut rng = Rng::with_seed(seed);
        let mut table = RouteTable::default();
        let mut plain: Vec<(String, Vec<String>)> = Vec::new();
        for _ in 0..20 {
            let name = rng.usize(..5).to_string();
            plain.retain(|(there, _)| *there != name);
            let mut changes = vec![HostChange::Remove(name.as_str().into())];
            if rng.u8(..4) > 0 {
                let taken: Vec<_> = plain.iter().flat_map(|(_, domains)| domains.clone()).collect();
                let mut domains: Vec<_> = DOMAINS
                    .iter()
                    .map(|d| (*d).to_owned())
                    .filter(|d| !taken.contains(d))
                    .collect();
                rng.shuffle(&mut domains);
                domains.truncate(rng.usize(1..4));
                changes = vec![HostChange::Put(name.as_str().into(), host(&name, &domains, &[]))];
                plain.push((name, domains));
            }
            let (next, refused) = table.with(changes);
            assert_eq!(refused, []);
            table = next;
            let all: Vec<_> = plain.iter().flat_map(|(_, domains)| domains.clone()).collect();
            for host in HOSTS {
                let expected = plain_domain(&all, host).map(|domain| {
                    let owner = plain.iter().find(|(_, domains)| domains.contains(domain));
                    owner.map(|(name, _)| name.as_str()).expect("it is somebody's")
                });
                let found = table.virtual_host(host.as_bytes()).map(|host| &*host.name);
                assert_eq!(found, expected, "seed {seed}: {host} in {plain:?}");
            }
        }
    }
}

#[test]
fn a_domain_may_move_and_of_two_claims_the_later_is_refused() {
    let put = |name: &str, domains: &[&str]| {
        let domains: Vec<_> = domains.iter().map(|domain| (*domain).to_owned()).collect();
        HostChange::Put(name.into(), host(name, &domains, &[]))
    };
    let owner = |table: &RouteTable, authority: &str| {
        table.virtual_host(authority.as_bytes()).map(|host| host.name.to_string())
    };
    let (table, refused) =
        RouteTable::default().with(vec![put("one", &["a", "b"]), put("two", &["c"])]);
    assert!(refused.is_empty());

    // Both change at once, so `b` moves although its new owner comes first.
    let (table, refused) = table.with(vec![put("two", &["b", "c"]), put("one", &["a"])]);
    assert!(refused.is_empty());
    assert_eq!(owner(&table, "b"), Some("two".to_owned()));

    // `three` wants what `two` has; `one` wants what `three` would have given it: it keeps its old form.
    let (table, refused) = table.with(vec![put("three", &["d", "c"]), put("one", &["e"])]);
    let expected =
        DomainTaken { key: "three".into(), place: 1, domain: "c".into(), by: "two".into() };
    assert_eq!(refused, [expected]);
    assert_eq!((owner(&table, "d"), owner(&table, "e")), (None, Some("one".to_owned())));

    // The old form of `two` stays because its new one is refused, so `four` cannot have `c` either.
    let (table, refused) = table.with(vec![put("two", &["e"]), put("four", &["c"])]);
    let names: Vec<_> = refused.iter().map(|taken| &*taken.key).collect();
    assert_eq!(names, ["two", "four"]);
    assert_eq!(
        (owner(&table, "c"), table.by_key("four").is_none()),
        (Some("two".to_owned()), true)
    );

    let (table, _) = table.with(vec![HostChange::Remove("two".into())]);
    assert_eq!((owner(&table, "c"), table.virtual_hosts().count()), (None, 1));
}

#[test]
fn who_must_use_tls_is_sent_there() {
    let mut head = RequestHead::default();
    head.set_authority(b"h:80");
    head.set_path(b"/p");
    let internal = |head: &RequestHead| {
        let mut head = head.clone();
        head.headers.append(b"x-envoy-internal", b"true");
        head
    };
    let secure = |head: &RequestHead| {
        let mut head = head.clone();
        head.headers.append(b"x-forwarded-proto", b"https");
        head
    };
    for (requirement, plain, inside) in [
        (None, true, true),
        (Some(TlsRequirement::External), false, true),
        (Some(TlsRequirement::All), false, false),
    ] {
        let any = PlainRoute {
            kind: Kind::Prefix,
            path: String::new(),
            ignore_case: false,
            tests: vec![],
        };
        let host = VirtualHost::new("h".into(), vec!["*".into()], vec![route(0, &any)])
            .requiring_tls(requirement);
        let passes = |head: &RequestHead| {
            let route = host.route(head, 0).expect("a route");
            match &route.action {
                Action::Redirect(redirect) => {
                    assert_eq!(
                        (redirect.status, redirect.location(head)),
                        (301, b"https://h:80/p".to_vec())
                    );
                    false
                }
                _ => true,
            }
        };
        assert_eq!(
            (passes(&head), passes(&internal(&head)), passes(&secure(&head))),
            (plain, inside, true),
            "{requirement:?}"
        );
    }
}
