//! Request lines, hosts, versions, connections.

use super::super::case::{Act, Case, Step, get, request};

pub fn cases() -> Vec<Case> {
    [methods(), targets(), hosts(), versions(), connections()].concat()
}

fn methods() -> Vec<Case> {
    let known = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"];
    let rare = ["PROPFIND", "REPORT", "LINK", "MKCALENDAR", "M-SEARCH", "PURGE", "BREW", "get"];
    let bad = ["G@T", "G(T", "G\u{1}T", "", "G:T"];
    let to_origin = |method: &str| {
        Case::new(&format!("methods/{method}"), request(&format!("{method} /o"), "", ""))
    };
    let bodied = ["GET", "HEAD", "DELETE", "OPTIONS"].map(|method| {
        let bytes = request(&format!("{method} /o"), "Content-Length: 4\r\n", "body");
        Case::new(&format!("methods/{method} with a body"), bytes)
    });
    let mut cases: Vec<_> = known.into_iter().chain(rare).map(to_origin).collect();
    cases.extend(bodied);
    cases.extend(bad.map(|method| {
        let bytes = request(&format!("{method} /o"), "", "");
        Case::new(&format!("methods/bad {}", method.escape_debug()), bytes)
    }));
    cases.push(Case::new("methods/POST without a length", request("POST /o", "", "")));
    cases.push(Case::new("methods/CONNECT", request("CONNECT a:80", "", "")).watch());
    cases
}

fn targets() -> Vec<Case> {
    let edge = [
        "/o",
        "/o?q=1",
        "/o?",
        "/o?a?b",
        "/o/%41",
        "/o/%2e%2e/o",
        "/o/../o/x",
        "/o/./x",
        "/o/..",
        "/../o",
        "/o/../../x",
        "/o//x",
        "/o/%2Fx",
        "/o/%zz",
        "/o/%",
        "/o%00",
        "/o%20x",
        "/o\\x",
        "/o;a=1",
        "/o/%c3%a9",
        "/o/\u{e9}",
        "/o#f",
        "/o?q#f",
        "/o?a/../b",
        "/o?%2e%2e",
        "/o/.../x",
        "/o/a%2e",
        "/o[x]",
        "/o|x",
        "/o\"x",
        "/o<x>",
        "/o^`{}",
        "/o\u{1}x",
        "/o\u{7f}x",
        "http://a/o",
        "http://b.example/o?x",
        "HTTP://b.example/o",
        "https://b.example/o",
        "http://b.example:81/o",
        "http://exact.example/x",
        "http://b.example",
        "http://b.example?x",
        "http:///o",
        "http://u@b.example/o",
        "ftp://b.example/o",
        "o",
        "//o",
        "*",
        "?x",
        "http:/o",
        "http://b.example:port/o",
        "/o/../o//y/./z",
        "/o?\"<>^`{|}\\",
        "/o?%",
        "/o?%zz%00",
        "/o?a=b&&=&;",
        "/o?\u{e9}",
        "/o?a\u{7f}",
        "/o?a\tb",
        "/o/.%2e/x",
        "/%2e/o",
        "/o/..%2fx",
        "/o/..%00/x",
        "/o/%252e%252e/x",
        "/o/.",
        "/o/..x/y",
    ];
    let mut cases: Vec<_> = edge
        .into_iter()
        .map(|target| Case::new(&format!("targets/{}", target.escape_debug()), get(target, "")))
        .collect();
    let at = |listener: &'static str, target: &str| {
        Case::new(&format!("targets/{listener} {target}"), get(target, "")).at(listener)
    };
    for target in ["/o/../x", "/o//x", "/o%2fx", "/o/%41", "/o\\x", "/o/./x"] {
        cases.push(at("plain", target));
    }
    for target in [
        "/o//x",
        "/o%2fx",
        "/o%5Cx",
        "//o///x//",
        "/o?a//b",
        "/o/..//x",
        "/o?a%2fb",
        "/o/..%2fx",
        "/o/%2e%2e//x",
        "//../o",
        "/o/%2f../x",
    ] {
        cases.push(at("strict", target));
    }
    for target in
        ["/o%2fx", "/o%5cx?y%2fz", "/o%2F..%2fo/y", "/o/x", "/o/..%5cx", "/o%2f%2fx", "/o%252fx"]
    {
        cases.push(at("timed", target));
    }
    for target in [
        "/o%2fx",
        "/o%5cx?y%2fz",
        "/o%2F%2fx",
        "/o/../x",
        "/o/%41",
        "/o/..%2fx",
        "/o%252fx",
        "/o//%2f/x",
    ] {
        cases.push(at("idle", target));
    }
    cases.push(Case::new("targets/OPTIONS *", request("OPTIONS *", "", "")));
    cases.push(Case::new("targets/OPTIONS absolute", request("OPTIONS http://b.example", "", "")));
    cases
}

fn hosts() -> Vec<Case> {
    let hosts = [
        "exact.example",
        "EXACT.example",
        "exact.example:80",
        "exact.example:99",
        "exact.example.",
        "x.wild.example",
        "x.y.wild.example",
        "x.deep.wild.example",
        "wild.example",
        "tail.org",
        "tail.a.b",
        "port.example:81",
        "port.example:82",
        "port.example",
        "[::1]",
        "[::1]:80",
        "exact.example:{port}",
        "",
        "a b",
        "a/b",
        "a@b",
        "a?b",
        "a_b",
        "a:b",
        "a:99999",
        "[::1",
        "[zz]",
        "\u{e9}.example",
        "a,b",
        "tls.example",
        "tls.example:80",
        "exact.example ",
        "a:",
    ];
    let bytes = |host: &str| format!("GET /path HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let mut cases: Vec<_> = hosts
        .into_iter()
        .map(|host| Case::new(&format!("hosts/{}", host.escape_debug()), bytes(host)))
        .collect();
    for listener in ["plain", "strict"] {
        let dotted = ["exact.example.", "exact.example.:{port}", "exact.example..", ".", "a.:99"];
        let hosts = ["exact.example:{port}", "exact.example:99", "[::1]:{port}", "port.example:81"];
        for host in hosts.into_iter().chain(dotted) {
            cases.push(Case::new(&format!("hosts/{listener} {host}"), bytes(host)).at(listener));
        }
    }
    let to_origin = |name: &str, listener, host: &str| {
        let bytes = format!("GET /o HTTP/1.1\r\nX-Case: {{id}}\r\nHost: {host}\r\n\r\n");
        Case::new(&format!("hosts/{listener} {name} to the origin"), bytes).at(listener)
    };
    cases.push(to_origin("upper case", "edge", "A.Example"));
    cases.push(to_origin("with port", "edge", "a:99"));
    cases.push(to_origin("with port", "plain", "a:99"));
    cases.push(to_origin("with our port", "strict", "a:{port}"));
    cases.push(Case::new("hosts/none", "GET /path HTTP/1.1\r\n\r\n"));
    cases.push(Case::new("hosts/two", "GET /path HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"));
    cases.push(Case::new(
        "hosts/two that differ",
        "GET /path HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n",
    ));
    cases
}

fn versions() -> Vec<Case> {
    let line = |name: &str, listener, text: &str| {
        Case::new(&format!("versions/{listener} {name}"), text).at(listener)
    };
    vec![
        line("1.0", "edge", "GET /o HTTP/1.0\r\nX-Case: {id}\r\nHost: a\r\n\r\n"),
        line("1.0", "plain", "GET /o HTTP/1.0\r\nX-Case: {id}\r\nHost: a\r\n\r\n"),
        line("1.0 without host", "plain", "GET /path HTTP/1.0\r\n\r\n"),
        line(
            "1.0 keep-alive",
            "plain",
            "GET /o HTTP/1.0\r\nX-Case: {id}\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
        ),
        line("1.0 chunked answer", "plain", "GET /o HTTP/1.0\r\nX-Case: {id}\r\nHost: a\r\n\r\n")
            .answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
        line(
            "1.0 chunked request",
            "plain",
            "POST /o HTTP/1.0\r\nX-Case: {id}\r\nHost: a\r\n\
            Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        )
        .watch(),
        line(
            "1.0 with a length",
            "plain",
            "POST /o HTTP/1.0\r\nX-Case: {id}\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
        ),
        line("1.0 direct", "plain", "GET /path HTTP/1.0\r\nHost: a\r\n\r\n"),
        line("1.2", "edge", "GET /o HTTP/1.2\r\nX-Case: {id}\r\nHost: a\r\n\r\n"),
        line("2.0", "edge", "GET /o HTTP/2.0\r\nX-Case: {id}\r\nHost: a\r\n\r\n"),
        line("0.9", "edge", "GET /o\r\n\r\n"),
        line("1.2", "plain", "GET /path HTTP/1.2\r\nHost: a\r\n\r\n"),
        line("2.0", "plain", "GET /path HTTP/2.0\r\nHost: a\r\n\r\n"),
        line("0.9", "plain", "GET /path\r\n\r\n"),
        line("1.0 absolute without host", "plain", "GET http://a/path HTTP/1.0\r\n\r\n"),
        line("1.1 absolute without host", "edge", "GET http://a/path HTTP/1.1\r\n\r\n"),
        line("11.1", "edge", "GET /path HTTP/11.1\r\nHost: a\r\n\r\n"),
        line("lower case", "edge", "GET /o http/1.1\r\nHost: a\r\n\r\n"),
        line("cut", "edge", "GET /o HTTP/1.\r\nHost: a\r\n\r\n"),
        line("tail", "edge", "GET /o HTTP/1.1 x\r\nHost: a\r\n\r\n"),
        line("two spaces", "edge", "GET  /o HTTP/1.1\r\nX-Case: {id}\r\nHost: a\r\n\r\n"),
        line("tab", "edge", "GET\t/o HTTP/1.1\r\nHost: a\r\n\r\n"),
        line("leading space", "edge", " GET /o HTTP/1.1\r\nHost: a\r\n\r\n"),
        line("empty line before", "edge", "\r\nGET /o HTTP/1.1\r\nX-Case: {id}\r\nHost: a\r\n\r\n"),
        line("junk", "edge", "junk\r\n\r\n"),
        line("TLS", "edge", "\u{16}\u{3}\u{1}\0\u{5}hello\r\n\r\n"),
    ]
}

fn connections() -> Vec<Case> {
    let two = [get("/o/1", ""), get("/o/2", "")].concat();
    let posts = [
        request("POST /o/1", "Content-Length: 4\r\n", "body"),
        request("POST /o/2", "Transfer-Encoding: chunked\r\n", "4\r\nbody\r\n0\r\nX-T: 1\r\n\r\n"),
        get("/o/3", ""),
    ]
    .concat();
    let half = [get("/path", ""), b"GET /pa".to_vec()].concat();
    let close = get("/o", "Connection: close\r\n");
    let closes =
        |name: &str, headers: &str| Case::new(&format!("connections/{name}"), get("/o", headers));
    let many: Vec<u8> = (0..8).flat_map(|_| get("/path", "")).collect();
    let mut read_many = vec![Step::Send(many)];
    read_many.extend((0..8).map(|_| Step::Read));
    read_many.push(Step::Probe);
    vec![
        Case::steps(
            "connections/pipeline of two",
            vec![Step::Send(two), Step::Read, Step::Read, Step::Probe],
        ),
        Case::steps("connections/pipeline of eight", read_many),
        Case::steps(
            "connections/pipeline with bodies",
            vec![Step::Send(posts), Step::Read, Step::Read, Step::Read, Step::Probe],
        ),
        Case::steps(
            "connections/a request in two parts behind another",
            vec![
                Step::Send(half),
                Step::Read,
                Step::Send(b"th HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
                Step::Read,
                Step::Probe,
            ],
        ),
        Case::steps(
            "connections/pipeline behind close",
            vec![Step::Send([close, get("/o/2", "")].concat()), Step::Read, Step::Ends],
        ),
        closes("close", "Connection: close\r\n"),
        closes("Close", "Connection: Close\r\n"),
        closes("keep-alive", "Connection: keep-alive\r\n"),
        closes("close in a list", "Connection: x-a, close\r\n"),
        closes("close and keep-alive", "Connection: keep-alive, close\r\n"),
        closes("proxy-connection close", "Proxy-Connection: close\r\n"),
        Case::steps(
            "connections/the most requests",
            vec![
                Step::Send(get("/path", "")),
                Step::Read,
                Step::Send(get("/path", "")),
                Step::Read,
                Step::Probe,
            ],
        )
        .at("idle"),
        Case::steps(
            "connections/half closed after the request",
            vec![Step::Send(get("/path", "")), Step::Finish, Step::Read, Step::Ends],
        ),
        Case::steps(
            "connections/half closed while the origin answers",
            vec![Step::Send(get("/o", "")), Step::Pause(100), Step::Finish, Step::Read, Step::Ends],
        )
        .origin(vec![
            Act::Body,
            Act::Pause(400),
            Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec()),
        ]),
        Case::steps(
            "connections/half closed inside the answer",
            vec![Step::Send(get("/o", "")), Step::Pause(200), Step::Finish, Step::Read, Step::Ends],
        )
        .origin(vec![
            Act::Body,
            Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npart".to_vec()),
            Act::Pause(500),
            Act::Send(b"rest".to_vec()),
        ]),
        Case::steps(
            "connections/ends inside a head",
            vec![Step::Send(b"GET /path HTTP/1.1\r\nHos".to_vec()), Step::Finish, Step::Read],
        ),
        Case::steps("connections/nothing but an end", vec![Step::Finish, Step::Read]),
        Case::steps(
            "connections/ends inside a body",
            vec![
                Step::Send(request("POST /o", "Content-Length: 9\r\n", "half")),
                Step::Pause(200),
                Step::Finish,
                Step::Read,
            ],
        )
        .origin(vec![Act::Early, Act::Hold]),
    ]
}
