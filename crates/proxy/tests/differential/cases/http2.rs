//! HTTP/2 on either side.

use super::super::case::{Act, Act2, Case, Request2, get, request};

pub fn cases() -> Vec<Case> {
    [downstream(), upstream(), both()].concat()
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
    ]
}
