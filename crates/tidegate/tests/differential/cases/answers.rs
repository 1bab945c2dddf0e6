//! Origins that are early, slow, or gone; and limits.

use super::super::case::{Act, Case, Step, get, request};

pub fn cases() -> Vec<Case> {
    [gone(), early(), times(), limits()].concat()
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn send(text: &str) -> Act {
    Act::Send(text.as_bytes().to_vec())
}

fn gone() -> Vec<Case> {
    let at =
        |name: &str, acts: Vec<Act>| Case::new(&format!("gone/{name}"), get("/o", "")).origin(acts);
    let part = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart";
    let head = request("HEAD /o", "", "");
    vec![
        at("closed before the head", vec![Act::Body, Act::Close]),
        at("reset before the head", vec![Act::Body, Act::Reset]),
        at("reset inside the head", vec![send("HTTP/1.1 200 O"), Act::Pause(30), Act::Reset]),
        at("closed inside the body", vec![send(part), Act::Pause(50), Act::Close]),
        at(
            "closed after 103",
            vec![send("HTTP/1.1 103 Early Hints\r\n\r\n"), Act::Pause(30), Act::Close],
        ),
        Case::new("gone/HEAD", head).origin(vec![Act::Body, Act::Close]),
        Case::new("gone/POST", request("POST /o", "Content-Length: 4\r\n", "body"))
            .origin(vec![Act::Body, Act::Close]),
    ]
}

/// The answer comes before the request is complete.
fn early() -> Vec<Case> {
    let closing = "HTTP/1.1 413 X\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno";
    let unfinished = request("POST /o", "Content-Length: 100\r\n", "part");
    let chunked = request("POST /o", "Transfer-Encoding: chunked\r\n", "4\r\npart\r\n");
    let early = |name: &str, bytes: &[u8], answer: &str| {
        let steps = vec![Step::Send(bytes.to_vec()), Step::Read, Step::Ends];
        Case::steps(&format!("early/{name}"), steps).origin(vec![
            Act::Early,
            send(answer),
            Act::Hold,
        ])
    };
    vec![
        early("inside a body with a length", &unfinished, OK),
        early("inside chunks", &chunked, OK),
        early("inside a body, closing", &unfinished, closing),
        Case::steps(
            "early/redirect inside a body",
            vec![
                Step::Send(request("POST /to/https", "Content-Length: 100\r\n", "part")),
                Step::Read,
                Step::Ends,
            ],
        ),
        Case::steps(
            "early/no route inside a body",
            vec![
                Step::Send(request("POST /none", "Content-Length: 100\r\n", "part")),
                Step::Read,
                Step::Ends,
            ],
        ),
        Case::steps(
            "early/refused inside a body",
            vec![
                Step::Send(request("POST /refused", "Content-Length: 100\r\n", "part")),
                Step::Read,
                Step::Ends,
            ],
        ),
    ]
}

fn times() -> Vec<Case> {
    let slow = |name: &str, path: &str, listener, acts: Vec<Act>| {
        Case::new(&format!("times/{name}"), get(path, "")).at(listener).origin(acts).watch()
    };
    let hold = || vec![Act::Hold];
    let body = || vec![send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart"), Act::Hold];
    let unfinished = request("POST /o", "Content-Length: 100\r\n", "part");
    vec![
        slow("no head", "/slow", "edge", hold()),
        slow("no end of the body", "/slow", "edge", body()),
        slow("in time", "/slow", "edge", vec![Act::Pause(50), send(OK)]),
        slow("idle before the head", "/slow-idle", "edge", hold()),
        slow("idle inside the body", "/slow-idle", "edge", body()),
        slow("too old before the head", "/slow-age", "edge", hold()),
        slow("too old inside the body", "/slow-age", "edge", body()),
        slow("idle, as the listener says", "/o", "idle", hold()),
        Case::steps(
            "times/request too slow",
            vec![Step::Send(unfinished.clone()), Step::Read, Step::Ends],
        )
        .at("timed")
        .origin(vec![Act::Early, Act::Hold]),
        Case::steps("times/request idle", vec![Step::Send(unfinished), Step::Read, Step::Ends])
            .at("idle")
            .origin(vec![Act::Early, Act::Hold]),
    ]
}

fn limits() -> Vec<Case> {
    let beside = |name: &str, path: &str| {
        let other = format!("GET {path} HTTP/1.1\r\nX-Case: {{id}}\r\nHost: a\r\n\r\n");
        let steps = vec![
            Step::Send(get(path, "")),
            Step::Pause(200),
            Step::Beside(other.into_bytes()),
            Step::Read,
            Step::Probe,
        ];
        Case::steps(&format!("limits/{name}"), steps).origin(vec![Act::Pause(900), send(OK)])
    };
    vec![beside("one request", "/narrow/requests"), beside("one connection", "/narrow/connections")]
}
