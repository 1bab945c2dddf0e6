//! Requests that are sent again: by answers, by failures, by time; and where that ends.

use super::super::case::{Act, Act2, Case, Request2};

pub fn cases() -> Vec<Case> {
    [answers(), failures(), times(), contents(), http2()].concat()
}

/// No connection is used twice: one that died on reuse is replaced without a policy.
const CLOSE: &str = "Connection: close\r\n";

fn ask(line: &str, headers: &str, body: &str) -> Vec<u8> {
    let head = format!("{line} HTTP/1.1\r\nX-Case: {{id}}\r\nHost: retry.example\r\n");
    format!("{head}{headers}\r\n{body}").into_bytes()
}

fn answer(status: u16, headers: &str) -> Vec<Act> {
    let text = format!(
        "HTTP/1.1 {status} X\r\nServer: origin\r\n{CLOSE}{headers}Content-Length: 2\r\n\r\nno"
    );
    vec![Act::Send(text.into_bytes())]
}

fn fails(status: u16, times: usize) -> Vec<Vec<Act>> {
    vec![answer(status, ""); times]
}

fn get(name: &str, path: &str, first: Vec<Vec<Act>>) -> Case {
    case(name, ask(&format!("GET /{path}"), "", "")).first(first)
}

/// A request that is answered in the end, unless it is not sent so often.
fn case(name: &str, request: Vec<u8>) -> Case {
    let ok = format!("HTTP/1.1 200 OK\r\nServer: origin\r\n{CLOSE}Content-Length: 2\r\n\r\nok");
    Case::new(&format!("retries/{name}"), request).answer(ok)
}

fn answers() -> Vec<Case> {
    let mut cases = Vec::new();
    for (path, status) in [
        ("5xx", 500),
        ("5xx", 503),
        ("5xx", 404),
        ("gateway", 500),
        ("gateway", 502),
        ("gateway", 503),
        ("gateway", 504),
        ("reset", 503),
        ("connect", 503),
        ("refused", 503),
        ("4xx", 409),
        ("4xx", 400),
        ("statuses", 404),
        ("statuses", 418),
        ("statuses", 503),
        ("istio", 503),
        ("words", 500),
        ("none", 503),
        ("headers", 418),
        ("headers", 503),
        ("asked", 503),
        ("soon", 503),
        ("inherited", 503),
    ] {
        cases.push(get(&format!("{path} after {status}"), path, fails(status, 1)));
    }
    let header = |name: &str, path: &str, status, header: &str| {
        get(name, path, vec![answer(status, header)])
    };
    cases.extend([
        get("twice", "5xx", fails(503, 2)),
        get("three times", "5xx", fails(503, 3)),
        get("once is the default", "once", fails(503, 2)),
        get("of the host's", "inherited", fails(503, 2)),
        get("never", "never", fails(503, 1)),
        get("of nobody", "narrow", fails(503, 1)),
        get("different failures", "5xx", vec![answer(503, ""), vec![Act::Close], answer(500, "")]),
        header("a header that asks for it", "headers", 200, "X-Again: yes\r\n"),
        header("a header that says otherwise", "headers", 200, "X-Again: no\r\n"),
        header("rate limited", "5xx", 503, "x-envoy-ratelimited: true\r\n"),
        header("rate limited, and meant", "limited", 429, "x-envoy-ratelimited: true\r\n"),
        header("overloaded", "5xx", 503, "x-envoy-overloaded: true\r\n"),
        header("not rate limited", "limited", 429, ""),
        case("asked for", ask("GET /asked", "X-May: 1\r\n", "")).first(fails(503, 1)),
        case("HEAD", ask("HEAD /5xx", "", ""))
            .answer(format!("HTTP/1.1 200 OK\r\n{CLOSE}Content-Length: 2\r\n\r\n"))
            .first(vec![vec![Act::Send(
                format!("HTTP/1.1 503 X\r\n{CLOSE}Content-Length: 2\r\n\r\n").into_bytes(),
            )]]),
    ]);
    for (path, status) in [
        ("grpc", "0"),
        ("grpc", "1"),
        ("grpc", "4"),
        ("grpc", "8"),
        ("grpc", "13"),
        ("grpc", "14"),
        ("grpc", "99"),
        ("istio", "14"),
        ("istio", "13"),
    ] {
        let header = format!("grpc-status: {status}\r\n");
        cases.push(get(&format!("{path} after status {status}"), path, vec![answer(200, &header)]));
    }
    cases
}

fn failures() -> Vec<Case> {
    let mut cases = Vec::new();
    for path in ["5xx", "gateway", "reset", "before", "connect", "refused", "istio", "none"] {
        for (how, act) in [("closed", Act::Close), ("reset", Act::Reset)] {
            cases.push(get(&format!("{path} after {how}"), path, vec![vec![Act::Body, act]]));
        }
    }
    let junk = || vec![Act::Send(b"junk\r\n\r\n".to_vec()), Act::Close];
    cases.extend([
        get("closed always", "reset", vec![vec![Act::Close]; 3]),
        get("junk", "reset", vec![junk()]),
        get("junk always", "5xx", vec![junk(), junk(), junk()]),
        get("nobody listens", "nobody", Vec::new()),
        get("nobody listens, 5xx", "nobody-5xx", Vec::new()),
        get("nobody listens, before the request", "nobody-before", Vec::new()),
        get("nobody is there", "empty", Vec::new()),
        get(
            "closed inside the head",
            "5xx",
            vec![vec![Act::Send(b"HTTP/1.1 200 O".to_vec()), Act::Pause(30), Act::Close]],
        ),
        get(
            "closed inside the content",
            "5xx",
            vec![vec![
                Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart".to_vec()),
                Act::Pause(50),
                Act::Close,
            ]],
        ),
    ]);
    cases
}

fn times() -> Vec<Case> {
    let hold = || vec![Act::Hold];
    let part = || {
        let part =
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9\r\n\r\npart".to_vec();
        vec![Act::Send(part), Act::Pause(500), Act::Send(b" rest".to_vec())]
    };
    vec![
        get("an attempt takes too long", "try", vec![hold()]),
        get("every attempt takes too long", "try", vec![hold(); 3]),
        get("an attempt takes too long, which nothing asks about", "try-only", vec![hold()]),
        get("an answer may take longer than its head", "try", vec![part()]),
        get("nothing moves in an attempt", "try-idle", vec![hold()]),
        get("nothing moves in any attempt", "try-idle", vec![hold(); 3]),
        get("the route's time ends attempts", "timed", vec![hold(); 3]),
        get("an attempt has no more time than the route", "shorter", vec![hold()]),
    ]
}

fn contents() -> Vec<Case> {
    let post = |name: &str, path: &str, headers: &str, body: &str| {
        let head = format!("POST /{path}");
        case(name, ask(&head, headers, body)).first(fails(503, 1))
    };
    let large = "x".repeat(300_000);
    let length = format!("Content-Length: {}\r\n", large.len());
    vec![
        post("POST", "5xx", "Content-Length: 4\r\n", "body"),
        post(
            "POST in chunks",
            "5xx",
            "Transfer-Encoding: chunked\r\n",
            "2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n",
        ),
        post(
            "POST with trailers",
            "5xx",
            "Transfer-Encoding: chunked\r\n",
            "4\r\nbody\r\n0\r\nX-Trail: er\r\n\r\n",
        ),
        post("large POST", "5xx", &length, &large),
        post("POST within the bound", "small", "Content-Length: 4\r\n", "body"),
        post("POST beyond the bound", "small", "Content-Length: 5\r\n", "bodys"),
        post("POST, never", "never", "Content-Length: 4\r\n", "body"),
        post("POST beyond the bound, never", "small-never", "Content-Length: 5\r\n", "bodys"),
        post("POST that reached the origin", "istio", "Content-Length: 4\r\n", "body")
            .first(vec![vec![Act::Body, Act::Close]]),
        post("POST, and reset is meant", "reset", "Content-Length: 4\r\n", "body")
            .first(vec![vec![Act::Body, Act::Close]]),
        post("POST that takes too long", "try", "Content-Length: 4\r\n", "body")
            .first(vec![vec![Act::Hold]]),
        post("POST to nobody", "nobody", "Content-Length: 4\r\n", "body"),
    ]
}

fn http2() -> Vec<Case> {
    let ask = |name: &str, path: &'static str, body: &str, first: Vec<Act2>| {
        let body = if body.is_empty() { Vec::new() } else { vec![body.as_bytes().to_vec()] };
        let method = if body.is_empty() { "GET" } else { "POST" };
        let request = Request2 { method, uri: path, body, ..Request2::default() };
        Case::http2(&format!("retries/http2 {name}"), request).first2(first)
    };
    let fails = |status| Act2::Answer {
        status,
        headers: Vec::new(),
        body: b"no".to_vec(),
        trailers: Vec::new(),
    };
    let call = |status| Act2::Answer {
        status: 200,
        headers: vec![("grpc-status", status)],
        body: Vec::new(),
        trailers: Vec::new(),
    };
    vec![
        ask("503", "http://retry.example/http2", "", vec![fails(503)]),
        ask("503, POST", "http://retry.example/http2", "body", vec![fails(503)]),
        ask("503 three times", "http://retry.example/http2", "", vec![fails(503); 3]),
        ask("reset", "http://retry.example/http2", "", vec![Act2::Refuse(8)]),
        ask("reset, POST", "http://retry.example/http2-istio", "body", vec![Act2::Refuse(8)]),
        ask("unavailable", "http://retry.example/http2-istio", "call", vec![call("14")]),
        ask("unknown", "http://retry.example/http2-istio", "call", vec![call("2")]),
    ]
}
