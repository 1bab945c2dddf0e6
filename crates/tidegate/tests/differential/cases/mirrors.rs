//! Requests that are copied: the origin sees the request and its copies.

use super::super::case::{Act, Case, Request2, Step};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (path, requests) in [
        ("one", 2),
        ("two", 3),
        ("same-host", 2),
        ("other-host", 2),
        ("all", 2),
        ("nobody", 1),
        ("rewritten", 2),
        ("named", 2),
        ("nowhere", 2),
        ("refused", 1),
        ("full", 1),
        ("of-refused", 1),
        ("of-empty", 0),
        ("of-nowhere", 0),
        ("of-full", 0),
        ("none", 1),
    ] {
        let get = ask(path, &format!("GET /{path}/x?q"), "X-Gone: 1\r\n", "");
        let post = ask(
            &format!("{path} of content"),
            &format!("POST /{path}"),
            "Content-Length: 4\r\n",
            "body",
        );
        cases.push(get.requests(requests));
        // Who is answered without an endpoint may be answered before all content is there.
        if !path.starts_with("of-") {
            cases.push(post.requests(requests));
        }
    }
    let chunked = "Transfer-Encoding: chunked\r\n";
    let large = "x".repeat(2_000_000);
    cases.extend([
        ask("HEAD", "HEAD /one", "", ""),
        ask("OPTIONS", "OPTIONS /one", "", ""),
        ask("no content", "POST /one", "Content-Length: 0\r\n", ""),
        ask("chunks", "POST /one", chunked, "2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n"),
        ask("trailers", "POST /one", chunked, "4\r\nbody\r\n0\r\nX-Trail: er\r\n\r\n"),
        ask("large", "POST /one", &format!("Content-Length: {}\r\n", large.len()), &large),
        ask("a list", "GET /one", "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\n", ""),
        ask("from inside", "GET /one", "X-Envoy-Internal: no\r\n", ""),
        at("strict", "behind others", "GET /one", "X-Forwarded-For: 1.1.1.1\r\n"),
        at("plain", "inside", "GET /one", "X-Forwarded-For: 1.1.1.1\r\n"),
        of_host("mirrors.example", "of the host", "GET /none"),
        of_host("mirrors.example", "not of the host", "GET /one"),
        of_host("mirror.example:81", "a port", "GET /one"),
        ask("copies are not sent again", "GET /again", "", "")
            .answer("HTTP/1.1 503 No\r\nServer: origin\r\nContent-Length: 2\r\n\r\nno")
            .requests(4),
        Case::steps(
            "mirrors/content in pieces",
            vec![
                Step::Send(request("mirror.example", "POST /one", "Content-Length: 8\r\n", "one ")),
                Step::Pause(100),
                Step::Send(b"two ".to_vec()),
                Step::Read,
                Step::Probe,
            ],
        )
        .requests(2),
        ask("too slow", "GET /short", "", "").origin(vec![Act::Hold]),
        websocket(),
    ]);
    let http2 = |name: &str, method, uri, body: Vec<Vec<u8>>, trailers| {
        let request = Request2 { method, uri, body, trailers, ..Request2::default() };
        Case::http2(&format!("mirrors/http2 {name}"), request).requests(2)
    };
    cases.extend([
        http2("GET", "GET", "http://mirror.example/one", Vec::new(), Vec::new()),
        http2("two", "GET", "http://mirror.example/two", Vec::new(), Vec::new()).requests(3),
        http2("POST", "POST", "http://mirror.example/one", vec![b"body".to_vec()], Vec::new()),
        http2(
            "trailers",
            "POST",
            "http://mirror.example/one",
            vec![b"bo".to_vec(), b"dy".to_vec()],
            vec![("x-trail", "er")],
        ),
    ]);
    cases
}

fn request(host: &str, line: &str, headers: &str, body: &str) -> Vec<u8> {
    let head = format!("{line} HTTP/1.1\r\nX-Case: {{id}}\r\nHost: {host}\r\n");
    format!("{head}{headers}\r\n{body}").into_bytes()
}

fn of_host(host: &str, name: &str, line: &str) -> Case {
    Case::new(&format!("mirrors/{name}"), request(host, line, "", "")).requests(2)
}

fn ask(name: &str, line: &str, headers: &str, body: &str) -> Case {
    let request = request("mirror.example", line, headers, body);
    Case::new(&format!("mirrors/{name}"), request).requests(2)
}

fn at(listener: &'static str, name: &str, line: &str, headers: &str) -> Case {
    ask(name, line, headers, "").at(listener)
}

fn websocket() -> Case {
    let asks = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    let grant =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let steps = vec![
        Step::Send(request("mirror.example", "GET /one", asks, "")),
        Step::Read,
        Step::Send(b"ping".to_vec()),
        Step::Raw(4),
    ];
    Case::steps("mirrors/another protocol", steps).origin(vec![
        Act::Send(grant.as_bytes().to_vec()),
        Act::Echo(4),
        Act::Hold,
    ])
}
