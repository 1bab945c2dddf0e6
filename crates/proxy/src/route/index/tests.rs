//! What a search costs, counted in steps, and that what is looked up is what a plain search finds.

use std::cell::RefCell;
use std::collections::BTreeMap;

use fastrand::Rng;

use super::super::condition::Field;
use super::super::tests::plain::{Kind, PlainRequest, PlainRoute, PlainTest, PlainValue};
use super::super::tests::{pick, random_request, random_route, route};
use super::handles::Source;
use super::*;

/// Counts steps.
#[derive(Debug, Default)]
struct Work(RefCell<BTreeMap<&'static str, usize>>);

impl Probe for Work {
    fn note(&self, step: Step<'_>) {
        let what = match step {
            Step::Anchor => "anchors",
            Step::Token => "tokens",
            Step::All => "all",
            Step::Route => "routes",
            Step::Lookup(Key::Values(Source::Parameter(_))) => "parameter values",
            Step::Lookup(Key::Values(_)) => "header values",
            Step::Lookup(Key::HeaderNames) => "header names",
            Step::Lookup(Key::ParameterNames) => "parameter names",
            Step::Lookup(Key::Parts(Source::Path)) => "parts of paths",
            Step::Lookup(Key::Parts(Source::Field(Field::Path))) => "parts of :path",
            Step::Lookup(Key::Parts(Source::Field(_))) => "parts of headers",
            Step::Lookup(Key::Parts(Source::Parameter(_))) => "parts of parameters",
        };
        *self.0.borrow_mut().entry(what).or_default() += 1;
    }
}

impl Work {
    fn of(&self, what: &str) -> usize {
        self.0.borrow().get(what).copied().unwrap_or_default()
    }
}

fn compiled(routes: &[PlainRoute]) -> Vec<Arc<Route>> {
    routes.iter().enumerate().map(|(number, plain)| route(number, plain)).collect()
}

/// Routes and the index over them.
struct Table(Vec<Arc<Route>>, RouteIndex);

impl Table {
    fn new(routes: Vec<Arc<Route>>) -> Self {
        let index = RouteIndex::new(&routes);
        Self(routes, index)
    }

    fn search(&self, request: &PlainRequest) -> (Option<usize>, Work) {
        let work = Work::default();
        let found = self.1.first_noted(&self.0, &request.head(), request.random, &work);
        (found, work)
    }
}

// === cost ===

fn request(path: &str, headers: &[(&str, String)]) -> PlainRequest {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let (method, authority) = ("GET", "h".to_owned());
    PlainRequest { method, authority, path: path.to_owned(), headers, random: 0 }
}

fn at(kind: Kind, path: String, tests: Vec<PlainTest>) -> PlainRoute {
    PlainRoute { kind, path, ignore_case: false, tests }
}

fn header(name: &str, value: PlainValue) -> PlainTest {
    PlainTest::Header { name: name.to_owned(), value, invert: false, absent_is_empty: false }
}

fn query(name: &str, value: PlainValue) -> PlainTest {
    PlainTest::Query { name: name.to_owned(), value }
}

fn root(test: PlainTest) -> PlainRoute {
    at(Kind::Prefix, "/".to_owned(), vec![test])
}

/// A route of many, by its number, and a request that it alone takes.
type Make = fn(usize) -> (PlainRoute, PlainRequest);

const PATHS: [(&str, Make); 9] = [
    ("prefixes", |n| {
        (at(Kind::Prefix, format!("/api/{n}/"), vec![]), request(&format!("/api/{n}/x"), &[]))
    }),
    ("separated prefixes", |n| {
        (at(Kind::Separated, format!("/api/{n}"), vec![]), request(&format!("/api/{n}/x"), &[]))
    }),
    ("exact paths", |n| {
        (at(Kind::Exact, format!("/api/{n}"), vec![]), request(&format!("/api/{n}"), &[]))
    }),
    ("exact paths in any case", |n| {
        let route = at(Kind::Exact, format!("/Api/{n}"), vec![]);
        (PlainRoute { ignore_case: true, ..route }, request(&format!("/aPI/{n}"), &[]))
    }),
    ("patterns, beginnings of their own", |n| {
        (at(Kind::Regex, format!("/{n}/[a-z]+"), vec![]), request(&format!("/{n}/x"), &[]))
    }),
    ("patterns, one beginning", |n| {
        let path = format!("/api/[^/]+/{n}");
        (at(Kind::Regex, path, vec![]), request(&format!("/api/users/{n}"), &[]))
    }),
    ("patterns, no beginning", |n| {
        (at(Kind::Regex, format!(".*/foo/{n}"), vec![]), request(&format!("/a/b/foo/{n}"), &[]))
    }),
    ("patterns, alternatives in the middle", |n| {
        let path = format!("(?i)/[a-z]+/(Foo|bar)-{n}-x/.*");
        (at(Kind::Regex, path, vec![]), request(&format!("/api/foo-{n}-X/y"), &[]))
    }),
    ("methods", |n| {
        let method = header(":method", PlainValue::Exact("GET".to_owned()));
        (at(Kind::Exact, format!("/{n}"), vec![method]), request(&format!("/{n}"), &[]))
    }),
];

const AT_ONE_PATH: [(&str, Make); 12] = [
    ("header values", |n| {
        (
            root(header("x-a", PlainValue::Exact(n.to_string()))),
            request("/", &[("x-a", n.to_string())]),
        )
    }),
    ("header values in any case", |n| {
        let value = PlainValue::AnyCase(Box::new(PlainValue::Exact(format!("Tenant-{n}"))));
        (root(header("x-a", value)), request("/", &[("x-a", format!("TENANT-{n}"))]))
    }),
    ("header prefixes", |n| {
        let value = PlainValue::Prefix(format!("tenant-number-{n};"));
        (root(header("x-a", value)), request("/", &[("x-a", format!("tenant-number-{n};x"))]))
    }),
    ("header suffixes", |n| {
        let value = PlainValue::Suffix(format!("-{n}-is-the-tenant"));
        (root(header("x-a", value)), request("/", &[("x-a", format!("x-{n}-is-the-tenant"))]))
    }),
    ("header parts", |n| {
        let value = PlainValue::Contains(format!(";{n};"));
        (root(header("x-a", value)), request("/", &[("x-a", format!("x;{n};y"))]))
    }),
    ("header patterns", |n| {
        let value = PlainValue::Regex(format!("(.*;)?user={n}(;.*)?"));
        (root(header("cookie", value)), request("/", &[("cookie", format!("a=b;user={n};c=d"))]))
    }),
    ("header names", |n| {
        let name = format!("x-tenant-{n}");
        let route = root(header(&name, PlainValue::Present(true)));
        (route, request("/", &[(&name, "x".to_owned()), ("x-b", "y".to_owned())]))
    }),
    ("headers of names of their own", |n| {
        let name = format!("x-tenant-{n}");
        let route = root(header(&name, PlainValue::Exact("1".to_owned())));
        (route, request("/", &[(&name, "1".to_owned())]))
    }),
    ("parameter values", |n| {
        (root(query("q", PlainValue::Exact(n.to_string()))), request(&format!("/?q={n}"), &[]))
    }),
    ("parameter patterns", |n| {
        let value = PlainValue::Regex(format!("[a-z]+-{n}"));
        (root(query("q", value)), request(&format!("/?p=1&q=ab-{n}"), &[]))
    }),
    ("parameter names", |n| {
        let route = root(query(&format!("p{n}"), PlainValue::Present(true)));
        (route, request(&format!("/?x&p{n}=1"), &[]))
    }),
    ("the same method and different headers", |n| {
        let method = header(":method", PlainValue::Exact("GET".to_owned()));
        let mut route = root(header("x-a", PlainValue::Exact(n.to_string())));
        route.tests.insert(0, method);
        (route, request("/", &[("x-a", n.to_string())]))
    }),
];

const MANY: usize = 10_000;

fn costs_what_one_costs(cases: &[(&str, Make)]) {
    for (name, make) in cases {
        let plain: Vec<_> = (0..MANY).map(|number| make(number).0).collect();
        let routes = compiled(&plain);
        let request = make(MANY - 1).1;
        let (found, one) = Table::new(routes[MANY - 1..].to_vec()).search(&request);
        assert_eq!(found, Some(0), "{name}");
        let table = Table::new(routes);
        let (found, many) = table.search(&request);
        assert_eq!(found, Some(MANY - 1), "{name}");
        // 9999 contains 999: such neighbours may be tried, and a path may have a handful of anchors. Of what the
        // request shows, each byte may be looked up in each of a few widths.
        let shown: usize =
            request.headers.iter().map(|header| header.0.len() + header.1.len()).sum();
        let shown = shown + request.path.len() + request.headers.len();
        assert!(many.of("routes") <= one.of("routes") + 4, "{name}: {many:?}");
        assert!(many.of("anchors") <= one.of("anchors") + 4, "{name}: {many:?}");
        assert!(many.of("tokens") <= 4 * shown, "{name}: {many:?}");
        assert_eq!(many.of("all"), 0, "{name}");

        // Nor does it cost more to find nothing.
        let nobody = make(MANY).1;
        let (found, many) = table.search(&nobody);
        assert_eq!(found, None, "{name}");
        assert!(many.of("routes") <= 4, "{name}: {many:?}");
    }
}

#[test]
fn ten_thousand_paths_cost_what_one_costs() {
    costs_what_one_costs(&PATHS);
}

#[test]
fn ten_thousand_routes_at_one_path_cost_what_one_costs() {
    costs_what_one_costs(&AT_ONE_PATH);
}

#[test]
fn a_request_that_shows_none_of_what_all_need_costs_nothing() {
    let methods = (0..MANY).map(|n| {
        let mut route = root(header(":method", PlainValue::Exact("POST".to_owned())));
        route.tests.push(PlainTest::Fraction(n as u32 % 100));
        route
    });
    let table = Table::new(compiled(&methods.collect::<Vec<_>>()));
    let (found, work) = table.search(&request("/", &[]));
    assert_eq!((found, work.of("routes")), (None, 0), "{work:?}");
}

/// This is the limit that the module's words tell of. It shows that the counts above count.
#[test]
fn what_needs_nothing_of_the_request_is_tried_one_by_one() {
    let routes: Vec<_> = (0..1_000)
        .map(|_| at(Kind::Regex, ".*".to_owned(), vec![PlainTest::Fraction(0)]))
        .collect();
    let (found, work) = Table::new(compiled(&routes)).search(&request("/", &[]));
    assert_eq!((found, work.of("routes")), (None, 1_000));
}

// === the same as a plain search ===

/// Routes at few paths that need the same things in different ways, or only values as a whole.
fn crowded_route(rng: &mut Rng, whole: bool) -> PlainRoute {
    let number = rng.usize(..30);
    if whole {
        let value = PlainValue::Exact(number.to_string());
        return root(if rng.bool() { header("x-a", value) } else { query("q", value) });
    }
    let value = |rng: &mut Rng| {
        let text = match rng.u8(..3) {
            0 => number.to_string(),
            1 => format!("ab{number}"),
            _ => format!("{number}-Long-Enough-{number}"),
        };
        match rng.u8(..9) {
            0 => PlainValue::Prefix(text),
            1 => PlainValue::Suffix(text),
            2 => PlainValue::Contains(text),
            3 => PlainValue::AnyCase(Box::new(PlainValue::Contains(text))),
            4 => PlainValue::AnyCase(Box::new(PlainValue::Suffix(text))),
            5 => PlainValue::Regex(format!(".*{text}[a-z]*")),
            6 => PlainValue::Regex(format!("(?i)({text}|[ab]{number})-?.*")),
            7 => PlainValue::Present(true),
            _ => PlainValue::Exact(text),
        }
    };
    let test = |rng: &mut Rng| match rng.u8(..8) {
        0..3 => PlainTest::Header {
            name: pick(rng, &["x-a", "x-a", "x-b", ":path"]).to_owned(),
            value: value(rng),
            invert: rng.u8(..10) == 0,
            absent_is_empty: rng.u8(..10) == 0,
        },
        3..6 => query(pick(rng, &["q", "q", "r"]), value(rng)),
        6 => header(&format!("x-{number}"), PlainValue::Present(true)),
        _ => query(&format!("q{number}"), PlainValue::Present(true)),
    };
    let (kind, path) = match rng.u8(..6) {
        0 => (Kind::Regex, format!(".*/{number}")),
        1 => (Kind::Regex, format!("/(a|b)/.+/x{number}(/.*)?")),
        2 => (Kind::Regex, format!("(?i)/a/[^/]+-{number}-Z")),
        3 => (Kind::Separated, "/a".to_owned()),
        _ => (Kind::Prefix, "/".to_owned()),
    };
    // Patterns stand for themselves, most often.
    let few = if kind == Kind::Regex { 0 } else { 1 };
    let tests = (0..few + usize::from(rng.u8(..4) == 0)).map(|_| test(rng)).collect();
    PlainRoute { kind, path, ignore_case: false, tests }
}

fn crowded_request(rng: &mut Rng) -> PlainRequest {
    let number = |rng: &mut Rng| rng.usize(..32);
    let text = |rng: &mut Rng| {
        let number = number(rng);
        match rng.u8(..5) {
            0 => number.to_string(),
            1 => format!("AB{number}z"),
            2 => format!("ab{number}"),
            3 => format!("{number}-long-enough-{number}"),
            _ => format!("x{number}-Long-Enough-{number}b{number}"),
        }
    };
    let last = number(rng);
    let mut path = match rng.u8(..5) {
        0 => format!("/c/{last}"),
        1 => format!("/a/b/x{last}"),
        2 => format!("/A/b-{last}-z"),
        3 => format!("/b/{last}/x{last}/y"),
        _ => "/a".to_owned(),
    };
    for (place, _) in (0..rng.usize(..3)).enumerate() {
        path.push(if place == 0 { '?' } else { '&' });
        path += &match rng.u8(..3) {
            0 => format!("q{}", number(rng)),
            _ => format!("{}={}", pick(rng, &["q", "r"]), text(rng)),
        };
    }
    let lines = (0..rng.usize(..4)).map(|_| match rng.u8(..4) {
        0 => (format!("x-{}", number(rng)), String::new()),
        _ => (pick(rng, &["x-a", "x-b"]).to_owned(), text(rng)),
    });
    let headers = lines.collect();
    PlainRequest { method: "GET", authority: "h".to_owned(), path, headers, random: rng.u64(..) }
}

/// Searches both ways and adds up the steps.
fn agree(plain: &[PlainRoute], requests: &[PlainRequest], all: &Work) -> usize {
    let routes = compiled(plain);
    let index = RouteIndex::new(&routes);
    let mut hits = 0;
    for request in requests {
        let found = index.first_noted(&routes, &request.head(), request.random, all);
        let expected = plain.iter().position(|route| route.takes(request));
        assert_eq!(found, expected, "{request:?} in {plain:#?}");
        hits += usize::from(found.is_some());
    }
    hits
}

#[test]
fn crowded_tables_are_searched_as_one_by_one() {
    let (work, mut hits, mut plainly) = (Work::default(), 0, 0);
    for seed in 0..60 {
        let mut rng = Rng::with_seed(seed);
        let len = [20, 60, 300][rng.usize(..3)];
        let whole = rng.u8(..4) == 0;
        let mut routes: Vec<_> = (0..len).map(|_| crowded_route(&mut rng, whole)).collect();
        for _ in 0..rng.usize(..4) {
            let place = rng.usize(..routes.len());
            routes.insert(place, random_route(&mut rng, 3));
        }
        let mut requests: Vec<_> = (0..60).map(|_| crowded_request(&mut rng)).collect();
        requests.extend((0..10).map(|_| random_request(&mut rng)));
        plainly += requests.len() * routes.len();
        hits += agree(&routes, &requests, &work);
    }
    // The generator reaches every kind of lookup, hits and misses, and lookups are what finds.
    for what in [
        "header values",
        "parameter values",
        "header names",
        "parameter names",
        "parts of paths",
        "parts of :path",
        "parts of headers",
        "parts of parameters",
    ] {
        assert!(work.of(what) >= 20, "{what}: {work:?}");
    }
    assert!((1_000..4_000).contains(&hits), "{hits} of {}", 60 * 70);
    assert!(work.of("routes") * 4 < plainly, "{work:?} for {plainly}");
}

#[test]
fn a_request_that_shows_too_much_is_tried_against_all() {
    let routes: Vec<_> =
        (100..200).map(|n| root(header("x-a", PlainValue::Contains(format!("{n};"))))).collect();
    let shows = |numbers: std::ops::Range<usize>, repeated: usize| {
        let value: String = numbers.map(|n| format!("{n};").repeat(repeated)).collect();
        request("/", &[("x-a", value)])
    };
    // Fewer groups than there is room for, however often they are shown.
    let few = Work::default();
    assert_eq!(agree(&routes, &[shows(190..199, 100), shows(300..400, 1)], &few), 1);
    assert_eq!((few.of("all"), few.of("routes")), (0, 1));
    let many = Work::default();
    assert_eq!(agree(&routes, &[shows(110..199, 1)], &many), 1);
    assert_eq!((many.of("all"), many.of("routes")), (1, 11));
}
