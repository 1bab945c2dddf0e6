//! HTTP/2 on either side.

use super::super::case::{Act, Act2, Case, Request2, Step, get, request};
use super::super::frames::Frame;
use super::super::scripts::{OWN, Own};

pub fn cases() -> Vec<Case> {
    [downstream(), upstream(), both(), own(), frames()].concat()
}

fn head(method: &'static str, uri: &'static str) -> Request2 {
    Request2 { method, uri, ..Request2::default() }
}

fn downstream() -> Vec<Case> {
    let case = |name: &str, request: Request2| Case::http2(&format!("h2/{name}"), request);
    let get = |uri| head("GET", uri);
    let with = |name: &'static str, value: &str| Request2 {
        headers: vec![(name, value.to_owned())],
        ..get("http://a/o")
    };
    let post =
        |size: usize| Request2 { body: vec![vec![b'x'; size]], ..head("POST", "http://a/o") };
    let big = "b".repeat(300_000);
    vec![
        case("GET", get("http://a/o")),
        case("HEAD", head("HEAD", "http://a/o")),
        case("DELETE", head("DELETE", "http://a/o?x")),
        case("unknown method", head("BREW", "http://a/o")),
        case("https", get("https://a/o")),
        case("exact host", get("http://exact.example/x")),
        case("host with port", get("http://exact.example:99/x")),
        case("dots", get("http://a/o/../o/x")),
        case("no route", get("http://a/none")),
        case("redirect", get("http://a/to/https?x")),
        case("direct", get("http://a/direct/418")),
        case("direct 204", get("http://a/direct/204")),
        case("unknown cluster", get("http://a/unknown")),
        case("refused", get("http://a/refused")),
        case("empty", get("http://a/empty")),
        case("timeout", get("http://a/slow")).origin(vec![Act::Hold]),
        case("options", head("OPTIONS", "http://a/o")),
        case("POST of 1", post(1)),
        case("POST of 100000", post(100_000)),
        case("POST of nothing", Request2 { body: vec![Vec::new()], ..head("POST", "http://a/o") }),
        case(
            "POST with a length",
            Request2 {
                headers: vec![("content-length", "4".to_owned())],
                body: vec![b"body".to_vec()],
                ..head("POST", "http://a/o")
            },
        ),
        case("trailers up", Request2 { trailers: vec![("x-t", "1")], ..post(3) }),
        case("trailers down", get("http://a/o")).answer(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n",
        ),
        case(
            "cookies",
            Request2 {
                headers: vec![("cookie", "a=1".to_owned()), ("cookie", "b=2".to_owned())],
                ..get("http://a/o")
            },
        ),
        case("te trailers", with("te", "trailers")),
        case("x-forwarded-for", with("x-forwarded-for", "9.9.9.9")),
        case("large header", with("x-long", &"a".repeat(20_000))),
        case("connection: close from the origin", get("http://a/o"))
            .answer_close("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"),
        case("chunked answer", get("http://a/o"))
            .answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        case("large answer", get("http://a/o"))
            .answer(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{big}", big.len())),
        case("slow reader", Request2 { window: Some(1000), ..get("http://a/o") })
            .answer(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{big}", big.len())),
        case("100-continue", Request2 { headers: vec![("expect", "100-continue".to_owned())], ..post(4) }),
        case("hints", get("http://a/o")).answer(
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        case("HEAD with a length", head("HEAD", "http://a/o"))
            .answer("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
        case("304 with a length", get("http://a/o"))
            .answer("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"),
        // Were the request whole by then, which only chance would say, the answer would tell the time that it took.
        case("early answer", Request2 { unended: true, ..post(1_000_000) }).origin(vec![
            Act::Early,
            Act::Send(b"HTTP/1.1 413 X\r\nContent-Length: 2\r\n\r\nno".to_vec()),
            Act::Hold,
        ]),
        case("oversized head", with("x-long", &"a".repeat(70_000))),
        case("head of strict size", with("x-long", &"a".repeat(5_000))).at("strict"),
        case("too many lines", Request2 {
            headers: (0..14).map(|_| ("x-many", "1".to_owned())).collect(), ..get("http://a/o") }).at("strict"),
        case("te gzip", with("te", "gzip")),
        case("x-request-id", with("x-request-id", "given")),
        case("x-envoy", with("x-envoy-retry-on", "5xx")),
        case("version 1.0 from the origin", get("http://a/o"))
            .answer_close("HTTP/1.0 200 OK\r\n\r\nok"),
        case("204", get("http://a/o")).answer("HTTP/1.1 204 No Content\r\n\r\n"),
        case("closed before the head", get("http://a/o")).origin(vec![Act::Body, Act::Close]),
        case("cut inside the body", get("http://a/o")).origin(vec![
            Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart".to_vec()),
            Act::Pause(50),
            Act::Close,
        ]),
        case("bad answer", get("http://a/o")).answer_close("junk\r\n\r\n"),
        case("mutations", get("http://a/mutate")),
    ]
}

fn upstream() -> Vec<Case> {
    // Every code that RFC 9113 section 7 knows, and one that it does not.
    let codes = (0..=14).flat_map(|code| {
        [("before the answer", Act2::Refuse(code)), ("inside the answer", Act2::Cut(code))].map(
            |(when, act)| {
                Case::new(&format!("to h2/code {code} {when}"), get("/h2", "")).origin2(act)
            },
        )
    });
    upstream_cases().into_iter().chain(codes).collect()
}

fn upstream_cases() -> Vec<Case> {
    let case = |name: &str, bytes: Vec<u8>| Case::new(&format!("to h2/{name}"), bytes);
    let plain = || get("/h2", "");
    let answer = |status,
                  headers: &[(&'static str, &'static str)],
                  body: &[u8],
                  trailers: &[(&'static str, &'static str)]| {
        Act2::Answer {
            status,
            headers: headers.to_vec(),
            body: body.to_vec(),
            trailers: trailers.to_vec(),
        }
    };
    vec![
        case("GET", plain()),
        case("query", get("/h2/x?y=1", "")),
        case(
            "headers",
            get(
                "/h2",
                "Accept: */*\r\nAccept: text/plain\r\nConnection: x-a\r\nX-A: 1\r\nTE: trailers\r\nCookie: a=1\r\n",
            ),
        ),
        case("HEAD", request("HEAD /h2", "", "")).origin2(answer(
            200,
            &[("content-length", "5")],
            b"",
            &[],
        )),
        case("POST", request("POST /h2", "Content-Length: 4\r\n", "body")),
        case(
            "POST in chunks",
            request("POST /h2", "Transfer-Encoding: chunked\r\n", "4\r\nbody\r\n0\r\n\r\n"),
        ),
        case(
            "trailers up",
            request(
                "POST /h2",
                "Transfer-Encoding: chunked\r\n",
                "4\r\nbody\r\n0\r\nX-T: 1\r\n\r\n",
            ),
        ),
        case("trailers down", plain()).origin2(answer(200, &[], b"abc", &[("x-t", "1")])),
        case("no length", plain()).origin2(answer(200, &[], b"abc", &[])),
        case("no body", plain()).origin2(answer(200, &[], b"", &[])),
        case("204", plain()).origin2(answer(204, &[], b"", &[])),
        case("304", plain()).origin2(answer(304, &[("etag", "\"x\"")], b"", &[])),
        case("500", plain()).origin2(answer(500, &[], b"oh", &[])),
        case("large", plain()).origin2(answer(200, &[], &[b'z'; 200_000], &[])),
        case("reset", plain()).origin2(Act2::Refuse(2)),
        case("refused", plain()).origin2(Act2::Refuse(7)),
        case("cancelled", plain()).origin2(Act2::Refuse(8)),
        case("cut", plain()).origin2(Act2::Cut(2)),
        case(
            "websocket",
            get("/h2", "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n"),
        )
        .watch(),
        case("POST refused", request("POST /h2", "Content-Length: 4\r\n", "body"))
            .origin2(Act2::Refuse(7)),
        case("POST reset", request("POST /h2", "Content-Length: 4\r\n", "body"))
            .origin2(Act2::Refuse(2)),
        case("upgrade", get("/h2", "Connection: upgrade\r\nUpgrade: other\r\n")),
    ]
}

fn both() -> Vec<Case> {
    let case = |name: &str, request: Request2| Case::http2(&format!("h2 to h2/{name}"), request);
    let post = Request2 {
        body: vec![b"one".to_vec(), b"two".to_vec()],
        trailers: vec![("x-t", "1")],
        headers: vec![
            ("te", "trailers".to_owned()),
            ("content-type", "application/grpc".to_owned()),
        ],
        ..head("POST", "http://a/h2/svc/Method")
    };
    let trailers = vec![("grpc-status", "0")];
    let answer = |headers: &[(&'static str, &'static str)],
                  trailers: &[(&'static str, &'static str)]| {
        let (headers, trailers) = (headers.to_vec(), trailers.to_vec());
        Act2::Answer { status: 200, headers, body: Vec::new(), trailers }
    };
    vec![
        case("GET", head("GET", "http://a/h2")),
        case("grpc", post).origin2(Act2::Answer {
            status: 200,
            headers: vec![("content-type", "application/grpc")],
            body: b"reply".to_vec(),
            trailers,
        }),
        case("reset", head("GET", "http://a/h2")).origin2(Act2::Refuse(8)),
        case("cut", head("GET", "http://a/h2")).origin2(Act2::Cut(2)),
        case("HEAD", head("HEAD", "http://a/h2")).origin2(answer(&[("content-length", "5")], &[])),
        case("HEAD with trailers", head("HEAD", "http://a/h2"))
            .origin2(answer(&[], &[("x-t", "1")])),
        case("HEAD with content", head("HEAD", "http://a/own/head-data/")),
        case("204 with content", head("GET", "http://a/own/status-204/")),
        case("304 with content", head("GET", "http://a/own/status-304/")),
        case("as the client", head("GET", "http://a/as-client/2")),
        Case::new("h1 to h1/as the client", get("/as-client/1", "")),
        Case::new(
            "h1 to h1/upgrade as the client",
            get("/as-client/1", "Connection: upgrade\r\nUpgrade: other\r\n"),
        ),
    ]
}

/// Origins that have a connection to themselves: a second request follows the first.
fn own() -> Vec<Case> {
    let case = |(name, kind): &(&str, Own)| {
        let line = |method: &str| format!("{method} /own/{name}/");
        let body = ("Content-Length: 4\r\n", "body");
        let bytes = match *name {
            "stale-head" | "head-data" | "head-length" => request(&line("HEAD"), "", ""),
            "stale-put" => request(&line("PUT"), body.0, body.1),
            "stale-post-empty" => request(&line("POST"), "", ""),
            "early-answer" => request(&line("POST"), "Content-Length: 9\r\n", "half"),
            name if name.ends_with("-post") => request(&line("POST"), body.0, body.1),
            _ => request(&line("GET"), "", ""),
        };
        let read = if bytes.starts_with(b"HEAD ") { Step::ReadHead } else { Step::Read };
        let mut steps = vec![Step::Send(bytes.clone()), read.clone()];
        if !matches!(kind, Own::Early(_)) {
            steps.extend([Step::Send(bytes), read]);
        }
        steps.push(Step::Ends);
        Case::steps(&format!("own/{name}"), steps)
    };
    OWN.iter().map(case).collect()
}

/// What libraries do not send.
fn frames() -> Vec<Case> {
    const GET: [(&str, &str); 4] =
        [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/path")];
    let bad = |name: &str, fields: &[(&str, &str)]| {
        Case::frames(&format!("frames/{name}"), vec![Frame::head(1, fields, true)])
    };
    let more = |name: &str, more: &[(&str, &str)]| bad(name, &[&GET[..], more].concat());
    let without = |name: &str, field: &str| {
        let fields: Vec<_> = GET.into_iter().filter(|(name, _)| *name != field).collect();
        bad(name, &fields)
    };
    let changed = |name: &str, field: &str, value: &str| {
        let change = |(name, old)| (name, if name == field { value } else { old });
        bad(name, &GET.map(change))
    };
    let post = |name: &str, length: &str, content: &str| {
        let fields = [&[(":method", "POST")], &GET[1..], &[("content-length", length)]].concat();
        let frames = vec![Frame::head(1, &fields, false), Frame::data(1, content, true)];
        Case::frames(&format!("frames/{name}"), frames)
    };
    let long = "a".repeat(200 << 10);
    let connect = [(":method", "CONNECT"), (":protocol", "websocket")];
    vec![
        more("as it should be", &[]),
        more("upper case name", &[("X-Upper", "1")]),
        more("connection", &[("connection", "keep-alive")]),
        more("keep-alive", &[("keep-alive", "timeout=5")]),
        more("proxy-connection", &[("proxy-connection", "keep-alive")]),
        more("transfer-encoding", &[("transfer-encoding", "chunked")]),
        more("upgrade", &[("upgrade", "websocket")]),
        more("te gzip", &[("te", "gzip")]),
        more("te trailers", &[("te", "trailers")]),
        more("empty name", &[("", "1")]),
        more("space in a name", &[("x y", "1")]),
        more("line end in a value", &[("x-a", "a\r\nb: c")]),
        more("NUL in a value", &[("x-a", "a\0b")]),
        more("space around a value", &[("x-a", " a ")]),
        more("host that agrees", &[("host", "a")]),
        more("host that differs", &[("host", "b")]),
        more("two hosts", &[("host", "a"), ("host", "b")]),
        more("pseudo-header behind fields", &[("x-a", "1"), (":path", "/o")]),
        more("two paths", &[(":path", "/o")]),
        more("two methods", &[(":method", "PUT")]),
        more("two authorities", &[(":authority", "b")]),
        more("unknown pseudo-header", &[(":x", "1")]),
        more("status in a request", &[(":status", "200")]),
        more("protocol without CONNECT", &[(":protocol", "websocket")]),
        without("no method", ":method"),
        without("no scheme", ":scheme"),
        without("no path", ":path"),
        without("no authority", ":authority"),
        changed("empty path", ":path", ""),
        changed("path without a slash", ":path", "path"),
        changed("path of a star", ":path", "*"),
        changed("path with a fragment", ":path", "/path#f"),
        changed("path with a space", ":path", "/pa th"),
        changed("path with a control character", ":path", "/pa\u{1}th"),
        changed("path in another alphabet", ":path", "/\u{e9}"),
        changed("absolute path", ":path", "http://a/path"),
        changed("empty authority", ":authority", ""),
        changed("user information", ":authority", "u@a"),
        changed("two words for an authority", ":authority", "a b"),
        changed("scheme https", ":scheme", "https"),
        changed("scheme ftp", ":scheme", "ftp"),
        changed("scheme that is none", ":scheme", "a b"),
        changed("empty method", ":method", ""),
        changed("method that is none", ":method", "G T"),
        bad("CONNECT", &[(":method", "CONNECT"), (":authority", "a:80")]),
        bad("CONNECT with a path", &[&[(":method", "CONNECT")], &GET[1..]].concat()),
        bad("extended CONNECT", &[&connect, &GET[1..]].concat()),
        post("length that holds", "4", "body"),
        post("content shorter than its length", "5", "body"),
        post("content longer than its length", "3", "body"),
        post("length that is none", "x", "body"),
        Case::frames(
            "frames/two lengths",
            vec![Frame::head(
                1,
                &[&GET[..], &[("content-length", "0"), ("content-length", "1")]].concat(),
                true,
            )],
        ),
        Case::frames(
            "frames/two equal lengths",
            vec![
                Frame::head(
                    1,
                    &[
                        &[(":method", "POST")],
                        &GET[1..],
                        &[("content-length", "4"), ("content-length", "4")],
                    ]
                    .concat(),
                    false,
                ),
                Frame::data(1, "body", true),
            ],
        ),
        Case::frames(
            "frames/head of 200 KiB",
            Frame::long_head(1, &[&GET[..], &[("x-long", &long)]].concat()),
        ),
        Case::frames("frames/content without a head", vec![Frame::data(1, "x", true)]),
        Case::frames("frames/even stream", vec![Frame::head(2, &GET, true)]),
        Case::frames(
            "frames/stream again",
            vec![Frame::head(1, &GET, true), Frame::head(1, &GET, true)],
        ),
        Case::frames("frames/going away", vec![Frame::head(1, &GET, true), Frame::away(0, 0)]),
        Case::frames(
            "frames/reset before the answer",
            vec![Frame::head(1, &GET, false), Frame::reset(1, 8), Frame::head(3, &GET, true)],
        ),
        Case::frames(
            "frames/trailers with a pseudo-header",
            vec![
                Frame::head(1, &[&[(":method", "POST")], &GET[1..]].concat(), false),
                Frame::data(1, "x", false),
                Frame::head(1, &[(":path", "/")], true),
            ],
        ),
    ]
}
