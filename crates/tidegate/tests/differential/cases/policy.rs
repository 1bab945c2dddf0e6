//! Faults and requests from other origins.

use super::super::case::{Case, Request2};

pub fn cases() -> Vec<Case> {
    [faults(), origins()].concat()
}

fn ask(name: &str, line: &str, headers: &str, body: &str) -> Case {
    let head = format!("{line} HTTP/1.1\r\nX-Case: {{id}}\r\nHost: policy.example\r\n");
    Case::new(&format!("policy/{name}"), format!("{head}{headers}\r\n{body}")).at("policy")
}

fn faults() -> Vec<Case> {
    let call = "Content-Type: application/grpc\r\n";
    let mut cases = Vec::new();
    for path in [
        "503",
        "200",
        "grpc/14",
        "grpc/5",
        "none",
        "zero",
        "delay",
        "both",
        "full",
        "slow",
        "direct",
        "off",
        "of-filter",
    ] {
        let get = |name: &str, headers| {
            ask(&format!("fault {path}{name}"), &format!("GET /fault/{path}"), headers, "")
        };
        cases.push(get("", ""));
        cases.push(get(" of a call", call));
        if ["of-filter", "off", "503"].contains(&path) {
            cases.push(get(" that is asked for", "X-Fail: yes\r\n"));
        }
    }
    let body = "Content-Length: 4\r\n";
    cases.extend([
        ask("fault HEAD", "HEAD /fault/503", "", ""),
        ask("fault POST", "POST /fault/503", body, "body"),
        ask("fault POST that waits", "POST /fault/delay", body, "body"),
        ask("fault nowhere", "GET /nowhere", "X-Fail: yes\r\n", ""),
    ]);
    let http2 = |name: &str, uri| {
        let request = Request2 { method: "GET", uri, ..Request2::default() };
        Case::http2(&format!("policy/fault over HTTP/2 {name}"), request).at("policy")
    };
    cases.push(http2("abort", "http://policy.example/fault/503"));
    cases.push(http2("delay", "http://policy.example/fault/delay"));
    let call = Request2 {
        method: "POST",
        uri: "http://policy.example/fault/grpc/14",
        headers: vec![("content-type", "application/grpc+proto".to_owned())],
        ..Request2::default()
    };
    cases.push(Case::http2("policy/fault over HTTP/2 call", call).at("policy"));
    cases
}

fn origins() -> Vec<Case> {
    let mut cases = Vec::new();
    let asks = "Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: x-a, x-z\r\n";
    let private = "Access-Control-Request-Private-Network: true\r\n";
    for path in ["whole", "answered", "any", "off", "shadow", "part", "host", "empty", "direct"] {
        let origins =
            ["https://a.example", "https://x.b", "https://evil", "https://host.example", ""];
        for origin in origins {
            let origin_line = format!("Origin: {origin}\r\n");
            let case = |what: &str, method: &str, headers: String| {
                let name = format!("cors {path} {what} {origin}");
                ask(&name, &format!("{method} /cors/{path}"), &headers, "")
            };
            cases.push(case("GET", "GET", origin_line.clone()));
            cases.push(case("preflight", "OPTIONS", format!("{origin_line}{asks}")));
        }
    }
    let origin = "Origin: https://a.example\r\n";
    let case = |name: &str, line: &str, headers: &str| {
        ask(&format!("cors {name}"), line, &format!("{origin}{headers}"), "")
    };
    cases.extend([
        case("options alone", "OPTIONS /cors/whole", ""),
        case(
            "options without a method",
            "OPTIONS /cors/whole",
            "Access-Control-Request-Method:\r\n",
        ),
        case("private", "OPTIONS /cors/whole", &format!("{asks}{private}")),
        case("private and not allowed", "OPTIONS /cors/host", &format!("{asks}{private}")),
        ask("cors without an origin", "GET /cors/whole", "", ""),
        case("two origins", "GET /cors/whole", "Origin: https://evil\r\n"),
        case("and a fault", "OPTIONS /cors/whole", &format!("{asks}X-Fail: yes\r\n")),
        case("nowhere", "OPTIONS /nowhere", asks),
        case("of an endpoint that answers itself", "GET /cors/whole", "").answer(
            "HTTP/1.1 200 OK\r\nServer: origin\r\nAccess-Control-Allow-Origin: *\r\n\
             Access-Control-Allow-Credentials: false\r\nContent-Length: 2\r\n\r\nok",
        ),
    ]);
    cases
}
