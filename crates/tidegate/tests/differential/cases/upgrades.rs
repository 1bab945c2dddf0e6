//! Upgrades: granted, refused, with data that comes early.

use super::super::case::{Act, Case, Step, get, request};

const ASK: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n";
const GRANT: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Accept: y\r\n\r\n";

fn send(text: &str) -> Act {
    Act::Send(text.as_bytes().to_vec())
}

fn tunnel(name: &str, steps: Vec<Step>, acts: Vec<Act>) -> Case {
    let mut all = vec![Step::Send(get("/o", ASK)), Step::Read];
    all.extend(steps);
    Case::steps(&format!("upgrades/{name}"), all).origin(acts)
}

pub fn cases() -> Vec<Case> {
    let ping = || Step::Send(b"ping".to_vec());
    let early = [get("/o", ASK), b"ping".to_vec()].concat();
    let ask = |headers: &str| get("/o", headers);
    let refused = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
    vec![
        tunnel("granted", vec![ping(), Step::Raw(4)], vec![send(GRANT), Act::Echo(4), Act::Hold]),
        Case::steps("upgrades/granted without its name", vec![Step::Send(get("/o", ASK)), Step::Read, Step::Ends])
            .origin(vec![send("HTTP/1.1 101 Switching Protocols\r\n\r\n"), Act::Close]),
        Case::steps("upgrades/granted after 103", vec![Step::Send(get("/o", ASK)), Step::Read, Step::Read, Step::Raw(2)])
            .origin(vec![send(&format!("HTTP/1.1 103 X\r\n\r\n{GRANT}hi")), Act::Hold]),
        Case::steps("upgrades/HEAD", vec![Step::Send(request("HEAD /o", ASK, "")), Step::ReadHead, Step::Ends]),
        tunnel("the origin ends it", vec![ping(), Step::RawEnd], vec![send(GRANT), Act::Echo(4), Act::Close]),
        tunnel("the client ends it", vec![ping(), Step::Raw(4), Step::Finish, Step::RawEnd],
            vec![send(GRANT), Act::Echo(4), Act::Hold]),
        Case::steps("upgrades/longer than the route's time", vec![
            Step::Send(get("/slow", ASK)), Step::Read, Step::Raw(4)])
            .origin(vec![send(GRANT), Act::Pause(800), send("late"), Act::Hold]),
        Case::steps("upgrades/granted after the route's time", vec![
            Step::Send(get("/slow", ASK)), Step::Read, Step::Probe])
            .origin(vec![Act::Pause(1200), send(GRANT), Act::Hold]),
        tunnel("data with the grant", vec![Step::Raw(5)], vec![send(&format!("{GRANT}hello")), Act::Hold]),
        Case::steps("upgrades/data before the grant", vec![Step::Send(early), Step::Read, Step::Raw(4)])
            .origin(vec![send(GRANT), Act::Echo(4), Act::Hold]),
        Case::steps("upgrades/the origin refuses", vec![Step::Send(get("/o", ASK)), Step::Read, Step::Ends])
            .origin(vec![send(refused)]),
        Case::steps("upgrades/the origin ignores it", vec![Step::Send(get("/o", ASK)), Step::Read, Step::Ends])
            .origin(vec![send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")]),
        Case::new("upgrades/refused by the route", get("/refuse-upgrade", ASK)),
        Case::new("upgrades/of a kind not allowed", ask("Connection: Upgrade\r\nUpgrade: other\r\n")),
        Case::new("upgrades/refused by the listener", get("/o", ASK)).at("plain"),
        Case::new("upgrades/without Connection", ask("Upgrade: websocket\r\n")),
        Case::new("upgrades/Connection alone", ask("Connection: Upgrade\r\n")),
        Case::new("upgrades/h2c", ask("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n")),
        Case::new("upgrades/direct answer", get("/path", ASK)),
        Case::new("upgrades/redirect", get("/to/https", ASK)),
        Case::new("upgrades/no route", get("/none", ASK)),
        Case::new("upgrades/unknown cluster", get("/unknown", ASK)),
        Case::new("upgrades/refused connection", get("/refused", ASK)),
        Case::steps("upgrades/in capitals", vec![
            Step::Send(get("/o", "Connection: keep-alive, UPGRADE\r\nUpgrade: WebSocket\r\n")), Step::Read, Step::Raw(2)])
            .origin(vec![send(&format!("{GRANT}hi")), Act::Hold]),
        Case::steps("upgrades/of another kind on its route", vec![
            Step::Send(get("/upgrade-other", "Connection: upgrade\r\nUpgrade: other\r\n")), Step::Read, Step::Raw(2)])
            .origin(vec![send("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\nhi"), Act::Hold]),
        Case::new("upgrades/with HTTP 1.0", "GET /o HTTP/1.0\r\nX-Case: {id}\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").at("timed"),
        Case::steps("upgrades/POST with a body", vec![
            Step::Send(request("POST /o", &format!("{ASK}Content-Length: 4\r\n"), "body")), Step::Read, Step::Ends])
            .origin(vec![Act::Early, send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")]),
    ]
}
