//! Bodies in both directions.

use super::super::case::{Act, Case, Step, get, request};

pub fn cases() -> Vec<Case> {
    [sizes(), chunks(), trailers(), without(), slow(), interim()].concat()
}

const SIZES: [usize; 8] = [0, 1, 4095, 16_383, 16_384, 16_385, 65_537, 1 << 20];

fn content(n: usize) -> String {
    (0..n).map(|i| char::from(b'a' + (i % 23) as u8)).collect()
}

fn in_chunks(content: &str, size: usize) -> String {
    let mut out = String::new();
    for part in content.as_bytes().chunks(size) {
        out.push_str(&format!("{:x}\r\n{}\r\n", part.len(), String::from_utf8_lossy(part)));
    }
    out + "0\r\n\r\n"
}

fn sizes() -> Vec<Case> {
    let mut cases = Vec::new();
    for n in SIZES {
        let body = content(n);
        let length = format!("Content-Length: {n}\r\n");
        let chunked = "Transfer-Encoding: chunked\r\n";
        let chunks = in_chunks(&body, 7000);
        cases.push(Case::new(&format!("bodies/up {n}"), request("POST /o", &length, &body)));
        cases.push(Case::new(
            &format!("bodies/up {n} in chunks"),
            request("POST /o", chunked, &chunks),
        ));
        let answer = |headers: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{headers}\r\n{body}");
        let get = || get("/o", "");
        cases.push(Case::new(&format!("bodies/down {n}"), get()).answer(answer(&length, &body)));
        cases.push(
            Case::new(&format!("bodies/down {n} in chunks"), get())
                .answer(answer(chunked, &chunks)),
        );
        cases.push(
            Case::new(&format!("bodies/down {n} to the end"), get())
                .answer_close(answer("", &body)),
        );
    }
    let both = content(300_000);
    let headers = format!("Content-Length: {}\r\n", both.len());
    cases.push(
        Case::new("bodies/both ways", request("PUT /o", &headers, &both))
            .answer(format!("HTTP/1.1 200 OK\r\n{headers}\r\n{both}")),
    );
    cases
}

fn chunks() -> Vec<Case> {
    let up = |name: &str, body: &str| {
        let bytes = request("POST /o", "Transfer-Encoding: chunked\r\n", body);
        Case::new(&format!("chunks/{name}"), bytes)
    };
    vec![
        up("upper case size", "A\r\n0123456789\r\n0\r\n\r\n"),
        up("leading zeros", "0003\r\nabc\r\n000\r\n\r\n"),
        up("extension", "3;a=b\r\nabc\r\n0;c\r\n\r\n"),
        up("quoted extension", "3;a=\"b;c\"\r\nabc\r\n0\r\n\r\n"),
        up("space before extension", "3 ;a\r\nabc\r\n0\r\n\r\n"),
        up("single bytes", &in_chunks("one by one", 1)),
        up("extension of 3000 bytes", &format!("3;{}\r\nabc\r\n0\r\n\r\n", "a".repeat(3000))),
        up("extension of 70 KiB", &format!("3;{}\r\nabc\r\n0\r\n\r\n", "a".repeat(70 << 10))),
        up("size of sixteen digits", "0000000000000003\r\nabc\r\n0\r\n\r\n"),
        up("size of thirty digits", &format!("{:030}\r\nabc\r\n0\r\n\r\n", 3)),
        Case::new(
            "chunks/Chunked in capitals",
            request("POST /o", "Transfer-Encoding: Chunked\r\n", "1\r\na\r\n0\r\n\r\n"),
        ),
    ]
}

fn trailers() -> Vec<Case> {
    let up = |name: &str, trailers: &str| {
        let body = format!("3\r\nabc\r\n0\r\n{trailers}\r\n");
        let bytes = request("POST /o", "Trailer: x-t\r\nTransfer-Encoding: chunked\r\n", &body);
        Case::new(&format!("trailers/up {name}"), bytes)
    };
    let down = |name: &str, trailers: &str| {
        let body = format!("3\r\nabc\r\n0\r\n{trailers}\r\n");
        Case::new(&format!("trailers/down {name}"), get("/o", "TE: trailers\r\n"))
            .answer(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}"))
    };
    vec![
        up("one", "X-T: 1\r\n"),
        up("two", "X-T: 1\r\nX-U: 2\r\n"),
        up("malformed", "no colon\r\n"),
        up("that frames", "Content-Length: 5\r\nTransfer-Encoding: gzip\r\nX-T: 1\r\n"),
        up("of 60 KiB", &format!("X-T: {}\r\n", "a".repeat(60 << 10))),
        up("of 120 lines", &"X-T: 1\r\n".repeat(120)),
        down("that frames", "Content-Length: 5\r\nX-T: 1\r\n"),
        down("one", "X-T: 1\r\n"),
        down("malformed", "no colon\r\n"),
    ]
}

/// Answers that have no body whatever they say.
fn without() -> Vec<Case> {
    let head = |name: &str, answer: &str| {
        Case::new(&format!("no body/HEAD {name}"), request("HEAD /o", "", "")).answer(answer)
    };
    let status = |status: &str, headers: &str| {
        let answer = format!("HTTP/1.1 {status} X\r\n{headers}\r\n");
        Case::new(&format!("no body/{status} {}", headers.trim_end()), get("/o", "")).answer(answer)
    };
    vec![
        head("with a length", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
        head("without a length", "HTTP/1.1 200 OK\r\n\r\n"),
        head("in chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        head("204", "HTTP/1.1 204 No Content\r\n\r\n"),
        status("204", ""),
        status("304", ""),
        status("304", "Content-Length: 9\r\n"),
        status("304", "ETag: \"x\"\r\n"),
        status("204", "Content-Length: 0\r\n"),
        status("205", "Content-Length: 0\r\n"),
        status("200", "Content-Length: 0\r\n"),
        status("404", "Content-Length: 0\r\n"),
        status("500", "Content-Length: 0\r\n"),
        status("599", "Content-Length: 0\r\n"),
        status("299", "Content-Length: 0\r\n"),
        status("302", "Content-Length: 0\r\nLocation: /x\r\n"),
    ]
}

fn slow() -> Vec<Case> {
    let drip = |bytes: &str| {
        bytes.bytes().flat_map(|b| [Step::Send(vec![b]), Step::Pause(5)]).collect::<Vec<_>>()
    };
    let up = |name: &str, headers: &str, body: &str| {
        let mut steps = vec![Step::Send(request("POST /o", headers, "")), Step::Pause(20)];
        steps.extend(drip(body));
        steps.extend([Step::Read, Step::Probe]);
        Case::steps(&format!("slow/up {name}"), steps)
    };
    let down = |name: &str, head: &str, body: &str| {
        let mut acts = vec![Act::Send(format!("HTTP/1.1 200 OK\r\n{head}\r\n").into_bytes())];
        acts.extend(body.bytes().flat_map(|b| [Act::Pause(5), Act::Send(vec![b])]));
        Case::new(&format!("slow/down {name}"), get("/o", "")).origin(acts)
    };
    let chunked = "Transfer-Encoding: chunked\r\n";
    vec![
        up("with a length", "Content-Length: 8\r\n", "dripping"),
        up("in chunks", chunked, "4\r\ndrip\r\n2;x=y\r\ns!\r\n0\r\nX-T: 1\r\n\r\n"),
        down("with a length", "Content-Length: 8\r\n", "dripping"),
        down("in chunks", chunked, "4\r\ndrip\r\n2;x=y\r\ns!\r\n0\r\nX-T: 1\r\n\r\n"),
    ]
}

fn interim() -> Vec<Case> {
    let expect = request("POST /o", "Expect: 100-continue\r\nContent-Length: 4\r\n", "");
    let early = |name: &str, interim: &str| {
        Case::new(&format!("interim/{name}"), get("/o", ""))
            .answer(format!("{interim}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
    };
    let body = request("POST /o", "Expect: 100-continue\r\nContent-Length: 4\r\n", "body");
    let none = request("GET /o", "Expect: 100-continue\r\n", "");
    vec![
        Case::steps("interim/body after 100", vec![
            Step::Send(expect.clone()), Step::Pause(50), Step::Send(b"body".to_vec()), Step::Read, Step::Probe]),
        Case::new("interim/body with the expectation", body),
        Case::new("interim/expectation without a body", none),
        Case::steps("interim/refused expectation", vec![Step::Send(expect), Step::Read, Step::Ends])
            .origin(vec![Act::Early, Act::Send(b"HTTP/1.1 417 Expectation Failed\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_vec()), Act::Close]),
        Case::new("interim/length in a 103", get("/o", "")).answer(
            "HTTP/1.1 103 Early Hints\r\nContent-Length: 0\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"),
        early("connection option in a 103", "HTTP/1.1 103 Early Hints\r\nConnection: x-a\r\nX-A: 1\r\n\r\n"),
        early("100 from the origin", "HTTP/1.1 100 Continue\r\n\r\n"),
        early("103 from the origin", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
        early("102 from the origin", "HTTP/1.1 102 Processing\r\n\r\n"),
        early("several from the origin", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n"),
    ]
}
