//! What becomes of header fields.

use super::super::case::{Case, Request2, Step, get};

/// What steers Envoy, or tells what it did.
const STEERING: &[&str] = &[
    "x-envoy-attempt-count",
    "x-envoy-cluster",
    "x-envoy-decorator-operation",
    "x-envoy-degraded",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-external-address",
    "x-envoy-force-trace",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-immediate-health-check-fail",
    "x-envoy-internal",
    "x-envoy-ip-tags",
    "x-envoy-is-timeout-retry",
    "x-envoy-local-overloaded",
    "x-envoy-max-retries",
    "x-envoy-not-forwarded",
    "x-envoy-original-dst-host",
    "x-envoy-original-host",
    "x-envoy-original-method",
    "x-envoy-original-path",
    "x-envoy-original-url",
    "x-envoy-overloaded",
    "x-envoy-rate-limited",
    "x-envoy-retriable-header-names",
    "x-envoy-retriable-status-codes",
    "x-envoy-retry-grpc-on",
    "x-envoy-retry-on",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-canary",
    "x-envoy-upstream-healthchecked-cluster",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-service-time",
    "x-envoy-upstream-stream-duration-ms",
];

pub fn cases() -> Vec<Case> {
    [requests(), bad(), answers(), sizes()].concat()
}

fn requests() -> Vec<Case> {
    let fields = [
        "Accept: */*\r\naccept: text/plain\r\n",
        "X-Empty:\r\n",
        "X-Space:   a b  \r\n",
        "X-Tab:\ta\t\r\n",
        "X_Under: 1\r\n",
        "X-Latin: \u{e9}\r\n",
        "Cookie: a=1\r\nCookie: b=2\r\n",
        "Connection: x-a, keep-alive\r\nX-A: 1\r\n",
        "Connection: x-a\r\nConnection: x-b\r\nX-A: 1\r\nx-b: 2\r\n",
        "Connection: host\r\n",
        "Connection: content-length\r\n",
        "Connection: close, x-forwarded-proto\r\n",
        "Connection: x-forwarded-host\r\n",
        "Connection: :path\r\n",
        "Connection: connection\r\n",
        "Connection: a,b,c,d,e,f,g,h,i\r\n",
        "Connection: a,b,c,d,e,f,g,h,i,j\r\n",
        "Connection: authorization\r\nAuthorization: Basic x\r\n",
        "Connection: cookie, x-request-id\r\nCookie: a=1\r\nX-Request-Id: given\r\n",
        "Connection: x-forwarded-for\r\n",
        "Connection: te\r\nTE: trailers\r\n",
        "TE: trailers\r\n",
        "TE: gzip\r\n",
        "TE: trailers, gzip\r\n",
        "TE: trailers;q=0.5\r\n",
        "TE: Trailers\r\n",
        "Keep-Alive: timeout=5\r\n",
        "Proxy-Connection: keep-alive\r\n",
        "Trailer: x-t\r\n",
        "Upgrade: h2c\r\n",
        "HTTP2-Settings: AAA\r\n",
        "Via: 1.1 other\r\n",
        "X-Forwarded-For: 9.9.9.9\r\n",
        "X-Forwarded-For: 9.9.9.9, 8.8.8.8\r\nX-Forwarded-For: 7.7.7.7\r\n",
        "X-Forwarded-For: junk\r\n",
        "X-Forwarded-Proto: https\r\n",
        "X-Forwarded-Host: other\r\n",
        "X-Forwarded-Port: 1\r\n",
        "X-Request-Id: given\r\n",
        "X-Envoy-Internal: true\r\n",
        "X-Envoy-Original-Path: /x\r\n",
        "X-Envoy-Upstream-Rq-Timeout-Ms: 5000\r\n",
        "X-Envoy-Expected-Rq-Timeout-Ms: 9\r\n",
        "X-Envoy-Retry-On: 5xx\r\n",
        "X-Envoy-External-Address: 1.2.3.4\r\n",
        "X-Envoy-Attempt-Count: 7\r\n",
        "X-Forwarded-Client-Cert: By=x\r\n",
        "Expect: something\r\n",
        "Authorization: Basic x\r\n",
        "Proxy-Authorization: Basic x\r\n",
        "Proxy-Authenticate: x\r\n",
        "Forwarded: for=1.1.1.1\r\n",
        "Max-Forwards: 0\r\n",
        "User-Agent: x\r\n",
        "Range: bytes=0-1\r\n",
        "X-Envoy-Peer-Metadata: x\r\n",
        "X-Envoy-Decorator-Operation: x\r\n",
        "X-B3-TraceId: 1\r\ntraceparent: 00-1\r\n",
    ];
    let mut cases = Vec::new();
    for fields in fields {
        let name = fields.trim_end().escape_debug().to_string();
        cases.push(Case::new(&format!("headers/{name}"), get("/o", fields)));
        if fields.starts_with("X-") || fields.starts_with("Via") {
            cases.push(Case::new(&format!("headers/plain {name}"), get("/o", fields)).at("plain"));
        }
        if fields.starts_with("X-Forwarded") || fields.starts_with("X-Request") {
            cases
                .push(Case::new(&format!("headers/strict {name}"), get("/o", fields)).at("strict"));
        }
    }
    for name in STEERING {
        let field = format!("{name}: 1\r\n");
        for listener in ["edge", "plain", "strict"] {
            let name = format!("headers/{listener} {name}");
            cases.push(Case::new(&name, get("/o", &field)).at(listener));
        }
        let request = Request2 {
            method: "GET",
            uri: "http://a/o",
            headers: vec![(name, "1".to_owned())],
            ..Request2::default()
        };
        cases.push(Case::http2(&format!("headers/h2 {name}"), request));
    }
    let unlimited = get("/slow-idle", "x-envoy-expected-rq-timeout-ms: 1\r\n");
    cases.push(Case::new("headers/plain time where none is set", unlimited).at("plain"));
    cases.push(Case::new("headers/strict none", get("/o", "")).at("strict"));
    cases.push(Case::new("headers/plain none", get("/o", "")).at("plain"));
    cases
}

fn bad() -> Vec<Case> {
    let fields = [
        "No colon\r\n",
        ": no name\r\n",
        "X Y: 1\r\n",
        "X-A : 1\r\n",
        " X-A: 1\r\n",
        "X-A: 1\r\n folded\r\n",
        "X-A: 1\r\n\tfolded\r\n",
        "X-A: a\0b\r\n",
        "X-A: a\u{1}b\r\n",
        "X-A: a\u{7f}b\r\n",
        "X-A: a\rb\r\n",
        "X-A: a\nX-B: b\r\n",
        "X(A): 1\r\n",
        "X-A\u{e9}: 1\r\n",
        "X-A: 1\n",
        "\u{0}X: 1\r\n",
        ":path: /x\r\n",
        "X-A\t: 1\r\n",
    ];
    fields
        .iter()
        .map(|fields| {
            Case::new(
                &format!("headers/bad {}", fields.trim_end_matches(['\r', '\n']).escape_debug()),
                get("/o", fields),
            )
        })
        .chain([
            Case::new("headers/bare LF throughout", "GET /o HTTP/1.1\nX-Case: {id}\nHost: a\n\n"),
            Case::new(
                "headers/bare LF at the end",
                "GET /o HTTP/1.1\r\nX-Case: {id}\r\nHost: a\r\n\n",
            ),
            Case::new("headers/bare CR", "GET /o HTTP/1.1\rX-Case: {id}\r\nHost: a\r\n\r\n"),
        ])
        .collect()
}

fn answers() -> Vec<Case> {
    let fields = [
        "Server: other\r\n",
        "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n",
        "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n",
        "Connection: x-a\r\nX-A: 1\r\n",
        "Connection: close\r\n",
        "Keep-Alive: timeout=5\r\n",
        "Proxy-Connection: close\r\n",
        "Upgrade: h2c\r\nConnection: upgrade\r\n",
        "Via: 1.0 x\r\n",
        "X-Envoy-Upstream-Service-Time: 7\r\n",
        "X-Request-Id: theirs\r\n",
        "X-Envoy-Overloaded: true\r\n",
        "Trailer: x-t\r\n",
        "TE: trailers\r\n",
        "Location: http://x/\r\n",
        "Alt-Svc: h3=\":443\"\r\n",
        "X-Latin: \u{e9}\r\n",
        "X-Empty:\r\n",
        "Proxy-Authenticate: Basic\r\n",
        "Transfer-Encoding-X: 1\r\n",
        "X-Envoy-Decorator-Operation: x\r\n",
        "X-Envoy-Degraded: 1\r\n",
        "X-Envoy-Immediate-Health-Check-Fail: 1\r\n",
    ];
    let mut cases = Vec::new();
    for fields in fields {
        let name = fields.trim_end().escape_debug().to_string();
        let answer = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok");
        for listener in ["edge", "plain", "strict"] {
            let shared = fields.starts_with("Server")
                || fields.starts_with("Via")
                || fields.starts_with("Date")
                || fields.starts_with("X-R");
            if listener == "edge" || shared {
                let name = format!("answer headers/{listener} {name}");
                cases.push(Case::new(&name, get("/o", "")).at(listener).answer(&answer));
            }
        }
    }
    cases
}

fn sizes() -> Vec<Case> {
    let long = |n: usize| get("/o", &format!("X-Long: {}\r\n", "a".repeat(n)));
    let many = |n: usize| {
        let lines: String = (0..n).map(|i| format!("x-{i}: 1\r\n")).collect();
        get("/path", &lines)
    };
    let uri = |n: usize| get(&format!("/path?{}", "a".repeat(n)), "");
    vec![
        Case::new("head sizes/16 KiB", long(16 << 10)),
        Case::new("head sizes/59 KiB", long(59 << 10)),
        Case::new("head sizes/61 KiB", long(61 << 10)),
        Case::new("head sizes/200 KiB", long(200 << 10)).watch(),
        Case::new("head sizes/strict 3 KiB", long(3 << 10)).at("strict"),
        Case::new("head sizes/strict 5 KiB", long(5 << 10)).at("strict"),
        Case::new("head sizes/90 lines", many(90)),
        Case::new("head sizes/110 lines", many(110)),
        Case::new("head sizes/strict 9 lines", many(9)).at("strict"),
        Case::new("head sizes/strict 14 lines", many(14)).at("strict"),
        Case::new("head sizes/target of 16 KiB", uri(16 << 10)),
        Case::new("head sizes/target of 70 KiB", uri(70 << 10)),
        Case::steps("head sizes/byte by byte", byte_by_byte(&get("/o", "X-A: 1\r\n"))),
        Case::steps(
            "head sizes/too slow",
            vec![Step::Send(b"GET /path HTTP/1.1\r\n".to_vec()), Step::Read, Step::Ends],
        )
        .at("timed"),
    ]
}

fn byte_by_byte(bytes: &[u8]) -> Vec<Step> {
    // The placeholder is filled in one piece.
    let at = bytes.windows(4).position(|part| part == b"{id}").unwrap_or_default();
    let mut steps = Vec::new();
    for byte in &bytes[..at] {
        steps.push(Step::Send(vec![*byte]));
        steps.push(Step::Pause(1));
    }
    steps.push(Step::Send(bytes[at..at + 4].to_vec()));
    for byte in &bytes[at + 4..] {
        steps.push(Step::Send(vec![*byte]));
        steps.push(Step::Pause(1));
    }
    steps.extend([Step::Read, Step::Probe]);
    steps
}
