//! Framing that can be read in two ways, or in none.

use super::super::case::{Case, request};

pub fn cases() -> Vec<Case> {
    [requests(), answers()].concat()
}

fn requests() -> Vec<Case> {
    let bad = |name: &str, headers: &str, body: &str| {
        let bytes = request("POST /o", headers, body);
        Case::new(&format!("framing/{name}"), bytes).watch()
    };
    let chunked = "Transfer-Encoding: chunked\r\n";
    vec![
        bad("two equal lengths", "Content-Length: 4\r\nContent-Length: 4\r\n", "body"),
        bad("two lengths", "Content-Length: 4\r\nContent-Length: 5\r\n", "body"),
        bad("list of equal lengths", "Content-Length: 4, 4\r\n", "body"),
        bad(
            "length and chunked",
            "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
            "0\r\n\r\n",
        ),
        bad(
            "chunked and length",
            "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
            "0\r\n\r\n",
        ),
        bad("length with a sign", "Content-Length: +4\r\n", "body"),
        bad("negative length", "Content-Length: -4\r\n", "body"),
        bad("length in hex", "Content-Length: 0x4\r\n", "body"),
        bad("length with a space", "Content-Length: 4 4\r\n", "body"),
        bad("empty length", "Content-Length:\r\n", ""),
        bad("length of letters", "Content-Length: four\r\n", "body"),
        bad("length beyond 64 bits", "Content-Length: 99999999999999999999\r\n", "body"),
        bad("length with a fraction", "Content-Length: 4.0\r\n", "body"),
        bad("gzip", "Transfer-Encoding: gzip\r\n", ""),
        bad("gzip, chunked", "Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
        bad("chunked, gzip", "Transfer-Encoding: chunked, gzip\r\n", "0\r\n\r\n"),
        bad("chunked twice", "Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"),
        bad(
            "chunked in two lines",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "0\r\n\r\n",
        ),
        bad("identity", "Transfer-Encoding: identity\r\n", ""),
        bad("identity and length", "Transfer-Encoding: identity\r\nContent-Length: 4\r\n", "body"),
        bad("chunked in quotes", "Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"),
        bad("chunked with a tail", "Transfer-Encoding: chunked;x\r\n", "0\r\n\r\n"),
        bad("xchunked", "Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
        bad("empty coding", "Transfer-Encoding:\r\n", "0\r\n\r\n"),
        bad("size of letters", chunked, "zz\r\nbody\r\n0\r\n\r\n"),
        bad("size in 0x", chunked, "0x4\r\nbody\r\n0\r\n\r\n"),
        bad("empty size", chunked, "\r\nbody\r\n0\r\n\r\n"),
        bad("negative size", chunked, "-4\r\nbody\r\n0\r\n\r\n"),
        bad("size beyond 64 bits", chunked, "fffffffffffffffff\r\nbody\r\n0\r\n\r\n"),
        bad("size with space before", chunked, " 4\r\nbody\r\n0\r\n\r\n"),
        bad("size with space behind", chunked, "4 \r\nbody\r\n0\r\n\r\n"),
        bad("size line of a bare LF", chunked, "4\nbody\r\n0\r\n\r\n"),
        bad("chunk longer than its size", chunked, "4\r\nbodyx\r\n0\r\n\r\n"),
        bad("chunk ends in a bare LF", chunked, "4\r\nbody\n0\r\n\r\n"),
        bad("chunk without an end", chunked, "4\r\nbody0\r\n\r\n"),
        bad("last chunk ends in a bare LF", chunked, "4\r\nbody\r\n0\n\n"),
        bad("control character in an extension", chunked, "4;a\u{1}\r\nbody\r\n0\r\n\r\n"),
        bad("bare CR in an extension", chunked, "4;a\rb\r\nbody\r\n0\r\n\r\n"),
        bad("bad trailer", chunked, "4\r\nbody\r\n0\r\nX Y: 1\r\n\r\n"),
    ]
}

fn answers() -> Vec<Case> {
    let long = |kib: usize| {
        let long = "a".repeat(kib << 10);
        let bytes = request("GET /o", "", "");
        Case::new(&format!("answer framing/a head of {kib} KiB"), bytes)
            .answer_close(format!("HTTP/1.1 200 OK\r\nX-Long: {long}\r\n\r\n"))
    };
    let bad = |name: &str, answer: &str| {
        let bytes = request("GET /o", "", "");
        Case::new(&format!("answer framing/{name}"), bytes).answer_close(answer)
    };
    vec![
        bad(
            "two equal lengths",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        ),
        bad("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"),
        bad("list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok"),
        bad(
            "length and chunked",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        bad("length of letters", "HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok"),
        bad("negative length", "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok"),
        bad("gzip", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok"),
        bad(
            "gzip, chunked",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        ),
        bad("identity", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok"),
        bad(
            "bad chunk size",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n",
        ),
        bad("bare LF", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
        bad("folded", "HTTP/1.1 200 OK\r\nX-A: 1\r\n folded\r\nContent-Length: 2\r\n\r\nok"),
        bad("no colon", "HTTP/1.1 200 OK\r\njunk\r\nContent-Length: 2\r\n\r\nok"),
        bad("NUL in a value", "HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 2\r\n\r\nok"),
        bad("status of two digits", "HTTP/1.1 99 X\r\nContent-Length: 2\r\n\r\nok"),
        bad("status of four digits", "HTTP/1.1 2000 X\r\nContent-Length: 2\r\n\r\nok"),
        bad("status of letters", "HTTP/1.1 abc X\r\nContent-Length: 2\r\n\r\nok"),
        bad("status 000", "HTTP/1.1 000 X\r\nContent-Length: 2\r\n\r\nok"),
        bad("status without a reason", "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"),
        bad("status with an empty reason", "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok"),
        bad("a reason of its own", "HTTP/1.1 200 Fine By Me\r\nContent-Length: 2\r\n\r\nok"),
        bad("version 1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        bad("version 1.0 to the end", "HTTP/1.0 200 OK\r\n\r\nok"),
        bad(
            "version 1.0 in chunks",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ),
        bad("version 2.0", "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        bad("junk", "junk\r\n\r\n"),
        bad("a request", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        bad("nothing", ""),
        bad("half a head", "HTTP/1.1 200 OK\r\nContent-"),
        bad("half a body", "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf"),
        bad("half a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nhalf"),
        bad("no last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n"),
        bad("more than its length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more"),
        bad("204 with a body", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok"),
        bad("204 in chunks", "HTTP/1.1 204 X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        bad(
            "103 with a length",
            "HTTP/1.1 103 X\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ),
        bad("304 in chunks", "HTTP/1.1 304 X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        bad("304 with a body", "HTTP/1.1 304 X\r\nContent-Length: 2\r\n\r\nok"),
        long(70),
        long(79),
        long(81),
        long(200),
        bad(
            "unasked 101",
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        ),
    ]
}
