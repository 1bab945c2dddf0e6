//! Who may do what, request by request and connection by connection.

use super::super::case::{Case, Request2, Step, get, request};

/// A ClientHello without a server name: TLS 1.3, one suite, X25519 and ECDSA with P-256.
const HELLO: &[u8] = b"\x16\x03\x01\x00\x76\x01\x00\x00\x72\x03\x03\
    RANDOMRANDOMRANDOMRANDOMRANDOMRA\x00\x00\x02\x13\x01\x01\x00\x00\x47\
    \x00\x2b\x00\x03\x02\x03\x04\
    \x00\x0a\x00\x04\x00\x02\x00\x1d\
    \x00\x0d\x00\x04\x00\x02\x04\x03\
    \x00\x33\x00\x26\x00\x24\x00\x1d\x00\x20KEYSHAREKEYSHAREKEYSHAREKEYSHARE\
    \x00\x2d\x00\x02\x01\x01";

pub fn cases() -> Vec<Case> {
    [filters(), over_http2(), overrides(), connections()].concat()
}

fn filters() -> Vec<Case> {
    let client = "X-Forwarded-For: 203.0.113.9\r\n";
    let asked = [
        ("/path", ""),
        ("/deny", ""),
        ("/deny/x?y=1", ""),
        ("/path?/deny", ""),
        ("/path", "X-Bad: yes\r\n"),
        ("/path", "X-Bad: no\r\nX-Bad: yes\r\n"),
        ("/both/12", ""),
        ("/both/12", "X-Who: me\r\n"),
        ("/both/12?x", "X-Who: me\r\n"),
        ("/both/1x", "X-Who: me\r\n"),
        ("/from/client", client),
        ("/from/peer", ""),
        ("/from/peer", client),
        ("/from/source", ""),
        ("/mutual", ""),
        ("/nameless", ""),
        ("/shut", ""),
        ("/shut/x", "X-Bad: yes\r\n"),
        ("/none", ""),
        ("/o", ""),
        ("/o", "X-Bad: yes\r\n"),
        ("/to/https", "X-Bad: yes\r\n"),
        ("/direct/headers", "X-Bad: yes\r\n"),
        ("/mutate", "X-Bad: yes\r\n"),
    ];
    let mut cases: Vec<_> = asked
        .into_iter()
        .map(|(path, headers)| {
            let name = format!("rbac/{path} {}", headers.trim_end().escape_debug());
            Case::new(&name, get(path, headers)).at("rbac")
        })
        .collect();
    for (name, bytes) in [
        ("HEAD", request("HEAD /deny", "", "")),
        ("DELETE", request("DELETE /o", "", "")),
        ("DELETE where one may", request("DELETE /may/delete", "", "")),
        ("POST", request("POST /deny", "Content-Length: 4\r\n", "body")),
        ("POST that goes on", request("POST /deny", "Content-Length: 9\r\n", "body")),
        ("upgrade", get("/deny", "Connection: upgrade\r\nUpgrade: websocket\r\n")),
    ] {
        cases.push(Case::new(&format!("rbac/{name}"), bytes).at("rbac"));
    }
    cases
}

fn over_http2() -> Vec<Case> {
    let ask = |name: &str, method, uri, body: &[&str]| {
        let body = body.iter().map(|part| part.as_bytes().to_vec()).collect();
        let request = Request2 { method, uri, body, ..Request2::default() };
        Case::http2(&format!("rbac/HTTP/2 {name}"), request).at("rbac")
    };
    vec![
        ask("may", "GET", "http://a/path", &[]),
        ask("may not", "GET", "http://a/deny", &[]),
        ask("may not delete", "DELETE", "http://a/path", &[]),
        ask("may not post", "POST", "http://a/deny", &["some", "more"]),
        ask("overridden", "GET", "http://rbac.example/deny/anybody", &[]),
    ]
}

fn overrides() -> Vec<Case> {
    let paths = [
        "/deny",
        "/deny/anybody",
        "/deny/nobody",
        "/deny/again",
        "/deny/o",
        "/shut",
        "/shut/off",
        "/shut/on",
        "/sleeps",
        "/wakes",
        "/woken",
        "/x",
    ];
    let case = |path: &str| {
        let bytes = format!("GET {path} HTTP/1.1\r\nHost: rbac.example\r\n\r\n");
        Case::new(&format!("rbac/overrides {path}"), bytes).at("rbac")
    };
    paths.into_iter().map(case).collect()
}

fn connections() -> Vec<Case> {
    let denied = vec![Step::Send(get("/path", "")), Step::Read];
    // The first byte of whatever comes: of a handshake, 0x16.
    let over_tls = vec![Step::Send(HELLO.to_vec()), Step::Raw(1)];
    vec![
        Case::steps("rbac/a connection that may not, over TLS", over_tls.clone()).at("rbac-tls"),
        Case::steps("rbac/a connection that may, over TLS", over_tls).at("rbac-tls-open"),
        Case::new("rbac/a connection that may", get("/path", "")).at("rbac-open"),
        Case::steps("rbac/a connection that may not", denied).at("rbac-closed"),
    ]
}
