//! Endpoints that are sockets of this machine.

use super::super::case::{Act, Case, Request2, get, request};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for path in ["/pipe/x", "/pipe/h2", "/pipe/refused"] {
        cases.push(Case::new(&format!("pipes/GET {path}"), get(path, "")));
        let body = "x".repeat(100_000);
        let post = request(&format!("POST {path}"), "Content-Length: 100000\r\n", &body);
        cases.push(Case::new(&format!("pipes/POST {path}"), post));
        let uri = match path {
            "/pipe/x" => "http://a/pipe/x",
            "/pipe/h2" => "http://a/pipe/h2",
            _ => "http://a/pipe/refused",
        };
        let over2 = Request2 { method: "GET", uri, ..Request2::default() };
        cases.push(Case::http2(&format!("pipes/HTTP/2 {path}"), over2));
    }
    let send = |text: &str| Act::Send(text.as_bytes().to_vec());
    for (name, acts) in [
        ("cut", vec![send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\npart"), Act::Close]),
        ("until the end", vec![send("HTTP/1.1 200 OK\r\n\r\nall of it"), Act::Close]),
        ("no answer", vec![Act::Close]),
    ] {
        cases.push(Case::new(&format!("pipes/{name}"), get("/pipe/x", "")).origin(acts));
    }
    cases
}
