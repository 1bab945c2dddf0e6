//! Which route is taken, and what routes change.

use super::super::case::{Case, get, request};

pub fn cases() -> Vec<Case> {
    [matching(), direct(), redirects(), rewrites(), failures()].concat()
}

fn named(theme: &str, path: &str, headers: &str) -> Case {
    Case::new(&format!("{theme}/{path} {}", headers.trim_end().escape_debug()), get(path, headers))
}

fn matching() -> Vec<Case> {
    let paths = [
        "/path",
        "/path/",
        "/path?x",
        "/Path",
        "/CASE",
        "/case",
        "/case?x",
        "/prefix",
        "/prefixed",
        "/prefix/x",
        "/PREFIX",
        "/sep",
        "/sep/",
        "/sep/x",
        "/separate",
        "/sep?x",
        "/re/12",
        "/re/12?x",
        "/re/12x",
        "/re/",
        "/none",
        "/query",
        "/query?q=one",
        "/query?q=two",
        "/query?q=12",
        "/query?there",
        "/query?there=",
        "/query?a=b&there=1",
        "/query?Q=one",
        "/query?q=%6fne",
        "/query?q=one&q=two",
        "/query?q=two&q=one",
    ];
    let headers = [
        "X-M: one\r\n",
        "x-m: prefer\r\n",
        "x-m: unsuf\r\n",
        "x-m: amidst\r\n",
        "x-m: case\r\n",
        "x-m: r5\r\n",
        "x-m: r55\r\n",
        "x-n: 5\r\n",
        "x-n: 10\r\n",
        "x-n: x\r\n",
        "x-p:\r\n",
        "x-a: no\r\n",
        "x-a: yes\r\n",
        "x-m: one\r\nx-m: two\r\n",
        "x-m: no\r\nx-m: one\r\nx-a: no\r\n",
        "x-a: no\r\nX-Forwarded-Proto: https\r\n",
        "x-a: no\r\nx-n: 9999999999999999999999\r\n",
    ];
    let mut cases: Vec<_> = paths.into_iter().map(|path| named("routes", path, "")).collect();
    cases.extend(headers.map(|headers| named("routes", "/header", headers)));
    cases.push(named("routes", "/header?p", "x-a: no\r\n"));
    cases.push(Case::new("routes/by method", request("PUT /header", "x-a: no\r\n", "")));
    let authority = "GET /header HTTP/1.1\r\nHost: auth\r\nx-a: no\r\n\r\n";
    cases.push(Case::new("routes/by authority", authority));
    cases
}

fn direct() -> Vec<Case> {
    let mut cases: Vec<_> = ["204", "304", "418", "599", "empty", "headers", "location"]
        .map(|path| named("direct", &format!("/direct/{path}"), ""))
        .into();
    for path in ["/direct/418", "/none", "/unknown", "/refused", "/empty", "/to/https"] {
        let bytes = request(&format!("HEAD {path}"), "", "");
        cases.push(Case::new(&format!("direct/HEAD {path}"), bytes));
    }
    let post = request("POST /direct/418", "Content-Length: 4\r\n", "body");
    cases.push(Case::new("direct/POST", post));
    cases
}

fn redirects() -> Vec<Case> {
    let kinds = [
        "https", "scheme", "host", "port", "both", "path", "query", "prefix", "regex/b", "strip",
        "302", "303", "307", "308",
    ];
    let mut cases: Vec<_> = kinds
        .iter()
        .flat_map(|kind| [format!("/to/{kind}"), format!("/to/{kind}/x?y=1")])
        .map(|path| named("redirects", &path, ""))
        .collect();
    for (host, path) in [
        ("a:80", "/to/https"),
        ("a:8080", "/to/https"),
        ("a:99", "/to/host"),
        ("a:99", "/to/port"),
        ("a:99", "/to/path"),
        ("[::1x]", "/to/https"),
        ("A.b", "/to/https"),
        ("a:443", "/to/scheme"),
    ] {
        let bytes = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        cases.push(Case::new(&format!("redirects/{host} {path}"), bytes));
    }
    let proto = "X-Forwarded-Proto: https\r\n";
    cases.push(Case::new("redirects/forwarded proto", get("/to/path", proto)).at("plain"));
    cases.push(Case::new(
        "redirects/POST",
        request("POST /to/https", "Content-Length: 2\r\n", "hi"),
    ));
    cases
}

fn rewrites() -> Vec<Case> {
    let paths = [
        "/rewrite/prefix",
        "/rewrite/prefix/x?y",
        "/rewrite/prefixed",
        "/rewrite/slash/x",
        "/rewrite/slash/",
        "/rewrite/slash//x",
        "/rewrite/regex/abc",
        "/rewrite/regex/abc/tail?q",
        "/rewrite/regex/123",
        "/rewrite/host",
        "/rewrite/from-header",
        "/rewrite/from-endpoint",
        "/rewrite/from-nameless",
    ];
    let mut cases: Vec<_> = paths.into_iter().map(|path| named("rewrites", path, "")).collect();
    cases.push(named("rewrites", "/rewrite/from-header", "x-host: named.example\r\n"));
    cases.push(named("rewrites", "/rewrite/host", "x-forwarded-host: before\r\n"));
    cases.push(named("rewrites", "/mutate", ""));
    cases.push(named("rewrites", "/mutate/x?q=1&q=2", ""));
    let all = "x-append: old\r\nx-set: old\r\nx-absent: old\r\nx-overwrite: old\r\nx-gone: 1\r\n";
    cases.push(named("rewrites", "/mutate", all).answer(
        "HTTP/1.1 200 OK\r\nx-append: old\r\nx-set: old\r\nx-absent: old\r\nx-gone: 1\r\n\
         Content-Length: 0\r\n\r\n",
    ));
    let twice = "x-append: a\r\nx-append: b\r\nx-set: a\r\nx-set: b\r\nx-gone: a\r\nX-Gone: b\r\n";
    cases.push(named("rewrites", "/mutate", twice));
    let posted = request("POST /mutate", "Content-Length: 4\r\n", "body");
    cases.push(Case::new("rewrites/told POST /mutate", posted));
    cases.push(named("rewrites/told", "/told/empty", ""));
    cases.push(named("rewrites/told", "/direct/headers", ""));
    cases
}

fn failures() -> Vec<Case> {
    let mut cases: Vec<_> = ["/unknown", "/unknown-404", "/refused", "/empty"]
        .map(|path| named("failures", path, ""))
        .into();
    for path in ["/unknown", "/refused", "/empty", "/none"] {
        let bytes = request(&format!("POST {path}"), "Content-Length: 4\r\n", "body");
        cases.push(Case::new(&format!("failures/POST {path}"), bytes));
        let chunked = "Transfer-Encoding: chunked\r\n";
        let bytes = request(&format!("PUT {path}"), chunked, "4\r\nbody\r\n0\r\n\r\n");
        cases.push(Case::new(&format!("failures/PUT {path} in chunks"), bytes));
    }
    cases
}
