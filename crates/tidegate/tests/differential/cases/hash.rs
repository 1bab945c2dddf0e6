//! Which endpoint takes a request, where the cluster hashes; and the time that a gRPC call is given.

use super::super::case::{Case, get, request};

pub fn cases() -> Vec<Case> {
    [endpoints(), calls()].concat()
}

/// The endpoint tells its number.
fn endpoints() -> Vec<Case> {
    let mut asked: Vec<(String, String)> = Vec::new();
    for kind in ["ring", "maglev", "small-ring", "small-maglev"] {
        let mut ask = |property: &str, query: &str, headers: String| {
            asked.push((format!("/hash/{kind}/{property}{query}"), headers));
        };
        for key in 0..16 {
            ask("header", "", format!("X-Key: key-{key}\r\n"));
            ask("query", &format!("?key={key}&key=other"), String::new());
        }
        for key in ["abc1", "abc2", "xyz", ""] {
            ask("rewritten", "", format!("X-Key: {key}\r\n"));
        }
        for values in ["a\r\nX-Key: b", "b\r\nX-Key: a"] {
            ask("header", "", format!("X-Key: {values}\r\n"));
        }
        for cookie in ["session=one", "a=b; session=two", "a=b\r\nCookie: session=\"three\""] {
            ask("cookie", "", format!("Cookie: {cookie}\r\n"));
        }
        for client in ["203.0.113.1", "203.0.113.2", "2001:db8::1"] {
            ask("source", "", format!("X-Forwarded-For: {client}\r\n"));
        }
        ask("source", "", String::new());
        ask("both", "?key=1", "X-Key: a\r\n".to_owned());
        ask("both", "?key=2", String::new());
        ask("first", "?key=1", "X-Key: a\r\n".to_owned());
        ask("first", "?key=2", "X-Key: a\r\n".to_owned());
        ask("first", "?key=2", String::new());
    }
    let case = |(path, headers): (String, String)| {
        let name = format!("hash{path} {}", headers.trim_end().escape_debug());
        // Where it takes the client's address from what is forwarded.
        Case::new(&name, get(&path, &headers)).at("plain")
    };
    asked.into_iter().map(case).collect()
}

fn calls() -> Vec<Case> {
    let kinds =
        ["application/grpc", "application/grpc+proto", "application/grpc-web", "text/plain"];
    let times = ["", "500m", "5S", "1H", "0S", "1500000u", "123456789m", "9x"];
    let mut cases = Vec::new();
    for path in ["/call/most", "/call/any", "/call/none"] {
        for kind in kinds {
            for time in times {
                let given = match time {
                    "" => String::new(),
                    time => format!("Grpc-Timeout: {time}\r\n"),
                };
                let headers = format!("Content-Type: {kind}\r\nContent-Length: 0\r\n{given}");
                let name = format!("call/{path} {kind} {time}");
                cases.push(Case::new(&name, request(&format!("POST {path}"), &headers, "")));
            }
        }
    }
    cases
}
