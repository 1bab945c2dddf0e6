//! Local rate limits. Each case has buckets of its own, so that it does not matter which comes first.

use super::super::case::{Case, Request2, Step};

pub fn cases() -> Vec<Case> {
    [plain(), described(), connections()].concat()
}

fn ask(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: limit.example\r\n{headers}\r\n").into_bytes()
}

/// Requests with these headers, one after the other on one connection.
fn several(name: &str, path: &str, headers: &[&str]) -> Case {
    let steps = headers.iter().flat_map(|headers| [Step::Send(ask(path, headers)), Step::Read]);
    Case::steps(&format!("limits/{name}"), steps.collect()).at("limit")
}

fn plain() -> Vec<Case> {
    let mut cases: Vec<Case> = [
        "/plain",
        "/told",
        "/headers",
        "/status/ok",
        "/status/503",
        "/off",
        "/shadow",
        "/empty",
        "/direct",
        "/listener/a",
        "/listener/b?x",
        "/none",
    ]
    .into_iter()
    .map(|path| several(path, path, &["X-A: 1\r\n", "X-A: 2\r\n", "X-A: 3\r\n", "X-A: 4\r\n"]))
    .collect();
    let call = "Content-Type: application/grpc\r\n";
    cases.push(several("a call", "/empty", &[call]));
    cases.push(several("a call where tokens are resources", "/exhausted", &[call, ""]));
    let request =
        Request2 { method: "GET", uri: "http://limit.example/empty/h2", ..Request2::default() };
    cases.push(Case::http2("limits/HTTP/2", request).at("limit"));
    cases
}

fn described() -> Vec<Case> {
    let (one, two, both) = ("X-A: one\r\n", "X-A: two\r\n", "X-A: one\r\nX-B: two\r\n");
    let (shown, none, lines) = ("X-A: shown\r\n", "", "X-A: one\r\nX-A: two\r\n");
    vec![
        several("header", "/header", &[one, one, both, shown, shown, none, lines, two, two]),
        several("any value", "/any", &[one, one, two, two, none, none, one]),
        several("match", "/match", &["X-A: m\r\n", one, "X-A: me\r\n", one]),
        several("query", "/query?q=7", &[none, none]),
        several("another query", "/query?q=8&q=7", &[none]),
        several("address", "/address", &[none, none]),
        several("network", "/network", &[none, none]),
        several("spared", "/spared", &[one, one, one, one, two, two]),
        several("host", "/host/else", &[one, one]),
        several("never the host", "/host/never", &[one]),
        several("also the host", "/host/also", &[one]),
        several("the route's own", "/host/own", &[one, one, one]),
        several("another stage", "/stage", &[one]),
        several("hits", "/hits", &[one, one, one]),
    ]
}

fn connections() -> Vec<Case> {
    let ask = || ask("/connection", "");
    let steps = vec![
        Step::Send(ask()),
        Step::Read,
        Step::Send(ask()),
        Step::Read,
        Step::Beside(ask()),
        Step::Send(ask()),
        Step::Read,
    ];
    vec![Case::steps("limits/per connection", steps).at("limit")]
}
