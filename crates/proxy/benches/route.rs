//! What a routing decision costs, and that it does not grow with the table.
//!
//! `cargo bench -p tidegate-proxy --bench route` prints nanoseconds per decision, the best of several runs,
//! for tables of 1, 100 and 10,000 entries. The last column is what the largest costs beside the smallest.

#![allow(missing_docs, reason = "a program, not an interface")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_proxy::http::RequestHead;
use tidegate_proxy::route::{
    Action, Condition, Direct, Field, HeaderCondition, HeaderTest, HostChange, Mutations,
    ParameterTest, PathMatch, Pattern, QueryCondition, Route, RouteMatch, RouteTable, TextMatch,
    VirtualHost,
};

const SIZES: [usize; 3] = [1, 100, 10_000];
const RUNS: usize = 7;

fn main() {
    println!("{:<38}{:>10}{:>10}{:>10}{:>8}", "ns per decision", 1, 100, 10_000, "ratio");
    for (name, make) in CASES {
        let costs = SIZES.map(|size| cost(&make(size)));
        let ratio = costs[2] / costs[0];
        println!("{name:<38}{:>10.1}{:>10.1}{:>10.1}{ratio:>8.2}", costs[0], costs[1], costs[2]);
    }
    println!("\n{:<38}{:>10}{:>10}{:>10}", "microseconds per change", 1, 100, 10_000);
    let costs = SIZES.map(swap_cost);
    println!(
        "{:<38}{:>10.1}{:>10.1}{:>10.1}",
        "one virtual host of many", costs[0], costs[1], costs[2]
    );
    let costs = SIZES.map(|size| build_cost(size, |i| PathMatch::Prefix(path(i))));
    println!(
        "{:<38}{:>10.1}{:>10.1}{:>10.1}",
        "one virtual host of many routes", costs[0], costs[1], costs[2]
    );
    let costs =
        SIZES.map(|size| build_cost(size, |i| pattern(&format!("/api/[^/]+/service-{i:05}"))));
    println!(
        "{:<38}{:>10.1}{:>10.1}{:>10.1}",
        "one virtual host of many patterns", costs[0], costs[1], costs[2]
    );
}

/// A table and the request that is hardest for it.
type Case = (RouteTable, RequestHead);

type Make = fn(usize) -> Case;

const CASES: [(&str, Make); 15] = [
    ("hosts, exact", |n| {
        let hosts =
            (0..n).map(|i| host(i, &format!("host-{i}.example.com"), vec![route(prefix("/"))]));
        (table(hosts), head(&format!("host-{}.example.com", n - 1), "/"))
    }),
    ("hosts, *.suffix", |n| {
        let hosts =
            (0..n).map(|i| host(i, &format!("*.host-{i}.example.com"), vec![route(prefix("/"))]));
        (table(hosts), head(&format!("www.host-{}.example.com", n - 1), "/"))
    }),
    ("routes, exact paths", |n| one_host(n, |i| route(PathMatch::Exact(path(i))))),
    ("routes, prefixes", |n| one_host(n, |i| route(PathMatch::Prefix(path(i))))),
    ("routes, separated prefixes", |n| one_host(n, |i| route(PathMatch::SeparatedPrefix(path(i))))),
    ("routes, patterns with a beginning", |n| {
        one_host(n, |i| route(pattern(&format!("{}(/[0-9]+)?", String::from_utf8_lossy(&path(i))))))
    }),
    ("routes, patterns with one beginning", |n| {
        one_host(n, |i| route(pattern(&format!("/api/[^/]+/service-{i:05}"))))
    }),
    ("routes, patterns without beginning", |n| {
        one_host(n, |i| route(pattern(&format!(".*/service-{i:05}"))))
    }),
    ("routes, prefixes of each other", |n| {
        // A path of 100 segments at most: as deep as clients go.
        let deep = |i: usize| PathMatch::Prefix("/seg".repeat(i % 100 + 1).into_bytes().into());
        let routes = (0..n).rev().map(|i| route(deep(i))).collect();
        (table(std::iter::once(host(0, "*", routes))), head("h", &"/seg".repeat(100)))
    }),
    ("routes, all kinds mixed", |n| {
        // The last is of the same kind whatever their number.
        let routes = (0..n).map(|i| mixed(i, n - 1 - i + 3)).collect();
        // The last is asked for by path, header, query and method.
        let mut head =
            head("h", &format!("{}?page={}", String::from_utf8_lossy(&path(n - 1)), n - 1));
        head.headers.append(b"x-tenant", (n - 1).to_string().as_bytes());
        (table(std::iter::once(host(0, "*", routes))), head)
    }),
    ("routes, one path, header values", |n| {
        by_header(n, |i| TextMatch::Exact(format!("tenant-{i:05}").into_bytes().into()))
    }),
    ("routes, one path, header prefixes", |n| {
        by_header(n, |i| TextMatch::Prefix(format!("tenant-{i:05}").into_bytes().into()))
    }),
    ("routes, one path, header patterns", |n| {
        by_header(n, |i| {
            let source = format!("(.*;)?tenant-{i:05}(;.*)?");
            TextMatch::Regex(Pattern::new(&source).expect("valid"))
        })
    }),
    ("routes, one path, header names", |n| {
        let name = |i: usize| format!("x-tenant-{i:05}");
        let there = |i| with_header(&name(i), HeaderTest::Present(true));
        let routes = (0..n).map(there).collect();
        (table(std::iter::once(host(0, "*", routes))), head_with(&name(n - 1), "1"))
    }),
    ("routes, one path, parameter patterns", |n| {
        let wanted = |i: usize| {
            let pattern = Pattern::new(&format!("[a-z]+-{i:05}")).expect("valid");
            let test = ParameterTest::Text(TextMatch::Regex(pattern));
            let condition = QueryCondition { name: b"page".as_slice().into(), test };
            with_conditions(prefix("/"), vec![Condition::Query(condition)])
        };
        let routes = (0..n).map(wanted).collect();
        (table(std::iter::once(host(0, "*", routes))), head("h", &format!("/?page=p-{:05}", n - 1)))
    }),
];

/// Routes at one path that ask for different texts of a header.
fn by_header(n: usize, test: impl Fn(usize) -> TextMatch) -> Case {
    let routes = (0..n).map(|i| with_header("x-tenant", HeaderTest::Text(test(i)))).collect();
    let head = head_with("x-tenant", &format!("tenant-{:05}", n - 1));
    (table(std::iter::once(host(0, "*", routes))), head)
}

fn with_header(name: &str, test: HeaderTest) -> Arc<Route> {
    let field = Field::new(name);
    let condition = HeaderCondition { field, test, invert: false, absent_is_empty: false };
    with_conditions(prefix("/"), vec![Condition::Header(condition)])
}

/// Every kind of path, with and without conditions of every kind.
fn mixed(i: usize, kind: usize) -> Arc<Route> {
    let exact = |text: String| TextMatch::Exact(text.into_bytes().into());
    let header = |name: &str, test| {
        let field = Field::new(name);
        Condition::Header(HeaderCondition { field, test, invert: false, absent_is_empty: false })
    };
    let all = vec![
        header(":method", HeaderTest::Text(exact("GET".to_owned()))),
        header("x-tenant", HeaderTest::Text(exact(i.to_string()))),
        Condition::Query(QueryCondition {
            name: b"page".as_slice().into(),
            test: ParameterTest::Text(exact(i.to_string())),
        }),
    ];
    let path = path(i);
    let path = match kind % 4 {
        0 => PathMatch::Exact(path),
        1 => PathMatch::Prefix(path),
        2 => PathMatch::SeparatedPrefix(path),
        _ => pattern(&format!("{}(/[a-z]+)?", String::from_utf8_lossy(&path))),
    };
    with(path, kind.is_multiple_of(7), all.into_iter().take(kind % 5).collect())
}

fn path(i: usize) -> Box<[u8]> {
    format!("/api/v1/service-{i:05}").into_bytes().into()
}

fn prefix(path: &str) -> PathMatch {
    PathMatch::Prefix(path.as_bytes().into())
}

fn pattern(source: &str) -> PathMatch {
    PathMatch::Regex(Pattern::new(source).expect("valid"))
}

fn route(path: PathMatch) -> Arc<Route> {
    with_conditions(path, Vec::new())
}

fn with_conditions(path: PathMatch, conditions: Vec<Condition>) -> Arc<Route> {
    with(path, false, conditions)
}

fn with(path: PathMatch, ignore_case: bool, conditions: Vec<Condition>) -> Arc<Route> {
    Arc::new(Route {
        name: "".into(),
        matcher: RouteMatch { path, ignore_case, conditions },
        action: Action::Direct(Direct::new(200, "")),
        request_headers: Mutations::default(),
        response_headers: Mutations::default(),
        filters: Default::default(),
    })
}

fn host(i: usize, domain: &str, routes: Vec<Arc<Route>>) -> Arc<VirtualHost> {
    Arc::new(VirtualHost::new(i.to_string().into(), vec![domain.into()], routes))
}

fn table(hosts: impl Iterator<Item = Arc<VirtualHost>>) -> RouteTable {
    let changes = hosts.map(|host| HostChange::Put(Arc::clone(&host.name), host)).collect();
    RouteTable::default().with(changes).0
}

fn one_host(n: usize, make: impl Fn(usize) -> Arc<Route>) -> Case {
    let routes = (0..n).map(make).collect();
    let last = String::from_utf8_lossy(&path(n - 1)).into_owned();
    (table(std::iter::once(host(0, "*", routes))), head("h", &last))
}

/// A request as a browser sends it.
fn head(authority: &str, path: &str) -> RequestHead {
    let mut head = RequestHead::default();
    head.set_method(b"GET");
    head.set_authority(authority.as_bytes());
    head.set_path(path.as_bytes());
    for (name, value) in [
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64)"),
        ("accept", "*/*"),
        ("accept-encoding", "gzip, br"),
        ("cookie", "id=0123456789abcdef"),
        ("x-forwarded-proto", "https"),
    ] {
        head.headers.append(name.as_bytes(), value.as_bytes());
    }
    head
}

fn head_with(name: &str, value: &str) -> RequestHead {
    let mut head = head("h", "/");
    head.headers.append(name.as_bytes(), value.as_bytes());
    head
}

/// Nanoseconds per decision.
fn cost((table, head): &Case) -> f64 {
    best(20_000, || {
        black_box(table.decide(black_box(head), 0));
    }) * 1e9
}

/// Microseconds to replace one of `n` virtual hosts by another with the same domains.
fn swap_cost(n: usize) -> f64 {
    let table =
        table((0..n).map(|i| host(i, &format!("host-{i}.example.com"), vec![route(prefix("/"))])));
    let new = host(n / 2, &format!("host-{}.example.com", n / 2), vec![route(prefix("/new"))]);
    best(100, || {
        let change = HostChange::Put(Arc::clone(&new.name), Arc::clone(&new));
        black_box(table.with(vec![change]));
    }) * 1e6
}

/// Microseconds to index a virtual host of `n` compiled routes.
fn build_cost(n: usize, path: impl Fn(usize) -> PathMatch) -> f64 {
    let routes: Vec<_> = (0..n).map(|i| route(path(i))).collect();
    best(20, || {
        black_box(host(0, "*", routes.clone()));
    }) * 1e6
}

/// Seconds per call in the best run.
fn best(calls: u32, mut call: impl FnMut()) -> f64 {
    let run = |_| {
        let start = Instant::now();
        for _ in 0..calls {
            call();
        }
        start.elapsed() / calls
    };
    (0..RUNS).map(run).min().unwrap_or(Duration::ZERO).as_secs_f64()
}
